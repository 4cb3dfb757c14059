//! How packets reach backends, and what frontends take: what is meant, and what is said of mistakes.

use super::*;

/// A rule of its own, from line 9 on; `frontend` and the lines that follow.
fn with_rule(frontend: &str, more: &str) -> String {
    format!("{SOUND}[[rule]]\nname = \"b\"\nfrontend = \"{frontend}\"\npool = \"web\"\n{more}")
}

fn rule(frontend: &str, more: &str) -> Rule {
    let loaded = load(&with_rule(frontend, more), &[]).unwrap_or_else(|all| panic!("{all}"));
    assert_eq!(loaded.warnings, []);
    loaded.model.rules.last().unwrap().clone()
}

#[test]
fn every_way_works_with_nothing_but_its_name() {
    let tunnel = |encapsulation| Forward::Tunnel(Tunnel { source: None, encapsulation });
    let ways = [
        ("full-nat", Forward::FullNat(FullNat::default())),
        ("dsr", Forward::Dsr),
        ("ipip", tunnel(Encapsulation::Ipip)),
        ("gre", tunnel(Encapsulation::Gre)),
        ("gue", tunnel(Encapsulation::Gue { port: 6080, variant: GueVariant::Header })),
        ("vxlan", tunnel(Encapsulation::Vxlan { port: 4789, vni: 1, inner_mac: None })),
    ];
    for (word, forward) in ways {
        let rule = rule("203.0.113.11:443/tcp", &format!("forward = \"{word}\"\n"));
        assert_eq!((rule.forward.mode().to_string().as_str(), &rule.forward), (word, &forward));
        assert_eq!((rule.backend_port, rule.icmp_echo), (443, true));
        assert_eq!((rule.tcp_reset, rule.hairpin, rule.mss_clamp), (false, false, None));
    }
    assert_eq!(rule("203.0.113.11:53/udp", "").forward, Forward::Nat);
}

#[test]
fn what_is_said_of_a_way_is_in_the_model() {
    let full = rule(
        "[2001:db8::10]:443/tcp",
        "forward = \"full-nat\"\nsource_addresses = [\"10.0.0.20\", \"10.0.0.30-10.0.0.39\"]\nbackend_port = 8443\n\
         client_address = [\"proxy-v2\", \"toa\"]\ntcp_reset = true\nmss_clamp = true\nicmp_echo = false\n",
    );
    let Forward::FullNat(FullNat { source_addresses, toa: true, proxy_v2: true }) = &full.forward else {
        panic!()
    };
    assert_eq!(source_addresses.iter().map(|range| range.len()).collect::<Vec<_>>(), [1, 10]);
    assert_eq!(
        full.forward.to_string(),
        "full-nat from 10.0.0.20, 10.0.0.30-10.0.0.39 with toa with proxy-v2"
    );
    assert_eq!((full.tcp_reset, full.icmp_echo, full.mss_clamp), (true, false, Some(MssClamp::FromMtu)));
    let gue = rule(
        "203.0.113.11:443/tcp",
        "forward = \"gue\"\ntunnel_source = \"192.0.2.9\"\ntunnel_port = 9999\ngue_variant = 1\n",
    );
    assert_eq!(gue.forward.to_string(), "gue to port 9999, variant 1 from 192.0.2.9");
    let spread = "forward = \"ipip\"\ntunnel_source = \"172.16.0.0/16\"\n";
    assert_eq!(rule("203.0.113.11:443/tcp", spread).forward.to_string(), "ipip from 172.16.0.0/16");
    let vxlan = rule(
        "[2001:db8::10]:0/any",
        "forward = \"vxlan\"\nvni = 16777215\ninner_mac = \"02:00:00:00:00:07\"\nhairpin = false\n",
    );
    assert_eq!(vxlan.forward.to_string(), "vxlan to port 4789, vni 16777215, inner mac 02:00:00:00:00:07");
    assert_eq!(vxlan.backend_port, 0);
    let nat = rule("203.0.113.11:8000-8100/udp", "hairpin = true\n");
    assert_eq!((nat.backend_port, nat.hairpin, nat.frontend.one_port()), (0, true, None));
    assert_eq!(rule("203.0.113.11:443/udp", "mss_clamp = false\ntcp_reset = false\n").mss_clamp, None);
    assert_eq!(rule("203.0.113.11:444/tcp", "mss_clamp = 1400\n").mss_clamp, Some(MssClamp::To(1400)));
}

/// Frontend, further lines from the thirteenth on, and what is said about them.
const RULES: &[(&str, &str, &[&str])] = &[
    (
        "203.0.113.11:443/udp",
        "vni = 1\ngue_variant = 0\ntunnel_port = 1\ntunnel_source = \"10.0.0.2\"\nclient_address = [\"toa\"]\n\
         source_addresses = [\"10.0.0.2\"]\ninner_mac = \"02:00:00:00:00:04\"\ntcp_reset = true\nmss_clamp = 1400",
        &[
            "g.toml:13: rule b has vni, which has no effect with forward = \"nat\"; it is for vxlan: delete it, or change forward",
            "g.toml:14: rule b has gue_variant, which has no effect with forward = \"nat\"; it is for gue: delete it, or change forward",
            "g.toml:15: rule b has tunnel_port, which has no effect with forward = \"nat\"; it is for gue and vxlan: delete it, or change forward",
            "g.toml:16: rule b has tunnel_source, which has no effect with forward = \"nat\"; it is for ipip, gre, gue and vxlan: delete it, or change forward",
            "g.toml:17: rule b has client_address, which has no effect with forward = \"nat\"; it is for full-nat: delete it, or change forward",
            "g.toml:18: rule b has source_addresses, which has no effect with forward = \"nat\"; it is for full-nat: delete it, or change forward",
            "g.toml:19: rule b has inner_mac, which has no effect with forward = \"nat\"; it is for vxlan: delete it, or change forward",
            "g.toml:20: rule b has tcp_reset, which has no effect: its frontend 203.0.113.11:443/udp takes no TCP; delete it",
            "g.toml:21: rule b has mss_clamp, which has no effect: its frontend 203.0.113.11:443/udp takes no TCP; delete it",
        ],
    ),
    (
        "203.0.113.11:443/tcp",
        "forward = \"gue\"\nhairpin = true\ntcp_reset = true\nmss_clamp = true\ngue_variant = 2\ntunnel_port = 0\n\
         tunnel_source = \"127.0.0.1\"\nbackend_port = 444",
        &[
            "g.toml:14: rule b has hairpin, which has no effect with forward = \"gue\"; it is for nat: delete it, or change forward",
            "g.toml:15: rule b has tcp_reset, which has no effect with forward = \"gue\"; it is for nat and full-nat: delete it, or change forward",
            "g.toml:16: rule b has mss_clamp, which has no effect with forward = \"gue\"; it is for nat and full-nat: delete it, or change forward",
            "g.toml:17: rule b has gue_variant 2; allowed are 0 to 1",
            "g.toml:18: rule b has tunnel_port 0; allowed are 1 to 65535",
            "g.toml:19: tunnel_source of rule b has address 127.0.0.1, which is a loopback address; use the address of one host",
            "g.toml:20: rule b has backend_port 444, but forward = \"gue\" keeps the port of 203.0.113.11:443/tcp; delete backend_port",
        ],
    ),
    (
        "203.0.113.11:443/tcp",
        "forward = \"vxlan\"\nvni = 16777216\ntunnel_source = \"2001:db8::9\"\ninner_mac = \"ff:ff:ff:ff:ff:ff\"",
        &[
            "g.toml:14: rule b has vni 16777216; allowed are 0 to 16777215",
            "g.toml:15: rule b has backend 10.0.0.4, and tunnel_source has no address of its family; add one, or delete tunnel_source",
            "g.toml:16: rule b has inner_mac \"ff:ff:ff:ff:ff:ff\", which is no station's address: it is zero, multicast or broadcast",
        ],
    ),
    (
        "203.0.113.11:443/tcp",
        "forward = \"gre\"\ntunnel_source = \"10.0.0.0/29\"",
        &[
            "g.toml:14: tunnel_source of rule b has address 10.0.0.0, which is the address of a network; use the address of one host",
        ],
    ),
    (
        "203.0.113.11:443/tcp",
        "forward = \"gre\"\ntunnel_source = \"10.0.0.4/30\"",
        &[
            "g.toml:14: rule b has tunnel_source 10.0.0.4/30, where backend 10.0.0.4 of pool web is (line 3); use addresses that nobody has",
        ],
    ),
    (
        "203.0.113.11:443/tcp",
        "forward = \"gre\"\ntunnel_source = \"2001:db8::/112\"",
        &[
            "g.toml:14: rule b has backend 10.0.0.4, and tunnel_source has no address of its family; add one, or delete tunnel_source",
        ],
    ),
    (
        "203.0.113.11:443/tcp",
        "forward = \"gre\"\ntunnel_source = \"172.16.0.0/12\"",
        &[
            "g.toml:14: rule b has tunnel_source \"172.16.0.0/12\", whose prefix is not /16 to /32, or of IPv6 /112 to /128",
        ],
    ),
    (
        "203.0.113.11:443/tcp",
        "forward = \"full-nat\"\nhairpin = true\nmss_clamp = 63\nsource_addresses = [\n\"10.0.0.2-10.0.0.4\",\n\
         \"10.0.0.9\",\n\"10.0.0.8-10.0.0.10\",\n\"10.0.0.255\",\n\"203.0.113.11\",\n\"a\"]\nclient_address = [\"ip\"]",
        &[
            "g.toml:14: rule b has hairpin, which has no effect with forward = \"full-nat\"; it is for nat: delete it, or change forward",
            "g.toml:15: rule b has mss_clamp 63; allowed are 64 to 65495",
            "g.toml:22: rule b has source_addresses \"a\", which is not a range of addresses; write it as 10.0.1.4-10.0.1.99",
            "g.toml:23: rule b has client_address \"ip\", which is unknown; choose toa or proxy-v2",
        ],
    ),
    (
        "203.0.113.11:443/tcp",
        "forward = \"full-nat\"\nsource_addresses = [\n\"10.0.0.2-10.0.0.4\",\n\"10.0.0.9\",\n\"10.0.0.8-10.0.0.10\",\n\
         \"10.0.0.255\",\n\"203.0.113.11\"]",
        &[
            "g.toml:15: rule b has source_addresses 10.0.0.2-10.0.0.4, where backend 10.0.0.4 of pool web is (line 3); use addresses that nobody has",
            "g.toml:17: rule b has source_addresses 10.0.0.8-10.0.0.10, which 10.0.0.9 has some of already; delete one",
            "g.toml:18: a source of rule b has address 10.0.0.255, which is a broadcast address; use the address of one host",
            "g.toml:19: rule b has source_addresses 203.0.113.11, where frontend 203.0.113.11:443/tcp is (line 11); use addresses that nobody has",
        ],
    ),
    (
        "203.0.113.11:443/tcp",
        "forward = \"full-nat\"\nsource_addresses = [\"2001:db8::1-2001:db8::fff\"]",
        &[
            "g.toml:14: rule b has backend 10.0.0.4, and source_addresses has no address of its family; add one, or delete source_addresses",
        ],
    ),
    (
        "203.0.113.11:443/tcp",
        "forward = \"full-nat\"\nsource_addresses = [\"2001:db8::1-2001:db8::1000\", \"10.0.0.20\"]",
        &["g.toml:14: there are 4097 source addresses of rule b; 4096 are allowed: take some away"],
    ),
    (
        "[2001:db8::10]:443/tcp",
        "",
        &[
            "g.toml:12: rule b has frontend [2001:db8::10]:443/tcp and backend 10.0.0.4 and 1 more, which are not of one \
             family, and forward = \"nat\" keeps it; use full-nat, ipip, gre, gue or vxlan, or other backends",
        ],
    ),
    (
        "[2001:db8::10]:443/tcp",
        "forward = \"dsr\"",
        &[
            "g.toml:12: rule b has frontend [2001:db8::10]:443/tcp and backend 10.0.0.4 and 1 more, which are not of one \
             family, and forward = \"dsr\" keeps it; use full-nat, ipip, gre, gue or vxlan, or other backends",
        ],
    ),
    ("[2001:db8::10]:443/tcp", "forward = \"ipip\"", &[]),
    ("[2001:db8::10]:443/tcp", "forward = \"full-nat\"", &[]),
    (
        "203.0.113.11:0/gre",
        "forward = \"full-nat\"",
        &[
            "g.toml:11: rule b has frontend 203.0.113.11:0/gre and forward = \"full-nat\", which translates TCP and UDP \
             only; use dsr, ipip, gre, gue or vxlan",
        ],
    ),
    ("203.0.113.11:0/gre", "forward = \"dsr\"", &[]),
    ("203.0.113.11:5060/sctp", "forward = \"gre\"\nbackend_port = 5060", &[]),
    (
        "203.0.113.16/28:443/tcp",
        "backend_port = 8443",
        &[
            "g.toml:11: rule b has frontend 203.0.113.16/28:443/tcp and forward = \"nat\", which could not tell from which \
             of these addresses a response has to come; use full-nat, dsr, ipip, gre, gue or vxlan, or a rule for each address",
        ],
    ),
    ("203.0.113.16/28:443/tcp", "forward = \"full-nat\"\nbackend_port = 8443", &[]),
    (
        "203.0.113.11:8000-8100/udp",
        "backend_port = 8000",
        &[
            "g.toml:13: rule b has backend_port 8000, but packets to the ports of 203.0.113.11:8000-8100/udp keep theirs; \
             delete backend_port",
        ],
    ),
    (
        "203.0.113.11:0/any",
        "forward = \"dsr\"\nprobe = \"p\"\n[[probe]]\nname = \"p\"\nkind = \"tcp\"",
        &[
            "g.toml:14: rule b has a probe without a port, and frontend 203.0.113.11:0/any has not one port that it could \
             ask; add a port to the probe",
        ],
    ),
    (
        "203.0.113.11:0/any",
        "forward = \"dsr\"\nprobe = \"p\"\n[[probe]]\nname = \"p\"\nkind = \"tcp\"\nport = 80",
        &[],
    ),
    // Backends of NAT, with ranges.
    (
        "203.0.113.11:400-500/tcp",
        "",
        &[
            "g.toml:12: rules b and web (line 8) both send to backend 10.0.0.4:400-500/tcp and 1 more, so that responses \
             could not be told apart; give one of them another backend_port, or use forward = \"full-nat\", \"dsr\" or a \
             tunnel for one",
        ],
    ),
    (
        "203.0.113.11:0/any",
        "",
        &[
            "g.toml:12: rules b and web (line 8) both send to backend 10.0.0.4:0/any and 1 more, so that responses could \
             not be told apart; give one of them another backend_port, or use forward = \"full-nat\", \"dsr\" or a tunnel \
             for one",
        ],
    ),
    ("203.0.113.11:444-500/tcp", "", &[]),
    ("203.0.113.11:0/udp", "", &[]),
    ("203.0.113.11:443/tcp", "forward = \"full-nat\"", &[]),
    // Frontends.
    ("203.0.113.10:0/any", "forward = \"dsr\"", &[]),
    ("203.0.113.10:440-450/tcp", "forward = \"dsr\"", &[]),
    ("203.0.113.0/28:443/tcp", "forward = \"dsr\"", &[]),
    (
        "203.0.113.10:440-450/tcp",
        "forward = \"dsr\"\n[[rule]]\nname = \"c\"\nfrontend = \"203.0.113.10:445-460/tcp\"\npool = \"web\"\nforward = \"dsr\"",
        &[
            "g.toml:16: rule c has frontend 203.0.113.10:445-460/tcp, which shares ports with 203.0.113.10:440-450/tcp of \
             rule b (line 11), and neither has all of the other's; let one range be within the other, or apart",
        ],
    ),
    (
        "203.0.113.10:445-460/tcp",
        "forward = \"dsr\"\n[[rule]]\nname = \"c\"\nfrontend = \"203.0.113.10:440-450/tcp\"\npool = \"web\"\nforward = \"dsr\"",
        &[
            "g.toml:16: rule c has frontend 203.0.113.10:440-450/tcp, which shares ports with 203.0.113.10:445-460/tcp of \
             rule b (line 11), and neither has all of the other's; let one range be within the other, or apart",
        ],
    ),
    (
        "203.0.113.10:443-443/tcp",
        "forward = \"dsr\"",
        &[
            "g.toml:11: rule b has frontend 203.0.113.10:443/tcp, which rule web has (line 7); change one of them",
        ],
    ),
    (
        "10.0.0.0/29:443/tcp",
        "forward = \"dsr\"",
        &[
            "g.toml:4: backend 10.0.0.4 of pool web is the address of a frontend (line 11); use another",
            "g.toml:4: backend 10.0.0.5 of pool web is the address of a frontend (line 11); use another",
        ],
    ),
    (
        "203.0.113.0/28:0/any",
        "forward = \"nat\"\nforward_mode = 3",
        &[
            "g.toml:11: rule b has frontend 203.0.113.0/28:0/any and forward = \"nat\", which could not tell from which of \
             these addresses a response has to come; use full-nat, dsr, ipip, gre, gue or vxlan, or a rule for each address",
            "g.toml:14: rule b has an unknown key \"forward_mode\"; known are name, frontend, pool, backend_port, forward, \
             source_addresses, client_address, tunnel_source, tunnel_port, gue_variant, vni, inner_mac, mss_clamp, quic, \
             quic_config, quic_server_id_length, quic_nonce_length, quic_key, hairpin, icmp_echo, distribution, idle_timeout, tcp_reset, probe, no_healthy_backends, acl",
        ],
    ),
    (
        "127.0.0.0/8:443/tcp",
        "forward = \"bridge\"\nmss_clamp = \"1400\"",
        &[
            "g.toml:11: frontend of rule b has address 127.0.0.0, which is a loopback address; use the address of one host",
            "g.toml:13: rule b has forward \"bridge\", which is unknown; choose nat, full-nat, dsr, ipip, gre, gue or vxlan",
            "g.toml:14: rule b has a string as mss_clamp; write it as mss_clamp = 1400",
        ],
    ),
];

#[test]
fn each_mistake_of_a_rule_is_told() {
    for (frontend, more, expected) in RULES {
        let expected: Vec<String> = expected.iter().map(|line| (*line).to_owned()).collect();
        assert_eq!(errors(&with_rule(frontend, more), &[]), expected, "{frontend}\n{more}");
    }
}

#[test]
fn dsr_reaches_neighbours_only() {
    let text = SOUND.replace("/24\"] }]", "/24\"], gateway = \"10.0.0.254\" }]");
    let text = format!("{}forward = \"dsr\"\n", text.replace("\"10.0.0.5\"", "\"10.9.0.5\""));
    assert_eq!(
        errors(&text, &[]),
        [
            "g.toml:8: rule web has backend 10.9.0.5 on no port's network, and forward = \"dsr\" reaches neighbours only; \
          use ipip, gre, gue or vxlan, or add an address in its network to a port"
        ]
    );
    assert_eq!(errors(&text.replace("\"dsr\"", "\"ipip\""), &[]), [] as [&str; 0]);
}

#[test]
fn ways_can_be_said_by_flags() {
    let words = "--port a=x --vlan a=200,100 --address a=10.0.0.1/24 --frontend web=203.0.113.16/28:0/tcp --backend web=10.0.0.4 \
                 --forward web=full-nat,source_addresses=10.0.0.20,source_addresses=10.0.0.30-10.0.0.39,client_address=toa \
                 --tcp-reset web=true --icmp-echo web=false --mss-clamp web=true --frontend v=203.0.113.9:0/esp \
                 --backend v=10.0.0.5 --forward v=vxlan,vni=7,inner_mac=02:00:00:00:00:07,tunnel_port=8472,tunnel_source=10.0.0.1 \
                 --frontend h=203.0.113.8:80-90/tcp --backend h=10.0.0.6 --hairpin h=true --forward h=nat --mss-clamp h=1300 \
                 --frontend g=203.0.113.7:80/udp --backend g=10.0.0.7 --forward g=gue,gue_variant=1";
    let words: Vec<&str> = words.split_whitespace().collect();
    let by_flags = load("", &words).unwrap_or_else(|all| panic!("{all}")).model;
    let again = load(&to_text(&by_flags), &[]).unwrap_or_else(|all| panic!("{all}")).model;
    assert_eq!(again, by_flags);
    let told: Vec<_> = by_flags.rules.iter().map(|rule| rule.forward.to_string()).collect();
    assert_eq!(
        told,
        [
            "full-nat from 10.0.0.20, 10.0.0.30-10.0.0.39 with toa",
            "vxlan to port 8472, vni 7, inner mac 02:00:00:00:00:07 from 10.0.0.1",
            "nat",
            "gue to port 6080, variant 1"
        ]
    );
    assert_eq!(by_flags.ports[0].vlan, [200, 100]);
    let bad = "--forward web=gue,tunnel_prot=1,vni --forward web=gue --forward wbe=nat --vlan inside=x --route 10.9.0.0/16 \
               --route 10.9.0.0/16=10.0.0.9,prt=a --tcp-reset web=yes --mss-clamp web=x";
    let bad: Vec<&str> = bad.split_whitespace().collect();
    let expected = [
        r#"--forward: rule web has an unknown key "tunnel_prot"; did you mean tunnel_port?"#,
        r#"--forward: "vni" is incomplete; write --forward web=gue,tunnel_port=6080"#,
        "--forward: rule web is given twice; delete one",
        r#"--forward: there is no rule "wbe"; did you mean web? If not, add --frontend NAME=ADDR:PORT/PROTO"#,
        r#"--mss-clamp: rule web has mss_clamp "x", which is neither a number of bytes nor true"#,
        r#"--route: "10.9.0.0/16" is incomplete; write --route 10.9.0.0/16=10.0.0.254"#,
        r#"--route: "10.9.0.0/16=10.0.0.9,prt=a" is incomplete; write --route 10.9.0.0/16=10.0.0.254"#,
        r#"--tcp-reset: rule web has tcp_reset "yes", which is unknown; choose true or false"#,
        r#"--vlan: port inside has vlan "x", which is not one VLAN tag or two; write them as 100 or 200,100, the outer first"#,
    ];
    assert_eq!(errors(SOUND, &bad), expected);
}

#[test]
fn what_a_flag_says_of_a_way_replaces_all_that_the_file_says_of_it() {
    let file = format!("{SOUND}forward = \"vxlan\"\nvni = 7\n");
    let model = load(&file, &["--forward", "web=gue"]).unwrap().model;
    assert_eq!(model.rules[0].forward.to_string(), "gue to port 6080, variant 0");
}
