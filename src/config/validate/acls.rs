//! Access lists.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::own_addresses::is_own_address;
use super::{Names, required};
use crate::config::error::{Place, Report};
use crate::config::model::{Acl, AclRule, Rule};
use crate::config::problem::{RuleProblem, ValueProblem};
use crate::config::raw::{At, Field, RawConfig};
use crate::config::subject_of;

/// The most rules of all access lists together: some 40 bytes of memory each.
pub const ACL_RULES_MAX: usize = 1 << 18;

/// All access lists.
pub(super) struct Acls {
    /// With their places.
    pub(super) list: Vec<(Place, Arc<Acl>)>,
    names: Names,
    by_name: HashMap<String, usize>,
}

/// Checks all access lists.
pub(super) fn check(raw: &RawConfig, report: &mut Report) -> Acls {
    let mut acls = Acls { list: Vec::new(), names: Names::new("acl", raw), by_name: HashMap::new() };
    let mut count = 0;
    for one in &raw.acls {
        let name = acls.names.add(&one.name, one.place, report);
        let subject = subject_of("acl", name.as_deref().unwrap_or_default());
        let rules = required(&subject, "rules", &one.rules, one.place, report);
        let (Some(name), Some(At { value: rules, place })) = (name, rules) else { continue };
        count += rules.len();
        if count > ACL_RULES_MAX {
            let what = "rules in all access lists".to_owned();
            report.error(*place, ValueProblem::TooMany { what, count, max: ACL_RULES_MAX });
            break;
        }
        if rules.is_empty() {
            let key = "rules";
            report.error(*place, ValueProblem::MissingKey { subject, key, example: super::example(key) });
        }
        let rules: Vec<AclRule> = rules.iter().map(|rule| rule.value).collect();
        acls.by_name.insert(name.clone(), acls.list.len());
        acls.list.push((one.name.place_or(one.place), Arc::new(Acl { name, rules })));
    }
    acls
}

impl Acls {
    /// The list of that name; reported where there is none.
    pub(super) fn find(&self, field: &Field<String>, subject: &str, report: &mut Report) -> Option<Arc<Acl>> {
        let wanted = field.given()?;
        self.names.require(wanted, subject, "add an [[acl]] of that name", report);
        let found = self.by_name.get(&wanted.value).and_then(|index| self.list.get(*index));
        found.map(|(_, acl)| Arc::clone(acl))
    }
}

/// Backends of a rule that are looked for in its list, at most: with the longest list that is a tenth of a second.
const BACKENDS_LOOKED_FOR: usize = 256;

/// Lists that keep a rule's own backends from what the rule is for.
pub(super) fn warn_of_cut_off(rules: &[At<Rule>], report: &mut Report) {
    for At { value: rule, place } in rules {
        let Some(acl) = &rule.acl else { continue };
        let names = || (rule.name.clone(), acl.name.clone());
        let mut backends = rule.pool.backends.iter().map(|backend| backend.address);
        if rule.hairpin {
            let denied = backends.take(BACKENDS_LOOKED_FOR).find(|address| !acl.permits(*address));
            if let Some(backend) = denied {
                let (rule, acl) = names();
                report.warn(*place, RuleProblem::AclDeniesBackend { rule, acl, backend });
            }
        } else if is_own_address(rule)
            && let Some(backend) = backends.next()
            && !permits_most(acl, backend)
        {
            let (rule, acl) = names();
            report.warn(*place, RuleProblem::AclCutsOff { rule, acl, backend });
        }
    }
}

/// Whether hosts of the family of `like` may that no rule is about.
fn permits_most(acl: &Acl, like: IpAddr) -> bool {
    let is_of_all =
        |rule: &&AclRule| rule.network.prefix_len == 0 && rule.network.address.is_ipv4() == like.is_ipv4();
    acl.rules.iter().find(is_of_all).map_or(acl.permits_others(), |rule| rule.permits)
}
