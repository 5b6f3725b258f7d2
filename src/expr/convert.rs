//! Conversions from one type to another, as CEL has them.

use base64::display::Base64Display;
use base64::engine::general_purpose::STANDARD as BASE64;
use bumpalo::Bump;
use jiff::SignedDuration;

use super::calendar;
use super::error::EvalError;
use super::function::mismatch;
use super::operators::moment;
use super::text::utf8;
use crate::time::Timestamp;
use crate::value::Value;

type Evaluated<'a> = Result<Value<'a>, EvalError>;

/// Cuts a double towards zero; of a time, the whole seconds since 1970.
pub(super) fn int(arguments: &[Value<'_>]) -> Evaluated<'static> {
    match *arguments {
        [Value::Int(number)] => Ok(Value::Int(number)),
        // The ends themselves are refused, as i64::MAX is no double.
        [Value::Float(number)] if number > i64::MIN as f64 && number < i64::MAX as f64 => {
            Ok(Value::Int(number as i64))
        }
        [Value::Float(_)] => Err(EvalError::Overflow("int")),
        [Value::Str(text)] => text
            .parse()
            .map(Value::Int)
            .map_err(|_| EvalError::conversion("a whole number", text)),
        [Value::Time(time)] => Ok(Value::Int(time.millis().div_euclid(1000))),
        _ => mismatch("int", arguments),
    }
}

pub(super) fn double(arguments: &[Value<'_>]) -> Evaluated<'static> {
    match *arguments {
        [Value::Int(number)] => Ok(Value::Float(number as f64)),
        [Value::Float(number)] => Ok(Value::Float(number)),
        [Value::Str(text)] => text
            .parse()
            .map(Value::Float)
            .map_err(|_| EvalError::conversion("a number", text)),
        _ => mismatch("double", arguments),
    }
}

pub(super) fn boolean(arguments: &[Value<'_>]) -> Evaluated<'static> {
    match *arguments {
        [Value::Bool(flag)] => Ok(Value::Bool(flag)),
        [Value::Str("1" | "t" | "true" | "TRUE" | "True")] => Ok(Value::Bool(true)),
        [Value::Str("0" | "f" | "false" | "FALSE" | "False")] => Ok(Value::Bool(false)),
        [Value::Str(text)] => Err(EvalError::conversion("true or false", text)),
        _ => mismatch("bool", arguments),
    }
}

pub(super) fn string<'a>(arguments: &[Value<'a>], arena: &'a Bump) -> Evaluated<'a> {
    let text = match *arguments {
        [Value::Str(text)] => return Ok(Value::Str(text)),
        [Value::Bytes(bytes)] => return utf8("string", bytes),
        [Value::Bool(flag)] => return Ok(Value::Str(if flag { "true" } else { "false" })),
        [Value::Int(number)] => bumpalo::format!(in arena, "{}", number),
        [Value::Float(number)] => bumpalo::format!(in arena, "{}", number),
        [Value::Time(time)] => bumpalo::format!(in arena, "{}", calendar::rfc3339(time)?),
        [Value::Duration(ms)] => bumpalo::format!(in arena, "{}", Seconds(ms)),
        _ => return mismatch("string", arguments),
    };
    Ok(Value::Str(text.into_bump_str()))
}

pub(super) fn bytes<'a>(arguments: &[Value<'a>], _: &'a Bump) -> Evaluated<'a> {
    match *arguments {
        [Value::Bytes(bytes)] => Ok(Value::Bytes(bytes)),
        [Value::Str(text)] => Ok(Value::Bytes(text.as_bytes())),
        _ => mismatch("bytes", arguments),
    }
}

/// With the alphabet of RFC 4648 that has `+` and `/`, and with padding.
pub(super) fn base64_encode<'a>(arguments: &[Value<'a>], arena: &'a Bump) -> Evaluated<'a> {
    let bytes = match *arguments {
        [Value::Bytes(bytes)] => bytes,
        [Value::Str(text)] => text.as_bytes(),
        _ => return mismatch("base64.encode", arguments),
    };
    let encoded = Base64Display::new(bytes, &BASE64);
    Ok(Value::Str(
        bumpalo::format!(in arena, "{}", encoded).into_bump_str(),
    ))
}

/// From RFC 3339 text, or from whole seconds since 1970.
pub(super) fn timestamp(arguments: &[Value<'_>]) -> Evaluated<'static> {
    match *arguments {
        [Value::Time(time)] => Ok(Value::Time(time)),
        [Value::Int(seconds)] => moment(seconds.checked_mul(1000)),
        [Value::Str(text)] => match Timestamp::parse_rfc3339(text) {
            Ok(time) => moment(Some(time.millis())),
            Err(_) => Err(EvalError::conversion("an RFC 3339 time", text)),
        },
        _ => mismatch("timestamp", arguments),
    }
}

/// From text such as `1h30m` or `-1.5s`; what is finer than a millisecond is cut off.
pub(super) fn duration(arguments: &[Value<'_>]) -> Evaluated<'static> {
    match *arguments {
        [Value::Duration(ms)] => Ok(Value::Duration(ms)),
        [Value::Str(text)] => match text.parse::<SignedDuration>() {
            Ok(length) => i64::try_from(length.as_millis())
                .map(Value::Duration)
                .map_err(|_| EvalError::Overflow("duration")),
            Err(_) => Err(EvalError::conversion(
                "a duration such as 1h30m or 1.5s",
                text,
            )),
        },
        _ => mismatch("duration", arguments),
    }
}

pub(super) fn type_of(arguments: &[Value<'_>]) -> Evaluated<'static> {
    match arguments {
        [value] => Ok(Value::Str(value.type_name())),
        _ => mismatch("type_of", arguments),
    }
}

/// Milliseconds as CEL writes a duration: `90s`, `-0.5s`.
pub(super) struct Seconds(pub i64);

impl std::fmt::Display for Seconds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let (seconds, ms) = (self.0.unsigned_abs() / 1000, self.0.unsigned_abs() % 1000);
        if ms == 0 {
            return write!(f, "{sign}{seconds}s");
        }
        let fraction = format!("{ms:03}");
        write!(f, "{sign}{seconds}.{}s", fraction.trim_end_matches('0'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_written_in_seconds() {
        for (ms, expected) in [
            (0, "0s"),
            (90_000, "90s"),
            (-500, "-0.5s"),
            (1_050, "1.05s"),
            (i64::MIN, "-9223372036854775.808s"),
        ] {
            assert_eq!(Seconds(ms).to_string(), expected);
        }
    }

    #[test]
    fn durations_are_read_as_cel_writes_them() {
        let read = |text| match duration(&[Value::Str(text)]) {
            Ok(Value::Duration(ms)) => Some(ms),
            _ => None,
        };
        for (text, expected) in [
            ("1h30m", Some(5_400_000)),
            ("1h1m1s", Some(3_661_000)),
            ("1.5h", Some(5_400_000)),
            ("-1.5s", Some(-1_500)),
            ("250ms", Some(250)),
            ("1500us", Some(1)),
            ("1999999ns", Some(1)),
            ("0s", Some(0)),
            ("", None),
            ("5", None),
            ("soon", None),
            ("99999999999999999999h", None),
        ] {
            assert_eq!(read(text), expected, "{text}");
        }
    }
}
