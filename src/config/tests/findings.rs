//! What is wrong, and exactly what is said about it.

use super::*;

#[test]
fn a_sound_configuration_has_no_findings() {
    let loaded = load(SOUND, &[]).unwrap();
    assert_eq!(loaded.warnings, []);
    assert_eq!(require_devices(&loaded.model), Ok(()));
    let rule = loaded.model.rules.first().unwrap();
    assert_eq!((rule.backend_port, rule.idle_timeout.as_secs()), (443, 240));
    assert_eq!(
        (rule.distribution, rule.no_healthy_backends),
        (Distribution::FiveTuple, NoHealthyBackends::Drop)
    );
    assert_eq!(loaded.model.dataplane.flows_per_worker, 1_048_576);
    assert_eq!(loaded.model.ports.first().map(|port| port.mtu), Some(1500));
}

const MANY_MISTAKES: &str = r#"[dataplane]
managment_cpu = 0
flows_per_worker = 12
idle = spin
hash_key = "0011"
[[port]]
name = "out side"
mtu = "1500"
[[port]]
name = "inside"
addresses = ["10.0.0.1/24"]
gateway = "10.0.1.1"
mac = "ff:ff:ff:ff:ff:ff"
[[pool]]
name = "web"
backends = [
  { address = "10.0.0.4", weight = 101 },
  { address = "10.0.0.4", wieght = 2 },
  { weight = 2 },
  { address = "10.0.0.1" },
  "10.0.0.9",
]
[[rule]]
name = "r1"
frontend = "203.0.113.10:0/tcp"
pool = "wbe"
tcp_reset = true
forward = "dsr"
idle_timeout = "500ms"
[[rule]]
name = "r2"
pool = "web"
[[nat_rule]]
name = "x"
"#;

#[test]
fn all_mistakes_of_a_file_are_reported_at_once_with_their_lines() {
    let expected = [
        r#"g.toml:2: [dataplane] has an unknown key "managment_cpu"; did you mean management_cpu?"#,
        "g.toml:3: [dataplane] has flows_per_worker 12; allowed are 1024 to 268435456",
        "g.toml:4: this line is not TOML: put the value in double quotes",
        "g.toml:5: [dataplane] has a hash_key which is not 32 hex digits; `openssl rand -hex 16` makes one",
        r#"g.toml:7: "out side" cannot be the name of a port; use 1 to 63 letters, digits, dots, dashes and underscores"#,
        "g.toml:8: a port has a string as mtu; write it as mtu = 1500",
        "g.toml:12: port inside has gateway 10.0.1.1, which is not on a network of the port; correct it, or add an \
         address in its network to the port",
        r#"g.toml:13: port inside has mac "ff:ff:ff:ff:ff:ff", which is no station's address: it is zero, multicast or broadcast"#,
        "g.toml:17: backend 10.0.0.4 has weight 101; allowed are 0 to 100",
        r#"g.toml:18: backend 10.0.0.4 has an unknown key "wieght"; did you mean weight?"#,
        "g.toml:18: backend 10.0.0.4 is in pool web already (line 17); use weight for a larger share",
        r#"g.toml:19: a backend of pool web has no address; add address = "10.0.0.4""#,
        "g.toml:20: a backend of pool web has address 10.0.0.1, which is our own on port inside; use another",
        r#"g.toml:21: backends has a string; write it as { address = "10.0.0.4" }"#,
        r#"g.toml:26: rule r1 uses pool "wbe", which does not exist; did you mean web? If not, add a [[pool]] of that name, or --backend NAME=ADDR"#,
        r#"g.toml:27: rule r1 has tcp_reset, which has no effect with forward = "dsr"; it is for nat and full-nat: delete it, or change forward"#,
        "g.toml:29: rule r1 has idle_timeout 500ms; allowed are 1s to 1day",
        r#"g.toml:30: rule r2 has no frontend; add frontend = "203.0.113.10:443/tcp""#,
        r#"g.toml:33: NAT rule x has no frontend; add frontend = "203.0.113.10:443/tcp""#,
        "g.toml:33: NAT rule x has neither backend nor pool; add backend = \"10.0.0.4:22\", or pool = \"web\" for a port of \
         each of its backends",
    ];
    assert_eq!(errors(MANY_MISTAKES, &[]), expected);
}

/// Lines after the eight of `SOUND`, and what is said about them.
const ADDED: &[(&str, &[&str])] = &[
    (
        "[[rule]]\nname = \"b\"\nfrontend = \"203.0.113.11:443/tcp\"\npool = \"web\"",
        &[
            "g.toml:12: rules b and web (line 8) both send to backend 10.0.0.4:443/tcp and 1 more, so that responses \
           could not be told apart; give one of them another backend_port, or use forward = \"full-nat\", \"dsr\" \
           or a tunnel for one",
        ],
    ),
    ("[[rule]]\nname = \"b\"\nfrontend = \"203.0.113.11:443/udp\"\npool = \"web\"", &[]),
    (
        "[[rule]]\nname = \"b\"\nfrontend = \"203.0.113.10:443/tcp\"\npool = \"web\"\nbackend_port = 8443",
        &[
            "g.toml:11: rule b has frontend 203.0.113.10:443/tcp, which rule web has (line 7); change one of them",
        ],
    ),
    (
        "[[rule]]\nname = \"web\"\nfrontend = \"203.0.113.11:443/udp\"\npool = \"web\"",
        &["g.toml:10: rule web exists already (line 6); give one of them another name"],
    ),
    (
        "[[rule]]\nname = \"b\"\nfrontend = \"[2001:db8::10]:443/tcp\"\npool = \"web\"",
        &[
            "g.toml:12: rule b has frontend [2001:db8::10]:443/tcp and backend 10.0.0.4 and 1 more, which are not of one \
             family, and forward = \"nat\" keeps it; use full-nat, ipip, gre, gue or vxlan, or other backends",
        ],
    ),
    (
        "[[rule]]\nname = \"b\"\nfrontend = \"10.0.0.255:443/udp\"\npool = \"web\"\nbackend_port = 0",
        &[
            "g.toml:11: frontend of rule b has address 10.0.0.255, which is a broadcast address; use the address of one host",
            "g.toml:13: rule b has backend_port 0; allowed are 1 to 65535",
        ],
    ),
    (
        "[[pool]]\nname = \"far\"\nbackends = [{ address = \"10.9.0.1\" }]",
        &[
            "g.toml:11: backend 10.9.0.1 of pool far is on no port's network, and no port has a gateway; add an \
           address in its network to a port, or a gateway",
        ],
    ),
    (
        "[[pool]]\nname = \"bad\"\nbackends = [{ address = \"203.0.113.10\" }, { address = \"127.0.0.1\" }]",
        &[
            "g.toml:11: backend 203.0.113.10 of pool bad is the address of a frontend (line 7); use another",
            "g.toml:11: a backend of pool bad has address 127.0.0.1, which is a loopback address; use the address of one host",
        ],
    ),
    (
        "[[rule]]\nname = \"b\"\nfrontend = \"[fe80::10]:443/udp\"\npool = \"p\"\n[[pool]]\nname = \"p\"\nbackends = [\n\
         { address = \"::\" },\n{ address = \"::1\" },\n{ address = \"ff02::1\" },\n{ address = \"::ffff:10.0.0.4\" },\n\
         { address = \"fe80::4\" },\n{ address = \"2001:db8::4\" },\n{ address = \"2001:db8::4%eth0\" }]",
        &[
            "g.toml:11: frontend of rule b has address fe80::10, which is link-local; use the address of one host",
            "g.toml:16: a backend of pool p has address ::, which is no address; use the address of one host",
            "g.toml:17: a backend of pool p has address ::1, which is a loopback address; use the address of one host",
            "g.toml:18: a backend of pool p has address ff02::1, which is a multicast address; use the address of one host",
            "g.toml:19: a backend of pool p has address ::ffff:10.0.0.4, which is an IPv4 address in the form of IPv6; use the address of one host",
            "g.toml:20: a backend of pool p has address fe80::4, which is link-local; use the address of one host",
            "g.toml:21: backend 2001:db8::4 of pool p is on no port's network, and no port has a gateway; add an \
           address in its network to a port, or a gateway",
            "g.toml:22: a backend has address \"2001:db8::4%eth0\", which is not an address; write it as 10.0.0.4 or 2001:db8::4",
        ],
    ),
    (
        "[[pool]]\nname = \"both\"\nbackends = []\naddresses = \"10.0.0.7-10.0.0.9\"\n[[pool]]\nname = \"none\"",
        &[
            "g.toml:12: pool both has both backends and addresses; delete one of them",
            "g.toml:13: pool none has neither backends nor addresses; add backends = [{ address = \"10.0.0.4\" }], \
             or addresses = \"10.0.1.4-10.0.1.99\" and instances = 3",
        ],
    ),
    (
        "[[pool]]\nname = \"r\"\naddresses = \"10.0.0.7-10.0.0.9\"\ninstances = 4",
        &["g.toml:12: pool r has 4 instances in a range of 3 addresses; widen the range"],
    ),
    (
        "[[pool]]\nname = \"r\"\nbackends = []\ninstances = 4",
        &["g.toml:12: pool r has instances but no addresses; add the range, or delete instances"],
    ),
    (
        "[[pool]]\nname = \"r\"\naddresses = \"10.0.0.9-10.0.0.7\"\ninstances = 4",
        &[
            "g.toml:11: pool r has addresses \"10.0.0.9-10.0.0.7\", which ends before it begins; swap the two addresses",
        ],
    ),
    (
        "[[neighbour]]\naddress = \"10.7.0.1\"\nmac = \"02:00:00:00:00:04\"\n[[neighbour]]\naddress = \"10.0.0.1\"",
        &[
            "g.toml:10: a neighbour has address 10.7.0.1, which is not on a network of any port; correct it, or add \
             an address in its network to the port",
            "g.toml:12: a neighbour has no mac; add mac = \"02:00:00:00:00:04\"",
            "g.toml:13: a neighbour has address 10.0.0.1, which is our own on port inside; use another",
        ],
    ),
    (
        "[[probe]]\nname = \"p\"\nkind = \"tcp\"\npath = \"/x\"\ninterval = \"1s\"\ntimeout = \"2s\"\nrise = 0\nvia = \"moon\"",
        &[
            "g.toml:12: probe p is of kind tcp and has a path; delete the path, or use kind http",
            "g.toml:14: probe p has timeout 2s, which is longer than its interval 1s; shorten it, or ask less often",
            "g.toml:15: probe p has rise 0; allowed are 1 to 100",
            "g.toml:16: probe p has via \"moon\", which is unknown; choose host or port",
        ],
    ),
    (
        "[[probe]]\nname = \"p\"\nkind = \"tcp\"\nstatus = \"200\"\nbody = \"x\"\nverify = true\nhost = \"a b\"",
        &[
            "g.toml:12: probe p is of kind tcp and has a status; delete the status, or use kind http",
            "g.toml:13: probe p is of kind tcp and has a body; delete the body, or use kind http",
            "g.toml:14: probe p is of kind tcp and has a verify; delete the verify, or use kind https",
            "g.toml:15: probe p has host \"a b\", which is not a host; write a name or an address, with a port or without",
        ],
    ),
    (
        "[[probe]]\nname = \"p\"\nkind = \"http\"\nverify = true\nstatus = \"200-\"\nvia = \"port\"",
        &[
            "g.toml:12: probe p is of kind http and has a verify; delete the verify, or use kind https",
            "g.toml:13: probe p has status \"200-\", which is not a list of statuses; write it as 200 or 200,204 or 200-299",
        ],
    ),
    (
        "[[probe]]\nname = \"p\"\nkind = \"https\"\nverify = false\nca_file = \"ca.pem\"\nvia = \"port\"\n[[rule]]\nname = \"b\"\n\
         frontend = \"10.0.0.1:61000/tcp\"\npool = \"web\"\nbackend_port = 9\nprobe = \"p\"\n[[rule]]\nname = \"c\"\n\
         frontend = \"10.0.0.1:61000/udp\"\npool = \"web\"\nbackend_port = 9\n[[rule]]\nname = \"d\"\n\
         frontend = \"10.0.0.1:60999/tcp\"\npool = \"web\"\nbackend_port = 10",
        &[
            "g.toml:13: probe p has a ca_file, and verify = false; delete one of them",
            "g.toml:17: frontend 10.0.0.1:61000/tcp is port inside's own address, whose TCP ports from 61000 are for \
             probes with via = \"port\" (rule b has one); use a lower port, or another address",
        ],
    ),
    (
        "[[rule]]\nname = \"b\"\nfrontend = \"203.0.113.11:443/udp\"\npool = \"web\"\nprobe = \"p\"",
        &["g.toml:13: rule b uses probe \"p\", which does not exist; add a [[probe]] of that name"],
    ),
    (
        "[control]\nsocket = 3\nmetrics = \"here\"\nstate_directory = \"\"",
        &[
            "g.toml:10: [control] has an integer as socket; write it as socket = \"/run/guideway/control.sock\"",
            "g.toml:11: [control] has metrics \"here\", which is not an address with a port; write it as 127.0.0.1:9464, or off",
            "g.toml:12: [control] has state_directory \"\", which is empty or has control characters",
        ],
    ),
    (
        "[control]\nlisten = \"127.0.0.1:9465\"",
        &[
            "g.toml:10: [control] has listen 127.0.0.1:9465 but no token_file, so that anybody could change everything; \
           add token_file = \"/etc/guideway/token\"",
        ],
    ),
    (
        "[control]\nlisten = \"0.0.0.0:9465\"\ntoken_file = \"t\"\nlisten_anywhere = false\nsocket_group = \"no such\"",
        &[
            "g.toml:10: [control] has listen 0.0.0.0:9465, which other machines can reach, and the token would go there \
             in the clear; use 127.0.0.1 and a tunnel, or say listen_anywhere = true",
            "g.toml:13: [control] has socket_group \"no such\", which is not a group of this machine; make it with: \
             groupadd --system NAME",
        ],
    ),
    (
        "dataplane = 3",
        &[
            "g.toml:9: rule web has an unknown key \"dataplane\"; known are name, frontend, pool, backend_port, forward, source_addresses, client_address, tunnel_source, tunnel_port, gue_variant, vni, inner_mac, mss_clamp, quic, quic_config, quic_server_id_length, quic_nonce_length, quic_key, hairpin, icmp_echo, distribution, idle_timeout, tcp_reset, probe, no_healthy_backends, acl",
        ],
    ),
    (
        "[[outbound_rule]]",
        &[
            r#"g.toml:9: an outbound rule has no name; add name = "web""#,
            r#"g.toml:9: an outbound rule has no pool; add pool = "web""#,
            r#"g.toml:9: an outbound rule has no frontends; add frontends = ["203.0.113.11"]"#,
        ],
    ),
    (
        "[[outbound_rule]]\nname = \"o\"\npool = \"wbe\"\nfrontends = []\n[[outbound_rule]]\nname = \"o\"\npool = \"web\"\nfrontends = [\"10.0.0.1\", \"2001:db8::1\", \"2001:db8::1\"]\nprotocol = \"icmp\"\nports_per_backend = 4",
        &[
            r#"g.toml:11: outbound rule o uses pool "wbe", which does not exist; did you mean web? If not, add a [[pool]] of that name"#,
            r#"g.toml:12: outbound rule o has no frontends; add the addresses that connections leave from"#,
            r#"g.toml:14: outbound rule o exists already (line 10); give one of them another name"#,
            r#"g.toml:16: an outbound rule has frontend 10.0.0.1, which is port inside's own; use an address that nobody has"#,
            r#"g.toml:16: an outbound rule has frontend 2001:db8::1 twice; delete one"#,
            r#"g.toml:17: outbound_rule o has protocol "icmp", which is unknown; choose tcp, udp or any"#,
            r#"g.toml:18: an outbound rule has ports_per_backend 4; allowed are 8 to 64000"#,
        ],
    ),
    (
        "[[outbound_rule]]\nname = \"o\"\npool = \"web\"\nfrontends = [\"203.0.113.10\"]\nports_per_backend = 12\n[[outbound_rule]]\nname = \"p\"\npool = \"web\"\nfrontends = [\"203.0.113.10\"]\nprotocol = \"udp\"\nports_per_backend = 64000\n[[outbound_rule]]\nname = \"q\"\npool = \"web\"\nfrontends = [\"2001:db8::1\"]\nprotocol = \"tcp\"",
        &[
            r#"g.toml:13: outbound rule o has ports_per_backend 12, which is no multiple of 8: ports are handed out in blocks of 8; use 8 or 16"#,
            r#"g.toml:14: outbound rule p and outbound rule o (line 9) both have backend 10.0.0.4, and both take udp; give them different protocols, or delete one"#,
            r#"g.toml:19: outbound rule p has 64000 ports for each of 2 backends, 128000 in all, and its 1 frontends of their family have 64000; add frontends, or set ports_per_backend to 32000 or less"#,
            r#"g.toml:20: outbound rule q and outbound rule o (line 9) both have backend 10.0.0.4, and both take tcp; give them different protocols, or delete one"#,
            r#"g.toml:22: outbound rule q has no frontend of the family of backend 10.0.0.4 and 1 more; add one, or use a pool of one family"#,
        ],
    ),
    ("name = \"twice\"", &["g.toml:9: \"name\" is given twice; delete one"]),
];

#[test]
fn each_mistake_is_told_with_its_line_and_a_way_out() {
    for (added, expected) in ADDED {
        let expected: Vec<String> = expected.iter().map(|line| (*line).to_owned()).collect();
        assert_eq!(errors(&format!("{SOUND}{added}"), &[]), expected, "{added}");
    }
}

#[test]
fn ports_are_compared_with_each_other() {
    let text = "[[port]]\nname = \"a\"\ndevice = \"d\"\naddresses = [\"10.0.0.1/24\"]\ngateway = \"10.0.0.1\"\n\
                [[port]]\nname = \"a\"\ndevice = \"d\"\naddresses = [\"10.0.0.1/24\", \"10.1.0.255/24\"]\nmtu = 9217\n\
                gateway = \"2001:db8::1\"\ngateway6 = \"10.0.0.9\"\n\
                [[port]]\nname = \"c\"\naddresses = [\"2001:db8::/64\", \"fe80::5/64\", \"::1/128\", \"2001:db8:1::2/129\"]\n\
                gateway6 = \"2001:db8:2::1\"\n[[port]]\nname = \"d\"\naddresses = [\"2001:db8:3::1/64\"]\ngateway6 = \"2001:db8:2::1\"\n\
                [[port]]\nname = \"e\"\naddresses = [\"2001:db8:4::1/64\"]\ngateway6 = \"fe80::1\"\n";
    let expected = [
        "g.toml:5: gateway of port a has address 10.0.0.1, which is our own on port a; use another",
        "g.toml:7: port a exists already (line 2); give one of them another name",
        "g.toml:9: a port has address 10.0.0.1, which is given already (line 4); delete one",
        "g.toml:9: a port has address 10.1.0.255, which is a broadcast address; use the address of one host",
        "g.toml:10: a port has mtu 9217; allowed are 576 to 9216",
        "g.toml:11: port a has gateway \"2001:db8::1\", which is IPv6; use the key gateway6",
        "g.toml:12: port a has gateway6 \"10.0.0.9\", which is IPv4; use the key gateway",
        "g.toml:15: port c has addresses \"2001:db8:1::2/129\", whose prefix is too long; the most are /32 for IPv4 and /128 for IPv6",
        "g.toml:15: port c has address 2001:db8::, which is the one that all routers of the network have; use the address of one host",
        "g.toml:15: port c has address ::1, which is a loopback address; use the address of one host",
        "g.toml:20: port d has gateway6 2001:db8:2::1, which is not on a network of the port; correct it, or add an \
         address in its network to the port",
    ];
    assert_eq!(errors(text, &[]), expected);
    let text = "[[port]]\nname = \"a\"\ndevice = \"d\"\n[[port]]\nname = \"b\"\ndevice = \"d\"\n";
    assert_eq!(
        errors(text, &[]),
        [
            "g.toml:6: port b has device \"d\", which another port has (line 3); use another, or give them different vlan tags"
        ]
    );
}

#[test]
fn one_slip_is_one_finding() {
    let cases = [
        // A header that is broken takes its section along; nobody misses the section's name.
        (SOUND.replace("[[pool]]", "[[pool"), vec![2]),
        (SOUND.replace("[[pool]]", "[[pols]]"), vec![2]),
        (SOUND.replace("name = \"web\"\nfr", "nme = \"web\"\nfr"), vec![6]),
        (SOUND.replace("frontend = ", "frontend "), vec![7]),
        (SOUND.replace("frontend = ", "frontent = "), vec![7]),
        (SOUND.replace("addresses = ", "adresses = "), vec![1]),
        (SOUND.replace("10.0.0.1/24", "10.0.0.1"), vec![1]),
        (SOUND.replace("\"10.0.0.5\"", "10.0.0.5"), vec![4]),
        (SOUND.replace("name = \"web\"\nback", "name = 7\nback"), vec![3]),
    ];
    for (text, lines) in cases {
        let findings = load(&text, &[]).unwrap_err();
        let places: Vec<_> = findings.list.iter().map(|finding| finding.place).collect();
        let expected: Vec<_> = lines.into_iter().map(Place::Line).collect();
        assert_eq!(places, expected, "{text}\n{findings}");
    }
}

#[test]
fn oddities_are_warnings() {
    let text = format!(
        "{SOUND}probe = \"p\"\n[[probe]]\nname = \"p\"\nkind = \"http\"\n[[probe]]\nname = \"q\"\nkind = \"tcp\"\n\
         [[pool]]\nname = \"spare\"\nbackends = []\n[[pool]]\nname = \"off\"\n\
         backends = [{{ address = \"10.0.0.9\", weight = 0 }}, {{ address = \"10.0.0.8\", state = \"down\" }}]\n\
         [[rule]]\nname = \"off\"\nfrontend = \"203.0.113.12:53/udp\"\npool = \"off\"\n\
         [control]\ntoken_file = \"t\"\n[dataplane]\nworkers = \"0,2-5\"\nmanagement_cpu = 4\n"
    );
    let expected = [
        "g.toml:14: nothing uses probe q; name it in a rule, or delete it",
        "g.toml:17: nothing uses pool spare; name it in a rule, or delete it",
        "g.toml:25: rule off has no backend to choose: all of pool off are down, drained or of weight 0, or it is empty",
        "g.toml:27: token_file has no effect: the control API listens at its Unix socket only; add listen = \
         \"127.0.0.1:9465\", or delete the token_file",
        "g.toml:30: management_cpu 4 is also a worker's, which will lose packets whenever management work is done; \
         use another CPU for one of them",
    ];
    assert_eq!(warnings(&text, &[]), expected);
    let text = "[[port]]\nname = \"a\"\naddresses = [\"2001:db8::2/64\"]\ngateway6 = \"2001:db8::1\"\n[[port]]\nname = \"b\"\n";
    let expected = [
        "g.toml: there is no rule, so nothing is balanced; add a [[rule]], or --frontend and --backend",
        "g.toml:6: nothing uses port b; give it addresses, or delete it",
    ];
    assert_eq!(warnings(text, &[]), expected);
}

#[test]
fn only_run_needs_ports_and_devices() {
    let without = load("", &[]).unwrap();
    let all = require_devices(&without.model).unwrap_err().to_string();
    assert_eq!(all, "there is no port; add a [[port]] with a device, or --port NAME=DEVICE");
    let bare = load("[[port]]\nname = \"a\"\n[[port]]\nname = \"b\"\ndevice = \"d\"\n", &[]).unwrap();
    let all = require_devices(&bare.model).unwrap_err().to_string();
    assert_eq!(all, "port a has no device; add device = \"0000:3b:00.0\" to its section, or --port a=DEVICE");
    let jumbo = load("[[port]]\nname = \"a\"\ndevice = \"d\"\nmtu = 9216\n", &[]).unwrap();
    assert!(require_devices(&jumbo.model).is_ok());
}

#[test]
fn a_range_and_a_count_make_backends() {
    let text = "[[pool]]\nname = \"relay\"\naddresses = \"10.0.1.4-10.0.1.99\"\ninstances = 3\n";
    let model = load(text, &[]).unwrap().model;
    let addresses: Vec<_> =
        model.pools.first().unwrap().backends.iter().map(|backend| backend.address).collect();
    assert_eq!(addresses, [4, 5, 6].map(|last| Ipv4Addr::new(10, 0, 1, last)));
}

#[test]
fn limits_have_findings() {
    let ports: String = (0..17).map(|n| format!("[[port]]\nname = \"p{n}\"\n")).collect();
    assert_eq!(errors(&ports, &[]), ["g.toml:33: there are 17 ports; 16 are allowed: take some away"]);
    let backends = |count: u32| {
        let one = |n: u32| format!("{{address=\"{}\"}}", Ipv4Addr::from(0x0a00_0001 + n));
        (0..count).map(one).collect::<Vec<_>>().join(",")
    };
    let pool = |count| format!("[[pool]]\nname = \"p\"\nbackends = [{}]\n", backends(count));
    assert_eq!(errors(&pool(10_000), &[]), Vec::<String>::new());
    assert_eq!(
        errors(&pool(10_001), &[]),
        ["g.toml:3: there are 10001 backends in pool p; 10000 are allowed: take some away"]
    );
    let rule = |n: u32| {
        let frontend = Ipv4Addr::from(0xcb00_7100 + n / 60_000);
        format!("[[rule]]\nname = \"r{n}\"\nfrontend = \"{frontend}:{}/tcp\"\npool = \"p\"\n", n % 60_000 + 1)
    };
    let rules = |count| (0..count).map(rule).collect::<String>();
    assert_eq!(errors(&(pool(1) + &rules(4096)), &[]), Vec::<String>::new());
    assert_eq!(
        errors(&(pool(1) + &rules(4097)), &[]),
        ["g.toml:16388: there are 4097 rules; 4096 are allowed: take some away"]
    );
    assert_eq!(
        errors(&(pool(10_000) + &rules(14)), &[]),
        [
            "g.toml: there are 140000 backends, counted once for each rule that uses them; 65536 are allowed: take some away"
        ]
    );
}
