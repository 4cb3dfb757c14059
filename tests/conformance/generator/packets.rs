//! Packets as etherparse writes them: every header anew, every checksum in full.

use std::net::IpAddr;

use etherparse::checksum::Sum16BitWords;
use etherparse::{
    IpDscp, IpEcn, IpFragOffset, IpNumber, Ipv4Header, Ipv6FragmentHeader, Ipv6Header, TcpHeader, UdpHeader,
};

const TCP: u8 = 6;
const UDP: u8 = 17;
const FRAGMENT: u8 = 44;

pub type Mac = [u8; 6];

/// An IP packet, as its sender means it.
#[derive(Clone, Debug)]
pub struct Packet {
    pub from: IpAddr,
    pub to: IpAddr,
    /// TTL or hop limit.
    pub hops: u8,
    /// Type of service or traffic class.
    pub tos: u8,
    /// IPv4 only, as are `df` and `options`.
    pub id: u16,
    pub df: bool,
    pub options: Vec<u8>,
    /// IPv6 only, as are the extension headers: their numbers, and their bytes behind the first.
    pub label: u32,
    pub extensions: Vec<(u8, Vec<u8>)>,
    pub body: Body,
}

#[derive(Clone, Debug)]
pub enum Body {
    Tcp {
        ports: (u16, u16),
        flags: &'static str,
        options: Vec<u8>,
        data: Vec<u8>,
    },
    Udp {
        ports: (u16, u16),
        data: Vec<u8>,
        /// Else 0, "no checksum".
        sum: bool,
    },
    /// ICMP of the packet's family: type, code, the four bytes behind the checksum, and the rest.
    Icmp {
        kind: u8,
        code: u8,
        word: [u8; 4],
        data: Vec<u8>,
    },
    Other(u8, Vec<u8>),
}

impl Body {
    pub fn tcp(ports: (u16, u16), flags: &'static str, data: &[u8]) -> Self {
        Self::Tcp { ports, flags, options: Vec::new(), data: data.to_vec() }
    }

    pub fn udp(ports: (u16, u16), data: &[u8]) -> Self {
        Self::Udp { ports, data: data.to_vec(), sum: true }
    }

    /// With other ports, where it has any.
    pub fn with_ports(&self, change: impl FnOnce((u16, u16)) -> (u16, u16)) -> Self {
        let mut changed = self.clone();
        if let Self::Tcp { ports, .. } | Self::Udp { ports, .. } = &mut changed {
            *ports = change(*ports);
        }
        changed
    }

    fn number(&self, is_v4: bool) -> u8 {
        match self {
            Self::Tcp { .. } => TCP,
            Self::Udp { .. } => UDP,
            Self::Icmp { .. } if is_v4 => 1,
            Self::Icmp { .. } => 58,
            Self::Other(number, _) => *number,
        }
    }

    fn bytes(&self, from: IpAddr, to: IpAddr) -> Vec<u8> {
        match self {
            Self::Tcp { ports, flags, options, data } => tcp(from, to, *ports, flags, options, data),
            Self::Udp { ports, data, sum } => udp(from, to, *ports, data, *sum),
            Self::Icmp { kind, code, word, data } => icmp(from, to, (*kind, *code), *word, data),
            Self::Other(_, bytes) => bytes.clone(),
        }
    }
}

fn tcp(from: IpAddr, to: IpAddr, ports: (u16, u16), flags: &str, options: &[u8], data: &[u8]) -> Vec<u8> {
    let mut header = TcpHeader::new(ports.0, ports.1, 1_000_000, 8192);
    for flag in flags.chars() {
        match flag {
            'S' => header.syn = true,
            'A' => (header.ack, header.acknowledgment_number) = (true, 2_000_000),
            'F' => header.fin = true,
            'R' => header.rst = true,
            'P' => header.psh = true,
            'U' => (header.urg, header.urgent_pointer) = (true, 3),
            'E' => header.ece = true,
            'C' => header.cwr = true,
            other => panic!("no such flag: {other}"),
        }
    }
    header.set_options_raw(options).unwrap();
    header.checksum = match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            header.calc_checksum_ipv4_raw(from.octets(), to.octets(), data).unwrap()
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            header.calc_checksum_ipv6_raw(from.octets(), to.octets(), data).unwrap()
        }
        _ => panic!("two families"),
    };
    [&header.to_bytes(), data].concat()
}

fn udp(from: IpAddr, to: IpAddr, ports: (u16, u16), data: &[u8], sum: bool) -> Vec<u8> {
    let length = (UdpHeader::LEN + data.len()) as u16;
    let mut header = UdpHeader { source_port: ports.0, destination_port: ports.1, length, checksum: 0 };
    if sum {
        header.checksum = match (from, to) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                header.calc_checksum_ipv4_raw(from.octets(), to.octets(), data).unwrap()
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                header.calc_checksum_ipv6_raw(from.octets(), to.octets(), data).unwrap()
            }
            _ => panic!("two families"),
        };
    }
    [&header.to_bytes()[..], data].concat()
}

/// RFC 792 sums the message alone, RFC 4443 section 2.3 a pseudo-header as well.
fn icmp(from: IpAddr, to: IpAddr, (kind, code): (u8, u8), word: [u8; 4], data: &[u8]) -> Vec<u8> {
    let mut sum = Sum16BitWords::new().add_2bytes([kind, code]).add_slice(&word).add_slice(data);
    if let (IpAddr::V6(from), IpAddr::V6(to)) = (from, to) {
        let length = (8 + data.len()) as u32;
        sum = sum.add_16bytes(from.octets()).add_16bytes(to.octets());
        sum = sum.add_4bytes(length.to_be_bytes()).add_2bytes([0, 58]);
    }
    // etherparse's sum is in the order of memory.
    let sum = sum.ones_complement().to_ne_bytes();
    [&[kind, code, sum[0], sum[1]][..], &word, data].concat()
}

impl Packet {
    pub fn new(from: IpAddr, to: IpAddr, body: Body) -> Self {
        Self {
            from,
            to,
            hops: 60,
            tos: 0,
            id: 0x1234,
            df: true,
            options: Vec::new(),
            label: 0x54321,
            extensions: Vec::new(),
            body,
        }
    }

    /// The whole packet.
    pub fn bytes(&self) -> Vec<u8> {
        let body = self.body.bytes(self.from, self.to);
        match (self.from, self.to) {
            (IpAddr::V4(_), IpAddr::V4(_)) => self.v4(&body, 0, false),
            (IpAddr::V6(_), IpAddr::V6(_)) => self.v6(&body, None),
            _ => panic!("two families"),
        }
    }

    /// The packet in fragments: the body cut at `cuts`, which are multiples of eight (RFC 791 section 3.2, RFC 8200
    /// section 4.5).
    pub fn fragments(&self, cuts: &[usize]) -> Vec<Vec<u8>> {
        let body = self.body.bytes(self.from, self.to);
        let ends = cuts.iter().copied().chain([body.len()]);
        let mut start = 0;
        let mut fragments = Vec::new();
        for end in ends {
            let (part, more) = (&body[start..end], end < body.len());
            let offset = (start / 8) as u16;
            fragments.push(match self.from {
                IpAddr::V4(_) => self.v4(part, offset, more),
                IpAddr::V6(_) => self.v6(part, Some((offset, more))),
            });
            start = end;
        }
        fragments
    }

    fn v4(&self, body: &[u8], offset: u16, more: bool) -> Vec<u8> {
        let (IpAddr::V4(from), IpAddr::V4(to)) = (self.from, self.to) else { panic!("not IPv4") };
        let number = IpNumber(self.body.number(true));
        let mut header = Ipv4Header::new(0, self.hops, number, from.octets(), to.octets()).unwrap();
        header.dscp = IpDscp::try_new(self.tos >> 2).unwrap();
        header.ecn = IpEcn::try_new(self.tos & 3).unwrap();
        header.identification = self.id;
        header.dont_fragment = self.df;
        header.more_fragments = more;
        header.fragment_offset = IpFragOffset::try_new(offset).unwrap();
        header.options = self.options.as_slice().try_into().unwrap();
        header.set_payload_len(body.len()).unwrap();
        header.header_checksum = header.calc_header_checksum();
        [&header.to_bytes(), body].concat()
    }

    fn v6(&self, body: &[u8], fragment: Option<(u16, bool)>) -> Vec<u8> {
        let (IpAddr::V6(from), IpAddr::V6(to)) = (self.from, self.to) else { panic!("not IPv6") };
        let mut next = self.body.number(false);
        let mut chain = Vec::new();
        if let Some((offset, more)) = fragment {
            let offset = IpFragOffset::try_new(offset).unwrap();
            let header = Ipv6FragmentHeader::new(IpNumber(next), offset, more, self.id.into());
            chain = header.to_bytes().to_vec();
            next = FRAGMENT;
        }
        for (number, bytes) in self.extensions.iter().rev() {
            chain = [&[next], &bytes[..], &chain].concat();
            next = *number;
        }
        let header = Ipv6Header {
            traffic_class: self.tos,
            flow_label: self.label.try_into().unwrap(),
            payload_length: (chain.len() + body.len()) as u16,
            next_header: IpNumber(next),
            hop_limit: self.hops,
            source: from.octets(),
            destination: to.octets(),
        };
        [&header.to_bytes()[..], &chain, body].concat()
    }
}

/// An Ethernet frame around an IP packet or whatever `ether_type` says.
pub fn frame(to: Mac, from: Mac, tags: &[u16], ether_type: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = [to, from].concat();
    for (index, tag) in tags.iter().enumerate() {
        // All tags but the last are service tags (IEEE 802.1Q-2018 section 9.5).
        let kind: u16 = if index + 1 < tags.len() { 0x88a8 } else { 0x8100 };
        frame.extend(kind.to_be_bytes());
        frame.extend(tag.to_be_bytes());
    }
    frame.extend(ether_type.to_be_bytes());
    frame.extend(payload);
    frame
}

/// A frame around an IP packet, whose first bits say of which version it is.
pub fn ip_frame(to: Mac, from: Mac, tags: &[u16], packet: &[u8]) -> Vec<u8> {
    let ether_type = if packet[0] >> 4 == 4 { 0x0800 } else { 0x86dd };
    frame(to, from, tags, ether_type, packet)
}
