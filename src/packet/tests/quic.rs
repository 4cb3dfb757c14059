//! Server ids in QUIC connection ids.

use crate::packet::quic::{Coding, Reading, ServerId};
use proptest::prelude::*;

fn hex(text: &str) -> Vec<u8> {
    (0..text.len() / 2).map(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap()).collect()
}

const KEY: &str = "8f95f09245765f80256934e50c66207f";

fn coding(config: u8, id: &str, nonce: &str, key: &str) -> Coding {
    let key = (!key.is_empty()).then(|| hex(key).try_into().unwrap());
    Coding::quic_lb(config, id.len() / 2, nonce.len() / 2, key).unwrap()
}

/// Appendix B of draft-ietf-quic-load-balancers-21, and the example of its section 5.4.2: rotation bits, server id,
/// nonce, key, connection id.
#[test]
fn the_drafts_vectors_are_read() {
    for (config, id, nonce, key, cid) in [
        (0, "c4605e", "4504cc4f", "", "07c4605e4504cc4f"),
        (1, "350d28b420", "3487d970", "", "20a350d28b4203487d970b"),
        (0, "ed793a", "ee080dbf", KEY, "0720b1d07b359d3c"),
        (1, "ed793a51d49b8f5fab65", "ee080dbf48", KEY, "2fcc381bc74cb4fbad2823a3d1f8fed2"),
        (2, "ed793a51d49b8f5f", "ee080dbf48c0d1e5", KEY, "504dd2d05a7b0de9b2b9907afb5ecf8cc3"),
        (0, "ed793a51d49b8f5fab", "ee080dbf48c0d1e55d", KEY, "125779c9cc86beb3a3a4a3ca96fce4bfe0cdbc"),
        (0, "31441a", "9c69c275", "fdf726a9893ec05c0632d3956680baf0", "0767947d29be054a"),
    ] {
        let (coding, cid) = (coding(config, id, nonce, key), hex(cid));
        let wanted = ServerId::of_bytes(&hex(id));
        // The second is misprinted: its nonce has half a byte less than its connection id.
        let wanted = if id == "350d28b420" { ServerId::of_bytes(&hex("a350d28b42")) } else { wanted };
        assert_eq!(coding.decode(&cid), wanted, "{id}");
        let more = [&cid[..], b"more"].concat();
        assert_eq!(coding.decode(&more), wanted, "{id}");
        // A byte less than both is none.
        assert_eq!(coding.decode(&cid[..id.len() / 2 + nonce.len() / 2]), None, "{id}");
        // Another's rotation bits.
        let other = [&[cid[0] ^ 0x80][..], &cid[1..]].concat();
        assert_eq!(coding.decode(&other), None, "{id}");
    }
}

#[test]
fn katrans_three_layouts_are_read() {
    let read = |cid: &str| Coding::Katran.decode(&hex(cid));
    // Two bits of version, then 16 bits; or 24 or 32 from the second byte on.
    assert_eq!(read("4040c00000000000"), Some(ServerId::of_katran(1, 0x0103)));
    assert_eq!(read("7fffff0000000000"), Some(ServerId::of_katran(1, 0xffff)));
    assert_eq!(read("8001020300000000"), Some(ServerId::of_katran(2, 0x010203)));
    assert_eq!(read("bf01020300000000"), Some(ServerId::of_katran(2, 0x010203)));
    assert_eq!(read("c001020304000000"), Some(ServerId::of_katran(3, 0x01020304)));
    assert_eq!(read("0001020304000000"), None);
    assert_eq!(read("80010203000000"), None, "seven bytes");
}

#[test]
fn only_headers_with_a_servers_connection_id_are_believed() {
    let coding = coding(0, "0102", "00000000", "");
    let id = hex("06010200000000");
    let server = Reading::Server(ServerId::of_bytes(&[1, 2]).unwrap());
    let long = |first: u8, version: &[u8], len: u8| [&[first][..], version, &[len], &id].concat();
    let (one, two) = (&[0, 0, 0, 1][..], &[0x6b, 0x33, 0x43, 0xcf][..]);
    let short = [&[0x40][..], &id, b"the rest, which is encrypted"].concat();
    for (what, payload, wanted) in [
        ("short header", short.clone(), server),
        ("handshake of version 1", long(0xe0, one, 7), server),
        ("handshake of version 2", long(0xf0, two, 7), server),
        ("initial of version 1", long(0xc0, one, 7), Reading::Nothing),
        ("0-RTT of version 1", long(0xd0, one, 7), Reading::Nothing),
        ("retry of version 1", long(0xf0, one, 7), Reading::Nothing),
        ("initial of version 2", long(0xd0, two, 7), Reading::Nothing),
        ("0-RTT of version 2", long(0xe0, two, 7), Reading::Nothing),
        ("another version", long(0xe0, &[0, 0, 0, 9], 7), Reading::Nothing),
        ("version negotiation", long(0xe0, &[0; 4], 7), Reading::Nothing),
        ("a connection id cut off", long(0xe0, one, 8), Reading::Nothing),
        ("one too long for its version", [long(0xe0, one, 21), vec![0; 30]].concat(), Reading::Nothing),
        ("one too short", long(0xe0, one, 6), Reading::Unroutable),
        ("none", long(0xe0, one, 0), Reading::Unroutable),
        ("a short header cut off", short[..7].to_vec(), Reading::Unroutable),
        ("a byte", vec![0x40], Reading::Unroutable),
        ("nothing", Vec::new(), Reading::Nothing),
    ] {
        assert_eq!(coding.read(&payload), wanted, "{what}");
    }
}

#[test]
fn lengths_that_the_draft_forbids_are_none() {
    for (config, id_len, nonce_len) in [(7, 1, 4), (0, 0, 8), (0, 16, 4), (0, 1, 3), (0, 15, 5), (0, 10, 10)]
    {
        assert!(Coding::quic_lb(config, id_len, nonce_len, None).is_none());
    }
}

/// The other way, as the draft has servers do it: bit by bit.
fn encrypted(key: [u8; 16], text: &[u8]) -> Vec<u8> {
    use aes::cipher::{Array, BlockCipherEncrypt, KeyInit};
    let cipher = aes::Aes128::new(&Array(key));
    let encrypt = |bytes: [u8; 16]| {
        let mut block = Array(bytes);
        cipher.encrypt_block(&mut block);
        block.0
    };
    if text.len() == 16 {
        return encrypt(text.try_into().unwrap()).to_vec();
    }
    // As nibbles, which never fall between two bytes.
    let nibbles: Vec<u8> = text.iter().flat_map(|byte| [byte >> 4, byte & 15]).collect();
    let (left, right) = nibbles.split_at(text.len());
    let (mut left, mut right) = (left.to_vec(), right.to_vec());
    let is_odd = text.len() % 2 == 1;
    for pass in 1..=4u8 {
        let is_left = pass % 2 == 1;
        let (from, to) = if is_left { (&left, &mut right) } else { (&right, &mut left) };
        // An odd half fills whole bytes: from the front on the left, from the back on the right.
        let mut padded = from.clone();
        if is_odd {
            padded.insert(if is_left { padded.len() } else { 0 }, 0);
        }
        let mut block = [0; 16];
        for (byte, pair) in block.iter_mut().zip(padded.chunks(2)) {
            *byte = pair[0] << 4 | pair[1];
        }
        (block[14], block[15]) = (text.len() as u8, pass);
        let mask: Vec<u8> = encrypt(block).iter().flat_map(|byte| [byte >> 4, byte & 15]).collect();
        let skipped = usize::from(is_odd && is_left);
        to.iter_mut().zip(&mask[skipped..]).for_each(|(nibble, mask)| *nibble ^= mask);
    }
    [left, right].concat().chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

proptest! {
    #[test]
    fn what_servers_write_is_read(
        config in 0u8..7,
        id_len in 1usize..=15,
        nonce_len in 4usize..=18,
        bytes: [u8; 19],
        key: [u8; 16],
        is_encrypted: bool,
        low_bits in 0u8..32,
    ) {
        let len = id_len + nonce_len;
        prop_assume!(len <= 19);
        let coding = Coding::quic_lb(config, id_len, nonce_len, is_encrypted.then_some(key)).unwrap();
        let text = &bytes[..len];
        let text = if is_encrypted { encrypted(key, text) } else { text.to_vec() };
        let cid = [&[config << 5 | low_bits][..], &text].concat();
        prop_assert_eq!(coding.decode(&cid), ServerId::of_bytes(&bytes[..id_len]));
    }

    #[test]
    fn no_payload_makes_it_panic(
        payload in proptest::collection::vec(any::<u8>(), 0..60),
        id_len in 1usize..=15,
        nonce_len in 4usize..=18,
        key: Option<[u8; 16]>,
    ) {
        Coding::Katran.read(&payload);
        if let Some(coding) = Coding::quic_lb(payload.first().map_or(0, |first| first >> 5), id_len, nonce_len, key) {
            coding.read(&payload);
        }
    }
}
