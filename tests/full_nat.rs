//! Full NAT's flows: how a backend is told who its client is, and how flows end.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail")]

mod common;
mod full_nat_bed;

use common::{INSIDE, OUTSIDE, assert_balanced, balancer, counts, model, seconds};
use full_nat_bed::{BACKENDS, Bed, CLIENTS, FRONTENDS, PAIRS, ROUTER_MACS, SOURCES, Segment, at, config};

/// kind, length, port, address: as the modules called TOA read it.
fn toa(front: usize) -> Vec<u8> {
    let mut option = vec![254, [8, 20][front], 0x9c, 0x40];
    match at(CLIENTS[front], 0).ip() {
        std::net::IpAddr::V4(address) => option.extend(address.octets()),
        std::net::IpAddr::V6(address) => option.extend(address.octets()),
    }
    option
}

/// The PROXY protocol's header, as its specification has it.
fn proxy(front: usize) -> Vec<u8> {
    let mut header = b"\x0d\x0a\x0d\x0a\x00\x0d\x0a\x51\x55\x49\x54\x0a\x21".to_vec();
    header.extend([[0x11, 0, 12], [0x21, 0, 36]][front]);
    for address in [CLIENTS[front], FRONTENDS[front]] {
        match at(address, 0).ip() {
            std::net::IpAddr::V4(address) => header.extend(address.octets()),
            std::net::IpAddr::V6(address) => header.extend(address.octets()),
        }
    }
    header.extend([0x9c, 0x40, 0x01, 0xbb]);
    header
}

const MSS_AND_MORE: [u8; 20] = [2, 4, 5, 180, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7];

#[test]
fn toa_goes_along_until_the_backend_has_answered_the_handshake() {
    for (front, back) in PAIRS {
        for workers in [1, 3] {
            let mut bed = Bed::new(front, back, "client_address = [\"toa\"]", workers);
            let syn = Segment { options: MSS_AND_MORE.into(), ..bed.of_client("S", 999, 0, b"") };
            let got = bed.request(&syn);
            assert_eq!(got.options, [toa(front), MSS_AND_MORE.to_vec()].concat());
            assert_eq!((got.sequence, &got.flags[..]), (999, "S"));
            bed.respond(&bed.of_backend("SA", 4999, 1000, b""));
            for data in [&b""[..], b"odd"] {
                let got = bed.request(&bed.of_client("PA", 1000, 5000, data));
                assert_eq!((got.options, &got.data[..], got.sequence), (toa(front), data, 1000));
            }
            bed.respond(&bed.of_backend("A", 5000, 1003, b""));
            let got = bed.request(&bed.of_client("PA", 1003, 5000, b"more"));
            assert_eq!((got.options.len(), got.sequence, got.acknowledgement), (0, 1003, 5000));
            assert_eq!((bed.replay.totals().toa_sent, bed.replay.totals().toa_no_room), (3, 0));
            assert_balanced(&bed.replay);
        }
    }
}

#[test]
fn without_room_toa_is_left_out_and_counted() {
    let mut bed = Bed::new(0, 0, "client_address = [\"toa\"]", 1);
    let full = Segment { options: vec![1; 40], ..bed.of_client("S", 999, 0, b"") };
    assert_eq!(bed.request(&full), Segment { from: bed.source.unwrap(), to: bed.backend(), ..full.clone() });
    // A full packet of 1500 bytes, and one that leaves just enough.
    for (len, room) in [(1460, false), (1453, false), (1452, true)] {
        let got = bed.request(&bed.of_client("A", 1000, 5000, &vec![7; len]));
        assert_eq!((got.data.len(), got.options.is_empty()), (len, !room), "{len}");
    }
    assert_eq!((bed.replay.totals().toa_sent, bed.replay.totals().toa_no_room), (1, 3));
    // Nothing is known of a flow that was under way before.
    let mut bed = Bed::new(0, 0, "client_address = [\"toa\", \"proxy-v2\"]", 1);
    let got = bed.request(&bed.of_client("A", 1000, 5000, b"data"));
    assert_eq!((got.options.len(), got.sequence, &got.data[..]), (0, 1000, &b"data"[..]));
}

#[test]
fn the_proxy_header_comes_first_and_all_numbers_count_on_from_there() {
    for (front, back) in PAIRS {
        for (workers, first) in [(1, 1000u32), (3, u32::MAX - 5), (2, 0)] {
            let mut bed = Bed::new(front, back, "client_address = [\"proxy-v2\"]", workers);
            let (header, lag) = (proxy(front), proxy(front).len() as u32);
            let plus = |number: u32| first.wrapping_add(number);
            // What a SYN brings would be before the header.
            let syn = bed.of_client("S", first.wrapping_sub(1), 0, b"early");
            let got = bed.request(&syn);
            assert_eq!((got.sequence, got.data.len()), (first.wrapping_sub(1), 0));
            let got = bed.respond(&bed.of_backend("SA", 4999, first, b""));
            assert_eq!(got.acknowledgement, first);
            // Servers that speak first wait for it: it goes with the handshake.
            let got = bed.request(&bed.of_client("A", first, 5000, b""));
            assert_eq!((got.sequence, got.data), (first, header.clone()));
            let got = bed.request(&bed.of_client("PA", first, 5000, b"hello"));
            assert_eq!((got.sequence, got.data), (first, [&header[..], b"hello"].concat()));
            let got = bed.request(&bed.of_client("PA", plus(5), 5000, b"there"));
            assert_eq!((got.sequence, &got.data[..]), (plus(5 + lag), &b"there"[..]));
            // A part of the header says nothing to the client.
            for (acknowledged, seen) in [(0, 0), (lag - 1, 0), (lag, 0), (lag + 5, 5), (lag + 10, 10)] {
                let got = bed.respond(&bed.of_backend("A", 5000, plus(acknowledged), b""));
                assert_eq!(got.acknowledgement, plus(seen), "{acknowledged}");
            }
            // From there on the client's first segment is one like any other.
            let got = bed.request(&bed.of_client("PA", first, 5000, b"hello"));
            assert_eq!((got.sequence, &got.data[..]), (plus(lag), &b"hello"[..]));
            // Selective acknowledgements count as well, and stand where they like.
            for options in [
                [
                    &[1, 1, 5, 18][..],
                    &blocks(&[plus(lag + 20), plus(lag + 30)]),
                    &blocks(&[plus(lag + 40), plus(lag + 50)]),
                ]
                .concat(),
                [&[1, 5, 10][..], &blocks(&[plus(lag + 20), plus(lag + 30)]), &[0]].concat(),
            ] {
                let wanted = [(plus(20), plus(30)), (plus(40), plus(50))];
                let sack = Segment { options, ..bed.of_backend("A", 5000, plus(lag + 10), b"") };
                let got = bed.respond(&sack);
                assert_eq!(got.sacks(), wanted[..got.sacks().len()]);
                assert!(!got.sacks().is_empty());
            }
            // Half the circle further too.
            let got = bed.request(&bed.of_client("A", plus(0x9000_0000), 5000, b""));
            assert_eq!(got.sequence, plus(0x9000_0000 + lag));
            let got = bed.respond(&bed.of_backend("A", 5000, plus(0x9000_0000 + lag), b""));
            assert_eq!(got.acknowledgement, plus(0x9000_0000));
            assert_eq!(bed.replay.totals().proxy_headers_sent, 2);
            assert_balanced(&bed.replay);
        }
    }
}

fn blocks(edges: &[u32]) -> Vec<u8> {
    edges.iter().flat_map(|edge| edge.to_be_bytes()).collect()
}

#[test]
fn a_header_that_does_not_fit_goes_by_itself() {
    for (front, back) in PAIRS {
        let mut bed = Bed::new(front, back, "client_address = [\"proxy-v2\"]", 1);
        let header = proxy(front);
        let lag = header.len() as u32;
        bed.request(&bed.of_client("S", 999, 0, b""));
        let most = if front == 0 && back == 0 { 1460 } else { 1440 };
        let timestamps = vec![1, 1, 8, 10, 0, 0, 0, 3, 0, 0, 0, 4];
        let full = Segment {
            options: timestamps.clone(),
            ..bed.of_client("PA", 1000, 5000, &vec![7; most - timestamps.len()])
        };
        let sent = bed.sends(&full);
        assert_eq!(sent.len(), 2);
        assert!(sent.iter().all(|(port, _)| *port == INSIDE));
        let mut got: Vec<_> = sent.into_iter().map(|(_, segment)| segment).collect();
        got.sort_by_key(|segment| segment.sequence);
        let source = bed.source.unwrap();
        let at_backend = Segment { from: source, to: bed.backend(), ..full.clone() };
        assert_eq!(got[0], Segment { data: header.clone(), ..at_backend.clone() });
        assert_eq!(got[1], Segment { sequence: 1000 + lag, ..at_backend });
        // One that is refused before it was sent takes no header along, and its client sees its own numbers.
        let reset = bed.request(&bed.of_client("RA", 1000, 5000, b""));
        assert_eq!(reset.sequence, 1000 + lag);
        assert_balanced(&bed.replay);
    }
}

#[test]
fn both_ways_to_tell_go_together() {
    let mut bed = Bed::new(0, 1, "client_address = [\"proxy-v2\", \"toa\"]", 1);
    bed.request(&bed.of_client("S", 999, 0, b""));
    let got = bed.request(&bed.of_client("PA", 1000, 5000, b"hello"));
    assert_eq!((got.options, got.data), (toa(0), [&proxy(0)[..], b"hello"].concat()));
    // A reset before any header was sent is at the number that the backend expects.
    let mut bed = Bed::new(0, 0, "client_address = [\"proxy-v2\"]", 1);
    bed.request(&bed.of_client("S", 999, 0, b""));
    assert_eq!(bed.request(&bed.of_client("R", 1000, 0, b"")).sequence, 1000);
}

#[test]
fn idle_flows_are_reset_at_both_ends_as_each_counts() {
    for (front, back) in PAIRS {
        for (client_address, lag) in [("", 0), ("client_address = [\"proxy-v2\"]", proxy(front).len() as u32)]
        {
            let rule = format!("tcp_reset = true\nidle_timeout = \"10s\"\n{client_address}");
            let mut bed = Bed::new(front, back, &rule, 2);
            bed.request(&bed.of_client("S", 999, 0, b""));
            bed.request(&bed.of_client("A", 1000, 5000, b""));
            bed.request(&bed.of_client("PA", 1000, 5000, b"0123456789"));
            bed.respond(&bed.of_backend("A", 5000, 1010 + lag, b""));
            bed.request(&bed.of_client("A", 1010, 7000, b""));
            bed.now += 11.0;
            let sent = bed.frames(OUTSIDE, vec![0; 60]);
            let got: Vec<_> = sent.iter().map(|(port, frame)| (*port, Segment::read(frame))).collect();
            let (client, backend, source) = (bed.client(), bed.backend(), bed.source.unwrap());
            let reset = |from, to, sequence, acknowledgement| Segment {
                from,
                to,
                sequence,
                acknowledgement,
                flags: "AR".into(),
                options: vec![],
                data: vec![],
            };
            assert_eq!(got.len(), 2, "{front} {back} {got:?}");
            assert!(got.contains(&(OUTSIDE, reset(bed.frontend(), client, 7000, 1010))), "{got:?}");
            assert!(got.contains(&(INSIDE, reset(source, backend, 1010 + lag, 7000))), "{got:?}");
            // What was on its way is answered, and what it would have met there is told.
            let late = bed.sends(&bed.of_client("PA", 1010, 7100, b"late"));
            assert_eq!(late.len(), 2);
            assert!(
                late.iter().any(|(port, s)| *port == OUTSIDE && s.sequence == 7100 && s.flags.contains('R'))
            );
            assert!(late.iter().any(|(port, s)| *port == INSIDE && s.sequence == 1010 + lag));
            assert_balanced(&bed.replay);
        }
    }
}

#[test]
fn the_segment_size_is_clamped_both_ways() {
    for (front, back) in PAIRS {
        let mut bed = Bed::new(front, back, "mss_clamp = 1200", 1);
        let mss = vec![2, 4, 5, 180];
        let syn = Segment { options: mss.clone(), ..bed.of_client("S", 999, 0, b"") };
        assert_eq!(bed.request(&syn).options, [2, 4, 4, 176]);
        let answer = Segment { options: mss, ..bed.of_backend("SA", 4999, 1000, b"") };
        assert_eq!(bed.respond(&answer).options, [2, 4, 4, 176]);
    }
    // What fits both links is less where either end is of IPv6.
    for (front, back) in PAIRS {
        let mut bed = Bed::new(front, back, "mss_clamp = true", 1);
        let most = if front + back > 0 { vec![2, 4, 5, 160] } else { vec![2, 4, 5, 180] };
        let mss = vec![2, 4, 35, 0];
        let syn = Segment { options: mss.clone(), ..bed.of_client("S", 999, 0, b"") };
        assert_eq!(bed.request(&syn).options, most);
        let answer = Segment { options: mss, ..bed.of_backend("SA", 4999, 1000, b"") };
        assert_eq!(bed.respond(&answer).options, most);
    }
}

/// RFC 7915 section 5.1: what IPv6 may always send may be cut up in IPv4, and has a name for that.
#[test]
fn what_comes_from_ipv6_and_is_short_may_be_cut_up() {
    for (len, is_short) in [(0, true), (1220, true), (1221, false)] {
        let mut bed = Bed::new(1, 0, "", 1);
        let data = vec![7; len];
        let frame = bed.of_client("A", 999, 1, &data).frame((ROUTER_MACS[1], common::OUTSIDE_MAC));
        let sent = bed.frames(OUTSIDE, frame).remove(0).1;
        let checksum = [sent[50], sent[51]];
        assert_ne!(checksum, [0, 0]);
        let wanted = if is_short { [checksum[0], checksum[1], 0, 0] } else { [0, 0, 0x40, 0] };
        assert_eq!(sent[18..22], wanted, "{len}");
    }
}

#[test]
fn a_network_of_frontends_answers_by_the_address_that_was_asked() {
    for (front, back) in PAIRS {
        let network = ["203.0.113.0/24", "[2001:db8:1::/112]"][front];
        let rule = format!("frontend = \"{network}:443/tcp\"");
        let mut bed = Bed::new(front, back, &rule, 3);
        let mut ports = Vec::new();
        for last in [1u8, 10, 200] {
            let address = [format!("203.0.113.{last}"), format!("2001:db8:1::{last}")][front].clone();
            let call = Segment { to: at(&address, 443), ..bed.of_client("S", 999, 0, b"") };
            let sent = bed.sends(&call);
            assert_eq!(sent.len(), 1, "{:?}", counts(&bed.replay));
            let source = sent[0].1.from;
            ports.push(source.port());
            let answer =
                Segment { from: at(BACKENDS[back], 443), to: source, ..bed_answer(&mut bed, source) };
            let frame = answer.frame((full_nat_bed::BACKEND_MACS[back], common::INSIDE_MAC));
            let got = bed.frames(INSIDE, frame);
            let got = Segment::read(&got[0].1);
            assert_eq!((got.from, got.to), (at(&address, 443), bed.client()));
        }
        ports.dedup();
        assert_eq!(ports.len(), 3, "each has a port of its own");
        assert_balanced(&bed.replay);
    }
}

fn bed_answer(bed: &mut Bed, source: std::net::SocketAddr) -> Segment {
    bed.source = Some(source);
    bed.of_backend("SA", 4999, 1000, b"")
}

#[test]
fn a_packet_that_cannot_be_sent_takes_no_port() {
    let mut bed = Bed::new(0, 0, "", 1);
    let mut frame = bed.of_client("S", 999, 0, b"").frame((common::ROUTER_MAC, common::OUTSIDE_MAC));
    frame[22] = 1;
    common::fix_ip_checksum(&mut frame);
    bed.frames(OUTSIDE, frame);
    let totals = bed.replay.totals();
    assert_eq!((totals.flows_created, totals.time_exceeded_sent), (0, 1));
    assert_balanced(&bed.replay);
}

#[test]
fn no_flow_has_a_port_that_a_rule_answers_at_the_same_address() {
    // The inside port's own address is both: flows come from it, and a rule is there. All ports but a hundred.
    let text = config(0, 0, "").replace("source_addresses = [\"10.0.0.200\"]", "")
        + "
[[rule]]
name = \"own\"
frontend = \"10.0.0.1:1100-65000/tcp\"
pool = \"web\"
forward = \"dsr\"
";
    let mut replay = balancer(&text, 1);
    let (mut sent, mut refused) = (0, 0);
    for port in 1000..4000u16 {
        let call = Segment {
            from: at(CLIENTS[0], port),
            to: at(FRONTENDS[0], 443),
            sequence: 1,
            acknowledgement: 0,
            flags: "S".into(),
            options: vec![],
            data: vec![],
        };
        let got = replay.frame(seconds(1.0), OUTSIDE, call.frame((common::ROUTER_MAC, common::OUTSIDE_MAC)));
        match got.first() {
            Some((_, frame)) => {
                assert!((1024..1100).contains(&Segment::read(frame).from.port()));
                sent += 1;
            }
            None => refused += 1,
        }
    }
    assert!(sent > 0 && refused > 0, "{sent} {refused}");
    assert_eq!(counts(&replay)["no-source-port"], refused);
}

#[test]
fn half_open_flows_give_way_where_ports_are_short_and_others_do_not() {
    // One address, and 76 ports of it.
    let text = config(0, 0, "").replace("source_addresses = [\"10.0.0.200\"]", "")
        + "
[[rule]]
name = \"own\"
frontend = \"10.0.0.1:1100-65000/tcp\"
pool = \"web\"
forward = \"dsr\"
";
    let mut replay = balancer(&text, 1);
    let call = |port: u16, flags: &str| {
        Segment {
            from: at(CLIENTS[0], port),
            to: at(FRONTENDS[0], 443),
            sequence: 1,
            acknowledgement: 0,
            flags: flags.into(),
            options: vec![],
            data: vec![],
        }
        .frame((common::ROUTER_MAC, common::OUTSIDE_MAC))
    };
    let mut made = Vec::new();
    for port in 1000..60_000u16 {
        let got = replay.frame(seconds(1.0), OUTSIDE, call(port, "S"));
        if let Some((_, frame)) = got.first() {
            made.push((port, Segment::read(frame).from.port()));
        }
    }
    let totals = replay.totals();
    assert!(totals.flows_reclaimed > 0, "{totals:?}");
    assert!(totals.flows_created - totals.flows_reclaimed <= 76);
    // The last one that has each port establishes itself, and keeps it.
    let mut last = std::collections::BTreeMap::new();
    made.iter().for_each(|(client, port)| {
        last.insert(*port, *client);
    });
    for client in last.values() {
        replay.frame(seconds(1.0), OUTSIDE, call(*client, "A"));
        replay.frame(seconds(1.0), OUTSIDE, call(*client, "A"));
    }
    for port in 60_000..61_000u16 {
        replay.frame(seconds(1.0), OUTSIDE, call(port, "S"));
    }
    for (port, client) in &last {
        let got = replay.frame(seconds(1.0), OUTSIDE, call(*client, "A"));
        assert_eq!(Segment::read(&got[0].1).from.port(), *port);
    }
    assert_balanced(&replay);
}

#[test]
fn our_own_addresses_and_disguised_ones_are_no_clients() {
    for own in ["198.51.100.2", "203.0.113.10", SOURCES[0]] {
        let mut bed = Bed::new(0, 0, "", 1);
        let call = Segment { from: at(own, 40_000), ..bed.of_client("S", 999, 0, b"") };
        assert!(bed.sends(&call).is_empty());
        assert_eq!(counts(&bed.replay)["martian-source"], 1, "{own}");
    }
    for disguised in ["::ffff:192.0.2.7", "::192.0.2.7", "fe80::1"] {
        let mut bed = Bed::new(1, 0, "", 1);
        let call = Segment { from: at(disguised, 40_000), ..bed.of_client("S", 999, 0, b"") };
        assert!(bed.sends(&call).is_empty());
        assert_eq!(counts(&bed.replay)["martian-source"], 1, "{disguised}");
    }
}

#[test]
fn a_response_counts_only_from_the_port_that_leads_to_its_backend() {
    let mut bed = Bed::new(0, 0, "", 1);
    bed.request(&bed.of_client("S", 999, 0, b""));
    let answer = bed.of_backend("SA", 4999, 1000, b"").frame((common::ROUTER_MAC, common::OUTSIDE_MAC));
    assert!(bed.frames(OUTSIDE, answer).is_empty());
    assert_eq!(counts(&bed.replay)["wrong-port"], 1);
}

#[test]
fn datagrams_of_a_rule_for_both_protocols_are_not_reset() {
    let rule = "frontend = \"203.0.113.10:0/any\"\ntcp_reset = true\nidle_timeout = \"10s\"";
    let mut replay = balancer(&config(0, 0, rule), 1);
    let mut frame = Vec::new();
    etherparse::PacketBuilder::ethernet2(common::ROUTER_MAC, common::OUTSIDE_MAC)
        .ipv4([192, 0, 2, 7], [203, 0, 113, 10], 64)
        .udp(40_000, 53)
        .write(&mut frame, b"a question")
        .unwrap();
    for at in [1.0, 1.1, 1.2] {
        assert_eq!(replay.frame(seconds(at), OUTSIDE, frame.clone()).len(), 1);
    }
    assert!(replay.frame(seconds(20.0), OUTSIDE, vec![0; 60]).is_empty());
    assert_eq!(replay.totals().flows_expired, 1);
    // Plain NAT likewise.
    let text = config(0, 0, rule)
        .replace("forward = \"full-nat\"", "")
        .replace("source_addresses = [\"10.0.0.200\"]", "");
    let mut replay = balancer(&text, 1);
    for at in [1.0, 1.1, 1.2] {
        assert_eq!(replay.frame(seconds(at), OUTSIDE, frame.clone()).len(), 1);
    }
    assert!(replay.frame(seconds(20.0), OUTSIDE, vec![0; 60]).is_empty());
    assert_balanced(&replay);
}

#[test]
fn a_flow_goes_on_as_it_began_whatever_a_reload_says_of_the_header() {
    let mut bed = Bed::new(0, 0, "client_address = [\"proxy-v2\"]", 1);
    let lag = proxy(0).len() as u32;
    bed.request(&bed.of_client("S", 999, 0, b""));
    bed.request(&bed.of_client("A", 1000, 5000, b""));
    bed.replay.reload(&model(&config(0, 0, ""))).unwrap();
    let got = bed.request(&bed.of_client("PA", 1005, 5000, b"there"));
    assert_eq!(got.sequence, 1005 + lag);
}

/// A client that sends what is not acknowledged again and again, a backend that puts together what it gets, and a way that
/// loses one segment of `loss`. What the backend has got in the end.
fn over_a_lossy_way(front: usize, back: usize, first: u32, data: &[u8], loss: u64, mut seed: u64) -> Vec<u8> {
    let mut loses = move || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33).is_multiple_of(loss)
    };
    let mut bed = Bed::new(front, back, "client_address = [\"proxy-v2\"]", 2);
    let syn = bed.of_client("S", first.wrapping_sub(1), 0, b"");
    bed.request(&syn);
    let mut got = std::collections::BTreeMap::new();
    let (mut acknowledged, mut received) = (0usize, 0u32);
    for round in 0..2000 {
        if acknowledged == data.len() {
            break;
        }
        let mut answers = Vec::new();
        let ack = bed.of_client("A", first.wrapping_add(acknowledged as u32), 5000, b"");
        let segments = data[acknowledged..].chunks(1440).take(4).scan(acknowledged, |at, chunk| {
            let sequence = first.wrapping_add(*at as u32);
            *at += chunk.len();
            Some(Segment { data: chunk.to_vec(), flags: "PA".into(), sequence, ..ack.clone() })
        });
        // The handshake's last packet comes once; from there on it is the first segment that brings the header.
        let handshake = (round == 0).then(|| ack.clone());
        for segment in handshake.into_iter().chain(segments).collect::<Vec<_>>() {
            if loses() {
                continue;
            }
            for (_, sent) in bed.sends(&segment) {
                assert_eq!(sent.to, bed.backend());
                bed.source = Some(sent.from);
                if loses() {
                    continue;
                }
                let at = sent.sequence.wrapping_sub(first);
                sent.data.iter().zip(at..).for_each(|(byte, at)| {
                    let old = got.insert(at, *byte);
                    assert!(old.is_none_or(|old| old == *byte), "two versions of byte {at}");
                });
                while got.contains_key(&received) {
                    received += 1;
                }
                answers.push(first.wrapping_add(received));
            }
        }
        for acknowledgement in answers {
            if loses() {
                continue;
            }
            let seen = bed.respond(&bed.of_backend("A", 5000, acknowledgement, b""));
            let seen = seen.acknowledgement.wrapping_sub(first) as usize;
            assert!(seen <= data.len(), "what was never sent is acknowledged");
            acknowledged = acknowledged.max(seen);
        }
    }
    assert_eq!(acknowledged, data.len(), "it does not come to an end");
    got.into_values().collect()
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(48))]

    #[test]
    fn the_backend_gets_the_header_and_then_every_byte_whatever_is_lost(
        pair in 0usize..4, first: u32, len in 1usize..20_000, loss in 2u64..30, seed: u64,
    ) {
        let (front, back) = PAIRS[pair];
        let data: Vec<u8> = (0..len).map(|n| (n % 251) as u8).collect();
        let got = over_a_lossy_way(front, back, first, &data, loss, seed);
        proptest::prop_assert!(got == [proxy(front), data].concat());
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(40))]

    /// Whatever stands in a segment, of either end, nothing breaks, and each frame has one end.
    #[test]
    fn no_segment_breaks_anything(
        pair in 0usize..4,
        segments in proptest::collection::vec((
            proptest::bool::ANY,
            proptest::sample::select(vec!["S", "SA", "A", "PA", "FA", "RA", "R"]),
            (0u32..200, 0u32..200),
            proptest::collection::vec(proptest::prelude::any::<u8>(), 0..40),
            0usize..1480,
            proptest::collection::vec((14usize..120, proptest::prelude::any::<u8>()), 0..3),
        ), 1..30),
    ) {
        let (front, back) = PAIRS[pair];
        let rule = "client_address = [\"toa\", \"proxy-v2\"]\nmss_clamp = 900\ntcp_reset = true\nidle_timeout = \"4s\"";
        let mut bed = Bed::new(front, back, rule, 2);
        bed.request(&bed.of_client("S", 99, 0, b""));
        for (is_clients, flags, (sequence, acknowledgement), mut options, len, flips) in segments {
            options.truncate(options.len() / 4 * 4);
            let data = vec![7; len];
            let segment = if is_clients {
                bed.of_client(flags, sequence, acknowledgement, &data)
            } else {
                bed.of_backend(flags, sequence, acknowledgement, &data)
            };
            let (port, macs) = if is_clients {
                (OUTSIDE, (full_nat_bed::ROUTER_MACS[front], common::OUTSIDE_MAC))
            } else {
                (INSIDE, (full_nat_bed::BACKEND_MACS[back], common::INSIDE_MAC))
            };
            let mut frame = Segment { options, ..segment }.frame(macs);
            for (at, value) in flips {
                if let Some(byte) = frame.get_mut(at) {
                    *byte = value;
                }
            }
            if frame[12] == 8 {
                common::fix_ip_checksum(&mut frame);
            }
            bed.now += f64::from(sequence) / 100.0;
            bed.frames(port, frame);
            assert_balanced(&bed.replay);
        }
    }
}
