//! What must not go on: nothing comes out, and the drop has its name.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use etherparse::Ipv4Header;

use super::packets::{Body, Packet, frame, ip_frame};
use super::site::{
    CLIENT_PORT, FRONTEND_PORT, Family, INSIDE, OUTSIDE, Port, Site, backend, client, frontend, mac_of,
    router,
};
use super::{Case, FRAGMENT, NOT_IP};

pub fn cases() -> Vec<Case> {
    let mut cases = ethernet();
    cases.extend(ipv4_headers());
    cases.extend(ipv6_headers());
    for family in [Family::V4, Family::V6] {
        cases.extend(transports(&Site::nat(family)));
        cases.extend(addresses(&Site::nat(family)));
        cases.extend(ways(&Site::nat(family)));
    }
    cases
}

/// A case of one frame by the outside.
fn one(site: &Site, event: &str, why: &str, frame: Vec<u8>, reason: &str) -> Case {
    Case::at(site, &format!("drop-{event}"), why).drops(OUTSIDE, frame, reason)
}

fn ethernet() -> Vec<Case> {
    let site = Site::nat(Family::V4);
    let whole = site.client_frame(&site.tcp("S", b"").bytes());
    let of_type = |ether_type| frame(OUTSIDE.mac, mac_of(router(Family::V4)), &[], ether_type, &whole[14..]);
    let tagged = ip_frame(OUTSIDE.mac, mac_of(router(Family::V4)), &[100], &whole[14..]);
    vec![
        (0..14).fold(
            Case::at(&site, "drop-ethernet-cut", "RFC 894: a frame is no shorter than its header"),
            |case, len| case.drops(OUTSIDE, whole[..len].to_vec(), "ethernet-truncated"),
        ),
        one(&site, "other-ether-type", "RFC 894: what is not IP is not forwarded", of_type(0x88cc), NOT_IP),
        one(
            &site,
            "ieee-802.3-length",
            "RFC 1042: a length in place of the type is no IP in Ethernet II",
            of_type(46),
            NOT_IP,
        ),
        one(
            &site,
            "unexpected-vlan-tag",
            "IEEE 802.1Q section 6.9: a tag that the port does not know is no traffic of the port",
            tagged,
            "vlan-tagged",
        ),
    ]
}

/// `packet` with some bytes changed and its IPv4 header's checksum made right again.
fn changed(packet: &[u8], changes: &[(usize, u8)]) -> Vec<u8> {
    let mut changed = packet.to_vec();
    for (at, value) in changes {
        changed[*at] = *value;
    }
    let length = (usize::from(changed[0] & 15) * 4).clamp(20, changed.len());
    changed[10..12].fill(0);
    let sum = etherparse::checksum::Sum16BitWords::new().add_slice(&changed[..length]).ones_complement();
    changed[10..12].copy_from_slice(&sum.to_ne_bytes());
    changed
}

fn ipv4_headers() -> Vec<Case> {
    let site = Site::nat(Family::V4);
    let good = site.tcp("S", b"hello").bytes();
    assert_eq!(
        Ipv4Header::from_slice(&good).unwrap().0.calc_header_checksum().to_be_bytes(),
        [good[10], good[11]]
    );
    let framed = |packet: &[u8]| frame(OUTSIDE.mac, mac_of(router(Family::V4)), &[], 0x0800, packet);
    let case =
        |event: &str, why: &str, packet: &[u8], reason: &str| one(&site, event, why, framed(packet), reason);
    let header = "RFC 1812 section 5.2.2: the IP header is validated before anything else";
    let fragment = "RFC 791 section 3.2: this is a fragment";
    // All fragments but the last are a multiple of eight bytes long.
    let even = site.tcp("S", b"data").bytes();
    let mut damaged = good.clone();
    damaged[10] ^= 1;
    let cut = (1..good.len()).step_by(7).fold(
        Case::at(
            &site,
            "drop-cut",
            "RFC 1812 section 5.2.2: the packet is as long as it says, or it is damaged",
        ),
        |case, len| case.drops(OUTSIDE, framed(&good)[..14 + len].to_vec(), "ipv4-truncated"),
    );
    vec![
        case("version-5", header, &changed(&good, &[(0, 0x55)]), "ipv4-bad-header"),
        case("version-6-in-ipv4", header, &changed(&good, &[(0, 0x65)]), "ipv4-bad-header"),
        case("header-of-16", header, &changed(&good, &[(0, 0x44)]), "ipv4-bad-header"),
        case("header-beyond-packet", header, &changed(&good, &[(0, 0x4f)]), "ipv4-bad-header"),
        case("total-below-header", header, &changed(&good, &[(2, 0), (3, 19)]), "ipv4-bad-header"),
        case("total-beyond-frame", header, &changed(&good, &[(2, 1), (3, 0)]), "ipv4-truncated"),
        case("header-checksum", header, &damaged, "ipv4-bad-checksum"),
        cut,
        case("first-fragment", fragment, &changed(&even, &[(6, 0x20)]), FRAGMENT).until("fragments"),
        case("later-fragment", fragment, &changed(&good, &[(6, 0), (7, 9)]), FRAGMENT).until("fragments"),
    ]
}

fn ipv6_headers() -> Vec<Case> {
    let site = Site::nat(Family::V6);
    let good = site.tcp("S", b"hello").bytes();
    let with = |at: usize, value: u8| {
        let mut packet = good.clone();
        packet[at] = value;
        frame(OUTSIDE.mac, mac_of(router(Family::V6)), &[], 0x86dd, &packet)
    };
    let extended = |extensions: Vec<(u8, Vec<u8>)>| {
        site.client_frame(&Packet { extensions, ..site.tcp("S", b"hello") }.bytes())
    };
    let pad = |number| (number, vec![0, 1, 4, 0, 0, 0, 0]);
    let case = |event: &str, why: &str, frame: Vec<u8>, reason: &str| one(&site, event, why, frame, reason);
    vec![
        case("version-5", "RFC 8200 section 3: the version is 6", with(0, 0x55), "ipv6-bad-header"),
        case(
            "cut",
            "RFC 8200 section 3: the frame holds the header",
            site.client_frame(&good)[..53].to_vec(),
            "ipv6-truncated",
        ),
        case(
            "length-beyond-frame",
            "RFC 8200 section 3: the frame holds as much as the payload length says",
            with(4, 9),
            "ipv6-truncated",
        ),
        case(
            "extension-beyond-packet",
            "RFC 8200 section 4.2: an extension header lies within the packet",
            extended(vec![(60, vec![200, 1, 4, 0, 0, 0, 0])]),
            "ipv6-bad-extension",
        ),
        case(
            "hop-by-hop-second",
            "RFC 8200 section 4.1: hop-by-hop options come first or not at all",
            extended(vec![pad(60), pad(0)]),
            "ipv6-bad-extension",
        ),
        case(
            "too-many-extensions",
            "RFC 7045 section 2.1 and RFC 8883: a chain too long to be walked is discarded",
            extended((0..9).map(|_| pad(60)).collect()),
            "ipv6-long-extensions",
        ),
        case(
            "routing-type-0",
            "RFC 5095 section 3: routing headers of type 0 are not processed",
            extended(vec![(43, vec![0, 0, 1, 0, 0, 0, 0])]),
            "ipv6-source-route",
        ),
    ]
}

fn transports(site: &Site) -> Vec<Case> {
    let ip = if site.inner == Family::V4 { 20 } else { 40 };
    // Of the body alone, so that the IP header is right.
    let cut = |packet: Packet, len: usize| {
        let body = packet.bytes()[ip..ip + len].to_vec();
        let number = if matches!(packet.body, Body::Tcp { .. }) { 6 } else { 17 };
        site.client_frame(&site.request(Body::Other(number, body)).bytes())
    };
    let with = |packet: Packet, at: usize, value: u8| {
        let mut body = packet.bytes()[ip..].to_vec();
        body[at] = value;
        let number = if matches!(packet.body, Body::Tcp { .. }) { 6 } else { 17 };
        site.client_frame(&site.request(Body::Other(number, body)).bytes())
    };
    let syn = || site.tcp("S", b"hello");
    let ports = |from, to| site.client_frame(&site.request(Body::tcp((from, to), "S", b"")).bytes());
    let mut flags = Case::at(
        site,
        "drop-tcp-flags",
        "RFC 9293 section 3.5 and RFC 1858: no segment is SYN with FIN or RST, nor without SYN, ACK and RST",
    );
    for bits in [0x00, 0x01, 0x03, 0x06, 0x08, 0x20, 0x29, 0x3f] {
        flags = flags.drops(OUTSIDE, with(syn(), 13, bits), "tcp-bad-flags");
    }
    let offset = "RFC 9293 section 3.1: the data offset is 5 to 15, within the segment";
    let length = "RFC 768: the length is that of header and data";
    let reserved = "RFC 6335 section 6: port 0 is reserved";
    let case = |event: &str, why: &str, frame: Vec<u8>, reason: &str| one(site, event, why, frame, reason);
    vec![
        flags,
        case("tcp-cut", "RFC 9293 section 3.1: a segment holds its header", cut(syn(), 19), "tcp-truncated"),
        case("tcp-offset-4", offset, with(syn(), 12, 0x40), "tcp-bad-offset"),
        case("tcp-offset-beyond", offset, with(syn(), 12, 0x70), "tcp-bad-offset"),
        case("udp-cut", "RFC 768: a datagram holds its header", cut(site.udp(b""), 7), "udp-truncated"),
        case("udp-length-long", length, with(site.udp(b"hello"), 5, 14), "udp-bad-length"),
        case("udp-length-short", length, with(site.udp(b"hello"), 5, 7), "udp-bad-length"),
        case("from-port-0", reserved, ports(0, FRONTEND_PORT), "port-zero"),
        case("to-port-0", reserved, ports(CLIENT_PORT, 0), "port-zero"),
    ]
}

fn addresses(site: &Site) -> Vec<Case> {
    let text = |v4: &str, v6: &str| -> IpAddr {
        match site.inner {
            Family::V4 => v4.parse::<Ipv4Addr>().unwrap().into(),
            Family::V6 => v6.parse::<Ipv6Addr>().unwrap().into(),
        }
    };
    let from = |from| site.client_frame(&Packet { from, ..site.tcp("S", b"") }.bytes());
    let to = |to, body| site.client_frame(&Packet { to, ..site.request(body) }.bytes());
    let syn = |port| Body::tcp((CLIENT_PORT, port), "S", b"");
    let sources = [
        text("127.0.0.1", "::1"),
        text("224.0.0.1", "ff02::1"),
        text("0.0.0.0", "::"),
        text("255.255.255.255", "fe80::1"),
        OUTSIDE.own(site.inner),
        frontend(site.inner),
    ];
    let martians = sources.into_iter().fold(
        Case::at(site, "drop-martian-source", "RFC 1812 section 5.3.7 and RFC 4291 section 2.7: no packet comes from such an address, nor from us"),
        |case, source| case.drops(OUTSIDE, from(source), "martian-source"),
    );
    let other = Body::udp((CLIENT_PORT, FRONTEND_PORT + 1), b"");
    let sctp = Body::Other(132, vec![0; 40]);
    let elsewhere = text("8.8.8.8", "2001:db8:8::8");
    let nobody = "RFC 1812 section 5.2.3: for us, but for nobody behind us";
    let case = |event: &str, why: &str, frame: Vec<u8>, reason: &str| one(site, event, why, frame, reason);
    vec![
        martians,
        case("other-tcp-port", nobody, to(frontend(site.inner), syn(444)), "no-rule"),
        case("other-udp-port", nobody, to(frontend(site.inner), other), "no-rule"),
        case("other-protocol", nobody, to(frontend(site.inner), sctp.clone()), "no-rule"),
        case("own-address", nobody, to(OUTSIDE.own(site.inner), syn(FRONTEND_PORT)), "no-rule"),
        case(
            "not-ours",
            "RFC 1812 section 2.2.8: this is no router; what is for others does not go on",
            to(elsewhere, syn(443)),
            "not-ours",
        ),
        case(
            "not-ours-protocol",
            "RFC 1812 section 2.2.8: the same of any protocol",
            to(elsewhere, sctp),
            "not-ours",
        ),
        case(
            "hairpin",
            "RFC 5382 REQ-8: a backend's own connection must not come back to it with its own address",
            from(backend(site.outer)),
            "hairpin",
        ),
    ]
}

fn ways(site: &Site) -> Vec<Case> {
    let answer = || site.response(Body::tcp((0, 0), "SA", b""));
    let at = |event: &str, why: &str, port: Port, frame: Vec<u8>, reason: &str| {
        Case::at(site, &format!("drop-{event}"), why).drops(port, frame, reason)
    };
    let disguised = ip_frame(OUTSIDE.mac, mac_of(router(site.inner)), &[], &answer().bytes());
    let other_port = Packet { body: Body::tcp((22, CLIENT_PORT), "SA", b""), ..answer() };
    let group: IpAddr = match site.inner {
        Family::V4 => Ipv4Addr::new(224, 0, 0, 1).into(),
        Family::V6 => "ff0e::1".parse::<Ipv6Addr>().unwrap().into(),
    };
    let last = Packet { hops: 1, ..site.tcp("S", b"") };
    let none = Packet { hops: 0, ..site.tcp("S", b"") };
    let last_back = Packet { hops: 1, ..answer() };
    let hops = "RFC 1812 section 5.3.1 and RFC 8200 section 3: a packet without a hop left is not forwarded";
    let long = |packet: Packet, more: usize| {
        let Body::Tcp { ports, flags, options, .. } = packet.body.clone() else { panic!("no TCP") };
        let header = if site.inner == Family::V4 { 20 } else { 40 };
        let data = vec![7; 1500 - header - 20 + more];
        Packet { body: Body::Tcp { ports, flags, options, data }, ..packet }
    };
    vec![
        at(
            "backend-from-outside",
            "RFC 2827 section 3: an address comes from where it is",
            OUTSIDE,
            disguised,
            "wrong-port",
        ),
        at(
            "backends-other-port",
            "RFC 3022 section 2.2: what no frontend stands for is not translated",
            INSIDE,
            site.backend_frame(&other_port.bytes()),
            "not-ours",
        ),
        at(
            "response-to-group",
            "RFC 1122 section 3.2.1.3: no client has such an address",
            INSIDE,
            site.backend_frame(&Packet { to: group, ..answer() }.bytes()),
            "martian-destination",
        ),
        at("last-hop", hops, OUTSIDE, site.client_frame(&last.bytes()), "ttl-exceeded")
            .drops(OUTSIDE, site.client_frame(&none.bytes()), "ttl-exceeded")
            .drops(INSIDE, site.backend_frame(&last_back.bytes()), "ttl-exceeded")
            .until("icmp"),
        at(
            "too-long",
            "RFC 1191 section 4: what does not fit the next network does not go there",
            OUTSIDE,
            site.client_frame(&long(site.tcp("A", b""), 1).bytes()),
            "exceeds-mtu",
        )
        .until("icmp"),
        at(
            "client-to-own-backend",
            "RFC 3022 section 2.2: backends are reached by their frontends",
            OUTSIDE,
            site.client_frame(
                &Packet { to: backend(site.outer), from: client(site.inner), ..site.tcp("S", b"") }.bytes(),
            ),
            "not-ours",
        ),
    ]
}
