//! Routing by QUIC server ids: what a rule says, and what it must not.

use super::{errors, load};
use crate::config::{Quic, QuicLb};

fn file(frontend: &str, backends: &str, rule: &str) -> String {
    format!(
        "[[pool]]\nname = \"h3\"\nbackends = [{backends}]\n[[rule]]\nname = \"h3\"\nfrontend = \"{frontend}\"\n\
         pool = \"h3\"\n{rule}\n"
    )
}

const TWO: &str = "{ address = \"10.0.0.4\" }, { address = \"10.0.0.5\", quic_server_id = \"0a0b\" }";
const UDP: &str = "203.0.113.10:443/udp";

fn quic(rule: &str, flags: &[&str]) -> Option<Quic> {
    let text = file(UDP, TWO, rule);
    load(&text, flags).unwrap_or_else(|all| panic!("{all}")).model.rules[0].quic
}

#[test]
fn a_rule_says_how_server_ids_stand_in_connection_ids() {
    let plain = |config, nonce_len| Quic::QuicLb(QuicLb { config, server_id_len: 2, nonce_len, key: None });
    assert_eq!(quic("", &[]), None);
    assert_eq!(quic("quic = \"katran\"", &[]), Some(Quic::Katran));
    // One pass of encryption is what servers have without being told.
    assert_eq!(quic("quic = \"quic-lb\"\nquic_server_id_length = 2", &[]), Some(plain(0, 14)));
    let all = "quic = \"quic-lb\"\nquic_server_id_length = 2\nquic_nonce_length = 5\nquic_config = 6";
    assert_eq!(quic(all, &[]), Some(plain(6, 5)));
    // A flag replaces all of it.
    assert_eq!(quic(all, &["--quic", "h3=quic-lb,server_id_length=2"]), Some(plain(0, 14)));
    assert_eq!(quic(all, &["--quic", "h3=katran"]), Some(Quic::Katran));
    let key = "h3=quic-lb,config=1,server_id_length=2,nonce_length=6,key=000102030405060708090a0b0c0d0e0f";
    let Some(Quic::QuicLb(QuicLb { config: 1, nonce_len: 6, key: Some(key), .. })) =
        quic("", &["--quic", key])
    else {
        panic!("a key");
    };
    assert_eq!(key.0[15], 15);
    let backends = ["--backend", "h3=10.0.0.6,quic_server_id=ff", "--quic", "h3=quic-lb,server_id_length=1"];
    let loaded = load(&file(UDP, TWO, ""), &backends).unwrap_or_else(|all| panic!("{all}"));
    assert_eq!(loaded.model.pools[0].backends[0].quic_server_id.unwrap().as_bytes(), [0xff]);
}

/// Frontend, backends, further lines of the rule, and what is said.
type Told = (&'static str, &'static str, &'static str, &'static [&'static str]);

const TOLD: [Told; 8] = [
    (
        "203.0.113.10:443/tcp",
        TWO,
        "quic = \"katran\"",
        &[
            "g.toml:8: rule h3 has quic, which has no effect: its frontend 203.0.113.10:443/tcp takes no UDP; delete it",
        ],
    ),
    (
        UDP,
        TWO,
        "quic_config = 1\nquic_key = \"000102030405060708090a0b0c0d0e0f\"",
        &[
            "g.toml:8: rule h3 has quic_config, which has no effect without quic = \"quic-lb\"; delete it, or add that",
            "g.toml:9: rule h3 has quic_key, which has no effect without quic = \"quic-lb\"; delete it, or add that",
        ],
    ),
    (
        UDP,
        TWO,
        "quic = \"quic-lb\"\nquic_server_id_length = 2\nforward = \"full-nat\"",
        &[
            "g.toml:8: rule h3 has quic and forward = \"full-nat\", which does not look at connection ids in this version; \
                 delete quic, or use another forward",
        ],
    ),
    (
        UDP,
        TWO,
        "quic = \"quic-lb\"\nquic_server_id_length = 12\nquic_nonce_length = 8",
        &[
            "g.toml:8: rule h3 has backend 10.0.0.5 with quic_server_id 0a0b, and its server ids have 12 bytes; write it \
                 so, or change quic_server_id_length",
            "g.toml:10: rule h3 has quic_server_id_length 12 and quic_nonce_length 8, and a connection id has room for 19 \
                 in all; make one shorter",
        ],
    ),
    (
        UDP,
        TWO,
        "quic = \"quic-lb\"\nquic_server_id_length = 16\nquic_config = 7\nquic_key = \"0\"",
        &[
            "g.toml:9: rule h3 has quic_server_id_length 16; allowed are 1 to 15",
            "g.toml:10: rule h3 has quic_config 7; allowed are 0 to 6",
            "g.toml:11: rule h3 has a quic_key which is not 32 hex digits; `openssl rand -hex 16` makes one",
        ],
    ),
    (
        UDP,
        "{ address = \"10.0.0.4\" }, { address = \"10.0.1.4\" }",
        "quic = \"quic-lb\"\nquic_server_id_length = 1",
        &[
            "g.toml:8: rule h3 has backends 10.0.0.4 and 10.0.1.4 with one server id, 04; give each a quic_server_id of its own",
        ],
    ),
    (
        UDP,
        "{ address = \"10.0.0.4\", quic_server_id = \"0000000001\" }",
        "quic = \"katran\"",
        &[
            "g.toml:8: rule h3 has backend 10.0.0.4 with quic_server_id 0000000001, and its server ids have 1 to 4 bytes; \
                 write it so",
        ],
    ),
    (
        UDP,
        "{ address = \"10.0.0.4\", quic_server_id = \"4\" }",
        "quic = \"lb\"",
        &[
            "g.toml:3: backend 10.0.0.4 has quic_server_id \"4\", which is not 1 to 15 bytes in hex; write it as 000b",
            "g.toml:8: rule h3 has quic \"lb\", which is unknown; choose quic-lb or katran",
        ],
    ),
];

#[test]
fn what_does_not_go_with_it_is_told() {
    for (frontend, backends, rule, expected) in TOLD {
        let mut got = errors(&file(frontend, backends, rule), &[]);
        got.sort_by_key(|line| line.split(':').nth(1).and_then(|number| number.parse::<u32>().ok()));
        assert_eq!(got, expected, "{rule}");
    }
    let missing = errors(&file(UDP, TWO, "quic = \"quic-lb\""), &[]);
    assert!(missing.len() == 1 && missing[0].contains("quic_server_id_length"), "{missing:?}");
    let flags = errors(&file(UDP, TWO, ""), &["--quic", "h3=quic-lb,key=secret,size=3"]);
    assert!(flags.iter().all(|line| !line.contains("secret")), "{flags:?}");
}
