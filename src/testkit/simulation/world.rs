//! The world of a simulation: what happens in it, and what is found at the end.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Map, Value as Json};

use super::faults::fail_something;
use super::process::{Disk, Process, Site};
use super::topologies::{Given, Subject};
use crate::broker::memory::MemoryBroker;
use crate::broker::{Broker, Isolation, Outgoing, Producer, ProducerOptions, TopicSpec};
use crate::runtime::Ending;
use crate::state::keys;
use crate::testkit::database::{DatabaseTemplate, TestDatabase};
use crate::time::{Clock as _, ManualClock, Timestamp};
use crate::topology::plan;

pub(super) const PARTITIONS: u32 = 3;
const PROCESSES: usize = 3;
/// Where the clock stands at the beginning, and the time of the first record.
pub(super) const START: Timestamp = Timestamp(4_102_444_800_000);

/// The places of a commit that a process comes to before it dies, at most.
const MOST_PLACES: u64 = 40;

/// One run of so many has RocksDB.
const REAL_DISKS_EACH: u64 = 5;

/// How likely it is that a process freezes in the middle of opening its tasks, at each step of that.
const FROZEN_WHILE_OPENING: f64 = 0.02;

/// Longer than a session, and than a transaction.
const FROZEN_MS: std::ops::Range<i64> = 5_000..12_000;

/// At the end the clock moves so far with each step.
const STEP_MS: i64 = 20;

/// Longer than any session or transaction that someone has left behind.
const HEALING_STEPS: usize = 1_500;

/// Shorter than an upstream is silent between two messages.
const QUIET_STEPS: usize = 100;

pub(super) struct World<'s> {
    subject: &'s Subject,
    site: Site,
    database: TestDatabase,
    rng: StdRng,
    /// Whether disks are RocksDB's, which takes more time.
    has_real_disks: bool,
    producer: Box<dyn Producer>,
    given: Vec<Given>,
    processes: Vec<Process>,
    happened: BTreeMap<&'static str, u64>,
}

impl<'s> World<'s> {
    pub fn new(subject: &'s Subject, seed: u64) -> World<'s> {
        let guarantee = match subject.at_least_once {
            true => "guarantee: at_least_once",
            false => "",
        };
        let topology = format!("{guarantee}{}", subject.topology);
        let topology = crate::config::parse(&topology, "simulation.yaml");
        let topology = topology.unwrap_or_else(|report| panic!("{report}"));
        let plan = Arc::new(plan::plan(&topology).expect("a topology that can be planned"));
        let clock = ManualClock::new(START);
        let broker = MemoryBroker::in_simulated_time(clock.clone());
        broker.shuffle_reads(seed);
        let mut topics = plan.source_topics();
        topics.extend(plan.output_topics());
        let spec = |name: &str| TopicSpec {
            name: name.to_owned(),
            partitions: PARTITIONS,
            replication: -1,
            config: BTreeMap::new(),
        };
        let specs: Vec<TopicSpec> = topics.into_iter().map(spec).collect();
        broker.create_topics(&specs).expect("an empty log");
        let producer = broker.producer(&ProducerOptions::default());
        let has_real_disks = seed.is_multiple_of(REAL_DISKS_EACH);
        let template = Arc::new(DatabaseTemplate::new(&plan).expect("room for a database"));
        let database = TestDatabase::new(template).expect("room for a database");
        World {
            subject,
            site: Site {
                plan,
                broker,
                clock,
                database: database.environment(),
            },
            database,
            rng: StdRng::seed_from_u64(seed),
            producer: producer.expect("an empty log"),
            given: Vec::new(),
            has_real_disks,
            processes: (0..PROCESSES)
                .map(|number| Process::new(number, Disk::new(has_real_disks)))
                .collect(),
            happened: BTreeMap::new(),
        }
    }

    /// What has happened, and how often.
    pub fn happened(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.happened.iter().map(|(what, count)| (*what, *count))
    }

    fn count(&mut self, what: &'static str) {
        *self.happened.entry(what).or_default() += 1;
    }

    /// One thing happens.
    pub fn step(&mut self) {
        let ms = self.rng.random_range(0..40);
        self.site.clock.advance_millis(ms);
        let at = self.rng.random_range(0..self.processes.len());
        match self.rng.random_range(0..1_000) {
            0..150 => self.feed(),
            150..170 => {
                fail_something(&self.site.broker, &mut self.rng);
                self.count("failing calls");
            }
            170..180 => {
                let ending = match self.rng.random_bool(0.5) {
                    true => Ending::Death,
                    false => Ending::Failure,
                };
                let after = self.rng.random_range(0..MOST_PLACES);
                self.processes[at].script(after, ending);
            }
            180..183 => {
                self.processes[at].die();
                self.count("kills");
            }
            183..185 => {
                self.processes[at].stop();
                self.count("stops");
            }
            185..187 => self.freeze(at),
            187..188 if !self.processes[at].is_running() => {
                self.processes[at].disk = Disk::new(self.has_real_disks);
                self.count("lost disks");
            }
            _ => self.run(at),
        }
    }

    fn feed(&mut self) {
        for _ in 0..self.rng.random_range(1..4) {
            let given = (self.subject.next)(self.given.len(), &mut self.rng);
            write(&mut *self.producer, &given);
            self.given.push(given);
        }
    }

    fn freeze(&mut self, at: usize) {
        let ms = self.rng.random_range(FROZEN_MS);
        self.processes[at].frozen_until = self.site.clock.now().plus_millis(ms);
        self.count("freezes");
    }

    /// Gives a process time, or starts it.
    fn run(&mut self, at: usize) {
        let process = &mut self.processes[at];
        if self.site.clock.now() < process.frozen_until {
            return;
        }
        if !process.is_running() {
            if self.rng.random_bool(0.05) {
                let threads = self.rng.random_range(1..3);
                match process.start(&self.site, threads) {
                    Ok(()) => self.count("starts"),
                    Err(_) => self.count("starts that failed"),
                }
            }
            return;
        }
        let part = self.rng.random_range(0..process.parts());
        if !process.step(part) {
            self.count("deaths within a commit");
        } else if self.processes[at].is_opening() && self.rng.random_bool(FROZEN_WHILE_OPENING) {
            self.freeze(at);
        }
    }

    /// Everything heals, one process does what is left, and all must be as the input wants it.
    pub fn finish(&mut self) {
        for process in &mut self.processes {
            process.die();
            process.frozen_until = Timestamp::MIN;
        }
        for given in (self.subject.last)(self.given.len()) {
            write(&mut *self.producer, &given);
        }
        let at = self.rng.random_range(0..self.processes.len());
        self.finish_with(at);
        self.processes[at].die();
        self.compare_topics();
        self.compare_tables();
        self.compare_stores(at);
    }

    fn finish_with(&mut self, at: usize) {
        self.run_alone(at, HEALING_STEPS);
        // Upstreams of a repartition go on saying how far they are, each few seconds.
        let mut before = usize::MAX;
        for _ in 0..1_000 {
            let size = self.size_of_log();
            if size == before {
                return;
            }
            before = size;
            self.run_alone(at, QUIET_STEPS);
        }
        panic!("it never comes to an end");
    }

    fn run_alone(&mut self, at: usize, steps: usize) {
        for step in 0..steps {
            self.site.clock.advance_millis(STEP_MS);
            let process = &mut self.processes[at];
            match process.is_running() {
                true => {
                    let part = step % process.parts();
                    process.step(part);
                }
                // Calls that are still to fail prevent it a few times.
                false => drop(process.start(&self.site, 1)),
            }
        }
    }

    /// The records of all topics, of ended transactions or not.
    fn size_of_log(&self) -> usize {
        let plan = &self.site.plan;
        let internal = plan.internal_topics.iter().map(|topic| topic.name.as_str());
        let topics: Vec<&str> = internal.chain(plan.output_topics()).collect();
        let partitions = |topic: &str| match topic.ends_with("-dead-letters") {
            true => 1,
            false => PARTITIONS as i32,
        };
        let sizes = topics.iter().flat_map(|topic| {
            (0..partitions(topic)).map(|partition| {
                let isolation = Isolation::ReadUncommitted;
                self.site.broker.records(topic, partition, isolation).len()
            })
        });
        sizes.sum()
    }

    /// What the Kafka sinks have written, in any order.
    fn compare_topics(&self) {
        for (topic, mut expected) in (self.subject.topics)(&self.given) {
            let mut found: Vec<String> = self.committed(topic);
            if self.subject.at_least_once {
                let missing = only(&expected, &found);
                assert!(missing.is_empty(), "{topic}: missing {missing:#?}");
                continue;
            }
            found.sort_unstable();
            expected.sort_unstable();
            assert_equal(&found, &expected, topic);
        }
    }

    fn committed(&self, topic: &str) -> Vec<String> {
        let records = (0..PARTITIONS as i32).flat_map(|partition| {
            let isolation = Isolation::ReadCommitted;
            self.site.broker.records(topic, partition, isolation)
        });
        let text = |value: Option<Vec<u8>>| match value {
            Some(value) => String::from_utf8(value).expect("JSON"),
            None => "no value".to_owned(),
        };
        records.map(|record| text(record.value)).collect()
    }

    /// What the SQL sinks have written.
    fn compare_tables(&self) {
        for (table, expected) in (self.subject.tables)(&self.given) {
            let rows = self.database.rows(table).expect("a table that is there");
            if self.subject.at_least_once {
                assert_at_least(&rows, &expected, table);
                continue;
            }
            let mut found: Vec<String> = rows.iter().map(|row| shown(row, &expected)).collect();
            let mut expected: Vec<String> = expected.iter().map(Json::to_string).collect();
            found.sort_unstable();
            expected.sort_unstable();
            assert_equal(&found, &expected, table);
        }
    }

    /// A store on disk holds what its changelog says, byte for byte, but for windows that have expired.
    fn compare_stores(&self, at: usize) {
        let disk = self.processes[at].disk.backend();
        for sub in &self.site.plan.processing {
            let names: Vec<String> = sub.stores.iter().map(|store| store.name.clone()).collect();
            for partition in 0..PARTITIONS as i32 {
                let task = sub.state_name(partition);
                let state = disk.open(&task, &names).expect("memory");
                for (number, store) in sub.stores.iter().enumerate() {
                    let mut found = BTreeMap::new();
                    let mut take = |key: &[u8], value: &[u8]| {
                        found.insert(key.to_vec(), value.to_vec());
                        ControlFlow::Continue(())
                    };
                    state
                        .scan(number, &[], &[0xFF; 32], &mut take)
                        .expect("memory");
                    let mut expected = self.changelog(&store.changelog, partition);
                    // What has expired leaves no trace in the changelog.
                    if let Some(open_from) = state.open_from(number).map(keys::window_bytes) {
                        expected.retain(|key, _| !keys::has_expired(key, &open_from));
                    }
                    assert_eq!(found, expected, "store {} of {task}", store.name);
                }
            }
        }
    }

    /// The last committed value of each key.
    fn changelog(&self, topic: &str, partition: i32) -> BTreeMap<Vec<u8>, Vec<u8>> {
        let isolation = Isolation::ReadCommitted;
        let mut latest = BTreeMap::new();
        for record in self.site.broker.records(topic, partition, isolation) {
            let key = record.key.expect("changelogs have keys");
            match record.value {
                Some(value) => latest.insert(key, value),
                None => latest.remove(&key),
            };
        }
        latest
    }
}

/// What is in one list more often than in the other.
fn only(one: &[String], other: &[String]) -> Vec<String> {
    let mut left: BTreeMap<&str, usize> = BTreeMap::new();
    for text in other {
        *left.entry(text).or_default() += 1;
    }
    let is_more = |text: &&String| match left.get_mut(text.as_str()) {
        Some(count) if *count > 0 => {
            *count -= 1;
            false
        }
        _ => true,
    };
    one.iter().filter(is_more).cloned().collect()
}

/// The rows that are expected are there, and no others; their numbers are not smaller.
#[track_caller]
fn assert_at_least(found: &[Map<String, Json>], expected: &[Json], table: &str) {
    let identity = |row: &Map<String, Json>| {
        let columns = row.iter();
        let columns = columns.filter(|(name, value)| *name == "id" || value.is_string());
        let columns = columns.filter(|(name, _)| expected[0].get(name).is_some());
        columns
            .map(|(_, value)| value.to_string())
            .collect::<Vec<_>>()
    };
    let rows: BTreeMap<_, _> = found.iter().map(|row| (identity(row), row)).collect();
    assert_eq!(rows.len(), expected.len(), "rows of {table}");
    for row in expected {
        let row = row.as_object().expect("a row");
        let found = rows.get(&identity(row));
        let found = found.unwrap_or_else(|| panic!("{table}: missing {row:?}"));
        for (name, number) in row.iter().filter(|(_, value)| value.is_i64()) {
            let (found, number) = (found[name].as_i64(), number.as_i64());
            assert!(found >= number, "{table}: {name} of {row:?} is {found:?}");
        }
    }
}

/// Of two sorted lists only what is in one of them is worth looking at.
#[track_caller]
fn assert_equal(found: &[String], expected: &[String], what: &str) {
    if found != expected {
        let (missing, too_much) = (only(expected, found), only(found, expected));
        panic!("{what}: missing {missing:#?}, too much {too_much:#?}");
    }
}

/// The columns of a row that are expected of rows of its table.
fn shown(row: &Map<String, Json>, expected: &[Json]) -> String {
    let first = expected.first().and_then(Json::as_object);
    let columns = first.into_iter().flat_map(Map::keys);
    let columns = columns.map(|name| (name.clone(), row[name].clone()));
    Json::Object(columns.collect()).to_string()
}

fn write(producer: &mut dyn Producer, given: &Given) {
    let value = given.value.as_ref().map(Json::to_string);
    producer
        .send(Outgoing {
            topic: given.topic,
            partition: given.partition,
            timestamp: given.time,
            key: Some(given.key.as_bytes()),
            value: value.as_deref().map(str::as_bytes),
            headers: &[],
        })
        .expect("the log takes what is written to it");
}
