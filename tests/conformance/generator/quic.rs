//! QUIC connections, by the server id in their connection ids.

use super::Case;
use super::packets::{Body, Packet};
use super::site::{Family, Mode, OUTSIDE, Site, backend};

pub fn cases() -> Vec<Case> {
    let modes = [Mode::Nat, Mode::Dsr, Mode::Ipip, Mode::Vxlan];
    let sites = modes
        .into_iter()
        .flat_map(|mode| [Family::V4, Family::V6].map(|family| Site::new(mode, family, family)));
    sites.flat_map(|site| of_site(&site)).collect()
}

/// The site's configuration with `settings` of the rule for UDP, and eight backends more, of which all are as good to the
/// hash as the one that connection ids name.
fn config(site: &Site, settings: &str, id: &str) -> String {
    let own = backend(site.outer).to_string();
    let (before, _) = own.split_at(own.len() - 1);
    let others: String = (5..10).map(|n| format!("{{ address = \"{before}{n}\" }}, ")).collect();
    let text = site
        .config()
        .replace(&format!("{{ address = \"{own}\" }}"), &format!("{others}{{ address = \"{own}\"{id} }}"));
    text.replace(":443/udp\"\n", &format!(":443/udp\"\n{settings}\n"))
}

/// From five addresses of the client, all to one backend.
fn moving(mut case: Case, site: &Site, payloads: &[Vec<u8>]) -> Case {
    for (port, payload) in (40_000..40_005u16).zip(payloads.iter().cycle()) {
        case = case.requests(site, &site.request(Body::udp((port, 443), payload)));
    }
    case
}

fn short(id: &[u8]) -> Vec<u8> {
    [&[0x4c][..], id, b"and the rest, which nobody can read"].concat()
}

fn handshake(version: [u8; 4], kind: u8, id: &[u8]) -> Vec<u8> {
    [&[0xc0 | kind << 4][..], &version, &[id.len() as u8], id, &[0; 40]].concat()
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len() / 2).map(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap()).collect()
}

fn of_site(site: &Site) -> Vec<Case> {
    let case = |event: &str, why: &str, settings: &str, id: &str| {
        Case::new(format!("quic-{}-{event}", site.name()), why, config(site, settings, id))
    };
    let draft = "draft-ietf-quic-load-balancers-21";
    let one = [0, 0, 0, 1];
    let two = [0x6b, 0x33, 0x43, 0xcf];
    let plain = "quic = \"quic-lb\"\nquic_server_id_length = 3\nquic_nonce_length = 4";
    let key = "quic_key = \"8f95f09245765f80256934e50c66207f\"";
    let cid = hex("07c4605e4504cc4f");
    let mut cases = vec![moving(
        case(
            "plain",
            &format!(
                "{draft}, appendix B: a client that changes its port stays with the server that its connection id names"
            ),
            plain,
            ", quic_server_id = \"c4605e\"",
        ),
        site,
        &[short(&cid), handshake(one, 2, &cid), handshake(two, 3, &cid)],
    )];
    for (event, config, length, nonce, id, cid) in [
        ("four-passes", 0, 3, 4, "ed793a", "0720b1d07b359d3c"),
        ("one-pass", 2, 8, 8, "ed793a51d49b8f5f", "504dd2d05a7b0de9b2b9907afb5ecf8cc3"),
        ("long-id", 1, 10, 5, "ed793a51d49b8f5fab65", "2fcc381bc74cb4fbad2823a3d1f8fed2"),
        ("odd", 0, 9, 9, "ed793a51d49b8f5fab", "125779c9cc86beb3a3a4a3ca96fce4bfe0cdbc"),
    ] {
        let settings = format!(
            "quic = \"quic-lb\"\nquic_config = {config}\nquic_server_id_length = {length}\n\
             quic_nonce_length = {nonce}\n{key}"
        );
        // Others have other ids, which their addresses give them.
        let why =
            format!("{draft}, appendix B: the server id in an encrypted connection id names the server");
        let id = format!(", quic_server_id = \"{id}\"");
        cases.push(moving(case(event, &why, &settings, &id), site, &[short(&hex(cid))]));
    }
    // 16, 24 and 32 bits of 0x0102: two bits of version and the number, or the number from the second byte on.
    let katran = ["4040800000000000", "8000010200000000", "c000000102000000"].map(|id| short(&hex(id)));
    cases.push(moving(
        case(
            "katran",
            "docs/QUIC.md: Katran's three layouts",
            "quic = \"katran\"",
            ", quic_server_id = \"0102\"",
        ),
        site,
        &katran,
    ));
    let bad: [&[u8]; 4] = [b"", b"\x40", &[0xe0, 0, 0, 0, 1, 255, 0], &[0xc0; 6]];
    // One backend: wherever they go by the hash, it is there.
    let mut case = Case::new(
        format!("quic-{}-nothing-said", site.name()),
        "RFC 8999 section 5: what is no packet of QUIC, or cut off, goes where its flow goes",
        site.config().replace(":443/udp\"\n", &format!(":443/udp\"\n{plain}\n")),
    );
    for payload in bad {
        case = case.requests(site, &Packet { ..site.udp(payload) });
    }
    cases.push(case.drops(OUTSIDE, vec![0; 10], "ethernet-truncated"));
    cases
}
