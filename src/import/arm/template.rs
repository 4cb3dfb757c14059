//! A template with its parameters and variables: what an expression in it comes to.
//!
//! Time and memory are bounded: values are shared, every step and every character made is paid from one purse, and what is
//! being worked out already is not begun again.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use super::expression::{self, Expression};
use super::functions;
pub(super) use super::scope::Scope;
use super::tree::{DEPTH_MAX, Kind, Node};
use crate::import::report::Place;

/// Steps and characters that all expressions of a template may take.
const PURSE: u64 = 1_000_000;

/// The most characters of a text and items of a list that a function makes.
pub(super) const LENGTH_MAX: usize = 100_000;

/// The most copies that one loop makes; it is Azure's own limit.
const COPIES_MAX: i64 = 800;

/// How deep all of that may lie in each other while it is worked out, so that the stack is enough.
const EVALUATION_DEPTH_MAX: usize = 1000;

/// Characters of an expression that are read for a step.
const CHARACTERS_A_STEP: usize = 64;

/// How deep parameters and variables may rest on each other.
const LOOKUPS_MAX: usize = 32;

pub(super) type Value = Result<Kind, String>;

pub(super) struct Template {
    parameters: BTreeMap<String, Parameter>,
    variables: BTreeMap<String, Node>,
    /// Those of its own, by `namespace.name` in lower case.
    functions: BTreeMap<String, Function>,
    resources: Vec<Declared>,
    outputs: Option<Node>,
    known: RefCell<BTreeMap<String, Value>>,
    /// Tells a template within a template from those around it.
    path: String,
    shared: Rc<Shared>,
}

/// What a template has in common with those within it.
struct Shared {
    /// What is being worked out.
    begun: RefCell<Vec<String>>,
    purse: Cell<u64>,
    depth: Cell<usize>,
}

struct Parameter {
    name: String,
    /// What a file or a deployment says; it is no expression.
    given: Option<Kind>,
    default: Option<Node>,
    is_nullable: bool,
}

struct Function {
    parameters: Vec<String>,
    output: Node,
}

/// A resource and its symbolic name, where it has one.
#[derive(Clone)]
pub(super) struct Declared {
    pub(super) symbol: Option<Rc<str>>,
    pub(super) node: Node,
}

impl Template {
    /// `given` are the parameters of a parameter file.
    pub(super) fn new(root: &Node, given: &[(Rc<str>, Node)]) -> Self {
        let shared = Shared { begun: RefCell::default(), purse: Cell::new(PURSE), depth: Cell::new(0) };
        Self::within(root, given, String::new(), Rc::new(shared))
    }

    fn within(root: &Node, given: &[(Rc<str>, Node)], path: String, shared: Rc<Shared>) -> Self {
        let mut parameters = BTreeMap::new();
        for (name, node) in root.kind.get("parameters").map_or(&[] as &[_], |node| node.kind.members()) {
            let default = node.kind.get("defaultValue").cloned();
            let is_nullable =
                node.kind.get("nullable").is_some_and(|node| matches!(node.kind, Kind::Bool(true)));
            let parameter = Parameter { name: name.to_string(), given: None, default, is_nullable };
            parameters.insert(name.to_lowercase(), parameter);
        }
        for (name, node) in given {
            let value = node.kind.get("value").map(|value| value.kind.clone());
            let unknown =
                Parameter { name: name.to_string(), given: None, default: None, is_nullable: false };
            parameters.entry(name.to_lowercase()).or_insert(unknown).given = value;
        }
        Self {
            parameters,
            variables: variables_of(root),
            functions: functions_of(root),
            resources: resources_of(root),
            outputs: root.kind.get("outputs").cloned(),
            known: RefCell::default(),
            path,
            shared,
        }
    }

    /// A template within this one.
    pub(super) fn inner(&self, root: &Node, given: &[(Rc<str>, Node)], path: &str) -> Self {
        Self::within(root, given, format!("{}{path}", self.path), Rc::clone(&self.shared))
    }

    pub(super) fn outputs(&self) -> Option<&Node> {
        self.outputs.as_ref()
    }

    pub(super) fn resources(&self) -> &[Declared] {
        &self.resources
    }

    /// Whether the template declares a parameter of that name.
    pub(super) fn parameter_names(&self) -> impl Iterator<Item = &str> {
        self.parameters.values().map(|parameter| parameter.name.as_str())
    }

    /// Takes `steps` from the purse.
    pub(super) fn pay(&self, steps: usize) -> Result<(), String> {
        let left = self.shared.purse.get().checked_sub(steps as u64);
        self.shared.purse.set(left.unwrap_or(0));
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

    pub(super) fn resolved(&self, node: &Node, scope: &Scope, depth: usize) -> Value {
        self.deeper(|| self.resolved_within(node, scope, depth))
    }

    fn resolved_within(&self, node: &Node, scope: &Scope, depth: usize) -> Value {
        if depth > DEPTH_MAX {
            return Err(format!("values lie more than {DEPTH_MAX} deep in each other"));
        }
        match &node.kind {
            Kind::Text(text) => match expression::within(text) {
                Some(inner) => {
                    self.pay(inner.len() / CHARACTERS_A_STEP)?;
                    self.evaluate(&expression::parse(inner)?, scope)
                }
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
        match copy.get("name").map(|node| self.resolve(node, scope).kind) {
            Some(Kind::Text(name)) => {
                self.count_of(copy, &name, scope).map(|count| (name.to_string(), count))
            }
            Some(Kind::Failed(why)) => Err(why.to_string()),
            _ => Err("a loop has no name".to_owned()),
        }
    }

    pub(super) fn count_of(&self, copy: &Kind, name: &str, scope: &Scope) -> Result<i64, String> {
        match copy.get("count").map(|node| self.resolve(node, scope).kind) {
            Some(Kind::Integer(count)) if (0..=COPIES_MAX).contains(&count) => Ok(count),
            Some(Kind::Integer(count)) => {
                Err(format!("loop {name} has count {count}; allowed are 0 to {COPIES_MAX}"))
            }
            Some(Kind::Failed(why)) => Err(why.to_string()),
            _ => Err(format!("loop {name} has no count")),
        }
    }

    pub(super) fn evaluate(&self, expression: &Expression, scope: &Scope) -> Value {
        self.deeper(|| self.evaluated(expression, scope))
    }

    /// Takes a step, which may lie in others, but not in too many.
    fn deeper(&self, step: impl FnOnce() -> Value) -> Value {
        self.pay(1)?;
        let depth = self.shared.depth.get();
        if depth >= EVALUATION_DEPTH_MAX {
            return Err(format!("expressions rest on each other more than {EVALUATION_DEPTH_MAX} deep"));
        }
        self.shared.depth.set(depth + 1);
        let value = step();
        self.shared.depth.set(depth);
        value
    }

    fn evaluated(&self, expression: &Expression, scope: &Scope) -> Value {
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
        match (&parameter.given, &parameter.default) {
            // Null is as if nothing were given, where there is something to fall back on.
            (Some(given), default) if default.is_none() || !matches!(given, Kind::Null) => Ok(given.clone()),
            (_, Some(default)) => self.looked_up(&format!("parameter {name}"), default),
            _ if parameter.is_nullable => Ok(Kind::Null),
            _ => Err(format!("parameter \"{name}\" has no value; give one by --parameters FILE")),
        }
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
        self.remembered(what, || self.resolved(value, &Scope::default(), 0))
    }

    /// Works something out once.
    pub(super) fn remembered(&self, what: &str, work: impl FnOnce() -> Value) -> Value {
        let name = what.to_lowercase();
        if let Some(known) = self.known.borrow().get(&name) {
            return known.clone();
        }
        let is_first = self.shared.begun.borrow().is_empty();
        let value = self.guarded(what, work);
        // What failed within a loop may be right outside it.
        if is_first || value.is_ok() {
            self.known.borrow_mut().insert(name, value.clone());
        }
        value
    }

    /// Works something out, unless that has begun already.
    fn guarded(&self, what: &str, work: impl FnOnce() -> Value) -> Value {
        let begun = &self.shared.begun;
        let name = format!("{}{}", self.path, what.to_lowercase());
        if begun.borrow().contains(&name) {
            return Err(format!("{what} rests on itself"));
        }
        if begun.borrow().len() >= LOOKUPS_MAX {
            return Err(format!("parameters and variables rest on each other more than {LOOKUPS_MAX} deep"));
        }
        begun.borrow_mut().push(name);
        let value = work();
        begun.borrow_mut().pop();
        value
    }

    /// Calls a function of the template's own.
    pub(super) fn user_function(&self, name: &str, values: Vec<Kind>) -> Value {
        let Some(function) = self.functions.get(name) else {
            return Err(format!("{name}() is not among the template's functions"));
        };
        if function.parameters.len() != values.len() {
            let (wanted, found) = (function.parameters.len(), values.len());
            return Err(format!("{name}() takes {wanted} values, and has {found}"));
        }
        let scope = Scope::of_function(function.parameters.iter().cloned().zip(values).collect());
        self.guarded(&format!("function {name}"), || self.resolved(&function.output, &scope, 0))
    }
}

fn variables_of(root: &Node) -> BTreeMap<String, Node> {
    let members = root.kind.get("variables").map_or(&[] as &[_], |node| node.kind.members());
    let mut variables: BTreeMap<String, Node> = members
        .iter()
        .filter(|(name, _)| &**name != "copy")
        .map(|(name, node)| (name.to_lowercase(), node.clone()))
        .collect();
    // `"copy": [{"name": ...}]` makes variables of those names.
    for copy in members.iter().filter(|(name, _)| &**name == "copy").flat_map(|(_, node)| node.kind.items()) {
        if let Some(name) = copy.kind.get("name").and_then(|name| name.kind.as_text()) {
            let lists = Kind::List(vec![copy.clone()].into());
            let holder = [("copy".into(), Node { place: Rc::clone(&copy.place), kind: lists })];
            let part = Kind::Object(Rc::new(holder));
            variables.insert(name.to_lowercase(), Node { place: Rc::clone(&copy.place), kind: part });
        }
    }
    variables
}

/// `"functions": [{"namespace": ..., "members": {name: {"parameters": [{"name": ...}], "output": {"value": ...}}}}]`.
fn functions_of(root: &Node) -> BTreeMap<String, Function> {
    let mut functions = BTreeMap::new();
    let text = |node: &Node, name: &str| {
        node.kind.get(name).and_then(|node| node.kind.as_text()).unwrap_or_default().to_lowercase()
    };
    for space in root.kind.get("functions").map_or(&[] as &[_], |node| node.kind.items()) {
        for (name, node) in space.kind.get("members").map_or(&[] as &[_], |node| node.kind.members()) {
            let parameters = node.kind.get("parameters").map_or(&[] as &[_], |node| node.kind.items());
            let parameters = parameters.iter().map(|parameter| text(parameter, "name")).collect();
            let output = node.kind.get("output").and_then(|output| output.kind.get("value"));
            if let Some(output) = output.cloned() {
                let name = format!("{}.{}", text(space, "namespace"), name.to_lowercase());
                functions.insert(name, Function { parameters, output });
            }
        }
    }
    functions
}

/// A list, or, since language version 2.0, an object by symbolic names; or the file is a resource itself.
pub(super) fn resources_of(root: &Node) -> Vec<Declared> {
    let plain = |node: &Node| Declared { symbol: None, node: node.clone() };
    match root.kind.get("resources").or_else(|| root.kind.get("value")).map(|node| &node.kind) {
        // Of an exported resource, it is a list of its children.
        _ if root.kind.get("type").is_some() => vec![plain(root)],
        Some(Kind::List(items)) => items.iter().map(plain).collect(),
        Some(Kind::Object(members)) => {
            let named =
                |(name, node): &(Rc<str>, Node)| Declared { symbol: Some(Rc::clone(name)), ..plain(node) };
            members.iter().map(named).collect()
        }
        _ if matches!(root.kind, Kind::List(_)) => root.kind.items().iter().map(plain).collect(),
        _ if root.kind.get("frontendIPConfigurations").is_some() => vec![plain(root)],
        _ => Vec::new(),
    }
}

/// A node that an expression made, of which only the value counts.
pub(super) fn made(kind: Kind) -> Node {
    Node { place: Rc::new(Place { file: "".into(), line: 0, column: 0 }), kind }
}
