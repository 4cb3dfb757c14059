//! Access lists: what is wrong with them, and what they come to.

use super::*;

#[test]
fn the_first_rule_decides_and_permits_shut_others_out() {
    let of = |rules: &str| {
        let text = format!("{SOUND}acl = \"a\"\n[[acl]]\nname = \"a\"\nrules = [{rules}]\n");
        let model = load(&text, &[]).unwrap_or_else(|all| panic!("{all}")).model;
        assert_eq!(model.rules[0].acl.as_ref(), model.acls.first());
        model.acls[0].clone()
    };
    let permits = |acl: &Acl, client: &str| acl.permits(client.parse().unwrap());
    let office = of("\"deny 192.0.2.7\", \"permit 192.0.2.0/24\"");
    assert!(permits(&office, "192.0.2.8") && !permits(&office, "192.0.2.7"));
    assert!(!permits(&office, "198.51.100.1") && !permits(&office, "2001:db8::1"));
    let blocked = of("\"deny 192.0.2.0/24\", \"deny 2001:db8::/32\"");
    assert!(permits(&blocked, "198.51.100.1") && permits(&blocked, "2001:db9::1"));
    assert!(!permits(&blocked, "192.0.2.8") && !permits(&blocked, "2001:db8::1"));
}

#[test]
fn mistakes_in_access_lists_are_named_with_their_lines() {
    let cases: [(&str, &[&str]); 4] = [
        (
            "acl = \"ofice\"\n[[acl]]\nname = \"office\"\nrules = [\"permit 192.0.2.0/24\"]",
            &[
                "g.toml:9: rule web uses acl \"ofice\", which does not exist; did you mean office? If not, add an [[acl]] of that \
               name",
            ],
        ),
        (
            "acl = \"a\"\n[[acl]]\nname = \"a\"\nrules = [\"permit 192.0.2.1/24\",\n\"allow all\"]\n[[acl]]\nname = \"a\"\nrules = [1]",
            &[
                "g.toml:12: acl a has rules \"permit 192.0.2.1/24\", which is not a rule with a network by its first address; \
                 write it as permit 198.51.100.0/24 or deny 0.0.0.0/0",
                "g.toml:13: acl a has rules \"allow all\", which is not a rule with a network by its first address; write it \
                 as permit 198.51.100.0/24 or deny 0.0.0.0/0",
                "g.toml:15: acl a exists already (line 11); give one of them another name",
                "g.toml:16: acl a has an integer as rules; write it as rules = [\"permit 198.51.100.0/24\"]",
            ],
        ),
        (
            "acl = \"a\"\n[[acl]]\nname = \"a\"\n[[acl]]\nname = \"b\"\nrules = []",
            &[
                "g.toml:10: acl a has no rules; add rules = [\"permit 198.51.100.0/24\"]",
                "g.toml:14: acl b has no rules; add rules = [\"permit 198.51.100.0/24\"]",
            ],
        ),
        (
            "[[acl]]\nname = \"a\"\nrules = [\"deny ::/0\"]\n[[rule]]\nacl = 7",
            &[
                "g.toml:12: a rule has no name; add name = \"web\"",
                "g.toml:12: a rule has no frontend; add frontend = \"203.0.113.10:443/tcp\"",
                "g.toml:12: a rule has no pool; add pool = \"web\"",
                "g.toml:13: a rule has an integer as acl; write it as acl = \"web\"",
            ],
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(errors(&format!("{SOUND}{text}\n"), &[]), expected, "{text}");
    }
    let unused = format!("{SOUND}[[acl]]\nname = \"a\"\nrules = [\"deny ::/0\"]\n");
    assert_eq!(warnings(&unused, &[]), ["g.toml:10: nothing uses acl a; name it in a rule, or delete it"]);
}

#[test]
fn a_list_that_cuts_its_rules_own_backends_off_is_warned_of() {
    let list = |rules: &str| format!("[[acl]]\nname = \"office\"\nrules = [{rules}]\n");
    let hairpin = |rules: &str| format!("{SOUND}acl = \"office\"\nhairpin = true\n{}", list(rules));
    let told = warnings(&hairpin("\"permit 192.0.2.0/24\""), &[]);
    assert_eq!(
        told,
        [
            "g.toml:8: rule web has hairpin = true for its backends, but acl office denies backend 10.0.0.4; permit the backends in \
          the list, or delete hairpin"
        ]
    );
    assert_eq!(warnings(&hairpin("\"permit 192.0.2.0/24\", \"permit 10.0.0.0/8\""), &[]), [""; 0]);
    assert_eq!(warnings(&hairpin("\"deny 192.0.2.0/24\""), &[]), [""; 0]);
    let own = |rules: &str| {
        let rule = "[[nat_rule]]\nname = \"own\"\nfrontend = \"203.0.113.20:0/any\"\nbackend = \"10.0.0.9\"\nacl = \"office\"\n";
        format!("{SOUND}{rule}{}", list(rules))
    };
    for rules in ["\"permit 192.0.2.0/24\"", "\"deny 192.0.2.0/24\", \"deny 0.0.0.0/0\"", "\"permit ::/0\""] {
        assert_eq!(
            warnings(&own(rules), &[]),
            [
                "g.toml:9: NAT rule own: acl office decides on answers too, so 10.0.0.9 can open connections only to whom the list \
              permits; permit whom it needs, and the backend's own firewall can keep others from it"
            ],
            "{rules}"
        );
    }
    for rules in ["\"deny 192.0.2.0/24\"", "\"deny 192.0.2.0/24\", \"permit 0.0.0.0/0\""] {
        assert_eq!(warnings(&own(rules), &[]), [""; 0], "{rules}");
    }
}

#[test]
fn a_hundred_thousand_rules_are_read_and_more_than_the_limit_are_refused() {
    let of = |count: u32| {
        let lines: String = (0..count).map(|n| format!("\"deny {}\",\n", Ipv4Addr::from(n << 8))).collect();
        format!("{SOUND}acl = \"a\"\n[[acl]]\nname = \"a\"\nrules = [\n{lines}]\n")
    };
    assert_eq!(load(&of(100_000), &[]).unwrap().model.acls[0].rules.len(), 100_000);
    let refused = errors(&of(ACL_RULES_MAX as u32 + 1), &[]);
    assert_eq!(
        refused,
        ["g.toml:12: there are 262145 rules in all access lists; 262144 are allowed: take some away"]
    );
}
