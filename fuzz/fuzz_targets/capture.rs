//! The reader of captures: nothing makes it panic or go on for ever, and frames are no longer than their file.
#![no_main]

use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

use guideway::io::capture::CaptureReader;
use libfuzzer_sys::fuzz_target;

static FILE: LazyLock<PathBuf> = LazyLock::new(|| {
    let shared = PathBuf::from("/dev/shm");
    let directory = if shared.is_dir() { shared } else { std::env::temp_dir() };
    directory.join(format!("guideway-fuzz-{}.pcap", std::process::id()))
});

fuzz_target!(|bytes: &[u8]| {
    fs::write(&*FILE, bytes).expect("a file can be written");
    if let Ok(mut reader) = CaptureReader::open(&FILE) {
        let _ = reader.has_nanoseconds();
        let mut total = 0;
        while let Ok(Some((_, frame))) = reader.next_frame() {
            total += frame.len();
            assert!(total <= bytes.len());
        }
    }
    let _ = fs::remove_file(&*FILE);
});
