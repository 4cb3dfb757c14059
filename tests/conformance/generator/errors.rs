//! ICMP errors: those about our flows, from either side, and those that we make.

use std::net::IpAddr;

use super::Case;
use super::packets::{Body, Packet, ip_frame};
use super::site::{
    CLIENT_PORT, FRONTEND_PORT, Family, INSIDE, Mode, OUTSIDE, Port, Sent, Site, backend, client, frontend,
    mac_of, mask, router,
};
use super::tunnels;

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for family in [Family::V4, Family::V6] {
        let site = Site::nat(family);
        for kind in kinds(family) {
            cases.extend(translated(&site, &kind));
        }
        cases.extend(not_translated(&site));
        cases.extend(time_exceeded(&site));
        let mut narrow = site.clone();
        narrow.inside = "mtu = 1400\n".into();
        cases.push(too_big(&narrow, 1400));
    }
    for (inner, outer) in [
        (Family::V4, Family::V4),
        (Family::V6, Family::V6),
        (Family::V4, Family::V6),
        (Family::V6, Family::V4),
    ] {
        cases.extend(
            kinds(inner)
                .iter()
                .map(|kind| to_full_nat_backend(&Site::new(Mode::FullNat, inner, outer), kind)),
        );
    }
    for site in tunnels::sites() {
        cases.push(carried(&site));
        if site.is_tunnel() {
            cases.push(too_big(&site, 1500 - site.overhead()));
        }
    }
    cases
}

/// A kind of error: its name, type, code, and the word behind the checksum.
type Kind = (&'static str, u8, u8, [u8; 4]);

fn kinds(family: Family) -> Vec<Kind> {
    let mtu = [0, 0, 0x05, 0x78];
    match family {
        Family::V4 => vec![
            ("host-unreachable", 3, 1, [0; 4]),
            ("port-unreachable", 3, 3, [0; 4]),
            ("fragmentation-needed", 3, 4, mtu),
            ("time-exceeded", 11, 0, [0; 4]),
            ("parameter-problem", 12, 0, [20, 0, 0, 0]),
        ],
        Family::V6 => vec![
            ("address-unreachable", 1, 3, [0; 4]),
            ("port-unreachable", 1, 4, [0; 4]),
            ("packet-too-big", 2, 0, mtu),
            ("time-exceeded", 3, 0, [0; 4]),
            ("parameter-problem", 4, 1, [0, 0, 0, 40]),
        ],
    }
}

fn error(kind: &Kind, quoted: &[u8]) -> Body {
    Body::Icmp { kind: kind.1, code: kind.2, word: kind.3, data: quoted.to_vec() }
}

/// As much of a packet as an error must at least quote: header and eight bytes (RFC 792); all in IPv6 (RFC 4443).
fn least(site: &Site, packet: &Packet) -> Vec<u8> {
    let bytes = packet.bytes();
    if site.inner == Family::V4 { bytes[..28].to_vec() } else { bytes }
}

fn at_backend(site: &Site, packet: &Packet) -> Sent {
    let frame = ip_frame(mac_of(backend(site.outer)), INSIDE.mac, &[], &packet.bytes());
    Sent { port: INSIDE.name, frame, masks: Vec::new() }
}

fn at_client(site: &Site, packet: &Packet) -> Sent {
    Sent { port: OUTSIDE.name, frame: site.to_router(&packet.bytes()), masks: Vec::new() }
}

/// The same error from outside, about an answer, and from inside, about a request; TCP and UDP; quoted whole and cut.
fn translated(site: &Site, kind: &Kind) -> Vec<Case> {
    let why = match site.inner {
        Family::V4 => {
            "RFC 5508 section 4.2: the error goes to who sent the packet, and quotes it as it was sent"
        }
        Family::V6 => {
            "RFC 4443 section 2.4 and RFC 5508 section 4.2: the error goes to who sent the packet, and quotes it as it was sent"
        }
    };
    let name = |side: &str| format!("icmp-{}-{}-{side}", site.name(), kind.0);
    let mut from_outside = Case::new(name("from-outside"), why, site.config());
    let mut from_inside = Case::new(name("from-inside"), why, site.config());
    let bodies = [
        Body::tcp((CLIENT_PORT, FRONTEND_PORT), "A", b"data"),
        Body::udp((CLIENT_PORT, FRONTEND_PORT), b"data"),
    ];
    for body in bodies {
        let request = site.request(body);
        let answer = site.response(request.body.clone());
        from_outside = from_outside.requests(site, &request).responds(site, &answer);
        from_inside = from_inside.requests(site, &request);
        // As they were on their way, some hops further.
        let answer_seen = Packet {
            from: frontend(site.inner),
            hops: 50,
            body: answer.body.with_ports(|(_, to)| (FRONTEND_PORT, to)),
            ..answer.clone()
        };
        let answer_sent = Packet { hops: 50, ..answer.clone() };
        let request_seen = Packet { hops: 58, ..site.translated(&request) };
        let request_sent = Packet { hops: 58, ..request.clone() };
        for whole in [true, false] {
            let quote = |packet: &Packet| if whole { packet.bytes() } else { least(site, packet) };
            let from = |from, to, quoted: &Packet| Packet {
                hops: 40,
                ..Packet::new(from, to, error(kind, &quote(quoted)))
            };
            let came = from(router(site.inner), frontend(site.inner), &answer_seen);
            let left = Packet { hops: 39, ..from(router(site.inner), backend(site.inner), &answer_sent) };
            from_outside =
                from_outside.sends(OUTSIDE, site.client_frame(&came.bytes()), at_backend(site, &left));
            let came = from(backend(site.inner), client(site.inner), &request_seen);
            let left = Packet { hops: 39, ..from(frontend(site.inner), client(site.inner), &request_sent) };
            from_inside =
                from_inside.sends(INSIDE, site.backend_frame(&came.bytes()), at_client(site, &left));
        }
    }
    vec![from_outside, from_inside]
}

/// The error that the other family has for one (RFC 7915 sections 4.2 and 5.2), from `kinds` of it; the MTU counts headers
/// of 20 bytes more, or less.
fn of_other_family(kind: &Kind, inner: Family) -> Kind {
    match (inner, kind.0) {
        (Family::V4, "host-unreachable") => (kind.0, 1, 0, [0; 4]),
        (Family::V4, "port-unreachable") => (kind.0, 1, 4, [0; 4]),
        (Family::V4, "fragmentation-needed") => (kind.0, 2, 0, [0, 0, 0x05, 0x8c]),
        (Family::V4, "time-exceeded") => (kind.0, 3, 0, [0; 4]),
        // Byte 20 is none of the header.
        (Family::V6, "address-unreachable") => (kind.0, 3, 1, [0; 4]),
        (Family::V6, "port-unreachable") => (kind.0, 3, 3, [0; 4]),
        (Family::V6, "packet-too-big") => (kind.0, 3, 4, [0, 0, 0x05, 0x64]),
        (Family::V6, "time-exceeded") => (kind.0, 11, 0, [0; 4]),
        (Family::V6, _) => (kind.0, 3, 2, [0; 4]),
        _ => panic!("there is none"),
    }
}

/// An error from outside, about a backend's answer: to the backend, in the name of whom that takes for its client.
fn to_full_nat_backend(site: &Site, kind: &Kind) -> Case {
    const CHOSEN: &str = "the port that is quoted is guideway's choice, and the checksums cover it";
    let between = site.inner != site.outer;
    let why = if between {
        "RFC 7915 sections 4.2, 4.3, 5.2 and 5.3: the error, and what it quotes, in the other family's terms"
    } else {
        "RFC 5508 section 4.3: the error goes to who sent the packet, and quotes it as it was sent"
    };
    let case = Case::new(format!("icmp-{}-{}-from-outside", site.name(), kind.0), why, site.config());
    let mut asked = site.at_backend(&site.tcp("S", b""));
    if site.outer == Family::V4 && between {
        asked.masks.push(mask(18, &[0, 0, 0x40], "RFC 7915 section 5.1"));
    }
    let case = case.sends(OUTSIDE, site.client_frame(&site.tcp("S", b"").bytes()), asked);
    // As it was on its way, some hops further. It has neither label nor identification between families.
    let data = Body::tcp((FRONTEND_PORT, CLIENT_PORT), "A", b"data");
    let seen =
        Packet { hops: 50, id: 0, label: 0, ..Packet::new(frontend(site.inner), client(site.inner), data) };
    let port = site.backend_port.unwrap_or(FRONTEND_PORT);
    let source = site.fully_translated(&seen).from;
    let sent = Packet {
        from: backend(site.outer),
        to: source,
        body: seen.body.with_ports(|(_, client)| (port, client)),
        ..seen.clone()
    };
    let router = router(site.inner);
    let came = Packet { hops: 40, ..Packet::new(router, frontend(site.inner), error(kind, &seen.bytes())) };
    let frame = site.client_frame(&came.bytes());
    if between && site.inner == Family::V4 && kind.0 == "parameter-problem" {
        return case.drops(OUTSIDE, frame, "icmp-unhandled");
    }
    let told = if between { of_other_family(kind, site.inner) } else { *kind };
    let left = Packet {
        hops: 39,
        id: 0,
        label: 0,
        ..Packet::new(source, backend(site.outer), error(&told, &sent.bytes()))
    };
    let ip = if site.outer == Family::V4 { 20 } else { 40 };
    let quoted = 14 + ip + 8 + ip;
    let mut there = at_backend(site, &left);
    // The client's port is quoted as the destination's.
    there.masks = vec![mask(quoted + 2, &[0xff; 2], CHOSEN), mask(quoted + 16, &[0xff; 2], CHOSEN)];
    const OPEN: &str = "the RFCs leave these to who makes the header";
    match site.outer {
        Family::V4 => {
            there.masks.extend([
                mask(14 + ip + 2, &[0xff; 2], CHOSEN),
                mask(18, &[0xff, 0xff, 0x40], OPEN),
                mask(24, &[0xff; 2], OPEN),
            ]);
        }
        Family::V6 => {
            there.masks.extend([mask(14 + ip + 2, &[0xff; 2], CHOSEN), mask(15, &[0x0f, 0xff, 0xff], OPEN)])
        }
    }
    case.sends(OUTSIDE, frame, there)
}

fn not_translated(site: &Site) -> Vec<Case> {
    let kind = kinds(site.inner)[1];
    let answer = site.response(Body::udp((0, 0), b"data"));
    let seen = Packet {
        from: frontend(site.inner),
        body: answer.body.with_ports(|(_, to)| (FRONTEND_PORT, to)),
        ..answer
    };
    let about =
        |quoted: &[u8]| Packet::new(router(site.inner), frontend(site.inner), error(&kind, quoted)).bytes();
    let ip = if site.inner == Family::V4 { 20 } else { 40 };
    let mut damaged = site.client_frame(&about(&seen.bytes()));
    damaged[14 + ip + 2] ^= 1;
    let other = Packet { from: client(site.inner), ..seen.clone() };
    let case = |event: &str, why: &str, frame: Vec<u8>, reason: &str| {
        Case::new(format!("icmp-{}-{event}", site.name()), why, site.config()).drops(OUTSIDE, frame, reason)
    };
    vec![
        case(
            "error-damaged",
            "RFC 5508 section 4.1: an error with a wrong checksum is dropped",
            damaged,
            "icmp-malformed",
        ),
        case(
            "error-quote-cut",
            "RFC 792: an error that quotes no ports says nothing of any flow",
            site.client_frame(&about(&seen.bytes()[..ip + 3])),
            "icmp-bad-quote",
        ),
        case(
            "error-about-others",
            "RFC 5508 section 4.2: an error about a packet that we cannot have sent is dropped",
            site.client_frame(&about(&other.bytes())),
            "icmp-unhandled",
        ),
    ]
}

/// An error that we make about `packet`, which came by `port`: to its sender, in the name of the port (RFC 1812 section
/// 4.3.2.4), with as much of the packet as is sure to arrive (RFC 1812 section 4.3.2.3, RFC 4443 section 2.4).
fn made(site: &Site, port: Port, to: IpAddr, kind: &Kind, packet: &[u8]) -> Sent {
    let (ip, most) = if site.inner == Family::V4 { (20, 576) } else { (40, 1280) };
    let quoted = &packet[..packet.len().min(most - ip - 8)];
    let tos = if site.inner == Family::V4 { 0xc0 } else { 0 };
    let own = Packet {
        hops: 64,
        tos,
        id: 0,
        label: 0,
        ..Packet::new(port.own(site.inner), to, error(kind, quoted))
    };
    const OPEN: &str = "the RFCs leave these to who makes the error";
    let masks = match site.inner {
        Family::V4 => vec![mask(18, &[0xff, 0xff, 0x40], OPEN), mask(24, &[0xff; 2], OPEN)],
        Family::V6 => vec![mask(14, &[0x0f, 0xff, 0xff, 0xff], OPEN)],
    };
    let next = if port == OUTSIDE { router(site.inner) } else { backend(site.inner) };
    Sent { port: port.name, frame: ip_frame(mac_of(next), port.mac, &[], &own.bytes()), masks }
}

fn made_case(case: Case, port: Port, frame: Vec<u8>, sent: Sent) -> Case {
    let mut case = case.answers(port, frame, sent.frame);
    case.left.last_mut().unwrap().1.masks = sent.masks;
    case
}

fn time_exceeded(site: &Site) -> Vec<Case> {
    let kind = kinds(site.inner)[3];
    let why = match site.inner {
        Family::V4 => {
            "RFC 1812 section 5.3.1: who sent a packet that has no hop left is told, so that traceroute works"
        }
        Family::V6 => {
            "RFC 4443 section 3.3: who sent a packet that has no hop left is told, so that traceroute works"
        }
    };
    let case =
        |side: &str| Case::new(format!("icmp-{}-last-hop-from-{side}", site.name()), why, site.config());
    let request = Packet { hops: 1, ..site.tcp("S", &[0x5a; 1200]) };
    let answer = Packet { hops: 1, ..site.response(Body::udp((0, 0), b"back")) };
    let told = made(site, OUTSIDE, client(site.inner), &kind, &request.bytes());
    let told_inside = made(site, INSIDE, backend(site.inner), &kind, &answer.bytes());
    vec![
        made_case(case("outside"), OUTSIDE, site.client_frame(&request.bytes()), told),
        made_case(case("inside"), INSIDE, site.backend_frame(&answer.bytes()), told_inside),
    ]
}

/// One byte more than fits.
pub(super) fn too_big(site: &Site, mtu: usize) -> Case {
    let (ip, why) = match site.inner {
        Family::V4 => (
            20,
            "RFC 1191 section 4: who sent too long a packet is told how long it may be, less what we put in front",
        ),
        Family::V6 => (
            40,
            "RFC 4443 section 3.2: who sent too long a packet is told how long it may be, less what we put in front",
        ),
    };
    let (_, kind, code, _) = kinds(site.inner)[2];
    let kind = ("too-big", kind, code, (mtu as u32).to_be_bytes());
    let fits = site.tcp("A", &vec![0x5a; mtu - ip - 20]);
    let long = site.tcp("A", &vec![0x5a; mtu - ip - 20 + 1]);
    let told = made(site, OUTSIDE, client(site.inner), &kind, &long.bytes());
    let case = Case::new(format!("icmp-{}-too-big", site.name()), why, site.config()).requests(site, &fits);
    made_case(case, OUTSIDE, site.client_frame(&long.bytes()), told)
}

/// An error about what a backend has answered a client itself.
fn carried(site: &Site) -> Case {
    let kind = kinds(site.inner)[2];
    let answer = Packet::new(
        frontend(site.inner),
        client(site.inner),
        Body::tcp((FRONTEND_PORT, CLIENT_PORT), "A", &[0x5a; 400]),
    );
    let error = Packet::new(router(site.inner), frontend(site.inner), error(&kind, &answer.bytes()));
    Case::new(
        format!("icmp-{}-about-an-answer", site.name()),
        "RFC 1191 section 6.3: an error about a backend's own packets reaches that backend, or its path MTU stays wrong",
        site.config(),
    )
    .requests(site, &site.tcp("A", b"ask"))
    .requests(site, &error)
}
