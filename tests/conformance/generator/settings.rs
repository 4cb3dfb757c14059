//! What rules of NAT do where they are asked to: hairpin, the maximum segment size, and resets of idle connections.

use std::time::Duration;

use etherparse::TcpHeader;

use super::Case;
use super::packets::{Body, Packet, ip_frame};
use super::site::{
    CLIENT_PORT, FRONTEND_PORT, Family, INSIDE, OUTSIDE, Sent, Site, backend, client, frontend, mac_of, mask,
};

pub fn cases() -> Vec<Case> {
    [Family::V4, Family::V6].into_iter().flat_map(of_family).collect()
}

fn of_family(family: Family) -> Vec<Case> {
    let with = |rule: &str| {
        // For TCP alone.
        let site = Site::nat(family);
        let config = site.config().replace("/tcp\"\n", &format!("/tcp\"\n{rule}\n"));
        (site, config)
    };
    vec![
        hairpin(with("hairpin = true")),
        clamp(with("mss_clamp = 1400")),
        reset(with("tcp_reset = true\nidle_timeout = \"10s\"")),
    ]
}

/// The only backend calls the frontend, and gets itself.
fn hairpin((site, config): (Site, String)) -> Case {
    let own = backend(site.outer);
    let port = site.backend_port.unwrap();
    let packet = |from, to, ports, hops| Packet { hops, ..Packet::new(from, to, Body::tcp(ports, "S", b"")) };
    let comes = packet(own, frontend(site.inner), (CLIENT_PORT, FRONTEND_PORT), 64);
    let leaves = packet(INSIDE.own(site.outer), own, (CLIENT_PORT, port), 63);
    const CHOSEN: &str = "the source port is guideway's choice, and the checksum covers it";
    let at = 14 + if site.outer == Family::V4 { 20 } else { 40 };
    let sent = Sent {
        port: INSIDE.name,
        frame: ip_frame(mac_of(own), INSIDE.mac, &[], &leaves.bytes()),
        masks: vec![mask(at, &[0xff; 2], CHOSEN), mask(at + 16, &[0xff; 2], CHOSEN)],
    };
    let why = "RFC 5382 REQ-8: a backend's own connection comes back to it from another address than its own";
    Case::new(format!("{}-hairpin", site.name()), why, config)
        .sends(INSIDE, site.backend_frame(&comes.bytes()), sent)
        // Others keep their source.
        .requests(&site, &site.tcp("S", b""))
}

fn clamp((site, config): (Site, String)) -> Case {
    let why = "RFC 9293 section 3.7.1: an end sends no longer segments than the other asks for, so it is asked for less";
    let option = |mss: u16| [&[1, 2, 4][..], &mss.to_be_bytes(), &[1, 3, 3, 7, 0, 0, 0]].concat();
    let body = |flags, mss| Body::Tcp {
        ports: (CLIENT_PORT, FRONTEND_PORT),
        flags,
        options: option(mss),
        data: vec![],
    };
    let mut case = Case::new(format!("{}-mss-clamp", site.name()), why, config);
    for (asked, left) in [(1460, 1400), (1401, 1400), (1400, 1400), (536, 536), (65535, 1400)] {
        let comes = site.request(body("S", asked));
        let leaves = site.request(body("S", left));
        case = case.sends(OUTSIDE, site.client_frame(&comes.bytes()), site.at_backend(&leaves));
        let comes = site.response(body("SA", asked));
        let leaves = site.response(body("SA", left));
        case = case.sends(INSIDE, site.backend_frame(&comes.bytes()), site.at_client(&leaves));
    }
    // Only who begins asks.
    case.requests(&site, &site.request(body("A", 1460)))
}

/// A segment of no window that resets a connection at exactly the number that its receiver expects (RFC 5961 section 3.2).
fn reset_at(from: Packet, ports: (u16, u16), sequence: u32, acknowledgement: u32) -> Packet {
    let mut header = TcpHeader::new(ports.0, ports.1, sequence, 0);
    (header.rst, header.ack, header.acknowledgment_number) = (true, true, acknowledgement);
    header.checksum = match (from.from, from.to) {
        (std::net::IpAddr::V4(a), std::net::IpAddr::V4(b)) => {
            header.calc_checksum_ipv4_raw(a.octets(), b.octets(), b"").unwrap()
        }
        (std::net::IpAddr::V6(a), std::net::IpAddr::V6(b)) => {
            header.calc_checksum_ipv6_raw(a.octets(), b.octets(), b"").unwrap()
        }
        _ => panic!("two families"),
    };
    Packet { hops: 64, id: 0, label: 0, body: Body::Other(6, header.to_bytes().to_vec()), ..from }
}

fn reset((site, config): (Site, String)) -> Case {
    let why = "RFC 5382 REQ-5 and RFC 5961 section 3: both ends of a connection that is forgotten are reset, at the numbers they expect";
    let ends = |from, to| Packet::new(from, to, Body::tcp((0, 0), "A", b""));
    let (us, them) = (frontend(site.inner), client(site.inner));
    // Of segments of the suite, 1,000,000 is the first byte and 2,000,000 the next that is expected.
    let to_client = reset_at(ends(us, them), (FRONTEND_PORT, CLIENT_PORT), 2_000_000, 1_000_004);
    let to_backend = reset_at(
        ends(them, backend(site.outer)),
        (CLIENT_PORT, site.backend_port.unwrap()),
        1_000_004,
        2_000_000,
    );
    let own = mac_of(backend(site.outer));
    let nobody = Packet::new(them, client(site.inner), Body::tcp((1, 2), "S", b""));
    Case::new(format!("{}-reset-when-idle", site.name()), why, config)
        .requests(&site, &site.tcp("A", b""))
        .requests(&site, &site.tcp("PA", b"data"))
        .after(Duration::from_secs(12))
        .drops(OUTSIDE, site.client_frame(&nobody.bytes()), "not-ours")
        .leaves(Sent { port: OUTSIDE.name, frame: site.to_router(&to_client.bytes()), masks: vec![] })
        .leaves(Sent {
            port: INSIDE.name,
            frame: ip_frame(own, INSIDE.mac, &[], &to_backend.bytes()),
            masks: vec![],
        })
}
