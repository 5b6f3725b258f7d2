//! What the group of a SQL sink reads, without a database: the real reader and operators, and rows as
//! text instead of a table.

use std::sync::Arc;

use super::TopologyTestDriver;
use crate::broker::{Broker as _, Isolation};
use crate::format::Registries;
use crate::headers::PackedHeaders;
use crate::processor::{
    DeadLetter, GlobalTables, InRecord, OutputError, Outputs, Processor, Produced, Progress, Share,
    TableRow,
};
use crate::state::StateBackend as _;
use crate::state::memory::MemoryBackend;
use crate::time::Timestamp;
use crate::value::Value;

/// Rows as `a, 1` and, of deletions, `deleted: a, null`.
struct Rows(Vec<String>);

/// The rows that a SQL sink gets from what the driver has written, in the order of their topics and
/// partitions.
pub(super) fn sink_rows(driver: &TopologyTestDriver, sink: &str) -> Vec<String> {
    let mut plans = driver.plan.sinks.iter();
    let plan = plans.find(|plan| plan.name.as_str() == sink);
    let plan = plan.expect("a sink of that name");
    let share = Share {
        partition: 0,
        partitions: 1,
    };
    let registries: Arc<dyn Registries> = Arc::new(driver.registry().clone());
    let (progress, no_tables) = (Progress::default(), GlobalTables::new());
    let mut processor = Processor::new(plan.clone(), share, 0, &progress, &registries, &no_tables);
    let state = MemoryBackend::default().open("sink", &[]).unwrap();
    let mut rows = Rows(Vec::new());
    for topic in plan.topics() {
        let input = plan.input_of(topic).unwrap();
        let partitions = driver.broker().partition_counts(&[topic]).unwrap()[topic];
        for partition in 0..partitions as i32 {
            let isolation = Isolation::ReadCommitted;
            let records = driver.broker().records(topic, partition, isolation);
            let records = records.iter().map(|record| InRecord {
                topic,
                partition,
                offset: record.offset,
                timestamp: record.timestamp,
                key: record.key.as_deref(),
                value: record.value.as_deref(),
                headers: PackedHeaders::NONE,
            });
            let now = Timestamp(i64::MAX);
            let done = processor.process(input, records, now, &*state, &mut rows);
            assert!(done.unwrap().is_none(), "the registry is there");
        }
    }
    rows.0
}

impl Outputs for Rows {
    fn row(&mut self, row: TableRow<'_, '_>) -> Result<(), OutputError> {
        let cells: Vec<String> = row.cells.iter().map(shown).collect();
        let deleted = if row.deleted { "deleted: " } else { "" };
        self.0.push(format!("{deleted}{}", cells.join(", ")));
        Ok(())
    }

    fn dead_letter(&mut self, letter: &DeadLetter<'_>) -> Result<(), OutputError> {
        panic!("{letter:?}");
    }

    fn produce(&mut self, record: Produced<'_>) -> Result<(), OutputError> {
        unreachable!("a SQL sink writes no {record:?}")
    }

    fn partitions(&self, _: &str) -> u32 {
        1
    }
}

fn shown(value: &Value<'_>) -> String {
    match value {
        Value::Missing | Value::Null => "null".to_owned(),
        Value::Str(text) => (*text).to_owned(),
        Value::Int(number) => number.to_string(),
        Value::Time(time) => format!("{}s", time.0 / 1_000),
        other => format!("{other:?}"),
    }
}
