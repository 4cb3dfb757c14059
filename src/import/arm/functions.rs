//! The functions of template expressions. Those that only Azure can answer are refused with the reason.

use std::rc::Rc;

use super::expression::Expression;
use super::template::{LENGTH_MAX, Scope, Template, Value, made};
use super::tree::Kind;

/// Stand for what a deployment knows; names of resources alone decide here.
const SUBSCRIPTION: &str = "/subscriptions/subscription";
const GROUP: &str = "resource-group";

/// Functions whose answers only Azure has.
const AZURES_OWN: [&str; 12] = [
    "uniquestring",
    "guid",
    "newguid",
    "utcnow",
    "listkeys",
    "list",
    "listsecrets",
    "listaccountsas",
    "pickzones",
    "providers",
    "environment",
    "tenant",
];

pub(super) fn call(template: &Template, name: &str, arguments: &[Expression], scope: &Scope) -> Value {
    let name = name.to_ascii_lowercase();
    if AZURES_OWN.contains(&name.as_str()) || name.starts_with("list") {
        return Err(format!("{name}() has an answer in Azure only; write the value in its place"));
    }
    // The only one that does not look at all its arguments.
    if name == "if" {
        let [condition, yes, no] = arguments else { return Err("if() takes 3 arguments".to_owned()) };
        return match template.evaluate(condition, scope)? {
            Kind::Bool(true) => template.evaluate(yes, scope),
            Kind::Bool(false) => template.evaluate(no, scope),
            other => Err(format!("if() is asked by {}", other.word())),
        };
    }
    let mut values = Vec::with_capacity(arguments.len());
    for argument in arguments {
        match template.evaluate(argument, scope)? {
            Kind::Failed(why) => return Err(why.to_string()),
            value => values.push(value),
        }
    }
    let call = Call { template, name: &name, values: &values, scope };
    let value = call
        .deployment()
        .or_else(|| call.texts())
        .or_else(|| call.lists())
        .or_else(|| call.numbers())
        .or_else(|| call.logic());
    let value =
        value.unwrap_or_else(|| Err(format!("{name}() is not a function that this program knows")))?;
    let length = match &value {
        Kind::Text(text) => text.len(),
        Kind::List(items) => items.len(),
        Kind::Object(members) => members.len(),
        _ => 1,
    };
    if length > LENGTH_MAX {
        return Err(format!("{name}() makes more than {LENGTH_MAX} characters or items"));
    }
    template.pay(length)?;
    Ok(value)
}

/// `whole.part` and `whole[part]`.
pub(super) fn part(whole: &Kind, part: &Kind) -> Value {
    let found = match (whole, part) {
        (Kind::Object(_), Kind::Text(name)) => Some(
            whole
                .get(name)
                .map(|node| node.kind.clone())
                .ok_or_else(|| format!("the object has no \"{name}\"")),
        ),
        (Kind::List(items), Kind::Integer(index)) => {
            let item = usize::try_from(*index).ok().and_then(|index| items.get(index));
            Some(item.map(|node| node.kind.clone()).ok_or_else(|| format!("the list has no item {index}")))
        }
        _ => None,
    };
    match found.unwrap_or_else(|| Err(format!("{} has no such part", whole.word())))? {
        Kind::Failed(why) => Err(why.to_string()),
        kind => Ok(kind),
    }
}

struct Call<'c> {
    template: &'c Template,
    name: &'c str,
    values: &'c [Kind],
    scope: &'c Scope,
}

impl Call<'_> {
    fn wrong<T>(&self) -> Result<T, String> {
        let words: Vec<&str> = self.values.iter().map(Kind::word).collect();
        Err(format!("{}() does not take ({})", self.name, words.join(", ")))
    }

    /// A text, or a number as text.
    fn plain(&self, value: &Kind) -> Result<String, String> {
        match value {
            Kind::Text(text) => Ok(text.to_string()),
            Kind::Integer(number) => Ok(number.to_string()),
            Kind::Bool(true) => Ok("True".to_owned()),
            Kind::Bool(false) => Ok("False".to_owned()),
            _ => self.wrong(),
        }
    }

    /// What the deployment and the template know.
    fn deployment(&self) -> Option<Value> {
        let object = |members: &[(&str, String)]| {
            let members: Vec<_> =
                members.iter().map(|(name, text)| (Rc::from(*name), made(Kind::text(text)))).collect();
            Ok(Kind::Object(members.into()))
        };
        Some(match (self.name, self.values) {
            ("parameters", [Kind::Text(name)]) => self.template.parameter(name),
            ("variables", [Kind::Text(name)]) => self.template.variable(name),
            ("reference", [Kind::Text(id), ..]) => self.template.reference(id),
            ("resourcegroup", []) => {
                let id = format!("{SUBSCRIPTION}/resourceGroups/{GROUP}");
                object(&[("name", GROUP.to_owned()), ("location", "location".to_owned()), ("id", id)])
            }
            ("subscription", []) => object(&[
                ("id", SUBSCRIPTION.to_owned()),
                ("subscriptionId", "subscription".to_owned()),
                ("tenantId", "tenant".to_owned()),
            ]),
            ("deployment", []) => object(&[("name", "deployment".to_owned())]),
            ("resourceid" | "subscriptionresourceid" | "tenantresourceid", values) => {
                self.resource_id(values)
            }
            ("extensionresourceid", [Kind::Text(scope), rest @ ..]) => {
                self.resource_id(rest).map(|id| match id {
                    Kind::Text(id) => Kind::text(format!(
                        "{scope}{}",
                        id.find("/providers/").and_then(|at| id.get(at..)).unwrap_or_default()
                    )),
                    other => other,
                })
            }
            ("copyindex", values) => self.copy_index(values),
            _ => return None,
        })
    }

    /// The type has a slash; before it may stand a subscription and a resource group, behind it stand names.
    fn resource_id(&self, values: &[Kind]) -> Value {
        let texts: Option<Vec<&str>> = values.iter().map(Kind::as_text).collect();
        let Some(texts) = texts else { return self.wrong() };
        let Some(at) = texts.iter().position(|text| text.contains('/')) else { return self.wrong() };
        let (kind, names) =
            (texts.get(at).copied().unwrap_or_default(), texts.get(at + 1..).unwrap_or_default());
        let group = at.checked_sub(1).and_then(|at| texts.get(at)).copied().unwrap_or(GROUP);
        let mut kinds = kind.split('/');
        let provider = kinds.next().unwrap_or_default();
        let kinds: Vec<&str> = kinds.collect();
        // A name may hold those of its children: 'tide/web'.
        let names: Vec<&str> = names.iter().flat_map(|name| name.split('/')).collect();
        if kinds.len() != names.len() {
            return Err(format!(
                "resourceId() of {kind} takes {} names, and has {}",
                kinds.len(),
                names.len()
            ));
        }
        let path: String = kinds.iter().zip(names).map(|(kind, name)| format!("/{kind}/{name}")).collect();
        Ok(Kind::text(format!("{SUBSCRIPTION}/resourceGroups/{group}/providers/{provider}{path}")))
    }

    fn copy_index(&self, values: &[Kind]) -> Value {
        let (name, offset) = match values {
            [] => (None, 0),
            [Kind::Integer(offset)] => (None, *offset),
            [Kind::Text(name)] => (Some(&**name), 0),
            [Kind::Text(name), Kind::Integer(offset)] => (Some(&**name), *offset),
            _ => return self.wrong(),
        };
        let index = self.scope.index(name).ok_or("copyIndex() stands in no such loop")?;
        index.checked_add(offset).map(Kind::Integer).ok_or_else(|| "copyIndex() is too large".to_owned())
    }

    fn texts(&self) -> Option<Value> {
        let text = |text: String| Ok(Kind::Text(text.into()));
        Some(match (self.name, self.values) {
            ("concat", [Kind::List(_), ..]) => self.concat_lists(),
            ("concat", values) => {
                values.iter().map(|value| self.plain(value)).collect::<Result<String, _>>().and_then(text)
            }
            ("format", [Kind::Text(pattern), rest @ ..]) => self.format(pattern, rest).and_then(text),
            ("string", [value]) => self.plain(value).and_then(text),
            ("tolower", [Kind::Text(value)]) => text(value.to_lowercase()),
            ("toupper", [Kind::Text(value)]) => text(value.to_uppercase()),
            ("trim", [Kind::Text(value)]) => text(value.trim().to_owned()),
            ("replace", [Kind::Text(value), Kind::Text(old), Kind::Text(new)]) => {
                self.replace(value, old, new).and_then(text)
            }
            ("substring", [Kind::Text(value), Kind::Integer(start)]) => text(skipped(value, *start)),
            ("substring", [Kind::Text(value), Kind::Integer(start), Kind::Integer(length)]) => {
                text(taken(&skipped(value, *start), *length))
            }
            ("take", [Kind::Text(value), Kind::Integer(length)]) => text(taken(value, *length)),
            ("skip", [Kind::Text(value), Kind::Integer(start)]) => text(skipped(value, *start)),
            ("first", [Kind::Text(value)]) => text(value.chars().take(1).collect()),
            ("last", [Kind::Text(value)]) => text(value.chars().next_back().into_iter().collect()),
            ("padleft", [value, Kind::Integer(width), rest @ ..]) => self.plain(value).and_then(|value| {
                let fill =
                    rest.first().and_then(Kind::as_text).and_then(|text| text.chars().next()).unwrap_or(' ');
                let width = usize::try_from(*width).unwrap_or(0).min(1000);
                let missing = width.saturating_sub(value.chars().count());
                text(std::iter::repeat_n(fill, missing).chain(value.chars()).collect())
            }),
            ("split", [Kind::Text(value), Kind::Text(by)]) if !by.is_empty() => {
                list(value.split(&**by).take(LENGTH_MAX + 1).map(Kind::text).collect())
            }
            ("join", [Kind::List(items), Kind::Text(by)]) => {
                let parts: Result<Vec<String>, String> =
                    items.iter().map(|item| self.plain(&item.kind)).collect();
                parts.and_then(|parts| {
                    self.within(parts.iter().map(String::len).sum::<usize>() + parts.len() * by.len())
                        .and_then(|()| text(parts.join(by)))
                })
            }
            ("length", [Kind::Text(value)]) => integer(value.chars().count()),
            ("indexof", [Kind::Text(value), Kind::Text(part)]) => Ok(Kind::Integer(
                value
                    .to_lowercase()
                    .find(&part.to_lowercase())
                    .and_then(|at| i64::try_from(at).ok())
                    .unwrap_or(-1),
            )),
            ("startswith", [Kind::Text(value), Kind::Text(part)]) => {
                Ok(Kind::Bool(value.to_lowercase().starts_with(&part.to_lowercase())))
            }
            ("endswith", [Kind::Text(value), Kind::Text(part)]) => {
                Ok(Kind::Bool(value.to_lowercase().ends_with(&part.to_lowercase())))
            }
            _ => return None,
        })
    }

    /// Asked before something long is made.
    fn within(&self, length: usize) -> Result<(), String> {
        if length > LENGTH_MAX {
            return Err(format!("{}() makes more than {LENGTH_MAX} characters", self.name));
        }
        self.template.pay(length)
    }

    fn replace(&self, value: &str, old: &str, new: &str) -> Result<String, String> {
        if old.is_empty() {
            return self.wrong();
        }
        self.within(value.len().saturating_add(value.matches(old).count().saturating_mul(new.len())))?;
        Ok(value.replace(old, new))
    }

    /// `{0}` and `{1}`, with `{{` for a brace; widths and formats of .NET are refused.
    fn format(&self, pattern: &str, values: &[Kind]) -> Result<String, String> {
        let mut text = String::new();
        let mut rest = pattern;
        while let Some(at) = rest.find(['{', '}']) {
            let (before, behind) = rest.split_at(at);
            text.push_str(before);
            if let Some(behind) = behind.strip_prefix("{{").or_else(|| behind.strip_prefix("}}")) {
                text.push_str(rest.get(at..=at).unwrap_or_default());
                rest = behind;
                continue;
            }
            let inner = behind.strip_prefix('{').and_then(|inner| inner.split_once('}'));
            let Some((index, behind)) = inner else {
                return Err(format!("format() has a lone brace in \"{pattern}\""));
            };
            let value = index.trim().parse::<usize>().ok().and_then(|index| values.get(index));
            let value = value.ok_or_else(|| {
                format!("format() has {{{index}}}, which is none of its {} values", values.len())
            })?;
            text.push_str(&self.plain(value)?);
            self.within(text.len())?;
            rest = behind;
        }
        text.push_str(rest);
        Ok(text)
    }

    fn concat_lists(&self) -> Value {
        let mut items = Vec::new();
        for value in self.values {
            let Kind::List(more) = value else { return self.wrong() };
            self.within(items.len() + more.len())?;
            items.extend_from_slice(more);
        }
        Ok(Kind::List(items.into()))
    }

    fn lists(&self) -> Option<Value> {
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
            ("contains", [Kind::List(items), wanted]) => {
                Ok(Kind::Bool(items.iter().any(|item| are_equal(&item.kind, wanted) == Some(true))))
            }
            ("contains", [Kind::Text(text), Kind::Text(part)]) => {
                Ok(Kind::Bool(text.to_lowercase().contains(&part.to_lowercase())))
            }
            _ => return None,
        })
    }

    fn numbers(&self) -> Option<Value> {
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

    fn logic(&self) -> Option<Value> {
        let boolean = |value: bool| Ok(Kind::Bool(value));
        let all: Option<Vec<bool>> = self
            .values
            .iter()
            .map(|value| if let Kind::Bool(value) = value { Some(*value) } else { None })
            .collect();
        Some(match (self.name, self.values, all) {
            ("true", [], _) => boolean(true),
            ("false", [], _) => boolean(false),
            ("null", [], _) => Ok(Kind::Null),
            ("and", _, Some(all)) => boolean(all.iter().all(|value| *value)),
            ("or", _, Some(all)) => boolean(all.iter().any(|value| *value)),
            ("not", [Kind::Bool(value)], _) => boolean(!value),
            ("bool", [Kind::Bool(value)], _) => boolean(*value),
            ("bool", [Kind::Text(text)], _) => boolean(text.eq_ignore_ascii_case("true") || &**text == "1"),
            ("bool", [Kind::Integer(number)], _) => boolean(*number != 0),
            ("equals", [a, b], _) => are_equal(a, b).map_or_else(|| self.wrong(), boolean),
            ("empty", [value], _) => match value {
                Kind::Null => boolean(true),
                Kind::Text(text) => boolean(text.is_empty()),
                Kind::List(items) => boolean(items.is_empty()),
                Kind::Object(members) => boolean(members.is_empty()),
                _ => self.wrong(),
            },
            ("coalesce", values, _) => {
                Ok(values.iter().find(|value| !matches!(value, Kind::Null)).cloned().unwrap_or(Kind::Null))
            }
            ("greater", [Kind::Integer(a), Kind::Integer(b)], _) => boolean(a > b),
            ("greaterorequals", [Kind::Integer(a), Kind::Integer(b)], _) => boolean(a >= b),
            ("less", [Kind::Integer(a), Kind::Integer(b)], _) => boolean(a < b),
            ("lessorequals", [Kind::Integer(a), Kind::Integer(b)], _) => boolean(a <= b),
            _ => return None,
        })
    }
}

fn list(kinds: Vec<Kind>) -> Value {
    Ok(Kind::List(kinds.into_iter().map(made).collect()))
}

fn integer(count: usize) -> Value {
    i64::try_from(count).map(Kind::Integer).map_err(|_| "the number is too large".to_owned())
}

/// `None` for what is not compared: whole lists and objects may be as large as they like.
fn are_equal(a: &Kind, b: &Kind) -> Option<bool> {
    match (a, b) {
        (Kind::List(_) | Kind::Object(_), _) | (_, Kind::List(_) | Kind::Object(_)) => None,
        (Kind::Text(a), Kind::Text(b)) => Some(a == b),
        (Kind::Integer(a), Kind::Integer(b)) => Some(a == b),
        (Kind::Bool(a), Kind::Bool(b)) => Some(a == b),
        (Kind::Null, Kind::Null) => Some(true),
        _ => Some(false),
    }
}

fn skipped(text: &str, count: i64) -> String {
    text.chars().skip(usize::try_from(count).unwrap_or(0)).collect()
}

fn taken(text: &str, count: i64) -> String {
    text.chars().take(usize::try_from(count).unwrap_or(0)).collect()
}

#[cfg(test)]
mod tests;
