//! What guideway answers itself: ARP, neighbour discovery, echo.

use std::net::{IpAddr, Ipv6Addr};

use etherparse::{ArpHardwareId, ArpOperation, ArpPacket, EtherType};

use super::Case;
use super::packets::{Body, Mac, Packet, frame, ip_frame};
use super::site::{Family, INSIDE, OUTSIDE, Port, Sent, Site, client, frontend, router};

const HOST_MAC: Mac = [0, 0, 0x5e, 0, 0x53, 1];

pub fn cases() -> Vec<Case> {
    let mut cases = arp();
    for family in [Family::V4, Family::V6] {
        cases.extend(echo(&Site::nat(family)));
    }
    cases.extend(neighbour_discovery());
    cases
}

fn octets(address: IpAddr) -> [u8; 4] {
    match address {
        IpAddr::V4(address) => address.octets(),
        IpAddr::V6(_) => panic!("no ARP for IPv6"),
    }
}

fn arp_frame(operation: ArpOperation, sender: (Mac, IpAddr), target: (Mac, IpAddr), to: Mac) -> Vec<u8> {
    let (from, whom) = (octets(sender.1), octets(target.1));
    let kinds = (ArpHardwareId::ETHERNET, EtherType::IPV4);
    let packet = ArpPacket::new(kinds.0, kinds.1, operation, &sender.0, &from, &target.0, &whom).unwrap();
    frame(to, sender.0, &[], 0x0806, &packet.to_bytes())
}

fn arp() -> Vec<Case> {
    let site = Site::nat(Family::V4);
    let host: IpAddr = [198, 51, 100, 77].into();
    let host_inside: IpAddr = [10, 0, 0, 77].into();
    let ask =
        |sender, target| arp_frame(ArpOperation::REQUEST, (HOST_MAC, sender), ([0; 6], target), [0xff; 6]);
    let tell = |port: Port, address, asker| {
        arp_frame(ArpOperation::REPLY, (port.mac, address), (HOST_MAC, asker), HOST_MAC)
    };
    let answers = |event: &str, why: &str, port: Port, asker, target| {
        Case::new(format!("arp-{event}"), why, site.config()).answers(
            port,
            ask(asker, target),
            tell(port, target, asker),
        )
    };
    let (own, own_inside, vip) = (OUTSIDE.own(Family::V4), INSIDE.own(Family::V4), frontend(Family::V4));
    let nobody: IpAddr = [0, 0, 0, 0].into();
    let reply = arp_frame(ArpOperation::REPLY, (HOST_MAC, host), (OUTSIDE.mac, own), OUTSIDE.mac);
    let announced = arp_frame(ArpOperation::REQUEST, (HOST_MAC, host), ([0; 6], host), [0xff; 6]);
    let thief = arp_frame(ArpOperation::REQUEST, (HOST_MAC, vip), ([0; 6], vip), [0xff; 6]);
    let request = "RFC 826: who asks for an address of ours is told where it is";
    let mut padded = (ask(host, own), tell(OUTSIDE, own, host));
    padded.0.resize(60, 0);
    padded.1.resize(60, 0);
    let whole = ask(host, own);
    let mut others = vec![
        ("hardware", 14, 0, 9),
        ("protocol", 16, 0x86, 0xdd),
        ("hardware-length", 18, 8, 4),
        ("protocol-length", 18, 6, 16),
        ("operation", 20, 0, 9),
    ]
    .into_iter()
    .map(|(event, at, high, low)| {
        let mut frame = whole.clone();
        frame[at..at + 2].copy_from_slice(&[high, low]);
        Case::new(
            format!("arp-other-{event}"),
            "RFC 826: what is not ARP for IPv4 over Ethernet is not for us",
            site.config(),
        )
        .drops(OUTSIDE, frame, "arp-malformed")
    })
    .collect::<Vec<_>>();
    let cut = (14..whole.len()).step_by(9).fold(
        Case::new("arp-cut", "RFC 826: an ARP packet for IPv4 over Ethernet has 28 bytes", site.config()),
        |case, len| case.drops(OUTSIDE, whole[..len].to_vec(), "arp-malformed"),
    );
    others.extend([
        answers("own-address", request, OUTSIDE, host, own),
        answers("own-address-inside", request, INSIDE, host_inside, own_inside),
        answers("frontend", request, OUTSIDE, host, vip),
        answers("frontend-inside", "RFC 826: a frontend is ours at every port", INSIDE, host_inside, vip),
        answers("probe", "RFC 5227 section 2.1.1: a probe from 0.0.0.0 is answered, so that the address is seen to be taken", OUTSIDE, nobody, own),
        Case::new("arp-padded", "RFC 894: frames are padded to 60 bytes", site.config()).answers(OUTSIDE, padded.0, padded.1),
        Case::new("arp-other-ports-address", "RFC 826: the other port's address is not here", site.config())
            .drops(OUTSIDE, ask(host, own_inside), "arp-not-ours"),
        Case::new("arp-of-others", "RFC 826: what others ask each other, and say of themselves, is not answered", site.config())
            .drops(OUTSIDE, ask(host, router(Family::V4)), "arp-not-ours")
            .drops(OUTSIDE, announced, "arp-not-ours"),
        Case::new("arp-conflict", "RFC 5227 section 2.4: an announcement of our address by another is not answered", site.config())
            .drops(OUTSIDE, thief, "arp-conflict"),
        Case::new("arp-reply", "RFC 826: a reply is learnt from, and not answered", site.config()).learns(OUTSIDE, reply),
        cut,
    ]);
    others
}

fn echo(site: &Site) -> Vec<Case> {
    let (request, reply) = if site.inner == Family::V4 { (8, 0) } else { (128, 129) };
    let message = |kind, data: &[u8]| Body::Icmp { kind, code: 0, word: [0, 7, 0, 9], data: data.to_vec() };
    let ask = |to, data: &[u8]| Packet { to, hops: 17, ..site.request(message(request, data)) };
    let tell = |from, data: &[u8]| {
        // The rest of the header is the request's (RFC 1122 section 3.2.2.6).
        Packet { from, to: client(site.inner), hops: 64, ..ask(from, data) }
    };
    let told = |from, data: &[u8]| Packet { body: message(reply, data), ..tell(from, data) };
    let ping = |case: Case, address, data: &[u8]| {
        case.answers(
            OUTSIDE,
            site.client_frame(&ask(address, data).bytes()),
            site.to_router(&told(address, data).bytes()),
        )
    };
    let (own, vip) = (OUTSIDE.own(site.inner), frontend(site.inner));
    let answer = "RFC 1122 section 3.2.2.6 and RFC 4443 section 4.2: the data of an echo request comes back, whatever it is";
    let mut cases = vec![
        ping(Case::at(site, "echo-own-address", answer), own, b"0123456789"),
        ping(Case::at(site, "echo-frontend", answer), vip, b"0123456789"),
        [0usize, 1, 2, 3, 1000].into_iter().fold(Case::at(site, "echo-lengths", answer), |case, length| {
            let address = if length % 2 == 0 { own } else { vip };
            ping(case, address, &(0..length).map(|n| n as u8).collect::<Vec<_>>())
        }),
        [[0xff, 0xff], [0, 0], [0xf7, 0xff], [0xf8, 0], [0, 8]].into_iter().fold(
            Case::at(
                site,
                "echo-checksum-corners",
                "RFC 1624 section 3: the reply's sum is right also where it carries round",
            ),
            |case, data| ping(case, vip, &data),
        ),
    ];
    cases.extend(echo_in_parts(site, &ask(vip, &[0x5a; 1400]), &told(vip, &[0x5a; 1400])));
    let at = 14 + if site.inner == Family::V4 { 20 } else { 40 } + 2;
    let mut damaged = site.client_frame(&ask(own, b"ping").bytes());
    damaged[at] ^= 1;
    let other = Packet {
        to: own,
        ..site.request(message(if site.inner == Family::V4 { 13 } else { 139 }, b"............"))
    };
    let elsewhere: IpAddr = match site.inner {
        Family::V4 => [8, 8, 8, 8].into(),
        Family::V6 => "2001:db8:8::8".parse::<Ipv6Addr>().unwrap().into(),
    };
    let from_all = ip_frame(OUTSIDE.mac, [0xff; 6], &[], &ask(own, b"ping").bytes());
    let case = |event: &str, why: &str, frame: Vec<u8>, reason: &str| {
        Case::at(site, event, why).drops(OUTSIDE, frame, reason)
    };
    cases.extend([
        case(
            "echo-checksum",
            "RFC 1122 section 3.2.2: a message that was damaged is not answered",
            damaged,
            "icmp-malformed",
        ),
        case(
            "icmp-unhandled",
            "RFC 1122 section 3.2.2: what is not understood is discarded in silence",
            site.client_frame(&other.bytes()),
            "icmp-unhandled",
        ),
        case(
            "echo-elsewhere",
            "RFC 1812 section 2.2.8: an echo request for others does not go on",
            site.client_frame(&ask(elsewhere, b"ping").bytes()),
            "not-ours",
        ),
        case(
            "echo-from-broadcast",
            "RFC 1122 section 3.2.2: nothing is answered to a whole network",
            from_all,
            "broadcast-source",
        ),
    ]);
    cases
}

/// A request that comes in parts is answered part by part.
fn echo_in_parts(site: &Site, ask: &Packet, told: &Packet) -> Vec<Case> {
    let parts = |packet: &Packet| Packet { df: false, ..packet.clone() }.fragments(&[512, 1024]);
    let asks: Vec<_> = parts(ask).iter().map(|part| site.client_frame(part)).collect();
    let tells: Vec<_> = parts(told).iter().map(|part| site.to_router(part)).collect();
    let why = "RFC 1122 section 3.2.2.6 and RFC 4443 section 4.2: a request of any size is answered, also one in pieces";
    let in_order =
        asks.iter().zip(&tells).fold(Case::at(site, "echo-fragments", why), |case, (ask, tell)| {
            case.answers(OUTSIDE, ask.clone(), tell.clone())
        });
    // The first comes second, and the one that was before it leaves behind it.
    let mut late = Case::at(site, "echo-fragments-first-late", why).comes(OUTSIDE, asks[1].clone()).answers(
        OUTSIDE,
        asks[0].clone(),
        tells[0].clone(),
    );
    late.expected.answered += 1;
    late = late.leaves(Sent { port: OUTSIDE.name, frame: tells[1].clone(), masks: Vec::new() });
    vec![in_order, late.answers(OUTSIDE, asks[2].clone(), tells[2].clone())]
}

/// RFC 4861: solicitations for our addresses are answered with advertisements.
fn neighbour_discovery() -> Vec<Case> {
    let site = Site::nat(Family::V6);
    let host: IpAddr = "2001:db8:1::77".parse::<Ipv6Addr>().unwrap().into();
    let bytes = |address: IpAddr| match address {
        IpAddr::V6(address) => address.octets(),
        IpAddr::V4(_) => panic!("no ND for IPv4"),
    };
    let link_option = |kind: u8, mac: Mac| [&[kind, 1][..], &mac].concat();
    let group = |target: IpAddr| {
        let [.., a, b, c] = bytes(target);
        let address = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | u16::from(a), u16::from_be_bytes([b, c]));
        (IpAddr::from(address), [0x33, 0x33, 0xff, a, b, c])
    };
    let packet = |from, to, body| Packet { hops: 255, label: 0, ..Packet::new(from, to, body) };
    let ask = |from: IpAddr, target: IpAddr, option: Vec<u8>| {
        let data = [&bytes(target)[..], &option].concat();
        let (to, mac) = group(target);
        let body = Body::Icmp { kind: 135, code: 0, word: [0; 4], data };
        ip_frame(mac, HOST_MAC, &[], &packet(from, to, body).bytes())
    };
    let tell = |target: IpAddr, to: IpAddr, mac: Mac, flags: u8| {
        let data = [&bytes(target)[..], &link_option(2, OUTSIDE.mac)].concat();
        let body = Body::Icmp { kind: 136, code: 0, word: [flags, 0, 0, 0], data };
        ip_frame(mac, OUTSIDE.mac, &[], &packet(target, to, body).bytes())
    };
    let (own, vip) = (OUTSIDE.own(Family::V6), frontend(Family::V6));
    let none: IpAddr = Ipv6Addr::UNSPECIFIED.into();
    let all: IpAddr = "ff02::1".parse::<Ipv6Addr>().unwrap().into();
    let case = |event: &str, why: &str| Case::new(format!("nd-{event}"), why, site.config());
    let request = "RFC 4861 section 7.2.4: a solicitation for our address is answered, solicited and overriding, by a router, for backends route by us";
    let asked = |target| ask(host, target, link_option(1, HOST_MAC));
    let mut near = asked(own);
    near[21] = 254;
    let mut damaged = asked(own);
    damaged[57] ^= 1;
    vec![
        case("own-address", request).answers(OUTSIDE, asked(own), tell(own, host, HOST_MAC, 0xe0)),
        case("frontend", request).answers(OUTSIDE, asked(vip), tell(vip, host, HOST_MAC, 0xe0)),
        case(
            "duplicate-detection",
            "RFC 4861 section 7.2.4: who asks without an address yet is answered by all nodes' group",
        )
        .answers(OUTSIDE, ask(none, own, Vec::new()), tell(own, all, [0x33, 0x33, 0, 0, 0, 1], 0xa0)),
        case("of-others", "RFC 4861 section 7.2.3: a solicitation for another's address is not answered")
            .drops(OUTSIDE, asked(router(Family::V6)), "nd-not-ours"),
        case("hop-limit", "RFC 4861 section 7.1.1: what a router has forwarded is no neighbour's word")
            .drops(OUTSIDE, near, "nd-malformed"),
        case("checksum", "RFC 4861 section 7.1.1: a solicitation with a wrong checksum is discarded").drops(
            OUTSIDE,
            damaged,
            "nd-malformed",
        ),
        case(
            "option-of-no-length",
            "RFC 4861 section 7.1.1: an option of length zero makes the message invalid",
        )
        .drops(OUTSIDE, ask(host, own, vec![1, 0, 0, 0, 0, 0, 0, 0]), "nd-malformed"),
        case(
            "option-without-address",
            "RFC 4861 section 7.1.1: no source link-layer address where the source is unspecified",
        )
        .drops(OUTSIDE, ask(none, own, link_option(1, HOST_MAC)), "nd-malformed"),
    ]
}
