//! Code out of parts of code: what each operator and function does with its operands' code.

use std::cmp::Ordering;

use bumpalo::Bump;
use smallvec::SmallVec;

use super::ast::Operator;
use super::code::{Code, compute, test};
use super::constant::{Constant, Set};
use super::error::EvalError;
use super::function::{RECORD_HEADER, RecordPart};
use super::{operators, text};
use crate::value::Value;

/// Either side may decide: an error on one is passed over when the other is false.
pub(super) fn and(left: Code, right: Code) -> Code {
    test(move |sight| match left.test(sight) {
        Ok(true) => right.test(sight),
        Ok(false) => Ok(false),
        Err(error) => match right.test(sight) {
            Ok(false) => Ok(false),
            _ => Err(error),
        },
    })
}

/// Either side may decide: an error on one is passed over when the other is true.
pub(super) fn or(left: Code, right: Code) -> Code {
    test(move |sight| match left.test(sight) {
        Ok(false) => right.test(sight),
        Ok(true) => Ok(true),
        Err(error) => match right.test(sight) {
            Ok(true) => Ok(true),
            _ => Err(error),
        },
    })
}

pub(super) fn contained(item: Code, container: Code) -> Code {
    if let Code::Constant(Constant::List(items)) = &container
        && let Some(set) = Set::of(items)
    {
        return test(move |sight| Ok(set.contains(item.peek(sight)?)));
    }
    test(move |sight| operators::is_in(item.peek(sight)?, container.peek(sight)?))
}

pub(super) fn binary(operator: Operator, left: Code, right: Code) -> Code {
    match operator {
        Operator::Add => compute(move |sight| {
            operators::add(left.run(sight)?, right.run(sight)?, sight.row.arena)
        }),
        Operator::Subtract => {
            compute(move |sight| operators::subtract(left.run(sight)?, right.run(sight)?))
        }
        Operator::Multiply => {
            compute(move |sight| operators::multiply(left.run(sight)?, right.run(sight)?))
        }
        Operator::Divide => {
            compute(move |sight| operators::divide(left.run(sight)?, right.run(sight)?))
        }
        Operator::Remainder => {
            compute(move |sight| operators::remainder(left.run(sight)?, right.run(sight)?))
        }
        Operator::Equal => {
            test(move |sight| Ok(operators::equals(left.peek(sight)?, right.peek(sight)?)))
        }
        Operator::NotEqual => {
            test(move |sight| Ok(!operators::equals(left.peek(sight)?, right.peek(sight)?)))
        }
        Operator::Less => ordered("<", left, right, |order| order == Ordering::Less),
        Operator::LessOrEqual => ordered("<=", left, right, |order| order != Ordering::Greater),
        Operator::Greater => ordered(">", left, right, |order| order == Ordering::Greater),
        Operator::GreaterOrEqual => ordered(">=", left, right, |order| order != Ordering::Less),
        Operator::In => contained(left, right),
    }
}

/// A comparison; one with NaN is false.
fn ordered(
    symbol: &'static str,
    left: Code,
    right: Code,
    holds: impl Fn(Ordering) -> bool + Send + Sync + 'static,
) -> Code {
    test(move |sight| {
        let order = operators::order(symbol, left.peek(sight)?, right.peek(sight)?)?;
        Ok(order.is_some_and(&holds))
    })
}

pub(super) fn not(operand: Code) -> Code {
    test(move |sight| operand.test(sight).map(|flag| !flag))
}

pub(super) fn negate(operand: Code) -> Code {
    compute(move |sight| operators::negate(operand.run(sight)?))
}

pub(super) fn choice(condition: Code, then: Code, otherwise: Code) -> Code {
    compute(move |sight| match condition.test(sight)? {
        true => then.run(sight),
        false => otherwise.run(sight),
    })
}

pub(super) fn index(container: Code, position: Code) -> Code {
    compute(move |sight| operators::index(container.run(sight)?, position.peek(sight)?))
}

pub(super) fn list_of(items: Vec<Code>) -> Code {
    compute(move |sight| {
        let mut list = bumpalo::collections::Vec::with_capacity_in(items.len(), sight.row.arena);
        for item in &items {
            list.push(item.run(sight)?);
        }
        Ok(Value::List(list.into_bump_slice()))
    })
}

pub(super) fn map_of(entries: Vec<(Code, Code)>) -> Code {
    compute(move |sight| {
        let mut map = bumpalo::collections::Vec::with_capacity_in(entries.len(), sight.row.arena);
        for (name, value) in &entries {
            match name.run(sight)? {
                Value::Str(name) => map.push((name, value.run(sight)?)),
                other => return Err(EvalError::types("{}", &[other])),
            }
        }
        Ok(Value::Map(map.into_bump_slice()))
    })
}

pub(super) fn plain(
    body: for<'v> fn(&[Value<'v>]) -> Result<Value<'static>, EvalError>,
    arguments: Vec<Code>,
) -> Code {
    let arguments = match <[Code; 1]>::try_from(arguments) {
        Ok([one]) => return compute(move |sight| body(&[one.peek(sight)?])),
        Err(arguments) => arguments,
    };
    match <[Code; 2]>::try_from(arguments) {
        Ok([one, two]) => compute(move |sight| body(&[one.peek(sight)?, two.peek(sight)?])),
        Err(arguments) => compute(move |sight| {
            let mut values = SmallVec::<[Value<'_>; 4]>::new();
            for argument in &arguments {
                values.push(argument.peek(sight)?);
            }
            body(&values)
        }),
    }
}

pub(super) fn borrowing(
    body: for<'a> fn(&[Value<'a>], &'a Bump) -> Result<Value<'a>, EvalError>,
    arguments: Vec<Code>,
) -> Code {
    compute(move |sight| {
        let mut values = SmallVec::<[Value<'_>; 4]>::new();
        for argument in &arguments {
            values.push(argument.run(sight)?);
        }
        body(&values, sight.row.arena)
    })
}

/// The one argument. A constant stays one, but is not computed with its type again.
pub(super) fn forgetting(mut arguments: Vec<Code>) -> Code {
    match arguments.pop() {
        Some(Code::Constant(constant)) => Code::Constant(constant),
        Some(code) => compute(move |sight| code.run(sight)),
        None => unreachable!("the parser counts arguments"),
    }
}

/// The first argument that is there and not null; null when none is.
pub(super) fn coalesce(arguments: Vec<Code>) -> Code {
    compute(move |sight| {
        for argument in &arguments {
            match argument.read(sight) {
                Ok(value) if value.is_absent() => {}
                Err(error) if error.is_absence() => {}
                decided => return decided,
            }
        }
        Ok(Value::Null)
    })
}

/// A header of the record: a text, or bytes where it is none.
pub(super) fn record_header(mut arguments: Vec<Code>) -> Code {
    let name = arguments.pop().expect("the parser counts arguments");
    compute(move |sight| {
        let name = match name.peek(sight)? {
            Value::Str(name) => name,
            other => return Err(EvalError::types(RECORD_HEADER, &[other])),
        };
        Ok(match sight.row.headers.last(name) {
            None => Value::Null,
            Some(value) => std::str::from_utf8(value).map_or(Value::Bytes(value), Value::Str),
        })
    })
}

pub(super) fn record(part: RecordPart) -> Code {
    compute(move |sight| {
        let row = sight.row;
        let bytes = |name, bytes: Option<_>| bytes.map_or(Ok(Value::Null), |b| text::utf8(name, b));
        match part {
            RecordPart::Key => bytes("record_key", row.key),
            RecordPart::Timestamp => Ok(Value::Time(row.timestamp)),
            RecordPart::Partition => Ok(Value::Int(row.partition.into())),
            RecordPart::Offset => Ok(Value::Int(row.offset)),
            RecordPart::Topic => Ok(Value::Str(row.topic)),
            RecordPart::Raw => bytes("raw", row.raw),
        }
    })
}
