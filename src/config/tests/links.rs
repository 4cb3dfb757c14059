//! VLANs and routes: what is meant, and what is said of mistakes.

use super::*;

#[test]
fn ports_of_one_device_have_one_mac_and_the_device_the_largest_mtu() {
    let port = |name: &str, rest: &str| format!("[[port]]\nname = \"{name}\"\naddresses = []\n{rest}\n");
    let on = |device: &str, rest: &str| format!("device = \"{device}\"\n{rest}");
    let mac = |last: u8| format!("mac = \"02:00:00:00:00:0{last}\"");
    let text = [
        port("a", &on("d", "vlan = [100]\nmtu = 9000")),
        port("b", &on("e", "")),
        port("c", &on("d", &format!("vlan = [200, 100]\nmtu = 8999\n{}", mac(1)))),
        port("d", ""),
        port("e", ""),
        port("f", &on("d", &mac(1))),
    ];
    let model = load(&text.concat(), &[]).unwrap().model;
    let devices = model.devices();
    let told: Vec<_> = devices
        .iter()
        .map(|d| (d.first.0, d.device, d.ports.join(" "), d.mac.map(|mac| mac.to_string()), d.mtu))
        .collect();
    assert_eq!(
        told,
        [
            (0, Some("d"), "a c f".into(), Some("02:00:00:00:00:01".into()), 9007),
            (1, Some("e"), "b".into(), None, 1500),
            (3, None, "d".into(), None, 1500),
            (4, None, "e".into(), None, 1500),
        ]
    );
    let places: Vec<_> = model.places().iter().map(|place| (place.first.0, place.vlan.len())).collect();
    assert_eq!(places, [(0, 1), (1, 0), (0, 2), (3, 0), (4, 0), (0, 0)]);

    let text =
        [port("a", &on("d", &mac(1))), port("b", &on("d", &format!("vlan = [7]\n{}", mac(2))))].concat();
    assert_eq!(
        errors(&text, &[]),
        [
            "g.toml:11: port b has mac 02:00:00:00:00:02, and its device \"d\" has mac 02:00:00:00:00:01 for another port \
          (line 5); a device has one: give it once"
        ]
    );
}

#[test]
fn ports_of_one_device_differ_in_their_vlan() {
    let port = |name: &str, more: &str| format!("[[port]]\nname = \"{name}\"\ndevice = \"d\"\n{more}\n");
    let sound = [port("a", ""), port("b", "vlan = [100]"), port("c", "vlan = [200, 100]")].concat();
    let model = load(&sound, &[]).unwrap().model;
    let vlans: Vec<_> = model.ports.iter().map(|port| port.vlan.as_slice()).collect();
    assert_eq!(vlans, [&[][..], &[100], &[200, 100]]);
    let bad = [
        port("a", "vlan = [100]"),
        port("b", "vlan = [100]"),
        port("c", "vlan = [0, 4095, 7]"),
        port("d", "vlan = 7"),
        port("e", "vlan = [\"7\"]"),
    ]
    .concat();
    let expected = [
        "g.toml:7: port b has device \"d\", which another port has (line 3); use another, or give them different vlan tags",
        "g.toml:12: port c has 3 vlan tags; two are the most, as in vlan = [200, 100], the outer first",
        "g.toml:12: port c has vlan 0; allowed are 1 to 4094",
        "g.toml:12: port c has vlan 4095; allowed are 1 to 4094",
        "g.toml:16: port d has an integer as vlan; write it as vlan = [100]",
        "g.toml:20: port e has a list as vlan; write it as vlan = [100]",
    ];
    assert_eq!(errors(&bad, &[]), expected);
}

const ROUTED: &str = r#"[[port]]
name = "a"
addresses = ["10.0.0.1/24", "2001:db8:1::1/64"]
gateway = "10.0.0.254"
[[port]]
name = "b"
addresses = ["10.1.0.1/24"]
"#;

#[test]
fn routes_go_via_a_neighbour_of_a_port() {
    let text = format!(
        "{ROUTED}[[route]]\ndestination = \"10.9.0.0/16\"\nvia = \"10.1.0.9\"\n[[route]]\ndestination = \"::/0\"\n\
         via = \"fe80::1\"\nport = \"a\"\n[[neighbour]]\naddress = \"fe80::1\"\nmac = \"02:00:00:00:00:01\"\n\
         [[pool]]\nname = \"far\"\nbackends = [{{ address = \"10.9.0.1\" }}, {{ address = \"2001:db8:9::1\" }}]\n"
    );
    let model = load(&text, &[]).unwrap_or_else(|all| panic!("{all}")).model;
    let routes: Vec<_> =
        model.routes.iter().map(|r| (r.destination.to_string(), r.via.to_string(), r.port.0)).collect();
    assert_eq!(
        routes,
        [("10.9.0.0/16".into(), "10.1.0.9".into(), 1), ("::/0".into(), "fe80::1".to_owned(), 0)]
    );
    let words = [
        "--route=10.9.0.0/16=10.1.0.9",
        "--route=::/0=fe80::1,port=a",
        "--neighbour=fe80::1=02:00:00:00:00:01",
    ];
    assert_eq!(load(ROUTED, &words).unwrap().model.routes, model.routes);
    let file = format!("{ROUTED}[[route]]\ndestination = \"10.9.0.0/16\"\nvia = \"10.0.0.7\"\n");
    assert_eq!(load(&file, &words).unwrap().model.routes, model.routes, "flags win");
}

/// Destination, further lines from the tenth on, and what is said about them.
const ROUTES: &[(&str, &str, &[&str])] = &[
    (
        "10.9.0.0/16",
        "via = \"10.2.0.9\"",
        &["g.toml:10: the route to 10.9.0.0/16 goes via 10.2.0.9, which is not on a \
           network of any port; correct it, or add an address in its network to the port"],
    ),
    (
        "10.9.0.0/16",
        "via = \"10.1.0.9\"\nport = \"a\"",
        &["g.toml:10: the route to 10.9.0.0/16 goes via 10.1.0.9, \
           which is not on a network of that port; correct it, or add an address in its network to the port"],
    ),
    (
        "10.9.0.0/16",
        "via = \"10.1.0.9\"\nport = \"c\"",
        &[
            "g.toml:11: the route to 10.9.0.0/16 uses port \"c\", which does not exist; add a [[port]] of that name",
        ],
    ),
    (
        "10.9.0.0/16",
        "via = \"10.1.0.1\"",
        &[
            "g.toml:10: the route to 10.9.0.0/16 has address 10.1.0.1, which is our own on port b; use another",
        ],
    ),
    (
        "10.9.0.0/16",
        "via = \"10.1.0.255\"",
        &["g.toml:10: the route to 10.9.0.0/16 has address 10.1.0.255, which is a \
           broadcast address; use the address of one host"],
    ),
    (
        "10.9.0.0/16",
        "via = \"2001:db8:1::9\"",
        &["g.toml:10: the route to 10.9.0.0/16 goes via 2001:db8:1::9, which is \
           of the other family; give it a router of its own"],
    ),
    (
        "10.9.0.1/16",
        "via = \"10.1.0.9\"",
        &["g.toml:9: a route has destination \"10.9.0.1/16\", which is no \
           network, or its address is not the first; write it as 10.9.0.0/16"],
    ),
    (
        "0.0.0.0/0",
        "via = \"10.1.0.9\"",
        &["g.toml:9: the route to 0.0.0.0/0 has no effect: a port has a gateway; delete one of them"],
    ),
    (
        "2001:db8:9::/48",
        "via = \"fe80::1\"",
        &["g.toml:10: the route to 2001:db8:9::/48 goes via fe80::1, which is \
           link-local, so it could be on any port; add port = \"NAME\""],
    ),
    (
        "2001:db8:9::/48",
        "via = \"fe80::1\"\nport = \"b\"",
        &["g.toml:10: the route to 2001:db8:9::/48 goes via fe80::1, \
           which is not on a network of that port; correct it, or add an address in its network to the port"],
    ),
    (
        "10.9.0.0/16",
        "via = \"10.1.0.9\"\n[[route]]\ndestination = \"10.9.0.0/16\"\nvia = \"10.1.0.8\"",
        &["g.toml:12: 10.9.0.0/16 has a route already (line 9); delete one"],
    ),
    ("10.9.0.0/16", "", &["g.toml:8: a route has no via; add via = \"10.0.0.254\""]),
    (
        "10.9.0.0/16",
        "via = 7",
        &["g.toml:10: a route has an integer as via; write it as via = \"10.0.0.254\""],
    ),
];

#[test]
fn each_mistake_of_a_route_is_told() {
    for (destination, more, expected) in ROUTES {
        let text = format!("{ROUTED}[[route]]\ndestination = \"{destination}\"\n{more}\n");
        let expected: Vec<String> = expected.iter().map(|line| (*line).to_owned()).collect();
        assert_eq!(errors(&text, &[]), expected, "{destination} {more}");
    }
    let many: String = (0..65)
        .map(|n| format!("[[route]]\ndestination = \"10.9.{n}.0/24\"\nvia = \"10.1.0.9\"\n"))
        .collect();
    assert_eq!(
        errors(&format!("{ROUTED}{many}"), &[]),
        ["g.toml:200: there are 65 routes; 64 are allowed: take some away"]
    );
}
