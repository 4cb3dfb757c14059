//! Direct routing, tunnels, and full NAT.

use super::Case;
use super::packets::{Body, Packet, ip_frame};
use super::site::{
    CLIENT_PORT, FRONTEND_PORT, Family, INSIDE, Mode, OUTSIDE, Sent, Site, backend, client, frontend, mac_of,
    mask,
};

use Family::{V4, V6};

/// All sites whose backends answer clients themselves.
pub fn sites() -> Vec<Site> {
    let direct = [V4, V6].map(|family| Site::new(Mode::Dsr, family, family));
    let pairs = [(V4, V4), (V4, V6), (V6, V4), (V6, V6)];
    let modes = [Mode::Ipip, Mode::Gre, Mode::Gue0, Mode::Gue1, Mode::Vxlan];
    let tunnels =
        modes.into_iter().flat_map(|mode| pairs.map(|(inner, outer)| Site::new(mode, inner, outer)));
    direct.into_iter().chain(tunnels).collect()
}

pub fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = sites().iter().flat_map(of_site).collect();
    cases.extend(settings());
    for (inner, outer) in [(V4, V4), (V6, V6), (V6, V4), (V4, V6)] {
        cases.extend(full_nat(&Site::new(Mode::FullNat, inner, outer)));
    }
    cases
}

/// What says how a packet of the mode looks.
fn source_of(site: &Site) -> &'static str {
    match site.mode {
        Mode::Ipip if site.outer == V6 => "RFC 2473 section 3",
        Mode::Ipip if site.inner == V6 => "RFC 4213 section 3.5",
        Mode::Ipip => "RFC 2003 section 3",
        Mode::Gre => "RFC 2784 section 2",
        Mode::Gue0 => "draft-ietf-intarea-gue-09 section 3",
        Mode::Gue1 => "draft-ietf-intarea-gue-09 section 4",
        Mode::Vxlan => "RFC 7348 section 5",
        Mode::Nat | Mode::FullNat | Mode::Dsr => "RFC 894",
    }
}

fn of_site(site: &Site) -> Vec<Case> {
    let source = source_of(site);
    let case = |event: &str, why: &str| Case::at(site, event, &format!("{source}: {why}"));
    let ip = if site.inner == V4 { 20 } else { 40 };
    let tcp = ["S", "A", "PA", "FA"]
        .into_iter()
        .fold(case("tcp", "a client's segments reach the backend as they are"), |case, flags| {
            case.requests(site, &site.tcp(flags, if flags == "PA" { b"data" } else { b"" }))
        });
    let udp = [0, 1, 100]
        .into_iter()
        .fold(case("udp", "a client's datagrams reach the backend as they are"), |case, length| {
            case.requests(site, &site.udp(&vec![0x5a; length]))
        });
    let hops = [1, 2, 255].into_iter().fold(
        case(
            "hops",
            "the packet that a client sent is not forwarded but carried, so its hops are not counted",
        ),
        |case, hops| case.requests(site, &Packet { hops, ..site.tcp("A", b"data") }),
    );
    let tos = [0x00, 0x01, 0x02, 0x03, 0xb8, 0xff].into_iter().fold(
        case("traffic-class", "DSCP and ECN are copied outwards (RFC 2983 section 3, RFC 6040 section 4.1)"),
        |case, tos| case.requests(site, &Packet { tos, ..site.tcp("A", b"data") }),
    );
    let largest = case("largest", "what just fits the network behind goes there whole")
        .requests(site, &site.tcp("A", &vec![0xa5; 1500 - site.overhead() - ip - 20]));
    let mut padded = site.client_frame(&site.tcp("A", b"").bytes());
    let mut there = site.at_backend(&site.tcp("A", b""));
    if site.mode == Mode::Dsr {
        there.frame.resize(there.frame.len() + 6, 0);
    }
    padded.resize(padded.len() + 6, 0);
    let padding = case("padding", "Ethernet's padding is no part of the packet that is carried")
        .sends(OUTSIDE, padded, there);
    let mut cases = vec![tcp, udp, hops, tos, largest, padding];
    if site.inner == V4 {
        let none = Body::Udp { ports: (CLIENT_PORT, FRONTEND_PORT), data: b"no sum".to_vec(), sum: false };
        let marks = [(0, true), (0xffff, true), (7, false), (0xfffe, false)];
        cases.push(marks.into_iter().fold(
            case(
                "fragmentation-bits",
                "outside, don't-fragment is what it is inside, with identification 0 (RFC 6864 section 4.1)",
            ),
            |case, (id, df)| case.requests(site, &Packet { id, df, ..site.tcp("A", b"data") }),
        ));
        cases.push(
            case("options", "options and a missing checksum inside are the client's, and stay")
                .requests(site, &Packet { options: vec![148, 4, 0, 0, 1, 1, 1, 1], ..site.tcp("S", b"") })
                .requests(site, &site.request(none)),
        );
    } else {
        let pad = || vec![0, 1, 4, 0, 0, 0, 0];
        let extensions = vec![(0, pad()), (60, pad())];
        cases.push(
            case("extension-headers", "extension headers and flow label inside are the client's, and stay")
                .requests(site, &Packet { extensions, label: 0xabcde, ..site.tcp("S", b"") }),
        );
    }
    cases
}

/// Keys of a rule that change what is written.
fn settings() -> Vec<Case> {
    let with = |mode, key: &str| {
        let mut site = Site::new(mode, V4, V4);
        site.rule = format!("{key}\n");
        site
    };
    // `change` is made to the one frame that leaves.
    let case = |site: Site, event: &str, why: &str, change: &dyn Fn(&mut Vec<u8>)| {
        let packet = site.tcp("S", b"");
        let mut there = site.at_backend(&packet);
        change(&mut there.frame);
        Case::at(&site, event, why).sends(OUTSIDE, site.client_frame(&packet.bytes()), there)
    };
    let put = |at: usize, bytes: &'static [u8]| {
        move |frame: &mut Vec<u8>| frame[at..at + bytes.len()].copy_from_slice(bytes)
    };
    vec![
        case(
            with(Mode::Gue0, "tunnel_port = 5555"),
            "port",
            "docs/CONFIG.md, tunnel_port: where the receiver listens",
            &put(36, &[0x15, 0xb3]),
        ),
        case(
            with(Mode::Vxlan, "tunnel_port = 8472"),
            "port",
            "docs/CONFIG.md, tunnel_port: where the receiver listens",
            &put(36, &[0x21, 0x18]),
        ),
        case(
            with(Mode::Vxlan, "vni = 16777215"),
            "vni",
            "RFC 7348 section 5: the VNI has 24 bits",
            &put(46, &[0xff; 3]),
        ),
        case(
            with(Mode::Vxlan, "inner_mac = \"02:00:5e:00:53:77\""),
            "inner-mac",
            "docs/CONFIG.md, inner_mac: whom the inner frame is for",
            &put(50, &[2, 0, 0x5e, 0, 0x53, 0x77]),
        ),
        case(
            with(Mode::Ipip, "tunnel_source = \"10.0.0.1\""),
            "source",
            "docs/CONFIG.md, tunnel_source: whom the outer header is from",
            &|_| {},
        ),
        source_network(Mode::Ipip, V4),
        source_network(Mode::Gre, V4),
        source_network(Mode::Ipip, V6),
    ]
}

/// A source that is a network: which address of it, the flow says.
fn source_network(mode: Mode, family: Family) -> Case {
    let mut site = Site::new(mode, family, family);
    let network = if family == V4 { "172.16.0.0/16" } else { "2001:db8:aaaa::/112" };
    site.rule = format!("tunnel_source = \"{network}\"\n");
    let packet = site.tcp("S", b"");
    let mut there = site.at_backend(&packet);
    let why = "docs/CONFIG.md, tunnel_source: which address of the network";
    if family == V4 {
        there.frame[26..30].copy_from_slice(&[172, 16, 0, 0]);
        there.frame[24..26].fill(0);
        let sum = etherparse::Ipv4Header::from_slice(&there.frame[14..]).unwrap().0.calc_header_checksum();
        there.frame[24..26].copy_from_slice(&sum.to_be_bytes());
        there.masks.push(mask(24, &[0xff; 2], why));
        there.masks.push(mask(28, &[0xff; 2], why));
    } else {
        there.frame[22..38].copy_from_slice(&[0x20, 1, 0xd, 0xb8, 0xaa, 0xaa, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        there.masks.push(mask(36, &[0xff; 2], why));
    }
    Case::at(&site, "source-network", "docs/CONFIG.md, tunnel_source: a network, which flows are spread over")
        .sends(OUTSIDE, site.client_frame(&packet.bytes()), there)
}

fn full_nat(site: &Site) -> Vec<Case> {
    let case = |event: &str, why: &str| Case::at(site, event, why);
    let between = site.inner != site.outer;
    let why = match between {
        true => "RFC 6146 section 3.5 and RFC 7915: the other family's header, our source, and the segment",
        false => "RFC 3022 section 2.2: both addresses and both ports are translated",
    };
    let sent = |packet: &Packet| {
        let mut there = site.at_backend(packet);
        // Which packets may be cut up on their way is left to the translator where the family changes.
        if site.outer == V4 && between {
            there.masks.push(mask(18, &[0, 0, 0x40], "RFC 7915 section 5.1"));
        }
        there
    };
    let one =
        |case: Case, packet: &Packet| case.sends(OUTSIDE, site.client_frame(&packet.bytes()), sent(packet));
    let mut cases = vec![
        one(one(case("tcp", why), &site.tcp("S", b"")), &site.tcp("PA", b"data")),
        one(one(case("udp", why), &site.udp(b"ask")), &site.udp(b"again")),
    ];
    cases.extend(client_addresses(site));
    cases.push(in_pieces(site));
    cases
}

fn octets(address: std::net::IpAddr) -> Vec<u8> {
    match address {
        std::net::IpAddr::V4(address) => address.octets().to_vec(),
        std::net::IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// What tells a backend who its client is.
fn client_addresses(site: &Site) -> Vec<Case> {
    let (from, to) = (octets(client(site.inner)), octets(frontend(site.inner)));
    let option = [&[254, 4 + from.len() as u8][..], &CLIENT_PORT.to_be_bytes(), &from].concat();
    let family = if site.inner == V4 { 0x11 } else { 0x21 };
    let signature = [0x0d, 0x0a, 0x0d, 0x0a, 0, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a];
    let length = (2 * from.len() as u16 + 4).to_be_bytes();
    let ports = [CLIENT_PORT.to_be_bytes(), FRONTEND_PORT.to_be_bytes()].concat();
    let header = [&signature[..], &[0x21, family], &length, &from, &to, &ports].concat();
    let segment = |flags, options: &[u8], data: &[u8]| {
        let ports = (CLIENT_PORT, FRONTEND_PORT);
        site.request(Body::Tcp { ports, flags, options: options.to_vec(), data: data.to_vec() })
    };
    let at = |word: &str, why: &str| {
        let rule = format!("client_address = [\"{word}\"]\n");
        // Datagrams have neither.
        let config =
            site.config().replacen("forward = \"full-nat\"\n", &format!("forward = \"full-nat\"\n{rule}"), 1);
        Case::new(format!("{}-{word}", site.name()), why, config)
    };
    // The client's numbers are 1,000,000 in all of its segments; its first data is behind that of its SYN.
    let mss = [2, 4, 5, 180];
    let toa =
        at("toa", "RFC 4727 section 7.2: option 254 before all others, with the client's port and address");
    let sent = |case: Case, came: &Packet, there: &Packet| {
        case.sends(OUTSIDE, site.client_frame(&came.bytes()), full_nat_at_backend(site, there))
    };
    let toa = sent(toa, &segment("S", &mss, b""), &segment("S", &[&option[..], &mss].concat(), b""));
    let toa = sent(toa, &segment("A", &[], b""), &segment("A", &option, b""));
    let proxy = at(
        "proxy-v2",
        "PROXY protocol section 2.2: the header comes before the first byte, and counts in the sequence numbers",
    );
    // A SYN whose first byte of data has the number of the next segment.
    let mut syn = site.client_frame(&segment("S", &[], b"").bytes());
    let mut there = full_nat_at_backend(site, &segment("S", &[], b""));
    for (frame, ip) in [(&mut syn, site.inner), (&mut there.frame, site.outer)] {
        number_before(frame, if ip == V4 { 34 } else { 54 });
    }
    let proxy = proxy.sends(OUTSIDE, syn, there);
    let proxy = sent(proxy, &segment("A", &[], b""), &segment("A", &[], &header));
    let with_data = [&header[..], b"data"].concat();
    let proxy = sent(proxy, &segment("PA", &[], b"data"), &segment("PA", &[], &with_data));
    vec![toa, proxy]
}

/// Takes one off the sequence number of the TCP segment at `at`; the sum of the checksum's and the number's words stays.
fn number_before(frame: &mut [u8], at: usize) {
    let low = u16::from_be_bytes([frame[at + 6], frame[at + 7]]);
    frame[at + 6..at + 8].copy_from_slice(&(low - 1).to_be_bytes());
    let sum = u32::from(u16::from_be_bytes([frame[at + 16], frame[at + 17]])) + 1;
    let sum = (sum & 0xffff) + (sum >> 16);
    frame[at + 16..at + 18].copy_from_slice(&(sum as u16).to_be_bytes());
}

fn full_nat_at_backend(site: &Site, packet: &Packet) -> Sent {
    let mut there = site.at_backend(packet);
    if site.outer == V4 && site.inner == V6 {
        there.masks.push(mask(18, &[0, 0, 0x40], "RFC 7915 section 5.1"));
    }
    there
}

/// A datagram in pieces keeps its identification, and what comes late follows.
fn in_pieces(site: &Site) -> Case {
    let why = match site.inner != site.outer {
        true => "RFC 7915 sections 4.1 and 5.1.1: what says which part of a datagram a piece is goes over",
        false => "RFC 3022 section 2.2: all pieces of a datagram bear the same addresses",
    };
    let data: Vec<u8> = (0..1400u16).map(|n| n as u8).collect();
    let packet = Packet { df: false, ..site.udp(&data) };
    let at = if site.outer == V4 { 34 } else { 62 };
    let mut case = Case::at(site, "fragments", why);
    let there = site.fully_translated(&packet).fragments(&[512, 1024]);
    for (index, (came, left)) in packet.fragments(&[512, 1024]).into_iter().zip(there).enumerate() {
        let mut masks = Vec::new();
        if index == 0 {
            const CHOSEN: &str = "the source port is guideway's choice, and the checksum covers it";
            masks.extend([mask(at, &[0xff; 2], CHOSEN), mask(at + 6, &[0xff; 2], CHOSEN)]);
        }
        let frame = ip_frame(mac_of(backend(site.outer)), INSIDE.mac, &[], &left);
        case = case.sends(OUTSIDE, site.client_frame(&came), Sent { port: INSIDE.name, frame, masks });
    }
    case
}
