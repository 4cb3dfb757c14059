//! Functions of texts.

use super::{Call, integer, list};
use crate::import::arm::template::{LENGTH_MAX, Value};
use crate::import::arm::tree::{self, Kind};

impl Call<'_> {
    pub(super) fn texts(&self) -> Option<Value> {
        let text = |text: String| Ok(Kind::Text(text.into()));
        Some(match (self.name, self.values) {
            ("concat", [Kind::List(_), ..]) => self.concat_lists(self.values),
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
            _ => return None,
        })
    }

    /// What is where in a text; and what a text says as JSON.
    pub(super) fn parts_of_texts(&self) -> Option<Value> {
        Some(match (self.name, self.values) {
            ("indexof", [Kind::Text(value), Kind::Text(part)]) => Ok(Kind::Integer(
                value
                    .to_lowercase()
                    .find(&part.to_lowercase())
                    .and_then(|at| i64::try_from(at).ok())
                    .unwrap_or(-1),
            )),
            ("lastindexof", [Kind::Text(value), Kind::Text(part)]) => Ok(Kind::Integer(
                value
                    .to_lowercase()
                    .rfind(&part.to_lowercase())
                    .and_then(|at| i64::try_from(at).ok())
                    .unwrap_or(-1),
            )),
            ("json", [Kind::Text(text)]) => {
                self.within(text.len()).and_then(|()| tree::from_text(text)).map(|node| node.kind)
            }
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
    pub(super) fn within(&self, length: usize) -> Result<(), String> {
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

    /// `{0}` and `{1}`, with `{{` for a brace; of .NET's formats `{0:D3}`, others are refused.
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
            let (number, form) = index.split_once(':').unwrap_or((index, ""));
            let value = number.trim().parse::<usize>().ok().and_then(|index| values.get(index));
            let value = value.ok_or_else(|| {
                format!("format() has {{{index}}}, which is none of its {} values", values.len())
            })?;
            match (form, form.strip_prefix(['D', 'd']).map(str::parse), value) {
                ("", _, _) => text.push_str(&self.plain(value)?),
                (_, Some(Ok(width)), Kind::Integer(number)) if width <= 20 => {
                    text.push_str(&format!("{number:0width$}"));
                }
                _ => return Err(format!("format() has {{{index}}}, which is not known here")),
            }
            self.within(text.len())?;
            rest = behind;
        }
        text.push_str(rest);
        Ok(text)
    }
}

fn skipped(text: &str, count: i64) -> String {
    text.chars().skip(usize::try_from(count).unwrap_or(0)).collect()
}

fn taken(text: &str, count: i64) -> String {
    text.chars().take(usize::try_from(count).unwrap_or(0)).collect()
}
