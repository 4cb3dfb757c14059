//! One thing after another about a service: what it becomes, or what is said of it.

use crate::config::{self, ConfigFlags, Distribution, Model};
use crate::import::{Imported, Source, classic};

const DEFINITION: &str = r#"<ServiceDefinition name="S" xmlns="http://schemas.microsoft.com/ServiceHosting/2008/10/ServiceDefinition">
<LoadBalancerProbes><LoadBalancerProbe name="P" protocol="http" path="ok" intervalInSeconds="5" timeoutInSeconds="16"/></LoadBalancerProbes>
<WorkerRole name="R"><Endpoints>
<InputEndpoint name="E" protocol="tcp" port="80" loadBalancerProbe="P"/>
<InstanceInputEndpoint name="I" protocol="tcp" localPort="22"><AllocatePublicPortFrom><FixedPortRange min="10000" max="10002"/></AllocatePublicPortFrom></InstanceInputEndpoint>
</Endpoints></WorkerRole></ServiceDefinition>"#;

const CONFIGURATION: &str = r#"<ServiceConfiguration serviceName="S"><Role name="R"><Instances count="2"/></Role>
<NetworkConfiguration><LoadBalancers><LoadBalancer name="In"><FrontendIPConfiguration type="private" staticVirtualNetworkIPAddress="10.9.0.1"/></LoadBalancer></LoadBalancers></NetworkConfiguration>
</ServiceConfiguration>"#;

const ADDRESSES: &str = "[frontends]\npublic = \"203.0.113.10\"\n[pools]\nR = \"10.0.0.4-10.0.0.9\"\n";

fn import(definition: &str, configuration: &str, addresses: &str) -> Imported {
    let source = |name, text| Source::new(name, text);
    let addresses = source("a.toml", addresses);
    classic(&source("s.csdef", definition), &source("s.cscfg", configuration), Some(&addresses))
}

fn model(definition: &str) -> Model {
    let imported = import(definition, CONFIGURATION, ADDRESSES);
    let text = imported.text.unwrap_or_else(|| panic!("{:?}", imported.findings));
    config::load_text("out", &text, &ConfigFlags::default()).unwrap().model
}

fn said(imported: &Imported) -> String {
    imported.findings.list.iter().map(|finding| format!("{finding}\n")).collect()
}

#[test]
fn an_endpoint_becomes_a_rule() {
    let probe = |model: &Model| model.rules[0].probe.clone().unwrap();
    type Check = fn(&Model) -> bool;
    let table: [(&str, &str, Check); 12] = [
        ("", "", |model| {
            model.rules[0].frontend.to_string() == "203.0.113.10:80/tcp" && model.rules[0].backend_port == 80
        }),
        ("port=\"80\"", "port=\"80\" localPort=\"8080\"", |model| model.rules[0].backend_port == 8080),
        ("protocol=\"tcp\" port", "protocol=\"udp\" port", |model| {
            model.rules[0].frontend.to_string() == "203.0.113.10:80/udp"
        }),
        ("protocol=\"tcp\" port", "protocol=\"HTTPS\" port", |model| {
            model.rules[0].frontend.to_string() == "203.0.113.10:80/tcp"
        }),
        ("name=\"E\"", "name=\"E\" loadBalancerDistribution=\"sourceIP\"", |model| {
            model.rules[0].distribution == Distribution::SourceIp
        }),
        ("name=\"E\"", "name=\"E\" loadBalancerDistribution=\"sourceIPProtocol\"", |model| {
            model.rules[0].distribution == Distribution::SourceIpProtocol
        }),
        ("name=\"E\"", "name=\"E\" loadBalancerDistribution=\"none\"", |model| {
            model.rules[0].distribution == Distribution::FiveTuple
        }),
        ("name=\"E\"", "name=\"E\" idleTimeoutInMinutes=\"30\"", |model| {
            model.rules[0].idle_timeout.as_secs() == 1800
        }),
        ("name=\"E\"", "name=\"E\" loadBalancer=\"In\"", |model| {
            model.rules[0].frontend.to_string() == "10.9.0.1:80/tcp"
        }),
        ("", "", |model| model.rules[0].idle_timeout.as_secs() == 240 && !model.rules[0].tcp_reset),
        ("", "", |model| {
            model.rules.len() == 3 && model.rules[2].frontend.to_string() == "203.0.113.10:10001/tcp"
        }),
        ("path=\"ok\"", "path=\"/ok/then\" port=\"81\"", |model| {
            model.rules[0]
                .probe
                .as_ref()
                .is_some_and(|probe| probe.path == "/ok/then" && probe.port == Some(81))
        }),
    ];
    for (old, new, check) in table {
        assert!(DEFINITION.contains(old));
        assert!(check(&model(&DEFINITION.replace(old, new))), "{new}");
    }
    // 16 s of timeout are three intervals of 5 s.
    let probe = probe(&model(DEFINITION));
    assert_eq!((probe.fall, probe.rise, probe.interval.as_secs(), probe.path.as_str()), (3, 3, 5, "/ok"));
    let only = |index: usize| model(DEFINITION).rules[index].pool.backends[0].address.to_string();
    assert_eq!((only(1), only(2)), ("10.0.0.4".to_owned(), "10.0.0.5".to_owned()));
}

#[test]
fn without_a_probe_of_its_own_the_local_port_stands_for_the_guest_agent() {
    let model = model(&DEFINITION.replace(" loadBalancerProbe=\"P\"", ""));
    let probe = model.rules[0].probe.clone().unwrap();
    assert_eq!((probe.port, probe.interval.as_secs(), probe.fall), (None, 15, 2));
    let udp = DEFINITION.replace(" loadBalancerProbe=\"P\"", "").replace("\"tcp\" port", "\"udp\" port");
    let imported = import(&udp, CONFIGURATION, ADDRESSES);
    assert!(
        said(&imported).contains("s.csdef:4:1: warning: endpoint R/E has no probe"),
        "{}",
        said(&imported)
    );
}

/// What is replaced in the definition, by what, and what is said then.
const SAID: [(&str, &str, &str); 20] = [
    ("name=\"S\"", "nam=\"S\"", "s.csdef:1:1: error: <ServiceDefinition> needs name"),
    ("port=\"80\"", "port=\"65536\"", "s.csdef:4:40: error: port is \"65536\"; it must be 1 to 65535"),
    (
        "port=\"80\"",
        "port=\"80\" localPort=\"*\"",
        "s.csdef:4:50: error: localPort=\"*\" is the platform's choice",
    ),
    (
        "port=\"80\"",
        "port=\"80\" idleTimeoutInMinutes=\"3\"",
        "error: idleTimeoutInMinutes is \"3\"; it must be 4 to 100",
    ),
    (
        "port=\"80\"",
        "port=\"80\" loadBalancerDistribution=\"odd\"",
        "error: loadBalancerDistribution is \"odd\"",
    ),
    (
        "port=\"80\"",
        "port=\"80\" loadBalancer=\"Inn\"",
        "there is no LoadBalancer \"Inn\" in the configuration; did you mean In?",
    ),
    ("loadBalancerProbe=\"P\"", "loadBalancerProbe=\"Q\"", "error: there is no LoadBalancerProbe \"Q\""),
    (
        "loadBalancerProbe=\"P\"",
        "loadBalancerProb=\"P\"",
        "unknown attribute loadBalancerProb, which is left out; did you mean loadBalancerProbe?",
    ),
    (
        "localPort=\"22\"",
        "LocalPort=\"22\"",
        "warning: <InstanceInputEndpoint> has LocalPort, which is taken for localPort",
    ),
    (
        "max=\"10002\"",
        "max=\"10000\"",
        "s.csdef:5:87: error: FixedPortRange 10000-10000 has 1 ports, but role R has 2 instances",
    ),
    ("max=\"10002\"", "max=\"9999\"", "error: FixedPortRange 10000-9999 ends before it begins"),
    ("min=\"10000\"", "min=\"80\"", "error: "),
    (
        "intervalInSeconds=\"5\"",
        "intervalInSeconds=\"4\"",
        "error: intervalInSeconds is \"4\"; it must be 5 to 3600",
    ),
    ("protocol=\"http\" path=\"ok\"", "protocol=\"http\"", "error: probe P asks by http and needs path"),
    ("protocol=\"http\"", "protocol=\"tcp\"", "error: probe P asks by tcp, which has no path"),
    ("name=\"I\"", "name=\"E\"", "s.csdef:5:1: error: endpoint \"E\" is there twice; first at s.csdef:4:1"),
    ("<Endpoints>", "<Endpoints><Odd/>", "warning: <Odd> is unknown here, and left out"),
    ("name=\"E\"", "name=\"E\" ignoreRoleInstanceStatus=\"false\"", "warning: ignoreRoleInstanceStatus"),
    (
        "</Endpoints>",
        "<InputEndpoint name=\"F\" protocol=\"tcp\" port=\"81\" localPort=\"80\"/></Endpoints>",
        "s.csdef:6:1: error: ",
    ),
    ("<WorkerRole name=\"R\">", "<WorkerRole name=\"Q\">", "s.cscfg:1:"),
];

#[test]
fn what_is_wrong_with_a_definition_is_said_with_its_place() {
    for (old, new, expected) in SAID {
        assert!(DEFINITION.contains(old), "{old}");
        let imported = import(&DEFINITION.replace(old, new), CONFIGURATION, ADDRESSES);
        let said = said(&imported);
        assert!(said.contains(expected), "{new}: {said}");
        assert_eq!(imported.text.is_none(), said.contains(": error: "), "{new}");
    }
}

#[test]
fn what_is_wrong_with_the_other_files_is_said_with_its_place() {
    let table = [
        (
            "count=\"2\"",
            "count=\"-1\"",
            ADDRESSES,
            "s.cscfg:1:65: error: count is \"-1\"; it must be 0 to 10000",
        ),
        ("count=\"2\"", "count=\"99999999999\"", ADDRESSES, "error: count is \"99999999999\""),
        (
            "serviceName=\"S\"",
            "serviceName=\"T\"",
            ADDRESSES,
            "error: the configuration is for service \"T\"",
        ),
        ("<Instances count=\"2\"/>", "", ADDRESSES, "error: role R needs <Instances"),
        ("Role name=\"R\"", "Role name=\"Rr\"", ADDRESSES, "error: role \"Rr\" is not in the definition"),
        ("10.9.0.1", "10.9.0", ADDRESSES, "error: staticVirtualNetworkIPAddress is \"10.9.0\""),
        ("private", "public", ADDRESSES, "error: type is \"public\""),
        ("", "", "", "in the addresses file, under [frontends], say: \"public\" = "),
        ("", "", "", "s.cscfg:1:65: error: nothing says which addresses role R's instances have"),
        ("count=\"2\"", "count=\"7\"", ADDRESSES, "error: "),
        (
            "",
            "",
            "[frontends]\npublic = \"203.0.113.10\"\n[pools]\nR = [\"10.0.0.4\"]\n",
            "a.toml:4:5: error: role R has 2 instances, but only 1 addresses are listed",
        ),
        (
            "",
            "",
            "[frontends]\npublic = \"203.0.113.10\"\n[pools]\nR = \"10.0.0.4-10.0.0.9\"\n[[port]]\nnam = \"x\"\n",
            "a.toml:5:3: error: ",
        ),
    ];
    for (old, new, addresses, expected) in table {
        assert!(CONFIGURATION.contains(old), "{old}");
        let imported = import(DEFINITION, &CONFIGURATION.replace(old, new), addresses);
        let said = said(&imported);
        assert!(imported.text.is_none() && said.contains(expected), "{new}: {said}");
    }
}

#[test]
fn scaling_is_one_number() {
    let imported = import(DEFINITION, CONFIGURATION, ADDRESSES).text.unwrap();
    let grown = import(DEFINITION, &CONFIGURATION.replace("\"2\"", "\"3\""), ADDRESSES).text.unwrap();
    assert!(imported.contains("addresses = \"10.0.0.4-10.0.0.9\"\ninstances = 2\n"), "{imported}");
    assert!(grown.contains("addresses = \"10.0.0.4-10.0.0.9\"\ninstances = 3\n"), "{grown}");
}

#[test]
fn access_control_that_is_bound_becomes_a_list_and_must_exist() {
    let acl = |control: &str, endpoint: &str| {
        format!(
            "<NetworkConfiguration><AccessControls><AccessControl name=\"A\"><Rule action=\"permit\" order=\"1\" remoteSubnet=\"192.0.2.0/24\"/>\
                 </AccessControl></AccessControls><EndpointAcls><EndpointAcl role=\"R\" endpoint=\"{endpoint}\" accessControl=\"{control}\"/></EndpointAcls>"
        )
    };
    let import =
        |text: String| import(DEFINITION, &CONFIGURATION.replace("<NetworkConfiguration>", &text), ADDRESSES);
    assert!(!said(&import(acl("A", "E"))).contains("access control"));
    assert!(said(&import(acl("B", "E"))).contains("error: there is no AccessControl \"B\""));
    assert!(said(&import(acl("A", "F"))).contains("error: there is no input endpoint \"R/F\""));
}

#[test]
fn access_rules_are_written_in_ascending_order_by_networks_first_addresses() {
    let network = "<NetworkConfiguration><AccessControls><AccessControl name=\"A\">\
        <Rule action=\"deny\" order=\"200\" remoteSubnet=\"0.0.0.0/0\"/>\
        <Rule action=\"Permit\" order=\"100\" remoteSubnet=\"192.0.2.77/24\" description=\"us\"/>\
        <Rule action=\"deny\" order=\"50\" remoteSubnet=\"192.0.2.9\"/></AccessControl></AccessControls>\
        <EndpointAcls><EndpointAcl role=\"r\" endPoint=\"e\" accessControl=\"a\"/></EndpointAcls>";
    let of = |network: &str| {
        import(DEFINITION, &CONFIGURATION.replace("<NetworkConfiguration>", network), ADDRESSES)
    };
    let text = of(network).text.unwrap();
    let list =
        "rules = [\n  \"deny 192.0.2.9/32\",\n  # us\n  \"permit 192.0.2.0/24\",\n  \"deny 0.0.0.0/0\",\n]\n";
    assert!(text.contains(list) && text.contains("\nacl = \"A\"\n"), "{text}");
    let wrong = network
        .replace("192.0.2.77/24", "192.0.2.77/33")
        .replace("\"deny\" order=\"50\"", "\"allow\" order=\"50\"");
    let said = said(&of(&wrong));
    assert!(
        said.contains("remoteSubnet is \"192.0.2.77/33\"") && said.contains("action is \"allow\""),
        "{said}"
    );
}

/// Four times as many endpoints, each with a probe of its own, take four times as long, and not sixteen times.
#[test]
fn the_time_is_in_proportion_to_the_size() {
    let took = |count: usize| {
        let probes: String =
            (0..count).map(|n| format!("<LoadBalancerProbe name=\"P{n}\" protocol=\"tcp\"/>")).collect();
        let endpoints: String = (0..count)
            .map(|n| format!("<InputEndpoint name=\"E{n}\" protocol=\"tcp\" port=\"{}\" localPort=\"{}\" loadBalancerProbe=\"p{n}\"/>", n + 1, n + 1))
            .collect();
        let definition = format!(
            "<ServiceDefinition name=\"S\"><LoadBalancerProbes>{probes}</LoadBalancerProbes><WorkerRole name=\"R\"><Endpoints>{endpoints}</Endpoints></WorkerRole></ServiceDefinition>"
        );
        let run = || {
            let began = std::time::Instant::now();
            let import = import(&definition, CONFIGURATION, ADDRESSES);
            assert!(!said(&import).contains("there is no LoadBalancerProbe"));
            began.elapsed()
        };
        (0..3).map(|_| run()).min().unwrap().as_secs_f64()
    };
    let (few, many) = (took(3000), took(12_000));
    assert!(many < few * 10.0, "{few} s, {many} s");
}

/// A service whose instances have public addresses of their own, as `[frontends]` says them.
fn with_public_ip(frontends: &str, attributes: &str) -> Imported {
    let network = format!(
        "<NetworkConfiguration><AddressAssignments><InstanceAddress roleName=\"r\"><PublicIPs><PublicIP name=\"pip\"{attributes}/>\
         </PublicIPs></InstanceAddress></AddressAssignments>"
    );
    let configuration = CONFIGURATION.replace("<NetworkConfiguration>", &network);
    import(DEFINITION, &configuration, &ADDRESSES.replace("[pools]", &format!("{frontends}\n[pools]")))
}

#[test]
fn each_instance_gets_its_public_address_in_order() {
    let lists = ["\"203.0.113.20-203.0.113.39\"", "[\"203.0.113.20\", \"203.0.113.21\", \"203.0.113.29\"]"];
    for (name, list) in ["pip", "\"R/Pip\""].into_iter().zip(lists) {
        let imported = with_public_ip(&format!("{name} = {list}"), " idleTimeoutInMinutes=\"20\"");
        assert_eq!(said(&imported), "");
        let text = imported.text.unwrap();
        let model = config::load_text("out", &text, &ConfigFlags::default()).unwrap().model;
        let own: Vec<_> = model.nat_rules.iter().filter(|rule| rule.is_one_to_one()).collect();
        assert_eq!(own.len(), 2, "{text}");
        for (rule, number) in own.into_iter().zip(0..) {
            let lines = format!(
                "name = \"r.pip.{number}\"\nfrontend = \"203.0.113.2{number}:0/any\"\nbackend = \"10.0.0.{}\"\nidle_timeout = \"20m\"\n",
                number + 4
            );
            assert!(text.contains(&lines), "{}: {text}", rule.name);
        }
    }
    let text = with_public_ip("pip = \"203.0.113.20-203.0.113.39\"", "").text.unwrap();
    assert!(text.contains("backend = \"10.0.0.4\"\nidle_timeout = \"4m\"\n"), "{text}");
}

#[test]
fn what_public_addresses_of_instances_lack_is_said_with_its_place() {
    let table = [
        (
            "",
            "",
            "s.cscfg:2:84: warning: PublicIP pip: each instance of role r has a public address of its own",
            false,
        ),
        (
            "",
            "",
            "in the addresses file, under [frontends], say: \"pip\" = \"203.0.113.20-203.0.113.39\"",
            false,
        ),
        ("", " domainNameLabel=\"x\"", "note: domainNameLabel: not applicable", false),
        (
            "",
            " idleTimeoutInMinutes=\"3\"",
            "error: idleTimeoutInMinutes is \"3\"; it must be 4 to 100",
            true,
        ),
        (
            "pip = \"203.0.113.20\"",
            "",
            "a.toml:3:7: error: role r has 2 instances, but only 1 addresses are listed for its PublicIP pip",
            true,
        ),
        (
            "pip = \"203.0.113.9-203.0.113.12\"",
            "",
            "s.cscfg:2:84: error: 203.0.113.10 is to be an instance's own address, and is a frontend of the load balancer (s.csdef:",
            true,
        ),
        (
            "\"R/E\" = \"203.0.113.20-203.0.113.39\"",
            "",
            "a.toml:3:9: error: this must be one address: only those of instances can be a range or a list",
            true,
        ),
    ];
    for (frontends, attributes, expected, is_error) in table {
        let imported = with_public_ip(frontends, attributes);
        let said = said(&imported);
        assert!(said.contains(expected), "{frontends}{attributes}: {said}");
        assert_eq!(imported.text.is_none(), is_error, "{frontends}{attributes}: {said}");
    }
    let none = CONFIGURATION.replace(
        "<NetworkConfiguration>",
        "<NetworkConfiguration><AddressAssignments><InstanceAddress roleName=\"Rr\"><PublicIPs><PublicIP name=\"pip\"/></PublicIPs>\
         </InstanceAddress></AddressAssignments>",
    );
    let addresses = ADDRESSES.replace("[pools]", "pip = \"203.0.113.20-203.0.113.39\"\n[pools]");
    let said = said(&import(DEFINITION, &none, &addresses));
    assert!(
        said.contains("error: PublicIP pip: role \"Rr\" is not in the definition; did you mean R?"),
        "{said}"
    );
}

#[test]
fn modules_that_open_ports_are_spoken_of() {
    let imports = "</Endpoints><Imports><Import moduleName=\"Diagnostics\"/><Import moduleName=\"RemoteForwarder\"/></Imports>";
    let imported = import(&DEFINITION.replace("</Endpoints>", imports), CONFIGURATION, ADDRESSES);
    let said = said(&imported);
    assert!(
        said.contains("warning: role R imports RemoteForwarder, for which Azure opens TCP port 3389"),
        "{said}"
    );
    assert!(said.contains("note: Imports: not applicable") && !said.contains("Diagnostics"), "{said}");
}
