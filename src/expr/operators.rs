//! What operators do with values: arithmetic, equality, order, membership.
//!
//! CEL's rules, with one addition: JSON numbers do not tell whether they are whole, so an int and
//! a double may meet in arithmetic, and the int becomes a double.

use std::cmp::Ordering;
use std::ops::RangeInclusive;

use bumpalo::Bump;

use super::error::EvalError;
use crate::time::Timestamp;
use crate::value::Value;

type Evaluated<'a> = Result<Value<'a>, EvalError>;

/// From the beginning of CEL's calendar, 0001-01-01T00:00:00Z, to the end of jiff's, some 26 hours
/// before the year 10000 (so that a time has a date in every zone).
const CALENDAR: RangeInclusive<i64> = -62_135_596_800_000..=253_402_207_200_999;

/// `left + right`; new texts and lists are laid out in the arena.
#[inline]
pub(super) fn add<'a>(left: Value<'a>, right: Value<'a>, arena: &'a Bump) -> Evaluated<'a> {
    match (left, right) {
        (Value::Int(a), Value::Int(b)) => whole("+", a.checked_add(b)),
        (Value::Str(a), Value::Str(b)) => Ok(Value::Str(joined(&[a, b], arena))),
        (Value::List(a), Value::List(b)) => {
            let mut items = bumpalo::collections::Vec::with_capacity_in(a.len() + b.len(), arena);
            items.extend_from_slice(a);
            items.extend_from_slice(b);
            Ok(Value::List(items.into_bump_slice()))
        }
        (Value::Bytes(a), Value::Bytes(b)) => {
            let mut bytes = bumpalo::collections::Vec::with_capacity_in(a.len() + b.len(), arena);
            bytes.extend_from_slice(a);
            bytes.extend_from_slice(b);
            Ok(Value::Bytes(bytes.into_bump_slice()))
        }
        (Value::Time(time), Value::Duration(ms)) | (Value::Duration(ms), Value::Time(time)) => {
            moment(time.millis().checked_add(ms))
        }
        (Value::Duration(a), Value::Duration(b)) => length("+", a.checked_add(b)),
        _ => floats("+", left, right, |a, b| a + b),
    }
}

/// `left - right`.
#[inline]
pub(super) fn subtract<'a>(left: Value<'a>, right: Value<'a>) -> Evaluated<'a> {
    match (left, right) {
        (Value::Int(a), Value::Int(b)) => whole("-", a.checked_sub(b)),
        (Value::Time(a), Value::Time(b)) => length("-", a.millis().checked_sub(b.millis())),
        (Value::Time(time), Value::Duration(ms)) => moment(time.millis().checked_sub(ms)),
        (Value::Duration(a), Value::Duration(b)) => length("-", a.checked_sub(b)),
        _ => floats("-", left, right, |a, b| a - b),
    }
}

/// `left * right`.
#[inline]
pub(super) fn multiply<'a>(left: Value<'a>, right: Value<'a>) -> Evaluated<'a> {
    match (left, right) {
        (Value::Int(a), Value::Int(b)) => whole("*", a.checked_mul(b)),
        _ => floats("*", left, right, |a, b| a * b),
    }
}

/// `left / right`: of whole numbers cut towards zero, of others IEEE 754.
#[inline]
pub(super) fn divide<'a>(left: Value<'a>, right: Value<'a>) -> Evaluated<'a> {
    match (left, right) {
        (Value::Int(_), Value::Int(0)) => Err(EvalError::DivisionByZero),
        (Value::Int(a), Value::Int(b)) => whole("/", a.checked_div(b)),
        _ => floats("/", left, right, |a, b| a / b),
    }
}

/// `left % right`, with the sign of `left`; whole numbers only.
#[inline]
pub(super) fn remainder<'a>(left: Value<'a>, right: Value<'a>) -> Evaluated<'a> {
    match (left, right) {
        (Value::Int(_), Value::Int(0)) => Err(EvalError::DivisionByZero),
        (Value::Int(a), Value::Int(b)) => whole("%", a.checked_rem(b)),
        _ => Err(EvalError::types("%", &[left, right])),
    }
}

/// `-value`.
#[inline]
pub(super) fn negate(value: Value<'_>) -> Evaluated<'_> {
    match value {
        Value::Int(number) => whole("-", number.checked_neg()),
        Value::Float(number) => Ok(Value::Float(-number)),
        _ => Err(EvalError::types("-", &[value])),
    }
}

fn whole<'a>(operator: &'static str, result: Option<i64>) -> Evaluated<'a> {
    result.map(Value::Int).ok_or(EvalError::Overflow(operator))
}

fn length<'a>(operator: &'static str, ms: Option<i64>) -> Evaluated<'a> {
    ms.map(Value::Duration).ok_or(EvalError::Overflow(operator))
}

/// The time `ms` milliseconds after the epoch.
pub(super) fn moment<'a>(ms: Option<i64>) -> Evaluated<'a> {
    match ms {
        Some(ms) if CALENDAR.contains(&ms) => Ok(Value::Time(Timestamp(ms))),
        _ => Err(EvalError::TimeOutOfRange),
    }
}

fn floats<'a>(
    operator: &'static str,
    left: Value<'a>,
    right: Value<'a>,
    apply: impl Fn(f64, f64) -> f64,
) -> Evaluated<'a> {
    match (as_float(left), as_float(right)) {
        (Some(a), Some(b)) => Ok(Value::Float(apply(a, b))),
        _ => Err(EvalError::types(operator, &[left, right])),
    }
}

fn as_float(value: Value<'_>) -> Option<f64> {
    match value {
        Value::Int(number) => Some(number as f64),
        Value::Float(number) => Some(number),
        _ => None,
    }
}

/// The texts, one after the other.
pub(super) fn joined<'a>(parts: &[&str], arena: &'a Bump) -> &'a str {
    let length = parts.iter().map(|part| part.len()).sum();
    let mut text = bumpalo::collections::String::with_capacity_in(length, arena);
    parts.iter().for_each(|part| text.push_str(part));
    text.into_bump_str()
}

/// `left == right`. Values of different types are different, numbers excepted: an int equals the
/// double of the same size. Maps are equal whatever the order of their names.
#[inline]
pub(super) fn equals(left: Value<'_>, right: Value<'_>) -> bool {
    match (left, right) {
        (Value::Str(a), Value::Str(b)) => a == b,
        (Value::Int(a), Value::Int(b)) => a == b,
        (Value::Bool(a), Value::Bool(b)) => a == b,
        (Value::Float(a), Value::Float(b)) => a == b,
        (Value::Int(a), Value::Float(b)) | (Value::Float(b), Value::Int(a)) => a as f64 == b,
        (Value::Null, Value::Null) => true,
        (Value::Bytes(a), Value::Bytes(b)) => a == b,
        (Value::Time(a), Value::Time(b)) => a == b,
        (Value::Duration(a), Value::Duration(b)) => a == b,
        (Value::List(a), Value::List(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| equals(*a, *b))
        }
        (Value::Map(a), Value::Map(b)) => {
            a.len() == b.len()
                && a.iter()
                    .all(|(name, item)| entry(b, name).is_some_and(|other| equals(*item, other)))
        }
        _ => false,
    }
}

/// What the map has under that name. Of a name that stands there twice, the last.
pub(super) fn entry<'a>(entries: &[(&str, Value<'a>)], name: &str) -> Option<Value<'a>> {
    entries
        .iter()
        .rfind(|(found, _)| *found == name)
        .map(|(_, value)| *value)
}

/// How the two stand to each other; none when one is not a number (NaN).
///
/// # Errors
/// When there is no order between values of these types.
#[inline]
pub(super) fn order(
    operator: &'static str,
    left: Value<'_>,
    right: Value<'_>,
) -> Result<Option<Ordering>, EvalError> {
    Ok(match (left, right) {
        (Value::Int(a), Value::Int(b)) => Some(a.cmp(&b)),
        (Value::Str(a), Value::Str(b)) => Some(a.cmp(b)),
        (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(&b)),
        (Value::Bytes(a), Value::Bytes(b)) => Some(a.cmp(b)),
        (Value::Time(a), Value::Time(b)) => Some(a.cmp(&b)),
        (Value::Duration(a), Value::Duration(b)) => Some(a.cmp(&b)),
        _ => match (as_float(left), as_float(right)) {
            (Some(a), Some(b)) => a.partial_cmp(&b),
            _ => return Err(EvalError::types(operator, &[left, right])),
        },
    })
}

/// `item in container`: an item of a list, or a name in a map.
pub(super) fn is_in(item: Value<'_>, container: Value<'_>) -> Result<bool, EvalError> {
    match (item, container) {
        (_, Value::List(items)) => Ok(items.iter().any(|other| equals(item, *other))),
        (Value::Str(name), Value::Map(entries)) => Ok(entry(entries, name).is_some()),
        (_, Value::Map(_)) => Ok(false),
        _ => Err(EvalError::types("in", &[item, container])),
    }
}

/// `container[position]`: the item of a list, from 0, or what a map has under a name.
pub(super) fn index<'a>(container: Value<'a>, position: Value<'_>) -> Evaluated<'a> {
    match (container, position) {
        (Value::List(items), Value::Int(at)) => item(items, at),
        (Value::List(items), Value::Float(at)) if at.fract() == 0.0 && at.abs() < 1e15 => {
            item(items, at as i64)
        }
        (Value::Map(entries), Value::Str(name)) => {
            entry(entries, name).ok_or_else(|| EvalError::NoSuchKey(name.into()))
        }
        _ => Err(EvalError::types("[]", &[container, position])),
    }
}

fn item<'a>(items: &[Value<'a>], position: i64) -> Evaluated<'a> {
    usize::try_from(position)
        .ok()
        .and_then(|at| items.get(at).copied())
        .ok_or(EvalError::OutOfBounds {
            position,
            length: items.len(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_calendar_ends_where_that_of_jiff_does() {
        assert_eq!(*CALENDAR.end(), jiff::Timestamp::MAX.as_millisecond());
        let first: jiff::Timestamp = "0001-01-01T00:00:00Z".parse().unwrap();
        assert_eq!(*CALENDAR.start(), first.as_millisecond());
    }
}
