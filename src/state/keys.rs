//! Keys of state stores and of repartitioned records: bytes whose order is the order of the values.
//!
//! A key is a sequence of fields, each a tag and its value:
//!
//! | value | bytes after the tag |
//! | --- | --- |
//! | bool | 0 or 1 |
//! | int, time, duration | 8, big-endian, sign flipped |
//! | double | 8, big-endian, in the total order; whole ones are keyed as the int they equal |
//! | text, bytes | as they are with 00 written as 00 FF, then 00 00 |
//!
//! A windowed key has the window's start (8 bytes, big-endian, sign flipped) in front, so that old
//! windows are one range. Decoding gives back the values; nothing else may write such bytes.

use bumpalo::Bump;
use bumpalo::collections::Vec as ArenaVec;

use crate::time::Timestamp;
use crate::value::Value;

/// Bytes in front of a windowed key.
pub const WINDOW_BYTES: usize = 8;

/// The start of the first window that there can be; keys without a window that are smaller than this
/// do not mix with those that have one.
pub const FIRST_WINDOW: [u8; WINDOW_BYTES] = [0; WINDOW_BYTES];

/// Whether a key is of a window that begins before the first open one, whose start is given as bytes.
pub fn has_expired(key: &[u8], open_from: &[u8; WINDOW_BYTES]) -> bool {
    (&FIRST_WINDOW[..]..&open_from[..]).contains(&key)
}

/// The start of the first open window, from its bytes; none: nothing has expired.
pub fn open_from(bytes: [u8; WINDOW_BYTES]) -> Option<Timestamp> {
    let start = split_window(&bytes).map(|(start, _)| start);
    start.ok().filter(|_| bytes != FIRST_WINDOW)
}

const BOOL: u8 = 1;
const INT: u8 = 2;
const FLOAT: u8 = 3;
const TIME: u8 = 4;
const DURATION: u8 = 5;
const STR: u8 = 6;
const BYTES: u8 = 7;

/// A value that cannot be part of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a key field must be a bool, number, text or time, found {found}")]
pub struct KeyError {
    /// The type found.
    pub found: &'static str,
}

/// Bytes that are not a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("damaged key at byte {at}")]
pub struct DamagedKey {
    at: usize,
}

/// Appends one field.
///
/// # Errors
/// For absent values, lists and objects.
pub fn push_field(value: Value<'_>, out: &mut impl Extend<u8>) -> Result<(), KeyError> {
    match value {
        Value::Bool(value) => out.extend([BOOL, u8::from(value)]),
        Value::Int(value) => push_int(INT, value, out),
        Value::Float(value) if value.fract() == 0.0 && value.abs() < 9.0e18 => {
            push_int(INT, value as i64, out);
        }
        Value::Float(value) => {
            out.extend([FLOAT]);
            out.extend(ordered_float(value).to_be_bytes());
        }
        Value::Time(time) => push_int(TIME, time.0, out),
        Value::Duration(ms) => push_int(DURATION, ms, out),
        Value::Str(text) => push_escaped(STR, text.as_bytes(), out),
        Value::Bytes(bytes) => push_escaped(BYTES, bytes, out),
        Value::Missing | Value::Null | Value::List(_) | Value::Map(_) => {
            return Err(KeyError {
                found: value.type_name(),
            });
        }
    }
    Ok(())
}

/// The bytes of the start of a window.
pub fn window_bytes(start: Timestamp) -> [u8; WINDOW_BYTES] {
    flip(start.0).to_be_bytes()
}

/// Appends the start of a window.
pub fn push_window(start: Timestamp, out: &mut Vec<u8>) {
    out.extend(window_bytes(start));
}

/// The key of an entry of a group whose window (or pane) begins then.
pub fn window_key(start: Timestamp, group: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(WINDOW_BYTES + group.len());
    push_window(start, &mut key);
    key.extend_from_slice(group);
    key
}

/// Takes a windowed key apart: the window's start and the key without it.
///
/// # Errors
/// When it is too short.
pub fn split_window(key: &[u8]) -> Result<(Timestamp, &[u8]), DamagedKey> {
    let (start, rest) = key
        .split_first_chunk::<WINDOW_BYTES>()
        .ok_or(DamagedKey { at: key.len() })?;
    Ok((Timestamp(unflip(u64::from_be_bytes(*start))), rest))
}

/// Reads the fields of a key (without window) into the arena.
///
/// # Errors
/// When the bytes are not a key.
pub fn read_fields<'a>(key: &[u8], arena: &'a Bump) -> Result<&'a [Value<'a>], DamagedKey> {
    let mut fields = ArenaVec::new_in(arena);
    let mut rest = key;
    while let Some((&tag, after)) = rest.split_first() {
        let damaged = DamagedKey {
            at: key.len() - rest.len(),
        };
        let (value, after) = read_field(tag, after, arena).ok_or(damaged)?;
        fields.push(value);
        rest = after;
    }
    Ok(fields.into_bump_slice())
}

fn read_field<'a, 'k>(tag: u8, rest: &'k [u8], arena: &'a Bump) -> Option<(Value<'a>, &'k [u8])> {
    match tag {
        BOOL => {
            let (&value, rest) = rest.split_first()?;
            (value <= 1).then_some((Value::Bool(value == 1), rest))
        }
        INT | FLOAT | TIME | DURATION => {
            let (raw, rest) = rest.split_first_chunk::<8>()?;
            let raw = u64::from_be_bytes(*raw);
            let value = match tag {
                INT => Value::Int(unflip(raw)),
                TIME => Value::Time(Timestamp(unflip(raw))),
                DURATION => Value::Duration(unflip(raw)),
                _ => Value::Float(unordered_float(raw)),
            };
            Some((value, rest))
        }
        STR | BYTES => {
            let (bytes, rest) = read_escaped(rest, arena)?;
            let value = match tag {
                STR => Value::Str(std::str::from_utf8(bytes).ok()?),
                _ => Value::Bytes(bytes),
            };
            Some((value, rest))
        }
        _ => None,
    }
}

fn push_int(tag: u8, value: i64, out: &mut impl Extend<u8>) {
    out.extend([tag]);
    out.extend(flip(value).to_be_bytes());
}

fn push_escaped(tag: u8, bytes: &[u8], out: &mut impl Extend<u8>) {
    out.extend([tag]);
    let mut rest = bytes;
    while let Some(at) = memchr::memchr(0, rest) {
        out.extend(rest[..=at].iter().copied());
        out.extend([0xFF]);
        rest = &rest[at + 1..];
    }
    out.extend(rest.iter().copied());
    out.extend([0, 0]);
}

fn read_escaped<'a, 'k>(rest: &'k [u8], arena: &'a Bump) -> Option<(&'a [u8], &'k [u8])> {
    let mut bytes = ArenaVec::new_in(arena);
    let mut rest = rest;
    loop {
        let at = memchr::memchr(0, rest)?;
        bytes.extend_from_slice_copy(&rest[..at]);
        match rest.get(at + 1)? {
            0 => return Some((bytes.into_bump_slice(), &rest[at + 2..])),
            0xFF => bytes.push(0),
            _ => return None,
        }
        rest = &rest[at + 2..];
    }
}

const SIGN: u64 = 1 << 63;

fn flip(value: i64) -> u64 {
    value as u64 ^ SIGN
}

fn unflip(raw: u64) -> i64 {
    (raw ^ SIGN) as i64
}

fn ordered_float(value: f64) -> u64 {
    let bits = value.to_bits();
    if bits & SIGN == 0 { bits ^ SIGN } else { !bits }
}

fn unordered_float(raw: u64) -> f64 {
    f64::from_bits(if raw & SIGN == 0 { !raw } else { raw ^ SIGN })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key_of(values: &[Value<'_>]) -> Vec<u8> {
        let mut key = Vec::new();
        values
            .iter()
            .for_each(|value| push_field(*value, &mut key).unwrap());
        key
    }

    #[test]
    fn bytes_of_a_key_stay_as_they_are() {
        let key = key_of(&[Value::Str("a\0é"), Value::Int(-1), Value::Bool(true)]);
        assert_eq!(
            key,
            [
                6, b'a', 0, 0xFF, 0xC3, 0xA9, 0, 0, 2, 0x7F, 255, 255, 255, 255, 255, 255, 255, 1,
                1
            ]
        );
        let mut windowed = Vec::new();
        push_window(Timestamp(60_000), &mut windowed);
        assert_eq!(windowed, [0x80, 0, 0, 0, 0, 0, 0xEA, 0x60]);
    }

    #[test]
    fn absent_values_and_containers_are_no_keys() {
        for value in [
            Value::Missing,
            Value::Null,
            Value::List(&[]),
            Value::Map(&[]),
        ] {
            assert_eq!(
                push_field(value, &mut Vec::new()),
                Err(KeyError {
                    found: value.type_name()
                })
            );
        }
    }

    #[test]
    fn damaged_bytes_are_an_error_and_not_a_panic() {
        let arena = Bump::new();
        let key = key_of(&[Value::Str("ab"), Value::Float(1.5)]);
        for cut in 1..key.len() {
            if cut != 5 {
                assert!(read_fields(&key[..cut], &arena).is_err(), "cut at {cut}");
            }
        }
        assert!(read_fields(&[9], &arena).is_err());
        assert!(read_fields(&[STR, 0xFF, 0, 0], &arena).is_err());
        assert!(read_fields(&[STR, 0, 7], &arena).is_err());
        assert!(split_window(&[1, 2]).is_err());
    }

    fn texts() -> impl Strategy<Value = String> {
        prop::collection::vec(
            prop::sample::select(vec!['\0', '\u{1}', 'a', 'é', '😀', '\u{FFFF}']),
            0..6,
        )
        .prop_map(|chars| chars.into_iter().collect())
    }

    proptest! {
        #[test]
        fn keys_come_back_as_they_went_in(text in texts(), int in any::<i64>(), float in any::<f64>()) {
            let arena = Bump::new();
            let values = [Value::Str(&text), Value::Int(int), Value::Bytes(text.as_bytes())];
            prop_assert_eq!(read_fields(&key_of(&values), &arena).unwrap(), &values[..]);
            if float.fract() != 0.0 && !float.is_nan() {
                let values = [Value::Float(float)];
                prop_assert_eq!(read_fields(&key_of(&values), &arena).unwrap(), &values[..]);
            }
        }

        #[test]
        fn the_order_of_the_bytes_is_the_order_of_the_values(
            a in (texts(), any::<i64>()), b in (texts(), any::<i64>()), x in any::<f64>(), y in any::<f64>(),
        ) {
            let key = |(text, int): &(String, i64)| key_of(&[Value::Str(text), Value::Int(*int)]);
            prop_assert_eq!(key(&a).cmp(&key(&b)), a.cmp(&b));
            prop_assert_eq!(ordered_float(x).cmp(&ordered_float(y)), x.total_cmp(&y));
            let (mut left, mut right) = (Vec::new(), Vec::new());
            push_window(Timestamp(a.1), &mut left);
            push_window(Timestamp(b.1), &mut right);
            prop_assert_eq!(left.cmp(&right), a.1.cmp(&b.1));
            prop_assert_eq!(split_window(&left).unwrap().0, Timestamp(a.1));
        }
    }
}
