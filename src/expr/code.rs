//! Compiled expressions: closures over what a record shows.
//!
//! The leaves (fields, constants, variables) are variants of [`Code`] rather than closures, so an
//! operator over two fields costs one indirect call; conditions have a closure type of their own,
//! so `&&` never wraps a bool into a value.

use super::Row;
use super::constant::Constant;
use super::error::EvalError;
use super::operators::entry;
use crate::value::{FieldPath, Slot, Value};

type Compute =
    Box<dyn for<'e, 'a> Fn(&Sight<'e, 'a>) -> Result<Value<'a>, EvalError> + Send + Sync>;
type Test = Box<dyn for<'e, 'a> Fn(&Sight<'e, 'a>) -> Result<bool, EvalError> + Send + Sync>;

/// What code sees: the record, and the variables of the macros around it.
#[derive(Clone, Copy)]
pub(super) struct Sight<'e, 'a> {
    pub row: &'e Row<'e, 'a>,
    pub locals: Option<&'e Local<'e, 'a>>,
}

/// A macro's variable; `outer` is that of the macro around it.
pub(super) struct Local<'e, 'a> {
    pub value: Value<'a>,
    pub outer: Option<&'e Local<'e, 'a>>,
}

impl<'a> Sight<'_, 'a> {
    fn local(&self, index: usize) -> Value<'a> {
        let mut local = self.locals;
        for _ in 0..index {
            local = local.and_then(|inner| inner.outer);
        }
        local
            .expect("a variable is only compiled within its macro")
            .value
    }
}

/// A part of a compiled expression.
pub(super) enum Code {
    Constant(Constant),
    Field(Slot, FieldPath),
    Local(usize),
    Select(Box<Select>),
    Test(Test),
    Compute(Compute),
}

/// `operand.name`; the path is for the error.
pub(super) struct Select {
    pub operand: Code,
    pub name: Box<str>,
    pub path: FieldPath,
}

/// Code that gives any value.
pub(super) fn compute(
    run: impl for<'e, 'a> Fn(&Sight<'e, 'a>) -> Result<Value<'a>, EvalError> + Send + Sync + 'static,
) -> Code {
    Code::Compute(Box::new(run))
}

/// Code that gives a bool.
pub(super) fn test(
    run: impl for<'e, 'a> Fn(&Sight<'e, 'a>) -> Result<bool, EvalError> + Send + Sync + 'static,
) -> Code {
    Code::Test(Box::new(run))
}

impl Code {
    /// The value. Never [`Value::Missing`]: a field that is not there is an error.
    #[inline]
    pub(super) fn run<'a>(&self, sight: &Sight<'_, 'a>) -> Result<Value<'a>, EvalError> {
        match self {
            Code::Field(slot, path) => match sight.row.fields[slot.index()] {
                Value::Missing => Err(no_such_field(path)),
                value => Ok(value),
            },
            Code::Compute(run) => run(sight),
            Code::Test(run) => run(sight).map(Value::Bool),
            Code::Constant(Constant::Int(number)) => Ok(Value::Int(*number)),
            Code::Constant(constant) => Ok(constant.value(sight.row.arena)),
            Code::Local(index) => Ok(sight.local(*index)),
            Code::Select(select) => match select.read(sight)? {
                Value::Missing => Err(no_such_field(&select.path)),
                value => Ok(value),
            },
        }
    }

    /// The value; [`Value::Missing`] when this is a field that is not there.
    #[inline]
    pub(super) fn read<'a>(&self, sight: &Sight<'_, 'a>) -> Result<Value<'a>, EvalError> {
        match self {
            Code::Field(slot, _) => Ok(sight.row.fields[slot.index()]),
            Code::Select(select) => select.read(sight),
            _ => self.run(sight),
        }
    }

    /// The value as [`Code::run`] gives it, for operations whose result borrows nothing from it:
    /// a constant text need not be copied.
    #[inline]
    pub(super) fn peek<'v, 'a: 'v>(
        &'v self,
        sight: &Sight<'_, 'a>,
    ) -> Result<Value<'v>, EvalError> {
        match self {
            Code::Constant(constant) => match constant.scalar() {
                Some(value) => Ok(value),
                None => Ok(constant.value(sight.row.arena)),
            },
            _ => self.run(sight),
        }
    }

    /// The value as a condition.
    #[inline]
    pub(super) fn test(&self, sight: &Sight<'_, '_>) -> Result<bool, EvalError> {
        match self {
            Code::Test(run) => run(sight),
            _ => as_bool(self.peek(sight)?),
        }
    }

    /// Whether the value is there and not null.
    #[inline]
    pub(super) fn is_present(&self, sight: &Sight<'_, '_>) -> Result<bool, EvalError> {
        self.read(sight).map(|value| !value.is_absent())
    }
}

impl Select {
    fn read<'a>(&self, sight: &Sight<'_, 'a>) -> Result<Value<'a>, EvalError> {
        match self.operand.read(sight)? {
            Value::Map(entries) => Ok(entry(entries, &self.name).unwrap_or(Value::Missing)),
            Value::Missing | Value::Null => Ok(Value::Missing),
            other => Err(EvalError::types(".", &[other])),
        }
    }
}

pub(super) fn as_bool(value: Value<'_>) -> Result<bool, EvalError> {
    match value {
        Value::Bool(flag) => Ok(flag),
        other => Err(EvalError::NotBool(other.type_name())),
    }
}

#[cold]
fn no_such_field(path: &FieldPath) -> EvalError {
    EvalError::NoSuchField(path.clone())
}
