//! Which backends take flows, how flows end, and several workers.

use std::time::Duration;

use super::Case;
use super::packets::Body;
use super::site::{Family, OUTSIDE, Site, backend};

pub fn cases() -> Vec<Case> {
    [Family::V4, Family::V6].into_iter().flat_map(of_family).collect()
}

/// The configuration of `site` with other backends: the one that answers, and others with `attributes` before it.
fn with_others(site: &Site, attributes: &[&str]) -> String {
    let one = |n: usize, attribute: &str| {
        let address = backend(site.outer).to_string();
        format!("{{ address = \"{}{n}\"{attribute} }}, ", &address[..address.len() - 1])
    };
    let others: String = attributes.iter().zip(5..).map(|(attribute, n)| one(n, attribute)).collect();
    let own = format!("{{ address = \"{}\" }}", backend(site.outer));
    site.config().replace(&own, &format!("{others}{own}"))
}

fn of_family(family: Family) -> Vec<Case> {
    let site = Site::nat(family);
    let new =
        |event: &str, why: &str, config: String| Case::new(format!("{}-{event}", site.name()), why, config);
    let ten = |mut case: Case| {
        for port in 0..10 {
            let body = Body::tcp((30_000 + port, 443), "S", b"");
            case = case.requests(&site, &site.request(body));
        }
        case
    };
    let none = |case: Case| {
        case.drops(OUTSIDE, site.client_frame(&site.tcp("S", b"").bytes()), "no-backend-available")
    };
    let eligible =
        "docs/CONFIG.md, backends: new flows go to those that are up and have a weight, and no others";
    let own = format!("{{ address = \"{}\" }}", backend(family));
    let alone = |attribute: &str| {
        site.config().replace(&own, &format!("{{ address = \"{}\"{attribute} }}", backend(family)))
    };
    let other = backend(family).to_string();
    let other = format!("{}5", &other[..other.len() - 1]);
    let mut all = site.clone();
    all.rule = "no_healthy_backends = \"all\"\n".into();
    let mut short = site.clone();
    short.rule = "idle_timeout = \"10s\"\n".into();
    let idle = "RFC 5382 REQ-5 and RFC 4787 REQ-5: a flow without packets is forgotten after its timeout, and not before";
    let body = |flags, data: &[u8]| site.tcp(flags, data);
    vec![
        ten(new("others-down", eligible, with_others(&site, &[", state = \"down\"", ", state = \"down\""]))),
        ten(new("others-drained", eligible, with_others(&site, &[", state = \"drain\""]))),
        ten(new("others-of-no-weight", eligible, with_others(&site, &[", weight = 0"]))),
        ten(new(
            "others-down-by-argument",
            "docs/REPLAY.md: --down makes a backend take no new flows",
            with_others(&site, &[""]),
        )
        .argument(&format!("--down web/{other}"))),
        none(new("none-up", eligible, alone(", state = \"down\""))),
        none(new("none-but-drained", eligible, alone(", state = \"drain\""))),
        none(new("none-of-weight", eligible, alone(", weight = 0"))),
        ten(new(
            "none-up-but-all-asked",
            "docs/CONFIG.md, no_healthy_backends: with `all`, new flows are spread over all",
            all.config(),
        )
        .argument(&format!("--down web/{}", backend(family)))),
        Case::at(&short, "idle-before-timeout", idle)
            .requests(&site, &body("S", b""))
            .requests(&site, &body("A", b""))
            .after(Duration::from_millis(9_900))
            .requests(&site, &body("PA", b"in time"))
            .flows(1, 0),
        Case::at(&short, "idle-after-timeout", idle)
            .requests(&site, &body("S", b""))
            .requests(&site, &body("A", b""))
            .after(Duration::from_secs(11))
            .requests(&site, &body("PA", b"too late"))
            .flows(2, 1),
        Case::at(&short, "idle-udp", idle)
            .requests(&site, &site.udp(b"one"))
            .after(Duration::from_millis(9_900))
            .requests(&site, &site.udp(b"two"))
            .after(Duration::from_secs(11))
            .requests(&site, &site.udp(b"three"))
            .flows(2, 1),
        Case::at(
            &site,
            "half-open",
            "RFC 4987 section 3.3: what was never answered is forgotten sooner, after 30 s",
        )
        .requests(&site, &body("S", b""))
        .after(Duration::from_secs(31))
        .requests(&site, &body("S", b""))
        .flows(2, 1),
    ]
}
