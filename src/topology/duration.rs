//! Lengths of time as topology files write them: `500ms`, `30s`, `1h30m`, `7d`.
//!
//! The invariant: [`Millis`] prints as a text that parses to the same value.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A length of time in milliseconds. Negative lengths can be written, so that a rule can name the
/// key that must not have one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Millis(pub i64);

/// A text is not a length of time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseMillisError {
    /// Nothing there.
    #[error("expected a length of time such as 30s or 1h30m, found nothing")]
    Empty,
    /// A number without its unit.
    #[error("expected a unit (ms, s, m, h, d) after {0}")]
    NoUnit(String),
    /// A unit that does not exist.
    #[error("unknown unit {0:?}; the units are ms, s, m, h, d")]
    UnknownUnit(String),
    /// A unit that is written out.
    #[error("{written} is written as {short}")]
    LongUnit {
        /// As it was found.
        written: String,
        /// As it has to be.
        short: String,
    },
    /// Something else than a number where a number must stand.
    #[error("expected a whole number and a unit such as 30s or 1h30m, found {0:?}")]
    NoNumber(String),
    /// `30m1h`, `1m1m`.
    #[error("units must go from large to small, each once, as in 1h30m; found {0:?}")]
    Order(String),
    /// More milliseconds than fit in an `i64`.
    #[error("longer than can be counted: {0:?}")]
    TooLong(String),
}

/// From large to small.
const UNITS: [(&str, i64); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

impl FromStr for Millis {
    type Err = ParseMillisError;

    fn from_str(text: &str) -> Result<Millis, ParseMillisError> {
        let trimmed = text.trim();
        let (sign, mut rest) = match trimmed.strip_prefix('-') {
            Some(rest) => (-1, rest),
            None => (1, trimmed),
        };
        if rest.is_empty() {
            return Err(ParseMillisError::Empty);
        }
        let too_long = || ParseMillisError::TooLong(trimmed.to_owned());
        let mut total: i64 = 0;
        let mut units_left = &UNITS[..];
        while !rest.is_empty() {
            let (number, unit, tail) = split_part(rest)?;
            let place = UNITS.iter().position(|(name, _)| *name == unit);
            let place = place.ok_or_else(|| unknown_unit(number, unit))?;
            let skipped = UNITS.len() - units_left.len();
            if place < skipped {
                return Err(ParseMillisError::Order(trimmed.to_owned()));
            }
            units_left = &UNITS[place + 1..];
            let part = number
                .parse::<i64>()
                .ok()
                .and_then(|n| n.checked_mul(UNITS[place].1));
            total = part
                .and_then(|part| total.checked_add(part))
                .ok_or_else(too_long)?;
            rest = tail;
        }
        Ok(Millis(sign * total))
    }
}

/// Of ` minutes` and the like it is said how they are written.
fn unknown_unit(number: &str, unit: &str) -> ParseMillisError {
    let unit_name = unit.trim().to_lowercase();
    let is_known = UNITS.iter().any(|(name, _)| *name == unit_name);
    let short = match unit_name.trim_end_matches('s') {
        _ if is_known => unit_name.as_str(),
        "millisecond" | "milli" | "msec" => "ms",
        "second" | "sec" => "s",
        "minute" | "min" => "m",
        "hour" | "hr" => "h",
        "day" => "d",
        _ => return ParseMillisError::UnknownUnit(unit.to_owned()),
    };
    ParseMillisError::LongUnit {
        written: format!("{number}{unit}"),
        short: format!("{number}{short}"),
    }
}

/// `"1h30m"` → `("1", "h", "30m")`.
fn split_part(text: &str) -> Result<(&str, &str, &str), ParseMillisError> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    if digits == 0 {
        return Err(ParseMillisError::NoNumber(text.to_owned()));
    }
    let (number, rest) = text.split_at(digits);
    let letters = rest
        .find(|c: char| c.is_ascii_digit())
        .unwrap_or(rest.len());
    if letters == 0 {
        return Err(ParseMillisError::NoUnit(number.to_owned()));
    }
    let (unit, tail) = rest.split_at(letters);
    Ok((number, unit, tail))
}

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.write_str("0s");
        }
        if self.0 < 0 {
            f.write_str("-")?;
        }
        let mut rest = self.0.unsigned_abs();
        for (name, size) in UNITS {
            let size = size.unsigned_abs();
            if rest >= size {
                write!(f, "{}{name}", rest / size)?;
                rest %= size;
            }
        }
        Ok(())
    }
}

/// What is finer than a millisecond is cut off; what is longer than can be counted becomes the
/// longest.
impl From<Duration> for Millis {
    fn from(duration: Duration) -> Millis {
        Millis(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<i64, &str>) {
        let parsed = text
            .parse::<Millis>()
            .map(|millis| millis.0)
            .map_err(|e| e.to_string());
        assert_eq!(parsed, expected.map_err(str::to_owned), "{text}");
    }

    #[test]
    fn a_length_of_time_is_whole_numbers_with_units_from_large_to_small() {
        check("500ms", Ok(500));
        check("30s", Ok(30_000));
        check("1m", Ok(60_000));
        check("1h30m", Ok(5_400_000));
        check("7d", Ok(604_800_000));
        check("1d2h3m4s5ms", Ok(93_784_005));
        check(" 0s ", Ok(0));
        check("-30s", Ok(-30_000));
    }

    #[test]
    fn anything_else_says_what_was_expected() {
        check(
            "",
            Err("expected a length of time such as 30s or 1h30m, found nothing"),
        );
        check(
            "-",
            Err("expected a length of time such as 30s or 1h30m, found nothing"),
        );
        check("30", Err("expected a unit (ms, s, m, h, d) after 30"));
        check(
            "1.5h",
            Err("unknown unit \".\"; the units are ms, s, m, h, d"),
        );
        check("30 s", Err("30 s is written as 30s"));
        check("30sec", Err("30sec is written as 30s"));
        check("1 Minutes", Err("1 Minutes is written as 1m"));
        check(
            "3 weeks",
            Err("unknown unit \" weeks\"; the units are ms, s, m, h, d"),
        );
        check(
            "s",
            Err("expected a whole number and a unit such as 30s or 1h30m, found \"s\""),
        );
        check(
            "30m1h",
            Err("units must go from large to small, each once, as in 1h30m; found \"30m1h\""),
        );
        check(
            "1m1m",
            Err("units must go from large to small, each once, as in 1h30m; found \"1m1m\""),
        );
        check(
            "99999999999999999999s",
            Err("longer than can be counted: \"99999999999999999999s\""),
        );
        check(
            "9223372036854775807d",
            Err("longer than can be counted: \"9223372036854775807d\""),
        );
    }

    #[test]
    fn what_is_printed_parses_to_the_same() {
        for ms in [
            0,
            1,
            500,
            999,
            1_000,
            60_000,
            90_000,
            5_400_000,
            93_784_005,
            -30_000,
            i64::MAX,
        ] {
            let printed = Millis(ms).to_string();
            assert_eq!(printed.parse(), Ok(Millis(ms)), "{printed}");
        }
        assert_eq!(Millis(5_400_000).to_string(), "1h30m");
    }

    #[test]
    fn a_duration_of_the_standard_library_converts() {
        assert_eq!(Millis::from(Duration::from_secs(60)), Millis(60_000));
        assert_eq!(Millis::from(Duration::MAX), Millis(i64::MAX));
    }
}
