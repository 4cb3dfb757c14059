//! What was found while importing, and where.

use std::fmt;
use std::rc::Rc;

/// The most findings kept. Who has more has one mistake many times over, or the wrong file.
const FINDINGS_MAX: usize = 1000;

/// The most characters of a finding: what it quotes may be a whole file.
const CHARACTERS_MAX: usize = 600;

/// The most names that a suggestion is chosen from.
const SUGGESTED_MAX: usize = 200;

/// A place in one of the files. Displays as `lb.json:14:9`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Place {
    /// The file, as the user named it.
    pub file: Rc<str>,
    /// From 1; 0 for the file as a whole.
    pub line: u32,
    /// In characters, from 1.
    pub column: u32,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => f.write_str(&self.file),
            line => write!(f, "{}:{line}:{}", self.file, self.column),
        }
    }
}

/// How much a finding weighs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Weight {
    /// It has no bearing on traffic here.
    Note,
    /// Traffic will be treated otherwise than by Azure.
    Loss,
    /// Nothing can be made of it.
    Error,
}

/// One thing that has no counterpart, or is wrong. Displays as `lb.json:14:9: note: what, and why`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// Where it was said.
    pub place: Place,
    /// How much it weighs.
    pub weight: Weight,
    /// What it is.
    pub what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let weight = match self.weight {
            Weight::Note => "note",
            Weight::Loss => "warning",
            Weight::Error => "error",
        };
        write!(f, "{}: {weight}: {}", self.place, self.what)
    }
}

/// All findings of an import.
#[derive(Default, Debug)]
pub struct Findings {
    /// By place. At most a thousand of each weight.
    pub list: Vec<Finding>,
    /// How many more there were.
    pub omitted: usize,
    /// How many there are of each weight.
    counts: [usize; 3],
}

impl Findings {
    pub(super) fn error(&mut self, place: &Place, what: impl AsRef<str>) {
        self.push(place, Weight::Error, what.as_ref());
    }

    pub(super) fn loss(&mut self, place: &Place, what: impl AsRef<str>) {
        self.push(place, Weight::Loss, what.as_ref());
    }

    pub(super) fn note(&mut self, place: &Place, what: impl AsRef<str>) {
        self.push(place, Weight::Note, what.as_ref());
    }

    fn push(&mut self, place: &Place, weight: Weight, what: &str) {
        if let Some(count) = self.counts.get_mut(weight as usize) {
            if *count >= FINDINGS_MAX {
                self.omitted += 1;
                return;
            }
            *count += 1;
        }
        let finding = Finding { place: place.clone(), weight, what: one_line(what, CHARACTERS_MAX) };
        if self.list.last() != Some(&finding) {
            self.list.push(finding);
        }
    }

    /// Those of one weight.
    pub fn of(&self, weight: Weight) -> impl Iterator<Item = &Finding> {
        self.list.iter().filter(move |finding| finding.weight == weight)
    }

    /// Whether some finding is at least as weighty.
    pub fn reach(&self, weight: Weight) -> bool {
        self.list.iter().any(|finding| finding.weight >= weight)
    }

    pub(super) fn sort(&mut self) {
        self.list.sort_by(|a, b| a.place.cmp(&b.place));
        self.list.dedup();
    }
}

/// `text` in one line, without what a terminal or a TOML comment could take for a command, and not too long.
pub(super) fn one_line(text: &str, max: usize) -> String {
    let is_odd = |c: char| {
        // Control characters; and those that turn the direction of writing, which hide what a line says.
        c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let mut line: String = text.chars().take(max).map(|c| if is_odd(c) { '?' } else { c }).collect();
    if text.chars().nth(max).is_some() {
        line.push_str(" ...");
    }
    line
}

/// "; did you mean X?", where one of `names` is near to `name`.
pub(super) fn suggestion<'n>(name: &str, names: impl IntoIterator<Item = &'n str>) -> String {
    let near = |candidate: &&str| strsim::jaro_winkler(&name.to_lowercase(), &candidate.to_lowercase());
    let best = names
        .into_iter()
        .take(SUGGESTED_MAX)
        .map(|candidate| (near(&candidate), candidate))
        .max_by(|a, b| a.0.total_cmp(&b.0));
    match best {
        Some((nearness, candidate)) if nearness > 0.85 => format!("; did you mean {candidate}?"),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_are_one_line_bounded_and_counted() {
        let place = Place { file: "f".into(), line: 3, column: 4 };
        let mut findings = Findings::default();
        findings.note(&place, "a\u{1b}[31m\nb");
        assert_eq!(findings.list[0].to_string(), "f:3:4: note: a?[31m?b");
        for number in 0..2000 {
            findings.loss(&place, number.to_string());
        }
        findings.error(&place, "x".repeat(100_000));
        assert_eq!((findings.list.len(), findings.omitted), (1002, 1000));
        assert!(findings.of(Weight::Error).next().unwrap().what.len() < 700);
        assert!(findings.reach(Weight::Error));
    }
}
