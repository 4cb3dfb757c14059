//! Cutting a packet of IPv4 up into parts that fit a link (RFC 791 section 3.2, RFC 1812 section 5.2.7.1).

use super::ipv4::{self, Header};

/// Options of fragments that are not the first: those that say so (RFC 791 section 3.1, "copied flag").
const OPTION_COPIED: u8 = 0x80;
/// The two options that are one byte long.
const OPTION_END: u8 = 0;
const OPTION_NOTHING: u8 = 1;

/// A header with as many options as there can be.
const HEADER_MAX: usize = 60;

/// A packet to be cut up, which may be a fragment itself.
pub struct Parts<'a> {
    header: &'a [u8],
    later_header: ([u8; HEADER_MAX], usize),
    payload: &'a [u8],
    mtu: usize,
}

impl<'a> Parts<'a> {
    /// Of the packet at the start of `bytes`. `None` for what is no sound packet of IPv4, for what must not be cut up, and
    /// where a part would hold nothing.
    pub fn of(bytes: &'a [u8], mtu: u16) -> Option<Self> {
        let fixed = Header(bytes.first_chunk()?);
        if fixed.version() != 4 || fixed.dont_fragment() {
            return None;
        }
        let (header, payload) = bytes.get(..fixed.total_len())?.split_at_checked(fixed.header_len())?;
        let mtu = usize::from(mtu);
        // Eight bytes of payload are the least that a part can hold.
        if header.len() < ipv4::HEADER_LEN || mtu < header.len() + 8 {
            return None;
        }
        Some(Self { header, later_header: later_header(header), payload, mtu })
    }

    /// Writes the part whose payload begins at byte `from` of this packet's. Returns its length, and where the next one
    /// begins; `None` beyond the last, and where `out` has no room.
    pub fn write(&self, from: usize, out: &mut [u8]) -> Option<(usize, usize)> {
        let (bytes, len) = &self.later_header;
        let header = if from == 0 { self.header } else { bytes.get(..*len)? };
        let rest = self.payload.get(from..).filter(|rest| !rest.is_empty())?;
        let room = self.mtu.checked_sub(header.len())?;
        let is_last = rest.len() <= room;
        // All but the last are multiples of eight bytes long.
        let taken = rest.get(..if is_last { rest.len() } else { room & !7 })?;
        let total_len = header.len() + taken.len();
        let part = out.get_mut(..total_len)?;
        let (head, body) = part.split_at_mut_checked(header.len())?;
        head.copy_from_slice(header);
        body.copy_from_slice(taken);
        let whole = Header(self.header.first_chunk()?);
        let offset = whole.fragment_offset().checked_add(u16::try_from(from).ok()?)? >> 3;
        let more = whole.more_fragments() || !is_last;
        let word = offset | if more { u16::from(ipv4::MORE_FRAGMENTS) << 8 } else { 0 };
        write(head, ipv4::TOTAL_LEN_OFFSET, u16::try_from(total_len).ok()?)?;
        write(head, ipv4::FRAGMENT_OFFSET, word)?;
        ipv4::write_checksum(head);
        Some((total_len, from + taken.len()))
    }
}

fn write(header: &mut [u8], at: usize, value: u16) -> Option<()> {
    *header.get_mut(at..)?.first_chunk_mut()? = value.to_be_bytes();
    Some(())
}

/// The header of all parts but the first.
fn later_header(header: &[u8]) -> ([u8; HEADER_MAX], usize) {
    let mut later = [OPTION_END; HEADER_MAX];
    let mut len = 0;
    let mut keep = |bytes: &[u8]| {
        if let Some(place) = later.get_mut(len..len + bytes.len()) {
            place.copy_from_slice(bytes);
            len += bytes.len();
        }
    };
    let (fixed, mut options) = header.split_at_checked(ipv4::HEADER_LEN).unwrap_or_default();
    keep(fixed);
    while let Some(kind) = options.first().filter(|kind| **kind != OPTION_END) {
        let option_len = if *kind == OPTION_NOTHING { 1 } else { options.get(1).map_or(0, |len| *len) };
        // One of no length, or that ends beyond the header, ends the options.
        let split = options.split_at_checked(option_len.into()).filter(|(option, _)| !option.is_empty());
        let Some((option, rest)) = split else { break };
        if kind & OPTION_COPIED != 0 {
            keep(option);
        }
        options = rest;
    }
    let len = len.next_multiple_of(4);
    if let Some(first) = later.first_mut() {
        *first = 0x40 | (len / 4) as u8;
    }
    (later, len)
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::defrag::{IpDefragPayloadVec, IpDefragPool};
    use etherparse::{IpFragOffset, Ipv4Header, Ipv4Options, SlicedPacket};
    use proptest::prelude::*;

    fn packet(options: &[u8], payload: &[u8], offset: u16, more: bool) -> Vec<u8> {
        let mut header = Ipv4Header::new(
            payload.len() as u16,
            64,
            etherparse::IpNumber(200),
            [10, 0, 0, 1],
            [10, 0, 0, 2],
        )
        .unwrap();
        header.identification = 77;
        header.dont_fragment = false;
        header.fragment_offset = IpFragOffset::try_new(offset / 8).unwrap();
        header.more_fragments = more;
        header.options = Ipv4Options::try_from(options).unwrap();
        header.set_payload_len(payload.len()).unwrap();
        header.header_checksum = header.calc_header_checksum();
        let mut bytes = header.to_bytes().to_vec();
        bytes.extend_from_slice(payload);
        bytes
    }

    fn cut(packet: &[u8], mtu: u16) -> Vec<Vec<u8>> {
        let parts = Parts::of(packet, mtu).unwrap();
        let (mut from, mut all) = (0, Vec::new());
        let mut out = vec![0; mtu.into()];
        while let Some((len, next)) = parts.write(from, &mut out) {
            all.push(out[..len].to_vec());
            assert!(next > from);
            from = next;
        }
        all
    }

    /// What a receiver makes of the parts, by another implementation.
    fn joined(parts: &[Vec<u8>]) -> Option<IpDefragPayloadVec> {
        let mut pool = IpDefragPool::<(), ()>::new();
        let mut done = None;
        for part in parts {
            assert!(done.is_none(), "a part comes after the end");
            done = pool.process_sliced_packet(&SlicedPacket::from_ip(part).unwrap(), (), ()).unwrap();
        }
        done
    }

    #[test]
    fn parts_are_as_long_as_they_can_be_and_say_where_they_belong() {
        let payload: Vec<u8> = (0..100).collect();
        let parts = cut(&packet(&[], &payload, 0, false), 60);
        let of: Vec<(usize, u16, bool)> = parts
            .iter()
            .map(|part| {
                let header = Header(part.first_chunk().unwrap());
                assert!(ipv4::checksum_is_right(&part[..header.header_len()]));
                assert_eq!(header.identification(), 77);
                (header.total_len(), header.fragment_offset(), header.more_fragments())
            })
            .collect();
        assert_eq!(of, [(60, 0, true), (60, 40, true), (40, 80, false)]);
    }

    #[test]
    fn a_fragment_is_cut_within_its_datagram() {
        let parts = cut(&packet(&[], &[7; 64], 800, true), 52);
        let of = parts.iter().map(|part| Header(part.first_chunk().unwrap()));
        let of: Vec<(u16, bool)> = of.map(|h| (h.fragment_offset(), h.more_fragments())).collect();
        assert_eq!(of, [(800, true), (832, true)]);
    }

    #[test]
    fn options_go_with_all_parts_where_they_say_so() {
        // Router alert is copied, record route is not.
        let options = [7, 7, 4, 0, 0, 0, 0, 1, 0x94, 4, 0, 0, 0, 0, 0, 0];
        let parts = cut(&packet(&options, &[1; 100], 0, false), 68);
        assert_eq!(parts[0][20..36], options);
        for later in &parts[1..] {
            assert_eq!((later[0], &later[20..24]), (0x46, &[0x94, 4, 0, 0][..]));
            assert!(ipv4::checksum_is_right(&later[..24]));
        }
    }

    #[test]
    fn what_must_not_be_cut_up_is_not() {
        let mut whole = packet(&[], &[0; 100], 0, false);
        assert!(Parts::of(&whole, 27).is_none() && Parts::of(&whole, 28).is_some());
        assert!(Parts::of(&whole[..119], 60).is_none());
        whole[ipv4::FRAGMENT_OFFSET] |= ipv4::DONT_FRAGMENT;
        assert!(Parts::of(&whole, 60).is_none());
    }

    proptest! {
        #[test]
        fn others_put_the_parts_together(
            payload in proptest::collection::vec(any::<u8>(), 200..3000),
            words in proptest::collection::vec(any::<[u8; 4]>(), 0..=10),
            mtu in 68u16..1500,
        ) {
            let packet = packet(words.as_flattened(), &payload, 0, false);
            let parts = cut(&packet, mtu);
            prop_assert!(parts.iter().all(|part| part.len() <= mtu.into()));
            if packet.len() > mtu.into() {
                prop_assert_eq!(&joined(&parts).unwrap().payload, &payload);
                // In another order too.
                let reversed: Vec<_> = parts.into_iter().rev().collect();
                prop_assert_eq!(&joined(&reversed).unwrap().payload, &payload);
            } else {
                prop_assert_eq!(&parts[0][20..], &packet[20..]);
            }
        }

        #[test]
        fn nothing_makes_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), mtu: u16) {
            if let Some(parts) = Parts::of(&bytes, mtu) {
                let mut out = [0; 200];
                let mut from = 0;
                while let Some((_, next)) = parts.write(from, &mut out) {
                    prop_assert!(next > from);
                    from = next;
                }
            }
        }
    }
}
