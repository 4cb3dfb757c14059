//! The documents held against the code: samples load, and CONFIG.md knows every key and flag.

use clap::CommandFactory;

use super::*;
use crate::config::sections::{ROOT_KEYS, SECTIONS};

const CONFIG_MD: &str = include_str!("../../../docs/CONFIG.md");
const TWO_ARM: &str = include_str!("../../../dpdk-config/two-arm.toml");
const ONE_ARM: &str = include_str!("../../../dpdk-config/one-arm.toml");
const FLAGS_ONLY: &str = include_str!("../../../dpdk-config/flags-only.sh");

#[test]
fn every_sample_loads_without_findings() {
    for (name, text) in [("two-arm.toml", TWO_ARM), ("one-arm.toml", ONE_ARM)] {
        let loaded = load_text(name, text, &ConfigFlags::default()).unwrap_or_else(|all| panic!("{all}"));
        assert_eq!(loaded.warnings, [], "{name}");
        assert_eq!(require_devices(&loaded.model), Ok(()), "{name}");
    }
}

#[test]
fn the_sample_of_flags_says_the_same_as_its_file() {
    let (_, command) = FLAGS_ONLY.split_once("guideway run").unwrap();
    let words = command.split_whitespace().filter(|word| *word != "\\").take_while(|word| *word != "--");
    let words: Vec<&str> = words.collect();
    let (by_flags, by_file) = (load("", &words).unwrap(), load(TWO_ARM, &[]).unwrap());
    assert_eq!(by_flags.warnings, []);
    let (by_flags, by_file) = (by_flags.model, by_file.model);
    assert_eq!((by_flags.dataplane, by_flags.control), (by_file.dataplane, by_file.control));
    assert_eq!(by_flags.ports, by_file.ports);
    let rule_without_pool = |rule: &Rule| {
        let backends = rule.pool.backends.clone();
        (rule.name.clone(), rule.frontend, backends, rule.backend_port, rule.distribution, rule.idle_timeout)
    };
    let rules = |model: &[Rule]| model.iter().map(rule_without_pool).collect::<Vec<_>>();
    assert_eq!(rules(&by_flags.rules), rules(&by_file.rules));
}

#[test]
fn the_manual_names_every_key_in_its_section() {
    for (section, keys) in SECTIONS {
        let heading = format!("\n### `{section}`");
        let (_, rest) = CONFIG_MD.split_once(&heading).unwrap_or_else(|| panic!("no heading for {section}"));
        let text = rest.split("\n### ").next().unwrap_or_default();
        for key in keys {
            assert!(text.contains(&format!("\n| `{key}` |")), "{section} lacks {key}");
        }
    }
    for key in ROOT_KEYS {
        assert!(
            CONFIG_MD.contains(&format!("`{key}`")) || CONFIG_MD.contains(&format!("[[{key}]]")),
            "{key}"
        );
    }
}

#[test]
fn the_manual_names_every_flag() {
    for argument in Cli::command().get_arguments() {
        if let Some(long) = argument.get_long() {
            assert!(CONFIG_MD.contains(&format!("\n| `--{long}")), "--{long}");
        }
    }
}

#[test]
fn the_manuals_example_of_a_file_loads() {
    let (_, rest) = CONFIG_MD.split_once("```toml\n").unwrap();
    let (example, _) = rest.split_once("```").unwrap();
    load(example, &[]).unwrap_or_else(|all| panic!("{all}"));
}

/// The file that all versions agree on, less what this one does not do.
const CONTRACT: &str = r#"
[dataplane]
workers = "2-5"
management_cpu = 0
flows_per_worker = 1_048_576
idle = "spin"
hash_key = "00112233445566778899aabbccddeeff"
eal = ["--file-prefix=gw"]
[control]
socket = "/run/guideway/control.sock"
metrics = "127.0.0.1:9464"
[[port]]
name = "outside"
device = "0000:3b:00.0"
addresses = ["198.51.100.2/24", "2001:db8:1::2/64"]
gateway = "198.51.100.1"
gateway6 = "2001:db8:1::1"
mtu = 1500
[[port]]
name = "inside"
device = "0000:3b:00.1"
addresses = ["10.0.0.1/24"]
[[neighbour]]
address = "10.0.0.4"
mac = "02:00:00:00:00:04"
[[pool]]
name = "web"
backends = [
  { address = "10.0.0.4" },
  { address = "10.0.0.5", weight = 2 },
  { address = "10.0.0.6", state = "down" },
]
[[pool]]
name = "relay"
addresses = "10.0.1.4-10.0.1.99"
instances = 3
[[probe]]
name = "web-ready"
kind = "http"
port = 8081
path = "/healthz"
interval = "5s"
timeout = "2s"
rise = 1
fall = 2
via = "host"
[[rule]]
name = "https"
frontend = "203.0.113.10:443/tcp"
pool = "web"
backend_port = 8443
forward = "nat"
distribution = "5-tuple"
idle_timeout = "4m"
tcp_reset = false
probe = "web-ready"
no_healthy_backends = "drop"
"#;

#[test]
fn the_contracts_file_loads_and_what_nothing_uses_is_said() {
    let places: Vec<_> = load(CONTRACT, &[]).unwrap().warnings.iter().map(|warning| warning.place).collect();
    assert_eq!(places, [Place::Line(34)]);
}

#[test]
fn every_key_is_read_under_its_own_name() {
    for (section, keys) in SECTIONS {
        for key in keys {
            // A date is the value of no key: who reads a key says so.
            let wrong = match section {
                "dataplane" | "control" => format!("[{section}]\n{key} = 1979-05-27\n"),
                "backends" => format!("[[pool]]\nbackends = [\n{{ {key} = 1979-05-27 }}]\n"),
                _ => format!("[[{section}]]\n{key} = 1979-05-27\n"),
            };
            let all = errors(&wrong, &[]);
            let wanted = format!(" has a date or time as {key}; write it as {key} = ");
            assert!(all.iter().any(|line| line.contains(&wanted)), "{section}.{key}: {all:?}");
            assert!(!all.iter().any(|line| line.contains("unknown key")), "{section}.{key}: {all:?}");
        }
    }
}
