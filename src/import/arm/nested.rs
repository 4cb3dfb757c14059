//! Templates within a template, and what expressions see of other resources: `reference()`.

use std::rc::Rc;

use super::template::{Declared, Scope, Template, Value, made};
use super::tree::{Kind, Node};

pub(super) const DEPLOYMENT: &str = "microsoft.resources/deployments";

/// The template of a deployment.
pub(super) enum Nested {
    /// With parameters and variables of its own.
    Inner(Box<Template>),
    /// Its expressions are those of the template around it.
    Outer(Node),
    /// It is in another file.
    Elsewhere,
}

fn text_of<'n>(node: &'n Node, path: &[&str]) -> Option<&'n str> {
    path.iter().try_fold(&node.kind, |kind, name| kind.get(name).map(|node| &node.kind))?.as_text()
}

impl Template {
    /// What a deployment deploys.
    pub(super) fn nested(&self, deployment: &Node, scope: &Scope) -> Result<Nested, String> {
        let part = |name: &str| deployment.kind.get("properties").and_then(|node| node.kind.get(name));
        let Some(root) = part("template").filter(|node| matches!(node.kind, Kind::Object(_))) else {
            return Ok(Nested::Elsewhere);
        };
        let asked = text_of(deployment, &["properties", "expressionEvaluationOptions", "scope"]);
        if !asked.is_some_and(|asked| asked.eq_ignore_ascii_case("inner")) {
            return Ok(Nested::Outer(root.clone()));
        }
        let given = match part("parameters").map(|node| self.resolve(node, scope).kind) {
            Some(Kind::Failed(why)) => return Err(why.to_string()),
            Some(given) => given,
            None => Kind::Null,
        };
        let path = format!("{}:{}/", deployment.place.line, deployment.place.column);
        Ok(Nested::Inner(Box::new(self.inner(root, given.members(), &path))))
    }

    /// A loop's name and count, or one copy where there is no loop.
    pub(super) fn copies(&self, raw: &Node, scope: &Scope) -> Result<Vec<Scope>, String> {
        let Some(copy) = raw.kind.get("copy") else { return Ok(vec![scope.clone()]) };
        let (name, count) = self.copy_of(&copy.kind, scope)?;
        Ok((0..count).map(|index| scope.with(&name, index)).collect())
    }

    /// The resource of a symbolic name, name or id, as `reference` sees it: its properties, or all of it.
    pub(super) fn reference(&self, id: &str, is_full: bool) -> Value {
        let Some((declared, scope)) = self.declared(id)? else {
            return Err(format!("reference: \"{id}\" is not in this file, and only Azure knows what it is"));
        };
        let node = &declared.node;
        let kind = text_of(node, &["type"]).unwrap_or_default();
        let what = format!("{}reference to {id}", if is_full { "full " } else { "" });
        if is_full {
            return self.remembered(&what, || self.resolved(node, &scope, 0));
        }
        if kind.eq_ignore_ascii_case(DEPLOYMENT) {
            return self.remembered(&what, || self.outputs_of(node, &scope));
        }
        let Some(properties) = node.kind.get("properties") else { return Ok(Kind::Object([].into())) };
        self.remembered(&what, || self.resolved(properties, &scope, 0))
    }

    /// The resource that is meant, and which copy of it.
    fn declared(&self, id: &str) -> Result<Option<(&Declared, Scope)>, String> {
        // `symbol[3]` is a copy.
        let (symbol, index) = match id.strip_suffix(']').and_then(|id| id.rsplit_once('[')) {
            Some((symbol, index)) => (symbol, index.parse::<i64>().ok()),
            None => (id, None),
        };
        let has_symbol = |declared: &&Declared| {
            declared.symbol.as_ref().is_some_and(|known| known.eq_ignore_ascii_case(symbol))
        };
        if let Some(declared) = self.resources().iter().find(has_symbol) {
            let scope = match (index, declared.node.kind.get("copy")) {
                (Some(index), Some(copy)) => {
                    Scope::default().with(&self.copy_of(&copy.kind, &Scope::default())?.0, index)
                }
                _ => Scope::default(),
            };
            return Ok(Some((declared, scope)));
        }
        let lower = id.to_lowercase();
        for declared in self.resources() {
            let kind = text_of(&declared.node, &["type"]).unwrap_or_default().to_lowercase();
            if id.contains('/') && !lower.contains(&kind) {
                continue;
            }
            // A loop that cannot be counted is reported where it stands.
            for scope in self.copies(&declared.node, &Scope::default()).unwrap_or_default() {
                let own = declared.node.kind.get("name").map(|name| self.resolve(name, &scope).kind);
                let Some(Kind::Text(own)) = own else { break };
                let last = own.rsplit('/').next().unwrap_or_default();
                if id.eq_ignore_ascii_case(&own)
                    || id.contains('/') && lower.ends_with(&format!("/{}", last.to_lowercase()))
                {
                    return Ok(Some((declared, scope)));
                }
            }
        }
        Ok(None)
    }

    /// `{"outputs": {name: {"value": ...}}}`.
    fn outputs_of(&self, deployment: &Node, scope: &Scope) -> Value {
        let (outputs, template) = match self.nested(deployment, scope)? {
            Nested::Elsewhere => {
                return Err("what a template in another file gives is not known here; import that file by itself, and write its values into this one".to_owned());
            }
            Nested::Outer(root) => (root.kind.get("outputs").cloned(), None),
            Nested::Inner(template) => (template.outputs().cloned(), Some(template)),
        };
        let (template, scope) = match &template {
            Some(template) => (&**template, &Scope::default()),
            None => (self, scope),
        };
        let mut members = Vec::new();
        for (name, output) in outputs.iter().flat_map(|outputs| outputs.kind.members()) {
            let value = output.kind.get("value").map_or_else(
                || template.copied_output(output, scope),
                |value| template.resolve(value, scope),
            );
            members.push((Rc::clone(name), made(Kind::Object([("value".into(), value)].into()))));
        }
        Ok(Kind::Object([("outputs".into(), made(Kind::Object(members.into())))].into()))
    }

    /// An output by a loop: `{"copy": {"count": ..., "input": ...}}`.
    fn copied_output(&self, output: &Node, scope: &Scope) -> Node {
        let copied = || {
            let copy = output.kind.get("copy").ok_or("an output has no value")?;
            let input = copy.kind.get("input").ok_or("a loop has no input")?;
            let count = self.count_of(&copy.kind, "copy", scope)?;
            Ok((0..count).map(|index| self.resolve(input, &scope.with("copy", index))).collect())
        };
        let value: Result<Vec<Node>, String> = copied();
        made(value.map_or_else(|why| Kind::Failed(why.into()), |items| Kind::List(items.into())))
    }
}
