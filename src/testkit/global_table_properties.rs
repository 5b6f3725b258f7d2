//! A join with a global table against its definition: each record has the row that was there when it was
//! processed for good, over many partitions, commits, crashes and lost disks.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::fate::{Fate, config, fate};
use super::{DriverOptions, TopologyTestDriver};
use crate::broker::TopicPartition;
use crate::topology::builder::{GlobalTable, Join, JoinKind, KafkaSink, Source};
use crate::topology::graph::Topology;

const PARTITIONS: i32 = 3;

/// What happens, one after the other.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// The row of a key, or that it is deleted.
    Row {
        key: u8,
        row: Option<u16>,
    },
    Record {
        partition: i32,
        /// The row that it names; none: it names none.
        code: Option<u8>,
    },
    Fate(Fate),
    /// The process dies, and the topic of the table forgets what no row was made of.
    Truncate,
}

fn step() -> impl Strategy<Value = Step> {
    let row = (0..6u8, prop::option::weighted(0.75, any::<u16>()));
    let record = (0..PARTITIONS, prop::option::weighted(0.9, 0..8u8));
    prop_oneof![
        10 => row.prop_map(|(key, row)| Step::Row { key, row }),
        12 => record.prop_map(|(partition, code)| Step::Record { partition, code }),
        6 => fate().prop_map(Step::Fate),
        1 => Just(Step::Truncate),
    ]
}

fn topology(kind: JoinKind) -> Topology {
    let join = Join::with("rows", "row").on("code").kind(kind);
    let sink = KafkaSink::topic("out")
        .field("id", "id")
        .field("row", "row.n");
    Topology::builder("app")
        .source("records", Source::json("records"))
        .global_table("rows", GlobalTable::json("rows"))
        .join("both", "records", join)
        .kafka("out", "both", sink)
        .build()
        .unwrap()
}

/// The row of each result, by the number of its record.
type Results = BTreeMap<usize, Option<u16>>;

/// The definition.
struct Oracle {
    kind: JoinKind,
    rows: BTreeMap<u8, u16>,
    /// Results that are not committed.
    open: Vec<(usize, Option<u8>)>,
    found: BTreeMap<usize, Option<u16>>,
    results: Results,
}

impl Oracle {
    fn record(&mut self, id: usize, code: Option<u8>) {
        self.open.push((id, code));
        self.found.insert(id, self.row_of(code));
    }

    fn row_of(&self, code: Option<u8>) -> Option<u16> {
        self.rows.get(&code?).copied()
    }

    /// What is not committed is processed again, with the rows of now.
    fn crash(&mut self) {
        for (id, code) in &self.open {
            self.found.insert(*id, self.row_of(*code));
        }
    }

    fn commit(&mut self) {
        for (id, _) in self.open.drain(..) {
            let row = self.found[&id];
            if row.is_some() || self.kind == JoinKind::Left {
                self.results.insert(id, row);
            }
        }
    }
}

fn played(steps: &[Step], kind: JoinKind) -> (Results, Results) {
    let options = DriverOptions {
        partitions: PARTITIONS as u32,
        commit_each: false,
        ..DriverOptions::default()
    };
    let mut driver = TopologyTestDriver::with_options(&topology(kind), options).unwrap();
    let mut oracle = Oracle {
        kind,
        rows: BTreeMap::new(),
        open: Vec::new(),
        found: BTreeMap::new(),
        results: Results::new(),
    };
    for (id, step) in steps.iter().enumerate() {
        match *step {
            Step::Row { key, row: Some(n) } => {
                driver.pipe("rows", Some(&key.to_string()), &format!(r#"{{"n":{n}}}"#));
                oracle.rows.insert(key, n);
            }
            Step::Row { key, row: None } => {
                driver.pipe_tombstone("rows", &key.to_string());
                oracle.rows.remove(&key);
            }
            Step::Record { partition, code } => {
                let code_json = code.map_or("null".to_owned(), |code| format!("\"{code}\""));
                let value = format!(r#"{{"id":{id},"code":{code_json}}}"#);
                driver.pipe_to("records", partition, &value);
                oracle.record(id, code);
            }
            Step::Fate(fate) => {
                driver.meet(fate);
                match fate {
                    Fate::Commit => oracle.commit(),
                    Fate::Crash | Fate::LoseState => oracle.crash(),
                }
            }
            Step::Truncate => {
                driver.crash();
                truncate(&driver);
                driver.restart().unwrap();
                oracle.crash();
            }
        }
    }
    driver.commit().unwrap();
    oracle.commit();
    let mut results = Results::new();
    for record in driver.read_json("out") {
        let id = record["id"].as_u64().unwrap() as usize;
        let row = record["row"].as_u64().map(|n| n as u16);
        assert_eq!(results.insert(id, row), None, "{id} has two results");
    }
    let kept = driver.rows("rows").into_iter();
    let kept: BTreeMap<u8, u16> = kept
        .map(|row| {
            let n = row.fields["n"].as_u64().unwrap();
            (row.key.parse().unwrap(), n as u16)
        })
        .collect();
    assert_eq!(kept, oracle.rows);
    (results, oracle.results)
}

/// Deletes, of each partition, the records in front of the first one that still matters.
fn truncate(driver: &TopologyTestDriver) {
    for number in 0..PARTITIONS {
        let isolation = crate::broker::Isolation::ReadCommitted;
        let records = driver.broker().records("rows", number, isolation);
        let mut seen = BTreeSet::new();
        let mut first = records.last().map_or(0, |record| record.offset + 1);
        for record in records.iter().rev() {
            let is_last = seen.insert(record.key.clone());
            if is_last && record.value.is_some() {
                first = record.offset;
            }
        }
        let partition = TopicPartition::new("rows", number);
        driver.broker().delete_records(&partition, first);
    }
}

proptest! {
    #![proptest_config(config(60))]

    #[test]
    fn each_record_has_one_result_with_the_row_of_its_moment(
        steps in prop::collection::vec(step(), 1..80),
        kind in prop::sample::select(vec![JoinKind::Inner, JoinKind::Left]),
    ) {
        let (found, expected) = played(&steps, kind);
        prop_assert_eq!(found, expected);
    }
}
