//! Where the cases play: a client beyond a router, guideway with two ports, one backend; and what the rules of each
//! forwarding mode make of a packet there. Nothing here looks at how guideway does it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::packets::{Body, Mac, Packet, ip_frame};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Family {
    V4,
    V6,
}

use Family::{V4, V6};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    Nat,
    FullNat,
    Dsr,
    Ipip,
    Gre,
    Gue0,
    Gue1,
    Vxlan,
}

/// What a port is in a configuration, and on its network.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Port {
    pub name: &'static str,
    pub mac: Mac,
    own: (Ipv4Addr, Ipv6Addr),
}

pub const OUTSIDE: Port = Port {
    name: "outside",
    mac: [2, 0xff, 0, 0, 0, 0],
    own: (Ipv4Addr::new(198, 51, 100, 2), Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 2)),
};
pub const INSIDE: Port = Port {
    name: "inside",
    mac: [2, 0xff, 0, 0, 0, 1],
    own: (Ipv4Addr::new(10, 0, 0, 1), Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 1)),
};

impl Port {
    pub fn own(&self, family: Family) -> IpAddr {
        pick(family, self.own)
    }
}

fn pick(family: Family, (v4, v6): (Ipv4Addr, Ipv6Addr)) -> IpAddr {
    match family {
        V4 => v4.into(),
        V6 => v6.into(),
    }
}

pub fn client(family: Family) -> IpAddr {
    pick(family, (Ipv4Addr::new(192, 0, 2, 7), Ipv6Addr::new(0x2001, 0xdb8, 0xc, 0, 0, 0, 0, 7)))
}
pub fn router(family: Family) -> IpAddr {
    pick(family, (Ipv4Addr::new(198, 51, 100, 1), Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 1)))
}
pub fn frontend(family: Family) -> IpAddr {
    pick(family, (Ipv4Addr::new(203, 0, 113, 10), Ipv6Addr::new(0x2001, 0xdb8, 0xf, 0, 0, 0, 0, 0x10)))
}
pub fn backend(family: Family) -> IpAddr {
    pick(family, (Ipv4Addr::new(10, 0, 0, 4), Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 4)))
}

/// The Ethernet address that a replay makes up for a neighbour: `02:00:` and the last four bytes of its address.
pub fn mac_of(address: IpAddr) -> Mac {
    let bytes = match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    let last = &bytes[bytes.len() - 4..];
    [2, 0, last[0], last[1], last[2], last[3]]
}

/// A frame that should leave, and which bits of it are for guideway to choose.
#[derive(Clone, Debug)]
pub struct Sent {
    pub port: &'static str,
    pub frame: Vec<u8>,
    pub masks: Vec<Mask>,
}

#[derive(Clone, Debug)]
pub struct Mask {
    /// From the frame's first byte.
    pub offset: usize,
    /// Ones where anything may be.
    pub bits: Vec<u8>,
    pub because: &'static str,
}

/// A frontend of one family, with backends of one, and how packets come from the one to the other.
#[derive(Clone, Debug)]
pub struct Site {
    pub mode: Mode,
    /// Of clients and frontend.
    pub inner: Family,
    /// Of the backend.
    pub outer: Family,
    /// Port of the backend, where it differs from the frontend's.
    pub backend_port: Option<u16>,
    /// Further lines of the rules, of the ports, and at the end.
    pub rule: String,
    pub outside: String,
    pub inside: String,
    pub more: String,
}

pub const FRONTEND_PORT: u16 = 443;
pub const CLIENT_PORT: u16 = 40_000;

impl Site {
    pub fn new(mode: Mode, inner: Family, outer: Family) -> Self {
        let none = String::new;
        let backend_port = matches!(mode, Mode::Nat | Mode::FullNat).then_some(8443);
        Self { mode, inner, outer, backend_port, rule: none(), outside: none(), inside: none(), more: none() }
    }

    pub fn nat(family: Family) -> Self {
        Self::new(Mode::Nat, family, family)
    }

    /// Of the modes that carry packets in others.
    pub fn is_tunnel(&self) -> bool {
        matches!(self.mode, Mode::Ipip | Mode::Gre | Mode::Gue0 | Mode::Gue1 | Mode::Vxlan)
    }

    /// For names: `nat-v4`, `gre-6in4`.
    pub fn name(&self) -> String {
        let mode = match self.mode {
            Mode::Nat => "nat",
            Mode::FullNat => "full-nat",
            Mode::Dsr => "dsr",
            Mode::Ipip => "ipip",
            Mode::Gre => "gre",
            Mode::Gue0 => "gue0",
            Mode::Gue1 => "gue1",
            Mode::Vxlan => "vxlan",
        };
        let digit = |family| if family == V4 { 4 } else { 6 };
        match self.is_tunnel() {
            true => format!("{mode}-{}in{}", digit(self.inner), digit(self.outer)),
            false if self.inner == self.outer => format!("{mode}-v{}", digit(self.inner)),
            false => format!("{mode}-{}to{}", digit(self.inner), digit(self.outer)),
        }
    }

    pub fn config(&self) -> String {
        let has = |family| self.inner == family || self.outer == family;
        let addresses = |port: &Port| {
            let own = [(V4, 24), (V6, 64)].into_iter().filter(|(family, _)| has(*family));
            own.map(|(family, prefix)| format!("\"{}/{prefix}\"", port.own(family)))
                .collect::<Vec<_>>()
                .join(", ")
        };
        let gateway = match self.inner {
            V4 => format!("gateway = \"{}\"\n", router(V4)),
            V6 => format!("gateway6 = \"{}\"\n", router(V6)),
        };
        let forward = match self.mode {
            Mode::Nat => String::new(),
            Mode::FullNat => {
                format!("forward = \"full-nat\"\nsource_addresses = [\"{}\"]\n", translated(self.outer))
            }
            Mode::Dsr => "forward = \"dsr\"\n".into(),
            Mode::Ipip => "forward = \"ipip\"\n".into(),
            Mode::Gre => "forward = \"gre\"\n".into(),
            Mode::Gue0 => "forward = \"gue\"\n".into(),
            Mode::Gue1 => "forward = \"gue\"\ngue_variant = 1\n".into(),
            Mode::Vxlan => "forward = \"vxlan\"\n".into(),
        };
        let port = self.backend_port.map(|port| format!("backend_port = {port}\n")).unwrap_or_default();
        let host = match frontend(self.inner) {
            IpAddr::V6(address) => format!("[{address}]"),
            address => address.to_string(),
        };
        let rule = |protocol| {
            format!(
                "\n[[rule]]\nname = \"{protocol}\"\nfrontend = \"{host}:{FRONTEND_PORT}/{protocol}\"\npool = \"web\"\n\
                 {port}{forward}{}",
                self.rule
            )
        };
        format!(
            "[dataplane]\nflows_per_worker = 1024\nhash_key = \"000102030405060708090a0b0c0d0e0f\"\n\n\
             [[port]]\nname = \"outside\"\naddresses = [{}]\n{gateway}{}\n\
             [[port]]\nname = \"inside\"\naddresses = [{}]\n{}\n\
             [[pool]]\nname = \"web\"\nbackends = [{{ address = \"{}\" }}]\n{}{}{}",
            addresses(&OUTSIDE),
            self.outside,
            addresses(&INSIDE),
            self.inside,
            backend(self.outer),
            rule("tcp"),
            rule("udp"),
            self.more,
        )
    }

    // ---- what is sent to guideway ---------------------------------------------------------------------------------

    pub fn tcp(&self, flags: &'static str, data: &[u8]) -> Packet {
        self.request(Body::tcp((CLIENT_PORT, FRONTEND_PORT), flags, data))
    }

    pub fn udp(&self, data: &[u8]) -> Packet {
        self.request(Body::udp((CLIENT_PORT, FRONTEND_PORT), data))
    }

    pub fn request(&self, body: Body) -> Packet {
        Packet::new(client(self.inner), frontend(self.inner), body)
    }

    /// A frame of the client's, as its router sends it.
    pub fn client_frame(&self, packet: &[u8]) -> Vec<u8> {
        ip_frame(OUTSIDE.mac, mac_of(router(self.inner)), &[], packet)
    }

    pub fn backend_frame(&self, packet: &[u8]) -> Vec<u8> {
        ip_frame(INSIDE.mac, mac_of(backend(self.outer)), &[], packet)
    }

    /// What the backend answers, of modes whose answers pass guideway.
    pub fn response(&self, body: Body) -> Packet {
        let port = self.backend_port.unwrap_or(FRONTEND_PORT);
        let body = body.with_ports(|_| (port, CLIENT_PORT));
        Packet { hops: 64, id: 0x4321, ..Packet::new(backend(self.outer), client(self.inner), body) }
    }

    // ---- what the rules make of it --------------------------------------------------------------------------------

    /// A client's packet, as its backend must get it.
    pub fn at_backend(&self, packet: &Packet) -> Sent {
        let to = mac_of(backend(self.outer));
        let (bytes, masks) = match self.mode {
            Mode::Nat => (self.translated(packet).bytes(), Vec::new()),
            Mode::FullNat => self.translated_fully(packet),
            Mode::Dsr => (packet.bytes(), Vec::new()),
            _ => self.tunnelled(&packet.bytes(), packet),
        };
        Sent { port: INSIDE.name, frame: ip_frame(to, INSIDE.mac, &[], &bytes), masks }
    }

    /// RFC 3022 section 4.1 for addresses, ports and checksums; RFC 1812 section 5.3.1 and RFC 8200 section 3: one
    /// hop less. Nothing else changes.
    pub fn translated(&self, packet: &Packet) -> Packet {
        let port = self.backend_port.unwrap_or(FRONTEND_PORT);
        let body = packet.body.with_ports(|(source, _)| (source, port));
        Packet { to: backend(self.outer), hops: packet.hops - 1, body, ..packet.clone() }
    }

    /// A backend's packet, as its client must get it.
    pub fn at_client(&self, packet: &Packet) -> Sent {
        let frame = self.to_router(&self.translated_back(packet).bytes());
        Sent { port: OUTSIDE.name, frame, masks: Vec::new() }
    }

    pub fn translated_back(&self, packet: &Packet) -> Packet {
        let body = packet.body.with_ports(|(_, client)| (FRONTEND_PORT, client));
        Packet { from: frontend(self.inner), hops: packet.hops - 1, body, ..packet.clone() }
    }

    pub fn to_router(&self, packet: &[u8]) -> Vec<u8> {
        ip_frame(mac_of(router(self.inner)), OUTSIDE.mac, &[], packet)
    }

    /// The source is one of ours as well, by a port of guideway's choice. Between families the header is another one
    /// (RFC 7915 sections 4.1 and 5.1): type of service and hops go over, the rest is new.
    fn translated_fully(&self, packet: &Packet) -> (Vec<u8>, Vec<Mask>) {
        const CHOSEN: &str = "the source port is guideway's choice, and the checksum covers it";
        let there = self.fully_translated(packet);
        let header = if self.outer == V4 { 20 } else { 40 };
        let at = 14 + header;
        let checksum = if matches!(packet.body, Body::Udp { .. }) { at + 6 } else { at + 16 };
        let mut masks = vec![mask(at, &[0xff; 2], CHOSEN), mask(checksum, &[0xff; 2], CHOSEN)];
        match (self.inner, self.outer) {
            (V6, V4) => {
                const MADE: &str =
                    "IPv6 has no identification and no fragment bits to take over (RFC 7915 section 5.1)";
                masks.extend([mask(18, &[0xff, 0xff, 0x40], MADE), mask(24, &[0xff; 2], MADE)]);
            }
            (V4, V6) => {
                masks.push(mask(15, &[0x0f, 0xff, 0xff], "RFC 7915 section 4.1 leaves the flow label open"))
            }
            _ => {}
        }
        (there.bytes(), masks)
    }

    /// With the client's port, in place of the one that guideway chooses.
    pub fn fully_translated(&self, packet: &Packet) -> Packet {
        let label = if self.inner == self.outer { packet.label } else { 0 };
        Packet { from: translated(self.outer), label, ..self.translated(packet) }
    }

    /// The packet as it came behind outer headers; which bits of these derive from the flow. Offsets are the frame's.
    pub fn tunnelled(&self, inner: &[u8], like: &Packet) -> (Vec<u8>, Vec<Mask>) {
        let protocol = if self.inner == V4 { 4 } else { 41 };
        let (source, target) = (INSIDE.own(self.outer), backend(self.outer));
        let over_udp = |port, head: &[u8]| Body::Udp {
            ports: (50_000, port),
            data: [head, inner].concat(),
            // RFC 7348 section 4.1: SHOULD be zero, and over IPv4 nobody minds. Over IPv6 receivers need not take it
            // (RFC 8200 section 8.1).
            sum: self.outer == V6,
        };
        let ether_type: u16 = if self.inner == V4 { 0x0800 } else { 0x86dd };
        let body = match self.mode {
            // RFC 2003, RFC 2473, RFC 4213.
            Mode::Ipip => Body::Other(protocol, inner.to_vec()),
            // RFC 2784 section 2: no checksum, version 0.
            Mode::Gre => Body::Other(47, [&[0, 0][..], &ether_type.to_be_bytes(), inner].concat()),
            // draft-ietf-intarea-gue-09 section 3.1: version 0, no control message, no extensions.
            Mode::Gue0 => over_udp(6080, &[0, protocol, 0, 0]),
            // The same, section 4: the inner packet's version is the header.
            Mode::Gue1 => over_udp(6080, &[]),
            // RFC 7348 section 5: the I bit, and VNI 1; then a frame to the backend from the port it leaves by.
            Mode::Vxlan => over_udp(4789, &ip_frame_head(target, ether_type)),
            _ => panic!("no tunnel"),
        };
        let (df, id) = outer_fragmentation(self.inner, like);
        let outer = Packet { hops: 64, tos: like.tos, df, id, label: 0, ..Packet::new(source, target, body) };
        let mut masks = Vec::new();
        if self.outer == V6 {
            masks.push(mask(15, &[0x0f, 0xff, 0xff], "the flow label derives from the flow (RFC 6438)"));
        }
        let is_fragment = self.inner == V4 && u16::from_be_bytes([inner[6], inner[7]]) & 0x3fff != 0;
        if self.outer == V4 && is_fragment {
            // They have one identification between them, and packets that may be cut up must differ.
            const UNIQUE: &str = "RFC 6864 section 4.3: an identification of its own for each outer packet";
            masks.extend([
                mask(18, &[0xff; 2], UNIQUE),
                mask(24, &[0xff; 2], "the header checksum covers it"),
            ]);
        }
        if matches!(outer.body, Body::Udp { .. }) {
            const SPREAD: &str = "the source port derives from the flow (RFC 7348 section 5)";
            let at = 14 + if self.outer == V4 { 20 } else { 40 };
            masks.push(mask(at, &[0xff; 2], SPREAD));
            if self.outer == V6 {
                masks.push(mask(at + 6, &[0xff; 2], "the checksum covers the source port"));
            }
        }
        (outer.bytes(), masks)
    }

    /// Bytes that the mode puts in front of a packet.
    pub fn overhead(&self) -> usize {
        let ip = if self.outer == V4 { 20 } else { 40 };
        match self.mode {
            Mode::Nat | Mode::FullNat | Mode::Dsr => 0,
            Mode::Ipip => ip,
            Mode::Gre => ip + 4,
            Mode::Gue1 => ip + 8,
            Mode::Gue0 => ip + 12,
            Mode::Vxlan => ip + 8 + 8 + 14,
        }
    }
}

/// Don't fragment, and identification, of an outer IPv4 header: DF always but where the inner packet may be cut up itself;
/// without DF the inner packet's identification (RFC 6864 section 4), with it 0.
fn outer_fragmentation(inner: Family, like: &Packet) -> (bool, u16) {
    if inner == V4 && !like.df { (false, like.id) } else { (true, 0) }
}

/// The VXLAN header and the inner frame's: VNI 1.
fn ip_frame_head(target: IpAddr, ether_type: u16) -> Vec<u8> {
    let vxlan = [8, 0, 0, 0, 0, 0, 1, 0];
    [&vxlan[..], &mac_of(target), &INSIDE.mac, &ether_type.to_be_bytes()].concat()
}

/// The address that full NAT sends from.
fn translated(family: Family) -> IpAddr {
    pick(family, (Ipv4Addr::new(10, 0, 0, 200), Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 0x200)))
}

pub fn mask(offset: usize, bits: &[u8], because: &'static str) -> Mask {
    Mask { offset, bits: bits.to_vec(), because }
}
