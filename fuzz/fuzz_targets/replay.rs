//! Frames through the whole path, with several workers and the clock going on: nothing makes it panic, every frame has one
//! end, and where the checksums of all that came in are right, those of what leaves are right too.
//!
//! The input is frame after frame: a byte of flags (the lowest bit is the port, the next asks for the IPv4 header's checksum
//! to be made right, the other six are a length of time), two bytes of length, lowest first, and the frame.
#![no_main]

use std::sync::LazyLock;
use std::time::Duration;

use guideway::config::{ConfigFlags, Model, load_text};
use guideway::control::REPLAY_KEY;
use guideway::io::PortId;
use guideway::replay::Replay;
use libfuzzer_sys::fuzz_target;

#[allow(dead_code, reason = "the tests use more of it")]
#[path = "../../tests/conformance/decode.rs"]
mod decode;
#[path = "mended.rs"]
mod mended;

static MODEL: LazyLock<Model> = LazyLock::new(|| {
    let text = include_str!("replay.toml");
    load_text("replay.toml", text, &ConfigFlags::default())
        .map_err(|e| e.to_string())
        .expect("a good file")
        .model
});

fuzz_target!(|bytes: &[u8]| {
    let mut replay = Replay::new(&MODEL, REPLAY_KEY, 2).expect("it begins");
    let mut now = Duration::ZERO;
    let (mut rest, mut all_right) = (bytes, true);
    while let Some((&[flags, low, high], behind)) = rest.split_first_chunk() {
        let len = usize::from(u16::from_le_bytes([low, high])).min(behind.len());
        let (frame, next) = behind.split_at(len);
        rest = next;
        now += Duration::from_millis(300) * u32::from(flags >> 2);
        let frame = if flags & 2 == 0 { frame.to_vec() } else { mended::mended(frame) };
        all_right &= decode::checksums_are_right(&frame);
        for (_, sent) in replay.frame(now, PortId(flags & 1), frame) {
            assert!(sent.len() >= 14, "no Ethernet header");
            if all_right {
                for layer in decode::layers(&sent) {
                    assert!(layer.is_right, "at {}: {}", layer.start, layer.text);
                }
            }
        }
    }
    let totals = replay.totals();
    assert_eq!(
        totals.received,
        totals.transmitted + totals.answered + totals.controlled + totals.held + totals.dropped()
    );
    assert_eq!(totals.handed_over, totals.taken_over);
});
