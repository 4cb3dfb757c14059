//! The conformance suite: every directory of tests/conformance/ through `guideway replay`, whole frames compared.
//!
//! | file of a case | holds |
//! |---|---|
//! | `why.txt` | what is tested, and which RFC says so |
//! | `guideway.toml`, `arguments` | the configuration, and further arguments of `replay`, if any |
//! | `in-PORT.pcap` | what comes in |
//! | `out-PORT.pcap` | what must leave, to the last byte and at that time |
//! | `case.toml` | what the counters must say; bits of what leaves that derive from the flow, and so may be anything |
//!
//! The files are made by tests/conformance/generator/. After a change there:
//! `WRITE_CONFORMANCE=1 cargo test --test conformance`, which deletes all cases and writes them anew first.
#![allow(unreachable_pub, clippy::unwrap_used, clippy::panic, reason = "a test may fail")]

#[path = "conformance/decode.rs"]
mod decode;
#[path = "conformance/generator/mod.rs"]
mod generator;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Once;
use std::time::Duration;

use decode::{checksums_are_right, layers};
use generator::{Expected, Masked};
use pcap_file::pcap::PcapReader;

type Timed = (Duration, Vec<u8>);

fn suite() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance")
}

fn case_directories() -> Vec<PathBuf> {
    written();
    let entries = fs::read_dir(suite()).unwrap().map(|entry| entry.unwrap().path());
    let mut cases: Vec<_> = entries.filter(|path| path.join("why.txt").is_file()).collect();
    cases.sort();
    cases
}

fn frames(capture: &[u8]) -> Vec<Timed> {
    let mut reader = PcapReader::new(capture).unwrap();
    let mut frames = Vec::new();
    while let Some(packet) = reader.next_packet() {
        let packet = packet.unwrap();
        frames.push((packet.timestamp, packet.data.into_owned()));
    }
    frames
}

// ---- the comparison ----------------------------------------------------------------------------------------------------

/// Which bits of each byte count.
fn counting_bits(masks: &[&Masked], len: usize) -> Vec<u8> {
    let mut counts = vec![0xff; len];
    for mask in masks {
        for (at, digits) in (mask.offset..).zip(mask.bits.as_bytes().chunks(2)) {
            counts[at] &= !u8::from_str_radix(str::from_utf8(digits).unwrap(), 16).unwrap();
        }
    }
    counts
}

/// What is wrong with a frame, if anything.
fn difference(wanted: &[u8], got: &[u8], masks: &[&Masked]) -> Option<String> {
    let counts = counting_bits(masks, wanted.len());
    let differs = |at: usize| got.get(at).is_none_or(|byte| (byte ^ wanted[at]) & counts[at] != 0);
    let at = (0..wanted.len())
        .find(|at| differs(*at))
        .or_else(|| (got.len() > wanted.len()).then_some(wanted.len()));
    let Some(at) = at else {
        let is_masked = !masks.is_empty();
        return (is_masked && !checksums_are_right(got))
            .then(|| format!("a checksum is wrong\n{}", decoded(got)));
    };
    let byte = |frame: &[u8]| frame.get(at).map_or("none".to_owned(), |byte| format!("{byte:02x}"));
    let layer = layers(wanted).into_iter().rev().find(|layer| layer.start <= at);
    let place = layer.map_or(String::new(), |l| {
        let name: String = l.text.split([' ', '{']).take(2).collect::<Vec<_>>().join(" ");
        format!(", byte {} of {name}", at - l.start)
    });
    Some(format!(
        "byte {at}{place} is {} and not {}\n  wanted, {} bytes\n{}\n  got, {} bytes\n{}",
        byte(got),
        byte(wanted),
        wanted.len(),
        decoded(wanted),
        got.len(),
        decoded(got)
    ))
}

fn decoded(frame: &[u8]) -> String {
    let wrong = |is_right| if is_right { "" } else { "   CHECKSUM OR LENGTH IS WRONG" };
    let line = |l: decode::Layer| format!("    {:>4}  {}{}", l.start, l.text, wrong(l.is_right));
    layers(frame).into_iter().map(line).collect::<Vec<_>>().join("\n")
}

/// What is wrong with the frames that left by one port.
fn compared(port: &str, wanted: &[Timed], got: &[Timed], masks: &[Masked]) -> Option<String> {
    for (index, ((at, frame), (got_at, got_frame))) in wanted.iter().zip(got).enumerate() {
        let masks: Vec<_> = masks.iter().filter(|mask| mask.port == port && mask.frame == index).collect();
        if let Some(difference) = difference(frame, got_frame, &masks) {
            return Some(format!("{port}, frame {index}: {difference}"));
        }
        if at != got_at {
            return Some(format!("{port}, frame {index}: left at {got_at:?} and not at {at:?}"));
        }
    }
    let (index, what) =
        (wanted.len().min(got.len()), if wanted.len() < got.len() { "too many" } else { "missing" });
    let odd = wanted.get(index).or(got.get(index))?;
    Some(format!("{port}: {} frames left and not {}; {what}:\n{}", got.len(), wanted.len(), decoded(&odd.1)))
}

/// Replays a case, and says what is wrong.
fn replayed(case: &Path, workers: &str) -> Option<String> {
    let outputs = tempfile::tempdir().unwrap();
    let read = |name: &str| fs::read(case.join(name)).unwrap();
    let expected: Expected = toml::from_str(str::from_utf8(&read("case.toml")).unwrap()).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_guideway"));
    command.args(["replay", "--json", "--workers", workers, "--config"]).arg(case.join("guideway.toml"));
    let mut ports = Vec::new();
    let files = fs::read_dir(case).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    for file in files.collect::<BTreeSet<_>>() {
        if let Some(port) = file.strip_prefix("in-").and_then(|rest| rest.strip_suffix(".pcap")) {
            command.arg("--in").arg(format!("{port}={}", case.join(&file).display()));
        } else if let Some(port) = file.strip_prefix("out-").and_then(|rest| rest.strip_suffix(".pcap")) {
            command.arg("--out").arg(format!("{port}={}", outputs.path().join(&file).display()));
            ports.push((port.to_owned(), file.clone()));
        }
    }
    if case.join("arguments").is_file() {
        command.args(String::from_utf8(read("arguments")).unwrap().split_whitespace());
    }
    let output = command.env_remove("RUST_LOG").stdin(Stdio::null()).output().unwrap();
    if !output.status.success() {
        return Some(format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr)));
    }
    for (port, file) in ports {
        let left = frames(&fs::read(outputs.path().join(&file)).unwrap());
        let wrong = compared(&port, &frames(&read(&file)), &left, &expected.masks);
        if wrong.is_some() {
            return wrong;
        }
    }
    counted(&expected, &serde_json::from_slice(&output.stdout).unwrap())
}

fn counted(expected: &Expected, got: &serde_json::Value) -> Option<String> {
    let mut wanted = serde_json::json!({
        "transmitted": expected.transmitted,
        "answered": expected.answered,
        "controlled": expected.controlled,
        "drops": expected.drops,
    });
    if let Some((created, expired)) = expected.flows {
        wanted["flows"] =
            serde_json::json!({ "created": created, "expired": expired, "reclaimed": 0, "untracked": 0 });
    }
    let wrong = |(key, wanted): (&String, &serde_json::Value)| {
        (got[key] != *wanted).then(|| format!("{key} is {} and not {wanted}", got[key]))
    };
    wanted.as_object().unwrap().iter().find_map(wrong)
}

#[test]
fn every_case_comes_out_right_whatever_the_number_of_workers() {
    let cases = case_directories();
    assert!(cases.len() >= 40, "where are the cases?");
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let runs: Vec<_> = cases.iter().flat_map(|case| ["1", "3"].map(|workers| (case, workers))).collect();
    let mut wrong: Vec<String> = std::thread::scope(|scope| {
        let handles: Vec<_> = runs
            .chunks(runs.len().div_ceil(threads))
            .map(|runs| {
                scope.spawn(|| runs.iter().filter_map(|(case, workers)| said(case, workers)).collect())
            })
            .collect();
        handles.into_iter().flat_map(|handle| -> Vec<String> { handle.join().unwrap() }).collect()
    });
    wrong.sort();
    assert!(wrong.is_empty(), "{} of {}:\n\n{}", wrong.len(), runs.len(), wrong.join("\n\n"));
}

fn said(case: &Path, workers: &str) -> Option<String> {
    let wrong = replayed(case, workers)?;
    let why = fs::read_to_string(case.join("why.txt")).unwrap();
    let name = case.file_name().unwrap().to_str().unwrap();
    Some(format!("{name}, {workers} workers ({}): {wrong}", why.trim()))
}

// ---- the generator -----------------------------------------------------------------------------------------------------

fn generated(waiting: bool) -> BTreeMap<String, BTreeMap<String, Vec<u8>>> {
    let mut all = BTreeMap::new();
    for case in generator::cases(waiting) {
        let name = case.name.clone();
        assert!(all.insert(name.clone(), case.files()).is_none(), "two cases are called {name}");
    }
    all
}

/// Deletes all cases and writes them anew, where that is asked for; once, before any test looks at them.
fn written() {
    static WRITTEN: Once = Once::new();
    WRITTEN.call_once(|| {
        if std::env::var_os("WRITE_CONFORMANCE").is_some() {
            write_all();
        }
    });
}

fn write_all() {
    let there = fs::read_dir(suite()).unwrap().map(|entry| entry.unwrap().path());
    for case in there.filter(|path| path.join("why.txt").is_file()) {
        fs::remove_dir_all(case).unwrap();
    }
    for (name, files) in generated(false) {
        let directory = suite().join(name);
        fs::create_dir(&directory).unwrap();
        for (file, bytes) in files {
            fs::write(directory.join(file), bytes).unwrap();
        }
    }
}

#[test]
fn the_files_are_what_the_generator_makes() {
    let mut there = BTreeMap::new();
    for case in case_directories() {
        let files = fs::read_dir(&case).unwrap().map(|entry| entry.unwrap());
        let files =
            files.map(|f| (f.file_name().into_string().unwrap(), fs::read(f.path()).unwrap())).collect();
        there.insert(case.file_name().unwrap().to_str().unwrap().to_owned(), files);
    }
    let made = generated(false);
    let differ: BTreeSet<_> =
        made.keys().chain(there.keys()).filter(|name| made.get(*name) != there.get(*name)).collect();
    assert!(differ.is_empty(), "made otherwise, or not there; see the head of this file: {differ:#?}");
}

/// Also of those that wait: a wrong frame would have to be found twice.
#[test]
fn what_is_expected_has_right_checksums() {
    for (name, files) in generated(true) {
        let expected: Expected = toml::from_str(str::from_utf8(&files["case.toml"]).unwrap()).unwrap();
        for (file, bytes) in files.iter().filter(|(file, _)| file.starts_with("out-")) {
            for (index, (_, frame)) in frames(bytes).iter().enumerate() {
                let is_right = checksums_are_right(frame) != expected.wrong_checksums;
                assert!(is_right, "{name}, {file}, frame {index}:\n{}", decoded(frame));
            }
        }
    }
}
