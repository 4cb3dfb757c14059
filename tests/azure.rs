//! A cloud service, from its .csdef and .cscfg, does what Azure's pages say of it: which clients stay together, how long
//! a connection may be idle, what a probe's verdict means for flows, and what a change of the instance count moves.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use common::{INSIDE, OUTSIDE, Spec, assert_balanced, model, seconds};
use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use guideway::control::REPLAY_KEY;
use guideway::import::{self, ArmOptions, Source};
use guideway::replay::Replay;

const CLIENTS: u16 = 1000;
/// What a frame may be that only has the clock move.
const NOTHING: [u8; 60] = [0; 60];

const ADDRESSES: &str = r#"
[frontends]
public = "203.0.113.10"

[pools]
Front = "10.0.0.4-10.0.0.99"

[[port]]
name = "outside"
addresses = ["198.51.100.2/24"]
gateway = "198.51.100.1"

[[port]]
name = "inside"
addresses = ["10.0.0.1/24"]
"#;

/// Three endpoints of one role, each with the same `attributes`.
fn service(attributes: &str, instances: usize) -> String {
    let endpoint = |name, protocol, port| {
        format!("<InputEndpoint name='{name}' protocol='{protocol}' port='{port}' {attributes}/>")
    };
    let endpoints =
        [endpoint("Web", "tcp", 443), endpoint("Control", "tcp", 80), endpoint("Media", "udp", 3478)]
            .concat();
    let namespace = "http://schemas.microsoft.com/ServiceHosting/2008/10";
    let definition = format!(
        "<ServiceDefinition name='Shop' xmlns='{namespace}/ServiceDefinition'><WorkerRole name='Front'>\
         <Endpoints>{endpoints}</Endpoints></WorkerRole></ServiceDefinition>"
    );
    let configuration = format!(
        "<ServiceConfiguration serviceName='Shop' xmlns='{namespace}/ServiceConfiguration'>\
         <Role name='Front'><Instances count='{instances}'/></Role></ServiceConfiguration>"
    );
    let imported = import::classic(
        &Source::new("shop.csdef", &definition),
        &Source::new("shop.cscfg", &configuration),
        Some(&Source::new("addresses.toml", ADDRESSES)),
    );
    imported.text.unwrap_or_else(|| panic!("{:?}", imported.findings))
}

fn balancer(text: &str, workers: usize) -> Replay {
    Replay::new(&model(text), REPLAY_KEY, workers).unwrap()
}

/// From client number `client`, at its port `from`, to `to` of the public address.
fn packet(client: u16, from: u16, to: u16, flags: Option<&'static str>) -> Spec {
    let [high, low] = client.to_be_bytes();
    Spec { from: ([192, 0, 2 + high, low], from), to: (common::FRONTEND, to), flags, ..Spec::tcp("") }
}

/// The instance that gets it.
fn instance(replay: &mut Replay, at: f64, spec: &Spec) -> u8 {
    let sent = replay.frame(seconds(at), OUTSIDE, spec.frame());
    assert_eq!(sent.len(), 1, "{spec:?}");
    assert_eq!(sent[0].0, INSIDE);
    sent[0].1[33]
}

/// Of each client: two connections to 443, one to 80, one datagram to 3478.
fn instances_of_clients(distribution: &str, workers: usize) -> Vec<[u8; 4]> {
    let attributes = format!("loadBalancerDistribution='{distribution}'");
    let mut replay = balancer(&service(&attributes, 5), workers);
    let mut of = |client| {
        [(50_000, 443, Some("S")), (50_001, 443, Some("S")), (50_002, 80, Some("S")), (50_003, 3478, None)]
            .map(|(from, to, flags)| instance(&mut replay, 0.0, &packet(client, from, to, flags)))
    };
    let instances = (0..CLIENTS).map(&mut of).collect();
    assert_balanced(&replay);
    instances
}

/// How many clients have both at one instance.
fn together(clients: &[[u8; 4]], one: usize, other: usize) -> usize {
    clients.iter().filter(|instances| instances[one] == instances[other]).count()
}

#[test]
fn two_tuple_keeps_all_of_a_client_at_one_instance() {
    for workers in [1, 3] {
        let clients = instances_of_clients("sourceIP", workers);
        assert!(clients.iter().all(|instances| instances.iter().all(|i| *i == instances[0])));
        spread_evenly(&clients);
    }
}

#[test]
fn three_tuple_keeps_a_clients_tcp_together_and_has_udp_choose_by_itself() {
    for workers in [1, 3] {
        let clients = instances_of_clients("sourceIPProtocol", workers);
        assert_eq!(together(&clients, 0, 1), clients.len());
        assert_eq!(together(&clients, 0, 2), clients.len());
        by_chance(together(&clients, 0, 3));
        spread_evenly(&clients);
    }
}

#[test]
fn five_tuple_has_each_connection_choose_by_itself() {
    for workers in [1, 3] {
        let clients = instances_of_clients("none", workers);
        (1..4).for_each(|other| by_chance(together(&clients, 0, other)));
        spread_evenly(&clients);
    }
}

/// One in five of a thousand: five standard deviations are 63.
fn by_chance(clients: usize) {
    assert!((137..=263).contains(&clients), "{clients}");
}

fn spread_evenly(clients: &[[u8; 4]]) {
    for of in 0..4 {
        for instance in 4..9 {
            by_chance(clients.iter().filter(|instances| instances[of] == instance).count());
        }
    }
}

/// A client whose new connections go elsewhere when there are five instances, not three.
fn one_that_would_move() -> (u16, u8, u8) {
    let (mut three, mut five) = (balancer(&service("", 3), 1), balancer(&service("", 5), 1));
    let mut both = |client| {
        let spec = packet(client, 50_000, 443, Some("S"));
        (client, instance(&mut three, 0.0, &spec), instance(&mut five, 0.0, &spec))
    };
    (0..CLIENTS).map(&mut both).find(|(_, three, five)| three != five).unwrap()
}

#[test]
fn a_session_lives_for_four_idle_minutes_and_not_longer() {
    let (client, before, after) = one_that_would_move();
    let segment = |flags| packet(client, 50_000, 443, Some(flags));
    for (idle, expected) in [(230.0, before), (250.0, after)] {
        for reset in [false, true] {
            let text = |instances| {
                let said =
                    if reset { "idle_timeout = \"4m\"\ntcp_reset = true" } else { "idle_timeout = \"4m\"" };
                service("", instances).replacen("idle_timeout = \"4m\"", said, 2)
            };
            let mut replay = balancer(&text(3), 2);
            for flags in ["S", "A", "PA"] {
                assert_eq!(instance(&mut replay, 0.0, &segment(flags)), before);
            }
            replay.reload(&model(&text(5))).unwrap();
            let ended = replay.frame(seconds(idle - 1.0), OUTSIDE, NOTHING.to_vec());
            let lives = expected == before;
            let held: u64 = replay.backends().iter().map(|(_, backend)| backend.flows).sum();
            assert_eq!(held > 0, lives || reset, "{idle}");
            assert_eq!(ended.len(), if reset && !lives { 2 } else { 0 }, "{idle}");
            assert!(ended.iter().all(|(_, frame)| is_reset(frame)));
            if reset && !lives {
                // It is answered by a reset, and a new connection is one.
                let sent = replay.frame(seconds(idle), OUTSIDE, segment("PA").frame());
                assert!(!sent.is_empty() && sent.iter().all(|(_, frame)| is_reset(frame)));
                assert_eq!(instance(&mut replay, idle, &segment("S")), after);
            } else {
                assert_eq!(instance(&mut replay, idle, &segment("PA")), expected, "{idle}");
            }
            assert_balanced(&replay);
        }
    }
}

fn is_reset(frame: &[u8]) -> bool {
    let packet = SlicedPacket::from_ethernet(frame).unwrap();
    matches!(packet.transport, Some(TransportSlice::Tcp(tcp)) if tcp.rst())
}

#[test]
fn each_packet_of_the_client_begins_the_four_minutes_anew() {
    let (client, before, _) = one_that_would_move();
    let mut replay = balancer(&service("", 3), 1);
    for flags in ["S", "A"] {
        instance(&mut replay, 0.0, &packet(client, 50_000, 443, Some(flags)));
    }
    replay.reload(&model(&service("", 5))).unwrap();
    for minute in 1..20 {
        let at = f64::from(minute) * 230.0;
        assert_eq!(instance(&mut replay, at, &packet(client, 50_000, 443, Some("A"))), before);
    }
}

#[test]
fn a_changed_instance_count_breaks_no_connection() {
    let mut replay = balancer(&service("", 3), 2);
    let mut open: BTreeMap<u16, u8> = BTreeMap::new();
    for client in 0..CLIENTS {
        let at = instance(&mut replay, 0.0, &packet(client, 50_000, 443, Some("S")));
        instance(&mut replay, 0.0, &packet(client, 50_000, 443, Some("A")));
        open.insert(client, at);
    }
    for (now, instances) in [(10.0, 5), (20.0, 2), (30.0, 4)] {
        replay.reload(&model(&service("", instances))).unwrap();
        let mut new = BTreeSet::new();
        for (client, before) in &open {
            let held = packet(*client, 50_000, 443, Some("A"));
            assert_eq!(instance(&mut replay, now, &held), *before, "of {instances} instances");
            // Its server answers as before, in the endpoint's name.
            let answer = held.at_backend([10, 0, 0, *before], 443).reversed();
            let sent = replay.frame(seconds(now), INSIDE, answer.frame());
            assert_eq!((sent.len(), source(&sent[0].1)), (1, (common::FRONTEND, 443)));
            new.insert(instance(
                &mut replay,
                now,
                &packet(*client, 50_000 + instances as u16, 443, Some("S")),
            ));
        }
        assert_eq!(new, (4..4 + instances as u8).collect(), "new connections use all, and no others");
    }
    assert_balanced(&replay);
}

fn source(frame: &[u8]) -> ([u8; 4], u16) {
    let packet = SlicedPacket::from_ethernet(frame).unwrap();
    let (Some(NetSlice::Ipv4(ip)), Some(TransportSlice::Tcp(tcp))) = (&packet.net, &packet.transport) else {
        panic!("not TCP")
    };
    (ip.header().source(), tcp.source_port())
}

// ---- the template ----------------------------------------------------------------------------------------

/// Where the template's networks are.
const TEMPLATE_PORTS: &str = r#"
[[port]]
name = "outside"
addresses = ["198.51.100.2/24", "2001:db8:ffff::2/64"]
gateway = "198.51.100.1"
gateway6 = "2001:db8:ffff::1"

[[port]]
name = "inside"
addresses = ["10.20.1.1/24", "10.20.3.1/24", "2001:db8:1::1/64"]
"#;

/// A template of `tests/import`, as it comes out of the import.
fn template_of(name: &str, addresses: &str) -> Replay {
    let read = |name: &str| {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/import").join(name);
        std::fs::read_to_string(path).unwrap()
    };
    let addresses = Source::new(addresses, &(read(addresses) + TEMPLATE_PORTS));
    let imported =
        import::arm(&Source::new(name, &read(name)), None, Some(&addresses), ArmOptions::default());
    balancer(&imported.text.unwrap_or_else(|| panic!("{:?}", imported.findings)), 2)
}

fn template() -> Replay {
    template_of("tide.json", "arm.toml")
}

/// Where a packet goes: its address and port, behind the load balancer.
fn goes_to(replay: &mut Replay, at: f64, spec: &Spec) -> (Ipv4Addr, u16) {
    let sent = replay.frame(seconds(at), OUTSIDE, spec.frame());
    assert_eq!((sent.len(), sent[0].0), (1, INSIDE), "{spec:?}");
    let packet = SlicedPacket::from_ethernet(&sent[0].1).unwrap();
    let Some(NetSlice::Ipv4(ip)) = &packet.net else { panic!("not IPv4") };
    let port = match &packet.transport {
        Some(TransportSlice::Tcp(tcp)) => tcp.destination_port(),
        Some(TransportSlice::Udp(udp)) => udp.destination_port(),
        other => panic!("{other:?}"),
    };
    (ip.header().destination_addr(), port)
}

#[test]
fn a_templates_rules_do_what_they_say() {
    let mut replay = template();
    // One is down; by source address, whatever the port.
    let mut at: BTreeSet<_> = BTreeSet::new();
    for client in 0..50 {
        let to = [50_000, 50_001, 50_002]
            .map(|from| goes_to(&mut replay, 0.0, &packet(client, from, 443, Some("S"))));
        assert!(to.iter().all(|one| *one == to[0]));
        at.insert(to[0]);
    }
    let expected = [4, 5].map(|last| (Ipv4Addr::new(10, 20, 1, last), 8443));
    assert_eq!(at, BTreeSet::from(expected));
    // Floating IP: the packet keeps its ends. HA ports: all of them.
    let turn = packet(7, 50_000, 3478, None);
    assert_eq!(goes_to(&mut replay, 0.0, &turn), (Ipv4Addr::from(common::FRONTEND), 3478));
    let inner = Ipv4Addr::new(10, 20, 2, 10);
    for (port, flags) in [(22, Some("S")), (9999, None), (65_535, Some("S"))] {
        let spec = Spec { to: (inner.octets(), port), ..packet(7, 50_000, port, flags) };
        assert_eq!(goes_to(&mut replay, 0.0, &spec), (inner, port));
    }
    // Inbound NAT: to an interface, and one port for each member of the pool, that is down too.
    for (port, last) in [(2201, 20), (2300, 4), (2301, 5), (2302, 6)] {
        let to = goes_to(&mut replay, 0.0, &packet(7, 50_000, port, Some("S")));
        assert_eq!(to, (Ipv4Addr::new(10, 20, 1, last), 22), "{port}");
    }
    let beyond = packet(7, 50_000, 2303, Some("S"));
    assert!(replay.frame(seconds(0.0), OUTSIDE, beyond.frame()).is_empty());
    assert_balanced(&replay);
}

#[test]
fn a_templates_idle_connections_are_reset_after_its_fifteen_minutes() {
    let mut replay = template();
    for flags in ["S", "A", "PA"] {
        goes_to(&mut replay, 0.0, &packet(7, 50_000, 443, Some(flags)));
    }
    assert!(replay.frame(seconds(890.0), OUTSIDE, NOTHING.to_vec()).is_empty());
    let sent = replay.frame(seconds(902.0), OUTSIDE, NOTHING.to_vec());
    assert!(sent.len() == 2 && sent.iter().all(|(_, frame)| is_reset(frame)), "{sent:?}");
}

/// As a compiler makes templates: symbolic names, a template within, loops, functions of its own, lambdas.
#[test]
fn a_compiled_templates_rules_do_what_they_say() {
    let mut replay = template_of("fleet.json", "fleet.toml");
    // The ninth host of the network's third subnet.
    let frontend = [10, 20, 2, 9];
    let to_frontend =
        |client, from, port, flags| Spec { to: (frontend, port), ..packet(client, from, port, flags) };
    // By source address, and by everything.
    let mut at = BTreeSet::new();
    for client in 0..50 {
        let to = [50_000, 50_001, 50_002]
            .map(|from| goes_to(&mut replay, 0.0, &to_frontend(client, from, 443, Some("S"))));
        assert!(to.iter().all(|one| *one == to[0]));
        at.insert(to[0]);
    }
    let instances = |port| [4, 5, 6].map(|last| (Ipv4Addr::new(10, 20, 1, last), port));
    assert_eq!(at, BTreeSet::from(instances(8443)));
    let at: BTreeSet<_> =
        (50_000..50_050).map(|from| goes_to(&mut replay, 0.0, &to_frontend(7, from, 53, None))).collect();
    assert_eq!(at, BTreeSet::from(instances(8053)));
    // What is retired is not there.
    let retired = to_frontend(7, 50_000, 21, Some("S"));
    assert!(replay.frame(seconds(0.0), OUTSIDE, retired.frame()).is_empty());
    // The set's NAT pool; the NAT rule of a pool that another template gives; the instances' own addresses.
    for (port, to) in
        [(2200, ([10, 20, 1, 4], 22)), (2202, ([10, 20, 1, 6], 22)), (3300, ([10, 20, 3, 9], 3389))]
    {
        let found = goes_to(&mut replay, 0.0, &to_frontend(7, 50_000, port, Some("S")));
        assert_eq!(found, (Ipv4Addr::from(to.0), to.1), "{port}");
    }
    let own = Spec { to: ([203, 0, 113, 41], 9999), ..packet(7, 50_000, 9999, None) };
    assert_eq!(goes_to(&mut replay, 0.0, &own), (Ipv4Addr::new(10, 20, 1, 5), 9999));
    assert_balanced(&replay);
}

#[test]
fn the_documentation_names_tests_that_are_there() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(root.join("docs/AZURE.md")).unwrap();
    let (_, rows) = text.split_once("## Row by row").unwrap();
    let mut found = 0;
    for name in rows.split('`').skip(1).step_by(2) {
        let is_case = name.as_bytes().iter().take(2).all(u8::is_ascii_digit) && name.contains('-');
        let is_there = match name.split_once("::") {
            Some((file, test)) => std::fs::read_to_string(root.join(format!("tests/{file}.rs")))
                .is_ok_and(|text| text.contains(&format!("fn {test}("))),
            None if is_case => root.join(format!("tests/e2e/{name}.sh")).is_file(),
            None => continue,
        };
        assert!(is_there, "{name}");
        found += 1;
    }
    assert!(found > 80, "{found}");
}
