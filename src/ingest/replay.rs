//! Puts recorded events into the log: NDJSON, plain or compressed, at any pace.
//!
//! The producer is not transactional. A replay has no stored position, so a transaction could not
//! keep a second run from writing the events again; and without one, the events can be read at
//! once, in whatever isolation, which is what a replay at true pace is for. The client library
//! still writes each event once and in order, as long as the broker knows what it has of this producer. A
//! broker that dies forgets that where the records' own times are older than its
//! `producer.id.expiration.ms` (a day): what is under way then is written twice, except into topics whose
//! `message.timestamp.type` is `LogAppendTime`.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::broker::{Broker, BrokerError, Isolation, ProducerOptions, TopicPartition};
use crate::ingest::delivery::{DeadLetter, Delivery, Event};
use crate::ingest::fields::Unreadable;
use crate::ingest::lines::{Lines, ReadError, Recorded};
use crate::ingest::metrics::{DeadReason, IngestMetrics};
use crate::ingest::pace::{Pace, Pacer, nap};
use crate::ingest::recent::RecentIds;
use crate::ingest::summary::{Start, Summary};
use crate::ingest::target::{Lacking, LineReader, Target};
use crate::time::Clock;

/// How many identities are remembered to recognise repeats.
pub const REMEMBERED: usize = 1_000_000;

/// So often it is made sure that events are in the log, and they are counted.
const FLUSH_EVERY_MS: i64 = 1000;
/// So many lines are read between two looks at the clock when there is no pace to keep.
const LOOK_EVERY: u64 = 256;

/// What to replay, how fast and where to.
#[derive(Clone, Debug)]
pub struct ReplayOptions {
    /// The file; `-` is the standard input.
    pub file: PathBuf,
    /// How fast: by the times at which the events were received, or else by their time field.
    pub pace: Pace,
    /// Drops events whose id has come before.
    pub drop_repeats: bool,
    /// Where to, and by which fields.
    pub target: Target,
}

/// A replay has not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The file could not be read to its end.
    #[error("{error} ({done} got through)", done = events_text(*.events))]
    Read {
        /// Which file and why.
        #[source]
        error: ReadError,
        /// How many events are in the topic.
        events: u64,
    },
    /// The log has refused.
    #[error("{error} ({done} of {} got through)", .file.display(), done = events_text(*.events))]
    Log {
        /// What it said.
        #[source]
        error: BrokerError,
        /// The file.
        file: PathBuf,
        /// How many events are certainly in the topic.
        events: u64,
    },
}

fn events_text(events: u64) -> String {
    if events == 1 {
        "1 event".to_owned()
    } else {
        format!("{events} events")
    }
}

impl ReplayOptions {
    /// The file into the topic, as fast as possible, without repeats.
    pub fn new(file: &Path, topic: &str) -> ReplayOptions {
        ReplayOptions {
            file: file.to_owned(),
            pace: Pace::Fastest,
            drop_repeats: true,
            target: Target::new(topic),
        }
    }
}

/// Whether the file can be opened, to be asked before anything is waited for. Nothing is read of
/// the standard input.
///
/// # Errors
/// [`ReplayError::Read`] when it cannot.
pub fn check_file(file: &Path) -> Result<(), ReplayError> {
    match file == Path::new("-") {
        true => Ok(()),
        false => open(file).map(drop),
    }
}

fn open(file: &Path) -> Result<Lines, ReplayError> {
    Lines::open(file).map_err(|error| ReplayError::Read { error, events: 0 })
}

/// Replays the file to its end, or until the shutdown. Blocks.
///
/// # Errors
/// When the file cannot be read to its end, or the log refuses; both say how many events got
/// through.
pub fn run(
    options: &ReplayOptions,
    broker: &dyn Broker,
    clock: &dyn Clock,
    metrics: &IngestMetrics,
    shutdown: &CancellationToken,
) -> Result<Summary, ReplayError> {
    let start = Start::now(clock, metrics);
    let events = || start.summary(clock, metrics).events;
    let refused = |error| {
        let file = options.file.clone();
        ReplayError::Log {
            error,
            file,
            events: events(),
        }
    };
    let lines = open(&options.file)?;
    options.target.create_topics(broker).map_err(refused)?;
    let older = settled(|| records_in(&options.target.topic, broker)).map_err(refused)?;
    if older > 0 {
        let topic = &options.target.topic;
        tracing::warn!(
            topic,
            records = older,
            "the topic has records already; an event that is among them will count twice in \
             rollups. To replay a recording again, use a new topic and a new application"
        );
    }
    let producer = broker
        .producer(&ProducerOptions::default())
        .map_err(refused)?;
    let mut replay = Replay {
        reader: options.target.line_reader(),
        lacking: Lacking::default(),
        recent: RecentIds::new(REMEMBERED),
        pacer: Pacer::new(options.pace),
        delivery: Delivery::new(producer, clock, metrics),
        origin: String::new(),
        is_unpaced: false,
        options,
        clock,
        metrics,
        shutdown,
    };
    let read = replay.all(lines);
    // Also after a damaged line: what got through is to be certain.
    replay.delivery.flush().map_err(refused)?;
    replay.lacking.warn(&options.target);
    match read {
        Ok(()) => Ok(start.summary(clock, metrics)),
        Err(Stopped::Read(error)) => Err(ReplayError::Read {
            error,
            events: events(),
        }),
        Err(Stopped::Log(error)) => Err(refused(error)),
    }
}

/// The answer once the log can give it: a topic that has just been made has no leaders for a moment.
fn settled<T>(ask: impl Fn() -> Result<T, BrokerError>) -> Result<T, BrokerError> {
    const PATIENCE: Duration = Duration::from_secs(15);
    let began = Instant::now();
    loop {
        match ask() {
            Err(BrokerError::Retry { .. }) if began.elapsed() < PATIENCE => {
                std::thread::sleep(Duration::from_millis(200));
            }
            answer => return answer,
        }
    }
}

/// How many records a topic holds. What an earlier run has written, perhaps of the same file, is not
/// known to this one, and rollups count an event as often as the topic has it.
fn records_in(topic: &str, broker: &dyn Broker) -> Result<i64, BrokerError> {
    let count = broker.partition_counts(&[topic])?;
    let count = count.get(topic).copied().unwrap_or_default();
    let partitions = (0..count as i32).map(|partition| TopicPartition::new(topic, partition));
    let partitions: Vec<_> = partitions.collect();
    let ends = broker.end_offsets(&partitions, Isolation::ReadUncommitted)?;
    let starts = broker.start_offsets(&partitions)?;
    Ok(ends.values().sum::<i64>() - starts.values().sum::<i64>())
}

struct Replay<'a> {
    options: &'a ReplayOptions,
    reader: LineReader,
    lacking: Lacking,
    recent: RecentIds,
    pacer: Pacer,
    delivery: Delivery<'a>,
    clock: &'a dyn Clock,
    metrics: &'a IngestMetrics,
    shutdown: &'a CancellationToken,
    /// Text for dead letters: file and line.
    origin: String,
    /// Whether an event had no time by which it could be paced.
    is_unpaced: bool,
}

enum Stopped {
    Read(ReadError),
    Log(BrokerError),
}

impl Replay<'_> {
    fn all(&mut self, mut lines: Lines) -> Result<(), Stopped> {
        let mut flushed = self.clock.now();
        while let Some((number, line)) = lines.next_line().map_err(Stopped::Read)? {
            if !self.line(line, number).map_err(Stopped::Log)? {
                return Ok(());
            }
            if number % LOOK_EVERY != 0 && self.options.pace == Pace::Fastest {
                continue;
            }
            let now = self.clock.now();
            if now >= flushed.plus_millis(FLUSH_EVERY_MS) {
                self.delivery.flush().map_err(Stopped::Log)?;
                flushed = now;
            }
            if self.shutdown.is_cancelled() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Handles a line; false at the shutdown.
    fn line(&mut self, line: &[u8], number: u64) -> Result<bool, BrokerError> {
        let recorded = Recorded::from_line(line);
        self.origin.clear();
        write!(self.origin, "{} line {number}", self.options.file.display())
            .expect("a text takes everything");
        let facts = match self.reader.read(&recorded.event) {
            Ok(facts) => facts,
            Err(error) => return self.unreadable(&recorded.event, &error).map(|()| true),
        };
        self.lacking.note(&facts);
        if self.options.drop_repeats && facts.id.is_some_and(|id| !self.recent.insert(id, None)) {
            self.metrics.repeats.fetch_add(1, Ordering::Relaxed);
            return Ok(true);
        }
        let event_ns = facts
            .time
            .map(|time| time.millis().saturating_mul(1_000_000));
        let happened_ns = recorded.received_ns.or(event_ns);
        if happened_ns.is_none() && self.options.pace != Pace::Fastest && !self.is_unpaced {
            self.is_unpaced = true;
            let (field, line) = (&self.options.target.time, number);
            tracing::warn!(
                ?field,
                line,
                "an event without a time is not waited for (--time)"
            );
        }
        if let Some(ns) = happened_ns
            && self.options.pace != Pace::Fastest
            && !nap(self.pacer.wait(self.clock.now(), ns), self.shutdown)
        {
            return Ok(false);
        }
        let event = Event {
            key: facts.key.as_ref().map(|key| key.as_bytes()),
            time: facts.time.unwrap_or_else(|| self.clock.now()),
            value: &recorded.event,
        };
        let (target, origin) = (&self.options.target, &self.origin);
        self.delivery.patiently(self.shutdown, |delivery| {
            delivery.event(target, event, origin)
        })?;
        Ok(true)
    }

    fn unreadable(&mut self, line: &[u8], error: &Unreadable) -> Result<(), BrokerError> {
        let letter = DeadLetter {
            reason: DeadReason::from(error),
            error: &error.to_string(),
            origin: &self.origin,
            time: self.clock.now(),
            value: line,
            length: line.len(),
        };
        let target = &self.options.target;
        self.delivery.patiently(self.shutdown, |delivery| {
            delivery.dead_letter(target, letter)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use super::*;
    use crate::broker::memory::MemoryBroker;
    use crate::broker::{Outgoing, TopicSpec};
    use crate::time::{ManualClock, Timestamp};

    #[test]
    fn the_records_of_all_partitions_are_counted() {
        let broker = MemoryBroker::new(Arc::new(ManualClock::default()));
        let spec = TopicSpec {
            name: "t".to_owned(),
            partitions: 2,
            replication: -1,
            config: BTreeMap::new(),
        };
        broker.create_topics(&[spec]).unwrap();
        assert_eq!(records_in("t", &broker).unwrap(), 0);
        let mut producer = broker.producer(&ProducerOptions::default()).unwrap();
        for partition in [0, 1, 1] {
            let record = Outgoing {
                topic: "t",
                partition: Some(partition),
                timestamp: Timestamp(1),
                key: None,
                value: Some(b"v"),
                headers: &[],
            };
            producer.send(record).unwrap();
        }
        producer.flush().unwrap();
        assert_eq!(records_in("t", &broker).unwrap(), 3);
        assert_eq!(records_in("u", &broker).unwrap(), 0);
    }
}
