//! A running load balancer on memory, with its control API and its metrics on TCP.
#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    clippy::unwrap_used,
    clippy::panic,
    reason = "each test file uses a part of it"
)]

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use guideway::config::{ConfigFlags, Model, load_text};
use guideway::control::metrics::{Sources, start};
use guideway::control::{Context, Manager, Probes, REPLAY_KEY, views};
use guideway::dataplane::{FlowTable, Mesh, Worker, WorkerCounters, WorkerId, WorkerPort};
use guideway::io::PortId;
use guideway::io::memory::{HeapFrame, MemoryQueues};
use guideway::snapshot::PortLink;
use guideway::wire::MacAddr;
use serde_json::Value;

use crate::common::{OUTSIDE, numbered, with_backends};

pub const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// A running load balancer on memory, with its API and its metrics on TCP.
pub struct Running {
    pub directory: tempfile::TempDir,
    pub api: SocketAddr,
    pub metrics: SocketAddr,
    pub frames: Sender<Vec<u8>>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

pub fn config() -> String {
    with_backends(&numbered(4..7, ""), "")
        + &(4..7)
            .map(|n| format!("[[neighbour]]\naddress = \"10.0.0.{n}\"\nmac = \"02:00:00:00:00:0{n}\"\n"))
            .collect::<String>()
}

impl Running {
    pub fn new(model: Model) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let token = directory.path().join("token");
        write_token(&token, TOKEN, 0o600);
        let stop = Arc::new(AtomicBool::new(false));
        let mesh: Mesh<HeapFrame> = Mesh::new(1);
        let counters: Arc<WorkerCounters> = Arc::default();
        let link = |i| PortLink { mac: MacAddr([2, 0xff, 0, 0, 0, i]), filters: true, mtu: 1500 };
        let links = vec![link(0), link(1)];
        let (manager, mut readers) =
            Manager::new(model, REPLAY_KEY, links, vec![counters.clone()], mesh.events(), mesh.originated())
                .unwrap();
        let manager = manager.with_surveys(mesh.surveys());
        let me = WorkerId(0);
        let own = |port| WorkerPort { port: PortId(port), keeps_flows: true, transmitter: me };
        let (queues, flows) = (MemoryQueues::new(2), FlowTable::new(1024).unwrap());
        let mut worker =
            Worker::new(mesh.seat(me), 1, vec![own(0), own(1)], queues, readers.remove(0), flows, counters);
        let (frames, pushed) = channel::<Vec<u8>>();
        let stopped = stop.clone();
        let work = move || {
            let began = Instant::now();
            while !stopped.load(Ordering::Relaxed) {
                pushed.try_iter().for_each(|frame| worker.queues_mut().push(OUTSIDE, frame));
                worker.poll(began.elapsed());
                thread::sleep(Duration::from_micros(200));
            }
        };
        let (told, addresses) = channel();
        let (stopped, file) = (stop.clone(), directory.path().join("gw.toml"));
        fs::write(&file, config()).unwrap();
        let manage = move || {
            let load = || {
                let text = fs::read_to_string(&file).unwrap();
                load_text("gw.toml", &text, &ConfigFlags::default())
            };
            manage(manager, &token, &load, &told, &stopped);
        };
        let threads = vec![thread::spawn(work), thread::spawn(manage)];
        let (api, metrics) = addresses.recv().unwrap();
        Self { directory, api, metrics, frames, stop, threads }
    }

    /// Status and body of the API's answer to who has the token; of a stream no body.
    pub fn ask(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let headers = format!("authorization: Bearer {TOKEN}\r\ncontent-type: application/json\r\n");
        self.ask_with(&headers, method, path, body)
    }

    /// The same to who says so of itself; each header ends its line.
    pub fn ask_with(&self, headers: &str, method: &str, path: &str, body: &str) -> (u16, Value) {
        let text = format!(
            "{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n{headers}content-length: {}\r\n\r\n{body}",
            body.len()
        );
        let (status, _, body) = send(self.api, text.as_bytes()).unwrap();
        let answer = if body.is_empty() { Value::Null } else { serde_json::from_str(&body).unwrap() };
        (status, answer)
    }

    pub fn scrape(&self, accept: &str) -> (String, String) {
        let text = format!("GET /metrics HTTP/1.1\r\nhost: g\r\naccept: {accept}\r\n\r\n");
        let (status, head, body) = send(self.metrics, text.as_bytes()).unwrap();
        assert_eq!(status, 200, "{body}");
        (head, body)
    }

    /// Every value by its name and labels.
    pub fn values(&self) -> BTreeMap<String, f64> {
        values(&self.scrape("*/*").1)
    }

    /// The values once `is_right` holds for them.
    pub fn values_when(&self, is_right: impl Fn(&BTreeMap<String, f64>) -> bool) -> BTreeMap<String, f64> {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let values = self.values();
            if is_right(&values) {
                return values;
            }
            assert!(Instant::now() < deadline, "{values:#?}");
            thread::sleep(Duration::from_millis(10));
        }
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

fn manage(
    mut manager: Manager,
    token: &std::path::Path,
    load: guideway::control::Load<'_>,
    told: &Sender<(SocketAddr, SocketAddr)>,
    stop: &AtomicBool,
) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let links =
        || vec![views::Link { driver: "memory".into(), speed_mbps: Some(1000), ..Default::default() }; 2];
    runtime.block_on(async {
        let (began, mut probes) = (Instant::now(), Probes::new().unwrap());
        let (sender, mut requests) = tokio::sync::mpsc::channel(16);
        let any = "127.0.0.1:0".parse().unwrap();
        let api = guideway::control::start_tcp_server(any, token.to_owned(), sender).unwrap();
        let (mut scrapes, metrics) = start(any).unwrap();
        told.send((api, metrics)).unwrap();
        let mut tick = tokio::time::interval(Duration::from_millis(5));
        while !stop.load(Ordering::Relaxed) {
            tokio::select! {
                _ = tick.tick() => {
                    manager.advance(began.elapsed());
                    probes.advance(&mut manager);
                }
                Some(request) = requests.recv() => {
                    request.answer(&mut manager, &Context { load, ports: &links, probes: &|| probes.report(), now: began.elapsed() });
                }
                Some(scrape) = scrapes.recv() => {
                    scrape.answer(&Sources { manager: &manager, probes: &probes, ports: links() });
                }
            }
        }
    });
}

pub fn write_token(path: &std::path::Path, token: &str, mode: u32) {
    fs::write(path, format!("{token}\n")).unwrap();
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// Sends these bytes as they are; `None` where the server only closes.
pub fn send(address: SocketAddr, bytes: &[u8]) -> Option<(u16, String, String)> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    // The server may have seen enough before it has seen all.
    let _ = stream.write_all(bytes);
    read(&mut stream)
}

/// Of a stream, which may go on for long, without its body.
pub fn read(stream: &mut TcpStream) -> Option<(u16, String, String)> {
    let (mut head, mut byte) = (String::new(), [0]);
    while !head.ends_with("\r\n\r\n") {
        stream.read_exact(&mut byte).ok()?;
        head.push(char::from(byte[0]).to_ascii_lowercase());
    }
    let mut body = String::new();
    if !head.contains("content-type: application/x-") {
        let _ = stream.read_to_string(&mut body);
    }
    Some((head.split(' ').nth(1)?.parse().unwrap(), head.trim_end().to_owned(), body))
}

pub fn values(text: &str) -> BTreeMap<String, f64> {
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    let parsed: BTreeMap<String, f64> = lines
        .iter()
        .map(|line| line.rsplit_once(' ').map(|(name, n)| (name.to_owned(), n.parse().unwrap())).unwrap())
        .collect();
    assert_eq!(parsed.len(), lines.len(), "a name with its labels is there twice");
    parsed
}
