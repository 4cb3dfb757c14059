//! The Internet checksum (RFC 1071), in full and by difference (RFC 1624).
//!
//! One's complement sums do not care for byte order as long as it is the same throughout (RFC 1071
//! section 2 B). Here all sums are in the order the bytes have in memory, so that nothing is swapped.

use std::net::IpAddr;

/// The one's complement sum of `bytes`, an odd last byte padded with zero. Not inverted.
pub fn sum(bytes: &[u8]) -> u16 {
    let (words, rest) = bytes.as_chunks::<4>();
    // 64 bits hold the sum of 2^32 words of 32 bits, far above any frame.
    let mut total: u64 = words.iter().map(|word| u64::from(u32::from_ne_bytes(*word))).sum();
    let (halves, last) = rest.as_chunks::<2>();
    total += halves.iter().map(|half| u64::from(u16::from_ne_bytes(*half))).sum::<u64>();
    total += last.first().map_or(0, |byte| u64::from(u16::from_ne_bytes([*byte, 0])));
    fold(total)
}

/// Adds the carries back in until 16 bits are left.
#[inline(always)]
pub fn fold(total: u64) -> u16 {
    // A number plus itself turned by half its width has the sum of its halves, carry included, on top.
    let halves = (total.wrapping_add(total.rotate_left(32)) >> 32) as u32;
    (halves.wrapping_add(halves.rotate_left(16)) >> 16) as u16
}

/// The same of the sum of a few words.
#[inline(always)]
pub fn fold_few(total: u32) -> u16 {
    (total.wrapping_add(total.rotate_left(16)) >> 16) as u16
}

/// The checksum field for data whose one's complement sum, the field counted as zero, is `sum`.
#[inline]
pub fn field(sum: u16) -> [u8; 2] {
    (!sum).to_ne_bytes()
}

/// The sum of the pseudo header that TCP, UDP and ICMPv6 count in: RFC 9293 section 3.1 over IPv4, RFC 8200 section 8.1
/// over IPv6. `len` counts the bytes of what is carried, its own header included.
pub fn pseudo(source: IpAddr, destination: IpAddr, protocol: u8, len: u16) -> u16 {
    let ends = addresses(source) + addresses(destination);
    let [high, low] = len.to_be_bytes();
    fold(ends + u64::from(sum(&[0, protocol, high, low])))
}

/// The sum of what is in `bytes` and of its pseudo header: all ones if it has a checksum, and that is right.
pub fn with_pseudo(source: IpAddr, destination: IpAddr, protocol: u8, bytes: &[u8]) -> u16 {
    // Longer ones fit in no packet of ours.
    let pseudo = pseudo(source, destination, protocol, bytes.len() as u16);
    fold(u64::from(pseudo) + u64::from(sum(bytes)))
}

fn addresses(address: IpAddr) -> u64 {
    u64::from(match address {
        IpAddr::V4(address) => sum(&address.octets()),
        IpAddr::V6(address) => sum(&address.octets()),
    })
}

/// What replacing some 16-bit words of the data by others adds to its one's complement sum:
/// `Σ(~old + new)`, folded (RFC 1624 equation 3).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Delta(u16);

impl Delta {
    /// Nothing replaced yet.
    pub const NONE: Self = Self(0);

    /// Further replaces `old` by `new`, both at an even offset of the data.
    pub fn replace<const N: usize>(self, old: [u8; N], new: [u8; N]) -> Self {
        const { assert!(N.is_multiple_of(2), "checksums are over 16-bit words") };
        Self(fold(u64::from(self.0) + u64::from(!sum(&old)) + u64::from(sum(&new))))
    }

    /// Further replaces words that sum to `old` by others, of which there may be more or less, that sum to `new`: a
    /// pseudo header of IPv4 by one of IPv6.
    pub fn replace_sum(self, old: u16, new: u16) -> Self {
        Self(fold(u64::from(self.0) + u64::from(!old) + u64::from(new)))
    }

    /// Both replacements.
    #[inline]
    pub fn and(self, other: Self) -> Self {
        Self(fold(u64::from(self.0) + u64::from(other.0)))
    }

    /// The checksum field after the replacement, from the field before it.
    #[inline(always)]
    pub fn apply(self, field: [u8; 2]) -> [u8; 2] {
        let (total, carry) = (!u16::from_ne_bytes(field)).overflowing_add(self.0);
        // Two 16-bit numbers carry at most once, and adding that carry cannot carry again.
        (!(total + u16::from(carry))).to_ne_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// RFC 1071 section 4.1, word by word.
    fn plain(bytes: &[u8]) -> u16 {
        let mut total = 0u32;
        for pair in bytes.chunks(2) {
            total += u32::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]));
        }
        while total >> 16 != 0 {
            total = (total & 0xffff) + (total >> 16);
        }
        total as u16
    }

    #[test]
    fn the_example_of_rfc_1071_section_3_sums_to_ddf2() {
        let sum = sum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]);
        assert_eq!(sum.to_ne_bytes(), [0xdd, 0xf2]);
    }

    #[test]
    fn the_example_of_rfc_1624_section_4_gives_zero_and_not_ffff() {
        let delta = Delta::NONE.replace([0x55, 0x55], [0x32, 0x85]);
        assert_eq!(delta.apply([0xdd, 0x2f]), [0x00, 0x00]);
    }

    proptest! {
        #[test]
        fn sums_agree_with_the_plain_loop(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
            prop_assert_eq!(sum(&bytes).to_ne_bytes(), plain(&bytes).to_be_bytes());
        }

        #[test]
        fn pseudo_headers_are_as_etherparse_has_them_and_one_is_replaced_by_the_other(
            v4 in any::<[[u8; 4]; 2]>(), v6 in any::<[[u8; 16]; 2]>(), payload in proptest::collection::vec(any::<u8>(), 0..99),
        ) {
            let udp = etherparse::UdpHeader::without_ipv4_checksum(4000, 53, payload.len()).unwrap();
            let v4_field = udp.calc_checksum_ipv4_raw(v4[0], v4[1], &payload).unwrap();
            let v6_field = udp.calc_checksum_ipv6_raw(v6[0], v6[1], &payload).unwrap();
            let bytes = [&udp.to_bytes()[..], &payload[..]].concat();
            let (v4, v6) = (v4.map(IpAddr::from), v6.map(IpAddr::from));
            // A sum of zero is sent as ones (RFC 768); there a field is two things.
            prop_assume!(v4_field != 0xffff && v6_field != 0xffff);
            let ours = field(with_pseudo(v4[0], v4[1], 17, &bytes));
            prop_assert_eq!(ours, v4_field.to_be_bytes());
            prop_assert_eq!(field(with_pseudo(v6[0], v6[1], 17, &bytes)), v6_field.to_be_bytes());
            let len = bytes.len() as u16;
            let there = Delta::NONE.replace_sum(pseudo(v4[0], v4[1], 17, len), pseudo(v6[0], v6[1], 17, len));
            prop_assert_eq!(there.apply(ours), v6_field.to_be_bytes());
            let ports = Delta::NONE.replace(4000u16.to_be_bytes(), 9u16.to_be_bytes());
            prop_assert_eq!(there.and(ports).apply(ours), there.apply(ports.apply(ours)));
        }

        #[test]
        fn updating_by_difference_gives_what_summing_anew_gives(
            mut data in proptest::collection::vec(any::<u8>(), 8..64), new in any::<[u8; 4]>(),
        ) {
            data[4] |= 1; // Data of nothing but zeros has two representations of its sum.
            let before = field(sum(&data));
            let old: [u8; 4] = data[..4].try_into().unwrap();
            data[..4].copy_from_slice(&new);
            let after = Delta::NONE.replace(old, new).apply(before);
            prop_assert_eq!(after, field(sum(&data)));
        }
    }
}
