//! XML with places, and with words for the mistakes that people make.
//!
//! Azure's own samples of 2016 have typographic quotes and lack blanks. The first are taken for what was meant and said;
//! of the second, too, is said what was meant, but they are errors. Document types, and with them entities of one's own,
//! are refused.

use roxmltree::{Document, Node, ParsingOptions};

use super::report::{Findings, Place, suggestion};
use super::source::Source;

/// The most elements, texts and comments of a document.
const NODES_MAX: u32 = 50_000;

/// The most attributes of an element, and of a document names of namespaces: what the parser does with them grows with
/// their square. Azure's files have some ten, and three.
const ATTRIBUTES_MAX: usize = 200;
const NAMESPACES_MAX: usize = 200;

/// Reads `source`, and hands its outermost element to `then`.
pub(super) fn read(
    source: &Source,
    findings: &mut Findings,
    then: impl FnOnce(Element<'_, '_>, &mut Findings),
) {
    let Some(source) = mended(source, findings) else { return };
    let options = ParsingOptions { allow_dtd: false, nodes_limit: NODES_MAX, ..ParsingOptions::default() };
    match Document::parse_with_options(&source.text, options) {
        Ok(document) => then(Element { node: document.root_element(), source: &source }, findings),
        Err(error) => {
            let at = error.pos();
            let place = Place { line: at.row, column: at.col, ..source.whole() };
            // Its words end with the place.
            let words = error.to_string();
            let words = words.rsplit_once(" at ").map_or(words.as_str(), |(words, _)| words);
            findings.error(&place, format!("this is not XML: {words}"));
        }
    }
}

fn is_curly(c: char) -> bool {
    matches!(c, '\u{2018}'..='\u{201f}' | '\u{2032}' | '\u{2033}' | '\u{ab}' | '\u{bb}')
}

/// The text with straight quotes. As many characters as before, so that columns stay.
fn mended(source: &Source, findings: &mut Findings) -> Option<Source> {
    let mut scan = Scan {
        source,
        rest: source.text.char_indices().peekable(),
        text: String::new(),
        findings,
        is_sound: true,
        namespaces: 0,
    };
    scan.document();
    let (text, is_sound) = (scan.text, scan.is_sound);
    is_sound.then(|| Source::new(&source.name, &text))
}

struct Scan<'s> {
    source: &'s Source,
    rest: std::iter::Peekable<std::str::CharIndices<'s>>,
    text: String,
    findings: &'s mut Findings,
    is_sound: bool,
    namespaces: usize,
}

impl Scan<'_> {
    fn next(&mut self) -> Option<(usize, char)> {
        let (at, c) = self.rest.next()?;
        self.text.push(c);
        Some((at, c))
    }

    fn peek(&mut self) -> Option<char> {
        self.rest.peek().map(|(_, c)| *c)
    }

    fn wrong(&mut self, at: usize, what: &str) {
        self.is_sound = false;
        self.findings.error(&self.source.place(at), what);
    }

    fn document(&mut self) {
        while let Some((at, c)) = self.next() {
            if self.namespaces > NAMESPACES_MAX {
                self.wrong(at, "the document names too many namespaces; is it the right one?");
                return;
            }
            if c != '<' {
                continue;
            }
            let rest = self.source.text.get(at..).unwrap_or_default();
            if rest.starts_with("<!--") {
                self.skip_to("-->", at);
            } else if rest.starts_with("<![CDATA[") {
                self.skip_to("]]>", at);
            } else if rest.starts_with("<!") {
                self.wrong(at, "document types and entities are refused: delete the declaration");
                return;
            } else if rest.starts_with("<?") {
                self.skip_to("?>", at);
            } else {
                self.tag(at);
            }
        }
    }

    /// The parser finds what is not closed.
    fn skip_to(&mut self, end: &str, from: usize) {
        let rest = self.source.text.get(from..).unwrap_or_default();
        let end = rest.find(end).map_or(self.source.text.len(), |at| from + at + end.len());
        while self.rest.peek().is_some_and(|(at, _)| *at < end) {
            self.next();
        }
    }

    fn name(&mut self) -> String {
        let mut name = String::new();
        while let Some(c) =
            self.peek().filter(|c| !c.is_whitespace() && !matches!(c, '=' | '>' | '/' | '<') && !is_quote(*c))
        {
            name.push(c);
            self.next();
        }
        name
    }

    fn blanks(&mut self) {
        while self.peek().is_some_and(char::is_whitespace) {
            self.next();
        }
    }

    /// From behind `<` to `>`.
    fn tag(&mut self, start: usize) {
        if self.peek() == Some('/') {
            self.next();
        }
        let tag = self.name();
        self.blanks();
        if self.peek() == Some('=') {
            let what = match super::classic::ELEMENTS
                .iter()
                .filter_map(|known| tag.strip_prefix(known))
                .find(|rest| !rest.is_empty())
            {
                Some(rest) => {
                    let element = tag.strip_suffix(rest).unwrap_or_default();
                    format!("a blank is missing: write <{element} {rest}=")
                }
                None => format!("a blank is missing between the element's name and its attribute in <{tag}="),
            };
            self.wrong(start, &what);
        }
        self.attributes(start);
    }

    fn attributes(&mut self, start: usize) {
        let mut count = 0;
        while let Some(c) = self.peek() {
            match c {
                '>' => {
                    self.next();
                    return;
                }
                // Another tag: the parser knows.
                '<' => return,
                _ if is_quote(c) => {
                    self.value();
                    count += 1;
                    // Once is enough.
                    if count == ATTRIBUTES_MAX + 1 {
                        self.wrong(start, &format!("an element has more than {ATTRIBUTES_MAX} attributes"));
                    }
                }
                'x' if self.is_at("xmlns") => {
                    self.next();
                    self.namespaces += 1;
                }
                _ => {
                    self.next();
                }
            }
        }
    }

    fn is_at(&mut self, word: &str) -> bool {
        let at = self.rest.peek().map_or(0, |(at, _)| *at);
        self.source.text.get(at..).is_some_and(|rest| rest.starts_with(word))
    }

    /// A value with its quotes, of whatever kind.
    fn value(&mut self) {
        let Some((start, open)) = self.rest.next() else { return };
        let was_curly = is_curly(open);
        self.text.push(if was_curly { '"' } else { open });
        let mut other_end = None;
        while let Some((at, c)) = self.rest.next() {
            let ends_tag = |scan: &mut Self| {
                scan.peek().is_none_or(|c| c.is_whitespace() || matches!(c, '/' | '>' | '?'))
            };
            let is_end =
                if was_curly { is_curly(c) || c == '"' } else { c == open || is_curly(c) && ends_tag(self) };
            if is_end {
                self.text.push(if was_curly { '"' } else { open });
                other_end = (was_curly || c != open).then_some(at);
                break;
            }
            self.text.push(c);
        }
        if other_end.is_some() {
            let what = "typographic quotes, which are taken for \"straight\" ones: replace them";
            self.findings.loss(&self.source.place(start), what);
        }
        if let Some(c) = self.peek().filter(|c| c.is_alphanumeric() || *c == '_') {
            let at = self.rest.peek().map_or(0, |(at, _)| *at);
            let name: String = self
                .source
                .text
                .get(at..)
                .unwrap_or_default()
                .chars()
                .take_while(|c| c.is_alphanumeric())
                .take(40)
                .collect();
            let name = if name.is_empty() { c.to_string() } else { name };
            self.wrong(at, &format!("a blank is missing between two attributes: write one before {name}"));
        }
    }
}

fn is_quote(c: char) -> bool {
    matches!(c, '"' | '\'') || is_curly(c)
}

/// An element and where it is.
#[derive(Clone, Copy)]
pub(super) struct Element<'d, 's> {
    node: Node<'d, 's>,
    source: &'s Source,
}

/// What an attribute says, and where.
#[derive(Clone)]
pub(super) struct Said {
    pub(super) value: String,
    pub(super) place: Place,
}

impl<'d, 's> Element<'d, 's> {
    pub(super) fn name(&self) -> &'d str {
        self.node.tag_name().name()
    }

    pub(super) fn place(&self) -> Place {
        self.source.place(self.node.range().start)
    }

    pub(super) fn is(&self, name: &str) -> bool {
        self.name().eq_ignore_ascii_case(name)
    }

    pub(super) fn children(self) -> impl Iterator<Item = Self> {
        let source = self.source;
        self.node.children().filter(Node::is_element).map(move |node| Element { node, source })
    }

    /// The children of that name; Azure's tools are not strict about case, and neither is this.
    pub(super) fn all(self, name: &str) -> impl Iterator<Item = Self> {
        self.children().filter(move |child| child.is(name))
    }

    pub(super) fn one(self, name: &str) -> Option<Self> {
        self.all(name).next()
    }

    /// What lies at the end of a path of single elements.
    pub(super) fn at(self, path: &[&str]) -> Option<Self> {
        path.iter().try_fold(self, |element, name| element.one(name))
    }

    pub(super) fn get(&self, name: &str) -> Option<Said> {
        let by_case = self.node.attributes().find(|attribute| attribute.name() == name);
        let attribute = by_case.or_else(|| {
            self.node.attributes().find(|attribute| attribute.name().eq_ignore_ascii_case(name))
        })?;
        let place = self.source.place(attribute.range().start);
        Some(Said { value: attribute.value().trim().to_owned(), place })
    }

    pub(super) fn require(&self, name: &str, findings: &mut Findings) -> Option<Said> {
        let said = self.get(name).filter(|said| !said.value.is_empty());
        if said.is_none() {
            findings.error(&self.place(), format!("<{}> needs {name}=\"...\"", self.name()));
        }
        said
    }

    /// Reports attributes that are none of `known`, and those that differ from them by case.
    pub(super) fn check(&self, known: &[&str], findings: &mut Findings) {
        for attribute in self.node.attributes().filter(|attribute| attribute.namespace().is_none()) {
            let name = attribute.name();
            if known.contains(&name) {
                continue;
            }
            let place = self.source.place(attribute.range().start);
            let element = self.name();
            if let Some(meant) = known.iter().find(|known| known.eq_ignore_ascii_case(name)) {
                findings
                    .loss(&place, format!("<{element}> has {name}, which is taken for {meant}: write it so"));
            } else {
                let suggestion = suggestion(name, known.iter().copied());
                findings.loss(
                    &place,
                    format!("<{element}> has an unknown attribute {name}, which is left out{suggestion}"),
                );
            }
        }
    }
}

impl Said {
    /// A number within a range, or a finding.
    pub(super) fn number(&self, what: &str, min: u64, max: u64, findings: &mut Findings) -> Option<u64> {
        let number = self.value.parse().ok().filter(|number| (min..=max).contains(number));
        if number.is_none() {
            findings.error(&self.place, format!("{what} is \"{}\"; it must be {min} to {max}", self.value));
        }
        number
    }

    pub(super) fn port(&self, what: &str, findings: &mut Findings) -> Option<u16> {
        self.number(what, 1, 65_535, findings).and_then(|port| u16::try_from(port).ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(text: &str) -> Vec<String> {
        let mut findings = Findings::default();
        read(&Source::new("s.csdef", text), &mut findings, |_, _| {});
        findings.list.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_people_get_wrong_is_said_with_its_place() {
        let table: [(&str, &[&str]); 9] = [
            ("<a>\n <b c=“d” e='f'/>\n</a>", &["s.csdef:2:7: warning: typographic quotes"]),
            ("<a c=\"d”/>", &["s.csdef:1:6: warning: typographic quotes"]),
            ("<a c=\"it’s\"/>", &[]),
            (
                "<a b=\"c\"d=\"e\"/>",
                &["s.csdef:1:9: error: a blank is missing between two attributes: write one before d"],
            ),
            (
                "<a>\n<InputEndpointname=“x” />\n</a>",
                &[
                    "s.csdef:2:1: error: a blank is missing: write <InputEndpoint name=",
                    "s.csdef:2:20: warning: typographic",
                ],
            ),
            ("<oddname=\"x\"/>", &["s.csdef:1:1: error: a blank is missing between the element's name"]),
            ("<a><!-- “ <b=“x” --> </a>", &[]),
            ("<a>\n<b></a>", &["s.csdef:2:4: error: this is not XML: "]),
            ("", &["s.csdef:"]),
        ];
        for (text, expected) in table {
            let found = findings(text);
            assert_eq!(found.len(), expected.len(), "{text:?}: {found:?}");
            for (found, expected) in found.iter().zip(expected) {
                assert!(found.starts_with(expected), "{text:?}: {found}");
            }
        }
    }

    #[test]
    fn documents_that_would_burst_are_refused() {
        let bomb = "<!DOCTYPE a [<!ENTITY x \"lol\"><!ENTITY y \"&x;&x;\">]>\n<a>&y;</a>";
        let outside = "<?xml version=\"1.0\"?>\n<!DOCTYPE a SYSTEM \"file:///etc/passwd\">\n<a/>";
        assert!(findings(bomb)[0].starts_with("s.csdef:1:1: error: document types and entities are refused"));
        assert!(
            findings(outside)[0].starts_with("s.csdef:2:1: error: document types and entities are refused")
        );
        let attributes: String = (0..100_000).map(|n| format!(" a{n}=\"\"")).collect();
        assert_eq!(
            findings(&format!("<a>\n<b{attributes}/></a>")),
            ["s.csdef:2:1: error: an element has more than 200 attributes"]
        );
        let spaces: String = (0..50_000).map(|n| format!("<a xmlns:n{n}=\"u{n}\">")).collect();
        assert!(findings(&spaces)[0].contains("error: the document names too many namespaces"));
        assert!(findings("<a>&other;</a>")[0].contains("error: this is not XML"));
        assert!(
            findings(&format!("<a>{}</a>", "<b/>".repeat(300_000)))[0].contains("error: this is not XML")
        );
        let deep = format!("{}{}", "<a>".repeat(20_000), "</a>".repeat(20_000));
        assert_eq!(findings(&deep), [""; 0]);
    }
}
