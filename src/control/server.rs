//! The control API's listeners: the Unix socket, which the file system guards, and TCP, which a token guards.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::StatusCode;
use hyper::body::Incoming;
use hyper::header::{ACCEPT, ALLOW, HeaderValue, WWW_AUTHENTICATE};
use tokio::net::UnixListener;
use tokio::sync::{mpsc, oneshot};

use super::access::{Access, is_json};
use super::api::{Answer, Peer, Refusal, Request, body_bytes_max, understand};
use super::http;
use super::socket::Socket;

/// Connections served at once, for each listener; others wait in the kernel.
const CONNECTIONS_MAX: usize = 64;

/// Requests that wait for the management thread's loop.
const REQUESTS_MAX: usize = 16;

/// Where requests go, and where they come out to be answered, one at a time.
pub(super) fn channel() -> (mpsc::Sender<Request>, mpsc::Receiver<Request>) {
    mpsc::channel(REQUESTS_MAX)
}

/// Serves `socket` for as long as the runtime lives. To be called within a tokio runtime.
///
/// # Errors
/// When the runtime cannot watch the socket.
pub fn start(socket: &Socket) -> io::Result<mpsc::Receiver<Request>> {
    let (sender, receiver) = channel();
    start_unix(socket, sender)?;
    Ok(receiver)
}

pub(super) fn start_unix(socket: &Socket, requests: mpsc::Sender<Request>) -> io::Result<()> {
    let listener = UnixListener::from_std(socket.listener()?)?;
    let service = move |request, peer| respond(request, peer, requests.clone(), None);
    tokio::spawn(http::serve(listener, CONNECTIONS_MAX, "control socket", service));
    Ok(())
}

/// Serves who has the token in `token_file`, over TCP at `address`, for as long as the runtime lives. Returns the address,
/// whose port was chosen where it was 0. To be called within a tokio runtime.
///
/// # Errors
/// When the address cannot be had.
pub fn start_tcp(
    address: SocketAddr,
    token_file: PathBuf,
    requests: mpsc::Sender<Request>,
) -> io::Result<SocketAddr> {
    let listener = http::bind(address)?;
    let address = listener.local_addr()?;
    let access = Arc::new(Access::new(address, token_file));
    let service = move |request, peer| respond(request, peer, requests.clone(), Some(access.clone()));
    tokio::spawn(http::serve(listener, CONNECTIONS_MAX, "control API", service));
    Ok(address)
}

async fn respond(
    request: hyper::Request<Incoming>,
    peer: Peer,
    requests: mpsc::Sender<Request>,
    access: Option<Arc<Access>>,
) -> http::Answer {
    match answer(request, peer, &requests, access.as_deref()).await {
        Ok(Answer::Json(body)) => json(StatusCode::OK, body),
        Ok(Answer::Stream(stream)) => http::stream(stream.content_type, stream.chunks),
        Err(refusal) => {
            let mut told = json(refusal.status, refusal.body());
            if let Ok(value) = HeaderValue::from_str(&refusal.allow)
                && !refusal.allow.is_empty()
            {
                told.headers_mut().insert(ALLOW, value);
            }
            if refusal.status == StatusCode::UNAUTHORIZED {
                let scheme = HeaderValue::from_static("Bearer realm=\"guideway\"");
                told.headers_mut().insert(WWW_AUTHENTICATE, scheme);
            }
            told
        }
    }
}

fn json(status: StatusCode, body: String) -> http::Answer {
    http::answer(status, "application/json", body)
}

async fn answer(
    request: hyper::Request<Incoming>,
    peer: Peer,
    requests: &mpsc::Sender<Request>,
    access: Option<&Access>,
) -> Result<Answer, Refusal> {
    let (head, body) = request.into_parts();
    let peer = match access {
        Some(access) => access.check(&head.headers, peer).await?,
        None => peer,
    };
    let bytes_max = body_bytes_max(&head.uri);
    let body = Limited::new(body, bytes_max).collect().await.map_err(|error| {
        if error.is::<LengthLimitError>() {
            let what = format!("the body is longer than {bytes_max} bytes");
            Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, what)
        } else {
            Refusal::new(StatusCode::BAD_REQUEST, format!("the body cannot be read: {error}"))
        }
    })?;
    let body = body.to_bytes();
    let accept = head.headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let ask = understand(&head.method, &head.uri, &body)?.accepted_by(accept);
    if access.is_some() && !body.is_empty() {
        is_json(&head.headers)?;
    }
    let (reply, answer) = oneshot::channel();
    let gone = || Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "guideway is stopping".into());
    requests.send(Request { ask, peer, reply }).await.map_err(|_| gone())?;
    answer.await.map_err(|_| gone())?
}
