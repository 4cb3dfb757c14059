//! Every way to forward, in both families: what leaves is the packet that came in, unchanged, behind headers that are
//! right; or the same packet with other ends.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail")]

mod common;

use std::net::IpAddr;

use common::{INSIDE, INSIDE_MAC, OUTSIDE, OUTSIDE_MAC, ROUTER_MAC, TWO_FAMILIES, balancer, seconds};
use etherparse::{NetSlice, PacketBuilder, SlicedPacket, TransportSlice};
use guideway::io::PortId;
use guideway::replay::Replay;

const CLIENTS: [&str; 2] = ["192.0.2.7", "2001:db8:2::7"];
const FRONTENDS: [&str; 2] = ["203.0.113.10", "2001:db8:1::10"];
const BACKENDS: [&str; 2] = ["10.0.0.4", "2001:db8:10::4"];
const OWN: [&str; 2] = ["10.0.0.1", "2001:db8:10::1"];
/// As addresses of neighbours are made up.
const BACKEND_MACS: [[u8; 6]; 2] = [[2, 0, 10, 0, 0, 4], [2, 0, 0, 0, 0, 4]];

fn config(frontend: &str, backend: &str, rule: &str) -> String {
    format!(
        r#"{TWO_FAMILIES}[[pool]]
name = "web"
backends = [{{ address = "{backend}" }}]
[[rule]]
name = "web"
frontend = "{frontend}"
pool = "web"
{rule}
"#
    )
}

fn frontend_of(family: usize, ports: &str) -> String {
    let address = FRONTENDS[family];
    if family == 1 { format!("[{address}]:{ports}") } else { format!("{address}:{ports}") }
}

/// A frame between two ends of one family, of TCP or of UDP.
fn frame(macs: ([u8; 6], [u8; 6]), from: (&str, u16), to: (&str, u16), ttl: u8, is_tcp: bool) -> Vec<u8> {
    let builder = PacketBuilder::ethernet2(macs.0, macs.1);
    let address = |text: &str| text.parse::<IpAddr>().unwrap();
    let builder = match (address(from.0), address(to.0)) {
        (IpAddr::V4(from), IpAddr::V4(to)) => builder.ipv4(from.octets(), to.octets(), ttl),
        (IpAddr::V6(from), IpAddr::V6(to)) => builder.ipv6(from.octets(), to.octets(), ttl),
        _ => panic!("two families"),
    };
    let mut frame = Vec::new();
    if is_tcp {
        builder.tcp(from.1, to.1, 1000, 512).syn().write(&mut frame, b"some bytes").unwrap();
    } else {
        builder.udp(from.1, to.1).write(&mut frame, b"some bytes more").unwrap();
    }
    frame
}

fn from_client(family: usize, to_port: u16, is_tcp: bool) -> Vec<u8> {
    let (from, to) = ((CLIENTS[family], 40_000), (FRONTENDS[family], to_port));
    frame((ROUTER_MAC, OUTSIDE_MAC), from, to, 64, is_tcp)
}

/// What leaves for one frame; it must leave by `port`.
fn one(replay: &mut Replay, at: PortId, frame: &[u8], port: PortId) -> Vec<u8> {
    let sent = replay.frame(seconds(1.0), at, frame.to_vec());
    assert_eq!(
        sent.len(),
        1,
        "{:?}",
        common::counts(replay).iter().filter(|(_, n)| **n > 0).collect::<Vec<_>>()
    );
    assert_eq!(sent[0].0, port);
    sent[0].1.clone()
}

/// Holds all checksums of the outermost packet; returns what its innermost known header carries.
fn check_outer(frame: &[u8], macs: ([u8; 6], [u8; 6]), from: &str, to: &str) -> Vec<u8> {
    assert_eq!((&frame[..6], &frame[6..12]), (&macs.1[..], &macs.0[..]));
    let packet = SlicedPacket::from_ethernet(frame).unwrap();
    let (source, destination): (IpAddr, IpAddr) = match packet.net.as_ref().unwrap() {
        NetSlice::Ipv4(ip) => {
            let header = ip.header().to_header();
            assert_eq!(header.header_checksum, header.calc_header_checksum());
            assert_eq!((usize::from(header.total_len), header.time_to_live), (frame.len() - 14, 64));
            (header.source.into(), header.destination.into())
        }
        NetSlice::Ipv6(ip) => {
            let header = ip.header().to_header();
            assert_eq!((usize::from(header.payload_length), header.hop_limit), (frame.len() - 54, 64));
            (header.source.into(), header.destination.into())
        }
        NetSlice::Arp(_) => panic!("ARP"),
    };
    assert_eq!((source, destination), (from.parse().unwrap(), to.parse().unwrap()));
    match packet.transport {
        Some(TransportSlice::Udp(udp)) => {
            let length = frame.len() - (udp.slice().as_ptr().addr() - frame.as_ptr().addr());
            assert_eq!(usize::from(udp.length()), length);
            assert!(udp.source_port() >= 49_152);
            if let NetSlice::Ipv6(ip) = packet.net.as_ref().unwrap() {
                let header = ip.header().to_header();
                let sum = udp.to_header().calc_checksum_ipv6(&header, udp.payload()).unwrap();
                assert_eq!(udp.checksum(), sum);
            } else {
                assert_eq!(udp.checksum(), 0);
            }
            [&udp.destination_port().to_be_bytes()[..], udp.payload()].concat()
        }
        Some(other) => panic!("{other:?}"),
        None => packet.net.unwrap().ip_payload_ref().unwrap().payload.to_vec(),
    }
}

#[test]
fn tunnels_put_right_headers_before_the_packet_as_it_was() {
    for (inner, outer) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
        let ether_type: [u8; 2] = [[8, 0], [0x86, 0xdd]][inner];
        let number: u8 = [4, 41][inner];
        let mac = BACKEND_MACS[outer];
        let cases: [(&str, Vec<u8>); 6] = [
            ("forward = \"ipip\"", vec![]),
            ("forward = \"gre\"", vec![0, 0, ether_type[0], ether_type[1]]),
            ("forward = \"gue\"", vec![0x17, 0xc0, 0, number, 0, 0]),
            ("forward = \"gue\"\ngue_variant = 1\ntunnel_port = 9000", vec![0x23, 0x28]),
            (
                "forward = \"vxlan\"",
                [&[0x12, 0xb5, 8, 0, 0, 0, 0, 0, 1, 0][..], &mac, &INSIDE_MAC, &ether_type].concat(),
            ),
            (
                "forward = \"vxlan\"\nvni = 70000\ninner_mac = \"02:00:00:00:00:99\"",
                [
                    &[0x12, 0xb5, 8, 0, 0, 0, 1, 0x11, 0x70, 0, 2, 0, 0, 0, 0, 0x99][..],
                    &INSIDE_MAC,
                    &ether_type,
                ]
                .concat(),
            ),
        ];
        for (rule, between) in cases {
            for is_tcp in [true, false] {
                let proto = if is_tcp { "443/tcp" } else { "443/udp" };
                let text = config(&frontend_of(inner, proto), BACKENDS[outer], rule);
                let mut replay = balancer(&text, 1);
                let mut sent = from_client(inner, 443, is_tcp);
                // The packet's own TTL does not matter, nor padding.
                let packet = sent[14..].to_vec();
                sent.extend([0xee; 7]);
                let left = one(&mut replay, OUTSIDE, &sent, INSIDE);
                let carried = check_outer(&left, (INSIDE_MAC, mac), OWN[outer], BACKENDS[outer]);
                assert_eq!(carried, [between.clone(), packet].concat(), "{rule} {inner} in {outer}");
            }
        }
    }
}

#[test]
fn tunnels_from_a_network_are_from_an_address_for_each_flow() {
    const NETWORKS: [(&str, u8); 3] = [("172.16.0.0", 16), ("2001:db8:aaaa::", 112), ("172.16.0.64", 28)];
    for (network, prefix) in NETWORKS {
        let outer = usize::from(network.contains(':'));
        let (mac, ip_len) = (BACKEND_MACS[outer], [20, 40][outer]);
        for (way, inner) in [("ipip", 0), ("ipip", 1), ("gre", 0), ("vxlan", 1)] {
            let rule = format!("forward = \"{way}\"\ntunnel_source = \"{network}/{prefix}\"");
            let mut seen = std::collections::BTreeSet::new();
            let text = config(&frontend_of(inner, "443/tcp"), BACKENDS[outer], &rule);
            let (mut one_worker, mut three) = (balancer(&text, 1), balancer(&text, 3));
            for client_port in 1000..1100 {
                let (from, to) = ((CLIENTS[inner], client_port), (FRONTENDS[inner], 443));
                let sent = frame((ROUTER_MAC, OUTSIDE_MAC), from, to, 64, true);
                let left = one(&mut one_worker, OUTSIDE, &sent, INSIDE);
                assert_eq!(left, one(&mut three, OUTSIDE, &sent, INSIDE), "on workers it does not depend");
                assert_eq!(left[14 + ip_len..], one(&mut one_worker, OUTSIDE, &sent, INSIDE)[14 + ip_len..]);
                let source: IpAddr = match outer {
                    0 => <[u8; 4]>::try_from(&left[26..30]).unwrap().into(),
                    _ => <[u8; 16]>::try_from(&left[22..38]).unwrap().into(),
                };
                // Lengths and checksums, and that it ends with the packet as it was.
                let carried = check_outer(&left, (INSIDE_MAC, mac), &source.to_string(), BACKENDS[outer]);
                assert!(carried.ends_with(&sent[14..]));
                let bits = |address: IpAddr| match address {
                    IpAddr::V4(address) => u128::from(u32::from(address)),
                    IpAddr::V6(address) => address.into(),
                };
                let host_bits = [32, 128][outer] - u32::from(prefix);
                assert_eq!((bits(source) ^ bits(network.parse().unwrap())) >> host_bits, 0, "{source}");
                seen.insert(source);
            }
            // Of 100 flows in 65,536 places hardly two meet; 16 places are all taken.
            assert!(seen.len() >= if prefix == 28 { 16 } else { 98 }, "{way} {}", seen.len());
            assert!(prefix != 28 || seen.len() == 16);
        }
    }
}

#[test]
fn direct_changes_the_stations_alone() {
    for family in [0, 1] {
        for is_tcp in [true, false] {
            let proto = if is_tcp { "443/tcp" } else { "443/udp" };
            let mut replay =
                balancer(&config(&frontend_of(family, proto), BACKENDS[family], "forward = \"dsr\""), 1);
            let sent = from_client(family, 443, is_tcp);
            let left = one(&mut replay, OUTSIDE, &sent, INSIDE);
            assert_eq!(left[..12], [BACKEND_MACS[family], INSIDE_MAC].concat());
            assert_eq!(left[12..], sent[12..]);
        }
    }
}

#[test]
fn translation_of_both_families_is_right_both_ways() {
    for family in [0, 1] {
        for is_tcp in [true, false] {
            let proto = if is_tcp { "443/tcp" } else { "443/udp" };
            let mut replay =
                balancer(&config(&frontend_of(family, proto), BACKENDS[family], "backend_port = 8443"), 2);
            let left = one(&mut replay, OUTSIDE, &from_client(family, 443, is_tcp), INSIDE);
            let (client, backend) = ((CLIENTS[family], 40_000), (BACKENDS[family], 8443));
            assert_eq!(left, frame((INSIDE_MAC, BACKEND_MACS[family]), client, backend, 63, is_tcp));
            let answer = frame((BACKEND_MACS[family], INSIDE_MAC), backend, client, 64, is_tcp);
            let left = one(&mut replay, INSIDE, &answer, OUTSIDE);
            let router = [[2, 0, 198, 51, 100, 1], [2, 0, 0, 0, 0, 1]][family];
            let frontend = (FRONTENDS[family], 443);
            let wanted = frame((OUTSIDE_MAC, router), frontend, client, 63, is_tcp);
            assert_eq!(left, wanted);
        }
    }
}

#[test]
fn frontends_of_many_ports_keep_the_port() {
    for family in [0, 1] {
        for (ports, protocols) in [("400-500/tcp", 1..2), ("0/udp", 0..1), ("0/any", 0..2)] {
            let mut replay = balancer(&config(&frontend_of(family, ports), BACKENDS[family], ""), 1);
            for is_tcp in protocols.map(|number| number == 1) {
                let left = one(&mut replay, OUTSIDE, &from_client(family, 443, is_tcp), INSIDE);
                let (client, backend) = ((CLIENTS[family], 40_000), (BACKENDS[family], 443));
                assert_eq!(left, frame((INSIDE_MAC, BACKEND_MACS[family]), client, backend, 63, is_tcp));
                let answer = frame((BACKEND_MACS[family], INSIDE_MAC), backend, client, 64, is_tcp);
                let left = one(&mut replay, INSIDE, &answer, OUTSIDE);
                let router = [[2, 0, 198, 51, 100, 1], [2, 0, 0, 0, 0, 1]][family];
                assert_eq!(left, frame((OUTSIDE_MAC, router), (FRONTENDS[family], 443), client, 63, is_tcp));
            }
            if ports.starts_with("400") {
                assert!(replay.frame(seconds(2.0), OUTSIDE, from_client(family, 399, true)).is_empty());
                assert!(replay.frame(seconds(2.0), OUTSIDE, from_client(family, 443, false)).is_empty());
            }
        }
    }
}

#[test]
fn networks_and_protocols_without_ports_go_to_a_backend_as_they_are() {
    let mut replay = balancer(&config("203.0.113.0/28:443/tcp", BACKENDS[0], "forward = \"dsr\""), 1);
    let sent = from_client(0, 443, true);
    assert_eq!(one(&mut replay, OUTSIDE, &sent, INSIDE)[12..], sent[12..]);
    let mut replay = balancer(&config("203.0.113.10:0/sctp", BACKENDS[0], "forward = \"ipip\""), 1);
    let mut sent = from_client(0, 443, false);
    sent[23] = 132;
    let sum = etherparse::Ipv4Header::from_slice(&sent[14..]).unwrap().0.calc_header_checksum();
    sent[24..26].copy_from_slice(&sum.to_be_bytes());
    let left = one(&mut replay, OUTSIDE, &sent, INSIDE);
    assert_eq!(left[34..], sent[14..]);
}

/// The ports of a TCP or UDP packet right behind its header.
fn ports(frame: &[u8]) -> (u16, u16) {
    let packet = SlicedPacket::from_ethernet(frame).unwrap();
    match packet.transport.unwrap() {
        TransportSlice::Tcp(tcp) => (tcp.source_port(), tcp.destination_port()),
        TransportSlice::Udp(udp) => (udp.source_port(), udp.destination_port()),
        other => panic!("{other:?}"),
    }
}

/// A short packet of IPv6 in IPv4: it may be cut up, and its checksum names it (RFC 7915 section 5.1).
fn named(mut frame: Vec<u8>, is_tcp: bool) -> Vec<u8> {
    let checksum = if is_tcp { 50 } else { 40 };
    frame.copy_within(checksum..checksum + 2, 18);
    frame[20..22].fill(0);
    common::fix_ip_checksum(&mut frame);
    frame
}

#[test]
fn full_nat_gives_flows_a_source_of_ours_in_and_between_both_families() {
    const SOURCES: [&str; 2] = ["10.0.0.200", "2001:db8:10::200"];
    for (front, back) in [(0, 0), (1, 1), (0, 1), (1, 0)] {
        for is_tcp in [true, false] {
            let mut seen = Vec::new();
            for workers in [1, 2, 3, 7] {
                let proto = if is_tcp { "443/tcp" } else { "443/udp" };
                let rule = format!(
                    "forward = \"full-nat\"\nbackend_port = 8443\nsource_addresses = [\"{}\"]",
                    SOURCES[back]
                );
                let mut replay =
                    balancer(&config(&frontend_of(front, proto), BACKENDS[back], &rule), workers);
                let left = one(&mut replay, OUTSIDE, &from_client(front, 443, is_tcp), INSIDE);
                let port = ports(&left).0;
                assert!((1024..61_000).contains(&port));
                let (source, backend) = ((SOURCES[back], port), (BACKENDS[back], 8443));
                let wanted = frame((INSIDE_MAC, BACKEND_MACS[back]), source, backend, 63, is_tcp);
                assert_eq!(left, if front > back { named(wanted, is_tcp) } else { wanted });
                // The same flow has the same port, and another one another.
                assert_eq!(
                    ports(&one(&mut replay, OUTSIDE, &from_client(front, 443, is_tcp), INSIDE)).0,
                    port
                );
                let mut other = from_client(front, 443, is_tcp);
                let at = [34, 54][front];
                other[at..at + 2].copy_from_slice(&40_001u16.to_be_bytes());
                assert_ne!(ports(&one(&mut replay, OUTSIDE, &other, INSIDE)).0, port);
                let answer = frame((BACKEND_MACS[back], INSIDE_MAC), backend, source, 64, is_tcp);
                let left = one(&mut replay, INSIDE, &answer, OUTSIDE);
                let router = [[2, 0, 198, 51, 100, 1], [2, 0, 0, 0, 0, 1]][front];
                let (frontend, client) = ((FRONTENDS[front], 443), (CLIENTS[front], 40_000));
                let wanted = frame((OUTSIDE_MAC, router), frontend, client, 63, is_tcp);
                assert_eq!(left, if back > front { named(wanted, is_tcp) } else { wanted });
                // Nobody else may answer, and nobody at a port that no flow has.
                for (from, to) in [((BACKENDS[back], 8444), source), (backend, (SOURCES[back], port ^ 1))] {
                    let stray = frame((BACKEND_MACS[back], INSIDE_MAC), from, to, 64, is_tcp);
                    assert!(replay.frame(seconds(1.0), INSIDE, stray).is_empty());
                }
                common::assert_balanced(&replay);
                // All is forgotten in the end.
                replay.frame(seconds(10_000.0), OUTSIDE, vec![0; 60]);
                let stray = frame((BACKEND_MACS[back], INSIDE_MAC), backend, source, 64, is_tcp);
                assert!(replay.frame(seconds(10_000.0), INSIDE, stray).is_empty());
                common::assert_balanced(&replay);
                seen.push(port);
            }
            assert!(seen.iter().all(|port| *port == seen[0]), "{seen:?}");
        }
    }
}

#[test]
fn a_backend_can_be_a_client_of_its_own_frontend_where_that_is_asked_for() {
    for family in [0, 1] {
        for is_tcp in [true, false] {
            let proto = if is_tcp { "443/tcp" } else { "443/udp" };
            let call = frame(
                (BACKEND_MACS[family], INSIDE_MAC),
                (BACKENDS[family], 40_000),
                (FRONTENDS[family], 443),
                64,
                is_tcp,
            );
            let text = |rule| config(&frontend_of(family, proto), BACKENDS[family], rule);
            let mut replay = balancer(&text(""), 1);
            assert!(replay.frame(seconds(1.0), INSIDE, call.clone()).is_empty());
            for workers in [1, 3] {
                let mut replay = balancer(&text("hairpin = true"), workers);
                let left = one(&mut replay, INSIDE, &call, INSIDE);
                let (source, backend) = ((OWN[family], ports(&left).0), (BACKENDS[family], 443));
                assert_eq!(left, frame((INSIDE_MAC, BACKEND_MACS[family]), source, backend, 63, is_tcp));
                let answer = frame((BACKEND_MACS[family], INSIDE_MAC), backend, source, 64, is_tcp);
                let left = one(&mut replay, INSIDE, &answer, INSIDE);
                let (frontend, client) = ((FRONTENDS[family], 443), (BACKENDS[family], 40_000));
                assert_eq!(left, frame((INSIDE_MAC, BACKEND_MACS[family]), frontend, client, 63, is_tcp));
                // Other clients are translated as ever.
                let left = one(&mut replay, OUTSIDE, &from_client(family, 443, is_tcp), INSIDE);
                assert_eq!(ports(&left).0, 40_000);
                common::assert_balanced(&replay);
            }
        }
    }
}
