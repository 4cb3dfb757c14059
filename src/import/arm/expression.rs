//! The grammar of template expressions: `[concat(parameters('a'), '/b').c[0]]`.

/// How deep calls may lie in each other.
const DEPTH_MAX: usize = 48;

#[derive(Debug, PartialEq)]
pub(super) enum Expression {
    Text(String),
    Integer(i64),
    Call(String, Vec<Expression>),
    /// `.name` or `[index]` of what stands before.
    Part(Box<Expression>, Box<Expression>),
}

/// The expression in a text of a template, without its brackets; `None` where the text is just text.
pub(super) fn within(text: &str) -> Option<&str> {
    let inner = text.strip_prefix('[')?.strip_suffix(']')?;
    (!inner.starts_with('[')).then_some(inner)
}

/// Reads an expression, or says what is wrong with it.
pub(super) fn parse(text: &str) -> Result<Expression, String> {
    let mut parser = Parser { rest: text };
    let expression = parser.expression(0)?;
    match parser.peek() {
        None => Ok(expression),
        Some(c) => Err(format!("the expression has \"{c}\" where it should end")),
    }
}

struct Parser<'p> {
    rest: &'p str,
}

impl Parser<'_> {
    fn peek(&mut self) -> Option<char> {
        self.rest = self.rest.trim_start();
        self.rest.chars().next()
    }

    fn take(&mut self, c: char) -> bool {
        let is_there = self.peek() == Some(c);
        if is_there {
            self.rest = self.rest.strip_prefix(c).unwrap_or_default();
        }
        is_there
    }

    fn need(&mut self, c: char) -> Result<(), String> {
        if self.take(c) { Ok(()) } else { Err(format!("the expression lacks \"{c}\"")) }
    }

    fn expression(&mut self, depth: usize) -> Result<Expression, String> {
        if depth > DEPTH_MAX {
            return Err(format!("calls lie more than {DEPTH_MAX} deep in each other"));
        }
        let mut expression = self.first(depth)?;
        let mut parts = 0;
        loop {
            let part = if self.take('.') {
                Expression::Text(self.name()?)
            } else if self.take('[') {
                let index = self.expression(depth + 1)?;
                self.need(']')?;
                index
            } else {
                return Ok(expression);
            };
            parts += 1;
            if parts > DEPTH_MAX {
                return Err(format!("the expression has more than {DEPTH_MAX} parts behind each other"));
            }
            expression = Expression::Part(Box::new(expression), Box::new(part));
        }
    }

    fn first(&mut self, depth: usize) -> Result<Expression, String> {
        match self.peek() {
            Some('\'') => self.text().map(Expression::Text),
            Some(c) if c.is_ascii_digit() || c == '-' => self.integer(),
            Some(c) if c.is_ascii_alphabetic() || c == '_' => {
                let mut name = self.name()?;
                // A function of the template's own: `contoso.name()`.
                while self.rest.starts_with('.') {
                    self.take('.');
                    name = format!("{name}.{}", self.name()?);
                }
                self.need('(')?;
                let mut arguments = Vec::new();
                if self.take(')') {
                    return Ok(Expression::Call(name, arguments));
                }
                loop {
                    arguments.push(self.expression(depth + 1)?);
                    if self.take(')') {
                        return Ok(Expression::Call(name, arguments));
                    }
                    self.need(',')?;
                }
            }
            Some(c) => Err(format!("the expression has \"{c}\" where a value should be")),
            None => Err("the expression ends where a value should be".to_owned()),
        }
    }

    /// In single quotes; two of them are one.
    fn text(&mut self) -> Result<String, String> {
        let mut text = String::new();
        let mut characters = self.rest.char_indices().skip(1).peekable();
        while let Some((at, c)) = characters.next() {
            if c != '\'' {
                text.push(c);
            } else if characters.peek().is_some_and(|(_, c)| *c == '\'') {
                characters.next();
                text.push('\'');
            } else {
                self.rest = self.rest.get(at + 1..).unwrap_or_default();
                return Ok(text);
            }
        }
        Err("the expression has a text that does not end".to_owned())
    }

    fn integer(&mut self) -> Result<Expression, String> {
        let end = self.rest.char_indices().find(|(at, c)| !(c.is_ascii_digit() || *at == 0 && *c == '-'));
        let (digits, rest) = self.rest.split_at(end.map_or(self.rest.len(), |(at, _)| at));
        self.rest = rest;
        digits.parse().map(Expression::Integer).map_err(|_| format!("{digits} is not a whole number"))
    }

    fn name(&mut self) -> Result<String, String> {
        self.peek();
        let end = self
            .rest
            .find(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '$')
            .unwrap_or(self.rest.len());
        let (name, rest) = self.rest.split_at(end);
        self.rest = rest;
        if name.is_empty() { Err("the expression lacks a name".to_owned()) } else { Ok(name.to_owned()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_told_from_text() {
        let table = [("[a()]", Some("a()")), ("[[a()]", None), ("a", None), ("[a", None), ("[]", Some(""))];
        for (text, expected) in table {
            assert_eq!(within(text), expected, "{text}");
        }
    }

    #[test]
    fn expressions_are_read_or_refused() {
        let call = |name: &str, arguments| Expression::Call(name.to_owned(), arguments);
        let text = |text: &str| Expression::Text(text.to_owned());
        let good = [
            ("a()", call("a", vec![])),
            (" a( 'it''s' , -3 ) ", call("a", vec![text("it's"), Expression::Integer(-3)])),
            ("a().b", Expression::Part(Box::new(call("a", vec![])), Box::new(text("b")))),
            ("a()[1]", Expression::Part(Box::new(call("a", vec![])), Box::new(Expression::Integer(1)))),
        ];
        for (source, expected) in good {
            assert_eq!(parse(source), Ok(expected), "{source}");
        }
        let deep = format!("{}1{}", "a(".repeat(10_000), ")".repeat(10_000));
        for source in [
            "",
            "a",
            "a(",
            "a(1",
            "a(1,)",
            "'x",
            "a()b",
            "1 5",
            "99999999999999999999",
            "a()[",
            "a().",
            "ä()",
            &deep,
        ] {
            assert!(parse(source).is_err(), "{source}");
        }
    }
}
