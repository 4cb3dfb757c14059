//! Connections out of guideway's own ports, with their own addresses: TCP by smoltcp, on the management thread.
//!
//! Each connection has a stack for itself, found by the answer's source and destination port. Frames leave by the ring
//! that ARP requests leave by; workers hand up what can be an answer. Next hops are those that the snapshot knows.

mod connection;
mod stream;

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use crossbeam::queue::ArrayQueue;
use smoltcp::wire::{Ipv4Packet, Ipv6Packet, TcpPacket};

use self::connection::Connection;
pub(super) use self::stream::PortStream;
use super::ask::Stage;
use crate::config::{Cidr, Model, PROBE_PORT_FIRST};
use crate::dataplane::{ControlFrame, Events};
use crate::snapshot::{Hop, Snapshot};
use crate::wire::ethernet;

/// While there are connections, answers are looked for so often: it is what each round trip takes at most.
const LOOK_INTERVAL: Duration = Duration::from_millis(1);

/// While a neighbour is being asked for, whether it has answered is looked at so often.
const NEIGHBOUR_INTERVAL: Duration = Duration::from_millis(5);

/// Local ports tried, when another question to the same endpoint has one.
const PORT_TRIES: u16 = 16;

/// The endpoint that is asked, and our own port.
type Key = (SocketAddr, u16);

/// The way out of guideway's ports.
#[derive(Clone)]
pub(super) struct PortWay(Arc<Shared>);

struct Shared {
    events: Arc<Events>,
    out: Arc<ArrayQueue<ControlFrame>>,
    /// Of the management thread's tasks alone; nobody waits for it.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    world: Option<Arc<Snapshot>>,
    /// Each port's own addresses.
    own: Vec<Vec<Cidr>>,
    connections: HashMap<Key, Connection>,
    /// Whether a task looks for answers.
    is_watched: bool,
}

impl PortWay {
    /// Answers come with `events`; frames leave by `out`.
    pub(super) fn new(events: Arc<Events>, out: Arc<ArrayQueue<ControlFrame>>) -> Self {
        Self(Arc::new(Shared { events, out, state: Mutex::default() }))
    }

    /// Goes over to other addresses of ports.
    pub(super) fn follow(&self, model: &Model) {
        self.0.lock().own = model.ports.iter().map(|port| port.addresses.clone()).collect();
    }

    /// Learns where next hops are, takes answers, and sends again what was lost. To be called every few milliseconds.
    pub(super) fn advance(&self, world: Arc<Snapshot>) {
        self.0.lock().world = Some(world);
        self.0.take_answers();
        let now = Instant::now();
        self.0.lock().connections.values_mut().for_each(|connection| connection.advance(now));
    }

    /// Whether the next hop to `target` is known, or can never be.
    pub(super) fn knows_the_way(&self, target: SocketAddr) -> bool {
        !matches!(self.0.lock().hop_to(target), Ok(None))
    }

    /// Opens a connection to `target`. The `nth` question to one endpoint has the nth port, so that none is used again
    /// while the other end may remember it.
    pub(super) async fn connect(
        &self,
        target: SocketAddr,
        nth: u16,
        stage: &mut Stage,
    ) -> io::Result<PortStream> {
        *stage = Stage::Neighbour;
        let (hop, source) = loop {
            let found = self.0.lock().hop_to(target)?;
            if let Some(found) = found {
                break found;
            }
            tokio::time::sleep(NEIGHBOUR_INTERVAL).await;
        };
        *stage = Stage::Connecting;
        let key = self.open(target, nth, hop, source)?;
        let stream = PortStream::new(self.0.clone(), key);
        stream.connected().await?;
        Ok(stream)
    }

    fn open(&self, target: SocketAddr, nth: u16, hop: Hop, source: IpAddr) -> io::Result<Key> {
        let mut state = self.0.lock();
        let count = u16::MAX - PROBE_PORT_FIRST + 1;
        let ports = (0..PORT_TRIES).map(|more| PROBE_PORT_FIRST + nth.wrapping_add(more) % count);
        let mut keys = ports.map(|port| (target, port));
        let key = keys.find(|key| !state.connections.contains_key(key)).ok_or(io::ErrorKind::AddrInUse)?;
        let from = SocketAddr::new(source, key.1);
        let connection = Connection::open(from, target, hop, self.0.out.clone())?;
        state.connections.insert(key, connection);
        if !std::mem::replace(&mut state.is_watched, true) {
            tokio::spawn(watch(Arc::downgrade(&self.0)));
        }
        Ok(key)
    }
}

/// Looks for answers for as long as there are connections.
async fn watch(shared: Weak<Shared>) {
    loop {
        tokio::time::sleep(LOOK_INTERVAL).await;
        let Some(shared) = shared.upgrade() else { return };
        shared.take_answers();
        let mut state = shared.lock();
        state.is_watched = !state.connections.is_empty();
        if !state.is_watched {
            return;
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives each answer to its connection. What is for none is too late, or made up.
    fn take_answers(&self) {
        let now = Instant::now();
        let mut state = self.lock();
        for frame in self.events.take_answers() {
            let packet = frame.bytes().get(ethernet::HEADER_LEN..).unwrap_or_default();
            let connection = key_of(packet).and_then(|key| state.connections.get_mut(&key));
            if let Some(connection) = connection {
                connection.take(packet, now);
            }
        }
    }
}

impl State {
    /// The next hop to `target`, and our own address there; nothing while the hop's Ethernet address is not known.
    fn hop_to(&self, target: SocketAddr) -> io::Result<Option<(Hop, IpAddr)>> {
        let Some(world) = &self.world else { return Ok(None) };
        let (port, neighbour) =
            world.routes.neighbour_for(target.ip()).ok_or(io::ErrorKind::HostUnreachable)?;
        let addresses = self.own.get(port.index()).map(Vec::as_slice).unwrap_or_default();
        let own = addresses.iter().filter(|own| own.address.is_ipv4() == neighbour.is_ipv4());
        let own = own.clone().find(|own| own.contains(neighbour)).or(own.clone().next());
        let source = own.ok_or(io::ErrorKind::NetworkUnreachable)?.address;
        let hop = world.routes.next_hop_to(target.ip()).hop;
        // No packet fits where the hop is not known.
        Ok((hop.mtu > 0).then_some((hop, source)))
    }
}

/// Whose answer an IP packet is.
fn key_of(packet: &[u8]) -> Option<Key> {
    let (source, payload) = match packet.first()? >> 4 {
        4 => {
            let ip = Ipv4Packet::new_checked(packet).ok()?;
            (IpAddr::V4(ip.src_addr()), ip.payload())
        }
        _ => {
            let ip = Ipv6Packet::new_checked(packet).ok()?;
            (IpAddr::V6(ip.src_addr()), ip.payload())
        }
    };
    let segment = TcpPacket::new_checked(payload).ok()?;
    Some((SocketAddr::new(source, segment.src_port()), segment.dst_port()))
}
