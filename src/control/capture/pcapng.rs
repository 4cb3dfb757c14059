//! Records as pcapng: an interface for each port, and what became of each frame as its comment.

use std::borrow::Cow;

use pcap_file::pcapng::blocks::enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption};
use pcap_file::pcapng::blocks::interface_description::{InterfaceDescriptionBlock, InterfaceDescriptionOption};
use pcap_file::pcapng::blocks::interface_statistics::{InterfaceStatisticsBlock, InterfaceStatisticsOption};
use pcap_file::pcapng::blocks::section_header::{SectionHeaderBlock, SectionHeaderOption};
use pcap_file::pcapng::{PcapNgBlock, PcapNgWriter};
use pcap_file::{DataLink, Endianness, PcapError};

use super::{Names, told};
use crate::watch::{Direction, Record};

/// Nanoseconds: ten to the minus ninth (draft-ietf-opsawg-pcapng section 4.2, `if_tsresol`).
const NANOSECONDS: u8 = 9;

/// Directions in the flags word (section 4.3.1).
const INBOUND: u32 = 1;
const OUTBOUND: u32 = 2;

/// A file that is written into memory, and taken from there part by part.
pub(super) struct Encoder {
    writer: PcapNgWriter<Vec<u8>>,
    /// By port, as they were told last.
    lost: Vec<u64>,
    last_at: u64,
}

impl Encoder {
    pub(super) fn new(snaplen: u32, names: &Names) -> Result<Self, PcapError> {
        let application = concat!("guideway ", env!("CARGO_PKG_VERSION"));
        let section = SectionHeaderBlock {
            endianness: Endianness::Little,
            options: vec![SectionHeaderOption::UserApplication(application.into())],
            ..SectionHeaderBlock::default()
        };
        let mut writer = PcapNgWriter::with_section_header(Vec::new(), section)?;
        for name in &names.ports {
            let options = vec![
                InterfaceDescriptionOption::IfName(name.into()),
                InterfaceDescriptionOption::IfTsResol(NANOSECONDS),
            ];
            let linktype = DataLink::ETHERNET;
            writer.write_pcapng_block(InterfaceDescriptionBlock { linktype, snaplen, options })?;
        }
        Ok(Self { writer, lost: vec![0; names.ports.len()], last_at: 0 })
    }

    /// What has been written since the last time.
    pub(super) fn take(&mut self, out: &mut Vec<u8>) {
        out.append(self.writer.get_mut());
    }

    fn write<'a>(&mut self, block: impl PcapNgBlock<'a>) {
        // Memory takes it all; a port that is not there is none of ours.
        if let Err(error) = self.writer.write_pcapng_block(block) {
            log::debug!("capture: {error}");
        }
    }

    pub(super) fn record(&mut self, record: &Record, names: &Names, out: &mut Vec<u8>) {
        let about = &record.about;
        self.last_at = about.at.as_nanos() as u64;
        let direction = if about.direction == Direction::Received { INBOUND } else { OUTBOUND };
        let block = EnhancedPacketBlock {
            interface_id: about.port.0.into(),
            timestamp: about.at,
            original_len: about.len as u32,
            data: Cow::Borrowed(record.bytes()),
            options: vec![
                EnhancedPacketOption::Comment(told::comment(about, record.bytes(), names).into()),
                EnhancedPacketOption::Flags(direction),
            ],
        };
        self.write(block);
        self.take(out);
    }

    /// A block of statistics for each port of which more were lost than was told last; of the first one `always`.
    pub(super) fn losses(&mut self, lost: &[u64], always: bool, out: &mut Vec<u8>) {
        for (port, lost) in (0u32..).zip(lost) {
            let Some(told) = self.lost.get_mut(port as usize) else { break };
            if *lost == *told && !(always && port == 0) {
                continue;
            }
            *told = *lost;
            self.write(InterfaceStatisticsBlock {
                interface_id: port,
                // The upper half comes first on the wire (section 4.6), and the crate writes it as one word.
                timestamp: self.last_at.rotate_left(32),
                options: vec![InterfaceStatisticsOption::IsbOsDrop(*lost)],
            });
        }
        self.take(out);
    }
}
