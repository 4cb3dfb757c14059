//! Whole bursts give what their frames give one by one, in the same order, and nothing on the path
//! allocates.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail")]

mod common;

use common::*;
use guideway::io::PortId;
use proptest::prelude::*;

const BACKENDS: std::ops::RangeInclusive<u8> = 4..=8;

fn config() -> String {
    with_backends(&numbered(BACKENDS, ""), "")
}

/// One of a few flows, in one of many conditions.
fn any_frame() -> impl Strategy<Value = Vec<u8>> {
    let flags = prop::sample::select(vec!["S", "A", "PA", "FA", "R", "SF"]);
    let client = (0u8..4, 1000u16..1004, any::<bool>(), flags, 1u8..4);
    let packet = client.prop_map(|(host, port, is_tcp, flags, ttl)| {
        let spec = if is_tcp { Spec::tcp(flags) } else { Spec::udp() };
        Spec { from: ([192, 0, 2, host], port), ttl, ..spec }.frame()
    });
    let ping = (0u8..4).prop_map(|host| echo_request([192, 0, 2, host], FRONTEND, b"ping"));
    let noise = prop::collection::vec(any::<u8>(), 0..80);
    let damaged =
        (any_packet(), any::<prop::sample::Index>(), any::<u8>()).prop_map(|(mut frame, at, byte)| {
            let at = at.index(frame.len());
            frame[at] = byte;
            frame
        });
    prop_oneof![8 => packet, 1 => ping, 1 => noise, 2 => damaged]
}

fn any_packet() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![Just(Spec::tcp("S").frame()), Just(Spec::udp().frame()), Just(Spec::tcp("PA").frame())]
}

fn by_port(sent: Vec<(PortId, Vec<u8>)>, port: PortId) -> Vec<Vec<u8>> {
    sent.into_iter().filter(|(p, _)| *p == port).map(|(_, frame)| frame).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_burst_is_the_sum_of_its_frames(frames in prop::collection::vec(any_frame(), 1..200)) {
        let mut whole = balancer(&config(), 1);
        let mut single = balancer(&config(), 1);
        let at_once = whole.burst(seconds(0.0), OUTSIDE, frames.clone());
        let one_by_one: Vec<_> =
            frames.into_iter().flat_map(|frame| single.frame(seconds(0.0), OUTSIDE, frame)).collect();
        // Forwarded and answered frames have queues of their own, so only each port's order is promised.
        prop_assert_eq!(by_port(at_once, INSIDE), by_port(one_by_one, INSIDE));
        prop_assert_eq!(counts(&whole), counts(&single));
        prop_assert_eq!(whole.backends(), single.backends());
        assert_balanced(&whole);
    }
}

#[test]
fn the_path_does_not_allocate() {
    use guideway::control::REPLAY_KEY;
    use guideway::dataplane::{FlowTable, Path, Source, WorkerCounters, WorkerId};
    use guideway::io::memory::HeapFrame;
    use guideway::snapshot::{Compiler, Conditions, Neighbours, PortLink};
    use guideway::tick::Tick;
    use guideway::wire::MacAddr;

    let model = model(&config());
    let links =
        [OUTSIDE_MAC, INSIDE_MAC].map(|mac| PortLink { mac: MacAddr(mac), filters: false, mtu: 1500 });
    let neighbours = Neighbours { synthetic: true, ..Neighbours::default() };
    let conditions = Conditions { links: links.to_vec(), neighbours };
    let world = Compiler::new(REPLAY_KEY).compile(&model, &conditions).unwrap();
    let flows = FlowTable::new(1024).unwrap();
    let mut path = Path::new(WorkerId(0), 2, flows, WorkerCounters::default().into());

    // Known flows, new ones, flows of the other worker, answers, and drops of every kind.
    let frames = |i: u16| {
        let from = ([192, 0, (i >> 8) as u8, i as u8], 1000);
        let mut frames = vec![
            Spec { from, ..Spec::tcp("S") }.frame(),
            Spec { from, ..Spec::tcp("A") }.frame(),
            Spec::udp().frame(),
            echo_request(CLIENT, FRONTEND, b"ping"),
            Spec { ttl: 1, ..Spec::udp() }.frame(),
            vec![0; 9],
        ];
        frames.extend((0..34).map(|cut| Spec::udp().frame()[..cut].to_vec()));
        frames.into_iter().map(HeapFrame).collect::<Vec<_>>()
    };
    let mut bursts: Vec<_> = (0..5000).map(frames).collect();
    let source = Source::Port { port: OUTSIDE, keeps_flows: false };
    let seen = allocation_counter::measure(|| {
        for (i, burst) in bursts.iter_mut().enumerate() {
            let now = Tick::at(seconds(i as f64 / 10.0));
            path.process_burst(burst, source, &world, now);
            path.sweep(16, &world, now);
        }
    });
    assert_eq!((seen.count_total, seen.bytes_total), (0, 0));
}
