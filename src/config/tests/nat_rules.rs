//! NAT rules: what they come to, and what is wrong with them.

use std::net::IpAddr;

use super::*;

/// Lines after the eight of `SOUND`, whose pool web has two backends.
fn nat_rules(text: &str) -> Vec<String> {
    errors(&format!("{SOUND}{text}"), &[])
}

fn model_of(text: &str) -> Model {
    load(&format!("{SOUND}{text}"), &[]).unwrap_or_else(|all| panic!("{all}")).model
}

/// What each NAT rule leads to, a line for each port.
fn mapping(model: &Model) -> Vec<String> {
    let of_rule = |rule: &NatRule| {
        let lines: Vec<_> =
            rule.mapping().into_iter().map(|(at, to)| format!("{at} {}", rule.backend_of(at, to))).collect();
        lines
    };
    model.nat_rules.iter().flat_map(of_rule).collect()
}

const EACH: &str = "[[nat_rule]]\nname = \"ssh\"\nfrontend = \"203.0.113.10:2300-2303/tcp\"\npool = \"web\"\nbackend_port = 22\n";

#[test]
fn a_nat_rule_comes_to_a_rule_of_one_backend_for_each_port() {
    let model = model_of(&format!(
        "{EACH}[[nat_rule]]\nname = \"one\"\nfrontend = \"203.0.113.10:2201/tcp\"\nbackend = \"10.0.0.9:22\"\n\
         idle_timeout = \"10m\"\ntcp_reset = true\nicmp_echo = false\n"
    ));
    assert_eq!(
        mapping(&model),
        [
            "203.0.113.10:2300/tcp 10.0.0.4:22",
            "203.0.113.10:2301/tcp 10.0.0.5:22",
            "203.0.113.10:2201/tcp 10.0.0.9:22"
        ]
    );
    let rules: Vec<_> = model.rules.iter().filter(|rule| rule.is_nat_rule).collect();
    let seen =
        |rule: &&Rule| (rule.name.clone(), rule.frontend.to_string(), rule.backend_port, rule.tcp_reset);
    assert_eq!(
        rules.iter().map(seen).collect::<Vec<_>>(),
        [
            ("ssh".to_owned(), "203.0.113.10:2300/tcp".to_owned(), 22, false),
            ("ssh".to_owned(), "203.0.113.10:2301/tcp".to_owned(), 22, false),
            ("one".to_owned(), "203.0.113.10:2201/tcp".to_owned(), 22, true),
        ]
    );
    let addresses: Vec<Vec<IpAddr>> =
        rules.iter().map(|rule| rule.pool.backends.iter().map(|b| b.address).collect()).collect();
    assert_eq!(addresses, [4, 5, 9].map(|host| vec![IpAddr::from([10, 0, 0, host])]));
    // What is said of the pool's backends is not for them.
    let drained = SOUND.replace("\"10.0.0.4\" }", "\"10.0.0.4\", state = \"down\", weight = 0 }");
    let model = load(&format!("{drained}{EACH}"), &[]).unwrap().model;
    let of_four = model.rules.iter().find(|rule| rule.is_nat_rule).unwrap();
    assert_eq!((of_four.pool.backends[0].weight, of_four.pool.backends[0].state), (1, AdminState::Auto));
}

#[test]
fn the_own_port_is_kept_where_none_is_said_and_by_dsr() {
    let model = model_of(
        "[[nat_rule]]\nname = \"a\"\nfrontend = \"203.0.113.10:22/tcp\"\nbackend = \"10.0.0.9\"\n\
         [[nat_rule]]\nname = \"b\"\nfrontend = \"203.0.113.10:2300-2301/udp\"\npool = \"web\"\nforward = \"dsr\"\n\
         [[nat_rule]]\nname = \"c\"\nfrontend = \"203.0.113.10:8000-8099/tcp\"\nbackend = \"10.0.0.9\"\n\
         [[nat_rule]]\nname = \"d\"\nfrontend = \"203.0.113.20:0/any\"\nbackend = \"10.0.0.8\"\n",
    );
    assert_eq!(
        mapping(&model),
        [
            "203.0.113.10:22/tcp 10.0.0.9:22",
            "203.0.113.10:2300/udp 10.0.0.4:2300",
            "203.0.113.10:2301/udp 10.0.0.5:2301",
            "203.0.113.10:8000-8099/tcp 10.0.0.9",
            "203.0.113.20:0/any 10.0.0.8",
        ]
    );
    assert!(model.nat_rules[3].is_one_to_one() && !model.nat_rules[2].is_one_to_one());
}

#[test]
fn others_keep_their_ports_when_the_pool_grows_and_shrinks() {
    let of = |backends: &str, ports: &str| {
        let text = SOUND.replace("{ address = \"10.0.0.4\" }, { address = \"10.0.0.5\" }", backends);
        load(&format!("{text}{EACH}{ports}"), &[]).unwrap_or_else(|all| panic!("{all}")).model
    };
    let pool = |hosts: &[u8]| {
        hosts.iter().map(|host| format!("{{ address = \"10.0.0.{host}\" }}")).collect::<Vec<_>>().join(", ")
    };
    let ports = |model: &Model| {
        let lines = mapping(model).into_iter().map(|line| line[13..17].to_owned() + &line[29..30]);
        lines.collect::<Vec<_>>()
    };
    let mut running = of(&pool(&[4, 5, 6]), "");
    assert_eq!(ports(&running), ["23004", "23015", "23026"]);
    let mut steps = |hosts: &[u8], said: &str, expected: &[&str]| {
        let mut next = of(&pool(hosts), said);
        next.keep_nat_ports(&running.nat_ports());
        assert_eq!(ports(&next), expected);
        let of_rules = next.rules.iter().filter(|r| r.is_nat_rule && !r.pool.backends.is_empty());
        assert_eq!(
            of_rules.map(|r| r.frontend).collect::<Vec<_>>(),
            next.nat_rules[0].mapping().iter().map(|(at, _)| *at).collect::<Vec<_>>()
        );
        running = next;
    };
    // 10.0.0.5 leaves, and has its port again when it comes back.
    steps(&[4, 6], "", &["23004", "23026"]);
    steps(&[5, 4, 6], "", &["23015", "23004", "23026"]);
    // 10.0.0.4 leaves; whoever comes gets the lowest port that is free.
    steps(&[5, 6], "", &["23015", "23026"]);
    steps(&[9, 5, 6], "", &["23009", "23015", "23026"]);
    steps(&[8, 9, 5, 6], "", &["23038", "23009", "23015", "23026"]);
    // What the file says comes first, and who had that port takes another.
    steps(&[8, 9, 5], "ports = [\"10.0.0.8=2301\"]\n", &["23018", "23009", "23025"]);
    // A port that is given stays free for whom it is given to, as long as there are others.
    steps(&[9, 5], "ports = [\"10.0.0.8=2301\"]\n", &["23009", "23025"]);
    steps(&[9, 5, 7], "ports = [\"10.0.0.8=2301\"]\n", &["23009", "23025", "23037"]);
    steps(&[9, 5, 7, 6], "ports = [\"10.0.0.8=2301\"]\n", &["23009", "23025", "23037", "23016"]);
}

#[test]
#[allow(clippy::too_many_lines, reason = "a table of cases")]
fn mistakes_in_nat_rules_are_named_with_their_lines() {
    let single = |name: &str, frontend: &str, more: &str| {
        format!("[[nat_rule]]\nname = \"{name}\"\nfrontend = \"{frontend}\"\n{more}\n")
    };
    let to = "backend = \"10.0.0.9:22\"";
    let cases: Vec<(String, &[&str])> = vec![
        (
            single("x", "203.0.113.10:22/tcp", ""),
            &[
                "g.toml:9: NAT rule x has neither backend nor pool; add backend = \"10.0.0.4:22\", or pool = \"web\" for a \
             port of each of its backends",
            ],
        ),
        (
            single("x", "203.0.113.10:22/tcp", &format!("{to}\npool = \"web\"")),
            &["g.toml:13: NAT rule x has both backend and pool; delete one of them"],
        ),
        (
            single("web", "203.0.113.10:22/tcp", to),
            &["g.toml:10: rule web exists already (line 6); give one of them another name"],
        ),
        (
            single(
                "x",
                "203.0.113.10:22/tcp",
                &format!("{to}\nbackend_port = 22\nports = [\"10.0.0.9=22\"]"),
            ),
            &[
                "g.toml:13: NAT rule x has backend_port, which is for rules with a pool; write the port behind the backend, as \
             in \"10.0.0.4:22\"",
                "g.toml:14: NAT rule x has ports, which is for rules with a pool; delete it",
            ],
        ),
        (
            single("x", "203.0.113.10:2300/tcp", "pool = \"web\"\nbackend_port = 22"),
            &[
                "g.toml:12: NAT rule x has 1 ports in 203.0.113.10:2300/tcp for the 2 backends of pool web, and each needs one; \
             widen the range, or take backends out of the pool",
            ],
        ),
        (
            single("x", "203.0.113.10:0/tcp", "pool = \"web\"\nbackend_port = 22"),
            &[
                "g.toml:11: NAT rule x has a pool and frontend 203.0.113.10:0/tcp, which is no range of ports; write it as \
             203.0.113.10:2300-2349/tcp, one port for each backend",
            ],
        ),
        (
            single("x", "203.0.113.10:2300-2309/tcp", "pool = \"web\""),
            &["g.toml:9: NAT rule x has no backend_port; add backend_port = 8443"],
        ),
        (
            single("x", "203.0.113.0/28:22/tcp", to),
            &[
                "g.toml:11: NAT rule x has frontend 203.0.113.0/28:22/tcp, which is several addresses; a NAT rule has one, as in \
             203.0.113.10:2201/tcp",
            ],
        ),
        (
            single("x", "203.0.113.10:22/tcp", "backend = \"10.0.0.1:22\""),
            &[
                "g.toml:12: the backend of NAT rule x has address 10.0.0.1, which is our own on port inside; use another",
            ],
        ),
        (
            single("x", "203.0.113.10:22/tcp", "backend = \"10.9.0.1:22\""),
            &[
                "g.toml:12: NAT rule x has backend 10.9.0.1, which is on no port's network, and no port has a gateway; add an \
             address in its network to a port, or a gateway",
            ],
        ),
        (
            single("x", "10.0.0.7:22/tcp", "backend = \"10.0.0.7:22\""),
            &[
                "g.toml:12: NAT rule x has backend 10.0.0.7, which is the address of a frontend (line 11); use another",
            ],
        ),
        (
            single("x", "203.0.113.10:22/tcp", "backend = \"2001:db8::1\"\nforward = \"gre\""),
            &[
                "g.toml:12: NAT rule x has backend 2001:db8::1, which is on no port's network, and no port has a gateway; add an \
             address in its network to a port, or a gateway",
                "g.toml:13: nat_rule x has forward \"gre\", which is unknown; choose nat or dsr",
            ],
        ),
        (
            single("x", "203.0.113.10:22/tcp", "backend = \"10.0.0.4:443\""),
            &[
                "g.toml:9: rules x and web (line 8) both send to backend 10.0.0.4:443/tcp, so that responses could not be told \
             apart; give one of them another backend_port, or use forward = \"full-nat\", \"dsr\" or a tunnel for one",
            ],
        ),
        (
            single("x", "203.0.113.10:443/tcp", to),
            &[
                "g.toml:11: rule x has frontend 203.0.113.10:443/tcp, which rule web has (line 7); change one of them",
            ],
        ),
        (
            single("x", "203.0.113.10:440-449/tcp", "pool = \"web\"\nbackend_port = 22"),
            &[
                "g.toml:7: rule web has frontend 203.0.113.10:443/tcp, and NAT rule x has 203.0.113.10:440-449/tcp (line 11), of \
             which each port is for one backend; let the ports be apart",
            ],
        ),
        (
            single(
                "x",
                "203.0.113.10:2300-2309/tcp",
                "pool = \"web\"\nbackend_port = 22\nports = [\"10.0.0.4=2310\", \"10.0.0.5=2301\", \"10.0.0.6=2301\", \"x\"]",
            ),
            &[
                "g.toml:14: nat_rule x has ports \"x\", which is not a backend with its port; write it as 10.0.0.4=2201",
            ],
        ),
        (
            single(
                "x",
                "203.0.113.10:2300-2309/tcp",
                "pool = \"web\"\nbackend_port = 22\nports = [\"10.0.0.4=2310\",\n\"10.0.0.5=2301\",\n\"10.0.0.6=2301\"]",
            ),
            &[
                "g.toml:14: NAT rule x gives port 2310 to backend 10.0.0.4, which is not one of 203.0.113.10:2300-2309/tcp; \
                 use one of these",
                "g.toml:16: NAT rule x has 10.0.0.6=2301 in ports, and 10.0.0.5=2301 before; each backend has one port, and \
                 each port one backend",
            ],
        ),
        (
            single("x", "203.0.113.20:0/any", "backend = \"10.0.0.9\"")
                + &single("y", "203.0.113.21:0/any", "backend = \"10.0.0.9\""),
            &[
                "g.toml:13: NAT rule y gives backend 10.0.0.9 an address of its own, and so does NAT rule x (line 9): what \
                 the backend sends can leave by one address only; delete one of them",
            ],
        ),
        (
            single("x", "203.0.113.20:0/any", "backend = \"10.0.0.9:22\""),
            &[
                "g.toml:12: NAT rule x has backend_port 22, but packets to the ports of 203.0.113.20:0/any keep theirs; delete \
             backend_port",
            ],
        ),
        (
            single("x", "203.0.113.20:443/udp", "backend = \"10.0.0.9\"\ntcp_reset = true"),
            &[
                "g.toml:13: NAT rule x has tcp_reset, which has no effect: its frontend 203.0.113.20:443/udp takes no TCP; \
             delete it",
            ],
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(nat_rules(&text), expected, "{text}");
    }
}

#[test]
fn an_own_address_goes_with_rules_of_the_same_backend_and_says_which_ports_it_lacks() {
    let own = "[[nat_rule]]\nname = \"x\"\nfrontend = \"203.0.113.20:0/any\"\nbackend = \"10.0.0.4\"\n";
    assert_eq!(
        warnings(&format!("{SOUND}{own}"), &[]),
        [
            "g.toml:9: NAT rule x leads 203.0.113.20 to the backend of 10.0.0.4:443/tcp, whose answers from there belong to \
             rule web (line 8): connections to that port of 203.0.113.20 will not come about; use rule web's frontend for it"
        ]
    );
    assert_eq!(warnings(&format!("{SOUND}{}", own.replace(".20", ".10")), &[]), [""; 0]);
}

#[test]
fn the_number_of_ports_is_bounded() {
    let mut text =
        String::from("[[pool]]\nname = \"large\"\naddresses = \"10.0.0.20-10.0.15.250\"\ninstances = 4000\n");
    for n in 0..5 {
        text += &format!(
            "[[nat_rule]]\nname = \"x{n}\"\nfrontend = \"203.0.113.10:{}-{}/udp\"\npool = \"large\"\nbackend_port = {}\n",
            10_000 * n + 1000,
            10_000 * n + 9000,
            n + 1
        );
    }
    let text = text + &SOUND.replace("10.0.0.1/24", "10.0.0.1/20");
    let all = errors(
        &text
            .replace("port = [{", "[[port]]\n")
            .replace(" }]\n[[pool]]", "\n[[pool]]")
            .replace(", device", "\ndevice")
            .replace("\", addresses", "\"\naddresses"),
        &[],
    );
    assert_eq!(
        all,
        [
            "g.toml:25: there are 20000 ports of NAT rules that lead to a backend; 16384 are allowed: take some away"
        ]
    );
}
