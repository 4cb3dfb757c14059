//! QUIC connection ids: no payload makes the readers panic, and what is read without a key stands there.
#![no_main]

use guideway::packet::quic::{Coding, Reading, ServerId};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some(([settings, nonce, keyed], payload)) = bytes.split_first_chunk() else { return };
    let _ = Coding::Katran.read(payload);
    let (config, id_len, nonce_len) = (settings >> 5, usize::from(settings & 15), usize::from(nonce % 20));
    let key = (keyed & 1 == 1).then_some([*keyed; 16]);
    let Some(coding) = Coding::quic_lb(config, id_len, nonce_len, key) else { return };
    let Reading::Server(id) = coding.read(payload) else { return };
    let at = if payload[0] & 0x80 == 0 { 1 } else { 6 };
    assert_eq!(payload[at] >> 5, config);
    if key.is_none() {
        assert_eq!(ServerId::of_bytes(&payload[at + 1..at + 1 + id_len]), Some(id));
    }
});
