//! Sixteen frontends, fourteen of TCP and two of UDP, with a hundred backends each; and packets of any
//! number of flows to them.

use std::sync::Arc;

use guideway::config::{ConfigFlags, Model, load_text};
use guideway::control::REPLAY_KEY;
use guideway::dataplane::{FlowTable, Mesh, Worker, WorkerCounters, WorkerId, WorkerPort};
use guideway::io::PortId;
use guideway::snapshot::{Compiler, Conditions, Neighbours, PortLink, Publisher};
use guideway::wire::{MacAddr, ipv4};
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_distr::{Distribution, Zipf};

use super::arena::ArenaQueues;

pub const OUTSIDE: PortId = PortId(0);
pub const INSIDE: PortId = PortId(1);
const FRONTENDS: u32 = 16;
const BACKENDS: u32 = 100;
/// 64 bytes on the wire, the frame check sequence not counted.
const FRAME_LEN: usize = 60;

pub fn model() -> Model {
    let mut text = String::from(
        "[[port]]\nname = \"outside\"\naddresses = [\"198.51.100.2/24\"]\ngateway = \"198.51.100.1\"\n\
         [[port]]\nname = \"inside\"\naddresses = [\"10.0.0.1/16\"]\n",
    );
    for f in 0..FRONTENDS {
        let backends: Vec<String> =
            (0..BACKENDS).map(|b| format!("{{ address = \"10.0.{}.{}\" }}", f + 1, b + 1)).collect();
        let protocol = if f < 14 { "tcp" } else { "udp" };
        text += &format!(
            "[[pool]]\nname = \"p{f}\"\nbackends = [{}]\n[[rule]]\nname = \"r{f}\"\n\
             frontend = \"203.0.113.{}:443/{protocol}\"\npool = \"p{f}\"\nbackend_port = 8443\n\
             idle_timeout = \"24h\"\n",
            backends.join(", "),
            f + 1
        );
    }
    match load_text("bench.toml", &text, &ConfigFlags::default()) {
        Ok(loaded) => loaded.model,
        Err(findings) => panic!("{findings}"),
    }
}

/// So many workers on one snapshot, each with a ring of so many frames that fills from `port` and a table for so many
/// flows. They are beside one another as behind a card that keeps each flow on one queue.
pub fn workers(count: usize, frames: usize, flows: usize, port: PortId) -> Vec<Worker<ArenaQueues>> {
    let link = |index| PortLink { mac: MacAddr([2, 0xff, 0, 0, 0, index]), filters: true, mtu: 1500 };
    let neighbours = Neighbours { synthetic: true, ..Neighbours::default() };
    let conditions = Conditions { links: vec![link(0), link(1)], neighbours };
    let world = Compiler::new(REPLAY_KEY).compile(&model(), &conditions).unwrap();
    let (_, readers) = Publisher::new(world, count);
    let mesh = Mesh::new(count);
    let make = |(reader, me)| {
        let own = |port| WorkerPort { port, keeps_flows: true, transmitter: me };
        let (queues, table) = (ArenaQueues::new(frames, port), FlowTable::new(flows).unwrap());
        let counters = Arc::<WorkerCounters>::default();
        Worker::new(mesh.seat(me), count, vec![own(OUTSIDE), own(INSIDE)], queues, reader, table, counters)
    };
    readers.into_iter().zip((0u8..).map(WorkerId)).map(make).collect()
}

/// What a packet of a flow is to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Packet {
    /// A client's first.
    Opening,
    /// A client's later one.
    Established,
    /// From a backend to the client.
    Response,
}

/// Frames made from templates, so that filling a ring costs little.
pub struct Traffic {
    templates: Vec<[u8; FRAME_LEN]>,
}

impl Default for Traffic {
    fn default() -> Self {
        Self { templates: (0..FRONTENDS).map(template).collect() }
    }
}

impl Traffic {
    /// The frame of flow `flow`: any number below 2^32 is a flow of its own.
    #[inline]
    pub fn frame(&self, flow: u32, packet: Packet) -> [u8; FRAME_LEN] {
        let frontend = flow % FRONTENDS;
        let mut frame = self.templates[frontend as usize];
        // An odd factor keeps the numbers distinct; 11.0.0.0/8 and beyond are nobody's here.
        let client = 0x0b00_0000 + (flow / FRONTENDS).wrapping_mul(0x9e37_79b1) % 0x4000_0000;
        let port = 1024 + (flow as u16 % 50_000);
        frame[26..30].copy_from_slice(&client.to_be_bytes());
        frame[34..36].copy_from_slice(&port.to_be_bytes());
        if frontend < 14 {
            frame[47] = if packet == Packet::Opening { 0x02 } else { 0x10 };
        }
        if packet == Packet::Response {
            turn_round(&mut frame, flow);
        }
        ipv4::write_checksum(&mut frame[14..34]);
        frame
    }
}

fn template(frontend: u32) -> [u8; FRAME_LEN] {
    let mut frame = [0; FRAME_LEN];
    frame[..6].copy_from_slice(&[2, 0xff, 0, 0, 0, 0]);
    frame[6..12].copy_from_slice(&[2, 0, 198, 51, 100, 1]);
    frame[12..16].copy_from_slice(&[8, 0, 0x45, 0]);
    frame[16..18].copy_from_slice(&46u16.to_be_bytes());
    frame[22] = 64;
    frame[23] = if frontend < 14 { 6 } else { 17 };
    frame[30..34].copy_from_slice(&[203, 0, 113, frontend as u8 + 1]);
    frame[36..38].copy_from_slice(&443u16.to_be_bytes());
    if frontend < 14 {
        frame[46] = 0x50;
    } else {
        frame[38..40].copy_from_slice(&26u16.to_be_bytes());
        // Some checksum, as nearly all datagrams have one; the path does not verify it.
        frame[40..42].copy_from_slice(&[0x56, 0x78]);
    }
    frame[50..52].copy_from_slice(&[0x12, 0x34]);
    frame
}

/// From one of the frontend's backends to the flow's client.
fn turn_round(frame: &mut [u8; FRAME_LEN], flow: u32) {
    let (client, port) = ([frame[26], frame[27], frame[28], frame[29]], [frame[34], frame[35]]);
    let frontend = (flow % FRONTENDS) as u8;
    frame[..6].copy_from_slice(&[2, 0xff, 0, 0, 0, 1]);
    frame[26..30].copy_from_slice(&[10, 0, frontend + 1, (flow / FRONTENDS % BACKENDS) as u8 + 1]);
    frame[30..34].copy_from_slice(&client);
    frame[34..36].copy_from_slice(&8443u16.to_be_bytes());
    frame[36..38].copy_from_slice(&port);
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
