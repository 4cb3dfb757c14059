//! One connection: smoltcp's stack with a single socket, and the frames to and from it.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::io;
use std::net::SocketAddr;
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
use crate::wire::{ethernet, ipv4};

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
        from: SocketAddr,
        to: SocketAddr,
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
        let own = IpCidr::new(IpAddress::from(from.ip()), 0);
        stack.update_ip_addrs(|addresses| {
            let _ = addresses.push(own);
        });
        let buffer = || tcp::SocketBuffer::new(vec![0; BUFFER_LEN]);
        let mut socket = tcp::Socket::new(buffer(), buffer());
        socket.set_ack_delay(None);
        socket.set_nagle_enabled(false);
        let endpoint = |at: SocketAddr| IpEndpoint::new(IpAddress::from(at.ip()), at.port());
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

    /// Takes a packet that came for it. Of other protocols there is nothing to say: the stack would answer them by ICMP.
    pub(super) fn take(&mut self, packet: &[u8], now: Instant) {
        if packet.get(ipv4::PROTOCOL_OFFSET) != Some(&ipv4::PROTOCOL_TCP) {
            return;
        }
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
        let written = write(packet);
        let is_ipv4 = packet.first().is_some_and(|first| first >> 4 == 4);
        let kind = if is_ipv4 { ethernet::TYPE_IPV4 } else { ethernet::TYPE_IPV6 };
        header[12..].copy_from_slice(&kind.to_be_bytes());
        // What finds no room is sent again, as what is lost on the way.
        if let Some(frame) = ControlFrame::new(self.hop.port, &frame) {
            let _ = self.out.push(frame);
        }
        written
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use etherparse::{Ipv4Header, TcpHeader};
    use proptest::collection::vec;
    use proptest::prelude::*;
    use smoltcp::wire::{IpProtocol, Ipv4Packet, TcpPacket};

    use super::super::key_of;
    use super::*;
    use crate::io::PortId;
    use crate::wire::ethernet::Addresses;

    const HERE: ([u8; 4], u16) = ([10, 0, 0, 1], 61_000);
    const THERE: ([u8; 4], u16) = ([10, 0, 0, 4], 8080);

    /// Frames that the ring holds: few, so that there is no room at times.
    const RING_LEN: usize = 8;

    /// What happens to a connection.
    #[derive(Clone, Debug)]
    enum Step {
        Segment(Segment),
        Noise(Vec<u8>),
        Read(usize),
        Write(usize),
        Close,
        Abort,
        Pass(u64),
    }

    /// A segment of the other end, right but for what is said here.
    #[derive(Clone, Debug)]
    struct Segment {
        flags: u8,
        /// From what would be next.
        sequence: i32,
        /// From all that was sent.
        acknowledgement: i32,
        window: u16,
        options: Vec<u8>,
        len: usize,
        /// Bytes that are others on arrival, from the end of the IP header's checks on or anywhere.
        spoilt: Vec<(usize, u8)>,
        cut: Option<usize>,
    }

    const SYN: u8 = 2;
    const ACK: u8 = 16;

    fn offset() -> impl Strategy<Value = i32> {
        prop_oneof![
            12 => Just(0),
            3 => -3..4,
            2 => -5000..5000,
            1 => any::<i32>(),
            1 => prop_oneof![Just(i32::MIN), Just(i32::MAX), Just(i32::MIN + 1), Just(-65_536), Just(65_535)],
        ]
    }

    fn options() -> impl Strategy<Value = Vec<u8>> {
        let some = prop_oneof![
            any::<u16>().prop_map(|mss| [&[2, 4], &mss.to_be_bytes()[..]].concat()),
            any::<u8>().prop_map(|shift| vec![1, 3, 3, shift]),
            Just(vec![1, 1, 4, 2]),
            any::<[u8; 8]>().prop_map(|times| [&[1, 1, 8, 10], &times[..]].concat()),
            any::<[u8; 8]>().prop_map(|range| [&[1, 1, 5, 10], &range[..]].concat()),
            any::<[u8; 4]>().prop_map(Vec::from),
        ];
        vec(some, 0..4).prop_map(|all| all.concat())
    }

    fn segment() -> impl Strategy<Value = Segment> {
        let flags = prop_oneof![
            5 => Just(ACK),
            2 => Just(ACK | 8),
            2 => Just(ACK | 1),
            1 => Just(SYN | ACK),
            1 => Just(SYN),
            1 => prop_oneof![Just(4), Just(4 | ACK)],
            1 => any::<u8>(),
        ];
        let window = prop_oneof![any::<u16>(), Just(0), Just(1), Just(u16::MAX)];
        let len = prop_oneof![3 => Just(0), 2 => 1..100_usize, 2 => 1000..1400_usize];
        let spoilt = prop_oneof![8 => Just(Vec::new()), 1 => vec((0..80_usize, any::<u8>()), 1..4)];
        let cut = prop_oneof![12 => Just(None), 1 => (0..80_usize).prop_map(Some)];
        (flags, offset(), offset(), window, options(), len, spoilt, cut).prop_map(
            |(flags, sequence, acknowledgement, window, options, len, spoilt, cut)| Segment {
                flags,
                sequence,
                acknowledgement,
                window,
                options,
                len,
                spoilt,
                cut,
            },
        )
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            12 => segment().prop_map(Step::Segment),
            1 => vec(any::<u8>(), 0..120).prop_map(Step::Noise),
            2 => (0..6000_usize).prop_map(Step::Read),
            2 => (0..6000_usize).prop_map(Step::Write),
            1 => Just(Step::Close),
            1 => prop_oneof![9 => Just(Step::Close), 1 => Just(Step::Abort)],
            3 => prop_oneof![0..20_u64, 100..3000_u64, 0..100_000_u64].prop_map(Step::Pass),
        ]
    }

    /// Both ends: a connection, and what the other one knows of it.
    struct Bed {
        connection: Connection,
        out: Arc<ArrayQueue<ControlFrame>>,
        now: Instant,
        /// Behind all that our end has sent.
        sent: u32,
        /// What our end waits for.
        wanted: u32,
    }

    impl Bed {
        fn new() -> Self {
            let at = |(address, port): ([u8; 4], u16)| SocketAddr::new(address.into(), port);
            let out = Arc::new(ArrayQueue::new(RING_LEN));
            let hop = Hop { addresses: Addresses([2; 12]), mtu: 1500, port: PortId(0) };
            let connection = Connection::open(at(HERE), at(THERE), hop, out.clone()).unwrap();
            let mut bed = Self { connection, out, now: Instant::now(), sent: 0, wanted: 0x7fff_fff0 };
            bed.hear();
            bed
        }

        /// What was sent is right, whatever was received.
        fn hear(&mut self) {
            while let Some(frame) = self.out.pop() {
                let packet = Ipv4Packet::new_checked(&frame.bytes()[ethernet::HEADER_LEN..]).unwrap();
                assert_eq!((packet.src_addr().octets(), packet.dst_addr().octets()), (HERE.0, THERE.0));
                assert!(packet.verify_checksum() && packet.next_header() == IpProtocol::Tcp);
                let segment = TcpPacket::new_checked(packet.payload()).unwrap();
                assert!(segment.verify_checksum(&packet.src_addr().into(), &packet.dst_addr().into()));
                assert_eq!((segment.src_port(), segment.dst_port()), (HERE.1, THERE.1));
                if !segment.rst() {
                    self.sent = (segment.seq_number() + segment.segment_len()).0 as u32;
                }
                if segment.ack() && !segment.rst() {
                    self.wanted = segment.ack_number().0 as u32;
                }
            }
        }

        fn packet(&self, segment: &Segment) -> Vec<u8> {
            let has = |bit: u8| segment.flags >> bit & 1 == 1;
            let mut tcp = TcpHeader::new(THERE.1, HERE.1, 0, segment.window);
            tcp.sequence_number = self.wanted.wrapping_add_signed(segment.sequence);
            tcp.acknowledgment_number = self.sent.wrapping_add_signed(segment.acknowledgement);
            (tcp.fin, tcp.syn, tcp.rst, tcp.psh) = (has(0), has(1), has(2), has(3));
            (tcp.ack, tcp.urg, tcp.ece, tcp.cwr) = (has(4), has(5), has(6), has(7));
            tcp.set_options_raw(&segment.options[..segment.options.len().min(40)]).unwrap();
            let payload = vec![b'x'; segment.len];
            tcp.checksum = tcp.calc_checksum_ipv4_raw(THERE.0, HERE.0, &payload).unwrap();
            let len = tcp.header_len() + payload.len();
            let ip = Ipv4Header::new(len as u16, 64, etherparse::IpNumber::TCP, THERE.0, HERE.0).unwrap();
            let mut packet = Vec::new();
            ip.write(&mut packet).unwrap();
            tcp.write(&mut packet).unwrap();
            packet.extend(payload);
            for (at, byte) in &segment.spoilt {
                if let Some(place) = packet.get_mut(*at) {
                    *place = *byte;
                }
            }
            packet.truncate(segment.cut.unwrap_or(usize::MAX));
            packet
        }

        fn take(&mut self, packet: &[u8]) {
            // Found by what the answers of workers are found by.
            let (address, port) = THERE;
            if key_of(packet) == Some((SocketAddr::new(address.into(), port), HERE.1)) {
                self.connection.take(packet, self.now);
                assert!(self.connection.link.received.is_none(), "what was taken is not kept");
            }
        }

        fn go(&mut self, step: &Step) {
            match step {
                Step::Segment(segment) => self.take(&self.packet(segment)),
                Step::Noise(bytes) => self.take(bytes),
                Step::Read(most) => {
                    let _ = self.connection.socket().recv(|data| (data.len().min(*most), ()));
                    self.connection.advance(self.now);
                }
                Step::Write(len) => {
                    let _ = self.connection.socket().send_slice(&vec![b'y'; *len]);
                    self.connection.advance(self.now);
                }
                Step::Close => {
                    self.connection.socket().close();
                    self.connection.advance(self.now);
                }
                Step::Abort => {
                    self.connection.socket().abort();
                    self.connection.advance(self.now);
                }
                Step::Pass(millis) => {
                    self.now += Duration::from_millis(*millis);
                    self.connection.advance(self.now);
                }
            }
            let socket = self.connection.socket();
            assert!(socket.recv_queue() <= BUFFER_LEN && socket.send_queue() <= BUFFER_LEN);
            self.hear();
        }
    }

    fn plain(flags: u8) -> Segment {
        Segment {
            flags,
            sequence: 0,
            acknowledgement: 0,
            window: 1000,
            options: Vec::new(),
            len: 0,
            spoilt: Vec::new(),
            cut: None,
        }
    }

    /// The property below is worth something only if its segments are taken.
    #[test]
    fn the_other_end_of_the_test_can_talk() {
        let mut bed = Bed::new();
        bed.go(&Step::Segment(plain(SYN | ACK)));
        assert_eq!(bed.connection.socket().state(), tcp::State::Established);
        bed.go(&Step::Segment(Segment { len: 700, ..plain(ACK) }));
        assert_eq!(bed.connection.socket().recv_queue(), 700);
        bed.go(&Step::Write(100));
        assert_eq!(bed.connection.socket().send_queue(), 100);
        bed.go(&Step::Segment(plain(ACK)));
        assert_eq!(bed.connection.socket().send_queue(), 0);
        bed.go(&Step::Close);
        bed.go(&Step::Segment(plain(ACK | 1)));
        assert_eq!(bed.connection.socket().state(), tcp::State::TimeWait);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        /// Nothing that a backend sends makes this thread panic, and no more is kept than there is room for.
        #[test]
        fn a_hostile_backend_hurts_nobody(opens in any::<bool>(), steps in vec(step(), 1..40)) {
            let mut bed = Bed::new();
            if opens {
                bed.go(&Step::Segment(plain(SYN | ACK)));
            }
            steps.iter().for_each(|step| bed.go(step));
        }
    }
}
