//! The parser of ARP: nothing makes it panic, and what it takes, written again, is what it was.
#![no_main]

use guideway::wire::arp::Packet;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(packet) = Packet::parse(bytes) {
        let frame = packet.to_frame(packet.sender_mac);
        assert_eq!(frame[14..42], bytes[..28]);
    }
});
