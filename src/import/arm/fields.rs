//! An object of a resource, read field by field; what nobody has read at the end is reported.

use std::rc::Rc;

use super::tree::{Kind, Node};
use crate::import::report::{Findings, Place, suggestion};

/// What Azure says of an object and does not take, and what says where it is and not what it does.
const ENVELOPE: [&str; 16] = [
    "name",
    "type",
    "apiVersion",
    "location",
    "dependsOn",
    "comments",
    "metadata",
    "id",
    "etag",
    "resourceGuid",
    "provisioningState",
    "resourceGroup",
    "copy",
    "condition",
    "resources",
    "$schema",
];

/// The name of a resource or of a part of it, out of its id: `.../loadBalancers/tide/probes/ready`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Id {
    segments: Vec<String>,
    pub(super) text: String,
}

impl Id {
    pub(super) fn new(text: &str) -> Self {
        Self { segments: text.split('/').map(str::to_owned).collect(), text: text.to_owned() }
    }

    /// What stands behind a word, `loadBalancers` or `probes`. In lower case, for names do not differ by it.
    pub(super) fn named(&self, kind: &str) -> Option<String> {
        let at = self.segments.iter().rposition(|segment| segment.eq_ignore_ascii_case(kind))?;
        self.segments.get(at + 1).map(|name| name.to_lowercase())
    }
}

/// The fields of an object together with those in its `properties`.
pub(super) struct Fields {
    pub(super) place: Place,
    /// How findings call the object.
    pub(super) subject: String,
    entries: Vec<(Rc<str>, Node, bool)>,
    /// All that was asked for, for suggestions.
    asked: Vec<String>,
}

impl Fields {
    /// `subject` is completed by the object's name.
    pub(super) fn of(node: &Node, subject: &str, outer: &Place, findings: &mut Findings) -> Self {
        let place = place_of(node, outer);
        let mut fields = Self { place, subject: subject.to_owned(), entries: Vec::new(), asked: Vec::new() };
        match &node.kind {
            Kind::Object(_) => {}
            Kind::Failed(why) => findings.error(&fields.place, why),
            other => findings.error(&fields.place, format!("{subject} is {}, not an object", other.word())),
        }
        for (name, member) in node.kind.members() {
            if !name.eq_ignore_ascii_case("properties") {
                fields.entries.push((Rc::clone(name), member.clone(), false));
                continue;
            }
            if let Kind::Failed(why) = &member.kind {
                findings.error(&place_of(member, &fields.place), why);
            }
            fields.entries.extend(
                member.kind.members().iter().map(|(name, node)| (Rc::clone(name), node.clone(), false)),
            );
        }
        let name = fields.peek("name").and_then(|node| node.kind.as_text().map(str::to_owned));
        if let Some(name) = name {
            fields.subject = format!("{subject} {name}");
        }
        fields
    }

    fn peek(&self, name: &str) -> Option<&Node> {
        self.entries.iter().find(|(key, _, _)| key.eq_ignore_ascii_case(name)).map(|(_, node, _)| node)
    }

    /// Reports a field that is not there; one that is wrong is reported when it is read.
    pub(super) fn need(&self, names: &[&str], findings: &mut Findings) {
        for name in names {
            if self.peek(name).is_none_or(|node| matches!(node.kind, Kind::Null)) {
                findings.error(&self.place, format!("{} needs a {name}", self.subject));
            }
        }
    }

    /// Takes a field; null is as if it were not there.
    pub(super) fn take(&mut self, name: &str) -> Option<Node> {
        let place = self.place.clone();
        self.asked.push(name.to_owned());
        let mut found = None;
        for (key, node, is_taken) in &mut self.entries {
            if key.eq_ignore_ascii_case(name) {
                *is_taken = true;
                found = Some(Node { place: Rc::new(place_of(node, &place)), kind: node.kind.clone() });
            }
        }
        found.filter(|node| !matches!(node.kind, Kind::Null))
    }

    fn wrong(&self, name: &str, node: &Node, wanted: &str, findings: &mut Findings) {
        let what = match &node.kind {
            Kind::Failed(why) => format!("{name} of {}: {why}", self.subject),
            Kind::Text(text) => format!("{} has {name} \"{text}\"; {wanted}", self.subject),
            Kind::Integer(number) => format!("{} has {name} {number}; {wanted}", self.subject),
            other => format!("{name} of {} is {}; {wanted}", self.subject, other.word()),
        };
        findings.error(&node.place, what);
    }

    pub(super) fn name(&mut self, findings: &mut Findings) -> String {
        let name = self.text("name", findings);
        if name.is_none() && self.peek("name").is_none() {
            findings.error(&self.place, format!("{} has no name", self.subject));
        }
        name.unwrap_or_default()
    }

    pub(super) fn text(&mut self, name: &str, findings: &mut Findings) -> Option<String> {
        let node = self.take(name)?;
        if node.kind.as_text().is_none() {
            self.wrong(name, &node, "it must be text", findings);
        }
        node.kind.as_text().map(str::to_owned)
    }

    /// One of a few words, in lower case.
    pub(super) fn word(&mut self, name: &str, words: &[&str], findings: &mut Findings) -> Option<String> {
        let node = self.take(name)?;
        let word = node.kind.as_text().map(str::to_lowercase);
        let found = word.filter(|word| words.iter().any(|known| known.eq_ignore_ascii_case(word)));
        if found.is_none() {
            self.wrong(name, &node, &format!("it must be one of {}", words.join(", ")), findings);
        }
        found
    }

    /// A number, also as text, as some templates have it.
    pub(super) fn number(&mut self, name: &str, min: i64, max: i64, findings: &mut Findings) -> Option<i64> {
        let node = self.take(name)?;
        let number = match &node.kind {
            Kind::Integer(number) => Some(*number),
            Kind::Text(text) => text.trim().parse().ok(),
            _ => None,
        };
        let number = number.filter(|number| (min..=max).contains(number));
        if number.is_none() {
            self.wrong(name, &node, &format!("it must be a number from {min} to {max}"), findings);
        }
        number
    }

    pub(super) fn port(&mut self, name: &str, min: i64, max: i64, findings: &mut Findings) -> Option<u16> {
        self.number(name, min, max, findings).and_then(|port| u16::try_from(port).ok())
    }

    pub(super) fn is_true(&mut self, name: &str, findings: &mut Findings) -> Option<bool> {
        let node = self.take(name)?;
        match &node.kind {
            Kind::Bool(value) => Some(*value),
            Kind::Text(text) if text.eq_ignore_ascii_case("true") => Some(true),
            Kind::Text(text) if text.eq_ignore_ascii_case("false") => Some(false),
            _ => {
                self.wrong(name, &node, "it must be true or false", findings);
                None
            }
        }
    }

    pub(super) fn list(&mut self, name: &str, findings: &mut Findings) -> Vec<Node> {
        let Some(node) = self.take(name) else { return Vec::new() };
        if !matches!(node.kind, Kind::List(_)) {
            self.wrong(name, &node, "it must be a list", findings);
        }
        let inner =
            |item: &Node| Node { place: Rc::new(place_of(item, &node.place)), kind: item.kind.clone() };
        node.kind.items().iter().map(inner).collect()
    }

    /// `{"id": "..."}`.
    pub(super) fn id(&mut self, name: &str, findings: &mut Findings) -> Option<(Id, Place)> {
        let node = self.take(name)?;
        let found = id_of(&node);
        if found.is_none() {
            let inner = node.kind.get("id").cloned().filter(|inner| matches!(inner.kind, Kind::Failed(_)));
            let inner =
                inner.map(|inner| Node { place: Rc::new(place_of(&inner, &node.place)), kind: inner.kind });
            self.wrong(name, inner.as_ref().unwrap_or(&node), "it must be an object with an id", findings);
        }
        found.map(|id| (id, (*node.place).clone()))
    }

    pub(super) fn ids(&mut self, name: &str, findings: &mut Findings) -> Vec<(Id, Place)> {
        let items = self.list(name, findings);
        let mut found = Vec::new();
        for item in items {
            match id_of(&item) {
                Some(id) => found.push((id, (*item.place).clone())),
                None => self.wrong(
                    name,
                    item.kind.get("id").unwrap_or(&item),
                    "it must be objects with an id",
                    findings,
                ),
            }
        }
        found
    }

    /// Fields that Azure tells and does not take.
    pub(super) fn skip(&mut self, names: &[&str]) {
        for name in names {
            self.take(name);
        }
    }

    /// Fields that have no bearing here.
    pub(super) fn note(&mut self, name: &str, why: &str, findings: &mut Findings) {
        if let Some(node) = self.take(name).filter(says_something) {
            findings.note(&node.place, format!("{name} of {}: not applicable: {why}", self.subject));
        }
    }

    /// Fields that have a bearing, and no counterpart.
    pub(super) fn lose(&mut self, name: &str, why: &str, findings: &mut Findings) {
        if let Some(node) = self.take(name).filter(says_something) {
            findings.loss(&node.place, format!("{name} of {}: {why}", self.subject));
        }
    }

    /// Reports what nobody has read.
    pub(super) fn finish(self, findings: &mut Findings) {
        for (name, node, is_taken) in &self.entries {
            let is_envelope = ENVELOPE.iter().any(|known| known.eq_ignore_ascii_case(name));
            if *is_taken || is_envelope || !says_something(node) {
                continue;
            }
            let suggestion = suggestion(name, self.asked.iter().map(String::as_str));
            let what = format!(
                "{} has a field \"{name}\" that is unknown here, and left out{suggestion}",
                self.subject
            );
            findings.loss(&place_of(node, &self.place), what);
        }
    }
}

/// Neither null nor empty, as compiled templates have what nobody has asked for.
fn says_something(node: &Node) -> bool {
    match &node.kind {
        Kind::Null => false,
        Kind::List(items) => !items.is_empty(),
        Kind::Object(members) => !members.is_empty(),
        _ => true,
    }
}

fn id_of(node: &Node) -> Option<Id> {
    node.kind.get("id").and_then(|id| id.kind.as_text()).map(Id::new)
}

/// What an expression made has no place of its own.
pub(super) fn place_of(node: &Node, outer: &Place) -> Place {
    if node.place.line == 0 { outer.clone() } else { (*node.place).clone() }
}
