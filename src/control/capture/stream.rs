//! From a watch's records to a client: a task of the management thread for each.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Bytes;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};

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
        if deadline.is_some_and(|at| Instant::now() >= at) {
            watch.end();
        }
        // After the end what is there is still told, as far as there is a count left.
        let more = fill(watch, &mut encoder, &names.borrow().clone(), &mut left, &mut out);
        if left == 0 {
            watch.end();
        }
        let is_last = watch.has_ended() && !more;
        encoder.losses(watch, &names.borrow(), is_last || told_at.elapsed() > SILENCE_MAX, &mut out);
        if !out.is_empty() {
            told_at = Instant::now();
            let chunk = Bytes::from(std::mem::take(&mut out));
            if !deliver(&client, chunk, stall, watch, deadline).await {
                return;
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

/// Waits for the client, no longer than `stall`, and ends the watch if its time comes meanwhile. Whether it was taken.
async fn deliver(
    client: &Producer,
    chunk: Bytes,
    stall: Duration,
    watch: &Watch,
    deadline: Option<Instant>,
) -> bool {
    let mut sent = pin!(timeout(stall, client.send(chunk)));
    let over = async {
        match deadline {
            Some(at) => sleep_until(at).await,
            None => std::future::pending().await,
        }
    };
    let sent = tokio::select! {
        biased;
        sent = &mut sent => sent,
        () = over => {
            watch.end();
            sent.await
        }
    };
    sent.unwrap_or_else(|_| {
        log::info!("a capture or trace is cut off: its client has taken nothing for {stall:?}");
        false
    })
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

#[cfg(test)]
mod tests {
    use super::super::super::http::chunks;
    use super::*;
    use crate::watch::Filter;

    /// A pump whose client reads nothing, of a watch that has seen more than what may wait for a client.
    fn pump_of_a_deaf_client(
        time: Option<Duration>,
        stall: Duration,
    ) -> (Arc<Watch>, tokio::task::JoinHandle<()>, impl Sized) {
        let watch = Arc::new(Watch::new(Filter::default(), 2048, true));
        while let Some(mut record) = watch.take() {
            record.keep(&[7; 2048]);
            watch.hand_in(record);
        }
        let names = Names { ports: vec!["outside".into()], ..Names::default() };
        let encoder = Encoder::Pcapng(pcapng::Encoder::new(2048, &names).unwrap());
        let (client, chunks) = chunks(CHUNKS_MAX, Arc::new(()));
        let names = watch::Sender::new(Arc::new(names));
        let limits = Limits { count: None, time };
        let task = tokio::spawn(pump(watch.clone(), encoder, limits, stall, names.subscribe(), client));
        (watch, task, (chunks, names))
    }

    fn run(story: impl Future<Output = ()>) {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(story);
    }

    #[test]
    fn a_watch_ends_on_time_though_nobody_reads() {
        run(async {
            let (time, stall) = (Duration::from_millis(100), Duration::from_secs(60));
            let (watch, task, _held) = pump_of_a_deaf_client(Some(time), stall);
            let ended = async {
                while !watch.has_ended() {
                    sleep(Duration::from_millis(5)).await;
                }
            };
            timeout(Duration::from_secs(10), ended).await.unwrap();
            assert!(!task.is_finished(), "what it has seen is still to be read");
        });
    }

    #[test]
    fn who_takes_nothing_for_too_long_is_given_up() {
        run(async {
            let (watch, task, _held) = pump_of_a_deaf_client(None, Duration::from_millis(200));
            timeout(Duration::from_secs(10), task).await.unwrap().unwrap();
            assert!(watch.has_ended());
        });
    }
}
