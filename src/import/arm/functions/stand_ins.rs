//! Functions that make names in Azure. Names decide nothing here, so that others do as well, if they are always the same.

use super::Call;
use crate::import::arm::template::Value;
use crate::import::arm::tree::Kind;

/// Letters and digits that are not mistaken for each other: base 32 of RFC 4648, section 6, in lower case.
const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
/// As long as Azure's.
const LENGTH: u32 = 13;

/// FNV-1a of texts, one behind the other.
fn hash(texts: &[String], seed: u8) -> u64 {
    let bytes = texts.iter().flat_map(|text| text.bytes().chain([0]));
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    [seed].into_iter().chain(bytes).fold(0xcbf2_9ce4_8422_2325, step)
}

impl Call<'_> {
    pub(super) fn stand_ins(&self) -> Option<Value> {
        let texts = || self.values.iter().map(|value| self.plain(value)).collect::<Result<Vec<_>, _>>();
        Some(match (self.name, self.values) {
            ("uniquestring", [_, ..]) => texts().map(|texts| {
                let hash = hash(&texts, 0);
                let letter = |place| ALPHABET.get((hash.rotate_left(5 * place) & 31) as usize).copied();
                Kind::text((0..LENGTH).filter_map(letter).map(char::from).collect::<String>())
            }),
            ("guid", [_, ..]) => texts().map(|texts| guid(hash(&texts, 1), hash(&texts, 2))),
            ("newguid", []) => Ok(guid(0, 0)),
            ("utcnow", _) => Ok(Kind::text("20000101T000000Z")),
            _ => return None,
        })
    }
}

fn guid(high: u64, low: u64) -> Kind {
    let digits = format!("{high:016x}{low:016x}");
    let parts = [0..8, 8..12, 12..16, 16..20, 20..32].map(|part| digits.get(part).unwrap_or_default());
    Kind::text(parts.join("-"))
}
