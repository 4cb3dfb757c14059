//! VLANs, and rules for more than one port.

use std::net::IpAddr;

use super::Case;
use super::packets::{Body, Packet, ip_frame};
use super::site::{
    CLIENT_PORT, FRONTEND_PORT, Family, INSIDE, Mode, OUTSIDE, Sent, Site, backend, frontend, mac_of, router,
};

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for family in [Family::V4, Family::V6] {
        let modes = [Mode::Nat, Mode::Dsr, Mode::Ipip, Mode::Vxlan];
        for mode in modes {
            let site = Site::new(mode, family, family);
            cases.push(tagged(&site, "one", &[100], &[200]));
            cases.push(tagged(&site, "in-only", &[100], &[]));
            cases.push(tagged(&site, "out-only", &[], &[200]));
            cases.push(tagged(&site, "two", &[100, 7], &[200, 8]));
        }
        cases.push(other_vlan(&Site::nat(family)));
        cases.extend(breadth(&Site::nat(family)));
    }
    cases
}

fn vlan(tags: &[u16]) -> String {
    if tags.is_empty() { String::new() } else { format!("vlan = {tags:?}\n") }
}

/// `frame` with tags behind its addresses; masks move with the rest.
fn with_tags(mut sent: Sent, tags: &[u16]) -> Sent {
    let (to, from) = (sent.frame[..6].try_into().unwrap(), sent.frame[6..12].try_into().unwrap());
    sent.frame = ip_frame(to, from, tags, &sent.frame[14..]);
    sent.masks.iter_mut().for_each(|mask| mask.offset += 4 * tags.len());
    sent
}

fn tagged(site: &Site, event: &str, outside: &[u16], inside: &[u16]) -> Case {
    let mut with = site.clone();
    (with.outside, with.inside) = (vlan(outside), vlan(inside));
    let client_frame =
        |packet: &Packet| ip_frame(OUTSIDE.mac, mac_of(router(site.inner)), outside, &packet.bytes());
    let why =
        "IEEE 802.1Q section 6.9: what leaves by a port bears the tags of its VLAN, whatever it came with";
    let mut case = Case::new(format!("vlan-{}-{event}", site.name()), why, with.config());
    for packet in [site.tcp("S", b""), site.udp(b"data")] {
        case = case.sends(OUTSIDE, client_frame(&packet), with_tags(site.at_backend(&packet), inside));
        if site.mode == Mode::Nat {
            let answer = site.response(packet.body.clone());
            let back = ip_frame(INSIDE.mac, mac_of(backend(site.outer)), inside, &answer.bytes());
            case = case.sends(INSIDE, back, with_tags(site.at_client(&answer), outside));
        }
    }
    case
}

fn other_vlan(site: &Site) -> Case {
    let mut with = site.clone();
    with.outside = vlan(&[100]);
    let packet = site.tcp("S", b"").bytes();
    let tagged = |tags: &[u16]| ip_frame(OUTSIDE.mac, mac_of(router(site.inner)), tags, &packet);
    let why = "IEEE 802.1Q section 6.9: frames of other VLANs are no traffic of the port";
    Case::new(format!("vlan-{}-other", site.name()), why, with.config())
        .drops(OUTSIDE, tagged(&[101]), "vlan-tagged")
        .drops(OUTSIDE, tagged(&[100, 100]), "vlan-tagged")
}

/// Frontends of many ports: the backend's is the one that was asked for.
fn breadth(site: &Site) -> Vec<Case> {
    let host = match frontend(site.inner) {
        IpAddr::V6(address) => format!("[{address}]"),
        address => address.to_string(),
    };
    let mut same = site.clone();
    same.backend_port = None;
    let config = |frontend: &str| {
        let config = same.config();
        let (head, _) = config.split_once("\n[[rule]]").unwrap();
        format!("{head}\n[[rule]]\nname = \"all\"\nfrontend = \"{host}:{frontend}\"\npool = \"web\"\n")
    };
    let sent = |packet: &Packet| {
        let there = Packet { to: backend(site.inner), hops: packet.hops - 1, ..packet.clone() };
        let frame = ip_frame(mac_of(backend(site.outer)), INSIDE.mac, &[], &there.bytes());
        Sent { port: INSIDE.name, frame, masks: Vec::new() }
    };
    let one = |case: Case, body: Body| {
        let packet = site.request(body);
        case.sends(OUTSIDE, site.client_frame(&packet.bytes()), sent(&packet))
    };
    let case = |event: &str, frontend: &str| {
        let why =
            "docs/CONFIG.md, frontend: a rule for many ports leads each to the same port of the backend";
        Case::new(format!("breadth-{}-{event}", site.name()), why, config(frontend))
    };
    let tcp = |port| Body::tcp((CLIENT_PORT, port), "S", b"");
    let udp = |port| Body::udp((CLIENT_PORT, port), b"data");
    let refused = |case: Case, body: Body| {
        case.drops(OUTSIDE, site.client_frame(&site.request(body).bytes()), "no-rule")
    };
    vec![
        refused(one(one(case("all-tcp-ports", "0/tcp"), tcp(1)), tcp(u16::MAX)), udp(FRONTEND_PORT)),
        one(one(case("all-ports", "0/any"), tcp(1)), udp(u16::MAX)),
        refused(one(one(case("port-range", "8000-8010/udp"), udp(8000)), udp(8010)), udp(8011)),
    ]
}
