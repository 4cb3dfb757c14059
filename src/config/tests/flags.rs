//! Flags alone, and flags over a file.

use super::*;
use crate::wire::{MacAddr, Protocol};

#[test]
fn flags_alone_make_a_whole_load_balancer() {
    let words = "--port outside=net_tap0,iface=x --address outside=198.51.100.2/24 --gateway outside=198.51.100.1 \
                 --mac outside=02:00:00:00:00:01 --mtu outside=9000 --neighbour 198.51.100.1=02:00:00:00:00:09 \
                 --frontend web=203.0.113.10:80/tcp --backend web=198.51.100.4:8080,weight=2 \
                 --backend web=198.51.100.5,state=drain --distribution web=source-ip --idle-timeout web=30s \
                 --no-healthy-backends web=all --workers 2-3 --management-cpu 0 --flows-per-worker 2048 --frames 65535 \
                 --idle sleep --hash-key 00112233445566778899aabbccddeeff --control-socket /tmp/s --state-directory /tmp";
    let words: Vec<&str> = words.split_whitespace().collect();
    let by_flags = load("", &words).unwrap();
    assert_eq!(by_flags.warnings, []);
    let file = r#"
        [dataplane]
        workers = "2-3"
        management_cpu = 0
        flows_per_worker = 2_048
        frames = 65_535
        idle = "sleep"
        hash_key = "00112233445566778899aabbccddeeff"
        [control]
        socket = "/tmp/s"
        state_directory = "/tmp"
        [[port]]
        name = "outside"
        device = "net_tap0,iface=x"
        addresses = ["198.51.100.2/24"]
        gateway = "198.51.100.1"
        mac = "02:00:00:00:00:01"
        mtu = 9000
        [[neighbour]]
        address = "198.51.100.1"
        mac = "02:00:00:00:00:09"
        [[pool]]
        name = "web"
        backends = [{ address = "198.51.100.4", weight = 2 }, { address = "198.51.100.5", state = "drain" }]
        [[rule]]
        name = "web"
        frontend = "203.0.113.10:80/tcp"
        pool = "web"
        backend_port = 8080
        distribution = "source-ip"
        idle_timeout = "30s"
        no_healthy_backends = "all"
    "#;
    assert_eq!(by_flags.model, load(file, &[]).unwrap().model);
}

#[test]
fn addresses_of_both_families_can_be_said_by_flags() {
    let words = "--port a=x --address a=2001:db8:1::2/64 --gateway6 a=fe80::1 --neighbour fe80::1=02:00:00:00:00:09 \
                 --frontend web=[2001:db8::10]:443/tcp --backend web=[2001:db8:1::4]:8443,weight=2 \
                 --backend web=2001:db8:1::5 --backend web=[2001:db8:1::6]";
    let words: Vec<&str> = words.split_whitespace().collect();
    let file = r#"
        [[port]]
        name = "a"
        device = "x"
        addresses = ["2001:db8:1::2/64"]
        gateway6 = "fe80::1"
        [[neighbour]]
        address = "fe80::1"
        mac = "02:00:00:00:00:09"
        [[pool]]
        name = "web"
        backends = [
            { address = "2001:db8:1::4", weight = 2 },
            { address = "2001:db8:1::5" },
            { address = "2001:db8:1:0::6" },
        ]
        [[rule]]
        name = "web"
        frontend = "[2001:db8:0::10]:443/tcp"
        pool = "web"
        backend_port = 8443
    "#;
    let by_flags = load("", &words).unwrap();
    assert_eq!(by_flags.warnings, []);
    assert_eq!(by_flags.model, load(file, &[]).unwrap().model);
}

#[test]
fn flags_win_over_the_file() {
    let words = [
        "--port=inside=other",
        "--address=inside=10.1.0.1/16",
        "--gateway=inside=10.1.0.9",
        "--frontend=web=203.0.113.99:53/udp",
        "--backend=web=10.1.0.4:5353",
        "--idle-timeout=web=5s",
        "--idle=pause",
    ];
    let model =
        load(&format!("{SOUND}idle_timeout = \"1h\"\n[dataplane]\nidle = \"spin\"\n"), &words).unwrap().model;
    let port = model.ports.first().unwrap();
    assert_eq!((model.ports.len(), model.pools.len(), model.rules.len()), (1, 1, 1));
    assert_eq!(port.device.as_deref(), Some("other"));
    assert_eq!(port.addresses, [Cidr { address: [10, 1, 0, 1].into(), prefix_len: 16 }]);
    assert_eq!(port.gateway, Some(Ipv4Addr::new(10, 1, 0, 9)));
    let rule = model.rules.first().unwrap();
    assert_eq!(
        rule.frontend,
        Endpoint { address: [203, 0, 113, 99].into(), port: 53, protocol: Protocol::Udp }.into()
    );
    assert_eq!((rule.backend_port, rule.idle_timeout.as_secs(), rule.pool.backends.len()), (5353, 5, 1));
    assert_eq!(model.dataplane.idle, Idle::Pause);
}

#[test]
fn a_frontend_flag_keeps_the_pool_of_the_files_rule() {
    let file = SOUND.replace("[[rule]]\nname = \"web\"", "[[rule]]\nname = \"tls\"");
    let model = load(&file, &["--frontend", "tls=203.0.113.99:443/tcp"]).unwrap().model;
    assert_eq!(model.rules.first().map(|rule| rule.pool.name.as_str()), Some("web"));
    let model = load(SOUND, &["--frontend=dns=203.0.113.99:53/udp", "--pool=dns=web"]).unwrap().model;
    assert_eq!(model.rules.get(1).map(|rule| rule.pool.name.as_str()), Some("web"));
}

#[test]
fn a_neighbour_flag_replaces_the_files_neighbour() {
    let file = format!("{SOUND}[[neighbour]]\naddress = \"10.0.0.4\"\nmac = \"02:00:00:00:00:04\"\n");
    let model = load(&file, &["--neighbour", "10.0.0.4=02:00:00:00:00:05"]).unwrap().model;
    let expected = StaticNeighbour { address: [10, 0, 0, 4].into(), mac: MacAddr([2, 0, 0, 0, 0, 5]) };
    assert_eq!(model.neighbours, [expected]);
}

#[test]
fn all_mistakes_of_flags_and_file_are_reported_together() {
    let words = "--port out=x --port out=y --address ou=192.0.2.1/24 --address out=192.0.2.1 --gateway out=10.0.0.1 \
                 --frontend a=203.0.113.1:80/tcp --frontend x --backend a=10.0.0.6:80,weight=300 \
                 --backend a=10.0.0.7:81,foo=1,weight --backend lone=10.0.0.8:80 --probe a=http:0/h,interval=5s,bla=4 \
                 --idle-timeout zzzzz=4m --idle-timeout a=4 --neighbour 10.0.0.9=0 --workers 1-a --management-cpu x \
                 --hash-key secret --metrics 1 --distribution a=foo --mtu out=3 --backend a=[2001:db8::1";
    let words: Vec<&str> = words.split_whitespace().collect();
    let expected = [
        "g.toml:9: rule web has idle_timeout 0s; allowed are 1s to 1day",
        r#"--address: there is no port "ou"; did you mean out? If not, add --port NAME=DEVICE"#,
        r#"--address: port out has address "192.0.2.1", which is not an address with its prefix; write it as 198.51.100.2/24 or 2001:db8:1::2/64"#,
        r#"--backend: backend 10.0.0.7 has an unknown key "foo"; known are weight, state, quic_server_id"#,
        r#"--backend: "weight" is incomplete; write --backend web=10.0.0.4:8443,weight=2"#,
        "--backend: backends of pool a have ports 80 and 81; a rule has one backend port: use one, or make two rules with a pool each",
        r#"--backend: pool a has address "[2001:db8::1", which is not an address; write it as 10.0.0.4 or 2001:db8::4"#,
        "--backend: port 80 belongs to a rule, and there is no rule lone; add --frontend lone=ADDR:PORT/PROTO, or set backend_port in the rule that uses pool lone",
        "--backend: backend 10.0.0.6 has weight 300; allowed are 0 to 100",
        r#"--distribution: rule a has distribution "foo", which is unknown; choose 5-tuple, source-ip or source-ip-protocol"#,
        r#"--frontend: "x" is incomplete; write --frontend web=203.0.113.10:443/tcp"#,
        "--hash-key: [dataplane] has a hash_key which is not 32 hex digits; `openssl rand -hex 16` makes one",
        r#"--idle-timeout: there is no rule "zzzzz"; add --frontend NAME=ADDR:PORT/PROTO"#,
        r#"--idle-timeout: rule a has idle_timeout "4", which is not a duration with a unit; write it as 250ms, 5s, 4m or 1h30m"#,
        r#"--management-cpu: the command line has management_cpu "x", which is not a whole number"#,
        r#"--metrics: the command line has metrics "1", which is not an address with a port; write it as 127.0.0.1:9464, or off"#,
        "--mtu: port out has mtu 3; allowed are 576 to 9216",
        r#"--neighbour: the command line has mac "0", which is not an Ethernet address; write it as 02:00:00:00:00:04"#,
        "--port: port out is given twice; delete one",
        r#"--probe: probe of rule a has an unknown key "bla"; known are interval, timeout, rise, fall, via, host, status, body, verify, ca_file"#,
        "--probe: probe of rule a has port 0; allowed are 1 to 65535",
        r#"--workers: the command line has workers "1-a", which is not a list of CPUs; write it as 2-5 or 0,2-5"#,
    ];
    assert_eq!(errors(&format!("{SOUND}idle_timeout = \"0s\"\n"), &words), expected);
}

#[test]
fn secrets_are_not_repeated() {
    for text in [
        "[dataplane]\nhash_key = \"s3cret\"",
        "[dataplane]\nhash_key = s3cret",
        "[dataplane]\nhash_key = 's3cret",
    ] {
        let all = load(text, &["--hash-key", "s3cret"]).unwrap_err();
        assert!(!format!("{all}{all:?}").contains("s3cret"), "{all}");
    }
}
