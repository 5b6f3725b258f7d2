//! Plays a test with the driver, in one of the ways, and collects what came of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value as Json};

use super::ways::{Run, Way};
use crate::broker::BrokerError;
use crate::broker::memory::Operation;
use crate::config::cases::{GivenRecord, Step, TestCase};
use crate::testkit::database::{DatabaseTemplate, TestDatabase};
use crate::testkit::driver::{DriverError, DriverOptions, TopologyTestDriver};
use crate::testkit::record::TestRecord;
use crate::testkit::stores::TableRow;
use crate::topology::drop_reason::DropReason;
use crate::topology::graph::Topology;
use crate::topology::plan::Purpose;

/// Behind a repartition windows wait for partitions in which nothing comes, until these have twice said
/// so: each time after five seconds of silence.
const SILENCE_MS: i64 = 5_001;
const SILENCES: usize = 3;

/// What came of a test: of each thing that it expects.
#[derive(Debug, Default)]
pub(super) struct Played {
    pub topics: BTreeMap<String, Vec<TestRecord>>,
    pub tables: BTreeMap<String, Vec<Map<String, Json>>>,
    pub aggregates: BTreeMap<String, Vec<Map<String, Json>>>,
    pub rows: BTreeMap<String, Vec<TableRow>>,
    pub drops: BTreeMap<(String, DropReason), u64>,
    pub dead_letters: Vec<TestRecord>,
}

pub(super) fn play(
    topology: &Topology,
    database: Option<&Arc<DatabaseTemplate>>,
    case: &TestCase,
    run: Run,
) -> Result<Played, DriverError> {
    let mut options = DriverOptions {
        partitions: run.partitions,
        commit_each: run.way != Way::KilledAroundCommits,
        ..DriverOptions::default()
    };
    if let Some(start) = case.start {
        options.start = start;
    }
    let mut driver = TopologyTestDriver::with_options(topology, options)?;
    if let Some(template) = database {
        driver.database = Some(TestDatabase::new(Arc::clone(template))?);
    }
    for (number, step) in case.given.iter().enumerate() {
        match step {
            Step::Record(record) => pipe(&mut driver, record, run.way, number)?,
            Step::Advance(ms) => {
                driver.advance_wall_clock(*ms)?;
                commit_all(&mut driver)?;
            }
        }
    }
    wait_for_silence(&mut driver)?;
    collect(&mut driver, case)
}

fn pipe(
    driver: &mut TopologyTestDriver,
    given: &GivenRecord,
    way: Way,
    number: usize,
) -> Result<(), DriverError> {
    let record = TestRecord {
        key: given.key.clone().map(String::into_bytes),
        value: given.value.clone().map(String::into_bytes),
        timestamp: given.time,
        partition: given.partition,
        headers: Vec::new(),
    };
    if way == Way::FailingCommits {
        fail_next_commit(driver, number);
    }
    driver.pipe_record(&given.topic, &record)?;
    match way {
        Way::Straight | Way::FailingCommits => Ok(()),
        Way::Killed => {
            driver.write_tables()?;
            driver.restart()
        }
        Way::NewDisk => {
            driver.lose_state();
            driver.restart()
        }
        Way::KilledAroundCommits => loop {
            driver.restart()?;
            let before = driver.total_records();
            driver.commit()?;
            if driver.total_records() == before {
                return driver.restart();
            }
        },
    }
}

fn fail_next_commit(driver: &TopologyTestDriver, number: usize) {
    let (action, reason) = ("commit".to_owned(), "the test wants it".to_owned());
    let broker = driver.broker();
    match number % 2 {
        0 => broker.fail_next(Operation::Commit, BrokerError::Abort { action, reason }),
        _ => broker.lose_answer(Operation::Commit, BrokerError::Fenced { action, reason }),
    }
}

/// Commits until nothing moves any more.
fn commit_all(driver: &mut TopologyTestDriver) -> Result<(), DriverError> {
    let commit_each = std::mem::replace(&mut driver.options.commit_each, true);
    let done = driver.run();
    driver.options.commit_each = commit_each;
    done
}

/// Time goes by at the end where windows wait for it: with one partition none does.
fn wait_for_silence(driver: &mut TopologyTestDriver) -> Result<(), DriverError> {
    let mut topics = driver.plan.internal_topics.iter();
    let is_repartitioned = topics.any(|topic| topic.purpose == Purpose::Repartition);
    if is_repartitioned && driver.options.partitions > 1 {
        for _ in 0..SILENCES {
            driver.advance_wall_clock(SILENCE_MS)?;
            commit_all(driver)?;
        }
    }
    Ok(())
}

fn collect(driver: &mut TopologyTestDriver, case: &TestCase) -> Result<Played, DriverError> {
    let expect = &case.expect;
    let mut played = Played::default();
    for (topic, _) in &expect.topics {
        let records = driver.read(topic).into_iter();
        let records = records.map(TestRecord::from).collect();
        played.topics.insert(topic.clone(), records);
    }
    driver.write_tables()?;
    for (table, _) in &expect.tables {
        played.tables.insert(table.clone(), driver.sql_rows(table)?);
    }
    for (node, _) in &expect.aggregates {
        played.aggregates.insert(node.clone(), driver.results(node));
    }
    for (node, _) in &expect.rows {
        played.rows.insert(node.clone(), driver.rows(node));
    }
    played.drops = driver.dropped();
    let letters = driver.dead_letters().into_iter();
    played.dead_letters = letters.map(TestRecord::from).collect();
    Ok(played)
}
