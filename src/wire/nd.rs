//! Neighbour discovery for IPv6 over Ethernet (RFC 4861, RFC 2464): who has an address.

use std::net::Ipv6Addr;

use super::ethernet::{self, Addresses};
use super::{MacAddr, Truncated, checksum, icmp, icmpv6, ipv6};

/// Type, code, checksum, flags, target.
const MESSAGE_LEN: usize = 24;
/// An option with an Ethernet address: type, length in units of eight bytes, address.
const OPTION_LEN: usize = 8;
/// An Ethernet frame with a solicitation or advertisement that tells an Ethernet address.
pub const FRAME_LEN: usize = MESSAGE_AT + MESSAGE_LEN + OPTION_LEN;
/// One with a solicitation that tells none.
pub const PROBE_LEN: usize = OPTION_AT;

/// A packet with less has come by a router, so from somebody who is no neighbour (RFC 4861 section 7.1).
const HOP_LIMIT: u8 = 255;
/// The option that tells the sender's Ethernet address (section 4.6.1).
const OPTION_SOURCE: u8 = 1;
/// The option that tells the target's (section 4.6.1).
const OPTION_TARGET: u8 = 2;
/// Flags of an advertisement, in its fifth byte (section 4.4).
const ROUTER: u8 = 0x80;
const SOLICITED: u8 = 0x40;
const OVERRIDE: u8 = 0x20;

const IP_AT: usize = ethernet::HEADER_LEN;
const MESSAGE_AT: usize = IP_AT + ipv6::HEADER_LEN;
const OPTION_AT: usize = MESSAGE_AT + MESSAGE_LEN;

/// What comes with a message in the header of its packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Envelope {
    /// Who sent it; unspecified where somebody asks whether an address is free (RFC 4862 section 5.4.2).
    pub source: Ipv6Addr,
    /// Whom it is for: one node, or a group of them.
    pub destination: Ipv6Addr,
    /// As it came in.
    pub hop_limit: u8,
}

/// A neighbour's message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Message {
    /// Who has the target?
    Solicitation(Solicitation),
    /// The target is here.
    Advertisement(Advertisement),
}

/// Who has the target?
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Solicitation {
    /// Who asks; unspecified as in [`Envelope`].
    pub source: Ipv6Addr,
    /// Where that is, if it says.
    pub source_mac: Option<MacAddr>,
    /// Who is asked for.
    pub target: Ipv6Addr,
}

/// The target is here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Advertisement {
    /// Who is here.
    pub target: Ipv6Addr,
    /// Where that is, if it says.
    pub target_mac: Option<MacAddr>,
    /// Whether it is an answer to a solicitation.
    pub is_solicited: bool,
    /// Whether it counts for more than what was known before.
    pub overrides: bool,
}

impl Message {
    /// Reads an ICMPv6 message, and holds it against RFC 4861 sections 7.1.1 and 7.1.2. That it came in one piece
    /// (RFC 6980 section 5) was seen to before.
    ///
    /// # Errors
    /// `Truncated` for all that must be discarded, for other messages, and for the address of a group of stations.
    pub fn parse(envelope: &Envelope, message: &[u8]) -> Result<Self, Truncated> {
        let Envelope { source, destination, hop_limit } = *envelope;
        let (head, options) = message.split_first_chunk::<MESSAGE_LEN>().ok_or(Truncated)?;
        let sum = checksum::with_pseudo(source.into(), destination.into(), ipv6::PROTOCOL_ICMPV6, message);
        let [kind, code, _, _, flags, _, _, _, target @ ..] = *head;
        let target = Ipv6Addr::from(target);
        if hop_limit != HOP_LIMIT || code != 0 || sum != 0xffff || target.is_multicast() {
            return Err(Truncated);
        }
        match kind {
            icmpv6::TYPE_SOLICITATION => {
                let source_mac = find_option(options, OPTION_SOURCE)?;
                // Who asks whether an address is free has none yet, and asks those who could have it.
                let is_probe = source.is_unspecified();
                if is_probe && (source_mac.is_some() || destination != ipv6::solicited_node(target)) {
                    return Err(Truncated);
                }
                Ok(Self::Solicitation(Solicitation { source, source_mac, target }))
            }
            icmpv6::TYPE_ADVERTISEMENT => {
                let target_mac = find_option(options, OPTION_TARGET)?;
                let is_solicited = flags & SOLICITED != 0;
                if is_solicited && destination.is_multicast() {
                    return Err(Truncated);
                }
                let overrides = flags & OVERRIDE != 0;
                Ok(Self::Advertisement(Advertisement { target, target_mac, is_solicited, overrides }))
            }
            _ => Err(Truncated),
        }
    }
}

/// The Ethernet address in the first option of a kind. All options must be sound (RFC 4861 section 4.6); of kinds that
/// are not asked for only their length counts.
fn find_option(mut options: &[u8], wanted: u8) -> Result<Option<MacAddr>, Truncated> {
    let mut found = None;
    while let [kind, units, ..] = *options {
        let len = usize::from(units) * 8;
        let (option, rest) = options.split_at_checked(len).ok_or(Truncated)?;
        if len == 0 {
            return Err(Truncated);
        }
        if kind == wanted && found.is_none() {
            let [_, _, mac @ ..] = *option.first_chunk::<OPTION_LEN>().ok_or(Truncated)?;
            let mac = MacAddr(mac);
            if mac.is_group() || mac == MacAddr::ZERO || len != OPTION_LEN {
                return Err(Truncated);
            }
            found = Some(mac);
        }
        options = rest;
    }
    if options.is_empty() { Ok(found) } else { Err(Truncated) }
}

/// Asks who has `target`: all who could have it, or the station `known` only, whether it still has it (RFC 4861
/// section 7.3.3).
pub fn solicit(mac: MacAddr, source: Ipv6Addr, target: Ipv6Addr, known: Option<MacAddr>) -> [u8; FRAME_LEN] {
    let group = ipv6::solicited_node(target);
    let (station, destination) =
        known.map_or_else(|| (ethernet::group_of(group), group), |station| (station, target));
    let head = [icmpv6::TYPE_SOLICITATION, 0, 0, 0, 0];
    write(Addresses::new(station, mac), (source, destination), head, target, (OPTION_SOURCE, mac))
}

/// Answers that we, at `mac`, have the target (RFC 4861 section 7.2.4). `station` is where the solicitation's frame came
/// from. Who asks whether the address is free has no address, and is answered with all others.
pub fn answer(mac: MacAddr, asked: &Solicitation, station: MacAddr) -> [u8; FRAME_LEN] {
    if asked.source.is_unspecified() {
        return announce(mac, asked.target);
    }
    let to = asked.source_mac.unwrap_or(station);
    advertise(Addresses::new(to, mac), asked.target, asked.source, SOLICITED)
}

/// Tells all nodes of the link, unasked, that we, at `mac`, have `address` (RFC 4861 section 7.2.6).
pub fn announce(mac: MacAddr, address: Ipv6Addr) -> [u8; FRAME_LEN] {
    advertise(Addresses::new(ethernet::group_of(ipv6::ALL_NODES), mac), address, ipv6::ALL_NODES, 0)
}

/// Asks whether anybody has `target`, before we use it (RFC 4862 section 5.4.2): who asks has no address yet, so nobody
/// learns where we are by it.
pub fn probe(mac: MacAddr, target: Ipv6Addr) -> [u8; PROBE_LEN] {
    let (source, destination) = (Ipv6Addr::UNSPECIFIED, ipv6::solicited_node(target));
    let asked = solicit(mac, source, target, None);
    let mut frame = [0; PROBE_LEN];
    frame.copy_from_slice(&asked[..PROBE_LEN]);
    frame[IP_AT + ipv6::PAYLOAD_LEN_OFFSET..][..2].copy_from_slice(&(MESSAGE_LEN as u16).to_be_bytes());
    write_checksum(&mut frame[MESSAGE_AT..], source, destination);
    frame
}

fn write_checksum(message: &mut [u8], source: Ipv6Addr, destination: Ipv6Addr) {
    message[icmp::CHECKSUM_OFFSET..][..2].fill(0);
    let sum = checksum::with_pseudo(source.into(), destination.into(), ipv6::PROTOCOL_ICMPV6, message);
    message[icmp::CHECKSUM_OFFSET..][..2].copy_from_slice(&checksum::field(sum));
}

/// We forward what is not for us, so we are a router: hosts that send by way of us would give us up as one if we said
/// that we are none (RFC 4861 section 7.2.5).
fn advertise(
    addresses: Addresses,
    target: Ipv6Addr,
    destination: Ipv6Addr,
    solicited: u8,
) -> [u8; FRAME_LEN] {
    let head = [icmpv6::TYPE_ADVERTISEMENT, 0, 0, 0, ROUTER | OVERRIDE | solicited];
    write(addresses, (target, destination), head, target, (OPTION_TARGET, addresses.source()))
}

fn write(
    addresses: Addresses,
    (source, destination): (Ipv6Addr, Ipv6Addr),
    head: [u8; 5],
    target: Ipv6Addr,
    (option, mac): (u8, MacAddr),
) -> [u8; FRAME_LEN] {
    let ip = ipv6::Fields {
        traffic_class: 0,
        flow_label: 0,
        payload_len: (FRAME_LEN - MESSAGE_AT) as u16,
        next_header: ipv6::PROTOCOL_ICMPV6,
        hop_limit: HOP_LIMIT,
        source,
        destination,
    };
    let mut frame = [0; FRAME_LEN];
    frame[..12].copy_from_slice(&addresses.0);
    frame[12..IP_AT].copy_from_slice(&ethernet::TYPE_IPV6.to_be_bytes());
    frame[IP_AT..MESSAGE_AT].copy_from_slice(&ip.to_bytes());
    frame[MESSAGE_AT..MESSAGE_AT + 5].copy_from_slice(&head);
    frame[MESSAGE_AT + 8..OPTION_AT].copy_from_slice(&target.octets());
    frame[OPTION_AT..OPTION_AT + 2].copy_from_slice(&[option, 1]);
    frame[OPTION_AT + 2..].copy_from_slice(&mac.0);
    write_checksum(&mut frame[MESSAGE_AT..], source, destination);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::{NetSlice, SlicedPacket, TransportSlice};
    use proptest::prelude::*;

    const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
    const THEIRS: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);
    const US: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
    const THEM: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0x1234, 0x5678);
    /// The group of whoever has `THEM`.
    const GROUP: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff34, 0x5678);

    /// The message, and where the frame and packet go; another implementation holds lengths and checksum.
    fn read(frame: &[u8]) -> (MacAddr, Envelope, Message) {
        let sliced = SlicedPacket::from_ethernet(frame).unwrap();
        let Some(NetSlice::Ipv6(ip)) = &sliced.net else { panic!("{sliced:?}") };
        let Some(TransportSlice::Icmpv6(icmp)) = &sliced.transport else { panic!("{sliced:?}") };
        let header = ip.header();
        assert!(icmp.is_checksum_valid(header.source(), header.destination()));
        let (source, destination) = (header.source_addr(), header.destination_addr());
        let envelope = Envelope { source, destination, hop_limit: header.hop_limit() };
        let to = ethernet::addresses(frame.first_chunk().unwrap()).destination();
        (to, envelope, Message::parse(&envelope, icmp.slice()).unwrap())
    }

    #[test]
    fn solicitations_go_to_the_group_or_to_one_station() {
        let message = Message::Solicitation(Solicitation { source: US, source_mac: Some(MAC), target: THEM });
        let all = Envelope { source: US, destination: GROUP, hop_limit: 255 };
        let group_mac = MacAddr([0x33, 0x33, 0xff, 0x34, 0x56, 0x78]);
        assert_eq!(read(&solicit(MAC, US, THEM, None)), (group_mac, all, message));
        let one = Envelope { destination: THEM, ..all };
        assert_eq!(read(&solicit(MAC, US, THEM, Some(THEIRS))), (THEIRS, one, message));
    }

    #[test]
    fn advertisements_go_to_who_asked_and_to_all_where_that_has_no_address() {
        let told = Advertisement { target: US, target_mac: Some(MAC), is_solicited: false, overrides: true };
        let all = Envelope { source: US, destination: ipv6::ALL_NODES, hop_limit: 255 };
        let all_mac = MacAddr([0x33, 0x33, 0, 0, 0, 1]);
        assert_eq!(read(&announce(MAC, US)), (all_mac, all, Message::Advertisement(told)));
        assert_eq!(announce(MAC, US)[MESSAGE_AT + 4], 0xa0);
        let asked = Solicitation { source: THEM, source_mac: None, target: US };
        let one = Envelope { destination: THEM, ..all };
        let answered = Message::Advertisement(Advertisement { is_solicited: true, ..told });
        assert_eq!(read(&answer(MAC, &asked, THEIRS)), (THEIRS, one, answered));
        let elsewhere = Solicitation { source_mac: Some(MacAddr([2; 6])), ..asked };
        assert_eq!(read(&answer(MAC, &elsewhere, THEIRS)), (MacAddr([2; 6]), one, answered));
        let probe = Solicitation { source: Ipv6Addr::UNSPECIFIED, ..asked };
        assert_eq!(answer(MAC, &probe, THEIRS), announce(MAC, US));
    }

    #[test]
    fn a_probe_tells_nothing_of_who_asks() {
        let frame = probe(MAC, THEM);
        let packet = SlicedPacket::from_ethernet(&frame).unwrap();
        let (Some(NetSlice::Ipv6(ip)), Some(TransportSlice::Icmpv6(message))) =
            (&packet.net, &packet.transport)
        else {
            panic!("{packet:?}")
        };
        let header = ip.header();
        assert!(message.is_checksum_valid(header.source(), header.destination()));
        assert_eq!((header.payload_length(), message.slice().len()), (24, 24));
        assert_eq!(frame[..6], [0x33, 0x33, 0xff, 0x34, 0x56, 0x78]);
        let envelope =
            Envelope { source: header.source_addr(), destination: header.destination_addr(), hop_limit: 255 };
        let asked = Solicitation { source: Ipv6Addr::UNSPECIFIED, source_mac: None, target: THEM };
        assert_eq!(envelope.destination, GROUP);
        assert_eq!(Message::parse(&envelope, message.slice()), Ok(Message::Solicitation(asked)));
    }

    /// The message in `frame` after `change`, with its checksum made right.
    fn changed(
        frame: [u8; FRAME_LEN],
        envelope: Envelope,
        change: impl Fn(&mut Vec<u8>),
    ) -> Result<Message, Truncated> {
        let mut message = frame[MESSAGE_AT..].to_vec();
        change(&mut message);
        if message.len() >= 4 {
            message[2..4].fill(0);
            let (from, to) = (envelope.source.into(), envelope.destination.into());
            let sum = checksum::with_pseudo(from, to, ipv6::PROTOCOL_ICMPV6, &message);
            message[2..4].copy_from_slice(&checksum::field(sum));
        }
        Message::parse(&envelope, &message)
    }

    #[test]
    fn what_rfc_4861_section_7_1_forbids_is_refused() {
        let ask = Envelope { source: THEM, destination: US, hop_limit: 255 };
        let asks = |envelope, change: &dyn Fn(&mut Vec<u8>)| {
            changed(solicit(THEIRS, THEM, US, Some(MAC)), envelope, change)
        };
        assert!(asks(ask, &|_| {}).is_ok());
        assert!(asks(Envelope { hop_limit: 254, ..ask }, &|_| {}).is_err(), "from beyond a router");
        type Case = (&'static str, fn(&mut Vec<u8>));
        let bad: [Case; 9] = [
            ("code", |m| m[1] = 1),
            ("other type", |m| m[0] = 134),
            ("multicast target", |m| m[8] = 0xff),
            ("cut", |m| m.truncate(23)),
            ("option of length 0", |m| m[25] = 0),
            ("option beyond the end", |m| m[25] = 2),
            ("option cut", |m| m.truncate(31)),
            ("half an option behind", |m| m.push(9)),
            ("a group's address", |m| m[26] = 3),
        ];
        for (name, change) in bad {
            assert_eq!(asks(ask, &change), Err(Truncated), "{name}");
        }
        let mut wrong_sum = solicit(THEIRS, THEM, US, Some(MAC));
        wrong_sum[MESSAGE_AT + 2] ^= 1;
        assert!(Message::parse(&ask, &wrong_sum[MESSAGE_AT..]).is_err());
        // Unknown options and none at all are fine, and only the first of a kind counts.
        assert!(asks(ask, &|m| m.extend([14, 1, 0, 0, 0, 0, 0, 0])).is_ok());
        let none = asks(ask, &|m| m.truncate(24));
        assert_eq!(
            none,
            Ok(Message::Solicitation(Solicitation { source: THEM, source_mac: None, target: US }))
        );

        let probe =
            Envelope { source: Ipv6Addr::UNSPECIFIED, destination: ipv6::solicited_node(US), hop_limit: 255 };
        assert!(asks(probe, &|m| m.truncate(24)).is_ok());
        assert!(asks(probe, &|_| {}).is_err(), "no address but a station");
        assert!(
            asks(Envelope { destination: US, ..probe }, &|m| m.truncate(24)).is_err(),
            "not to the group"
        );

        let told = Envelope { destination: ipv6::ALL_NODES, ..ask };
        let tells = |change: &dyn Fn(&mut Vec<u8>)| changed(announce(THEIRS, THEM), told, change);
        assert!(tells(&|_| {}).is_ok());
        assert!(tells(&|m| m[4] |= SOLICITED).is_err(), "an answer to all");
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..64), is_ask in any::<bool>(), cut in 0usize..40,
        ) {
            let envelope = Envelope { source: THEM, destination: US, hop_limit: 255 };
            let frame = if is_ask { solicit(THEIRS, THEM, US, None) } else { announce(THEIRS, THEM) };
            let _ = changed(frame, envelope, |message| {
                message.truncate(cut);
                message.extend(&bytes);
            });
        }
    }
}
