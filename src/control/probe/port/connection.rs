//! One connection: smoltcp's stack with a single socket, and the frames to and from it.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::io;
use std::net::SocketAddrV4;
use std::sync::Arc;
use std::time::Instant;

use crossbeam::queue::ArrayQueue;
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::tcp;
use smoltcp::time::Instant as StackInstant;
use smoltcp::wire::{HardwareAddress, IpAddress, IpCidr, IpEndpoint};

use crate::dataplane::ControlFrame;
use crate::snapshot::Hop;
use crate::wire::ethernet;

/// Bytes that wait to be sent, and as many received ones that wait to be read.
const BUFFER_LEN: usize = 4096;

/// Frames that the ring may hold before probes wait: the rest of it is for ARP.
const RING_SHARE: (usize, usize) = (3, 4);

pub(super) struct Connection {
    stack: Interface,
    sockets: SocketSet<'static>,
    socket: SocketHandle,
    link: Link,
}

impl Connection {
    /// Sends the first segment.
    pub(super) fn open(
        from: SocketAddrV4,
        to: SocketAddrV4,
        hop: Hop,
        out: Arc<ArrayQueue<ControlFrame>>,
    ) -> io::Result<Self> {
        let now = Instant::now();
        let mut link = Link { hop, out, received: None };
        let mut config = Config::new(HardwareAddress::Ip);
        // Sequence numbers that nobody can guess.
        config.random_seed = RandomState::new().build_hasher().finish();
        let mut stack = Interface::new(config, &mut link, now.into());
        // Everything is near: which neighbour it goes to has been settled.
        let own = IpCidr::new(IpAddress::Ipv4(*from.ip()), 0);
        stack.update_ip_addrs(|addresses| {
            let _ = addresses.push(own);
        });
        let buffer = || tcp::SocketBuffer::new(vec![0; BUFFER_LEN]);
        let mut socket = tcp::Socket::new(buffer(), buffer());
        socket.set_ack_delay(None);
        socket.set_nagle_enabled(false);
        let endpoint = |at: SocketAddrV4| IpEndpoint::new(IpAddress::Ipv4(*at.ip()), at.port());
        let opened = socket.connect(stack.context(), endpoint(to), endpoint(from));
        opened.map_err(|error| io::Error::other(error.to_string()))?;
        let mut sockets = SocketSet::new(Vec::with_capacity(1));
        let socket = sockets.add(socket);
        let mut connection = Self { stack, sockets, socket, link };
        connection.advance(now);
        Ok(connection)
    }

    /// Sends what there is to be sent, or to be sent again.
    pub(super) fn advance(&mut self, now: Instant) {
        self.stack.poll(now.into(), &mut self.link, &mut self.sockets);
    }

    /// Takes a packet that came for it.
    pub(super) fn take(&mut self, packet: &[u8], now: Instant) {
        self.link.received = Some(packet.to_vec());
        self.advance(now);
    }

    pub(super) fn socket(&mut self) -> &mut tcp::Socket<'static> {
        self.sockets.get_mut(self.socket)
    }
}

/// What the stack takes for its device: IP packets.
struct Link {
    hop: Hop,
    out: Arc<ArrayQueue<ControlFrame>>,
    received: Option<Vec<u8>>,
}

impl Device for Link {
    type RxToken<'a> = Received;
    type TxToken<'a> = Sent<'a>;

    fn receive(&mut self, _: StackInstant) -> Option<(Received, Sent<'_>)> {
        let packet = self.received.take()?;
        Some((Received(packet), Sent { hop: self.hop, out: &self.out }))
    }

    fn transmit(&mut self, _: StackInstant) -> Option<Sent<'_>> {
        let (share, of) = RING_SHARE;
        let has_room = self.out.len() < self.out.capacity() * share / of;
        has_room.then_some(Sent { hop: self.hop, out: &self.out })
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = usize::from(self.hop.mtu).min(ControlFrame::PACKET_MAX);
        capabilities
    }
}

struct Received(Vec<u8>);

impl RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, read: F) -> R {
        read(&self.0)
    }
}

struct Sent<'a> {
    hop: Hop,
    out: &'a ArrayQueue<ControlFrame>,
}

impl TxToken for Sent<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, write: F) -> R {
        let mut frame = vec![0; ethernet::HEADER_LEN + len];
        let (header, packet) = frame.split_at_mut(ethernet::HEADER_LEN);
        header[..12].copy_from_slice(&self.hop.addresses.0);
        header[12..].copy_from_slice(&ethernet::TYPE_IPV4.to_be_bytes());
        let written = write(packet);
        // What finds no room is sent again, as what is lost on the way.
        if let Some(frame) = ControlFrame::new(self.hop.port, &frame) {
            let _ = self.out.push(frame);
        }
        written
    }
}
