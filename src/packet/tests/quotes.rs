use super::*;
use crate::drop_reason::DropReason;
use crate::packet::{Packet, Parsed, Quote, QuotedEnds, parse, parse_quote};
use crate::wire::Protocol;
use proptest::prelude::*;

/// The quote begins there.
const AT: usize = 42;

/// The IP packet of a frame, behind the headers of an error that quotes it, cut to `len` bytes.
fn quoting(frame: &[u8], len: usize) -> Vec<u8> {
    let packet = &frame[14..];
    [&[0xee; AT], &packet[..len.min(packet.len())]].concat()
}

fn v4(protocol: u8, payload: &[u8]) -> Vec<u8> {
    v4_part(protocol, 0, false, payload)
}

fn ends(quote: Result<Quote, DropReason>) -> Option<QuotedEnds> {
    quote.unwrap().ends
}

#[test]
fn eight_bytes_are_enough_and_the_checksum_is_told_where_it_is_there() {
    let v6 = |protocol, payload: &[u8]| v6_frame(&[padding(60, 1)], protocol, payload);
    for (headers, tcp, udp) in
        [(20, v4(6, &segment()), v4(17, &datagram())), (48, v6(6, &segment()), v6(17, &datagram()))]
    {
        let expected = |protocol, destination_port, checksum_offset| QuotedEnds {
            protocol,
            source_port: 40_000,
            destination_port,
            checksum_offset,
        };
        let at = (AT + headers) as u16;
        let read = |frame: &[u8], len| parse_quote(&quoting(frame, headers + len), AT);
        let no_sum = expected(Protocol::Tcp, 443, None);
        let sum = expected(Protocol::Tcp, 443, Some(at + 16));
        assert_eq!(ends(read(&tcp, 8)), Some(no_sum));
        assert_eq!(ends(read(&tcp, 17)), Some(no_sum));
        assert_eq!(ends(read(&tcp, 18)), Some(sum));
        assert_eq!(ends(read(&udp, 8)), Some(expected(Protocol::Udp, 53, Some(at + 6))));
        let ip = read(&udp, 8).unwrap().ip;
        assert_eq!((ip.header_offset, ip.payload_offset), (AT as u16, at));
        assert_eq!(usize::from(ip.total_len), headers + datagram().len());
        for len in 0..headers + 8 {
            let quote = parse_quote(&quoting(&tcp, len), AT);
            assert_eq!(quote, Err(DropReason::IcmpBadQuote), "{len} bytes");
        }
    }
}

#[test]
fn later_fragments_and_other_protocols_have_no_ends() {
    let later = v4_part(17, 24, false, &[1; 8]);
    let first = v4_part(17, 0, true, &datagram()[..16]);
    assert_eq!(ends(parse_quote(&quoting(&later, 99), AT)), None);
    assert!(ends(parse_quote(&quoting(&first, 99), AT)).is_some());
    let later = v6_frame(&[part(24, true)], 17, &[1; 8]);
    let first = v6_frame(&[part(0, true)], 17, &datagram()[..16]);
    assert_eq!(ends(parse_quote(&quoting(&later, 99), AT)), None);
    assert!(ends(parse_quote(&quoting(&first, 56), AT)).is_some());
    let sctp = parse_quote(&quoting(&v4(132, &[1; 12]), 99), AT).unwrap();
    assert_eq!((sctp.ip.protocol, sctp.ends), (132, None));
}

#[test]
fn a_quote_with_a_wrong_header_is_refused() {
    let mut wrong_sum = quoting(&v4(17, &datagram()), 99);
    wrong_sum[AT + 10] ^= 1;
    let mut version = quoting(&v4(17, &datagram()), 99);
    version[AT] = 0x55;
    for frame in [wrong_sum, version, Vec::new()] {
        assert_eq!(parse_quote(&frame, AT), Err(DropReason::IcmpBadQuote));
    }
    // What is wrong with what it carries is for others to find.
    let mut lying = quoting(&v4(17, &datagram()), 99);
    lying[AT + 24..AT + 26].fill(0xff);
    assert!(parse_quote(&lying, AT).is_ok());
}

proptest! {
    #[test]
    fn a_whole_quote_says_what_the_packet_says_and_no_cut_one_more(
        is_v6 in any::<bool>(), is_udp in any::<bool>(), cut in 0usize..120,
        flips in proptest::collection::vec((14usize..90, any::<u8>()), 0..3),
    ) {
        let (protocol, payload) = if is_udp { (17, datagram()) } else { (6, segment()) };
        let mut frame = if is_v6 { v6_frame(&[padding(60, 1)], protocol, &payload) } else { v4(protocol, &payload) };
        for (at, value) in flips {
            if let Some(byte) = frame.get_mut(at) {
                *byte = value;
            }
        }
        if !is_v6 {
            ipv4::write_checksum(&mut frame[14..34]);
        }
        let whole = parse_quote(&frame, 14);
        if let Ok(Parsed::Transport(packet)) = parse(&frame) {
            let Packet { ip, source_port, destination_port, protocol, .. } = packet;
            let quote = whole.unwrap();
            prop_assert_eq!(quote.ip, ip);
            let ends = quote.ends.unwrap();
            prop_assert_eq!((ends.protocol, ends.source_port, ends.destination_port), (protocol, source_port, destination_port));
            prop_assert!(ends.checksum_offset.is_some_and(|at| usize::from(at) + 2 <= frame.len()));
        }
        let cut = parse_quote(&frame[..cut.min(frame.len())], 14);
        if let (Ok(cut), Ok(whole)) = (cut, whole) {
            prop_assert_eq!(cut.ip, whole.ip);
        }
    }
}
