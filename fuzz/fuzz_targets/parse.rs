//! The parser of frames: nothing makes it panic, and what it takes for TCP or UDP etherparse reads alike.
#![no_main]

use std::net::IpAddr;

use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use guideway::packet::{Parsed, parse};
use libfuzzer_sys::fuzz_target;

#[path = "mended.rs"]
mod mended;

fuzz_target!(|bytes: &[u8]| {
    check(bytes);
    check(&mended::mended(bytes));
});

fn check(frame: &[u8]) {
    let Ok(Parsed::Transport(packet)) = parse(frame) else { return };
    let sliced = SlicedPacket::from_ethernet(frame).expect("etherparse does not take it");
    // Mobility, HIP and Shim6 (RFC 7045 section 3), which it does not look behind.
    let carried = sliced.ip_payload().map(|payload| payload.ip_number.0);
    if carried.is_some_and(|number| [135, 139, 140].contains(&number)) {
        return;
    }
    let (source, destination) = match sliced.net.expect("etherparse finds no IP") {
        NetSlice::Ipv4(ip) => (ip.header().source_addr().into(), ip.header().destination_addr().into()),
        NetSlice::Ipv6(ip) => (ip.header().source_addr().into(), ip.header().destination_addr().into()),
        NetSlice::Arp(_) => panic!("etherparse finds ARP"),
    };
    assert_eq!((source, destination), (IpAddr::from(packet.ip.source), IpAddr::from(packet.ip.destination)));
    let ports = match sliced.transport.expect("etherparse finds no transport") {
        TransportSlice::Tcp(tcp) => (tcp.source_port(), tcp.destination_port()),
        TransportSlice::Udp(udp) => (udp.source_port(), udp.destination_port()),
        other => panic!("etherparse finds {other:?}"),
    };
    assert_eq!(ports, (packet.source_port, packet.destination_port));
}
