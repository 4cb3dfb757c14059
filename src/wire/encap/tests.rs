use super::*;
use crate::wire::MacAddr;
use etherparse::{
    EtherType, IpNumber, Ipv4HeaderSlice, Ipv6HeaderSlice, PacketBuilder, SlicedPacket, UdpHeaderSlice,
};
use proptest::prelude::*;

const INNER_MACS: Addresses = Addresses([2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 8]);
const TUNNELS: [Tunnel; 5] = [
    Tunnel::Ipip,
    Tunnel::Gre,
    Tunnel::Gue { port: PORT_GUE },
    Tunnel::GueDirect { port: 9000 },
    Tunnel::Vxlan { port: PORT_VXLAN, vni: 0x12_3456, inner: INNER_MACS },
];

fn outer(is_v6: bool) -> Outer {
    let (source, destination) = if is_v6 {
        ("2001:db8::ff:1".parse().unwrap(), "2001:db8::2".parse().unwrap())
    } else {
        (IpAddr::from([198, 51, 255, 2]), IpAddr::from([10, 0, 0, 4]))
    };
    Outer { source, source_bits: 0, destination, dont_fragment: false }
}

fn inner_packet(family: Family, traffic_class: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = Vec::new();
    match family {
        Family::V4 => PacketBuilder::ipv4([192, 0, 2, 7], [203, 0, 113, 10], 9)
            .udp(4000, 53)
            .write(&mut packet, payload)
            .unwrap(),
        Family::V6 => {
            PacketBuilder::ipv6([1; 16], [2; 16], 9).udp(4000, 53).write(&mut packet, payload).unwrap();
        }
    }
    if family == Family::V4 {
        packet[1] = traffic_class;
        packet[6] = 0;
        ipv4::write_checksum(&mut packet[..20]);
    } else {
        packet[..4].copy_from_slice(&ipv6::first_word(traffic_class, 7));
    }
    packet
}

fn push(template: &Template, packet: &[u8], hash: u32, identification: u16) -> Vec<u8> {
    let mut all = vec![0xee; template.len()];
    template.write(&mut all, Inner::of(packet).unwrap(), hash, identification).unwrap();
    all.extend(packet);
    all
}

#[test]
fn what_stands_between_the_headers_is_as_documented() {
    let bytes = |tunnel, family| between(tunnel, family);
    use Family::{V4, V6};
    assert_eq!(bytes(Tunnel::Gre, V4), [0, 0, 8, 0]);
    assert_eq!(bytes(Tunnel::Gre, V6), [0, 0, 0x86, 0xdd]);
    assert_eq!(bytes(Tunnel::Gue { port: 6080 }, V4), [0, 0, 0x17, 0xc0, 0, 0, 0, 0, 0, 4, 0, 0]);
    assert_eq!(bytes(Tunnel::Gue { port: 6080 }, V6)[9], 41);
    assert_eq!(bytes(Tunnel::GueDirect { port: 1 }, V6), [0, 0, 0, 1, 0, 0, 0, 0]);
    let vxlan = bytes(TUNNELS[4], V6);
    assert_eq!(vxlan[8..16], [8, 0, 0, 0, 0x12, 0x34, 0x56, 0]);
    assert_eq!(vxlan[16..], [&INNER_MACS.0[..], &[0x86, 0xdd]].concat());
    let lens = |is_v6| TUNNELS.map(|tunnel| Template::new(tunnel, &outer(is_v6), V4).unwrap().len());
    assert_eq!((lens(false), lens(true)), ([20, 24, 32, 28, 50], [40, 44, 52, 48, 70]));
}

#[test]
fn fragments_are_allowed_where_nobody_forbids_them() {
    let template = |dont_fragment| {
        Template::new(Tunnel::Ipip, &Outer { dont_fragment, ..outer(false) }, Family::V4).unwrap()
    };
    let word = |template: &Template, packet: &[u8]| push(template, packet, 1, 0xabcd)[4..8].to_vec();
    let free = inner_packet(Family::V4, 0, b"x");
    let mut bound = free.clone();
    bound[6] = 0x40;
    assert_eq!(word(&template(false), &free), [0xab, 0xcd, 0, 0]);
    assert_eq!(word(&template(true), &free), [0, 0, 0x40, 0]);
    assert_eq!(word(&template(false), &bound), [0, 0, 0x40, 0]);
    let v6 = Template::new(Tunnel::Ipip, &outer(false), Family::V6).unwrap();
    assert_eq!(word(&v6, &inner_packet(Family::V6, 0, b"x")), [0, 0, 0x40, 0]);
}

#[test]
fn what_does_not_fit_is_refused() {
    let template = Template::new(Tunnel::Gre, &outer(false), Family::V4).unwrap();
    let inner = |len| Inner { len, traffic_class: 0, dont_fragment: true };
    let write = |room: usize, len| template.write(&mut vec![0; room], inner(len), 0, 0);
    assert_eq!(write(24, 65_511), Some(()));
    assert_eq!(write(24, 65_512), None);
    assert_eq!((write(23, 100), write(25, 100)), (None, None));
    let mixed = Outer { destination: outer(true).destination, ..outer(false) };
    assert_eq!(Template::new(Tunnel::Gre, &mixed, Family::V4), None);
    assert_eq!(
        (Inner::of(&[]), Inner::of(&[0x45; 19]), Inner::of(&[0x60; 39]), Inner::of(&[0x50; 40])),
        (None, None, None, None)
    );
}

#[test]
fn flows_are_spread_over_ports_labels_and_sources() {
    let spread = |is_v6, source_bits, hash| {
        let outer = Outer { source_bits, ..outer(is_v6) };
        let template = Template::new(TUNNELS[2], &outer, Family::V4).unwrap();
        let bytes = push(&template, &inner_packet(Family::V4, 0, b"x"), hash, 0);
        let parsed = if is_v6 {
            ipv6::Header(bytes.first_chunk().unwrap()).source().into()
        } else {
            ipv4::Header(bytes.first_chunk().unwrap()).source().into()
        };
        let udp = if is_v6 { 40 } else { 20 };
        (parsed, u16::from_be_bytes([bytes[udp], bytes[udp + 1]]))
    };
    let (fixed, port): (IpAddr, u16) = spread(false, 0, 0xabcd_ffff);
    assert_eq!((fixed, port), (outer(false).source, 65_535));
    assert_eq!(spread(false, 0, 0xabcd_0000).1, 49_152);
    assert_eq!(spread(false, 8, 0xabcd_0000).0, IpAddr::from([198, 51, 255, 0xcd]));
    assert_eq!(spread(false, 16, 0xabcd_0000).0, IpAddr::from([198, 51, 0xab, 0xcd]));
    assert_eq!(spread(true, 12, 0xabcd_0000).0, "2001:db8::ff:bcd".parse::<IpAddr>().unwrap());
    // Bits of the source that the hash replaces do not shine through.
    assert_eq!(spread(false, 16, 0).0, IpAddr::from([198, 51, 0, 0]));
}

#[test]
fn a_checksum_of_zero_is_sent_as_ones() {
    let template = Template::new(TUNNELS[3], &outer(true), Family::V4).unwrap();
    let mut bytes = push(&template, &inner_packet(Family::V4, 0, &[0; 2]), 7, 0);
    let checksum_at = 46..48;
    complete_udp6(&mut bytes).unwrap();
    // What was missing to all ones is put where there was zero.
    let missing = [bytes[46], bytes[47]];
    let end = bytes.len();
    bytes[end - 2..].copy_from_slice(&missing);
    complete_udp6(&mut bytes).unwrap();
    assert_eq!(bytes[checksum_at], [0xff; 2]);
}

#[test]
fn only_some_headers_are_written_at_once() {
    let front = |outer: &Outer, family| {
        Front::new(&Template::new(TUNNELS[0], outer, family).unwrap(), INNER_MACS, 1500)
    };
    assert_eq!(front(&outer(true), Family::V4), None);
    assert_eq!(front(&Outer { dont_fragment: true, ..outer(false) }, Family::V4), None);
    let front = front(&outer(false), Family::V4).unwrap();
    let inner = InnerFront::of(&[&[0; 14][..], &inner_packet(Family::V4, 0, b"x")].concat()).unwrap();
    assert!(front.takes(inner));
    assert!(!Front::CLOSED.takes(inner));
}

proptest! {
    #[test]
    fn every_tunnel_is_read_by_etherparse_and_carries_the_packet_as_it_was(
        which in 0usize..5, is_v6 in any::<bool>(), inner_v6 in any::<bool>(), traffic_class in any::<u8>(),
        hash in any::<u32>(), identification in any::<u16>(), source_bits in 0u8..=16, dont_fragment in any::<bool>(),
        payload in proptest::collection::vec(any::<u8>(), 0..1500),
    ) {
        let family = if inner_v6 { Family::V6 } else { Family::V4 };
        let packet = inner_packet(family, traffic_class, &payload);
        let template = Template::new(TUNNELS[which], &Outer { source_bits, dont_fragment, ..outer(is_v6) }, family).unwrap();
        let mut bytes = push(&template, &packet, hash, identification);
        prop_assert_eq!(template.lacks_checksum(), is_v6 && which > 1);
        if template.lacks_checksum() {
            complete_udp6(&mut bytes).unwrap();
        }
        let (protocol, header_len) = if is_v6 {
            prop_assert_eq!(template.ether_type(), EtherType::IPV6.0);
            let ip = Ipv6HeaderSlice::from_slice(&bytes).unwrap();
            prop_assert_eq!(usize::from(ip.payload_length()) + 40, bytes.len());
            prop_assert_eq!((ip.traffic_class(), ip.hop_limit()), (traffic_class, 64));
            prop_assert_eq!(ip.flow_label().value(), (hash & 0xf_ffff).max(1));
            prop_assert_eq!(IpAddr::from(ip.destination_addr()), outer(true).destination);
            (ip.next_header(), 40)
        } else {
            prop_assert_eq!(template.ether_type(), EtherType::IPV4.0);
            let ip = Ipv4HeaderSlice::from_slice(&bytes).unwrap().to_header();
            prop_assert_eq!(ip.header_checksum, ip.calc_header_checksum());
            prop_assert_eq!(usize::from(ip.total_len), bytes.len());
            prop_assert_eq!((bytes[1], ip.time_to_live), (traffic_class, 64));
            prop_assert_eq!(ip.dont_fragment, dont_fragment || inner_v6);
            prop_assert_eq!(ip.identification, if ip.dont_fragment { 0 } else { identification });
            prop_assert_eq!(IpAddr::from(ip.destination), outer(false).destination);
            (ip.protocol, 20)
        };
        let rest = &bytes[header_len..];
        if which > 1 {
            prop_assert_eq!(protocol, IpNumber::UDP);
            let udp = UdpHeaderSlice::from_slice(rest).unwrap();
            prop_assert_eq!(usize::from(udp.length()), rest.len());
            prop_assert_eq!(udp.source_port(), 49_152 | (hash & 0x3fff) as u16);
            let expected = if is_v6 {
                let ip = Ipv6HeaderSlice::from_slice(&bytes).unwrap().to_header();
                udp.to_header().calc_checksum_ipv6(&ip, &rest[8..]).unwrap()
            } else {
                0
            };
            prop_assert_eq!(udp.checksum(), expected);
        }
        let inner_number = if inner_v6 { IpNumber::IPV6 } else { IpNumber::IPV4 };
        let inner_type = if inner_v6 { EtherType::IPV6 } else { EtherType::IPV4 };
        match which {
            0 => prop_assert_eq!(protocol, inner_number),
            1 => {
                prop_assert_eq!(protocol, IpNumber::GRE);
                prop_assert_eq!(&rest[..4], &[&[0, 0], &inner_type.0.to_be_bytes()[..]].concat()[..]);
            }
            2 => prop_assert_eq!(&rest[8..12], &[0, inner_number.0, 0, 0]),
            3 => prop_assert_eq!(rest[8] >> 4, if inner_v6 { 6 } else { 4 }),
            _ => {
                prop_assert_eq!(rest[8..16].to_vec(), vec![8, 0, 0, 0, 0x12, 0x34, 0x56, 0]);
                let sliced = SlicedPacket::from_ethernet(&rest[16..]).unwrap();
                prop_assert!(sliced.transport.is_some());
                let macs = ethernet::addresses(rest[16..].first_chunk().unwrap());
                prop_assert_eq!(macs.destination(), MacAddr([2, 0, 0, 0, 0, 9]));
            }
        }
        prop_assert_eq!(&bytes[template.len()..], &packet[..]);
    }

    #[test]
    fn headers_written_at_once_are_the_same_bytes(
        which in 0usize..5, traffic_class in any::<u8>(), hash in any::<u32>(), identification in any::<u16>(),
        source_bits in 0u8..=16, fragment in any::<u16>(), mtu in 0u16..1700,
        payload in proptest::collection::vec(any::<u8>(), 0..1500),
    ) {
        let mut packet = inner_packet(Family::V4, traffic_class, &payload);
        packet[4..6].copy_from_slice(&identification.to_be_bytes());
        // The beginning of a datagram.
        packet[6..8].copy_from_slice(&(fragment & !ipv4::OFFSET_MASK).to_be_bytes());
        let template = Template::new(TUNNELS[which], &Outer { source_bits, ..outer(false) }, Family::V4).unwrap();
        let front = Front::new(&template, INNER_MACS, mtu).unwrap();
        let inner = InnerFront::of(&[&[0; 14][..], &packet].concat()).unwrap();
        prop_assert_eq!(front.added(), template.len());
        prop_assert_eq!(usize::from(inner.total_len()), packet.len());
        let fits = packet.len() + template.len() <= usize::from(mtu);
        prop_assert_eq!(front.takes(inner), fits);
        let mut frame = [&vec![0xee; 14 + template.len()][..], &packet].concat();
        front.write(&mut frame, inner, hash).unwrap();
        let slowly = push(&template, &packet, hash, identification);
        prop_assert_eq!(frame, [&INNER_MACS.0[..], &[8, 0], &slowly].concat());
    }

    #[test]
    fn no_frame_makes_writing_at_once_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100), which in 0usize..5) {
        let template = Template::new(TUNNELS[which], &outer(false), Family::V4).unwrap();
        let front = Front::new(&template, INNER_MACS, 1500).unwrap();
        if let Some(inner) = InnerFront::of(&bytes) {
            let _ = (front.takes(inner), front.write(&mut bytes.clone(), inner, 1));
        }
        let _ = Front::CLOSED.write(&mut bytes.clone(), InnerFront::of(&[0x45; 22]).unwrap(), 1);
    }

    #[test]
    fn no_bytes_make_the_checksum_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
        let _ = (complete_udp6(&mut bytes), Inner::of(&bytes));
    }
}
