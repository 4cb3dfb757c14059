//! ICMP errors that we make ourselves, of either family, as whole frames. Whether one may be made at all is for
//! [`merits_error`](crate::packet::merits_error) to say, how often for a limit of rates.

use std::net::IpAddr;

use super::ethernet::{self, Addresses};
use super::{checksum, icmp, icmpv6, ipv4, ipv6};

/// Bytes of the longest frame that is made.
pub const FRAME_MAX: usize = IP_AT + ipv6::MTU_MIN;

/// Bytes of an error's IPv4 packet: as much as is sure to arrive whole (RFC 1812 section 4.3.2.3).
const IPV4_MAX: usize = 576;
/// Precedence "internetwork control" (RFC 1812 section 4.3.2.5), today called CS6.
const TYPE_OF_SERVICE: u8 = 0xc0;
const IP_AT: usize = ethernet::HEADER_LEN;

/// What is wrong with a packet that we do not send on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IcmpError {
    /// Nobody who serves the address can be reached.
    HostUnreachable,
    /// Nobody serves the protocol there.
    ProtocolUnreachable,
    /// Nobody serves the port there.
    PortUnreachable,
    /// It may not pass.
    Prohibited,
    /// It is longer than the link it would leave by takes.
    TooBig {
        /// Bytes of the longest IP packet that fits, from the sender's point of view: less what we would add.
        mtu: u16,
    },
    /// It has no hop left.
    HopLimitExceeded,
}

impl IcmpError {
    /// Writes the frame and says how long it is. `quoted` is the IP packet as it came in, without Ethernet's padding;
    /// the error goes to its source, in the name of `source`, which is of the same family. `None` if that is not so,
    /// `quoted` is no IP packet, or `frame` is shorter than [`FRAME_MAX`] and the error does not fit.
    pub fn write(
        self,
        frame: &mut [u8],
        addresses: Addresses,
        source: IpAddr,
        quoted: &[u8],
    ) -> Option<usize> {
        let (ether_type, headers_len, len_max) = match source {
            IpAddr::V4(_) => (ethernet::TYPE_IPV4, ipv4::HEADER_LEN, IPV4_MAX),
            IpAddr::V6(_) => (ethernet::TYPE_IPV6, ipv6::HEADER_LEN, ipv6::MTU_MIN),
        };
        let headers_len = headers_len + icmp::HEADER_LEN;
        let quoted_len = quoted.len().min(len_max - headers_len);
        let len = IP_AT + headers_len + quoted_len;
        let frame = frame.get_mut(..len)?;
        frame.get_mut(..12)?.copy_from_slice(&addresses.0);
        frame.get_mut(12..IP_AT)?.copy_from_slice(&ether_type.to_be_bytes());
        let (ip, message) = frame.get_mut(IP_AT..)?.split_at_mut_checked(headers_len - icmp::HEADER_LEN)?;
        message.get_mut(icmp::HEADER_LEN..)?.copy_from_slice(quoted.get(..quoted_len)?);
        match source {
            IpAddr::V4(source) => {
                let header = ipv4::Header(quoted.first_chunk()?);
                if header.version() != 4 {
                    return None;
                }
                *message.first_chunk_mut()? = self.ipv4_header();
                write_field(message, checksum::sum(message))?;
                let total_len = (len - IP_AT) as u16;
                let fields = ipv4::Fields {
                    type_of_service: TYPE_OF_SERVICE,
                    total_len,
                    protocol: ipv4::PROTOCOL_ICMP,
                    source,
                    destination: header.source(),
                };
                ip.copy_from_slice(&fields.to_bytes());
            }
            IpAddr::V6(source) => {
                let header = ipv6::Header(quoted.first_chunk()?);
                if header.version() != 6 {
                    return None;
                }
                *message.first_chunk_mut()? = self.ipv6_header(quoted);
                let to = header.source();
                let protocol = ipv6::PROTOCOL_ICMPV6;
                write_field(message, checksum::with_pseudo(source.into(), to.into(), protocol, message))?;
                let fields = ipv6::Fields {
                    traffic_class: 0,
                    flow_label: 0,
                    payload_len: message.len() as u16,
                    next_header: protocol,
                    hop_limit: ipv6::HOP_LIMIT_DEFAULT,
                    source,
                    destination: to,
                };
                ip.copy_from_slice(&fields.to_bytes());
            }
        }
        Some(len)
    }

    /// RFC 792, RFC 1191 section 4, RFC 1812 section 5.2.7.1. The checksum is still to be filled in.
    fn ipv4_header(self) -> [u8; icmp::HEADER_LEN] {
        let unreachable = |code| [icmp::TYPE_UNREACHABLE, code, 0, 0, 0, 0, 0, 0];
        match self {
            Self::HostUnreachable => unreachable(icmp::CODE_HOST),
            Self::ProtocolUnreachable => unreachable(icmp::CODE_PROTOCOL),
            Self::PortUnreachable => unreachable(icmp::CODE_PORT),
            Self::Prohibited => unreachable(icmp::CODE_PROHIBITED),
            Self::TooBig { mtu } => {
                let [high, low] = mtu.to_be_bytes();
                let [kind, code, ..] = unreachable(icmp::CODE_FRAGMENTATION_NEEDED);
                [kind, code, 0, 0, 0, 0, high, low]
            }
            Self::HopLimitExceeded => [icmp::TYPE_TIME_EXCEEDED, 0, 0, 0, 0, 0, 0, 0],
        }
    }

    /// RFC 4443 section 3, likewise.
    fn ipv6_header(self, quoted: &[u8]) -> [u8; icmp::HEADER_LEN] {
        let (kind, code, word) = match self {
            Self::HostUnreachable => (icmpv6::TYPE_UNREACHABLE, icmpv6::CODE_ADDRESS, 0),
            Self::PortUnreachable => (icmpv6::TYPE_UNREACHABLE, icmpv6::CODE_PORT, 0),
            Self::Prohibited => (icmpv6::TYPE_UNREACHABLE, icmpv6::CODE_PROHIBITED, 0),
            Self::ProtocolUnreachable => {
                (icmpv6::TYPE_PARAMETER_PROBLEM, icmpv6::CODE_NEXT_HEADER, ipv6::number_offset(quoted))
            }
            Self::TooBig { mtu } => (icmpv6::TYPE_PACKET_TOO_BIG, 0, u32::from(mtu)),
            Self::HopLimitExceeded => (icmpv6::TYPE_TIME_EXCEEDED, 0, 0),
        };
        let [a, b, c, d] = word.to_be_bytes();
        [kind, code, 0, 0, a, b, c, d]
    }
}

fn write_field(message: &mut [u8], sum: u16) -> Option<()> {
    let field = message.get_mut(icmp::CHECKSUM_OFFSET..icmp::CHECKSUM_OFFSET + 2)?;
    field.copy_from_slice(&checksum::field(sum));
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::MacAddr;
    use etherparse::{NetSlice, PacketBuilder, SlicedPacket, TransportSlice};
    use proptest::prelude::*;

    const US: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
    const ROUTER: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);
    const ERRORS: [IcmpError; 6] = [
        IcmpError::HostUnreachable,
        IcmpError::ProtocolUnreachable,
        IcmpError::PortUnreachable,
        IcmpError::Prohibited,
        IcmpError::TooBig { mtu: 1380 },
        IcmpError::HopLimitExceeded,
    ];

    fn packet(is_v6: bool, payload: usize) -> Vec<u8> {
        let mut packet = Vec::new();
        let payload = vec![7; payload];
        if is_v6 {
            PacketBuilder::ipv6([1; 16], [2; 16], 9).udp(4000, 53).write(&mut packet, &payload).unwrap();
        } else {
            PacketBuilder::ipv4([192, 0, 2, 7], [203, 0, 113, 10], 9)
                .udp(4000, 53)
                .write(&mut packet, &payload)
                .unwrap();
        }
        packet
    }

    fn write(error: IcmpError, is_v6: bool, quoted: &[u8]) -> Vec<u8> {
        let source: IpAddr = if is_v6 { [3; 16].into() } else { [198, 51, 100, 2].into() };
        let mut frame = vec![0xee; FRAME_MAX];
        let len = error.write(&mut frame, Addresses::new(ROUTER, US), source, quoted).unwrap();
        frame.truncate(len);
        frame
    }

    #[test]
    fn the_first_bytes_are_those_of_the_rfcs() {
        let first = |error, is_v6: bool| {
            let at = if is_v6 { 54 } else { 34 };
            let bytes = write(error, is_v6, &packet(is_v6, 1));
            [bytes[at], bytes[at + 1], bytes[at + 4], bytes[at + 5], bytes[at + 6], bytes[at + 7]]
        };
        let v4 = [[3, 1], [3, 2], [3, 3], [3, 13], [3, 4], [11, 0]];
        let v6 = [[1, 3], [4, 1], [1, 4], [1, 1], [2, 0], [3, 0]];
        let words = [[0; 4], [0, 0, 0, 6], [0; 4], [0; 4], [0, 0, 5, 100], [0; 4]];
        for (i, error) in ERRORS.into_iter().enumerate() {
            let [.., pointer_high, pointer] = words[i];
            let word4 = if i == 4 { [0, 0, pointer_high, pointer] } else { [0; 4] };
            assert_eq!(first(error, false), [&v4[i][..], &word4].concat()[..], "{error:?}");
            assert_eq!(first(error, true), [&v6[i][..], &words[i]].concat()[..], "{error:?}");
        }
    }

    #[test]
    fn the_pointer_goes_past_extension_headers() {
        // Destination options that carry UDP.
        let mut quoted = packet(true, 1);
        quoted[6] = 60;
        quoted.splice(40..40, [17, 0, 1, 4, 0, 0, 0, 0]);
        let frame = write(IcmpError::ProtocolUnreachable, true, &quoted);
        assert_eq!(frame[58..62], [0, 0, 0, 40]);
    }

    #[test]
    fn what_does_not_fit_is_not_written() {
        let source = IpAddr::from([198, 51, 100, 2]);
        let addresses = Addresses::new(ROUTER, US);
        let quoted = packet(false, 1);
        let write = |len: usize, quoted: &[u8]| {
            IcmpError::PortUnreachable.write(&mut vec![0; len], addresses, source, quoted)
        };
        assert_eq!(write(14 + 28 + quoted.len(), &quoted), Some(14 + 28 + quoted.len()));
        assert_eq!(write(14 + 28 + quoted.len() - 1, &quoted), None);
        assert_eq!(write(FRAME_MAX, &packet(true, 1)), None);
        assert_eq!(write(FRAME_MAX, &quoted[..19]), None);
    }

    proptest! {
        #[test]
        fn errors_read_back_and_quote_as_much_as_may_be(
            is_v6 in any::<bool>(), which in 0usize..6, len in 0usize..2000,
        ) {
            let quoted = packet(is_v6, len);
            let frame = write(ERRORS[which], is_v6, &quoted);
            prop_assert_eq!(frame.len(), 14 + (quoted.len() + if is_v6 { 48 } else { 28 }).min(if is_v6 { 1280 } else { 576 }));
            prop_assert_eq!(&frame[..12], &Addresses::new(ROUTER, US).0);
            let sliced = SlicedPacket::from_ethernet(&frame).unwrap();
            let carried = match (sliced.net.unwrap(), sliced.transport.unwrap()) {
                (NetSlice::Ipv4(ip), TransportSlice::Icmpv4(icmp)) => {
                    let header = ip.header().to_header();
                    prop_assert_eq!(header.header_checksum, header.calc_header_checksum());
                    prop_assert_eq!((header.source, header.destination), ([198, 51, 100, 2], [192, 0, 2, 7]));
                    prop_assert_eq!((header.dont_fragment, header.time_to_live), (true, 64));
                    prop_assert_eq!(checksum::sum(icmp.slice()), 0xffff);
                    icmp.payload().to_vec()
                }
                (NetSlice::Ipv6(ip), TransportSlice::Icmpv6(icmp)) => {
                    prop_assert_eq!((ip.header().source(), ip.header().destination()), ([3; 16], [1; 16]));
                    prop_assert!(icmp.is_checksum_valid([3; 16], [1; 16]));
                    icmp.payload().to_vec()
                }
                other => panic!("{other:?}"),
            };
            prop_assert!(quoted.starts_with(&carried));
        }
    }
}
