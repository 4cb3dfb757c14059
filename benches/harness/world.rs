//! Sixteen frontends, fourteen of TCP and two of UDP, with a hundred backends each, and workers on them.

use std::net::Ipv4Addr;
use std::sync::Arc;

use guideway::config::{ConfigFlags, Model, load_text};
use guideway::control::REPLAY_KEY;
use guideway::dataplane::{FlowTable, Mesh, Worker, WorkerCounters, WorkerId, WorkerPort};
use guideway::io::{PortId, Queues};
use guideway::snapshot::{Compiler, Conditions, Neighbours, PortLink, Publisher};
use guideway::wire::MacAddr;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_distr::{Distribution, Zipf};

use super::arena::ArenaQueues;

pub const OUTSIDE: PortId = PortId(0);
pub const INSIDE: PortId = PortId(1);
pub const FRONTENDS: u32 = 16;
/// The first of them; the others are UDP's.
pub const TCP_FRONTENDS: u32 = 14;
pub const BACKENDS: u32 = 100;

/// What all packets of a bench have in common.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Way {
    pub is_ipv6: bool,
    /// The rules' `forward`.
    pub forward: &'static str,
    /// Networks in the access list of the rules; 0 for none.
    pub acl: u32,
    /// Whether backends open connections: an outbound rule for each pool.
    pub is_outbound: bool,
}

/// NAT of IPv4: what is measured where nothing else is said.
pub const NAT: Way = Way { is_ipv6: false, forward: "nat", acl: 0, is_outbound: false };
pub const NAT6: Way = Way { is_ipv6: true, ..NAT };
pub const OUTBOUND: Way = Way { is_outbound: true, ..NAT };

pub fn model(way: Way) -> Model {
    let mut text = String::from(
        "[[port]]\nname = \"outside\"\naddresses = [\"198.51.100.2/24\", \"2001:db8:1::2/64\"]\n\
         gateway = \"198.51.100.1\"\ngateway6 = \"2001:db8:1::1\"\n\
         [[port]]\nname = \"inside\"\naddresses = [\"10.0.0.1/16\", \"2001:db8:2::1/64\"]\n",
    );
    let of_family = |ipv4: String, ipv6: String| if way.is_ipv6 { ipv6 } else { ipv4 };
    let port = if way.forward == "nat" { "backend_port = 8443\n" } else { "" };
    let acl = if way.acl > 0 { "acl = \"many\"\n" } else { "" };
    text += &access_list(way.acl);
    for f in 1..=FRONTENDS {
        let address = |b| of_family(format!("10.0.{f}.{b}"), format!("2001:db8:2::{f:x}:{b:x}"));
        let backends: Vec<String> =
            (1..=BACKENDS).map(|b| format!("{{ address = \"{}\" }}", address(b))).collect();
        let frontend = of_family(format!("203.0.113.{f}"), format!("[2001:db8:f::{f:x}]"));
        let protocol = if f <= TCP_FRONTENDS { "tcp" } else { "udp" };
        text += &format!(
            "[[pool]]\nname = \"p{f}\"\nbackends = [{}]\n[[rule]]\nname = \"r{f}\"\n\
             frontend = \"{frontend}:443/{protocol}\"\npool = \"p{f}\"\n{port}\
             forward = \"{}\"\nidle_timeout = \"24h\"\n{acl}",
            backends.join(", "),
            way.forward
        );
        if way.is_outbound {
            let egress = of_family(format!("203.0.114.{f}"), format!("2001:db8:e::{f:x}"));
            text +=
                &format!("[[outbound_rule]]\nname = \"o{f}\"\npool = \"p{f}\"\nfrontends = [\"{egress}\"]\n");
        }
    }
    match load_text("bench.toml", &text, &ConfigFlags::default()) {
        Ok(loaded) => loaded.model,
        Err(findings) => panic!("{findings}"),
    }
}

/// So many networks of 256 addresses, spread over those that clients have; all of these are let in.
fn access_list(networks: u32) -> String {
    if networks == 0 {
        return String::new();
    }
    let step = 0x4000_0000 / networks;
    let network = |n| format!("\"permit {}/24\"", Ipv4Addr::from((0x0b00_0000 + n * step) & !0xff));
    let all: Vec<String> = (0..networks).map(network).collect();
    format!("[[acl]]\nname = \"many\"\nrules = [{}, \"permit 0.0.0.0/0\"]\n", all.join(", "))
}

/// So many workers on one snapshot, each with a ring of so many frames that fills from `port` and a table for so many
/// flows. They are beside one another as behind a card that keeps each flow on one queue.
pub fn workers(
    way: Way,
    count: usize,
    frames: usize,
    flows: usize,
    port: PortId,
) -> Vec<Worker<ArenaQueues>> {
    workers_on(way, flows, (0..count).map(|_| ArenaQueues::new(frames, port)).collect())
}

/// One worker on `queues`.
pub fn worker_on<Q: Queues>(way: Way, flows: usize, queues: Q) -> Worker<Q> {
    workers_on(way, flows, vec![queues]).remove(0)
}

fn workers_on<Q: Queues>(way: Way, flows: usize, queues: Vec<Q>) -> Vec<Worker<Q>> {
    let link = |index| PortLink { mac: MacAddr([2, 0xff, 0, 0, 0, index]), filters: true, mtu: 1500 };
    let neighbours = Neighbours { synthetic: true, ..Neighbours::default() };
    let conditions = Conditions { links: vec![link(0), link(1)], neighbours };
    let world = Compiler::new(REPLAY_KEY).compile(&model(way), &conditions).unwrap();
    let count = queues.len();
    let (_, readers) = Publisher::new(world, count);
    let mesh = Mesh::new(count);
    let make = |((reader, me), queues)| {
        let own = |port| WorkerPort { port, keeps_flows: true, transmitter: me };
        let table = if way.is_ipv6 { FlowTable::with_wide(flows) } else { FlowTable::new(flows) }.unwrap();
        let counters = Arc::<WorkerCounters>::default();
        Worker::new(mesh.seat(me), count, vec![own(OUTSIDE), own(INSIDE)], queues, reader, table, counters)
    };
    readers.into_iter().zip((0u8..).map(WorkerId)).zip(queues).map(make).collect()
}

/// Random numbers that are the same in every run.
pub struct Random(SmallRng);

impl Default for Random {
    fn default() -> Self {
        Self(SmallRng::seed_from_u64(1))
    }
}

impl Random {
    pub fn below(&mut self, limit: u32) -> u32 {
        self.0.random_range(0..limit)
    }

    /// The numbers below `len`, in random order.
    pub fn shuffled(&mut self, len: u32) -> Vec<u32> {
        let mut order: Vec<u32> = (0..len).collect();
        order.shuffle(&mut self.0);
        order
    }

    /// A rank below the distribution's limit, from 0.
    pub fn rank(&mut self, zipf: &Zipf<f64>) -> u32 {
        zipf.sample(&mut self.0) as u32 - 1
    }
}

/// Another number for each number, without any order (the last step of Murmur3, Appleby 2011). So new flows are
/// all different, and nothing can be guessed of the next from the last.
pub fn scatter(number: u32) -> u32 {
    let x = (number ^ number >> 16).wrapping_mul(0x85eb_ca6b);
    let x = (x ^ x >> 13).wrapping_mul(0xc2b2_ae35);
    x ^ x >> 16
}
