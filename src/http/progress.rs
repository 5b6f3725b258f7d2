//! Does an application get on? The decision behind `/readyz`, and the lag behind the metrics.
//!
//! A task is well when its position has moved lately, or when nothing is left to read. So a process
//! that hangs is told apart from one whose topic is silent.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::broker::{Broker, BrokerError, Isolation, Offset, TopicPartition};
use crate::runtime::{EngineMetrics, EngineStatus};
use crate::time::{Clock, Timestamp};
use crate::topology::plan::{Plan, SubTopology};

/// A position that has not moved for this long while there is something to read is stuck.
const PATIENCE_MS: i64 = 30_000;

/// The log is not asked more often than this.
const FRESH_MS: i64 = 1_000;

/// What it said this long ago counts no more.
const STALE_MS: i64 = 15_000;

/// How long to look for a record behind a position.
const GLANCE: Duration = Duration::from_millis(500);

/// Whether an application gets on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Yes.
    Ready,
    /// No, and why.
    NotReady(String),
}

/// How far a group is behind in a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lag {
    /// The consumer group.
    pub group: String,
    /// The partition.
    pub partition: TopicPartition,
    /// The offset of the next record to be read.
    pub position: Offset,
    /// Entries up to the end; as in Kafka's own tools, transaction markers count.
    pub entries: i64,
}

/// What was found at one moment.
#[derive(Clone, Debug)]
pub struct Look {
    /// Whether all is well.
    pub verdict: Verdict,
    /// How far the application's groups are behind.
    pub lags: Vec<Lag>,
}

/// Watches an application.
pub struct Progress {
    plan: Arc<Plan>,
    broker: Arc<dyn Broker>,
    engine: Arc<EngineMetrics>,
    clock: Arc<dyn Clock>,
    /// Locked while the log is being asked.
    known: Mutex<Known>,
    last: Mutex<Option<(Timestamp, Look)>>,
}

#[derive(Default)]
struct Known {
    /// Since when each position has been where it is, with something to read behind it.
    waiting: HashMap<(String, TopicPartition), (Offset, Timestamp)>,
}

/// A partition that does not get on.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Suspect {
    lag: Lag,
    idle_ms: i64,
}

impl Progress {
    /// Watches the application of `plan`.
    pub fn new(
        plan: Arc<Plan>,
        broker: Arc<dyn Broker>,
        engine: Arc<EngineMetrics>,
        clock: Arc<dyn Clock>,
    ) -> Progress {
        Progress {
            plan,
            broker,
            engine,
            clock,
            known: Mutex::default(),
            last: Mutex::default(),
        }
    }

    /// Asks the log, so it blocks. Does nothing when the last answer is fresh, or when someone else
    /// is asking.
    pub fn refresh(&self) {
        let Ok(mut known) = self.known.try_lock() else {
            return;
        };
        let now = self.clock.now();
        if self.last_within(now, FRESH_MS).is_some() {
            return;
        }
        let look = self.ask(&mut known, now);
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some((now, look));
    }

    /// What the log said last.
    pub fn last(&self) -> Look {
        let known = self.last_within(self.clock.now(), STALE_MS);
        known.unwrap_or_else(|| Look {
            verdict: Verdict::NotReady("the log does not answer".to_owned()),
            lags: Vec::new(),
        })
    }

    fn last_within(&self, now: Timestamp, ms: i64) -> Option<Look> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, look) = last.as_ref()?;
        (now.millis() - at.millis() < ms).then(|| look.clone())
    }

    fn ask(&self, known: &mut Known, now: Timestamp) -> Look {
        let status = self.engine.status();
        let lags = match self.lags(&status) {
            Ok(lags) => lags,
            Err(error) => {
                let verdict = Verdict::NotReady(error.to_string());
                let lags = Vec::new();
                return Look { verdict, lags };
            }
        };
        let suspects = known.suspects(&lags, now);
        let stuck = suspects
            .into_iter()
            .find(|suspect| self.has_record_at(&suspect.lag));
        let verdict = verdict(&status, !self.plan.processing.is_empty(), stuck.as_ref());
        Look { verdict, lags }
    }

    /// The partitions of the tasks and global tables that run here, and those of all SQL sinks.
    fn lags(&self, status: &EngineStatus) -> Result<Vec<Lag>, BrokerError> {
        let mut positions = BTreeMap::new();
        for task in status.tasks.values() {
            for (partition, next) in &task.positions {
                positions.insert((self.plan.group(), partition.clone()), *next);
            }
        }
        for (table, known) in &status.global_tables {
            // It has no group; this is how its positions are told from those of others.
            let reader = format!("{}-{table}", self.plan.app);
            for (partition, next) in &known.positions {
                positions.insert((reader.clone(), partition.clone()), *next);
            }
        }
        for sink in &self.plan.sinks {
            let group = self.plan.sink_group(&sink.name);
            for (partition, next) in self.committed(&group, sink)? {
                positions.insert((group.clone(), partition), next);
            }
        }
        let mut partitions: Vec<TopicPartition> = positions
            .keys()
            .map(|(_, partition)| partition.clone())
            .collect();
        partitions.sort();
        partitions.dedup();
        let ends = self
            .broker
            .end_offsets(&partitions, Isolation::ReadCommitted)?;
        let lag = |((group, partition), position): ((String, TopicPartition), Offset)| {
            let entries = (ends.get(&partition)? - position).max(0);
            Some(Lag {
                group,
                partition,
                position,
                entries,
            })
        };
        Ok(positions.into_iter().filter_map(lag).collect())
    }

    fn committed(
        &self,
        group: &str,
        sink: &SubTopology,
    ) -> Result<BTreeMap<TopicPartition, Offset>, BrokerError> {
        let topics: Vec<&str> = sink.topics().collect();
        let counts = self.broker.partition_counts(&topics)?;
        let of = |(topic, count): (&String, &u32)| {
            let topic: Arc<str> = topic.as_str().into();
            let numbers = 0..i32::try_from(*count).unwrap_or(i32::MAX);
            numbers
                .map(move |number| TopicPartition::new(Arc::clone(&topic), number))
                .collect()
        };
        let partitions: Vec<Vec<TopicPartition>> = counts.iter().map(of).collect();
        self.broker.committed(group, &partitions.concat())
    }

    /// Whether a record is there to be read: the end may be behind a transaction marker only.
    fn has_record_at(&self, lag: &Lag) -> bool {
        let look = || -> Result<bool, BrokerError> {
            let mut reader = self.broker.reader(Isolation::ReadCommitted)?;
            reader.assign(&[(lag.partition.clone(), lag.position)])?;
            let mut found = false;
            reader.poll(GLANCE, 1, &mut |_| found = true)?;
            Ok(found)
        };
        look().unwrap_or(true)
    }
}

impl Known {
    /// Notes where positions are; gives those that have been there for too long.
    fn suspects(&mut self, lags: &[Lag], now: Timestamp) -> Vec<Suspect> {
        let key = |lag: &Lag| (lag.group.clone(), lag.partition.clone());
        let waiting = lags.iter().filter(|lag| lag.entries > 0);
        let waiting = waiting.map(|lag| {
            let since = match self.waiting.get(&key(lag)) {
                Some((position, since)) if *position == lag.position => *since,
                _ => now,
            };
            (key(lag), (lag.position, since))
        });
        self.waiting = waiting.collect();
        let suspect = |lag: &Lag| {
            let (_, since) = *self.waiting.get(&key(lag))?;
            let idle_ms = now.millis() - since.millis();
            let lag = lag.clone();
            (idle_ms > PATIENCE_MS).then_some(Suspect { lag, idle_ms })
        };
        lags.iter().filter_map(suspect).collect()
    }
}

fn verdict(status: &EngineStatus, wants_tasks: bool, stuck: Option<&Suspect>) -> Verdict {
    if let Some((task, what)) = status.opening.first_key_value() {
        return Verdict::NotReady(format!("task {task} waits for {what}"));
    }
    let mut tables = status.global_tables.iter();
    let failing = tables.find_map(|(name, table)| Some((name, table.last_error.as_ref()?)));
    if let Some((table, error)) = failing {
        return Verdict::NotReady(format!("global table {table}: {error}"));
    }
    let mut tables = status.global_tables.iter();
    if let Some((name, table)) = tables.find(|(_, table)| !table.is_whole) {
        let left = table.left;
        return Verdict::NotReady(format!(
            "global table {name} is read first, {left} entries are left"
        ));
    }
    if wants_tasks && status.assigned.is_empty() {
        return Verdict::NotReady("no tasks are assigned to this process".to_owned());
    }
    let failing = status
        .sinks
        .iter()
        .find_map(|(name, sink)| Some((name, sink.last_error.as_ref()?)));
    if let Some((sink, error)) = failing {
        return Verdict::NotReady(format!("sink {sink}: {error}"));
    }
    match stuck {
        None => Verdict::Ready,
        Some(Suspect { lag, idle_ms }) => Verdict::NotReady(format!(
            "group {} has not moved in {} for {} s, with {} entries to read",
            lag.group,
            lag.partition,
            idle_ms / 1000,
            lag.entries
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::{GlobalTableStatus, SinkStatus};
    use crate::topology::plan::TaskId;

    fn lag(position: Offset, entries: i64) -> Lag {
        Lag {
            group: "app".to_owned(),
            partition: TopicPartition::new("t", 0),
            position,
            entries,
        }
    }

    /// Position, entries behind it and seconds passed, step by step.
    #[track_caller]
    fn check(steps: &[(Offset, i64, i64)], is_suspect: bool) {
        let mut known = Known::default();
        let mut now = Timestamp(0);
        let mut suspects = Vec::new();
        for &(position, entries, seconds) in steps {
            now = now.plus_millis(seconds * 1000);
            suspects = known.suspects(&[lag(position, entries)], now);
        }
        assert_eq!(!suspects.is_empty(), is_suspect, "{steps:?}");
    }

    #[test]
    fn a_position_is_suspect_when_it_stays_while_there_is_something_to_read() {
        check(&[(5, 10, 0)], false);
        check(&[(5, 10, 0), (5, 20, 31)], true);
        check(&[(5, 10, 0), (6, 20, 31)], false);
        check(&[(5, 0, 0), (5, 0, 310)], false);
        // Silence does not count.
        check(&[(5, 0, 0), (5, 3, 310)], false);
        check(&[(5, 0, 0), (5, 3, 310), (5, 3, 31)], true);
    }

    #[test]
    fn an_application_without_tasks_or_with_a_failing_sink_is_not_ready() {
        let mut status = EngineStatus::default();
        let none = Verdict::NotReady("no tasks are assigned to this process".to_owned());
        assert_eq!(verdict(&status, true, None), none);
        assert_eq!(verdict(&status, false, None), Verdict::Ready);
        status.assigned.push(TaskId {
            sub_topology: 0,
            partition: 0,
        });
        assert_eq!(verdict(&status, true, None), Verdict::Ready);
        let stuck = Suspect {
            lag: lag(5, 3),
            idle_ms: 31_000,
        };
        let text = "group app has not moved in t-0 for 31 s, with 3 entries to read";
        assert_eq!(
            verdict(&status, true, Some(&stuck)),
            Verdict::NotReady(text.to_owned())
        );
        let task = status.assigned[0];
        status.opening.insert(task, "its state");
        let text = "task 0_0 waits for its state".to_owned();
        assert_eq!(verdict(&status, true, None), Verdict::NotReady(text));
        status.opening.clear();
        let failing = SinkStatus {
            last_error: Some("gone".to_owned()),
            ..SinkStatus::default()
        };
        status.sinks.insert("raw".to_owned(), failing);
        let text = "sink raw: gone".to_owned();
        assert_eq!(verdict(&status, true, None), Verdict::NotReady(text));
        for (is_whole, error, text) in [
            (
                false,
                None,
                "global table countries is read first, 7 entries are left",
            ),
            (true, Some("gone"), "global table countries: gone"),
            (false, Some("gone"), "global table countries: gone"),
        ] {
            let table = GlobalTableStatus {
                is_whole,
                left: 7,
                last_error: error.map(str::to_owned),
                ..GlobalTableStatus::default()
            };
            status.global_tables.insert("countries".to_owned(), table);
            let not_ready = Verdict::NotReady(text.to_owned());
            assert_eq!(verdict(&status, true, None), not_ready);
        }
    }
}
