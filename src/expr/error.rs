//! What can be wrong with an expression: found while it is read ([`ExprError`], with its place in
//! the text) or while a record is processed ([`EvalError`]).

use std::fmt;
use std::ops::Range;

use crate::value::{FieldPath, Value};

/// A mistake in an expression's text, found before any record is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExprError {
    /// Where, in bytes of the text. Empty at the text's end when something is missing there.
    pub range: Range<usize>,
    /// What was found, and what was expected.
    pub message: String,
    /// What to write instead, where that is known.
    pub help: Option<String>,
}

impl ExprError {
    pub(super) fn new(range: Range<usize>, message: impl Into<String>) -> ExprError {
        ExprError {
            range,
            message: message.into(),
            help: None,
        }
    }

    #[must_use]
    pub(super) fn with_help(mut self, help: impl Into<String>) -> ExprError {
        self.help = Some(help.into());
        self
    }

    /// The same mistake in a longer text, in which this expression's text begins at byte `start`.
    #[must_use]
    pub fn moved_by(mut self, start: usize) -> ExprError {
        self.range = self.range.start + start..self.range.end + start;
        self
    }
}

impl fmt::Display for ExprError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.help {
            Some(help) => write!(f, " ({help})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for ExprError {}

/// Why an expression has no value for a record. Small, and made without formatting: within `||`
/// and `&&` an error may be passed over, record after record.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum EvalError {
    /// The record has no such field.
    #[error("no such field `{0}`")]
    NoSuchField(FieldPath),
    /// The map has no such key.
    #[error("no such key `{0}`")]
    NoSuchKey(Box<str>),
    /// A list or a text is shorter than that.
    #[error("position {position} is outside of {length} elements")]
    OutOfBounds {
        /// What was asked for.
        position: i64,
        /// How many there are.
        length: usize,
    },
    /// A whole number outside 64 bits.
    #[error("integer overflow in `{0}`")]
    Overflow(&'static str),
    /// Of whole numbers, `/` or `%`.
    #[error("division by zero")]
    DivisionByZero,
    /// A time outside the calendar.
    #[error("a time outside of the years 1 to 9999")]
    TimeOutOfRange,
    /// A condition that is neither true nor false; its type.
    #[error("expected a bool, found {0}")]
    NotBool(&'static str),
    /// An operator or function with values that it does not take.
    #[error("{0}")]
    Type(Box<TypeError>),
    /// A value that cannot be turned into another type.
    #[error("{0}")]
    Conversion(Box<ConversionError>),
    /// The smallest or greatest of nothing.
    #[error("`{0}` of an empty list")]
    EmptyList(&'static str),
    /// A range with more numbers than a list may have.
    #[error("a range of {length} numbers is too long, {longest} are allowed")]
    LongRange {
        /// How many it would have.
        length: i64,
        /// How many it may have.
        longest: i64,
    },
    /// Bytes that were to be text are not UTF-8.
    #[error("`{0}`: the bytes are not UTF-8")]
    NotUtf8(&'static str),
}

/// An operator or function met values of types that it does not take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TypeError {
    /// The operator or function.
    pub operation: &'static str,
    /// The types of the values, in order.
    pub found: Vec<&'static str>,
}

impl fmt::Display for TypeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "`{}` does not take {}",
            self.operation,
            self.found.join(" and ")
        )
    }
}

/// A value could not be turned into another type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConversionError {
    /// The wanted type, with its article.
    pub expected: &'static str,
    /// The value, shortened.
    pub found: String,
}

impl fmt::Display for ConversionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected {}, found {:?}", self.expected, self.found)
    }
}

impl EvalError {
    /// That `operation` does not take these values.
    #[cold]
    pub(super) fn types(operation: &'static str, values: &[Value<'_>]) -> EvalError {
        let found = values.iter().map(Value::type_name).collect();
        EvalError::Type(Box::new(TypeError { operation, found }))
    }

    /// That `found` cannot be read as what is `expected`.
    #[cold]
    pub(super) fn conversion(expected: &'static str, found: &str) -> EvalError {
        let found = found.chars().take(80).collect();
        EvalError::Conversion(Box::new(ConversionError { expected, found }))
    }

    /// True when the error says that something is not there, rather than that it is wrong.
    pub(super) fn is_absence(&self) -> bool {
        matches!(
            self,
            EvalError::NoSuchField(_) | EvalError::NoSuchKey(_) | EvalError::OutOfBounds { .. }
        )
    }
}
