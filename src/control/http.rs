//! HTTP/1.1 on the management thread's runtime, for the control API and for metrics. One request a connection, and bounds
//! on all that a client can make us hold: bytes, connections, time.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use http_body_util::{Either, Full};
use hyper::body::{Body, Bytes, Frame, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Semaphore, mpsc};

use super::api::Peer;

/// From the first byte to the last, the client's slowness included; but a stream has a time of its own.
const CONNECTION_TIME_MAX: Duration = Duration::from_secs(10);

/// For the request line and the headers, so that silence does not hold a place for long.
const HEAD_TIME_MAX: Duration = Duration::from_secs(2);

/// Bytes of a request line and its headers, and how many of these.
const HEAD_BYTES_MAX: usize = 16 << 10;
const HEADERS_MAX: usize = 64;

/// An answer: whole, or what comes of it bit by bit.
pub(super) type Answer = Response<Either<Full<Bytes>, Chunks>>;

/// The parts of a stream. Who gives it up, or leaves, lets its sender know by dropping it.
pub(super) struct Chunks(mpsc::Receiver<Bytes>);

impl Body for Chunks {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.get_mut().0.poll_recv(context).map(|chunk| chunk.map(|bytes| Ok(Frame::data(bytes))))
    }
}

/// Where clients come from.
pub(super) trait Listen {
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// The next one, and who it is.
    fn accept(&self) -> impl Future<Output = io::Result<(Self::Stream, Peer)>> + Send;
}

impl Listen for UnixListener {
    type Stream = tokio::net::UnixStream;

    async fn accept(&self) -> io::Result<(Self::Stream, Peer)> {
        let (stream, _) = self.accept().await?;
        let credentials = stream.peer_cred()?;
        Ok((stream, Peer::Local { uid: credentials.uid(), pid: credentials.pid() }))
    }
}

impl Listen for TcpListener {
    type Stream = tokio::net::TcpStream;

    async fn accept(&self) -> io::Result<(Self::Stream, Peer)> {
        let (stream, address) = self.accept().await?;
        Ok((stream, Peer::Stranger(address)))
    }
}

/// Listens at `address`, for tokio. To be called within a tokio runtime.
pub(super) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

/// Has `service` answer all that comes by `listener`, `places` at once; others wait in the kernel. `name` is for the log.
pub(super) async fn serve<L, S, F>(listener: L, places: usize, name: &'static str, service: S)
where
    L: Listen,
    S: Fn(hyper::Request<Incoming>, Peer) -> F + Clone + Send + 'static,
    F: Future<Output = Answer> + Send + 'static,
{
    let places = Arc::new(Semaphore::new(places));
    while let Ok(place) = places.clone().acquire_owned().await {
        match listener.accept().await {
            Ok((stream, peer)) => {
                let service = service.clone();
                tokio::spawn(async move {
                    converse(stream, peer, name, service).await;
                    drop(place);
                });
            }
            Err(error) => {
                log::warn!("{name}: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn converse<T, S, F>(stream: T, peer: Peer, name: &str, service: S)
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Fn(hyper::Request<Incoming>, Peer) -> F,
    F: Future<Output = Answer>,
{
    let streams = Arc::new(AtomicBool::new(false));
    let is_stream = streams.clone();
    let service = service_fn(move |request| {
        let (answer, streams) = (service(request, peer), streams.clone());
        async move {
            let answer = answer.await;
            streams.store(matches!(answer.body(), Either::Right(_)), Ordering::Relaxed);
            Ok::<_, Infallible>(answer)
        }
    });
    let connection = http1::Builder::new()
        .keep_alive(false)
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(stream), service);
    let too_late = async {
        tokio::time::sleep(CONNECTION_TIME_MAX).await;
        if is_stream.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        ended = connection => if let Err(error) = ended {
            log::debug!("{name}, {peer}: {error}");
        },
        () = too_late => log::debug!("{name}, {peer}: too slow"),
    }
}

pub(super) fn answer(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Answer {
    made(status, kind, Either::Left(Full::new(body.into())))
}

pub(super) fn stream(kind: &'static str, chunks: mpsc::Receiver<Bytes>) -> Answer {
    made(StatusCode::OK, kind, Either::Right(Chunks(chunks)))
}

fn made(status: StatusCode, kind: &'static str, body: Either<Full<Bytes>, Chunks>) -> Answer {
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}
