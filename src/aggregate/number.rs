//! Numbers of records, and sums of them.

use crate::codec::{Decode, Encode};
use crate::value::Value;

/// A number that stays whole for as long as it can.
#[derive(Clone, Copy, Debug, PartialEq, Encode, Decode)]
pub enum Number {
    /// Whole.
    Int(i64),
    /// With a fraction, or beyond `i64`.
    Float(f64),
}

/// A number of a record as a double; `check_arguments` lets nothing else through.
pub(super) fn as_f64(value: Value<'_>) -> f64 {
    match value {
        Value::Int(number) => number as f64,
        Value::Float(number) => number,
        _ => {
            debug_assert!(false, "check_arguments lets numbers through only");
            f64::NAN
        }
    }
}

impl Number {
    /// Adds the number of a record.
    pub(super) fn add(&mut self, value: Value<'_>) {
        match value {
            Value::Int(value) => self.merge(Number::Int(value)),
            Value::Float(value) => self.merge(Number::Float(value)),
            _ => debug_assert!(false, "check_arguments lets numbers through only"),
        }
    }

    /// Takes the number of a record back.
    pub(super) fn take_back(&mut self, value: Value<'_>) {
        match value {
            Value::Int(value) => self.merge(match value.checked_neg() {
                Some(value) => Number::Int(value),
                None => Number::Float(-(value as f64)),
            }),
            Value::Float(value) => self.merge(Number::Float(-value)),
            _ => debug_assert!(false, "check_arguments lets numbers through only"),
        }
    }

    /// Adds another one.
    pub(super) fn merge(&mut self, more: Number) {
        *self = match (*self, more) {
            (Number::Int(sum), Number::Int(more)) => match sum.checked_add(more) {
                Some(sum) => Number::Int(sum),
                None => Number::Float(sum as f64 + more as f64),
            },
            (sum, more) => Number::Float(sum.as_f64() + more.as_f64()),
        };
    }

    pub(super) fn as_f64(self) -> f64 {
        match self {
            Number::Int(value) => value as f64,
            Number::Float(value) => value,
        }
    }

    pub(super) fn read<'a>(self) -> Value<'a> {
        match self {
            Number::Int(value) => Value::Int(value),
            Number::Float(value) => Value::Float(value),
        }
    }
}
