//! Functions of numbers, and of what is true.

use super::Call;
use crate::import::arm::template::Value;
use crate::import::arm::tree::Kind;

impl Call<'_> {
    pub(super) fn numbers(&self) -> Option<Value> {
        let pair = |result: Option<i64>| {
            result.map(Kind::Integer).ok_or_else(|| format!("{}() has no result", self.name))
        };
        Some(match (self.name, self.values) {
            ("add", [Kind::Integer(a), Kind::Integer(b)]) => pair(a.checked_add(*b)),
            ("sub", [Kind::Integer(a), Kind::Integer(b)]) => pair(a.checked_sub(*b)),
            ("mul", [Kind::Integer(a), Kind::Integer(b)]) => pair(a.checked_mul(*b)),
            ("div", [Kind::Integer(a), Kind::Integer(b)]) => pair(a.checked_div(*b)),
            ("mod", [Kind::Integer(a), Kind::Integer(b)]) => pair(a.checked_rem(*b)),
            ("int", [Kind::Integer(number)]) => Ok(Kind::Integer(*number)),
            ("int", [Kind::Text(text)]) => pair(text.trim().parse().ok()),
            ("min" | "max", values) => {
                let items = match values {
                    [Kind::List(items)] => items.iter().map(|item| item.kind.clone()).collect(),
                    values => values.to_vec(),
                };
                let numbers: Option<Vec<i64>> = items
                    .iter()
                    .map(|item| if let Kind::Integer(number) = item { Some(*number) } else { None })
                    .collect();
                let Some(numbers) = numbers else { return Some(self.wrong()) };
                pair(if self.name == "min" {
                    numbers.iter().min().copied()
                } else {
                    numbers.iter().max().copied()
                })
            }
            _ => return None,
        })
    }

    pub(super) fn logic(&self) -> Option<Value> {
        let boolean = |value: bool| Ok(Kind::Bool(value));
        Some(match (self.name, self.values) {
            ("true", []) => boolean(true),
            ("false", []) => boolean(false),
            ("null", []) => Ok(Kind::Null),
            ("not", [Kind::Bool(value)]) => boolean(!value),
            ("bool", [Kind::Bool(value)]) => boolean(*value),
            ("bool", [Kind::Text(text)]) => boolean(text.eq_ignore_ascii_case("true") || &**text == "1"),
            ("bool", [Kind::Integer(number)]) => boolean(*number != 0),
            ("equals", [a, b]) => self.are_equal(a, b).and_then(boolean),
            ("empty", [value]) => match value {
                Kind::Null => boolean(true),
                Kind::Text(text) => boolean(text.is_empty()),
                Kind::List(items) => boolean(items.is_empty()),
                Kind::Object(members) => boolean(members.is_empty()),
                _ => self.wrong(),
            },
            ("greater", [Kind::Text(a), Kind::Text(b)]) => boolean(a > b),
            ("greaterorequals", [Kind::Text(a), Kind::Text(b)]) => boolean(a >= b),
            ("less", [Kind::Text(a), Kind::Text(b)]) => boolean(a < b),
            ("lessorequals", [Kind::Text(a), Kind::Text(b)]) => boolean(a <= b),
            ("greater", [Kind::Integer(a), Kind::Integer(b)]) => boolean(a > b),
            ("greaterorequals", [Kind::Integer(a), Kind::Integer(b)]) => boolean(a >= b),
            ("less", [Kind::Integer(a), Kind::Integer(b)]) => boolean(a < b),
            ("lessorequals", [Kind::Integer(a), Kind::Integer(b)]) => boolean(a <= b),
            _ => return None,
        })
    }

    /// Whole lists and objects, too; what is compared is paid for, for they may be as large as they like.
    pub(super) fn are_equal(&self, a: &Kind, b: &Kind) -> Result<bool, String> {
        self.template.pay(1)?;
        Ok(match (a, b) {
            (Kind::Text(a), Kind::Text(b)) => a == b,
            (Kind::Integer(a), Kind::Integer(b)) => a == b,
            (Kind::Bool(a), Kind::Bool(b)) => a == b,
            (Kind::Null, Kind::Null) => true,
            (Kind::Failed(why), _) | (_, Kind::Failed(why)) => return Err(why.to_string()),
            (Kind::List(a), Kind::List(b)) if a.len() == b.len() => {
                for (a, b) in a.iter().zip(b.iter()) {
                    if !self.are_equal(&a.kind, &b.kind)? {
                        return Ok(false);
                    }
                }
                true
            }
            (Kind::Object(members), Kind::Object(others)) if members.len() == others.len() => {
                for (name, member) in members.iter() {
                    self.template.pay(others.len())?;
                    let Some(other) = b.get(name) else { return Ok(false) };
                    if !self.are_equal(&member.kind, &other.kind)? {
                        return Ok(false);
                    }
                }
                true
            }
            _ => false,
        })
    }
}
