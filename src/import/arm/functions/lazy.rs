//! Functions that look at their arguments when they need them, and those that take a function: `lambda('x', ...)`.

use std::rc::Rc;

use super::list;
use crate::import::arm::expression::Expression;
use crate::import::arm::template::{Scope, Template, Value, made};
use crate::import::arm::tree::{DEPTH_MAX, Kind, Node};

/// `None` where it is none of these.
pub(super) fn call(
    template: &Template,
    name: &str,
    arguments: &[Expression],
    scope: &Scope,
) -> Option<Value> {
    let lazy = Lazy { template, name, scope };
    Some(match (name, arguments) {
        ("if", [condition, yes, no]) => lazy
            .is_true(condition)
            .and_then(|is_true| template.evaluate(if is_true { yes } else { no }, scope))
            .and_then(sound),
        ("if", _) => Err("if() takes 3 arguments".to_owned()),
        ("and", all) => lazy.any(all, false).map(|found| Kind::Bool(!found)),
        ("or", all) => lazy.any(all, true).map(Kind::Bool),
        ("coalesce", all) => lazy.coalesce(all),
        ("map", [items, body]) => lazy.map(items, body),
        ("filter", [items, body]) => lazy.filter(items, body),
        ("reduce", [items, first, body]) => lazy.reduce(items, first, body),
        ("sort", [items, body]) => lazy.sort(items, body),
        ("toobject", [items, name, rest @ ..]) => lazy.to_object(items, name, rest.first()),
        ("mapvalues", [object, body]) => lazy.map_values(object, body),
        ("groupby", [items, body]) => lazy.group_by(items, body),
        _ => return None,
    })
}

fn sound(value: Kind) -> Value {
    match value {
        Kind::Failed(why) => Err(why.to_string()),
        value => Ok(value),
    }
}

struct Lazy<'l> {
    template: &'l Template,
    name: &'l str,
    scope: &'l Scope,
}

impl Lazy<'_> {
    fn is_true(&self, asked: &Expression) -> Result<bool, String> {
        self.truth(&self.template.evaluate(asked, self.scope)?)
    }

    fn truth(&self, value: &Kind) -> Result<bool, String> {
        match value {
            Kind::Bool(value) => Ok(*value),
            Kind::Failed(why) => Err(why.to_string()),
            other => Err(format!("{}() is asked by {}", self.name, other.word())),
        }
    }

    fn any(&self, all: &[Expression], wanted: bool) -> Result<bool, String> {
        for one in all {
            if self.is_true(one)? == wanted {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn coalesce(&self, all: &[Expression]) -> Value {
        for one in all {
            match sound(self.template.evaluate(one, self.scope)?)? {
                Kind::Null => {}
                value => return Ok(value),
            }
        }
        Ok(Kind::Null)
    }

    fn items(&self, asked: &Expression) -> Result<Rc<[Node]>, String> {
        match sound(self.template.evaluate(asked, self.scope)?)? {
            Kind::List(items) => Ok(items),
            other => Err(format!("{}() takes a list, and has {}", self.name, other.word())),
        }
    }

    /// What a lambda makes of values; it need not name them all.
    fn apply(&self, body: &Expression, values: &[Kind]) -> Value {
        self.template.pay(1)?;
        let parts = match body {
            Expression::Call(name, parts) if name.eq_ignore_ascii_case("lambda") => parts.as_slice(),
            _ => &[],
        };
        let Some((body, names)) = parts.split_last() else {
            return Err(format!("{}() takes a lambda()", self.name));
        };
        let mut scope = self.scope.clone();
        for (name, value) in names.iter().zip(values) {
            match self.template.evaluate(name, self.scope)? {
                Kind::Text(name) => scope.bind(&name, value.clone()),
                other => return Err(format!("lambda() has a name that is {}", other.word())),
            }
        }
        sound(self.template.evaluate(body, &scope)?)
    }

    fn each(&self, items: &Expression, body: &Expression) -> Result<Vec<(Node, Kind)>, String> {
        let mut made = Vec::new();
        for (index, item) in (0i64..).zip(self.items(items)?.iter()) {
            let value = self.apply(body, &[sound(item.kind.clone())?, Kind::Integer(index)])?;
            made.push((item.clone(), value));
        }
        Ok(made)
    }

    fn map(&self, items: &Expression, body: &Expression) -> Value {
        list(self.each(items, body)?.into_iter().map(|(_, value)| value).collect())
    }

    fn filter(&self, items: &Expression, body: &Expression) -> Value {
        let mut left = Vec::new();
        for (item, value) in self.each(items, body)? {
            if self.truth(&value)? {
                left.push(item);
            }
        }
        Ok(Kind::List(left.into()))
    }

    fn reduce(&self, items: &Expression, first: &Expression, body: &Expression) -> Value {
        let mut so_far = sound(self.template.evaluate(first, self.scope)?)?;
        for (index, item) in (0i64..).zip(self.items(items)?.iter()) {
            so_far = self.apply(body, &[so_far, sound(item.kind.clone())?, Kind::Integer(index)])?;
            // What comes out goes in again, so that it could become as deep as it likes.
            self.check_depth(&so_far, 0)?;
        }
        Ok(so_far)
    }

    fn check_depth(&self, value: &Kind, depth: usize) -> Result<(), String> {
        self.template.pay(1)?;
        if depth > DEPTH_MAX {
            return Err(format!(
                "{}() makes values that lie more than {DEPTH_MAX} deep in each other",
                self.name
            ));
        }
        let inner = value.items().iter().chain(value.members().iter().map(|(_, node)| node));
        let deeper = inner.filter(|node| matches!(node.kind, Kind::List(_) | Kind::Object(_)));
        deeper.map(|node| &node.kind).try_for_each(|kind| self.check_depth(kind, depth + 1))
    }

    /// The lambda says whether the first comes before the second.
    fn sort(&self, items: &Expression, body: &Expression) -> Value {
        let mut sorted: Vec<Node> = Vec::new();
        for item in self.items(items)?.iter() {
            let mut at = sorted.len();
            while let Some(before) = at.checked_sub(1).and_then(|at| sorted.get(at)) {
                if !self.truth(&self.apply(body, &[item.kind.clone(), before.kind.clone()])?)? {
                    break;
                }
                at -= 1;
            }
            sorted.insert(at, item.clone());
        }
        Ok(Kind::List(sorted.into()))
    }

    fn to_object(&self, items: &Expression, name: &Expression, value: Option<&Expression>) -> Value {
        let mut members: Vec<(Rc<str>, Node)> = Vec::new();
        for (item, name) in self.each(items, name)? {
            let Kind::Text(name) = name else {
                return Err("toobject() has a name that is not text".to_owned());
            };
            let node = match value {
                Some(value) => made(self.apply(value, std::slice::from_ref(&item.kind))?),
                None => item,
            };
            self.template.pay(members.len())?;
            members.retain(|(known, _)| !known.eq_ignore_ascii_case(&name));
            members.push((name, node));
        }
        Ok(Kind::Object(members.into()))
    }

    fn map_values(&self, object: &Expression, body: &Expression) -> Value {
        let object = sound(self.template.evaluate(object, self.scope)?)?;
        let mut members = Vec::new();
        for (name, node) in object.members() {
            members.push((Rc::clone(name), made(self.apply(body, &[sound(node.kind.clone())?])?)));
        }
        Ok(Kind::Object(members.into()))
    }

    fn group_by(&self, items: &Expression, body: &Expression) -> Value {
        let mut groups: Vec<(Rc<str>, Vec<Node>)> = Vec::new();
        for (item, name) in self.each(items, body)? {
            let Kind::Text(name) = name else {
                return Err("groupby() has a name that is not text".to_owned());
            };
            self.template.pay(groups.len())?;
            match groups.iter_mut().find(|(known, _)| known.eq_ignore_ascii_case(&name)) {
                Some((_, group)) => group.push(item),
                None => groups.push((name, vec![item])),
            }
        }
        let members = groups.into_iter().map(|(name, group)| (name, made(Kind::List(group.into()))));
        Ok(Kind::Object(members.collect()))
    }
}
