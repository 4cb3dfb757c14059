//! Capture files: pcap and pcapng in, pcap out. Ethernet only.

use std::fmt;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::Path;
use std::time::Duration;

use pcap_file::pcap::{PcapHeader, PcapReader, PcapWriter, RawPcapPacket};
use pcap_file::pcapng::blocks::interface_description::InterfaceDescriptionOption;
use pcap_file::pcapng::{Block, PcapNgReader};
use pcap_file::{DataLink, Endianness, PcapError, TsResolution};

/// The first bytes of a pcapng file (draft-ietf-opsawg-pcapng section 4.1).
const PCAPNG_MAGIC: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];

/// A frame may be so long; jumbo frames and what offloads make of them fit.
const SNAPLEN: u32 = 262_144;

/// What is wrong with a capture file.
#[derive(Debug)]
pub enum CaptureError {
    /// The system did not let us read or write it.
    Io(std::io::Error),
    /// A directory, a pipe or a device.
    NotAFile,
    /// Neither pcap nor pcapng, or damaged.
    Damaged {
        /// The frame that could not be read, from 1; 0 for the file's header.
        frame: u64,
        /// What is wrong there.
        what: String,
    },
    /// Not a capture of Ethernet.
    NotEthernet(DataLink),
}

impl fmt::Display for CaptureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "{error}"),
            Self::NotAFile => f.write_str("not a regular file; write what a pipe gives to a file first"),
            Self::Damaged { frame: 0, what } => write!(f, "not a pcap or pcapng file: {what}"),
            Self::Damaged { frame, what } => write!(f, "damaged at frame {frame}: {what}"),
            Self::NotEthernet(link) => {
                write!(f, "link type {}; only captures of Ethernet (1) can be read", u32::from(*link))
            }
        }
    }
}

/// A frame of a capture, and when it was seen (since 1970).
pub type Captured = (Duration, Vec<u8>);

/// A capture file being read.
pub struct CaptureReader {
    kind: Kind,
    frames: u64,
}

enum Kind {
    Pcap(PcapReader<BufReader<File>>, PcapHeader),
    PcapNg(PcapNgReader<BufReader<File>>),
}

impl CaptureReader {
    /// Opens a file of either format.
    ///
    /// # Errors
    /// When it cannot be read, is of neither format, or holds no Ethernet.
    pub fn open(path: &Path) -> Result<Self, CaptureError> {
        let mut magic = [0; 4];
        // It is read more than once, which a pipe cannot be; and to open one could take for ever.
        if !std::fs::metadata(path).map_err(CaptureError::Io)?.is_file() {
            return Err(CaptureError::NotAFile);
        }
        let mut file = File::open(path).map_err(CaptureError::Io)?;
        let read = file.read(&mut magic).map_err(CaptureError::Io)?;
        if read < magic.len() {
            return Err(CaptureError::Damaged { frame: 0, what: format!("it has only {read} bytes") });
        }
        let reader = BufReader::new(File::open(path).map_err(CaptureError::Io)?);
        let kind = if magic == PCAPNG_MAGIC {
            Kind::PcapNg(PcapNgReader::new(reader).map_err(|e| damaged(0, &e))?)
        } else {
            let reader = PcapReader::new(reader).map_err(|e| damaged(0, &e))?;
            let header = reader.header();
            if header.datalink != DataLink::ETHERNET {
                return Err(CaptureError::NotEthernet(header.datalink));
            }
            Kind::Pcap(reader, header)
        };
        Ok(Self { kind, frames: 0 })
    }

    /// Whether its timestamps are finer than microseconds.
    pub fn has_nanoseconds(&self) -> bool {
        match &self.kind {
            Kind::Pcap(_, header) => header.ts_resolution == TsResolution::NanoSecond,
            Kind::PcapNg(_) => true,
        }
    }

    /// The next frame; `None` after the last.
    ///
    /// # Errors
    /// When the file is damaged or cannot be read further.
    pub fn next_frame(&mut self) -> Result<Option<Captured>, CaptureError> {
        self.frames += 1;
        match &mut self.kind {
            Kind::Pcap(reader, header) => {
                let Some(packet) = reader.next_raw_packet() else { return Ok(None) };
                let packet = packet.map_err(|e| damaged(self.frames, &e))?;
                if packet.incl_len > SNAPLEN {
                    let what = format!("a length of {} bytes", packet.incl_len);
                    return Err(CaptureError::Damaged { frame: self.frames, what });
                }
                let unit = if header.ts_resolution == TsResolution::NanoSecond { 1 } else { 1000 };
                let fraction = Duration::from_nanos(u64::from(packet.ts_frac) * unit);
                Ok(Some((Duration::from_secs(packet.ts_sec.into()) + fraction, packet.data.into_owned())))
            }
            Kind::PcapNg(reader) => next_pcapng(reader, self.frames),
        }
    }
}

fn next_pcapng(
    reader: &mut PcapNgReader<BufReader<File>>,
    frame: u64,
) -> Result<Option<Captured>, CaptureError> {
    loop {
        let Some(block) = reader.next_block() else { return Ok(None) };
        let (interface, raw_timestamp, data) = match block.map_err(|e| damaged(frame, &e))? {
            // The reader takes the timestamp for nanoseconds, whatever the interface's unit is.
            Block::EnhancedPacket(p) => (p.interface_id, p.timestamp.as_nanos() as u64, p.data.into_owned()),
            Block::SimplePacket(p) => (0, 0, p.data.into_owned()),
            _ => continue,
        };
        let Some(interface) = reader.interfaces().get(interface as usize) else {
            return Err(CaptureError::Damaged { frame, what: format!("no interface {interface}") });
        };
        if interface.linktype != DataLink::ETHERNET {
            return Err(CaptureError::NotEthernet(interface.linktype));
        }
        let resolution = interface.options.iter().find_map(|option| match option {
            InterfaceDescriptionOption::IfTsResol(resolution) => Some(*resolution),
            _ => None,
        });
        let offset = interface.options.iter().find_map(|option| match option {
            InterfaceDescriptionOption::IfTsOffset(seconds) => Some(*seconds as i64),
            _ => None,
        });
        return Ok(Some((shifted(timestamp(raw_timestamp, resolution), offset), data)));
    }
}

/// The unit of a timestamp: a power of ten, or of two if the top bit is set; microseconds by default
/// (draft-ietf-opsawg-pcapng section 4.2, `if_tsresol`).
fn timestamp(raw: u64, resolution: Option<u8>) -> Duration {
    let resolution = resolution.unwrap_or(6);
    let exponent = u32::from(resolution & 0x7f);
    let base: u128 = if resolution & 0x80 == 0 { 10 } else { 2 };
    let Some(per_second) = base.checked_pow(exponent).filter(|p| *p < 1 << 64) else { return Duration::ZERO };
    let nanos = u128::from(raw) * 1_000_000_000 / per_second;
    Duration::new((nanos / 1_000_000_000) as u64, (nanos % 1_000_000_000) as u32)
}

/// Some captures count from another second than 1970's first (section 4.2, `if_tsoffset`).
fn shifted(at: Duration, offset: Option<i64>) -> Duration {
    let seconds = Duration::from_secs(offset.unwrap_or(0).unsigned_abs());
    if offset.unwrap_or(0) < 0 { at.saturating_sub(seconds) } else { at.saturating_add(seconds) }
}

fn damaged(frame: u64, error: &PcapError) -> CaptureError {
    let is_cut = match error {
        PcapError::IncompleteBuffer => true,
        PcapError::IoError(error) => error.kind() == std::io::ErrorKind::UnexpectedEof,
        _ => false,
    };
    let what = if is_cut { "it is cut off".into() } else { error.to_string() };
    CaptureError::Damaged { frame, what }
}

/// A pcap file being written.
pub struct CaptureWriter(PcapWriter<BufWriter<File>>);

impl CaptureWriter {
    /// Makes or overwrites the file.
    ///
    /// # Errors
    /// When the system does not let us.
    pub fn create(path: &Path, nanoseconds: bool) -> Result<Self, CaptureError> {
        let file = BufWriter::new(File::create(path).map_err(CaptureError::Io)?);
        let ts_resolution = if nanoseconds { TsResolution::NanoSecond } else { TsResolution::MicroSecond };
        let header = PcapHeader {
            version_major: 2,
            version_minor: 4,
            ts_correction: 0,
            ts_accuracy: 0,
            snaplen: SNAPLEN,
            datalink: DataLink::ETHERNET,
            ts_resolution,
            endianness: Endianness::Little,
        };
        PcapWriter::with_header(file, header).map(Self).map_err(unwritten)
    }

    /// Appends a frame.
    ///
    /// # Errors
    /// When the system does not let us.
    pub fn write(&mut self, at: Duration, frame: &[u8]) -> Result<(), CaptureError> {
        let unit = if self.0.ts_resolution() == TsResolution::NanoSecond { 1 } else { 1000 };
        let len = frame.len() as u32;
        let packet = RawPcapPacket {
            ts_sec: at.as_secs() as u32,
            ts_frac: at.subsec_nanos() / unit,
            incl_len: len,
            orig_len: len,
            data: frame.into(),
        };
        self.0.write_raw_packet(&packet).map(|_| ()).map_err(unwritten)
    }

    /// Writes what is still held back.
    ///
    /// # Errors
    /// When the system does not let us.
    pub fn finish(self) -> Result<(), CaptureError> {
        self.0.into_writer().flush().map_err(CaptureError::Io)
    }
}

fn unwritten(error: PcapError) -> CaptureError {
    match error {
        PcapError::IoError(error) => CaptureError::Io(error),
        other => CaptureError::Io(std::io::Error::other(other.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_come_in_many_units() {
        let quarter_past = Duration::from_millis(1_250);
        for (raw, resolution) in
            [(1_250_000, None), (1_250, Some(3)), (1_250_000_000, Some(9)), (80, Some(0x86))]
        {
            assert_eq!(timestamp(raw, resolution), quarter_past, "{resolution:?}");
        }
        assert_eq!(timestamp(1, Some(0xff)), Duration::ZERO);
    }

    #[test]
    fn what_is_written_is_read_back_and_damage_is_told() {
        let path = std::env::temp_dir().join(format!("guideway-capture-{}.pcap", std::process::id()));
        let frames: Vec<Captured> =
            (1u8..20).map(|i| (Duration::new(i.into(), u32::from(i) * 1000), vec![i; 60])).collect();
        let mut writer = CaptureWriter::create(&path, false).unwrap();
        frames.iter().for_each(|(at, frame)| writer.write(*at, frame).unwrap());
        writer.finish().unwrap();
        let mut reader = CaptureReader::open(&path).unwrap();
        for frame in &frames {
            assert_eq!(reader.next_frame().unwrap().as_ref(), Some(frame));
        }
        assert_eq!(reader.next_frame().unwrap(), None);

        let whole = std::fs::read(&path).unwrap();
        for len in [0, 3, 23] {
            std::fs::write(&path, &whole[..len]).unwrap();
            assert!(
                matches!(CaptureReader::open(&path), Err(CaptureError::Damaged { frame: 0, .. })),
                "{len}"
            );
        }
        std::fs::write(&path, &whole[..whole.len() - 1]).unwrap();
        let mut reader = CaptureReader::open(&path).unwrap();
        let error = std::iter::repeat_with(|| reader.next_frame()).find_map(Result::err).unwrap();
        assert_eq!(error.to_string(), "damaged at frame 19: it is cut off");
        std::fs::remove_file(&path).unwrap();
    }
}
