//! The functions of template expressions. Those that only Azure can answer are refused with the reason.

mod lazy;
mod lists;
mod networks;
mod stand_ins;
mod texts;
mod values;

use std::rc::Rc;

use super::expression::Expression;
use super::template::{LENGTH_MAX, Scope, Template, Value, made};
use super::tree::Kind;

/// Stand for what a deployment knows; names of resources alone decide here.
const SUBSCRIPTION: &str = "/subscriptions/subscription";
const GROUP: &str = "resource-group";

/// Functions whose answers only Azure has.
const AZURES_OWN: [&str; 6] = ["pickzones", "providers", "environment", "tenant", "deployer", "datetimeadd"];

pub(super) fn call(template: &Template, name: &str, arguments: &[Expression], scope: &Scope) -> Value {
    let name = name.to_ascii_lowercase();
    if AZURES_OWN.contains(&name.as_str()) || name.starts_with("list") {
        return Err(format!("{name}() has an answer in Azure only; write the value in its place"));
    }
    // Those that do not look at all their arguments, or at some many times.
    if let Some(value) = lazy::call(template, &name, arguments, scope) {
        return value.and_then(|value| paid(template, &name, value));
    }
    let mut values = Vec::with_capacity(arguments.len());
    for argument in arguments {
        match template.evaluate(argument, scope)? {
            Kind::Failed(why) => return Err(why.to_string()),
            value => values.push(value),
        }
    }
    if name.contains('.') {
        return template.user_function(&name, values);
    }
    let call = Call { template, name: &name, values: &values, scope };
    let value = call
        .deployment()
        .or_else(|| call.texts())
        .or_else(|| call.parts_of_texts())
        .or_else(|| call.lists())
        .or_else(|| call.collections())
        .or_else(|| call.numbers())
        .or_else(|| call.logic())
        .or_else(|| call.networks())
        .or_else(|| call.stand_ins());
    let value = value.unwrap_or_else(|| {
        let words: Vec<&str> = values.iter().map(Kind::word).collect();
        Err(format!("{name}({}) is not a function that this program knows", words.join(", ")))
    })?;
    paid(template, &name, value)
}

fn paid(template: &Template, name: &str, value: Kind) -> Value {
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
            ("parameters", [Kind::Text(name)]) => {
                self.scope.parameter(name).unwrap_or_else(|| self.template.parameter(name))
            }
            ("variables", [Kind::Text(name)]) => self.template.variable(name),
            ("reference", [Kind::Text(id), rest @ ..]) => {
                let last = rest.last().and_then(Kind::as_text).unwrap_or_default();
                self.template.reference(id, last.eq_ignore_ascii_case("full"))
            }
            ("lambdavariables", [Kind::Text(name)]) => {
                self.scope.variable(name).ok_or_else(|| format!("there is no lambda variable \"{name}\""))
            }
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
        // Some write a slash too many.
        let kinds: Vec<&str> = kinds.filter(|kind| !kind.is_empty()).collect();
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
}

fn list(kinds: Vec<Kind>) -> Value {
    Ok(Kind::List(kinds.into_iter().map(made).collect()))
}

fn integer(count: usize) -> Value {
    i64::try_from(count).map(Kind::Integer).map_err(|_| "the number is too large".to_owned())
}

#[cfg(test)]
mod tests;
