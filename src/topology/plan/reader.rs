//! What tasks read: inputs, and how their records become rows.

use std::collections::BTreeMap;

use super::aggregates::ResultSlots;
use super::work::OperatorId;
use crate::format::Format;
use crate::record::Projection;
use crate::topology::graph::{Emit, Function, NodeName, NullValues, OnError};
use crate::value::{FieldPath, Slot, ValueType};
use crate::window::Windows;

/// Topics of one shape.
#[derive(Debug)]
pub struct Input {
    /// At least one.
    pub topics: Vec<String>,
    /// How records become rows.
    pub reader: Reader,
    /// Whether their headers are kept: somebody asks for them, or they are those of a source, whose dead
    /// letters have them and may come again with marks.
    pub with_headers: bool,
    /// The operators that get them.
    pub next: Vec<OperatorId>,
}

/// How the records of an input become rows.
#[derive(Debug)]
pub enum Reader {
    /// Events of a source topic.
    Source(SourceReader),
    /// Partial accumulators of a repartition topic; they go to the one aggregate behind it.
    Partials,
    /// What the sides of a join by a foreign key send each other; it goes to the one operator behind.
    Foreign,
    /// Results of an aggregate, from its changelog or its results topic.
    Results(ResultReader),
    /// Rows of a table, from its changelog, or of another node, from its results topic.
    Rows(RowsReader),
}

/// How rows are read that another sub-topology has written.
#[derive(Debug)]
pub struct RowsReader {
    /// The node behind which they were written.
    pub node: NodeName,
    /// Where.
    pub topic: RowTopic,
    /// What is read of them.
    pub wanted: WantedFields,
    /// Where the key goes when a row is deleted.
    pub key: Option<KeyField>,
    /// Whether they replace one another.
    pub replace: bool,
    /// Whether the near sides of the repartition say how far they are.
    pub brings_time: bool,
}

/// Where rows are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowTopic {
    /// The changelog of the store in which they are kept.
    Changelog,
    /// A repartition topic, to which they were sent to be with others of their key.
    Repartition,
    /// A topic to which they were sent for SQL sinks to read.
    Results,
}

/// A field that is a key, or a part of one.
#[derive(Clone, Copy, Debug)]
pub struct KeyField {
    /// Where it goes.
    pub slot: Slot,
    /// What it is declared to hold.
    pub kind: ValueType,
}

/// What is read of kept rows.
#[derive(Debug, Default)]
pub struct WantedFields {
    /// The fields that anyone asks for, by their paths.
    pub fields: Vec<(String, Slot)>,
    /// Those that the row's own event may hold.
    pub projection: Projection,
    /// Those that the event of a row may hold which was joined to it, by what their paths begin
    /// with.
    pub joined: Vec<(String, Projection)>,
}

/// How events of a source topic are read.
#[derive(Debug)]
pub struct SourceReader {
    /// The source node.
    pub node: NodeName,
    /// How they are read.
    pub format: Format,
    /// Whether anybody keeps or sends rows, with the events that they were made of.
    pub keeps_events: bool,
    /// The fields that anyone asks for.
    pub projection: Projection,
    /// The event time.
    pub timestamp: Option<Slot>,
    /// What becomes of records without a value.
    pub null_values: NullValues,
    /// Where the key of those goes.
    pub key: Option<KeyField>,
    /// How far ahead of the wall clock an event time may be, in milliseconds; none: however far.
    pub max_ahead_ms: Option<i64>,
    /// When a record cannot be read.
    pub on_error: OnError,
}

/// How results of an aggregate are read.
#[derive(Clone, Debug)]
pub struct ResultReader {
    /// The aggregate.
    pub node: NodeName,
    /// What is kept for a result.
    pub functions: Vec<Function>,
    /// Its windows.
    pub windows: Windows,
    /// From which topic.
    pub topic: ResultTopic,
    /// When they leave.
    pub emit: Emit,
    /// Where the parts of a result go.
    pub slots: ResultSlots,
}

/// Where results of an aggregate are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResultTopic {
    /// The changelog of its store: what is stored is a result.
    Changelog,
    /// A topic of its own, to which they are written for this.
    Results,
}

impl Reader {
    /// Whether records come from other partitions, whose near sides say how far they are.
    pub fn brings_time(&self) -> bool {
        match self {
            Reader::Partials => true,
            Reader::Rows(rows) => rows.brings_time,
            Reader::Source(_) | Reader::Results(_) | Reader::Foreign => false,
        }
    }

    /// The node that a record is read for.
    pub fn node(&self) -> Option<&NodeName> {
        match self {
            Reader::Source(source) => Some(&source.node),
            Reader::Results(results) => Some(&results.node),
            Reader::Rows(rows) => Some(&rows.node),
            Reader::Partials | Reader::Foreign => None,
        }
    }
}

impl WantedFields {
    /// These fields of rows to which others were joined under `prefixes`, each with its dot.
    pub(super) fn new(fields: &[(FieldPath, Slot)], prefixes: &[String]) -> WantedFields {
        let mut own = Vec::new();
        let mut joined: BTreeMap<&str, Vec<(FieldPath, Slot)>> = BTreeMap::new();
        for (path, slot) in fields {
            let inside = prefixes
                .iter()
                .filter(|prefix| path.as_str().starts_with(prefix.as_str()))
                .max_by_key(|prefix| prefix.len());
            match inside {
                None => own.push((path.clone(), *slot)),
                Some(prefix) => {
                    let path = FieldPath::new(&path.as_str()[prefix.len()..]);
                    joined.entry(prefix).or_default().push((path, *slot));
                }
            }
        }
        let projection = |fields: &[(FieldPath, Slot)]| {
            Projection::new(fields.iter().map(|(path, slot)| (path, *slot)))
        };
        WantedFields {
            fields: fields
                .iter()
                .map(|(path, slot)| (path.to_string(), *slot))
                .collect(),
            projection: projection(&own),
            joined: joined
                .into_iter()
                .map(|(prefix, fields)| (prefix.to_owned(), projection(&fields)))
                .collect(),
        }
    }
}
