//! The program as its users have it: flags and files in; an exit code, text and capture files out.
#![allow(clippy::unwrap_used, clippy::panic, reason = "what fails in a test's helper fails the test")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use common::*;
use etherparse::{ArpOperation, NetSlice, SlicedPacket, TransportSlice};
use pcap_file::pcap::{PcapHeader, PcapPacket, PcapReader, PcapWriter};
use pcap_file::{DataLink, TsResolution};
use serde_json::Value;

/// A frame, and when it was seen.
type Timed = (Duration, Vec<u8>);

// ---- the program, its files, and captures --------------------------------------------------------------

/// How the program ended, and what it said.
struct Ended {
    code: Option<i32>,
    out: String,
    err: String,
}

/// A directory of one test's own, where the program runs. Gone at the test's end.
struct Desk(PathBuf);

impl Desk {
    fn new(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("guideway-cli-{test}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::write(self.0.join(name), content).unwrap();
    }

    fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.0.join(name)).unwrap()
    }

    /// Runs the program with `line`, split at spaces.
    fn run(&self, line: &str) -> Ended {
        let mut command = Command::new(env!("CARGO_BIN_EXE_guideway"));
        command.args(line.split_whitespace()).current_dir(&self.0).stdin(Stdio::null());
        let output = command.env_remove("RUST_LOG").output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Ended { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }

    /// The same, for a line that nothing is wrong with.
    fn good(&self, line: &str) -> String {
        let ended = self.run(line);
        assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""), "{line}");
        ended.out
    }

    fn json(&self, line: &str) -> Value {
        serde_json::from_str(&self.good(&format!("{line} --json"))).unwrap()
    }

    fn capture(&self, name: &str, frames: &[Timed]) {
        self.capture_as(name, TsResolution::MicroSecond, DataLink::ETHERNET, frames);
    }

    fn capture_as(&self, name: &str, unit: TsResolution, link: DataLink, frames: &[Timed]) {
        let header = PcapHeader { ts_resolution: unit, datalink: link, ..PcapHeader::default() };
        let mut writer = PcapWriter::with_header(File::create(self.0.join(name)).unwrap(), header).unwrap();
        for (at, frame) in frames {
            writer.write_packet(&PcapPacket::new(*at, frame.len() as u32, frame)).unwrap();
        }
    }

    fn frames(&self, name: &str) -> Vec<Timed> {
        let mut reader = PcapReader::new(File::open(self.0.join(name)).unwrap()).unwrap();
        let next = || reader.next_packet().map(Result::unwrap).map(|p| (p.timestamp, p.data.into_owned()));
        std::iter::from_fn(next).collect()
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

const KEY: &str = "hash_key = \"00112233445566778899aabbccddeeff\"";

/// TCP 443 and UDP 53 in front of `backends`, and a hash key, so that no key of this machine is used.
fn config(backends: &str, rule: &str) -> String {
    with_backends(backends, rule)
        .replace("flows_per_worker = 1024", &format!("flows_per_worker = 16384\n{KEY}"))
        .replace("10.0.0.1/24", "10.0.0.254/24")
}

/// A time of day some years ago: captures do not begin at zero.
fn at(seconds: f64) -> Duration {
    Duration::from_secs(1_700_000_000) + Duration::from_secs_f64(seconds)
}

/// Client `i`, unlike all others in address and in port.
fn client(i: u16) -> ([u8; 4], u16) {
    ([192, 0, 2 + (i >> 8) as u8, i as u8], 20_000 + i * 7)
}

fn opening(i: u16, is_tcp: bool) -> Spec {
    let spec = if is_tcp { Spec::tcp("S") } else { Spec::udp() };
    Spec { from: client(i), ..spec }
}

/// One opening packet of each of so many clients, a millisecond apart.
fn openings(clients: u16, is_tcp: bool) -> Vec<Timed> {
    (0..clients).map(|i| (at(f64::from(i) / 1000.0), opening(i, is_tcp).frame())).collect()
}

/// Who sent an IPv4 frame to whom: source address and port, destination address and port.
fn ends(frame: &[u8]) -> ((Ipv4Addr, u16), (Ipv4Addr, u16)) {
    let packet = SlicedPacket::from_ethernet(frame).unwrap();
    let Some(NetSlice::Ipv4(ip)) = packet.net else { panic!("not IPv4") };
    let (source, destination) = match packet.transport.unwrap() {
        TransportSlice::Tcp(tcp) => (tcp.source_port(), tcp.destination_port()),
        TransportSlice::Udp(udp) => (udp.source_port(), udp.destination_port()),
        other => panic!("{other:?}"),
    };
    ((ip.header().source_addr(), source), (ip.header().destination_addr(), destination))
}

/// Where each client's packet went, as `address:port`, by the client.
fn destinations(frames: &[Timed]) -> BTreeMap<(Ipv4Addr, u16), String> {
    let destination = |(_, frame): &Timed| {
        let (client, (address, port)) = ends(frame);
        (client, format!("{address}:{port}"))
    };
    frames.iter().map(destination).collect()
}

/// Numbers that look like chance and are the same in every run (Knuth's MMIX generator).
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % end
    }
}

// ---- usage, messages, exit codes -----------------------------------------------------------------------

/// What is said, how it ends, and a part of what is answered: on standard output for 0, else on standard
/// error.
type Line = (&'static str, i32, &'static str);

const LINES: &[Line] = &[
    ("replay --config gw.toml --in outside=in.pcap --out outside=k2 --out inside=./k2", 2, "written already"),
    ("replay --config gw.toml --in outside=in.pcap --out inside=gw.toml", 2, "read or written already"),
    (
        "replay --config gw.toml --in outside=cooked.pcapng --out inside=kept",
        2,
        "link type 113; only captures of",
    ),
    ("replay --config gw.toml --in outside=/dev/null", 2, "not a regular file"),
    ("explain --config gw.toml 127.0.0.1:5 https", 2, "packets from there are dropped"),
    ("check --config gw.toml --against RUNNING --control-socket absent.sock", 1, "is guideway running"),
    ("--version", 0, "guideway 0."),
    ("--help", 0, "replay"),
    ("check --config gw.toml", 0, "rule https: 203.0.113.10:443/tcp to pool web port 8443, 5-tuple"),
    ("explain --config gw.toml 192.0.2.7:40000 203.0.113.10:443/tcp", 0, "backend    10.0.0."),
    ("explain --config gw.toml 192.0.2.7:40000 https", 0, "frontend   203.0.113.10:443/tcp, rule https"),
    ("replay --config gw.toml --in outside=in.pcap", 0, "received 3  transmitted 3"),
    ("replay --config gw.toml --in outside=in.pcap --out inside=/dev/null --out outside=/dev/null", 0, ""),
    ("", 2, "Usage: guideway"),
    ("chekc --config gw.toml", 2, "unrecognized subcommand 'chekc'"),
    ("check --confg gw.toml", 2, "unexpected argument '--confg'"),
    ("check --config absent.toml", 2, "absent.toml: cannot read the file: No such file or directory"),
    ("check --config .", 2, ".: this is not a regular file; give a TOML file to --config"),
    ("check --config syntax.toml", 2, "syntax.toml:2: this line is not TOML"),
    ("check --config gw.toml --against absent.toml", 2, "absent.toml: cannot read the file"),
    ("check --config gw.toml --against syntax.toml", 2, "syntax.toml:2: this line is not TOML"),
    (
        "check --config gw.toml --idle naps",
        2,
        "--idle: the command line has idle \"naps\", which is unknown;",
    ),
    ("check --config gw.toml --pool https=wbe", 2, "did you mean web?"),
    ("explain --config gw.toml 192.0.2.7 https", 2, "192.0.2.7: not an address and port, as in"),
    (
        "explain --config gw.toml [2001:db8::1]:7 https",
        2,
        "[2001:db8::1]:7: of another family than 203.0.113.10:443/tcp",
    ),
    (
        "explain --config gw.toml [2001:db8::1]:7 [2001:db8::10]:443/tcp",
        2,
        "no such frontend; the configuration has",
    ),
    (
        "explain --frontend w=[2001:db8::10]:443/tcp --backend w=[2001:db8:1::4]:8443 [2001:db8::1]:7 w",
        0,
        "backend    [2001:db8:1::4]:8443, pool w",
    ),
    (
        "explain --frontend w=203.0.113.0/28:0/any --backend w=10.0.0.4 --forward w=ipip 192.0.2.7:1 203.0.113.9:53/udp",
        0,
        "backend    10.0.0.4, pool w",
    ),
    (
        "explain --frontend w=203.0.113.9:0/esp --backend w=10.0.0.4 --forward w=dsr 192.0.2.7:1 203.0.113.9:53/udp",
        2,
        "no such frontend; the configuration has: 203.0.113.9:0/esp (w)",
    ),
    (
        "check --frontend w=203.0.113.0/28:0/any --backend w=10.0.0.4 --forward w=gue,gue_variant=1",
        0,
        "rule w: 203.0.113.0/28:0/any to pool w on the same port, gue to port 6080, variant 1, 5-tuple",
    ),
    ("check --frontend w=[2001:db8::10]:443/tcp --backend w=10.0.0.4", 2, "which are not of one family"),
    (
        "explain --frontend w=203.0.113.9:443/udp --backend w=10.0.0.4 --backend w=10.0.0.5 \
         --quic w=quic-lb,server_id_length=2 --quic-connection-id 0f0004ffffffffffffffffffffffffff 192.0.2.7:1 w",
        2,
        "no server id as the rule's quic has it is in there",
    ),
    (
        "explain --frontend w=203.0.113.9:443/udp --backend w=10.0.0.4 --backend w=10.0.0.5 \
         --quic w=quic-lb,server_id_length=2,nonce_length=4 --quic-connection-id 0f0004ffffffff 192.0.2.7:1 w",
        0,
        "by QUIC server id  10.0.0.4:443, whatever the hash says",
    ),
    (
        "explain --frontend w=203.0.113.9:443/udp --backend w=10.0.0.4 --quic w=katran --quic-connection-id 80000009ffffffff \
         192.0.2.7:1 w",
        2,
        "no backend has this server id; the packets go with their flow",
    ),
    (
        "explain --config gw.toml --quic-connection-id 07 192.0.2.7:1 https",
        2,
        "rule https asks no connection ids",
    ),
    ("explain --config gw.toml --quic-connection-id 7 192.0.2.7:1 https", 2, "not bytes in hex"),
    ("explain --config gw.toml 192.0.2.7:70000 https", 2, "not an address and port, as in"),
    ("explain --config gw.toml 192.0.2.7:1 203.0.113.10:443/udp", 2, "203.0.113.10:443/tcp (https)"),
    ("explain --config gw.toml 192.0.2.7:1", 2, "<FRONTEND>"),
    ("explain --config none.toml 192.0.2.7:1 https", 1, "rule https: no backend takes new flows"),
    ("replay --in outside=in.pcap", 2, "--config <FILE>"),
    ("replay --config gw.toml", 2, "--in <PORT=FILE>"),
    ("replay --config gw.toml --in in.pcap --out inside=kept", 2, "--in in.pcap: say PORT=FILE"),
    (
        "replay --config gw.toml --in outsid=in.pcap --out inside=kept",
        2,
        "--in outsid=in.pcap: there is no port outsid; the configuration has: outside, inside",
    ),
    ("replay --config gw.toml --in outside=in.pcap --out middle=kept", 2, "there is no port middle"),
    ("replay --config gw.toml --in outside=absent --out inside=kept", 2, "--in outside=absent: No such file"),
    ("replay --config gw.toml --in outside=. --out inside=kept", 2, "--in outside=.: "),
    ("replay --config gw.toml --in outside=gw.toml --out inside=kept", 2, "not a pcap or pcapng file"),
    ("replay --config gw.toml --in outside=short.pcap --out inside=kept", 2, "it has only 3 bytes"),
    ("replay --config gw.toml --in outside=header.pcap --out inside=kept", 2, "it is cut off"),
    (
        "replay --config gw.toml --in outside=cooked.pcap --out inside=kept",
        2,
        "link type 113; only captures of",
    ),
    ("replay --config gw.toml --in outside=in.pcap --in inside=absent --out inside=kept", 2, "No such file"),
    ("replay --config gw.toml --in outside=in.pcap --out inside=in.pcap", 2, "read or written already"),
    ("replay --config gw.toml --in outside=in.pcap --out inside=./in.pcap", 2, "read or written already"),
    ("replay --config gw.toml --in outside=in.pcap --out inside=link.pcap", 2, "read or written already"),
    (
        "replay --config gw.toml --in outside=in.pcap --out inside=kept --out outside=kept",
        2,
        "written already",
    ),
    (
        "replay --config gw.toml --in outside=in.pcap --out inside=kept --out inside=k2",
        2,
        "an output already",
    ),
    ("replay --config gw.toml --in outside=in.pcap --out inside=kept --down web", 2, "say POOL/ADDRESS"),
    ("replay --config gw.toml --in outside=in.pcap --out inside=kept --down web/x", 2, "not an address"),
    (
        "replay --config gw.toml --in outside=in.pcap --out inside=kept --down wbe/10.0.0.4",
        2,
        "--down wbe/10.0.0.4: there is no pool wbe",
    ),
    (
        "replay --config gw.toml --in outside=in.pcap --out inside=kept --down web/10.0.0.99",
        2,
        "--down web/10.0.0.99: pool web has no such backend",
    ),
    ("replay --config gw.toml --in outside=in.pcap --out inside=kept --workers 0", 2, "0 is not in 1..=64"),
    ("replay --config gw.toml --in outside=in.pcap --out inside=kept --workers 65", 2, "65 is not in 1..=64"),
    ("replay --config syntax.toml --in outside=in.pcap --out inside=kept", 2, "syntax.toml:2: this line"),
    (
        "replay --config gw.toml --in outside=in.pcap --out inside=no/such/place",
        1,
        "no/such/place: No such file",
    ),
    ("replay --config gw.toml --in outside=in.pcap --out inside=/dev/full", 1, "/dev/full: No space left"),
    ("run", 2, "there is no port; add a [[port]] with a device, or --port NAME=DEVICE"),
    ("run --config absent.toml", 2, "absent.toml: cannot read the file"),
    ("run --config syntax.toml", 2, "syntax.toml:2: this line is not TOML"),
    ("run --config gw.toml", 2, "port outside has no device; add device = \"0000:3b:00.0\" to its section"),
    ("run --config gw.toml --stats 0", 2, "0 is not in 1..=86400"),
    ("run --config gw.toml --no-huge", 2, "unexpected argument '--no-huge'"),
    #[cfg(not(feature = "dpdk"))]
    ("run --config gw.toml --port outside=a --port inside=b", 1, "was built without DPDK and has no ports"),
];

fn desk_with_files(test: &str) -> Desk {
    let desk = Desk::new(test);
    desk.write("gw.toml", config(&numbered(1..=3, ""), ""));
    desk.write("none.toml", config(&numbered(1..=3, ", state = \"down\""), ""));
    desk.write("syntax.toml", "[dataplane]\nidle = = \"spin\"\n");
    let frames = openings(3, true);
    desk.capture("in.pcap", &frames);
    desk.capture_as("cooked.pcap", TsResolution::MicroSecond, DataLink::LINUX_SLL, &frames);
    let whole = desk.read("in.pcap");
    desk.write("short.pcap", &whole[..3]);
    desk.write("header.pcap", &whole[..20]);
    std::os::unix::fs::symlink("in.pcap", desk.0.join("link.pcap")).unwrap();
    let cooked = pcapng(&[(0, 1, &[0; 60])], u32::to_le_bytes, u16::to_le_bytes);
    // The link type of the first interface: after the section header of 28 bytes, and the block's type and length.
    desk.write("cooked.pcapng", [&cooked[..36], &113u16.to_le_bytes(), &cooked[38..]].concat());
    desk
}

#[test]
fn every_line_ends_with_its_code_and_its_reason_and_bad_ones_change_nothing() {
    let desk = desk_with_files("lines");
    let input = desk.read("in.pcap");
    for (line, code, part) in LINES {
        desk.write("kept", "what was here before");
        let ended = desk.run(line);
        let said = if *code == 0 { &ended.out } else { &ended.err };
        assert_eq!(ended.code, Some(*code), "guideway {line}\n{}{}", ended.out, ended.err);
        assert!(said.contains(part), "guideway {line}\n{said}\nlacks: {part}");
        // Results are not mixed with complaints.
        assert!(
            *code == 0 || ended.out.is_empty() || line.contains("--against"),
            "guideway {line}\n{}",
            ended.out
        );
        assert!(desk.read("in.pcap") == input && desk.read("kept") == b"what was here before", "{line}");
        assert!(!desk.0.join("k2").exists(), "{line}");
    }
}

#[test]
fn all_mistakes_are_told_at_once_each_with_its_place() {
    let desk = Desk::new("mistakes");
    let text =
        config("{ address = \"10.0.0.4\", weight = 101 }, { adress = \"10.0.0.5\" }", "idle_timeout = \"4\"")
            .replace("pool = \"web\"\nbackend_port = 5353", "pool = \"wbe\"\nbackend_port = 0");
    desk.write("bad.toml", &text);
    let line_of = |part: &str| text.lines().position(|line| line.contains(part)).unwrap() + 1;
    let backends = line_of("backends = ");
    let timeouts: Vec<usize> =
        text.lines().zip(1..).filter(|(line, _)| line.contains("idle_timeout")).map(|(_, n)| n).collect();
    let expected = [
        format!("bad.toml:{backends}: backend 10.0.0.4 has weight 101; allowed are 0 to 100"),
        format!("bad.toml:{backends}: "),
        format!("bad.toml:{}: rule https has idle_timeout \"4\", which is not a duration", timeouts[0]),
        format!(
            "bad.toml:{}: rule dns uses pool \"wbe\", which does not exist; did you mean web?",
            line_of("wbe")
        ),
        format!(
            "bad.toml:{}: rule dns has backend_port 0; allowed are 1 to 65535",
            line_of("backend_port = 0")
        ),
        format!("bad.toml:{}: rule dns has idle_timeout \"4\", which is not a duration", timeouts[1]),
        "--idle: the command line has idle \"naps\"".to_owned(),
        "--workers: ".to_owned(),
    ];
    for command in ["check", "run", "explain 192.0.2.7:1 https"] {
        let ended = desk.run(&format!("{command} --config bad.toml --idle naps --workers 3-1"));
        assert_eq!(ended.code, Some(2), "{command}");
        let lines: Vec<&str> = ended.err.lines().collect();
        for part in &expected {
            assert!(
                lines.iter().any(|line| line.starts_with(part)),
                "{command}: no {part}\nin\n{}",
                ended.err
            );
        }
        let from_file = lines.iter().take_while(|line| line.starts_with("bad.toml:"));
        let places: Vec<usize> = from_file.map(|l| l.split(':').nth(1).unwrap().parse().unwrap()).collect();
        assert!(places.len() >= 6 && places.is_sorted(), "{command}: not by line\n{}", ended.err);
    }
    // Of a replay, which takes no other flags: the file's, and nothing is opened.
    let ended = desk.run("replay --config bad.toml --in outside=absent");
    assert_eq!((ended.code, ended.err.contains("absent")), (Some(2), false), "{}", ended.err);
    assert!(ended.err.lines().count() >= 6, "{}", ended.err);
}

#[test]
fn warnings_are_told_and_do_not_stop_anything() {
    let desk = Desk::new("warnings");
    desk.write("odd.toml", config(&numbered([4], ""), "") + "[[pool]]\nname = \"spare\"\nbackends = []\n");
    let ended = desk.run("check --config odd.toml");
    assert_eq!(ended.code, Some(0));
    assert!(ended.err.starts_with("warning: odd.toml:") && ended.err.contains("nothing uses pool spare"));
    // Ports without a device are no error where no port is opened.
    let (_, after) = ended.out.split_once("\nsound, but cannot run yet:\n").unwrap();
    let places = ["port outside has no device", "port inside has no device"];
    assert_eq!(after.lines().count(), 2, "{after}");
    assert!(after.lines().zip(places).all(|(line, part)| line.contains(part)), "{after}");
}

#[test]
fn flags_say_what_a_file_says() {
    let desk = Desk::new("flags");
    desk.write("gw.toml", config("{ address = \"10.0.0.4\" }, { address = \"10.0.0.5\", weight = 2 }", ""));
    let flags = "--port outside=a --port inside=b --address outside=198.51.100.2/24 --address inside=10.0.0.254/24 \
        --gateway outside=198.51.100.1 --frontend https=203.0.113.10:443/tcp --frontend dns=203.0.113.10:53/udp \
        --backend https=10.0.0.4:8443 --backend https=10.0.0.5,weight=2 \
        --backend dns=10.0.0.4:5353 --backend dns=10.0.0.5,weight=2 \
        --hash-key 00112233445566778899aabbccddeeff";
    let by_flags = desk.good(&format!("check {flags}"));
    let by_file = desk.good("check --config gw.toml --port outside=a --port inside=b");
    assert_eq!(by_flags.replace("pool https", "pool web").replace("pool dns", "pool web"), by_file);
    assert!(by_file.ends_with("sound\n"), "{by_file}");
    for rule in ["https", "dns"] {
        let question = format!("192.0.2.7:40000 {rule}");
        assert_eq!(
            desk.json(&format!("explain {flags} {question}")),
            desk.json(&format!("explain --config gw.toml {question}"))
        );
    }
}

#[test]
fn the_samples_of_the_readme_are_sound() {
    let desk = Desk::new("readme");
    let readme = include_str!("../README.md");
    let mut samples = 0;
    for sample in readme.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap()) {
        desk.write("readme.toml", sample);
        assert!(desk.good("check --config readme.toml").ends_with("sound\n"));
        samples += 1;
    }
    assert!(samples > 0);
}

// ---- explain and replay agree --------------------------------------------------------------------------

const CLIENTS: u16 = 300;

fn spread_config(distribution: &str) -> String {
    let backends = format!("{}, {}", numbered(1..=4, ""), numbered(5..=5, ", weight = 3"));
    config(&backends, &format!("distribution = \"{distribution}\""))
}

/// Where replay sends each client, with `down` among its flags.
fn replayed(desk: &Desk, config: &str, down: &str) -> BTreeMap<(Ipv4Addr, u16), String> {
    desk.good(&format!("replay --config {config} --in outside=in.pcap --out inside=out.pcap {down}"));
    let sent = desk.frames("out.pcap");
    assert_eq!(sent.len(), usize::from(CLIENTS));
    destinations(&sent)
}

fn explain_agrees_with_replay(distribution: &str, is_tcp: bool) {
    let (rule, protocol) = if is_tcp { ("https", "tcp") } else { ("dns", "udp") };
    let desk = Desk::new(&format!("explain-{distribution}-{protocol}"));
    desk.write("gw.toml", spread_config(distribution));
    desk.capture("in.pcap", &openings(CLIENTS, is_tcp));
    let went = replayed(&desk, "gw.toml", "");
    let without: BTreeMap<String, _> = (1..=5)
        .map(|n| (format!("10.0.0.{n}"), replayed(&desk, "gw.toml", &format!("--down web/10.0.0.{n}"))))
        .collect();
    let mut chosen = BTreeSet::new();
    for (address, port) in (0..CLIENTS).map(client) {
        let client = (Ipv4Addr::from(address), port);
        let told = desk.json(&format!("explain --config gw.toml {}:{port} {rule}", client.0));
        let backend = told["backend"].as_str().unwrap();
        assert_eq!(went[&client], backend, "{client:?}");
        // Its "otherwise" is where the client goes once that backend is down.
        let (address, _) = backend.split_once(':').unwrap();
        assert_eq!(without[address][&client], told["otherwise"].as_str().unwrap(), "{client:?}");
        chosen.insert(backend.to_owned());
        assert_told_in_full(&told, distribution);
    }
    assert_eq!(chosen.len(), 5, "not all backends were tried");
    // A backend that is down by the flag is as one that is down by the file.
    let down = "10.0.0.3\"";
    desk.write("down.toml", spread_config(distribution).replace(down, &format!("{down}, state = \"down\"")));
    assert_eq!(replayed(&desk, "down.toml", ""), without["10.0.0.3"]);
}

/// The hash, the slot and the shares fit each other.
fn assert_told_in_full(told: &Value, distribution: &str) {
    let hash = |name: &str| u64::from_str_radix(told[name].as_str().unwrap(), 16).unwrap();
    let table_len = told["table_len"].as_u64().unwrap();
    assert_eq!(told["slot"].as_u64().unwrap(), ((hash("hash") & 0xffff_ffff) * table_len) >> 32);
    assert_eq!(hash("hash") == hash("flow_hash"), distribution == "5-tuple");
    let shares: Vec<f64> =
        told["shares"].as_array().unwrap().iter().map(|s| s["share"].as_f64().unwrap()).collect();
    assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-9);
    // Four backends of weight 1, one of weight 3.
    let expected = [1.0, 1.0, 1.0, 1.0, 3.0].map(|weight| weight / 7.0);
    assert!(shares.iter().zip(expected).all(|(s, e)| (s - e).abs() < 0.001), "{shares:?}");
    assert_eq!(told["hash_key"], "configured");
}

#[test]
fn explain_agrees_with_replay_for_the_5_tuple() {
    [true, false].into_iter().for_each(|is_tcp| explain_agrees_with_replay("5-tuple", is_tcp));
}

#[test]
fn explain_agrees_with_replay_for_the_source_address() {
    [true, false].into_iter().for_each(|is_tcp| explain_agrees_with_replay("source-ip", is_tcp));
}

#[test]
fn explain_agrees_with_replay_for_source_address_and_protocol() {
    [true, false].into_iter().for_each(|is_tcp| explain_agrees_with_replay("source-ip-protocol", is_tcp));
}

#[test]
fn explain_says_nowhere_when_there_is_no_other_backend() {
    let desk = Desk::new("alone");
    desk.write("gw.toml", config(&numbered([4], ""), ""));
    assert!(desk.json("explain --config gw.toml 192.0.2.7:1 https")["otherwise"].is_null());
    assert!(desk.good("explain --config gw.toml 192.0.2.7:1 https").contains("otherwise  nowhere"));
}

#[test]
fn a_distribution_keeps_together_what_it_should() {
    let desk = Desk::new("together");
    // One client address, many ports, both protocols.
    let sources = |is_tcp| {
        (0..100u16).map(move |i| {
            let spec = opening(0, is_tcp);
            (at(f64::from(i) / 100.0), Spec { from: (CLIENT, 30_000 + i), ..spec }.frame())
        })
    };
    desk.capture("in.pcap", &sources(true).chain(sources(false)).collect::<Vec<_>>());
    // Backends that each protocol reaches, and both together.
    for (distribution, tcp, udp, both) in
        [("5-tuple", 5, 5, 5), ("source-ip", 1, 1, 1), ("source-ip-protocol", 1, 1, 2)]
    {
        desk.write("gw.toml", spread_config(distribution));
        desk.good("replay --config gw.toml --in outside=in.pcap --out inside=out.pcap");
        let reached: BTreeSet<(Ipv4Addr, u16)> =
            desk.frames("out.pcap").iter().map(|(_, frame)| ends(frame).1).collect();
        let of_port = |port| reached.iter().filter(|(_, p)| *p == port).count();
        let addresses: BTreeSet<Ipv4Addr> = reached.iter().map(|(address, _)| *address).collect();
        assert_eq!((of_port(8443), of_port(5353), addresses.len()), (tcp, udp, both), "{distribution}");
    }
}

#[test]
fn backends_get_flows_by_their_weights() {
    const FLOWS: u16 = 4000;
    let desk = Desk::new("weights");
    let weights = [(1u8, 1u16), (2, 2), (3, 3), (4, 4), (5, 0)];
    let list = weights.map(|(n, weight)| numbered([n], &format!(", weight = {weight}"))).join(", ");
    desk.write("gw.toml", config(&format!("{list}, {}", numbered([6], ", state = \"drain\"")), ""));
    desk.capture("in.pcap", &openings(FLOWS, true));
    desk.good("replay --config gw.toml --in outside=in.pcap --out inside=out.pcap");
    let went = destinations(&desk.frames("out.pcap"));
    assert_eq!(went.len(), usize::from(FLOWS));
    for (n, weight) in weights.into_iter().chain([(6, 0)]) {
        let got = went.values().filter(|backend| **backend == format!("10.0.0.{n}:8443")).count();
        let share = f64::from(weight) / 10.0;
        let expected = f64::from(FLOWS) * share;
        // Five standard deviations of a binomial distribution.
        let bound = 5.0 * (expected * (1.0 - share)).sqrt();
        assert!((got as f64 - expected).abs() <= bound, "backend {n} got {got}, not {expected} ± {bound}");
    }
}

// ---- replay is deterministic ---------------------------------------------------------------------------

/// Frames of every kind at both ports, over some minutes: flows that open, go on, close and idle; answers;
/// ARP and echo; other things that are dropped.
fn mixed() -> [Vec<Timed>; 2] {
    let mut chance = Chance(7);
    let mut ports = [Vec::new(), Vec::new()];
    for i in 0..4000u32 {
        let now = at(f64::from(i) * 0.05 + if i > 2000 { 100.0 } else { 0.0 });
        let number = chance.below(400) as u16;
        let tcp = |flags| Spec { flags: Some(flags), ..opening(number, true) };
        let back = |spec: Spec, port| spec.at_backend([10, 0, 0, 1 + (number % 5) as u8], port).reversed();
        let (port, frame) = match chance.below(16) {
            0..=2 => (0, tcp("S").frame()),
            3 => (0, tcp("A").frame()),
            4 => (0, tcp("PA").frame()),
            5 => (0, tcp("FA").frame()),
            6 => (0, tcp("R").frame()),
            7 | 8 => (0, opening(number, false).frame()),
            9 => (1, Spec { flags: Some("SA"), ..back(opening(number, true), 8443) }.frame()),
            10 => (1, back(opening(number, false), 5353).frame()),
            11 => (
                0,
                arp(
                    ArpOperation::REQUEST,
                    (ROUTER_MAC, [198, 51, 100, 1]),
                    ([0; 6], [198, 51, 100, 2]),
                    [0xff; 6],
                ),
            ),
            12 => (
                1,
                arp(
                    ArpOperation::REPLY,
                    ([2, 0, 10, 0, 0, 9], [10, 0, 0, 9]),
                    (INSIDE_MAC, [10, 0, 0, 254]),
                    INSIDE_MAC,
                ),
            ),
            13 => (0, echo_request(client(number).0, FRONTEND, &number.to_be_bytes())),
            14 => (0, Spec { to: (FRONTEND, 80), ..tcp("S") }.frame()),
            _ => (1, vec![chance.below(256) as u8; chance.below(90)]),
        };
        ports[port].push((now, frame));
    }
    ports
}

#[test]
fn output_is_the_same_for_any_number_of_workers_and_any_order_of_backends() {
    let desk = Desk::new("workers");
    let [outside, inside] = mixed();
    desk.capture("outside.pcap", &outside);
    desk.capture("inside.pcap", &inside);
    let attributes = |n: u8| format!(", weight = {}", 1 + n % 3);
    let backends = |order: [u8; 7]| order.map(|n| numbered([n], &attributes(n))).join(", ");
    let rule = "idle_timeout = \"1m\"";
    desk.write("gw.toml", config(&backends([1, 2, 3, 4, 5, 6, 7]), rule));
    desk.write("shuffled.toml", config(&backends([5, 7, 2, 6, 1, 4, 3]), rule));
    let mut results = Vec::new();
    for (config, workers) in
        [("gw", 1), ("gw", 1), ("gw", 2), ("gw", 4), ("gw", 7), ("shuffled", 1), ("shuffled", 7)]
    {
        let told = desk.json(&format!(
            "replay --config {config}.toml --in outside=outside.pcap --in inside=inside.pcap \
             --out outside=o.pcap --out inside=i.pcap --workers {workers}"
        ));
        results.push((
            format!("{config}, {workers} workers"),
            told,
            desk.read("o.pcap"),
            desk.read("i.pcap"),
        ));
    }
    let (_, told, to_clients, to_backends) = &results[0];
    for (name, other_told, other_to_clients, other_to_backends) in &results[1..] {
        assert_eq!(other_told, told, "{name}");
        assert!(other_to_clients == to_clients && other_to_backends == to_backends, "{name}");
    }
    // Nothing of the mix is missing.
    assert!(to_clients.len() > 10_000 && to_backends.len() > 10_000);
    assert_eq!(told["received"], 4000);
    for count in
        ["/transmitted", "/answered", "/controlled", "/drops/no-rule", "/flows/expired", "/flows/created"]
    {
        assert!(told.pointer(count).and_then(Value::as_u64).unwrap_or(0) > 50, "{count} in {told}");
    }
    assert_adds_up(told);
}

#[test]
fn another_key_or_another_weight_gives_another_output() {
    let desk = Desk::new("others");
    desk.capture("in.pcap", &openings(200, true));
    let text = config(&numbered(1..=5, ""), "");
    let out = |text: &str| {
        desk.write("gw.toml", text);
        desk.good("replay --config gw.toml --in outside=in.pcap --out inside=out.pcap");
        desk.read("out.pcap")
    };
    let first = out(&text);
    assert!(out(&text) == first);
    assert!(out(&text.replace("00112233", "10112233")) != first);
    assert!(out(&config(&numbered(1..=6, ""), "")) != first);
}

// ---- nothing is lost, and nothing wrong goes out -------------------------------------------------------

/// The promises of docs/COUNTERS.md and docs/REPLAY.md about the sums.
fn assert_adds_up(told: &Value) {
    let count = |name: &str| told.pointer(name).unwrap().as_u64().unwrap();
    let ends = ["/transmitted", "/answered", "/controlled", "/held", "/dropped"].map(count);
    assert_eq!(count("/received"), ends.iter().sum::<u64>(), "{told}");
    let drops: u64 = told["drops"].as_object().unwrap().values().map(|n| n.as_u64().unwrap()).sum();
    assert_eq!(count("/dropped"), drops, "{told}");
    let over =
        |field: &str| told["backends"].as_array().unwrap().iter().map(|b| b[field].as_u64().unwrap()).sum();
    let (flows, in_total): (u64, u64) = (over("flows"), over("flows_total"));
    assert_eq!(in_total, count("/flows/created"), "{told}");
    assert_eq!(flows, in_total - count("/flows/expired") - count("/flows/reclaimed"), "{told}");
    let packets: u64 = over("packets_in") + over("packets_out");
    assert_eq!(packets, count("/transmitted"), "{told}");
}

/// Whether the checksums are right: the IPv4 header's, and that of what it carries (`None`: it has none).
fn checksums(frame: &[u8]) -> Result<(bool, Option<bool>), String> {
    let packet = SlicedPacket::from_ethernet(frame).map_err(|error| error.to_string())?;
    let Some(NetSlice::Ipv4(ip)) = &packet.net else { return Ok((true, None)) };
    let header = ip.header().to_header();
    let of_ip = header.calc_header_checksum() == header.header_checksum;
    let of_payload = match &packet.transport {
        Some(TransportSlice::Tcp(tcp)) => {
            Some(tcp.calc_checksum_ipv4(header.source, header.destination).unwrap() == tcp.checksum())
        }
        Some(TransportSlice::Udp(udp)) if udp.checksum() == 0 => None,
        Some(TransportSlice::Udp(udp)) => {
            Some(udp.to_header().calc_checksum_ipv4(&header, udp.payload()).unwrap() == udp.checksum())
        }
        Some(TransportSlice::Icmpv4(icmp)) => {
            Some(icmp.icmp_type().calc_checksum(icmp.payload()) == icmp.checksum())
        }
        other => return Err(format!("{other:?}")),
    };
    Ok((of_ip, of_payload))
}

/// Sound frames of every kind that makes something leave, at the port where each comes in.
fn sound_frames() -> Vec<(usize, Vec<u8>)> {
    let (syn, query) = (Spec::tcp("S"), Spec::udp());
    let syn_ack = Spec { flags: Some("SA"), ..syn.at_backend([10, 0, 0, 1], 8443).reversed() };
    let answer = query.at_backend([10, 0, 0, 2], 5353).reversed();
    let mut options = Spec::tcp("PA").frame();
    options.splice(34..34, [1; 8]);
    (options[14], options[17]) = (0x47, options[17] + 8);
    fix_ip_checksum(&mut options);
    let mut padded = Spec { payload: b"xy".to_vec(), ..Spec::udp() }.frame();
    padded.resize(60, 0);
    let mut without_checksum = Spec::udp().frame();
    without_checksum[40..42].fill(0);
    let who_has = ([198, 51, 100, 1], [198, 51, 100, 2]);
    vec![
        (0, syn.frame()),
        (0, query.frame()),
        (1, syn_ack.frame()),
        (1, answer.frame()),
        (0, options),
        (0, padded),
        (0, without_checksum),
        (0, arp(ArpOperation::REQUEST, (ROUTER_MAC, who_has.0), ([0; 6], who_has.1), [0xff; 6])),
        (0, echo_request(CLIENT, FRONTEND, b"echo")),
    ]
}

/// Each sound frame cut at every length; with every byte changed in some ways; with several bytes changed,
/// the IPv4 checksum mended half of the time, so that the damage goes deeper.
fn hostile_frames() -> Vec<(usize, Vec<u8>)> {
    let mut chance = Chance(11);
    let mut all = Vec::new();
    for (port, frame) in sound_frames() {
        all.extend((0..=frame.len()).map(|len| (port, frame[..len].to_vec())));
        for i in 0..frame.len() {
            for bits in [0x01, 0x80, 0xff] {
                let mut flipped = frame.clone();
                flipped[i] ^= bits;
                all.push((port, flipped));
            }
        }
        for _ in 0..400 {
            let mut changed = frame.clone();
            for _ in 0..=chance.below(4) {
                let i = chance.below(changed.len());
                changed[i] = chance.below(256) as u8;
            }
            if chance.below(2) == 0 {
                fix_ip_checksum(&mut changed);
            }
            all.push((chance.below(2), changed));
        }
    }
    all
}

#[test]
fn of_a_hostile_capture_every_frame_has_one_end_and_no_wrong_frame_leaves() {
    let desk = Desk::new("hostile");
    desk.write("gw.toml", config(&numbered(1..=3, ""), ""));
    let frames = hostile_frames();
    // Every frame has a time of its own, by which what leaves on its account is known.
    let when = |i: usize| at(i as f64 / 10_000.0);
    let timed = || frames.iter().enumerate().map(|(i, (port, frame))| (*port, (when(i), frame.clone())));
    for (port, name) in [(0, "outside.pcap"), (1, "inside.pcap")] {
        desk.capture(name, &timed().filter(|(p, _)| *p == port).map(|(_, f)| f).collect::<Vec<_>>());
    }
    let told = desk.json(
        "replay --config gw.toml --in outside=outside.pcap --in inside=inside.pcap \
         --out outside=o.pcap --out inside=i.pcap --workers 3",
    );
    assert_adds_up(&told);
    assert_eq!(told["received"], frames.len());
    assert!(told["drops"].as_object().unwrap().len() >= 15, "{told}");

    let causes: BTreeMap<u128, &Vec<u8>> =
        frames.iter().enumerate().map(|(i, (_, frame))| (when(i).as_micros(), frame)).collect();
    let sent = [desk.frames("o.pcap"), desk.frames("i.pcap")].concat();
    let mut seen = BTreeSet::new();
    let mut wrong_ones = 0;
    for (at, frame) in &sent {
        let cause = causes[&at.as_micros()];
        assert!(seen.insert(at), "two frames for one: {cause:02x?}");
        let (of_ip, of_payload) = checksums(frame).unwrap_or_else(|error| panic!("{error}: {frame:02x?}"));
        assert!(of_ip, "{frame:02x?}");
        // What came right leaves right; what came wrong stays wrong, for its receiver to see.
        assert_eq!(of_payload, checksums(cause).unwrap().1, "{cause:02x?} became {frame:02x?}");
        wrong_ones += usize::from(of_payload == Some(false));
    }
    let left = told["transmitted"].as_u64().unwrap() + told["answered"].as_u64().unwrap();
    assert_eq!(sent.len() as u64, left);
    assert!(wrong_ones > 50 && sent.len() - wrong_ones > 500, "{wrong_ones} of {}", sent.len());
}

// ---- the clock -----------------------------------------------------------------------------------------

/// Its name; what a flow shows, and when, from a backend where it says "back"; the second of its end.
type Life = (&'static str, &'static [(f64, &'static str)], f64);

const LIVES: &[Life] = &[
    ("a SYN alone: half-open for 30 s", &[(0.0, "S")], 30.0),
    ("SYN and ACK: the idle timeout, 2 min, after the last", &[(0.0, "S"), (7.0, "A")], 127.0),
    ("a packet in the midst", &[(0.0, "A")], 120.0),
    ("FIN: 60 s from the last packet", &[(0.0, "S"), (1.0, "A"), (2.0, "FA"), (9.0, "A")], 69.0),
    ("RST", &[(0.0, "S"), (1.0, "A"), (2.0, "R")], 62.0),
    ("UDP", &[(0.0, "udp"), (50.0, "udp")], 170.0),
    ("a response keeps no flow", &[(0.0, "udp"), (50.0, "back")], 120.0),
    ("a SYN to a half-open flow starts its time anew", &[(0.0, "S"), (20.0, "S")], 50.0),
];

#[test]
fn flows_end_by_the_clock_of_the_captures_whatever_the_number_of_workers() {
    let desk = Desk::new("clock");
    desk.write("gw.toml", config(&numbered([4], ""), "idle_timeout = \"2m\""));
    let nothing = vec![0; 5];
    for (name, packets, end) in LIVES {
        // Only the clock goes on after the flow's last packet: a frame that is none makes it.
        for (last, ended) in [(end - 0.5, 0), (end + 1.0, 1)] {
            let (mut outside, mut inside) = (Vec::new(), Vec::new());
            for (seconds, kind) in *packets {
                match *kind {
                    "udp" => outside.push((at(*seconds), Spec::udp().frame())),
                    "back" => {
                        inside.push((at(*seconds), Spec::udp().at_backend(BACKEND, 5353).reversed().frame()))
                    }
                    flags => outside.push((at(*seconds), Spec::tcp(flags).frame())),
                }
            }
            inside.push((at(last), nothing.clone()));
            desk.capture("outside.pcap", &outside);
            desk.capture("inside.pcap", &inside);
            for workers in [1, 2, 4, 7] {
                let told = desk.json(&format!(
                    "replay --config gw.toml --in outside=outside.pcap --in inside=inside.pcap --workers {workers}"
                ));
                let counts = ["created", "expired"].map(|name| told["flows"][name].as_u64().unwrap());
                assert_eq!(counts, [1, ended], "{name}, {last} s, {workers} workers");
                assert_adds_up(&told);
            }
        }
    }
}

#[test]
fn frames_are_merged_by_time_and_ties_go_by_the_order_of_the_arguments() {
    let desk = Desk::new("merge");
    desk.write("gw.toml", config(&numbered([4], ""), ""));
    let marked = |mark: &str| Spec { payload: mark.into(), ..Spec::udp() }.frame();
    // The second is out of order in itself: it is put in order, and what is at one time keeps its order.
    desk.capture("a.pcap", &[(at(1.0), marked("a1")), (at(2.0), marked("a2")), (at(3.0), marked("a3"))]);
    desk.capture("b.pcap", &[(at(2.0), marked("b2")), (at(0.5), marked("b0")), (at(2.0), marked("B2"))]);
    desk.capture("c.pcap", &[(at(2.0), marked("c2")), (at(2.5), marked("c3"))]);
    for (order, expected) in [
        ("a b c", "b0 a1 a2 b2 B2 c2 c3 a3"),
        ("c b a", "b0 a1 c2 b2 B2 a2 c3 a3"),
        ("b a c", "b0 a1 b2 B2 a2 c2 c3 a3"),
    ] {
        let inputs: String = order.split(' ').map(|name| format!(" --in outside={name}.pcap")).collect();
        desk.good(&format!("replay --config gw.toml{inputs} --out inside=out.pcap"));
        let sent = desk.frames("out.pcap");
        let marks: Vec<&str> = sent.iter().map(|(_, f)| std::str::from_utf8(&f[42..]).unwrap()).collect();
        assert_eq!(marks.join(" "), expected, "{order}");
        assert!(sent.is_sorted_by_key(|(at, _)| *at));
    }
}

#[test]
fn outputs_have_the_times_of_the_inputs_as_fine_as_the_finest() {
    let desk = Desk::new("times");
    desk.write("gw.toml", config(&numbered([4], ""), ""));
    let nanos = |n: u64| Duration::new(1_700_000_000, 0) + Duration::from_nanos(n);
    let frame = Spec::udp().frame();
    let fine: Vec<_> = [1, 999_999_999, 1_000_000_123].map(|n| (nanos(n), frame.clone())).into();
    let coarse: Vec<_> = [3_000, 2_000_001_000].map(|n| (nanos(n), frame.clone())).into();
    desk.capture_as("fine.pcap", TsResolution::NanoSecond, DataLink::ETHERNET, &fine);
    desk.capture("coarse.pcap", &coarse);
    let times = |inputs: &str| {
        desk.good(&format!("replay --config gw.toml {inputs} --out inside=out.pcap"));
        let magic = desk.read("out.pcap")[..4].to_vec();
        let times: Vec<Duration> = desk.frames("out.pcap").into_iter().map(|(at, _)| at).collect();
        (magic, times)
    };
    const MICROSECONDS: [u8; 4] = [0xd4, 0xc3, 0xb2, 0xa1];
    const NANOSECONDS: [u8; 4] = [0x4d, 0x3c, 0xb2, 0xa1];
    let in_order = |list: &[u64]| list.iter().map(|n| nanos(*n)).collect::<Vec<_>>();
    assert_eq!(times("--in outside=coarse.pcap"), (MICROSECONDS.to_vec(), in_order(&[3_000, 2_000_001_000])));
    assert_eq!(
        times("--in outside=fine.pcap"),
        (NANOSECONDS.to_vec(), in_order(&[1, 999_999_999, 1_000_000_123]))
    );
    assert_eq!(
        times("--in outside=coarse.pcap --in outside=fine.pcap"),
        (NANOSECONDS.to_vec(), in_order(&[1, 3_000, 999_999_999, 1_000_000_123, 2_000_001_000]))
    );
}

/// A pcapng file by hand (draft-ietf-opsawg-pcapng): interface 0 counts microseconds, 1 nanoseconds.
fn pcapng(frames: &[(u32, u64, &[u8])], word: fn(u32) -> [u8; 4], half: fn(u16) -> [u8; 2]) -> Vec<u8> {
    let block = |kind: u32, body: &[u8]| {
        let len = word(body.len() as u32 + 12);
        [&word(kind), &len, body, &len].concat()
    };
    let versions = [&word(0x1a2b_3c4d)[..], &half(1), &half(0), &[0xff; 8]].concat();
    let ethernet = [&half(1)[..], &half(0), &word(0)].concat();
    let in_nanoseconds = [&ethernet[..], &half(9), &half(1), &[9, 0, 0, 0], &word(0)].concat();
    let mut file = [block(0x0a0d_0d0a, &versions), block(1, &ethernet), block(1, &in_nanoseconds)].concat();
    // A block that no reader knows is passed over.
    file.extend(block(0x0bad_0001, &[1, 2, 3, 4]));
    for (interface, units, frame) in frames {
        let len = word(frame.len() as u32);
        let time = [word((units >> 32) as u32), word(*units as u32)].concat();
        let padding = vec![0; frame.len().next_multiple_of(4) - frame.len()];
        file.extend(block(6, &[&word(*interface)[..], &time, &len, &len, frame, &padding].concat()));
    }
    file
}

#[test]
fn pcapng_is_read_like_pcap() {
    let desk = Desk::new("pcapng");
    desk.write("gw.toml", config(&numbered([4], ""), ""));
    let (query, syn) = (Spec::udp().frame(), Spec::tcp("S").frame());
    let (first, second) = (Duration::new(1_700_000_000, 5_000), Duration::new(1_700_000_001, 123_456_789));
    let frames: [(u32, u64, &[u8]); 2] =
        [(0, first.as_micros() as u64, &query), (1, second.as_nanos() as u64, &syn)];
    desk.capture_as(
        "in.pcap",
        TsResolution::NanoSecond,
        DataLink::ETHERNET,
        &[(first, query.clone()), (second, syn.clone())],
    );
    desk.write("little.pcapng", pcapng(&frames, u32::to_le_bytes, u16::to_le_bytes));
    desk.write("big.pcapng", pcapng(&frames, u32::to_be_bytes, u16::to_be_bytes));
    let out = |name: &str| {
        desk.good(&format!("replay --config gw.toml --in outside={name} --out inside=out.pcap"));
        desk.read("out.pcap")
    };
    let expected = out("in.pcap");
    assert_eq!(desk.frames("out.pcap").len(), 2);
    assert!(out("little.pcapng") == expected);
    assert!(out("big.pcapng") == expected);
}

#[test]
fn damage_is_told_once_all_before_it_has_been_replayed() {
    let desk = Desk::new("damage");
    desk.write("gw.toml", config(&numbered([4], ""), ""));
    let frames = openings(10, false);
    desk.capture("in.pcap", &frames);
    let whole = desk.read("in.pcap");
    let each = (whole.len() - 24) / frames.len();
    // Cut within frame 8: in its header, after it, one byte from its end. An even cut is an end.
    for (cut, code) in [(1, 1), (15, 1), (16, 1), (each - 1, 1), (0, 0)] {
        desk.write("cut.pcap", &whole[..24 + 7 * each + cut]);
        let ended = desk.run("replay --config gw.toml --in outside=cut.pcap --out inside=out.pcap");
        assert_eq!(ended.code, Some(code), "{cut}: {}", ended.err);
        let expected = if code == 0 { "" } else { "guideway: cut.pcap: damaged at frame 8: it is cut off\n" };
        assert_eq!(ended.err, expected, "{cut}");
        assert_eq!(desk.frames("out.pcap").len(), 7, "{cut}");
    }
}

// ---- check --against -----------------------------------------------------------------------------------

/// The two percentages of the line about `rule`: flows that move, and those that need not have.
fn moved_share(said: &str, rule: &str) -> (f64, f64) {
    let line = said.lines().find(|line| line.starts_with(&format!("~ rule {rule}:"))).unwrap();
    let numbers: Vec<f64> = line
        .split_whitespace()
        .zip(line.split_whitespace().skip(1))
        .filter(|(_, next)| *next == "%")
        .map(|(number, _)| number.parse().unwrap())
        .collect();
    (numbers[0], numbers[1])
}

#[test]
fn check_tells_the_difference_and_the_share_that_moves_as_replay_shows_it() {
    const FLOWS: u16 = 3000;
    let desk = Desk::new("against");
    desk.capture("in.pcap", &openings(FLOWS, true));
    let went = |config: &str| {
        desk.good(&format!("replay --config {config} --in outside=in.pcap --out inside=out.pcap"));
        destinations(&desk.frames("out.pcap"))
    };
    desk.write("old.toml", config(&numbered(1..=8, ""), ""));
    let before = went("old.toml");
    let cases = [
        ("one less", numbered(1..=7, ""), "-10.0.0.8", 12.5),
        ("one more", numbered(1..=9, ""), "+10.0.0.9", 100.0 / 9.0),
        (
            "one down",
            format!("{}, {}", numbered(1..=7, ""), numbered([8], ", state = \"down\"")),
            "10.0.0.8 weight 1, down",
            12.5,
        ),
        (
            "one twice as heavy",
            format!("{}, {}", numbered(1..=7, ""), numbered([8], ", weight = 2")),
            "10.0.0.8 weight 2, auto",
            100.0 * (2.0 / 9.0 - 1.0 / 8.0),
        ),
    ];
    for (name, backends, change, must) in cases {
        desk.write("new.toml", config(&backends, ""));
        let said = desk.good("check --config new.toml --against old.toml");
        for rule in ["https", "dns"] {
            assert!(said.contains(&format!("~ rule {rule}: {change}; ")), "{name}\n{said}");
        }
        let (all, beyond) = moved_share(&said, "https");
        // Maglev moves what must move, and a little more.
        assert!((all - beyond - must).abs() < 0.02 && (0.0..8.0).contains(&beyond), "{name}: {said}");
        let after = went("new.toml");
        let moved = before.iter().filter(|(client, backend)| after[client] != **backend).count();
        let (share, flows) = (all / 100.0, f64::from(FLOWS));
        let bound = 5.0 * (flows * share * (1.0 - share)).sqrt();
        assert!((moved as f64 - flows * share).abs() <= bound, "{name}: {moved} moved, predicted {all} %");
    }
}

#[test]
fn flows_that_had_no_backend_must_move() {
    let desk = Desk::new("none");
    desk.write("old.toml", config(&numbered(1..=8, ""), ""));
    desk.write("none.toml", config(&numbered(1..=8, ", weight = 0"), ""));
    for line in ["check --config old.toml --against none.toml", "check --config none.toml --against old.toml"]
    {
        // Not "good": it warns of the rules without backends.
        let (all, beyond) = moved_share(&desk.run(line).out, "https");
        assert_eq!((all, beyond), (100.0, 0.0), "{line}");
    }
}

#[test]
fn another_hash_key_or_timeout_is_told() {
    let desk = Desk::new("keys");
    let text = config(&numbered(1..=3, ""), "");
    desk.write("old.toml", &text);
    let key = "hash_key = \"00112233445566778899aabbccddee00\"";
    desk.write("key.toml", text.replace(KEY, key));
    desk.write("timeout.toml", config(&numbered(1..=3, ""), "idle_timeout = \"9m\""));
    assert!(desk.good("check --config key.toml --against old.toml").contains("the hash key is another"));
    let said = desk.good("check --config timeout.toml --against old.toml");
    assert!(said.contains("~ rule https: idle timeout 9m; 0.000 % of new flows move"), "{said}");
}

#[test]
fn a_clock_that_goes_once_round_forgets_flows_all_the_same() {
    let desk = Desk::new("round");
    desk.write("gw.toml", config(&numbered([4], ""), ""));
    let query = Spec::udp().frame();
    // Ticks of a quarter second in 24 bits go round in 2^22 seconds.
    desk.capture("in.pcap", &[(at(0.0), query.clone()), (at(4_194_304.0), query)]);
    let told = desk.json("replay --config gw.toml --in outside=in.pcap");
    assert_eq!((&told["flows"]["created"], &told["flows"]["expired"]), (&2.into(), &1.into()));
}

#[test]
fn a_reader_that_goes_away_is_no_crash() {
    let desk = desk_with_files("reader");
    for line in [
        "check --config gw.toml",
        "explain --config gw.toml 192.0.2.7:1 https",
        "replay --config gw.toml --in outside=in.pcap",
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = Command::new(env!("CARGO_BIN_EXE_guideway"));
        command.args(line.split(' ')).current_dir(&desk.0).stdout(writer).stderr(Stdio::piped());
        let ended = command.output().unwrap();
        let said = String::from_utf8(ended.stderr).unwrap();
        assert!(ended.status.code() == Some(0) && !said.contains("panicked"), "{line}: {said}");
    }
}

#[test]
fn check_tells_of_rules_that_come_go_and_stay() {
    let desk = Desk::new("rules");
    let text = config(&numbered(1..=3, ""), "");
    desk.write("old.toml", &text);
    desk.write("new.toml", text.replace("203.0.113.10:53/udp", "203.0.113.11:53/udp"));
    let said = desk.good("check --config new.toml --against old.toml");
    assert!(said.contains("\n- rule dns: 203.0.113.10:53/udp is removed"), "{said}");
    assert!(said.contains("\n+ rule dns: 203.0.113.11:53/udp is new\n"), "{said}");
    assert!(!said.contains("~ rule"), "{said}");
    let said = desk.good("check --config old.toml --against old.toml");
    assert!(said.contains("\nno rule changes\n") && !said.contains("\n~"), "{said}");
    desk.write("new.toml", text.replace("backend_port = 8443", "backend_port = 8444"));
    let said = desk.good("check --config new.toml --against old.toml");
    assert!(
        said.contains("~ rule https: backend port 8444 instead of 8443; 0.000 % of new flows move"),
        "{said}"
    );
}

#[test]
fn the_journal_gets_levels_instead_of_times() {
    use std::os::unix::fs::MetadataExt;
    let desk = Desk::new("journal");
    desk.write("bad.toml", "[[rule]]\nname = 1\n");
    let said = |journal: &str| {
        let err = File::create(desk.0.join("err")).unwrap();
        let is = err.metadata().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_guideway"));
        command.args(["check", "--config", "bad.toml"]).current_dir(&desk.0).stderr(err);
        let stream = journal.replace("DEVICE", &is.dev().to_string()).replace("INODE", &is.ino().to_string());
        assert_eq!(command.env("JOURNAL_STREAM", stream).status().unwrap().code(), Some(2));
        String::from_utf8(desk.read("err")).unwrap()
    };
    let plain = said("");
    assert!(plain.starts_with("bad.toml:1: "), "{plain}");
    let told: String = plain.lines().map(|line| format!("<3>{line}\n")).collect();
    assert_eq!(said("DEVICE:INODE"), told);
    // Inherited from somebody whose stream it was.
    assert_eq!(said("DEVICE:1"), plain);
}
