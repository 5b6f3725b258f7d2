//! When an event happened, by what it says itself.

use std::sync::Arc;

use bumpalo::Bump;

use super::error::Wait;
use crate::format::{EventReader, ReadError, Registries};
use crate::time::Timestamp;
use crate::topology::graph::NodeName;
use crate::topology::plan::SourceReader;
use crate::value::Value;

/// Tells when events of a source happened before they are processed, so that those of several inputs
/// are taken in that order. It reads nothing of them but their time.
pub(crate) struct EventClock {
    node: NodeName,
    reader: EventReader,
    max_ahead_ms: Option<i64>,
}

impl EventClock {
    /// None: no field of its events has their time, so the log's counts.
    pub(crate) fn new(
        source: &SourceReader,
        registries: &Arc<dyn Registries>,
    ) -> Option<EventClock> {
        let projection = source.projection.only(source.timestamp?);
        let reader = EventReader::new(&source.format, &projection, false, registries);
        Some(EventClock {
            node: source.node.clone(),
            reader,
            max_ahead_ms: source.max_ahead_ms,
        })
    }

    /// The time that an event says; none: it says none that will be believed. `now` is the wall-clock
    /// time.
    ///
    /// # Errors
    /// When its schema cannot be had.
    pub(crate) fn time_of(
        &mut self,
        event: &[u8],
        now: Timestamp,
    ) -> Result<Option<Timestamp>, Wait> {
        // It takes memory for texts with escapes only.
        let arena = Bump::new();
        let mut fields = [Value::Missing];
        match self.reader.read(event, &arena, &mut fields, now) {
            Ok(_) => {}
            Err(ReadError::Unreadable(_)) => return Ok(None),
            Err(ReadError::Registry(source)) => {
                return Err(Wait {
                    processed: 0,
                    node: self.node.to_string(),
                    source,
                });
            }
        }
        let time = event_time(fields[0]).ok();
        Ok(time.filter(|time| !is_ahead(*time, self.max_ahead_ms, now)))
    }
}

/// Whether an event time is farther ahead of the wall clock than it may be.
pub(super) fn is_ahead(time: Timestamp, max_ahead_ms: Option<i64>, now: Timestamp) -> bool {
    max_ahead_ms.is_some_and(|max_ahead_ms| time > now.plus_millis(max_ahead_ms))
}

/// A time outside the calendar is none: as stream time it would close every window there will ever
/// be. Microseconds in place of milliseconds are such.
pub(super) fn event_time(value: Value<'_>) -> Result<Timestamp, String> {
    let time = match value {
        Value::Str(text) => Timestamp::parse_rfc3339(text).map_err(|error| error.to_string())?,
        Value::Int(ms) => Timestamp(ms),
        Value::Time(time) => time,
        other => {
            return Err(format!(
                "expected the event time as RFC 3339 text or milliseconds, found {}",
                other.type_name()
            ));
        }
    };
    match time.is_in_calendar() {
        true => Ok(time),
        false => Err(format!(
            "expected an event time in the years 1 to 9999, found {time}"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_time_lies_in_the_calendar() {
        #[track_caller]
        fn check(value: Value<'_>, expected: Result<i64, &str>) {
            let found = event_time(value).map(Timestamp::millis);
            assert_eq!(found, expected.map_err(str::to_owned));
        }
        check(Value::Str("2026-05-05T11:17:40Z"), Ok(1_777_979_860_000));
        check(Value::Int(1_777_979_860_822), Ok(1_777_979_860_822));
        check(Value::Int(-1), Ok(-1));
        check(
            Value::Int(1_777_979_860_822_000),
            Err("expected an event time in the years 1 to 9999, found 1777979860822000 ms"),
        );
        check(
            Value::Str("-000001-05-05T11:17:40Z"),
            Err("expected an event time in the years 1 to 9999, found -000001-05-05T11:17:40.000Z"),
        );
        check(
            Value::Float(1.5),
            Err("expected the event time as RFC 3339 text or milliseconds, found double"),
        );
    }
}
