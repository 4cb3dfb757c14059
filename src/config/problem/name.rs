//! Names, and flags that do not fit each other.

use std::fmt;

use super::Quoted;
use crate::config::NAME_LEN_MAX;
use crate::config::error::Place;

/// A name that is bad, taken, missing or unused. `kind` is "port", "pool", "probe" or "rule".
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NameProblem {
    /// Characters that names do not have, or too many of them.
    Bad {
        /// Of what.
        kind: &'static str,
        /// As written.
        name: String,
    },
    /// The second of its kind with this name.
    Taken {
        /// Of what.
        kind: &'static str,
        /// The name.
        name: String,
        /// Where it was first.
        first: Place,
    },
    /// Something is used that is not there.
    NotDefined {
        /// Who uses it; empty where a flag does.
        user: String,
        /// Of what.
        kind: &'static str,
        /// As written.
        name: String,
        /// One that is there and much alike.
        near: Option<String>,
        /// How to make it.
        remedy: &'static str,
    },
    /// Nothing uses it.
    Unused {
        /// Of what.
        kind: &'static str,
        /// The name.
        name: String,
        /// How to use it.
        remedy: &'static str,
    },
}

impl fmt::Display for NameProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bad { kind, name } => write!(
                f,
                "{} cannot be the name of a {kind}; use 1 to {} letters, digits, dots, dashes and underscores",
                Quoted(name),
                NAME_LEN_MAX
            ),
            Self::Taken { kind, name, first } => {
                write!(f, "{kind} {name} exists already ({first}); give one of them another name")
            }
            Self::NotDefined { user, kind, name, near, remedy } => {
                match user.as_str() {
                    "" => write!(f, "there is no {kind} {}; ", Quoted(name))?,
                    user => write!(f, "{user} uses {kind} {}, which does not exist; ", Quoted(name))?,
                }
                match near {
                    Some(near) => write!(f, "did you mean {near}? If not, {remedy}"),
                    None => f.write_str(remedy),
                }
            }
            Self::Unused { kind, name, remedy } => write!(f, "nothing uses {kind} {name}; {remedy}"),
        }
    }
}

/// A flag that does not fit the others.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FlagProblem {
    /// Not of the form it should have.
    Form {
        /// As written.
        text: String,
        /// How to write it.
        form: &'static str,
    },
    /// What can be said once is said twice.
    Twice {
        /// Of what.
        subject: String,
    },
    /// Backends of one pool with different ports; a rule has one.
    PortsDisagree {
        /// The pool.
        pool: String,
        /// The port given first.
        first: u16,
        /// Another.
        other: u16,
    },
    /// A backend's port, and no rule that would use it.
    PortWithoutRule {
        /// The pool.
        pool: String,
        /// The port.
        port: u16,
    },
}

impl fmt::Display for FlagProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Form { text, form } => write!(f, "{} is incomplete; write {form}", Quoted(text)),
            Self::Twice { subject } => write!(f, "{subject} is given twice; delete one"),
            Self::PortsDisagree { pool, first, other } => write!(
                f,
                "backends of pool {pool} have ports {first} and {other}; a rule has one backend port: \
                 use one, or make two rules with a pool each"
            ),
            Self::PortWithoutRule { pool, port } => write!(
                f,
                "port {port} belongs to a rule, and there is no rule {pool}; add --frontend {pool}=ADDR:PORT/PROTO, \
                 or set backend_port in the rule that uses pool {pool}"
            ),
        }
    }
}
