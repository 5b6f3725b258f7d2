//! What a producer's delivery reports say: how far its records were written, and which were not.
//!
//! All that a report brings back of a record that was not written is its size, whether it has a key,
//! and the number that went along with it, a [`Tag`]. Its time and the broker's own words cannot be
//! asked for: `rd_kafka_message_timestamp` gives none then, and `rd_kafka_message_produce_errstr`
//! points into an answer that librdkafka (2.12) has freed.
//!
//! A broker refuses batches, and says of each record in one whether it is at fault. librdkafka passes
//! that on (as `InvalidRecord` and `InvalidDifferentRecord`) when several are; when a single one is,
//! `rd_kafka_interceptors_on_acknowledgement_queue` gives all of them the code of the batch, and
//! which one it was has to be found out: [`Unwritten::culprits`].

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::classify::{Code, Failure};
use super::native::{Callbacks, Delivery};
use crate::broker::{Offset, Partition, RecordMark};
use crate::time::Timestamp;

/// What goes along with a record, as one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tag {
    /// The number of its topic.
    pub(super) topic: usize,
    /// The time in its [`RecordMark`].
    pub(super) timestamp: Timestamp,
}

/// A tag has so many bits for the time, and the others for the topic.
const TIME_BITS: u32 = 48;

const _: () = {
    assert!(usize::BITS == 64);
    assert!(RecordMark::LAST.0 < 1 << TIME_BITS);
};

impl Tag {
    /// As librdkafka takes it along.
    pub(super) fn pack(self) -> usize {
        self.topic << TIME_BITS | self.timestamp.0 as usize
    }

    /// As librdkafka gives it back.
    pub(super) fn unpack(number: usize) -> Tag {
        Tag {
            topic: number >> TIME_BITS,
            timestamp: Timestamp((number & ((1 << TIME_BITS) - 1)) as i64),
        }
    }
}

/// What the delivery reports have said.
#[derive(Default)]
pub(super) struct Reports {
    written: Mutex<Written>,
    /// Records were not written, or connections lost while a transaction was open.
    pub(super) trouble: AtomicBool,
    pub(super) in_transaction: AtomicBool,
}

/// How far the records of each topic were written.
#[derive(Default)]
pub(super) struct Written {
    /// The offset behind the last record, by the number of the topic and the partition.
    pub(super) next: Vec<Vec<Option<Offset>>>,
    pub(super) first_error: Option<Unwritten>,
}

/// A record that was not written.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unwritten {
    /// The number of its topic.
    pub(super) topic: usize,
    pub(super) bytes: usize,
    pub(super) failure: Failure,
    /// If the topic has refused it: its mark, and those of more records that got the same word.
    pub(super) suspects: Vec<RecordMark>,
}

impl Unwritten {
    /// Those of the suspects that the topic does not take for certain; none if it did not refuse,
    /// or for reasons of which nothing is known here.
    ///
    /// Of times, the latest is at fault if it is ahead of the clock, which is what topics refuse
    /// usually; else it is the earliest. Otherwise it is those without a key, or, of several that
    /// are at fault, those that are ahead.
    pub(super) fn culprits(&self, now: Timestamp) -> Vec<RecordMark> {
        let suspects = self.suspects.iter().copied();
        let is_ahead = |mark: &RecordMark| mark.timestamp > now;
        if self.failure.code == Code::InvalidTimestamp {
            let latest = suspects.clone().max().filter(is_ahead);
            return latest.or_else(|| suspects.min()).into_iter().collect();
        }
        let keyless: Vec<_> = suspects.clone().filter(|mark| !mark.has_key).collect();
        match keyless.is_empty() {
            true => suspects.filter(is_ahead).collect(),
            false => keyless,
        }
    }
}

impl Callbacks for Reports {
    fn delivered(&self, report: &Delivery) {
        let mut written = self.written();
        let Tag { topic, timestamp } = Tag::unpack(report.tag);
        match &report.error {
            None => written.count(topic, report.partition, report.offset),
            // What an abort throws away is no error.
            Some(failure) if matches!(failure.code, Code::PurgeQueue | Code::PurgeInflight) => {}
            Some(failure) => {
                let mark = RecordMark {
                    timestamp,
                    has_key: report.has_key,
                };
                written.fail(Unwritten {
                    topic,
                    bytes: report.bytes,
                    failure: failure.clone(),
                    suspects: Vec::from_iter(failure.is_refusal().then_some(mark)),
                });
            }
        }
    }

    fn failed(&self, code: Code) {
        let lost = matches!(
            code,
            Code::BrokerTransportFailure
                | Code::AllBrokersDown
                | Code::OperationTimedOut
                | Code::RequestTimedOut
                | Code::MessageTimedOut
        );
        if lost && self.in_transaction.load(Ordering::Relaxed) {
            self.trouble.store(true, Ordering::Relaxed);
        }
    }
}

impl Reports {
    /// What has been written so far.
    pub(super) fn written(&self) -> MutexGuard<'_, Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Written {
    /// Keeps the first error, with all suspects of the same. That a record was sent together with
    /// one that was refused explains nothing, and gives way to that one.
    fn fail(&mut self, unwritten: Unwritten) {
        match &mut self.first_error {
            Some(first) if first.failure.code == Code::InvalidDifferentRecord => *first = unwritten,
            Some(first)
                if (first.topic, first.failure.code)
                    == (unwritten.topic, unwritten.failure.code) =>
            {
                first.suspects.extend(unwritten.suspects);
            }
            Some(_) => {}
            none => *none = Some(unwritten),
        }
    }

    fn count(&mut self, topic: usize, partition: Partition, offset: Offset) {
        let (Ok(partition), true) = (usize::try_from(partition), offset >= 0) else {
            return;
        };
        if self.next.len() <= topic {
            self.next.resize_with(topic + 1, Vec::new);
        }
        let partitions = &mut self.next[topic];
        if partitions.len() <= partition {
            partitions.resize(partition + 1, None);
        }
        partitions[partition] = partitions[partition].max(Some(offset + 1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_comes_back_as_it_went() {
        let timestamps = [Timestamp(1), Timestamp(1_777_979_860_822), RecordMark::LAST];
        for (topic, timestamp) in [0, 1, 65_535].into_iter().zip(timestamps) {
            let tag = Tag { topic, timestamp };
            assert_eq!(Tag::unpack(tag.pack()), tag);
        }
    }

    const INVALID_TIMESTAMP: i32 = 32;
    const INVALID_RECORD: i32 = 87;
    const INVALID_DIFFERENT_RECORD: i32 = -138;
    const TIMED_OUT: i32 = -192;

    /// What is kept of these reports: topic, code, time, and whether there is a key.
    fn first_error(reports: &[(usize, i32, i64, bool)]) -> Unwritten {
        let mut written = Written::default();
        for (topic, code, time_ms, has_key) in reports {
            let failure = Failure::from_code(*code, None).unwrap();
            let mark = RecordMark {
                timestamp: Timestamp(*time_ms),
                has_key: *has_key,
            };
            written.fail(Unwritten {
                topic: *topic,
                bytes: 1,
                suspects: Vec::from_iter(failure.is_refusal().then_some(mark)),
                failure,
            });
        }
        written.first_error.unwrap()
    }

    /// The topic that has refused records, and their times. It is 100 ms after 1970.
    #[track_caller]
    fn check(reports: &[(usize, i32, i64, bool)], expected: (usize, &[i64])) {
        let first = first_error(reports);
        let culprits = first.culprits(Timestamp(100));
        let times: Vec<_> = culprits.iter().map(|mark| mark.timestamp.0).collect();
        assert_eq!((first.topic, &times[..]), expected);
    }

    #[test]
    fn of_a_batch_with_one_bad_time_the_latest_is_at_fault_if_it_is_ahead() {
        let bad = INVALID_TIMESTAMP;
        check(
            &[(1, bad, 50, true), (1, bad, 900, true), (1, bad, 101, true)],
            (1, &[900]),
        );
        check(
            &[(1, bad, 50, true), (1, bad, 7, false), (1, bad, 60, true)],
            (1, &[7]),
        );
        // Another error explains itself.
        check(&[(1, TIMED_OUT, 50, true), (1, bad, 900, true)], (1, &[]));
    }

    #[test]
    fn of_other_bad_records_those_without_a_key_are_at_fault_or_else_those_ahead() {
        let (bad, good) = (INVALID_RECORD, INVALID_DIFFERENT_RECORD);
        check(
            &[(0, bad, 50, true), (0, bad, 60, false), (0, bad, 101, true)],
            (0, &[60]),
        );
        let several = [
            (0, good, 1, true),
            (0, bad, 200, true),
            (0, good, 3, false),
            (0, bad, 300, true),
            (1, bad, 400, true),
        ];
        check(&several, (0, &[200, 300]));
        check(&[(0, bad, 50, true)], (0, &[]));
    }
}
