//! Expressions of topology files: CEL (Common Expression Language), compiled once to closures over
//! field slots.
//!
//! [`Expression::parse`] reads the text and knows which fields it touches; [`Expression::compile`]
//! binds those to slots and gives an [`Evaluator`], which runs per record without allocating
//! (computed texts go to the batch's arena). The interpreter of the `cel` crate is the oracle in
//! the tests, never on the record path. `docs/EXPRESSIONS.md` is the language as users see it.
//!
//! ```text
//!  text ── outline ──▶ parse (cel) ──▶ ast ── compile + Scope ──▶ code ── Row ──▶ Value
//!             └────────────┴──── ExprError ──────┘                    └──▶ EvalError
//! ```
//!
//! The invariant: whatever of CEL is not supported, and whatever cannot work for any record, is an
//! [`ExprError`] with its place; an [`EvalError`] always has its reason in the record.

mod error;

// From text to tree.
mod scan;
mod outline;
mod constant;
mod ast;
mod parse;
mod syntax;
mod suggest;

// From tree to code.
mod function;
mod kinds;
mod compile;
mod code;
mod assemble;

// What operators and functions do.
mod operators;
mod text;
mod list;
mod number;
mod calendar;
mod convert;
mod json;

#[cfg(test)]
mod cases;
#[cfg(test)]
mod documented;
#[cfg(test)]
mod interface;
#[cfg(test)]
mod oracle;
#[cfg(test)]
mod refusals;
#[cfg(test)]
mod testing;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use bumpalo::Bump;

use crate::headers::PackedHeaders;
use crate::time::Timestamp;
use crate::value::{FieldPath, Slot, Value, ValueType};
use ast::{Node, NodeKind};
use code::{Code, Sight};

pub use constant::Constant;
pub use error::{ConversionError, EvalError, ExprError, TypeError};
pub use suggest::nearest;

/// A parsed expression: its text, its tree or why it has none, and the fields it touches. Cheap to
/// clone.
#[derive(Clone)]
pub struct Expression(Arc<Parsed>);

struct Parsed {
    text: Box<str>,
    /// None when the text is no CEL.
    root: Option<Node>,
    errors: Vec<ExprError>,
}

impl Expression {
    /// Reads a text. Never fails: a text that cannot be parsed is kept with its errors, so that a
    /// checker can report those of all expressions at once.
    pub fn parse(text: &str) -> Expression {
        let (root, errors) = parse::parse(text);
        Expression(Arc::new(Parsed {
            text: text.into(),
            root,
            errors,
        }))
    }

    /// That a record's field is read, whatever its name is.
    pub fn of_field(path: &FieldPath) -> Expression {
        let text = path.as_str();
        Expression(Arc::new(Parsed {
            text: text.into(),
            root: Some(Node {
                range: 0..text.len(),
                kind: NodeKind::Field(path.clone()),
            }),
            errors: Vec::new(),
        }))
    }

    /// Reads a text that is one call, `top(10, title)`, of a function that need not be one of the
    /// language: aggregate functions are called so. Mistakes within the arguments are kept by the
    /// arguments.
    ///
    /// # Errors
    /// When the text is anything else.
    pub fn parse_call(text: &str) -> Result<Call, ExprError> {
        let (name, ranges) = parse::split_call(text)?;
        Ok(Call {
            name: text[name].to_owned(),
            arguments: ranges
                .iter()
                .map(|range| Expression::parse(&text[range.clone()]))
                .collect(),
            ranges,
        })
    }

    /// The text as written.
    pub fn text(&self) -> &str {
        &self.0.text
    }

    /// What is wrong whatever the record's fields are: syntax errors, CEL that is not supported,
    /// unknown functions, wrong argument counts.
    pub fn errors(&self) -> &[ExprError] {
        &self.0.errors
    }

    /// Every field path that is touched, also within `has(…)`: the longest chain of names from a
    /// field of the record inwards, each once, in the order of the text.
    pub fn paths(&self) -> Vec<FieldPath> {
        let mut paths: Vec<FieldPath> = Vec::new();
        self.visit(&mut |node| match node {
            NodeKind::Field(path) if !paths.contains(path) => paths.push(path.clone()),
            _ => {}
        });
        paths
    }

    /// Whether it asks for a header of the record: it calls `record_header`.
    pub fn reads_headers(&self) -> bool {
        self.calls(function::RECORD_HEADER)
    }

    /// Whether it calls this function somewhere.
    pub fn calls(&self, name: &str) -> bool {
        let mut calls = false;
        self.visit(&mut |node| {
            calls |= matches!(node, NodeKind::Call(function, _) if function.name == name);
        });
        calls
    }

    fn visit(&self, see: &mut dyn FnMut(&NodeKind)) {
        self.0.root.iter().for_each(|root| root.visit(see));
    }

    /// The field, when the whole expression is one: `meta.dt`.
    pub fn field(&self) -> Option<FieldPath> {
        match &self.0.root.as_ref()?.kind {
            NodeKind::Field(path) => Some(path.clone()),
            _ => None,
        }
    }

    /// Whether its value is the record's key: it is `record_key()`.
    pub fn is_record_key(&self) -> bool {
        self.is_call_of("record_key")
    }

    /// Whether the whole expression is a call of this function: `raw()`.
    pub fn is_call_of(&self, name: &str) -> bool {
        let root = self.0.root.as_ref().map(|root| &root.kind);
        matches!(root, Some(NodeKind::Call(function, _)) if function.name == name)
    }

    /// The value, when it is the same for every record: a literal, or what is computed from
    /// literals.
    pub fn constant(&self) -> Option<Constant> {
        match compile::compile(self.0.root.as_ref()?, &Fieldless) {
            Ok((Code::Constant(constant), _)) if self.0.errors.is_empty() => Some(constant),
            _ => None,
        }
    }

    /// Binds field paths to slots.
    ///
    /// # Errors
    /// All mistakes, those of [`Expression::errors`] included, in the order of the text.
    pub fn compile(&self, scope: &dyn Scope) -> Result<Evaluator, Vec<ExprError>> {
        let mut errors = self.0.errors.clone();
        let compiled = self
            .0
            .root
            .as_ref()
            .map(|root| compile::compile(root, scope));
        match compiled {
            Some(Ok((code, result_type))) if errors.is_empty() => {
                return Ok(Evaluator {
                    code: Arc::new(code),
                    result_type,
                });
            }
            Some(Err(more)) => errors.extend(more),
            _ => {}
        }
        errors.sort_by_key(|error| error.range.start);
        Err(errors)
    }
}

/// The text.
impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Expression({:?})", self.text())
    }
}

/// The text.
impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

/// Two expressions are equal when their texts are.
impl PartialEq for Expression {
    fn eq(&self, other: &Expression) -> bool {
        self.text() == other.text()
    }
}

impl Eq for Expression {}

/// A call of a function by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// The function's name; need not be one of the language.
    pub name: String,
    /// The arguments. The ranges of their errors count from their own beginning;
    /// [`ExprError::moved_by`] with the start of their range makes them ranges of the whole text.
    pub arguments: Vec<Expression>,
    /// Where each argument stands in the text, in bytes.
    pub ranges: Vec<Range<usize>>,
}

/// The fields that an expression may name.
pub trait Scope {
    /// Slot and type of a field; none when there is no such field.
    fn resolve(&self, path: &FieldPath) -> Option<(Slot, ValueType)>;

    /// The fields that are known, for the help of errors.
    fn known(&self) -> Vec<FieldPath>;
}

struct Fieldless;

impl Scope for Fieldless {
    fn resolve(&self, _: &FieldPath) -> Option<(Slot, ValueType)> {
        None
    }

    fn known(&self) -> Vec<FieldPath> {
        Vec::new()
    }
}

/// What an expression sees of a record.
#[derive(Clone, Copy, Debug)]
pub struct Row<'r, 'a> {
    /// The fields by slot; at least as many as the scope gave slots.
    pub fields: &'r [Value<'a>],
    /// Where computed texts, lists and maps are laid out.
    pub arena: &'a Bump,
    /// The record's key.
    pub key: Option<&'a [u8]>,
    /// The record's event time.
    pub timestamp: Timestamp,
    /// The partition it was read from.
    pub partition: i32,
    /// Its number there.
    pub offset: i64,
    /// The topic it was read from.
    pub topic: &'a str,
    /// The untouched bytes of its value.
    pub raw: Option<&'a [u8]>,
    /// Its headers, if the expression asks for any.
    pub headers: PackedHeaders<'a>,
}

/// A compiled expression. Cheap to clone; the clones share the code.
#[derive(Clone)]
pub struct Evaluator {
    code: Arc<Code>,
    result_type: ValueType,
}

impl Evaluator {
    /// The type of every value that it gives (null aside), as far as that is known before any
    /// record is read.
    pub fn result_type(&self) -> ValueType {
        self.result_type
    }

    /// The value for a record. [`Value::Missing`] only when the whole expression is a field, and
    /// the record has no such field; within an expression that is an error.
    ///
    /// # Errors
    /// When the record has no value for it.
    ///
    /// # Panics
    /// When the row has fewer fields than the scope gave slots.
    pub fn eval<'a>(&self, row: &Row<'_, 'a>) -> Result<Value<'a>, EvalError> {
        self.code.read(&Sight { row, locals: None })
    }

    /// Whether the condition holds for a record.
    ///
    /// # Errors
    /// When the record has no value for it, or one that is not a bool.
    ///
    /// # Panics
    /// When the row has fewer fields than the scope gave slots.
    pub fn test(&self, row: &Row<'_, '_>) -> Result<bool, EvalError> {
        self.code.test(&Sight { row, locals: None })
    }
}

impl fmt::Debug for Evaluator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Evaluator")
            .field("result_type", &self.result_type)
            .finish_non_exhaustive()
    }
}
