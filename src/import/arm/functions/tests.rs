//! What expressions come to, and that they come to an end.

use std::time::{Duration, Instant};

use crate::import::arm::template::{Scope, Template};
use crate::import::arm::tree::{self, Kind, Node};
use crate::import::report::Findings;
use crate::import::source::Source;

fn json(text: &str) -> Node {
    tree::read(&Source::new("t.json", text), &mut Findings::default()).unwrap()
}

const TEMPLATE: &str = r#"{
  "parameters": {
    "loc": { "type": "string", "defaultValue": "[resourceGroup().location]" },
    "bare": { "type": "string" },
    "given": { "type": "int", "defaultValue": 1 }
  },
  "variables": {
    "lb": "[resourceId('Microsoft.Network/loadBalancers', 'tide')]",
    "deep": { "ports": [80, 443], "name": "[variables('lb')]" },
    "a": "[variables('b')]", "b": "[concat('x', variables('a'))]",
    "bracket": "[[not an expression]",
    "copy": [ { "name": "many", "count": 3, "input": { "port": "[add(8000, copyIndex('many'))]" } } ]
  },
  "functions": [ { "namespace": "own", "members": {
    "port": { "parameters": [ { "name": "n", "type": "int" } ], "output": { "type": "int", "value": "[add(8000, parameters('n'))]" } },
    "again": { "parameters": [], "output": { "type": "int", "value": "[own.again()]" } }
  } } ],
  "resources": [
    { "type": "Microsoft.Network/networkInterfaces", "name": "[concat('nic', copyIndex())]", "copy": { "name": "nics", "count": 3 },
      "properties": { "address": "[concat('10.0.0.', copyIndex())]" } },
    { "type": "Microsoft.Network/publicIPAddresses", "name": "pip", "properties": { "ipAddress": "203.0.113.9" } }
  ]
}"#;

fn evaluate(template: &str, expression: &str) -> Result<String, String> {
    let given = json(r#"{ "given": { "value": 7 } }"#);
    let template = Template::new(&json(template), given.kind.members());
    let node = tree::Node { kind: Kind::text(expression), ..json("0") };
    match template.resolve(&node, &Scope::default().with("outer", 4)).kind {
        Kind::Failed(why) => Err(why.to_string()),
        Kind::Text(text) => Ok(text.to_string()),
        Kind::Integer(number) => Ok(number.to_string()),
        Kind::Bool(value) => Ok(value.to_string()),
        other => Ok(other.word().to_owned()),
    }
}

#[test]
fn functions_give_what_azures_give() {
    let id = "/subscriptions/subscription/resourceGroups/resource-group/providers/Microsoft.Network";
    let table = [
        ("plain", "plain".to_owned()),
        ("[[x]", "[x]".to_owned()),
        ("[variables('bracket')]", "[not an expression]".to_owned()),
        ("[parameters('LOC')]", "location".to_owned()),
        ("[parameters('given')]", "7".to_owned()),
        ("[variables('lb')]", format!("{id}/loadBalancers/tide")),
        (
            "[resourceId('Microsoft.Network/loadBalancers/probes', 'tide', 'p')]",
            format!("{id}/loadBalancers/tide/probes/p"),
        ),
        (
            "[resourceId('rg', 'Microsoft.Network/loadBalancers', 'x')]",
            format!("{id}/loadBalancers/x").replace("resource-group", "rg"),
        ),
        ("[concat(variables('lb'), '/probes/', 'p')]", format!("{id}/loadBalancers/tide/probes/p")),
        ("[format('{0}/probes/{1}-{0}-{{}}', 'a', 3)]", "a/probes/3-a-{}".to_owned()),
        ("[variables('deep').ports[1]]", "443".to_owned()),
        ("[variables('deep')['PORTS'][0]]", "80".to_owned()),
        ("[variables('deep').name]", format!("{id}/loadBalancers/tide")),
        ("[variables('many')[2].port]", "8002".to_owned()),
        ("[length(variables('many'))]", "3".to_owned()),
        ("[copyIndex()]", "4".to_owned()),
        ("[copyIndex('outer', 10)]", "14".to_owned()),
        ("[reference('pip').ipAddress]", "203.0.113.9".to_owned()),
        (
            "[reference(resourceId('Microsoft.Network/publicIPAddresses','pip')).ipAddress]",
            "203.0.113.9".to_owned(),
        ),
        ("[if(equals(parameters('given'), 7), 'yes', listKeys('not asked'))]", "yes".to_owned()),
        ("[if(and(true(), not(true())), 1, 2)]", "2".to_owned()),
        ("[toLower('ABC')]", "abc".to_owned()),
        ("[padLeft(3, 3, '0')]", "003".to_owned()),
        ("[substring('abcdef', 2, 2)]", "cd".to_owned()),
        ("[replace('a-b-c', '-', '')]", "abc".to_owned()),
        ("[last(split('a/b/c', '/'))]", "c".to_owned()),
        ("[join(createArray('a', 'b'), ', ')]", "a, b".to_owned()),
        ("[string(5)]", "5".to_owned()),
        ("[int('12')]", "12".to_owned()),
        ("[mod(div(mul(sub(9, 2), 3), 2), 4)]", "2".to_owned()),
        ("[max(1, 5, 3)]", "5".to_owned()),
        ("[coalesce(null(), 'x')]", "x".to_owned()),
        ("[contains(createArray('a', 'b'), 'b')]", "true".to_owned()),
        ("[empty('')]", "true".to_owned()),
        ("[first(range(5, 3))]", "5".to_owned()),
        ("[createObject('a', 1).a]", "1".to_owned()),
        ("[concat(createArray(1), createArray(2))[1]]", "2".to_owned()),
        ("[startsWith('Hello', 'he')]", "true".to_owned()),
        ("[indexOf('Hello', 'L')]", "2".to_owned()),
        (
            "[resourceId('Microsoft.Network/loadBalancers/probes/', 'tide', 'p')]",
            format!("{id}/loadBalancers/tide/probes/p"),
        ),
    ];
    for (expression, expected) in table {
        assert_eq!(evaluate(TEMPLATE, expression), Ok(expected), "{expression}");
    }
}

#[test]
fn whole_lists_objects_and_networks_are_worked_on() {
    let table = [
        ("[lastIndexOf('Hello', 'L')]", "3"),
        ("[own.port(443)]", "8443"),
        ("[Own.Port(own.port(1))]", "16001"),
        ("[reference('nic2').address]", "10.0.0.2"),
        ("[reference('pip', '2024-05-01', 'Full').type]", "Microsoft.Network/publicIPAddresses"),
        ("[json('{\"a\": [1, 2]}').a[1]]", "2"),
        ("[if(equals(json('null'), null()), 'x', 'y')]", "x"),
        ("[format('{0:D3}-{0}', 7)]", "007-7"),
        ("[or(true(), equals(variables('none'), 1))]", "true"),
        ("[equals(createArray(1, createObject('a', 2)), createArray(1, createObject('A', 2)))]", "true"),
        ("[equals(createArray(1, 2), createArray(1, 3))]", "false"),
        ("[length(union(createArray(1, 2), createArray(2, 3)))]", "3"),
        ("[union(json('{\"a\": {\"b\": 1, \"c\": 2}}'), json('{\"a\": {\"b\": 5}}')).a.c]", "2"),
        ("[union(json('{\"a\": {\"b\": 1}}'), json('{\"a\": {\"b\": 5}}')).a.b]", "5"),
        ("[first(intersection(createArray(1, 2), createArray(2, 3)))]", "2"),
        ("[flatten(createArray(createArray(1), createArray(2)))[1]]", "2"),
        ("[last(items(createObject('b', 1, 'a', 2))).key]", "b"),
        ("[first(objectKeys(createObject('b', 1, 'a', 2)))]", "a"),
    ];
    for (expression, expected) in table {
        assert_eq!(evaluate(TEMPLATE, expression).as_deref(), Ok(expected), "{expression}");
    }
}

#[test]
fn lambdas_networks_and_names_are_worked_out() {
    let table = [
        ("[coalesce(tryGet(variables('deep'), 'none', 'at all'), 'x')]", "x"),
        ("[tryGet(variables('deep'), 'ports', 1)]", "443"),
        (
            "[map(createArray(1, 2), lambda('x', 'i', add(mul(lambdaVariables('x'), 10), lambdaVariables('i'))))[1]]",
            "21",
        ),
        ("[length(filter(range(0, 9), lambda('x', less(lambdaVariables('x'), 4))))]", "4"),
        ("[reduce(range(1, 4), 0, lambda('a', 'b', add(lambdaVariables('a'), lambdaVariables('b'))))]", "10"),
        (
            "[first(sort(createArray(3, 1, 2), lambda('a', 'b', less(lambdaVariables('a'), lambdaVariables('b')))))]",
            "1",
        ),
        (
            "[toObject(createArray('a', 'b'), lambda('x', lambdaVariables('x')), lambda('x', concat(lambdaVariables('x'), '!'))).b]",
            "b!",
        ),
        ("[mapValues(createObject('a', 1), lambda('x', add(lambdaVariables('x'), 1))).a]", "2"),
        ("[length(groupBy(createArray('aa', 'ab', 'ba'), lambda('x', first(lambdaVariables('x')))).a)]", "2"),
        ("[cidrSubnet('10.1.0.0/16', 24, 5)]", "10.1.5.0/24"),
        ("[cidrSubnet('2001:db8::/32', 48, 1)]", "2001:db8:1::/48"),
        ("[cidrHost('10.1.0.0/24', 3)]", "10.1.0.4"),
        ("[parseCidr('10.1.2.3/20').broadcast]", "10.1.15.255"),
        ("[parseCidr('10.1.2.3/20').netmask]", "255.255.240.0"),
        ("[parseCidr('10.1.2.3/20').firstUsable]", "10.1.0.1"),
        ("[parseCidr('0.0.0.0/0').cidr]", "0"),
        ("[length(uniqueString('a', 'b'))]", "13"),
        ("[equals(uniqueString('a', 'b'), uniqueString('ab'))]", "false"),
        ("[length(guid('a'))]", "36"),
    ];
    for (expression, expected) in table {
        assert_eq!(evaluate(TEMPLATE, expression).as_deref(), Ok(expected), "{expression}");
    }
}

#[test]
fn what_has_no_answer_says_why() {
    let table = [
        ("[listKeys('x', 'y').key]", "listkeys() has an answer in Azure only"),
        ("[parameters('bare')]", "parameter \"bare\" has no value; give one by --parameters FILE"),
        ("[parameters('none')]", "there is no parameter \"none\""),
        ("[variables('none')]", "there is no variable \"none\""),
        ("[variables('a')]", "variable a rests on itself"),
        ("[reference('elsewhere').x]", "reference: \"elsewhere\" is not in this file"),
        ("[variables('deep').none]", "the object has no \"none\""),
        ("[variables('deep').ports[9]]", "the list has no item 9"),
        (
            "[resourceId('Microsoft.Network/loadBalancers/probes', 'tide')]",
            "resourceId() of Microsoft.Network/loadBalancers/probes takes 2 names, and has 1",
        ),
        ("[resourceId('x')]", "resourceid() does not take (text)"),
        ("[format('{1}', 'a')]", "format() has {1}, which is none of its 1 values"),
        ("[format('{', 'a')]", "format() has a lone brace"),
        ("[div(1, 0)]", "div() has no result"),
        ("[mul(9223372036854775807, 2)]", "mul() has no result"),
        ("[odd()]", "odd() is not a function"),
        ("[toLower(5)]", "tolower(a number) is not a function"),
        ("[own.odd()]", "own.odd() is not among the template's functions"),
        ("[own.port()]", "own.port() takes 1 values, and has 0"),
        ("[own.again()]", "function own.again rests on itself"),
        ("[cidrSubnet('10.1.0.0/16', 24, 256)]", "cidrsubnet() goes beyond the network"),
        ("[cidrHost('10.1.0.0/24', 255)]", "cidrhost() goes beyond the network"),
        ("[parseCidr('10.1.0.0')]", "\"10.1.0.0\" is not a network"),
        ("[json('{')]", "json(): this is not JSON"),
        ("[map(createArray(1), 'x')]", "map() takes a lambda()"),
        ("[format('{0:N2}', 1)]", "format() has {0:N2}, which is not known here"),
        (
            "[reduce(range(0, 9000), createArray(), lambda('a', 'b', createArray(lambdaVariables('a'))))]",
            "reduce() makes values that lie more than 64 deep",
        ),
        ("[map(range(0, 9000), lambda('x', range(0, 9000)))]", "the template's expressions come to too much"),
        ("[concat('a'", "[concat('a'"),
        ("[concat('a']", "the expression lacks \",\""),
        ("[copyIndex('inner')]", "copyIndex() stands in no such loop"),
    ];
    for (expression, expected) in table {
        let found = evaluate(TEMPLATE, expression).unwrap_or_else(|why| why);
        assert!(found.starts_with(expected), "{expression}: {found}");
    }
}

#[test]
fn templates_that_would_burst_come_to_an_end() {
    let chain = |first: &str, step: &dyn Fn(usize) -> String| {
        let links: Vec<String> = (1..30).map(|n| format!("\"v{n}\": \"{}\"", step(n - 1))).collect();
        format!("{{ \"variables\": {{ \"v0\": {first}, {} }} }}", links.join(", "))
    };
    let table = [
        chain("\"xxxxxxxxxx\"", &|n| format!("[concat(variables('v{n}'), variables('v{n}'))]")),
        chain("[1, 2]", &|n| format!("[concat(variables('v{n}'), variables('v{n}'))]")),
        chain("[1, 2]", &|n| {
            format!("[createArray(variables('v{n}'), variables('v{n}'), variables('v{n}'))]")
        }),
        chain("\"x\"", &|n| {
            format!("[replace('xxxxxxxxxxxxxxxxxxxxx', 'x', concat(variables('v{n}'), 'xx'))]")
        }),
        chain("\"x\"", &|n| format!("[join(split(variables('v{n}'), 'x'), 'xxxxxxxxxxxxxxx')]")),
    ];
    for template in table {
        let begun = Instant::now();
        let found = evaluate(&template, "[string(length(variables('v29')))]");
        assert!(begun.elapsed() < Duration::from_secs(5), "{template}");
        // A list of three has three items however much is in them.
        assert!(found.as_ref().is_err() || found.as_deref() == Ok("3"), "{found:?}");
    }
    let long: Vec<String> = (1..100).map(|n| format!("\"v{n}\": \"[variables('v{}')]\"", n - 1)).collect();
    let long = format!("{{ \"variables\": {{ \"v0\": 1, {} }} }}", long.join(", "));
    assert!(evaluate(&long, "[variables('v99')]").unwrap_err().contains("deep"));
    let calls = |n: usize| format!("{}variables('v{n}'){}", "first(createArray(".repeat(20), "))".repeat(20));
    let deep: Vec<String> = (1..30).map(|n| format!("\"v{n}\": \"[{}]\"", calls(n - 1))).collect();
    let deep = format!("{{ \"variables\": {{ \"v0\": 1, {} }} }}", deep.join(", "));
    assert_eq!(evaluate(&deep, "[variables('v20')]").as_deref(), Ok("1"));
    assert!(evaluate(&deep, "[variables('v29')]").unwrap_err().contains("more than 1000 deep"));
}
