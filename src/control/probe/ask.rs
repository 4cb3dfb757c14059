//! One question, and its answer.

use std::error::Error;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::{Request, header};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

use super::pace::Lost;
use super::port::PortWay;
use super::tls::Trust;
use crate::config::{Probe, ProbeKind, Via};

/// As much of a body is looked at for what it must have in it.
const BODY_MAX: usize = 64 * 1024;

/// What is read of one answer in all, TLS included: a server may say more, but not keep this thread busy with it.
const ANSWER_MAX: u64 = 4 * BODY_MAX as u64;

/// What is held of an answer's head, at most.
const HEAD_MAX: usize = 16 * 1024;

/// Characters of a reason; the rest is cut off. Parts of it may be a stranger's words.
const REASON_MAX: usize = 200;

/// How long a connection is waited for to end well, when all has been said.
const FAREWELL: Duration = Duration::from_millis(100);

/// Good, or what was wrong.
pub(super) type Answer = Result<(), Fault>;

/// How an endpoint fails.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Failure {
    /// There is no connection to it, or none that may be used.
    Unreachable,
    /// There is, and no whole answer by it.
    Silent,
    /// It answers something else than what is asked for.
    Contrary,
}

/// Why there is no good answer.
pub(super) enum Fault {
    /// The endpoint's, or the way's to it.
    Theirs(Failure, String),
    /// This machine could not even ask, which says nothing of the endpoint.
    Ours(String),
}

impl Failure {
    fn because(self, why: &str) -> Fault {
        let cleaned = why.chars().map(|c| if c.is_control() { ' ' } else { c });
        Fault::Theirs(self, cleaned.take(REASON_MAX).collect())
    }
}

/// How far a question has come.
#[derive(Clone, Copy)]
pub(super) enum Stage {
    /// The next hop's Ethernet address is not known.
    Neighbour,
    Connecting,
    Asking,
}

impl Stage {
    /// What was waited for in vain.
    fn missing(self, target: SocketAddr) -> (Failure, &'static str) {
        match self {
            Self::Neighbour if target.is_ipv6() => (Failure::Unreachable, "no answer to ND"),
            Self::Neighbour => (Failure::Unreachable, "no answer to ARP"),
            Self::Connecting => (Failure::Unreachable, "no connection"),
            Self::Asking => (Failure::Silent, "no answer"),
        }
    }
}

/// What questions go by, and what they need.
#[derive(Clone)]
pub(super) struct Means {
    pub(super) trust: Arc<Trust>,
    pub(super) ports: PortWay,
    pub(super) lost: Lost,
}

impl Means {
    /// Whether a question can be sent at once.
    pub(super) fn know_the_way(&self, target: SocketAddr, probe: &Probe) -> bool {
        probe.via == Via::Host || self.ports.knows_the_way(target)
    }
}

/// A connection, whichever way it goes.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// Asks, and waits for an answer no longer than the probe says. Tells how long that took.
pub(super) async fn ask(target: SocketAddr, probe: Arc<Probe>, nth: u16, means: Means) -> (Answer, Duration) {
    let began = Instant::now();
    let mut stage = Stage::Connecting;
    let answer = means.lost.within(probe.timeout, question(target, &probe, nth, &means, &mut stage)).await;
    // What comes after the answer counts for nothing.
    let took = began.elapsed();
    let answer = match answer {
        Some(Ok((answer, farewell))) => {
            let _ = timeout(FAREWELL, farewell).await;
            answer
        }
        Some(Err(why)) => Err(why),
        None => {
            let (failure, what) = stage.missing(target);
            let timeout = humantime::format_duration(probe.timeout);
            Err(failure.because(&format!("{what} in {timeout}")))
        }
    };
    (answer, took)
}

/// Takes what else the other end has to say, so that the connection ends in order.
type Farewell = Pin<Box<dyn Future<Output = ()> + Send>>;

async fn question(
    target: SocketAddr,
    probe: &Probe,
    nth: u16,
    means: &Means,
    stage: &mut Stage,
) -> Result<(Answer, Farewell), Fault> {
    let connected: io::Result<Box<dyn Stream>> = match probe.via {
        Via::Host => TcpStream::connect(target).await.map(|stream| Box::new(stream) as _),
        Via::Port => means.ports.connect(target, nth, stage).await.map(|stream| Box::new(stream) as _),
    };
    let stream = connected.map_err(|error| connect_fault(&error))?;
    *stage = Stage::Asking;
    match probe.kind {
        ProbeKind::Tcp => Ok((Ok(()), Box::pin(close(stream)))),
        ProbeKind::Http => get(bounded(stream), target, probe).await,
        ProbeKind::Https => {
            let connector = TlsConnector::from(means.trust.of(probe).map_err(Fault::Ours)?);
            let name = server_name(target, probe);
            let tls = connector.connect(name, bounded(stream)).await;
            let refused = |error| Failure::Unreachable.because(&format!("TLS: {}", io_text(&error)));
            get(tls.map_err(refused)?, target, probe).await
        }
    }
}

/// After so many bytes it is as if the other end had closed.
fn bounded(stream: Box<dyn Stream>) -> impl Stream {
    let (reader, writer) = tokio::io::split(stream);
    tokio::io::join(reader.take(ANSWER_MAX), writer)
}

/// The end of ours, and all of theirs: what is left unread would make the kernel reset the connection.
async fn close(mut stream: Box<dyn Stream>) {
    let _ = stream.shutdown().await;
    let mut rest = [0; 1024];
    for _ in 0..BODY_MAX / rest.len() {
        if !matches!(stream.read(&mut rest).await, Ok(1..)) {
            break;
        }
    }
}

fn server_name(target: SocketAddr, probe: &Probe) -> ServerName<'static> {
    let name = probe.host.as_deref().map(|host| host.split(':').next().unwrap_or(host).to_owned());
    let name = name.and_then(|name| ServerName::try_from(name).ok());
    name.unwrap_or_else(|| ServerName::IpAddress(target.ip().into()))
}

/// A GET, and the answer as soon as it can be told.
async fn get<S>(stream: S, target: SocketAddr, probe: &Probe) -> Result<(Answer, Farewell), Fault>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let handshake = http1::Builder::new().max_buf_size(HEAD_MAX).handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|error| http_fault(&error))?;
    let host = probe.host.clone().unwrap_or_else(|| match (probe.kind, target.port()) {
        (ProbeKind::Http, 80) | (ProbeKind::Https, 443) => match target.ip() {
            IpAddr::V4(address) => address.to_string(),
            // RFC 3986 section 3.2.2.
            IpAddr::V6(address) => format!("[{address}]"),
        },
        _ => target.to_string(),
    });
    let request = Request::get(&probe.path)
        .header(header::HOST, host)
        .header(header::USER_AGENT, concat!("guideway/", env!("CARGO_PKG_VERSION")))
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| Fault::Ours(error.to_string()))?;
    let mut connection = Driven(Some(Box::pin(connection)));
    let response =
        connection.until(sender.send_request(request)).await.map_err(|error| http_fault(&error))?;
    let status = response.status().as_u16();
    let mut body = response.into_body();
    let answer = match &probe.body {
        _ if !probe.status.contains(status) => {
            Err(Failure::Contrary.because(&format!("status {status}, expected {}", probe.status)))
        }
        None => Ok(()),
        Some(wanted) => match connection.until(read_body(&mut body, Some(wanted.as_bytes()))).await? {
            true => Ok(()),
            false => {
                Err(Failure::Contrary.because(&format!("status {status}, but no {wanted:?} in the body")))
            }
        },
    };
    let farewell = async move {
        let _ = connection.until(read_body(&mut body, None)).await;
        drop(body);
        connection.end().await;
    };
    Ok((answer, Box::pin(farewell)))
}

/// A connection that moves while something is waited for.
struct Driven<C>(Option<Pin<Box<C>>>);

impl<C: Future> Driven<C> {
    /// What comes of `what`.
    async fn until<T>(&mut self, what: impl Future<Output = T>) -> T {
        let mut what = pin!(what);
        if let Some(connection) = &mut self.0 {
            tokio::select! {
                biased;
                come = &mut what => return come,
                _ = connection => self.0 = None,
            }
        }
        what.await
    }

    async fn end(self) {
        if let Some(connection) = self.0 {
            connection.await;
        }
    }
}

/// Whether `wanted` is in the body's beginning.
async fn read_body(body: &mut Incoming, wanted: Option<&[u8]>) -> Result<bool, Fault> {
    let mut seen = Vec::new();
    while seen.len() < BODY_MAX {
        let Some(frame) = body.frame().await else { break };
        let Ok(data) = frame.map_err(|error| http_fault(&error))?.into_data() else { continue };
        // What has been searched is not searched again, but for an end that may go on.
        let searched = seen.len().saturating_sub(wanted.map_or(0, <[u8]>::len));
        seen.extend_from_slice(&data);
        if wanted.is_some_and(|wanted| has(seen.get(searched..).unwrap_or_default(), wanted)) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn has(text: &[u8], wanted: &[u8]) -> bool {
    text.windows(wanted.len()).any(|window| window == wanted)
}

fn connect_fault(error: &io::Error) -> Fault {
    // ENOMEM, ENFILE, EMFILE, EADDRNOTAVAIL and ENOBUFS of Linux: too few descriptors, ports or memory here.
    const OURS: [i32; 5] = [12, 23, 24, 99, 105];
    // The same where the connection is our own stack's.
    let is_ours = error.kind() == io::ErrorKind::AddrInUse;
    if is_ours || error.raw_os_error().is_some_and(|number| OURS.contains(&number)) {
        return Fault::Ours(error.to_string());
    }
    Failure::Unreachable.because(&io_text(error))
}

fn http_fault(error: &hyper::Error) -> Fault {
    let cause = error.source().and_then(|cause| cause.downcast_ref::<io::Error>());
    match cause {
        Some(cause) => Failure::Silent.because(&io_text(cause)),
        None if error.is_incomplete_message() || error.is_closed() || error.is_canceled() => {
            Failure::Silent.because("connection closed without an answer")
        }
        None if error.is_parse() => Failure::Contrary.because(&format!("not HTTP: {error}")),
        None => Failure::Contrary.because(&error.to_string()),
    }
}

/// In the words operators know, without the numbers.
fn io_text(error: &io::Error) -> String {
    use io::ErrorKind::{
        ConnectionRefused, ConnectionReset, HostUnreachable, NetworkUnreachable, UnexpectedEof,
    };
    match error.kind() {
        ConnectionRefused => "connection refused".to_owned(),
        ConnectionReset => "connection reset".to_owned(),
        HostUnreachable => "no route to host".to_owned(),
        NetworkUnreachable => "network unreachable".to_owned(),
        UnexpectedEof => "connection closed".to_owned(),
        _ => error.to_string(),
    }
}
