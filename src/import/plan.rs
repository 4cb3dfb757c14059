//! What both importers make: guideway's parts, each with the place that it comes from.

use std::collections::{BTreeMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::report::{Findings, Place};
use crate::config::{
    AddressRange, AdminState, Distribution, NAME_LEN_MAX, NoHealthyBackends, ProbeKind, RULES_MAX,
};

/// Everything that will be written.
#[derive(Default)]
pub(super) struct Plan {
    /// Comments at the head of the file.
    pub(super) head: Vec<String>,
    /// Sections of the addresses file that go on as they are.
    pub(super) settings: Vec<(Place, String)>,
    pub(super) probes: Vec<Probe>,
    pub(super) pools: Vec<Pool>,
    pub(super) rules: Vec<Rule>,
    pub(super) nat_rules: Vec<NatRule>,
    pub(super) outbound: Vec<OutboundRule>,
    /// By pool and protocol: whom Azure lets out because of a rule, and by which addresses.
    pub(super) implicit: BTreeMap<(String, Protocol), (Place, Vec<IpAddr>)>,
    pub(super) acls: Vec<Acl>,
    /// The access list of each rule and NAT rule that has one, by their names.
    pub(super) acl_of: BTreeMap<String, String>,
    pub(super) acl_names: Names,
    pub(super) probe_names: Names,
    pub(super) pool_names: Names,
    pub(super) rule_names: Names,
}

impl Plan {
    /// Notes that Azure lets the backends of `pool` out through a public frontend of theirs, for the protocols of its rule.
    pub(super) fn lets_out(&mut self, pool: &str, frontend: Frontend, place: &Place) {
        // A rule for all ports leaves none to go out by.
        let both = [Protocol::Tcp, Protocol::Udp].into_iter().filter(|_| frontend.port != 0);
        let of = both.filter(|one| [Protocol::Any, *one].contains(&frontend.protocol));
        for protocol in of {
            let key = (pool.to_owned(), protocol);
            let (_, frontends) = self.implicit.entry(key).or_insert_with(|| (place.clone(), Vec::new()));
            if !frontends.contains(&frontend.address) {
                frontends.push(frontend.address);
            }
        }
    }

    /// An address of an instance's own is no load balancer's. guideway takes both, the load balancer's ports first.
    pub(super) fn check_own_addresses(&self, findings: &mut Findings) {
        let of_rules = self.rules.iter().map(|rule| (rule.frontend.address, &rule.place));
        let of_nat_rules = self.nat_rules.iter().filter(|rule| !rule.frontend.is_whole());
        let of_nat_rules = of_nat_rules.map(|rule| (rule.frontend.address, &rule.place));
        let of_outbound = self.outbound.iter().flat_map(|rule| {
            rule.frontends.iter().filter_map(move |text| Some((text.parse::<IpAddr>().ok()?, &rule.place)))
        });
        let taken: BTreeMap<IpAddr, &Place> = of_outbound.chain(of_nat_rules).chain(of_rules).collect();
        for rule in self.nat_rules.iter().filter(|rule| rule.frontend.is_whole()) {
            let address = rule.frontend.address;
            if let Some(place) = taken.get(&address) {
                let what = format!(
                    "{address} is to be an instance's own address, and is a frontend of the load balancer ({place}); in the \
                     addresses file, under [frontends], give one of them another"
                );
                findings.error(&rule.place, what);
            }
        }
    }

    /// Says at once what a reading of the whole would say after a while.
    pub(super) fn check_counts(&self, findings: &mut Findings) {
        if let Some(rule) = self.rules.get(RULES_MAX) {
            let what =
                format!("there are {} rules; {RULES_MAX} are allowed: take some away", self.rules.len());
            findings.error(&rule.place, what);
        }
    }

    /// Makes outbound rules of that, but for what an outbound rule of Azure's has.
    pub(super) fn finish_implicit(&mut self) {
        for ((pool, protocol), (place, frontends)) in std::mem::take(&mut self.implicit) {
            let has = |rule: &&OutboundRule| {
                rule.pool == pool && (rule.protocol == protocol || rule.protocol == Protocol::Any)
            };
            if self.outbound.iter().any(|rule| has(&rule)) {
                continue;
            }
            let name = self.rule_names.make(&[&pool, "out", protocol.word()]);
            let comment = "Azure lets these backends out by the frontends of their rules, for the protocols of these rules.";
            self.outbound.push(OutboundRule {
                name,
                place,
                comments: vec![comment.to_owned()],
                pool,
                frontends: frontends.iter().map(ToString::to_string).collect(),
                protocol,
                ports_per_backend: 0,
                idle_minutes: 4,
                tcp_reset: false,
            });
        }
    }
}

/// An access list.
pub(super) struct Acl {
    pub(super) name: String,
    pub(super) place: Place,
    /// Each with what is said of it.
    pub(super) lines: Vec<(String, Option<String>)>,
}

pub(super) struct Pool {
    pub(super) name: String,
    pub(super) place: Place,
    pub(super) comments: Vec<String>,
    pub(super) members: Members,
    pub(super) drain_timeout: Option<Duration>,
}

/// Who is in a pool.
pub(super) enum Members {
    List(Vec<(IpAddr, AdminState)>),
    /// So many of a range, from its start.
    Range(AddressRange, usize),
}

impl Members {
    /// Their addresses, as far as there can be any.
    pub(super) fn addresses(&self) -> Vec<IpAddr> {
        let max = crate::config::BACKENDS_PER_POOL_MAX;
        match self {
            Self::List(list) => list.iter().map(|(address, _)| *address).take(max).collect(),
            Self::Range(range, count) => range.addresses().take(max.min(*count)).collect(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::List(list) => list.is_empty(),
            Self::Range(_, count) => *count == 0,
        }
    }
}

pub(super) struct Probe {
    pub(super) name: String,
    pub(super) place: Place,
    pub(super) comments: Vec<String>,
    pub(super) kind: ProbeKind,
    pub(super) port: Option<u16>,
    pub(super) path: Option<String>,
    pub(super) interval: Duration,
    pub(super) timeout: Duration,
    /// `rise` and `fall`.
    pub(super) threshold: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Protocol {
    Tcp,
    Udp,
    Any,
}

impl Protocol {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Any => "any",
        }
    }
}

/// What clients use. Port 0 is all ports.
#[derive(Clone, Copy)]
pub(super) struct Frontend {
    pub(super) address: IpAddr,
    pub(super) port: u16,
    pub(super) protocol: Protocol,
}

impl Frontend {
    /// Whether all ports of both protocols are meant.
    pub(super) fn is_whole(self) -> bool {
        self.port == 0 && self.protocol == Protocol::Any
    }

    pub(super) fn text(self) -> String {
        format!("{}/{}", SocketAddr::new(self.address, self.port), self.protocol.word())
    }
}

/// What rules and NAT rules share.
#[derive(Clone)]
pub(super) struct Treatment {
    /// Whether packets keep their destination address: Azure's floating IP.
    pub(super) floating: bool,
    pub(super) idle_minutes: u64,
    pub(super) tcp_reset: bool,
}

pub(super) struct Rule {
    pub(super) name: String,
    pub(super) place: Place,
    pub(super) comments: Vec<String>,
    pub(super) frontend: Frontend,
    pub(super) pool: String,
    pub(super) backend_port: u16,
    pub(super) distribution: Distribution,
    pub(super) treatment: Treatment,
    pub(super) probe: Option<String>,
    pub(super) no_healthy_backends: NoHealthyBackends,
}

pub(super) struct NatRule {
    pub(super) name: String,
    pub(super) place: Place,
    pub(super) comments: Vec<String>,
    /// With the first port.
    pub(super) frontend: Frontend,
    /// One more port for each backend that there may be.
    pub(super) last_port: u16,
    pub(super) target: Target,
    pub(super) backend_port: u16,
    pub(super) treatment: Treatment,
}

impl NatRule {
    /// Gives an instance an address of its own.
    pub(super) fn own_address(
        name: String,
        place: Place,
        (public, instance): (IpAddr, IpAddr),
        idle_minutes: u64,
    ) -> Self {
        Self {
            name,
            place,
            comments: Vec::new(),
            frontend: Frontend { address: public, port: 0, protocol: Protocol::Any },
            last_port: 0,
            target: Target::One(instance),
            backend_port: 0,
            treatment: Treatment { floating: false, idle_minutes, tcp_reset: false },
        }
    }
}

pub(super) enum Target {
    One(IpAddr),
    /// A pool by its name, and who is in it, in order.
    Pool(String, Vec<IpAddr>),
}

#[derive(Clone)]
pub(super) struct OutboundRule {
    pub(super) name: String,
    pub(super) place: Place,
    pub(super) comments: Vec<String>,
    pub(super) pool: String,
    pub(super) frontends: Vec<String>,
    pub(super) protocol: Protocol,
    pub(super) ports_per_backend: u64,
    pub(super) idle_minutes: u64,
    pub(super) tcp_reset: bool,
}

/// Makes names that guideway takes of those that Azure takes, no two alike.
#[derive(Default)]
pub(super) struct Names {
    taken: HashSet<String>,
    next: BTreeMap<String, usize>,
}

impl Names {
    pub(super) fn make(&mut self, parts: &[&str]) -> String {
        let sound = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') { c } else { '-' };
        let whole: String = parts.join(".").chars().map(sound).collect();
        let name: String = whole.chars().take(NAME_LEN_MAX).collect();
        let name = if name.is_empty() { "unnamed".to_owned() } else { name };
        if self.taken.insert(name.clone()) {
            return name;
        }
        let number = self.next.entry(name.clone()).or_insert(1);
        loop {
            *number += 1;
            let end = format!("-{number}");
            let mut other: String = name.chars().take(NAME_LEN_MAX - end.len()).collect();
            other.push_str(&end);
            if self.taken.insert(other.clone()) {
                return other;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_sound_and_unique() {
        let mut names = Names::default();
        assert_eq!(names.make(&["tide", "https"]), "tide.https");
        assert_eq!(names.make(&["tide", "https"]), "tide.https-2");
        assert_eq!(names.make(&["tide", "https"]), "tide.https-3");
        assert_eq!(names.make(&["Größe \"x\"\n"]), "Gr--e--x--");
        assert_eq!(names.make(&[""]), "unnamed");
        let long = "a".repeat(100);
        assert_eq!(names.make(&[&long]).len(), NAME_LEN_MAX);
        let second = names.make(&[&long]);
        assert_eq!(second.len(), NAME_LEN_MAX);
        assert!(second.ends_with("a-2"), "{second}");
    }
}
