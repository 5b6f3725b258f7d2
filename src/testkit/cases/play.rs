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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::cases::{Compare, Expectation};

    const COPY: &str = "
app: shop
guarantee: GUARANTEE
nodes:
  orders: { source: { topic: orders } }
  out:    { kafka: { from: orders, topic: copies } }
";

    fn topology(guarantee: &str) -> Topology {
        let file = COPY.replace("GUARANTEE", guarantee);
        crate::config::parse(&file, "shop.yaml").unwrap()
    }

    #[test]
    fn a_commit_that_fails_or_whose_answer_is_lost_is_done_once() {
        let topology = topology("exactly_once");
        let mut driver = TopologyTestDriver::new(&topology).unwrap();
        for number in 0..4 {
            fail_next_commit(&driver, number);
            driver.pipe("orders", None, "{}");
            assert_eq!(driver.broker().pending_faults(), 0, "{number}");
            assert_eq!(driver.read("copies").len(), 1, "{number}");
        }
    }

    /// How many records come of one, when it is played so.
    #[track_caller]
    fn check(guarantee: &str, way: Way, copies: usize) {
        let record = GivenRecord {
            topic: "orders".to_owned(),
            key: None,
            value: Some("{}".to_owned()),
            time: None,
            partition: None,
        };
        let topics = vec![("copies".to_owned(), Vec::new())];
        let case = TestCase {
            name: "copy".to_owned(),
            line: 1,
            start: None,
            partitions: Vec::new(),
            compare: Compare::Named,
            given: vec![Step::Record(record)],
            expect: Expectation {
                topics,
                ..Expectation::default()
            },
        };
        let run = Run { partitions: 1, way };
        let played = play(&topology(guarantee), None, &case, run).unwrap();
        assert_eq!(played.topics["copies"].len(), copies, "{guarantee} {way:?}");
    }

    // What is sent without a transaction is sent again by those who come after: so a process did die.
    #[test]
    fn a_process_dies_with_work_that_is_not_committed() {
        check("exactly_once", Way::KilledAroundCommits, 1);
        check("at_least_once", Way::KilledAroundCommits, 2);
        for way in [Way::Straight, Way::Killed, Way::NewDisk] {
            check("at_least_once", way, 1);
        }
    }
}
