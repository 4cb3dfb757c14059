//! NAT rules: packets through the same path as those of rules, and who has which port as pools grow and shrink.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail")]

mod common;

use std::sync::Arc;

use common::*;
use etherparse::{SlicedPacket, TransportSlice};
use guideway::config::{ConfigFlags, Model, load_text};
use guideway::control::{Load, Manager, Override, REPLAY_KEY, reload};
use guideway::dataplane::{FlowTable, Mesh, Worker, WorkerCounters, WorkerId, WorkerPort};
use guideway::io::PortId;
use guideway::io::memory::{HeapFrame, MemoryQueues};
use guideway::snapshot::PortLink;
use guideway::wire::MacAddr;

/// A pool by range and count, a rule and a NAT rule over it.
fn scaled(instances: usize) -> String {
    format!(
        "{TWO_ARMS}[[pool]]\nname = \"web\"\naddresses = \"10.0.0.4-10.0.0.99\"\ninstances = {instances}\n\
         [[rule]]\nname = \"https\"\nfrontend = \"203.0.113.10:443/tcp\"\npool = \"web\"\nbackend_port = 8443\n\
         [[nat_rule]]\nname = \"ssh\"\nfrontend = \"203.0.113.10:2300-2303/tcp\"\npool = \"web\"\nbackend_port = 22\n"
    )
}

fn to_port(port: u16) -> Spec {
    Spec { to: (FRONTEND, port), ..Spec::tcp("S") }
}

#[test]
fn each_port_leads_to_its_backend_and_responses_come_from_it() {
    for workers in [1, 3] {
        let single =
            "[[nat_rule]]\nname = \"one\"\nfrontend = \"203.0.113.10:2201/tcp\"\nbackend = \"10.0.0.9:22\"\n";
        let mut balancer = balancer(&format!("{}{single}", scaled(3)), workers);
        for (port, host) in [(2300, 4), (2301, 5), (2302, 6), (2201, 9)] {
            let syn = to_port(port);
            let there = syn.at_backend([10, 0, 0, host], 22);
            assert_eq!(balancer.frame(seconds(1.0), OUTSIDE, syn.frame()), [(INSIDE, there.frame())]);
            let answer = Spec { flags: Some("SA"), ..there.reversed() };
            let macs = (OUTSIDE_MAC, ROUTER_MAC);
            let back = Spec { macs, from: (FRONTEND, port), ttl: answer.ttl - 1, ..answer.clone() };
            assert_eq!(balancer.frame(seconds(1.0), INSIDE, answer.frame()), [(OUTSIDE, back.frame())]);
        }
        // A port of the range that leads to nobody yet.
        let before = counts(&balancer);
        assert_eq!(balancer.frame(seconds(1.0), OUTSIDE, to_port(2303).frame()), []);
        assert_eq!(moved(&before, &counts(&balancer)), ["no-rule+1"]);
        assert_balanced(&balancer);
    }
}

#[test]
fn by_dsr_a_packet_keeps_its_ends() {
    let config = scaled(2).replace("backend_port = 22\n", "forward = \"dsr\"\n");
    let mut balancer = balancer(&config, 1);
    let syn = to_port(2301);
    let there = Spec { macs: (INSIDE_MAC, [2, 0, 10, 0, 0, 5]), ttl: syn.ttl, ..syn.clone() };
    let sent = balancer.frame(seconds(1.0), OUTSIDE, syn.frame());
    assert_eq!((sent.len(), sent[0].0), (1, INSIDE));
    assert_eq!(sent[0].1[..12], there.frame()[..12]);
    assert_eq!(sent[0].1[26..38], syn.frame()[26..38]);
}

struct Bed {
    manager: Manager,
    worker: Worker<MemoryQueues>,
    counters: Arc<WorkerCounters>,
    _mesh: Mesh<HeapFrame>,
    second: f64,
}

impl Bed {
    fn new(config: &str) -> Self {
        let model = with_neighbours(config);
        let link = |i| PortLink { mac: MacAddr([2, 0xff, 0, 0, 0, i]), filters: true, mtu: 1500 };
        let mesh = Mesh::new(1);
        let counters: Arc<WorkerCounters> = Arc::default();
        let (manager, mut readers) = Manager::new(
            model,
            REPLAY_KEY,
            (0..2).map(link).collect(),
            vec![counters.clone()],
            mesh.events(),
            mesh.originated(),
        )
        .unwrap();
        let me = WorkerId(0);
        let own = |port| WorkerPort { port: PortId(port), keeps_flows: true, transmitter: me };
        let (queues, flows) = (MemoryQueues::new(2), FlowTable::new(1024).unwrap());
        let own = (0..2).map(own).collect();
        let worker = Worker::new(mesh.seat(me), 1, own, queues, readers.remove(0), flows, counters.clone());
        let mut bed = Self { manager, worker, counters, _mesh: mesh, second: 0.0 };
        // What is sent by itself at the start.
        bed.settle();
        bed
    }

    fn settle(&mut self) {
        for _ in 0..4 {
            self.second += 0.2;
            self.worker.poll(seconds(self.second));
            self.manager.advance(seconds(self.second));
        }
        self.worker.queues_mut().sent(INSIDE).for_each(drop);
        self.worker.queues_mut().sent(OUTSIDE).for_each(drop);
    }

    /// The backend that a packet gets to, if it gets to one.
    fn host_of(&mut self, spec: &Spec) -> Option<u8> {
        self.worker.queues_mut().push(OUTSIDE, spec.frame());
        self.second += 0.001;
        self.worker.poll(seconds(self.second));
        let sent: Vec<Vec<u8>> = self.worker.queues_mut().sent(INSIDE).collect();
        let packets: Vec<_> = sent.iter().filter(|frame| frame[12..14] == [8, 0]).collect();
        assert!(packets.len() <= 1);
        packets.first().map(|frame| frame[33])
    }

    fn hosts(&mut self) -> Vec<Option<u8>> {
        (2300..=2303).map(|port| self.host_of(&to_port(port))).collect()
    }

    fn change(&mut self, config: &str) {
        self.manager.change(with_neighbours(config), seconds(self.second)).unwrap();
        self.settle();
    }
}

/// With the neighbours that a replay makes up.
fn with_neighbours(config: &str) -> Model {
    let host = |n: u8| format!("[[neighbour]]\naddress = \"10.0.0.{n}\"\nmac = \"02:00:0a:00:00:{n:02x}\"\n");
    let router = "[[neighbour]]\naddress = \"198.51.100.1\"\nmac = \"02:00:c6:33:64:01\"\n".to_owned();
    model(&(config.to_owned() + &router + &(4..9).map(host).collect::<String>()))
}

#[test]
fn a_count_that_grows_and_shrinks_leaves_others_their_ports_and_flows() {
    let mut bed = Bed::new(&scaled(2));
    assert_eq!(bed.hosts(), [Some(4), Some(5), None, None]);
    let old = Spec { from: (CLIENT, 50_000), ..to_port(2301) };
    let old_data = Spec { flags: Some("PA"), ..old.clone() };
    assert_eq!((bed.host_of(&old), bed.host_of(&old_data)), (Some(5), Some(5)));
    bed.change(&scaled(4));
    assert_eq!(bed.hosts(), [Some(4), Some(5), Some(6), Some(7)]);
    bed.change(&scaled(1));
    // Who was there goes on with who has been removed; nobody new comes to it.
    assert_eq!(bed.host_of(&old_data), Some(5));
    let new = Spec { from: (CLIENT, 50_001), ..to_port(2301) };
    assert_eq!(bed.host_of(&new), None);
    assert_eq!(bed.host_of(&to_port(2300)), Some(4));
    bed.change(&scaled(2));
    assert_eq!(bed.host_of(&new), Some(5));
    assert_eq!(bed.counters.totals().dropped(), 3);
}

#[test]
fn who_leaves_from_the_middle_takes_no_others_port_along() {
    let of = |list: &str| {
        scaled(1)
            .replace("addresses = \"10.0.0.4-10.0.0.99\"\ninstances = 1", &format!("backends = [{list}]"))
    };
    let mut bed = Bed::new(&of(&numbered([4, 5, 6], "")));
    assert_eq!(bed.hosts(), [Some(4), Some(5), Some(6), None]);
    bed.change(&of(&numbered([6, 4], "")));
    let on_2301 = Spec { from: (CLIENT, 50_001), ..to_port(2301) };
    assert_eq!((bed.host_of(&to_port(2300)), bed.host_of(&on_2301)), (Some(4), None));
    assert_eq!(bed.host_of(&to_port(2302)), Some(6));
    bed.change(&of(&numbered([7, 6, 4], "")));
    assert_eq!((bed.host_of(&on_2301), bed.host_of(&to_port(2302))), (Some(7), Some(6)));
}

#[test]
fn a_reload_that_outgrows_the_range_is_refused_and_what_runs_goes_on() {
    let mut bed = Bed::new(&scaled(4));
    let generation = bed.manager.generation();
    let load: Load<'_> = &|| load_text("g.toml", &scaled(5), &ConfigFlags::default());
    let refused = reload(&mut bed.manager, load, seconds(bed.second), "the test").unwrap_err();
    assert_eq!(
        refused,
        "g.toml:23: NAT rule ssh has 4 ports in 203.0.113.10:2300-2303/tcp for the 5 backends of pool web, and each needs \
         one; widen the range, or take backends out of the pool"
    );
    assert_eq!(bed.manager.generation(), generation);
    assert_eq!(bed.hosts(), [Some(4), Some(5), Some(6), Some(7)]);
}

#[test]
fn what_operators_say_of_the_pool_is_not_for_nat_rules() {
    let mut bed = Bed::new(&scaled(2));
    let said = |state| Override { state: Some(state), weight: Some(0), ..Override::default() };
    for (host, state) in [(4, guideway::config::AdminState::Down), (5, guideway::config::AdminState::Drain)] {
        let key = ("web".to_owned(), [10, 0, 0, host].into());
        bed.manager.adjust(|runtime| _ = runtime.overrides.insert(key, said(state))).unwrap();
    }
    bed.settle();
    assert_eq!(bed.host_of(&to_port(443)), None);
    assert_eq!(bed.hosts(), [Some(4), Some(5), None, None]);
}

const OWN: &str = "[[nat_rule]]\nname = \"own\"\nfrontend = \"203.0.113.20:0/any\"\nbackend = \"10.0.0.4\"\n";
const OWN_ADDRESS: [u8; 4] = [203, 0, 113, 20];

#[test]
fn an_own_address_leads_to_its_backend_by_all_ports_and_is_where_that_is_seen_from() {
    for workers in [1, 3] {
        // The backend serves another rule at 8443 too.
        let mut balancer = balancer(&(scaled(2) + OWN), workers);
        for spec in [Spec::tcp("S"), Spec::udp()] {
            for port in [1, 22, 8080, 65_535] {
                let there = Spec { to: (OWN_ADDRESS, port), ..spec.clone() };
                let at_backend = there.at_backend(BACKEND, port);
                assert_eq!(
                    balancer.frame(seconds(1.0), OUTSIDE, there.frame()),
                    [(INSIDE, at_backend.frame())]
                );
            }
            // The backend opens a connection itself: from its own address, from the port that it has chosen.
            let from_backend = Spec {
                macs: ([2, 0, 10, 0, 0, 4], INSIDE_MAC),
                from: (BACKEND, 51_234),
                to: (CLIENT, 443),
                ..spec.clone()
            };
            let (macs, ttl) = ((OUTSIDE_MAC, ROUTER_MAC), from_backend.ttl - 1);
            let seen = Spec { macs, from: (OWN_ADDRESS, 51_234), ttl, ..from_backend.clone() };
            assert_eq!(balancer.frame(seconds(1.0), INSIDE, from_backend.frame()), [(OUTSIDE, seen.frame())]);
            // And the answer reaches it.
            let flags = spec.flags.map(|_| "SA");
            let answer = Spec { macs: (ROUTER_MAC, OUTSIDE_MAC), flags, ttl: 64, ..seen.reversed() };
            let arrives = answer.at_backend(BACKEND, 51_234);
            assert_eq!(balancer.frame(seconds(1.0), OUTSIDE, answer.frame()), [(INSIDE, arrives.frame())]);
        }
        // What it answers from another rule's port is that rule's.
        let https = Spec {
            from: (BACKEND, 8443),
            macs: ([2, 0, 10, 0, 0, 4], INSIDE_MAC),
            to: (CLIENT, 40_000),
            ..Spec::tcp("SA")
        };
        let sent = balancer.frame(seconds(1.0), INSIDE, https.frame());
        let macs = (OUTSIDE_MAC, ROUTER_MAC);
        let seen = Spec { macs, from: (FRONTEND, 443), ttl: https.ttl - 1, ..https };
        assert_eq!(sent, [(OUTSIDE, seen.frame())]);
        assert_balanced(&balancer);
    }
}

#[test]
fn ports_that_no_backend_has_yet_are_not_lent_to_outbound_flows() {
    let text = |instances| {
        format!(
            "{TWO_ARMS}
[[pool]]
name = \"web\"
addresses = \"10.0.0.4-10.0.0.99\"
instances = {instances}
[[nat_rule]]
name = \"each\"
frontend = \"203.0.113.11:1024-1523/tcp\"
pool = \"web\"
backend_port = 22
[[outbound_rule]]
name = \"egress\"
pool = \"web\"
frontends = [\"203.0.113.11\"]
"
        )
    };
    let mut replay = balancer(&text(1), 1);
    let open = |from| {
        let to = ([192, 0, 2, 99], 443);
        Spec { macs: ([2, 0, 10, 0, 0, 4], INSIDE_MAC), from: ([10, 0, 0, 4], from), to, ..Spec::tcp("S") }
    };
    for from in 20_000..20_600 {
        let sent = replay.frame(seconds(0.0), INSIDE, open(from).frame());
        let packet = SlicedPacket::from_ethernet(&sent[0].1).unwrap();
        let Some(TransportSlice::Tcp(tcp)) = packet.transport else { panic!("{packet:?}") };
        assert!(tcp.source_port() >= 1528, "{}", tcp.source_port());
    }
    assert_balanced(&replay);
}
