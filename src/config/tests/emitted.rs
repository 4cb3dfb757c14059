//! A model's text means the model.

use super::*;
use crate::config::sections::SECTIONS;
use crate::config::{to_text, to_text_with};

/// With every key that a model can have, none of them at its default.
const FULL: &str = r#"
[dataplane]
workers = "3,1"
management_cpu = 0
flows_per_worker = 4096
frames = 8191
idle = "sleep"
hash_key = "00112233445566778899aabbccddeeff"
eal = ["--file-prefix=\"gw\\\"", "-m 64"]
[control]
socket = "/tmp/a \"b\"/control.sock"
socket_group = "0"
listen = "192.0.2.1:9465"
listen_anywhere = true
token_file = "/etc/guideway/token"
metrics = "[::1]:9464"
state_directory = "/tmp/state"
[[port]]
name = "outside"
device = "net_tap0,iface=x"
vlan = [200, 100]
addresses = ["198.51.100.2/24", "198.51.100.3/24", "2001:db8:1::2/64"]
gateway = "198.51.100.1"
gateway6 = "fe80::1"
mac = "02:00:00:00:00:01"
mtu = 1400
[[port]]
name = "inside"
addresses = ["10.0.0.1/24"]
[[route]]
destination = "10.9.0.0/16"
via = "10.0.0.254"
port = "inside"
[[route]]
destination = "2001:db8:9::/48"
via = "fe80::9"
port = "outside"
[[neighbour]]
address = "10.0.0.4"
mac = "02:00:00:00:00:04"
[[pool]]
name = "web"
backends = [{ address = "10.0.0.4" }, { address = "10.0.0.5", weight = 7, state = "drain" }]
[[neighbour]]
address = "2001:db8:1::4"
mac = "02:00:00:00:00:04"
[[pool]]
name = "six"
backends = [{ address = "2001:db8:1::4" }]
[[pool]]
name = "unused"
addresses = "10.0.0.8-10.0.0.20"
instances = 2
drain_timeout = "90s"
[[probe]]
name = "ready"
kind = "https"
port = 8081
path = "/a?b=%22c%22"
host = "example.org"
status = "200,204-299"
body = "it's \"up\" \\o/"
verify = true
ca_file = "/etc/a \"b\".pem"
via = "port"
interval = "1m 30s"
timeout = "250ms"
rise = 3
fall = 4
[[probe]]
name = "open"
kind = "tcp"
[[pool]]
name = "h3"
backends = [{ address = "10.0.0.50", quic_server_id = "0a0b0c0d" }, { address = "10.0.0.51" }]
[[rule]]
name = "a"
frontend = "203.0.113.1:443/tcp"
pool = "web"
backend_port = 8443
distribution = "source-ip-protocol"
idle_timeout = "1h 5s"
probe = "ready"
no_healthy_backends = "all"
acl = "office"
[[rule]]
name = "b"
frontend = "203.0.113.1:53/udp"
pool = "web"
backend_port = 53
probe = "open"
[[rule]]
name = "c"
frontend = "[2001:db8::53]:53/udp"
pool = "six"
[[rule]]
name = "d"
frontend = "203.0.113.16/28:8000-8100/tcp"
pool = "web"
forward = "full-nat"
source_addresses = ["10.0.0.30", "10.0.0.40-10.0.0.49"]
client_address = ["toa", "proxy-v2"]
tcp_reset = true
mss_clamp = true
icmp_echo = false
[[rule]]
name = "e"
frontend = "203.0.113.2:443/tcp"
pool = "web"
backend_port = 9443
hairpin = true
mss_clamp = 1360
[[rule]]
name = "f"
frontend = "[2001:db8::/64]:0/any"
pool = "web"
forward = "gue"
tunnel_source = "10.96.0.0/16"
tunnel_port = 9999
gue_variant = 1
[[rule]]
name = "g"
frontend = "203.0.113.2:0/89"
pool = "web"
forward = "vxlan"
vni = 77
inner_mac = "02:00:00:00:00:07"
[[rule]]
name = "h"
frontend = "203.0.113.2:5060/sctp"
pool = "web"
forward = "dsr"
[[rule]]
name = "i"
frontend = "203.0.113.3:443/tcp"
pool = "web"
forward = "ipip"
[[rule]]
name = "j"
frontend = "203.0.113.4:443/tcp"
pool = "web"
forward = "gre"
[[rule]]
name = "k"
frontend = "203.0.113.4:443/udp"
pool = "h3"
forward = "gre"
quic = "quic-lb"
quic_config = 3
quic_server_id_length = 4
quic_nonce_length = 8
quic_key = "ffeeddccbbaa99887766554433221100"
[[nat_rule]]
name = "m"
frontend = "203.0.113.6:2201/tcp"
backend = "10.0.0.4:22"
idle_timeout = "9m"
tcp_reset = true
icmp_echo = false
acl = "office"
[[nat_rule]]
name = "n"
frontend = "203.0.113.6:2300-2349/tcp"
pool = "web"
backend_port = 23
ports = ["10.0.0.5=2300", "10.0.0.9=2301"]
[[nat_rule]]
name = "o"
frontend = "[2001:db8::54]:53/udp"
backend = "2001:db8:1::4"
forward = "dsr"
[[nat_rule]]
name = "p"
frontend = "203.0.113.7:0/any"
backend = "10.0.0.50"
[[acl]]
name = "office"
rules = ["permit 198.51.100.0/24", "deny 192.0.2.7", "permit 2001:db8::/32"]
[[rule]]
name = "l"
frontend = "203.0.113.5:443/udp"
pool = "h3"
forward = "gre"
quic = "katran"
[[outbound_rule]]
name = "egress"
pool = "web"
frontends = ["203.0.113.11", "203.0.113.12"]
protocol = "tcp"
ports_per_backend = 1024
idle_timeout = "10m"
tcp_reset = true
[[outbound_rule]]
name = "egress6"
pool = "six"
frontends = ["2001:db8:9::1"]
"#;

/// What another key says in the text, or nothing at all that a model holds.
const LEFT_OUT: [&str; 4] = ["hash_key", "quic_key", "addresses", "instances"];

#[test]
fn the_text_of_a_model_gives_the_model_less_its_key() {
    let mut model = load(FULL, &[]).unwrap_or_else(|all| panic!("{all}")).model;
    let text = to_text(&model);
    assert!(!text.contains("00112233") && !text.contains("hash_key"), "{text}");
    let with_key = to_text_with(&model, model.dataplane.hash_key);
    assert_eq!(load(&with_key, &[]).unwrap().model, model, "{with_key}");
    assert!(!text.contains("ffeeddcc") && !text.contains("quic_key"), "{text}");
    model.dataplane.hash_key = None;
    assert_eq!(
        load(&to_text_with(&model, None), &[]).unwrap().model,
        model,
        "keys of QUIC-LB do not go with the other"
    );
    for rule in &mut model.rules {
        if let Some(Quic::QuicLb(quic)) = &mut rule.quic {
            quic.key = None;
        }
    }
    let again = load(&text, &[]).unwrap_or_else(|all| panic!("{all}\n{text}")).model;
    assert_eq!(again, model, "{text}");
    assert_eq!(to_text(&again), text);
    let (two_arm, flags) = (include_str!("../../../dpdk-config/two-arm.toml"), ["--backend", "x=10.0.0.77"]);
    for (file, words) in
        [("", &[][..]), (two_arm, &[]), ("", &flags), ("[control]\nmetrics = \"off\"\n", &[])]
    {
        let model = load(file, words).unwrap_or_else(|all| panic!("{all}")).model;
        let again = load(&to_text(&model), &[]).unwrap().model;
        assert_eq!((again.rules, again.control), (model.rules, model.control));
    }
}

#[test]
fn no_key_is_forgotten() {
    let text = to_text(&load(FULL, &[]).unwrap_or_else(|all| panic!("{all}")).model);
    for (section, keys) in SECTIONS {
        for key in keys.iter().filter(|key| !LEFT_OUT.contains(key)) {
            let is_there = text.contains(&format!("\n{key} = ")) || text.contains(&format!(" {key} = "));
            assert!(is_there, "{section}: {key} is not in the text, or the model of this test lacks it");
        }
    }
}
