//! `tcp_reset = true`: both ends of a TCP flow that has been idle for too long are told, where they are.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail")]

mod common;

use common::{INSIDE, OUTSIDE, Spec, assert_balanced, balancer, seconds, with_backends};
use etherparse::{SlicedPacket, TransportSlice};

const RULE: &str = "idle_timeout = \"10s\"\ntcp_reset = true";

fn config(rule: &str) -> String {
    let text = with_backends(&common::numbered([4], ""), "");
    text.replace("backend_port = 8443", &format!("backend_port = 8443\n{rule}"))
}

fn segment(flags: &'static str, sequence: u32, acknowledgement: u32, payload: &[u8]) -> Vec<u8> {
    let spec = Spec { payload: payload.to_vec(), ..Spec::tcp(flags) };
    let mut frame = spec.frame();
    frame[38..42].copy_from_slice(&sequence.to_be_bytes());
    frame[42..46].copy_from_slice(&acknowledgement.to_be_bytes());
    frame
}

/// Port, source and destination port, sequence and acknowledgement number of a reset.
fn reset(frame: &[u8]) -> (u16, u16, u32, u32) {
    let packet = SlicedPacket::from_ethernet(frame).unwrap();
    let Some(TransportSlice::Tcp(tcp)) = packet.transport else { panic!("no TCP") };
    assert!(tcp.rst() && !tcp.syn() && !tcp.fin());
    (tcp.source_port(), tcp.destination_port(), tcp.sequence_number(), tcp.acknowledgment_number())
}

#[test]
fn both_ends_get_a_reset_at_their_numbers_and_later_segments_are_answered() {
    // Numbers go round a circle: the client's and the backend's begin anywhere.
    for (workers, client, backend) in
        [(1, 0, 0), (2, 0x8000_0000, 0xf000_0000), (3, 0xffff_fc18, 0xffff_e000)]
    {
        let number = |of: u32, offset: u32| of.wrapping_add(offset);
        let segment = |flags, sequence, acknowledgement, payload: &[u8]| {
            let acknowledgement = if acknowledgement == 0 { 0 } else { number(backend, acknowledgement) };
            segment(flags, number(client, sequence), acknowledgement, payload)
        };
        let mut replay = balancer(&config(RULE), workers);
        let mut send = |at: f64, frame: Vec<u8>| replay.frame(seconds(at), OUTSIDE, frame);
        assert_eq!(send(0.0, segment("S", 999, 0, b"")).len(), 1);
        assert_eq!(send(0.1, segment("A", 1000, 5000, b"")).len(), 1);
        assert_eq!(send(0.2, segment("PA", 1000, 5000, b"0123456789")).len(), 1);
        assert_eq!(send(5.0, segment("A", 1010, 7000, b"")).len(), 1);
        // Sent again: takes nothing back.
        assert_eq!(send(5.1, segment("PA", 1000, 5000, b"0123456789")).len(), 1);
        // Anything that has the clock move.
        let sent = send(16.0, vec![0; 60]);
        let ports: Vec<_> = sent.iter().map(|(port, frame)| (*port, reset(frame))).collect();
        assert_eq!(ports.len(), 2, "{workers}");
        assert!(
            ports.contains(&(OUTSIDE, (443, 40_000, number(backend, 7000), number(client, 1010)))),
            "{ports:?}"
        );
        assert!(
            ports.contains(&(INSIDE, (40_000, 8443, number(client, 1010), number(backend, 7000)))),
            "{ports:?}"
        );
        // The client speaks again.
        let sent = send(17.0, segment("PA", 1010, 7000, b"late"));
        let ports: Vec<_> = sent.iter().map(|(port, frame)| (*port, reset(frame))).collect();
        assert!(ports.contains(&(OUTSIDE, (443, 40_000, number(backend, 7000), 0))), "{ports:?}");
        // A new connection from the same port is one.
        let sent = send(18.0, segment("S", 70_000, 0, b""));
        assert_eq!(sent.len(), 1);
        assert_eq!(sent[0].0, INSIDE);
        assert_balanced(&replay);
    }
}

#[test]
fn flows_that_were_never_established_end_in_silence_and_others_too_without_the_key() {
    for (rule, packets) in [(RULE, 1), ("idle_timeout = \"10s\"", 3)] {
        let mut replay = balancer(&config(rule), 1);
        for packet in
            [segment("S", 999, 0, b""), segment("A", 1000, 5000, b""), segment("A", 1000, 5001, b"")]
                .into_iter()
                .take(packets)
        {
            replay.frame(seconds(0.0), OUTSIDE, packet);
        }
        assert!(replay.frame(seconds(60.0), OUTSIDE, vec![0; 60]).is_empty());
        assert_balanced(&replay);
    }
}
