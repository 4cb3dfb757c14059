//! From a watch's records to a client: a task of the management thread for each.

use std::sync::Arc;
use std::time::Duration;

use hyper::body::Bytes;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use super::super::http::Producer;
use super::{Names, pcapng, trace};
use crate::io::PortId;
use crate::watch::{Record, Watch};

/// Parts of the stream that wait for the client, at most.
pub(super) const CHUNKS_MAX: usize = 4;

/// Bytes of a part, after which no further record is added.
const CHUNK_LEN: usize = 128 << 10;

/// How often the watch is looked at while nothing comes.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// After so long without a frame something is sent nonetheless: it shows whether the client is still there.
const SILENCE_MAX: Duration = Duration::from_secs(10);

/// When a stream ends by itself.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    /// After so many frames.
    pub(super) count: Option<u64>,
    /// After so long.
    pub(super) time: Option<Duration>,
}

/// What the client gets.
pub(super) enum Encoder {
    Pcapng(pcapng::Encoder),
    Trace(trace::Encoder),
}

impl Encoder {
    fn begin(&mut self, out: &mut Vec<u8>) {
        match self {
            Self::Pcapng(encoder) => encoder.take(out),
            Self::Trace(_) => {}
        }
    }

    /// Whether it was told.
    fn record(&mut self, record: &Record, names: &Names, out: &mut Vec<u8>) -> bool {
        match self {
            Self::Pcapng(encoder) => {
                encoder.record(record, names, out);
                true
            }
            Self::Trace(encoder) => encoder.record(record, names, out),
        }
    }

    /// How many were lost so far. `always`: even if nothing has changed.
    fn losses(&mut self, watch: &Watch, names: &Names, always: bool, out: &mut Vec<u8>) {
        let lost: Vec<u64> = (0..names.ports.len() as u8).map(|port| watch.lost(PortId(port))).collect();
        match self {
            Self::Pcapng(encoder) => encoder.losses(&lost, always, out),
            // A line without a word: readers pass over it.
            Self::Trace(_) if always => out.push(b'\n'),
            Self::Trace(_) => {}
        }
    }
}

/// Ends the watch however the task ends.
struct Ending(Arc<Watch>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// Sends what the watch sees, until a limit is reached, the client has left, or it has taken nothing for so long as `stall`.
pub(super) async fn pump(
    watch: Arc<Watch>,
    mut encoder: Encoder,
    limits: Limits,
    stall: Duration,
    names: watch::Receiver<Arc<Names>>,
    client: Producer,
) {
    let ending = Ending(watch);
    let watch = &ending.0;
    let deadline = limits.time.map(|time| Instant::now() + time);
    let mut left = limits.count.unwrap_or(u64::MAX);
    let mut out = Vec::new();
    encoder.begin(&mut out);
    let mut told_at = Instant::now();
    loop {
        let is_over = left == 0 || deadline.is_some_and(|at| Instant::now() >= at);
        if is_over {
            watch.end();
        }
        // After the end what is there is still told, as far as there is a count left.
        let more = fill(watch, &mut encoder, &names.borrow().clone(), &mut left, &mut out);
        let is_last = is_over && !more;
        encoder.losses(watch, &names.borrow(), is_last || told_at.elapsed() > SILENCE_MAX, &mut out);
        if !out.is_empty() {
            told_at = Instant::now();
            let chunk = Bytes::from(std::mem::take(&mut out));
            match timeout(stall, client.send(chunk)).await {
                Ok(true) => {}
                Ok(false) => return,
                Err(_) => {
                    log::info!("a capture or trace is cut off: its client has taken nothing for {stall:?}");
                    return;
                }
            }
        }
        if is_last {
            client.complete(stall);
            return;
        }
        if more {
            // Others of the thread come first.
            tokio::task::yield_now().await;
            continue;
        }
        let until = deadline.map_or(LOOK_INTERVAL, |at| LOOK_INTERVAL.min(at - Instant::now()));
        tokio::select! {
            () = sleep(until) => {}
            () = client.closed() => return,
        }
    }
}

/// Takes as many records as a part of the stream holds. Whether there may be more.
fn fill(watch: &Watch, encoder: &mut Encoder, names: &Names, left: &mut u64, out: &mut Vec<u8>) -> bool {
    while *left > 0 {
        if out.len() >= CHUNK_LEN {
            return true;
        }
        let Some(record) = watch.next() else { return false };
        *left -= u64::from(encoder.record(&record, names, out));
        watch.give_back(record);
    }
    false
}
