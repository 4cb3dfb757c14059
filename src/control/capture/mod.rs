//! Captures and traces: watches that the control API starts, and the streams of what they see.

mod ask;
mod pcapng;
mod stream;
mod told;
mod trace;

pub(super) use ask::{CaptureAsk, TraceAsk};
pub use trace::{Chosen, TracedPacket};

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use hyper::StatusCode;
use tokio::sync::watch;

use super::api::Refusal;
use super::http::{Chunks, chunks};
use crate::config::{Frontend, Model};
use crate::watch::{Filter, WATCHES_MAX, Watch};
use crate::wire::vlan::{Tags, Vlan};
use stream::{Encoder, Limits, pump};

/// A client that takes nothing for so long has forgotten us.
const STALL_MAX: Duration = Duration::from_secs(60);

/// The names by which operators know ports and rules, and what else records do not say.
#[derive(Default)]
struct Names {
    ports: Vec<String>,
    /// By port: what its frames have on the wire and the path does not see.
    tags: Vec<Tags>,
    rules: BTreeMap<Frontend, String>,
}

impl Names {
    fn of(model: &Model) -> Arc<Self> {
        Arc::new(Self {
            ports: model.ports.iter().map(|port| port.name.clone()).collect(),
            tags: model.ports.iter().map(|port| Vlan::of_tags(&port.vlan).tags()).collect(),
            rules: super::rule_names(model),
        })
    }
}

/// The watches that are on, and what the streams need to know of the configuration.
pub(super) struct Captures {
    running: Vec<Arc<Watch>>,
    /// All whose memory is there: those that run, and those that have ended and have not been read to their end.
    held: Vec<Weak<Watch>>,
    names: watch::Sender<Arc<Names>>,
    stall: Duration,
}

/// The body of an answer that goes on for as long as there is something to tell.
pub(super) struct Stream {
    pub(super) content_type: &'static str,
    pub(super) chunks: Chunks,
}

impl Captures {
    pub(super) fn new(model: &Model) -> Self {
        Self {
            running: Vec::new(),
            held: Vec::new(),
            names: watch::Sender::new(Names::of(model)),
            stall: STALL_MAX,
        }
    }

    /// The configuration has changed.
    pub(super) fn rename(&self, model: &Model) {
        self.names.send_replace(Names::of(model));
    }

    /// What is to be published.
    pub(super) fn watches(&self) -> Vec<Arc<Watch>> {
        self.running.clone()
    }

    /// Forgets those that have ended. Whether there were any.
    pub(super) fn forget_ended(&mut self) -> bool {
        let before = self.running.len();
        self.running.retain(|watch| !watch.has_ended());
        self.running.len() < before
    }

    /// A capture, as pcapng.
    pub(super) fn capture(&mut self, ask: &CaptureAsk, model: &Model) -> Result<Stream, Refusal> {
        let filter = ask.filter(model)?;
        let encoder = pcapng::Encoder::new(ask.snaplen() as u32, &self.names.borrow())
            .map_err(|error| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
        let watch = self.start(filter, ask.snaplen(), true)?;
        Ok(self.stream(watch, Encoder::Pcapng(encoder), ask.limits(), ask::PCAPNG))
    }

    /// A trace, as a line of JSON for each packet.
    pub(super) fn trace(&mut self, ask: &TraceAsk, model: &Model) -> Result<Stream, Refusal> {
        let (filter, rule) = ask.filter(model)?;
        let watch = self.start(filter, trace::SNAPLEN, false)?;
        let encoder = Encoder::Trace(trace::Encoder::new(rule));
        Ok(self.stream(watch, encoder, ask.limits(), ask::NDJSON))
    }

    fn start(&mut self, filter: Filter, snaplen: usize, wants_sent: bool) -> Result<Arc<Watch>, Refusal> {
        self.held.retain(|watch| watch.strong_count() > 0);
        if self.held.len() >= WATCHES_MAX {
            let error = format!(
                "{WATCHES_MAX} captures and traces are running or being read, which is the most; end one first"
            );
            return Err(Refusal::new(StatusCode::TOO_MANY_REQUESTS, error));
        }
        let watch = Arc::new(Watch::new(filter, snaplen, wants_sent));
        self.running.push(watch.clone());
        self.held.push(Arc::downgrade(&watch));
        Ok(watch)
    }

    fn stream(
        &self,
        watch: Arc<Watch>,
        encoder: Encoder,
        limits: Limits,
        content_type: &'static str,
    ) -> Stream {
        let (client, chunks) = chunks(stream::CHUNKS_MAX, watch.clone());
        tokio::spawn(pump(watch, encoder, limits, self.stall, self.names.subscribe(), client));
        Stream { content_type, chunks }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ConfigFlags, load_text};

    fn model() -> Model {
        let text = "[[port]]\nname = \"a\"\naddresses = [\"10.0.0.1/24\"]\n[[pool]]\nname = \"web\"\n\
                    addresses = \"10.0.0.4-10.0.0.5\"\ninstances = 2\n[[rule]]\nname = \"web\"\n\
                    frontend = \"203.0.113.10:80/tcp\"\npool = \"web\"\n";
        load_text("gw.toml", text, &ConfigFlags::default()).unwrap().model
    }

    /// What has ended and is not read to its end holds memory, and so its place.
    #[test]
    fn a_place_is_free_when_nothing_is_held_for_it_any_more() {
        let model = model();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut captures = Captures::new(&model);
            let ask = CaptureAsk::parse(b"{}").unwrap();
            let mut streams: Vec<Stream> =
                (0..WATCHES_MAX).map(|_| captures.capture(&ask, &model).unwrap()).collect();
            captures.running.iter().for_each(|watch| watch.end());
            assert!(captures.forget_ended() && captures.watches().is_empty());
            tokio::time::sleep(Duration::from_millis(50)).await;
            let refused = captures.capture(&ask, &model).map(|_| ()).unwrap_err();
            assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
            // One hangs up.
            streams.pop();
            let freed = async {
                while captures.capture(&ask, &model).is_err() {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            };
            tokio::time::timeout(Duration::from_secs(5), freed).await.unwrap();
        });
    }
}
