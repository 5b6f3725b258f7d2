//! The near side of a repartition: folds rows for one commit interval and sends the partial results
//! to the partition of their new key.
//!
//! Because accumulators merge, a hot key costs one record per interval and partition, however many
//! rows it has. Lateness is judged here, by the stream time of the partition that a row came from,
//! so the order in which the far side reads its upstreams decides nothing.

use super::aggregate::Addition;
use super::clock::NodeProgress;
use super::input_clocks::Idle;
use super::operator::{Commit, Stateful, Surroundings};
use super::table::{Folded, Lookup, Table};
use super::upstream::TimeTeller;
use super::{Outputs, ProcessError, Produced, Progress};
use crate::codec::{self, Decode, Encode};
use crate::headers::PackedHeaders;
use crate::state::keys;
use crate::time::Timestamp;
use crate::topology::graph::Function;
use crate::topology::plan::{FoldPlan, Operator, Work};
use crate::window::Place;

/// A partial result on its way through a repartition topic; the record's key is the group's.
#[derive(Debug, Encode, Decode)]
pub(super) struct Partial<F = Folded> {
    at_ms: i64,
    from_ms: i64,
    pub(super) folded: F,
}

impl Partial {
    /// Where it is to be folded in.
    pub(super) fn place(&self) -> Place {
        Place {
            at: Timestamp(self.at_ms),
            from: Timestamp(self.from_ms),
        }
    }
}

pub(super) struct Fold {
    /// By place and group.
    table: Table<Folded>,
    functions: Vec<Function>,
    /// What a row makes that is sent by itself; kept for its memory.
    single: Folded,
    pub(super) time: TimeTeller,
    buffer: Vec<u8>,
}

impl Fold {
    pub(super) fn new(plan: &FoldPlan, budget_bytes: usize, progress: &NodeProgress) -> Fold {
        Fold {
            table: Table::new(budget_bytes),
            single: Folded::new(&plan.shape.functions()),
            functions: plan.shape.functions(),
            time: TimeTeller::new(progress, &plan.time, plan.tells_time),
            buffer: Vec::new(),
        }
    }

    /// Folds in at a place.
    pub(super) fn add(&mut self, place: Place, group: &[u8], addition: &Addition<'_>) {
        self.buffer.clear();
        keys::push_window(place.at, &mut self.buffer);
        keys::push_window(place.from, &mut self.buffer);
        self.buffer.extend_from_slice(group);
        let id = match self.table.find(&self.buffer) {
            Lookup::Found(id) => id,
            Lookup::Absent(hash) => {
                let empty = Folded::new(&self.functions);
                self.table.insert(hash, &self.buffer, empty)
            }
        };
        addition.apply(self.table.change(id));
    }

    /// Sends a row at once, by itself.
    pub(super) fn send(
        &mut self,
        plan: &FoldPlan,
        place: Place,
        group: &[u8],
        addition: &Addition<'_>,
        outputs: &mut dyn Outputs,
    ) -> Result<(), ProcessError> {
        self.single.begin_anew(&self.functions);
        addition.apply(&mut self.single);
        send_partial(plan, place, group, &self.single, &mut self.buffer, outputs)
    }
}

impl Stateful for Fold {
    fn flush(&mut self, commit: &mut Commit<'_, '_>) -> Result<(), ProcessError> {
        let context = &mut *commit.context;
        let operator = &context.plan.operators[commit.id];
        let Work::Fold(plan) = &operator.work else {
            unreachable!("a fold is at work here");
        };
        let Fold { table, buffer, .. } = self;
        table.drain_dirty(|key, folded| -> Result<(), ProcessError> {
            let (at, rest) = keys::split_window(key).expect("made by add");
            let (from, group) = keys::split_window(rest).expect("made by add");
            send_partial(
                plan,
                Place { at, from },
                group,
                folded,
                buffer,
                context.outputs,
            )
        })?;
        // A partial result is added on the far side: it must not be sent a second time.
        table.clear();
        self.time
            .tell(&plan.topic, context, commit.operators, commit.idle)
    }

    fn save(&self, operator: &Operator, progress: &mut Progress) {
        progress.set(operator.node.as_str(), self.time.progress());
    }

    fn is_full(&self) -> bool {
        self.table.is_full()
    }

    fn waits_for_silence(&self) -> bool {
        true
    }

    fn acts_after(&self, _: &Operator, around: &Surroundings<'_>, idle: &Idle) -> bool {
        self.time.acts_after(around, idle)
    }

    fn stream_time(&self) -> Timestamp {
        self.time.stream_time()
    }
}

fn send_partial(
    plan: &FoldPlan,
    place: Place,
    group: &[u8],
    folded: &Folded,
    buffer: &mut Vec<u8>,
    outputs: &mut dyn Outputs,
) -> Result<(), ProcessError> {
    let partial = Partial {
        at_ms: place.at.0,
        from_ms: place.from.0,
        folded,
    };
    buffer.clear();
    codec::encode_into(&partial, buffer);
    Ok(outputs.produce(Produced {
        topic: &plan.topic,
        partition: None,
        key: Some(group),
        value: Some(buffer),
        timestamp: Timestamp(folded.max_time_ms),
        headers: PackedHeaders::NONE,
    })?)
}
