//! Years, months, days and hours of times, in a time zone that is known when the expression is
//! compiled; and the same units of durations.

use jiff::civil::DateTime;
use jiff::tz::{Offset, TimeZone};

use super::error::EvalError;
use super::operators::moment;
use crate::time::Timestamp;
use crate::value::Value;

/// A unit, as CEL counts it: months, days of the year and of the month from 0, `Date` from 1, days
/// of the week from 0 on Sunday.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    FullYear,
    Month,
    Date,
    DayOfMonth,
    DayOfWeek,
    DayOfYear,
    Hours,
    Minutes,
    Seconds,
    Milliseconds,
}

impl Part {
    const fn function(self) -> &'static str {
        match self {
            Part::FullYear => "getFullYear",
            Part::Month => "getMonth",
            Part::Date => "getDate",
            Part::DayOfMonth => "getDayOfMonth",
            Part::DayOfWeek => "getDayOfWeek",
            Part::DayOfYear => "getDayOfYear",
            Part::Hours => "getHours",
            Part::Minutes => "getMinutes",
            Part::Seconds => "getSeconds",
            Part::Milliseconds => "getMilliseconds",
        }
    }
}

/// The part of a time in that zone; of a duration, the whole of it in that unit.
pub(super) fn part(part: Part, value: Value<'_>, zone: &TimeZone) -> Result<i64, EvalError> {
    match value {
        Value::Time(time) => Ok(of_time(part, zone.to_datetime(instant(time)?))),
        Value::Duration(ms) => {
            of_duration(part, ms).ok_or_else(|| EvalError::types(part.function(), &[value]))
        }
        _ => Err(EvalError::types(part.function(), &[value])),
    }
}

fn of_time(part: Part, time: DateTime) -> i64 {
    match part {
        Part::FullYear => time.year().into(),
        Part::Month => i64::from(time.month()) - 1,
        Part::Date => time.day().into(),
        Part::DayOfMonth => i64::from(time.day()) - 1,
        Part::DayOfWeek => time.weekday().to_sunday_zero_offset().into(),
        Part::DayOfYear => i64::from(time.day_of_year()) - 1,
        Part::Hours => time.hour().into(),
        Part::Minutes => time.minute().into(),
        Part::Seconds => time.second().into(),
        Part::Milliseconds => time.millisecond().into(),
    }
}

fn of_duration(part: Part, ms: i64) -> Option<i64> {
    match part {
        Part::Hours => Some(ms / 3_600_000),
        Part::Minutes => Some(ms / 60_000),
        Part::Seconds => Some(ms / 1_000),
        Part::Milliseconds => Some(ms),
        _ => None,
    }
}

fn instant(time: Timestamp) -> Result<jiff::Timestamp, EvalError> {
    moment(Some(time.millis()))?;
    jiff::Timestamp::from_millisecond(time.millis()).map_err(|_| EvalError::TimeOutOfRange)
}

/// The time as CEL writes it: RFC 3339 in UTC with as many digits as it takes,
/// `2026-05-05T11:17:40Z`.
pub(super) fn rfc3339(time: Timestamp) -> Result<jiff::Timestamp, EvalError> {
    instant(time)
}

/// The zone of that name (`Europe/Berlin`, `UTC`, nothing for UTC) or offset (`+05:30`, `-8:00`).
pub(super) fn zone(name: &str) -> Option<TimeZone> {
    if name.is_empty() {
        return Some(TimeZone::UTC);
    }
    let Some((hours, minutes)) = name.split_once(':') else {
        return TimeZone::get(name).ok();
    };
    let (hours_number, minutes) = (hours.parse::<i32>().ok()?, minutes.parse::<i32>().ok()?);
    if !(-23..=23).contains(&hours_number) || !(0..=59).contains(&minutes) {
        return None;
    }
    let minutes = if hours.starts_with('-') {
        -minutes
    } else {
        minutes
    };
    Some(TimeZone::fixed(
        Offset::from_seconds((hours_number * 60 + minutes) * 60).ok()?,
    ))
}
