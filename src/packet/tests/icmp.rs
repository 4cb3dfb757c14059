use super::*;
use crate::drop_reason::DropReason;
use crate::packet::{
    IpPacket, Packet, Parsed, icmp_message, merits_error, neighbour_message, parse, quote_offset,
};
use crate::wire::{MacAddr, nd};

fn ip_of(frame: &[u8]) -> IpPacket {
    match parse(frame) {
        Ok(
            Parsed::Transport(Packet { ip, .. })
            | Parsed::Icmp(ip)
            | Parsed::Other(ip)
            | Parsed::Fragment(ip),
        ) => ip,
        other => panic!("{other:?}"),
    }
}

fn v4_message(kind: u8) -> Vec<u8> {
    v4_part(1, 0, false, &[kind, 0, 0, 0, 0, 0, 0, 0])
}

fn v6_message(kind: u8) -> Vec<u8> {
    v6_frame(&[], 58, &[kind, 0, 0, 0, 0, 0, 0, 0])
}

#[test]
fn checksums_are_held_over_all_that_they_cover() {
    for is_v6 in [false, true] {
        let mut frame = Vec::new();
        let builder = PacketBuilder::ethernet2([2; 6], [4; 6]);
        if is_v6 {
            let builder = builder.ipv6(CLIENT, FRONTEND, 9).icmpv6_echo_request(1, 2);
            builder.write(&mut frame, b"odd").unwrap();
        } else {
            let builder = builder.ipv4([192, 0, 2, 7], [203, 0, 113, 10], 9).icmpv4_echo_request(1, 2);
            builder.write(&mut frame, b"odd").unwrap();
        }
        let len = frame.len();
        frame.extend(b"padding");
        let ip = ip_of(&frame);
        assert_eq!(icmp_message(&frame, &ip), Ok(&frame[ip.payload_offset.into()..len]));
        frame[len - 1] ^= 1;
        assert_eq!(icmp_message(&frame, &ip), Err(DropReason::IcmpMalformed));
        frame[len - 1] ^= 1;
        // The addresses are under the checksum in IPv6 alone.
        frame[if is_v6 { 37 } else { 29 }] ^= 1;
        if !is_v6 {
            ipv4::write_checksum(&mut frame[14..34]);
        }
        assert_eq!(icmp_message(&frame, &ip_of(&frame)).is_err(), is_v6);
    }
}

#[test]
fn errors_quote_and_questions_do_not() {
    let at = |frame: Vec<u8>| {
        let ip = ip_of(&frame);
        quote_offset(&frame[ip.payload_offset.into()..], &ip)
    };
    assert_eq!([3, 4, 5, 11, 12].map(|kind| at(v4_message(kind))), [Some(42); 5]);
    assert_eq!([0, 8, 13, 1, 128].map(|kind| at(v4_message(kind))), [None; 5]);
    assert_eq!([1, 2, 3, 4, 127].map(|kind| at(v6_message(kind))), [Some(62); 5]);
    assert_eq!([128, 129, 136, 137].map(|kind| at(v6_message(kind))), [None; 4]);
}

#[test]
fn neighbours_messages_come_in_one_piece() {
    let (us, them) = ("2001:db8::1".parse().unwrap(), "2001:db8::2".parse().unwrap());
    let frame = nd::solicit(MacAddr([2; 6]), them, us, None);
    let told = nd::Solicitation { source: them, source_mac: Some(MacAddr([2; 6])), target: us };
    let read = |frame: &[u8]| neighbour_message(frame, &ip_of(frame));
    assert_eq!(read(&frame), Ok(Some(nd::Message::Solicitation(told))));
    let mut far = frame;
    far[21] = 254;
    assert_eq!(read(&far), Err(DropReason::NdMalformed));
    let mut pieces = frame.to_vec();
    pieces[20] = 44;
    pieces[19] += 8;
    pieces.splice(54..54, [58, 0, 0, 0, 0, 0, 0, 1]);
    assert_eq!(read(&pieces), Err(DropReason::NdMalformed));
    assert_eq!((read(&v6_message(128)), read(&v4_message(135))), (Ok(None), Ok(None)));
}

#[test]
fn no_errors_about_errors_nor_to_many_nor_from_nobody() {
    let merits = |frame: &[u8]| merits_error(frame, &ip_of(frame), false);
    let too_big = |frame: &[u8]| merits_error(frame, &ip_of(frame), true);
    let v4 = v4_part(17, 0, false, &datagram());
    let v6 = v6_frame(&[], 17, &datagram());
    assert!(merits(&v4) && merits(&v6));
    assert!([0, 8, 13].iter().all(|kind| merits(&v4_message(*kind))));
    assert!([128, 129].iter().all(|kind| merits(&v6_message(*kind))));
    assert!(
        [3, 5, 11, 12, 200].iter().all(|kind| !merits(&v4_message(*kind)) && !too_big(&v4_message(*kind)))
    );
    assert!(
        [1, 2, 3, 4, 100, 137].iter().all(|kind| !merits(&v6_message(*kind)) && !too_big(&v6_message(*kind)))
    );
    // Bytes of the frame, and what makes the packet one to many, or from nobody.
    let changed = |frame: &[u8], at: usize, bytes: &[u8]| {
        let mut frame = frame.to_vec();
        frame[at..at + bytes.len()].copy_from_slice(bytes);
        if frame[12] == 8 {
            ipv4::write_checksum(&mut frame[14..34]);
        }
        frame
    };
    for (at, bytes) in [(0, &[1][..]), (0, &[0xff; 6]), (30, &[224]), (30, &[255; 4]), (30, &[127])] {
        let frame = changed(&v4, at, bytes);
        assert!(!merits(&frame) && !too_big(&frame), "{at} {bytes:?}");
    }
    for (at, bytes) in [(0, &[0x33, 0x33][..]), (38, &[0xff, 2])] {
        let frame = changed(&v6, at, bytes);
        assert!(!merits(&frame) && too_big(&frame), "{at} {bytes:?}");
    }
    for source in [[0; 4], [127, 0, 0, 1], [224, 0, 0, 1], [255; 4], [240, 0, 0, 1]] {
        assert!(!merits(&changed(&v4, 26, &source)), "{source:?}");
    }
    let mut loopback = [0; 16];
    loopback[15] = 1;
    for source in [[0; 16], loopback, [0xff; 16]] {
        assert!(!too_big(&changed(&v6, 22, &source)), "{source:?}");
    }
    // Only about the first part of a datagram.
    let (first, later) = (v4_part(17, 0, true, &datagram()[..16]), v4_part(17, 24, true, &[0; 8]));
    assert!(merits(&first) && !too_big(&later));
    let (first, later) =
        (v6_frame(&[part(0, true)], 17, &datagram()[..16]), v6_frame(&[part(24, true)], 17, &[0; 8]));
    assert!(merits(&first) && !too_big(&later));
}
