//! TCP's options (RFC 9293 section 3.1): those that are read or written here, and where one stands.

/// The end of all options, and the two options that are one byte long.
const KIND_END: u8 = 0;
const KIND_NOTHING: u8 = 1;
/// The maximum segment size (RFC 9293 section 3.7.1).
pub const KIND_MSS: u8 = 2;
/// Selective acknowledgement (RFC 2018 section 3): a pair of sequence numbers for each block.
pub const KIND_SACK: u8 = 5;
/// The address of a client behind a balancer, as the kernel modules called TOA read it: a number for experiments (RFC 4727).
pub const KIND_TOA: u8 = 254;
/// Bytes of options, at most: the header's length counts four bits of words.
pub const LEN_MAX: usize = 40;

/// Where the first option of this kind is, and how long; if it lies whole within `options`.
pub fn find(options: &[u8], kind: u8) -> Option<(usize, usize)> {
    let mut at = 0;
    // Each turn passes one byte at least.
    for _ in 0..options.len() {
        let len = match *options.get(at)? {
            KIND_END => return None,
            KIND_NOTHING => 1,
            _ => usize::from(*options.get(at + 1)?),
        };
        if len == 0 || len == 1 && *options.get(at)? != KIND_NOTHING || at + len > options.len() {
            return None;
        }
        if *options.get(at)? == kind {
            return Some((at, len));
        }
        at += len;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn one_is_found_behind_others_and_only_whole() {
        assert_eq!(find(&[1, 1, 5, 10, 0, 0, 0, 1, 0, 0, 0, 2], KIND_SACK), Some((2, 10)));
        assert_eq!(find(&[2, 4, 5, 180, 8, 10, 0, 0, 0, 0, 0, 0, 0, 0], KIND_MSS), Some((0, 4)));
        for none in [&[5, 10, 0, 0][..], &[0, 5, 2], &[3, 0, 5, 2], &[3, 1, 5, 2], &[5], &[]] {
            assert_eq!(find(none, KIND_SACK), None, "{none:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_found_lies_within(options in proptest::collection::vec(any::<u8>(), 0..=LEN_MAX), kind: u8) {
            if let Some((at, len)) = find(&options, kind) {
                prop_assert!(len > 0 && at + len <= options.len() && options[at] == kind);
            }
        }
    }
}
