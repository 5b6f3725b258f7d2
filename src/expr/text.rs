//! Functions over texts. Positions count code points from 0, as everywhere in CEL.

use std::hash::Hasher;
use std::net::IpAddr;

use bumpalo::Bump;

use super::error::EvalError;
use super::function::mismatch;
use crate::value::Value;

type Evaluated<'a> = Result<Value<'a>, EvalError>;

pub(super) fn contains(arguments: &[Value<'_>]) -> Evaluated<'static> {
    match *arguments {
        [Value::Str(text), Value::Str(part)] => Ok(Value::Bool(text.contains(part))),
        _ => mismatch("contains", arguments),
    }
}

pub(super) fn starts_with(arguments: &[Value<'_>]) -> Evaluated<'static> {
    match *arguments {
        [Value::Str(text), Value::Str(part)] => Ok(Value::Bool(text.starts_with(part))),
        _ => mismatch("startsWith", arguments),
    }
}

pub(super) fn ends_with(arguments: &[Value<'_>]) -> Evaluated<'static> {
    match *arguments {
        [Value::Str(text), Value::Str(part)] => Ok(Value::Bool(text.ends_with(part))),
        _ => mismatch("endsWith", arguments),
    }
}

/// `text.indexOf(part)` and `text.indexOf(part, from)`: −1 when it is not there.
pub(super) fn index_of(arguments: &[Value<'_>]) -> Evaluated<'static> {
    let (text, part, from) = match *arguments {
        [Value::Str(text), Value::Str(part)] => (text, part, 0),
        [Value::Str(text), Value::Str(part), Value::Int(from)] => (text, part, from),
        _ => return mismatch("indexOf", arguments),
    };
    if part.is_empty() && from >= 0 {
        return Ok(Value::Int(from.min(text.chars().count() as i64)));
    }
    let start = byte_of(text, from)?;
    if start == text.len() && arguments.len() == 3 {
        return Err(EvalError::OutOfBounds {
            position: from,
            length: text.chars().count(),
        });
    }
    Ok(Value::Int(match text[start..].find(part) {
        Some(found) => from + text[start..start + found].chars().count() as i64,
        None => -1,
    }))
}

/// `text.substring(start)` and `text.substring(start, end)`; the end is not part of it.
pub(super) fn substring<'a>(arguments: &[Value<'a>], _: &'a Bump) -> Evaluated<'a> {
    let (text, start, end) = match *arguments {
        [Value::Str(text), Value::Int(start)] => (text, start, None),
        [Value::Str(text), Value::Int(start), Value::Int(end)] => (text, start, Some(end)),
        _ => return mismatch("substring", arguments),
    };
    let first = byte_of(text, start)?;
    let last = end.map_or(Ok(text.len()), |end| byte_of(text, end))?;
    match text.get(first..last) {
        Some(part) => Ok(Value::Str(part)),
        None => Err(EvalError::OutOfBounds {
            position: start,
            length: end.unwrap_or_default().max(0) as usize,
        }),
    }
}

/// The byte at which the code point with that number begins; the text's end is one more place.
fn byte_of(text: &str, position: i64) -> Result<usize, EvalError> {
    let ends = std::iter::once(text.len());
    usize::try_from(position)
        .ok()
        .and_then(|nth| {
            text.char_indices()
                .map(|(byte, _)| byte)
                .chain(ends)
                .nth(nth)
        })
        .ok_or_else(|| EvalError::OutOfBounds {
            position,
            length: text.chars().count(),
        })
}

/// `text.replace(old, new)` and `text.replace(old, new, count)`; below 0 means all.
pub(super) fn replace<'a>(arguments: &[Value<'a>], arena: &'a Bump) -> Evaluated<'a> {
    let (text, old, new, count) = match *arguments {
        [Value::Str(text), Value::Str(old), Value::Str(new)] => (text, old, new, -1),
        [
            Value::Str(text),
            Value::Str(old),
            Value::Str(new),
            Value::Int(count),
        ] => (text, old, new, count),
        _ => return mismatch("replace", arguments),
    };
    if !text.contains(old) {
        return Ok(Value::Str(text));
    }
    let replaced = match usize::try_from(count) {
        Ok(count) => text.replacen(old, new, count),
        Err(_) => text.replace(old, new),
    };
    Ok(Value::Str(arena.alloc_str(&replaced)))
}

/// `text.split(separator)` and `text.split(separator, count)`: at most so many parts, the last
/// with all that is left; below 0 means all. An empty separator splits between code points.
pub(super) fn split<'a>(arguments: &[Value<'a>], arena: &'a Bump) -> Evaluated<'a> {
    let (text, separator, count) = match *arguments {
        [Value::Str(text), Value::Str(separator)] => (text, separator, -1),
        [Value::Str(text), Value::Str(separator), Value::Int(count)] => (text, separator, count),
        _ => return mismatch("split", arguments),
    };
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    let mut parts = bumpalo::collections::Vec::new_in(arena);
    match (count, separator) {
        (0, _) => {}
        (_, "") => parts.extend(code_points(text, count).map(Value::Str)),
        _ => parts.extend(text.splitn(count, separator).map(Value::Str)),
    }
    Ok(Value::List(parts.into_bump_slice()))
}

/// The code points, at most `count` parts, the last with all that is left.
fn code_points(text: &str, count: usize) -> impl Iterator<Item = &str> {
    let mut rest = text;
    let mut left = count;
    std::iter::from_fn(move || {
        let first = rest.chars().next()?;
        left -= 1;
        let (part, after) = rest.split_at(if left == 0 {
            rest.len()
        } else {
            first.len_utf8()
        });
        rest = after;
        Some(part)
    })
}

pub(super) fn trim<'a>(arguments: &[Value<'a>], _: &'a Bump) -> Evaluated<'a> {
    match *arguments {
        [Value::Str(text)] => Ok(Value::Str(text.trim())),
        _ => mismatch("trim", arguments),
    }
}

pub(super) fn lower<'a>(arguments: &[Value<'a>], arena: &'a Bump) -> Evaluated<'a> {
    match *arguments {
        [Value::Str(text)] => Ok(Value::Str(arena.alloc_str(&text.to_lowercase()))),
        _ => mismatch("lower", arguments),
    }
}

pub(super) fn upper<'a>(arguments: &[Value<'a>], arena: &'a Bump) -> Evaluated<'a> {
    match *arguments {
        [Value::Str(text)] => Ok(Value::Str(arena.alloc_str(&text.to_uppercase()))),
        _ => mismatch("upper", arguments),
    }
}

pub(super) fn lower_ascii<'a>(arguments: &[Value<'a>], arena: &'a Bump) -> Evaluated<'a> {
    match *arguments {
        [Value::Str(text)] => {
            let copy = arena.alloc_str(text);
            copy.make_ascii_lowercase();
            Ok(Value::Str(copy))
        }
        _ => mismatch("lowerAscii", arguments),
    }
}

pub(super) fn upper_ascii<'a>(arguments: &[Value<'a>], arena: &'a Bump) -> Evaluated<'a> {
    match *arguments {
        [Value::Str(text)] => {
            let copy = arena.alloc_str(text);
            copy.make_ascii_uppercase();
            Ok(Value::Str(copy))
        }
        _ => mismatch("upperAscii", arguments),
    }
}

/// A number from 0 to 2⁶³−1 that depends on the bytes alone, the same on every machine and in
/// every version: SipHash-1-3 without a key.
pub(super) fn hash(arguments: &[Value<'_>]) -> Evaluated<'static> {
    let bytes = match *arguments {
        [Value::Str(text)] => text.as_bytes(),
        [Value::Bytes(bytes)] => bytes,
        _ => return mismatch("hash", arguments),
    };
    let mut hasher = siphasher::sip::SipHasher13::new();
    hasher.write(bytes);
    Ok(Value::Int((hasher.finish() >> 1) as i64))
}

/// Whether the text is an IPv4 or IPv6 address: how Wikimedia names editors without an account.
pub(super) fn is_ip(arguments: &[Value<'_>]) -> Evaluated<'static> {
    match *arguments {
        [Value::Str(text)] => Ok(Value::Bool(text.parse::<IpAddr>().is_ok())),
        _ => mismatch("is_ip", arguments),
    }
}

/// Whether the text is the name of a temporary account, `~2025-12345-6`: how Wikimedia names
/// editors without an account since 2025.
pub(super) fn is_temp_account(arguments: &[Value<'_>]) -> Evaluated<'static> {
    match *arguments {
        [Value::Str(text)] => Ok(Value::Bool(match text.as_bytes() {
            [b'~', a, b, c, d, b'-', ..] => [a, b, c, d].iter().all(|digit| digit.is_ascii_digit()),
            _ => false,
        })),
        _ => mismatch("is_temp_account", arguments),
    }
}

/// The bytes as text.
pub(super) fn utf8<'a>(name: &'static str, bytes: &'a [u8]) -> Evaluated<'a> {
    std::str::from_utf8(bytes)
        .map(Value::Str)
        .map_err(|_| EvalError::NotUtf8(name))
}
