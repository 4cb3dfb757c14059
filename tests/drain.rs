//! What happens to flows whose backend's drain has passed its deadline: whole packets in, whole packets out. And the
//! drain from the operator's side, by the clock of the management thread.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail")]

mod common;

use std::collections::BTreeSet;
use std::sync::Arc;

use common::*;
use etherparse::{PacketBuilder, SlicedPacket, TransportSlice};
use guideway::config::{AdminState, Endpoint};
use guideway::control::{Manager, Override, REPLAY_KEY};
use guideway::dataplane::{FlowTable, Mesh, Worker, WorkerCounters, WorkerId, WorkerPort, WorkerTotals};
use guideway::io::PortId;
use guideway::io::memory::{HeapFrame, MemoryQueues};
use guideway::snapshot::{BackendIdentity, Compiler, Conditions, Neighbours, PortLink, Publisher, Snapshot};
use guideway::wire::{MacAddr, Protocol};

const BACKEND_MAC: [u8; 6] = [2, 0, 10, 0, 0, 4];

/// A TCP segment as a test thinks of it: who to whom, flags, sequence, acknowledgement, bytes of data.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Segment {
    port: PortId,
    macs: ([u8; 6], [u8; 6]),
    from: ([u8; 4], u16),
    to: ([u8; 4], u16),
    flags: String,
    seq: u32,
    ack: u32,
    data: usize,
}

/// Reads a frame by another implementation than ours, which holds lengths and checksums; nothing but headers and
/// data may be in it.
fn read((port, frame): &(PortId, Vec<u8>)) -> Segment {
    let packet = SlicedPacket::from_ethernet(frame).unwrap();
    let Some(etherparse::NetSlice::Ipv4(ip)) = &packet.net else { panic!("{packet:?}") };
    let header = ip.header().to_header();
    assert_eq!(header.header_checksum, header.calc_header_checksum(), "{packet:?}");
    assert_eq!(usize::from(header.total_len) + 14, frame.len(), "{packet:?}");
    let Some(TransportSlice::Tcp(tcp)) = &packet.transport else { panic!("{packet:?}") };
    assert_eq!(tcp.checksum(), tcp.calc_checksum_ipv4(header.source, header.destination).unwrap());
    let flags = [(tcp.syn(), 'S'), (tcp.fin(), 'F'), (tcp.rst(), 'R'), (tcp.psh(), 'P'), (tcp.ack(), 'A')];
    Segment {
        port: *port,
        macs: (frame[6..12].try_into().unwrap(), frame[..6].try_into().unwrap()),
        from: (header.source, tcp.source_port()),
        to: (header.destination, tcp.destination_port()),
        flags: flags.iter().filter(|(is_set, _)| *is_set).map(|(_, name)| name).collect(),
        seq: tcp.sequence_number(),
        ack: tcp.acknowledgment_number(),
        data: tcp.payload().len(),
    }
}

impl Segment {
    fn from_client(flags: &str, seq: u32, ack: u32, data: usize) -> Self {
        let (macs, from, to) = ((ROUTER_MAC, OUTSIDE_MAC), (CLIENT, 40_000), (FRONTEND, 443));
        Self { port: OUTSIDE, macs, from, to, flags: flags.into(), seq, ack, data }
    }

    fn from_backend(flags: &str, seq: u32, ack: u32, data: usize) -> Self {
        let (macs, from, to) = ((BACKEND_MAC, INSIDE_MAC), (BACKEND, 8443), (CLIENT, 40_000));
        Self { port: INSIDE, macs, from, to, flags: flags.into(), seq, ack, data }
    }

    fn to_client(flags: &str, seq: u32, ack: u32) -> Self {
        let (macs, from, to) = ((OUTSIDE_MAC, ROUTER_MAC), (FRONTEND, 443), (CLIENT, 40_000));
        Self { port: OUTSIDE, macs, from, to, flags: flags.into(), seq, ack, data: 0 }
    }

    fn to_backend(flags: &str, seq: u32, ack: u32) -> Self {
        let (macs, from, to) = ((INSIDE_MAC, BACKEND_MAC), (CLIENT, 40_000), (BACKEND, 8443));
        Self { port: INSIDE, macs, from, to, flags: flags.into(), seq, ack, data: 0 }
    }

    fn frame(&self) -> Vec<u8> {
        let builder = PacketBuilder::ethernet2(self.macs.0, self.macs.1).ipv4(self.from.0, self.to.0, 64);
        let mut tcp = builder.tcp(self.from.1, self.to.1, self.seq, 8192);
        for flag in self.flags.chars() {
            tcp = match flag {
                'S' => tcp.syn(),
                'A' => tcp.ack(self.ack),
                'F' => tcp.fin(),
                'R' => tcp.rst(),
                other => panic!("no such flag: {other}"),
            };
        }
        let mut frame = Vec::new();
        tcp.write(&mut frame, &vec![0xda; self.data]).unwrap();
        frame
    }
}

/// Workers on memory, and the worlds they go through.
struct Bed {
    compiler: Compiler,
    publisher: Publisher,
    workers: Vec<Worker<MemoryQueues>>,
    counters: Vec<Arc<WorkerCounters>>,
    /// To whom frames come.
    receiver: usize,
    now: f64,
    rule: &'static str,
}

fn conditions() -> Conditions {
    let links = [OUTSIDE_MAC, INSIDE_MAC].map(|mac| PortLink { mac: MacAddr(mac), filters: true, mtu: 1500 });
    Conditions { links: links.to_vec(), neighbours: Neighbours { synthetic: true, ..Neighbours::default() } }
}

/// Two backends, the first of which is drained from the start of its flows' end.
fn text(first: &str, rule: &str) -> String {
    let backends =
        format!("{{ address = \"10.0.0.4\"{first} }}, {{ address = \"10.0.0.5\", state = \"down\" }}");
    with_backends(&backends, rule).replace("\"10.0.0.5\", state = \"down\"", second_of(first))
}

/// The second backend takes flows only when the first does not.
fn second_of(first: &str) -> &'static str {
    if first.is_empty() { "\"10.0.0.5\", state = \"down\"" } else { "\"10.0.0.5\"" }
}

fn identity(protocol: Protocol) -> BackendIdentity {
    let (port, backend_port) = if protocol == Protocol::Tcp { (443, 8443) } else { (53, 5353) };
    let frontend = Endpoint { address: FRONTEND.into(), port, protocol };
    BackendIdentity { frontend: frontend.into(), address: BACKEND.into(), port: backend_port }
}

impl Bed {
    fn new() -> Self {
        Self::with_workers(1)
    }

    /// The first of them sends for all, and flows are spread in software.
    fn with_workers(number: usize) -> Self {
        Self::of(number, "")
    }

    fn of(number: usize, rule: &'static str) -> Self {
        let mut compiler = Compiler::new(REPLAY_KEY);
        let first: Snapshot = compiler.compile(&model(&text("", rule)), &conditions()).unwrap();
        let (publisher, readers) = Publisher::new(first, number);
        let mesh: Mesh<HeapFrame> = Mesh::new(number);
        let counters: Vec<Arc<WorkerCounters>> = (0..number).map(|_| Arc::default()).collect();
        let own = |port| WorkerPort { port, keeps_flows: number == 1, transmitter: WorkerId(0) };
        let parts = readers.into_iter().zip(&counters).zip((0..).map(WorkerId));
        let workers = parts.map(|((reader, counters), me)| {
            let (queues, flows) = (MemoryQueues::new(2), FlowTable::new(1024).unwrap());
            let ports = vec![own(OUTSIDE), own(INSIDE)];
            Worker::new(mesh.seat(me), number, ports, queues, reader, flows, counters.clone())
        });
        let workers = workers.collect();
        Self { compiler, publisher, workers, counters, receiver: 0, now: 0.0, rule }
    }

    /// Has the frame arrive, and returns what leaves, in the order of ports.
    fn send_frame(&mut self, port: PortId, frame: Vec<u8>) -> Vec<(PortId, Vec<u8>)> {
        self.workers[self.receiver].queues_mut().push(port, frame);
        self.poll()
    }

    fn poll(&mut self) -> Vec<(PortId, Vec<u8>)> {
        // What the sweep has to say leaves with the next one, what is handed over with the one after that.
        for _ in 0..=self.workers.len() {
            self.workers.iter_mut().for_each(|worker| _ = worker.poll(seconds(self.now)));
        }
        let mut sent = Vec::new();
        for port in [OUTSIDE, INSIDE] {
            sent.extend(self.workers[0].queues_mut().sent(port).map(|frame| (port, frame)));
        }
        sent
    }

    fn send(&mut self, segment: &Segment) -> Vec<Segment> {
        self.send_frame(segment.port, segment.frame()).iter().map(read).collect()
    }

    /// The client's side of a connection, as far as `flags` say.
    fn open(&mut self, flags: &[&str]) {
        for flags in flags {
            let sent = self.send(&Segment::from_client(flags, 1000, 5000, 0));
            assert_eq!((sent.len(), sent[0].to), (1, (BACKEND, 8443)), "{flags}");
        }
    }

    /// The drain is past its deadline.
    fn pass_deadline(&mut self) {
        self.compiler.reset_flows_of([Protocol::Tcp, Protocol::Udp].map(identity).into());
        self.publish(", state = \"drain\"");
    }

    fn publish(&mut self, first: &str) {
        let next = self.compiler.compile(&model(&text(first, self.rule)), &conditions()).unwrap();
        self.publisher.publish(next);
    }

    fn flows(&self) -> u64 {
        self.counters.iter().map(|worker| self.flows_of(worker)).sum()
    }

    fn flows_of(&self, worker: &WorkerCounters) -> u64 {
        worker.flows_to(self.compiler.backend_id(&identity(Protocol::Tcp)).unwrap())
    }

    fn totals(&self) -> WorkerTotals {
        let mut t = WorkerTotals::default();
        self.counters.iter().for_each(|worker| t.add(&worker.totals()));
        assert_eq!(t.handed_over, t.taken_over, "{t:?}");
        assert_eq!(t.received, t.transmitted + t.answered + t.controlled + t.dropped(), "{t:?}");
        t
    }
}

/// What is said before the deadline, the first segment after it, and what leaves in its stead.
type Cut = (&'static str, &'static [&'static str], Segment, [Segment; 2]);

fn cuts() -> [Cut; 6] {
    let open: &[&str] = &["S", "A", "A"];
    [
        (
            "data from the client",
            open,
            Segment::from_client("A", 1010, 5020, 700),
            [Segment::to_client("R", 5020, 0), Segment::to_backend("RA", 1010, 5020)],
        ),
        (
            "the handshake's last packet",
            &["S"],
            Segment::from_client("A", 1001, 5001, 0),
            [Segment::to_client("R", 5001, 0), Segment::to_backend("RA", 1001, 5001)],
        ),
        (
            "the client's FIN, and more after it",
            &["S", "A", "FA"],
            Segment::from_client("A", 1011, 5099, 0),
            [Segment::to_client("R", 5099, 0), Segment::to_backend("RA", 1011, 5099)],
        ),
        (
            "around the circle",
            open,
            Segment::from_client("FA", u32::MAX, u32::MAX - 1, 1),
            [Segment::to_client("R", u32::MAX - 1, 0), Segment::to_backend("RA", u32::MAX, u32::MAX - 1)],
        ),
        (
            "data from the backend, as large as the MTU allows",
            open,
            Segment::from_backend("A", 5020, 1010, 1460),
            [Segment::to_client("RA", 5020, 1010), Segment::to_backend("R", 1010, 0)],
        ),
        (
            "the backend's half of the handshake",
            &["S"],
            Segment::from_backend("SA", 5000, 1001, 0),
            [Segment::to_client("RA", 5000, 1001), Segment::to_backend("R", 1001, 0)],
        ),
    ]
}

#[test]
fn a_packet_of_either_end_resets_both_at_exactly_their_numbers() {
    for (what, open, segment, answers) in cuts() {
        let mut bed = Bed::new();
        bed.open(open);
        bed.pass_deadline();
        assert_eq!(bed.send(&segment), answers, "{what}");
        let t = bed.totals();
        assert_eq!((t.answered, t.originated, t.transmitted), (1, 1, open.len() as u64), "{what}: {t:?}");
        assert_eq!((t.resets_to_client, t.resets_to_backend), (1, 1), "{what}: {t:?}");
        // What was on its way is answered too, and makes no new flow anywhere.
        assert_eq!(bed.send(&segment), answers, "{what}, again");
        assert_eq!((bed.totals().flows_created, bed.flows()), (1, 1), "{what}");
        // The other end has said nothing and is asked, in vain. That ends it as well.
        let (other, asked) = if segment.port == OUTSIDE { (INSIDE, BACKEND) } else { (OUTSIDE, CLIENT) };
        for round in 1..10 {
            bed.now = 0.5 * f64::from(round);
            let sent: Vec<_> = bed.poll().iter().map(read).collect();
            assert!(
                sent.iter().all(|s| (s.port, s.to.0, s.flags.as_str()) == (other, asked, "A")),
                "{sent:?}"
            );
        }
        let t = bed.totals();
        assert_eq!(t.reset_asks, 6, "{what}: {t:?}");
        assert_eq!((bed.flows(), t.flows_reset, t.flows_unanswered), (0, 1, 0), "{what}: {t:?}");
    }
}

#[test]
fn resets_of_the_ends_themselves_go_through() {
    let mut bed = Bed::new();
    bed.open(&["S", "A", "A"]);
    bed.pass_deadline();
    assert_eq!(bed.send(&Segment::from_client("R", 1010, 0, 0)), [Segment::to_backend("R", 1010, 0)]);
    assert_eq!(bed.send(&Segment::from_backend("RA", 5020, 1010, 0)), [Segment::to_client("RA", 5020, 1010)]);
    let t = bed.totals();
    assert_eq!((t.transmitted, t.answered, t.resets_to_client, t.resets_to_backend), (5, 0, 0, 0), "{t:?}");
}

#[test]
fn a_new_connection_and_udp_go_elsewhere() {
    let mut bed = Bed::new();
    bed.open(&["S", "A", "A"]);
    bed.send_frame(OUTSIDE, Spec::udp().frame());
    bed.pass_deadline();
    let syn = bed.send(&Segment::from_client("S", 90_000, 0, 0));
    assert_eq!((syn.len(), syn[0].to), (1, ([10, 0, 0, 5], 8443)));
    assert_eq!(bed.flows(), 0);
    // What the backend has to say of the old connection is nothing to the new one: it is established, not over.
    bed.send(&Segment::from_backend("A", 5020, 1010, 10));
    for _ in 0..2 {
        let data = bed.send(&Segment::from_client("A", 90_001, 1, 0));
        assert_eq!((data.len(), data[0].to), (1, ([10, 0, 0, 5], 8443)));
    }
    bed.now = 100.0;
    bed.poll();
    let again = bed.send(&Segment::from_client("S", 91_000, 0, 0));
    assert_eq!((again.len(), bed.totals().flows_created), (1, 3), "a SYN does not move an established flow");
    let datagram = bed.send_frame(OUTSIDE, Spec::udp().frame());
    assert_eq!((datagram.len(), &datagram[0].1[30..34]), (1, &[10, 0, 0, 5][..]));
    // What the backend answers to an earlier one still arrives.
    let late = Spec::udp().at_backend(BACKEND, 5353).reversed();
    assert_eq!(bed.send_frame(INSIDE, late.frame()).len(), 1);
    let t = bed.totals();
    assert_eq!((t.answered, t.resets_to_client, t.resets_to_backend), (1, 1, 1), "{t:?}");
}

#[test]
fn a_state_set_in_time_calls_it_off() {
    let mut bed = Bed::new();
    bed.open(&["S", "A", "A"]);
    bed.pass_deadline();
    bed.compiler.reset_flows_of(BTreeSet::new());
    bed.publish(", state = \"drain\"");
    let data = Segment::from_client("A", 1010, 5020, 7);
    assert_eq!(bed.send(&data), [Segment { data: 7, ..Segment::to_backend("A", 1010, 5020) }]);
    assert_eq!(bed.send(&Segment::from_backend("A", 5020, 1017, 0)), [Segment::to_client("A", 5020, 1017)]);
    assert_eq!(bed.flows(), 1);
}

#[test]
fn silent_ends_are_asked_a_few_times_by_what_cannot_be_theirs_and_then_given_up() {
    let mut bed = Bed::new();
    bed.open(&["S", "A", "A"]);
    bed.send_frame(OUTSIDE, Spec::udp().frame());
    bed.pass_deadline();
    let mut rounds = Vec::new();
    for round in 1..20 {
        bed.now = 0.5 * f64::from(round);
        rounds.push(bed.poll().iter().map(read).collect::<Vec<_>>());
    }
    let asked: Vec<_> = rounds.iter().filter(|sent| !sent.is_empty()).collect();
    assert_eq!(asked.len(), 6, "{rounds:?}");
    for (attempt, sent) in asked.iter().enumerate() {
        let number = 0x5555_5555u32.wrapping_mul(attempt as u32);
        let wanted = [Segment::to_client("A", number, number), Segment::to_backend("A", number, number)];
        assert_eq!(**sent, wanted, "{attempt}");
    }
    let t = bed.totals();
    // The flow of UDP was let go at once.
    assert_eq!((t.flows_unanswered, t.flows_reset, t.flows_expired, t.reset_asks), (1, 0, 1, 12), "{t:?}");
    assert_eq!((bed.flows(), t.originated, t.answered), (0, 12, 0), "{t:?}");
}

#[test]
fn who_answers_the_question_is_reset_and_asked_no_more() {
    let answers = [Segment::from_client("A", 1010, 5020, 0), Segment::from_backend("A", 5020, 1010, 0)];
    for [first, second] in [[0, 1], [1, 0]] {
        let mut bed = Bed::new();
        bed.open(&["S", "A", "A"]);
        bed.pass_deadline();
        bed.now = 0.5;
        assert_eq!(bed.poll().len(), 2);
        let resets = bed.send(&answers[first]);
        let numbers: Vec<_> = resets.iter().map(|s| (s.port, s.flags.contains('R'), s.seq)).collect();
        assert_eq!(numbers, [(OUTSIDE, true, 5020), (INSIDE, true, 1010)]);
        // The other is asked again: what it got in the first one's place need not have fitted.
        bed.now = 1.0;
        let asked: Vec<_> = bed.poll().iter().map(read).map(|segment| segment.port).collect();
        assert_eq!(asked, [answers[second].port]);
        // Where that was enough, nobody is there any more.
        let gone = Segment { flags: "R".into(), ..answers[second].clone() };
        assert_eq!(bed.send(&gone).len(), 1);
        let mut lasted = 0;
        for round in 3..10 {
            bed.now = 0.5 * f64::from(round);
            assert_eq!(bed.poll(), []);
            lasted += bed.flows();
        }
        // It is kept for two seconds, for what is on its way.
        assert_eq!(lasted, 4);
        let t = bed.totals();
        assert_eq!((bed.flows(), t.flows_reset, t.flows_unanswered, t.reset_asks), (0, 1, 0, 3), "{t:?}");
    }
}

/// More than a sweep has room for: each gets its turn all the same, and all end.
#[test]
fn many_silent_flows_are_all_asked_and_all_end() {
    let mut bed = Bed::new();
    for i in 0..500 {
        for flags in ["S", "A", "A"] {
            let from = (CLIENT, 1000 + i);
            bed.send(&Segment { from, ..Segment::from_client(flags, 1, 1, 0) });
        }
    }
    bed.pass_deadline();
    let mut asked = BTreeSet::new();
    for step in 1..20_000 {
        bed.now = 0.001 * f64::from(step);
        let sent = bed.poll();
        assert!(sent.len() <= 128, "{}", sent.len());
        asked.extend(sent.iter().map(read).map(|segment| (segment.port, segment.from.1, segment.to.1)));
    }
    assert_eq!(asked.len(), 1000);
    let t = bed.totals();
    assert_eq!((bed.flows(), t.flows_unanswered, t.reset_asks), (0, 500, 6000), "{t:?}");
}

/// The worker that receives a segment, the one that holds its flow, and the one that sends can be different ones.
#[test]
fn with_two_workers_both_ends_are_reset_wherever_their_segments_arrive() {
    for (receiver, owner) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
        let case = format!("worker {receiver} receives what worker {owner} holds");
        let opened = |port| {
            let mut bed = Bed { receiver, ..Bed::with_workers(2) };
            for flags in ["S", "A", "A"] {
                let segment = Segment::from_client(flags, 1000, 5000, 0);
                assert_eq!(bed.send(&Segment { from: (CLIENT, port), ..segment }).len(), 1, "{case}");
            }
            (bed, (CLIENT, port))
        };
        let (mut bed, client) =
            (40_000..40_100).map(opened).find(|(bed, _)| bed.flows_of(&bed.counters[owner]) == 1).unwrap();
        bed.pass_deadline();
        // Of the backend first: it knows no owner.
        let to_client = Segment { to: client, ..Segment::to_client("RA", 5020, 1010) };
        let to_backend = Segment { from: client, ..Segment::to_backend("R", 1010, 0) };
        let data = Segment { to: client, ..Segment::from_backend("A", 5020, 1010, 100) };
        assert_eq!(bed.send(&data), [to_client, to_backend], "{case}");
        let t = bed.totals();
        assert_eq!(
            (t.answered, t.originated, t.resets_to_client, t.resets_to_backend),
            (1, 1, 1, 1),
            "{case}"
        );
        // Only the owner's word counts with it: it asks also who was reset by the other.
        bed.now = 0.5;
        let asked: Vec<_> = bed.poll().iter().map(read).collect();
        assert!(asked.iter().all(|ask| ask.flags == "A" && ask.data == 0), "{case}: {asked:?}");
        let ports: Vec<_> = asked.iter().map(|ask| ask.port).collect();
        assert_eq!(ports, if receiver == owner { vec![OUTSIDE] } else { vec![OUTSIDE, INSIDE] }, "{case}");
        let answer = Segment { from: client, ..Segment::from_client("A", 1010, 5020, 0) };
        let to_client = Segment { to: client, ..Segment::to_client("R", 5020, 0) };
        let to_backend = Segment { from: client, ..Segment::to_backend("RA", 1010, 5020) };
        assert_eq!(bed.send(&answer), [to_client, to_backend], "{case}");
        for round in 2..20 {
            bed.now = 0.5 * f64::from(round);
            assert!(bed.poll().iter().map(read).all(|ask| ask.port == INSIDE), "{case}: the client is told");
        }
        let t = bed.totals();
        assert_eq!((bed.flows(), t.flows_reset, t.flows_unanswered), (0, 1, 0), "{case}: {t:?}");
        assert!(t.reset_asks <= 12, "{case}: {t:?}");
    }
}

/// The management thread with a worker beside it.
struct Office {
    manager: Manager,
    worker: Worker<MemoryQueues>,
    counters: Arc<WorkerCounters>,
}

impl Office {
    fn new(config: &str) -> Self {
        let mesh: Mesh<HeapFrame> = Mesh::new(1);
        let counters: Arc<WorkerCounters> = Arc::default();
        let (manager, mut readers) = Manager::new(
            model(config),
            REPLAY_KEY,
            conditions().links,
            vec![counters.clone()],
            mesh.events(),
            mesh.originated(),
        )
        .unwrap();
        let me = WorkerId(0);
        let own = |port| WorkerPort { port, keeps_flows: true, transmitter: me };
        let (queues, flows) = (MemoryQueues::new(2), FlowTable::new(1024).unwrap());
        let ports = vec![own(OUTSIDE), own(INSIDE)];
        let worker = Worker::new(mesh.seat(me), 1, ports, queues, readers.remove(0), flows, counters.clone());
        Self { manager, worker, counters }
    }

    fn turn(&mut self, second: f64) {
        self.worker.poll(seconds(second));
        self.manager.advance(seconds(second));
        self.worker.poll(seconds(second));
    }

    fn drain(&mut self, state: AdminState, deadline: Option<f64>) {
        let said = Override { state: Some(state), weight: None, deadline: deadline.map(seconds) };
        self.manager
            .adjust(|runtime| {
                runtime.overrides.insert(("web".into(), BACKEND.into()), said);
            })
            .unwrap();
    }

    fn left(&self) -> Option<f64> {
        self.manager.drain_left("web", BACKEND.into()).map(|left| left.as_secs_f64())
    }

    /// Flows of the backend; what has been reset.
    fn flows(&self) -> (u64, u64) {
        let backends = self.manager.backends();
        let of = backends.iter().filter(|(identity, _)| identity.address == std::net::IpAddr::from(BACKEND));
        let t = self.counters.totals();
        (of.map(|(_, totals)| totals.flows).sum(), t.flows_reset + t.flows_unanswered)
    }
}

fn with_neighbours() -> String {
    let fixed = |address, mac| format!("[[neighbour]]\naddress = \"{address}\"\nmac = \"{mac}\"\n");
    with_backends(&numbered([4], ""), "")
        + &fixed("10.0.0.4", "02:00:00:00:00:04")
        + &fixed("198.51.100.1", "02:00:c6:33:64:01")
}

#[test]
fn a_deadline_counts_down_survives_a_reload_and_is_replaced_and_called_off() {
    let mut office = Office::new(&with_neighbours());
    office.turn(0.0);
    for flags in ["S", "A", "A"] {
        office.worker.queues_mut().push(OUTSIDE, Segment::from_client(flags, 1000, 5000, 0).frame());
        office.turn(0.1);
    }
    office.drain(AdminState::Drain, Some(10.0));
    office.turn(4.0);
    assert_eq!((office.left(), office.flows()), (Some(6.0), (1, 0)));
    // A reload takes the backend out of the file; its flow has the deadline still.
    let without = with_neighbours().replace("{ address = \"10.0.0.4\" }", "{ address = \"10.0.0.5\" }");
    office.manager.change(model(&without), seconds(5.0)).unwrap();
    office.manager.change(model(&with_neighbours()), seconds(5.0)).unwrap();
    office.turn(6.0);
    assert_eq!((office.left(), office.flows()), (Some(4.0), (1, 0)));
    office.drain(AdminState::Drain, Some(20.0));
    office.turn(12.0);
    assert_eq!((office.left(), office.flows()), (Some(8.0), (1, 0)));
    office.drain(AdminState::Up, None);
    office.turn(21.0);
    assert_eq!((office.left(), office.flows()), (None, (1, 0)));
    office.drain(AdminState::Drain, Some(22.0));
    office.manager.change(model(&without), seconds(21.5)).unwrap();
    for tick in 0..50 {
        office.turn(21.5 + f64::from(tick) / 10.0);
    }
    // It has left the file, and its last flow is gone: when it comes back, it is as the file says.
    assert_eq!((office.left(), office.flows()), (None, (0, 1)));
    assert_eq!(office.manager.runtime().overrides.len(), 0);
    office.manager.change(model(&with_neighbours()), seconds(30.0)).unwrap();
    office.turn(30.0);
    for flags in ["S", "A", "A"] {
        office.worker.queues_mut().push(OUTSIDE, Segment::from_client(flags, 1000, 5000, 0).frame());
        office.turn(30.0);
    }
    assert_eq!(office.flows(), (1, 1));
    office.drain(AdminState::Drain, Some(30.0));
    for tick in 0..50 {
        office.turn(30.0 + f64::from(tick) / 10.0);
    }
    assert_eq!(office.flows(), (0, 2));
}

impl Office {
    /// A client opens a connection to this port of the frontend; what has left by the end.
    fn open(&mut self, port: u16, second: f64) -> Vec<Segment> {
        for flags in ["S", "A", "A"] {
            let segment = Segment { to: (FRONTEND, port), ..Segment::from_client(flags, 1000, 5000, 0) };
            self.worker.queues_mut().push(OUTSIDE, segment.frame());
            self.turn(second);
        }
        self.sent()
    }

    fn sent(&mut self) -> Vec<Segment> {
        let mut sent = Vec::new();
        for port in [OUTSIDE, INSIDE] {
            let frames = self.worker.queues_mut().sent(port).map(|frame| (port, frame));
            sent.extend(frames.filter(|(_, frame)| frame[12..14] == [8, 0]).map(|frame| read(&frame)));
        }
        sent
    }
}

/// The configuration where the pool has a `drain_timeout` of ten seconds, and so many backends.
fn letting_go(backends: &str) -> String {
    with_neighbours().replace(
        "backends = [{ address = \"10.0.0.4\" }]",
        &format!("drain_timeout = \"10s\"\nbackends = [{backends}]"),
    )
}

#[test]
fn what_a_reload_lets_go_is_reset_after_the_pools_drain_timeout() {
    let both = letting_go(&numbered([4], ""));
    for (let_go, is_there) in [
        (numbered([5], ""), false),
        (numbered([4], ", state = \"drain\""), true),
        (numbered([4], ", weight = 0"), true),
    ] {
        let mut office = Office::new(&both);
        office.turn(0.0);
        office.open(443, 0.1);
        assert_eq!((office.left(), office.flows()), (None, (1, 0)));
        office.manager.change(model(&letting_go(&let_go)), seconds(5.0)).unwrap();
        office.turn(14.5);
        assert_eq!((office.left(), office.flows()), (Some(0.5), (1, 0)), "{let_go}");
        for tick in 0..50 {
            office.turn(15.0 + f64::from(tick) / 10.0);
        }
        assert_eq!(office.flows(), (0, 1), "{let_go}");
        assert_eq!(office.manager.runtime().let_go.len(), usize::from(is_there), "{let_go}");
        // Taken back, it is as good as new.
        office.manager.change(model(&both), seconds(30.0)).unwrap();
        office.turn(30.0);
        assert!(office.open(443, 30.1).iter().all(|segment| !segment.flags.contains('R')), "{let_go}");
        office.turn(60.0);
        assert_eq!((office.left(), office.flows()), (None, (1, 1)), "{let_go}");
    }
}

#[test]
fn what_a_reload_takes_back_in_time_keeps_its_flows() {
    let both = letting_go(&numbered([4], ""));
    let mut office = Office::new(&both);
    office.turn(0.0);
    office.open(443, 0.1);
    office.manager.change(model(&letting_go(&numbered([5], ""))), seconds(5.0)).unwrap();
    // A further reload does not begin the time anew.
    office.manager.change(model(&letting_go(&numbered([5, 6], ""))), seconds(12.0)).unwrap();
    office.turn(14.0);
    assert_eq!((office.left(), office.flows()), (Some(1.0), (1, 0)));
    office.manager.change(model(&both), seconds(14.5)).unwrap();
    office.turn(14.5);
    office.turn(30.0);
    assert_eq!((office.left(), office.flows()), (None, (1, 0)));
    // Without the key flows run to their end.
    office.manager.change(model(&both.replace("drain_timeout = \"10s\"\n", "")), seconds(30.5)).unwrap();
    office
        .manager
        .change(model(&with_neighbours().replace("10.0.0.4\" }", "10.0.0.5\" }")), seconds(31.0))
        .unwrap();
    office.turn(60.0);
    assert_eq!((office.left(), office.flows()), (None, (1, 0)));
}

#[test]
fn an_operator_comes_before_the_file() {
    let mut office = Office::new(&letting_go(&numbered([4], "")));
    office.turn(0.0);
    office.open(443, 0.1);
    office.drain(AdminState::Up, None);
    office.manager.change(model(&letting_go(&numbered([4], ", weight = 0"))), seconds(1.0)).unwrap();
    office.turn(30.0);
    assert_eq!((office.left(), office.flows()), (None, (1, 0)));
}

#[test]
fn a_drain_does_not_end_what_another_pool_has_brought_back() {
    let first = with_neighbours() + "[[pool]]\nname = \"other\"\nbackends = [{ address = \"10.0.0.4\" }]\n";
    let mut office = Office::new(&first);
    office.turn(0.0);
    office.drain(AdminState::Drain, Some(10.0));
    office.turn(1.0);
    let switched = first.replacen(
        "frontend = \"203.0.113.10:443/tcp\"\npool = \"web\"",
        "frontend = \"203.0.113.10:443/tcp\"\npool = \"other\"",
        1,
    );
    assert_ne!(switched, first);
    office.manager.change(model(&switched), seconds(2.0)).unwrap();
    office.turn(20.0);
    let sent = office.open(443, 21.0);
    assert!(sent.len() == 3 && sent.iter().all(|segment| segment.to == (BACKEND, 8443)), "{sent:?}");
    office.turn(25.0);
    assert_eq!(office.flows(), (1, 0));
}

#[test]
fn no_response_leaves_in_the_name_of_a_rule_that_the_backend_has_left() {
    let mut office = Office::new(&with_neighbours());
    office.turn(0.0);
    office.open(443, 1.0);
    // The backend goes over to another rule, while a flow of the first is left.
    let moved = with_neighbours().replace("{ address = \"10.0.0.4\" }", "{ address = \"10.0.0.5\" }")
        + "[[pool]]\nname = \"two\"\nbackends = [{ address = \"10.0.0.4\" }]\n[[rule]]\nname = \"two\"\n\
           frontend = \"203.0.113.10:444/tcp\"\npool = \"two\"\nbackend_port = 8443\n";
    office.manager.change(model(&moved), seconds(2.0)).unwrap();
    office.turn(2.0);
    let opened = office.open(444, 3.0);
    assert!(opened.iter().any(|segment| segment.to == (BACKEND, 8443)), "{opened:?}");
    let said = Override { state: Some(AdminState::Drain), weight: None, deadline: Some(seconds(4.0)) };
    office
        .manager
        .adjust(|runtime| {
            runtime.overrides.insert(("two".into(), BACKEND.into()), said);
        })
        .unwrap();
    office.turn(5.0);
    office.turn(5.2);
    office.sent();
    office.worker.queues_mut().push(INSIDE, Segment::from_backend("A", 7000, 1001, 5).frame());
    office.turn(5.3);
    let sent = office.sent();
    let to_client: Vec<_> = sent.iter().filter(|segment| segment.port == OUTSIDE).collect();
    assert!(to_client.iter().all(|segment| segment.from == (FRONTEND, 444)), "{sent:?}");
    assert!(to_client.iter().any(|segment| segment.flags.contains('R')), "{sent:?}");
}

#[test]
fn flows_of_full_nat_are_reset_at_once_for_their_numbers_are_known() {
    for number in [1, 2] {
        for is_silent in [true, false] {
            let mut bed = Bed::of(number, "forward = \"full-nat\"");
            bed.open(&["S", "A", "A"]);
            let sent = bed.send(&Segment::from_client("A", 1010, 5020, 700));
            let source = sent[0].from;
            assert_eq!((source.0, sent[0].seq), ([10, 0, 0, 1], 1010));
            bed.pass_deadline();
            let mut sent = if is_silent {
                let mut sent = Vec::new();
                for _ in 0..100 {
                    bed.now += 0.02;
                    sent.extend(bed.poll().iter().map(read));
                }
                sent
            } else {
                bed.send(&Segment::from_client("A", 1710, 5020, 10))
            };
            // Who was answered already need not be told again, and nobody is asked.
            sent.truncate(2);
            let to_backend = Segment { from: source, ..Segment::to_backend("RA", 1710, 5020) };
            let to_client = Segment::to_client(
                if is_silent { "RA" } else { "R" },
                5020,
                if is_silent { 1710 } else { 0 },
            );
            assert!(sent.contains(&to_client) && sent.contains(&to_backend), "{number} {is_silent} {sent:?}");
            // What the backend still says is answered, and its client told.
            let late = Segment { to: source, ..Segment::from_backend("A", 5020, 1710, 99) };
            let sent = bed.send(&late);
            let to_backend = Segment { from: source, ..Segment::to_backend("R", 1710, 0) };
            let to_client = Segment::to_client("RA", 5020, 1710);
            assert!(sent.contains(&to_client) && sent.contains(&to_backend), "{sent:?}");
            assert_eq!(bed.totals().reset_asks, 0);
            for _ in 0..300 {
                bed.now += 0.02;
                bed.poll();
            }
            assert_eq!((bed.flows(), bed.totals().flows_reset), (0, 1));
        }
    }
}
