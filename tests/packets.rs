//! The specification of the path, as a table: frame in, whole frame out, and exactly which counter moves.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail")]

mod common;

use common::*;
use etherparse::ArpOperation;
use guideway::io::PortId;

struct Case {
    name: &'static str,
    port: PortId,
    frame: Vec<u8>,
    /// What leaves, and the one counter that moves.
    sent: Option<(PortId, Vec<u8>)>,
    counter: &'static str,
}

fn sends(name: &'static str, port: PortId, frame: Vec<u8>, out: PortId, sent: Vec<u8>) -> Case {
    Case { name, port, frame, sent: Some((out, sent)), counter: "transmitted" }
}

fn answers(name: &'static str, port: PortId, frame: Vec<u8>, sent: Vec<u8>) -> Case {
    Case { name, port, frame, sent: Some((port, sent)), counter: "answered" }
}

fn drops(name: &'static str, port: PortId, frame: Vec<u8>, reason: &'static str) -> Case {
    Case { name, port, frame, sent: None, counter: reason }
}

fn run(config: &str, cases: Vec<Case>) {
    for workers in [1, 3] {
        let mut balancer = balancer(config, workers);
        for case in &cases {
            let before = counts(&balancer);
            let sent = balancer.frame(seconds(1.0), case.port, case.frame.clone());
            assert_eq!(sent.first(), case.sent.as_ref(), "{}, {workers} workers", case.name);
            assert!(sent.len() <= 1, "{}", case.name);
            assert_eq!(moved(&before, &counts(&balancer)), [format!("{}+1", case.counter)], "{}", case.name);
            assert_balanced(&balancer);
        }
    }
}

/// A response as the client should get it.
fn at_client(response: &Spec, frontend_port: u16) -> Spec {
    let macs = (OUTSIDE_MAC, ROUTER_MAC);
    Spec { macs, from: (FRONTEND, frontend_port), ttl: response.ttl - 1, ..response.clone() }
}

#[test]
fn packets_to_a_frontend_reach_its_backend_and_responses_the_client() {
    let syn = Spec::tcp("S");
    let query = Spec::udp();
    let syn_ack = Spec { flags: Some("SA"), ..syn.at_backend(BACKEND, 8443).reversed() };
    let answer = query.at_backend(BACKEND, 5353).reversed();
    let long = Spec { payload: vec![0xa5; 1460], ..Spec::tcp("PA") };
    let empty = Spec { payload: Vec::new(), ..Spec::udp() };
    let odd = Spec { payload: vec![1, 2, 3], ..Spec::udp() };
    let on_link = Spec { from: ([198, 51, 100, 77], 40_000), ..Spec::tcp("S") };
    let to_on_link = Spec { flags: Some("SA"), ..on_link.at_backend(BACKEND, 8443).reversed() };
    let at_on_link = Spec { macs: (OUTSIDE_MAC, [2, 0, 198, 51, 100, 77]), ..at_client(&to_on_link, 443) };
    let at_backend = |spec: &Spec, port| spec.at_backend(BACKEND, port).frame();
    run(
        &with_backends(&numbered([4], ""), ""),
        vec![
            sends("TCP SYN", OUTSIDE, syn.frame(), INSIDE, at_backend(&syn, 8443)),
            sends("SYN ACK back", INSIDE, syn_ack.frame(), OUTSIDE, at_client(&syn_ack, 443).frame()),
            sends("full segment", OUTSIDE, long.frame(), INSIDE, at_backend(&long, 8443)),
            sends("UDP", OUTSIDE, query.frame(), INSIDE, at_backend(&query, 5353)),
            sends("UDP back", INSIDE, answer.frame(), OUTSIDE, at_client(&answer, 53).frame()),
            sends("UDP without data", OUTSIDE, empty.frame(), INSIDE, at_backend(&empty, 5353)),
            sends("UDP of odd length", OUTSIDE, odd.frame(), INSIDE, at_backend(&odd, 5353)),
            sends("client on the network", OUTSIDE, on_link.frame(), INSIDE, at_backend(&on_link, 8443)),
            sends("back to it", INSIDE, to_on_link.frame(), OUTSIDE, at_on_link.frame()),
        ],
    );
}

#[test]
fn a_udp_checksum_of_zero_stays_zero_and_a_sum_of_zero_is_sent_as_ones() {
    let mut without = Spec::udp().frame();
    without[40..42].fill(0);
    let mut without_out = Spec::udp().at_backend(BACKEND, 5353).frame();
    without_out[40..42].fill(0);
    // The data that brings the backend's packet to a sum of zero: found by trying.
    let sums_to_zero = |word: u16| {
        let spec = Spec { payload: word.to_be_bytes().to_vec(), ..Spec::udp() };
        spec.at_backend(BACKEND, 5353).frame()[40..42] == [0xff, 0xff]
    };
    let word = (0..=u16::MAX).find(|word| sums_to_zero(*word)).unwrap();
    let spec = Spec { payload: word.to_be_bytes().to_vec(), ..Spec::udp() };
    run(
        &with_backends(&numbered([4], ""), ""),
        vec![
            sends("no checksum", OUTSIDE, without, INSIDE, without_out),
            sends("ones", OUTSIDE, spec.frame(), INSIDE, spec.at_backend(BACKEND, 5353).frame()),
        ],
    );
}

#[test]
fn options_and_padding_pass_through() {
    let mut options = Spec::tcp("S").frame();
    options.splice(34..34, [1; 12]);
    options[14] = 0x48;
    options[17] += 12;
    fix_ip_checksum(&mut options);
    let mut options_out = Spec::tcp("S").at_backend(BACKEND, 8443).frame();
    options_out.splice(34..34, [1; 12]);
    options_out[14] = 0x48;
    options_out[17] += 12;
    fix_ip_checksum(&mut options_out);
    let mut padded = Spec::udp().frame();
    padded.resize(60, 0xee);
    let mut padded_out = Spec::udp().at_backend(BACKEND, 5353).frame();
    padded_out.resize(60, 0xee);
    run(
        &with_backends(&numbered([4], ""), ""),
        vec![
            sends("IPv4 options", OUTSIDE, options, INSIDE, options_out),
            sends("Ethernet padding", OUTSIDE, padded, INSIDE, padded_out),
        ],
    );
}

#[test]
fn what_cannot_go_on_is_dropped_by_name() {
    let from_backend = Spec::tcp("S").at_backend(BACKEND, 8443).reversed();
    let to = |address, port| Spec { to: (address, port), ..Spec::tcp("S") }.frame();
    let from = |address, port| Spec { from: (address, port), ..Spec::tcp("S") }.frame();
    let to_edge = |address| Spec { to: (address, 9), ..from_backend.clone() }.frame();
    run(
        &with_backends(&numbered([4], ""), ""),
        vec![
            drops("another port of a frontend", OUTSIDE, to(FRONTEND, 444), "no-rule"),
            drops("TCP to a UDP frontend", OUTSIDE, to(FRONTEND, 53), "no-rule"),
            drops("TCP to our own address", OUTSIDE, to([198, 51, 100, 2], 443), "no-rule"),
            drops("SCTP to a frontend", OUTSIDE, other_protocol(132, CLIENT, FRONTEND), "no-rule"),
            drops("between others", OUTSIDE, to([8, 8, 8, 8], 443), "not-ours"),
            drops("SCTP between others", OUTSIDE, other_protocol(132, CLIENT, [8, 8, 8, 8]), "not-ours"),
            drops("to port 0", OUTSIDE, to(FRONTEND, 0), "port-zero"),
            drops("from port 0", OUTSIDE, from(CLIENT, 0), "port-zero"),
            drops("from loopback", OUTSIDE, from([127, 0, 0, 1], 9), "martian-source"),
            drops("from a group", OUTSIDE, from([224, 0, 0, 1], 9), "martian-source"),
            drops("a backend to itself", OUTSIDE, from(BACKEND, 8443), "hairpin"),
            drops("land", OUTSIDE, from(FRONTEND, 443), "martian-source"),
            drops("from our own address", OUTSIDE, from([198, 51, 100, 2], 9), "martian-source"),
            drops(
                "from our address to others",
                OUTSIDE,
                Spec { to: ([8, 8, 8, 8], 1), from: (FRONTEND, 443), ..Spec::tcp("S") }.frame(),
                "martian-source",
            ),
            drops("a backend to everybody", INSIDE, to_edge([255, 255, 255, 255]), "martian-destination"),
            drops("a backend to a group", INSIDE, to_edge([224, 0, 0, 1]), "martian-destination"),
            drops("a backend to a whole network", INSIDE, to_edge([198, 51, 100, 255]), "no-route"),
            drops("a backend's name from outside", OUTSIDE, from_backend.frame(), "wrong-port"),
            drops(
                "a backend's other port",
                INSIDE,
                Spec { from: (BACKEND, 22), ..from_backend.clone() }.frame(),
                "not-ours",
            ),
            drops(
                "a backend to us",
                INSIDE,
                Spec { to: ([10, 0, 0, 1], 9), ..from_backend }.frame(),
                "no-rule",
            ),
            drops("nothing", OUTSIDE, Vec::new(), "ethernet-truncated"),
        ],
    );
}

#[test]
fn answers_to_probes_by_port_are_handed_up_and_nothing_else_is() {
    const OWN: [u8; 4] = [10, 0, 0, 1];
    let probe = "\n[[probe]]\nname = \"p\"\nkind = \"tcp\"\nvia = \"port\"\n";
    let config = with_backends(&numbered([4], ""), "probe = \"p\"\n") + probe;
    let answer = |from, to| Spec { from, to, ..Spec::tcp("SA").at_backend(BACKEND, 8443).reversed() };
    let fine = answer((BACKEND, 8443), (OWN, 61_000));
    let with = |len| Spec { payload: vec![7; len], ..fine.clone() }.frame();
    let takes = |name, frame| Case { name, port: INSIDE, frame, sent: None, counter: "controlled" };
    let leaves = |name, from, to| drops(name, INSIDE, answer(from, to).frame(), "no-rule");
    let elsewhere = Spec { macs: (ROUTER_MAC, OUTSIDE_MAC), ..fine.clone() }.frame();
    let datagram = Spec { flags: None, ..fine.clone() }.frame();
    let not_asked = drops("nobody asks", INSIDE, fine.frame(), "no-rule");
    run(
        &config,
        vec![
            takes("an answer", fine.frame()),
            takes("the last port", answer((BACKEND, 8443), (OWN, u16::MAX)).frame()),
            takes("of the other rule's", answer((BACKEND, 5353), (OWN, 61_000)).frame()),
            takes("a full frame", with(1460)),
            drops("a longer one", INSIDE, with(1461), "no-rule"),
            leaves("no port of probes", (BACKEND, 8443), (OWN, 60_999)),
            leaves("another port of the backend", (BACKEND, 8444), (OWN, 61_000)),
            leaves("another host", ([10, 0, 0, 5], 8443), (OWN, 61_000)),
            leaves("another address of ours", (BACKEND, 8443), ([198, 51, 100, 2], 61_000)),
            drops("by another port", OUTSIDE, elsewhere, "no-rule"),
            drops("no TCP", INSIDE, datagram, "no-rule"),
        ],
    );
    run(&with_backends(&numbered([4], ""), ""), vec![not_asked]);
}

#[test]
fn what_is_asked_of_us_is_answered() {
    let mac = [0, 0, 0x5e, 0, 0x53, 1];
    let host = [198, 51, 100, 77];
    let ask = |target| arp(ArpOperation::REQUEST, (mac, host), ([0; 6], target), [0xff; 6]);
    let reply = |sender| arp(ArpOperation::REPLY, (OUTSIDE_MAC, sender), (mac, host), mac);
    let own = [198, 51, 100, 2];
    let told = arp(ArpOperation::REPLY, (mac, host), (OUTSIDE_MAC, own), OUTSIDE_MAC);
    let probe = arp(ArpOperation::REQUEST, (mac, [0; 4]), ([0; 6], own), [0xff; 6]);
    let probe_reply = arp(ArpOperation::REPLY, (OUTSIDE_MAC, own), (mac, [0; 4]), mac);
    let thief = arp(ArpOperation::REQUEST, (mac, FRONTEND), ([0; 6], FRONTEND), [0xff; 6]);
    let mut cut = ask(own);
    cut.truncate(41);
    let mut wrong_sum = echo_request(CLIENT, own, b"ping");
    wrong_sum[36] ^= 1;
    let mut from_broadcast = echo_request(CLIENT, own, b"ping");
    from_broadcast[6..12].fill(0xff);
    let mut timestamp = echo_request(CLIENT, own, b"");
    timestamp[34] = 13;
    // A type that is larger by five needs a checksum that is smaller by five.
    timestamp[36] -= 5;
    run(
        &with_backends(&numbered([4], ""), ""),
        vec![
            answers("ARP for our own address", OUTSIDE, ask(own), reply(own)),
            answers("ARP for a frontend", OUTSIDE, ask(FRONTEND), reply(FRONTEND)),
            answers("ARP probe", OUTSIDE, probe, probe_reply),
            answers("ping", OUTSIDE, echo_request(CLIENT, own, b"ping"), echo_reply(own, CLIENT, b"ping")),
            answers(
                "ping of a frontend",
                OUTSIDE,
                echo_request(CLIENT, FRONTEND, b"odd"),
                echo_reply(FRONTEND, CLIENT, b"odd"),
            ),
            drops("ARP for others", OUTSIDE, ask(host), "arp-not-ours"),
            drops("ARP for the other port's address", OUTSIDE, ask([10, 0, 0, 1]), "arp-not-ours"),
            drops("somebody with our address", OUTSIDE, thief, "arp-conflict"),
            drops("ARP cut short", OUTSIDE, cut, "arp-malformed"),
            drops("ping of others", OUTSIDE, echo_request(CLIENT, [8, 8, 8, 8], b""), "not-ours"),
            drops("ping with a wrong checksum", OUTSIDE, wrong_sum, "icmp-malformed"),
            drops("ping from everybody", OUTSIDE, from_broadcast, "broadcast-source"),
            drops("timestamp request", OUTSIDE, timestamp, "icmp-unhandled"),
            Case { name: "ARP reply", port: OUTSIDE, frame: told, sent: None, counter: "controlled" },
        ],
    );
}

/// A checksum whose low byte is ff when the type changes by eight in the high one carries round.
#[test]
fn pings_are_answered_right_whatever_their_checksum() {
    let mut balancer = balancer(&with_backends(&numbered([4], ""), ""), 1);
    for word in 0..=u16::MAX {
        let payload = word.to_be_bytes();
        // No faster than they are answered.
        let at = seconds(f64::from(word) / 900.0);
        let sent = balancer.frame(at, OUTSIDE, echo_request(CLIENT, FRONTEND, &payload));
        assert_eq!(sent, [(OUTSIDE, echo_reply(FRONTEND, CLIENT, &payload))], "{word:04x}");
    }
}

#[test]
fn a_port_that_knows_its_mac_takes_frames_for_it_only() {
    let config = with_backends(&numbered([4], ""), "").replacen(
        "addresses",
        "mac = \"02:00:5e:00:53:10\"\naddresses",
        1,
    );
    let mac = [2, 0, 0x5e, 0, 0x53, 0x10];
    let to = |mac| Spec { macs: (ROUTER_MAC, mac), ..Spec::tcp("S") }.frame();
    let asked = arp(ArpOperation::REQUEST, (ROUTER_MAC, [198, 51, 100, 1]), ([0; 6], FRONTEND), [0xff; 6]);
    let reply = arp(ArpOperation::REPLY, (mac, FRONTEND), (ROUTER_MAC, [198, 51, 100, 1]), ROUTER_MAC);
    run(
        &config,
        vec![
            sends("to it", OUTSIDE, to(mac), INSIDE, Spec::tcp("S").at_backend(BACKEND, 8443).frame()),
            drops("to another", OUTSIDE, to([2, 0, 0x5e, 0, 0x53, 0x11]), "wrong-mac"),
            drops("IP to all", OUTSIDE, to([0xff; 6]), "wrong-mac"),
            answers("ARP to all", OUTSIDE, asked, reply),
        ],
    );
}

#[test]
fn static_neighbours_are_used_and_a_backend_beyond_the_gateway_is_reached_through_it() {
    let fixed = "\n[[neighbour]]\naddress = \"10.0.0.4\"\nmac = \"02:00:5e:00:53:99\"\n";
    let spec = Spec::tcp("S");
    let there = Spec { macs: (INSIDE_MAC, [2, 0, 0x5e, 0, 0x53, 0x99]), ..spec.at_backend(BACKEND, 8443) };
    let config = with_backends(&numbered([4], ""), "") + fixed;
    run(&config, vec![sends("static", OUTSIDE, spec.frame(), INSIDE, there.frame())]);

    let far = Spec { macs: (OUTSIDE_MAC, ROUTER_MAC), ..spec.at_backend([172, 16, 0, 9], 8443) };
    let config = with_backends("{ address = \"172.16.0.9\" }", "");
    run(&config, vec![sends("far", OUTSIDE, spec.frame(), OUTSIDE, far.frame())]);
}

#[test]
fn one_arm_serves_both_ways() {
    let config = "
[dataplane]
flows_per_worker = 1024
[[port]]
name = \"only\"
addresses = [\"10.0.0.1/24\"]
gateway = \"10.0.0.254\"
[[pool]]
name = \"web\"
backends = [{ address = \"10.0.0.4\" }]
[[rule]]
name = \"https\"
frontend = \"203.0.113.10:443/tcp\"
pool = \"web\"
";
    let gateway = [2, 0, 10, 0, 0, 254];
    let backend = [2, 0, 10, 0, 0, 4];
    let syn = Spec { macs: (gateway, OUTSIDE_MAC), ..Spec::tcp("S") };
    let there = Spec { macs: (OUTSIDE_MAC, backend), to: (BACKEND, 443), ttl: 63, ..syn.clone() };
    let back = Spec { macs: (backend, OUTSIDE_MAC), flags: Some("SA"), ..there.reversed() };
    let out = Spec { macs: (OUTSIDE_MAC, gateway), from: (FRONTEND, 443), ttl: 63, ..back.clone() };
    run(
        config,
        vec![
            sends("in", OUTSIDE, syn.frame(), OUTSIDE, there.frame()),
            sends("back", OUTSIDE, back.frame(), OUTSIDE, out.frame()),
        ],
    );
}
