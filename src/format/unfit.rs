//! A row that is not what a schema says.

use std::fmt;

use crate::value::Value;

/// Which field of a row does not fit a schema, and why.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Unfit {
    /// Names from the outside in; empty: the row itself.
    path: String,
    reason: String,
}

impl Unfit {
    pub(super) fn new(expected: &str, found: impl fmt::Display) -> Unfit {
        Unfit {
            path: String::new(),
            reason: format!("expected {expected}, found {found}"),
        }
    }

    /// Names from the outside in, with dots between them; empty: the row itself.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// A value of another type, or beyond what the type holds.
    pub(super) fn value(expected: &str, value: &Value<'_>) -> Unfit {
        match value {
            Value::Missing => Unfit::new(expected, "no such field"),
            Value::Null => Unfit::new(expected, "null"),
            Value::Str(text) => {
                let shown = &text[..text.floor_char_boundary(50)];
                Unfit::new(expected, format_args!("{shown:?}"))
            }
            Value::Int(number) => Unfit::new(expected, format_args!("the int {number}")),
            Value::Float(number) => Unfit::new(expected, format_args!("the double {number}")),
            other => Unfit::new(expected, other.type_name()),
        }
    }

    /// A field that the schema does not have.
    pub(super) fn unknown_field(name: &str) -> Unfit {
        Unfit {
            path: name.to_owned(),
            reason: "the schema has no such field".to_owned(),
        }
    }

    /// The schema wants one field of this name and no other.
    pub(super) fn no_field(name: &str) -> Unfit {
        Unfit {
            path: String::new(),
            reason: format!("expected the one field {name}"),
        }
    }

    /// The same of a field inside this one.
    pub(super) fn within(mut self, name: &str) -> Unfit {
        self.path = match self.path.is_empty() {
            true => name.to_owned(),
            false => format!("{name}.{}", self.path),
        };
        self
    }
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.path.is_empty() {
            true => f.write_str(&self.reason),
            false => write!(f, "{}: {}", self.path, self.reason),
        }
    }
}

impl std::error::Error for Unfit {}
