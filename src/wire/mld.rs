//! Multicast listener reports (RFC 3810): which groups we listen to, for switches that pass a group's frames on to those
//! ports only where somebody does (RFC 4541). Only the report that we send is here.

use std::net::Ipv6Addr;

use super::ethernet::{self, Addresses};
use super::{MacAddr, checksum, icmp, icmpv6, ipv6};

/// An Ethernet frame with a report on one group.
pub const FRAME_LEN: usize = RECORD_AT + RECORD_LEN;

/// All routers that know version 2 of the protocol (RFC 3810 section 5.2.14).
const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x16);
/// Reports stay on their link (section 5).
const HOP_LIMIT: u8 = 1;
/// Hop-by-hop options: "routers shall look at this, it is a listener's message" (RFC 2711 section 2.1), and two bytes of
/// padding.
const ROUTER_ALERT: [u8; 8] = [ipv6::PROTOCOL_ICMPV6, 0, 5, 2, 0, 0, 1, 0];
/// Frames of the group are wanted whoever sends them: CHANGE_TO_EXCLUDE_MODE, with nobody excluded (section 5.2.12).
const CHANGE_TO_EXCLUDE: u8 = 4;

const IP_AT: usize = ethernet::HEADER_LEN;
const OPTIONS_AT: usize = IP_AT + ipv6::HEADER_LEN;
const MESSAGE_AT: usize = OPTIONS_AT + ROUTER_ALERT.len();
const RECORD_AT: usize = MESSAGE_AT + icmp::HEADER_LEN;
/// Its type, no further data, no sources, and the group.
const RECORD_LEN: usize = 20;

/// Says that the station `mac` listens to `group`. `source` is a link-local address of it, or unspecified where it has
/// none (section 5.2.13).
pub fn report(mac: MacAddr, source: Ipv6Addr, group: Ipv6Addr) -> [u8; FRAME_LEN] {
    let ip = ipv6::Fields {
        traffic_class: 0,
        flow_label: 0,
        payload_len: (FRAME_LEN - OPTIONS_AT) as u16,
        next_header: ipv6::HOP_BY_HOP,
        hop_limit: HOP_LIMIT,
        source,
        destination: ALL_ROUTERS,
    };
    let mut frame = [0; FRAME_LEN];
    frame[..12].copy_from_slice(&Addresses::new(ethernet::group_of(ALL_ROUTERS), mac).0);
    frame[12..IP_AT].copy_from_slice(&ethernet::TYPE_IPV6.to_be_bytes());
    frame[IP_AT..OPTIONS_AT].copy_from_slice(&ip.to_bytes());
    frame[OPTIONS_AT..MESSAGE_AT].copy_from_slice(&ROUTER_ALERT);
    // One record.
    frame[MESSAGE_AT..RECORD_AT].copy_from_slice(&[icmpv6::TYPE_LISTENER_REPORT, 0, 0, 0, 0, 0, 0, 1]);
    frame[RECORD_AT] = CHANGE_TO_EXCLUDE;
    frame[RECORD_AT + 4..].copy_from_slice(&group.octets());
    let (from, to) = (source.into(), ALL_ROUTERS.into());
    let sum = checksum::with_pseudo(from, to, ipv6::PROTOCOL_ICMPV6, &frame[MESSAGE_AT..]);
    frame[MESSAGE_AT + icmp::CHECKSUM_OFFSET..][..2].copy_from_slice(&checksum::field(sum));
    frame
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::{IpNumber, NetSlice, SlicedPacket, TransportSlice};

    #[test]
    fn a_report_is_what_rfc_3810_section_5_2_says() {
        let group: Ipv6Addr = "ff02::1:ff00:10".parse().unwrap();
        for source in [Ipv6Addr::UNSPECIFIED, "fe80::1".parse().unwrap()] {
            let frame = report(MacAddr([2, 0, 0, 0, 0, 1]), source, group);
            assert_eq!(frame[..12], [0x33, 0x33, 0, 0, 0, 0x16, 2, 0, 0, 0, 0, 1]);
            let packet = SlicedPacket::from_ethernet(&frame).unwrap();
            let (Some(NetSlice::Ipv6(ip)), Some(TransportSlice::Icmpv6(message))) =
                (&packet.net, &packet.transport)
            else {
                panic!("{packet:?}")
            };
            let header = ip.header();
            assert_eq!((header.source_addr(), header.destination_addr()), (source, ALL_ROUTERS));
            assert_eq!((header.hop_limit(), usize::from(header.payload_length())), (1, FRAME_LEN - 54));
            assert_eq!(header.next_header(), IpNumber::IPV6_HEADER_HOP_BY_HOP);
            assert!(message.is_checksum_valid(header.source(), header.destination()));
            assert_eq!(frame[54..62], [58, 0, 5, 2, 0, 0, 1, 0], "router alert of MLD");
            let record = [&[143, 0][..], &message.slice()[2..4], &[0, 0, 0, 1, 4, 0, 0, 0], &group.octets()];
            assert_eq!(message.slice(), record.concat());
        }
    }
}
