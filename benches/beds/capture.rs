//! Captures that a pcap port plays again and again: one frame for each flow, in random order.
//!
//! Flows that are first seen and then sent again in one order flatter any table: its lines are fetched ahead.

use std::fs::File;
use std::io::BufWriter;
use std::net::SocketAddrV4;
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use etherparse::PacketBuilder;
use pcap_file::pcap::{PcapPacket, PcapWriter};

use super::{Result, Trying};
use crate::harness::world::Random;

/// The frame check sequence, which is on the wire and in no capture.
const FCS: usize = 4;
/// Seven small, four of middle length, one long: the usual "simple IMIX", in bytes on the wire.
pub const IMIX: [usize; 12] = [64, 64, 64, 64, 64, 64, 64, 570, 570, 570, 570, 1518];

/// What the frames of a capture have in common.
#[derive(Clone, Debug)]
pub struct Traffic<'a> {
    /// Where they go, in turn.
    pub frontends: &'a [SocketAddrV4],
    /// Their lengths in turn, in bytes on the wire.
    pub sizes: &'a [usize],
    /// Whom they are for.
    pub mac: [u8; 6],
}

impl Traffic<'_> {
    /// Writes one TCP segment that only acknowledges for each of `flows`.
    pub fn write(&self, path: &Path, flows: Range<u32>) -> Result<()> {
        let file = File::create(path).trying(path.display())?;
        let mut out = PcapWriter::new(BufWriter::new(file)).trying(path.display())?;
        let mut order = Random::default().shuffled(flows.end - flows.start);
        // Not fewer frames than sizes, so that a single flow has all of them.
        while order.len() < self.sizes.len() {
            order.extend_from_within(..);
        }
        for (flow, size) in order.into_iter().zip(self.sizes.iter().cycle()) {
            let frame = self.frame(flows.start + flow, size - FCS)?;
            let len = u32::try_from(frame.len()).trying("the length of a frame")?;
            out.write_packet(&PcapPacket::new(Duration::ZERO, len, &frame)).trying(path.display())?;
        }
        Ok(())
    }

    /// A frame of `len` bytes from the client that `flow` stands for.
    fn frame(&self, flow: u32, len: usize) -> Result<Vec<u8>> {
        let frontends = self.frontends.len() as u32;
        let to = self.frontends[(flow % frontends) as usize];
        let client = (CLIENTS + flow / frontends).to_be_bytes();
        let builder = PacketBuilder::ethernet2([2, 0, 198, 51, 100, 1], self.mac)
            .ipv4(client, to.ip().octets(), 64)
            .tcp(1024 + (flow % 50_000) as u16, to.port(), 1, 512)
            .ack(1);
        let mut frame = Vec::with_capacity(len);
        builder.write(&mut frame, &vec![0; len.saturating_sub(HEADERS)]).trying("a frame")?;
        Ok(frame)
    }
}

/// Ethernet, IPv4, TCP.
const HEADERS: usize = 14 + 20 + 20;
/// 11.0.0.0 and what follows, an address for each client and frontend.
const CLIENTS: u32 = 0x0b00_0000;
