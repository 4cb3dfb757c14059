//! From the bytes of a file to a tree of values that know their lines.
//!
//! The parser recovers from syntax errors, so the tree may have holes. What lies on a damaged line is taken
//! as broken, and what a damaged section lacks as broken too: one slip is one finding.

use std::collections::HashSet;
use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::path::Path;

use toml::de::{DeTable, DeValue};

use super::error::{Place, Report};
use super::problem::FileProblem;

/// The longest file that is read, in bytes: some two hundred thousand backends, a line each.
pub const FILE_BYTES_MAX: u64 = 16 << 20;

/// Above this only the first syntax error is reported: the parser keeps every error it recovers from, and
/// these may outgrow the file a hundredfold.
const RECOVERY_BYTES_MAX: usize = 1 << 20;

/// The text of the file at `path`.
pub(crate) fn read(path: &Path, report: &mut Report) -> Option<String> {
    match read_bytes(path) {
        Ok(bytes) => decode(bytes, report),
        Err(problem) => {
            report.error(Place::Whole, problem);
            None
        }
    }
}

fn read_bytes(path: &Path) -> Result<Vec<u8>, FileProblem> {
    let unreadable = |error: std::io::Error| FileProblem::Unreadable(error.to_string());
    // Asked before opening, for opening a pipe waits for its writer.
    if !std::fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err(FileProblem::NotAFile);
    }
    let file = File::open(path).map_err(unreadable)?;
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    Ok(bytes)
}

fn decode(bytes: Vec<u8>, report: &mut Report) -> Option<String> {
    match String::from_utf8(bytes) {
        Ok(text) => Some(text),
        Err(error) => {
            let sound = error.as_bytes().get(..error.utf8_error().valid_up_to()).unwrap_or_default();
            let line = 1 + sound.iter().filter(|byte| **byte == b'\n').count();
            report.error(Place::Line(line_number(line)), FileProblem::NotUtf8);
            None
        }
    }
}

/// The parser's words in one line; and better ones for the commonest slip.
fn plain(message: &str) -> String {
    let message = message.replace('\n', " ");
    if message.starts_with("string values must be quoted") {
        return "put the value in double quotes".to_owned();
    }
    message
}

fn line_number(line: usize) -> u32 {
    u32::try_from(line).unwrap_or(u32::MAX)
}

/// A text, the lines in it, and which of them are no TOML.
pub(crate) struct Source<'t> {
    text: &'t str,
    /// Where each line begins, in bytes.
    line_starts: Vec<usize>,
    /// Lines, from 1, that begin a section.
    header_lines: Vec<u32>,
    /// Lines with syntax errors, ascending.
    damaged_lines: Vec<u32>,
    /// Whether a syntax error has swallowed a section.
    pub(crate) is_partial: bool,
}

impl<'t> Source<'t> {
    /// Parses `text`; what cannot be parsed is reported and left out of the tree.
    pub(crate) fn parse(text: &'t str, report: &mut Report) -> (Self, DeTable<'t>) {
        let mut source = Self::new(text);
        if text.len() as u64 > FILE_BYTES_MAX {
            report.error(Place::Whole, FileProblem::TooLarge { max: FILE_BYTES_MAX });
            source.is_partial = true;
            return (source, DeTable::new());
        }
        let (tree, errors) = match DeTable::parse(text) {
            Ok(tree) => (tree.into_inner(), Vec::new()),
            Err(first) if text.len() > RECOVERY_BYTES_MAX => (DeTable::new(), vec![first]),
            Err(_) => {
                let (tree, errors) = DeTable::parse_recoverable(text);
                (tree.into_inner(), errors)
            }
        };
        source.report_syntax(&errors, report);
        source.is_partial = !errors.is_empty() && source.lacks_sections(&tree);
        (source, tree)
    }

    fn new(text: &'t str) -> Self {
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        let line_starts = std::iter::once(0).chain(ends).collect();
        let is_header = |line: &str| line.trim_start().starts_with('[');
        let headers = text.split('\n').enumerate().filter(|(_, line)| is_header(line));
        let header_lines = headers.map(|(index, _)| line_number(index + 1)).collect();
        Self { text, line_starts, header_lines, damaged_lines: Vec::new(), is_partial: false }
    }

    fn report_syntax(&mut self, errors: &[toml::de::Error], report: &mut Report) {
        let mut found = Vec::with_capacity(errors.len());
        for error in errors {
            let span = error.span().unwrap_or_default();
            let line = self.line(span.start);
            if error.message() == "duplicate key" {
                let key = self.text.get(span).unwrap_or_default().to_owned();
                found.push((line, FileProblem::RepeatedKey(key)));
            } else {
                self.damaged_lines.push(line);
                found.push((line, FileProblem::Syntax(plain(error.message()))));
            }
        }
        self.damaged_lines.sort_unstable();
        // What follows the first error of a line is mostly its echo.
        found.sort_by_key(|(line, _)| *line);
        found.dedup_by_key(|(line, _)| *line);
        for (line, problem) in found {
            report.error(Place::Line(line), problem);
        }
    }

    /// Whether a line looks like the header of a section that is not in the tree.
    fn lacks_sections(&self, tree: &DeTable<'_>) -> bool {
        let mut found = HashSet::new();
        for value in tree.values() {
            found.insert(self.line(value.span().start));
            if let DeValue::Array(items) = value.get_ref() {
                found.extend(items.iter().map(|item| self.line(item.span().start)));
            }
        }
        !self.header_lines.iter().all(|line| found.contains(line))
    }

    fn line(&self, offset: usize) -> u32 {
        line_number(self.line_starts.partition_point(|start| *start <= offset))
    }

    pub(crate) fn place(&self, span: &Range<usize>) -> Place {
        Place::Line(self.line(span.start))
    }

    fn is_damaged(&self, first: u32, last: u32) -> bool {
        let from = self.damaged_lines.partition_point(|line| *line < first);
        self.damaged_lines.get(from).is_some_and(|line| *line <= last)
    }

    pub(crate) fn value_is_damaged(&self, span: &Range<usize>) -> bool {
        !self.damaged_lines.is_empty() && self.is_damaged(self.line(span.start), self.line(span.end))
    }

    /// Whether a syntax error lies in a table: in an inline one's braces, or from a header to the next.
    pub(crate) fn table_is_damaged(&self, span: &Range<usize>) -> bool {
        let first = self.line(span.start);
        if self.text.get(span.start..).is_some_and(|rest| rest.starts_with('{')) {
            return self.value_is_damaged(span);
        }
        let next = self.header_lines.partition_point(|line| *line <= first);
        let last = self.header_lines.get(next).map_or(u32::MAX, |line| line.saturating_sub(1));
        self.is_damaged(first, last)
    }
}
