//! Where an expression stands: in which copy of which loop, in which lambda, in which function.

use std::rc::Rc;

use super::template::Value;
use super::tree::Kind;

#[derive(Clone, Default)]
pub(super) struct Scope {
    copies: Vec<(String, i64)>,
    /// What lambdas have named.
    variables: Vec<(String, Kind)>,
    /// Of a function of the template's own, which sees no others.
    parameters: Option<Rc<[(String, Kind)]>>,
}

impl Scope {
    pub(super) fn with(&self, name: &str, index: i64) -> Self {
        let mut inner = self.clone();
        inner.copies.push((name.to_lowercase(), index));
        inner
    }

    pub(super) fn bind(&mut self, name: &str, value: Kind) {
        self.variables.push((name.to_lowercase(), value));
    }

    pub(super) fn of_function(parameters: Vec<(String, Kind)>) -> Self {
        Self { parameters: Some(parameters.into()), ..Self::default() }
    }

    pub(super) fn index(&self, name: Option<&str>) -> Option<i64> {
        let wanted =
            |(loop_name, _): &&(String, i64)| name.is_none_or(|name| name.eq_ignore_ascii_case(loop_name));
        self.copies.iter().rev().find(wanted).map(|(_, index)| *index)
    }

    pub(super) fn variable(&self, name: &str) -> Option<Kind> {
        let found = self.variables.iter().rev().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.clone())
    }

    /// `None` outside functions.
    pub(super) fn parameter(&self, name: &str) -> Option<Value> {
        let found = self.parameters.as_ref()?.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        let missing = || format!("the function has no parameter \"{name}\"");
        Some(found.map(|(_, value)| value.clone()).ok_or_else(missing))
    }
}
