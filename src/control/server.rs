//! HTTP/1.1 over the control socket, on the management thread's runtime. One request a connection, and bounds on all that
//! a client can make us hold: bytes, connections, time.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::api::{Peer, Refusal, Request, body_bytes_max, understand};
use super::socket::Socket;

/// Connections served at once; others wait in the kernel.
const CONNECTIONS_MAX: usize = 64;

/// From the first byte to the last, the client's slowness included.
const CONNECTION_TIME_MAX: Duration = Duration::from_secs(10);

/// Bytes of a request line and its headers, and how many of these.
const HEAD_BYTES_MAX: usize = 16 << 10;
const HEADERS_MAX: usize = 64;

/// Requests that wait for the management thread's loop.
const REQUESTS_MAX: usize = 16;

/// Serves `socket` for as long as the runtime lives. What comes out is to be answered, one at a time. To be called within
/// a tokio runtime.
///
/// # Errors
/// When the runtime cannot watch the socket.
pub fn start(socket: &Socket) -> io::Result<mpsc::Receiver<Request>> {
    let listener = UnixListener::from_std(socket.listener()?)?;
    let (sender, receiver) = mpsc::channel(REQUESTS_MAX);
    tokio::spawn(accept(listener, sender));
    Ok(receiver)
}

async fn accept(listener: UnixListener, requests: mpsc::Sender<Request>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    while let Ok(place) = places.clone().acquire_owned().await {
        match listener.accept().await {
            Ok((stream, _)) => {
                let requests = requests.clone();
                tokio::spawn(async move {
                    converse(stream, requests).await;
                    drop(place);
                });
            }
            Err(error) => {
                log::warn!("control socket: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn converse(stream: UnixStream, requests: mpsc::Sender<Request>) {
    let peer = match stream.peer_cred() {
        Ok(credentials) => Peer { uid: credentials.uid(), pid: credentials.pid() },
        Err(error) => return log::warn!("control socket: who connects is not known: {error}"),
    };
    let service = service_fn(move |request| {
        let requests = requests.clone();
        async move { Ok::<_, Infallible>(respond(request, peer, &requests).await) }
    });
    let connection = http1::Builder::new()
        .keep_alive(false)
        .header_read_timeout(None)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(stream), service);
    match tokio::time::timeout(CONNECTION_TIME_MAX, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => log::debug!("control socket, {peer}: {error}"),
        Err(_) => log::debug!("control socket, {peer}: too slow"),
    }
}

async fn respond(
    request: hyper::Request<Incoming>,
    peer: Peer,
    requests: &mpsc::Sender<Request>,
) -> Response<Full<Bytes>> {
    match answer(request, peer, requests).await {
        Ok(body) => response(StatusCode::OK, body),
        Err(refusal) => {
            let mut told = response(refusal.status, refusal.body());
            if let Ok(value) = HeaderValue::from_str(&refusal.allow)
                && !refusal.allow.is_empty()
            {
                told.headers_mut().insert(ALLOW, value);
            }
            told
        }
    }
}

async fn answer(
    request: hyper::Request<Incoming>,
    peer: Peer,
    requests: &mpsc::Sender<Request>,
) -> Result<String, Refusal> {
    let (head, body) = request.into_parts();
    let bytes_max = body_bytes_max(&head.uri);
    let body = Limited::new(body, bytes_max).collect().await.map_err(|error| {
        if error.is::<LengthLimitError>() {
            let what = format!("the body is longer than {bytes_max} bytes");
            Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, what)
        } else {
            Refusal::new(StatusCode::BAD_REQUEST, format!("the body cannot be read: {error}"))
        }
    })?;
    let ask = understand(&head.method, &head.uri, &body.to_bytes())?;
    let (reply, answer) = oneshot::channel();
    let gone = || Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "guideway is stopping".into());
    requests.send(Request { ask, peer, reply }).await.map_err(|_| gone())?;
    answer.await.map_err(|_| gone())?
}

fn response(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
