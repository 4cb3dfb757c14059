//! `guideway import` as its users have it: Azure's files in; a configuration, findings and an exit code out.
#![allow(clippy::unwrap_used, clippy::panic, reason = "what fails in a test's helper fails the test")]

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use guideway::config::{self, ConfigFlags, Distribution, Model};
use guideway::import::{self, ArmOptions, Source, Weight};
use proptest::prelude::*;

const CLASSIC: &str = "import azure-classic --definition tide.csdef --service-configuration tide.cscfg --addresses classic.toml";
const ARM: &str = "import azure-arm tide.json --addresses arm.toml";

const COMPILED: &str = "import azure-arm fleet.json --addresses fleet.toml";

fn samples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/import")
}

fn sample(name: &str) -> String {
    std::fs::read_to_string(samples().join(name)).unwrap()
}

/// The exit code, standard output and standard error.
fn run_in(directory: &Path, line: &str) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_guideway"));
    command.args(line.split_whitespace()).current_dir(directory).stdin(Stdio::null());
    let output = command.env_remove("RUST_LOG").output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// What an import says, and what `check` and `explain` then say of the result.
fn import_and_check(line: &str, expected: &str) -> tempfile::TempDir {
    let (code, text, findings) = run_in(&samples(), line);
    assert_eq!(code, Some(0), "{findings}");
    assert_eq!(text, sample(&format!("{expected}.toml")), "the configuration has changed");
    assert_eq!(findings, sample(&format!("{expected}.txt")), "the findings have changed");
    let desk = tempfile::tempdir().unwrap();
    std::fs::write(desk.path().join("gw.toml"), text).unwrap();
    let (code, out, err) = run_in(desk.path(), "check --config gw.toml");
    assert_eq!(code, Some(0), "{err}");
    assert!(out.contains("sound"), "{out}");
    desk
}

/// The backend that a client's new flow goes to.
fn backend(desk: &tempfile::TempDir, client: &str, frontend: &str) -> String {
    let (code, out, err) =
        run_in(desk.path(), &format!("explain --config gw.toml {client} {frontend} --json"));
    assert_eq!(code, Some(0), "{err}");
    let told: serde_json::Value = serde_json::from_str(&out).unwrap();
    told["backend"]["address"]
        .as_str()
        .or(told["backend"].as_str())
        .unwrap_or_else(|| panic!("{out}"))
        .to_owned()
}

#[test]
fn the_classic_sample_becomes_what_it_says() {
    let desk = import_and_check(CLASSIC, "classic-result");
    // Debug is the third instance's port; 443 is by the client's address alone.
    assert!(backend(&desk, "192.0.2.7:5000", "203.0.113.10:10102/tcp").starts_with("10.20.1.6"));
    let of_port = |port: u16| backend(&desk, &format!("203.0.113.77:{port}"), "203.0.113.10:443/tcp");
    assert!((5001..5012).all(|port| of_port(port) == of_port(5000)));
    let (code, out, _) = run_in(desk.path(), "explain --config gw.toml 192.0.2.7:5000 203.0.113.10:443/tcp");
    assert!(code == Some(0) && out.contains("denied by  rule 2 of acl OfficeOnly: deny 0.0.0.0/0"), "{out}");
}

#[test]
fn instances_of_the_classic_sample_get_the_public_addresses_that_are_said() {
    let desk = tempfile::tempdir().unwrap();
    for name in ["tide.csdef", "tide.cscfg"] {
        std::fs::write(desk.path().join(name), sample(name)).unwrap();
    }
    let own = "[frontends]\nrelay-pip = \"203.0.113.20-203.0.113.39\"";
    std::fs::write(desk.path().join("classic.toml"), sample("classic.toml").replace("[frontends]", own))
        .unwrap();
    let (code, text, findings) = run_in(desk.path(), CLASSIC);
    assert!(code == Some(0) && !findings.contains("PublicIP"), "{findings}");
    std::fs::write(desk.path().join("gw.toml"), text).unwrap();
    let (code, out, err) = run_in(desk.path(), "check --config gw.toml");
    assert!(code == Some(0) && out.contains("sound"), "{out}{err}");
    assert!(backend(&desk, "192.0.2.7:5000", "203.0.113.20:3389/tcp").starts_with("10.20.2.20"));
    assert!(backend(&desk, "192.0.2.7:5000", "203.0.113.21:9999/udp").starts_with("10.20.2.21"));
}

#[test]
fn the_arm_sample_becomes_what_it_says() {
    let desk = import_and_check(ARM, "arm-result");
    assert!(backend(&desk, "192.0.2.7:5000", "203.0.113.10:2201/tcp").starts_with("10.20.1.20"));
    assert!(backend(&desk, "192.0.2.7:5000", "10.20.2.10:9999/udp").starts_with("10.20.3."));
}

#[test]
fn the_compiled_sample_becomes_what_it_says() {
    let desk = import_and_check(COMPILED, "fleet-result");
    assert!(backend(&desk, "192.0.2.7:5000", "10.20.2.9:3300/tcp").starts_with("10.20.3.9"));
    assert!(backend(&desk, "192.0.2.7:5000", "203.0.113.42:9/udp").starts_with("10.20.1.6"));
}

#[test]
fn strict_makes_errors_of_what_has_no_counterpart() {
    for line in [CLASSIC, ARM] {
        for strict in ["--strict", "--strict=all", "--strict=traffic"] {
            let (code, out, err) = run_in(&samples(), &format!("{line} {strict}"));
            assert_eq!((code, out.as_str()), (Some(2), ""), "{err}");
            assert!(
                err.ends_with("guideway: --strict: the above has no counterpart; nothing was written\n"),
                "{err}"
            );
        }
    }
    // What has no bearing on traffic passes the one and not the other.
    let desk = tempfile::tempdir().unwrap();
    let write = |name: &str, text: String| std::fs::write(desk.path().join(name), text).unwrap();
    let role = "<WorkerRole name=\"R\" vmsize=\"Small\"><Endpoints><InputEndpoint name=\"E\" protocol=\"tcp\" port=\"80\" loadBalancerProbe=\"P\"/>\
                </Endpoints></WorkerRole>";
    let probe = "<LoadBalancerProbes><LoadBalancerProbe name=\"P\" protocol=\"tcp\"/></LoadBalancerProbes>";
    write("s.csdef", format!("<ServiceDefinition name=\"S\">{probe}{role}</ServiceDefinition>"));
    write("s.cscfg", "<ServiceConfiguration serviceName=\"S\"><Role name=\"R\"><Instances count=\"1\"/></Role></ServiceConfiguration>".to_owned());
    write(
        "a.toml",
        "[frontends]\npublic = \"203.0.113.10\"\n[pools]\nR = \"10.0.0.4-10.0.0.9\"\n".to_owned(),
    );
    let line = "import azure-classic --definition s.csdef --service-configuration s.cscfg --addresses a.toml";
    assert_eq!(run_in(desk.path(), &format!("{line} --strict=traffic")).0, Some(0));
    assert_eq!(run_in(desk.path(), &format!("{line} --strict")).0, Some(2));
}

/// Files that ask for more work than they are long.
fn write_bursting(folder: &Path) {
    let write = |name: &str, text: String| std::fs::write(folder.join(name), text).unwrap();
    // Loops of loops, and what comes out going in again.
    let loops = (0..9).fold("{ \"type\": \"Microsoft.Network/networkInterfaces\", \"name\": \"n\" }".to_owned(), |inner, n| {
        format!(
            "{{ \"type\": \"Microsoft.Resources/deployments\", \"name\": \"d\", \"copy\": {{ \"name\": \"l{n}\", \"count\": 800 }}, \
             \"properties\": {{ \"template\": {{ \"resources\": [ {inner} ] }} }} }}"
        )
    });
    write("loops.json", format!("{{ \"resources\": [ {loops} ] }}"));
    let reduced = "[reduce(range(0, 10000), '', lambda('a', 'b', concat(lambdaVariables('a'), 'xxxxxxxxxxxxxxxxxxxxxxxxx')))]";
    let named = |name: &str| {
        format!(
            "{{ \"resources\": [ {{ \"type\": \"Microsoft.Network/loadBalancers\", \"name\": \"{name}\" }} ] }}"
        )
    };
    write("reduce.json", named(reduced));
    let deep = format!("[{}1{}]", "createArray(".repeat(5000), ")".repeat(5000));
    write("calls.json", named(&deep));
    let attributes: String = (0..200_000).map(|n| format!(" a{n}=''")).collect();
    write("attributes.csdef", format!("<ServiceDefinition{attributes}/>"));
}

#[test]
fn files_that_cannot_be_used_end_with_code_2_and_no_output() {
    let desk = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &[u8]| std::fs::write(desk.path().join(name), text).unwrap();
    let bomb: String = (0..30).map(|n| format!("<!ENTITY e{} \"&e{n};&e{n};\">", n + 1)).collect();
    write(
        "bomb.csdef",
        format!("<!DOCTYPE x [<!ENTITY e0 \"lol\">{bomb}]><ServiceDefinition name=\"&e30;\"/>").as_bytes(),
    );
    write(
        "outside.csdef",
        b"<!DOCTYPE x [<!ENTITY e SYSTEM \"file:///etc/passwd\">]><ServiceDefinition name=\"&e;\"/>",
    );
    write("large.csdef", &vec![b' '; 5 << 20]);
    write("bytes.csdef", &[0xff, 0x00, 0x80]);
    write("good.cscfg", sample("tide.cscfg").as_bytes());
    write("deep.json", "[".repeat(1_000_000).as_bytes());
    write_bursting(desk.path());
    let table = [
        ("the template's expressions come to too much; is there a loop?", "azure-arm loops.json"),
        ("the template's expressions come to too much; is there a loop?", "azure-arm reduce.json"),
        ("calls.json:1:", "azure-arm calls.json"),
        (
            "attributes.csdef:1:1: error: an element has more than 200 attributes",
            "azure-classic --definition attributes.csdef",
        ),
        (
            "bomb.csdef:1:1: error: document types and entities are refused",
            "azure-classic --definition bomb.csdef",
        ),
        (
            "outside.csdef:1:1: error: document types and entities are refused",
            "azure-classic --definition outside.csdef",
        ),
        ("large.csdef: is longer than 4 MiB", "azure-classic --definition large.csdef"),
        ("bytes.csdef: is neither UTF-8 nor UTF-16", "azure-classic --definition bytes.csdef"),
        ("none.csdef: cannot be read", "azure-classic --definition none.csdef"),
        (".: is not a file", "azure-classic --definition ."),
        ("deep.json:1:", "azure-arm deep.json"),
        ("good.cscfg:1:1: error: this is not JSON", "azure-arm good.cscfg"),
        (
            "good.cscfg:2:1: error: this is <ServiceConfiguration>, not the <ServiceDefinition>",
            "azure-classic --definition good.cscfg",
        ),
    ];
    for (expected, line) in table {
        let rest = if line.contains("classic") { " --service-configuration good.cscfg" } else { "" };
        let begun = Instant::now();
        let (code, out, err) = run_in(desk.path(), &format!("import {line}{rest}"));
        assert_eq!((code, out.as_str()), (Some(2), ""), "{line}: {err}");
        assert!(err.contains(expected), "{line}: {err}");
        assert!(begun.elapsed() < Duration::from_secs(5), "{line}");
    }
}

/// Visual Studio writes a mark before UTF-8, PowerShell UTF-16; others leave the mark out.
#[test]
fn whatever_the_encoding_the_result_is_the_same() {
    let desk = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: Vec<u8>| std::fs::write(desk.path().join(name), bytes).unwrap();
    write("classic.toml", sample("classic.toml").into_bytes());
    let little = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
    let big = |text: &str| text.encode_utf16().flat_map(u16::to_be_bytes).collect::<Vec<u8>>();
    let encode = |number: usize, text: &str| match number {
        0 => format!("\u{feff}{text}").into_bytes(),
        1 => little(&format!("\u{feff}{}", text.replace("utf-8", "utf-16"))),
        2 => big(&format!("\u{feff}{}", text.replace("utf-8", "utf-16"))),
        3 => little(text),
        _ => text.replace('\n', "\r\n").into_bytes(),
    };
    for number in 0..5 {
        for name in ["tide.csdef", "tide.cscfg"] {
            write(name, encode(number, &sample(name)));
        }
        let (code, text, findings) = run_in(desk.path(), CLASSIC);
        assert_eq!(code, Some(0), "{number}: {findings}");
        assert_eq!(text, sample("classic-result.toml"), "{number}");
    }
}

/// What the sample of 2016 had: typographic quotes, and a blank that lacked.
#[test]
fn the_mistakes_of_old_samples_are_shown() {
    let curly = sample("tide.csdef").replace("name=\"Web\"", "name=“Web”");
    let import = |definition: &str| {
        let addresses = Source::new("classic.toml", &sample("classic.toml"));
        import::classic(
            &Source::new("s.csdef", definition),
            &Source::new("s.cscfg", &sample("tide.cscfg")),
            Some(&addresses),
        )
    };
    let imported = import(&curly);
    let first =
        imported.findings.of(Weight::Loss).map(ToString::to_string).find(|said| said.contains("quotes"));
    assert_eq!(
        first.unwrap(),
        "s.csdef:10:27: warning: typographic quotes, which are taken for \"straight\" ones: replace them"
    );
    assert!(imported.text.unwrap().contains("name = \"Front.Web\""));
    let imported =
        import(&sample("tide.csdef").replace("<InputEndpoint name=\"Web\" ", "<InputEndpointname=\"Web\""));
    let said: Vec<String> = imported.findings.of(Weight::Error).map(ToString::to_string).collect();
    assert_eq!(said[0], "s.csdef:10:7: error: a blank is missing: write <InputEndpoint name=");
    assert!(imported.text.is_none());
}

// ---- any service -----------------------------------------------------------------------------------------

#[derive(Clone, Debug)]
struct Endpoint {
    protocol: &'static str,
    local_port: Option<u16>,
    distribution: Option<(&'static str, Distribution)>,
    idle: Option<u64>,
    is_probed: bool,
}

fn endpoints() -> impl Strategy<Value = Vec<Endpoint>> {
    let protocol = prop::sample::select(vec!["tcp", "udp", "http", "https", "TCP"]);
    let distribution = prop::option::of(prop::sample::select(vec![
        ("none", Distribution::FiveTuple),
        ("sourceIP", Distribution::SourceIp),
        ("sourceIPProtocol", Distribution::SourceIpProtocol),
    ]));
    let one = (protocol, any::<bool>(), distribution, prop::option::of(4u64..=30), any::<bool>());
    let made = |(protocol, is_mapped, distribution, idle, is_probed)| Endpoint {
        protocol,
        local_port: Some(0).filter(|_| is_mapped),
        distribution,
        idle,
        is_probed,
    };
    prop::collection::vec(one.prop_map(made), 1..8).prop_map(|mut all| {
        // Each has a port of its own on the instances.
        for (endpoint, port) in all.iter_mut().zip(9000..) {
            endpoint.local_port = endpoint.local_port.map(|_| port);
        }
        all
    })
}

fn definition(endpoints: &[Endpoint]) -> String {
    let mut text = "<ServiceDefinition name=\"S\"><LoadBalancerProbes><LoadBalancerProbe name=\"P\" protocol=\"tcp\" port=\"7\"/>\
                    </LoadBalancerProbes><WorkerRole name=\"R\"><Endpoints>"
        .to_owned();
    for (index, endpoint) in endpoints.iter().enumerate() {
        let _ = write!(
            text,
            "<InputEndpoint name=\"E{index}\" protocol=\"{}\" port=\"{}\"",
            endpoint.protocol,
            100 + index
        );
        if let Some(port) = endpoint.local_port {
            let _ = write!(text, " localPort=\"{port}\"");
        }
        if let Some((word, _)) = endpoint.distribution {
            let _ = write!(text, " loadBalancerDistribution=\"{word}\"");
        }
        if let Some(idle) = endpoint.idle {
            let _ = write!(text, " idleTimeoutInMinutes=\"{idle}\"");
        }
        text.push_str(if endpoint.is_probed { " loadBalancerProbe=\"P\"/>" } else { "/>" });
    }
    text + "</Endpoints></WorkerRole></ServiceDefinition>"
}

fn loaded(text: &str) -> Model {
    config::load_text("result", text, &ConfigFlags::default()).unwrap().model
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_service_becomes_the_same_rules(endpoints in endpoints(), count in 0usize..20) {
        let configuration = format!("<ServiceConfiguration serviceName=\"S\"><Role name=\"R\"><Instances count=\"{count}\"/></Role></ServiceConfiguration>");
        let addresses = Source::new("a.toml", "[frontends]\npublic = \"203.0.113.10\"\n[pools]\nR = \"10.0.0.4-10.0.0.99\"\n");
        let definition = Source::new("s.csdef", &definition(&endpoints));
        let imported = import::classic(&definition, &Source::new("s.cscfg", &configuration), Some(&addresses));
        let text = imported.text.unwrap_or_else(|| panic!("{:?}", imported.findings));
        let model = loaded(&text);
        let rules: BTreeMap<String, _> = model.rules.iter().map(|rule| (rule.name.clone(), rule)).collect();
        prop_assert_eq!(rules.len(), endpoints.len());
        for (index, endpoint) in endpoints.iter().enumerate() {
            let rule = rules[&format!("R.E{index}")];
            let port = 100 + u16::try_from(index).unwrap();
            let protocol = if endpoint.protocol == "udp" { "udp" } else { "tcp" };
            prop_assert_eq!(rule.frontend.to_string(), format!("203.0.113.10:{port}/{protocol}"));
            prop_assert_eq!(rule.backend_port, endpoint.local_port.unwrap_or(port));
            prop_assert_eq!(rule.distribution, endpoint.distribution.map_or(Distribution::FiveTuple, |(_, mode)| mode));
            prop_assert_eq!(rule.idle_timeout.as_secs(), endpoint.idle.unwrap_or(4) * 60);
            prop_assert_eq!(rule.probe.is_some(), endpoint.is_probed || protocol == "tcp");
            prop_assert_eq!(rule.pool.backends.len(), count);
        }
    }

    /// Whatever is broken in the samples: an answer, and one that `check` accepts where there are no errors.
    #[test]
    fn broken_files_never_break_the_import(
        which in 0usize..4, at in any::<prop::sample::Index>(), length in 0usize..40,
        with in prop::sample::select(vec!["", "\"", "<", ">", "{", "}", "[", "]", ",", "0", "-1", "99999999999999999999", "“", "null", "\n", "'", "&lt;", "&x;", "[[", "[variables('net')]"]),
    ) {
        let names = ["tide.csdef", "tide.cscfg", "tide.json", "fleet.json"];
        let mut texts = names.map(sample);
        let text = &mut texts[which];
        let starts: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
        let first = at.index(starts.len());
        let end = starts.get(first + length).copied().unwrap_or(text.len());
        text.replace_range(starts[first]..end, with);
        let sources: Vec<Source> = names.iter().zip(&texts).map(|(name, text)| Source::new(name, text)).collect();
        let classic = Source::new("classic.toml", &sample("classic.toml"));
        let arm = Source::new("arm.toml", &sample(if which == 2 { "arm.toml" } else { "fleet.toml" }));
        let imported = if which >= 2 {
            import::arm(&sources[which], None, Some(&arm), ArmOptions::default())
        } else {
            import::classic(&sources[0], &sources[1], Some(&classic))
        };
        prop_assert_eq!(imported.text.is_none(), imported.findings.reach(Weight::Error));
        if let Some(text) = imported.text {
            loaded(&text);
        }
    }
}
