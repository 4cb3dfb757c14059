//! The resources that matter, out of a template and those within it, each copy of a loop by itself.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::nested::{DEPLOYMENT, Nested};
use super::template::{Declared, Scope, Template, resources_of};
use super::tree::{Kind, Node};
use super::{BALANCER, CHILD_OF_BALANCER, Resource, WANTED};
use crate::import::report::{Findings, Place};

pub(super) struct Collector<'c> {
    findings: &'c mut Findings,
    resources: Vec<Resource>,
    /// Types that do not matter, the first place of each, and how many there are.
    others: BTreeMap<String, (Place, usize)>,
    left_out: LeftOut,
}

/// Why there may be no load balancer.
#[derive(Default)]
pub(super) struct LeftOut {
    /// Load balancers whose conditions are false.
    pub(super) by_condition: usize,
    /// Those that are only referred to.
    pub(super) existing: usize,
    /// Deployments of other files.
    pub(super) elsewhere: usize,
    /// Whether some resource is not known, of which was spoken.
    pub(super) has_failed: bool,
}

impl<'c> Collector<'c> {
    pub(super) fn new(findings: &'c mut Findings) -> Self {
        Self { findings, resources: Vec::new(), others: BTreeMap::new(), left_out: LeftOut::default() }
    }

    pub(super) fn finish(self) -> (Vec<Resource>, LeftOut) {
        for (kind, (place, count)) in self.others {
            let what = format!("{kind} (in all {count}): not applicable: it is no part of a load balancer");
            self.findings.note(&place, what);
        }
        (self.resources, self.left_out)
    }

    fn fail(&mut self, place: &Place, why: impl AsRef<str>) {
        self.left_out.has_failed = true;
        self.findings.error(place, why);
    }

    pub(super) fn all(&mut self, template: &Template, declared: &[Declared], scope: &Scope) {
        for Declared { node, .. } in declared {
            self.each_copy(template, node, scope, None);
        }
    }

    /// Takes a resource, its copies and its children, if they matter.
    fn each_copy(&mut self, template: &Template, raw: &Node, scope: &Scope, parent: Option<(&str, &str)>) {
        let place = (*raw.place).clone();
        let own = raw.kind.get("type").and_then(|node| node.kind.as_text());
        let is_bare = raw.kind.get("frontendIPConfigurations").is_some();
        let Some(own) = own.or_else(|| is_bare.then_some("Microsoft.Network/loadBalancers")) else {
            return self.fail(&place, "a resource has no type");
        };
        // A child within its parent has the rest of the type only.
        let kind = match parent {
            Some((kind, _)) if !own.contains('/') => format!("{kind}/{own}"),
            _ => own.to_owned(),
        };
        let lower = kind.to_lowercase();
        let is_deployment = lower == DEPLOYMENT;
        if !is_deployment && !WANTED.contains(&lower.as_str()) && !lower.starts_with(CHILD_OF_BALANCER) {
            self.others.entry(kind).or_insert((place, 0)).1 += 1;
            return;
        }
        if raw.kind.get("existing").is_some_and(|node| matches!(node.kind, Kind::Bool(true))) {
            self.left_out.existing += usize::from(lower == BALANCER);
            return;
        }
        let scopes = match template.copies(raw, scope) {
            Ok(scopes) => scopes,
            Err(why) => return self.fail(&place, why),
        };
        for scope in scopes {
            if !self.is_deployed(template, raw, &scope) {
                self.left_out.by_condition += usize::from(lower == BALANCER);
                continue;
            }
            if is_deployment {
                self.deployment(template, raw, &scope);
            } else {
                self.one(template, raw, &scope, &lower, parent);
            }
        }
    }

    fn is_deployed(&mut self, template: &Template, raw: &Node, scope: &Scope) -> bool {
        match raw.kind.get("condition").map(|node| template.resolve(node, scope).kind) {
            None | Some(Kind::Bool(true)) => return true,
            Some(Kind::Bool(false)) => self.findings.note(&raw.place, "left out: its condition is false"),
            Some(Kind::Failed(why)) => self.fail(&raw.place, why),
            Some(_) => self.fail(&raw.place, "its condition is neither true nor false"),
        }
        false
    }

    fn deployment(&mut self, template: &Template, raw: &Node, scope: &Scope) {
        match template.nested(raw, scope) {
            Ok(Nested::Inner(nested)) => self.all(&nested, nested.resources(), &Scope::default()),
            Ok(Nested::Outer(root)) => self.all(template, &resources_of(&root), scope),
            Ok(Nested::Elsewhere) => {
                self.left_out.elsewhere += 1;
                let what = "the template of this deployment is in another file, which is not looked into; import it by itself";
                self.findings.loss(&raw.place, what);
            }
            Err(why) => self.fail(&raw.place, why),
        }
    }

    fn one(
        &mut self,
        template: &Template,
        raw: &Node,
        scope: &Scope,
        kind: &str,
        parent: Option<(&str, &str)>,
    ) {
        let place = (*raw.place).clone();
        // The loop itself is not a list of properties, and children are resources of their own.
        let members = raw.kind.members().iter().filter(|(name, _)| !["copy", "resources"].contains(&&**name));
        let bare = Node { place: Rc::clone(&raw.place), kind: Kind::Object(members.cloned().collect()) };
        let node = template.resolve(&bare, scope);
        let name = match node.kind.get("name").map(|node| &node.kind) {
            Some(Kind::Text(name)) => name.to_string(),
            Some(Kind::Failed(why)) => return self.fail(&place, format!("the resource's name: {why}")),
            _ => return self.fail(&place, "a resource has no name"),
        };
        let name = match parent {
            Some((_, parent)) if !name.contains('/') => format!("{parent}/{name}"),
            _ => name,
        };
        // Children of children are of no kind that matters.
        if parent.is_none() {
            for child in raw.kind.get("resources").map_or(&[] as &[_], |node| node.kind.items()) {
                self.each_copy(template, child, scope, Some((kind, &name)));
            }
        }
        self.resources.push(Resource { kind: kind.to_owned(), name, place, node });
    }
}
