//! Packets that go to their backends as they are: by the backend's Ethernet address alone, or in a tunnel.

use zerocopy::FromBytes;

use super::nat::Refusal;
use crate::io::Frame;
use crate::snapshot::{Forwarding, Hop};
use crate::wire::encap::{Front, Inner, InnerFront, Template, complete_udp6};
use crate::wire::plain::EthernetIpv4;
use crate::wire::{ethernet, ipv4};

/// Bytes that go in front of packets that are sent so.
pub(super) fn added_by(forwarding: &Forwarding) -> usize {
    match forwarding {
        Forwarding::Tunnel(template) => template.len(),
        Forwarding::Translate
        | Forwarding::Translate6 { .. }
        | Forwarding::TranslateAddress
        | Forwarding::FullNat
        | Forwarding::Direct => 0,
    }
}

/// Readdresses the frame; nothing in the packet changes, its TTL neither. Returns the packet's length.
#[inline(always)]
pub(super) fn direct(frame: &mut [u8], hop: &Hop) -> Result<u16, Refusal> {
    let inner = frame.get(ethernet::HEADER_LEN..).and_then(Inner::of).ok_or(Refusal::Mtu)?;
    if inner.len > hop.mtu {
        return Err(Refusal::Mtu);
    }
    frame.get_mut(..12).ok_or(Refusal::Mtu)?.copy_from_slice(&hop.addresses.0);
    Ok(inner.len)
}

/// The same for a packet of IPv4, if it fits; else it is left as it is.
#[inline(always)]
pub(super) fn direct_plain(frame: &mut [u8], hop: &Hop) -> Option<u16> {
    let (network, _) = EthernetIpv4::mut_from_prefix(frame).ok()?;
    let total_len = u16::from_be_bytes(network.total_len);
    if total_len > hop.mtu {
        return None;
    }
    network.ethernet = hop.addresses.0;
    Some(total_len)
}

/// Puts a tunnel's headers in front of a packet of IPv4 that begins a datagram, if they fit; else it is left as it is. Returns
/// its length without them.
#[inline(always)]
pub(super) fn push_plain<F: Frame>(frame: &mut F, front: &Front, hash: u64) -> Option<u16> {
    let inner = InnerFront::of(frame.bytes())?;
    if !front.takes(inner) {
        return None;
    }
    // Padding of the client's frame is none of the outer one's.
    let kept = ethernet::HEADER_LEN + usize::from(inner.total_len());
    front.write(frame.put_in_front(front.added(), kept)?, inner, entropy(hash))?;
    Some(inner.total_len())
}

/// Puts the tunnel's headers in front of the packet, which stays as it is. Returns the packet's length without them.
#[inline(always)]
pub(super) fn push<F: Frame>(
    frame: &mut F,
    hop: &Hop,
    template: &Template,
    hash: u64,
) -> Result<u16, Refusal> {
    let packet = frame.bytes().get(ethernet::HEADER_LEN..).ok_or(Refusal::Mtu)?;
    let inner = Inner::of(packet).ok_or(Refusal::Mtu)?;
    let identification = identification(packet);
    if usize::from(inner.len) + template.len() > usize::from(hop.mtu) {
        return Err(Refusal::Mtu);
    }
    // Padding of the client's frame is none of the outer one's.
    frame.truncate(ethernet::HEADER_LEN + usize::from(inner.len));
    if !frame.grow(template.len()) {
        return Err(Refusal::Headroom);
    }
    let (head, outer) =
        frame.bytes_mut().split_first_chunk_mut::<{ ethernet::HEADER_LEN }>().ok_or(Refusal::Headroom)?;
    write_front(head, hop, template);
    outer
        .get_mut(..template.len())
        .and_then(|place| template.write(place, inner, entropy(hash), identification))
        .ok_or(Refusal::Mtu)?;
    if template.lacks_checksum() {
        complete_udp6(outer).ok_or(Refusal::Mtu)?;
    }
    Ok(inner.len)
}

/// The same for a packet of our own, which is copied behind the headers. `None` if `outer` is not as long as both.
pub(super) fn write_outer(
    head: &mut [u8; ethernet::HEADER_LEN],
    outer: &mut [u8],
    hop: &Hop,
    template: &Template,
    packet: &[u8],
    hash: u64,
) -> Option<()> {
    write_front(head, hop, template);
    let (place, rest) = outer.split_at_mut_checked(template.len())?;
    if rest.len() != packet.len() {
        return None;
    }
    rest.copy_from_slice(packet);
    template.write(place, Inner::of(packet)?, entropy(hash), identification(packet))?;
    if template.lacks_checksum() {
        complete_udp6(outer)?;
    }
    Some(())
}

#[inline(always)]
fn write_front(head: &mut [u8; ethernet::HEADER_LEN], hop: &Hop, template: &Template) {
    head[..12].copy_from_slice(&hop.addresses.0);
    head[12..].copy_from_slice(&template.ether_type().to_be_bytes());
}

/// The bits of a flow's hash that spread it over the receiver's queues: not those that chose its worker here.
#[inline(always)]
fn entropy(hash: u64) -> u32 {
    (hash >> 16) as u32
}

/// What an outer header takes that may be cut up on its way: two packets of one client never have the same at once.
/// Fragments of one datagram have one between them, and are told apart by their offsets; these change the high bits, as
/// the next datagram changes the low ones.
#[inline(always)]
fn identification(packet: &[u8]) -> u16 {
    let Some([a, b, c, d]) = packet.get(ipv4::IDENTIFICATION_OFFSET..).and_then(|rest| rest.first_chunk())
    else {
        return 0;
    };
    u16::from_be_bytes([*a, *b]) ^ (u16::from_be_bytes([*c, *d]) & ipv4::OFFSET_MASK).reverse_bits()
}
