//! What the stores of a driver hold.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use bumpalo::Bump;

use super::driver::TopologyTestDriver;
use crate::processor::{stored_key, stored_results};
use crate::record::{JoinedEvent, StoredRow};
use crate::state::{StateBackend as _, keys};
use crate::time::Timestamp;
use crate::topology::graph::NodeKind;
use crate::topology::plan::{AggregatePlan, ResultRead, SubTopology, Work};
use crate::value::Value;

/// An entry of a store.
#[derive(Clone, Debug, PartialEq)]
pub struct StoreEntry {
    /// The fields of the key, as JSON values.
    pub key: Vec<serde_json::Value>,
    /// The start of the window; without windows 1970.
    pub window_start: Timestamp,
    /// The end of the window, as its field `window_end` has it; without windows the end of time.
    pub window_end: Timestamp,
    /// The results, by name.
    pub results: BTreeMap<String, serde_json::Value>,
    /// The largest event time in it.
    pub timestamp: Timestamp,
}

/// A row of a table.
#[derive(Clone, Debug, PartialEq)]
pub struct TableRow {
    /// The key of the record.
    pub key: String,
    /// The fields of the event, and those that were computed.
    pub fields: serde_json::Value,
    /// The event time of the record.
    pub timestamp: Timestamp,
}

impl TopologyTestDriver {
    /// What the store of an aggregate holds, over all partitions, by window and key.
    ///
    /// # Panics
    /// When there is no such aggregate, or its store is damaged.
    pub fn store(&self, aggregate: &str) -> Vec<StoreEntry> {
        let (sub, plan) = self.find(aggregate, |work| match work {
            Work::Aggregate(plan) => Some(plan),
            _ => None,
        });
        let names = self.result_names(aggregate);
        let mut entries = Vec::new();
        for stored in self.scan(sub, plan.store) {
            entries.extend(results(plan, &names, stored));
        }
        entries
    }

    /// What a table holds, over all partitions, by key.
    ///
    /// # Panics
    /// When there is no such table, or its store is damaged.
    pub fn rows(&self, table: &str) -> Vec<TableRow> {
        let (sub, plan) = self.find(table, |work| match work {
            Work::Table(plan) => Some(plan),
            _ => None,
        });
        let stored = self.scan(sub, plan.store).into_iter().flatten();
        let rows = stored.filter_map(|(key, bytes)| {
            let key = String::from_utf8_lossy(stored_key(&key)?).into_owned();
            let arena = Bump::new();
            let row = StoredRow::decode(&bytes, &arena).expect("a good row");
            Some(TableRow {
                key,
                fields: fields(&row),
                timestamp: row.time(),
            })
        });
        rows.collect()
    }

    fn find<'p, P>(
        &'p self,
        node: &str,
        plan_of: impl Fn(&'p Work) -> Option<&'p P>,
    ) -> (&'p SubTopology, &'p P) {
        let operators = self.plan.processing.iter().flat_map(|sub| {
            let operators = sub.operators.iter();
            operators.map(move |operator| (sub, operator))
        });
        let mut found = operators
            .filter(|(_, operator)| operator.node.as_str() == node)
            .filter_map(|(sub, operator)| Some((&**sub, plan_of(&operator.work)?)));
        found.next().expect("a node of that name and kind")
    }

    /// The entries of a store, by partition.
    fn scan(&self, sub: &SubTopology, store: usize) -> Vec<Vec<(Vec<u8>, Vec<u8>)>> {
        let stores: Vec<String> = sub.stores.iter().map(|store| store.name.clone()).collect();
        let scan = |partition: u32| {
            let state = self
                .backend
                .open(&sub.state_name(partition as i32), &stores);
            let mut stored = Vec::new();
            let mut visit = |key: &[u8], value: &[u8]| {
                stored.push((key.to_vec(), value.to_vec()));
                ControlFlow::Continue(())
            };
            let scanned = state.and_then(|state| state.scan(store, &[0], &[0xFF; 9], &mut visit));
            scanned.expect("memory is always there");
            stored
        };
        (0..self.options.partitions).map(scan).collect()
    }

    fn result_names(&self, aggregate: &str) -> Vec<String> {
        self.topology
            .nodes
            .iter()
            .filter(|node| node.name.as_str() == aggregate)
            .filter_map(|node| match &node.kind {
                NodeKind::Aggregate(aggregate) => Some(aggregate),
                _ => None,
            })
            .flat_map(|aggregate| aggregate.set.iter().map(|(path, _)| path.to_string()))
            .collect()
    }
}

fn results(
    plan: &AggregatePlan,
    names: &[String],
    stored: Vec<(Vec<u8>, Vec<u8>)>,
) -> Vec<StoreEntry> {
    let results = stored_results(&plan.shape, stored.into_iter()).expect("good entries");
    let entries = results.into_iter().map(|result| {
        let arena = Bump::new();
        let fields = keys::read_fields(&result.group, &arena).expect("a good key");
        let accumulators = &result.folded.accumulators;
        let read = |read: &ResultRead| {
            to_json(&accumulators[read.accumulator].read(&read.function, &arena))
        };
        let reads = names.iter().zip(&plan.slots.results);
        StoreEntry {
            key: fields.iter().map(to_json).collect(),
            window_start: result.start,
            window_end: result.end,
            results: reads
                .map(|(name, (how, _))| (name.clone(), read(how)))
                .collect(),
            timestamp: Timestamp(result.folded.max_time_ms),
        }
    });
    entries.collect()
}

/// The event of a row as JSON, with its computed fields in their places.
fn fields(row: &StoredRow<'_>) -> serde_json::Value {
    let event = row.raw().map(serde_json::from_slice);
    let event: Option<serde_json::Value> = event.map(|event| event.expect("JSON"));
    let mut fields = event.unwrap_or_else(|| serde_json::json!({}));
    for JoinedEvent { prefix, raw } in row.joined() {
        let place = place(&mut fields, prefix.trim_end_matches('.'));
        *place = serde_json::from_slice(raw).expect("JSON");
    }
    for (path, value) in row.fields() {
        *place(&mut fields, path) = to_json(&value);
    }
    fields
}

fn place<'j>(fields: &'j mut serde_json::Value, path: &str) -> &'j mut serde_json::Value {
    path.split('.').fold(fields, |outer, name| &mut outer[name])
}

fn to_json(value: &Value<'_>) -> serde_json::Value {
    match value {
        Value::Missing | Value::Null => serde_json::Value::Null,
        Value::Bool(value) => (*value).into(),
        Value::Int(value) | Value::Duration(value) => (*value).into(),
        Value::Float(value) => (*value).into(),
        Value::Str(text) => (*text).into(),
        Value::Bytes(bytes) => String::from_utf8_lossy(bytes).into(),
        Value::Time(time) => time.to_string().into(),
        Value::List(list) => list.iter().map(to_json).collect(),
        Value::Map(entries) => entries
            .iter()
            .map(|(name, value)| ((*name).to_owned(), to_json(value)))
            .collect(),
    }
}
