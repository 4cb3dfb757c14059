//! Files, keys and values taken by themselves.

use std::fmt;
use std::time::Duration;

use super::Quoted;
use crate::config::probe::ProbeKind;
use crate::config::text::BadText;

/// The file cannot be read, or is not TOML.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FileProblem {
    /// The operating system's word.
    Unreadable(String),
    /// A directory, a device, a pipe.
    NotAFile,
    /// Longer than the limit, in bytes.
    TooLarge {
        /// The limit.
        max: u64,
    },
    /// The bytes are no text.
    NotUtf8,
    /// The parser's word.
    Syntax(String),
    /// The second place of a key.
    RepeatedKey(String),
}

impl fmt::Display for FileProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(error) => {
                write!(f, "cannot read the file: {error}; check the path after --config")
            }
            Self::NotAFile => write!(f, "this is not a regular file; give a TOML file to --config"),
            Self::TooLarge { max } => write!(f, "the file is longer than {max} bytes; is it the right one?"),
            Self::NotUtf8 => write!(f, "this line is not UTF-8; save the file as UTF-8 text"),
            Self::Syntax(message) => write!(f, "this line is not TOML: {message}"),
            Self::RepeatedKey(key) => write!(f, "{} is given twice; delete one", Quoted(key)),
        }
    }
}

/// A key or a value taken by itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ValueProblem {
    /// No such key.
    UnknownKey {
        /// Whose key.
        subject: String,
        /// As written.
        key: String,
        /// The key that may have been meant.
        near: Option<&'static str>,
        /// All that may be written there.
        allowed: &'static [&'static str],
    },
    /// A number where text is wanted, and the like.
    WrongType {
        /// Whose key.
        subject: String,
        /// The key.
        key: &'static str,
        /// The TOML type that was written.
        found: &'static str,
        /// How to write it.
        example: &'static str,
    },
    /// Something else where a table is wanted.
    NotSection {
        /// The key.
        key: &'static str,
        /// The TOML type that was written.
        found: &'static str,
        /// How to write it.
        form: &'static str,
    },
    /// A key that must be there is not.
    MissingKey {
        /// Whose key.
        subject: String,
        /// The key.
        key: &'static str,
        /// How to write it.
        example: &'static str,
    },
    /// Text that does not say what it should.
    BadValue {
        /// Whose key.
        subject: String,
        /// The key.
        key: &'static str,
        /// As written.
        text: String,
        /// What is wrong with it.
        why: BadText,
    },
    /// Text that does not say what it should, and is not to be shown.
    BadSecret {
        /// Whose it is.
        subject: String,
        /// The key.
        key: &'static str,
    },
    /// A number or duration beyond its limits.
    OutOfRange {
        /// Whose key.
        subject: String,
        /// The key.
        key: &'static str,
        /// As understood, with its unit.
        value: String,
        /// The least allowed.
        low: String,
        /// The most allowed.
        high: String,
    },
    /// More of something than there may be.
    TooMany {
        /// What, in the plural.
        what: String,
        /// How many there are.
        count: usize,
        /// How many there may be.
        max: usize,
    },
    /// A key's value that a later version may know.
    Unsupported {
        /// Whose key.
        subject: String,
        /// Key and value as written.
        what: String,
        /// What to do.
        instead: &'static str,
    },
    /// A probe that would wait for an answer longer than until it asks again.
    ProbeTimeout {
        /// Which probe.
        subject: String,
        /// Its timeout.
        timeout: Duration,
        /// Its interval.
        interval: Duration,
    },
    /// Authorities that nobody asks.
    UnusedAuthorities {
        /// Which probe.
        subject: String,
    },
    /// A TCP probe asks for no path; only https has certificates.
    KeyOfOtherProbe {
        /// Which probe.
        subject: String,
        /// Its kind.
        kind: ProbeKind,
        /// What it has.
        key: &'static str,
        /// The kind that has that.
        other: ProbeKind,
    },
}

impl fmt::Display for ValueProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownKey { subject, key, near: Some(near), .. } => {
                write!(f, "{subject} has an unknown key {}; did you mean {near}?", Quoted(key))
            }
            Self::UnknownKey { subject, key, near: None, allowed } => {
                write!(f, "{subject} has an unknown key {}; known are {}", Quoted(key), allowed.join(", "))
            }
            Self::WrongType { subject, key, found, example } => {
                write!(f, "{subject} has {found} as {key}; write it as {key} = {example}")
            }
            Self::NotSection { key, found, form } => write!(f, "{key} has {found}; write it as {form}"),
            Self::MissingKey { subject, key, example } => {
                write!(f, "{subject} has no {key}; add {key} = {example}")
            }
            Self::BadValue { subject, key, text, why } => {
                write!(f, "{subject} has {key} {}, {why}", Quoted(text))
            }
            Self::BadSecret { subject, key } => {
                write!(
                    f,
                    "{subject} has a {key} which is not 32 hex digits; `openssl rand -hex 16` makes one"
                )
            }
            Self::OutOfRange { subject, key, value, low, high } => {
                write!(f, "{subject} has {key} {value}; allowed are {low} to {high}")
            }
            Self::TooMany { what, count, max } => {
                write!(f, "there are {count} {what}; {max} are allowed: take some away")
            }
            Self::Unsupported { subject, what, instead } => {
                write!(f, "{subject} has {what}, which this version does not support; {instead}")
            }
            Self::ProbeTimeout { subject, timeout, interval } => write!(
                f,
                "{subject} has timeout {}, which is longer than its interval {}; shorten it, or ask less often",
                humantime::format_duration(*timeout),
                humantime::format_duration(*interval)
            ),
            Self::UnusedAuthorities { subject } => {
                write!(f, "{subject} has a ca_file, and verify = false; delete one of them")
            }
            Self::KeyOfOtherProbe { subject, kind, key, other } => {
                write!(
                    f,
                    "{subject} is of kind {kind} and has a {key}; delete the {key}, or use kind {other}"
                )
            }
        }
    }
}
