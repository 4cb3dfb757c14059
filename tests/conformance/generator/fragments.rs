//! Datagrams in pieces.

use super::Case;
use super::packets::{Body, Packet, ip_frame};
use super::site::{CLIENT_PORT, FRONTEND_PORT, Family, INSIDE, Mode, OUTSIDE, Sent, Site, backend, mac_of};
use super::tunnels;

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let nat = [Family::V4, Family::V6].map(Site::nat);
    for site in nat.iter().chain(&tunnels::sites()) {
        cases.extend(orders(site));
        if site.inner == Family::V4 {
            cases.extend(cut_up(site));
        }
    }
    cases.push(cut_response());
    for site in &nat {
        cases.push(tcp(site));
        cases.extend(hostile(site));
    }
    cases
}

/// The narrow network that packets are cut up for.
const NARROW: usize = 600;

/// How much fits a part, behind a header of 20 bytes: eights (RFC 791 section 3.2).
fn part(overhead: usize) -> usize {
    (NARROW - overhead - 20) / 8 * 8
}

/// Packets that do not fit the backend's network, and have no "don't fragment".
fn cut_up(site: &Site) -> Vec<Case> {
    let why = "RFC 1812 section 5.2.7: what does not fit, and may be cut up, goes on in pieces";
    let mut narrow = site.clone();
    narrow.inside = format!("mtu = {NARROW}\n");
    let part = part(site.overhead());
    let leave = |mut case: Case, left: Vec<Sent>| {
        case.expected.transmitted += 1;
        left.into_iter().fold(case, Case::leaves)
    };
    let left = |cuts: &[usize]| pieces(site, &datagram(site), cuts).into_iter().map(|(_, sent)| sent);
    let whole = site.client_frame(&datagram(site).bytes());
    let of_whole = left(&[part, 2 * part]).collect();
    // A piece that is cut up itself: 704 bytes twice, each in two.
    let came = pieces(site, &datagram(site), &[704]);
    let mut of_pieces: Vec<_> = left(&[part, 704, 704 + part]).collect();
    let of_second = of_pieces.split_off(2);
    // The later ones wait for the first. All parts of the one are sent before those of the other.
    let late = pieces(site, &datagram(site), &[128, 768]);
    let mut reversed = case(&narrow, "cut-up-reversed", why);
    for piece in [1, 2, 0] {
        reversed = reversed.comes(OUTSIDE, late[piece].0.clone());
    }
    reversed.expected.transmitted += 2;
    reversed = leave(reversed, left(&[128, 128 + part, 768, 768 + part]).collect());
    vec![
        reversed,
        leave(case(&narrow, "cut-up", why).comes(OUTSIDE, whole), of_whole),
        leave(
            leave(case(&narrow, "cut-up-again", why).comes(OUTSIDE, came[0].0.clone()), of_pieces)
                .comes(OUTSIDE, came[1].0.clone()),
            of_second,
        ),
    ]
}

/// The same on the way to the client, with options that are to be copied and others that are not.
fn cut_response() -> Case {
    let site = Site::nat(Family::V4);
    let mut narrow = site.clone();
    narrow.outside = format!("mtu = {NARROW}\n");
    let why = "RFC 791 section 3.1: of a packet that is cut up, options that say so go with all pieces, and others with the first";
    // Router alert, and a timestamp that is full.
    let options = vec![148, 4, 0, 0, 68, 4, 5, 0];
    let data: Vec<u8> = (0..1000u16).map(|n| n as u8).collect();
    let answer = Packet {
        df: false,
        options: options.clone(),
        ..site.response(Body::Udp { ports: (0, 0), data, sum: true })
    };
    let to_client = |options: &[u8], piece: usize| {
        let packet = Packet { options: options.to_vec(), ..site.translated_back(&answer) };
        let cuts = [(NARROW - 28) / 8 * 8];
        let bytes = packet.fragments(&cuts).swap_remove(piece);
        Sent { port: OUTSIDE.name, frame: site.to_router(&bytes), masks: Vec::new() }
    };
    let mut case = case(&narrow, "cut-up-response", why)
        .requests(&narrow, &site.udp(b"ask"))
        .comes(INSIDE, site.backend_frame(&answer.bytes()));
    case.expected.transmitted += 1;
    case.leaves(to_client(&options, 0)).leaves(to_client(&options[..4], 1))
}

const CUTS: [usize; 2] = [512, 1024];

fn case(site: &Site, event: &str, why: &str) -> Case {
    Case::new(format!("fragments-{}-{event}", site.name()), why, site.config())
}

fn datagram(site: &Site) -> Packet {
    Packet { df: false, ..site.udp(&(0..1400u16).map(|n| n as u8).collect::<Vec<_>>()) }
}

/// What comes in and what leaves of it, piece by piece.
fn pieces(site: &Site, packet: &Packet, cuts: &[usize]) -> Vec<(Vec<u8>, Sent)> {
    let came = packet.fragments(cuts);
    let to = mac_of(backend(site.outer));
    let left: Vec<_> = match site.mode {
        Mode::Nat => {
            site.translated(packet).fragments(cuts).into_iter().map(|bytes| (bytes, Vec::new())).collect()
        }
        Mode::Dsr => came.iter().map(|bytes| (bytes.clone(), Vec::new())).collect(),
        _ => came.iter().map(|bytes| site.tunnelled(bytes, packet)).collect(),
    };
    let sent = left.into_iter().map(|(bytes, masks)| Sent {
        port: INSIDE.name,
        frame: ip_frame(to, INSIDE.mac, &[], &bytes),
        masks,
    });
    came.iter().map(|bytes| site.client_frame(bytes)).zip(sent).collect()
}

fn orders(site: &Site) -> Vec<Case> {
    let why = match site.inner {
        Family::V4 => "RFC 791 section 3.2",
        Family::V6 => "RFC 8200 section 4.5",
    };
    let pieces = pieces(site, &datagram(site), &CUTS);
    let in_order = pieces.iter().cloned().fold(
        case(site, "in-order", &format!("{why}: all pieces of a datagram reach the backend of the first")),
        |case, (came, left)| case.sends(OUTSIDE, came, left),
    );
    // What comes before the first piece waits for it.
    let mut reversed =
        case(site, "reversed", &format!("{why}: pieces may arrive in any order, and none is lost for it"));
    for (came, _) in pieces.iter().skip(1).rev() {
        reversed = reversed.comes(OUTSIDE, came.clone());
    }
    let (first, sent) = pieces[0].clone();
    reversed = reversed.sends(OUTSIDE, first, sent);
    for (_, left) in pieces.iter().skip(1).rev() {
        reversed.expected.transmitted += 1;
        reversed = reversed.leaves(left.clone());
    }
    vec![in_order, reversed]
}

fn tcp(site: &Site) -> Case {
    let packet = Packet { df: false, ..site.tcp("PA", &[0x5a; 900]) };
    pieces(site, &packet, &[400]).into_iter().fold(
        case(site, "tcp", "RFC 791 section 3.2: a segment in pieces goes the way of its flow"),
        |case, (came, left)| case.sends(OUTSIDE, came, left),
    )
}

fn hostile(site: &Site) -> Vec<Case> {
    let packet = Packet { df: false, ..site.tcp("S", &[0x5a; 64]) };
    let ip = if site.inner == Family::V4 { 20 } else { 40 };
    let tiny = packet.fragments(&[8]).into_iter().next().unwrap();
    let in_header = packet.fragments(&[8]).into_iter().nth(1).unwrap();
    let body = packet.bytes()[ip..].to_vec();
    // As `Other`, cut where no fragment ends: what follows is not the last, and no multiple of eight long.
    let odd = Packet { body: Body::Other(17, body[..43].to_vec()), ..packet.clone() };
    let mut odd = odd.fragments(&[24]).into_iter().nth(1).unwrap();
    match site.inner {
        Family::V4 => {
            odd[6] |= 0x20;
            odd[10..12].fill(0);
            let sum = etherparse::checksum::Sum16BitWords::new().add_slice(&odd[..20]).ones_complement();
            odd[10..12].copy_from_slice(&sum.to_ne_bytes());
        }
        Family::V6 => odd[43] |= 1,
    }
    let drop = |event: &str, why: &str, packet: &[u8], reason: &str| {
        case(site, event, why).drops(OUTSIDE, site.client_frame(packet), reason)
    };
    let all = pieces(site, &datagram(site), &CUTS);
    let overlap = Packet { body: Body::udp((CLIENT_PORT, FRONTEND_PORT), &[0xee; 1400]), ..datagram(site) };
    let overlap = site.client_frame(&overlap.fragments(&[504, 1016])[1]);
    vec![
        drop(
            "tiny",
            "RFC 1858 section 3: a first piece that does not hold the whole header hides what it is",
            &tiny,
            "fragment-tiny",
        ),
        drop(
            "in-header",
            "RFC 3128 section 3: a piece that begins within the header could overwrite it",
            &in_header,
            "fragment-in-header",
        ),
        drop(
            "odd-length",
            "RFC 791 section 3.2: all pieces but the last are a multiple of eight bytes long",
            &odd,
            "fragment-bad-length",
        ),
        case(
            site,
            "overlap",
            "RFC 5722 section 4: pieces that overlap are not forwarded, nor what is left of their datagram",
        )
        .sends(OUTSIDE, all[0].0.clone(), all[0].1.clone())
        .drops(OUTSIDE, overlap, "fragment-overlap"),
    ]
}
