//! What files in use have: templates within templates, symbolic names, names by hash, parts that are said twice, public
//! addresses of scale sets, security groups.

use super::{TEMPLATE, import, import_with, model_of, said, with};
use crate::import::Imported;

/// The resources of the plain template, which stand by themselves but for a variable and a parameter.
fn resources() -> String {
    let (_, rest) = TEMPLATE.split_once("\"resources\": [").unwrap();
    rest.trim_end().strip_suffix('}').unwrap().trim_end().strip_suffix(']').unwrap().to_owned()
}

/// A deployment of the plain resources within a template.
fn nested(scope: &str, of_the_outer: &str, of_the_inner: &str) -> String {
    let resources = resources();
    format!(
        r#"{{ {of_the_outer} "resources": [ {{ "type": "Microsoft.Resources/deployments", "name": "d", "properties": {{
            "expressionEvaluationOptions": {{ "scope": "{scope}" }}, {of_the_inner} "resources": [{resources}] }} }} }} ] }}"#
    )
}

const LB: &str = r#""variables": { "lb": "[resourceId('Microsoft.Network/loadBalancers','lb')]" },"#;

fn frontend_of(imported: &Imported) -> String {
    model_of(imported).rules[0].frontend.to_string()
}

#[test]
fn a_template_within_a_template_has_its_own_parameters_or_those_around_it() {
    let inner = nested(
        "inner",
        r#""parameters": { "port": { "defaultValue": 1 } },"#,
        &format!(
            r#""parameters": {{ "port": {{ "value": "[add(parameters('port'), 8000)]" }} }},
               "template": {{ "parameters": {{ "port": {{ "type": "int" }} }}, {LB}"#
        ),
    );
    assert_eq!(frontend_of(&import(&inner)), "10.1.0.1:8001/tcp");
    // What it does not get, it does not see.
    let starved =
        inner.replace("\"parameters\": { \"port\": { \"value\"", "\"parameters\": { \"prt\": { \"value\"");
    assert!(said(&import(&starved)).contains("parameter \"port\" has no value"));
    // Null is as if nothing were given.
    let null = inner
        .replace("[add(parameters('port'), 8000)]", "[null()]")
        .replace("\"port\": { \"type\": \"int\" }", "\"port\": { \"defaultValue\": 77 }");
    assert_eq!(frontend_of(&import(&null)), "10.1.0.1:77/tcp");
    let outer = format!("\"parameters\": {{ \"port\": {{ \"defaultValue\": 9 }} }}, {LB}");
    assert_eq!(frontend_of(&import(&nested("Outer", &outer, "\"template\": {"))), "10.1.0.1:9/tcp");
}

#[test]
fn what_a_template_within_gives_is_known_around_it_and_what_is_elsewhere_is_not() {
    let with_deployment = |template: &str| {
        let deployment = format!(
            r#""resources": [ {{ "type": "Microsoft.Resources/deployments", "name": "ports", "properties": {{ {template} }} }},"#
        );
        with("\"resources\": [", &deployment)
            .replace("[parameters('port')]", "[reference('ports').outputs.https.value]")
    };
    let here = with_deployment(
        r#""expressionEvaluationOptions": { "scope": "inner" }, "parameters": { "base": { "value": 8000 } }, "template": {
           "parameters": { "base": { "type": "int" } }, "resources": [], "outputs": { "https": { "value": "[add(parameters('base'), 443)]" } } }"#,
    );
    assert_eq!(frontend_of(&import(&here)), "10.1.0.1:8443/tcp");
    let elsewhere = said(&import(&with_deployment(r#""templateLink": { "uri": "x" }"#)));
    assert!(elsewhere.contains("warning: the template of this deployment is in another file"), "{elsewhere}");
    assert!(elsewhere.contains("what a template in another file gives is not known here"), "{elsewhere}");
}

#[test]
fn symbolic_names_name_resources_and_what_exists_is_left_out() {
    let resource = resources().replace("[parameters('port')]", "[reference('pip').port]");
    let template = |of_the_lb: &str| {
        let resource = resource.replacen('{', &format!("{{ {of_the_lb}"), 1);
        format!(
            r#"{{ "languageVersion": "2.0", {LB} "resources": {{
                "pip": {{ "type": "Microsoft.Network/publicIPAddresses", "name": "[uniqueString('x')]", "properties": {{ "port": 444 }} }},
                "balancer": {resource} }} }}"#
        )
    };
    assert_eq!(frontend_of(&import(&template(""))), "10.1.0.1:444/tcp");
    let exists = said(&import(&template("\"existing\": true,")));
    assert!(exists.contains("one that exists already is not described here"), "{exists}");
}

#[test]
fn names_by_hash_are_the_same_wherever_they_are_made() {
    let name = "concat('lb', uniqueString(resourceGroup().id, 'a'))";
    let template = TEMPLATE
        .replace("\"name\": \"lb\"", &format!("\"name\": \"[{name}]\""))
        .replace(
            "Microsoft.Network/loadBalancers','lb')",
            &format!("Microsoft.Network/loadBalancers',{name})"),
        )
        .replace("'lb', 'be')", &format!("{name}, 'be')"));
    assert_eq!(frontend_of(&import(&template)), "10.1.0.1:443/tcp");
}

#[test]
fn a_pool_that_is_deployed_by_itself_replaces_the_one_of_its_name() {
    let child = r#""resources": [ { "type": "Microsoft.Network/loadBalancers/backendAddressPools", "name": "lb/be", "properties": {
        "loadBalancerBackendAddresses": [ { "name": "c", "properties": { "ipAddress": "10.0.0.9" } } ] } },"#;
    let model = model_of(&import(&with("\"resources\": [", child)));
    assert_eq!(model.pools.len(), 1);
    let backends: Vec<String> = model.pools[0].backends.iter().map(|one| one.address.to_string()).collect();
    assert_eq!(backends, ["10.0.0.9"]);
}

#[test]
fn a_nat_rule_leads_where_the_addresses_file_says() {
    let template = with("\"frontendPortRangeStart\": 2200, \"frontendPortRangeEnd\": 2209", "\"frontendPort\": 2201")
        .replace(
            "{ \"id\": \"[concat(variables('lb'), '/frontendIPConfigurations/fe')]\" },\n        \"backendAddressPool\": { \"id\": \"[concat(variables('lb'), '/backendAddressPools/be')]\" } } } ]",
            "{ \"id\": \"[concat(variables('lb'), '/frontendIPConfigurations/fe')]\" } } } ]",
        );
    let left_out = said(&import(&template));
    assert!(left_out.contains("under [members], say: \"lb/n\" = \"10.0.0.4\""), "{left_out}");
    let model = model_of(&import_with(&template, None, "[members]\n\"lb/n\" = \"10.0.0.8\"\n"));
    let rule = model.rules.iter().find(|rule| rule.frontend.to_string() == "10.1.0.1:2201/tcp").unwrap();
    assert_eq!(rule.pool.backends[0].address.to_string(), "10.0.0.8");
}

/// A scale set in a pool of the plain template.
fn scale_set(name: &str, capacity: usize, pool: &str, more: &str) -> String {
    format!(
        r#"{{ "type": "Microsoft.Compute/virtualMachineScaleSets", "name": "{name}", "sku": {{ "capacity": {capacity} }}, "properties": {{
            "virtualMachineProfile": {{ "networkProfile": {{ "networkInterfaceConfigurations": [ {{ "name": "n", "properties": {{ "odd": 1,
            "ipConfigurations": [ {{ "name": "i", "properties": {{ {more}
            "loadBalancerBackendAddressPools": [ {{ "id": "[concat(variables('lb'), '/backendAddressPools/{pool}')]" }} ] }} }} ] }} }} ] }} }} }} }},"#
    )
}

#[test]
fn instances_of_scale_sets_have_public_addresses_and_share_pools() {
    let public =
        r#""publicIPAddressConfiguration": { "name": "pub", "properties": { "idleTimeoutInMinutes": 15 } },"#;
    let sets = scale_set("one", 2, "be", public) + &scale_set("two", 1, "be", "");
    let members = r#"{ "loadBalancerBackendAddresses": [
        { "name": "a", "properties": { "ipAddress": "10.0.0.4" } },
        { "name": "b", "properties": { "ipAddress": "10.0.0.5" } } ] }"#;
    assert!(TEMPLATE.contains(members), "the template has changed");
    let template = with("\"resources\": [", &format!("\"resources\": [ {sets}")).replace(members, "{}");
    let pool = "[pools]\n\"lb/be\" = \"10.0.6.4-10.0.6.40\"\n";
    let silent = import_with(&template, None, pool);
    let text = said(&silent);
    assert!(
        text.contains("warning: publicIPAddressConfiguration pub: each instance of scale set one"),
        "{text}"
    );
    assert!(text.contains("say: \"one/pub\" = \"203.0.113.20-203.0.113.39\""), "{text}");
    assert!(text.contains("pool lb/be has 2 scale sets: their instances are one count here"), "{text}");
    assert!(text.contains("interface of the scale set n has a field \"odd\" that is unknown here"), "{text}");
    assert_eq!(model_of(&silent).pools[0].backends.len(), 3);
    let addresses = format!("{pool}[frontends]\n\"one/pub\" = \"203.0.113.20-203.0.113.29\"\n");
    let model = model_of(&import_with(&template, None, &addresses));
    let own = |frontend: &str| {
        let rule = model.rules.iter().find(|rule| rule.frontend.to_string().starts_with(frontend))?;
        Some((rule.pool.backends[0].address.to_string(), rule.idle_timeout.as_secs()))
    };
    assert_eq!(own("203.0.113.20:"), Some(("10.0.6.4".to_owned(), 900)));
    assert_eq!(own("203.0.113.21:"), Some(("10.0.6.5".to_owned(), 900)));
    assert_eq!(own("203.0.113.22:"), None);
    let few = addresses.replace("203.0.113.20-203.0.113.29", "203.0.113.20");
    assert!(
        said(&import_with(&template, None, &few))
            .contains("only 1 public addresses are listed; each needs one")
    );
}

#[test]
fn what_is_empty_is_as_if_it_were_not_there() {
    let template = with("\"port\": 81", "\"port\": 81, \"odd\": [], \"strange\": null").replace(
        "\"name\": \"be\", \"properties\": {",
        "\"name\": \"be\", \"properties\": { \"tunnelInterfaces\": [],",
    );
    assert_eq!(said(&import(&template)), "");
}

#[test]
fn a_member_of_a_pool_that_is_not_imported_is_spoken_of() {
    let sets = scale_set("set", 2, "other", "");
    let text = said(&import(&with("\"resources\": [", &format!("\"resources\": [ {sets}"))));
    assert!(
        text.contains(
            "warning: other is not among the backendAddressPools of load balancer lb that are imported"
        ),
        "{text}"
    );
}

#[test]
fn security_groups_are_warned_of_with_what_they_shut_out() {
    let group = |rules: &str| {
        format!(
            r#""resources": [ {{ "type": "Microsoft.Network/networkSecurityGroups", "name": "g", "properties": {{ "securityRules": [{rules}] }} }},"#
        )
    };
    let open = r#"{ "name": "web", "properties": { "direction": "Inbound", "access": "Allow", "sourceAddressPrefix": "*", "destinationPortRange": "443" } }"#;
    let text = said(&import(&with("\"resources\": [", &group(open))));
    assert!(text.contains("warning: security group g is not here: what it does not let in"), "{text}");
    let office = open.replace("\"*\"", "\"192.0.2.0/24\"").replace("\"443\"", "22").replace("web", "office");
    let text = said(&import(&with("\"resources\": [", &group(&format!("{open}, {office}")))));
    assert!(
        text.contains("for some clients only: office (allow 192.0.2.0/24 to port 22); write [[acl]]"),
        "{text}"
    );
}

#[test]
fn why_there_is_no_load_balancer_is_said() {
    let text = said(&import(&with("\"name\": \"lb\"", "\"condition\": false, \"name\": \"lb\"")));
    assert!(text.contains("loadBalancers but 1 whose conditions are false"), "{text}");
    // What failed to be one is spoken of once.
    let text = said(&import(&with("\"name\": \"lb\"", "\"name\": \"[none()]\"")));
    assert_eq!(text.matches("error").count(), 1, "{text}");
}

#[test]
fn an_interface_without_an_address_is_no_reason_to_speak_of_its_pool() {
    let nic = r#""resources": [ { "type": "Microsoft.Network/networkInterfaces", "name": "nic", "properties": { "ipConfigurations": [ { "name": "ip", "properties": {
        "loadBalancerBackendAddressPools": [ { "id": "[concat(variables('lb'), '/backendAddressPools/nics')]" } ] } } ] } },"#;
    let template = with("\"resources\": [", nic)
        .replace("\"backendAddressPools\": [ {", "\"backendAddressPools\": [ { \"name\": \"nics\" }, {");
    let text = said(&import(&template));
    assert!(text.contains("under [members], say: \"nic/ip\""), "{text}");
    assert!(!text.contains("has no members"), "{text}");
}
