//! Access lists: whose first packets pass, whose do not, and that they are counted for their rule.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail")]

mod common;

use common::*;
use guideway::replay::Replay;

const OFFICE: &str = "[[acl]]\nname = \"office\"\nrules = [\"deny 192.0.2.8\", \"permit 192.0.2.0/28\", \"permit 2001:db8:2::/64\"]\n";
const BLOCKED: &str = "[[acl]]\nname = \"blocked\"\nrules = [\"deny 192.0.2.8/31\"]\n";

fn with(acls: &str, rule: &str) -> Replay {
    balancer(&format!("{}\n{acls}", with_backends(&numbered([4], ""), rule)), 2)
}

fn from(host: u8, flags: &'static str) -> Spec {
    Spec { from: ([192, 0, 2, host], 40_000), ..Spec::tcp(flags) }
}

/// Which counters a client's packet moves.
fn fate(balancer: &mut Replay, spec: &Spec) -> Vec<String> {
    let before = counts(balancer);
    balancer.frame(seconds(1.0), OUTSIDE, spec.frame());
    assert_balanced(balancer);
    moved(&before, &counts(balancer))
}

/// An IPv4 packet without options, in two fragments.
fn in_two(frame: &[u8]) -> [Vec<u8>; 2] {
    let (headers, carried) = frame.split_at(34);
    let part = |fragment: u16, carried: &[u8]| {
        let mut part = [headers, carried].concat();
        part[16..18].copy_from_slice(&(20 + carried.len() as u16).to_be_bytes());
        part[20..22].copy_from_slice(&fragment.to_be_bytes());
        fix_ip_checksum(&mut part);
        part
    };
    // More follow; the offset in units of eight bytes.
    [part(0x2000, &carried[..40]), part(40 / 8, &carried[40..])]
}

#[test]
fn the_first_rule_that_has_the_client_decides_and_permits_shut_others_out() {
    let mut balancer = with(OFFICE, "acl = \"office\"");
    for (host, expected) in
        [(7, "transmitted+1"), (8, "acl-denied+1"), (9, "transmitted+1"), (16, "acl-denied+1")]
    {
        assert_eq!(fate(&mut balancer, &from(host, "S")), [expected], "{host}");
        let query = Spec { from: ([192, 0, 2, host], 5000), ..Spec::udp() };
        assert_eq!(fate(&mut balancer, &query), [expected], "{host}");
        // Nothing was recorded of it, so that the next is judged again.
        assert_eq!(fate(&mut balancer, &from(host, "A")), [expected], "{host}");
    }
    assert_eq!(balancer.totals().flows_created, 4);
}

#[test]
fn without_a_permit_others_are_let_in() {
    let mut balancer = with(BLOCKED, "acl = \"blocked\"");
    for (host, expected) in
        [(7, "transmitted+1"), (8, "acl-denied+1"), (9, "acl-denied+1"), (10, "transmitted+1")]
    {
        assert_eq!(fate(&mut balancer, &from(host, "S")), [expected], "{host}");
    }
}

#[test]
fn pings_are_the_addresses_matter_and_not_the_rules() {
    let mut balancer = with(OFFICE, "acl = \"office\"");
    assert_eq!(fate(&mut balancer, &from(8, "S")), ["acl-denied+1"]);
    let ping = echo_request([192, 0, 2, 8], FRONTEND, b"ping");
    let before = counts(&balancer);
    balancer.frame(seconds(1.0), OUTSIDE, ping);
    assert_eq!(moved(&before, &counts(&balancer)), ["answered+1"]);
}

#[test]
fn the_other_parts_of_a_denied_datagram_go_with_its_first() {
    let mut balancer = with(OFFICE, "acl = \"office\"");
    let whole = Spec { from: ([192, 0, 2, 8], 5000), payload: vec![7; 64], ..Spec::udp() }.frame();
    let [first, second] = in_two(&whole);
    let before = counts(&balancer);
    balancer.frame(seconds(1.0), OUTSIDE, first);
    balancer.frame(seconds(1.0), OUTSIDE, second);
    assert_eq!(moved(&before, &counts(&balancer)), ["acl-denied+2"]);
    assert_balanced(&balancer);
}

#[test]
fn all_ways_to_forward_and_nat_rules_ask_their_list() {
    for rule in [
        "forward = \"dsr\"\nacl = \"office\"",
        "forward = \"full-nat\"\nbackend_port = 8443\nacl = \"office\"",
        "forward = \"ipip\"\nacl = \"office\"",
        "hairpin = true\nacl = \"office\"",
    ] {
        let config = format!(
            "{TWO_ARMS}{OFFICE}[[pool]]\nname = \"web\"\nbackends = [{}]\n[[rule]]\nname = \"https\"\n\
             frontend = \"203.0.113.10:443/tcp\"\npool = \"web\"\n{rule}\n",
            numbered([4], "")
        );
        let mut balancer = balancer(&config, 1);
        assert_eq!(fate(&mut balancer, &from(7, "S")), ["transmitted+1"], "{rule}");
        assert_eq!(fate(&mut balancer, &from(8, "S")), ["acl-denied+1"], "{rule}");
    }
    for frontend in ["203.0.113.10:443/tcp", "203.0.113.10:0/any", "203.0.113.10:400-500/tcp"] {
        let backend = if frontend.ends_with("443/tcp") { "10.0.0.4:22" } else { "10.0.0.4" };
        let config = format!(
            "{TWO_ARMS}{OFFICE}[[nat_rule]]\nname = \"x\"\nfrontend = \"{frontend}\"\nbackend = \"{backend}\"\nacl = \"office\"\n"
        );
        let mut balancer = balancer(&config, 1);
        assert_eq!(fate(&mut balancer, &from(7, "S")), ["transmitted+1"], "{frontend}");
        assert_eq!(fate(&mut balancer, &from(8, "S")), ["acl-denied+1"], "{frontend}");
    }
}
