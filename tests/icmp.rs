//! ICMP, as tables: frame in, whole frame out, in both families and all modes. Frames are made, and what leaves is
//! checked, by another implementation than ours.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail")]

mod common;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use common::*;
use etherparse::icmpv4::{DestUnreachableHeader, TimeExceededCode};
use etherparse::icmpv6::{DestUnreachableCode, TimeExceededCode as TimeExceededCode6};
use etherparse::{
    Icmpv4Type, Icmpv6Type, IpDscp, IpHeaders, IpNumber, Ipv4Header, Ipv6Header, NetSlice, PacketBuilder,
    SlicedPacket, TransportSlice,
};
use guideway::control::REPLAY_KEY;
use guideway::dataplane::{
    Event, FlowTable, Mesh, Path, Source, Worker, WorkerCounters, WorkerId, WorkerPort,
};
use guideway::io::PortId;
use guideway::io::memory::{HeapFrame, MemoryQueues};
use guideway::replay::Replay;
use guideway::snapshot::{Compiler, Conditions, Neighbours, PortLink, Publisher};
use guideway::tick::Tick;
use guideway::wire::MacAddr;

/// Who takes part, in one family.
#[derive(Clone, Copy)]
struct Cast {
    client: SocketAddr,
    frontend: SocketAddr,
    backend: SocketAddr,
    /// Between the client and us.
    far_router: IpAddr,
    /// Between us and the backend.
    near_router: IpAddr,
    /// Our own addresses.
    outside: IpAddr,
    inside: IpAddr,
    /// Ethernet addresses: the client's router, the backend.
    macs: ([u8; 6], [u8; 6]),
    config: &'static str,
}

const RULES: &str = r#"
[[pool]]
name = "web"
backends = [{ address = "BACKEND" }]
[[rule]]
name = "https"
frontend = "FRONTEND:443/tcp"
pool = "web"
backend_port = 8443
[[rule]]
name = "dns"
frontend = "FRONTEND:53/udp"
pool = "web"
backend_port = 5353
"#;

fn cast(is_v6: bool, is_tcp: bool) -> Cast {
    let (port, backend_port) = if is_tcp { (443, 8443) } else { (53, 5353) };
    let at = |address: &str, port| SocketAddr::new(address.parse().unwrap(), port);
    let ip = |address: &str| address.parse().unwrap();
    if is_v6 {
        Cast {
            client: at("2001:db8:9::7", 40_000),
            frontend: at("2001:db8:f::10", port),
            backend: at("2001:db8:2::4", backend_port),
            far_router: ip("2001:db8:8::1"),
            near_router: ip("2001:db8:7::1"),
            outside: ip("2001:db8:1::2"),
            inside: ip("2001:db8:2::1"),
            macs: ([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 4]),
            config: r#"
[dataplane]
flows_per_worker = 1024
[[port]]
name = "outside"
addresses = ["2001:db8:1::2/64"]
gateway6 = "2001:db8:1::1"
[[port]]
name = "inside"
addresses = ["2001:db8:2::1/64"]
"#,
        }
    } else {
        Cast {
            client: at("192.0.2.7", 40_000),
            frontend: at("203.0.113.10", port),
            backend: at("10.0.0.4", backend_port),
            far_router: ip("192.0.2.1"),
            near_router: ip("10.9.9.9"),
            outside: ip("198.51.100.2"),
            inside: ip("10.0.0.1"),
            macs: (ROUTER_MAC, [2, 0, 10, 0, 0, 4]),
            config: TWO_ARMS,
        }
    }
}

impl Cast {
    fn config(&self, more: &str) -> String {
        let address = |of: SocketAddr| of.ip().to_string();
        let bracketed =
            |of: SocketAddr| SocketAddr::new(of.ip(), 0).to_string().trim_end_matches(":0").to_owned();
        let rules =
            RULES.replace("BACKEND", &address(self.backend)).replace("FRONTEND", &bracketed(self.frontend));
        format!("{}{rules}{more}", self.config)
    }

    fn is_v6(&self) -> bool {
        self.client.is_ipv6()
    }

    /// From the client to the frontend, as it comes in.
    fn request(&self, ttl: u8, payload: usize) -> Vec<u8> {
        frame((self.macs.0, OUTSIDE_MAC), self.client, self.frontend, ttl, payload)
    }

    /// The same at the backend.
    fn request_at_backend(&self, ttl: u8, payload: usize) -> Vec<u8> {
        frame((INSIDE_MAC, self.macs.1), self.client, self.backend, ttl, payload)
    }

    /// From the backend to the client, as it comes in.
    fn response(&self, ttl: u8, payload: usize) -> Vec<u8> {
        frame((self.macs.1, INSIDE_MAC), self.backend, self.client, ttl, payload)
    }

    /// The same at the client.
    fn response_at_client(&self, ttl: u8, payload: usize) -> Vec<u8> {
        frame((OUTSIDE_MAC, self.macs.0), self.frontend, self.client, ttl, payload)
    }
}

fn headers(from: IpAddr, to: IpAddr, ttl: u8) -> IpHeaders {
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let header = Ipv4Header::new(0, ttl, IpNumber::ICMP, from.octets(), to.octets()).unwrap();
            IpHeaders::Ipv4(header, etherparse::Ipv4Extensions::default())
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => IpHeaders::Ipv6(
            Ipv6Header {
                hop_limit: ttl,
                source: from.octets(),
                destination: to.octets(),
                ..Ipv6Header::default()
            },
            etherparse::Ipv6Extensions::default(),
        ),
        _ => panic!("two families"),
    }
}

/// TCP to and from ports of TCP, else UDP.
fn frame(macs: ([u8; 6], [u8; 6]), from: SocketAddr, to: SocketAddr, ttl: u8, payload: usize) -> Vec<u8> {
    let is_tcp = [from.port(), to.port()].iter().any(|port| [443, 8443].contains(port));
    let builder = PacketBuilder::ethernet2(macs.0, macs.1).ip(headers(from.ip(), to.ip(), ttl));
    let (mut frame, payload) = (Vec::new(), vec![0xa5; payload]);
    if is_tcp {
        builder.tcp(from.port(), to.port(), 1_000_000, 8192).ack(7).write(&mut frame, &payload).unwrap();
    } else {
        builder.udp(from.port(), to.port()).write(&mut frame, &payload).unwrap();
    }
    frame
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Kind {
    Host,
    Port,
    TooBig(u16),
    TimeExceeded,
    Parameter,
    EchoRequest,
    EchoReply,
}

/// An ICMP message with what comes behind its header.
fn message(macs: ([u8; 6], [u8; 6]), ip: IpHeaders, kind: Kind, payload: &[u8]) -> Vec<u8> {
    let is_v6 = matches!(ip, IpHeaders::Ipv6(..));
    let builder = PacketBuilder::ethernet2(macs.0, macs.1).ip(ip);
    let mut frame = Vec::new();
    let echo = etherparse::IcmpEchoHeader { id: 7, seq: 9 };
    if is_v6 {
        let kind = match kind {
            Kind::Host => Icmpv6Type::DestinationUnreachable(DestUnreachableCode::Address),
            Kind::Port => Icmpv6Type::DestinationUnreachable(DestUnreachableCode::Port),
            Kind::TooBig(mtu) => Icmpv6Type::PacketTooBig { mtu: mtu.into() },
            Kind::TimeExceeded => Icmpv6Type::TimeExceeded(TimeExceededCode6::HopLimitExceeded),
            Kind::Parameter => Icmpv6Type::Unknown { type_u8: 4, code_u8: 1, bytes5to8: [0, 0, 0, 6] },
            Kind::EchoRequest => Icmpv6Type::EchoRequest(echo),
            Kind::EchoReply => Icmpv6Type::EchoReply(echo),
        };
        builder.icmpv6(kind).write(&mut frame, payload).unwrap();
    } else {
        let kind = match kind {
            Kind::Host => Icmpv4Type::DestinationUnreachable(DestUnreachableHeader::Host),
            Kind::Port => Icmpv4Type::DestinationUnreachable(DestUnreachableHeader::Port),
            Kind::TooBig(next_hop_mtu) => {
                Icmpv4Type::DestinationUnreachable(DestUnreachableHeader::FragmentationNeeded {
                    next_hop_mtu,
                })
            }
            Kind::TimeExceeded => Icmpv4Type::TimeExceeded(TimeExceededCode::TtlExceededInTransit),
            Kind::Parameter => Icmpv4Type::Unknown { type_u8: 12, code_u8: 0, bytes5to8: [20, 0, 0, 0] },
            Kind::EchoRequest => Icmpv4Type::EchoRequest(echo),
            Kind::EchoReply => Icmpv4Type::EchoReply(echo),
        };
        builder.icmpv4(kind).write(&mut frame, payload).unwrap();
    }
    frame
}

/// An error from somebody on the way.
fn error(macs: ([u8; 6], [u8; 6]), from: IpAddr, to: IpAddr, ttl: u8, kind: Kind, quoted: &[u8]) -> Vec<u8> {
    message(macs, headers(from, to, ttl), kind, quoted)
}

/// An error of ours about the packet in `frame`, back to where it came from.
fn made(from: IpAddr, kind: Kind, frame: &[u8]) -> Vec<u8> {
    let macs = (frame[..6].try_into().unwrap(), frame[6..12].try_into().unwrap());
    let to: IpAddr = if from.is_ipv4() {
        <[u8; 4]>::try_from(&frame[26..30]).unwrap().into()
    } else {
        <[u8; 16]>::try_from(&frame[22..38]).unwrap().into()
    };
    let mut ip = headers(from, to, 64);
    if let IpHeaders::Ipv4(header, _) = &mut ip {
        // Network control.
        header.dscp = IpDscp::CS6;
    }
    let quoted_max = if from.is_ipv4() { 576 - 28 } else { 1280 - 48 };
    message(macs, ip, kind, &frame[14..frame.len().min(14 + quoted_max)])
}

fn once(balancer: &mut Replay, at: f64, port: PortId, frame: &[u8]) -> (Vec<(PortId, Vec<u8>)>, Vec<String>) {
    let before = counts(balancer);
    let sent = balancer.frame(seconds(at), port, frame.to_vec());
    assert_balanced(balancer);
    let moved = moved(&before, &counts(balancer));
    (sent, moved)
}

/// Both families, TCP and UDP, one worker and several.
fn everybody() -> impl Iterator<Item = (Cast, usize)> {
    let families = [false, true];
    let pairs = families.into_iter().flat_map(|is_v6| [true, false].map(|is_tcp| cast(is_v6, is_tcp)));
    pairs.flat_map(|cast| [1, 3].map(|workers| (cast, workers)))
}

const KINDS: [Kind; 5] = [Kind::Host, Kind::Port, Kind::TooBig(1400), Kind::TimeExceeded, Kind::Parameter];

/// How much of a packet is quoted: its headers and eight bytes, and all of it.
fn quotes(frame: &[u8], is_v6: bool) -> [&[u8]; 2] {
    let least = if is_v6 { 48 } else { 28 };
    [&frame[14..14 + least], &frame[14..]]
}

#[test]
fn errors_about_responses_reach_the_backend_in_its_own_terms() {
    for (cast, workers) in everybody() {
        let mut balancer = balancer(&cast.config(""), workers);
        // With a flow that is recorded, and without.
        for is_known in [false, true] {
            if is_known {
                balancer.frame(seconds(1.0), OUTSIDE, cast.request(64, 9));
            }
            for kind in KINDS {
                let (at_client, at_backend) = (cast.response_at_client(50, 99), cast.response(50, 99));
                let is_v6 = cast.is_v6();
                for (quoted, translated) in
                    quotes(&at_client, is_v6).into_iter().zip(quotes(&at_backend, is_v6))
                {
                    let come = (cast.macs.0, OUTSIDE_MAC);
                    let frame = error(come, cast.far_router, cast.frontend.ip(), 61, kind, quoted);
                    let gone = (INSIDE_MAC, cast.macs.1);
                    let wanted = error(gone, cast.far_router, cast.backend.ip(), 60, kind, translated);
                    let (sent, moved) = once(&mut balancer, 1.0, OUTSIDE, &frame);
                    assert_eq!(sent, [(INSIDE, wanted)], "{kind:?} {workers} {}", cast.client);
                    assert_eq!(moved, ["transmitted+1"]);
                }
            }
        }
        let totals = balancer.totals();
        assert_eq!((totals.errors_to_backend, totals.errors_to_client, totals.flows_created), (20, 0, 1));
    }
}

#[test]
fn errors_about_clients_packets_reach_the_client_in_the_frontends_name() {
    for (cast, workers) in everybody() {
        let mut balancer = balancer(&cast.config(""), workers);
        for (router, kind) in
            [cast.backend.ip(), cast.near_router].into_iter().flat_map(|r| KINDS.map(|k| (r, k)))
        {
            let (at_backend, at_frontend) = (cast.request_at_backend(63, 99), cast.request(63, 99));
            let is_v6 = cast.is_v6();
            for (quoted, translated) in
                quotes(&at_backend, is_v6).into_iter().zip(quotes(&at_frontend, is_v6))
            {
                let come = (cast.macs.1, INSIDE_MAC);
                let frame = error(come, router, cast.client.ip(), 64, kind, quoted);
                let gone = (OUTSIDE_MAC, cast.macs.0);
                let wanted = error(gone, cast.frontend.ip(), cast.client.ip(), 63, kind, translated);
                let (sent, moved) = once(&mut balancer, 1.0, INSIDE, &frame);
                assert_eq!(sent, [(OUTSIDE, wanted)], "{kind:?} {workers} {}", cast.client);
                assert_eq!(moved, ["transmitted+1"]);
            }
        }
        assert_eq!(balancer.totals().errors_to_client, 20);
    }
}

#[test]
fn a_quoted_datagram_without_a_checksum_has_none_afterwards() {
    let cast = cast(false, false);
    let without = |mut frame: Vec<u8>| {
        frame[40..42].fill(0);
        frame
    };
    let (at_client, at_backend) = (without(cast.response_at_client(50, 9)), without(cast.response(50, 9)));
    let come = (cast.macs.0, OUTSIDE_MAC);
    let frame = error(come, cast.far_router, cast.frontend.ip(), 61, Kind::Port, &at_client[14..]);
    let gone = (INSIDE_MAC, cast.macs.1);
    let wanted = error(gone, cast.far_router, cast.backend.ip(), 60, Kind::Port, &at_backend[14..]);
    let mut balancer = balancer(&cast.config(""), 1);
    assert_eq!(once(&mut balancer, 1.0, OUTSIDE, &frame).0, [(INSIDE, wanted)]);
}

/// Frames that say they are errors about packets of ours, and why they go nowhere.
type Untrusted = (&'static str, PortId, Vec<u8>, &'static str);

fn untrusted_about_responses(cast: &Cast, stranger: &Cast) -> [Untrusted; 7] {
    let come = (cast.macs.0, OUTSIDE_MAC);
    let (response, other) = (cast.response_at_client(50, 9), stranger.response_at_client(50, 9));
    let (router, frontend, us) = (cast.far_router, cast.frontend.ip(), cast.outside);
    let about = |from, to, ttl, quoted: &[u8]| error(come, from, to, ttl, Kind::Host, quoted);
    let quoted = &response[14..];
    let mut wrong_sum = about(router, frontend, 61, quoted);
    *wrong_sum.last_mut().unwrap() ^= 1;
    let loopback: IpAddr = if cast.is_v6() { "::1".parse().unwrap() } else { [127, 0, 0, 1].into() };
    let cut = &quoted[..if cast.is_v6() { 47 } else { 27 }];
    [
        ("a wrong checksum", OUTSIDE, wrong_sum, "icmp-malformed"),
        ("the last hop", OUTSIDE, about(router, frontend, 1, quoted), "ttl-exceeded"),
        ("to another than is quoted", OUTSIDE, about(router, us, 61, quoted), "icmp-unhandled"),
        ("cut off", OUTSIDE, about(router, frontend, 61, cut), "icmp-bad-quote"),
        ("of no rule", OUTSIDE, about(router, frontend, 61, &other[14..]), "icmp-unhandled"),
        ("from nobody", OUTSIDE, about(loopback, frontend, 61, quoted), "martian-source"),
        ("from ourselves", OUTSIDE, about(us, frontend, 61, quoted), "martian-source"),
    ]
}

fn untrusted_about_requests(cast: &Cast, stranger: &Cast) -> [Untrusted; 3] {
    let come = (cast.macs.1, INSIDE_MAC);
    let (request, other) = (cast.request_at_backend(63, 9), stranger.request_at_backend(63, 9));
    let about = |to, quoted: &[u8]| error(come, cast.near_router, to, 64, Kind::Host, quoted);
    let client = cast.client.ip();
    [
        ("in by the wrong port", OUTSIDE, about(client, &request[14..]), "wrong-port"),
        ("about no backend", INSIDE, about(client, &other[14..]), "not-ours"),
        ("to another than the client", INSIDE, about(cast.far_router, &request[14..]), "not-ours"),
    ]
}

#[test]
fn errors_that_are_not_to_be_trusted_go_nowhere() {
    for (cast, workers) in everybody() {
        let mut balancer = balancer(&cast.config(""), workers);
        let mut stranger = cast;
        stranger.backend.set_ip(cast.near_router);
        stranger.frontend.set_port(99);
        let (responses, requests) =
            (untrusted_about_responses(&cast, &stranger), untrusted_about_requests(&cast, &stranger));
        for (name, port, frame, reason) in responses.into_iter().chain(requests) {
            let (sent, moved) = once(&mut balancer, 1.0, port, &frame);
            assert_eq!((sent, moved), (vec![], vec![format!("{reason}+1")]), "{name}, {}", cast.client);
        }
    }
}

#[test]
fn what_has_no_hop_left_is_answered_in_both_directions() {
    for (cast, workers) in everybody() {
        let mut balancer = balancer(&cast.config(""), workers);
        for ttl in [0, 1] {
            let request = cast.request(ttl, 32);
            let told = made(cast.outside, Kind::TimeExceeded, &request);
            let (sent, moved) = once(&mut balancer, 1.0, OUTSIDE, &request);
            assert_eq!((sent, moved), (vec![(OUTSIDE, told)], vec!["answered+1".to_owned()]));
            let response = cast.response(ttl, 32);
            let told = made(cast.inside, Kind::TimeExceeded, &response);
            let (sent, moved) = once(&mut balancer, 1.0, INSIDE, &response);
            assert_eq!((sent, moved), (vec![(INSIDE, told)], vec!["answered+1".to_owned()]));
        }
        assert_eq!(balancer.totals().time_exceeded_sent, 4);
    }
}

#[test]
fn what_does_not_fit_is_answered_with_the_mtu() {
    for (cast, workers) in everybody() {
        let config = cast.config("").replace("name = \"inside\"", "name = \"inside\"\nmtu = 1400");
        let mut balancer = balancer(&config, workers);
        let request = cast.request(64, 1380);
        let told = made(cast.outside, Kind::TooBig(1400), &request);
        assert_eq!(once(&mut balancer, 1.0, OUTSIDE, &request).0, [(OUTSIDE, told)]);
        assert_eq!(balancer.totals().too_big_sent, 1);

        let config = cast.config("").replace("name = \"outside\"", "name = \"outside\"\nmtu = 1300");
        let mut balancer = common::balancer(&config, workers);
        let response = cast.response(64, 1300);
        let told = made(cast.inside, Kind::TooBig(1300), &response);
        assert_eq!(once(&mut balancer, 1.0, INSIDE, &response).0, [(INSIDE, told)]);
    }
}

#[test]
fn no_error_is_sent_about_what_may_have_none() {
    for (cast, workers) in everybody() {
        let mut balancer = balancer(&cast.config(""), workers);
        // From a group of stations, and to one: the answer would go to all of it.
        let mut from_group = cast.request(1, 9);
        from_group[6] |= 1;
        let mut to_group = cast.request(1, 9);
        to_group[0] |= 1;
        for frame in [from_group, to_group] {
            let (sent, moved) = once(&mut balancer, 1.0, OUTSIDE, &frame);
            assert_eq!((sent, moved), (vec![], vec!["ttl-exceeded+1".to_owned()]));
        }
    }
}

#[test]
fn a_flood_is_answered_by_no_more_than_a_thousand_a_second() {
    let cast = cast(false, true);
    let mut balancer = balancer(&cast.config(""), 1);
    let mut flood = |at, frame: Vec<u8>| {
        let sent: usize =
            (0..40).map(|_| balancer.burst(seconds(at), OUTSIDE, vec![frame.clone(); 60]).len()).sum();
        let totals = counts(&balancer);
        (sent, totals["error-limited"], totals["echo-limited"])
    };
    let ping = message(
        (cast.macs.0, OUTSIDE_MAC),
        headers(cast.client.ip(), cast.outside, 9),
        Kind::EchoRequest,
        b"?",
    );
    assert_eq!(flood(1.0, cast.request(1, 9)), (1000, 1400, 0));
    assert_eq!(flood(1.5, cast.request(1, 9)), (500, 3300, 0));
    assert_eq!(flood(1.5, ping), (1000, 3300, 1400));
}

#[test]
fn echo_requests_are_answered_whatever_their_size() {
    for (cast, workers) in everybody() {
        let mut balancer = balancer(&cast.config(""), workers);
        for us in [cast.frontend.ip(), cast.outside, cast.inside] {
            for len in [0, 1, 56, 1400, 1432, 8000] {
                let (client, data) = (cast.client.ip(), vec![0x5a; len]);
                let ask =
                    message((cast.macs.0, OUTSIDE_MAC), headers(client, us, 9), Kind::EchoRequest, &data);
                let reply =
                    message((OUTSIDE_MAC, cast.macs.0), headers(us, client, 64), Kind::EchoReply, &data);
                let (sent, moved) = once(&mut balancer, 1.0, OUTSIDE, &ask);
                assert_eq!((sent, moved), (vec![(OUTSIDE, reply)], vec!["answered+1".to_owned()]), "{len}");
            }
        }
        assert_eq!(balancer.totals().echo_replies, 18);
    }
}

/// The packet in parts of `each` bytes, as its sender would have cut it up (RFC 791 section 3.2, RFC 8200 section 4.5).
fn in_parts(frame: &[u8], each: usize, id: u16) -> Vec<Vec<u8>> {
    let is_v6 = frame[12] == 0x86;
    let (headers, data) = frame.split_at(14 + if is_v6 { 40 } else { 20 });
    let count = data.len().div_ceil(each);
    let part = |(number, data): (usize, &[u8])| {
        let more = u16::from(number + 1 < count);
        let mut part = headers.to_vec();
        if is_v6 {
            let [high, low] = ((number * each) as u16 | more).to_be_bytes();
            let [a, b] = id.to_be_bytes();
            part.extend([part[20], 0, high, low, 0, 0, a, b]);
            part[20] = 44;
            part[18..20].copy_from_slice(&(data.len() as u16 + 8).to_be_bytes());
        } else {
            part[16..18].copy_from_slice(&(data.len() as u16 + 20).to_be_bytes());
            part[18..20].copy_from_slice(&id.to_be_bytes());
            part[20..22].copy_from_slice(&((number * each / 8) as u16 | more << 13).to_be_bytes());
            fix_ip_checksum(&mut part);
        }
        part.extend(data);
        part
    };
    data.chunks(each).enumerate().map(part).collect()
}

/// An echo request to `us`, and the reply that is due, in parts.
fn ping_in_parts(cast: &Cast, us: IpAddr, data: &[u8], each: usize, id: u16) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let client = cast.client.ip();
    let ask = message((cast.macs.0, OUTSIDE_MAC), headers(client, us, 9), Kind::EchoRequest, data);
    let reply = message((OUTSIDE_MAC, cast.macs.0), headers(us, client, 64), Kind::EchoReply, data);
    (in_parts(&ask, each, id), in_parts(&reply, each, id))
}

#[test]
fn echo_requests_in_parts_are_answered_in_the_same_parts() {
    for (cast, workers) in everybody() {
        let mut balancer = balancer(&cast.config(""), workers);
        let mut id = 0;
        for us in [cast.frontend.ip(), cast.outside, cast.inside] {
            for (len, each) in [(1, 8), (1600, 1480), (8000, 1448), (1433, 720), (60_000, 1480)] {
                for fill in [0, 1, 0x5a, 0xf7, 0xff] {
                    for is_reversed in [false, true] {
                        id += 1;
                        let (mut ask, mut reply) = ping_in_parts(&cast, us, &vec![fill; len], each, id);
                        if is_reversed {
                            // What came before the first goes behind it, in the order in which it came.
                            ask.reverse();
                            reply[1..].reverse();
                        }
                        let left: Vec<_> = ask
                            .into_iter()
                            // A second's worth of echo replies is not what this is about.
                            .flat_map(|part| balancer.frame(seconds(f64::from(id)), OUTSIDE, part))
                            .collect();
                        let wanted: Vec<_> = reply.into_iter().map(|part| (OUTSIDE, part)).collect();
                        assert!(left == wanted, "{us} {len} {each} {fill:x} {is_reversed} {workers}");
                    }
                }
            }
        }
        assert_balanced(&balancer);
        let totals = balancer.totals();
        assert_eq!((totals.echo_replies, totals.held, totals.dropped()), (u64::from(id), 0, 0));
    }
}

#[test]
fn what_becomes_of_an_echo_requests_first_part_becomes_of_all() {
    for (cast, workers) in everybody() {
        let send = |config: &str, ask: &[Vec<u8>]| {
            let mut balancer = balancer(config, workers);
            let before = counts(&balancer);
            let left: Vec<_> =
                ask.iter().flat_map(|part| balancer.frame(seconds(1.0), OUTSIDE, part.clone())).collect();
            assert_balanced(&balancer);
            let held = balancer.totals().held;
            let held = (held > 0).then(|| format!("held+{held}"));
            (left, moved(&before, &counts(&balancer)).into_iter().chain(held).collect::<Vec<_>>())
        };
        let us = cast.frontend.ip();
        let (mut ask, _) = ping_in_parts(&cast, us, &[7; 4000], 1400, 5);
        let down = cast.config("").replace("\" }]", "\", state = \"down\" }]");
        let error = made(cast.outside, Kind::Host, &ask[0]);
        ask.swap(0, 1);
        let told = ["answered+1", "no-backend-available+2"].map(str::to_owned).to_vec();
        assert_eq!(send(&down, &ask), (vec![(OUTSIDE, error)], told));
        let off = cast.config("").replace("pool = \"web\"", "pool = \"web\"\nicmp_echo = false");
        assert_eq!(send(&off, &ask), (vec![], vec!["echo-off+3".to_owned()]));
        // Later parts without their first wait, and are not answered.
        assert_eq!(send(&cast.config(""), &ask[2..]), (vec![], vec!["held+1".to_owned()]));
        // What is none, and what is for others.
        let reply = message(
            (cast.macs.0, OUTSIDE_MAC),
            headers(cast.client.ip(), us, 9),
            Kind::EchoReply,
            &[7; 4000],
        );
        let nothing = (vec![], vec!["fragment+3".to_owned()]);
        assert_eq!(send(&cast.config(""), &in_parts(&reply, 1400, 5)), nothing);
        let (elsewhere, _) = ping_in_parts(&cast, cast.far_router, &[7; 4000], 1400, 5);
        assert_eq!(send(&cast.config(""), &elsewhere), nothing);
        // Nobody sends from our addresses.
        let ours =
            message((cast.macs.0, OUTSIDE_MAC), headers(cast.outside, us, 9), Kind::EchoRequest, &[7; 4000]);
        let wanted = (vec![], vec!["martian-source+3".to_owned()]);
        assert_eq!(send(&cast.config(""), &in_parts(&ours, 1400, 5)), wanted);
    }
}

#[test]
fn a_request_in_parts_counts_once_against_the_limit() {
    for is_v6 in [false, true] {
        let cast = cast(is_v6, true);
        let mut balancer = balancer(&cast.config(""), 1);
        for id in 0..1100 {
            let (ask, reply) = ping_in_parts(&cast, cast.frontend.ip(), &[7; 3000], 1400, id);
            let count = ask.into_iter().flat_map(|part| balancer.frame(seconds(1.0), OUTSIDE, part)).count();
            assert_eq!(count, if id < 1000 { reply.len() } else { 0 }, "{id}");
        }
        assert_eq!(balancer.totals().echo_replies, 1000);
        assert_balanced(&balancer);
    }
}

#[test]
fn a_frontend_without_backends_is_said_to_be_unreachable_and_a_port_is_not() {
    for (cast, workers) in everybody() {
        let config =
            cast.config("").replace("address = \"BACKEND\" }", "address = \"BACKEND\", state = \"down\" }");
        let backend = format!("address = \"{}\"", cast.backend.ip());
        let config = config.replace(&backend, &format!("{backend}, state = \"down\""));
        let mut balancer = balancer(&config, workers);
        let ask = |us| {
            let ip = headers(cast.client.ip(), us, 9);
            message((cast.macs.0, OUTSIDE_MAC), ip, Kind::EchoRequest, b"ping")
        };
        let told = made(cast.outside, Kind::Host, &ask(cast.frontend.ip()));
        assert_eq!(once(&mut balancer, 1.0, OUTSIDE, &ask(cast.frontend.ip())).0, [(OUTSIDE, told)]);
        let ip = headers(cast.outside, cast.client.ip(), 64);
        let reply = message((OUTSIDE_MAC, cast.macs.0), ip, Kind::EchoReply, b"ping");
        assert_eq!(once(&mut balancer, 1.0, OUTSIDE, &ask(cast.outside)).0, [(OUTSIDE, reply)]);
        let totals = balancer.totals();
        assert_eq!((totals.unreachable_sent, totals.echo_replies), (1, 1));
    }
}

/// Every way to forward that leaves packets as they are, and what it puts in front of them, over IPv4 and over IPv6.
const WAYS: [(&str, [usize; 2]); 6] = [
    ("forward = \"dsr\"", [0, 0]),
    ("forward = \"ipip\"", [20, 40]),
    ("forward = \"gre\"", [24, 44]),
    ("forward = \"gue\"", [32, 52]),
    ("forward = \"gue\"\ngue_variant = 1", [28, 48]),
    ("forward = \"vxlan\"\nvni = 7", [50, 70]),
];

fn forwarded(cast: &Cast, way: &str) -> String {
    cast.config("").replace("backend_port = 8443", way).replace("backend_port = 5353", way)
}

#[test]
fn errors_about_responses_that_went_past_us_reach_the_backend_as_they_are() {
    for (cast, workers) in everybody() {
        for (way, added) in WAYS {
            let mut balancer = balancer(&forwarded(&cast, way), workers);
            let quoted = &cast.response_at_client(50, 99)[14..];
            let come = (cast.macs.0, OUTSIDE_MAC);
            let frame = error(come, cast.far_router, cast.frontend.ip(), 1, Kind::TooBig(1400), quoted);
            let (sent, moved) = once(&mut balancer, 1.0, OUTSIDE, &frame);
            let [(INSIDE, sent)] = &sent[..] else { panic!("{way} {moved:?}") };
            assert_eq!(sent.len(), frame.len() + added[usize::from(cast.is_v6())], "{way}");
            assert_eq!((&sent[..6], &sent[6..12]), (&cast.macs.1[..], &INSIDE_MAC[..]));
            assert!(sent.ends_with(&frame[14..]), "{way}");
            // The flow's own packets take the same way.
            let own = once(&mut balancer, 1.0, OUTSIDE, &cast.request(64, 99)).0.remove(0).1;
            let outer = 14 + if cast.is_v6() { 40 } else { 20 };
            assert_eq!(sent[..14], own[..14]);
            if added[0] > 20 {
                // Entropy and all; what is between the outer header and the packet differs in lengths only.
                assert_eq!(sent[outer..outer + 2], own[outer..outer + 2], "{way}");
            }
        }
    }
}

#[test]
fn errors_about_our_tunnels_tell_the_client_what_it_needs_to_know() {
    // Full NAT has the ports of the address that tunnels come from.
    let beside = |cast: &Cast| {
        let us = cast.frontend.ip();
        let us = if us.is_ipv6() { format!("[{us}]") } else { us.to_string() };
        format!(
            "[[rule]]\nname = \"beside\"\npool = \"web\"\nfrontend = \"{us}:9/udp\"\nforward = \"full-nat\"\n"
        )
    };
    for ((cast, workers), is_beside) in everybody().flat_map(|each| [(each, false), (each, true)]) {
        for (way, added) in WAYS.into_iter().skip(1) {
            let beside = if is_beside { beside(&cast) } else { String::new() };
            let mut balancer = balancer(&(forwarded(&cast, way) + &beside), workers);
            let request = cast.request(64, 1310);
            let outer = once(&mut balancer, 1.0, OUTSIDE, &request).0.remove(0).1;
            let come = (cast.macs.1, INSIDE_MAC);
            let added = added[usize::from(cast.is_v6())];
            let told = |kind, len| {
                let quoted = &outer[14..14 + len];
                error(come, cast.near_router, cast.inside, 60, kind, quoted)
            };
            // As much as every router quotes, and as much as fits.
            let least = added + if cast.is_v6() { 48 } else { 28 };
            for len in [least, outer.len() - 14] {
                let quoted = &request[..14 + len - added];
                let mtu = 1350 - added as u16;
                for (kind, client) in [
                    (Kind::TooBig(1350), Kind::TooBig(mtu)),
                    (Kind::Port, Kind::Host),
                    (Kind::TimeExceeded, Kind::Host),
                ] {
                    let wanted = made(cast.outside, client, quoted);
                    let (sent, moved) = once(&mut balancer, 1.0, INSIDE, &told(kind, len));
                    assert_eq!(sent, [(OUTSIDE, wanted)], "{way} {kind:?} {len}");
                    assert_eq!(moved, ["answered+1"]);
                }
            }
            // Too little, and an MTU that cannot be.
            for (kind, len) in
                [(Kind::TooBig(1350), least - 1), (Kind::TooBig(1500), least), (Kind::TooBig(0), least)]
            {
                let (sent, moved) = once(&mut balancer, 1.0, INSIDE, &told(kind, len));
                if is_beside && len < least {
                    // It may have been about either.
                    assert!(sent.is_empty(), "{way} {kind:?} {len}");
                    continue;
                }
                assert_eq!(
                    (sent, moved),
                    (vec![], vec!["icmp-unknown-tunnel+1".to_owned()]),
                    "{way} {kind:?} {len}"
                );
            }
        }
    }
}

#[test]
fn errors_about_tunnels_from_a_network_find_their_client_by_what_they_quote() {
    for (cast, workers) in everybody() {
        let network = if cast.is_v6() { "2001:db8:aaaa::/112" } else { "172.16.0.0/16" };
        for (way, added) in WAYS.into_iter().skip(1) {
            let way = format!("{way}\ntunnel_source = \"{network}\"");
            let mut balancer = balancer(&forwarded(&cast, &way), workers);
            let request = cast.request(64, 1310);
            let outer = once(&mut balancer, 1.0, OUTSIDE, &request).0.remove(0).1;
            let source: IpAddr = match cast.is_v6() {
                false => <[u8; 4]>::try_from(&outer[26..30]).unwrap().into(),
                true => <[u8; 16]>::try_from(&outer[22..38]).unwrap().into(),
            };
            assert_ne!(source, cast.inside);
            let told = |to| {
                let come = (cast.macs.1, INSIDE_MAC);
                error(come, cast.near_router, to, 60, Kind::TooBig(1350), &outer[14..])
            };
            let mtu = 1350 - added[usize::from(cast.is_v6())] as u16;
            let wanted = made(cast.outside, Kind::TooBig(mtu), &request);
            assert_eq!(once(&mut balancer, 1.0, INSIDE, &told(source)).0, [(OUTSIDE, wanted)], "{way}");
            // An error goes to whom it quotes.
            assert!(once(&mut balancer, 1.0, INSIDE, &told(cast.inside)).0.is_empty(), "{way}");
        }
    }
}

#[test]
fn what_does_not_fit_with_its_tunnel_is_told_what_would() {
    for (cast, workers) in everybody() {
        for (way, added) in WAYS {
            let mut balancer = balancer(&forwarded(&cast, way), workers);
            let request = cast.request(64, 1480);
            let mtu = 1500 - added[usize::from(cast.is_v6())] as u16;
            let told = made(cast.outside, Kind::TooBig(mtu), &request);
            assert_eq!(once(&mut balancer, 1.0, OUTSIDE, &request).0, [(OUTSIDE, told)], "{way}");
            // Their hops are no business of ours.
            assert_eq!(once(&mut balancer, 1.0, OUTSIDE, &cast.request(1, 9)).1, ["transmitted+1"], "{way}");
        }
    }
}

#[test]
fn echo_requests_go_unanswered_where_no_rule_wants_them_answered() {
    for (cast, workers) in everybody() {
        let ask = || {
            let ip = headers(cast.client.ip(), cast.frontend.ip(), 9);
            message((cast.macs.0, OUTSIDE_MAC), ip, Kind::EchoRequest, b"ping")
        };
        let one_off = cast.config("").replacen("backend_port", "icmp_echo = false\nbackend_port", 1);
        let both_off = cast.config("").replace("backend_port", "icmp_echo = false\nbackend_port");
        for (config, wanted) in [(one_off, "answered+1"), (both_off, "echo-off+1")] {
            let mut balancer = balancer(&config, workers);
            assert_eq!(once(&mut balancer, 1.0, OUTSIDE, &ask()).1, [wanted]);
        }
    }
}

#[test]
fn the_segment_size_is_clamped_in_both_directions() {
    for (cast, workers) in everybody().filter(|(cast, _)| cast.frontend.port() == 443) {
        let headers_len = if cast.is_v6() { 60 } else { 40 };
        for (clamp, most) in [("1200", 1200), ("true", 1400 - headers_len)] {
            let config = cast.config("").replace("name = \"inside\"", "name = \"inside\"\nmtu = 1400");
            let config = config.replacen("backend_port", &format!("mss_clamp = {clamp}\nbackend_port"), 1);
            let mut balancer = balancer(&config, workers);
            let syn = |macs: ([u8; 6], [u8; 6]), from: SocketAddr, to: SocketAddr, ttl, ack: bool, mss| {
                let builder = PacketBuilder::ethernet2(macs.0, macs.1).ip(headers(from.ip(), to.ip(), ttl));
                let tcp = builder.tcp(from.port(), to.port(), 1, 512).syn();
                let tcp = if ack { tcp.ack(3) } else { tcp };
                let options = [
                    etherparse::TcpOptionElement::Noop,
                    etherparse::TcpOptionElement::MaximumSegmentSize(mss),
                    etherparse::TcpOptionElement::WindowScale(7),
                ];
                let mut frame = Vec::new();
                tcp.options(&options).unwrap().write(&mut frame, &[]).unwrap();
                frame
            };
            for (asked, got) in [(1460, most), (9000, most), (most, most), (536, 536)] {
                let there = syn((cast.macs.0, OUTSIDE_MAC), cast.client, cast.frontend, 64, false, asked);
                let wanted = syn((INSIDE_MAC, cast.macs.1), cast.client, cast.backend, 63, false, got);
                assert_eq!(
                    once(&mut balancer, 1.0, OUTSIDE, &there).0,
                    [(INSIDE, wanted)],
                    "{clamp} {asked}"
                );
                let back = syn((cast.macs.1, INSIDE_MAC), cast.backend, cast.client, 64, true, asked);
                let wanted = syn((OUTSIDE_MAC, cast.macs.0), cast.frontend, cast.client, 63, true, got);
                assert_eq!(once(&mut balancer, 1.0, INSIDE, &back).0, [(OUTSIDE, wanted)], "{clamp} {asked}");
            }
            // One that ends here is quoted as it came.
            let last = syn((cast.macs.0, OUTSIDE_MAC), cast.client, cast.frontend, 1, false, 1460);
            let told = made(cast.outside, Kind::TimeExceeded, &last);
            assert_eq!(once(&mut balancer, 1.0, OUTSIDE, &last).0, [(OUTSIDE, told)], "{clamp}");
        }
    }
}

/// A flow stays with its backend when Maglev would choose another, and errors about it follow it; whichever worker gets
/// them.
#[test]
fn errors_find_the_worker_that_has_the_flow() {
    for is_v6 in [false, true] {
        let cast = cast(is_v6, true);
        let mut other = cast;
        let fifth = if is_v6 { "2001:db8:2::5".parse().unwrap() } else { [10, 0, 0, 5].into() };
        other.backend.set_ip(fifth);
        other.macs.1[5] = 5;
        let both = |state: &str| {
            let all = format!(
                "backends = [{{ address = \"{}\"{state} }}, {{ address = \"{}\" }}]",
                cast.backend.ip(),
                other.backend.ip()
            );
            let one = format!("backends = [{{ address = \"{}\" }}]", cast.backend.ip());
            cast.config("").replace(&one, &all)
        };
        for owner in 0..3 {
            let mut bed = Bed::new(&cast.config(""), 3);
            let sent = bed.at(owner, OUTSIDE, cast.request(64, 9));
            assert_eq!(sent, [(INSIDE, cast.request_at_backend(63, 9))]);
            bed.reload(&both(", state = \"drain\""));
            for worker in 0..3 {
                let quoted = &cast.response_at_client(50, 9)[14..];
                let come = (cast.macs.0, OUTSIDE_MAC);
                let frame = error(come, cast.far_router, cast.frontend.ip(), 61, Kind::Host, quoted);
                let gone = (INSIDE_MAC, cast.macs.1);
                let translated = &cast.response(50, 9)[14..];
                let wanted = error(gone, cast.far_router, cast.backend.ip(), 60, Kind::Host, translated);
                assert_eq!(bed.at(worker, OUTSIDE, frame), [(INSIDE, wanted)], "{owner} {worker}");
                // Nobody has this one: Maglev chooses.
                let mut unknown = other;
                unknown.client.set_port(50_000);
                let quoted = &unknown.response_at_client(50, 9)[14..];
                let frame = error(come, cast.far_router, cast.frontend.ip(), 61, Kind::Host, quoted);
                let gone = (INSIDE_MAC, unknown.macs.1);
                let translated = &unknown.response(50, 9)[14..];
                let wanted = error(gone, cast.far_router, unknown.backend.ip(), 60, Kind::Host, translated);
                assert_eq!(bed.at(worker, OUTSIDE, frame), [(INSIDE, wanted)], "{owner} {worker}");
            }
            assert_eq!(bed.created(), 1);
        }
    }
}

/// Workers whose queues keep flows together, as those of cards do.
struct Bed {
    workers: Vec<Worker<MemoryQueues>>,
    counters: Vec<Arc<WorkerCounters>>,
    mesh: Mesh<HeapFrame>,
    compiler: Compiler,
    publisher: Publisher,
    conditions: Conditions,
}

impl Bed {
    fn new(config: &str, workers: usize) -> Self {
        let links =
            [OUTSIDE_MAC, INSIDE_MAC].map(|mac| PortLink { mac: MacAddr(mac), filters: true, mtu: 1500 });
        let neighbours = Neighbours { synthetic: true, ..Neighbours::default() };
        let conditions = Conditions { links: links.to_vec(), neighbours };
        let mut compiler = Compiler::new(REPLAY_KEY);
        let world = compiler.compile(&model(config), &conditions).unwrap();
        let (publisher, readers) = Publisher::new(world, workers);
        let mesh = Mesh::new(workers);
        let counters: Vec<Arc<WorkerCounters>> = (0..workers).map(|_| Arc::default()).collect();
        let made = readers.into_iter().zip(0u8..).zip(&counters).map(|((reader, id), counters)| {
            let own = |port| WorkerPort { port, keeps_flows: true, transmitter: WorkerId(id) };
            let ports = vec![own(OUTSIDE), own(INSIDE)];
            let (seat, flows) = (mesh.seat(WorkerId(id)), FlowTable::new(64).unwrap());
            Worker::new(seat, workers, ports, MemoryQueues::new(2), reader, flows, counters.clone())
        });
        Self { workers: made.collect(), counters, mesh, compiler, publisher, conditions }
    }

    fn reload(&mut self, config: &str) {
        let world = self.compiler.compile(&model(config), &self.conditions).unwrap();
        self.publisher.publish(world);
    }

    /// What leaves when a frame comes in by a queue of this worker.
    fn at(&mut self, worker: usize, port: PortId, frame: Vec<u8>) -> Vec<(PortId, Vec<u8>)> {
        self.workers[worker].queues_mut().push(port, frame);
        while self.workers.iter_mut().any(|worker| worker.poll(seconds(1.0)) > 0) || self.mesh.is_busy() {}
        let sent = |worker: &mut Worker<MemoryQueues>| {
            [OUTSIDE, INSIDE]
                .map(|port| worker.queues_mut().sent(port).map(|frame| (port, frame)).collect::<Vec<_>>())
        };
        self.workers.iter_mut().flat_map(sent).flatten().collect()
    }

    fn created(&self) -> u64 {
        self.counters.iter().map(|counters| counters.totals().flows_created).sum()
    }
}

/// Neighbour discovery: frame in, whole frame out, and what the management thread is told.
mod neighbours {
    use super::*;
    use guideway::wire::nd;
    use std::net::Ipv6Addr;

    const HOST: &str = "2001:db8:1::77";
    const MAC: MacAddr = MacAddr([0, 0, 0x5e, 0, 0x53, 1]);

    fn ip(text: &str) -> Ipv6Addr {
        text.parse().unwrap()
    }

    /// What leaves by the outside port, which counter moves, and what is told.
    fn at_outside(frame: &[u8]) -> (Option<Vec<u8>>, Vec<String>, Vec<Event>) {
        let config = cast(true, true)
            .config("\n[[neighbour]]\naddress = \"2001:db8:1::99\"\nmac = \"02:00:00:00:00:99\"\n");
        let mut balancer = balancer(&config, 2);
        let (sent, moved) = once(&mut balancer, 1.0, OUTSIDE, frame);
        let links =
            [OUTSIDE_MAC, INSIDE_MAC].map(|mac| PortLink { mac: MacAddr(mac), filters: true, mtu: 1500 });
        let conditions = Conditions { links: links.to_vec(), neighbours: Neighbours::default() };
        let world = Compiler::new(REPLAY_KEY).compile(&model(&config), &conditions).unwrap();
        let mut path = Path::new(WorkerId(0), 1, FlowTable::new(64).unwrap(), Arc::default());
        let source = Source::Port { port: OUTSIDE, keeps_flows: true };
        let mut burst = [HeapFrame(frame.to_vec())];
        let events = path.process_burst(&mut burst, source, &world, Tick::at(seconds(1.0))).events().to_vec();
        (
            sent.into_iter().next().map(|(port, frame)| {
                assert_eq!(port, OUTSIDE);
                frame
            }),
            moved,
            events,
        )
    }

    fn seen(address: &str, mac: MacAddr, is_reply: bool) -> Vec<Event> {
        vec![Event::Neighbour { port: OUTSIDE, address: ip(address).into(), mac, is_reply }]
    }

    fn conflict(address: &str) -> Vec<Event> {
        vec![Event::Conflict { port: OUTSIDE, address: ip(address).into(), mac: MAC }]
    }

    /// With another implementation's checksum over it.
    fn message(mac: MacAddr, to: [u8; 6], from: Ipv6Addr, dest: Ipv6Addr, kind: u8, body: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        let builder = PacketBuilder::ethernet2(mac.0, to).ipv6(from.octets(), dest.octets(), 255);
        let first = [body[0], body[1], body[2], body[3]];
        builder.icmpv6_raw(kind, 0, first).write(&mut frame, &body[4..]).unwrap();
        frame
    }

    #[test]
    fn who_asks_for_us_is_answered_and_known() {
        let us = OUTSIDE_MAC;
        for target in ["2001:db8:1::2", "2001:db8:f::10"] {
            let ask = nd::solicit(MAC, ip(HOST), ip(target), None);
            // Router, solicited, override; the target's address.
            let body = [&[0xe0, 0, 0, 0][..], &ip(target).octets(), &[2, 1], &us].concat();
            let reply = self::message(MacAddr(us), MAC.0, ip(target), ip(HOST), 136, &body);
            let (sent, moved, events) = at_outside(&ask);
            assert_eq!((sent, moved), (Some(reply), vec!["answered+1".to_owned()]));
            assert_eq!(events, seen(HOST, MAC, false));
            // Who asks whether the address is free is told so with all others, and is nobody yet.
            let probe_body = [&[0, 0, 0, 0][..], &ip(target).octets()].concat();
            let [.., a, b, c] = ip(target).octets();
            let group = [0x33, 0x33, 0xff, a, b, c];
            let mut solicited = ip("ff02::1:ff00:0").octets();
            solicited[13..].copy_from_slice(&[a, b, c]);
            let probe = message(MAC, group, Ipv6Addr::UNSPECIFIED, solicited.into(), 135, &probe_body);
            let all_body = [&[0xa0, 0, 0, 0][..], &ip(target).octets(), &[2, 1], &us].concat();
            let all =
                message(MacAddr(us), [0x33, 0x33, 0, 0, 0, 1], ip(target), ip("ff02::1"), 136, &all_body);
            let (sent, moved, events) = at_outside(&probe);
            // An own address is no other's; a frontend's may be.
            let told = if target == "2001:db8:1::2" { conflict(target) } else { vec![] };
            assert_eq!((sent, moved, events), (Some(all), vec!["answered+1".to_owned()], told));
        }
    }

    #[test]
    fn answers_and_moves_are_told_and_conflicts_counted() {
        let us = OUTSIDE_MAC;
        let told = |target: &str, flags: u8, mac: MacAddr, dest: &str| {
            let body = [&[flags, 0, 0, 0][..], &ip(target).octets(), &[2, 1], &mac.0].concat();
            let station = if dest == "ff02::1" { [0x33, 0x33, 0, 0, 0, 1] } else { us };
            message(MAC, station, ip(target), ip(dest), 136, &body)
        };
        let (own, known, old) = ("2001:db8:1::2", "2001:db8:1::99", MacAddr([2, 0, 0, 0, 0, 0x99]));
        let cases = [
            ("an answer", told(HOST, 0x60, MAC, own), "controlled+1", seen(HOST, MAC, true)),
            (
                "a move, told to all",
                told(known, 0x20, MAC, "ff02::1"),
                "controlled+1",
                seen(known, MAC, true),
            ),
            ("no move", told(known, 0x20, old, "ff02::1"), "nd-not-ours+1", vec![]),
            ("one who stands in", told(known, 0x40, MAC, own), "controlled+1", vec![]),
            ("of no concern", told(HOST, 0x20, MAC, "ff02::1"), "nd-not-ours+1", vec![]),
            ("somebody with our address", told(own, 0x20, MAC, "ff02::1"), "nd-conflict+1", conflict(own)),
            ("our own, come back", told(own, 0x20, MacAddr(OUTSIDE_MAC), "ff02::1"), "nd-conflict+1", vec![]),
            (
                "a frontend's, that may be another node's",
                told("2001:db8:f::10", 0x20, MAC, "ff02::1"),
                "nd-conflict+1",
                vec![],
            ),
            (
                "for the other port's",
                nd::solicit(MAC, ip(HOST), ip("2001:db8:2::1"), None).to_vec(),
                "nd-not-ours+1",
                vec![],
            ),
            ("for others", nd::solicit(MAC, ip(HOST), ip(known), None).to_vec(), "nd-not-ours+1", vec![]),
            (
                "from our own address",
                nd::solicit(MAC, ip(own), ip(known), None).to_vec(),
                "nd-conflict+1",
                conflict(own),
            ),
        ];
        for (name, frame, counter, events) in cases {
            // In a replay all neighbours are known that nobody configured: by their made-up addresses.
            let (sent, moved, told) = at_outside(&frame);
            assert_eq!((sent, moved, told), (None, vec![counter.to_owned()], events), "{name}");
        }
    }

    #[test]
    fn what_must_be_discarded_is() {
        let mut far = nd::solicit(MAC, ip(HOST), ip("2001:db8:1::2"), None);
        far[21] = 254;
        let mut sum = nd::solicit(MAC, ip(HOST), ip("2001:db8:1::2"), None);
        sum[60] ^= 1;
        let router = message(MAC, [0x33, 0x33, 0, 0, 0, 1], ip("fe80::1"), ip("ff02::1"), 134, &[0; 12]);
        for (frame, reason) in
            [(far.to_vec(), "nd-malformed"), (sum.to_vec(), "nd-malformed"), (router, "wrong-mac")]
        {
            assert_eq!(at_outside(&frame), (None, vec![format!("{reason}+1")], vec![]));
        }
    }
}

/// Whatever is quoted, nothing panics, and what leaves parses and has right checksums.
mod any_bytes {
    use super::*;
    use proptest::prelude::*;

    fn assert_sound(frame: &[u8]) {
        let sliced = SlicedPacket::from_ethernet(frame).unwrap();
        match (sliced.net.unwrap(), sliced.transport.unwrap()) {
            (NetSlice::Ipv4(ip), TransportSlice::Icmpv4(icmp)) => {
                let header = ip.header().to_header();
                assert_eq!(header.header_checksum, header.calc_header_checksum());
                let bytes = icmp.slice();
                let header = etherparse::Icmpv4Header::with_checksum(icmp.icmp_type(), icmp.payload());
                assert_eq!(header.checksum.to_be_bytes(), bytes[2..4]);
            }
            (NetSlice::Ipv6(ip), TransportSlice::Icmpv6(icmp)) => {
                assert!(icmp.is_checksum_valid(ip.header().source(), ip.header().destination()));
            }
            other => panic!("{other:?}"),
        }
    }

    proptest! {
        #[test]
        fn do_no_harm(
            is_v6 in any::<bool>(), is_tcp in any::<bool>(), is_response in any::<bool>(),
            flips in proptest::collection::vec((0usize..120, any::<u8>()), 0..4),
            len in 0usize..120, kind in 0usize..5, garbage in proptest::collection::vec(any::<u8>(), 0..80),
        ) {
            let cast = cast(is_v6, is_tcp);
            let mut balancer = balancer(&cast.config(""), 2);
            let quoted = if is_response { cast.response_at_client(50, 60) } else { cast.request_at_backend(50, 60) };
            let mut flipped = quoted[14..].to_vec();
            for (at, value) in &flips {
                let at = at % flipped.len();
                flipped[at] = *value;
            }
            flipped.truncate(len);
            for quoted in [&flipped, &garbage] {
                let (port, frame) = if is_response {
                    let macs = (cast.macs.0, OUTSIDE_MAC);
                    (OUTSIDE, error(macs, cast.far_router, cast.frontend.ip(), 9, KINDS[kind], quoted))
                } else {
                    let macs = (cast.macs.1, INSIDE_MAC);
                    (INSIDE, error(macs, cast.near_router, cast.client.ip(), 9, KINDS[kind], quoted))
                };
                let (sent, _) = once(&mut balancer, 1.0, port, &frame);
                sent.iter().for_each(|(_, frame)| assert_sound(frame));
            }
        }
    }
}
