//! Plays a test with the driver, in one of the ways, and collects what came of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value as Json};

use super::ways::{Run, Way};
use crate::broker::BrokerError;
use crate::broker::memory::Operation;
use crate::config::cases::{GivenRecord, GivenValue, Step, TestCase};
use crate::testkit::database::{DatabaseTemplate, TestDatabase};
use crate::testkit::driver::{DriverError, DriverOptions, TopologyTestDriver};
use crate::testkit::record::TestRecord;
use crate::testkit::stores::TableRow;
use crate::topology::drop_reason::DropReason;
use crate::topology::graph::{NodeKind, Topology};
use crate::topology::plan::Purpose;

/// Behind a repartition windows wait for partitions in which nothing comes, until these have twice said
/// so: each time after five seconds of silence. A repartition behind another one is silent when that one
/// has been.
const SILENCE_MS: i64 = 5_001;
const SILENCES_EACH: usize = 3;

/// What came of a test.
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
        // Of rows with the same key the one of the last step stands.
        driver.write_tables()?;
    }
    wait_for_silence(&mut driver)?;
    collect(&mut driver, topology, case)
}

fn pipe(
    driver: &mut TopologyTestDriver,
    given: &GivenRecord,
    way: Way,
    number: usize,
) -> Result<(), DriverError> {
    let value = match &given.value {
        None => None,
        Some(GivenValue::Raw(text)) => Some(text.clone().into_bytes()),
        Some(GivenValue::Event(event)) => Some(driver.encode(&given.topic, event)?),
    };
    let headers = given.headers.iter();
    let headers = headers.map(|(name, value)| (name.clone(), value.clone().into_bytes()));
    let record = TestRecord {
        key: given.key.clone().map(String::into_bytes),
        value,
        timestamp: given.time,
        partition: given.partition,
        headers: headers.collect(),
    };
    if way == Way::FailingCommits {
        fail_next_commit(driver, number);
    }
    driver.pipe_record(&given.topic, &record)?;
    match way {
        Way::Straight | Way::FailingCommits => Ok(()),
        Way::Killed => driver.restart(),
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
    let topics = driver.plan.internal_topics.iter();
    let repartitions = topics.filter(|topic| topic.purpose == Purpose::Repartition);
    let silences = SILENCES_EACH * repartitions.count();
    if driver.options.partitions > 1 {
        for _ in 0..silences {
            driver.advance_wall_clock(SILENCE_MS)?;
            commit_all(driver)?;
        }
    }
    Ok(())
}

fn collect(
    driver: &mut TopologyTestDriver,
    topology: &Topology,
    case: &TestCase,
) -> Result<Played, DriverError> {
    let expect = &case.expect;
    let mut played = Played::default();
    driver.write_tables()?;
    let letters = driver.dead_letters().into_iter();
    played.dead_letters = letters.map(TestRecord::from).collect();
    let dead_letters = driver.plan.dead_letter_topic();
    if expect
        .topics
        .iter()
        .any(|(topic, _)| *topic == dead_letters)
    {
        let letters = played.dead_letters.clone();
        played.topics.insert(dead_letters, letters);
    }
    for node in &topology.nodes {
        let name = node.name.as_str();
        match &node.kind {
            // Nobody looks into it, so nobody keeps it.
            NodeKind::GlobalTable(_) if !driver.state_stores().contains(&name) => {
                played.rows.insert(name.to_owned(), Vec::new());
            }
            NodeKind::Kafka(sink) => {
                let records = read(driver, &sink.topic);
                let known = played.topics.entry(sink.topic.clone()).or_default();
                known.extend(records);
            }
            NodeKind::Sql(sink) => {
                let rows = driver.sql_rows(&sink.table)?;
                played.tables.insert(sink.table.clone(), rows);
            }
            NodeKind::Aggregate(_) => {
                let results = driver.results(name);
                played.aggregates.insert(name.to_owned(), results);
            }
            NodeKind::Table(table) if table.stored => {
                played.rows.insert(name.to_owned(), driver.rows(name));
            }
            NodeKind::GlobalTable(_) => {
                played.rows.insert(name.to_owned(), driver.rows(name));
            }
            _ => {}
        }
    }
    played.drops = driver.dropped();
    Ok(played)
}

/// The records of a topic that have not been read yet, in JSON where they are of its format.
fn read(driver: &mut TopologyTestDriver, topic: &str) -> Vec<TestRecord> {
    let records = driver.read(topic).into_iter();
    let mut records: Vec<TestRecord> = records.map(TestRecord::from).collect();
    for record in &mut records {
        // What is not of the format is shown as it is.
        if let Some(value) = &mut record.value
            && let Ok(json) = driver.decode(topic, value)
        {
            *value = json.to_string().into_bytes();
        }
    }
    records
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
            value: Some(GivenValue::Event(serde_json::json!({}))),
            headers: Vec::new(),
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
