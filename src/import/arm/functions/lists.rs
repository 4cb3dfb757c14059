//! Functions of lists and objects.

use std::rc::Rc;

use super::{Call, integer, list};
use crate::import::arm::template::{Value, made};
use crate::import::arm::tree::{Kind, Node};

impl Call<'_> {
    pub(super) fn concat_lists(&self, values: &[Kind]) -> Value {
        let mut items = Vec::new();
        for value in values {
            let Kind::List(more) = value else { return self.wrong() };
            self.within(items.len() + more.len())?;
            items.extend_from_slice(more);
        }
        Ok(Kind::List(items.into()))
    }

    pub(super) fn lists(&self) -> Option<Value> {
        let at = |index: i64, length: usize| usize::try_from(index.max(0)).unwrap_or(usize::MAX).min(length);
        Some(match (self.name, self.values) {
            ("array" | "createarray", [Kind::List(items)]) if self.name == "array" => {
                Ok(Kind::List(Rc::clone(items)))
            }
            ("array" | "createarray", values) => list(values.to_vec()),
            ("createobject", values) => {
                let mut members = Vec::new();
                let (pairs, odd) = values.as_chunks::<2>();
                for [name, value] in pairs {
                    let Kind::Text(name) = name else { return Some(self.wrong()) };
                    members.push((Rc::clone(name), made(value.clone())));
                }
                if odd.is_empty() { Ok(Kind::Object(members.into())) } else { self.wrong() }
            }
            ("length", [Kind::List(items)]) => integer(items.len()),
            ("length", [Kind::Object(members)]) => integer(members.len()),
            ("first", [Kind::List(items)]) => Ok(items.first().map_or(Kind::Null, |item| item.kind.clone())),
            ("last", [Kind::List(items)]) => Ok(items.last().map_or(Kind::Null, |item| item.kind.clone())),
            ("take", [Kind::List(items), Kind::Integer(count)]) => {
                Ok(Kind::List(items.get(..at(*count, items.len())).unwrap_or_default().into()))
            }
            ("skip", [Kind::List(items), Kind::Integer(count)]) => {
                Ok(Kind::List(items.get(at(*count, items.len())..).unwrap_or_default().into()))
            }
            ("range", [Kind::Integer(start), Kind::Integer(count)]) => match usize::try_from(*count) {
                Ok(count) if count <= 10_000 => {
                    list((0i64..).take(count).map(|step| Kind::Integer(start.saturating_add(step))).collect())
                }
                _ => Err(format!("range() of {count}; allowed are 0 to 10000")),
            },
            ("contains", [Kind::Object(_), Kind::Text(name)]) => {
                Ok(Kind::Bool(self.values.first().is_some_and(|object| object.get(name).is_some())))
            }
            ("contains", [Kind::List(items), wanted]) => self.has(items, wanted).map(Kind::Bool),
            ("contains", [Kind::Text(text), Kind::Text(part)]) => {
                Ok(Kind::Bool(text.to_lowercase().contains(&part.to_lowercase())))
            }
            _ => return None,
        })
    }

    /// Of whole lists and objects, and of what lies in them.
    pub(super) fn collections(&self) -> Option<Value> {
        Some(match (self.name, self.values) {
            ("union", [Kind::List(_), ..]) => self.union_of_lists(),
            ("union", [Kind::Object(_), ..]) => self.merged(self.values, true),
            ("shallowmerge", [Kind::List(items)]) => self.merged(&kinds(items), false),
            ("intersection", [Kind::List(first), rest @ ..]) => self.intersection(first, rest),
            ("flatten", [Kind::List(items)]) => self.concat_lists(&kinds(items)),
            ("items", [Kind::Object(members)]) => {
                let item = |(name, member): &(Rc<str>, Node)| {
                    let name = made(Kind::Text(Rc::clone(name)));
                    Kind::Object([("key".into(), name), ("value".into(), member.clone())].into())
                };
                list(sorted(members).iter().map(item).collect())
            }
            ("objectkeys", [Kind::Object(members)]) => {
                list(sorted(members).into_iter().map(|(name, _)| Kind::Text(name)).collect())
            }
            ("indexof" | "lastindexof", [Kind::List(items), wanted]) => self.index_of(items, wanted),
            ("tryget", [whole, parts @ ..]) => Ok(try_get(whole, parts)),
            ("indexfromend", [Kind::List(items), Kind::Integer(back)]) => {
                from_end(items, *back).ok_or_else(|| format!("the list has no item {back} from its end"))
            }
            ("tryindexfromend", [Kind::List(items), Kind::Integer(back)]) => {
                Ok(from_end(items, *back).unwrap_or(Kind::Null))
            }
            _ => return None,
        })
    }

    fn has(&self, items: &[Node], wanted: &Kind) -> Result<bool, String> {
        for item in items {
            if self.are_equal(&item.kind, wanted)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn index_of(&self, items: &[Node], wanted: &Kind) -> Value {
        let mut found = -1;
        for (index, item) in (0i64..).zip(items) {
            if self.are_equal(&item.kind, wanted)? {
                found = index;
                if self.name == "indexof" {
                    break;
                }
            }
        }
        Ok(Kind::Integer(found))
    }

    /// Each item once.
    fn union_of_lists(&self) -> Value {
        let mut all: Vec<Node> = Vec::new();
        for value in self.values {
            let Kind::List(items) = value else { return self.wrong() };
            for item in items.iter() {
                if !self.has(&all, &item.kind)? {
                    all.push(item.clone());
                }
            }
        }
        Ok(Kind::List(all.into()))
    }

    fn intersection(&self, first: &[Node], rest: &[Kind]) -> Value {
        let mut all = first.to_vec();
        for value in rest {
            let Kind::List(items) = value else { return self.wrong() };
            let mut left = Vec::new();
            for item in all {
                if self.has(items, &item.kind)? {
                    left.push(item);
                }
            }
            all = left;
        }
        Ok(Kind::List(all.into()))
    }

    /// Objects into one, the last word of each member; if deep, objects in them alike.
    fn merged(&self, values: &[Kind], is_deep: bool) -> Value {
        let mut all = Kind::Object([].into());
        for value in values {
            all = match value {
                Kind::Object(_) => self.merge(&all, value, is_deep)?,
                Kind::Null => all,
                _ => return self.wrong(),
            };
        }
        Ok(all)
    }

    fn merge(&self, one: &Kind, other: &Kind, is_deep: bool) -> Value {
        let mut members = one.members().to_vec();
        for (name, node) in other.members() {
            self.template.pay(1 + members.len())?;
            let Some((_, known)) = members.iter_mut().find(|(key, _)| key.eq_ignore_ascii_case(name)) else {
                members.push((Rc::clone(name), node.clone()));
                continue;
            };
            let are_objects = matches!((&known.kind, &node.kind), (Kind::Object(_), Kind::Object(_)));
            let kind = if are_objects && is_deep {
                self.merge(&known.kind, &node.kind, true)?
            } else {
                node.kind.clone()
            };
            *known = Node { place: Rc::clone(&node.place), kind };
        }
        Ok(Kind::Object(members.into()))
    }
}

fn kinds(items: &[Node]) -> Vec<Kind> {
    items.iter().map(|item| item.kind.clone()).collect()
}

/// By name, as Azure has them.
fn sorted(members: &[(Rc<str>, Node)]) -> Vec<(Rc<str>, Node)> {
    let mut members = members.to_vec();
    members.sort_by_key(|(name, _)| name.to_lowercase());
    members
}

/// Null where some part is not there.
fn try_get(whole: &Kind, parts: &[Kind]) -> Kind {
    let found = parts.iter().try_fold(whole.clone(), |whole, part| super::part(&whole, part));
    found.unwrap_or(Kind::Null)
}

/// 1 is the last.
fn from_end(items: &[Node], back: i64) -> Option<Kind> {
    let index = items.len().checked_sub(usize::try_from(back).ok().filter(|back| *back > 0)?)?;
    items.get(index).map(|item| item.kind.clone())
}
