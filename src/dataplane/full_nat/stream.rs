//! What full NAT keeps of a TCP flow's numbers: where the client is, so that both ends can be reset; and where its data
//! begins, so that something can be put in front of it. From there on the backend counts further than the client.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::proxy;
use crate::dataplane::flow_table::Position;
use crate::snapshot::ClientAddress;
use crate::wire::bare::Numbers;
use crate::wire::checksum::Delta;
use crate::wire::l4::{
    self, TCP_ACKNOWLEDGEMENT_OFFSET, TCP_CHECKSUM_OFFSET, TCP_HEADER_LEN, TCP_SEQUENCE_OFFSET, TcpFlags,
};
use crate::wire::tcp_options;

/// What is to go along with a flow, and how far that is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(transparent)]
pub(in crate::dataplane) struct Marks(u32);

impl Marks {
    /// The flow was seen from its SYN on: `first` is known.
    const BEGUN: u32 = 1;
    /// A header of the PROXY protocol has been sent.
    const SENT: u32 = 2;
    /// The backend has acknowledged it.
    const TAKEN: u32 = 4;
    /// The backend has sent more than its SYN, and so has got what came with the handshake.
    const ANSWERED: u32 = 8;
    /// The rule wants the header.
    const PROXY: u32 = 16;
    /// The rule wants the option.
    const TOA: u32 = 32;
    /// Both are longer: the client has an address of IPv6.
    const V6: u32 = 64;

    fn has(self, bits: u32) -> bool {
        self.0 & bits == bits
    }

    fn set(&mut self, bits: u32) {
        self.0 |= bits;
    }
}

/// A TCP flow's numbers, as its client counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(in crate::dataplane) struct Stream {
    pub(super) position: Position,
    /// The number of the first byte of the client's data.
    first: u32,
    marks: Marks,
}

/// What goes along with a client's segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Extras {
    /// The option with the client's address.
    pub(super) toa: bool,
    /// The header, in front of the data.
    pub(super) proxy: bool,
    /// The data is left off: what a SYN brings would arrive before the header.
    pub(super) cut: bool,
}

impl Stream {
    /// Of a flow that begins.
    pub(super) fn new(wanted: ClientAddress, is_v6: bool) -> Self {
        let mut marks = Marks::default();
        for (is_wanted, bits) in
            [(wanted.toa, Marks::TOA), (wanted.proxy_v2, Marks::PROXY), (is_v6, Marks::V6)]
        {
            marks.set(if is_wanted { bits } else { 0 });
        }
        Self { marks, ..Self::default() }
    }

    /// Follows a segment of the client's. `begins` while the flow has shown one packet only. What is to go along with it.
    pub(super) fn follow_client(&mut self, numbers: Numbers, begins: bool) -> Extras {
        let new = Position::after(numbers);
        self.position = if begins { new } else { self.position.advanced_to(new) };
        let opens = numbers.flags.opens();
        if opens && begins {
            (self.first, self.marks.0) = (
                numbers.sequence.wrapping_add(1),
                self.marks.0 & !(Marks::SENT | Marks::TAKEN) | Marks::BEGUN,
            );
        }
        if !self.marks.has(Marks::BEGUN) || numbers.flags.any(TcpFlags::RST) {
            return Extras::default();
        }
        let wants_proxy = self.marks.has(Marks::PROXY) && !self.marks.has(Marks::TAKEN);
        Extras {
            toa: self.marks.has(Marks::TOA) && !self.marks.has(Marks::ANSWERED),
            proxy: wants_proxy && !opens && numbers.sequence == self.first,
            cut: wants_proxy && opens,
        }
    }

    /// The number of the first byte of the client's data.
    pub(super) fn first(&self) -> u32 {
        self.first
    }

    /// The header is on its way.
    pub(super) fn sent_proxy(&mut self) {
        self.marks.set(Marks::SENT);
    }

    /// What the client's numbers lack, where its segments are about to be sent on.
    pub(super) fn lag(&self, flags: TcpFlags) -> u32 {
        let is_fresh = flags.opens() || flags.any(TcpFlags::RST) && !self.marks.has(Marks::SENT);
        if is_fresh { 0 } else { self.lag_of_data() }
    }

    /// The same of its data.
    pub(super) fn lag_of_data(&self) -> u32 {
        let counts = self.marks.has(Marks::PROXY | Marks::BEGUN);
        if counts { proxy::len(self.marks.has(Marks::V6)) as u32 } else { 0 }
    }

    /// Follows a segment of the backend's.
    pub(super) fn follow_backend(&mut self, numbers: Numbers) {
        if !numbers.flags.any(TcpFlags::SYN) {
            self.marks.set(Marks::ANSWERED);
        }
        let ahead = numbers.acknowledgement.wrapping_sub(self.first) as i32;
        if numbers.flags.any(TcpFlags::ACK)
            && self.marks.has(Marks::PROXY | Marks::SENT)
            && ahead >= self.lag_of_data() as i32
        {
            self.marks.set(Marks::TAKEN);
        }
    }

    /// A number that the backend acknowledges, as the client counts. It never sees that a part of the header is there.
    fn acknowledged(&self, number: u32) -> u32 {
        let lag = self.lag_of_data();
        if self.marks.has(Marks::TAKEN) {
            return number.wrapping_sub(lag);
        }
        match number.wrapping_sub(self.first) as i32 {
            ..=0 => number,
            ahead if ahead < lag as i32 => self.first,
            _ => number.wrapping_sub(lag),
        }
    }

    /// Has a segment of the backend's acknowledge what its client has sent.
    pub(super) fn turn_back(&self, segment: &mut [u8], numbers: Numbers) -> Option<()> {
        if self.lag_of_data() == 0 {
            return Some(());
        }
        let mut sum = Delta::NONE;
        if numbers.flags.any(TcpFlags::ACK) {
            sum = replace(segment, TCP_ACKNOWLEDGEMENT_OFFSET, sum, |number| self.acknowledged(number))?;
        }
        let header_len = l4::tcp_header_len(segment.first_chunk()?);
        let options = segment.get(TCP_HEADER_LEN..header_len)?;
        if let Some((at, len)) = tcp_options::find(options, tcp_options::KIND_SACK) {
            let edges = TCP_HEADER_LEN + at + 2..(TCP_HEADER_LEN + at + len).saturating_sub(3);
            for edge in edges.step_by(4) {
                sum = replace(segment, edge, sum, |number| self.acknowledged(number))?;
            }
        }
        apply(segment, sum)
    }

    /// The client's number of one that the backend was sent.
    pub(super) fn number_of_client(&self, number: u32) -> u32 {
        if self.lag_of_data() == 0 { number } else { self.acknowledged(number) }
    }
}

/// Has a client's segment count as its backend does.
pub(super) fn put_ahead(segment: &mut [u8], lag: u32) -> Option<()> {
    if lag == 0 {
        return Some(());
    }
    let sum = replace(segment, TCP_SEQUENCE_OFFSET, Delta::NONE, |number| number.wrapping_add(lag))?;
    apply(segment, sum)
}

/// The sequence number of a TCP header that is quoted at `at`.
pub(super) fn quoted_sequence(frame: &[u8], at: usize) -> Option<u32> {
    let number = frame.get(at + TCP_SEQUENCE_OFFSET..)?.first_chunk::<4>()?;
    Some(u32::from_be_bytes(*number))
}

/// Replaces the number at `at`, which may be odd: the checksum counts words from the segment's first byte.
fn replace(segment: &mut [u8], at: usize, sum: Delta, new: impl Fn(u32) -> u32) -> Option<Delta> {
    let words = segment.get_mut(at & !1..at + 4 + (at & 1))?;
    let mut old = [0; 6];
    old.get_mut(..words.len())?.copy_from_slice(words);
    let number = words.get_mut(at & 1..)?.first_chunk_mut::<4>()?;
    *number = new(u32::from_be_bytes(*number)).to_be_bytes();
    let mut now = [0; 6];
    now.get_mut(..words.len())?.copy_from_slice(words);
    Some(sum.replace(old, now))
}

fn apply(segment: &mut [u8], sum: Delta) -> Option<()> {
    let field = segment.get_mut(TCP_CHECKSUM_OFFSET..)?.first_chunk_mut::<2>()?;
    *field = sum.apply(*field);
    Some(())
}
