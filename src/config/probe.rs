//! What a probe asks, and which answers are good.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// A health check, as a rule uses it. Its name is left out: two that ask the same are one.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Probe {
    /// How it asks.
    pub kind: ProbeKind,
    /// The port that is asked, 1 to 65535; `None`: the rule's backend port.
    pub port: Option<u16>,
    /// What the GET asks for; of no meaning for TCP, as all up to `verify`.
    pub path: String,
    /// The `Host` header; `None`: address and port.
    pub host: Option<String>,
    /// Which answers are good.
    pub status: Statuses,
    /// What a good answer's body has in it.
    pub body: Option<String>,
    /// Whether the certificate must be one that this machine trusts, and not expired.
    pub verify: bool,
    /// The authorities that may have signed it, in PEM; `None`: those of this machine.
    pub ca_file: Option<PathBuf>,
    /// By which network it asks.
    pub via: Via,
    /// From one question to the next. 100 ms to 1 h.
    pub interval: Duration,
    /// How long all of an answer may take. At most the interval.
    pub timeout: Duration,
    /// Good answers in a row that make a backend up. 1 to 100.
    pub rise: u32,
    /// Bad answers in a row that make a backend down. 1 to 100.
    pub fall: u32,
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let port = self.port.map_or_else(|| "the backend port".to_owned(), |port| format!("port {port}"));
        write!(f, "{} to {port}", self.kind)?;
        if self.kind != ProbeKind::Tcp {
            write!(f, ", {} as status {}", self.path, self.status)?;
        }
        if let Some(host) = &self.host {
            write!(f, ", host {host}")?;
        }
        if let Some(body) = &self.body {
            write!(f, ", body with {body:?}")?;
        }
        if self.verify {
            write!(f, ", certificate verified")?;
        }
        if let Some(file) = &self.ca_file {
            write!(f, " by {}", file.display())?;
        }
        if self.via == Via::Port {
            write!(f, ", out of guideway's port")?;
        }
        let [interval, timeout] = [self.interval, self.timeout].map(humantime::format_duration);
        write!(f, ", every {interval}, timeout {timeout}, rise {}, fall {}", self.rise, self.fall)
    }
}

/// By which network a probe goes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Via {
    /// The machine's own.
    Host,
    /// Out of the port of guideway's that leads to the backend, with that port's own address.
    Port,
}

impl fmt::Display for Via {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Host => "host",
            Self::Port => "port",
        })
    }
}

/// The first TCP port of a port's own address that probes use, up to the last there is. Above what kernels give out
/// by themselves, so that few think of it for a frontend.
pub const PROBE_PORT_FIRST: u16 = 61_000;

/// How a probe asks.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum ProbeKind {
    /// Whether a connection opens.
    Tcp,
    /// How a GET is answered.
    Http,
    /// The same by TLS.
    Https,
}

impl fmt::Display for ProbeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Tcp => "tcp",
            Self::Http => "http",
            Self::Https => "https",
        })
    }
}

/// Statuses of HTTP as ranges, both ends included.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Statuses(pub Vec<(u16, u16)>);

impl Default for Statuses {
    /// 200 and no other: a server that wants to be left alone says anything else.
    fn default() -> Self {
        Self(vec![(200, 200)])
    }
}

impl Statuses {
    /// Whether `status` is one of them.
    pub fn contains(&self, status: u16) -> bool {
        self.0.iter().any(|(first, last)| (*first..=*last).contains(&status))
    }
}

impl fmt::Display for Statuses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (first, last)) in self.0.iter().enumerate() {
            f.write_str(if index == 0 { "" } else { "," })?;
            write!(f, "{first}")?;
            if last > first {
                write!(f, "-{last}")?;
            }
        }
        Ok(())
    }
}
