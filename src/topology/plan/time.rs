//! By what time an operator judges its rows, and lets go of what it keeps.

use super::OperatorId;
use super::draft::Draft;
use super::graph::Graph;
use crate::topology::graph::{Emit, Join, Node, NodeKind, Side};

/// Where the time of an operator comes from.
///
/// ```text
///   partition 0 ──┐                            a row is judged by the stream time of the partition
///   partition 1 ──┼─ repartition ──▶ operator  that it comes from, which it brings along; windows
///   partition 2 ──┘                            close by the lowest of all of them
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TimeSource {
    /// The inputs of the sub-topology through which rows come to it.
    pub inputs: Vec<usize>,
    /// Whether some of these have rows from other partitions, which say how far they are. Otherwise the
    /// highest time of the operator's own rows is what counts.
    pub is_upstream: bool,
    /// By how much rows may be older than what the upstreams have reached because an outer join has held
    /// them back, in milliseconds.
    pub held_ms: i64,
    /// Whether rows may be held back for longer by a processor of a user's, so that time goes on with its
    /// rows only.
    pub waits_for_rows: bool,
    /// The operators in front that hold rows back, in the same sub-topology: windows until they close, rows of
    /// an outer join until their time is up. While they do, nobody behind them is silent.
    pub holders: Vec<OperatorId>,
}

impl TimeSource {
    /// That of rows that come from either.
    pub(super) fn and(mut self, other: &TimeSource) -> TimeSource {
        self.inputs.extend(&other.inputs);
        self.inputs.sort_unstable();
        self.inputs.dedup();
        self.is_upstream |= other.is_upstream;
        self.held_ms = self.held_ms.max(other.held_ms);
        self.waits_for_rows |= other.waits_for_rows;
        self.holders.extend(&other.holders);
        self
    }

    /// That of rows of which this operator holds some back for so long.
    pub(super) fn held_back(mut self, by: OperatorId, ms: i64) -> TimeSource {
        self.held_ms = self.held_ms.saturating_add(ms);
        self.holders.push(by);
        self
    }

    /// That of what this operator sends on when it is due: it has a time of its own.
    pub(super) fn released(by: OperatorId) -> TimeSource {
        TimeSource {
            holders: vec![by],
            ..TimeSource::default()
        }
    }

    /// That of results that leave with each commit: they have a time of their own.
    pub(super) fn of_results(self) -> TimeSource {
        TimeSource {
            holders: self.holders,
            ..TimeSource::default()
        }
    }

    /// The source input from which all rows come, none of which is held back on the way: whatever is read of
    /// it, be it of rows that do not get this far, says how far those are that do.
    pub fn only_input(&self) -> Option<usize> {
        let is_held = !self.holders.is_empty() || self.held_ms > 0 || self.waits_for_rows;
        match self.inputs.as_slice() {
            [only] if !self.is_upstream && !is_held => Some(*only),
            _ => None,
        }
    }

    /// That of what a processor of a user's makes of the rows.
    pub(super) fn processed(mut self) -> TimeSource {
        self.waits_for_rows = true;
        self
    }
}

/// How much depends on it that the far side of a repartition knows how far the near sides are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TimeNeed {
    /// For how long something is kept.
    Retention,
    /// When something leaves.
    Release,
}

impl Graph<'_> {
    /// What depends on how far the near sides of a repartition of this input of a node are: the node, or one
    /// behind it, judges rows by time, or waits for time to go on. None: nothing does.
    pub(super) fn time_need(&self, node: &Node, input: usize) -> Option<TimeNeed> {
        if self.leads_to_processor(node) {
            return Some(TimeNeed::Release);
        }
        let (own, passes_on) = match &node.kind {
            NodeKind::Process(_) => (Some(TimeNeed::Release), false),
            NodeKind::Aggregate(aggregate) => {
                let waits = aggregate.emit == Emit::Close || self.is_held_until_close(node);
                let need = aggregate.window.map(|_| TimeNeed::of(waits));
                (need, false)
            }
            NodeKind::Suppress(_) => (None, false),
            NodeKind::Deduplicate(_) => (Some(TimeNeed::Retention), true),
            NodeKind::Join(join) if join.within.is_some() => {
                let waits = Side::BOTH.iter().any(|side| join.kind.keeps(*side));
                (Some(TimeNeed::of(waits)), true)
            }
            NodeKind::Join(join) => {
                let is_global = self.global_table(node).is_some();
                (None, is_global || self.brings_results(join, input))
            }
            _ => (None, true),
        };
        match passes_on {
            true => own.max(self.time_need_behind(node)),
            false => own,
        }
    }

    fn time_need_behind(&self, node: &Node) -> Option<TimeNeed> {
        let consumers = self.consumers(&node.name).iter();
        let needs = consumers.flat_map(|consumer| {
            let inputs = consumer.kind.inputs().iter().enumerate();
            let from_here = inputs.filter(|(_, from)| **from == node.name);
            from_here.map(|(input, _)| self.time_need(consumer, input))
        });
        needs.max().flatten()
    }

    /// Whether a row of this side of a join with a table has results when it comes. Those of a join by a
    /// foreign key come from elsewhere.
    pub(super) fn brings_results(&self, join: &Join, input: usize) -> bool {
        let is_looked_up = |side: Side| self.shape(self.node(join.input(side))).replace();
        join.on.is_none() && (input == Side::Left as usize || is_looked_up(Side::Left))
    }
}

impl TimeNeed {
    fn of(waits: bool) -> TimeNeed {
        match waits {
            true => TimeNeed::Release,
            false => TimeNeed::Retention,
        }
    }
}

impl Draft<'_, '_> {
    /// The time of rows as they come from an input of the sub-topology.
    pub(super) fn time_of_input(&self, input: usize) -> TimeSource {
        TimeSource {
            inputs: vec![input],
            is_upstream: self.inputs[input].reader.brings_time(),
            ..TimeSource::default()
        }
    }
}
