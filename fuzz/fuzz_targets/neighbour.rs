//! Neighbour discovery: nothing makes the parser panic, and what is taken is of one hop and of IPv6.
#![no_main]

use guideway::packet::{Parsed, neighbour_message, parse};
use guideway::wire::{checksum, ipv6};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    check(bytes);
    check(&mended(bytes));
});

fn check(frame: &[u8]) {
    let Ok(Parsed::Icmp(ip)) = parse(frame) else { return };
    if let Ok(Some(_)) = neighbour_message(frame, &ip) {
        assert!(ip.source.is_ipv6() && ip.hop_limit == 255 && ip.fragment.is_none());
    }
}

/// With the checksum of an ICMPv6 message behind a plain header made right: past it there is more to be found.
fn mended(frame: &[u8]) -> Vec<u8> {
    let mut mended = frame.to_vec();
    let Ok(Parsed::Icmp(ip)) = parse(frame) else { return mended };
    let (at, end) = (usize::from(ip.payload_offset), ip.end());
    if ip.protocol == ipv6::PROTOCOL_ICMPV6
        && let Some(message) = mended.get_mut(at..end)
    {
        message[2..4].fill(0);
        let field = checksum::field(checksum::with_pseudo(ip.source, ip.destination, ip.protocol, message));
        message[2..4].copy_from_slice(&field);
    }
    mended
}
