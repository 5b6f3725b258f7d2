//! When an event happened, by what it says itself, and by what is written of it.

use std::sync::Arc;

use bumpalo::Bump;

use super::InRecord;
use super::error::Wait;
use super::input::{MARKER_KEY, StoredChange};
use super::table::Folded;
use crate::format::{EventReader, ReadError, Registries};
use crate::record::{RowChange, StoredRow};
use crate::time::Timestamp;
use crate::topology::graph::NodeName;
use crate::topology::plan::{Reader, ResultTopic, RowTopic, SourceReader};
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

/// Reads the event time of a record that another sub-topology has written; none: it says none.
pub(crate) type WrittenTime = fn(&InRecord<'_>) -> Option<Timestamp>;

/// How the event time is read of what this reads; none: it is not in what is written.
pub(crate) fn written_time(reader: &Reader) -> Option<WrittenTime> {
    match reader {
        Reader::Source(_) | Reader::Partials => None,
        Reader::Foreign => Some(time_of_change),
        Reader::Rows(rows) => match rows.topic {
            RowTopic::Changelog => Some(|record| StoredRow::time_of(kept_value(record)?).ok()),
            // Without a key it is an upstream's word on how far it is.
            RowTopic::Repartition => {
                Some(|record| time_of_change(record).filter(|_| record.key.is_some()))
            }
            RowTopic::Results => Some(time_of_change),
        },
        Reader::Results(results) => match results.topic {
            ResultTopic::Changelog => Some(|record| Folded::time_of(kept_value(record)?).ok()),
            ResultTopic::Results => Some(|record| StoredChange::time_of(record.value?).ok()),
        },
    }
}

fn time_of_change(record: &InRecord<'_>) -> Option<Timestamp> {
    RowChange::time_of(record.value?).ok()
}

/// What a changelog says of a key.
fn kept_value<'r>(record: &InRecord<'r>) -> Option<&'r [u8]> {
    record.value.filter(|_| record.key != Some(MARKER_KEY))
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
