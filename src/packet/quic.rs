//! Server ids in QUIC connection ids: what of a datagram says which server its connection is at. `docs/QUIC.md` is the long
//! form. Payloads are the clients', and every byte of one can lie.

use aes::Aes128;
use aes::cipher::{Array, BlockCipherDecrypt, BlockCipherEncrypt, KeyInit};

/// The longest server id: a connection id of 20 bytes (RFC 9000 section 17.2) less the first byte and the least nonce.
pub const SERVER_ID_LEN_MAX: usize = 15;
/// The least and the most bytes of server id and nonce (draft-ietf-quic-load-balancers-21 section 5).
const PLAINTEXT_LEN: std::ops::RangeInclusive<usize> = 5..=19;

/// A long header (RFC 8999 section 5.1).
const LONG_HEADER: u8 = 0x80;
/// Where the length of the destination's connection id stands there, behind the version.
const LONG_LEN_OFFSET: usize = 5;
/// The connection id itself, of a short header (RFC 8999 section 5.2).
const SHORT_ID_OFFSET: usize = 1;
/// The longest connection id of the versions that are known here.
const ID_LEN_MAX: usize = 20;

/// QUIC versions 1 and 2 (RFC 9000, RFC 9369), and the number of their handshake packets: the one kind whose connection id
/// is always the server's. Clients make those of initial and 0-RTT packets up.
const HANDSHAKES: [([u8; 4], u8); 2] = [([0, 0, 0, 1], 2), ([0x6b, 0x33, 0x43, 0xcf], 3)];

/// Config rotation bits that say that no server id is in the connection id (the draft, section 3).
pub const UNROUTABLE: u8 = 7;

/// A server id as it can be looked for. Ids of different lengths differ, as do those of Katran's versions.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ServerId {
    bytes: u128,
    kind: u8,
}

/// Kinds from here on are Katran's.
const KATRAN: u8 = 0x40;

impl ServerId {
    /// Of QUIC-LB. `None` for none, and for too many bytes.
    pub fn of_bytes(bytes: &[u8]) -> Option<Self> {
        let is_one = (1..=SERVER_ID_LEN_MAX).contains(&bytes.len());
        let number = bytes.iter().fold(0, |number, byte| number << 8 | u128::from(*byte));
        is_one.then_some(Self { bytes: number, kind: bytes.len() as u8 })
    }

    /// Of Katran: its version, 1 to 3, and the number.
    pub fn of_katran(version: u8, number: u32) -> Self {
        Self { bytes: number.into(), kind: KATRAN | version }
    }

    /// As words of a map's key; the last holds no more than its lower byte.
    pub fn words(self) -> [u64; 3] {
        [self.bytes as u64, (self.bytes >> 64) as u64, self.kind.into()]
    }
}

/// What a datagram says of its server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reading {
    /// Nothing: the client has made the connection id up, or it is no packet of QUIC.
    Nothing,
    /// It has a connection id of a server's, and there is no server id of this coding in it.
    Unroutable,
    /// Its connection is at this server.
    Server(ServerId),
}

/// How server ids stand in connection ids.
pub enum Coding {
    /// draft-ietf-quic-load-balancers.
    QuicLb {
        /// The config rotation bits, 0 to 6.
        config: u8,
        /// Bytes of the server id.
        id_len: usize,
        /// Bytes of the nonce behind it.
        nonce_len: usize,
        /// What both are encrypted with.
        cipher: Option<Box<Aes128>>,
    },
    /// Katran's: a version in the upper two bits, and a number of 16, 24 or 32 bits.
    Katran,
}

/// Katran takes no shorter connection id.
const KATRAN_ID_LEN_MIN: usize = 8;

impl Coding {
    /// Of QUIC-LB. `None` where the lengths are not allowed.
    pub fn quic_lb(config: u8, id_len: usize, nonce_len: usize, key: Option<[u8; 16]>) -> Option<Self> {
        let is_fine = config < UNROUTABLE
            && (1..=SERVER_ID_LEN_MAX).contains(&id_len)
            && nonce_len >= 4
            && PLAINTEXT_LEN.contains(&(id_len + nonce_len));
        let cipher = key.map(|key| Box::new(Aes128::new(&Array(key))));
        is_fine.then_some(Self::QuicLb { config, id_len, nonce_len, cipher })
    }

    /// What the payload of a UDP datagram says.
    pub fn read(&self, payload: &[u8]) -> Reading {
        let Some(id) = connection_id(payload) else { return Reading::Nothing };
        self.decode(id).map_or(Reading::Unroutable, Reading::Server)
    }

    /// The server id in a connection id, which may have more behind it.
    pub fn decode(&self, id: &[u8]) -> Option<ServerId> {
        match self {
            Self::Katran => katran(id),
            Self::QuicLb { config, id_len, nonce_len, cipher } => {
                let (first, rest) = id.split_first()?;
                if first >> 5 != *config {
                    return None;
                }
                let text = rest.get(..id_len + nonce_len)?;
                match cipher {
                    None => ServerId::of_bytes(text.get(..*id_len)?),
                    Some(cipher) if text.len() == BLOCK_LEN => {
                        let mut block = Array(*text.first_chunk()?);
                        cipher.decrypt_block(&mut block);
                        ServerId::of_bytes(block.get(..*id_len)?)
                    }
                    Some(cipher) => ServerId::of_bytes(four_passes(cipher, text)?.get(..*id_len)?),
                }
            }
        }
    }
}

/// The destination's connection id, as far as it is known where it ends; `None` where no server has made it.
fn connection_id(payload: &[u8]) -> Option<&[u8]> {
    let first = *payload.first()?;
    if first & LONG_HEADER == 0 {
        let rest = payload.get(SHORT_ID_OFFSET..)?;
        return rest.get(..rest.len().min(ID_LEN_MAX));
    }
    let version: &[u8; 4] = payload.get(1..LONG_LEN_OFFSET)?.first_chunk()?;
    let handshake = HANDSHAKES.iter().find(|(known, _)| known == version).map(|(_, kind)| *kind)?;
    if first >> 4 & 3 != handshake {
        return None;
    }
    let (len, rest) = payload.get(LONG_LEN_OFFSET..)?.split_first()?;
    rest.get(..usize::from(*len)).filter(|id| id.len() <= ID_LEN_MAX)
}

fn katran(id: &[u8]) -> Option<ServerId> {
    let &[a, b, c, d, e, ..] = id.get(..KATRAN_ID_LEN_MIN)?.first_chunk::<KATRAN_ID_LEN_MIN>()?;
    let number = match a >> 6 {
        1 => u32::from_be_bytes([0, a & 0x3f, b, c]) >> 6,
        2 => u32::from_be_bytes([0, b, c, d]),
        3 => u32::from_be_bytes([b, c, d, e]),
        _ => return None,
    };
    Some(ServerId::of_katran(a >> 6, number))
}

const BLOCK_LEN: usize = 16;

/// The longest half of server id and nonce.
const HALF_MAX: usize = 10;

/// One half of server id and nonce; of an odd number of bytes each has half of the middle one, and four bits clear.
type Half = [u8; HALF_MAX];

/// Undoes the four rounds of section 5.4.2 of the draft. What is returned begins as the plain text does.
fn four_passes(cipher: &Aes128, text: &[u8]) -> Option<[u8; 2 * HALF_MAX]> {
    let len = text.len();
    let (half, is_odd) = (len.div_ceil(2), len % 2 == 1);
    let (mut left, mut right) = ([0; HALF_MAX], [0; HALF_MAX]);
    left.get_mut(..half)?.copy_from_slice(text.get(..half)?);
    right.get_mut(..half)?.copy_from_slice(text.get(len - half..)?);
    let clear = |left: &mut Half, right: &mut Half| {
        if is_odd {
            left.get_mut(half - 1).into_iter().for_each(|last| *last &= 0xf0);
            right.first_mut().into_iter().for_each(|first| *first &= 0x0f);
        }
    };
    clear(&mut left, &mut right);
    for pass in [4, 3, 2, 1] {
        let (from, to) = if pass % 2 == 0 { (&right, &mut left) } else { (&left, &mut right) };
        let mut block = [0; BLOCK_LEN];
        block.get_mut(..half)?.copy_from_slice(from.get(..half)?);
        *block.get_mut(14)? = len as u8;
        *block.get_mut(15)? = pass;
        let mut block = Array(block);
        cipher.encrypt_block(&mut block);
        to.iter_mut().zip(block).take(half).for_each(|(byte, mask)| *byte ^= mask);
        clear(&mut left, &mut right);
    }
    let mut plain = [0; 2 * HALF_MAX];
    plain.get_mut(..half)?.copy_from_slice(left.get(..half)?);
    let rest = plain.get_mut(len - half..len)?;
    rest.iter_mut().zip(right).for_each(|(byte, other)| *byte |= other);
    Some(plain)
}
