//! NAT rules: ports that each lead to one backend.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use super::{
    Acl, AdminState, Backend, Distribution, Forward, Frontend, Model, NoHealthyBackends, Pool,
    ProtocolSelector, Rule,
};

/// `[[nat_rule]]`: ports of one address, each of which leads to one backend, whatever probes say.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NatRule {
    /// Unique among rules and NAT rules.
    pub name: String,
    /// What clients use: one address; one port, several or all.
    pub frontend: Frontend,
    /// Whom it leads to.
    pub target: NatTarget,
    /// The port on the backends; 0 where packets keep theirs.
    pub backend_port: u16,
    /// By NAT, or with the packets as they are (`dsr`).
    pub forward: Forward,
    /// An established flow without packets for so long is forgotten. 1 s to 24 h.
    pub idle_timeout: Duration,
    /// Whether both ends of a TCP flow that is forgotten for that are reset.
    pub tcp_reset: bool,
    /// Whether echo requests to the frontend's address are answered.
    pub icmp_echo: bool,
    /// Who may begin flows; `None`: everybody.
    pub acl: Option<Arc<Acl>>,
}

/// Whom a NAT rule leads to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NatTarget {
    /// One backend.
    One(IpAddr),
    /// Each backend of a pool, by a port of its own.
    Each(Spread),
}

/// The ports of a pool's backends.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Spread {
    /// No larger than the range of ports.
    pub pool: Arc<Pool>,
    /// Ports that the file gives to backends, in the range, no port twice.
    pub fixed: BTreeMap<IpAddr, u16>,
    /// Every backend of the pool with its port, in the pool's order.
    pub ports: Vec<(IpAddr, u16)>,
    /// Backends that have left the pool, and whose ports nobody else has yet: flows to them may go on.
    pub former: BTreeMap<IpAddr, u16>,
}

/// Which port each backend has, or had, by NAT rule and address.
pub type NatPorts = BTreeMap<(String, IpAddr), u16>;

impl Spread {
    /// Each backend keeps the port that the file gives it, or else the one that it `had`, if it is still free. The others
    /// take the lowest that are, in the pool's order.
    pub(crate) fn new(
        frontend: Frontend,
        pool: Arc<Pool>,
        fixed: BTreeMap<IpAddr, u16>,
        had: &BTreeMap<IpAddr, u16>,
    ) -> Self {
        let range = frontend.first_port..=frontend.last_port;
        let members = || pool.backends.iter().map(|backend| backend.address);
        // A port that is given stays free for its backend while that is away.
        let mut taken: BTreeSet<u16> = fixed.values().copied().collect();
        let mut kept: BTreeMap<IpAddr, u16> = BTreeMap::new();
        for address in members() {
            let own = fixed.get(&address).copied();
            let before =
                || had.get(&address).copied().filter(|port| range.contains(port) && taken.insert(*port));
            kept.extend(own.or_else(before).map(|port| (address, port)));
        }
        let mut free: Vec<u16> = range.filter(|port| !taken.contains(port)).collect();
        free.reverse();
        // Where those that are given to others do not leave enough, these give way.
        let mut given: Vec<u16> = fixed.values().copied().collect();
        given.retain(|port| !kept.values().any(|kept| kept == port));
        let mut port_of =
            |address: IpAddr| kept.get(&address).copied().or_else(|| free.pop()).or_else(|| given.pop());
        let ports: Vec<(IpAddr, u16)> =
            members().filter_map(|address| Some((address, port_of(address)?))).collect();
        let present: BTreeSet<IpAddr> = members().collect();
        let mut used: BTreeSet<u16> = ports.iter().map(|(_, port)| *port).collect();
        let absent = had.iter().filter(|(address, _)| !present.contains(address));
        let in_range = absent.filter(|(_, port)| (frontend.first_port..=frontend.last_port).contains(port));
        let vacant = in_range.filter(|(_, port)| used.insert(**port));
        let former = vacant.map(|(address, port)| (*address, *port)).collect();
        Self { pool, fixed, ports, former }
    }
}

impl NatRule {
    /// The backend that has the frontend's address for itself: all ports lead to it, and keep their numbers.
    pub fn own_address(&self) -> Option<IpAddr> {
        let Frontend { first_port, last_port, protocol, .. } = self.frontend;
        let is_all = (first_port, last_port, protocol) == (0, u16::MAX, ProtocolSelector::Any);
        match self.target {
            NatTarget::One(backend) if is_all && self.forward == Forward::Nat => Some(backend),
            _ => None,
        }
    }

    /// The frontend of the port that leads to `address`, for each backend.
    pub fn mapping(&self) -> Vec<(Frontend, IpAddr)> {
        match &self.target {
            NatTarget::One(address) => vec![(self.frontend, *address)],
            NatTarget::Each(spread) => {
                let of_port = |port| Frontend { first_port: port, last_port: port, ..self.frontend };
                spread.ports.iter().map(|(address, port)| (of_port(*port), *address)).collect()
            }
        }
    }

    /// How the backend behind a port of its is written: with its port, where packets do not keep theirs.
    pub fn backend_of(&self, frontend: Frontend, address: IpAddr) -> String {
        let port = if self.backend_port == 0 { frontend.one_port() } else { Some(self.backend_port) };
        port.map_or_else(|| address.to_string(), |port| SocketAddr::new(address, port).to_string())
    }

    /// The pool whose backends have a port each.
    pub fn pool(&self) -> Option<&Arc<Pool>> {
        match &self.target {
            NatTarget::One(_) => None,
            NatTarget::Each(spread) => Some(&spread.pool),
        }
    }

    /// Whether it is an address of a backend's own: all ports of TCP and UDP, and all else.
    pub fn is_one_to_one(&self) -> bool {
        self.frontend.protocol == ProtocolSelector::Any && self.forward == Forward::Nat
    }

    /// The same as a rule, with `pool` for its backends.
    pub(crate) fn as_rule(&self, frontend: Frontend, pool: Arc<Pool>) -> Rule {
        Rule {
            name: self.name.clone(),
            frontend,
            pool,
            backend_port: if self.backend_port == 0 {
                frontend.one_port().unwrap_or(0)
            } else {
                self.backend_port
            },
            forward: self.forward.clone(),
            distribution: Distribution::FiveTuple,
            idle_timeout: self.idle_timeout,
            tcp_reset: self.tcp_reset,
            hairpin: false,
            icmp_echo: self.icmp_echo,
            mss_clamp: None,
            quic: None,
            probe: None,
            probe_name: None,
            no_healthy_backends: NoHealthyBackends::Drop,
            acl: self.acl.clone(),
            is_nat_rule: true,
        }
    }

    /// The rules that it comes to: one for each backend, and for each port that one has left.
    pub(crate) fn rules(&self) -> impl Iterator<Item = Rule> {
        let former = match &self.target {
            NatTarget::One(_) => None,
            NatTarget::Each(spread) => Some(spread.former.values()),
        };
        let vacant = former.into_iter().flatten().map(|port| {
            let frontend = Frontend { first_port: *port, last_port: *port, ..self.frontend };
            self.as_rule(
                frontend,
                Arc::new(Pool { name: "no backend".to_owned(), backends: Vec::new(), drain_timeout: None }),
            )
        });
        let mapped = self.mapping().into_iter();
        mapped.map(|(frontend, address)| self.as_rule(frontend, only(address))).chain(vacant)
    }
}

/// A pool of one backend, by a name that no other can have: what operators and probes say of pools is not for it.
pub(crate) fn only(address: IpAddr) -> Arc<Pool> {
    let backend = Backend { address, weight: 1, state: AdminState::Auto, quic_server_id: None };
    Arc::new(Pool { name: format!("backend {address}"), backends: vec![backend], drain_timeout: None })
}

impl Model {
    /// The ports of all backends that have one of a range, or had.
    pub fn nat_ports(&self) -> NatPorts {
        let mut all = NatPorts::new();
        for rule in &self.nat_rules {
            if let NatTarget::Each(spread) = &rule.target {
                let former = spread.former.iter().map(|(address, port)| (*address, *port));
                let ports = spread.ports.iter().copied().chain(former);
                all.extend(ports.map(|(address, port)| ((rule.name.clone(), address), port)));
            }
        }
        all
    }

    /// Leaves backends the ports that they `had`, as far as the file does not give them others.
    pub fn keep_nat_ports(&mut self, had: &NatPorts) {
        for rule in &mut self.nat_rules {
            if let NatTarget::Each(spread) = &mut rule.target {
                let lowest = (rule.name.clone(), IpAddr::V4(Ipv4Addr::UNSPECIFIED));
                let of_rule = had.range(lowest..).take_while(|((name, _), _)| *name == rule.name);
                let had = of_rule.map(|((_, address), port)| (*address, *port)).collect();
                let (pool, fixed) = (Arc::clone(&spread.pool), std::mem::take(&mut spread.fixed));
                *spread = Spread::new(rule.frontend, pool, fixed, &had);
            }
        }
        self.rules.retain(|rule| !rule.is_nat_rule);
        self.rules.extend(self.nat_rules.iter().flat_map(NatRule::rules));
    }
}
