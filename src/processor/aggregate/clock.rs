//! The time of an aggregate: how far its records have come, and by what windows close.
//!
//! A row advances the stream time before it is judged. Behind a repartition rows were judged on the
//! near side; here windows close by the lowest stream time of the upstream partitions, apart from
//! those that are read to their ends and silent; when all are, by the highest.

use std::collections::BTreeMap;

use crate::codec::{Decode, Encode};
use crate::time::Timestamp;

/// How far the folds of a task have come; stored with every commit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Progress {
    nodes: BTreeMap<String, NodeProgress>,
}

/// How far one fold has come.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct NodeProgress {
    /// The highest event time seen.
    pub stream_time_ms: i64,
    /// The results of all windows that begin before this (of sessions: end before this) have left
    /// (`emit: close`).
    pub emitted_until_ms: i64,
    /// Behind a repartition: how far each upstream partition has come.
    pub upstream: BTreeMap<i32, Upstream>,
    /// Behind a repartition: how many upstream partitions there are.
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

/// The stream time of one writer of a repartition topic, sent along with its partial results.
#[derive(Debug, Encode, Decode)]
pub(in crate::processor) struct UpstreamTime {
    pub(in crate::processor) partition: i32,
    pub(in crate::processor) partitions: u32,
    pub(in crate::processor) stream_time_ms: i64,
    pub(in crate::processor) silent: bool,
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

impl NodeProgress {
    /// The highest event time seen.
    pub(super) fn stream_time(&self) -> Timestamp {
        Timestamp(self.stream_time_ms)
    }

    /// A row has come, or a partial result.
    pub(super) fn advance(&mut self, time: Timestamp) {
        self.stream_time_ms = self.stream_time_ms.max(time.0);
    }

    /// An upstream partition has said how far it is.
    pub(super) fn upstream(&mut self, time: &UpstreamTime) {
        self.upstream_partitions = time.partitions;
        let unknown = Upstream {
            stream_time_ms: i64::MIN,
            silent: false,
        };
        let known = self.upstream.entry(time.partition).or_insert(unknown);
        *known = Upstream {
            stream_time_ms: time.stream_time_ms.max(known.stream_time_ms),
            silent: time.silent,
        };
    }

    /// The time by which windows close.
    pub(super) fn closing_time(&self) -> Timestamp {
        if self.upstream_partitions == 0 {
            return self.stream_time();
        }
        if self.upstream.len() < self.upstream_partitions as usize {
            return Timestamp::MIN;
        }
        let times = |upstream: &Upstream| upstream.stream_time_ms;
        let upstream = &self.upstream;
        let lowest = upstream.values().filter(|u| !u.silent).map(times).min();
        let highest = || upstream.values().map(times).max();
        Timestamp(lowest.or_else(highest).unwrap_or(i64::MIN))
    }

    /// The time by which windows close when nothing has come for so long, if they close by that
    /// after `idle_close_ms`.
    pub(super) fn closing_time_after(&self, idle_close_ms: Option<i64>, idle_ms: i64) -> Timestamp {
        let closing_time = self.closing_time();
        let is_idle = idle_close_ms.is_some_and(|after_ms| idle_ms >= after_ms);
        let seen = closing_time.max(self.stream_time());
        match is_idle && seen > Timestamp::MIN && self.is_upstream_silent() {
            true => seen.plus_millis(idle_ms),
            false => closing_time,
        }
    }

    /// Whether nothing is on its way: of upstream partitions, that they have said so.
    fn is_upstream_silent(&self) -> bool {
        self.upstream.len() >= self.upstream_partitions as usize
            && self.upstream.values().all(|u| u.silent)
    }
}
