//! A single value that outlives its record, for `min`, `max`, `last`, `top_k` and the like.

use std::cmp::Ordering;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bumpalo::Bump;

use crate::codec::{Decode, Encode};
use crate::time::Timestamp;
use crate::value::Value;

/// An owned value with an order within its kind; whole numbers and those with a fraction compare
/// with each other. Values of different kinds are ordered by kind, so that any mix has one answer.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub enum Scalar {
    /// False is below true.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number with a fraction.
    Float(f64),
    /// A text, ordered by its bytes (which is by code points).
    Str(String),
    /// Bytes.
    Bytes(Vec<u8>),
    /// Milliseconds since the epoch.
    Time(i64),
    /// A length of time in milliseconds.
    Duration(i64),
}

impl Scalar {
    /// A copy of the value; none for absent values, lists and objects.
    pub fn new(value: Value<'_>) -> Option<Scalar> {
        Some(match value {
            Value::Bool(value) => Scalar::Bool(value),
            Value::Int(value) => Scalar::Int(value),
            Value::Float(value) => Scalar::Float(value),
            Value::Str(text) => Scalar::Str(text.into()),
            Value::Bytes(bytes) => Scalar::Bytes(bytes.into()),
            Value::Time(time) => Scalar::Time(time.0),
            Value::Duration(ms) => Scalar::Duration(ms),
            Value::Missing | Value::Null | Value::List(_) | Value::Map(_) => return None,
        })
    }

    /// Takes the place of what was there, in its memory as far as that goes: a value that changes
    /// with each record allocates nothing.
    pub fn assign(&mut self, value: Value<'_>) {
        match (&mut *self, value) {
            (Scalar::Str(text), Value::Str(new)) => {
                text.clear();
                text.push_str(new);
            }
            (Scalar::Bytes(bytes), Value::Bytes(new)) => {
                bytes.clear();
                bytes.extend_from_slice(new);
            }
            (_, value) => {
                if let Some(new) = Scalar::new(value) {
                    *self = new;
                }
            }
        }
    }

    /// Whether [`Scalar::new`] can hold it.
    pub fn can_hold(value: &Value<'_>) -> bool {
        !matches!(
            value,
            Value::Missing | Value::Null | Value::List(_) | Value::Map(_)
        )
    }

    /// The value, borrowing from this.
    pub fn as_value(&self) -> Value<'_> {
        match self {
            Scalar::Bool(value) => Value::Bool(*value),
            Scalar::Int(value) => Value::Int(*value),
            Scalar::Float(value) => Value::Float(*value),
            Scalar::Str(text) => Value::Str(text),
            Scalar::Bytes(bytes) => Value::Bytes(bytes),
            Scalar::Time(ms) => Value::Time(Timestamp(*ms)),
            Scalar::Duration(ms) => Value::Duration(*ms),
        }
    }

    /// The value, copied into the arena.
    pub fn read<'a>(&self, arena: &'a Bump) -> Value<'a> {
        match self {
            Scalar::Bool(value) => Value::Bool(*value),
            Scalar::Int(value) => Value::Int(*value),
            Scalar::Float(value) => Value::Float(*value),
            Scalar::Str(text) => Value::Str(arena.alloc_str(text)),
            Scalar::Bytes(bytes) => Value::Bytes(arena.alloc_slice_copy(bytes)),
            Scalar::Time(ms) => Value::Time(Timestamp(*ms)),
            Scalar::Duration(ms) => Value::Duration(*ms),
        }
    }

    /// As a text: one that it is, else as JSON writes it; bytes that are no text in base64, lengths of
    /// time in milliseconds.
    pub fn text(&self) -> String {
        match self {
            Scalar::Bool(value) => value.to_string(),
            Scalar::Int(value) | Scalar::Duration(value) => value.to_string(),
            Scalar::Float(value) => value.to_string(),
            Scalar::Str(text) => text.clone(),
            Scalar::Bytes(bytes) => match str::from_utf8(bytes) {
                Ok(text) => text.to_owned(),
                Err(_) => BASE64.encode(bytes),
            },
            Scalar::Time(ms) => Timestamp(*ms).to_string(),
        }
    }

    /// Whether this is larger than `value`.
    pub fn is_above(&self, value: Value<'_>) -> bool {
        order(self.as_value(), value) == Ordering::Greater
    }

    /// Whether this is smaller than `value`.
    pub fn is_below(&self, value: Value<'_>) -> bool {
        order(self.as_value(), value) == Ordering::Less
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        match self {
            Scalar::Str(text) => text.capacity(),
            Scalar::Bytes(bytes) => bytes.capacity(),
            _ => 0,
        }
    }
}

/// A value such that those that are equal in expressions are the same: a number without a fraction
/// is a whole one.
pub(super) fn canonical(value: Value<'_>) -> Value<'_> {
    /// 2^63, the first that is too large.
    const TOO_LARGE: f64 = 9_223_372_036_854_775_808.0;
    match value {
        Value::Float(number)
            if number.fract() == 0.0 && (-TOO_LARGE..TOO_LARGE).contains(&number) =>
        {
            Value::Int(number as i64)
        }
        value => value,
    }
}

/// The order of canonical values, in which no two different ones are equal.
pub(super) fn total_order(left: Value<'_>, right: Value<'_>) -> Ordering {
    let is_float = |value| matches!(value, Value::Float(_));
    // As a double the largest whole numbers are 2^63, which is none of them.
    order(left, right).then_with(|| is_float(left).cmp(&is_float(right)))
}

fn order(left: Value<'_>, right: Value<'_>) -> Ordering {
    match (left, right) {
        (Value::Bool(left), Value::Bool(right)) => left.cmp(&right),
        (Value::Int(left), Value::Int(right)) => left.cmp(&right),
        (Value::Float(left), Value::Float(right)) => left.total_cmp(&right),
        (Value::Int(left), Value::Float(right)) => (left as f64).total_cmp(&right),
        (Value::Float(left), Value::Int(right)) => left.total_cmp(&(right as f64)),
        (Value::Str(left), Value::Str(right)) => left.cmp(right),
        (Value::Bytes(left), Value::Bytes(right)) => left.cmp(right),
        (Value::Time(left), Value::Time(right)) => left.cmp(&right),
        (Value::Duration(left), Value::Duration(right)) => left.cmp(&right),
        (left, right) => kind(left).cmp(&kind(right)),
    }
}

fn kind(value: Value<'_>) -> u8 {
    match value {
        Value::Missing | Value::Null => 0,
        Value::Bool(_) => 1,
        Value::Int(_) | Value::Float(_) => 2,
        Value::Time(_) => 3,
        Value::Duration(_) => 4,
        Value::Str(_) => 5,
        Value::Bytes(_) => 6,
        Value::List(_) => 7,
        Value::Map(_) => 8,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_takes_the_place_of_another_in_its_memory() {
        let mut scalar = Scalar::new(Value::Str("a long text")).expect("a text");
        let bytes = scalar.heap_bytes();
        scalar.assign(Value::Str("short"));
        assert_eq!(scalar.as_value(), Value::Str("short"));
        assert_eq!(scalar.heap_bytes(), bytes);
        scalar.assign(Value::Int(5));
        assert_eq!(scalar.as_value(), Value::Int(5));
        scalar.assign(Value::Bytes(b"\xff"));
        scalar.assign(Value::Bytes(b"ab"));
        assert_eq!(scalar.as_value(), Value::Bytes(b"ab"));
    }

    /// What a text is in memory has changed; what is stored of one has not.
    #[test]
    fn the_bytes_of_a_value_stay_as_they_are() {
        let scalars = [
            Value::Bool(true),
            Value::Int(-2),
            Value::Float(0.5),
            Value::Str("Zoë"),
            Value::Bytes(b"\xff\x00"),
            Value::Time(Timestamp(7)),
            Value::Duration(8),
        ]
        .map(|value| Scalar::new(value).expect("a single value"));
        let mut bytes = Vec::new();
        crate::codec::encode_into(&scalars.to_vec(), &mut bytes);
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        expect_test::expect!["01070001010302000000000000e03f03045a6fc3ab0402ff00050e0610"]
            .assert_eq(&hex);
    }

    #[test]
    fn numbers_that_are_equal_are_one_value_and_all_others_have_an_order() {
        assert_eq!(canonical(Value::Float(-0.0)), Value::Int(0));
        assert_eq!(canonical(Value::Float(5.0)), Value::Int(5));
        assert_eq!(canonical(Value::Float(5.5)), Value::Float(5.5));
        let two_to_63 = 9_223_372_036_854_775_808.0;
        assert_eq!(canonical(Value::Float(-two_to_63)), Value::Int(i64::MIN));
        let rising = [
            Value::Bool(false),
            Value::Bool(true),
            Value::Float(f64::NEG_INFINITY),
            Value::Int(i64::MIN),
            Value::Int(5),
            Value::Float(5.5),
            Value::Int(6),
            Value::Int(i64::MAX),
            Value::Float(two_to_63),
            Value::Float(f64::NAN),
            Value::Time(Timestamp(0)),
            Value::Str(""),
            Value::Str("a"),
            Value::Bytes(b""),
        ];
        for (at, left) in rising.iter().enumerate() {
            for (other, right) in rising.iter().enumerate() {
                assert_eq!(
                    total_order(*left, *right),
                    at.cmp(&other),
                    "{left:?}, {right:?}"
                );
            }
        }
    }
}
