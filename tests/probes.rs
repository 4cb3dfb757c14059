//! Probes against real servers on the loopback interface: what they ask, what they make of answers, and what the
//! manager makes of that.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail")]

mod common;

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use common::*;
use guideway::config::{AdminState, Model};
use guideway::control::{Manager, ProbeReport, Probes, REPLAY_KEY, Verdict};
use guideway::dataplane::{Mesh, WorkerCounters};
use guideway::io::memory::HeapFrame;
use guideway::snapshot::PortLink;
use guideway::wire::MacAddr;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::LocalSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

/// A configuration's backends 10.0.x.y are 127.0.x.y here: no file may name those, and all of them answer.
fn on_loopback(text: &str) -> Model {
    let mut model = model(text);
    for rule in &mut model.rules {
        let mut pool = (*rule.pool).clone();
        for backend in &mut pool.backends {
            let [_, rest @ ..] = backend.address.octets();
            backend.address = Ipv4Addr::new(127, rest[0], rest[1], rest[2]);
        }
        rule.pool = Arc::new(pool);
    }
    model
}

/// One rule `web` on one backend, 127.0.0.4, whose probe has these lines.
fn one(port: u16, probe: &str) -> String {
    pool_of(port, "backends = [{ address = \"10.0.0.4\" }]", probe)
}

fn pool_of(port: u16, backends: &str, probe: &str) -> String {
    format!(
        "{TWO_ARMS}[[pool]]\nname = \"web\"\n{backends}\n[[rule]]\nname = \"web\"\nfrontend = \"203.0.113.10:80/tcp\"\n\
         pool = \"web\"\nbackend_port = {port}\nprobe = \"p\"\n[[probe]]\nname = \"p\"\n{probe}\n"
    )
}

struct Bed {
    manager: Manager,
    probes: Probes,
}

impl Bed {
    fn new(text: &str) -> Self {
        let link = |i| PortLink { mac: MacAddr([2, 0xff, 0, 0, 0, i]), filters: true, mtu: 1500 };
        let mesh: Mesh<HeapFrame> = Mesh::new(1);
        let counters: Vec<Arc<WorkerCounters>> = vec![Arc::default()];
        let (links, events, out) = (vec![link(0), link(1)], mesh.events(), mesh.originated());
        let made = Manager::new(on_loopback(text), REPLAY_KEY, links, counters, events, out);
        Self { manager: made.unwrap().0, probes: Probes::new().unwrap() }
    }

    fn reload(&mut self, text: &str) {
        self.manager.change(on_loopback(text), Duration::ZERO).unwrap();
    }

    /// Goes on until `done`, or panics after ten seconds.
    async fn until(&mut self, what: &str, done: impl Fn(&Self) -> bool) -> Duration {
        let began = Instant::now();
        loop {
            self.probes.advance(&mut self.manager);
            if done(self) {
                return began.elapsed();
            }
            assert!(began.elapsed() < Duration::from_secs(10), "{what}: {:?}", self.probes.report());
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    async fn for_a_while(&mut self, time: Duration) {
        let end = Instant::now() + time;
        self.until("time passes", |_| Instant::now() >= end).await;
    }

    fn first(&self) -> ProbeReport {
        self.probes.report().remove(0)
    }

    /// The states of the backends of the first rule, as flows find them.
    fn states(&self) -> Vec<AdminState> {
        let model = self.manager.model();
        let state = |backend| self.manager.runtime().state_of(&model.rules[0], backend);
        model.rules[0].pool.backends.iter().map(state).collect()
    }
}

/// Runs `story` on a runtime like the management thread's.
fn on_runtime(story: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(LocalSet::new().run_until(story));
}

/// What a server does with a connection.
#[derive(Clone)]
enum Does {
    /// Says this, and closes when the other end has.
    Says(String),
    /// The same after a time.
    SaysLate(Duration, String),
    /// Nothing, ever.
    Waits,
    /// Waits for the client to close, and notes how it did.
    Notes(Arc<AtomicUsize>),
    /// Closes at once.
    Leaves,
}

/// A server on any port of 127.0.0.4; returns the port and a count of the connections it took.
async fn server(does: Does, tls: Option<TlsAcceptor>) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind((Ipv4Addr::new(127, 0, 0, 4), 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (port, serve(listener, does, tls))
}

fn serve(listener: TcpListener, does: Does, tls: Option<TlsAcceptor>) -> Arc<AtomicUsize> {
    let count: Arc<AtomicUsize> = Arc::default();
    let taken = count.clone();
    tokio::task::spawn_local(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            taken.fetch_add(1, Ordering::Relaxed);
            let (does, tls) = (does.clone(), tls.clone());
            tokio::task::spawn_local(async move {
                match tls {
                    None => attend(stream, does).await,
                    Some(tls) => {
                        if let Ok(stream) = tls.accept(stream).await {
                            attend(stream, does).await;
                        }
                    }
                }
            });
        }
    });
    count
}

async fn attend(mut stream: impl AsyncRead + AsyncWrite + Unpin, does: Does) {
    let mut request = vec![0; 4096];
    match does {
        Does::Leaves => return,
        Does::Waits => tokio::time::sleep(Duration::from_secs(60)).await,
        Does::Notes(clean) => {
            // An orderly end reads as zero bytes, a reset as an error.
            if matches!(stream.read(&mut request).await, Ok(0)) {
                clean.fetch_add(1, Ordering::Relaxed);
            }
            return;
        }
        Does::SaysLate(time, _) => tokio::time::sleep(time).await,
        Does::Says(_) => {}
    }
    let (Does::Says(text) | Does::SaysLate(_, text)) = does else { return };
    let len = stream.read(&mut request).await.unwrap_or(0);
    let request = String::from_utf8_lossy(&request[..len]).into_owned();
    let text = text.replace("{request}", &request.replace("\r\n", "|"));
    let _ = stream.write_all(text.as_bytes()).await;
    let _ = stream.shutdown().await;
    let _ = stream.read(&mut [0; 16]).await;
}

fn answer(status: u16, body: &str) -> Does {
    Does::Says(format!("HTTP/1.1 {status} Word\r\nConnection: close\r\n\r\n{body}"))
}

fn self_signed() -> TlsAcceptor {
    let made = rcgen::generate_simple_self_signed(["backend.example".to_owned()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

/// What the first answer comes to; and why, if it is bad.
async fn verdict(port: u16, probe: &str) -> (Verdict, Option<String>) {
    let mut bed = Bed::new(&one(port, probe));
    assert_eq!(bed.states(), [AdminState::Auto]);
    bed.until(probe, |bed| bed.probes.report().first().is_some_and(|r| r.good_total + r.bad_total > 0)).await;
    let report = bed.first();
    bed.until("the manager hears", |bed| (bed.states() == [AdminState::Down]) == (report.bad_total > 0))
        .await;
    (report.verdict, report.last_failure)
}

const QUICK: &str = "interval = \"2s\"\ntimeout = \"300ms\"";

#[test]
fn tcp_asks_for_a_connection() {
    on_runtime(async {
        let refusing = {
            let listener = TcpListener::bind((Ipv4Addr::new(127, 0, 0, 4), 0)).await.unwrap();
            listener.local_addr().unwrap().port()
        };
        let up = (Verdict::Up, None);
        let tcp = format!("kind = \"tcp\"\n{QUICK}");
        assert_eq!(verdict(server(Does::Waits, None).await.0, &tcp).await, up);
        assert_eq!(verdict(server(Does::Leaves, None).await.0, &tcp).await, up);
        let down = (Verdict::Down, Some("connection refused".into()));
        assert_eq!(verdict(refusing, &tcp).await, down);
        // The probe's port is asked, whatever the rule's is.
        let (other, _) = server(Does::Waits, None).await;
        assert_eq!(verdict(refusing, &format!("{tcp}\nport = {other}")).await, up);
        // A full backlog drops what asks for a connection.
        let full = tokio::net::TcpSocket::new_v4().unwrap();
        full.bind("127.0.0.4:0".parse().unwrap()).unwrap();
        let full = full.listen(1).unwrap();
        let address = full.local_addr().unwrap();
        let _held: Vec<_> = (0..2).map(|_| std::net::TcpStream::connect(address).unwrap()).collect();
        let down = (Verdict::Down, Some("no connection in 300ms".into()));
        assert_eq!(verdict(address.port(), &tcp).await, down);
    });
}

#[test]
fn a_tcp_probe_ends_its_connection_in_order() {
    on_runtime(async {
        let clean: Arc<AtomicUsize> = Arc::default();
        let (port, taken) = server(Does::Notes(clean.clone()), None).await;
        let mut bed = Bed::new(&one(port, "kind = \"tcp\"\ninterval = \"100ms\""));
        bed.until("five answers", |bed| bed.first_good() >= 5).await;
        bed.for_a_while(Duration::from_millis(20)).await;
        assert!(clean.load(Ordering::Relaxed) >= 5);
        assert!(taken.load(Ordering::Relaxed) - clean.load(Ordering::Relaxed) <= 1);
    });
}

#[test]
fn a_tcp_probe_does_not_reset_a_server_that_speaks_first() {
    on_runtime(async {
        let listener = TcpListener::bind((Ipv4Addr::new(127, 0, 0, 4), 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let greeted = tokio::task::spawn_local(async move {
            let (mut stream, _): (TcpStream, _) = listener.accept().await.unwrap();
            stream.write_all(b"220 mail.example ready\r\n").await.unwrap();
            stream.read(&mut [0; 16]).await.map_err(|error| error.kind())
        });
        let mut bed = Bed::new(&one(port, "kind = \"tcp\""));
        bed.until("the server is left", |_| greeted.is_finished()).await;
        assert_eq!(greeted.await.unwrap(), Ok(0));
    });
}

impl Bed {
    fn first_good(&self) -> u64 {
        self.probes.report().first().map_or(0, |report| report.good_total)
    }
}

#[test]
fn http_asks_for_a_good_answer() {
    let late =
        |ms| Does::SaysLate(Duration::from_millis(ms), "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".into());
    let cases: [(&str, Does, &str, &str); 17] = [
        ("200", answer(200, "fine"), "", ""),
        ("200 without a body", Does::Says("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".into()), "", ""),
        (
            "200 that stays open",
            Does::Says("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine".into()),
            "",
            "",
        ),
        ("204", answer(204, ""), "", "status 204, expected 200"),
        ("503", answer(503, "busy"), "", "status 503, expected 200"),
        ("301", answer(301, ""), "", "status 301, expected 200"),
        ("204 expected", answer(204, ""), "status = \"200,204\"", ""),
        ("299 expected", answer(299, ""), "status = \"200-299\"", ""),
        ("404", answer(404, ""), "status = \"200-299,301\"", "status 404, expected 200-299,301"),
        ("body", answer(200, "all is ready now"), "body = \"ready\"", ""),
        (
            "no body",
            answer(200, "all is well"),
            "body = \"ready\"",
            "status 200, but no \"ready\" in the body",
        ),
        ("body of 503", answer(503, "ready"), "body = \"ready\"", "status 503, expected 200"),
        ("slow", late(150), "", ""),
        ("too slow", late(600), "", "no answer in 300ms"),
        ("silent", Does::Waits, "", "no answer in 300ms"),
        ("closed", Does::Leaves, "", "connection closed without an answer"),
        (
            "mail",
            Does::Says("220 mail.example ready\r\n".into()),
            "",
            "not HTTP: invalid HTTP version parsed",
        ),
    ];
    on_runtime(async {
        for (name, does, extra, why) in cases {
            let (port, _) = server(does, None).await;
            let (verdict, failure) = verdict(port, &format!("kind = \"http\"\n{QUICK}\n{extra}")).await;
            assert_eq!(failure.as_deref().unwrap_or_default(), why, "{name}");
            assert_eq!(verdict, if why.is_empty() { Verdict::Up } else { Verdict::Down }, "{name}");
        }
    });
}

#[test]
fn http_asks_by_path_and_host() {
    on_runtime(async {
        let (port, _) = server(answer(200, "{request}"), None).await;
        for (extra, wanted) in [
            ("", format!("GET / HTTP/1.1|host: 127.0.0.4:{port}|")),
            ("path = \"/healthz?x=1\"", "GET /healthz?x=1 HTTP/1.1|".to_owned()),
            ("host = \"www.example.org\"", "|host: www.example.org|".to_owned()),
        ] {
            let probe = format!("kind = \"http\"\n{QUICK}\nbody = {wanted:?}\n{extra}");
            assert_eq!(verdict(port, &probe).await, (Verdict::Up, None), "{wanted}");
        }
    });
}

#[test]
fn https_takes_any_certificate_unless_told_otherwise() {
    on_runtime(async {
        let (port, _) = server(answer(200, "fine"), Some(self_signed())).await;
        let https = format!("kind = \"https\"\n{QUICK}");
        assert_eq!(verdict(port, &https).await, (Verdict::Up, None));
        let (down, why) = verdict(port, &format!("{https}\nhost = \"backend.example\"\nverify = true")).await;
        assert_eq!(down, Verdict::Down);
        assert_eq!(why.unwrap(), "TLS: invalid peer certificate: UnknownIssuer");
        let (port, _) = server(answer(503, ""), Some(self_signed())).await;
        assert_eq!(verdict(port, &https).await.1.unwrap(), "status 503, expected 200");
        let (plain, _) = server(answer(200, ""), None).await;
        let (down, why) = verdict(plain, &https).await;
        assert_eq!(down, Verdict::Down);
        assert!(why.unwrap().starts_with("TLS: "));
        // Nobody shakes hands: the time runs out all the same.
        let (silent, _) = server(Does::Waits, None).await;
        assert_eq!(verdict(silent, &https).await.1.unwrap(), "no answer in 300ms");
    });
}

#[test]
fn a_death_and_a_return_are_noticed_in_time() {
    on_runtime(async {
        let listener = TcpListener::bind((Ipv4Addr::new(127, 0, 0, 4), 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let probe = "kind = \"tcp\"\ninterval = \"200ms\"\nfall = 2\nrise = 2";
        let mut bed = Bed::new(&one(address.port(), probe));
        bed.until("up", |bed| bed.first_good() > 0).await;
        drop(listener);
        let took = bed.until("down", |bed| bed.states() == [AdminState::Down]).await;
        // interval x fall + timeout, and what a busy machine adds.
        assert!(took < Duration::from_millis(200 * 2 + 200 + 300), "{took:?}");
        assert!(took > Duration::from_millis(150), "one bad answer is not enough: {took:?}");
        let _listener = TcpListener::bind(address).await.unwrap();
        bed.until("up again", |bed| bed.states() == [AdminState::Auto]).await;
        let report = bed.first();
        assert_eq!((report.verdict, report.flaps), (Verdict::Up, 1));
        assert!(
            report.up
                && report.reason.is_none()
                && report.last_duration.unwrap() < Duration::from_millis(200),
            "{report:?}"
        );
        assert_eq!(report.last_failure.as_deref(), Some("connection refused"));
    });
}

#[test]
fn one_endpoint_is_asked_once_for_all_rules_that_ask_the_same() {
    on_runtime(async {
        let (port, taken) = server(answer(503, ""), None).await;
        let rules: String = (1..=5)
            .map(|n| {
                format!(
                    "[[rule]]\nname = \"r{n}\"\nfrontend = \"203.0.113.10:{n}/tcp\"\npool = \"web\"\n\
                     backend_port = {n}\nprobe = \"{}\"\n",
                    if n == 5 { "q" } else { "p" }
                )
            })
            .collect();
        let probe = |name| {
            format!("[[probe]]\nname = \"{name}\"\nkind = \"http\"\nport = {port}\ninterval = \"10s\"\n")
        };
        let text = format!(
            "{TWO_ARMS}[[pool]]\nname = \"web\"\nbackends = [{{ address = \"10.0.0.4\" }}]\n{rules}{}{}",
            probe("p"),
            probe("q")
        );
        let mut bed = Bed::new(&text);
        bed.until("down", |bed| bed.manager.runtime().unhealthy.len() == 5).await;
        bed.for_a_while(Duration::from_millis(200)).await;
        assert_eq!(taken.load(Ordering::Relaxed), 1);
        assert_eq!(bed.first().frontends.len(), 5);
    });
}

#[test]
fn a_reload_keeps_what_is_known() {
    on_runtime(async {
        let (port, taken) = server(answer(503, ""), None).await;
        let text = |probe: &str, more: &str| {
            let backends = format!("backends = [{{ address = \"10.0.0.4\" }}{more}]");
            pool_of(port, &backends, &format!("kind = \"http\"\ninterval = \"1h\"\n{probe}"))
        };
        let mut bed = Bed::new(&text("", ""));
        bed.until("down", |bed| bed.states() == [AdminState::Down]).await;
        let before = bed.first();
        // The same question: not asked anew. A new backend is, and is up until it has answered.
        bed.reload(&text("", ", { address = \"10.0.0.9\" }"));
        assert_eq!(bed.states(), [AdminState::Down, AdminState::Auto]);
        bed.until("both down", |bed| bed.states() == [AdminState::Down, AdminState::Down]).await;
        let after = bed.first();
        assert_eq!((after.bad_total, after.verdict), (1, Verdict::Down));
        assert!(after.age > before.age);
        assert_eq!(taken.load(Ordering::Relaxed), 1);
        // The same backend under other settings: asked anew, and down until then.
        bed.reload(&text("rise = 2", ""));
        bed.probes.advance(&mut bed.manager);
        assert_eq!(bed.states(), [AdminState::Down]);
        bed.until("asked", |_| taken.load(Ordering::Relaxed) == 2).await;
        // Without a probe it is up.
        let without = text("", "").replace("probe = \"p\"\n", "");
        bed.reload(&without);
        bed.until("up", |bed| bed.states() == [AdminState::Auto]).await;
        assert!(bed.probes.report().is_empty());
        // What comes back begins anew.
        bed.reload(&text("", ""));
        assert_eq!(bed.states(), [AdminState::Auto]);
        bed.until("down", |bed| bed.states() == [AdminState::Down]).await;
    });
}

#[test]
fn five_thousand_endpoints_make_no_storm_and_none_starves() {
    on_runtime(async {
        const ENDPOINTS: usize = 5000;
        let listener = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let busiest: Arc<AtomicUsize> = Arc::default();
        let most = busiest.clone();
        // A thread of its own: what happens in 50 ms is counted as it happens.
        std::thread::spawn(move || {
            let (mut window, mut count) = (Instant::now(), 0);
            for stream in listener.incoming() {
                if window.elapsed() > Duration::from_millis(50) {
                    (window, count) = (Instant::now(), 0);
                }
                count += 1;
                most.fetch_max(count, Ordering::Relaxed);
                drop(stream);
            }
        });
        let pool = format!("addresses = \"10.0.1.1-10.0.30.255\"\ninstances = {ENDPOINTS}");
        let mut bed = Bed::new(&pool_of(port, &pool, "kind = \"tcp\"\ninterval = \"3s\""));
        let asked = |bed: &Bed| bed.probes.report().iter().filter(|report| report.good_total > 0).count();
        let mut asking = 0;
        let began = Instant::now();
        while asked(&bed) < ENDPOINTS {
            bed.for_a_while(Duration::from_millis(50)).await;
            asking = asking.max(bed.probes.asking());
            assert!(began.elapsed() < Duration::from_secs(20), "{} of {ENDPOINTS}", asked(&bed));
        }
        // 5000 in 3 s are 83 in 50 ms; a storm would be all of them at once.
        let busiest = busiest.load(Ordering::Relaxed);
        assert!(busiest < ENDPOINTS / 5, "{busiest} connections in 50 ms");
        assert!(asking < ENDPOINTS / 4, "{asking} at once");
        // Then all over the interval, each as often as the others.
        bed.for_a_while(Duration::from_secs(6)).await;
        let counts = bed.probes.report().into_iter().map(|report| report.good_total + report.bad_total);
        let (least, most) =
            counts.fold((u64::MAX, 0), |(least, most), count| (least.min(count), most.max(count)));
        assert!(least >= 2 && most <= least + 3, "{least} to {most} answers");
    });
}

#[test]
fn silent_endpoints_do_not_keep_others_from_being_asked() {
    on_runtime(async {
        // One full backlog stands for 3000 silent endpoints; 3 more answer, and one of them dies.
        let full = tokio::net::TcpSocket::new_v4().unwrap();
        full.bind("0.0.0.0:0".parse().unwrap()).unwrap();
        let full = full.listen(1).unwrap();
        let port = full.local_addr().unwrap().port();
        let held = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
        let _held: Vec<_> = (0..2).map(|_| std::net::TcpStream::connect(held).unwrap()).collect();
        let (alive, _) = server(Does::Waits, None).await;
        let text = format!(
            "{}[[pool]]\nname = \"few\"\nbackends = [{{ address = \"10.0.0.4\" }}]\n[[rule]]\nname = \"few\"\n\
             frontend = \"203.0.113.11:80/tcp\"\npool = \"few\"\nbackend_port = {alive}\nprobe = \"q\"\n\
             [[probe]]\nname = \"q\"\nkind = \"tcp\"\ninterval = \"200ms\"\n",
            pool_of(
                port,
                "addresses = \"10.0.1.1-10.0.16.255\"\ninstances = 3000",
                "kind = \"tcp\"\ninterval = \"2s\"\ntimeout = \"1s\""
            )
        );
        let mut bed = Bed::new(&text);
        let good = |bed: &Bed| bed.probes.report().iter().map(|report| report.good_total).sum::<u64>();
        bed.for_a_while(Duration::from_secs(3)).await;
        let before = good(&bed);
        bed.for_a_while(Duration::from_secs(2)).await;
        // Ten were due; a busy machine may lose some.
        let asked = good(&bed) - before;
        assert!(asked >= 6, "asked {asked} times in 2 s");
    });
}
