//! What the stores of a driver hold.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use bumpalo::Bump;
use serde_json::Map;

use super::driver::TopologyTestDriver;
use crate::format::json::{of_entries, of_value as to_json};
use crate::processor::{MARKER_KEY, stored_key, stored_results};
use crate::record::{Event, JoinedEvent, StoredRow, WHOLE_VALUE};
use crate::runtime::{progress_of, slot_on_disk, store_names};
use crate::state::{StateBackend as _, TaskState, keys};
use crate::time::Timestamp;
use crate::topology::graph::{Aggregate, NodeKind, WINDOW_END, WINDOW_START};
use crate::topology::plan::{AggregatePlan, GlobalTablePlan, ResultRead, SubTopology, Work};
use crate::value::Value;
use crate::window::Windows;

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

/// A row of a table, or of a global table.
#[derive(Clone, Debug, PartialEq)]
pub struct TableRow {
    /// The key of the record.
    pub key: String,
    /// The fields of the event, and those that were computed.
    pub fields: serde_json::Value,
    /// The event time of the record.
    pub timestamp: Timestamp,
}

/// What a store held when it was asked for, by key: the rows of a table, or the results of an aggregate
/// without windows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct KeyValueStore(BTreeMap<String, serde_json::Value>);

/// What the store of an aggregate with windows held when it was asked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WindowStore(Vec<StoreEntry>);

impl StoreEntry {
    /// The key as a Kafka sink behind the aggregate writes it: the text of its one field, or a JSON array
    /// of several.
    pub fn key_text(&self) -> String {
        match self.key.as_slice() {
            [serde_json::Value::String(text)] => text.clone(),
            [only] => only.to_string(),
            several => serde_json::Value::from(several).to_string(),
        }
    }
}

impl KeyValueStore {
    /// The value of a key; of an aggregate, see [`StoreEntry::key_text`].
    pub fn get(&self, key: &str) -> Option<&serde_json::Value> {
        self.0.get(key)
    }

    /// All keys and values, by key.
    pub fn all(&self) -> impl Iterator<Item = (&str, &serde_json::Value)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// How many keys it has.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl WindowStore {
    /// The entry of a key whose window starts at that time. The key has a value for each field of the
    /// aggregate's `by`.
    pub fn fetch(&self, key: &[serde_json::Value], start: Timestamp) -> Option<&StoreEntry> {
        let is_it = |entry: &&StoreEntry| entry.key == key && entry.window_start == start;
        self.0.iter().find(is_it)
    }

    /// The entries of a key, by window.
    pub fn fetch_key<'s>(
        &'s self,
        key: &'s [serde_json::Value],
    ) -> impl Iterator<Item = &'s StoreEntry> {
        self.0.iter().filter(move |entry| entry.key == key)
    }

    /// All entries, by window and key.
    pub fn all(&self) -> &[StoreEntry] {
        &self.0
    }
}

impl TopologyTestDriver {
    /// The stores: of aggregates, tables, global ones too, and other nodes the name of the node, of
    /// processors their own.
    pub fn state_stores(&self) -> Vec<&str> {
        let stores = self.plan.processing.iter().flat_map(|sub| &sub.stores);
        let kept = stores.filter(|store| !store.content.is_empty());
        let global = self.plan.global_tables.iter();
        let global = global.map(|table| table.node.as_str());
        let kept = kept.map(|store| store.name.as_str());
        let mut names: Vec<&str> = kept.chain(global).collect();
        names.sort_unstable();
        names
    }

    /// What a table, a global table, or an aggregate without windows, holds.
    ///
    /// # Panics
    /// When there is no such node, or it has windows.
    pub fn key_value_store(&self, node: &str) -> KeyValueStore {
        let is_aggregate = self.topology.nodes.iter().any(|known| {
            known.name.as_str() == node && matches!(known.kind, NodeKind::Aggregate(_))
        });
        if !is_aggregate {
            let rows = self.rows(node).into_iter();
            return KeyValueStore(rows.map(|row| (row.key, row.fields)).collect());
        }
        let (_, plan) = self.aggregate(node);
        assert!(
            matches!(plan.shape.windows, Windows::Unbounded),
            "{node} has windows: ask for its window_store"
        );
        let entries = self.store(node).into_iter();
        let pair = |entry: StoreEntry| (entry.key_text(), entry.results.into_iter().collect());
        KeyValueStore(entries.map(pair).collect())
    }

    /// What an aggregate holds.
    ///
    /// # Panics
    /// When there is no such aggregate.
    pub fn window_store(&self, aggregate: &str) -> WindowStore {
        WindowStore(self.store(aggregate))
    }

    fn aggregate(&self, node: &str) -> (&SubTopology, &AggregatePlan) {
        self.find(node, |work| match work {
            Work::Aggregate(plan) => Some(plan),
            _ => None,
        })
    }

    /// What the store of an aggregate holds, over all partitions, by window and key.
    ///
    /// # Panics
    /// When there is no such aggregate, or its store is damaged.
    pub fn store(&self, aggregate: &str) -> Vec<StoreEntry> {
        let (sub, plan) = self.aggregate(aggregate);
        let names = self.result_names(aggregate);
        let mut entries = Vec::new();
        for stored in self.scan(sub, plan.store) {
            entries.extend(results(aggregate, plan, &names, stored));
        }
        entries
    }

    /// What a table or a global table holds, over all partitions, by key.
    ///
    /// # Panics
    /// When there is no such table, or its store is damaged.
    pub fn rows(&self, table: &str) -> Vec<TableRow> {
        let mut global = self.plan.global_tables.iter();
        let stored = match global.find(|plan| plan.node.as_str() == table) {
            Some(plan) => self.scan_global(plan),
            None => {
                let (sub, plan) = self.find(table, |work| match work {
                    Work::Table(plan) => Some(plan),
                    _ => None,
                });
                self.scan(sub, plan.store).concat()
            }
        };
        let rows = stored.into_iter().filter_map(|(key, bytes)| {
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

    /// What a store of processors holds, over all partitions, by key.
    ///
    /// # Panics
    /// When no processor has a store of that name.
    pub fn processor_store(&self, name: &str) -> BTreeMap<Vec<u8>, Vec<u8>> {
        let of_processors = |work: &Work| match work {
            Work::Process(plan) => {
                let mut stores = plan.stores.iter();
                stores.find(|(known, _)| known == name).map(|(_, at)| *at)
            }
            _ => None,
        };
        let mut found = self.plan.processing.iter().filter_map(|sub| {
            let mut operators = sub.operators.iter();
            let at = operators.find_map(|operator| of_processors(&operator.work))?;
            Some((&**sub, at))
        });
        let (sub, at) = found.next().expect("a store of that name");
        let stored = self.scan(sub, at).into_iter().flatten();
        stored
            .filter_map(|(key, value)| Some((stored_key(&key)?.to_vec(), value)))
            .collect()
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
            entries(&*state.expect("memory is always there"), store)
        };
        (0..self.options.partitions).map(scan).collect()
    }

    /// The rows of a global table.
    fn scan_global(&self, plan: &GlobalTablePlan) -> Vec<(Vec<u8>, Vec<u8>)> {
        let state = self.backend.open(&plan.state_name(), &store_names());
        let state = state.expect("memory is always there");
        let slot = slot_on_disk(&*state).expect("memory is always there");
        slot.map_or_else(Vec::new, |slot| entries(&*state, slot))
    }

    /// What the store of an aggregate holds, as the rows that leave it.
    pub(super) fn results(&self, aggregate: &str) -> Vec<Map<String, serde_json::Value>> {
        let node = self.aggregate_node(aggregate);
        let key: Vec<String> = node.key_fields().map(|path| path.to_string()).collect();
        let row = |entry: StoreEntry| {
            let mut row: Map<_, _> = key.iter().cloned().zip(entry.key).collect();
            if node.window.is_some() {
                let (start, end) = (entry.window_start, entry.window_end);
                row.insert(WINDOW_START.to_owned(), start.to_string().into());
                row.insert(WINDOW_END.to_owned(), end.to_string().into());
            }
            row.extend(entry.results);
            row
        };
        self.store(aggregate).into_iter().map(row).collect()
    }

    fn aggregate_node(&self, name: &str) -> &Aggregate {
        let mut nodes = self.topology.nodes.iter();
        let found = nodes.find_map(|node| match &node.kind {
            NodeKind::Aggregate(aggregate) if node.name.as_str() == name => Some(aggregate),
            _ => None,
        });
        found.expect("a node of that name and kind")
    }

    fn result_names(&self, aggregate: &str) -> Vec<String> {
        let set = &self.aggregate_node(aggregate).set;
        set.iter().map(|(path, _)| path.to_string()).collect()
    }
}

/// All entries of a store, by key.
fn entries(state: &dyn TaskState, store: usize) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut entries = Vec::new();
    let mut visit = |key: &[u8], value: &[u8]| {
        entries.push((key.to_vec(), value.to_vec()));
        ControlFlow::Continue(())
    };
    let scanned = state.scan(store, &[0], &[0xFF; 9], &mut visit);
    scanned.expect("memory is always there");
    entries
}

fn results(
    node: &str,
    plan: &AggregatePlan,
    names: &[String],
    stored: Vec<(Vec<u8>, Vec<u8>)>,
) -> Vec<StoreEntry> {
    let marker = stored.iter().find(|(key, _)| key == MARKER_KEY);
    let progress = marker.map(|(_, marker)| progress_of(marker).expect("a good marker"));
    let progress = progress.unwrap_or_default().of(node);
    let stream_time = Timestamp(progress.stream_time_ms);
    let results = stored_results(plan, stream_time, stored.into_iter()).expect("good entries");
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
    let event = row.event().map(event_json);
    let mut fields = event.unwrap_or_else(|| serde_json::json!({}));
    for JoinedEvent { prefix, event } in row.joined() {
        let place = place(&mut fields, prefix.trim_end_matches('.'));
        *place = event_json(event);
    }
    for (path, value) in row.fields() {
        *place(&mut fields, path) = to_json(&value);
    }
    fields
}

fn event_json(event: Event<'_>) -> serde_json::Value {
    match event {
        Event::Json(bytes) => serde_json::from_slice(bytes).expect("JSON"),
        Event::Text(text) => serde_json::json!({ WHOLE_VALUE: text }),
        Event::Bytes(bytes) => of_entries(&[(WHOLE_VALUE, Value::Bytes(bytes))]),
        Event::Typed { fields, .. } => of_entries(fields),
    }
}

fn place<'j>(fields: &'j mut serde_json::Value, path: &str) -> &'j mut serde_json::Value {
    path.split('.').fold(fields, |outer, name| &mut outer[name])
}
