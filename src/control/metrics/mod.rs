//! Metrics over HTTP, for Prometheus and its like: `GET /metrics`.
//!
//! What they are taken from is read on the management thread, in one go; workers go on meanwhile, for
//! some milliseconds where there are thousands of backends. They are made into text beside it, since a large configuration comes to megabytes.

mod balancing;
mod negotiate;
mod outbound;
mod page;
mod ports;
mod probes;
mod program;
mod sample;
mod text;
mod workers;

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use hyper::body::Incoming;
use hyper::header::{ALLOW, HeaderValue};
use hyper::{Method, StatusCode};
use tokio::sync::{Mutex, mpsc, oneshot};

use super::http::{self, Answer};
pub use negotiate::Format;
pub use sample::{Sample, Sources};

/// Connections served at once. An answer can be megabytes long, and a client slow to take it.
const CONNECTIONS_MAX: usize = 8;

/// A scrape leaves the thread this many times as long as it has taken before the next: at most a tenth of it is theirs.
const REST: u32 = 9;

const TEXT: &str = "text/plain; charset=utf-8";

/// A scrape that waits for its sample.
pub struct Scrape {
    reply: oneshot::Sender<Sample>,
    rest: Arc<Rest>,
}

/// Not before then is the next sample taken.
struct Rest(std::sync::Mutex<Instant>);

impl Rest {
    fn until(&self) -> Instant {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, until: Instant) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = until;
    }
}

impl Scrape {
    /// Answers it.
    pub fn answer(self, sources: &Sources<'_>) {
        if self.reply.is_closed() {
            return;
        }
        let sample = Sample::take(sources);
        // Here, for who asks may leave at any time, and has cost as much.
        self.rest.set(Instant::now() + sample.took().saturating_mul(REST));
        // Who has left needs no answer.
        let _ = self.reply.send(sample);
    }
}

/// Serves at `address` for as long as the runtime lives. What comes out is to be answered. Returns the address too, whose
/// port was chosen where it was 0. To be called within a tokio runtime.
///
/// # Errors
/// When the address cannot be had.
pub fn start(address: SocketAddr) -> io::Result<(mpsc::Receiver<Scrape>, SocketAddr)> {
    let listener = http::bind(address)?;
    let address = listener.local_addr()?;
    let (sender, receiver) = mpsc::channel(1);
    let scraper = Arc::new(Scraper {
        scrapes: sender,
        turn: Mutex::new(()),
        rest: Arc::new(Rest(std::sync::Mutex::new(Instant::now()))),
    });
    let service = move |request, _| respond(request, scraper.clone());
    tokio::spawn(http::serve(listener, CONNECTIONS_MAX, "metrics", service));
    Ok((receiver, address))
}

struct Scraper {
    scrapes: mpsc::Sender<Scrape>,
    /// Whose turn it is: of several, one at a time.
    turn: Mutex<()>,
    rest: Arc<Rest>,
}

impl Scraper {
    /// The metrics of now as text; `None` where guideway is stopping.
    async fn text(&self, format: Format) -> Option<String> {
        let _turn = self.turn.lock().await;
        tokio::time::sleep_until(self.rest.until().into()).await;
        let (reply, sample) = oneshot::channel();
        self.scrapes.send(Scrape { reply, rest: self.rest.clone() }).await.ok()?;
        let sample = sample.await.ok()?;
        // One at a time, on this CPU too: others wait for the lock, not for us.
        tokio::task::spawn_blocking(move || text::write(sample, format)).await.ok()
    }
}

async fn respond(request: hyper::Request<Incoming>, scraper: Arc<Scraper>) -> Answer {
    if request.uri().path() != "/metrics" {
        return http::answer(StatusCode::NOT_FOUND, TEXT, "There is only /metrics.\n");
    }
    // What HEAD gets is made whole, so that its length is right; it is not sent.
    if ![Method::GET, Method::HEAD].contains(request.method()) {
        let mut refused = http::answer(StatusCode::METHOD_NOT_ALLOWED, TEXT, "It has GET and HEAD.\n");
        refused.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return refused;
    }
    let format = Format::choose(request.headers());
    match scraper.text(format).await {
        Some(text) => http::answer(StatusCode::OK, format.content_type(), text),
        None => http::answer(StatusCode::SERVICE_UNAVAILABLE, TEXT, "guideway is stopping\n"),
    }
}
