//! What topics have refused, so that a record is recognised when it is written again.
//!
//! Kafka says late that a topic does not take a record: by then the whole transaction is lost. The
//! work begins anew from the last commit, and what was refused has to be known before it is sent. A
//! size is too large for ever. Whether a time is too far ahead depends on the topic's clock, so
//! anything else is remembered for a while only, and of single records.

use std::collections::BTreeMap;

use super::{BrokerError, Outgoing};
use crate::time::{Clock, Timestamp};

/// How long a refused record is remembered, in milliseconds: until it is written again.
const MEMORY_MS: i64 = 10 * 60 * 1_000;

/// What a topic judges a record by, apart from its size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RecordMark {
    /// Its time as the log keeps it, or [`RecordMark::LAST`].
    pub timestamp: Timestamp,
    /// Whether it has a key.
    pub has_key: bool,
}

impl RecordMark {
    /// All times from this one on are alike to marks; it lies far behind the calendar.
    pub const LAST: Timestamp = Timestamp((1 << 48) - 1);

    /// The mark of a record that is to be written.
    pub fn of(record: &Outgoing<'_>) -> RecordMark {
        RecordMark {
            timestamp: record.log_time().min(RecordMark::LAST),
            has_key: record.key.is_some(),
        }
    }
}

/// What topics have refused, by topic.
#[derive(Clone, Debug, Default)]
pub struct Refusals(BTreeMap<String, TopicRefusals>);

#[derive(Clone, Debug, Default)]
struct TopicRefusals {
    /// The size of the smallest record that was too large, in bytes.
    too_large: Option<usize>,
    records: BTreeMap<RecordMark, Refused>,
}

#[derive(Clone, Debug)]
struct Refused {
    at: Timestamp,
    reason: String,
}

impl Refusals {
    /// Nothing has been refused yet.
    pub fn new() -> Refusals {
        Refusals::default()
    }

    /// Whether a record may be taken, as far as is known. Looks at the clock only for topics that
    /// have refused something.
    ///
    /// # Errors
    /// [`BrokerError::TooLarge`] or [`BrokerError::Refused`], as when the topic refuses it itself.
    pub fn check(&self, record: &Outgoing<'_>, clock: &dyn Clock) -> Result<(), BrokerError> {
        let Some(known) = self.0.get(record.topic) else {
            return Ok(());
        };
        let bytes = record.bytes();
        if known.too_large.is_some_and(|limit| bytes >= limit) {
            let topic = record.topic.to_owned();
            return Err(BrokerError::TooLarge { topic, bytes });
        }
        let mark = RecordMark::of(record);
        match known.records.get(&mark) {
            Some(refused) if refused.is_remembered(clock.now()) => Err(BrokerError::Refused {
                topic: record.topic.to_owned(),
                records: vec![mark],
                reason: refused.reason.clone(),
            }),
            _ => Ok(()),
        }
    }

    /// Takes note of records that have been refused. What is to be done then is to abort and begin
    /// anew from the last commit; other errors are given back as they are.
    pub fn learn(&mut self, error: BrokerError, now: Timestamp) -> BrokerError {
        match error {
            BrokerError::TooLarge { topic, bytes } => {
                let reason =
                    format!("it takes no records of {bytes} bytes; those will be set aside");
                let action = format!("write to topic {topic}");
                let limit = &mut self.0.entry(topic).or_default().too_large;
                *limit = Some(limit.map_or(bytes, |known| known.min(bytes)));
                BrokerError::Abort { action, reason }
            }
            BrokerError::Refused {
                topic,
                records,
                reason,
            } => {
                let action = format!("write to topic {topic}");
                let known = &mut self.0.entry(topic).or_default().records;
                known.retain(|_, refused| refused.is_remembered(now));
                let refused = Refused {
                    at: now,
                    reason: reason.clone(),
                };
                known.extend(records.into_iter().map(|mark| (mark, refused.clone())));
                BrokerError::abort(action, format!("{reason}; it will be set aside"))
            }
            other => other,
        }
    }
}

impl Refused {
    fn is_remembered(&self, now: Timestamp) -> bool {
        now < self.at.plus_millis(MEMORY_MS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::ManualClock;

    fn record(time_ms: i64, key: Option<&'static [u8]>) -> Outgoing<'static> {
        Outgoing {
            topic: "t",
            partition: None,
            timestamp: Timestamp(time_ms),
            key,
            value: Some(b"value"),
            headers: &[],
        }
    }

    #[test]
    fn what_is_larger_than_what_was_too_large_is_refused_for_ever() {
        let (mut refusals, clock) = (Refusals::new(), ManualClock::default());
        for bytes in [8, 6, 7] {
            let topic = "t".to_owned();
            let learnt = refusals.learn(BrokerError::TooLarge { topic, bytes }, clock.now());
            assert!(matches!(learnt, BrokerError::Abort { .. }), "{learnt:?}");
        }
        clock.advance_millis(10 * MEMORY_MS);
        let check = |record: Outgoing<'_>| refusals.check(&record, &clock).is_ok();
        assert!(check(record(0, None)));
        assert!(!check(record(0, Some(b"k"))));
        assert!(check(Outgoing {
            topic: "u",
            ..record(0, Some(b"k"))
        }));
    }

    #[test]
    fn a_refused_record_is_recognised_for_a_while() {
        let (mut refusals, clock) = (Refusals::new(), ManualClock::default());
        let refused = BrokerError::Refused {
            topic: "t".to_owned(),
            records: [500, 700]
                .map(|time_ms| RecordMark::of(&record(time_ms, None)))
                .to_vec(),
            reason: "too far ahead".to_owned(),
        };
        let learnt = refusals.learn(refused, clock.now()).to_string();
        assert_eq!(
            learnt,
            "write to topic t: too far ahead; it will be set aside (transaction aborted)"
        );
        let check = |record: Outgoing<'_>| refusals.check(&record, &clock).err();
        for time_ms in [500, 700] {
            let refused = check(record(time_ms, None)).map(|error| error.to_string());
            let expected = "topic t refuses a record: too far ahead";
            assert_eq!(refused.as_deref(), Some(expected));
        }
        assert!(check(record(600, None)).is_none());
        assert!(check(record(500, Some(b"k"))).is_none());
        clock.advance_millis(MEMORY_MS);
        assert!(check(record(500, None)).is_none());
    }

    #[test]
    fn what_is_no_refusal_is_given_back() {
        let error = Refusals::new().learn(BrokerError::fenced("a", "b"), Timestamp(0));
        assert!(matches!(error, BrokerError::Fenced { .. }));
    }
}
