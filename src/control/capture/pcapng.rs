//! Records as pcapng: an interface for each port, and what became of each frame as its comment.

use std::borrow::Cow;
use std::time::SystemTime;

use pcap_file::pcapng::blocks::enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption};
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption,
};
use pcap_file::pcapng::blocks::interface_statistics::{InterfaceStatisticsBlock, InterfaceStatisticsOption};
use pcap_file::pcapng::blocks::section_header::{SectionHeaderBlock, SectionHeaderOption};
use pcap_file::pcapng::{PcapNgBlock, PcapNgWriter};
use pcap_file::{DataLink, Endianness, PcapError};

use super::{Names, told};
use crate::drop_reason::DropReason;
use crate::watch::{Direction, End, Record};
use crate::wire::vlan::OFFSET;

/// Nanoseconds: ten to the minus ninth (draft-ietf-opsawg-pcapng section 4.2, `if_tsresol`).
const NANOSECONDS: u8 = 9;

/// Directions in the flags word (section 4.3.1).
const INBOUND: u32 = 1;
const OUTBOUND: u32 = 2;

/// A file that is written into memory, and taken from there part by part.
pub(super) struct Encoder {
    writer: PcapNgWriter<Vec<u8>>,
    snaplen: usize,
    /// By port, as they were told last.
    lost: Vec<u64>,
}

/// A record's frame as it is on the wire, and how long that is there.
fn on_the_wire<'a>(record: &'a Record, names: &Names, snaplen: usize) -> (Cow<'a, [u8]>, usize) {
    let (about, bytes) = (&record.about, record.bytes());
    // These came to the path as they are.
    let came_whole = matches!(about.end, End::Dropped(DropReason::VlanTagged | DropReason::VlanMissing));
    let tags = names.tags.get(about.port.index()).filter(|_| !came_whole).map_or(&[][..], |t| t.bytes());
    match bytes.split_at_checked(OFFSET) {
        Some((addresses, rest)) if !tags.is_empty() => {
            let mut tagged = [addresses, tags, rest].concat();
            tagged.truncate(snaplen);
            (Cow::Owned(tagged), about.len + tags.len())
        }
        _ => (Cow::Borrowed(bytes), about.len),
    }
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
        Ok(Self { writer, snaplen: snaplen as usize, lost: vec![0; names.ports.len()] })
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
        let direction = if about.direction == Direction::Received { INBOUND } else { OUTBOUND };
        let (data, len) = on_the_wire(record, names, self.snaplen);
        let block = EnhancedPacketBlock {
            interface_id: about.port.0.into(),
            timestamp: about.at,
            original_len: len as u32,
            data,
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
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        for (port, lost) in (0u32..).zip(lost) {
            let Some(told) = self.lost.get_mut(port as usize) else { break };
            if *lost == *told && !(always && port == 0) {
                continue;
            }
            *told = *lost;
            self.write(InterfaceStatisticsBlock {
                interface_id: port,
                // The upper half comes first on the wire (section 4.6), and the crate writes it as one word.
                timestamp: (now.as_nanos() as u64).rotate_left(32),
                options: vec![InterfaceStatisticsOption::IsbOsDrop(*lost)],
            });
        }
        self.take(out);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use pcap_file::pcapng::{Block, PcapNgReader};

    use super::*;
    use crate::config::{Frontend, ProtocolSelector};
    use crate::io::PortId;
    use crate::watch::{About, Filter, FlowStory, Watch};
    use crate::wire::vlan::Vlan;

    const FRONTEND: Frontend = Frontend {
        address: std::net::IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 10)),
        prefix_len: 32,
        first_port: 443,
        last_port: 443,
        protocol: ProtocolSelector::Tcp,
    };

    fn names() -> Names {
        let rules = [(FRONTEND, "wéb".to_owned())].into();
        let tags = vec![Vlan::NONE.tags(); 2];
        Names { ports: vec!["outside".into(), "inside".into()], tags, rules }
    }

    fn about(end: End, direction: Direction) -> About {
        let flow = FlowStory {
            frontend: FRONTEND,
            backend: Some("10.0.0.4:8443".parse().unwrap()),
            is_response: false,
            before: None,
            after: None,
            by_server_id: false,
            choice: None,
            next_hop: None,
        };
        About {
            at: Duration::new(1_700_000_000, 123_456_789),
            port: PortId(1),
            direction,
            worker: 3,
            was_handed_over: false,
            len: 1500,
            end,
            flow: Some(flow),
            rewritten: None,
        }
    }

    /// What the end of a drain does, in words.
    #[test]
    fn resets_have_their_word() {
        use etherparse::PacketBuilder;
        let mut reset = Vec::new();
        let builder = PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4([10, 0, 0, 4], [10, 0, 0, 5], 64);
        builder.tcp(1, 2, 3, 4).rst().write(&mut reset, b"").unwrap();
        let told = |end, names: &Names| told::comment(&about(end, Direction::Sent), &reset, names);
        let answered = told(End::Answered(PortId(1), 3), &names());
        assert!(answered.starts_with("sent: answered (reset) to 10.0.0.4:8443 by rule wéb"), "{answered}");
        assert!(told(End::Originated, &names()).starts_with("originated (reset)"));
    }

    #[test]
    fn frames_are_told_with_the_tags_that_they_have_on_the_wire() {
        let watch = Watch::new(Filter::default(), 20, true);
        let tags = vec![Vlan::NONE.tags(), Vlan::of_tags(&[200, 7]).tags()];
        let names = Names { tags, ..names() };
        let frame: Vec<u8> = (0..20).collect();
        let told = |end| {
            let mut record = watch.take().unwrap();
            record.about = about(end, Direction::Received);
            record.keep(&frame);
            let (bytes, len) = on_the_wire(&record, &names, 24);
            let told = (bytes.into_owned(), len);
            watch.give_back(record);
            told
        };
        let tagged = [&frame[..12], &[0x88, 0xa8, 0, 200, 0x81, 0, 0, 7], &frame[12..16]].concat();
        assert_eq!(told(End::Controlled), (tagged, 1508));
        assert_eq!(told(End::Dropped(DropReason::VlanTagged)), (frame.clone(), 1500));
    }

    /// All that is written, read back by the crate's reader, which the tests hold against tshark end to end.
    #[test]
    fn names_times_directions_and_ends_are_read_back() {
        let watch = Watch::new(Filter::default(), 61, true);
        let mut encoder = Encoder::new(61, &names()).unwrap();
        let mut out = Vec::new();
        encoder.take(&mut out);
        let cases = [
            (End::Forwarded(PortId(0), 3), Direction::Received),
            (End::Forwarded(PortId(1), 3), Direction::Sent),
            (End::Dropped(DropReason::TtlExceeded), Direction::Received),
        ];
        for (end, direction) in cases {
            let mut record = watch.take().unwrap();
            record.about = about(end, direction);
            record.keep(&[7; 1500]);
            encoder.record(&record, &names(), &mut out);
        }
        encoder.losses(&[0, 0], false, &mut out);
        let (before, began) = (out.len(), SystemTime::now());
        encoder.losses(&[0, 5], false, &mut out);
        // Block type, length, interface, and the time: its upper half first.
        let word = |at: usize| u32::from_le_bytes(out[before + at..before + at + 4].try_into().unwrap());
        let told =
            SystemTime::UNIX_EPOCH + Duration::from_nanos(u64::from(word(12)) << 32 | u64::from(word(16)));
        assert!((began..=SystemTime::now()).contains(&told), "{told:?}");
        let mut reader = PcapNgReader::new(&out[..]).unwrap();
        let (mut comments, mut flags, mut lost) = (Vec::new(), Vec::new(), Vec::new());
        while let Some(block) = reader.next_block() {
            match block.unwrap() {
                Block::EnhancedPacket(packet) => {
                    assert_eq!((packet.interface_id, packet.original_len, packet.data.len()), (1, 1500, 61));
                    assert_eq!(packet.timestamp, Duration::new(1_700_000_000, 123_456_789));
                    for option in &packet.options {
                        match option {
                            EnhancedPacketOption::Comment(text) => comments.push(text.to_string()),
                            EnhancedPacketOption::Flags(bits) => flags.push(*bits),
                            other => panic!("{other:?}"),
                        }
                    }
                }
                Block::InterfaceStatistics(block) => {
                    assert_eq!(block.interface_id, 1);
                    lost.extend(block.into_owned().options);
                }
                _ => {}
            }
        }
        assert_eq!(
            comments,
            [
                "forwarded to 10.0.0.4:8443 by rule wéb, on outside, worker 3",
                "sent: forwarded to 10.0.0.4:8443 by rule wéb, worker 3",
                "dropped: ttl-exceeded, on its way to 10.0.0.4:8443 for rule wéb, worker 3",
            ]
        );
        assert_eq!(flags, [INBOUND, OUTBOUND, INBOUND]);
        assert_eq!(lost, [InterfaceStatisticsOption::IsbOsDrop(5)]);
        let name = InterfaceDescriptionOption::IfName("inside".into());
        let resolution = InterfaceDescriptionOption::IfTsResol(9);
        assert_eq!(reader.interfaces()[1].options, [name, resolution]);
    }
}
