//! The text, and whose fault it is when it is refused.

use super::*;
use crate::import::plan::{Frontend, Target, Treatment};

fn place(line: u32) -> Place {
    Place { file: "lb.json".into(), line, column: 1 }
}

fn treatment() -> Treatment {
    Treatment { floating: false, idle_minutes: 4, tcp_reset: false }
}

fn frontend(port: u16) -> Frontend {
    Frontend { address: "203.0.113.10".parse().unwrap(), port, protocol: Protocol::Tcp }
}

fn rule(name: &str, line: u32, port: u16, backend_port: u16) -> Rule {
    Rule {
        name: name.to_owned(),
        place: place(line),
        comments: vec!["a comment\nname = \"sneaked in\"".to_owned()],
        frontend: frontend(port),
        pool: "web".to_owned(),
        backend_port,
        distribution: Distribution::SourceIp,
        treatment: treatment(),
        probe: None,
        no_healthy_backends: NoHealthyBackends::Drop,
    }
}

fn plan(rules: Vec<Rule>) -> Plan {
    let members = Members::List(vec![("10.0.0.4".parse().unwrap(), AdminState::Auto)]);
    let pool =
        Pool { name: "web".to_owned(), place: place(3), comments: Vec::new(), members, drain_timeout: None };
    Plan { pools: vec![pool], rules, ..Plan::default() }
}

#[test]
fn comments_stay_comments() {
    let mut findings = Findings::default();
    let text = render(&plan(vec![rule("a", 7, 80, 8080)]), &mut findings).unwrap();
    assert!(text.contains("\n# a comment?name = \"sneaked in\"\n[[rule]]\n"), "{text}");
    assert!(findings.list.is_empty());
}

#[test]
fn what_guideway_refuses_is_said_of_the_place_it_comes_from() {
    let cases = [
        (vec![rule("a", 7, 80, 8080), rule("b", 9, 80, 8081)], "lb.json:9:1: error: ", "lb.json:7:1"),
        (vec![rule("a", 7, 80, 8080), rule("b", 9, 81, 8080)], "lb.json:9:1: error: ", "lb.json:7:1"),
        (vec![rule("a", 7, 80, 8080), rule("a", 9, 81, 8081)], "lb.json:9:1: error: ", "lb.json:7:1"),
    ];
    for (rules, start, other) in cases {
        let mut findings = Findings::default();
        assert_eq!(render(&plan(rules), &mut findings), None);
        let said = findings.list[0].to_string();
        assert!(said.starts_with(start) && said.contains(other) && !said.contains("line "), "{said}");
    }
}

#[test]
fn sections_that_wait_for_the_program_are_sound_toml() {
    let nat = |target| NatRule {
        name: "ssh".to_owned(),
        place: place(5),
        comments: Vec::new(),
        frontend: frontend(2200),
        last_port: 2209,
        target,
        backend_port: 22,
        treatment: treatment(),
    };
    let outbound = OutboundRule {
        name: "egress".to_owned(),
        place: place(6),
        comments: Vec::new(),
        pool: "web".to_owned(),
        frontends: vec!["203.0.113.11".to_owned()],
        protocol: Protocol::Any,
        ports_per_backend: 1024,
        idle_minutes: 4,
        tcp_reset: true,
    };
    let mut writer = Writer::default();
    writer.nat_rule(&nat(Target::One("10.0.0.4".parse().unwrap())));
    writer.nat_rule(&nat(Target::Pool("web".to_owned(), Vec::new())));
    writer.outbound(&outbound);
    let table: toml::Table = toml::from_str(&writer.text).unwrap();
    assert_eq!(table["nat_rule"][0]["frontend"].as_str(), Some("203.0.113.10:2200/tcp"));
    assert_eq!(table["nat_rule"][0]["backend"].as_str(), Some("10.0.0.4:22"));
    assert_eq!(table["nat_rule"][1]["frontend"].as_str(), Some("203.0.113.10:2200-2209/tcp"));
    assert_eq!(table["outbound_rule"][0]["ports_per_backend"].as_integer(), Some(1024));
}
