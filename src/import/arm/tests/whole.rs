//! Whole files: members that are said elsewhere, exports, and files that would burst.

use std::time::{Duration, Instant};

use super::{import, import_with, model_of, said, with};

/// Members by interfaces and by a scale set, NAT rules by reference, a NAT pool, children that stand alone.
#[test]
fn members_come_from_interfaces_and_scale_sets() {
    let others = r#""resources": [
      { "type": "Microsoft.Network/networkInterfaces", "name": "[concat('nic', copyIndex(1))]", "copy": { "name": "nics", "count": 2 },
        "properties": { "ipConfigurations": [ { "name": "ip", "properties": { "privateIPAddress": "[concat('10.0.5.', copyIndex(1))]",
          "loadBalancerBackendAddressPools": [ { "id": "[concat(variables('lb'), '/backendAddressPools/nics')]" } ],
          "loadBalancerInboundNatRules": [ { "id": "[concat(variables('lb'), '/inboundNatRules/ssh', copyIndex(1))]" } ] } } ] } },
      { "type": "Microsoft.Compute/virtualMachineScaleSets", "name": "set", "sku": { "name": "x", "capacity": 3 }, "properties": { "virtualMachineProfile": {
        "networkProfile": { "networkInterfaceConfigurations": [ { "name": "n", "properties": { "ipConfigurations": [ { "name": "i", "properties": {
          "loadBalancerBackendAddressPools": [ { "id": "[concat(variables('lb'), '/backendAddressPools/set')]" } ],
          "loadBalancerInboundNatPools": [ { "id": "[concat(variables('lb'), '/inboundNatPools/rdp')]" } ] } } ] } } ] } } } },
      { "type": "Microsoft.Network/loadBalancers/inboundNatRules", "name": "lb/ssh1", "properties": { "protocol": "Tcp", "frontendPort": 3001, "backendPort": 22,
        "frontendIPConfiguration": { "id": "[concat(variables('lb'), '/frontendIPConfigurations/fe')]" } } },
      { "type": "Microsoft.Network/loadBalancers/backendAddressPools", "name": "lb/nics" },
      { "type": "Microsoft.Compute/virtualMachines", "name": "vm", "properties": { "x": "[listKeys('a')]" } },"#;
    let template = with("\"resources\": [", others)
        .replace("\"inboundNatRules\": [", "\"inboundNatPools\": [ { \"name\": \"rdp\", \"properties\": { \"protocol\": \"Tcp\", \"frontendPortRangeStart\": 5000, \"frontendPortRangeEnd\": 5009, \"backendPort\": 3389, \"frontendIPConfiguration\": { \"id\": \"[concat(variables('lb'), '/frontendIPConfigurations/fe')]\" } } } ], \"inboundNatRules\": [")
        .replace("\"backendAddressPools\": [ {", "\"backendAddressPools\": [ { \"name\": \"set\" }, {");
    let imported = import_with(&template, None, "[pools]\n\"lb/set\" = \"10.0.6.4-10.0.6.40\"\n");
    let model = model_of(&imported);
    let pool = |name: &str| {
        model
            .pools
            .iter()
            .find(|pool| pool.name == name)
            .unwrap()
            .backends
            .iter()
            .map(|backend| backend.address.to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(pool("lb.nics"), ["10.0.5.1", "10.0.5.2"]);
    assert_eq!(pool("lb.set"), ["10.0.6.4", "10.0.6.5", "10.0.6.6"]);
    let rule = |frontend: &str| {
        model
            .rules
            .iter()
            .find(|rule| rule.frontend.to_string() == frontend)
            .map(|rule| (rule.pool.backends[0].address.to_string(), rule.backend_port))
    };
    assert_eq!(rule("10.1.0.1:3001/tcp"), Some(("10.0.5.1".to_owned(), 22)));
    assert_eq!(rule("10.1.0.1:5002/tcp"), Some(("10.0.6.6".to_owned(), 3389)));
    assert_eq!(rule("10.1.0.1:5003/tcp"), None);
    assert!(
        said(&imported).contains("note: Microsoft.Compute/virtualMachines (in all 1): not applicable"),
        "{}",
        said(&imported)
    );
    assert!(
        said(&import(&template))
            .contains("error: nothing says which addresses the instances of scale set set have")
    );
}

#[test]
fn an_exported_load_balancer_is_read_as_it_is() {
    let exported = r#"{ "name": "lb", "id": "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/loadBalancers/lb", "type": "Microsoft.Network/loadBalancers",
      "etag": "W/1", "provisioningState": "Succeeded",
      "frontendIPConfigurations": [ { "name": "fe", "etag": "x", "privateIPAddress": "10.1.0.1", "privateIPAllocationMethod": "Dynamic", "publicIPAddress": null, "loadBalancingRules": [] } ],
      "backendAddressPools": [ { "name": "be", "loadBalancerBackendAddresses": [ { "name": "a", "ipAddress": "10.0.0.4" } ], "backendIPConfigurations": [] } ],
      "loadBalancingRules": [ { "name": "r", "protocol": "Tcp", "frontendPort": 80, "backendPort": 80, "probe": null,
        "frontendIPConfiguration": { "id": "/x/loadBalancers/lb/frontendIPConfigurations/fe" }, "backendAddressPool": { "id": "/x/loadBalancers/lb/backendAddressPools/be" } } ] }"#;
    let imported = import(exported);
    assert_eq!(said(&imported), "");
    assert_eq!(model_of(&imported).rules[0].frontend.to_string(), "10.1.0.1:80/tcp");
}

#[test]
fn interfaces_of_an_exported_pool_are_counted() {
    let pool = "\"backendAddressPools\": [ { \"name\": \"far\", \"properties\": { \"backendIPConfigurations\": [ { \"id\": \"x\" }, { \"id\": \"y\" } ] } }, {";
    let text = said(&import(&with("\"backendAddressPools\": [ {", pool)));
    assert!(
        text.contains("pool lb/far has no members in the template but 2 interfaces without their addresses"),
        "{text}"
    );
}

#[test]
fn files_that_would_burst_are_refused_in_no_time() {
    let deep = format!("{}{}", "[".repeat(300_000), "]".repeat(300_000));
    let less_deep = format!("{{\"resources\": {}{} }}", "[".repeat(200), "]".repeat(200));
    let wide = format!("{{\"resources\": [{}]}}", vec!["{}"; 400_000].join(","));
    let loops = with(
        "\"resources\": [",
        "\"resources\": [ { \"type\": \"Microsoft.Network/networkInterfaces\", \"name\": \"n\", \"copy\": { \"name\": \"c\", \"count\": 800 }, \"properties\": { \"copy\": [ { \"name\": \"a\", \"count\": 800, \"input\": { \"copy\": [ { \"name\": \"b\", \"count\": 800, \"input\": 1 } ] } } ] } },",
    );
    let doubling: Vec<String> = (1..60)
        .map(|n| {
            format!("\"v{n}\": {{ \"a\": \"[variables('v{0}')]\", \"b\": \"[variables('v{0}')]\" }}", n - 1)
        })
        .collect();
    let doubling =
        with("\"variables\": {", &format!("\"variables\": {{ \"v0\": 1, {},", doubling.join(", ")))
            .replace("[parameters('port')]", "[variables('v59')]");
    for template in ["", "{}", "null", "3", "\"x\"", "{", &deep, &less_deep, &wide, &loops, &doubling] {
        let begun = Instant::now();
        let imported = import(template);
        let start: String = template.chars().take(60).collect();
        assert!(
            imported.text.is_none()
                && imported.findings.list.iter().any(|finding| finding.to_string().contains("error")),
            "{start}: {}",
            said(&imported)
        );
        assert!(begun.elapsed() < Duration::from_secs(10), "{start}");
    }
}

/// An interface, in the pool or not, with a public address of its own.
#[test]
fn an_interfaces_public_address_becomes_a_nat_rule_for_all_ports() {
    let resources = |interface: &str, public: &str| {
        let resources = format!(
            r#""resources": [
      {{ "type": "Microsoft.Network/publicIPAddresses", "name": "Jump-pip", "properties": {{ "idleTimeoutInMinutes": 15{public} }} }},
      {{ "type": "Microsoft.Network/networkInterfaces", "name": "nic", "properties": {{ "ipConfigurations": [ {{ "name": "ip", "properties": {{
          {interface}"publicIPAddress": {{ "id": "[resourceId('Microsoft.Network/publicIPAddresses', 'Jump-pip')]" }} }} }} ] }} }},"#
        );
        with("\"resources\": [", &resources)
    };
    let private = "\"privateIPAddress\": \"10.0.5.1\", ";
    let own = "name = \"nic.ip.jump-pip\"\nfrontend = \"203.0.113.20:0/any\"\nbackend = \"10.0.5.1\"\nidle_timeout = \"15m\"\n";
    let known = ", \"ipAddress\": \"203.0.113.20\"";
    let pip = "[frontends]\njump-pip = \"203.0.113.20\"\n";
    let becomes = [
        (private, known, ""),
        (private, "", pip),
        (private, ", \"ipAddress\": \"203.0.113.99\"", pip),
        ("", known, "[members]\n\"nic/ip\" = \"10.0.5.1\"\n"),
    ];
    for (interface, public, addresses) in becomes {
        let imported = import_with(&resources(interface, public), None, addresses);
        assert_eq!(said(&imported), "");
        let model = model_of(&imported);
        assert_eq!(model.nat_rules.iter().filter(|rule| rule.is_one_to_one()).count(), 1);
        assert!(imported.text.unwrap().contains(own));
    }
    let lacks = [
        (private, "", "", "under [frontends], say: \"jump-pip\" = "),
        ("", known, "", "under [members], say: \"nic/ip\" = "),
        ("", "", "", "\"203.0.113.20\", and under [members], say: \"nic/ip\" = "),
    ];
    for (interface, public, addresses, expected) in lacks {
        let imported = import_with(&resources(interface, public), None, addresses);
        let said = said(&imported);
        assert!(
            said.contains("warning: publicIPAddress of nic/ip is left out") && said.contains(expected),
            "{said}"
        );
        assert!(imported.text.is_some_and(|text| !text.contains(":0/any")));
    }
    let said = said(&import_with(&resources(private, ", \"ipAddress\": \"10.1.0.1\""), None, ""));
    assert!(
        said.contains("error: 10.1.0.1 is to be an instance's own address, and is a frontend of"),
        "{said}"
    );
}
