//! Lines of access lists.

use super::{BadText, network};
use crate::config::model::{AclRule, Cidr, Frontend};

/// `permit 198.51.100.0/24`, `deny 2001:db8::7`.
pub(crate) fn acl_rule(text: &str) -> Result<AclRule, BadText> {
    let (word, rest) = text.trim().split_once(' ').ok_or(BadText::AclRule)?;
    let permits = match word {
        "permit" => true,
        "deny" => false,
        _ => return Err(BadText::AclRule),
    };
    let rest = rest.trim();
    let network = match rest.parse() {
        Ok(address) => Cidr { address, prefix_len: Frontend::prefix_len_max(address) },
        Err(_) => network(rest).map_err(|_| BadText::AclRule)?,
    };
    Ok(AclRule { permits, network })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_print_as_they_are_written() {
        for text in ["permit 198.51.100.0/24", "deny 0.0.0.0/0", "deny ::/0", "permit 2001:db8::/32"] {
            assert_eq!(acl_rule(text).unwrap().to_string(), text);
        }
        assert_eq!(acl_rule("deny  192.0.2.7"), acl_rule("deny 192.0.2.7/32"));
        assert_eq!(acl_rule("permit 2001:db8::7"), acl_rule("permit 2001:db8::7/128"));
        for text in [
            "198.51.100.0/24",
            "allow 198.51.100.0/24",
            "permit",
            "permit ",
            "deny 198.51.100.7/24",
            "deny x",
        ] {
            assert_eq!(acl_rule(text), Err(BadText::AclRule), "{text}");
        }
    }
}
