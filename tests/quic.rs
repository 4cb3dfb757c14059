//! QUIC connections stay with their backends: what their connection ids say counts, in every way to forward that asks
//! them, whatever address and port their clients have by now.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail")]

mod common;

use std::net::{IpAddr, SocketAddr};

use common::{INSIDE, OUTSIDE, OUTSIDE_MAC, ROUTER_MAC, assert_balanced, balancer, model, seconds};
use etherparse::PacketBuilder;
use guideway::replay::Replay;

/// The last bytes of the backends' addresses, which are their server ids where no other is said.
const NUMBERS: std::ops::RangeInclusive<u8> = 11..=16;

/// Frontend's and backends' family: 4 or 6.
fn config(family: u8, forward: &str, quic: &str, attributes: &dyn Fn(u8) -> String) -> String {
    let (frontend, prefix) =
        if family == 4 { ("203.0.113.10", "10.0.0.") } else { ("[2001:db8:1::10]", "2001:db8:10::") };
    let one = |n: u8| format!("{{ address = \"{prefix}{n:x}\"{} }}", attributes(n));
    let one4 = |n: u8| format!("{{ address = \"{prefix}{n}\"{} }}", attributes(n));
    let all: Vec<String> = NUMBERS.map(|n| if family == 4 { one4(n) } else { one(n) }).collect();
    format!(
        r#"
[dataplane]
flows_per_worker = 1024
[[port]]
name = "outside"
addresses = ["198.51.100.2/24", "2001:db8::2/64"]
gateway = "198.51.100.1"
gateway6 = "2001:db8::1"
[[port]]
name = "inside"
addresses = ["10.0.0.1/24", "2001:db8:10::1/64"]
[[pool]]
name = "h3"
backends = [{}]
[[rule]]
name = "h3"
frontend = "{frontend}:443/udp"
pool = "h3"
forward = "{forward}"
{quic}
"#,
        all.join(", ")
    )
}

const PLAIN: &str = "quic = \"quic-lb\"\nquic_config = 2\nquic_server_id_length = 2\nquic_nonce_length = 6";

/// A frame of client number `client` with `payload`.
fn frame(family: u8, client: u16, payload: &[u8]) -> Vec<u8> {
    let builder = PacketBuilder::ethernet2(ROUTER_MAC, OUTSIDE_MAC);
    let builder = if family == 4 {
        builder.ipv4([192, 0, 2, client as u8], [203, 0, 113, 10], 64)
    } else {
        let (from, to): (IpAddr, IpAddr) =
            (format!("2001:db8:2::{client:x}").parse().unwrap(), "2001:db8:1::10".parse().unwrap());
        let (IpAddr::V6(from), IpAddr::V6(to)) = (from, to) else { panic!() };
        builder.ipv6(from.octets(), to.octets(), 64)
    };
    let mut frame = Vec::new();
    builder.udp(40_000 + client, 443).write(&mut frame, payload).unwrap();
    frame
}

/// A short header with a connection id as backend `number` makes it, and something encrypted.
fn short(number: u8) -> Vec<u8> {
    [&[0x43, 2 << 5 | 8, 0, number][..], b"nonce!", b"and what is encrypted"].concat()
}

/// An initial packet of version 1, with a connection id that the client has made up.
fn initial(id: &[u8]) -> Vec<u8> {
    [&[0xc3, 0, 0, 0, 1, id.len() as u8][..], id, &[0; 1180]].concat()
}

/// The backend that the frame leaves to, by the Ethernet address that a replay gives it.
fn backend_of(balancer: &mut Replay, at: f64, frame: Vec<u8>) -> Option<u8> {
    let sent = balancer.frame(seconds(at), OUTSIDE, frame);
    assert_balanced(balancer);
    let (port, frame) = sent.first()?;
    assert_eq!((*port, sent.len()), (INSIDE, 1));
    Some(frame[5])
}

fn none(_: u8) -> String {
    String::new()
}

const WAYS: [&str; 6] = ["nat", "dsr", "ipip", "gre", "gue", "vxlan"];

#[test]
fn a_client_that_changes_its_address_stays_with_its_backend() {
    for (forward, family, workers) in
        WAYS.iter().flat_map(|way| [(way, 4, 1), (way, 6, 1), (way, 4, 3), (way, 6, 3)])
    {
        let mut balancer = balancer(&config(family, forward, PLAIN, &none), workers);
        for number in NUMBERS {
            for client in [1, 2, 77] {
                let got = backend_of(&mut balancer, 1.0, frame(family, client, &short(number)));
                assert_eq!(got, Some(number), "{forward}, IPv{family}, client {client}");
            }
        }
        let totals = balancer.totals();
        assert_eq!((totals.quic_by_id, totals.quic_unknown), (18, 0));
        // Three clients, whose flows were moved each time but the first.
        assert_eq!((totals.flows_created, totals.quic_moved), (18, 15));
    }
}

#[test]
fn what_names_no_server_goes_with_the_flow() {
    for family in [4, 6] {
        let mut balancer = balancer(&config(family, "nat", PLAIN, &none), 1);
        let handshake = |id: &[u8]| [&[0xe3, 0, 0, 0, 1, id.len() as u8][..], id, b"more"].concat();
        // What a client makes up counts for nothing, even where it looks like a server's.
        let chosen = backend_of(&mut balancer, 1.0, frame(family, 1, &initial(&short(11)[1..10]))).unwrap();
        assert_eq!(balancer.totals().quic_by_id, 0);
        let other = NUMBERS.into_iter().find(|number| *number != chosen).unwrap();
        // The server's answer has its id, and the client uses that.
        let cid = &short(other)[1..10];
        assert_eq!(backend_of(&mut balancer, 1.1, frame(family, 1, &handshake(cid))), Some(other));
        // From there on all of the flow's go there.
        assert_eq!(backend_of(&mut balancer, 1.2, frame(family, 1, &initial(b"whatever"))), Some(other));
        assert_eq!(backend_of(&mut balancer, 1.3, frame(family, 1, b"x")), Some(other));
        assert_eq!(backend_of(&mut balancer, 1.4, frame(family, 1, b"")), Some(other));
        let unroutable = [&[0x40, 0xff, 0, 11][..], &[7; 20]].concat();
        assert_eq!(backend_of(&mut balancer, 1.5, frame(family, 1, &unroutable)), Some(other));
        assert_eq!(backend_of(&mut balancer, 1.6, frame(family, 1, &short(99))), Some(other));
        let totals = balancer.totals();
        assert_eq!(
            (totals.quic_by_id, totals.quic_unroutable, totals.quic_unknown, totals.quic_down),
            (1, 2, 1, 0)
        );
        assert_eq!(totals.flows_created, 2);
    }
}

#[test]
fn a_backend_that_drains_keeps_its_own_and_one_that_is_down_does_not() {
    let state = |state: &'static str| {
        move |n: u8| if n == 13 { format!(", state = \"{state}\"") } else { String::new() }
    };
    let mut balancer = balancer(&config(4, "nat", PLAIN, &none), 1);
    let reload = |balancer: &mut Replay, text: String| balancer.reload(&model(&text)).unwrap();
    reload(&mut balancer, config(4, "nat", PLAIN, &state("drain")));
    assert_eq!(backend_of(&mut balancer, 1.0, frame(4, 1, &short(13))), Some(13));
    reload(
        &mut balancer,
        config(4, "nat", PLAIN, &|n| if n == 13 { ", weight = 0".into() } else { String::new() }),
    );
    assert_eq!(backend_of(&mut balancer, 1.1, frame(4, 2, &short(13))), Some(13));
    reload(&mut balancer, config(4, "nat", PLAIN, &state("down")));
    let other = backend_of(&mut balancer, 1.2, frame(4, 1, &short(13))).unwrap();
    assert_ne!(other, 13);
    assert_eq!(balancer.totals().quic_down, 1);
    // All drained: Maglev has nobody, and a connection that is there goes on.
    reload(&mut balancer, config(4, "nat", PLAIN, &|_| ", state = \"drain\"".into()));
    assert_eq!(backend_of(&mut balancer, 1.3, frame(4, 9, &initial(b"a new one"))), None);
    assert_eq!(backend_of(&mut balancer, 1.4, frame(4, 9, &short(15))), Some(15));
    // Removed: nobody has the id any more.
    let text = config(4, "nat", PLAIN, &none).replace("{ address = \"10.0.0.15\" }, ", "");
    reload(&mut balancer, text);
    assert_eq!(backend_of(&mut balancer, 1.5, frame(4, 9, &short(15))), Some(15), "its flow goes on");
    assert_ne!(backend_of(&mut balancer, 1.6, frame(4, 10, &short(15))), Some(15));
    assert_eq!(balancer.totals().quic_unknown, 2);
}

#[test]
fn ids_may_be_given_and_encrypted() {
    let quic = "quic = \"quic-lb\"\nquic_config = 2\nquic_server_id_length = 8\n\
                quic_key = \"8f95f09245765f80256934e50c66207f\"";
    let id = |n: u8| format!(", quic_server_id = \"ed793a51d49b8f{:02x}\"", if n == 14 { 0x5f } else { n });
    let mut balancer = balancer(&config(4, "nat", quic, &id), 1);
    // The draft's own example.
    let cid = [
        0x50, 0x4d, 0xd2, 0xd0, 0x5a, 0x7b, 0x0d, 0xe9, 0xb2, 0xb9, 0x90, 0x7a, 0xfb, 0x5e, 0xcf, 0x8c, 0xc3,
    ];
    for client in 1..20 {
        let payload = [&[0x40][..], &cid, b"rest"].concat();
        assert_eq!(backend_of(&mut balancer, 1.0, frame(4, client, &payload)), Some(14));
    }
    assert_eq!(balancer.totals().quic_by_id, 19);
}

#[test]
fn katrans_ids_are_the_last_bytes_of_addresses_or_numbers() {
    let given = |n: u8| if n == 16 { ", quic_server_id = \"0102\"".into() } else { String::new() };
    let mut balancer = balancer(&config(4, "ipip", "quic = \"katran\"", &given), 1);
    let mut client = 0;
    let mut go = |cid: [u8; 8]| {
        client += 1;
        backend_of(&mut balancer, 1.0, frame(4, client, &[&[0x40][..], &cid, b"rest"].concat()))
    };
    // 16, 24 and 32 bits of 10.0.0.12, then of 258.
    assert_eq!(go([0x40, 0x03, 0, 0, 0, 0, 0, 0]), Some(12));
    assert_eq!(go([0x80, 0, 0, 12, 0, 0, 0, 0]), Some(12));
    assert_eq!(go([0xc0, 10, 0, 0, 12, 0, 0, 0]), Some(12));
    assert_eq!(go([0x40, 0x40, 0x80, 0, 0, 0, 0, 0]), Some(16));
    assert_eq!(go([0x80, 0, 1, 2, 0, 0, 0, 0]), Some(16));
    assert_eq!(go([0xc0, 0, 0, 1, 2, 0, 0, 0]), Some(16));
    assert!(go([0x80, 0, 9, 9, 0, 0, 0, 0]).is_some());
    let totals = balancer.totals();
    assert_eq!((totals.quic_by_id, totals.quic_unknown), (6, 1));
}

#[test]
fn backends_are_not_their_own_clients_and_flaws_have_their_names() {
    let mut balancer = balancer(&config(4, "nat", PLAIN, &none), 1);
    let from = |address: [u8; 4], port| {
        let builder = PacketBuilder::ethernet2(ROUTER_MAC, OUTSIDE_MAC).ipv4(address, [203, 0, 113, 10], 64);
        let mut frame = Vec::new();
        builder.udp(port, 443).write(&mut frame, &short(12)).unwrap();
        frame
    };
    // To itself it does not go, whatever it says.
    assert!(!matches!(backend_of(&mut balancer, 0.9, from([10, 0, 0, 12], 999)), Some(12)));
    for (address, port, reason) in [
        ([127, 0, 0, 1], 999, "martian-source"),
        ([203, 0, 113, 10], 999, "martian-source"),
        ([192, 0, 2, 1], 0, "port-zero"),
    ] {
        let before = common::counts(&balancer);
        assert_eq!(backend_of(&mut balancer, 1.0, from(address, port)), None);
        assert_eq!(
            common::moved(&before, &common::counts(&balancer)),
            [format!("{reason}+1")],
            "{address:?}"
        );
    }
}

/// A response needs no id, and an error about it finds the backend by the flow.
#[test]
fn responses_come_back_as_ever() {
    let mut balancer = balancer(&config(4, "nat", PLAIN, &none), 1);
    backend_of(&mut balancer, 1.0, frame(4, 1, &short(12)));
    let (from, to): (SocketAddr, SocketAddr) =
        ("10.0.0.12:443".parse().unwrap(), "192.0.2.1:40001".parse().unwrap());
    let (IpAddr::V4(back), IpAddr::V4(client)) = (from.ip(), to.ip()) else { panic!() };
    let mut response = Vec::new();
    PacketBuilder::ethernet2([2, 0, 10, 0, 0, 12], common::INSIDE_MAC)
        .ipv4(back.octets(), client.octets(), 64)
        .udp(443, to.port())
        .write(&mut response, b"answer")
        .unwrap();
    let sent = balancer.frame(seconds(1.1), INSIDE, response);
    assert_eq!(sent[0].1[26..30], [203, 0, 113, 10]);
}
