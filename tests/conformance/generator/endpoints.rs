//! Ports and addresses that lead to one backend each, and lists of who may come.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::Case;
use super::packets::{Body, Packet};
use super::site::{
    CLIENT_PORT, FRONTEND_PORT, Family, INSIDE, OUTSIDE, Sent, Site, backend, client, frontend, mac_of,
};

pub fn cases() -> Vec<Case> {
    let both = [Family::V4, Family::V6].into_iter();
    both.flat_map(|family| {
        let cases =
            [one_port(family), port_of_a_range(family), own_address(family), errors(family), list(family)];
        cases.into_iter()
    })
    .collect()
}

fn version(family: Family) -> &'static str {
    if family == Family::V4 { "v4" } else { "v6" }
}

fn host(address: IpAddr) -> String {
    if address.is_ipv6() { format!("[{address}]") } else { address.to_string() }
}

fn own(family: Family) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::new(203, 0, 113, 20).into(),
        Family::V6 => Ipv6Addr::new(0x2001, 0xdb8, 0xf, 0, 0, 0, 0, 0x20).into(),
    }
}

/// One hop further, with these addresses.
fn on(packet: &Packet, from: IpAddr, to: IpAddr, ports: (u16, u16)) -> Packet {
    Packet { from, to, hops: packet.hops - 1, body: packet.body.with_ports(|_| ports), ..packet.clone() }
}

fn inside(family: Family, packet: &Packet) -> Sent {
    let frame = super::packets::ip_frame(mac_of(backend(family)), INSIDE.mac, &[], &packet.bytes());
    Sent { port: INSIDE.name, frame, masks: Vec::new() }
}

fn outside(site: &Site, packet: &Packet) -> Sent {
    Sent { port: OUTSIDE.name, frame: site.to_router(&packet.bytes()), masks: Vec::new() }
}

/// A connection to a port of the frontend's that leads to one of the backend's.
fn connection(mut case: Case, family: Family, (front, back): (u16, u16)) -> Case {
    let site = Site::nat(family);
    let (from, us, server) = (client(family), frontend(family), backend(family));
    for (flags, answer) in [("S", "SA"), ("PA", "PA"), ("FA", "FA")] {
        let there = Packet::new(from, us, Body::tcp((CLIENT_PORT, front), flags, b""));
        let arrives = on(&there, from, server, (CLIENT_PORT, back));
        case = case.sends(OUTSIDE, site.client_frame(&there.bytes()), inside(family, &arrives));
        let here = Packet::new(server, from, Body::tcp((back, CLIENT_PORT), answer, b""));
        let seen = on(&here, us, from, (front, CLIENT_PORT));
        case = case.sends(INSIDE, site.backend_frame(&here.bytes()), outside(&site, &seen));
    }
    case
}

fn one_port(family: Family) -> Case {
    let rule = format!(
        "[[nat_rule]]\nname = \"ssh\"\nfrontend = \"{}:2201/tcp\"\nbackend = \"{}:22\"\n",
        host(frontend(family)),
        host(backend(family))
    );
    let why = "RFC 3022 section 4.1: a port of its own leads to one backend, and its answers come from there";
    let name = format!("nat-rule-{}-one-port", version(family));
    let case = Case::new(name, why, format!("{}\n{rule}", Site::nat(family).config()));
    connection(case, family, (2201, 22)).flows(1, 0)
}

fn port_of_a_range(family: Family) -> Case {
    let rule = format!(
        "[[nat_rule]]\nname = \"ssh\"\nfrontend = \"{}:2300-2309/tcp\"\npool = \"web\"\nbackend_port = 22\n",
        host(frontend(family))
    );
    let why =
        "docs/NAT-RULES.md: the pool's first backend has the range's first port, and the next leads nowhere";
    let name = format!("nat-rule-{}-range", version(family));
    let case = Case::new(name, why, format!("{}\n{rule}", Site::nat(family).config()));
    let to = |port| Packet::new(client(family), frontend(family), Body::tcp((CLIENT_PORT, port), "S", b""));
    let site = Site::nat(family);
    connection(case, family, (2300, 22)).drops(OUTSIDE, site.client_frame(&to(2301).bytes()), "no-rule")
}

fn with_own_address(family: Family, name: &str, why: &str) -> Case {
    let rule = format!(
        "[[nat_rule]]\nname = \"own\"\nfrontend = \"{}:0/any\"\nbackend = \"{}\"\n",
        host(own(family)),
        backend(family)
    );
    let name = format!("own-{}-{name}", version(family));
    Case::new(name, why, format!("{}\n{rule}", Site::nat(family).config()))
}

fn echo(family: Family, is_answer: bool) -> Body {
    let kind = match (family, is_answer) {
        (Family::V4, false) => 8,
        (Family::V4, true) => 0,
        (Family::V6, false) => 128,
        (Family::V6, true) => 129,
    };
    Body::Icmp { kind, code: 0, word: [0, 7, 0, 1], data: b"are you there?".to_vec() }
}

/// What has ports keeps them; ping and GRE (RFC 2784) have only addresses.
fn own_address(family: Family) -> Case {
    let why = "RFC 3022 section 4.1.1 (basic NAT), RFC 5508 section 3: all of the address leads to the backend, which is seen \
               from there";
    let mut case = with_own_address(family, "both-ways", why);
    let site = Site::nat(family);
    let (far, server) = (client(family), backend(family));
    let bodies = [
        (Body::tcp((CLIENT_PORT, 22), "S", b""), Body::tcp((22, CLIENT_PORT), "SA", b"")),
        (Body::udp((CLIENT_PORT, 33000), b"so"), Body::udp((33000, CLIENT_PORT), b"that")),
        (echo(family, false), echo(family, true)),
        (echo(family, true), echo(family, false)),
        (Body::Other(47, vec![0, 0, 8, 0, 1, 2, 3, 4]), Body::Other(47, vec![0, 0, 8, 0, 5, 6, 7, 8])),
    ];
    for (there, back) in bodies {
        let there = Packet::new(far, own(family), there);
        let arrives = Packet { to: server, hops: there.hops - 1, ..there.clone() };
        case = case.sends(OUTSIDE, site.client_frame(&there.bytes()), inside(family, &arrives));
        let back = Packet::new(server, far, back);
        let seen = Packet { from: own(family), hops: back.hops - 1, ..back.clone() };
        case = case.sends(INSIDE, site.backend_frame(&back.bytes()), outside(&site, &seen));
    }
    case
}

/// Port unreachable, of a ping of the backend's.
fn errors(family: Family) -> Case {
    let why = "RFC 5508 section 4.2, REQ-4 and REQ-5: an error about what went by the address is told with the address that its \
               sender knows";
    let site = Site::nat(family);
    let (far, server) = (client(family), backend(family));
    let (kind, code) = if family == Family::V4 { (3, 1) } else { (1, 3) };
    let error = |from, to, quoted: &Packet| {
        let body = Body::Icmp { kind, code, word: [0; 4], data: quoted.bytes() };
        // Made anew, with flow label 0 and "don't fragment".
        Packet { id: 0, df: true, label: 0, ..Packet::new(from, to, body) }
    };
    let sent = Packet::new(own(family), far, echo(family, false));
    let told = error(far, own(family), &sent);
    let known = Packet { from: server, ..sent.clone() };
    let gets = Packet { hops: told.hops - 1, ..error(far, server, &known) };
    with_own_address(family, "errors", why).sends(
        OUTSIDE,
        site.client_frame(&told.bytes()),
        inside(family, &gets),
    )
}

/// The client's address is in the list; the next one is not.
fn list(family: Family) -> Case {
    let far = client(family);
    let stranger = match far {
        IpAddr::V4(address) => Ipv4Addr::from_bits(address.to_bits() + 1).into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() + 1).into(),
    };
    let listed = format!("\n[[acl]]\nname = \"friends\"\nrules = [\"permit {far}\"]\n");
    let site = Site { rule: "acl = \"friends\"\n".into(), more: listed, ..Site::nat(family) };
    let why = "docs/CONFIG.md: only whom the list permits begins flows; that holds for each protocol, and answers are not asked";
    let name = format!("acl-{}-permits", version(family));
    let from = |from, body| Packet { from, ..site.request(body) };
    let syn = Body::tcp((CLIENT_PORT, FRONTEND_PORT), "S", b"");
    let datagram = Body::udp((CLIENT_PORT, FRONTEND_PORT), b"hello");
    Case::new(name, why, site.config())
        .requests(&site, &site.tcp("S", b""))
        .responds(&site, &site.response(Body::tcp((0, 0), "SA", b"")))
        .drops(OUTSIDE, site.client_frame(&from(stranger, syn).bytes()), "acl-denied")
        .requests(&site, &site.udp(b"hello"))
        .drops(OUTSIDE, site.client_frame(&from(stranger, datagram).bytes()), "acl-denied")
        .requests(&site, &site.tcp("A", b"more"))
        .flows(2, 0)
}
