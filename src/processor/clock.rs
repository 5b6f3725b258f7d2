//! The time of an operator: by what its rows are judged, and windows close.
//!
//! A row advances the stream time before it is judged. Rows from other partitions bring along the stream
//! time of the one that they come from, and are judged by that, so the order in which the partitions are
//! read decides nothing; windows close by the lowest time of all of them ([`InputClocks`]).

use std::collections::BTreeMap;

use super::Row;
use super::input_clocks::InputClocks;
use super::operator::Surroundings;
use crate::codec::{Decode, Encode};
use crate::time::Timestamp;
use crate::topology::plan::TimeSource;

/// How far a task has come: its operators that have a time, and its inputs; stored with every commit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Progress {
    nodes: BTreeMap<String, NodeProgress>,
}

/// How far one of them has come.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct NodeProgress {
    /// The highest event time seen.
    pub stream_time_ms: i64,
    /// The results of all windows that begin before this (of sessions: end before this) have left
    /// (`emit: close`), or are no longer kept (`emit: updates`).
    pub emitted_until_ms: i64,
    /// Of an input behind a repartition: how far each upstream partition has come.
    pub upstream: BTreeMap<i32, Upstream>,
    /// Of an input behind a repartition: how many upstream partitions there are.
    pub upstream_partitions: u32,
}

/// How far an upstream partition has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Upstream {
    /// The highest event time seen in it.
    pub stream_time_ms: i64,
    /// Whether it is read to its end, and nothing has come for a while.
    pub silent: bool,
}

impl Default for NodeProgress {
    fn default() -> NodeProgress {
        NodeProgress {
            stream_time_ms: i64::MIN,
            emitted_until_ms: i64::MIN,
            upstream: BTreeMap::new(),
            upstream_partitions: 0,
        }
    }
}

impl Progress {
    /// The progress of a node; that of a new one if it has none.
    pub fn of(&self, node: &str) -> NodeProgress {
        self.nodes.get(node).cloned().unwrap_or_default()
    }

    /// Sets the progress of a node.
    pub fn set(&mut self, node: &str, progress: NodeProgress) {
        self.nodes.insert(node.to_owned(), progress);
    }

    /// Whether no node has any.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Adds the nodes of another task part.
    pub fn extend(&mut self, other: Progress) {
        self.nodes.extend(other.nodes);
    }
}

/// The time of an operator at work.
pub(super) struct StreamClock {
    pub(super) progress: NodeProgress,
    source: TimeSource,
}

impl StreamClock {
    pub(super) fn new(progress: NodeProgress, source: &TimeSource) -> StreamClock {
        StreamClock {
            progress,
            source: source.clone(),
        }
    }

    /// The highest event time seen.
    pub(super) fn stream_time(&self) -> Timestamp {
        Timestamp(self.progress.stream_time_ms)
    }

    /// A row has come, or a partial result.
    pub(super) fn advance(&mut self, time: Timestamp) {
        self.progress.stream_time_ms = self.progress.stream_time_ms.max(time.0);
    }

    /// The time by which a row is judged that has just come.
    pub(super) fn judge_by(&self, row: &Row<'_, '_>) -> Timestamp {
        match self.source.is_upstream {
            true => row.judged_by,
            false => self.stream_time(),
        }
    }

    /// The time by which windows close.
    pub(super) fn closing_time(&self, inputs: &InputClocks) -> Timestamp {
        inputs.time_of(&self.source, self.stream_time())
    }

    /// The time by which windows close when nothing has come for so long, if they close by that
    /// after `idle_close_ms`.
    pub(super) fn closing_time_after(
        &self,
        around: &Surroundings<'_>,
        idle_close_ms: Option<i64>,
        idle_ms: i64,
    ) -> Timestamp {
        let closing_time = self.closing_time(around.inputs);
        let is_idle = idle_close_ms.is_some_and(|after_ms| idle_ms >= after_ms);
        let seen = closing_time.max(self.stream_time());
        match is_idle && seen > Timestamp::MIN && around.are_silent(&self.source) {
            true => seen.plus_millis(idle_ms),
            false => closing_time,
        }
    }
}
