//! Cases of other files once more, behind tags; several ports on one device; and tags of all kinds.

use super::packets::{Mac, Packet, ip_frame};
use super::site::{Family, INSIDE, Mode, OUTSIDE, Port, Site, backend, mac_of, router};
use super::{Case, answers, errors, fragments, nat};

/// Cases that are played again, each in these VLANs outside and inside.
const AGAIN: &[(&str, &[u16], &[u16])] = &[
    ("arp-frontend", &[100], &[200]),
    ("arp-own-address", &[100, 7], &[200]),
    ("arp-own-address-inside", &[100], &[200, 8]),
    ("arp-reply", &[100], &[]),
    ("nd-frontend", &[100], &[200]),
    ("nd-own-address", &[100], &[200, 8]),
    ("fragments-nat-v4-reversed", &[100, 7], &[200]),
    ("fragments-nat-v6-reversed", &[100], &[200, 8]),
    ("icmp-nat-v4-too-big", &[100, 7], &[200, 8]),
    ("icmp-nat-v6-too-big", &[100, 7], &[200, 8]),
    ("icmp-vxlan-4in4-too-big", &[100], &[200, 8]),
    ("icmp-nat-v4-fragmentation-needed-from-outside", &[100], &[200]),
    ("nat-v4-full-size", &[100, 7], &[200, 8]),
    ("nat-v6-full-size", &[100], &[200]),
    ("nat-v4-padding", &[100], &[]),
];

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let others: Vec<Case> =
        [answers::cases(), fragments::cases(), errors::cases(), nat::cases()].into_iter().flatten().collect();
    for (name, outside, inside) in AGAIN {
        let case = others.iter().find(|case| case.name == *name);
        let case = case.unwrap_or_else(|| panic!("there is no case {name}"));
        cases.push(behind(case, outside, inside));
    }
    for family in [Family::V4, Family::V6] {
        let site = Site::nat(family);
        cases.push(one_device(&site, "one-arm", &[100], &[200]));
        cases.push(one_device(&site, "one-arm-two", &[100, 7], &[100, 8]));
        cases.push(one_device(&site, "beside-none", &[], &[200]));
        cases.push(kinds(&site));
        cases.push(priority(&site));
        cases.push(of_nobody(&site));
        cases.push(none(&site));
        for mode in [Mode::Nat, Mode::Ipip, Mode::Vxlan] {
            cases.extend(jumbo(&Site::new(mode, family, family)));
        }
    }
    cases
}

const WHY: &str =
    "IEEE 802.1Q section 6.9: what leaves by a port bears the tags of its VLAN, whatever it came with";

/// The same case, its ports in VLANs.
fn behind(case: &Case, outside: &[u16], inside: &[u16]) -> Case {
    let mut case = Case { name: format!("vlan-{}", case.name), ..case.clone() };
    case.why = format!("{WHY}; and {}", case.why);
    for (port, tags) in [(OUTSIDE, outside), (INSIDE, inside)] {
        let name = format!("name = \"{}\"\n", port.name);
        case.config = case.config.replace(&name, &format!("{name}vlan = {tags:?}\n"));
        let put = |frame: &mut Vec<u8>| drop(frame.splice(12..12, bytes(tags)));
        case.came.iter_mut().filter(|(_, name, _)| *name == port.name).for_each(|(.., frame)| put(frame));
        for (_, sent) in case.left.iter_mut().filter(|(_, sent)| sent.port == port.name) {
            put(&mut sent.frame);
            sent.masks.iter_mut().for_each(|mask| mask.offset += 4 * tags.len());
        }
    }
    case
}

fn bytes(tags: &[u16]) -> Vec<u8> {
    let frame = ip_frame([0; 6], [0; 6], tags, &[0x45]);
    frame[12..12 + 4 * tags.len()].to_vec()
}

/// With both ports on one device: they have the Ethernet address of the first.
fn on_one_device(site: &Site, outside: &[u16], inside: &[u16]) -> String {
    let mut with = site.clone();
    let port = |tags: &[u16]| format!("device = \"net_null0\"\nvlan = {tags:?}\n");
    (with.outside, with.inside) = (port(outside), port(inside));
    with.config()
}

fn from_client(site: &Site, packet: &Packet) -> Vec<u8> {
    site.client_frame(&packet.bytes())
}

fn tagged(mut frame: Vec<u8>, tags: &[u8]) -> Vec<u8> {
    frame.splice(12..12, tags.iter().copied());
    frame
}

/// There and back, each by the tags of its port.
fn one_device(site: &Site, event: &str, outside: &[u16], inside: &[u16]) -> Case {
    const MAC: Mac = OUTSIDE.mac;
    let why = "IEEE 802.1Q section 6.9: by their tags frames of one wire are those of several ports";
    let mut case =
        Case::new(format!("vlan-{}-{event}", site.name()), why, on_one_device(site, outside, inside));
    for packet in [site.tcp("S", b""), site.udp(b"data")] {
        let mut there = site.at_backend(&packet);
        there.frame[6..12].copy_from_slice(&MAC);
        there.frame = tagged(there.frame, &bytes(inside));
        case = case.sends(OUTSIDE, tagged(from_client(site, &packet), &bytes(outside)), there);
        let answer = site.response(packet.body.clone());
        let mut back = site.at_client(&answer);
        back.frame = tagged(back.frame, &bytes(outside));
        let answer = ip_frame(MAC, mac_of(backend(site.outer)), inside, &answer.bytes());
        case = case.sends(INSIDE, answer, back);
    }
    case
}

/// The outer tag may be of either kind, priorities say nothing, and neither does VLAN 0.
fn kinds(site: &Site) -> Case {
    let mut with = site.clone();
    with.outside = "vlan = [100, 7]\n".into();
    let ways: [&[u8]; 5] = [
        &[0x88, 0xa8, 0, 100, 0x81, 0, 0, 7],
        &[0x81, 0, 0, 100, 0x81, 0, 0, 7],
        &[0x88, 0xa8, 0, 100, 0x88, 0xa8, 0, 7],
        &[0x88, 0xa8, 0xf0, 100, 0x81, 0, 0xe0, 7],
        &[0x81, 0, 0xa0, 0, 0x88, 0xa8, 0, 100, 0x81, 0, 0, 7],
    ];
    let why = "IEEE 802.1Q sections 6.9.1 and 9.6: the VLAN is twelve bits of each tag, and 0 is none";
    let case = Case::new(format!("vlan-{}-kinds", site.name()), why, with.config());
    ways.into_iter().fold(case, |case, tags| {
        let packet = site.tcp("S", b"");
        case.sends(OUTSIDE, tagged(from_client(site, &packet), tags), site.at_backend(&packet))
    })
}

/// Beside a port that takes what has no tag.
fn of_nobody(site: &Site) -> Case {
    let packet = site.tcp("S", b"");
    let frame = |tags: &[u8]| tagged(from_client(site, &packet), tags);
    let mut there = site.at_backend(&packet);
    there.frame[6..12].copy_from_slice(&OUTSIDE.mac);
    there.frame = tagged(there.frame, &bytes(&[200]));
    let why = "IEEE 802.1Q section 6.9: frames of other VLANs are no traffic of any port, and VLAN 0 is none";
    Case::new(format!("vlan-{}-of-nobody", site.name()), why, on_one_device(site, &[], &[200]))
        .sends(OUTSIDE, frame(&[0x81, 0, 0xe0, 0]), there)
        .drops(OUTSIDE, frame(&[0x81, 0, 0, 201]), "vlan-tagged")
        .drops(OUTSIDE, frame(&[0x88, 0xa8, 0, 200, 0x81, 0, 0, 200]), "vlan-tagged")
        .drops(OUTSIDE, frame(&[0x81, 0, 0, 200].repeat(3)), "vlan-tagged")
        .drops(OUTSIDE, frame(&[0x81, 0, 0, 0].repeat(7)), "vlan-missing")
}

/// On a device without VLANs, where a tag of VLAN 0 says a priority and nothing else.
fn priority(site: &Site) -> Case {
    let packet = site.tcp("S", b"");
    let frame = |tags: &[u8]| tagged(from_client(site, &packet), tags);
    let why = "IEEE 802.1Q section 6.9.1: a frame with a tag of VLAN 0 is one without a tag";
    Case::new(format!("vlan-{}-priority", site.name()), why, site.config())
        .sends(OUTSIDE, frame(&[0x81, 0, 0xe0, 0]), site.at_backend(&packet))
        .sends(OUTSIDE, frame(&[0x88, 0xa8, 0x20, 0, 0x81, 0, 0, 0]), site.at_backend(&packet))
        .drops(OUTSIDE, frame(&[0x81, 0, 0xe0, 1]), "vlan-tagged")
}

/// Where all ports have tags.
fn none(site: &Site) -> Case {
    let packet = site.tcp("S", b"").bytes();
    let frame =
        |port: Port, tags: &[u8]| tagged(ip_frame(port.mac, mac_of(router(site.inner)), &[], &packet), tags);
    let why = "IEEE 802.1Q section 6.9: a frame without a tag is of none of the VLANs that have one";
    Case::new(format!("vlan-{}-none", site.name()), why, on_one_device(site, &[100], &[200]))
        .drops(OUTSIDE, frame(OUTSIDE, &[]), "vlan-missing")
        .drops(OUTSIDE, frame(OUTSIDE, &[0x81, 0, 0, 0]), "vlan-missing")
        .drops(INSIDE, frame(OUTSIDE, &[]), "vlan-missing")
}

/// What just fits 9,000 bytes, and one byte more; without tags and with two, which are no part of it.
fn jumbo(site: &Site) -> Vec<Case> {
    let mut with = site.clone();
    (with.outside, with.inside) = ("mtu = 9216\n".into(), "mtu = 9000\n".into());
    let overhead = if site.is_tunnel() { site.overhead() } else { 0 };
    let case = Case { name: format!("jumbo-{}", site.name()), ..errors::too_big(&with, 9000 - overhead) };
    vec![behind(&case, &[100, 7], &[200, 8]), case]
}
