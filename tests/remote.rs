//! Metrics and the control API over TCP: what they tell, whom they refuse, and that nothing a client sends can hurt.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail")]

mod common;
mod running;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use common::*;
use guideway::config::{ControlSettings, Metrics, Remote};
use guideway::control::{Doors, DoorsError, TokenError};
use running::*;
use serde_json::Value;

/// The sum of `name` over the label sets that contain `part`.
fn sum(values: &BTreeMap<String, f64>, name: &str, part: &str) -> f64 {
    values
        .iter()
        .filter(|(n, _)| n.starts_with(&format!("{name}{{")) && n.contains(part))
        .map(|(_, v)| v)
        .sum()
}

#[test]
fn metrics_say_what_the_api_says_and_every_drop_reason_is_there() {
    let running = Running::new(model(&config()));
    for port in 0..60 {
        let spec = Spec { from: (CLIENT, 1024 + port), ..Spec::tcp("S") };
        running.frames.send(spec.frame()).unwrap();
    }
    running.frames.send(vec![0; 60]).unwrap();
    let counted = |values: &BTreeMap<String, f64>| {
        let sum = |name| sum(values, name, "");
        (sum("guideway_worker_transmitted_frames_total"), sum("guideway_dropped_frames_total")) == (60.0, 1.0)
    };
    running.values_when(counted);
    // The worker went on while that was read: what was read first can be older than what was read last.
    let values = running.values();
    let (_, told) = running.ask("GET", "/v1/backends", "");
    for backend in told["backends"].as_array().unwrap() {
        let labels = format!(
            "{{rule={},frontend={},pool={},backend=\"{}:{}\"}}",
            backend["rule"],
            backend["frontend"],
            backend["pool"],
            backend["address"].as_str().unwrap(),
            backend["port"]
        );
        for (metric, field) in [
            ("active_flows", "flows"),
            ("flows_total", "flows_total"),
            ("to_backend_packets_total", "packets_to_backend"),
            ("to_backend_bytes_total", "bytes_to_backend"),
            ("to_client_packets_total", "packets_to_client"),
            ("weight", "weight"),
            ("share_ratio", "share"),
        ] {
            let value = values[&format!("guideway_backend_{metric}{labels}")];
            assert_eq!(Some(value), backend[field].as_f64(), "{metric} {labels}");
        }
        let state = |state| {
            values[&format!("guideway_backend_state{},state=\"{state}\"}}", &labels[..labels.len() - 1])]
        };
        assert_eq!((state("up"), state("down"), state("drain"), state("removed")), (1.0, 0.0, 0.0, 0.0));
    }
    assert_eq!(sum(&values, "guideway_rule_to_backend_packets_total", "\"https\""), 60.0);
    assert_eq!(sum(&values, "guideway_backend_to_backend_packets_total", "\"https\""), 60.0);
    assert_eq!(sum(&values, "guideway_flow_table_flows", ""), 60.0);
    assert_eq!(sum(&values, "guideway_flow_table_capacity_flows", ""), 1024.0);
    let (_, told) = running.ask("GET", "/v1/counters", "");
    for drop in told["drops"].as_array().unwrap() {
        let value = values[&format!("guideway_dropped_frames_total{{reason={}}}", drop["reason"])];
        assert_eq!(Some(value), drop["frames"].as_f64(), "{drop}");
    }
    assert_eq!(sum(&values, "guideway_dropped_frames_total", ""), 1.0);
    assert_eq!(values["guideway_port_speed_bytes{port=\"outside\"}"], 125e6);
}

/// `docs/METRICS.md` names each metric, with the labels that are its own, and none that there is not.
#[test]
fn the_documented_metrics_are_those_that_are_served() {
    let probe =
        "[[probe]]\nname = \"p\"\nkind = \"tcp\"\nport = 1\ninterval = \"200ms\"\ntimeout = \"100ms\"\n";
    let running = Running::new(model(&(config().replace("[[rule]]", "[[rule]]\nprobe = \"p\"") + probe)));
    let (_, text) = running.scrape("*/*");
    let served: BTreeSet<&str> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    let mut documented = BTreeSet::new();
    let rows = include_str!("../docs/METRICS.md").lines().filter_map(|line| line.strip_prefix("| `"));
    for name in rows.flat_map(|row| row.split(" | ").next().unwrap_or_default().split(", ")) {
        let name = name.trim_matches('`').split(['{', '`']).next().unwrap_or_default();
        match name.strip_prefix('…') {
            Some(end) => documented.extend(["rule", "backend"].map(|of| format!("guideway_{of}{end}"))),
            None => documented.extend([name.to_owned()]),
        }
    }
    assert_eq!(documented.iter().map(String::as_str).collect::<BTreeSet<_>>(), served);
}

#[test]
fn the_format_is_the_one_asked_for() {
    let running = Running::new(model(&config()));
    let (head, text) = running.scrape("application/openmetrics-text;version=1.0.0,text/plain;q=0.5");
    assert!(head.contains("content-type: application/openmetrics-text; version=1.0.0"), "{head}");
    assert!(text.ends_with("# EOF\n") && text.contains("# TYPE guideway_reloads counter\n"), "{text}");
    let (head, text) = running.scrape("*/*");
    assert!(head.contains("content-type: text/plain; version=0.0.4"), "{head}");
    assert!(!text.contains("# EOF") && text.contains("# TYPE guideway_reloads_total counter\n"), "{text}");
}

#[test]
fn what_operators_do_is_counted_and_a_rules_counters_never_fall() {
    let running = Running::new(model(&config()));
    for port in 0..60 {
        let spec = Spec { from: (CLIENT, 1024 + port), ..Spec::udp() };
        running.frames.send(spec.frame()).unwrap();
    }
    let to_rule =
        |values: &BTreeMap<String, f64>| sum(values, "guideway_rule_to_backend_packets_total", "\"dns\"");
    running.values_when(|values| to_rule(values) == 60.0);
    assert_eq!(running.ask("POST", "/v1/backends/web/10.0.0.4", r#"{"weight": 3}"#).0, 200);
    let file = running.directory.path().join("gw.toml");
    fs::write(&file, "nonsense").unwrap();
    assert_eq!(running.ask("POST", "/v1/reload", "").0, 422);
    let values = running.values();
    assert_eq!(values["guideway_last_reload_successful"], 0.0);
    // One backend less, whose flows end: what went to it stays with its rule, though it is gone itself.
    let fewer = config()
        .replace(", { address = \"10.0.0.6\" }", "")
        .replace("name = \"dns\"", "idle_timeout = \"1s\"\nname = \"dns\"");
    fs::write(&file, fewer).unwrap();
    assert_eq!(running.ask("POST", "/v1/reload", "").0, 200);
    let lost = "guideway_backend_to_backend_packets_total{rule=\"dns\",frontend=\"203.0.113.10:53/udp\",pool=\"web\",\
                backend=\"10.0.0.6:5353\"}";
    let values = running.values_when(|values| {
        assert_eq!(to_rule(values), 60.0, "{values:#?}");
        !values.contains_key(lost)
    });
    assert!(sum(&values, "guideway_backend_to_backend_packets_total", "\"dns\"") < 60.0);
    assert_eq!(values["guideway_reloads_total{result=\"success\"}"], 1.0);
    assert_eq!(values["guideway_reloads_total{result=\"failure\"}"], 1.0);
    assert_eq!(values["guideway_runtime_changes_total"], 1.0);
    assert_eq!(values["guideway_last_reload_successful"], 1.0);
    assert!(values["guideway_config_loaded_timestamp_seconds"] > values["process_start_time_seconds"]);
}

#[test]
fn metrics_have_one_path_and_two_methods_and_hold_nobody_up() {
    let running = Running::new(model(&config()));
    let status = |text: &str| send(running.metrics, text.as_bytes()).map(|(status, ..)| status);
    assert_eq!(status("GET / HTTP/1.1\r\nhost: g\r\n\r\n"), Some(404));
    assert_eq!(status("POST /metrics HTTP/1.1\r\nhost: g\r\ncontent-length: 0\r\n\r\n"), Some(405));
    assert_eq!(status("GET /metrics?x=y HTTP/1.1\r\nhost: g\r\n\r\n"), Some(200));
    let (status, head, body) = send(running.metrics, b"HEAD /metrics HTTP/1.1\r\nhost: g\r\n\r\n").unwrap();
    assert!(status == 200 && body.is_empty() && head.contains("content-length: "), "{head}");
    // More silent ones than are served at once. The API answers before the first of them is cut off.
    let silent: Vec<TcpStream> = (0..20).map(|_| TcpStream::connect(running.metrics).unwrap()).collect();
    assert_eq!(running.ask("GET", "/v1/status", "").0, 200);
    for mut stream in silent {
        stream.set_nonblocking(true).unwrap();
        let error = stream.read(&mut [0]).expect_err("the API has waited for metrics");
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
    }
    assert!(!running.values().is_empty());
}

#[test]
fn over_tcp_only_who_has_the_token_is_heard() {
    let running = Running::new(model(&config()));
    let good = format!("authorization: Bearer {TOKEN}");
    let short = format!("authorization: Bearer {}", &TOKEN[1..]);
    for (headers, body, status) in [
        (vec!["host: 127.0.0.1:9465", &good], "", 200),
        (vec!["host: localhost", &good.replace("Bearer", "bearer")], "", 200),
        (vec!["host: 127.0.0.1"], "", 401),
        (vec!["host: 127.0.0.1", "authorization: Bearer"], "", 401),
        (vec!["host: 127.0.0.1", "authorization: Bearer "], "", 401),
        (vec!["host: 127.0.0.1", &short], "", 401),
        (vec!["host: 127.0.0.1", &good.replace("Bearer", "Basic")], "", 401),
        (vec!["host: 127.0.0.1", &format!("{good}0")], "", 401),
        (vec!["host: evil.example", &good], "", 403),
        (vec![&good], "", 403),
        (vec!["host: 127.0.0.1", "origin: http://evil.example", &good], "", 403),
        (vec!["host: 127.0.0.1", &good, "content-type: text/plain"], r#"{"weight": 2}"#, 415),
        (vec!["host: 127.0.0.1", &good, "content-type: application/json"], r#"{"weight": 2}"#, 200),
    ] {
        let (method, path) =
            if body.is_empty() { ("GET", "/v1/status") } else { ("POST", "/v1/backends/web/10.0.0.5") };
        let text = format!(
            "{method} {path} HTTP/1.1\r\n{}\r\ncontent-length: {}\r\n\r\n{body}",
            headers.join("\r\n"),
            body.len()
        );
        let (got, head, told) = send(running.api, text.as_bytes()).unwrap();
        assert_eq!(got, status, "{text}\n{told}");
        assert_eq!(head.contains("www-authenticate: bearer"), status == 401, "{head}");
        assert!(!told.contains(TOKEN));
    }
    // A new token counts at once; a file that others can read counts for nothing.
    let file = running.directory.path().join("token");
    write_token(&file, "another token, no: spaces", 0o600);
    assert_eq!(running.ask("GET", "/v1/status", "").0, 401);
    write_token(&file, TOKEN, 0o644);
    assert_eq!(running.ask("GET", "/v1/status", "").0, 401);
    write_token(&file, TOKEN, 0o600);
    assert_eq!(running.ask("GET", "/v1/status", "").0, 200);
}

#[test]
fn hostile_bytes_hurt_nobody() {
    let running = Running::new(model(&config()));
    let head = format!("host: 127.0.0.1\r\nauthorization: Bearer {TOKEN}\r\n");
    let post = format!("POST /v1/reload HTTP/1.1\r\n{head}");
    let status = |bytes: &[u8]| send(running.api, bytes).map(|(status, ..)| status);
    // A chunk without end, chunks by the ten thousand, an extension that goes on and on.
    let chunked = format!("{post}transfer-encoding: chunked\r\n\r\n");
    let chunks = format!("{chunked}{}0\r\n\r\n", "1\r\nx\r\n".repeat(40_000));
    assert_eq!(status(chunks.as_bytes()), Some(413));
    let extension = format!("{chunked}1;{}\r\nx\r\n0\r\n\r\n", "x".repeat(1 << 20));
    assert!(matches!(status(extension.as_bytes()), Some(400..=499) | None));
    // Two lengths; a length and chunks; pipelined requests, of which the first is answered.
    let lengths = format!("{post}content-length: 0\r\ncontent-length: 5\r\n\r\n");
    assert!(matches!(status(lengths.as_bytes()), Some(400) | None));
    let get = format!("GET /v1/status HTTP/1.1\r\n{head}\r\n");
    let (got, _, body) = send(running.api, get.repeat(100).as_bytes()).unwrap();
    assert!(got == 200 && serde_json::from_str::<Value>(&body).is_ok(), "{body}");
    // Bytes of all kinds, from a generator that is the same every time; and requests with one byte of them.
    let mut state = 1_u64;
    let mut noise = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    };
    let mut seen = BTreeMap::<(&str, u16), u32>::new();
    for round in 0..400 {
        let (name, address, path) = match round % 2 {
            0 => ("api", running.api, "/v1/status"),
            _ => ("metrics", running.metrics, "/metrics"),
        };
        let mut bytes = if round % 4 < 2 {
            let length = usize::from(noise()) * 8 + 1;
            (0..length).map(|_| noise()).collect()
        } else {
            // As much that means nothing as there is that means something.
            let filler = "x".repeat(100);
            let mut real = format!("GET {path} HTTP/1.1\r\n{head}user-agent: {filler}\r\n\r\n").into_bytes();
            let at = usize::from(noise()) % real.len();
            real[at] = noise();
            real
        };
        // One that leaves in the middle.
        let _ = TcpStream::connect(address).unwrap().write_all(&bytes[..bytes.len() / 2]);
        // Whatever it was, it ends here, and is answered at once.
        bytes.extend_from_slice(b"\r\n\r\n");
        if let Some((status, ..)) = send(address, &bytes) {
            assert!(status < 500, "{status}: {bytes:?}");
            *seen.entry((name, status)).or_default() += 1;
        }
    }
    for (name, status, least) in
        [("api", 200, 20), ("api", 400, 50), ("api", 401, 5), ("metrics", 200, 20), ("metrics", 400, 50)]
    {
        assert!(seen.get(&(name, status)).is_some_and(|count| *count >= least), "{name} {status}: {seen:?}");
    }
    let (status, told) = running.ask("GET", "/v1/status", "");
    assert_eq!((status, &told["generation"]), (200, &Value::from(1)));
}

#[test]
fn what_is_asked_for_must_be_had_and_what_is_default_need_not() {
    let directory = tempfile::tempdir().unwrap();
    let token = directory.path().join("token");
    write_token(&token, TOKEN, 0o600);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let base = ControlSettings {
        socket: directory.path().join("control.sock"),
        socket_group: None,
        remote: None,
        metrics: Metrics::Off,
        state_directory: directory.path().to_owned(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let open = |settings: &ControlSettings| runtime.block_on(async { Doors::open(settings) });
    assert!(open(&base).is_ok());
    let own = fs::metadata(directory.path()).map(|data| std::os::unix::fs::MetadataExt::gid(&data)).unwrap();
    assert!(open(&ControlSettings { socket_group: Some(own), ..base.clone() }).is_ok());
    let error = open(&ControlSettings { metrics: Metrics::At(address), ..base.clone() }).err().unwrap();
    assert!(
        error.to_string().contains("something listens there already")
            && error.to_string().contains("--metrics")
    );
    let remote = |token_file| Some(Remote { address, token_file });
    let error = open(&ControlSettings { remote: remote(token.clone()), ..base.clone() }).err().unwrap();
    assert!(matches!(error, DoorsError::Address("control API", ..)), "{error}");
    write_token(&token, TOKEN, 0o604);
    let error = open(&ControlSettings { remote: remote(token), ..base.clone() }).err().unwrap();
    assert!(matches!(error, DoorsError::Token(TokenError::Readable(..))), "{error}");
    // Whether the usual place is free or not.
    assert!(open(&ControlSettings { metrics: Metrics::Default, ..base }).is_ok());
}

/// Prints how long one scrape of 10,000 backends takes and how long it is, with `--nocapture`.
#[test]
#[allow(clippy::print_stdout, reason = "a measurement too")]
fn ten_thousand_backends_are_scraped_and_others_are_heard_meanwhile() {
    let mut text =
        "[[port]]\nname = \"a\"\naddresses = [\"10.0.0.1/8\"]\n[[port]]\nname = \"b\"\n".to_owned();
    for rule in 0..10 {
        text += &format!(
            "[[pool]]\nname = \"pool-{rule}\"\naddresses = \"10.{rule}.1.0-10.{rule}.4.231\"\ninstances = 1000\n\
             [[rule]]\nname = \"rule-{rule}\"\nfrontend = \"203.0.113.10:{}/tcp\"\npool = \"pool-{rule}\"\n",
            1000 + rule
        );
    }
    let running = Running::new(model(&text));
    thread::scope(|scope| {
        let scrapes = scope.spawn(|| {
            let took = ["*/*", "application/openmetrics-text", "*/*"].map(|accept| {
                let began = Instant::now();
                let (_, text) = running.scrape(accept);
                let took = began.elapsed();
                println!("{accept}: {} bytes, {} lines, {took:?}", text.len(), text.lines().count());
                let values = values(&text);
                let weights = values.keys().filter(|name| name.starts_with("guideway_backend_weight"));
                assert_eq!(weights.count(), 10_000);
                took
            });
            took.into_iter().max().unwrap()
        });
        let asked = (0..100).map(|_| {
            let began = Instant::now();
            assert_eq!(running.ask("GET", "/v1/counters", "").0, 200);
            began.elapsed()
        });
        let slowest = asked.max().unwrap();
        println!("slowest of 100 requests to the API: {slowest:?}");
        // The rest is for a busy machine.
        let longest = scrapes.join().unwrap();
        assert!(
            slowest < longest + Duration::from_millis(500),
            "{slowest:?}, the longest scrape {longest:?}"
        );
    });
}
