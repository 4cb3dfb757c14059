//! A template with its parameters and variables: what an expression in it comes to.
//!
//! Time and memory are bounded: values are shared, every step and every character made is paid from one purse, and what is
//! being worked out already is not begun again.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use super::expression::{self, Expression};
use super::functions;
use super::tree::{DEPTH_MAX, Kind, Node};
use crate::import::report::Place;

/// Steps and characters that all expressions of a template may take.
const PURSE: u64 = 1_000_000;

/// The most characters of a text and items of a list that a function makes.
pub(super) const LENGTH_MAX: usize = 100_000;

/// The most copies that one loop makes; it is Azure's own limit.
const COPIES_MAX: i64 = 800;

/// How deep parameters and variables may rest on each other.
const LOOKUPS_MAX: usize = 32;

pub(super) type Value = Result<Kind, String>;

pub(super) struct Template {
    parameters: BTreeMap<String, Parameter>,
    variables: BTreeMap<String, Node>,
    resources: Vec<Node>,
    known: RefCell<BTreeMap<String, Value>>,
    /// What is being worked out.
    begun: RefCell<Vec<String>>,
    purse: Cell<u64>,
}

struct Parameter {
    name: String,
    value: Option<Node>,
}

/// Where an expression stands: which copy of which loop.
#[derive(Clone, Default)]
pub(super) struct Scope {
    copies: Vec<(String, i64)>,
}

impl Scope {
    pub(super) fn with(&self, name: &str, index: i64) -> Self {
        let mut copies = self.copies.clone();
        copies.push((name.to_lowercase(), index));
        Self { copies }
    }

    pub(super) fn index(&self, name: Option<&str>) -> Option<i64> {
        let wanted =
            |(loop_name, _): &&(String, i64)| name.is_none_or(|name| name.eq_ignore_ascii_case(loop_name));
        self.copies.iter().rev().find(wanted).map(|(_, index)| *index)
    }
}

impl Template {
    /// `given` are the parameters of a parameter file.
    pub(super) fn new(root: &Node, given: &[(Rc<str>, Node)]) -> Self {
        let mut parameters = BTreeMap::new();
        for (name, node) in root.kind.get("parameters").map_or(&[] as &[_], |node| node.kind.members()) {
            let value = node.kind.get("defaultValue").cloned();
            parameters.insert(name.to_lowercase(), Parameter { name: name.to_string(), value });
        }
        for (name, node) in given {
            let value = node.kind.get("value").cloned();
            parameters.insert(name.to_lowercase(), Parameter { name: name.to_string(), value });
        }
        let members = root.kind.get("variables").map_or(&[] as &[_], |node| node.kind.members());
        let mut variables: BTreeMap<String, Node> = members
            .iter()
            .filter(|(name, _)| &**name != "copy")
            .map(|(name, node)| (name.to_lowercase(), node.clone()))
            .collect();
        // `"copy": [{"name": ...}]` makes variables of those names.
        for copy in
            members.iter().filter(|(name, _)| &**name == "copy").flat_map(|(_, node)| node.kind.items())
        {
            if let Some(name) = copy.kind.get("name").and_then(|name| name.kind.as_text()) {
                let lists = Kind::List(vec![copy.clone()].into());
                let holder = [("copy".into(), Node { place: Rc::clone(&copy.place), kind: lists })];
                let part = Kind::Object(Rc::new(holder));
                variables.insert(name.to_lowercase(), Node { place: Rc::clone(&copy.place), kind: part });
            }
        }
        Self {
            parameters,
            variables,
            resources: resources_of(root),
            known: RefCell::default(),
            begun: RefCell::default(),
            purse: Cell::new(PURSE),
        }
    }

    pub(super) fn resources(&self) -> &[Node] {
        &self.resources
    }

    /// Whether the template declares a parameter of that name.
    pub(super) fn parameter_names(&self) -> impl Iterator<Item = &str> {
        self.parameters.values().map(|parameter| parameter.name.as_str())
    }

    /// Takes `steps` from the purse.
    pub(super) fn pay(&self, steps: usize) -> Result<(), String> {
        let left = self.purse.get().checked_sub(steps as u64);
        self.purse.set(left.unwrap_or(0));
        left.map(|_| ())
            .ok_or_else(|| "the template's expressions come to too much; is there a loop?".to_owned())
    }

    /// A value with every expression in it worked out; those that cannot be say why.
    pub(super) fn resolve(&self, node: &Node, scope: &Scope) -> Node {
        self.resolve_at(node, scope, 0)
    }

    fn resolve_at(&self, node: &Node, scope: &Scope, depth: usize) -> Node {
        let kind = match self.resolved(node, scope, depth) {
            Ok(kind) => kind,
            Err(why) => Kind::Failed(why.into()),
        };
        Node { place: Rc::clone(&node.place), kind }
    }

    fn resolved(&self, node: &Node, scope: &Scope, depth: usize) -> Value {
        self.pay(1)?;
        if depth > DEPTH_MAX {
            return Err(format!("values lie more than {DEPTH_MAX} deep in each other"));
        }
        match &node.kind {
            Kind::Text(text) => match expression::within(text) {
                Some(inner) => self.evaluate(&expression::parse(inner)?, scope),
                // `[[` stands for a bracket.
                None if text.starts_with("[[") => Ok(Kind::text(text.get(1..).unwrap_or_default())),
                None => Ok(node.kind.clone()),
            },
            Kind::List(items) => {
                let items: Vec<Node> =
                    items.iter().map(|item| self.resolve_at(item, scope, depth + 1)).collect();
                Ok(Kind::List(items.into()))
            }
            Kind::Object(members) => {
                let mut resolved = Vec::with_capacity(members.len());
                for (name, member) in members.iter() {
                    match &member.kind {
                        Kind::List(loops) if &**name == "copy" => {
                            for copy in loops.iter() {
                                resolved.push(self.copied(copy, scope, depth + 1)?);
                            }
                        }
                        _ => resolved.push((Rc::clone(name), self.resolve_at(member, scope, depth + 1))),
                    }
                }
                Ok(Kind::Object(resolved.into()))
            }
            other => Ok(other.clone()),
        }
    }

    /// One `{"name", "count", "input"}`: a property of that name, with a list.
    fn copied(&self, copy: &Node, scope: &Scope, depth: usize) -> Result<(Rc<str>, Node), String> {
        let (name, count) = self.copy_of(&copy.kind, scope)?;
        let input = copy.kind.get("input").ok_or_else(|| format!("loop {name} has no input"))?;
        let items: Vec<Node> =
            (0..count).map(|index| self.resolve_at(input, &scope.with(&name, index), depth + 1)).collect();
        Ok((name.as_str().into(), Node { place: Rc::clone(&copy.place), kind: Kind::List(items.into()) }))
    }

    /// A loop's name and count.
    pub(super) fn copy_of(&self, copy: &Kind, scope: &Scope) -> Result<(String, i64), String> {
        let part = |name: &str| copy.get(name).map(|node| self.resolve(node, scope).kind);
        let name = match part("name") {
            Some(Kind::Text(name)) => name.to_string(),
            _ => return Err("a loop has no name".to_owned()),
        };
        match part("count") {
            Some(Kind::Integer(count)) if (0..=COPIES_MAX).contains(&count) => Ok((name, count)),
            Some(Kind::Integer(count)) => {
                Err(format!("loop {name} has count {count}; allowed are 0 to {COPIES_MAX}"))
            }
            Some(Kind::Failed(why)) => Err(why.to_string()),
            _ => Err(format!("loop {name} has no count")),
        }
    }

    pub(super) fn evaluate(&self, expression: &Expression, scope: &Scope) -> Value {
        self.pay(1)?;
        match expression {
            Expression::Text(text) => Ok(Kind::text(text)),
            Expression::Integer(number) => Ok(Kind::Integer(*number)),
            Expression::Part(whole, part) => {
                let (whole, part) = (self.evaluate(whole, scope)?, self.evaluate(part, scope)?);
                functions::part(&whole, &part)
            }
            Expression::Call(name, arguments) => functions::call(self, name, arguments, scope),
        }
    }

    pub(super) fn parameter(&self, name: &str) -> Value {
        let Some(parameter) = self.parameters.get(&name.to_lowercase()) else {
            return Err(format!("there is no parameter \"{name}\""));
        };
        let Some(value) = &parameter.value else {
            return Err(format!("parameter \"{name}\" has no value; give one by --parameters FILE"));
        };
        self.looked_up(&format!("parameter {name}"), value)
    }

    pub(super) fn variable(&self, name: &str) -> Value {
        let Some(value) = self.variables.get(&name.to_lowercase()) else {
            return Err(format!("there is no variable \"{name}\""));
        };
        let kind = self.looked_up(&format!("variable {name}"), value)?;
        // One that a loop makes is the loop's list.
        let is_loop = matches!(&value.kind, Kind::Object(members) if members.len() == 1 && members.iter().all(|(name, _)| &**name == "copy"));
        match kind.get(name).filter(|_| is_loop) {
            Some(list) => Ok(list.kind.clone()),
            None => Ok(kind),
        }
    }

    fn looked_up(&self, what: &str, value: &Node) -> Value {
        let name = what.to_lowercase();
        if let Some(known) = self.known.borrow().get(&name) {
            return known.clone();
        }
        let depth = self.begun.borrow().len();
        if self.begun.borrow().contains(&name) {
            return Err(format!("{what} rests on itself"));
        }
        if depth >= LOOKUPS_MAX {
            return Err(format!("parameters and variables rest on each other more than {LOOKUPS_MAX} deep"));
        }
        self.begun.borrow_mut().push(name.clone());
        let value = self.resolved(value, &Scope::default(), 0);
        self.begun.borrow_mut().pop();
        // What failed within a loop may be right outside it.
        if depth == 0 || value.is_ok() {
            self.known.borrow_mut().insert(name, value.clone());
        }
        value
    }

    /// The resource of a name or id, as `reference` sees it.
    pub(super) fn reference(&self, id: &str) -> Value {
        let name = id.rsplit('/').next().unwrap_or_default();
        let of = |node: &&Node| {
            let own = node.kind.get("name").map(|name| self.resolve(name, &Scope::default()).kind);
            matches!(own, Some(Kind::Text(own)) if own.eq_ignore_ascii_case(name))
                && node.kind.get("type").and_then(|kind| kind.kind.as_text()).is_some_and(|kind| {
                    let kind = kind.to_lowercase();
                    !id.contains('/') || id.to_lowercase().contains(&kind)
                })
        };
        let found = self.resources.iter().find(of).and_then(|node| node.kind.get("properties"));
        let node = found.ok_or_else(|| {
            format!("reference: \"{id}\" is not in this file, and only Azure knows what it is")
        })?;
        self.looked_up(&format!("reference to {id}"), node)
    }
}

/// A list, or, since language version 2.0, an object by symbolic names; or the file is a resource itself.
fn resources_of(root: &Node) -> Vec<Node> {
    match root.kind.get("resources").or_else(|| root.kind.get("value")).map(|node| &node.kind) {
        Some(Kind::List(items)) => items.to_vec(),
        Some(Kind::Object(members)) => members.iter().map(|(_, node)| node.clone()).collect(),
        _ if matches!(root.kind, Kind::List(_)) => root.kind.items().to_vec(),
        _ if root.kind.get("type").is_some() || root.kind.get("frontendIPConfigurations").is_some() => {
            vec![root.clone()]
        }
        _ => Vec::new(),
    }
}

/// A node that an expression made, of which only the value counts.
pub(super) fn made(kind: Kind) -> Node {
    Node { place: Rc::new(Place { file: "".into(), line: 0, column: 0 }), kind }
}
