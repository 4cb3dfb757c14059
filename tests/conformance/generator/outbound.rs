//! Connections that a backend opens itself: they leave from the first block of an outbound rule's frontend. Which of its
//! ports that is, is guideway's to choose; whoever answers to all of them has one answer arrive.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::Case;
use super::packets::{Body, Packet, ip_frame};
use super::site::{Family, INSIDE, OUTSIDE, Sent, Site, backend, client, mac_of, mask, router};

/// The backend's.
const PORT: u16 = 51_000;
const FIRST: u16 = 1024;

fn egress(family: Family) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::new(203, 0, 113, 11).into(),
        Family::V6 => Ipv6Addr::new(0x2001, 0xdb8, 0xf, 0, 0, 0, 0, 0x11).into(),
    }
}

pub fn cases() -> Vec<Case> {
    let kinds = ["tcp", "udp", "echo"];
    let both = [Family::V4, Family::V6].into_iter();
    both.flat_map(|family| kinds.map(|kind| of_kind(family, kind))).collect()
}

/// From a port or identifier to one, or the answer.
fn body(family: Family, kind: &str, ports: (u16, u16), is_answer: bool) -> Body {
    let [a, b] = if is_answer { ports.1 } else { ports.0 }.to_be_bytes();
    let number = match (family, is_answer) {
        (Family::V4, false) => 8,
        (Family::V4, true) => 0,
        (Family::V6, false) => 128,
        (Family::V6, true) => 129,
    };
    match kind {
        "tcp" => Body::tcp(ports, if is_answer { "SA" } else { "S" }, b""),
        "udp" => Body::udp(ports, b"who is there?"),
        _ => Body::Icmp { kind: number, code: 0, word: [a, b, 0, 1], data: b"are you there?".to_vec() },
    }
}

fn of_kind(family: Family, kind: &str) -> Case {
    let site = Site::nat(family);
    let own = egress(family);
    let rule = format!(
        "[[outbound_rule]]\nname = \"egress\"\npool = \"web\"\nfrontends = [\"{own}\"]\nports_per_backend = 8\n"
    );
    let version = if family == Family::V4 { "v4" } else { "v6" };
    let why = "RFC 3022 section 4.1, RFC 4787 sections 4 and 5, RFC 5508 section 3.1: source address and port (identifier) are \
               translated, and of the answers those to the port that was used are let in";
    let config = format!("{}\n{rule}", site.config());
    let mut case = Case::new(format!("outbound-{version}-{kind}"), why, config);

    let asked = Packet::new(backend(family), client(family), body(family, kind, (PORT, 443), false));
    let left = Packet {
        from: own,
        hops: asked.hops - 1,
        body: body(family, kind, (FIRST, 443), false),
        ..asked.clone()
    };
    let header = 14 + if family == Family::V4 { 20 } else { 40 };
    let (port_at, sum_at) = match kind {
        "tcp" => (1, 16),
        "udp" => (1, 6),
        _ => (5, 2),
    };
    let masks = vec![
        mask(header + port_at, &[7], "which port of the block is for guideway to choose"),
        mask(header + sum_at, &[0xff, 0xff], "and the checksum goes with it"),
    ];
    let frame = ip_frame(mac_of(router(family)), OUTSIDE.mac, &[], &left.bytes());
    case = case.sends(INSIDE, site.backend_frame(&asked.bytes()), Sent { port: OUTSIDE.name, frame, masks });

    let answer = |port| Packet::new(client(family), own, body(family, kind, (443, port), true));
    case.now += std::time::Duration::from_millis(1);
    for port in FIRST..FIRST + 8 {
        case.came.push((case.now, OUTSIDE.name, site.client_frame(&answer(port).bytes())));
    }
    let got = answer(PORT);
    let got = Packet { to: backend(family), hops: got.hops - 1, ..got };
    let frame = ip_frame(mac_of(backend(family)), INSIDE.mac, &[], &got.bytes());
    case.expected.transmitted += 1;
    case.expected.drops.insert("outbound-filtered".to_owned(), 7);
    case.leaves(Sent { port: INSIDE.name, frame, masks: Vec::new() })
}
