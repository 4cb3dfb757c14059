//! VLAN tags, between a frame's addresses and its EtherType.

use super::ethernet;

/// Where the first tag is: behind destination and source.
pub const OFFSET: usize = 12;

/// Bytes of a tag: EtherType and tag control information.
pub const TAG_LEN: usize = 4;

/// The most that a port's frames have.
pub const TAGS_MAX: usize = 2;

/// Those, and one of VLAN 0, which says nothing but a priority.
const READ_MAX: usize = TAGS_MAX + 1;

/// The bits of the tag control information that say which VLAN; the others are priority and drop eligibility (IEEE
/// 802.1Q-2018 section 9.6).
const VID: u16 = 0x0fff;

/// The VLAN of a frame: none, one, or one within another.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Vlan(u32);

impl Vlan {
    /// No VLAN.
    pub const NONE: Self = Self(0);

    /// One that no frame on a wire is in: it is left to who implements the standard (table 9-2).
    pub const NOWHERE: Self = Self(0xfff);

    /// Of the ids in `tags`, the outer first; only the last two count.
    pub fn of_tags(tags: &[u16]) -> Self {
        Self(tags.iter().fold(0, |all, tag| all << 16 | u32::from(*tag)))
    }

    /// The VLAN that the tags of `frame` say, and their bytes. What is in a tag of VLAN 0 is in no further VLAN for it
    /// (section 6.9.1), and the outer tag may be of either kind. `None` for a frame in more than two.
    #[inline]
    pub fn of_frame(frame: &[u8]) -> Option<(Self, usize)> {
        let (mut vlan, mut len) = (0u32, 0);
        for _ in 0..READ_MAX {
            let Some([a, b, c, d]) = frame.get(OFFSET + len..).and_then(|rest| rest.first_chunk()) else {
                break;
            };
            if ![ethernet::TYPE_VLAN, ethernet::TYPE_QINQ].contains(&u16::from_be_bytes([*a, *b])) {
                break;
            }
            let id = u32::from(u16::from_be_bytes([*c, *d]) & VID);
            if id != 0 && vlan > u32::from(VID) {
                return None;
            }
            vlan = if id == 0 { vlan } else { vlan << 16 | id };
            len += TAG_LEN;
        }
        Some((Self(vlan), len))
    }

    /// Its tags as they are on the wire, the outer one a service tag where there are two (section 9.5).
    pub fn tags(self) -> Tags {
        let [a, b, c, d] = self.0.to_be_bytes();
        let [[q, r], [s, t]] = [ethernet::TYPE_QINQ.to_be_bytes(), ethernet::TYPE_VLAN.to_be_bytes()];
        let len = match self.0 {
            0 => 0,
            1..=0xffff => TAG_LEN,
            _ => TAGS_MAX * TAG_LEN,
        };
        Tags { bytes: [q, r, a, b, s, t, c, d], len }
    }
}

/// The tags of a VLAN. Their priority is 0.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tags {
    /// Those that there are at the end.
    bytes: [u8; TAGS_MAX * TAG_LEN],
    len: usize,
}

impl Tags {
    /// The bytes, none for no VLAN.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(self.bytes.len() - self.len..).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(tags: &[(u16, u16)]) -> Vec<u8> {
        let mut frame = vec![7; OFFSET];
        for (kind, control) in tags {
            frame.extend(kind.to_be_bytes());
            frame.extend(control.to_be_bytes());
        }
        frame.extend([8, 0, 1, 2]);
        frame
    }

    /// Kind and control of each tag; the VLANs, and the bytes of tags.
    type Case = (&'static [(u16, u16)], Option<(&'static [u16], usize)>);

    #[test]
    fn the_vlan_is_what_the_tags_say_whatever_their_kind_and_priority() {
        const C: u16 = 0x8100;
        const S: u16 = 0x88a8;
        let cases: [Case; 13] = [
            (&[], Some((&[], 0))),
            (&[(C, 100)], Some((&[100], 4))),
            (&[(S, 100)], Some((&[100], 4))),
            (&[(C, 0xf064)], Some((&[100], 4))),
            (&[(S, 100), (C, 7)], Some((&[100, 7], 8))),
            (&[(C, 100), (C, 7)], Some((&[100, 7], 8))),
            (&[(C, 0xe000)], Some((&[], 4))),
            (&[(S, 0), (C, 7)], Some((&[7], 8))),
            (&[(S, 7), (C, 0)], Some((&[7], 8))),
            (&[(S, 0), (S, 100), (C, 7)], Some((&[100, 7], 12))),
            (&[(S, 1), (S, 100), (C, 7)], None),
            // Behind so many nobody looks.
            (&[(C, 0), (C, 0), (C, 0), (C, 7)], Some((&[], 12))),
            (&[(0x9100, 7)], Some((&[], 0))),
        ];
        for (tags, wanted) in cases {
            let wanted = wanted.map(|(ids, len)| (Vlan::of_tags(ids), len));
            assert_eq!(Vlan::of_frame(&frame(tags)), wanted, "{tags:x?}");
        }
        for len in 0..OFFSET + TAG_LEN {
            assert_eq!(Vlan::of_frame(&frame(&[(C, 7)])[..len]), Some((Vlan::NONE, 0)), "{len} bytes");
        }
    }

    #[test]
    fn tags_are_those_of_the_standard() {
        assert!(Vlan::NONE.tags().bytes().is_empty());
        assert_eq!(Vlan::of_tags(&[0x123]).tags().bytes(), [0x81, 0, 1, 0x23]);
        assert_eq!(Vlan::of_tags(&[0x123, 4]).tags().bytes(), [0x88, 0xa8, 1, 0x23, 0x81, 0, 0, 4]);
        assert_eq!(Vlan::NOWHERE.tags().bytes(), [0x81, 0, 0xf, 0xff]);
    }
}
