//! How time passes for probes: how many may begin, and how much of it this thread did not get.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::time::timeout;

/// One start in so long: 6,400 a second, which leave the thread time for everything else.
const START_INTERVAL: Duration = Duration::from_nanos(156_250);

/// A question has so many times its timeout, however late this thread is: at some time it has to have an answer.
const TIMEOUTS_MAX: u32 = 4;

/// From one look to the next, on a machine that is not too busy. What is more was lost: it counts for no timeout, and its
/// 128 starts are not made up for. So a thread that gets too little asks less, and is as quick to hear.
const GAP: Duration = Duration::from_millis(20);

pub(super) struct Pace {
    last: Instant,
    credit: Duration,
    lost: Lost,
}

impl Pace {
    pub(super) fn new(now: Instant) -> Self {
        Self { last: now, credit: Duration::ZERO, lost: Lost::default() }
    }

    /// Takes note of the time. To be called every few milliseconds.
    pub(super) fn advance(&mut self, now: Instant) {
        let gap = now.duration_since(self.last);
        self.last = now;
        self.credit = (self.credit + gap).min(GAP);
        self.lost.add(gap.saturating_sub(GAP));
    }

    /// Whether one more may begin.
    pub(super) fn may_start(&self) -> bool {
        self.credit >= START_INTERVAL
    }

    pub(super) fn started(&mut self) {
        self.credit = self.credit.saturating_sub(START_INTERVAL);
    }

    pub(super) fn lost(&self) -> Lost {
        self.lost.clone()
    }
}

/// The time in which this thread could hear no answers, in all: others had the CPU, or it had too much to do.
#[derive(Clone, Default)]
pub(super) struct Lost(Arc<AtomicU64>);

impl Lost {
    fn add(&self, time: Duration) {
        self.0.fetch_add(time.as_nanos() as u64, Ordering::Relaxed);
    }

    fn get(&self) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::Relaxed))
    }

    /// What comes within the time, not counting what is lost of it, up to a few times as much; or nothing. A machine that
    /// is late itself would find others late.
    pub(super) async fn within<T>(&self, time: Duration, what: impl Future<Output = T>) -> Option<T> {
        let mut what = pin!(what);
        let (mut left, mut more) = (time, time * (TIMEOUTS_MAX - 1));
        loop {
            let before = self.get();
            if let Ok(come) = timeout(left, &mut what).await {
                return Some(come);
            }
            left = (self.get() - before).min(more);
            more -= left;
            if left.is_zero() {
                return None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_follow_the_time_whatever_the_calls_and_a_late_caller_makes_up_for_little() {
        let start = Instant::now();
        let begin = |every: Duration, calls: u32| {
            let mut pace = Pace::new(start);
            let each = (1..=calls).map(|call| {
                pace.advance(start + every * call);
                let mut starts = 0;
                while pace.may_start() {
                    pace.started();
                    starts += 1;
                }
                starts
            });
            each.sum::<u32>()
        };
        for every in [1, 2, 10, 20] {
            assert_eq!(begin(Duration::from_millis(every), 1000 / every as u32), 6400, "every {every} ms");
        }
        assert_eq!(begin(Duration::from_secs(1), 3), 3 * 128);
    }

    #[test]
    fn time_that_this_thread_did_not_get_is_not_counted_against_others() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let begun = Instant::now();
        let mut pace = Pace::new(begun);
        let lost = pace.lost();
        let never = std::future::pending::<()>();
        runtime.block_on(async {
            assert_eq!(lost.within(Duration::from_millis(20), never).await, None);
            // 500 ms are lost, as seen 20 ms after it began.
            let seen = async {
                tokio::time::sleep(Duration::from_millis(10)).await;
                pace.advance(begun + Duration::from_millis(520));
            };
            let late = tokio::time::sleep(Duration::from_millis(100));
            let (come, ()) = tokio::join!(lost.within(Duration::from_millis(40), late), seen);
            assert_eq!(come, Some(()));
        });
    }

    #[test]
    fn a_thread_that_is_always_late_has_an_answer_all_the_same() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let lost = Lost::default();
        let time = Duration::from_millis(50);
        let always_late = async {
            loop {
                tokio::time::sleep(Duration::from_millis(5)).await;
                lost.add(Duration::from_millis(10));
            }
        };
        let begun = Instant::now();
        runtime.block_on(async {
            tokio::select! {
                come = lost.within(time, std::future::pending::<()>()) => assert_eq!(come, None),
                () = always_late => {}
                () = tokio::time::sleep(Duration::from_secs(10)) => panic!("it is put off again and again"),
            }
        });
        assert!(begun.elapsed() >= time * TIMEOUTS_MAX, "{:?}", begun.elapsed());
    }
}
