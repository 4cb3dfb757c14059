//! How the packets of a rule reach its backends, and what goes with that.

use super::in_range;
use super::network::Network;
use super::pools::Pools;
use crate::config::error::{Place, Report};
use crate::config::model::{
    AddressRange, Backend, Cidr, Encapsulation, Forward, ForwardMode, Frontend, FullNat, GueVariant,
    MssClamp, ProtocolSelector, Tunnel,
};
use crate::config::probe::Probe;
use crate::config::problem::{ForwardProblem, NetworkProblem, ValueProblem};
use crate::config::raw::{At, Field, RawRule};
use crate::config::text::{ClientAddress, RawClamp};

/// The most source addresses of a rule.
pub const SOURCE_ADDRESSES_MAX: usize = 4096;

const PORT: (i128, i128) = (1, u16::MAX as i128);
const GUE_VARIANT: (i128, i128) = (0, 1);
/// 24 bits, RFC 7348 section 5.
const VNI: (i128, i128) = (0, (1 << 24) - 1);
const VNI_DEFAULT: u32 = 1;
/// IANA's `gue`.
const GUE_PORT: u16 = 6080;
/// IANA's `vxlan`.
const VXLAN_PORT: u16 = 4789;
/// Up to the largest IPv4 packet less the two least headers (RFC 9293 section 3.7.1).
const MSS: (i128, i128) = (64, u16::MAX as i128 - 40);

use ForwardMode::{Dsr, FullNat as FullNatMode, Gre, Gue, Ipip, Nat, Vxlan};

/// A rule, and what its way is held against.
pub(super) struct Checker<'a> {
    pub(super) raw: &'a RawRule,
    pub(super) subject: &'a str,
    pub(super) network: &'a Network,
    pub(super) pools: &'a Pools,
    /// All frontends.
    pub(super) frontends: &'a [At<Frontend>],
}

/// A rule that is sound so far.
pub(super) struct Parts<'a> {
    pub(super) frontend: Frontend,
    pub(super) backends: &'a [Backend],
    /// Where the pool is named.
    pub(super) place: Place,
}

impl Checker<'_> {
    /// The rule's way; `None` where it was not understood.
    pub(super) fn mode(&self) -> Option<ForwardMode> {
        if self.raw.forward.is_broken() {
            return None;
        }
        Some(self.raw.forward.value().copied().unwrap_or(Nat))
    }

    /// Keys that have no effect. What is said to be off is off.
    pub(super) fn check_keys(&self, mode: ForwardMode, frontend: Option<Frontend>, report: &mut Report) {
        const TUNNELS: &[ForwardMode] = &[Ipip, Gre, Gue, Vxlan];
        const TRANSLATING: &[ForwardMode] = &[Nat, FullNatMode];
        let RawRule { way, .. } = self.raw;
        let clamps = self.raw.mss_clamp.given().filter(|at| at.value != RawClamp::Off).map(|at| at.place);
        let is_on = |field: &Field<bool>| field.given().filter(|at| at.value).map(|at| at.place);
        let client_address = place(&way.client_address);
        let keys: [(&'static str, Option<Place>, &'static [ForwardMode]); 10] = [
            ("source_addresses", place(&way.source_addresses), &[FullNatMode]),
            ("client_address", client_address, &[FullNatMode]),
            ("tunnel_source", place(&way.tunnel_source), TUNNELS),
            ("tunnel_port", place(&way.tunnel_port), &[Gue, Vxlan]),
            ("gue_variant", place(&way.gue_variant), &[Gue]),
            ("vni", place(&way.vni), &[Vxlan]),
            ("inner_mac", place(&way.inner_mac), &[Vxlan]),
            ("mss_clamp", clamps, TRANSLATING),
            ("tcp_reset", is_on(&self.raw.tcp_reset), TRANSLATING),
            ("hairpin", is_on(&self.raw.hairpin), &[Nat]),
        ];
        let of_tcp = ["client_address", "mss_clamp", "tcp_reset"];
        let without_tcp = frontend.filter(|frontend| !frontend.protocol.overlaps(ProtocolSelector::Tcp));
        for (key, place, modes) in keys {
            let (Some(place), subject) = (place, self.subject.to_owned()) else { continue };
            if !modes.contains(&mode) {
                report.error(place, ForwardProblem::KeyOfOtherMode { subject, key, mode, modes });
            } else if let Some(frontend) = without_tcp.filter(|_| of_tcp.contains(&key)) {
                report.error(place, ForwardProblem::KeyOfTcp { subject, key, frontend });
            }
        }
    }

    pub(super) fn mss_clamp(&self, report: &mut Report) -> Option<MssClamp> {
        let At { value, place } = *self.raw.mss_clamp.given()?;
        match value {
            RawClamp::Off => None,
            RawClamp::FromMtu => Some(MssClamp::FromMtu),
            RawClamp::To(bytes) => {
                let field = Field::at(bytes, place);
                in_range(self.subject, "mss_clamp", &field, MSS, report).map(MssClamp::To)
            }
        }
    }

    /// The way with all that belongs to it, in its ranges.
    pub(super) fn forward(&self, mode: ForwardMode, report: &mut Report) -> Forward {
        let way = &self.raw.way;
        let source = self.raw.way.tunnel_source.value().copied();
        let port = in_range(self.subject, "tunnel_port", &way.tunnel_port, PORT, report);
        let variant: Option<u8> =
            in_range(self.subject, "gue_variant", &way.gue_variant, GUE_VARIANT, report);
        let vni = in_range(self.subject, "vni", &way.vni, VNI, report);
        let tunnel = |encapsulation| Forward::Tunnel(Tunnel { source, encapsulation });
        match mode {
            Nat => Forward::Nat,
            Dsr => Forward::Dsr,
            FullNatMode => Forward::FullNat(self.full_nat(report)),
            Ipip => tunnel(Encapsulation::Ipip),
            Gre => tunnel(Encapsulation::Gre),
            Gue => tunnel(Encapsulation::Gue {
                port: port.unwrap_or(GUE_PORT),
                variant: if variant == Some(1) { GueVariant::Direct } else { GueVariant::Header },
            }),
            Vxlan => tunnel(Encapsulation::Vxlan {
                port: port.unwrap_or(VXLAN_PORT),
                vni: vni.unwrap_or(VNI_DEFAULT),
                inner_mac: way.inner_mac.value().copied(),
            }),
        }
    }

    fn full_nat(&self, report: &mut Report) -> FullNat {
        let way = &self.raw.way;
        let client = way.client_address.value().map(Vec::as_slice).unwrap_or_default();
        let says = |wanted| client.iter().any(|at| at.value == wanted);
        let mut full_nat = FullNat {
            toa: says(ClientAddress::Toa),
            proxy_v2: says(ClientAddress::ProxyV2),
            ..FullNat::default()
        };
        let Some(At { value: ranges, place }) = way.source_addresses.given() else { return full_nat };
        let count = ranges.iter().map(|range| range.value.len()).fold(0, u64::saturating_add);
        if count > SOURCE_ADDRESSES_MAX as u64 {
            let what = format!("source addresses of {}", self.subject);
            let count = usize::try_from(count).unwrap_or(usize::MAX);
            report.error(*place, ValueProblem::TooMany { what, count, max: SOURCE_ADDRESSES_MAX });
            return full_nat;
        }
        for range in ranges {
            self.check_source(range, &full_nat.source_addresses, report);
            full_nat.source_addresses.push(range.value);
        }
        full_nat
    }

    /// One finding for each range.
    fn check_source(&self, range: &At<AddressRange>, before: &[AddressRange], report: &mut Report) {
        let At { value: range, place } = *range;
        let subject = || self.subject.to_owned();
        let flaw = range.addresses().find_map(|address| Some((address, self.network.flaw(address)?)));
        let other = before.iter().find(|other| other.contains(range.first) || range.contains(other.first));
        if let Some((address, flaw)) = flaw {
            let subject = format!("a source of {}", self.subject);
            report.error(place, NetworkProblem::Unusable { subject, address, flaw });
        } else if let Some(other) = other {
            report.error(place, ForwardProblem::SourceTwice { subject: subject(), range, other: *other });
        } else if let Some((owner, taken)) = self.owner_in(range) {
            let (subject, key, source) = (subject(), "source_addresses", range.to_string());
            report.error(place, ForwardProblem::SourceTaken { subject, key, source, owner, place: taken });
        }
    }

    /// The frontend or backend that has an address of the range.
    fn owner_in(&self, range: AddressRange) -> Option<(String, Place)> {
        let is_in = |frontend: &Frontend| {
            range.contains(frontend.address) || frontend.network().contains(range.first)
        };
        let frontend = self.frontends.iter().find(|frontend| is_in(&frontend.value));
        if let Some(At { value: frontend, place }) = frontend {
            return Some((format!("frontend {frontend}"), *place));
        }
        self.pools.list.iter().find_map(|pool| {
            let backend = pool.pool.backends.iter().find(|backend| range.contains(backend.address))?;
            Some((format!("backend {} of pool {}", backend.address, pool.pool.name), pool.place))
        })
    }

    /// Whether the way goes with the frontend and the backends.
    pub(super) fn compare(&self, forward: &Forward, parts: &Parts<'_>, report: &mut Report) -> bool {
        let (mode, subject) = (forward.mode(), || self.subject.to_owned());
        let Parts { frontend, backends, place } = *parts;
        let frontend_place = self.raw.frontend.place_or(place);
        if mode.translates() && matches!(frontend.protocol, ProtocolSelector::Other(_)) {
            report.error(frontend_place, ForwardProblem::Protocol { subject: subject(), frontend, mode });
            return false;
        }
        if mode == Nat && !frontend.is_one_address() {
            report.error(frontend_place, ForwardProblem::Network { subject: subject(), frontend });
            return false;
        }
        let is_ipv4 = frontend.address.is_ipv4();
        let mut others = backends.iter().filter(|backend| backend.address.is_ipv4() != is_ipv4);
        if matches!(mode, Nat | Dsr)
            && let Some(Backend { address: backend, .. }) = others.next().copied()
        {
            let more = others.count();
            report
                .error(place, ForwardProblem::Families { subject: subject(), frontend, backend, more, mode });
            return false;
        }
        if mode == Dsr && self.network.is_whole && !self.network.ports.is_empty() {
            let mut beyond = backends.iter().filter(|backend| !self.network.is_connected(backend.address));
            if let Some(Backend { address: backend, .. }) = beyond.next().copied() {
                let more = beyond.count();
                report.error(place, ForwardProblem::NotNeighbour { subject: subject(), backend, more });
                return false;
            }
        }
        self.compare_sources(forward, backends, report);
        true
    }

    /// Backends need a source of their family.
    fn compare_sources(&self, forward: &Forward, backends: &[Backend], report: &mut Report) {
        let way = &self.raw.way;
        let missing = |key, place: Option<Place>, lacks: &dyn Fn(bool) -> bool, report: &mut Report| {
            let backend = backends.iter().find(|backend| lacks(backend.address.is_ipv4()));
            if let (Some(place), Some(Backend { address: backend, .. })) = (place, backend.copied()) {
                let subject = self.subject.to_owned();
                report.error(place, ForwardProblem::SourceFamily { subject, key, backend });
            }
        };
        match forward {
            Forward::FullNat(FullNat { source_addresses, .. }) if !source_addresses.is_empty() => {
                let lacks = |family| source_addresses.iter().all(|range| range.first.is_ipv4() != family);
                missing("source_addresses", place(&way.source_addresses), &lacks, report);
            }
            Forward::Tunnel(Tunnel { source: Some(source), .. }) => {
                let tunnel_place = place(&way.tunnel_source);
                let is_sound =
                    tunnel_place.is_none_or(|place| self.check_tunnel_source(source.0, place, report));
                if is_sound {
                    let lacks = |family| source.0.address.is_ipv4() != family;
                    missing("tunnel_source", tunnel_place, &lacks, report);
                }
            }
            _ => {}
        }
    }

    /// Whether all addresses of a tunnel's source can be those of senders, and of nobody else. One address may be
    /// anybody's: who says it has a reason.
    fn check_tunnel_source(&self, network: Cidr, place: Place, report: &mut Report) -> bool {
        let range = network.range();
        let flaw = [range.first, range.last].into_iter().find_map(|end| Some((end, self.network.flaw(end)?)));
        if let Some((address, flaw)) = flaw {
            let subject = format!("tunnel_source of {}", self.subject);
            report.error(place, NetworkProblem::Unusable { subject, address, flaw });
            return false;
        }
        let owner = if range.first == range.last { None } else { self.owner_in(range) };
        if let Some((owner, taken)) = owner {
            let (subject, key) = (self.subject.to_owned(), "tunnel_source");
            let source = network.to_string();
            report.error(place, ForwardProblem::SourceTaken { subject, key, source, owner, place: taken });
            return false;
        }
        true
    }

    /// A probe needs a port to ask.
    pub(super) fn check_probe_port(
        &self,
        backend_port: u16,
        frontend: Frontend,
        probe: Option<&Probe>,
        report: &mut Report,
    ) {
        let lacks = backend_port == 0 && probe.is_some_and(|probe| probe.port.is_none());
        if let Some(place) = place(&self.raw.probe).filter(|_| lacks) {
            let subject = self.subject.to_owned();
            report.error(place, ForwardProblem::NoProbePort { subject, frontend });
        }
    }

    /// The port on the backends; 0 where packets keep theirs.
    pub(super) fn backend_port(
        &self,
        said: Option<u16>,
        mode: ForwardMode,
        frontend: Frontend,
        report: &mut Report,
    ) -> u16 {
        let own = frontend.one_port();
        let keeps = own.is_none() || !mode.translates();
        match said.filter(|port| keeps && own != Some(*port)) {
            Some(port) => {
                let (subject, place) =
                    (self.subject.to_owned(), self.raw.backend_port.place_or(self.raw.place));
                report.error(place, ForwardProblem::KeepsPort { subject, port, frontend, mode });
                0
            }
            None => said.or(own).unwrap_or(0),
        }
    }
}

fn place<T>(field: &Field<T>) -> Option<Place> {
    field.given().map(|at| at.place)
}
