//! Probes against real servers on the loopback interface: what they ask, what they make of answers, and what the
//! manager makes of that.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail")]

mod common;

use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use common::*;
use guideway::config::{AdminState, Model};
use guideway::control::{Failure, Manager, ProbeReport, Probes, REPLAY_KEY, Verdict};
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
            let IpAddr::V4(address) = backend.address else { panic!("{}", backend.address) };
            let [_, rest @ ..] = address.octets();
            backend.address = Ipv4Addr::new(127, rest[0], rest[1], rest[2]).into();
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
    /// Says the first, then the second over and over, as fast as it is taken.
    Floods(Vec<u8>, Vec<u8>),
    /// Says this, and no more, but stays.
    Stalls(&'static str),
    /// Says this byte by byte, with a pause after each, over and over.
    Drips(&'static [u8], Duration),
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
        Does::Floods(first, again) => {
            let again = again.repeat(1 + 16_384 / again.len());
            let _ = stream.write_all(&first).await;
            while stream.write_all(&again).await.is_ok() {}
            return;
        }
        Does::Drips(text, pause) => {
            for byte in text.iter().cycle() {
                if stream.write_all(&[*byte]).await.is_err() {
                    return;
                }
                tokio::time::sleep(pause).await;
            }
        }
        Does::Waits => tokio::time::sleep(Duration::from_secs(60)).await,
        Does::Stalls(text) => {
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(text.as_bytes()).await;
            tokio::time::sleep(Duration::from_secs(60)).await;
        }
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
    acceptor(&made.cert, &made.signing_key)
}

fn acceptor(certificate: &rcgen::Certificate, key: &rcgen::KeyPair) -> TlsAcceptor {
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
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

/// One at which nobody listens.
async fn refusing_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::new(127, 0, 0, 4), 0)).await.unwrap();
    listener.local_addr().unwrap().port()
}

#[test]
fn tcp_asks_for_a_connection() {
    on_runtime(async {
        let refusing = refusing_port().await;
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

/// What operators of Azure's load balancer are told in these words.
#[test]
fn a_failure_has_a_word() {
    on_runtime(async {
        let refusing = refusing_port().await;
        for (port, kind, failure) in [
            (refusing, "http", Failure::Unreachable),
            (refusing, "tcp", Failure::Unreachable),
            (server(Does::Waits, None).await.0, "http", Failure::Silent),
            (server(Does::Waits, None).await.0, "https", Failure::Silent),
            (server(Does::Leaves, None).await.0, "http", Failure::Silent),
            (server(answer(503, "busy"), None).await.0, "http", Failure::Contrary),
            (server(answer(200, "fine"), None).await.0, "https", Failure::Unreachable),
        ] {
            let mut bed = Bed::new(&one(port, &format!("kind = \"{kind}\"\n{QUICK}")));
            bed.until(kind, |bed| bed.probes.report().first().is_some_and(|report| report.bad_total > 0))
                .await;
            assert_eq!(bed.first().failure, Some(failure), "{kind}");
        }
    });
}

/// The status is the answer, however long the body takes.
#[test]
fn a_body_that_nobody_asked_for_is_not_waited_for() {
    let good = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nready";
    let bad = "HTTP/1.1 503 Busy\r\nContent-Length: 100\r\n\r\nready";
    let time = Duration::from_millis(100);
    on_runtime(async {
        for (says, extra, why) in [
            (good, "", None),
            (good, "body = \"ready\"", None),
            (bad, "", Some("status 503, expected 200")),
            (good, "body = \"steady\"", Some("no answer in 100ms")),
        ] {
            let (port, _) = server(Does::Stalls(says), None).await;
            let mut bed = Bed::new(&one(
                port,
                &format!("kind = \"http\"\ninterval = \"2s\"\ntimeout = \"100ms\"\n{extra}"),
            ));
            bed.until("an answer", |bed| bed.first().good_total + bed.first().bad_total > 0).await;
            let told = bed.first();
            assert_eq!(told.last_failure.as_deref(), why, "{says} {extra}");
            assert!(told.latency.is_none_or(|latency| latency < time), "{says} {extra}: {:?}", told.latency);
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

/// An authority of our own, and servers with its certificates.
struct Authority {
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
    file: tempfile::NamedTempFile,
}

impl Authority {
    fn new() -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new([]).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), params.self_signed(&key).unwrap().pem()).unwrap();
        Self { issuer: rcgen::Issuer::new(params, key), file }
    }

    /// Whose certificate is for these names and ends in that year.
    async fn server(&self, names: &[&str], last_year: i32) -> u16 {
        let key = rcgen::KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = rcgen::CertificateParams::new(names).unwrap();
        params.not_after = rcgen::date_time_ymd(last_year, 1, 1);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        server(answer(200, "fine"), Some(acceptor(&certificate, &key))).await.0
    }
}

#[test]
fn https_that_verifies_takes_certificates_of_its_authorities_for_its_name_and_no_others() {
    on_runtime(async {
        let authority = Authority::new();
        let file = authority.file.path().display();
        let known = format!("kind = \"https\"\n{QUICK}\nca_file = \"{file}\"\n");
        let named = format!("{known}host = \"backend.example:8443\"");
        let good = authority.server(&["backend.example", "127.0.0.4"], 2090).await;
        assert_eq!(verdict(good, &named).await, (Verdict::Up, None));
        assert_eq!(verdict(good, &known).await, (Verdict::Up, None), "by its address");
        let why = |(verdict, why): (Verdict, Option<String>)| {
            assert_eq!(verdict, Verdict::Down);
            why.unwrap()
        };
        let other = why(verdict(good, &format!("{known}host = \"other.example\"")).await);
        assert!(other.contains("not valid for name \"other.example\""), "{other}");
        let expired = authority.server(&["backend.example"], 2001).await;
        let expired = why(verdict(expired, &named).await);
        assert!(expired.contains("expired"), "{expired}");
        let other = Authority::new().server(&["backend.example"], 2090).await;
        assert!(why(verdict(other, &named).await).contains("invalid peer certificate"));
        // Those of this machine do not know it.
        let machine = format!("kind = \"https\"\n{QUICK}\nverify = true\nhost = \"backend.example\"");
        assert_eq!(why(verdict(good, &machine).await), "TLS: invalid peer certificate: UnknownIssuer");
    });
}

#[test]
fn authorities_that_cannot_be_read_say_nothing_of_the_backend() {
    on_runtime(async {
        let authority = Authority::new();
        let port = authority.server(&["127.0.0.4"], 2090).await;
        let broken = tempfile::NamedTempFile::new().unwrap();
        for file in [std::path::Path::new("/nowhere/ca.pem"), broken.path(), std::path::Path::new("/dev")] {
            let probe = format!("kind = \"https\"\ninterval = \"100ms\"\nca_file = \"{}\"", file.display());
            let mut bed = Bed::new(&one(port, &probe));
            bed.for_a_while(Duration::from_millis(300)).await;
            let report = bed.first();
            assert_eq!((report.verdict, report.good_total, report.bad_total), (Verdict::Unknown, 0, 0));
        }
        // A reload reads the file again.
        let probe =
            format!("kind = \"https\"\ninterval = \"100ms\"\nca_file = \"{}\"", broken.path().display());
        let mut bed = Bed::new(&one(port, &probe));
        bed.for_a_while(Duration::from_millis(200)).await;
        std::fs::copy(authority.file.path(), broken.path()).unwrap();
        bed.reload(&one(port, &probe));
        bed.until("up", |bed| bed.first().verdict == Verdict::Up).await;
    });
}

fn noise() -> Vec<u8> {
    (0..997_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

fn flood(first: Vec<u8>, again: &[u8]) -> Does {
    Does::Floods(first, again.to_vec())
}

#[test]
fn hostile_servers_get_the_right_verdict_in_bounded_time() {
    let head = |more: &str| format!("HTTP/1.1 200 Fine\r\n{more}").into_bytes();
    let body = |more: &str| head(&format!("{more}\r\n"));
    let wanted = "body = \"ready\"";
    let no_ready = "status 200, but no \"ready\" in the body";
    let chunked = "Transfer-Encoding: chunked\r\n";
    let noise = noise();
    let cases = [
        ("noise", flood(Vec::new(), &noise), "", "not HTTP: "),
        ("zeros", flood(Vec::new(), &[0]), "", "not HTTP: "),
        ("a status line without end", flood(b"HTTP/1.1 200 ".to_vec(), b"a"), "", "not HTTP: "),
        ("headers without end", flood(head(""), b"X-A: b\r\n"), "", "not HTTP: "),
        ("a header without end", flood(head("X-A: "), b"a"), "", "not HTTP: "),
        ("empty lines", flood(Vec::new(), b"\r\n"), "", "not HTTP: "),
        ("to be continued", flood(Vec::new(), b"HTTP/1.1 100 Continue\r\n\r\n"), "", "connection closed"),
        (
            "dripping",
            Does::Drips(b"HTTP/1.1 200 Fine\r\n", Duration::from_millis(20)),
            "",
            "no answer in 300ms",
        ),
        ("a body without end, unread", flood(body(""), b"a"), "", ""),
        ("a body without end", flood(body(""), b"read"), wanted, no_ready),
        ("the largest length", flood(body("Content-Length: 18446744073709551615\r\n"), b"a"), wanted, ""),
        ("a length beyond", flood(body("Content-Length: 18446744073709551616\r\n"), b"a"), "", "not HTTP: "),
        ("two lengths", flood(body("Content-Length: 1\r\nContent-Length: 2\r\n"), b"a"), "", "not HTTP: "),
        ("a huge chunk", flood(body(&format!("{chunked}\r\nfffffffffffff")), b"a"), wanted, no_ready),
        ("a chunk beyond", flood(body(&format!("{chunked}\r\nfffffffffffffffff")), b"a"), wanted, "invalid"),
        ("tiny chunks", flood(body(chunked), b"1\r\na\r\n"), wanted, ""),
        ("a chunk's endless extension", flood(body(&format!("{chunked}\r\n1;")), b"a"), wanted, ""),
        ("endless trailers", flood(body(&format!("{chunked}\r\n0")), b"X-A: b\r\n"), wanted, ""),
        ("a compressed bomb", flood(body("Content-Encoding: gzip\r\n"), &noise), wanted, no_ready),
    ];
    on_runtime(async {
        let mut wrong = Vec::new();
        for (name, does, extra, why) in cases {
            let (port, _) = server(does, None).await;
            let began = Instant::now();
            let (verdict, failure) = verdict(port, &format!("kind = \"http\"\n{QUICK}\n{extra}")).await;
            let took = began.elapsed();
            let failure = failure.unwrap_or_default();
            let is_good = extra.is_empty() && why.is_empty();
            // The timeout, the farewell, and what a busy machine adds.
            let in_time = took < Duration::from_millis(300 + 100 + 600);
            if (verdict == Verdict::Up) != is_good || !failure.contains(why) || !in_time {
                wrong.push(format!("{name}: {verdict:?} {failure:?} {took:?}"));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    });
}

#[test]
fn what_is_not_tls_is_no_good_answer() {
    on_runtime(async {
        let tls = [
            ("noise", flood(Vec::new(), &noise())),
            ("HTTP", flood(Vec::new(), b"HTTP/1.1 200 Fine\r\n\r\n")),
            ("a record without end", flood(b"\x16\x03\x03\xff\xff".to_vec(), b"\x00")),
            ("alerts", flood(Vec::new(), b"\x15\x03\x03\x00\x02\x01\x5a")),
            ("a long handshake", flood(b"\x16\x03\x03\x40\x00\x02\xff\xff\xff".to_vec(), b"\x00")),
        ];
        for (name, does) in tls {
            let (port, _) = server(does, None).await;
            let (verdict, failure) = verdict(port, &format!("kind = \"https\"\n{QUICK}")).await;
            assert_eq!(verdict, Verdict::Down, "TLS, {name}: {failure:?}");
        }
    });
}

#[test]
fn a_flood_of_answers_takes_little_memory() {
    // From a thread of its own, so that only what the probes hold is counted.
    let listener = std::net::TcpListener::bind("127.0.0.4:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            std::thread::spawn(move || {
                let mut stream = stream.unwrap();
                let _ = std::io::Write::write_all(&mut stream, b"HTTP/1.1 200 Fine\r\n\r\n");
                while std::io::Write::write_all(&mut stream, &[b'a'; 65_536]).is_ok() {}
            });
        }
    });
    let pool = "addresses = \"10.0.0.4-10.0.0.4\"\ninstances = 1";
    let run = |probe: &str, time| {
        let text = pool_of(port, pool, &format!("kind = \"http\"\n{probe}"));
        let story = async {
            let mut bed = Bed::new(&text);
            bed.for_a_while(Duration::from_millis(time)).await;
            bed.first().bad_total
        };
        let mut asked = 0;
        let measured = allocation_counter::measure(|| on_runtime(async { asked = story.await }));
        (asked, measured.bytes_max)
    };
    let (_, idle) = run("interval = \"1h\"", 1);
    let (asked, busy) = run("interval = \"100ms\"\nbody = \"ready\"", 1000);
    let more = busy.saturating_sub(idle) >> 10;
    println!("{asked} answers: {more} KiB over {} KiB", idle >> 10);
    assert!(asked >= 3, "{asked}");
    assert!(more < 512, "{more} KiB");
}

#[test]
fn a_rule_without_a_healthy_backend_is_told_of() {
    on_runtime(async {
        log_lines::collect();
        let (port, _) = server(answer(503, ""), None).await;
        let text = |extra: &str| {
            pool_of(
                port,
                "backends = [{ address = \"10.0.0.4\" }, { address = \"10.0.0.5\", state = \"drain\" }]",
                "kind = \"http\"\ninterval = \"100ms\"\nstatus = \"200\"",
            )
            .replace("[[rule]]\nname = \"web\"", &format!("[[rule]]\nname = \"lonely\"\n{extra}"))
        };
        let mut bed = Bed::new(&text(""));
        bed.until("down", |bed| bed.states()[0] == AdminState::Down).await;
        bed.for_a_while(Duration::from_millis(100)).await;
        let told = log_lines::with("rule lonely");
        assert!(
            told.contains(&"rule lonely: no backend is healthy; new flows are dropped".into()),
            "{told:?}"
        );
        bed.reload(&text("").replace("status = \"200\"", "status = \"503\""));
        bed.until("up", |bed| bed.states()[0] == AdminState::Auto).await;
        bed.for_a_while(Duration::from_millis(20)).await;
        let mut told = log_lines::with("rule lonely: ");
        told.retain(|line| line.starts_with("rule"));
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told[1].starts_with("rule lonely: a backend is healthy again, after "), "{told:?}");
    });
}

/// What has been logged in this process.
mod log_lines {
    use std::sync::Mutex;

    static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());

    struct Lines;

    impl log::Log for Lines {
        fn enabled(&self, _: &log::Metadata<'_>) -> bool {
            true
        }
        fn log(&self, record: &log::Record<'_>) {
            if record.target().starts_with("guideway") {
                LINES.lock().unwrap().push(record.args().to_string());
            }
        }
        fn flush(&self) {}
    }

    pub(super) fn collect() {
        if log::set_logger(&Lines).is_ok() {
            log::set_max_level(log::LevelFilter::Info);
        }
    }

    pub(super) fn with(part: &str) -> Vec<String> {
        LINES.lock().unwrap().iter().filter(|line| line.contains(part)).cloned().collect()
    }
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
fn a_machine_that_is_late_does_not_find_others_late() {
    // A thread of its own, which is not late: it answers 100 ms after it was asked.
    let listener = std::net::TcpListener::bind("127.0.0.4:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = std::io::Read::read(&mut stream, &mut [0; 4096]);
            std::thread::sleep(Duration::from_millis(100));
            let _ = std::io::Write::write_all(&mut stream, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        }
    });
    on_runtime(async {
        let mut bed = Bed::new(&one(port, "kind = \"http\"\ninterval = \"300ms\""));
        bed.until("a question begins", |bed| bed.probes.asking() == 1).await;
        tokio::task::yield_now().await;
        std::thread::sleep(Duration::from_millis(600));
        bed.until("it is answered", |bed| bed.first().last_duration.is_some()).await;
        let report = bed.first();
        assert_eq!((report.verdict, report.last_failure), (Verdict::Up, None));
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
        const INTERVAL: f64 = 3.0;
        // What the thread is too busy to take, the kernel does.
        let listener = tokio::net::TcpSocket::new_v4().unwrap();
        listener.bind("0.0.0.0:0".parse().unwrap()).unwrap();
        let listener = listener.listen(4096).unwrap().into_std().unwrap();
        listener.set_nonblocking(false).unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || listener.incoming().for_each(drop));
        let pool = format!("addresses = \"10.0.1.1-10.0.30.255\"\ninstances = {ENDPOINTS}");
        let mut bed = Bed::new(&pool_of(port, &pool, "kind = \"tcp\"\ninterval = \"3s\""));
        let began = Instant::now();
        let (mut last, mut busiest) = ((0.0, 0), 0.0_f64);
        loop {
            bed.for_a_while(Duration::from_millis(50)).await;
            let (now, asked) = (began.elapsed().as_secs_f64(), bed.asked());
            let begun = (asked - last.1) as f64;
            assert!(begun <= 128.0 + 6400.0 * (now - last.0 + 0.01), "{begun} began at once");
            busiest = busiest.max(begun * 0.05 / (now - last.0));
            last = (now, asked);
            let counts = bed.probes.report().into_iter().map(|report| report.good_total + report.bad_total);
            let (least, most) =
                counts.fold((u64::MAX, 0), |(least, most), count| (least.min(count), most.max(count)));
            assert!(most <= least + 3, "{least} to {most} answers");
            // First questions are spread over the interval, but for its first tenth. A busy machine is late, never early.
            // Five standard deviations are 180.
            let heard = bed.probes.report().iter().filter(|report| report.good_total > 0).count();
            let due = ENDPOINTS as f64 * (now / INTERVAL - 0.1).max(0.0) / 0.9;
            assert!(heard as f64 <= due + 180.0, "{heard} have answered in {now} s, and {due} were due");
            if least >= 3 {
                println!("{asked} questions in {now:.1} s, {busiest:.0} in the busiest 50 ms");
                return;
            }
            assert!(now < 60.0, "{least} to {most} answers in {now} s");
        }
    });
}

impl Bed {
    /// Questions that have begun.
    fn asked(&self) -> u64 {
        let answers = self.probes.report().into_iter().map(|report| report.good_total + report.bad_total);
        answers.sum::<u64>() + self.probes.asking() as u64
    }
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
        // Six are due in 1.2 s. A busy machine may take its time, but asks the others, with ten times the interval, yet
        // less often; and whoever starves waits for ever.
        let (before, others_before, began) = (good(&bed), bed.asked(), Instant::now());
        while good(&bed) < before + 6 {
            bed.for_a_while(Duration::from_millis(100)).await;
            assert!(began.elapsed() < Duration::from_secs(30), "asked {} times in 30 s", good(&bed) - before);
        }
        let each = (bed.asked() - others_before) as f64 / 3000.0;
        println!("six in {:.1} s, {each:.1} of each other", began.elapsed().as_secs_f64());
        assert!(each < 3.0, "{each:.1} of each other meanwhile");
    });
}
