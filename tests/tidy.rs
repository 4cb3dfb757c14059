//! The rules of the house that a program can check: who imports whom, where `unsafe` is, how long files and
//! functions are, and that the registry's dead `dpdk-sys` is not ours.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Which modules a module may import. Listed modules import nothing else of ours.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("wire", &[]),
    ("maglev", &[]),
    ("drop_reason", &[]),
    ("tick", &[]),
    ("io", &["wire"]),
    ("packet", &["wire", "drop_reason"]),
    ("config", &["wire", "io"]),
    ("import", &["config"]),
    ("watch", &["wire", "drop_reason", "io", "config"]),
    ("snapshot", &["wire", "maglev", "drop_reason", "tick", "io", "packet", "config", "watch"]),
    ("dataplane", &["wire", "drop_reason", "tick", "io", "packet", "snapshot", "watch"]),
    ("dpdk", &["io"]),
    ("replay", &["wire", "tick", "io", "config", "snapshot", "dataplane"]),
    ("control", &["wire", "drop_reason", "io", "packet", "config", "snapshot", "dataplane", "dpdk", "watch"]),
    ("doctor", &["config", "dataplane", "dpdk", "control"]),
    (
        "cli",
        &[
            "wire",
            "io",
            "maglev",
            "packet",
            "config",
            "snapshot",
            "dataplane",
            "control",
            "doctor",
            "replay",
            "import",
        ],
    ),
];

const LINES_MAX: usize = 450;

fn sources() -> Vec<(PathBuf, String)> {
    fn walk(folder: &Path, found: &mut Vec<(PathBuf, String)>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push((path.clone(), fs::read_to_string(&path).unwrap()));
            }
        }
    }
    let mut found = Vec::new();
    walk(Path::new("src"), &mut found);
    assert!(found.len() > 30, "where are the sources?");
    found
}

/// The text before the tests of the file.
fn code(text: &str) -> &str {
    text.split("\n#[cfg(test)]").next().unwrap_or(text)
}

fn module_of(path: &Path) -> String {
    let second = path.components().nth(1).unwrap().as_os_str().to_str().unwrap();
    second.trim_end_matches(".rs").to_owned()
}

#[test]
fn imports_go_one_way() {
    let may: BTreeMap<&str, &[&str]> = MAY_IMPORT.iter().copied().collect();
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        let module = module_of(&path);
        if ["lib", "main"].contains(&module.as_str()) {
            continue;
        }
        let allowed = may.get(module.as_str()).unwrap_or_else(|| panic!("{module} is not in the table"));
        for (number, line) in
            code(&text).lines().enumerate().filter(|(_, line)| !line.trim().starts_with("//"))
        {
            for rest in line.split("crate::").skip(1) {
                let name: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                if name != module && !name.is_empty() && !allowed.contains(&name.as_str()) {
                    wrong.push(format!("{}:{}: {module} imports {name}", path.display(), number + 1));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn unsafe_is_behind_the_fence() {
    for (path, text) in sources() {
        if !path.starts_with("src/dpdk") {
            let found = text.lines().any(|line| line.contains("unsafe {") || line.contains("unsafe fn"));
            assert!(!found, "{}", path.display());
        }
    }
}

#[test]
fn files_are_short_enough_to_be_read() {
    for (path, text) in sources() {
        let lines = code(&text).lines().count();
        assert!(lines <= LINES_MAX, "{} has {lines} lines of code", path.display());
    }
}

#[test]
fn the_path_neither_logs_nor_prints_nor_asks_the_time() {
    const FORBIDDEN: [&str; 7] =
        ["log::", "println!", "print!(", "Instant::now", "SystemTime", "Mutex", "format!("];
    for (path, text) in sources() {
        let on_the_path = ["wire", "packet", "dataplane"].contains(&module_of(&path).as_str());
        // The loop around the path reads the clock, once a round.
        if !on_the_path || path.ends_with("worker.rs") {
            continue;
        }
        for word in FORBIDDEN {
            assert!(!code(&text).contains(word), "{} says {word}", path.display());
        }
    }
}

#[test]
fn dpdk_sys_is_our_own() {
    let lock = fs::read_to_string("Cargo.lock").unwrap();
    let entry = lock.split("[[package]]").find(|entry| entry.contains("name = \"dpdk-sys\"")).unwrap();
    assert!(!entry.contains("source ="), "{entry}");
}
