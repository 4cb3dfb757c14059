//! One thing after another about a template: what it becomes, or what is said of it.

mod real;
mod whole;

use crate::config::{self, ConfigFlags, Distribution, ForwardMode, Model, NoHealthyBackends};
use crate::import::{ArmOptions, Imported, Source, arm};

const TEMPLATE: &str = r#"{ // comments are allowed
  "parameters": { "port": { "defaultValue": 443 } },
  "variables": { "lb": "[resourceId('Microsoft.Network/loadBalancers','lb')]" },
  "resources": [
  { "type": "Microsoft.Network/loadBalancers", "apiVersion": "2024-05-01", "name": "lb", "location": "x", "sku": { "name": "Standard" },
    "properties": {
      "frontendIPConfigurations": [ { "name": "fe", "properties": { "privateIPAddress": "10.1.0.1", "privateIPAllocationMethod": "Static" } } ],
      "backendAddressPools": [ { "name": "be", "properties": { "loadBalancerBackendAddresses": [
        { "name": "a", "properties": { "ipAddress": "10.0.0.4" } },
        { "name": "b", "properties": { "ipAddress": "10.0.0.5" } } ] } } ],
      "probes": [ { "name": "p", "properties": { "protocol": "Tcp", "port": 81 } } ],
      "loadBalancingRules": [ { "name": "r", "properties": { "protocol": "Tcp", "frontendPort": "[parameters('port')]", "backendPort": 8443,
        "frontendIPConfiguration": { "id": "[concat(variables('lb'), '/frontendIPConfigurations/fe')]" },
        "backendAddressPool": { "id": "[resourceId('Microsoft.Network/loadBalancers/backendAddressPools', 'lb', 'be')]" },
        "probe": { "id": "[format('{0}/probes/{1}', variables('lb'), 'p')]" } } } ],
      "inboundNatRules": [ { "name": "n", "properties": { "protocol": "Tcp", "frontendPortRangeStart": 2200, "frontendPortRangeEnd": 2209, "backendPort": 22,
        "frontendIPConfiguration": { "id": "[concat(variables('lb'), '/frontendIPConfigurations/fe')]" },
        "backendAddressPool": { "id": "[concat(variables('lb'), '/backendAddressPools/be')]" } } } ]
    } } ]
}"#;

fn import_with(template: &str, parameters: Option<&str>, addresses: &str) -> Imported {
    let parameters = parameters.map(|text| Source::new("p.json", text));
    let addresses = Source::new("a.toml", addresses);
    arm(&Source::new("t.json", template), parameters.as_ref(), Some(&addresses), ArmOptions::default())
}

fn import(template: &str) -> Imported {
    import_with(template, None, "")
}

fn said(imported: &Imported) -> String {
    imported.findings.list.iter().map(|finding| format!("{finding}\n")).collect()
}

fn model_of(imported: &Imported) -> Model {
    let text = imported.text.as_deref().unwrap_or_else(|| panic!("{}", said(imported)));
    config::load_text("out", text, &ConfigFlags::default()).unwrap().model
}

/// Replaces what stands there once at least.
fn with(old: &str, new: &str) -> String {
    assert!(TEMPLATE.contains(old), "{old}");
    TEMPLATE.replacen(old, new, 1)
}

type Check = fn(&Model) -> bool;

/// What is replaced in the template, by what, and what must hold then.
const BECOMES: [(&str, &str, Check); 22] = [
    ("", "", |model| {
        model.rules[0].frontend.to_string() == "10.1.0.1:443/tcp" && model.rules[0].backend_port == 8443
    }),
    ("\"defaultValue\": 443", "\"defaultValue\": 80", |model| {
        model.rules[0].frontend.to_string() == "10.1.0.1:80/tcp"
    }),
    ("\"protocol\": \"Tcp\", \"frontendPort\"", "\"protocol\": \"udp\", \"frontendPort\"", |model| {
        model.rules[0].frontend.to_string() == "10.1.0.1:443/udp"
    }),
    ("\"backendPort\": 8443", "\"backendPort\": 8443, \"loadDistribution\": \"sourceip\"", |model| {
        model.rules[0].distribution == Distribution::SourceIp
    }),
    ("\"backendPort\": 8443", "\"backendPort\": 8443, \"loadDistribution\": \"SourceIPProtocol\"", |model| {
        model.rules[0].distribution == Distribution::SourceIpProtocol
    }),
    ("\"backendPort\": 8443", "\"backendPort\": 8443, \"loadDistribution\": \"Default\"", |model| {
        model.rules[0].distribution == Distribution::FiveTuple
    }),
    ("\"backendPort\": 8443", "\"backendPort\": 8443, \"idleTimeoutInMinutes\": 100", |model| {
        model.rules[0].idle_timeout.as_secs() == 6000
    }),
    ("\"backendPort\": 8443", "\"backendPort\": 8443, \"enableTcpReset\": true", |model| {
        model.rules[0].tcp_reset
    }),
    ("\"backendPort\": 8443", "\"backendPort\": 443, \"enableFloatingIP\": true", |model| {
        model.rules[0].forward.mode() == ForwardMode::Dsr
    }),
    ("\"port\": 81", "\"port\": 81, \"probeThreshold\": 3", |model| {
        model.rules[0].probe.as_ref().is_some_and(|probe| (probe.rise, probe.fall) == (3, 3))
    }),
    ("\"port\": 81", "\"port\": 81, \"numberOfProbes\": 5", |model| {
        model.rules[0].probe.as_ref().is_some_and(|probe| probe.fall == 1)
    }),
    ("\"port\": 81", "\"port\": 81, \"intervalInSeconds\": 60", |model| {
        model.rules[0]
            .probe
            .as_ref()
            .is_some_and(|probe| (probe.interval.as_secs(), probe.timeout.as_secs()) == (60, 60))
    }),
    ("\"port\": 81", "\"port\": 81", |model| {
        model.rules[0]
            .probe
            .as_ref()
            .is_some_and(|probe| probe.interval.as_secs() == 15 && probe.port == Some(81))
    }),
    ("\"Tcp\", \"port\": 81", "\"Https\", \"port\": 81, \"requestPath\": \"ok\"", |model| {
        model.rules[0].probe.as_ref().is_some_and(|probe| probe.path == "/ok" && !probe.verify)
    }),
    ("\"port\": 81", "\"port\": 81, \"noHealthyBackendsBehavior\": \"AllProbedUp\"", |model| {
        model.rules[0].no_healthy_backends == NoHealthyBackends::All
    }),
    ("\"ipAddress\": \"10.0.0.4\"", "\"ipAddress\": \"10.0.0.4\", \"adminState\": \"Down\"", |model| {
        model.rules[0].pool.backends[0].state == config::AdminState::Down
    }),
    ("\"ipAddress\": \"10.0.0.4\"", "\"ipAddress\": \"10.0.0.4\", \"adminState\": \"Up\"", |model| {
        model.rules[0].pool.backends[0].state == config::AdminState::Up
    }),
    ("", "", |model| {
        model.rules.len() == 3
            && model.rules[2].frontend.to_string() == "10.1.0.1:2201/tcp"
            && model.rules[2].backend_port == 22
    }),
    (
        "\"backendPort\": 8443,",
        "\"backendPort\": 8443, \"backendAddressPools\": [ { \"id\": \"[concat(variables('lb'), '/backendAddressPools/be')]\" } ],",
        |model| model.rules[0].pool.backends.len() == 2,
    ),
    (
        "\"protocol\": \"Tcp\", \"frontendPort\": \"[parameters('port')]\", \"backendPort\": 8443",
        "\"protocol\": \"All\", \"frontendPort\": 0, \"backendPort\": 0, \"enableFloatingIP\": true",
        |model| model.rules[0].frontend.to_string() == "10.1.0.1:0/any",
    ),
    (
        "\"loadBalancerBackendAddresses\": [",
        "\"copy\": [ { \"name\": \"loadBalancerBackendAddresses\", \"count\": 4, \"input\": { \"name\": \"x\", \"properties\": { \"ipAddress\": \"[concat('10.0.2.', add(copyIndex('loadBalancerBackendAddresses'), 4))]\" } } } ], \"tunnelInterfaces\": [",
        |model| {
            model.rules[0].pool.backends.len() == 4
                && model.rules[0].pool.backends[3].address.to_string() == "10.0.2.7"
        },
    ),
    (
        "\"name\": \"lb\", \"location\"",
        "\"copy\": { \"name\": \"c\", \"count\": 1 }, \"name\": \"[take(concat('lb', copyIndex()), 2)]\", \"location\"",
        |model| model.rules[0].name == "lb.r",
    ),
];

#[test]
fn every_writable_field_becomes_what_it_says() {
    for (old, new, check) in BECOMES {
        let model = model_of(&import(&with(old, new)));
        assert!(check(&model), "{new}: {model:#?}");
    }
}

/// What is replaced, by what, what is said then, and whether it is an error.
const SAID: [(&str, &str, &str, bool); 36] = [
    (
        "\"name\": \"lb\"",
        "\"name\": \"lc\", \"name\": \"lb\"",
        "t.json:5:90: warning: the object has \"name\" twice; this, the last, is taken",
        false,
    ),
    ("{ // comments", "[{ // comments", "t.json:", true),
    (
        "\"defaultValue\": 443",
        "\"defaultValue\": 65536",
        "t.json:12:97: error: rule r has frontendPort 65536; it must be a number from 0 to 65534",
        true,
    ),
    (
        "\"defaultValue\": 443",
        "\"type\": \"int\"",
        "parameter \"port\" has no value; give one by --parameters FILE",
        true,
    ),
    (
        "[parameters('port')]",
        "[listKeys('a', 'b')]",
        "t.json:12:97: error: frontendPort of rule r: listkeys() has an answer in Azure only",
        true,
    ),
    (
        "\"backendPort\": 8443",
        "\"backendPort\": 8443, \"idleTimeoutInMinutes\": 3",
        "it must be a number from 4 to 100",
        true,
    ),
    (
        "\"backendPort\": 8443",
        "\"backendPort\": 8443, \"idleTimeoutInMinutes\": 31",
        "note: rule r has idleTimeoutInMinutes 31",
        false,
    ),
    (
        "\"backendPort\": 8443",
        "\"backendPort\": 8443, \"enableFloatingIP\": true",
        "they keep port 443, not 8443",
        false,
    ),
    (
        "\"backendPort\": 8443",
        "\"backendPort\": 443, \"enableFloatingIP\": true, \"enableTcpReset\": true",
        "it cannot reset idle flows",
        false,
    ),
    (
        "\"backendPort\": 8443",
        "\"backendPort\": 8443, \"loadDistributoin\": \"x\"",
        "unknown here, and left out; did you mean loadDistribution?",
        false,
    ),
    (
        "\"backendPort\": 8443",
        "\"backendPort\": 8443, \"allowBackendPortConflict\": false",
        "note: allowBackendPortConflict of rule r: not applicable",
        false,
    ),
    (
        "\"protocol\": \"Tcp\", \"frontendPort\"",
        "\"protocol\": \"Sctp\", \"frontendPort\"",
        "rule r has protocol \"Sctp\"; it must be one of Tcp, Udp, All, Quic",
        true,
    ),
    (
        "\"protocol\": \"Tcp\", \"frontendPort\"",
        "\"protocol\": \"All\", \"frontendPort\"",
        "protocol All goes with frontendPort 0",
        true,
    ),
    (
        "\"protocol\": \"Tcp\", \"frontendPort\"",
        "\"protocol\": \"Quic\", \"frontendPort\"",
        "warning: rule r is of protocol Quic",
        false,
    ),
    (
        "/frontendIPConfigurations/fe",
        "/frontendIPConfigurations/ef",
        "load balancer lb has no frontend \"ef\"",
        true,
    ),
    (
        "'lb', 'be')",
        "'lb', 'bee')",
        "load balancer lb has no pool \"bee\" (\"/subscriptions/subscription/",
        true,
    ),
    ("variables('lb'), 'p'", "variables('lb'), 'q'", "load balancer lb has no probe \"q\"", true),
    (
        "\"privateIPAddress\": \"10.1.0.1\"",
        "\"privateIPAddress\": \"10.1.0\"",
        "privateIPAddress of frontend fe is \"10.1.0\", which is no address",
        true,
    ),
    (
        "\"privateIPAddress\": \"10.1.0.1\", \"privateIPAllocationMethod\": \"Static\"",
        "\"privateIPAllocationMethod\": \"Dynamic\"",
        "t.json:7:37: error: nothing says which address frontend lb/fe has; in the addresses file, under [frontends], say: \"lb/fe\" = ",
        true,
    ),
    (
        "\"privateIPAllocationMethod\": \"Static\"",
        "\"privateIPAddressVersion\": \"IPv6\"",
        "frontend fe is of IPv6, but its address is 10.1.0.1",
        true,
    ),
    (
        "\"port\": 81",
        "\"port\": 81, \"numberOfProbes\": 5",
        "note: numberOfProbes of probe p: Azure does not follow it",
        false,
    ),
    (
        "\"port\": 81",
        "\"port\": 81, \"requestPath\": \"/\"",
        "probe p asks by TCP, which has no requestPath",
        true,
    ),
    ("\"Tcp\", \"port\": 81", "\"Http\", \"port\": 81", "probe p needs a requestPath", true),
    ("\"port\": 81", "\"port\": 0", "probe p has port 0; it must be a number from 1 to 65535", true),
    (
        "\"ipAddress\": \"10.0.0.4\"",
        "\"ipAddress\": \"10.0.0\"",
        "ipAddress of member a is \"10.0.0\", which is no address",
        true,
    ),
    ("\"ipAddress\": \"10.0.0.4\"", "\"ipAddress\": \"2001:db8::4\"", "t.json:12:31: error: ", true),
    ("2209", "2200", "inbound NAT rule n has 1 ports, but 2 backends; each needs one", true),
    ("2209", "2100", "which end before they begin", true),
    ("2209", "65535", "frontendPortRangeEnd 65535; it must be a number from 0 to 65534", true),
    ("\"sku\": { \"name\": \"Standard\" }", "\"sku\": { \"name\": \"Basic\" }", "is of sku Basic", false),
    (
        "\"sku\": { \"name\": \"Standard\" }",
        "\"tags\": { \"a\": \"[uniqueString('x')]\" }",
        "note: tags of load balancer lb: not applicable",
        false,
    ),
    (
        "\"type\": \"Microsoft.Network/loadBalancers\"",
        "\"type\": \"Microsoft.Network/other\"",
        "error: there is no resource of type",
        true,
    ),
    (
        "\"name\": \"lb\"",
        "\"copy\": { \"name\": \"c\", \"count\": 801 }, \"name\": \"lb\"",
        "loop c has count 801; allowed are 0 to 800",
        true,
    ),
    (
        "\"name\": \"lb\"",
        "\"condition\": \"[equals(1, 2)]\", \"name\": \"lb\"",
        "left out: its condition is false",
        true,
    ),
    ("\"name\": \"r\"", "\"name\": \"[variables('r')]\"", "there is no variable \"r\"", true),
    (
        "\"lb\": \"[resourceId",
        "\"lb\": \"[variables('lb')]\", \"x\": \"[resourceId",
        "variable lb rests on itself",
        true,
    ),
];

#[test]
fn what_is_wrong_or_has_no_counterpart_is_said_with_its_place() {
    for (old, new, expected, is_error) in SAID {
        let imported = import(&with(old, new));
        let said = said(&imported);
        assert!(said.contains(expected), "{new}: {said}");
        assert_eq!(
            (imported.text.is_none(), said.contains(": error: ")),
            (is_error, is_error),
            "{new}: {said}"
        );
    }
}

#[test]
fn a_plain_template_has_nothing_to_be_said_of() {
    assert_eq!(said(&import(TEMPLATE)), "");
}

#[test]
fn a_public_frontend_without_a_word_lets_its_backends_out() {
    let public = with(
        "\"privateIPAddress\": \"10.1.0.1\", \"privateIPAllocationMethod\": \"Static\"",
        "\"publicIPAddress\": { \"id\": \"x/publicIPAddresses/pip\" }",
    );
    let addresses = "[frontends]\npip = \"203.0.113.10\"\n";
    let imported = import_with(&public, None, addresses);
    assert_eq!(said(&imported), "");
    let text = imported.text.clone().unwrap();
    assert!(text.contains("# Azure lets these backends out"), "{text}");
    let model = model_of(&imported);
    assert_eq!(
        (model.outbound.len(), model.outbound[0].frontends[0].to_string()),
        (1, "203.0.113.10".to_owned())
    );
    assert_eq!(model.outbound[0].protocol, crate::config::OutboundProtocol::Tcp);
    let silent =
        public.replace("\"backendPort\": 8443", "\"backendPort\": 8443, \"disableOutboundSnat\": true");
    let imported = import_with(&silent, None, addresses);
    assert_eq!((said(&imported), model_of(&imported).outbound.len()), (String::new(), 0));
}

#[test]
fn parameters_are_given_by_a_file_and_checked() {
    let file = |text: &str| import_with(TEMPLATE, Some(text), "");
    let model = model_of(&file("{ \"parameters\": { \"Port\": { \"value\": 8080 } } }"));
    assert_eq!(model.rules[0].frontend.to_string(), "10.1.0.1:8080/tcp");
    assert!(
        said(&file("{ \"parameters\": { \"prt\": { \"value\": 1 } } }"))
            .contains("p.json:1:26: error: the template has no parameter \"prt\"; did you mean port?")
    );
    assert!(
        said(&file("{ \"parameters\": { \"port\": { \"reference\": {} } } }"))
            .contains("parameter port has no \"value\"")
    );
    assert!(said(&file("{}")).contains("a parameter file has an object \"parameters\""));
}
