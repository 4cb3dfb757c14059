//! HTTP/1.1 on the management thread's runtime, for the control API and for metrics. One request a connection, and bounds
//! on all that a client can make us hold: bytes, connections, time.

use std::any::Any;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
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
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::{sleep, timeout};

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

/// A stream whose parts come from the producer; at most so many wait for the client. `held` is kept for as long as the
/// connection is.
pub(super) fn chunks(waiting_max: usize, held: Arc<dyn Any + Send + Sync>) -> (Producer, Chunks) {
    let (sender, parts) = mpsc::channel(waiting_max);
    let (end, told) = watch::channel(None);
    (Producer { parts: sender, end }, Chunks { parts, end: End { told, _held: held } })
}

/// Where a stream's parts come from. Unless it has said that the stream is complete, its end cuts the stream off: at once,
/// and so that the client can tell.
pub(super) struct Producer {
    parts: mpsc::Sender<Bytes>,
    end: watch::Sender<Option<Duration>>,
}

impl Producer {
    /// Waits for room. False when the client has left.
    pub(super) async fn send(&self, part: Bytes) -> bool {
        self.parts.send(part).await.is_ok()
    }

    /// Until the client has left.
    pub(super) async fn closed(&self) {
        self.parts.closed().await;
    }

    /// There is no more to come, and the client may take so long with what is left.
    pub(super) fn complete(self, rest: Duration) {
        self.end.send_replace(Some(rest));
    }
}

/// The parts of a stream. Who gives it up, or leaves, lets its producer know by dropping it.
pub(super) struct Chunks {
    parts: mpsc::Receiver<Bytes>,
    end: End,
}

#[derive(Clone)]
struct End {
    /// Closed when there is no producer any more, and empty where it has not said that the stream is complete.
    told: watch::Receiver<Option<Duration>>,
    _held: Arc<dyn Any + Send + Sync>,
}

impl Body for Chunks {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let this = self.get_mut();
        this.parts.poll_recv(context).map(|part| match part {
            Some(bytes) => Some(Ok(Frame::data(bytes))),
            None if this.end.told.borrow().is_some() => None,
            None => Some(Err(io::Error::other("the stream was cut off"))),
        })
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
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn converse<T, S, F>(socket: T, peer: Peer, name: &str, service: S)
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Fn(hyper::Request<Incoming>, Peer) -> F,
    F: Future<Output = Answer>,
{
    let (streams, stream) = watch::channel(None);
    let begun = streams.clone();
    let service = service_fn(move |request| {
        let (answer, begun) = (service(request, peer), begun.clone());
        async move {
            let answer = answer.await;
            if let Either::Right(chunks) = answer.body() {
                begun.send_replace(Some(chunks.end.clone()));
            }
            Ok::<_, Infallible>(answer)
        }
    });
    let connection = http1::Builder::new()
        .keep_alive(false)
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(socket), service);
    tokio::select! {
        ended = connection => if let Err(error) = ended {
            log::debug!("{name}, {peer}: {error}");
        },
        () = too_late(stream) => log::debug!("{name}, {peer}: too slow"),
    }
    drop(streams);
}

/// Until the client's time is over: a stream's client has what the stream takes, and no more when nobody fills it.
async fn too_late(mut stream: watch::Receiver<Option<End>>) {
    let begun = timeout(CONNECTION_TIME_MAX, stream.wait_for(Option::is_some)).await;
    let Some(mut end) = begun.ok().and_then(|end| end.ok()?.clone()) else { return };
    while end.told.changed().await.is_ok() {}
    let rest = *end.told.borrow();
    if let Some(rest) = rest {
        sleep(rest).await;
    }
}

pub(super) fn answer(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Answer {
    made(status, kind, Either::Left(Full::new(body.into())))
}

pub(super) fn stream(kind: &'static str, chunks: Chunks) -> Answer {
    made(StatusCode::OK, kind, Either::Right(chunks))
}

fn made(status: StatusCode, kind: &'static str, body: Either<Full<Bytes>, Chunks>) -> Answer {
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixStream;

    use super::*;

    const PART_LEN: usize = 256 << 10;

    /// What becomes of a stream in the end.
    #[derive(Clone, Copy, Debug)]
    enum Ends {
        /// It is complete after so many parts.
        After(usize),
        /// It is given up when the client has taken nothing for a while.
        GivenUp,
    }

    async fn produce(producer: Producer, ends: Ends) {
        let parts = if let Ends::After(parts) = ends { parts } else { usize::MAX };
        for _ in 0..parts {
            let sending = producer.send(Bytes::from(vec![b'x'; PART_LEN]));
            if !matches!(timeout(Duration::from_millis(300), sending).await, Ok(true)) {
                return;
            }
        }
        producer.complete(Duration::from_secs(1));
    }

    async fn ask(path: &std::path::Path) -> UnixStream {
        let mut client = UnixStream::connect(path).await.unwrap();
        client.write_all(b"GET / HTTP/1.1\r\nhost: g\r\n\r\n").await.unwrap();
        client
    }

    async fn rest(mut client: UnixStream) -> Vec<u8> {
        let mut all = Vec::new();
        timeout(Duration::from_secs(10), client.read_to_end(&mut all)).await.unwrap().unwrap();
        all
    }

    /// There is a single place: who keeps it keeps everybody out.
    #[test]
    fn who_reads_nothing_keeps_no_place_and_what_is_cut_off_looks_like_it() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            for ends in [Ends::GivenUp, Ends::After(4)] {
                let directory = tempfile::tempdir().unwrap();
                let path = directory.path().join("socket");
                let service = move |_, _| async move {
                    let (producer, chunks) = chunks(4, Arc::new(()));
                    tokio::spawn(produce(producer, ends));
                    stream("text/plain", chunks)
                };
                tokio::spawn(serve(UnixListener::bind(&path).unwrap(), 1, "test", service));
                let deaf = ask(&path).await;
                let mut next = ask(&path).await;
                let (began, mut head) = (Instant::now(), [0; 12]);
                timeout(Duration::from_secs(8), next.read_exact(&mut head)).await.unwrap().unwrap();
                assert_eq!(&head, b"HTTP/1.1 200");
                assert!(began.elapsed() >= Duration::from_millis(250), "{ends:?}: it has its time");
                if let Ends::After(parts) = ends {
                    let whole = rest(next).await;
                    assert!(whole.len() > parts * PART_LEN && whole.ends_with(b"0\r\n\r\n"), "{ends:?}");
                }
                assert!(!rest(deaf).await.ends_with(b"0\r\n\r\n"), "{ends:?}");
            }
        });
    }

    /// One that takes all there is, and still gets no end.
    #[test]
    fn who_reads_sees_that_a_stream_was_cut_off() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("socket");
            let service = |_, _| async {
                let (producer, chunks) = chunks(4, Arc::new(()));
                producer.send(Bytes::from_static(b"beginning")).await;
                drop(producer);
                stream("text/plain", chunks)
            };
            tokio::spawn(serve(UnixListener::bind(&path).unwrap(), 1, "test", service));
            let all = rest(ask(&path).await).await;
            assert!(!all.ends_with(b"0\r\n\r\n"), "{}", String::from_utf8_lossy(&all));
        });
    }
}
