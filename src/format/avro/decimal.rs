//! Decimals: a whole number in two's complement, and how many of its digits are behind the point.

use bumpalo::Bump;
use smallvec::{SmallVec, smallvec};

use super::layout::{DOUBLE_DIGITS, Decimal, Fixed};
use crate::value::Value;

/// The bytes of a number of up to 38 digits.
type Bytes = SmallVec<[u8; 24]>;

/// The value: a double if all of its digits survive that, else a text. None for more than 38 digits.
pub(super) fn read<'a>(kind: &Decimal, bytes: &[u8], arena: &'a Bump) -> Option<Value<'a>> {
    if bytes.len() > 16 {
        return None;
    }
    let sign = bytes.first().is_some_and(|byte| byte & 0x80 != 0);
    let filled = if sign { -1i128 } else { 0 };
    let unscaled = bytes
        .iter()
        .fold(filled, |number, byte| (number << 8) | i128::from(*byte));
    let text = text(unscaled, kind.scale);
    if kind.precision <= DOUBLE_DIGITS {
        return Some(Value::Float(text.parse().expect("a decimal number")));
    }
    Some(Value::Str(arena.alloc_str(&text)))
}

fn text(unscaled: i128, scale: u32) -> String {
    let scale = scale as usize;
    let digits = format!("{:0>width$}", unscaled.unsigned_abs(), width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    let sign = if unscaled < 0 { "-" } else { "" };
    match fraction {
        "" => format!("{sign}{whole}"),
        fraction => format!("{sign}{whole}.{fraction}"),
    }
}

/// The bytes of a value; none when it is no number, or has more digits than the decimal.
pub(super) fn write(kind: &Decimal, value: Value<'_>) -> Option<Bytes> {
    let unscaled = match value {
        Value::Int(number) => parse(&number.to_string(), kind.scale)?,
        Value::Float(number) if number.is_finite() => parse(&number.to_string(), kind.scale)?,
        Value::Str(text) => parse(text, kind.scale)?,
        _ => return None,
    };
    let digits = unscaled.unsigned_abs().to_string();
    if digits.len() > kind.precision {
        return None;
    }
    let all = unscaled.to_be_bytes();
    let filling = if unscaled < 0 { 0xFF } else { 0 };
    match &kind.fixed {
        Some(Fixed { size, .. }) => {
            let size = *size;
            let mut bytes: Bytes = smallvec![filling; size.saturating_sub(all.len())];
            let cut = all.len().saturating_sub(size);
            let (lost, kept) = all.split_at(cut);
            let is_whole = lost.iter().all(|byte| *byte == filling)
                && kept
                    .first()
                    .is_none_or(|byte| byte & 0x80 == filling & 0x80);
            bytes.extend_from_slice(kept);
            is_whole.then_some(bytes)
        }
        None => {
            // As few as keep the sign.
            let is_needed = |at: &usize| {
                let next = all.get(at + 1).copied().unwrap_or(!filling);
                all[*at] != filling || next & 0x80 != filling & 0x80
            };
            let start = (0..all.len()).find(is_needed).unwrap_or(all.len() - 1);
            Some(Bytes::from_slice(&all[start..]))
        }
    }
}

/// A decimal text as a whole number of its last digit; none if it has more digits behind the point.
fn parse(text: &str, scale: u32) -> Option<i128> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let fraction = fraction.trim_end_matches('0');
    let is_number = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !is_number(whole) || !is_number(fraction) {
        return None;
    }
    let missing = (scale as usize).checked_sub(fraction.len())?;
    let digits = format!("{whole}{fraction}{}", "0".repeat(missing));
    Some(sign * digits.parse::<i128>().ok()?)
}

#[cfg(test)]
mod tests {
    use super::super::layout::Name;
    use super::*;

    #[track_caller]
    fn check(text: &str, size: Option<usize>, expected: Option<&[u8]>) {
        let kind = Decimal {
            precision: 20,
            scale: 2,
            fixed: size.map(|size| Fixed {
                name: Name::default(),
                size,
            }),
        };
        let written = write(&kind, Value::Str(text));
        assert_eq!(written.as_deref(), expected, "{text}");
        if let Some(bytes) = written {
            let arena = Bump::new();
            assert_eq!(read(&kind, &bytes, &arena), Some(Value::Str(text)));
        }
    }

    #[test]
    fn decimals_are_read_as_they_were_written() {
        check("0.00", None, Some(&[0]));
        check("1.27", None, Some(&[127]));
        check("1.28", None, Some(&[0, 128]));
        check("-1.28", None, Some(&[128]));
        check("-1.29", None, Some(&[255, 127]));
        check("-0.01", None, Some(&[255]));
        check("-0.01", Some(3), Some(&[255, 255, 255]));
        check("1.28", Some(1), None);
        check("1.234", None, None);
        let bytes = [0, 171, 84, 169, 140, 235, 31, 10, 210];
        check("123456789012345678.90", None, Some(&bytes));
        check("1234567890123456789.01", None, None);
        check("x", None, None);
    }

    #[test]
    fn a_decimal_whose_digits_survive_is_a_double() {
        let kind = Decimal {
            precision: 10,
            scale: 2,
            fixed: None,
        };
        let arena = Bump::new();
        let bytes = write(&kind, Value::Float(12.34)).unwrap();
        assert_eq!(read(&kind, &bytes, &arena), Some(Value::Float(12.34)));
        assert_eq!(write(&kind, Value::Float(0.125)), None);
        assert_eq!(write(&kind, Value::Int(7)).as_deref(), Some(&[2, 188][..]));
    }
}
