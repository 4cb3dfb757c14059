//! The control API over a real socket: what it tells, what it changes, and that nothing a client sends can hurt.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail")]

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use common::*;
use guideway::config::{ConfigFlags, Findings, Loaded, load_text};
use guideway::control::{
    Context, Manager, Probes, REPLAY_KEY, ROUTES, Socket, SocketError, start_server, views,
};
use guideway::dataplane::{FlowTable, Mesh, Worker, WorkerCounters, WorkerId, WorkerPort};
use guideway::io::PortId;
use guideway::io::memory::{HeapFrame, MemoryQueues};
use guideway::snapshot::PortLink;
use guideway::wire::MacAddr;
use serde_json::{Value, json};

/// A running load balancer on memory: one worker, one management thread, one control socket.
struct Running {
    directory: tempfile::TempDir,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    /// Frames that arrive outside.
    arrivals: mpsc::Sender<Vec<u8>>,
}

fn config() -> String {
    with_backends(&numbered(4..7, ""), "")
        + "[[neighbour]]\naddress = \"10.0.0.4\"\nmac = \"02:00:00:00:00:04\"\n"
}

impl Running {
    fn new() -> Self {
        Self::of(&config(), [(OUTSIDE, Spec::tcp("S").frame())])
    }

    /// With frames that have come in before anything else.
    fn of(config: &str, frames: impl IntoIterator<Item = (PortId, Vec<u8>)>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("gw.toml"), config).unwrap();
        let (socket, file) = (directory.path().join("sub/control.sock"), directory.path().join("gw.toml"));
        let stop = Arc::new(AtomicBool::new(false));
        let mesh: Mesh<HeapFrame> = Mesh::new(1);
        let counters: Arc<WorkerCounters> = Arc::default();
        let link = |i| PortLink { mac: MacAddr([2, 0xff, 0, 0, 0, i]), filters: true, mtu: 1500 };
        let (manager, mut readers) = Manager::new(
            model(config),
            REPLAY_KEY,
            vec![link(0), link(1)],
            vec![counters.clone()],
            mesh.events(),
            mesh.originated(),
        )
        .unwrap();
        let manager = manager.with_surveys(mesh.surveys());
        let me = WorkerId(0);
        let own = |port| WorkerPort { port: PortId(port), keeps_flows: true, transmitter: me };
        let (queues, flows) = (MemoryQueues::new(2), FlowTable::new(1024).unwrap());
        let ports = vec![own(0), own(1)];
        let mut worker = Worker::new(mesh.seat(me), 1, ports, queues, readers.remove(0), flows, counters);
        frames.into_iter().for_each(|(port, frame)| worker.queues_mut().push(port, frame));
        let stopped = stop.clone();
        let (arrivals, arriving) = mpsc::channel();
        let work = move || {
            let start = Instant::now();
            while !stopped.load(Ordering::Relaxed) {
                arriving.try_iter().for_each(|frame| worker.queues_mut().push(OUTSIDE, frame));
                worker.poll(start.elapsed());
                thread::sleep(Duration::from_micros(200));
            }
        };
        let (stopped, bound) = (stop.clone(), Socket::bind(&socket).unwrap());
        let manage = move || manage(manager, &bound, &file, &stopped);
        let threads = vec![thread::spawn(work), thread::spawn(manage)];
        Self { directory, stop, threads, arrivals }
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("sub/control.sock")
    }

    /// Status and body of the answer.
    fn ask(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        ask(&self.socket(), method, path, body)
    }

    fn good(&self, method: &str, path: &str, body: &str) -> Value {
        let (status, value) = self.ask(method, path, body);
        assert_eq!(status, 200, "{method} {path} {body}: {value}");
        value
    }

    fn guideway(&self, line: &str) -> (Option<i32>, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_guideway"));
        command.args(line.split_whitespace()).arg("--control-socket").arg(self.socket());
        let output = command.env_remove("RUST_LOG").output().unwrap();
        // A capture on standard output is no text.
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        (output.status.code(), text(output.stdout), text(output.stderr))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let ended = thread.join();
            assert!(thread::panicking() || ended.is_ok(), "a thread has crashed");
        }
    }
}

fn manage(mut manager: Manager, socket: &Socket, file: &Path, stop: &AtomicBool) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let load = || -> Result<Loaded, Findings> {
        let text = fs::read_to_string(file).unwrap();
        load_text("gw.toml", &text, &ConfigFlags::default())
    };
    let ports = || vec![views::Link { driver: "memory".into(), ..views::Link::default() }; 2];
    runtime.block_on(async {
        let start = Instant::now();
        let mut probes = Probes::new().unwrap();
        let mut requests = start_server(socket).unwrap();
        let mut tick = tokio::time::interval(Duration::from_millis(5));
        while !stop.load(Ordering::Relaxed) {
            tokio::select! {
                _ = tick.tick() => {
                    manager.advance(start.elapsed());
                    probes.advance(&mut manager);
                }
                Some(request) = requests.recv() => {
                    let (probes, now) = (|| probes.report(), start.elapsed());
                    let context = Context { load: &load, ports: &ports, probes: &probes, now };
                    request.answer(&mut manager, &context);
                }
            }
        }
    });
}

fn ask(socket: &Path, method: &str, path: &str, body: &str) -> (u16, Value) {
    let text =
        format!("{method} {path} HTTP/1.1\r\nhost: guideway\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let (status, body) = send(socket, text.as_bytes()).expect("an answer");
    (status, serde_json::from_str(&body).unwrap_or_else(|error| panic!("{method} {path}: {error}: {body}")))
}

/// Sends these bytes as they are; `None` where the server only closes.
fn send(socket: &Path, bytes: &[u8]) -> Option<(u16, String)> {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    // The server may have seen enough before it has seen all.
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().unwrap(), body.to_owned()))
}

fn backend<'v>(view: &'v Value, rule: &str, address: &str) -> &'v Value {
    let all = view["backends"].as_array().unwrap();
    all.iter().find(|b| b["rule"] == rule && b["address"] == address).unwrap()
}

#[test]
fn state_and_weight_are_changed_and_told_and_shares_follow() {
    let running = Running::new();
    let path = "/v1/backends/web/10.0.0.5";
    assert_eq!(running.good("GET", "/v1/status", "")["generation"], 1);
    assert_eq!(running.good("POST", path, r#"{"state": "drain"}"#)["generation"], 2);
    let view = running.good("GET", "/v1/backends", "");
    for rule in ["https", "dns"] {
        let drained = backend(&view, rule, "10.0.0.5");
        assert_eq!((&drained["state"], &drained["because"]), (&json!("drain"), &json!("operator")));
        assert_eq!(drained["share"], 0.0);
        let share = backend(&view, rule, "10.0.0.4")["share"].as_f64().unwrap();
        assert!((share - 0.5).abs() < 0.01, "{share}");
    }
    running.good("POST", path, r#"{"state": "up", "weight": 2}"#);
    let view = running.good("GET", "/v1/backends", "");
    let heavy = backend(&view, "https", "10.0.0.5");
    assert_eq!((&heavy["weight"], &heavy["weight_because"]), (&json!(2), &json!("operator")));
    assert_eq!(heavy["share_by_weight"], 2.0 / 4.0);
    assert!((heavy["share"].as_f64().unwrap() - 0.5).abs() < 0.01, "{heavy}");
    // What changes nothing makes no generation; what is forgotten is the file's again.
    assert_eq!(running.good("POST", path, r#"{"weight": 2}"#)["generation"], 3);
    assert_eq!(running.good("DELETE", path, "")["generation"], 4);
    let view = running.good("GET", "/v1/backends", "");
    let plain = backend(&view, "https", "10.0.0.5");
    assert_eq!(
        (&plain["state"], &plain["because"], &plain["weight"]),
        (&json!("up"), &json!("default"), &json!(1))
    );
}

#[test]
fn a_drain_counts_down_to_its_deadline_and_says_so() {
    let running = Running::new();
    let path = "/v1/backends/web/10.0.0.5";
    let left = |running: &Running| {
        let view = running.good("GET", "/v1/backends", "");
        backend(&view, "dns", "10.0.0.5")["drain_seconds_left"].as_f64()
    };
    assert_eq!(left(&running), None);
    running.good("POST", path, r#"{"state": "drain", "deadline_seconds": 100}"#);
    let first = left(&running).unwrap();
    thread::sleep(Duration::from_millis(300));
    let later = left(&running).unwrap();
    assert!(first <= 100.1 && (0.2..20.0).contains(&(first - later)), "{first} {later}");
    let (_, out, _) = running.guideway("show backends");
    assert!(out.contains("drain (operator), 1m "), "{out}");
    // A weight says nothing of the state.
    running.good("POST", path, r#"{"weight": 3}"#);
    assert!(left(&running).unwrap() > 50.0);
    running.good("POST", path, r#"{"state": "drain", "deadline_seconds": 0}"#);
    assert_eq!(left(&running), Some(0.0));
    let (_, out, _) = running.guideway("show backends");
    assert!(out.contains("drain (operator), deadline passed"), "{out}");
    running.good("POST", path, r#"{"state": "drain"}"#);
    assert_eq!(left(&running), None);
    let (code, out, err) = running.guideway("backend web/10.0.0.5 drain --deadline 2h");
    assert_eq!((code, out.contains("done")), (Some(0), true), "{err}");
    assert!((7100.0..=7200.1).contains(&left(&running).unwrap()));
    for (line, code, part) in [
        ("backend web/10.0.0.5 drain --deadline 5", 2, "time unit"),
        ("backend web/10.0.0.5 drain --deadline 31d", 2, "not in 0 to 2592000"),
        ("backend web/10.0.0.5 up --deadline 5m", 2, "--deadline"),
    ] {
        let (got, _, err) = running.guideway(line);
        assert!(got == Some(code) && err.contains(part), "{line}: {got:?} {err}");
    }
    running.good("DELETE", path, "");
    assert_eq!(left(&running), None);
}

#[test]
fn a_reload_takes_a_good_file_refuses_a_bad_one_with_reasons_and_keeps_what_was_said() {
    let running = Running::new();
    let file = running.directory.path().join("gw.toml");
    running.good("POST", "/v1/backends/web/10.0.0.4", r#"{"state": "down"}"#);
    fs::write(&file, "[[rule]]\nnaem = 1\n").unwrap();
    let (status, refused) = running.ask("POST", "/v1/reload", "");
    assert_eq!(status, 422);
    assert!(refused["error"].as_str().unwrap().contains("naem"), "{refused}");
    assert_eq!(running.good("GET", "/v1/status", "")["generation"], 2);
    let last = &running.good("GET", "/v1/status", "")["last_reload"];
    assert!(last["is_done"] == false && last["errors"].as_str().unwrap().contains("naem"), "{last}");
    assert!(last["by"].as_str().unwrap().starts_with("uid "), "{last}");
    fs::write(&file, config().replace("443", "444")).unwrap();
    assert_eq!(running.good("POST", "/v1/reload", "")["generation"], 3);
    assert_eq!(running.good("GET", "/v1/rules", "")["rules"][0]["frontend"], "203.0.113.10:444/tcp");
    let view = running.good("GET", "/v1/backends", "");
    assert_eq!(backend(&view, "https", "10.0.0.4")["state"], "down");
    // The flow that is there since the start keeps its backend, of a rule that is no more; the backends without flows
    // are gone with the next tick.
    let deadline = Instant::now() + Duration::from_secs(5);
    let removed = loop {
        let view = running.good("GET", "/v1/backends", "");
        let all = view["backends"].as_array().unwrap();
        let removed: Vec<_> = all.iter().filter(|b| b["state"] == "removed").cloned().collect();
        if removed.len() == 1 {
            break removed;
        }
        assert!(Instant::now() < deadline, "{view:#}");
        thread::sleep(Duration::from_millis(5));
    };
    assert_eq!((&removed[0]["flows"], &removed[0]["rule"]), (&json!(1), &Value::Null));
}

#[test]
fn what_was_said_of_a_backend_goes_with_it_and_a_reload_tells_what_to_know() {
    let running = Running::new();
    let file = running.directory.path().join("gw.toml");
    running.good("POST", "/v1/backends/web/10.0.0.6", r#"{"weight": 9}"#);
    let generation =
        running.good("POST", "/v1/backends/web/10.0.0.6", r#"{"weight": 9}"#)["generation"].clone();
    fs::write(
        &file,
        with_backends(&numbered(4..6, ""), "").replace("[dataplane]", "[dataplane]\nworkers = \"3\""),
    )
    .unwrap();
    let told = running.good("POST", "/v1/reload", "");
    assert_eq!(told["generation"].as_u64(), generation.as_u64().map(|n| n + 1));
    let warnings = told["warnings"].to_string();
    assert!(
        warnings.contains("[dataplane] has changed; that takes effect with the next start"),
        "{warnings}"
    );
    assert_eq!(running.ask("DELETE", "/v1/backends/web/10.0.0.6", "").0, 404);
    fs::write(&file, config()).unwrap();
    assert_eq!(running.good("POST", "/v1/reload", "")["warnings"], json!([]));
    let view = running.good("GET", "/v1/backends", "");
    assert_eq!(backend(&view, "https", "10.0.0.6")["weight"], 1);
}

#[test]
fn bad_queries_get_a_reason() {
    let running = Running::new();
    for (path, status, reason) in [
        ("/v1/flows/", 404, "no such path"),
        ("/v1/flows?colour=red", 400, "unknown field `colour`"),
        ("/v1/flows?limit=1&limit=2", 400, "duplicate field `limit`"),
        ("/v1/flows?limit=0", 400, "not in 1 to 10000"),
        ("/v1/flows?limit=10001", 400, "not in 1 to 10000"),
        ("/v1/flows?limit=-1", 400, "the query"),
        ("/v1/flows?limit=99999999999999999999999", 400, "the query"),
        ("/v1/flows?client=", 400, "not an address"),
        ("/v1/flows?client=192.0.2.7:99999", 400, "not an address"),
        ("/v1/flows?client=%ff%00", 400, "not an address"),
        ("/v1/flows?state=sleepy", 400, "sleepy"),
        ("/v1/flows?rule=nope", 404, "no rule nope"),
        ("/v1/flows?backend=10.0.0.99", 404, "no rule has a backend 10.0.0.99"),
        ("/v1/flows?backend=nope/10.0.0.4", 404, "no pool nope"),
        ("/v1/flows?backend=web/10.0.0.99", 404, "no backend 10.0.0.99"),
        ("/v1/flows?backend=web/", 400, "not an address"),
        ("/v1/backends?pool=nope", 404, "no pool nope"),
        ("/v1/rules?rule=nope", 404, "no rule nope"),
        ("/v1/rules?state=up", 400, "unknown field `state`"),
    ] {
        let (got, told) = running.ask("GET", path, "");
        assert_eq!(got, status, "{path}: {told}");
        assert!(told["error"].as_str().unwrap().contains(reason), "{path}: {told}");
    }
}

#[test]
fn bad_requests_get_a_reason_and_change_nothing() {
    let running = Running::new();
    let path = "/v1/backends/web/10.0.0.5";
    let deep = "[".repeat(10_000);
    for (method, path, body, status, reason) in [
        ("GET", "/", "", 404, "no such path"),
        ("GET", "/v1/status/", "", 404, "no such path"),
        ("GET", "/v1/status?verbose", "", 400, "takes no query parameters"),
        ("PUT", path, "{}", 405, "POST, DELETE"),
        ("BREW", "/v1/reload", "", 405, "POST"),
        ("HEAD", "/v1/reload", "", 405, ""),
        ("POST", path, "", 400, "the body"),
        ("POST", path, "{}", 400, "neither state nor weight"),
        ("POST", path, "{\"state\": null}", 400, "neither state nor weight"),
        ("POST", path, "{\"state\": \"sideways\"}", 400, "sideways"),
        ("POST", path, "{\"weight\": 101}", 400, "not in 0 to 100"),
        ("POST", path, "{\"weight\": -1}", 400, "the body"),
        ("POST", path, "{\"deadline_seconds\": 5}", 400, "neither state nor weight"),
        ("POST", path, "{\"weight\": 1, \"deadline_seconds\": 5}", 400, "goes with"),
        ("POST", path, "{\"state\": \"down\", \"deadline_seconds\": 5}", 400, "goes with"),
        ("POST", path, "{\"state\": \"drain\", \"deadline_seconds\": -1}", 400, "not in 0 to 2592000"),
        ("POST", path, "{\"state\": \"drain\", \"deadline_seconds\": 1e300}", 400, "not in 0 to 2592000"),
        ("POST", path, "{\"state\": \"drain\", \"deadline_seconds\": \"5m\"}", 400, "the body"),
        ("POST", path, "{\"weight\": 1e99}", 400, "the body"),
        ("POST", path, "{\"wieght\": 1}", 400, "wieght"),
        ("POST", path, "{\"weight\": 1, \"weight\": 2}", 400, "duplicate"),
        ("POST", path, "{\"weight\": 1} more", 400, "trailing"),
        ("POST", path, "\u{0}\u{1}", 400, "the body"),
        ("POST", path, &deep, 400, "the body"),
        ("POST", "/v1/backends/wbe/10.0.0.5", "{\"weight\": 1}", 404, "no pool wbe"),
        ("POST", "/v1/backends/web/10.0.0.9", "{\"weight\": 1}", 404, "no backend 10.0.0.9"),
        ("POST", "/v1/backends/web/10.0.0.555", "{\"weight\": 1}", 400, "not an address"),
        ("POST", "/v1/backends//", "{\"weight\": 1}", 400, "not an address"),
        ("DELETE", "/v1/backends/wbe/10.0.0.5", "", 404, "no pool wbe"),
        ("POST", "/v1/check", "", 400, "the body"),
        ("POST", "/v1/check", "{\"configuration\": 1}", 400, "the body"),
        ("POST", "/v1/check", "{\"configuration\": \"\", \"more\": 1}", 400, "more"),
        ("POST", "/v1/check", "{\"configuration\": \"[[rule]]\\nnaem = 1\"}", 422, "naem"),
    ] {
        if method == "HEAD" {
            let head = send(&running.socket(), b"HEAD /v1/reload HTTP/1.1\r\nhost: g\r\n\r\n");
            assert_eq!(head.map(|(status, _)| status), Some(status));
            continue;
        }
        let (got, told) = running.ask(method, path, body);
        assert_eq!(got, status, "{method} {path} {body}: {told}");
        assert!(told["error"].as_str().unwrap().contains(reason), "{method} {path} {body}: {told}");
    }
    let allow = "PUT /v1/reload HTTP/1.1\r\nhost: g\r\n\r\n";
    let mut stream = UnixStream::connect(running.socket()).unwrap();
    stream.write_all(allow.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("allow: POST\r\n"), "{answer}");
    assert_eq!(running.good("GET", "/v1/status", "")["generation"], 1);
}

#[test]
fn what_is_not_http_or_too_large_or_too_slow_hurts_nobody() {
    let running = Running::new();
    let socket = running.socket();
    // More that are slow than are served at once; they are cut off in time.
    let slow: Vec<UnixStream> = (0..40)
        .map(|_| {
            let mut stream = UnixStream::connect(&socket).unwrap();
            stream.write_all(b"POST /v1/backends/web/10.0.0.5 HTTP/1.1\r\nhost: g\r\ncontent-le").unwrap();
            stream
        })
        .collect();
    let status = |bytes: &[u8]| send(&socket, bytes).map(|(status, _)| status);
    let body = vec![b'x'; 10 << 20];
    let head = format!("POST /v1/reload HTTP/1.1\r\nhost: g\r\ncontent-length: {}\r\n\r\n", body.len());
    assert_eq!(status(&[head.as_bytes(), &body].concat()), Some(413));
    let chunked =
        b"POST /v1/reload HTTP/1.1\r\nhost: g\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffffff\r\n";
    assert_eq!(status(chunked), Some(400));
    assert_eq!(status(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"), Some(400));
    let long = format!("GET /v1/{} HTTP/1.1\r\nhost: g\r\n\r\n", "a".repeat(1 << 20));
    assert!(matches!(status(long.as_bytes()), Some(400..=499) | None));
    let many: String = (0..10_000).map(|i| format!("h{i}: x\r\n")).collect();
    let many = format!("GET /v1/status HTTP/1.1\r\n{many}\r\n");
    assert!(matches!(status(many.as_bytes()), Some(400..=499) | None));
    // One that sends and never reads, one that leaves in the middle.
    let mut rude = UnixStream::connect(&socket).unwrap();
    rude.write_all(b"GET /v1/counters HTTP/1.1\r\nhost: g\r\n\r\n").unwrap();
    drop(UnixStream::connect(&socket).unwrap());
    let began = Instant::now();
    assert_eq!(running.good("GET", "/v1/status", "")["generation"], 1);
    assert!(began.elapsed() < Duration::from_secs(2), "others wait for the slow: {:?}", began.elapsed());
    let mut first = slow.first().unwrap();
    first.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut answer = Vec::new();
    first.read_to_end(&mut answer).unwrap();
    assert!(began.elapsed() < Duration::from_secs(15), "the slow are cut off");
}

#[test]
fn more_slow_clients_than_places_delay_others_and_no_more() {
    let running = Running::new();
    let silent: Vec<UnixStream> = (0..100).map(|_| UnixStream::connect(running.socket()).unwrap()).collect();
    let began = Instant::now();
    assert_eq!(running.good("GET", "/v1/status", "")["generation"], 1);
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    drop(silent);
}

/// What would change is told with the running key and with what operators have said, and changes nothing.
#[test]
fn a_configuration_is_held_against_the_one_that_runs() {
    let running = Running::new();
    let check = |text: &str| {
        let body = json!({ "configuration": text }).to_string();
        running.good("POST", "/v1/check", &body)
    };
    let told = running.good("GET", "/v1/configuration", "");
    let text = told["configuration"].as_str().unwrap();
    assert_eq!(load_text("", text, &ConfigFlags::default()).unwrap().model, model(&config()));
    assert_eq!(
        check(text),
        json!({ "rules": [], "outbound": [], "overrides": [], "next_start": [], "refused": null })
    );
    let less = with_backends(&numbered(4..6, ""), "");
    let told = check(&less);
    let rule = &told["rules"][1];
    assert_eq!((&rule["rule"], &rule["change"]), (&json!("https"), &json!("changed")), "{told}");
    assert_eq!(rule["changes"], json!(["-10.0.0.6"]));
    let moved = |told: &Value| told["rules"][1]["moved"].as_f64().unwrap();
    assert!((moved(&told) - 1.0 / 3.0).abs() < 0.05, "{told}");
    // The same as what the running key makes of both.
    let spread = |text: &str| guideway::snapshot::Spread::new(REPLAY_KEY, &model(text).rules[0]);
    assert!((moved(&told) - spread(&config()).differs_from(&spread(&less))).abs() < 1e-12);
    // One that takes no new flows is not missed.
    running.good("POST", "/v1/backends/web/10.0.0.6", r#"{"state": "drain"}"#);
    let told = check(&less);
    assert_eq!(moved(&told), 0.0, "{told}");
    let said =
        json!({"pool": "web", "address": "10.0.0.6", "state": "drain", "weight": null, "applies": false});
    assert_eq!(told["overrides"], json!([said]));
    // A rule that goes takes its flow with it, one that comes is new; what is fixed waits, and ports are refused.
    let other =
        less.replace("443/tcp", "444/tcp").replace("flows_per_worker = 1024", "flows_per_worker = 2048");
    let other = format!(
        "{}[control]\nsocket = \"/tmp/x\"\n",
        other.replace("198.51.100.1\"", "198.51.100.1\"\nmtu = 1400")
    );
    let told = check(&other);
    let rules: Vec<_> =
        told["rules"].as_array().unwrap().iter().map(|r| (&r["change"], &r["flows"])).collect();
    assert_eq!(rules[0], (&json!("removed"), &json!(1)), "{told}");
    assert!(rules.contains(&(&json!("added"), &json!(0))), "{told}");
    assert_eq!(told["next_start"], json!(["[dataplane]", "[control]"]));
    assert!(told["refused"].as_str().unwrap().contains("port outside"), "{told}");
    let key = format!("[dataplane]\nhash_key = \"{}\"", "ff".repeat(16));
    assert_eq!(check(&config().replace("[dataplane]", &key))["next_start"], json!(["hash_key"]));
    let key = key.replace(&"ff".repeat(16), "000102030405060708090a0b0c0d0e0f");
    assert_eq!(check(&config().replace("[dataplane]", &key))["next_start"], json!([]));
    assert_eq!(running.good("GET", "/v1/status", "")["generation"], 2);
    // Larger than any other body may be, and as large as none may be.
    let large = |len| json!({ "configuration": format!("{}\n#{}", config(), "x".repeat(len)) }).to_string();
    running.good("POST", "/v1/check", &large(9 << 20));
    assert_eq!(running.ask("POST", "/v1/check", &large(17 << 20)).0, 413);
}

#[test]
fn the_command_line_checks_against_what_runs() {
    let running = Running::new();
    let file = running.directory.path().join("new.toml");
    fs::write(&file, with_backends(&numbered(4..6, ""), "")).unwrap();
    running.good("POST", "/v1/backends/web/10.0.0.5", r#"{"weight": 2}"#);
    let line = format!("check --config {} --against RUNNING", file.display());
    let (code, out, err) = running.guideway(&line);
    assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
    for part in [
        "~ rule https: -10.0.0.6; ",
        "% of new flows move, ",
        "= backend web/10.0.0.5: what the operator says, weight 2, stays in force over it\n",
        "sound, but cannot run yet:",
    ] {
        assert!(out.contains(part), "{out}\nlacks: {part}");
    }
    let (code, out, err) = running.guideway(&format!("{line} --mtu outside=1400"));
    assert!(code == Some(2) && err.contains("a reload would be refused: port outside"), "{out}{err}");
    fs::write(&file, "no = toml = at all").unwrap();
    let (code, out, err) = running.guideway(&line);
    assert!(code == Some(2) && err.contains("new.toml:1") && out.is_empty(), "{out}{err}");
}

/// Two operators at once: each change has a generation of its own, and no snapshot stays behind.
#[test]
fn a_thousand_changes_from_two_clients_are_a_thousand_generations() {
    let running = Running::new();
    let socket = running.socket();
    let client = |address: &'static str| {
        let socket = socket.clone();
        thread::spawn(move || -> Vec<u64> {
            let path = format!("/v1/backends/web/{address}");
            let change = |i: u8| {
                let body = format!("{{\"weight\": {}}}", i % 2 + 2);
                let (status, told) = ask(&socket, "POST", &path, &body);
                assert_eq!(status, 200, "{told}");
                told["generation"].as_u64().unwrap()
            };
            (0..500).map(|i| change((i % 100) as u8)).collect()
        })
    };
    let clients = [client("10.0.0.4"), client("10.0.0.5")];
    let told: Vec<Vec<u64>> = clients.into_iter().map(|client| client.join().unwrap()).collect();
    assert!(told.iter().all(|generations| generations.is_sorted()));
    let all: BTreeSet<u64> = told.into_iter().flatten().collect();
    assert_eq!(all, (2..=1001).collect());
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        let status = running.good("GET", "/v1/status", "");
        assert_eq!(status["generation"], 1001);
        if status["generation_reached"] == 1001 && status["snapshots"] == 1 {
            return;
        }
        assert!(Instant::now() < deadline, "snapshots stay behind: {status}");
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn the_socket_is_for_its_group_replaces_a_dead_one_refuses_a_live_one_and_goes_at_the_end() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("made/control.sock");
    let socket = Socket::bind(&path).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
    let error = Socket::bind(&path).unwrap_err();
    assert!(
        matches!(error, SocketError::Live(_)) && error.to_string().contains("another guideway"),
        "{error}"
    );
    drop(socket);
    assert!(!path.exists() && !path.parent().unwrap().exists());
    // As a crash leaves it.
    fs::create_dir(path.parent().unwrap()).unwrap();
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let socket = Socket::bind(&path).unwrap();
    // What somebody else has put in its place stays.
    fs::remove_file(&path).unwrap();
    fs::write(&path, "another's").unwrap();
    drop(socket);
    assert!(matches!(Socket::bind(&path).unwrap_err(), SocketError::NotASocket(_)));
    assert_eq!(fs::read_to_string(&path).unwrap(), "another's");
    let error = Socket::bind(Path::new("/proc/guideway/control.sock")).unwrap_err();
    assert!(error.to_string().contains("--control-socket"), "{error}");
}

/// Every path and method of the file is served and every one served is in the file; answers are as it says.
#[test]
fn the_openapi_file_is_the_server() {
    let document: Value = serde_json::from_str(include_str!("../docs/openapi.json")).unwrap();
    let written: BTreeSet<(String, String)> = document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, item)| {
            let methods = item.as_object().unwrap().keys().filter(|key| *key != "parameters");
            methods.map(|method| (method.to_uppercase(), path.clone())).collect::<Vec<_>>()
        })
        .collect();
    let served: BTreeSet<(String, String)> =
        ROUTES.iter().map(|route| (route.method.to_string(), route.path.to_owned())).collect();
    assert_eq!(written, served);
    // What any request over TCP can get, and one with too long a body anywhere.
    for (method, path) in &written {
        let responses = &document["paths"][path][method.to_lowercase()]["responses"];
        assert!(
            ["401", "403", "413", "415", "503"].iter().all(|status| responses[status].is_object()),
            "{path}"
        );
    }
    let running = Running::new();
    for (method, path) in &written {
        if STREAMS.contains(&path.as_str()) {
            let (status, answer) = running.ask(method, path, "nonsense");
            assert_eq!(status, 400);
            assert_is(&document, path, method, status, &answer);
            continue;
        }
        let configuration = json!({ "configuration": config() }).to_string();
        let body = match path.as_str() {
            "/v1/check" => &configuration,
            _ if method == "POST" => r#"{"state": "drain", "weight": 3}"#,
            _ => "",
        };
        let at = |pool: &str| path.replace("{pool}", pool).replace("{address}", "10.0.0.5");
        let answer = running.good(method, &at("web"), body);
        assert_is(&document, path, method, 200, &answer);
        if path.contains("{pool}") {
            let (status, answer) = running.ask(method, &at("nowhere"), body);
            assert_is(&document, path, method, status, &answer);
        }
        if method == "POST" && path.contains("{pool}") {
            let (status, answer) = running.ask(method, &at("web"), "nonsense");
            assert_eq!(status, 400);
            assert_is(&document, path, method, status, &answer);
        }
    }
}

/// Holds an answer against the file's schema of it.
fn assert_is(document: &Value, path: &str, method: &str, status: u16, answer: &Value) {
    let responses = &document["paths"][path][method.to_lowercase()]["responses"];
    let response = &responses[status.to_string()];
    assert!(response.is_object(), "{method} {path}: {status} is not in the file: {answer}");
    let response = match response["$ref"].as_str() {
        Some(place) => document.pointer(place.trim_start_matches('#')).unwrap(),
        None => response,
    };
    let mut schema = response["content"]["application/json"]["schema"].clone();
    schema["components"] = document["components"].clone();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let flaws: Vec<String> =
        validator.iter_errors(answer).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert!(flaws.is_empty(), "{method} {path}: {flaws:?}\n{answer:#}");
    // A schema that takes anything would hold nothing.
    assert!(!validator.is_valid(&json!({ "unknown": 1 })), "{method} {path} {status}");
}

/// With a client's flow, and three that two backends have opened.
fn with_opened_flows() -> Running {
    let rule = "[[outbound_rule]]\nname = \"egress\"\npool = \"web\"\nfrontends = [\"203.0.113.11\"]\n";
    let router = "[[neighbour]]\naddress = \"198.51.100.1\"\nmac = \"02:00:00:00:00:01\"\n";
    let from = |host, port, to| {
        let macs = ([2, 0, 10, 0, 0, host], INSIDE_MAC);
        (INSIDE, Spec { macs, from: ([10, 0, 0, host], port), to, ..Spec::tcp("S") }.frame())
    };
    let server = ([192, 0, 2, 99], 443);
    let frames = [
        (OUTSIDE, Spec::tcp("S").frame()),
        from(4, 50_001, server),
        from(4, 50_002, ([192, 0, 2, 98], 80)),
        from(5, 50_001, server),
    ];
    let running = Running::of(&(config() + rule + router), frames);
    let start = Instant::now();
    while opened(&running, "").len() < 3 && start.elapsed() < Duration::from_secs(10) {
        thread::sleep(Duration::from_millis(20));
    }
    running
}

/// Backend and destination of those that backends have opened.
fn opened(running: &Running, query: &str) -> Vec<(String, String)> {
    let told = running.good("GET", &format!("/v1/flows{query}"), "");
    let flows = told["outbound"].as_array().unwrap();
    let text = |flow: &Value, key| flow[key].as_str().unwrap().to_owned();
    flows.iter().map(|flow| (text(flow, "backend"), text(flow, "destination"))).collect()
}

#[test]
fn flows_that_backends_have_opened_are_told() {
    let running = with_opened_flows();
    let told = running.good("GET", "/v1/flows", "");
    let flow = &told["outbound"][0];
    assert_eq!(
        (&flow["backend"], &flow["destination"], &flow["protocol"], &flow["rule"], &flow["state"]),
        (
            &json!("10.0.0.4:50001"),
            &json!("192.0.2.99:443"),
            &json!("tcp"),
            &json!("egress"),
            &json!("half-open")
        )
    );
    assert!(flow["source"].as_str().unwrap().starts_with("203.0.113.11:"), "{flow}");
    assert!(flow["expires_in_seconds"].as_f64().is_some_and(|left| left > 15.0 && left <= 30.0), "{flow}");
    assert_eq!(
        (&told["held"], &told["looked_at"], &told["flows"].as_array().unwrap().len()),
        (&json!(4), &json!(4), &1)
    );
}

#[test]
fn flows_that_backends_have_opened_are_chosen_from() {
    let running = with_opened_flows();
    let of = |host: u8, port: u16, to: &str| (format!("10.0.0.{host}:{port}"), to.to_owned());
    let all =
        [of(4, 50_001, "192.0.2.99:443"), of(4, 50_002, "192.0.2.98:80"), of(5, 50_001, "192.0.2.99:443")];
    assert_eq!(opened(&running, ""), all);
    for (query, wanted) in [
        ("?rule=egress", &all[..]),
        ("?rule=https", &[]),
        ("?backend=10.0.0.5", &all[2..]),
        ("?backend=web/10.0.0.4", &all[..2]),
        ("?backend=10.0.0.4:50002", &all[1..2]),
        ("?rule=egress&backend=10.0.0.5", &all[2..]),
        ("?client=192.0.2.98", &all[1..2]),
        ("?client=192.0.2.98:81", &[]),
        ("?state=half-open", &all[..]),
        ("?state=established", &[]),
    ] {
        assert_eq!(opened(&running, query), wanted, "{query}");
    }
    let told = running.good("GET", "/v1/flows?rule=egress", "");
    assert_eq!(told["flows"], json!([]), "those of no other rule");
    let told = running.good("GET", "/v1/flows?limit=2", "");
    let count = |key: &str| told[key].as_array().unwrap().len();
    assert_eq!((count("flows") + count("outbound"), &told["cut_by"]), (2, &json!("limit")));
    let (_, out, _) = running.guideway("show flows --rule egress");
    for part in ["seen as", "10.0.0.4:50002", "192.0.2.98:80", "egress", "3 of 4 flows"] {
        assert!(out.contains(part), "{out}\nlacks: {part}");
    }
}

#[test]
fn the_command_line_shows_and_changes_and_its_json_is_the_apis() {
    let running = Running::new();
    for (line, parts) in [
        ("backend web/10.0.0.5 drain", vec!["done: generation 2"]),
        ("backend web/10.0.0.6 weight 3", vec!["done: generation 3"]),
        ("show backends", vec!["drain (operator)", "3 (operator)", "75.0", "10.0.0.4:8443", "by weight"]),
        ("backend web/10.0.0.5 reset", vec!["done: generation 4"]),
        ("reload", vec!["reloaded: generation 5"]),
        (
            "show status",
            vec!["generation  5, reached by all workers: yes", "2 rules, 6 backends, 1 flows", "busy polls"],
        ),
        ("show rules", vec!["203.0.113.10:443/tcp", "web:8443", "3 of 3", "5-tuple"]),
        ("show counters", vec!["received"]),
        ("show counters --all", vec!["no-rule", "handover-full"]),
        ("show neighbours", vec!["198.51.100.1", "not known; asked for", "02:00:00:00:00:04", "static"]),
        ("show flows", vec!["192.0.2.7:40000", "203.0.113.10:443/tcp", "half-open", "1 of 1 flows"]),
        ("show flows --client 192.0.2.8", vec!["0 of 1 flows"]),
        ("show backends --rule dns", vec!["10.0.0.4:5353"]),
        ("show ports", vec!["outside", "inside", "memory", "1500"]),
        ("show outbound", vec!["backend", "protocol", "on demand"]),
    ] {
        let (code, out, err) = running.guideway(line);
        assert_eq!((code, err.as_str()), (Some(0), ""), "{line}");
        for part in parts {
            assert!(out.contains(part), "{line}\n{out}\nlacks: {part}");
        }
    }
    for what in ["rules", "backends", "counters", "neighbours", "ports"] {
        let (code, out, _) = running.guideway(&format!("show {what} --json"));
        let told: Value = serde_json::from_str(&out).unwrap();
        let now = running.good("GET", &format!("/v1/{what}"), "");
        assert_eq!((code, timeless(told)), (Some(0), timeless(now)), "{what}");
    }
    for (line, code, part) in [
        ("backend web/10.0.0.9 up", 2, "pool web has no backend 10.0.0.9"),
        ("backend wbe/10.0.0.5 up", 2, "there is no pool wbe"),
        ("backend web up", 2, "not POOL/ADDRESS"),
        ("backend web/10.0.0.5?x up", 2, "not POOL/ADDRESS"),
        ("backend web/10.0.0.5 weight 101", 2, "101 is not in 0..=100"),
        ("backend web/10.0.0.5 sideways", 2, "sideways"),
        ("show flows --state sleepy", 2, "possible values: half-open"),
        ("show flows --limit 10001", 2, "10001 is not in 1..=10000"),
        ("show flows --client web", 2, "not an address"),
        ("show flows --rule nope", 2, "there is no rule nope"),
        ("show rules --pool nope", 2, "there is no pool nope"),
    ] {
        let (got, out, err) = running.guideway(line);
        assert!(got == Some(code) && err.contains(part) && out.is_empty(), "{line}: {got:?}\n{out}{err}");
    }
    fs::write(running.directory.path().join("gw.toml"), "no = toml = at all").unwrap();
    let (code, _, err) = running.guideway("reload");
    assert!(code == Some(1) && err.contains("gw.toml:1"), "{err}");
    let socket = running.socket();
    drop(running);
    let mut command = Command::new(env!("CARGO_BIN_EXE_guideway"));
    let output = command.args(["show", "status", "--control-socket"]).arg(socket).output().unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(1) && err.contains("is guideway running"), "{err}");
}

/// Their answers go on, and have tests of their own.
const STREAMS: [&str; 2] = ["/v1/capture", "/v1/trace"];

/// Asks for a stream, and gives the connection once its head is there and the workers know of it.
fn begin(running: &Running, path: &str, body: &str) -> UnixStream {
    let mut stream = UnixStream::connect(running.socket()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let accept = "application/x-pcapng, application/x-ndjson";
    let length = body.len();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: g\r\naccept: {accept}\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    until(|| {
        let status = running.good("GET", "/v1/status", "");
        status["generation"] == status["generation_reached"]
    });
    stream
}

#[test]
fn who_does_not_ask_for_a_stream_is_not_held_by_one() {
    let running = Running::new();
    for (path, body) in [
        ("/v1/capture", ""),
        ("/v1/capture", r#"{"seconds": 86400}"#),
        ("/v1/trace", r#"{"client": "192.0.2.7:40001", "frontend": "https", "seconds": 3600}"#),
    ] {
        let mut stream = UnixStream::connect(running.socket()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: g\r\naccept: */*\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        let began = Instant::now();
        stream.write_all((head + body).as_bytes()).unwrap();
        let mut all = Vec::new();
        stream.read_to_end(&mut all).unwrap();
        assert!(
            all.starts_with(b"HTTP/1.1 200") && began.elapsed() < Duration::from_secs(8),
            "{path} {body}"
        );
    }
}

fn until(mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !holds() {
        assert!(Instant::now() < deadline, "it does not come to pass");
        thread::sleep(Duration::from_millis(10));
    }
}

/// The body of a chunked answer that has come to its end.
fn chunks(mut stream: UnixStream) -> Vec<u8> {
    let (mut all, mut body) = (Vec::new(), Vec::new());
    stream.read_to_end(&mut all).unwrap();
    let mut rest = &all[..];
    loop {
        let end = rest.windows(2).position(|two| two == b"\r\n").expect("the length of a chunk");
        let len = usize::from_str_radix(std::str::from_utf8(&rest[..end]).unwrap(), 16).unwrap();
        if len == 0 {
            return body;
        }
        body.extend_from_slice(&rest[end + 2..end + 2 + len]);
        rest = &rest[end + 4 + len..];
    }
}

#[test]
fn a_trace_is_as_the_openapi_file_says_and_tells_what_became_of_each_packet() {
    let document: Value = serde_json::from_str(include_str!("../docs/openapi.json")).unwrap();
    let running = Running::new();
    let ask = r#"{"client": "192.0.2.7:40001", "frontend": "https", "count": 4}"#;
    let stream = begin(&running, "/v1/trace", ask);
    // Whatever neighbours are missing: a packet that is dropped for that is a packet of the flow too.
    let ours = |flags, ttl| Spec { from: (CLIENT, 40_001), ttl, ..Spec::tcp(flags) }.frame();
    let mut broken = ours("A", 64);
    broken[24] ^= 1;
    for frame in [Spec::tcp("S").frame(), ours("S", 64), ours("A", 1), ours("A", 64)] {
        running.arrivals.send(frame).unwrap();
    }
    // Of another burst, before which the flow was there.
    until(|| running.good("GET", "/v1/counters", "")["frames"]["received"] == 5);
    running.arrivals.send(broken).unwrap();
    let body = String::from_utf8(chunks(stream)).unwrap();
    let packets: Vec<Value> = body
        .split_terminator('\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(packets.len(), 4);
    let mut schema = document["components"]["schemas"]["TracedPacket"].clone();
    schema["components"] = document["components"].clone();
    let validator = jsonschema::validator_for(&schema).unwrap();
    for packet in &packets {
        let flaws: Vec<String> = validator.iter_errors(packet).map(|flaw| flaw.to_string()).collect();
        assert!(flaws.is_empty(), "{flaws:?}\n{packet:#}");
        assert_eq!((&packet["source"], &packet["rule"]), (&json!("192.0.2.7:40001"), &json!("https")));
    }
    assert!(!validator.is_valid(&json!({})));
    assert_eq!((&packets[0]["flow"], &packets[0]["tcp_flags"]), (&json!("new"), &json!("SYN")));
    assert_eq!(packets[0]["choice"]["backend"], packets[0]["backend"]);
    assert_eq!(packets[1]["verdict"], "answered: ICMP error");
    assert!(packets[..3].iter().all(|packet| packet["backend"] == packets[0]["backend"]));
    // One that is dropped before its flow is looked up does nothing to it, and goes nowhere.
    let broken = &packets[3];
    assert_eq!(
        (&broken["verdict"], &broken["backend"]),
        (&json!("dropped: ipv4-bad-checksum"), &Value::Null)
    );
    assert_eq!((&broken["flow"], &broken["state"]), (&json!("known"), &packets[2]["state"]));
}

#[test]
fn captures_have_their_places_and_leave_nothing_behind() {
    let running = Running::new();
    let streams: Vec<_> = (0..4).map(|_| begin(&running, "/v1/capture", "")).collect();
    let (status, told) = running.ask("POST", "/v1/capture", "{}");
    assert!(status == 429 && told["error"].as_str().unwrap().contains("4 captures"), "{status} {told}");
    // Nobody reads, and everybody else is served; the worker goes on.
    for i in 0..2000u16 {
        running.arrivals.send(Spec { from: (CLIENT, i + 1), ..Spec::udp() }.frame()).unwrap();
    }
    let received = |running: &Running| running.good("GET", "/v1/counters", "")["frames"]["received"].as_u64();
    until(|| received(&running) == Some(2001));
    drop(streams);
    // Each that hangs up makes room at once.
    until(|| {
        let mut stream = UnixStream::connect(running.socket()).unwrap();
        stream.write_all(b"POST /v1/capture HTTP/1.1\r\nhost: g\r\ncontent-length: 0\r\n\r\n").unwrap();
        let mut head = [0; 12];
        stream.read_exact(&mut head).unwrap();
        head == *b"HTTP/1.1 200"
    });
    until(|| {
        let status = running.good("GET", "/v1/status", "");
        status["snapshots"] == 1 && status["generation"] == status["generation_reached"]
    });
}

/// What a client is too slow to take is counted, and nothing is lost beside that.
#[test]
fn a_slow_client_is_told_how_many_frames_it_has_lost() {
    use pcap_file::pcapng::blocks::interface_statistics::InterfaceStatisticsOption;
    use pcap_file::pcapng::{Block, PcapNgReader};
    const FRAMES: u64 = 30_000;
    let running = Running::new();
    let stream =
        begin(&running, "/v1/capture", r#"{"dropped": ["ipv4-bad-checksum"], "snaplen": 64, "seconds": 8}"#);
    let mut frame = Spec::udp().frame();
    frame[24] ^= 1;
    (0..FRAMES).for_each(|_| running.arrivals.send(frame.clone()).unwrap());
    until(|| running.good("GET", "/v1/counters", "")["frames"]["received"] == FRAMES + 1);
    let file = chunks(stream);
    let mut reader = PcapNgReader::new(&file[..]).unwrap();
    let (mut told, mut lost) = (0, [0; 2]);
    while let Some(block) = reader.next_block() {
        match block.unwrap() {
            Block::EnhancedPacket(_) => told += 1,
            Block::InterfaceStatistics(block) => {
                let Some(InterfaceStatisticsOption::IsbOsDrop(count)) = block.options.first() else {
                    panic!()
                };
                lost[block.interface_id as usize] = *count;
            }
            _ => {}
        }
    }
    assert!(told > 1000 && lost[0] > 1000, "{told} {lost:?}");
    assert_eq!((told + lost[0], lost[1]), (FRAMES, 0));
}

#[test]
fn bad_captures_and_traces_get_a_reason() {
    let running = Running::new();
    for (path, body, status, reason) in [
        ("/v1/capture", r#"{"cleint": "192.0.2.7"}"#, 400, "cleint"),
        ("/v1/capture", r#"{"client": "192.0.2.700"}"#, 400, "not an address"),
        ("/v1/capture", r#"{"client": "192.0.2.7:70000"}"#, 400, "not an address"),
        ("/v1/capture", r#"{"backend": "web/10.0.0.99"}"#, 404, "no backend 10.0.0.99"),
        ("/v1/capture", r#"{"backend": "wbe/10.0.0.4"}"#, 404, "no pool wbe"),
        ("/v1/capture", r#"{"backend": "web/10.0.0.4:1"}"#, 404, "no rule sends"),
        ("/v1/capture", r#"{"rule": "htpps"}"#, 404, "no rule or frontend htpps"),
        ("/v1/capture", r#"{"dropped": ["wrong-mac", "bad-mood"]}"#, 400, "bad-mood: no such reason"),
        ("/v1/capture", r#"{"dropped": true}"#, 400, "the body"),
        ("/v1/capture", r#"{"count": 0}"#, 400, "count 0"),
        ("/v1/capture", r#"{"count": -1}"#, 400, "the body"),
        ("/v1/capture", r#"{"snaplen": 0}"#, 400, "1 to 9728"),
        ("/v1/capture", r#"{"snaplen": 1000000000000}"#, 400, "1 to 9728"),
        ("/v1/capture", r#"{"seconds": 0}"#, 400, "above 0"),
        ("/v1/capture", r#"{"seconds": -1e300}"#, 400, "above 0"),
        ("/v1/capture", r#"{"seconds": 1e300}"#, 400, "above 0"),
        ("/v1/trace", "{}", 400, "missing field"),
        ("/v1/trace", r#"{"client": "192.0.2.7", "frontend": "https"}"#, 400, "address and port"),
        (
            "/v1/trace",
            r#"{"client": "192.0.2.7:1", "frontend": "10.9.9.9:1/tcp"}"#,
            404,
            "no rule or frontend",
        ),
        ("/v1/trace", r#"{"client": "192.0.2.7:1", "frontend": "https", "count": 0}"#, 400, "count 0"),
    ] {
        let (got, told) = running.ask("POST", path, body);
        assert_eq!(got, status, "{path} {body}: {told}");
        assert!(told["error"].as_str().unwrap().contains(reason), "{path} {body}: {told}");
    }
    assert_eq!(running.good("GET", "/v1/status", "")["generation"], 1);
}

#[test]
fn the_command_line_captures_and_traces() {
    use pcap_file::pcapng::blocks::enhanced_packet::EnhancedPacketOption;
    use pcap_file::pcapng::{Block, PcapNgReader};
    let running = Running::new();
    let file = running.directory.path().join("out.pcapng");
    fs::write(&file, "old").unwrap();
    let write = format!("-w {}", file.display());
    let (code, out, err) = running.guideway(&format!("capture --rule nowhere {write}"));
    assert!(
        code == Some(2) && err.contains("no rule or frontend nowhere") && out.is_empty(),
        "{code:?} {err}"
    );
    assert_eq!(fs::read(&file).unwrap(), b"old", "what was asked wrong overwrites nothing");
    // The manager asks for its neighbours each second.
    let (code, out, err) = running.guideway(&format!("capture --count 3 --duration 10s {write}"));
    assert!(code == Some(0) && err.contains("3 frames written, 0 lost") && out.is_empty(), "{code:?} {err}");
    let mut reader = PcapNgReader::new(fs::File::open(&file).unwrap()).unwrap();
    let mut frames = 0;
    while let Some(block) = reader.next_block() {
        let Block::EnhancedPacket(packet) = block.unwrap() else { continue };
        let options = &packet.options;
        assert!(
            options.contains(&EnhancedPacketOption::Comment("originated (ARP), worker 0".into())),
            "{options:?}"
        );
        assert!(options.contains(&EnhancedPacketOption::Flags(2)), "{options:?}");
        assert_eq!((packet.original_len as usize, packet.data.len()), (42, 42));
        frames += 1;
    }
    assert_eq!((frames, reader.interfaces().len()), (3, 2));
    let (code, out, _) = running.guideway("capture --dropped --duration 200ms -w -");
    assert!(code == Some(0) && out.starts_with("\n\r\r\n"), "a section header and no frame");
    let (code, _, err) = running.guideway("capture --dropped=bad-mood -w /dev/null");
    assert!(code == Some(2) && err.contains("no such reason"), "{err}");
    let (code, _, err) = running.guideway("capture --count 3 -w /dev/full");
    assert!(code == Some(1) && err.contains("/dev/full"), "{err}");
    let (code, _, err) = running.guideway("trace 192.0.2.7:1 https --timeout 200ms");
    assert!(code == Some(1) && err.contains("no packet of 192.0.2.7:1"), "{err}");
    let arrivals = running.arrivals.clone();
    let knock = thread::spawn(move || {
        for _ in 0..100 {
            if arrivals.send(Spec { from: (CLIENT, 7), ttl: 1, ..Spec::tcp("S") }.frame()).is_err() {
                break;
            }
            thread::sleep(Duration::from_millis(20));
        }
    });
    let (code, out, err) = running.guideway("trace 192.0.2.7:7 203.0.113.10:443/tcp --count 2");
    knock.join().unwrap();
    assert_eq!((code, err.as_str()), (Some(0), ""));
    for part in [
        "TCP SYN, seq 1000000",
        "on outside by worker 0",
        "https, 203.0.113.10:443/tcp",
        "answered: ICMP error",
    ] {
        assert!(out.contains(part), "{out}\nlacks: {part}");
    }
}

/// The same at any time: ages are left out.
fn timeless(mut view: Value) -> Value {
    for backend in view["backends"].as_array_mut().into_iter().flatten() {
        assert!(backend.as_object_mut().unwrap().remove("since_seconds").is_some_and(|age| age.is_number()));
    }
    view
}

/// Every filter keeps what it says and nothing else.
#[test]
fn flows_are_told_by_client_rule_backend_and_state() {
    let running = Running::new();
    let all = running.good("GET", "/v1/flows", "");
    assert_eq!(
        (&all["looked_at"], &all["held"], &all["limit"], &all["cut_by"]),
        (&json!(1), &json!(1), &json!(100), &Value::Null)
    );
    let flow = &all["flows"][0];
    assert_eq!(
        (&flow["client"], &flow["rule"], &flow["pool"]),
        (&json!("192.0.2.7:40000"), &json!("https"), &json!("web"))
    );
    assert_eq!((&flow["state"], &flow["worker"]), (&json!("half-open"), &json!(0)));
    let idle = flow["idle_seconds"].as_f64().unwrap() + flow["expires_in_seconds"].as_f64().unwrap();
    assert_eq!(idle, 30.0, "{flow}");
    let backend = flow["backend"].as_str().unwrap();
    let address = backend.strip_suffix(":8443").unwrap();
    let other = if address == "10.0.0.4" { "10.0.0.5" } else { "10.0.0.4" };
    for (query, flows) in [
        ("client=192.0.2.7", 1),
        ("client=192.0.2.7:40000", 1),
        ("client=192.0.2.7:40001", 0),
        ("client=192.0.2.8", 0),
        ("rule=https", 1),
        ("rule=dns", 0),
        ("state=half-open", 1),
        ("state=established", 0),
        (&format!("backend={backend}"), 1),
        (&format!("backend={address}"), 1),
        (&format!("backend=web%2F{address}"), 1),
        (&format!("backend={address}:5353"), 0),
        (&format!("backend=web/{other}"), 0),
        (&format!("client=192.0.2.7&rule=https&state=half-open&limit=1&backend={backend}"), 1),
        ("client=192.0.2.7&rule=dns", 0),
    ] {
        let told = running.good("GET", &format!("/v1/flows?{query}"), "");
        assert_eq!(told["flows"].as_array().unwrap().len(), flows, "{query}: {told}");
        assert_eq!((&told["looked_at"], &told["cut_by"]), (&json!(1), &Value::Null), "{query}");
    }
}
