//! Functions over lists and maps, and the macros that go through their items.

use bumpalo::Bump;
use smallvec::SmallVec;

use super::ast::Macro;
use super::code::{Code, Local, Sight, compute, test};
use super::error::EvalError;
use super::function::mismatch;
use crate::value::Value;

type Evaluated<'a> = Result<Value<'a>, EvalError>;

/// Code points of a text, bytes of bytes, items of a list, names of a map.
pub(super) fn size(arguments: &[Value<'_>]) -> Evaluated<'static> {
    let size = match *arguments {
        [Value::Str(text)] => text.chars().count(),
        [Value::Bytes(bytes)] => bytes.len(),
        [Value::List(items)] => items.len(),
        [Value::Map(entries)] => entries.len(),
        _ => return mismatch("size", arguments),
    };
    Ok(Value::Int(size as i64))
}

/// `list.join()` and `list.join(separator)`: the texts, one after the other.
pub(super) fn join<'a>(arguments: &[Value<'a>], arena: &'a Bump) -> Evaluated<'a> {
    let (items, separator) = match *arguments {
        [Value::List(items)] => (items, ""),
        [Value::List(items), Value::Str(separator)] => (items, separator),
        _ => return mismatch("join", arguments),
    };
    let mut parts = SmallVec::<[&str; 8]>::new();
    for item in items {
        match item {
            Value::Str(part) => parts.push(part),
            other => return mismatch("join", &[*other]),
        }
    }
    Ok(Value::Str(arena.alloc_str(&parts.join(separator))))
}

/// A longer list is a mistake, and would take up memory without bound.
const LONGEST_RANGE: i64 = 100_000;

/// `range(n)`: the whole numbers from 0 up to, and without, n.
pub(super) fn range<'a>(arguments: &[Value<'a>], arena: &'a Bump) -> Evaluated<'a> {
    match *arguments {
        [Value::Int(end)] if end <= LONGEST_RANGE => {
            let numbers = (0..end.max(0)).map(Value::Int);
            let numbers: SmallVec<[Value<'a>; 16]> = numbers.collect();
            Ok(Value::List(arena.alloc_slice_copy(&numbers)))
        }
        [Value::Int(length)] => Err(EvalError::LongRange {
            length,
            longest: LONGEST_RANGE,
        }),
        _ => mismatch("range", arguments),
    }
}

/// The code of a macro over `over`.
pub(super) fn each(
    macro_: Macro,
    over: Code,
    condition: Option<Code>,
    value: Option<Code>,
) -> Code {
    let condition = condition.unwrap_or(Code::Constant(super::Constant::Bool(true)));
    match macro_ {
        Macro::Exists => test(move |sight| any(&over, &condition, true, sight)),
        Macro::All => test(move |sight| any(&over, &condition, false, sight).map(|found| !found)),
        Macro::ExistsOne => test(move |sight| exists_one(&over, &condition, sight)),
        Macro::Filter => compute(move |sight| collect(&over, &condition, None, sight)),
        Macro::Map => compute(move |sight| collect(&over, &condition, value.as_ref(), sight)),
    }
}

/// Whether the condition is `wanted` for an item. As with `||`, an error counts only when no item
/// decides.
fn any(
    over: &Code,
    condition: &Code,
    wanted: bool,
    sight: &Sight<'_, '_>,
) -> Result<bool, EvalError> {
    let mut undecided = None;
    let decided = for_each(over, sight, |inner, _| match condition.test(inner) {
        Ok(result) => Ok(result == wanted),
        Err(error) => {
            undecided.get_or_insert(error);
            Ok(false)
        }
    })?;
    match undecided {
        Some(error) if !decided => Err(error),
        _ => Ok(decided),
    }
}

fn exists_one(over: &Code, condition: &Code, sight: &Sight<'_, '_>) -> Result<bool, EvalError> {
    let mut count = 0;
    for_each(over, sight, |inner, _| {
        count += usize::from(condition.test(inner)?);
        Ok(false)
    })?;
    Ok(count == 1)
}

fn collect<'a>(
    over: &Code,
    condition: &Code,
    value: Option<&Code>,
    sight: &Sight<'_, 'a>,
) -> Evaluated<'a> {
    let mut items = bumpalo::collections::Vec::new_in(sight.row.arena);
    for_each(over, sight, |inner, item| {
        if condition.test(inner)? {
            items.push(value.map_or(Ok(item), |value| value.run(inner))?);
        }
        Ok(false)
    })?;
    Ok(Value::List(items.into_bump_slice()))
}

/// Goes through the items of a list, or the names of a map, until `visit` says that it is enough;
/// whether it did.
fn for_each<'a>(
    over: &Code,
    sight: &Sight<'_, 'a>,
    mut visit: impl FnMut(&Sight<'_, 'a>, Value<'a>) -> Result<bool, EvalError>,
) -> Result<bool, EvalError> {
    let mut visit = |value: Value<'a>| {
        let local = Local {
            value,
            outer: sight.locals,
        };
        visit(
            &Sight {
                row: sight.row,
                locals: Some(&local),
            },
            value,
        )
    };
    match over.run(sight)? {
        Value::List(items) => {
            for item in items {
                if visit(*item)? {
                    return Ok(true);
                }
            }
        }
        Value::Map(entries) => {
            for (name, _) in entries {
                if visit(Value::Str(name))? {
                    return Ok(true);
                }
            }
        }
        other => return Err(EvalError::types("exists, all, filter or map", &[other])),
    }
    Ok(false)
}
