//! Server ids in QUIC connection ids.

use super::{BadText, hash_key};
use crate::config::model::{HashKey, QUIC_SERVER_ID_LEN_MAX, QuicServerId};

/// How server ids stand in connection ids.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum QuicKind {
    QuicLb,
    Katran,
}

/// `quic-lb`, `katran`.
pub(crate) fn quic(text: &str) -> Result<QuicKind, BadText> {
    match text {
        "quic-lb" => Ok(QuicKind::QuicLb),
        "katran" => Ok(QuicKind::Katran),
        _ => Err(BadText::Choice("quic-lb or katran")),
    }
}

/// 32 hex digits.
pub(crate) fn quic_key(text: &str) -> Result<HashKey, BadText> {
    hash_key(text)
}

/// 1 to 15 bytes, two hex digits each.
pub(crate) fn quic_server_id(text: &str) -> Result<QuicServerId, BadText> {
    let is_hex = text.len().is_multiple_of(2) && text.bytes().all(|digit| digit.is_ascii_hexdigit());
    let number =
        u128::from_str_radix(text, 16).ok().filter(|_| is_hex && text.len() <= 2 * QUIC_SERVER_ID_LEN_MAX);
    let bytes = number.ok_or(BadText::QuicServerId)?.to_be_bytes();
    let from = bytes.len() - text.len() / 2;
    bytes.get(from..).and_then(QuicServerId::new).ok_or(BadText::QuicServerId)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_ids_are_bytes_in_hex() {
        for text in ["00", "0a0B", "ffffffffffffffffffffffffffffff"] {
            assert_eq!(quic_server_id(text).map(|id| id.to_string()), Ok(text.to_lowercase()));
        }
        for text in ["", "0", "000", "0x01", "+1", "é", "00ffffffffffffffffffffffffffffff"] {
            assert_eq!(quic_server_id(text), Err(BadText::QuicServerId), "{text}");
        }
        let id = |address: &str, len| {
            QuicServerId::of_address(address.parse().unwrap(), len).map(|id| id.to_string())
        };
        assert_eq!(id("10.1.0.11", 2).as_deref(), Some("000b"));
        assert_eq!(id("10.1.0.11", 6).as_deref(), Some("00000a01000b"));
        assert_eq!(id("2001:db8::7", 3).as_deref(), Some("000007"));
        assert_eq!((id("10.1.0.11", 0), id("10.1.0.11", 17)), (None, None));
    }
}
