//! Which frames a watch wants.

use std::net::IpAddr;

use crate::config::Frontend;
use crate::drop_reason::DropReason;
use crate::wire::{Protocol, arp, ethernet, ipv4, ipv6};

/// All that is said must hold; nothing said wants every frame.
#[derive(Clone, Default, Debug)]
pub struct Filter {
    /// From this client, or to it. Without a port: all of them.
    pub client: Option<(IpAddr, Option<u16>)>,
    /// From one of these backends, to one, or for one by the flow's entry.
    pub backends: Option<Vec<(IpAddr, Option<u16>)>>,
    /// Of the rule that has this frontend.
    pub frontend: Option<Frontend>,
    /// Whether each port of that is a frontend by itself, as of a NAT rule with a pool.
    pub is_spread: bool,
    /// Dropped for one of these reasons.
    pub drops: Option<DropSet>,
}

/// Some of the reasons for drops.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct DropSet(u128);

const _: () = assert!(DropReason::COUNT <= u128::BITS as usize, "a bit for each reason");

impl DropSet {
    /// All reasons.
    pub const ALL: Self = Self(u128::MAX);

    /// These as well.
    #[must_use]
    pub fn with(self, reason: DropReason) -> Self {
        Self(self.0 | 1 << reason as u8)
    }

    /// Whether this is one of them.
    pub fn has(self, reason: DropReason) -> bool {
        self.0 >> (reason as u8) & 1 == 1
    }
}

/// Who a frame says it is from and for, as far as that can be read. Frames that are to be dropped are read too, so nothing
/// is asked of them but that they are long enough.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ends {
    /// The sender's address.
    pub source: IpAddr,
    /// The receiver's.
    pub destination: IpAddr,
    /// Source port, destination port and protocol of TCP and UDP.
    pub ports: Option<(u16, u16, Protocol)>,
}

/// Bytes of a VLAN tag.
const TAG_LEN: usize = 4;
const FRAGMENT_OFFSET_MASK: u16 = 0x1fff;
/// More of them the path drops.
const EXTENSION_HEADERS_MAX: usize = 8;

impl Ends {
    /// Those of an IP packet, behind two VLAN tags at most, or of an ARP packet.
    pub fn of(frame: &[u8]) -> Option<Self> {
        let (kind, bytes) = packet_in(frame)?;
        match kind {
            ethernet::TYPE_IPV4 => Self::of_ipv4(bytes),
            ethernet::TYPE_IPV6 => Self::of_ipv6(bytes),
            ethernet::TYPE_ARP => {
                let packet = arp::Packet::parse(bytes).ok()?;
                Some(Self { source: packet.sender.into(), destination: packet.target.into(), ports: None })
            }
            _ => None,
        }
    }

    fn of_ipv4(packet: &[u8]) -> Option<Self> {
        let header = ipv4::Header(packet.first_chunk()?);
        let protocol = match header.protocol() {
            ipv4::PROTOCOL_TCP => Some(Protocol::Tcp),
            ipv4::PROTOCOL_UDP => Some(Protocol::Udp),
            _ => None,
        };
        let is_later_fragment = u16_at(packet, 6)? & FRAGMENT_OFFSET_MASK != 0;
        let ports = protocol.filter(|_| !is_later_fragment).and_then(|protocol| {
            let at = header.header_len().max(ipv4::HEADER_LEN);
            Some((u16_at(packet, at)?, u16_at(packet, at + 2)?, protocol))
        });
        Some(Self { source: header.source().into(), destination: header.destination().into(), ports })
    }

    fn of_ipv6(packet: &[u8]) -> Option<Self> {
        let header = ipv6::Header(packet.first_chunk()?);
        let (source, destination) = (header.source().into(), header.destination().into());
        Some(Self { source, destination, ports: Self::ports_of_ipv6(packet, header.next_header()) })
    }

    /// Behind as many extension headers as the path passes over.
    fn ports_of_ipv6(packet: &[u8], mut kind: u8) -> Option<(u16, u16, Protocol)> {
        let mut at = ipv6::HEADER_LEN;
        for _ in 0..=EXTENSION_HEADERS_MAX {
            let protocol = [Protocol::Tcp, Protocol::Udp].into_iter().find(|known| known.number() == kind);
            if let Some(protocol) = protocol {
                return Some((u16_at(packet, at)?, u16_at(packet, at + 2)?, protocol));
            }
            let (next, units) = (*packet.get(at)?, usize::from(*packet.get(at + 1)?));
            at += match kind {
                ipv6::HOP_BY_HOP
                | ipv6::ROUTING
                | ipv6::DESTINATION_OPTIONS
                | ipv6::MOBILITY
                | ipv6::HIP
                | ipv6::SHIM6 => (units + 1) * 8,
                ipv6::AUTHENTICATION => (units + 2) * 4,
                // A later fragment has no ports.
                ipv6::FRAGMENT if u16_at(packet, at + 2)? >> 3 == 0 => ipv6::EXTENSION_LEN_MIN,
                _ => return None,
            };
            kind = next;
        }
        None
    }

    fn has(&self, (address, port): (IpAddr, Option<u16>)) -> bool {
        let fits =
            |own: IpAddr, own_port: Option<u16>| own == address && (port.is_none() || port == own_port);
        fits(self.source, self.ports.map(|(port, ..)| port))
            || fits(self.destination, self.ports.map(|(_, port, _)| port))
    }

    fn is_of(&self, frontend: Frontend) -> bool {
        self.ports.is_some_and(|(from, to, protocol)| {
            let is = |address, port| frontend.takes(address, Some(port), protocol.number());
            is(self.source, from) || is(self.destination, to)
        })
    }
}

impl Filter {
    /// Whether a frame with these ends can be wanted, whatever becomes of it.
    pub fn may_take(&self, ends: Option<&Ends>) -> bool {
        self.client.is_none_or(|client| ends.is_some_and(|ends| ends.has(client)))
    }

    /// Whether a frame with these ends is wanted that turned out to be of this frontend and this backend. What became of it
    /// is asked apart.
    pub fn takes(
        &self,
        ends: Option<&Ends>,
        frontend: Option<Frontend>,
        backend: Option<(IpAddr, u16)>,
    ) -> bool {
        let is_for = |wanted: &(IpAddr, Option<u16>)| {
            backend.is_some_and(|(address, port)| {
                wanted.0 == address && wanted.1.is_none_or(|wanted| wanted == port)
            }) || ends.is_some_and(|ends| ends.has(*wanted))
        };
        self.may_take(ends)
            && self.backends.as_ref().is_none_or(|backends| backends.iter().any(is_for))
            && self.frontend.is_none_or(|wanted| match frontend {
                Some(frontend) => {
                    frontend == wanted
                        || self.is_spread
                            && frontend.one_port().is_some_and(|port| is_at(port, frontend, wanted))
                }
                None => ends.is_some_and(|ends| ends.is_of(wanted)),
            })
    }

    /// Whether what became of a frame is wanted. `None`: it was not dropped.
    pub fn takes_end(&self, dropped: Option<DropReason>) -> bool {
        self.drops.is_none_or(|drops| dropped.is_some_and(|reason| drops.has(reason)))
    }
}

/// Whether the frontend at that port is one of a range.
fn is_at(port: u16, frontend: Frontend, range: Frontend) -> bool {
    let Frontend { first_port, last_port, .. } = range;
    (first_port..=last_port).contains(&port) && Frontend { first_port, last_port, ..frontend } == range
}

/// The packet in a frame, behind two VLAN tags at most, and its EtherType.
pub fn packet_in(frame: &[u8]) -> Option<(u16, &[u8])> {
    let mut at = ethernet::HEADER_LEN;
    let mut kind = ethernet::ether_type(frame.first_chunk()?);
    for _ in 0..2 {
        if ![ethernet::TYPE_VLAN, ethernet::TYPE_QINQ].contains(&kind) {
            break;
        }
        at += TAG_LEN;
        kind = u16_at(frame, at - 2)?;
    }
    Some((kind, frame.get(at..)?))
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|bytes| u16::from_be_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Endpoint;
    use etherparse::PacketBuilder;
    use proptest::prelude::*;
    use std::net::Ipv4Addr;

    const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));
    const FRONTEND: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 10));
    const BACKEND: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 4));

    fn frame(from: (IpAddr, u16), to: (IpAddr, u16)) -> Vec<u8> {
        let (IpAddr::V4(source), IpAddr::V4(destination)) = (from.0, to.0) else { panic!() };
        let builder =
            PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4(source.octets(), destination.octets(), 64);
        let mut frame = Vec::new();
        builder.udp(from.1, to.1).write(&mut frame, b"payload").unwrap();
        frame
    }

    fn request() -> Vec<u8> {
        frame((CLIENT, 1234), (FRONTEND, 53))
    }

    fn ends(frame: &[u8]) -> Ends {
        Ends::of(frame).unwrap()
    }

    #[test]
    fn ends_are_read_of_damaged_and_tagged_frames_too() {
        let whole = ends(&request());
        assert_eq!(whole.ports, Some((1234, 53, Protocol::Udp)));
        assert_eq!((whole.source, whole.destination), (CLIENT, FRONTEND));
        let mut tagged = request();
        tagged.splice(12..12, [0x81, 0, 0, 7, 0x88, 0xa8, 0, 8]);
        assert_eq!(ends(&tagged), whole);
        let mut damaged = request();
        damaged[24] ^= 0xff;
        damaged[16] = 0xff;
        assert_eq!(ends(&damaged), whole, "checksum and total length are not its business");
        assert_eq!(ends(&request()[..36]), Ends { ports: None, ..whole }, "cut in the ports");
        assert_eq!(Ends::of(&request()[..33]), None);
        let mut fragment = request();
        fragment[21] = 1;
        assert_eq!(ends(&fragment), Ends { ports: None, ..whole }, "a later fragment has no ports");
    }

    #[test]
    fn ends_of_ipv6_are_read_behind_extension_headers() {
        let (client, frontend) = ([0x20; 16], [0x30; 16]);
        let builder = PacketBuilder::ethernet2([2; 6], [4; 6]).ipv6(client, frontend, 64);
        let mut frame = Vec::new();
        builder.tcp(1234, 443, 1, 1000).write(&mut frame, b"payload").unwrap();
        let whole = ends(&frame);
        assert_eq!((whole.source, whole.destination), (client.into(), frontend.into()));
        assert_eq!(whole.ports, Some((1234, 443, Protocol::Tcp)));
        let with = |kind: u8, header: &[u8]| {
            let mut frame = frame.clone();
            frame[20] = kind;
            frame.splice(54..54, header.iter().copied());
            ends(&frame).ports
        };
        let options = [6, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(with(60, &options), whole.ports);
        assert_eq!(with(51, &[6, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]), whole.ports);
        assert_eq!(with(44, &[6, 0, 0, 1, 0, 0, 0, 1]), whole.ports, "the first fragment");
        assert_eq!(with(44, &[6, 0, 0, 8, 0, 0, 0, 1]), None, "a later one");
        assert_eq!(with(50, &options), None);
    }

    #[test]
    fn a_client_is_found_on_either_side_and_by_port_only_where_one_is_asked_for() {
        let of = |port| Filter { client: Some((CLIENT, port)), ..Filter::default() };
        let response = ends(&frame((BACKEND, 53), (CLIENT, 1234)));
        for there in [ends(&request()), response] {
            assert!(of(None).takes(Some(&there), None, None));
            assert!(of(Some(1234)).takes(Some(&there), None, None));
            assert!(!of(Some(53)).takes(Some(&there), None, None));
        }
        assert!(!of(None).takes(None, None, None), "what has no address is nobody's");
        assert!(!of(None).may_take(Some(&ends(&frame((BACKEND, 1), (FRONTEND, 2))))));
    }

    #[test]
    fn backend_and_rule_go_by_what_the_worker_found() {
        let request = ends(&request());
        let of_port = |port| Frontend::from(Endpoint { address: FRONTEND, port, protocol: Protocol::Udp });
        let (rule, other) = (of_port(53), of_port(54));
        let by_backend = Filter { backends: Some(vec![(BACKEND, Some(5353))]), ..Filter::default() };
        assert!(by_backend.takes(Some(&request), Some(rule), Some((BACKEND, 5353))));
        assert!(!by_backend.takes(Some(&request), Some(rule), Some((BACKEND, 80))));
        assert!(!by_backend.takes(Some(&request), Some(rule), None));
        let by_rule = Filter { frontend: Some(rule), ..Filter::default() };
        let response = ends(&frame((BACKEND, 5353), (CLIENT, 1234)));
        assert!(by_rule.takes(Some(&request), None, None), "one that was not looked up: by its addresses");
        assert!(by_rule.takes(Some(&response), Some(rule), Some((BACKEND, 5353))));
        assert!(!by_rule.takes(Some(&response), Some(other), Some((BACKEND, 5353))));
        assert!(!by_rule.takes(Some(&response), None, None));
        let both = Filter { client: Some((FRONTEND, Some(9))), ..by_rule };
        assert!(!both.takes(Some(&request), Some(rule), None), "all that is said must hold");
    }

    #[test]
    fn drops_are_told_apart() {
        let some = DropSet::default().with(DropReason::WrongMac).with(DropReason::HandoverFull);
        let filter = Filter { drops: Some(some), ..Filter::default() };
        assert!(
            filter.takes_end(Some(DropReason::WrongMac)) && filter.takes_end(Some(DropReason::HandoverFull))
        );
        assert!(!filter.takes_end(Some(DropReason::NoRule)) && !filter.takes_end(None));
        assert!(DropReason::ALL.iter().all(|reason| DropSet::ALL.has(*reason)));
        assert!(Filter::default().takes_end(None));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80), kind in 0usize..5) {
            let mut bytes = bytes;
            if let Some(place) = bytes.get_mut(12..14) {
                place.copy_from_slice([&[8, 0], &[8, 6], &[0x81, 0], &[0x88, 0xa8], &[0x86, 0xdd]][kind]);
            }
            let _ = Ends::of(&bytes);
        }
    }
}
