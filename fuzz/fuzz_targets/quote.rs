//! What ICMP errors quote: nothing makes the parser panic, and what it says lies within the frame.
#![no_main]

use guideway::packet::parse_quote;
use libfuzzer_sys::fuzz_target;

#[path = "mended.rs"]
mod mended;

fuzz_target!(|bytes: &[u8]| {
    check(bytes);
    check(&mended::mended(bytes));
});

/// The quoted packet stands where a frame's would.
fn check(frame: &[u8]) {
    let Ok(quote) = parse_quote(frame, 14) else { return };
    assert_eq!(quote.ip.source.is_ipv4(), quote.ip.destination.is_ipv4());
    assert!(usize::from(quote.ip.payload_offset) <= frame.len());
    if let Some(ends) = quote.ends {
        assert!(usize::from(quote.ip.payload_offset) + 8 <= frame.len());
        assert!(ends.checksum_offset.is_none_or(|at| usize::from(at) + 2 <= frame.len()));
    }
}
