//! Findings: what is wrong with a configuration, where, and how to mend it.
//!
//! Nothing here stops at the first error. Whoever reads or checks a part puts what was found into a
//! [`Report`] and goes on; at the end the report is either a list of warnings or a list of errors.

use std::fmt;
use std::sync::Arc;

use super::problem::Problem;

/// Where something was said.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Place {
    /// The configuration as a whole.
    Whole,
    /// A line of the file, from 1.
    Line(u32),
    /// A flag, with its dashes.
    Flag(&'static str),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole => f.write_str("the configuration"),
            Self::Line(line) => write!(f, "line {line}"),
            Self::Flag(flag) => f.write_str(flag),
        }
    }
}

/// One thing that is wrong or odd. Displays as `guideway.toml:14: what, and how to mend it`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// The file's name as the user gave it; empty where there is no file.
    pub file: Arc<str>,
    /// Where in it, or which flag.
    pub place: Place,
    /// What is wrong.
    pub problem: Problem,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place {
            Place::Flag(flag) => write!(f, "{flag}: ")?,
            Place::Line(line) => write!(f, "{}:{line}: ", self.file)?,
            Place::Whole if self.file.is_empty() => {}
            Place::Whole => write!(f, "{}: ", self.file)?,
        }
        write!(f, "{}", self.problem)
    }
}

/// All errors of a configuration, by line, then flags. Never empty. Displays one line per finding.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Findings {
    /// At most [`FINDINGS_MAX`].
    pub list: Vec<Finding>,
    /// How many more there were.
    pub omitted: usize,
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, finding) in self.list.iter().enumerate() {
            let line_end = if index == 0 { "" } else { "\n" };
            write!(f, "{line_end}{finding}")?;
        }
        match self.omitted {
            0 => Ok(()),
            more => write!(f, "\nand {more} more; mend these first"),
        }
    }
}

impl std::error::Error for Findings {}

/// The most findings kept. Who has more has one mistake many times over, or the wrong file.
pub const FINDINGS_MAX: usize = 1000;

/// What has been found so far.
#[derive(Default)]
pub(crate) struct Report {
    errors: Bounded,
    warnings: Bounded,
}

#[derive(Default)]
struct Bounded {
    list: Vec<(Place, Problem)>,
    omitted: usize,
}

impl Bounded {
    fn push(&mut self, place: Place, problem: Problem) {
        if self.list.len() < FINDINGS_MAX {
            self.list.push((place, problem));
        } else {
            self.omitted += 1;
        }
    }

    fn sealed(mut self, file: &str) -> Findings {
        self.list.sort_by_key(|(place, _)| *place);
        let file: Arc<str> = file.into();
        let seal = |(place, problem)| Finding { file: Arc::clone(&file), place, problem };
        Findings { list: self.list.into_iter().map(seal).collect(), omitted: self.omitted }
    }
}

impl Report {
    /// The configuration cannot be used.
    pub(crate) fn error(&mut self, place: Place, problem: impl Into<Problem>) {
        self.errors.push(place, problem.into());
    }

    /// The configuration can be used, but is likely not what was meant.
    pub(crate) fn warn(&mut self, place: Place, problem: impl Into<Problem>) {
        self.warnings.push(place, problem.into());
    }

    /// The warnings, or, where there are errors, these alone: next to errors, warnings mislead.
    pub(crate) fn finish(self, file: &str) -> Result<Vec<Finding>, Findings> {
        if self.errors.list.is_empty() {
            Ok(self.warnings.sealed(file).list)
        } else {
            Err(self.errors.sealed(file))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::problem::{FileProblem, RuleProblem};

    #[test]
    fn findings_are_sorted_by_line_and_flags_come_last() {
        let mut report = Report::default();
        report.error(Place::Flag("--port"), RuleProblem::NoRules);
        report.error(Place::Line(12), RuleProblem::NoRules);
        report.error(Place::Whole, FileProblem::TooLarge { max: 1 });
        report.error(Place::Line(3), RuleProblem::NoRules);
        let places: Vec<_> =
            report.finish("f").unwrap_err().list.iter().map(|finding| finding.place).collect();
        assert_eq!(places, [Place::Whole, Place::Line(3), Place::Line(12), Place::Flag("--port")]);
    }

    #[test]
    fn findings_are_bounded_and_the_rest_is_counted() {
        let mut report = Report::default();
        for line in 0..1005 {
            report.error(Place::Line(line), RuleProblem::NoRules);
        }
        let findings = report.finish("f").unwrap_err();
        assert_eq!((findings.list.len(), findings.omitted), (FINDINGS_MAX, 5));
        assert!(findings.to_string().ends_with("\nand 5 more; mend these first"));
    }
}
