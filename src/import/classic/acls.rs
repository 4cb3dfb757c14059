//! Access controls, and the endpoints that they are bound to.

use std::collections::{BTreeMap, BTreeSet};

use super::Importer;
use super::configuration::{AccessControl, EndpointAcl};
use super::index::Index;
use crate::import::plan::Acl;
use crate::import::report::suggestion;

impl Importer<'_> {
    /// Binds the rules of endpoints to their lists. After the endpoints.
    pub(super) fn acls(&mut self) {
        let settings = self.settings;
        let controls = Index::new(settings.controls.iter().map(|one| (one.name.as_str(), one)));
        let mut made: BTreeMap<&str, String> = BTreeMap::new();
        for EndpointAcl { place, role, endpoint, access_control } in &settings.acls {
            let key = (role.to_ascii_lowercase(), endpoint.to_ascii_lowercase());
            let Some(rule) = self.rule_of.get(&key).cloned() else {
                // One whose endpoint was left out has been reported.
                if !self.endpoints.contains(&key) {
                    self.findings.error(place, format!("there is no input endpoint \"{role}/{endpoint}\""));
                }
                continue;
            };
            let Some(control) = controls.get(access_control) else {
                let names = settings.controls.iter().map(|one| one.name.as_str());
                let near = suggestion(access_control, names);
                self.findings.error(place, format!("there is no AccessControl \"{access_control}\"{near}"));
                continue;
            };
            let name = match made.get(control.name.as_str()) {
                Some(name) => name.clone(),
                None => {
                    let name = self.plan.acl_names.make(&[&control.name]);
                    self.plan.acls.push(acl(control, &name));
                    made.insert(&control.name, name.clone());
                    name
                }
            };
            if self.plan.acl_of.insert(rule, name).is_some() {
                self.findings
                    .error(place, format!("endpoint \"{role}/{endpoint}\" has an access control already"));
            }
        }
        let used: BTreeSet<&str> = made.into_keys().collect();
        for control in settings.controls.iter().filter(|one| !used.contains(one.name.as_str())) {
            let what = format!("AccessControl {}: no EndpointAcl binds it to an endpoint", control.name);
            self.findings.note(&control.place, what);
        }
    }
}

/// In the order that Azure asks them: the lowest first.
fn acl(control: &AccessControl, name: &str) -> Acl {
    let mut rules: Vec<_> = control.rules.iter().collect();
    rules.sort_by_key(|rule| rule.order);
    let lines = rules.into_iter().map(|rule| (rule.text.clone(), rule.description.clone())).collect();
    Acl { name: name.to_owned(), place: control.place.clone(), lines }
}
