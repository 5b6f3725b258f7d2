//! Puts events and dead letters into the log, counting both.
//!
//! A record that its topic refuses never stops the run: it becomes a dead letter. A dead letter that
//! is itself too large is cut to its beginning, and one from the future is dated as of now. What was
//! sent is counted only when it is certain: after the commit or the flush.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::broker::{BrokerError, Outgoing, Producer, RecordMark, Refusals};
use crate::dead_letters;
use crate::ingest::metrics::{DeadReason, IngestMetrics};
use crate::ingest::pace::nap;
use crate::ingest::target::Target;
use crate::ingest::trust::{self, Trust};
use crate::time::{Clock, Timestamp};

/// How often a commit whose outcome is open is asked for. The log waits a while each time.
const COMMIT_ATTEMPTS: u32 = 3;

/// How long passing trouble of the log is waited out, without transactions.
pub const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(100);

/// Of a dead letter that is too large, this much is kept.
const KEPT_OF_TOO_LARGE: usize = 64 * 1024;

/// An event that is to be written.
#[derive(Clone, Copy, Debug)]
pub struct Event<'a> {
    /// The record's key.
    pub key: Option<&'a [u8]>,
    /// The event time.
    pub time: Timestamp,
    /// The bytes as they came.
    pub value: &'a [u8],
}

/// An event that cannot be written as one.
#[derive(Clone, Copy, Debug)]
pub struct DeadLetter<'a> {
    /// Why.
    pub reason: DeadReason,
    /// Why, in words.
    pub error: &'a str,
    /// Where it came from.
    pub origin: &'a str,
    /// Its time, or that of its arrival.
    pub time: Timestamp,
    /// The original bytes, or their beginning.
    pub value: &'a [u8],
    /// How many bytes there were.
    pub length: usize,
}

/// Writes to the targets of one run.
pub struct Delivery<'a> {
    producer: Box<dyn Producer>,
    clock: &'a dyn Clock,
    metrics: &'a IngestMetrics,
    caution: Caution,
    uncertain: Counts,
}

/// How it is avoided that good events are lost with one that its topic refuses.
enum Caution {
    /// In transactions: what has been refused is known when it is done again.
    Known(Refusals),
    /// Without: what may be refused is sent by itself.
    Apart(Trust),
}

/// What was sent since the last commit or flush.
#[derive(Debug, Default)]
struct Counts {
    events: u64,
    bytes: u64,
    last_event: Option<Timestamp>,
    dead_letters: [u64; DeadReason::ALL.len()],
}

impl<'a> Delivery<'a> {
    /// Writes with this producer, which has no transactions, into one target.
    pub fn new(
        producer: Box<dyn Producer>,
        clock: &'a dyn Clock,
        metrics: &'a IngestMetrics,
    ) -> Delivery<'a> {
        Delivery {
            producer,
            clock,
            metrics,
            caution: Caution::Apart(Trust::default()),
            uncertain: Counts::default(),
        }
    }

    /// Writes with this producer, in transactions. What topics have refused before becomes dead
    /// letters.
    pub fn in_transactions(
        producer: Box<dyn Producer>,
        clock: &'a dyn Clock,
        metrics: &'a IngestMetrics,
        refusals: Refusals,
    ) -> Delivery<'a> {
        Delivery {
            caution: Caution::Known(refusals),
            ..Delivery::new(producer, clock, metrics)
        }
    }

    /// The producer itself, for transactions and for records of other topics.
    pub fn producer(&mut self) -> &mut dyn Producer {
        &mut *self.producer
    }

    /// Commits the transaction and counts what it held. While the outcome is open, it is asked for
    /// again, a few times.
    ///
    /// # Errors
    /// What the log says.
    pub fn commit(&mut self) -> Result<(), BrokerError> {
        let mut attempts = 1;
        while let Err(error) = self.producer.commit() {
            if !matches!(error, BrokerError::Retry { .. }) || attempts == COMMIT_ATTEMPTS {
                return Err(error);
            }
            tracing::warn!(%error, attempts, "the outcome of the commit is open");
            attempts += 1;
        }
        self.count();
        Ok(())
    }

    /// Waits until everything is written and counts it (without transactions).
    ///
    /// # Errors
    /// What the log says.
    pub fn flush(&mut self) -> Result<(), BrokerError> {
        self.producer.flush()?;
        self.count();
        Ok(())
    }

    fn count(&mut self) {
        let counts = std::mem::take(&mut self.uncertain);
        self.metrics
            .events(counts.events, counts.bytes, counts.last_event);
        for (reason, count) in DeadReason::ALL.into_iter().zip(counts.dead_letters) {
            self.metrics.dead_letters_add(reason, count);
        }
        self.metrics.commits.fetch_add(1, Ordering::Relaxed);
    }

    /// Writes an event. True when it went to the topic, false when it became a dead letter.
    ///
    /// # Errors
    /// What the log says, except that it refuses this very record.
    pub fn event(
        &mut self,
        target: &Target,
        event: Event<'_>,
        origin: &str,
    ) -> Result<bool, BrokerError> {
        let record = Outgoing {
            topic: &target.topic,
            partition: None,
            timestamp: event.time,
            key: event.key,
            value: Some(event.value),
            headers: &[],
        };
        let bytes = record.bytes();
        let sent = match bytes <= target.max_record_bytes {
            true => self.send(record),
            false => Err(BrokerError::TooLarge {
                topic: target.topic.clone(),
                bytes,
            }),
        };
        let error = match sent {
            Ok(()) => {
                self.uncertain.events += 1;
                self.uncertain.bytes += event.value.len() as u64;
                self.uncertain.last_event = self.uncertain.last_event.max(Some(event.time));
                return Ok(true);
            }
            Err(error) if error.is_about(&record) => error,
            Err(error) => return Err(error),
        };
        let letter = DeadLetter {
            reason: match error {
                BrokerError::TooLarge { .. } => DeadReason::TooLarge,
                _ => DeadReason::RefusedByTopic,
            },
            error: &error.to_string(),
            origin,
            time: event.time,
            value: event.value,
            length: event.value.len(),
        };
        self.dead_letter(target, letter).map(|()| false)
    }

    fn send(&mut self, record: Outgoing<'_>) -> Result<(), BrokerError> {
        match &mut self.caution {
            Caution::Known(refusals) => refusals.check(&record, self.clock)?,
            Caution::Apart(trust) => {
                let mark = RecordMark::of(&record);
                if !trust.covers(mark, record.bytes(), self.clock) {
                    self.send_apart(record)?;
                    if let Caution::Apart(trust) = &mut self.caution {
                        trust.taken(mark, self.clock);
                    }
                    return Ok(());
                }
            }
        }
        self.producer.send(record)
    }

    /// Sends a record that its topic may refuse, with nothing else under way.
    fn send_apart(&mut self, record: Outgoing<'_>) -> Result<(), BrokerError> {
        self.flush().map_err(unrepeatable)?;
        self.producer.send(record)?;
        self.producer.flush().map_err(unrepeatable)
    }

    /// Sends a dead letter. Its time and the want of a key are taken by every topic for them, its
    /// size perhaps not.
    fn send_letter(&mut self, record: Outgoing<'_>) -> Result<(), BrokerError> {
        match &self.caution {
            Caution::Known(refusals) => refusals.check(&record, self.clock)?,
            Caution::Apart(_) if !trust::is_small(record.bytes()) => {
                return self.send_apart(record);
            }
            Caution::Apart(_) => {}
        }
        self.producer.send(record)
    }

    /// Does something again and again while the log is in passing trouble.
    ///
    /// # Errors
    /// What the log says; passing trouble only when it does not pass in [`PATIENCE`], or at the
    /// shutdown.
    pub fn patiently<T>(
        &mut self,
        shutdown: &CancellationToken,
        mut action: impl FnMut(&mut Self) -> Result<T, BrokerError>,
    ) -> Result<T, BrokerError> {
        let mut left = PATIENCE;
        loop {
            match action(self) {
                Err(error @ BrokerError::Retry { .. }) => {
                    if left.is_zero() || !nap(PAUSE, shutdown) {
                        return Err(error);
                    }
                    tracing::warn!(%error, "waiting for the log");
                    left = left.saturating_sub(PAUSE);
                }
                other => return other,
            }
        }
    }

    /// Counts a dead letter and writes it, if there is a topic for them.
    ///
    /// # Errors
    /// What the log says, except that the record is too large.
    pub fn dead_letter(
        &mut self,
        target: &Target,
        letter: DeadLetter<'_>,
    ) -> Result<(), BrokerError> {
        tracing::debug!(
            reason = letter.reason.label(),
            origin = letter.origin,
            "dead letter"
        );
        if let Some(topic) = &target.dead_letters {
            self.write_letter(topic, target, letter)?;
        }
        self.uncertain.dead_letters[letter.reason as usize] += 1;
        Ok(())
    }

    /// Writes a dead letter whole if its topic takes that, else its beginning.
    fn write_letter(
        &mut self,
        topic: &str,
        target: &Target,
        letter: DeadLetter<'_>,
    ) -> Result<(), BrokerError> {
        let length = letter.length.to_string();
        let headers: [(&str, &[u8]); 5] = [
            (dead_letters::REASON, letter.reason.label().as_bytes()),
            (dead_letters::MESSAGE, letter.error.as_bytes()),
            (dead_letters::ORIGIN, letter.origin.as_bytes()),
            (dead_letters::TOPIC, target.topic.as_bytes()),
            (dead_letters::LENGTH, length.as_bytes()),
        ];
        let kept = letter.value.len().min(KEPT_OF_TOO_LARGE);
        for value in [letter.value, &letter.value[..kept]] {
            let is_cut = value.len() < letter.length;
            let record = Outgoing {
                topic,
                partition: None,
                timestamp: letter.time.min(self.clock.now()),
                key: None,
                value: Some(value),
                headers: &headers[..if is_cut { 5 } else { 4 }],
            };
            match self.send_letter(record) {
                Err(error) if error.is_about(&record) => {
                    tracing::debug!(%error, "a dead letter is too large for its topic");
                }
                sent => return sent,
            }
        }
        tracing::warn!(
            topic,
            bytes = letter.length,
            "not even the beginning of a dead letter fits into its topic"
        );
        Ok(())
    }
}

/// The error of a flush in the midst of a call that is repeated after passing trouble: what was not
/// written was perhaps sent by an earlier call, so it ends the run.
fn unrepeatable(error: BrokerError) -> BrokerError {
    match error {
        BrokerError::Retry { action, reason } => BrokerError::Fatal { action, reason },
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::broker::{GroupMetadata, Offset, Partition, TopicPartition};
    use crate::time::ManualClock;

    type Sent = Arc<Mutex<Vec<(String, Vec<u8>, Vec<(String, String)>)>>>;

    /// Takes records of up to `limit` bytes and writes them down.
    struct Recorder {
        limit: usize,
        sent: Sent,
    }

    impl Producer for Recorder {
        fn send(&mut self, record: Outgoing<'_>) -> Result<(), BrokerError> {
            let value = record.value.expect("no tombstones here");
            if value.len() > self.limit {
                let topic = record.topic.to_owned();
                return Err(BrokerError::TooLarge {
                    topic,
                    bytes: value.len(),
                });
            }
            let headers = record.headers.iter().map(|(name, text)| {
                (
                    (*name).to_owned(),
                    String::from_utf8_lossy(text).into_owned(),
                )
            });
            let entry = (record.topic.to_owned(), value.to_vec(), headers.collect());
            self.sent.lock().expect("no test panics here").push(entry);
            Ok(())
        }
        fn begin(&mut self) -> Result<(), BrokerError> {
            Ok(())
        }
        fn send_offsets(
            &mut self,
            _: &[(TopicPartition, Offset)],
            _: &GroupMetadata,
        ) -> Result<(), BrokerError> {
            Ok(())
        }
        fn commit(&mut self) -> Result<(), BrokerError> {
            Ok(())
        }
        fn abort(&mut self) -> Result<(), BrokerError> {
            Ok(())
        }
        fn flush(&mut self) -> Result<(), BrokerError> {
            Ok(())
        }
        fn acknowledged(&self, _: &str, _: Partition) -> Option<Offset> {
            None
        }
        fn is_suspect(&self) -> bool {
            false
        }
    }

    /// Sends a value of `bytes` bytes; gives what arrived: topic, length, length header.
    fn arrived(broker_limit: usize, target: &Target, bytes: usize) -> Vec<(String, usize, bool)> {
        let sent = Sent::default();
        let metrics = IngestMetrics::default();
        let producer = Box::new(Recorder {
            limit: broker_limit,
            sent: Arc::clone(&sent),
        });
        let clock = ManualClock::default();
        let mut delivery = Delivery::new(producer, &clock, &metrics);
        let value = vec![b'x'; bytes];
        let event = Event {
            key: Some(b""),
            time: Timestamp(1),
            value: &value,
        };
        let as_event = delivery
            .event(target, event, "line 1")
            .expect("never an error");
        assert_eq!(
            metrics.all_dead_letters(),
            0,
            "nothing is certain before the flush"
        );
        delivery.flush().expect("nothing to fail");
        assert_eq!(
            metrics.dead_letters(DeadReason::TooLarge),
            u64::from(!as_event)
        );
        let sent = sent.lock().expect("no test panics here");
        sent.iter()
            .map(|(topic, value, headers)| {
                (
                    topic.clone(),
                    value.len(),
                    headers.iter().any(|(name, _)| name == dead_letters::LENGTH),
                )
            })
            .collect()
    }

    #[test]
    fn a_record_that_is_too_large_becomes_a_dead_letter_and_the_run_goes_on() {
        let target = Target {
            max_record_bytes: 99_999,
            ..Target::new("t")
        };
        let event = |bytes| vec![("t".to_owned(), bytes, false)];
        let dead = |bytes, cut| vec![("t-dead-letters".to_owned(), bytes, cut)];
        assert_eq!(arrived(usize::MAX, &target, 99_999), event(99_999));
        assert_eq!(arrived(usize::MAX, &target, 100_000), dead(100_000, false));
        // The log itself takes less than the setting says; then, less than a dead letter has.
        assert_eq!(
            arrived(99_000, &target, 99_001),
            dead(KEPT_OF_TOO_LARGE, true)
        );
        assert_eq!(
            arrived(1000, &target, 99_001),
            vec![],
            "counted, but nowhere to put it"
        );
        let none = Target {
            dead_letters: None,
            ..target
        };
        assert_eq!(arrived(usize::MAX, &none, 100_000), vec![]);
    }

    #[test]
    fn a_dead_letter_says_why_and_where_it_came_from() {
        let sent = Sent::default();
        let metrics = IngestMetrics::default();
        let producer = Box::new(Recorder {
            limit: usize::MAX,
            sent: Arc::clone(&sent),
        });
        let target = Target::new("t");
        let clock = ManualClock::default();
        let mut delivery = Delivery::new(producer, &clock, &metrics);
        let letter = DeadLetter {
            reason: DeadReason::NotJson,
            error: "expected a JSON object",
            origin: "x.ndjson line 7",
            time: Timestamp(1),
            value: b"oops",
            length: 4,
        };
        delivery.dead_letter(&target, letter).expect("written");
        let headers = [
            (dead_letters::REASON, "not_json"),
            (dead_letters::MESSAGE, "expected a JSON object"),
            (dead_letters::ORIGIN, "x.ndjson line 7"),
            (dead_letters::TOPIC, "t"),
        ];
        let headers = headers
            .map(|(name, text)| (name.to_owned(), text.to_owned()))
            .to_vec();
        let expected = vec![("t-dead-letters".to_owned(), b"oops".to_vec(), headers)];
        assert_eq!(*sent.lock().expect("no test panics here"), expected);
    }
}
