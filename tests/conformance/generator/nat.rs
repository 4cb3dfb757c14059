//! Network address translation, both ways.

use std::net::IpAddr;

use super::Case;
use super::packets::{Body, Packet, frame, ip_frame};
use super::site::{
    CLIENT_PORT, FRONTEND_PORT, Family, INSIDE, OUTSIDE, Port, Sent, Site, backend, client, frontend, mac_of,
    router,
};

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for family in [Family::V4, Family::V6] {
        let site = Site::nat(family);
        cases.extend(conversations(&site));
        cases.extend(headers(&site));
        cases.extend(sizes(&site));
        cases.extend(sums(&site));
        cases.extend(places(family));
        cases.extend(rules(family));
    }
    cases.extend(only_v4());
    cases.extend(only_v6());
    cases
}

fn conversations(site: &Site) -> Vec<Case> {
    let tcp = |flags, data: &[u8]| site.tcp(flags, data);
    let back = |flags, data: &[u8]| site.response(Body::tcp((0, 0), flags, data));
    let connection =
        Case::at(site, "tcp-connection", "RFC 3022 section 4.1: a TCP connection from SYN to FIN, both ways")
            .requests(site, &tcp("S", b""))
            .responds(site, &back("SA", b""))
            .requests(site, &tcp("A", b""))
            .requests(site, &tcp("PA", b"GET / HTTP/1.1\r\n\r\n"))
            .responds(site, &back("PA", b"HTTP/1.1 204 No Content\r\n\r\n"))
            .requests(site, &tcp("FA", b""))
            .responds(site, &back("FA", b""))
            .requests(site, &tcp("A", b""))
            .flows(1, 0);
    let refused =
        Case::at(site, "tcp-reset", "RFC 9293 section 3.5.2: resets pass both ways as any other segment")
            .requests(site, &tcp("S", b""))
            .responds(site, &back("RA", b""))
            .requests(site, &tcp("R", b""));
    let middle = Case::at(
        site,
        "tcp-from-the-middle",
        "RFC 3022 section 4.1: a connection that began elsewhere goes on",
    )
    .requests(site, &tcp("PA", b"more"))
    .responds(site, &back("A", b""));
    let datagrams = Case::at(site, "udp", "RFC 3022 section 4.1: datagrams, both ways")
        .requests(site, &site.udp(b"a question"))
        .responds(site, &site.response(Body::udp((0, 0), b"an answer")))
        .requests(site, &site.udp(b"another"));
    let unasked = Case::at(
        site,
        "response-unasked",
        "RFC 3022 section 4.1: a response needs no memory of its question",
    )
    .responds(site, &back("A", b"late"))
    .responds(site, &site.response(Body::udp((0, 0), b"late")))
    .flows(0, 0);
    let many = (0..20u16).fold(
        Case::at(
            site,
            "many-clients",
            "RFC 3022 section 4.1: clients with the same port, and ports of one client, stay apart",
        ),
        |case, n| {
            let from = match client(site.inner) {
                std::net::IpAddr::V4(a) => {
                    std::net::Ipv4Addr::from_bits(a.to_bits() + u32::from(n % 5)).into()
                }
                std::net::IpAddr::V6(a) => {
                    std::net::Ipv6Addr::from_bits(a.to_bits() + u128::from(n % 5)).into()
                }
            };
            let ports = (CLIENT_PORT + n / 5, FRONTEND_PORT);
            case.requests(site, &Packet { from, ..site.request(Body::tcp(ports, "S", b"")) })
        },
    );
    vec![connection, refused, middle, datagrams, unasked, many.flows(20, 0)]
}

fn headers(site: &Site) -> Vec<Case> {
    // MSS, SACK permitted, timestamps, no-operation, window scale.
    let options = vec![2, 4, 5, 180, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2, 1, 3, 3, 7];
    let syn = |options| {
        let ports = (CLIENT_PORT, FRONTEND_PORT);
        Body::Tcp { ports, flags: "S", options, data: Vec::new() }
    };
    let with_options = Case::at(
        site,
        "tcp-options",
        "RFC 9293 section 3.1: TCP options are between the ends, and pass as they are",
    )
    .requests(site, &site.request(syn(options.clone())))
    .requests(site, &site.request(syn(vec![254, 8, 1, 2, 3, 4, 5, 6])))
    .requests(site, &site.request(syn(vec![1; 40])));
    let flags = ["A", "FPA", "UPA", "ECS", "ECPA", "SEC"].into_iter().fold(
        Case::at(site, "tcp-flags", "RFC 9293 section 3.1 and RFC 3168 section 6.1: control bits pass as they are, urgent pointer too"),
        |case, flags| case.requests(site, &site.tcp(flags, b"data")),
    );
    let tos = [0x00, 0x01, 0x02, 0x03, 0xb8, 0xff].into_iter().fold(
        Case::at(
            site,
            "traffic-class",
            "RFC 2474 section 3 and RFC 3168 section 5: DSCP and ECN pass as they are",
        ),
        |case, tos| {
            let answer = site.response(Body::tcp((0, 0), "A", b"back"));
            case.requests(site, &Packet { tos, ..site.tcp("A", b"there") })
                .responds(site, &Packet { tos, ..answer })
        },
    );
    let hops = [2, 64, 255].into_iter().fold(
        Case::at(
            site,
            "hops",
            "RFC 1812 section 5.3.1 and RFC 8200 section 3: each packet has one hop less, each way",
        ),
        |case, hops| {
            let answer = site.response(Body::tcp((0, 0), "A", b"back"));
            case.requests(site, &Packet { hops, ..site.tcp("A", b"there") })
                .responds(site, &Packet { hops, ..answer })
        },
    );
    vec![with_options, flags, tos, hops]
}

fn sizes(site: &Site) -> Vec<Case> {
    let ip = if site.inner == Family::V4 { 20 } else { 40 };
    let full = vec![0xa5; 1500 - ip - 20];
    let lengths = [0, 1, 2, 3, 17, 536].into_iter().fold(
        Case::at(site, "lengths", "RFC 1071 section 1: odd and even lengths, and no data at all"),
        |case, length| {
            case.requests(site, &site.tcp("PA", &vec![0x5a; length]))
                .requests(site, &site.udp(&vec![0x5a; length]))
                .responds(site, &site.response(Body::udp((0, 0), &vec![0xa5; length])))
        },
    );
    let largest = Case::at(site, "full-size", "RFC 894: a packet of 1500 bytes fits Ethernet, each way")
        .requests(site, &site.tcp("A", &full))
        .responds(site, &site.response(Body::tcp((0, 0), "A", &full)));
    let mut padded = site.client_frame(&site.tcp("A", b"").bytes());
    let mut there = site.at_backend(&site.tcp("A", b""));
    let length = there.frame.len() + 6;
    padded.resize(length, 0);
    there.frame.resize(length, 0);
    let padding = Case::at(
        site,
        "padding",
        "RFC 894: bytes behind the packet are Ethernet's padding, and no part of it",
    )
    .sends(OUTSIDE, padded, there);
    vec![lengths, largest, padding]
}

fn sums(site: &Site) -> Vec<Case> {
    // Found by trying: the data with which the backend's datagram sums to zero, which is sent as ones.
    let at = 14 + if site.inner == Family::V4 { 20 } else { 40 } + 6;
    let sums_to_zero = |word: &u16| {
        let there = site.at_backend(&site.udp(&word.to_be_bytes()));
        there.frame[at..at + 2] == [0xff, 0xff]
    };
    let word = (0..=u16::MAX).find(sums_to_zero).unwrap();
    let ones =
        Case::at(site, "udp-checksum-ones", "RFC 768: a checksum that computes to zero is sent as all ones")
            .requests(site, &site.udp(&word.to_be_bytes()));
    let words = [0u16, 1, 0x7fff, 0x8000, 0xfffe, 0xffff].into_iter().fold(
        Case::at(
            site,
            "checksum-corners",
            "RFC 1624 section 3: sums that carry round and sums near zero come out right",
        ),
        |case, word| {
            let data = [word.to_be_bytes(), (!word).to_be_bytes()].concat();
            case.requests(site, &site.udp(&data[..2])).requests(site, &site.tcp("PA", &data))
        },
    );
    let mut wrong = site.client_frame(&site.tcp("A", b"damaged").bytes());
    let mut there = site.at_backend(&site.tcp("A", b"damaged"));
    let at = 14 + if site.inner == Family::V4 { 20 } else { 40 } + 16;
    add_to_sum(&mut wrong, at);
    add_to_sum(&mut there.frame, at);
    let damaged = Case::at(
        site,
        "checksum-stays-wrong",
        "RFC 1624 section 3: checksums are adjusted, not made anew, so damage on the way is still found by the receiver",
    )
    .sends(OUTSIDE, wrong, there)
    .wrong_checksums();
    vec![ones, words, damaged]
}

/// One more, in the arithmetic of checksums (RFC 1071).
fn add_to_sum(frame: &mut [u8], at: usize) {
    let sum = u16::from_be_bytes([frame[at], frame[at + 1]]);
    let more = sum.checked_add(0x0101).unwrap_or_else(|| sum.wrapping_add(0x0102));
    frame[at..at + 2].copy_from_slice(&more.to_be_bytes());
}

/// Where clients and backends are.
fn places(family: Family) -> Vec<Case> {
    let site = Site::nat(family);
    let (neighbour, far, on_link) = match family {
        Family::V4 => ("10.0.0.4", "172.16.0.9", "198.51.100.77"),
        Family::V6 => ("2001:db8:2::4", "2001:db8:99::9", "2001:db8:1::77"),
    };
    let on_link = on_link.parse().unwrap();
    let near = Packet { from: on_link, ..site.tcp("S", b"") };
    let answer = Packet { to: on_link, ..site.response(Body::tcp((0, 0), "SA", b"")) };
    let mut at_near = site.at_client(&answer);
    at_near.frame[..6].copy_from_slice(&mac_of(on_link));
    let near = Case::at(
        &site,
        "client-on-link",
        "RFC 1812 section 5.2.4.2: what is on a connected network needs no router",
    )
    .sends(OUTSIDE, ip_frame(OUTSIDE.mac, mac_of(on_link), &[], &near.bytes()), site.at_backend(&near))
    .sends(INSIDE, site.backend_frame(&answer.bytes()), at_near);

    let mut fixed = site.clone();
    fixed.more = format!("\n[[neighbour]]\naddress = \"{neighbour}\"\nmac = \"02:00:5e:00:53:99\"\n");
    let mut there = site.at_backend(&site.tcp("S", b""));
    there.frame[..6].copy_from_slice(&[2, 0, 0x5e, 0, 0x53, 0x99]);
    let fixed = Case::at(
        &fixed,
        "static-neighbour",
        "RFC 826: a neighbour that the configuration knows is not asked for",
    )
    .sends(OUTSIDE, site.client_frame(&site.tcp("S", b"").bytes()), there);

    let config = site.config().replace(&format!("\"{}\"", backend(family)), &format!("\"{far}\""));
    let far = far.parse().unwrap();
    let there = Packet { to: far, ..site.translated(&site.tcp("S", b"")) };
    let there = Sent { port: "outside", frame: site.to_router(&there.bytes()), masks: Vec::new() };
    let far = Case::new(
        format!("{}-backend-behind-router", site.name()),
        "RFC 1812 section 5.2.4.3: what is on no connected network goes by the default router",
        config,
    )
    .sends(OUTSIDE, site.client_frame(&site.tcp("S", b"").bytes()), there);

    // All is at one port, which has the inside's address too.
    let both = format!(", \"{}/{}\"]\n", INSIDE.own(family), if family == Family::V4 { 24 } else { 64 });
    let config = site.config();
    let (head, rest) = config.split_once("[[port]]\nname = \"inside\"").unwrap();
    let (_, pools) = rest.split_once("[[pool]]").unwrap();
    let config = format!(
        "{}[[pool]]{pools}",
        head.replacen("]\n\n[[port]]", "]\n[[port]]", 1).replacen("]\ngateway", &format!("{both}gateway"), 1)
    );
    let mut there = site.at_backend(&site.tcp("S", b""));
    there.frame[6..12].copy_from_slice(&OUTSIDE.mac);
    there.port = "outside";
    let answer = site.response(Body::tcp((0, 0), "SA", b""));
    let back = ip_frame(OUTSIDE.mac, mac_of(backend(family)), &[], &answer.bytes());
    let one_arm = Case::new(
        format!("{}-one-arm", site.name()),
        "RFC 1812 section 5.2.1: a packet may leave by the port it came by",
        config,
    )
    .sends(OUTSIDE, site.client_frame(&site.tcp("S", b"").bytes()), there)
    .sends(OUTSIDE, back, site.at_client(&answer));
    vec![near, fixed, far, one_arm, routed(&site), gateways(&site)]
}

/// Routers of a network, by their last number.
fn router_at(port: Port, family: Family, last: u8) -> IpAddr {
    match port.own(family) {
        IpAddr::V4(own) => (own.to_bits() & !0xff | u32::from(last)).to_be_bytes().into(),
        IpAddr::V6(own) => (own.to_bits() & !0xff | u128::from(last)).to_be_bytes().into(),
    }
}

/// Clients of three networks, each beyond a router of its own.
fn routed(site: &Site) -> Case {
    let family = site.inner;
    let (near, other, nets) = match family {
        Family::V4 => ("192.0.2.99", "198.18.5.6", ["192.0.0.0/16", "192.0.2.0/28", "198.18.0.0/15"]),
        Family::V6 => {
            ("2001:db8:c::1:7", "2001:db8:d::6", ["2001:db8:c::/48", "2001:db8:c::/112", "2001:db8:d::/64"])
        }
    };
    let clients = [client(family), near.parse().unwrap(), other.parse().unwrap()];
    let (wide, narrow, inside) =
        (router_at(OUTSIDE, family, 77), router_at(OUTSIDE, family, 78), router_at(INSIDE, family, 79));
    let mut with = site.clone();
    for (net, via) in nets.into_iter().zip([wide, narrow, inside]) {
        with.more += &format!("\n[[route]]\ndestination = \"{net}\"\nvia = \"{via}\"\n");
    }
    let why = "RFC 1812 section 5.2.4.3: of the routes to a destination, the one of the longest prefix";
    let case = Case::new(format!("{}-static-routes", site.name()), why, with.config());
    let ways = [(OUTSIDE, narrow), (OUTSIDE, wide), (INSIDE, inside)];
    clients.into_iter().zip(ways).fold(case, |case, (client, (port, via))| {
        let answer = Packet { to: client, ..site.response(Body::tcp((0, 0), "SA", b"")) };
        let mut back = site.at_client(&answer);
        back.frame[..6].copy_from_slice(&mac_of(via));
        back.frame[6..12].copy_from_slice(&port.mac);
        back.port = port.name;
        case.sends(INSIDE, site.backend_frame(&answer.bytes()), back)
    })
}

/// Both ports have one.
fn gateways(site: &Site) -> Case {
    let mut with = site.clone();
    let key = if site.inner == Family::V4 { "gateway" } else { "gateway6" };
    with.inside = format!("{key} = \"{}\"\n", router_at(INSIDE, site.inner, 79));
    let why = "docs/CONFIG.md, gateway: where several ports have one, the first port's is used";
    Case::new(format!("{}-several-gateways", site.name()), why, with.config())
        .requests(site, &site.tcp("S", b""))
        .responds(site, &site.response(Body::tcp((0, 0), "SA", b"")))
}

fn rules(family: Family) -> Vec<Case> {
    let mut same = Site::nat(family);
    same.backend_port = None;
    let same = Case::at(
        &same,
        "same-port",
        "RFC 3022 section 4.1: where the backend's port is the frontend's, only addresses change",
    )
    .requests(&same, &same.tcp("S", b""))
    .requests(&same, &same.udp(b"ask"))
    .responds(&same, &same.response(Body::udp((0, 0), b"tell")));

    let site = Site::nat(family);
    let host = match frontend(family) {
        std::net::IpAddr::V6(a) => format!("[{a}]"),
        a => a.to_string(),
    };
    let mut two = site.clone();
    two.more = format!(
        "\n[[rule]]\nname = \"other\"\nfrontend = \"{host}:80/tcp\"\npool = \"web\"\nbackend_port = 8080\n"
    );
    let other = site.request(Body::tcp((CLIENT_PORT, 80), "S", b""));
    let there = Packet { body: other.body.with_ports(|(from, _)| (from, 8080)), ..site.translated(&other) };
    let there = Sent {
        frame: ip_frame(mac_of(backend(family)), INSIDE.mac, &[], &there.bytes()),
        ..site.at_backend(&other)
    };
    let answer = Packet {
        hops: 64,
        ..Packet::new(backend(family), client(family), Body::tcp((8080, CLIENT_PORT), "SA", b""))
    };
    let back = Packet {
        from: frontend(family),
        hops: 63,
        body: Body::tcp((80, CLIENT_PORT), "SA", b""),
        ..answer.clone()
    };
    let back = Sent { port: "outside", frame: site.to_router(&back.bytes()), masks: Vec::new() };
    let two = Case::at(
        &two,
        "two-frontends",
        "RFC 3022 section 4.1: a response bears the name of the frontend that was asked",
    )
    .requests(&two, &two.tcp("S", b""))
    .sends(OUTSIDE, site.client_frame(&other.bytes()), there)
    .sends(INSIDE, site.backend_frame(&answer.bytes()), back)
    .responds(&two, &two.response(Body::tcp((0, 0), "SA", b"")));

    let mut own = site.clone();
    own.outside = "mac = \"02:00:5e:00:53:10\"\n".into();
    let to = |mac| ip_frame(mac, mac_of(router(family)), &[], &site.tcp("S", b"").bytes());
    let mine = Case::at(
        &own,
        "own-mac",
        "IEEE 802.3 section 4.2.9: a station takes frames that are for it, and no others",
    )
    .sends(OUTSIDE, to([2, 0, 0x5e, 0, 0x53, 0x10]), site.at_backend(&site.tcp("S", b"")))
    .drops(OUTSIDE, to([2, 0, 0x5e, 0, 0x53, 0x11]), "wrong-mac")
    .drops(OUTSIDE, to([0xff; 6]), "wrong-mac");
    vec![same, two, mine]
}

fn only_v4() -> Vec<Case> {
    let site = Site::nat(Family::V4);
    let none = Body::Udp { ports: (CLIENT_PORT, FRONTEND_PORT), data: b"no sum".to_vec(), sum: false };
    let no_sum = Case::at(
        &site,
        "udp-no-checksum",
        "RFC 768 and RFC 3022 section 4.1: a checksum of zero means none, and stays so",
    )
    .requests(&site, &site.request(none.clone()))
    .responds(&site, &site.response(none));
    let options = |options: &[u8]| Packet { options: options.to_vec(), ..site.tcp("S", b"data") };
    // Router alert; a record route that is full; no-operations up to the longest header.
    let options = Case::at(
        &site,
        "options",
        "RFC 1812 section 5.2.4.1: packets with options are forwarded, and what is no option of ours stays",
    )
    .requests(&site, &options(&[148, 4, 0, 0]))
    .requests(&site, &options(&[1; 12]))
    .requests(&site, &options(&[1; 40]))
    .responds(&site, &Packet { options: vec![1; 8], ..site.response(Body::udp((0, 0), b"back")) });
    let identified = [(0, true), (0xffff, true), (7, false), (0, false)].into_iter().fold(
        Case::at(
            &site,
            "identification",
            "RFC 791 section 3.1: identification and don't-fragment are the sender's, and pass as they are",
        ),
        |case, (id, df)| case.requests(&site, &Packet { id, df, ..site.tcp("A", b"data") }),
    );
    vec![no_sum, options, identified]
}

fn only_v6() -> Vec<Case> {
    let site = Site::nat(Family::V6);
    let labels = [0, 1, 0xfffff].into_iter().fold(
        Case::at(
            &site,
            "flow-label",
            "RFC 6437 section 3: the flow label is the source's, and passes as it is",
        ),
        |case, label| case.requests(&site, &Packet { label, ..site.tcp("A", b"data") }),
    );
    let with = |extensions: Vec<(u8, Vec<u8>)>| Packet { extensions, ..site.tcp("A", b"data") };
    // Options of PadN; a routing header of an experiment (RFC 4727), its segments all visited; both kinds one after the other.
    let pad = vec![0, 1, 4, 0, 0, 0, 0];
    let visited = vec![0, 253, 0, 0, 0, 0, 0];
    let extended = Case::at(
        &site,
        "extension-headers",
        "RFC 8200 section 4: extension headers are passed over, and stay",
    )
    .requests(&site, &with(vec![(0, pad.clone())]))
    .requests(&site, &with(vec![(60, pad.clone())]))
    .requests(&site, &with(vec![(0, pad.clone()), (43, visited), (60, pad)]));
    let unknown = Case::at(
        &site,
        "no-next-header",
        "RFC 8200 section 4.7: a packet without a next header is for no rule",
    )
    .drops(
        OUTSIDE,
        frame(
            OUTSIDE.mac,
            mac_of(router(Family::V6)),
            &[],
            0x86dd,
            &site.request(Body::Other(59, Vec::new())).bytes(),
        ),
        "no-rule",
    );
    vec![labels, extended, unknown]
}
