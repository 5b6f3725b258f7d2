//! What global tables and the joins with them are planned as.

use super::WantedFields;
use crate::expr::Evaluator;
use crate::format::Format;
use crate::topology::graph::{GlobalTable, JoinKind, Node, NodeName, OnError};

/// A table that each process has whole.
#[derive(Debug)]
pub struct GlobalTablePlan {
    /// The node.
    pub node: NodeName,
    /// The topics that its rows are read from.
    pub topics: Vec<String>,
    /// How they are read.
    pub format: Format,
    /// When a record cannot be read or has no key.
    pub on_error: OnError,
}

/// How the records of a stream find rows of a global table.
#[derive(Debug)]
pub struct GlobalJoinPlan {
    /// The table.
    pub table: NodeName,
    /// Which records have a result.
    pub kind: JoinKind,
    /// Gives the key that is looked up; none: the record's own.
    pub on: Option<Evaluator>,
    /// What is read of rows.
    pub wanted: WantedFields,
    /// What the paths of a row's fields begin with behind the join, with the dot.
    pub prefix: String,
    /// Whether anybody behind it keeps or sends rows, with the events that they were made of.
    pub keeps_events: bool,
    /// When `on` fails, or a record has no key to look up or no value.
    pub on_error: OnError,
}

impl GlobalTablePlan {
    pub(super) fn of(node: &Node, table: &GlobalTable) -> GlobalTablePlan {
        GlobalTablePlan {
            node: node.name.clone(),
            topics: table.source.topics.clone(),
            format: table.source.format.clone(),
            on_error: table.source.on_error,
        }
    }

    /// Stands for what rows are made by: the format, and the fields of the schema that was given. Rows
    /// that were made by another one do not have the same fields.
    pub fn content(&self) -> u64 {
        let mut content = self.format.word().to_owned();
        for (path, kind) in self.format.paths().unwrap_or_default() {
            content += &format!("; {path}: {kind}");
        }
        xxhash_rust::xxh3::xxh3_64(content.as_bytes())
    }

    /// The name under which a process keeps it. Tasks have numbers where this has a word.
    pub fn state_name(&self) -> String {
        format!("{}-global", self.node)
    }
}
