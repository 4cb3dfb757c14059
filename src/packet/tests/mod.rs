//! Frames of IPv6, fragments and ICMP, and what is made of them.

mod fragments;
mod icmp;
mod ipv6;
mod quic;
mod quotes;

use etherparse::PacketBuilder;

use crate::wire::{ethernet, ipv4};

const CLIENT: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7];
const FRONTEND: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 10];

/// A TCP segment (SYN, with five bytes of data), as another implementation makes it.
fn segment() -> Vec<u8> {
    let mut frame = Vec::new();
    let builder = PacketBuilder::ipv6(CLIENT, FRONTEND, 64).tcp(40_000, 443, 1, 1024).syn();
    builder.write(&mut frame, b"hello").unwrap();
    frame.split_off(40)
}

/// A UDP datagram, likewise.
fn datagram() -> Vec<u8> {
    let mut frame = Vec::new();
    let builder = PacketBuilder::ipv6(CLIENT, FRONTEND, 64).udp(40_000, 53);
    builder.write(&mut frame, b"hello, nameserver").unwrap();
    frame.split_off(40)
}

/// A frame with an IPv6 packet: its extension headers by number and bytes, of which the first is filled in, and what it
/// carries.
fn v6_frame(extensions: &[(u8, Vec<u8>)], protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    frame.extend(ethernet::TYPE_IPV6.to_be_bytes());
    let mut number_at = frame.len() + 6;
    let len = extensions.iter().map(|(_, bytes)| bytes.len()).sum::<usize>() + payload.len();
    frame.extend([0x60, 0, 0, 0]);
    frame.extend((len as u16).to_be_bytes());
    frame.extend([0, 64]);
    frame.extend(CLIENT);
    frame.extend(FRONTEND);
    for (number, bytes) in extensions {
        frame[number_at] = *number;
        number_at = frame.len();
        frame.extend(bytes);
    }
    frame[number_at] = protocol;
    frame.extend(payload);
    frame
}

/// A fragment header.
fn part(offset: u16, more: bool) -> (u8, Vec<u8>) {
    let [high, low] = (offset | u16::from(more)).to_be_bytes();
    (44, vec![0, 0, high, low, 1, 2, 3, 4])
}

/// An extension header of `units` times eight bytes: padding options, or a routing header without segments left.
fn padding(number: u8, units: u8) -> (u8, Vec<u8>) {
    let mut bytes = vec![0; usize::from(units) * 8];
    bytes[1] = units - 1;
    bytes[2] = 4;
    (number, bytes)
}

/// A frame with an IPv4 packet that is a part of a datagram.
fn v4_part(protocol: u8, offset: u16, more: bool, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2])
        .ipv4([192, 0, 2, 7], [203, 0, 113, 10], 64)
        .write(&mut frame, etherparse::IpNumber(protocol), payload)
        .unwrap();
    let word = (offset / 8) | (u16::from(more) << 13);
    frame[18..20].copy_from_slice(&[9, 8]);
    frame[20..22].copy_from_slice(&word.to_be_bytes());
    ipv4::write_checksum(&mut frame[14..34]);
    frame
}
