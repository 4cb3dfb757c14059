//! The log: an event a line, on standard error. Of one kind of trouble no more lines than somebody can read.

use std::collections::HashMap;
use std::fmt::Arguments;
use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use log::{Level, Log, Metadata, Record};

/// So many warnings or errors of a kind are written in an [`INTERVAL`]: each line of a configuration that is wrong is named,
/// but who is refused again and again does not fill a disk.
const LINES_MAX: u32 = 100;
const INTERVAL: Duration = Duration::from_secs(10);

/// Writes what is logged from now on to standard error: events and trouble, with `verbose` 1 also what is of use in a search
/// for a fault, with 2 everything. `RUST_LOG` is stronger.
pub(super) fn start(verbose: u8) {
    let level = match verbose {
        0 => "info",
        1 => "debug",
        _ => "trace",
    };
    let mut builder = env_logger::Builder::from_env(env_logger::Env::default().default_filter_or(level));
    builder.format_target(false);
    if goes_to_journal() {
        builder.format(|out, record| {
            record
                .args()
                .to_string()
                .lines()
                .try_for_each(|line| writeln!(out, "<{}>{line}", severity(record.level())))
        });
    }
    let inner = builder.build();
    log::set_max_level(inner.filter());
    // Only a second logger would be refused.
    let _ = log::set_boxed_logger(Box::new(Limited { inner, kinds: Mutex::default() }));
}

/// An error that ends the program, as people read it or as the journal does.
#[allow(clippy::print_stderr, reason = "errors go to standard error")]
pub(super) fn print_error(message: &str) {
    let prefix = if goes_to_journal() { format!("<{}>", severity(Level::Error)) } else { String::new() };
    message.trim_end().lines().for_each(|line| eprintln!("{prefix}{line}"));
}

/// Whether standard error is the stream that systemd has connected to its journal: `$JOURNAL_STREAM` names device and
/// inode of it, and may be inherited where it is not (systemd.exec(5)).
fn goes_to_journal() -> bool {
    let file = std::io::stderr().as_fd().try_clone_to_owned().map(File::from);
    let told = std::env::var("JOURNAL_STREAM").unwrap_or_default();
    let is = |file: File| file.metadata().map(|is| format!("{}:{}", is.dev(), is.ino()));
    file.and_then(is).is_ok_and(|stream| stream == told)
}

/// As the journal reads it at the beginning of a line (sd-daemon(3)); it has its own times and names.
fn severity(level: Level) -> u8 {
    match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    }
}

/// Passes on what is not too much. What was done is always told, and what serves the search for a fault.
struct Limited {
    inner: env_logger::Logger,
    kinds: Mutex<HashMap<Place, Kind>>,
}

/// File and line of the source from which a line of the log comes.
type Place = (Option<&'static str>, Option<u32>);

impl Log for Limited {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.inner.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if !self.inner.matches(record) {
            return;
        }
        if record.level() > Level::Warn {
            return self.inner.log(record);
        }
        let now = Instant::now();
        let turn = {
            let mut kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
            kinds.entry((record.file_static(), record.line())).or_insert_with(|| Kind::new(now)).turn(now)
        };
        let say = |what: Arguments<'_>| {
            self.inner.log(&Record::builder().metadata(record.metadata().clone()).args(what).build());
        };
        match turn {
            Turn::Write => self.inner.log(record),
            Turn::WriteAfter { missed } => {
                say(format_args!("{missed} more lines like the next were not written"));
                self.inner.log(record);
            }
            Turn::WriteLast { wait } => {
                self.inner.log(record);
                say(format_args!(
                    "too many lines like the last: no more of them for {} s",
                    wait.as_secs().max(1)
                ));
            }
            Turn::Miss => {}
        }
    }

    fn flush(&self) {
        self.inner.flush();
    }
}

/// The lines that came from one place.
struct Kind {
    began: Instant,
    lines: u32,
}

#[derive(Debug, PartialEq, Eq)]
enum Turn {
    Write,
    /// The first after some that were not written.
    WriteAfter {
        missed: u32,
    },
    /// The others have to `wait`.
    WriteLast {
        wait: Duration,
    },
    Miss,
}

impl Kind {
    fn new(now: Instant) -> Self {
        Self { began: now, lines: 0 }
    }

    fn turn(&mut self, now: Instant) -> Turn {
        let age = now.duration_since(self.began);
        let mut missed = 0;
        if age >= INTERVAL {
            missed = self.lines.saturating_sub(LINES_MAX);
            *self = Self::new(now);
        }
        self.lines = self.lines.saturating_add(1);
        match self.lines {
            _ if missed > 0 => Turn::WriteAfter { missed },
            LINES_MAX => Turn::WriteLast { wait: INTERVAL.saturating_sub(age) },
            lines if lines > LINES_MAX => Turn::Miss,
            _ => Turn::Write,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_too_many_lines_the_number_is_told() {
        let began = Instant::now();
        let mut kind = Kind::new(began);
        for _ in 1..LINES_MAX {
            assert_eq!(kind.turn(began), Turn::Write);
        }
        let later = began + Duration::from_secs(3);
        assert_eq!(kind.turn(later), Turn::WriteLast { wait: Duration::from_secs(7) });
        for _ in 0..1000 {
            assert_eq!(kind.turn(later), Turn::Miss);
        }
        assert_eq!(kind.turn(began + INTERVAL), Turn::WriteAfter { missed: 1000 });
        assert_eq!(kind.turn(began + INTERVAL), Turn::Write);
    }

    #[test]
    fn who_writes_seldom_is_always_written() {
        let mut now = Instant::now();
        let mut kind = Kind::new(now);
        for _ in 0..10 * LINES_MAX {
            assert_eq!(kind.turn(now), Turn::Write);
            now += INTERVAL / LINES_MAX * 2;
        }
    }
}
