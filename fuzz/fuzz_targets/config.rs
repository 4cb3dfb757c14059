//! Configuration text: nothing makes it panic, and a configuration that is taken, written out, is taken again and means
//! the same.
#![no_main]

use guideway::config::{ConfigFlags, load_text, to_text};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let flags = ConfigFlags::default();
    match load_text("fuzz.toml", text, &flags) {
        Ok(loaded) => {
            let written = to_text(&loaded.model);
            let again =
                load_text("written.toml", &written, &flags).map_err(|e| e.to_string()).expect("taken again");
            assert_eq!(to_text(&again.model), written);
        }
        Err(findings) => assert!(!findings.to_string().is_empty()),
    }
});
