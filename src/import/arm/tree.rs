//! JSON with places. Values are shared, so that what a template repeats is not copied.

use std::collections::HashMap;
use std::rc::Rc;

use jsonc_parser::ast::Value;
use jsonc_parser::common::Ranged;
use jsonc_parser::{CollectOptions, ParseOptions};

use crate::import::report::{Findings, Place};
use crate::import::source::Source;

/// The most values in a file.
const VALUES_MAX: usize = 200_000;

/// How deep values may lie in each other. Real templates reach some twenty.
pub(super) const DEPTH_MAX: usize = 64;

#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) place: Rc<Place>,
    pub(super) kind: Kind,
}

#[derive(Clone, Debug)]
pub(super) enum Kind {
    Null,
    Bool(bool),
    Integer(i64),
    Text(Rc<str>),
    List(Rc<[Node]>),
    Object(Rc<[(Rc<str>, Node)]>),
    /// An expression that has no value, and why.
    Failed(Rc<str>),
}

impl Kind {
    pub(super) fn text(text: impl AsRef<str>) -> Self {
        Self::Text(text.as_ref().into())
    }

    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "true or false",
            Self::Integer(_) => "a number",
            Self::Text(_) => "text",
            Self::List(_) => "a list",
            Self::Object(_) => "an object",
            Self::Failed(_) => "unknown",
        }
    }

    /// A member of an object; Azure's names do not differ by case.
    pub(super) fn get(&self, name: &str) -> Option<&Node> {
        let Self::Object(members) = self else { return None };
        members.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, node)| node)
    }

    pub(super) fn items(&self) -> &[Node] {
        if let Self::List(items) = self { items } else { &[] }
    }

    pub(super) fn members(&self) -> &[(Rc<str>, Node)] {
        if let Self::Object(members) = self { members } else { &[] }
    }

    pub(super) fn as_text(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }
}

/// Reads a file, which may have comments, as templates may.
pub(super) fn read(source: &Source, findings: &mut Findings) -> Option<Node> {
    match parse(source, true) {
        Ok((node, twins)) => {
            for (place, name) in twins {
                findings.loss(&place, format!("the object has \"{name}\" twice; this, the last, is taken"));
            }
            Some(node)
        }
        Err((place, what)) => {
            findings.error(&place, what);
            None
        }
    }
}

/// Reads what an expression has as text; it has no place of its own.
pub(super) fn from_text(text: &str) -> Result<Node, String> {
    let parsed = parse(&Source::new("", text), false);
    parsed.map(|(node, _)| node).map_err(|(_, what)| format!("json(): {what}"))
}

/// Names that an object has a second time, and where.
type Twins = Vec<(Place, String)>;

fn parse(source: &Source, has_places: bool) -> Result<(Node, Twins), (Place, String)> {
    let options = ParseOptions {
        allow_comments: true,
        allow_loose_object_property_names: false,
        allow_trailing_commas: true,
        allow_missing_commas: false,
        allow_single_quoted_strings: false,
        allow_hexadecimal_numbers: false,
        allow_unary_plus_numbers: false,
        allow_bare_decimal_point_numbers: false,
        allow_non_finite_numbers: false,
        allow_extended_string_escapes: false,
    };
    let parsed = match jsonc_parser::parse_to_ast(&source.text, &CollectOptions::default(), &options) {
        Ok(parsed) => parsed.value,
        Err(error) => {
            let place = source.place(error.range().start);
            return Err((place, format!("this is not JSON: {}", error.kind())));
        }
    };
    let Some(value) = parsed else { return Err((source.whole(), "the file is empty".to_owned())) };
    let mut reader = Reader { source, has_places, left: VALUES_MAX, twins: Vec::new() };
    reader.node(&value, 0).map(|node| (node, reader.twins))
}

struct Reader<'r> {
    source: &'r Source,
    has_places: bool,
    left: usize,
    twins: Twins,
}

impl Reader<'_> {
    fn node(&mut self, value: &Value<'_>, depth: usize) -> Result<Node, (Place, String)> {
        let place =
            if self.has_places { self.source.place(value.range().start) } else { self.source.whole() };
        if depth > DEPTH_MAX {
            return Err((place, format!("values lie more than {DEPTH_MAX} deep in each other")));
        }
        let Some(left) = self.left.checked_sub(1) else {
            return Err((place, format!("the file has more than {VALUES_MAX} values; is it the right one?")));
        };
        self.left = left;
        let kind = match value {
            Value::StringLit(text) => Kind::text(&text.value),
            Value::NumberLit(number) => match number.value.parse() {
                Ok(number) => Kind::Integer(number),
                Err(_) => Kind::Failed(format!("{} is not a whole number", number.value).into()),
            },
            Value::BooleanLit(boolean) => Kind::Bool(boolean.value),
            Value::NullKeyword(_) => Kind::Null,
            Value::Array(array) => {
                let items: Result<Vec<Node>, _> =
                    array.elements.iter().map(|item| self.node(item, depth + 1)).collect();
                Kind::List(items?.into())
            }
            Value::Object(object) => {
                let mut members: Vec<(Rc<str>, Node)> = Vec::with_capacity(object.properties.len());
                let mut seen = HashMap::new();
                for property in &object.properties {
                    let name = property.name.as_str();
                    let member = (name.into(), self.node(&property.value, depth + 1)?);
                    match seen
                        .insert(name, members.len())
                        .and_then(|first| Some((first, members.get_mut(first)?)))
                    {
                        // In the place of the first, so that it stays where it is looked for.
                        Some((first, known)) => {
                            self.twins.push((self.source.place(property.range().start), name.to_owned()));
                            *known = member;
                            seen.insert(name, first);
                        }
                        None => members.push(member),
                    }
                }
                Kind::Object(members.into())
            }
        };
        Ok(Node { place: Rc::new(place), kind })
    }
}
