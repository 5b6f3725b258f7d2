//! Functions over numbers, and the smallest and greatest of anything that has an order.

use std::cmp::Ordering;

use bumpalo::Bump;

use super::error::EvalError;
use super::function::mismatch;
use super::operators::order;
use crate::value::Value;

type Evaluated<'a> = Result<Value<'a>, EvalError>;

pub(super) fn abs(arguments: &[Value<'_>]) -> Evaluated<'static> {
    match *arguments {
        [Value::Int(number)] => number
            .checked_abs()
            .map(Value::Int)
            .ok_or(EvalError::Overflow("abs")),
        [Value::Float(number)] => Ok(Value::Float(number.abs())),
        _ => mismatch("abs", arguments),
    }
}

pub(super) fn ceil(arguments: &[Value<'_>]) -> Evaluated<'static> {
    rounded("ceil", arguments, f64::ceil)
}

pub(super) fn floor(arguments: &[Value<'_>]) -> Evaluated<'static> {
    rounded("floor", arguments, f64::floor)
}

/// To the nearest whole number, halves away from 0.
pub(super) fn round(arguments: &[Value<'_>]) -> Evaluated<'static> {
    rounded("round", arguments, f64::round)
}

fn rounded(
    name: &'static str,
    arguments: &[Value<'_>],
    apply: impl Fn(f64) -> f64,
) -> Evaluated<'static> {
    match *arguments {
        [Value::Int(number)] => Ok(Value::Int(number)),
        [Value::Float(number)] => Ok(Value::Float(apply(number))),
        _ => mismatch(name, arguments),
    }
}

pub(super) fn min<'a>(arguments: &[Value<'a>], _: &'a Bump) -> Evaluated<'a> {
    extreme("min", Ordering::Less, arguments)
}

pub(super) fn max<'a>(arguments: &[Value<'a>], _: &'a Bump) -> Evaluated<'a> {
    extreme("max", Ordering::Greater, arguments)
}

/// The one that stands as `wanted` to all others, the first among equals; of one list, among its
/// items.
fn extreme<'a>(name: &'static str, wanted: Ordering, arguments: &[Value<'a>]) -> Evaluated<'a> {
    let items = match *arguments {
        [Value::List(items)] => items,
        _ => arguments,
    };
    let (&first, rest) = items.split_first().ok_or(EvalError::EmptyList(name))?;
    order(name, first, first)?;
    rest.iter().try_fold(first, |best, &item| {
        Ok(if order(name, item, best)? == Some(wanted) {
            item
        } else {
            best
        })
    })
}
