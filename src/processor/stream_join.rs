//! A join of two streams at work.
//!
//! ```text
//!   left   ───●──────────────●───────────────▶      each record finds those of the other side whose
//!          ◀──┼────▶  ◀──────┼────▶                 times are near to its own; the second of a pair
//!   right  ───○───────────○──────────────────▶      makes it
//!          before after
//! ```
//!
//! A record is kept for as long as one of the other side can come for it. In a left or outer join one
//! without a match waits until its time is up, and then has a result of its own.
//!
//! Without a repartition everything happens exactly as in Kafka Streams, by the highest time that has
//! come on either side; the order and the moments are its own (its looks for records whose time is up,
//! and when the next one is due). Behind a repartition that time would depend on which partition was
//! read first; there the lowest time of the upstream partitions decides, and records whose time is up
//! leave with the commit.

use bumpalo::Bump;
use bumpalo::collections::Vec as ArenaVec;

use super::arrivals::{self, Arrivals, Place, Records, Waiting};
use super::clock::{NodeProgress, Progress};
use super::input_clocks::InputClocks;
use super::joined::Events;
use super::operator::{Commit, Stateful};
use super::rows::{decode_row, moved_row, read_fields, stored_row};
use super::run::{RowFault, drop_row, move_fields, pass_on};
use super::store::{Store, StoreWriter};
use super::{Before, Context, DropReason, InRecord, Kind, OperatorState, ProcessError, Row};
use crate::headers::PackedHeaders;
use crate::record::StoredRow;
use crate::state::{StateBatch, TaskState};
use crate::time::Timestamp;
use crate::topology::graph::{JoinWindow, Side};
use crate::topology::plan::{Operator, OperatorId, StreamJoinPlan, SubTopology, Work};
use crate::value::Value;

/// What both sides of a join remember.
pub(super) struct StreamJoin {
    within: JoinWindow,
    is_behind_repartition: bool,
    /// The highest time that has come, of whatever record.
    stream_time: Timestamp,
    /// The time by which records are let go.
    time: Timestamp,
    /// By side: the highest time of its records that are kept.
    newest: [Timestamp; 2],
    records: Records,
    waiting: Option<Waiting>,
    /// Whether something waited at the last commit, or when the task was opened.
    is_holding: bool,
    key: Vec<u8>,
    buffer: Vec<u8>,
}

/// Under which name the progress of a side is kept.
fn progress_name(node: &str, side: Side) -> String {
    format!("{node}-{}", side.word())
}

impl StreamJoin {
    pub(super) fn new(
        plan: &StreamJoinPlan,
        node: &str,
        budget_bytes: usize,
        progress: &Progress,
    ) -> StreamJoin {
        let own = progress.of(node);
        let newest = |side: Side| progress.of(&progress_name(node, side)).stream_time_ms;
        let oldest = (own.emitted_until_ms > i64::MIN).then_some(Timestamp(own.emitted_until_ms));
        StreamJoin {
            within: plan.within,
            is_behind_repartition: plan.time.is_upstream,
            stream_time: Timestamp(own.stream_time_ms),
            time: Timestamp::MIN,
            newest: Side::BOTH.map(|side| Timestamp(newest(side))),
            records: Records::new(kept_ms(&plan.within), budget_bytes / 2),
            waiting: plan.waiting.map(|_| Waiting::new(oldest, budget_bytes / 2)),
            is_holding: false,
            key: Vec::new(),
            buffer: Vec::new(),
        }
    }

    /// Before a record is joined or records are let go: how far they have come.
    fn tell_time(&mut self, plan: &StreamJoinPlan, inputs: &InputClocks) {
        self.time = inputs.time_of(&plan.time, self.stream_time);
    }

    /// Records of a side before this are forgotten.
    fn kept_from(&self, side: Side) -> Timestamp {
        let newest = self.newest[side as usize];
        let newest = match self.is_behind_repartition {
            true => newest.min(self.time),
            false => newest,
        };
        newest.plus_millis(1 - kept_ms(&self.within))
    }

    /// Whether the time of a record that waits is up.
    fn is_up(&self, side: Side, time: Timestamp) -> bool {
        self.time > time.plus_millis(self.within.wait_ms(side))
    }

    /// Whether a record of this side is one with which Kafka Streams looks for those whose time is
    /// up.
    fn is_look_due(&self, side: Side, time: Timestamp) -> bool {
        let wait_ms = self.within.wait_ms(side);
        let oldest = self.waiting.as_ref().and_then(|waiting| waiting.oldest);
        !self.is_behind_repartition
            && time == self.stream_time
            && oldest.is_some_and(|oldest| oldest.plus_millis(wait_ms) < self.stream_time)
    }

    /// Takes out the records whose time is up.
    fn look(&mut self, store: &Store<'_>) -> Result<Vec<(Vec<u8>, Arrivals)>, ProcessError> {
        let Some(mut waiting) = self.waiting.take() else {
            return Ok(Vec::new());
        };
        let taken = waiting.take(store, |side, time| self.is_up(side, time));
        self.waiting = Some(waiting);
        taken
    }

    /// The records of the other side that a record meets, by time and then arrival.
    fn matches<'a>(
        &mut self,
        stores: &Stores<'_>,
        place: Place<'_>,
        arena: &'a Bump,
    ) -> Result<&'a [&'a [u8]], ProcessError> {
        let (side, other) = (place.side, place.side.other());
        let from = place.time.plus_millis(-self.within.reach_ms(other));
        let to = place.time.plus_millis(self.within.reach_ms(side));
        let from = from.max(self.kept_from(other));
        let mut found = ArenaVec::new_in(arena);
        if from > to {
            return Ok(found.into_bump_slice());
        }
        arrivals::record_key(other, place.key, &mut self.key);
        let line = self.records.open(&stores.records, &self.key, from, to)?;
        for (time, arrivals) in self.records.between(line, from, to) {
            let copies = arrivals.0.iter();
            found.extend(copies.map(|record| &*arena.alloc_slice_copy(record)));
            if let (Some(waiting), Some(store)) = (&mut self.waiting, &stores.waiting) {
                let matched = Place {
                    time,
                    side: other,
                    key: place.key,
                };
                waiting.remove(store, matched)?;
            }
        }
        Ok(found.into_bump_slice())
    }

    /// Keeps a record, unless it is too old for any other one to find it.
    fn keep(
        &mut self,
        stores: &Stores<'_>,
        place: Place<'_>,
        record: &[u8],
    ) -> Result<(), ProcessError> {
        let newest = &mut self.newest[place.side as usize];
        *newest = place.time.max(*newest);
        let from = self.kept_from(place.side);
        if place.time < from || self.records.is_purged(place.time) {
            return Ok(());
        }
        arrivals::record_key(place.side, place.key, &mut self.key);
        let at = place.time;
        let line = self.records.open(&stores.records, &self.key, at, at)?;
        match self.records.change(line, place.time) {
            Some(there) => there.0.push(record.to_vec()),
            None => {
                let first = Arrivals(vec![record.to_vec()]);
                self.records.set(line, place.time, Some(first));
            }
        }
        Ok(())
    }

    /// A record has no match. Whether it has its result at once, or waits.
    fn is_alone_at_once(
        &mut self,
        stores: &Stores<'_>,
        place: Place<'_>,
        record: &[u8],
    ) -> Result<bool, ProcessError> {
        let reach_ms = self.within.reach_ms(place.side);
        let is_past = place.time.plus_millis(reach_ms) < self.stream_time;
        if is_past && !self.is_behind_repartition {
            return Ok(true);
        }
        if let (Some(waiting), Some(store)) = (&mut self.waiting, &stores.waiting) {
            waiting.add(store, place, record)?;
        }
        Ok(false)
    }
}

impl Stateful for StreamJoin {
    fn open(&mut self, operator: &Operator, state: &dyn TaskState) -> Result<(), ProcessError> {
        let Work::StreamJoin(plan) = &operator.work else {
            unreachable!("a join of streams is at work here");
        };
        if let (Some(waiting), Some(store)) = (&self.waiting, plan.waiting) {
            let store = Store::of_rows(state, store, operator.node.as_str());
            self.is_holding = waiting.is_waiting(&store)?;
        }
        Ok(())
    }

    /// Writes what has changed. Behind a repartition, records whose time is up leave first.
    fn flush(&mut self, commit: &mut Commit<'_, '_>) -> Result<(), ProcessError> {
        let Commit {
            context,
            operators,
            id,
            batch,
            arena,
            ..
        } = commit;
        let id = *id;
        let sub_topology = context.plan;
        let plan = plan_of(sub_topology, id);
        self.tell_time(plan, context.clocks);
        if self.is_behind_repartition {
            let stores = Stores::of(context, id);
            let released = match &stores.waiting {
                Some(store) => self.look(store)?,
                None => Vec::new(),
            };
            release(context, operators, plan, released, arena)?;
        }
        let stores = Stores::of(context, id);
        if let (Some(waiting), Some(store)) = (&self.waiting, &stores.waiting) {
            self.is_holding = waiting.is_waiting(store)?;
        }
        let mut writer = StoreWriter {
            store: plan.store,
            batch,
            buffer: &mut self.buffer,
        };
        self.records.flush(&mut writer);
        if let (Some(waiting), Some(store)) = (&mut self.waiting, plan.waiting) {
            writer.store = store;
            waiting.flush(&mut writer);
        }
        self.expire(&sub_topology.operators[id], context.clocks, batch);
        Ok(())
    }

    fn expire(&mut self, operator: &Operator, inputs: &InputClocks, batch: &mut StateBatch) {
        let Work::StreamJoin(plan) = &operator.work else {
            unreachable!("a join of streams is at work here");
        };
        self.tell_time(plan, inputs);
        let until = self.kept_from(Side::Left).min(self.kept_from(Side::Right));
        if until > Timestamp::MIN {
            self.records.purge(plan.store, until, batch);
        }
    }

    fn committed(&mut self) {
        self.records.trim();
        if let Some(waiting) = &mut self.waiting {
            waiting.committed();
        }
    }

    fn save(&self, operator: &Operator, progress: &mut Progress) {
        let node = operator.node.as_str();
        let oldest = self.waiting.as_ref().and_then(|waiting| waiting.oldest);
        let own = NodeProgress {
            stream_time_ms: self.stream_time.0,
            emitted_until_ms: oldest.map_or(i64::MIN, |oldest| oldest.0),
            ..NodeProgress::default()
        };
        progress.set(node, own);
        for side in Side::BOTH {
            let newest = NodeProgress {
                stream_time_ms: self.newest[side as usize].0,
                ..NodeProgress::default()
            };
            progress.set(&progress_name(node, side), newest);
        }
    }

    /// How old what comes is, is not known here: a partition may be far behind.
    fn holds_from(&self) -> Option<Timestamp> {
        self.is_holding.then_some(Timestamp::MIN)
    }

    fn is_full(&self) -> bool {
        self.records.is_full() || self.waiting.as_ref().is_some_and(Waiting::is_full)
    }

    fn stream_time(&self) -> Timestamp {
        self.stream_time
    }
}

/// For how long records are kept. Those of the same instant meet in any case.
fn kept_ms(within: &JoinWindow) -> i64 {
    within.kept_ms().max(1)
}

/// The stores of a join.
struct Stores<'c> {
    records: Store<'c>,
    waiting: Option<Store<'c>>,
}

impl<'c> Stores<'c> {
    fn of(context: &Context<'c>, id: OperatorId) -> Stores<'c> {
        let plan = plan_of(context.plan, id);
        let node = context.plan.operators[plan.sides[0]].node.as_str();
        let store = |id| Store::of_rows(context.state, id, node);
        Stores {
            records: store(plan.store),
            waiting: plan.waiting.map(store),
        }
    }
}

/// The plan of a side.
fn plan_of(sub_topology: &SubTopology, id: OperatorId) -> &StreamJoinPlan {
    match &sub_topology.operators[id].work {
        Work::StreamJoin(plan) => plan,
        _ => unreachable!("a join of streams is at work here"),
    }
}

/// What a record gives.
struct Found<'a> {
    /// Records whose time is up by now.
    released: Vec<(Vec<u8>, Arrivals)>,
    matches: &'a [&'a [u8]],
    is_alone: bool,
}

/// Joins a record of one side.
pub(super) fn join_record<'a>(
    context: &mut Context<'_>,
    operators: &mut [OperatorState],
    id: OperatorId,
    plan: &StreamJoinPlan,
    row: &mut Row<'_, 'a>,
) -> Result<(), ProcessError> {
    let stores = Stores::of(context, id);
    let Kind::StreamJoin(join) = &mut operators[plan.sides[0]].kind else {
        unreachable!("the left side has what both keep");
    };
    join.stream_time = join.stream_time.max(row.time);
    join.tell_time(plan, context.clocks);
    let fault = match (row.key, row.no_value) {
        (_, true) => Some(RowFault::of(
            DropReason::NoValue,
            &"the record has no value to be joined",
        )),
        (None, false) if !plan.kind.keeps(plan.side) => Some(RowFault::null_key()),
        _ => None,
    };
    if let Some(RowFault { reason, message }) = fault {
        let (node, counts) = (&context.plan.operators[id].node, &mut operators[id].counts);
        return drop_row(context, counts, node, plan.on_error, reason, &message, row);
    }
    move_fields(&plan.moves, row);
    let found = match row.key {
        Some(key) => meet(join, &stores, plan, key, row)?,
        None => Found {
            released: Vec::new(),
            matches: &[],
            is_alone: true,
        },
    };
    release(context, operators, plan, found.released, row.arena)?;
    for other in found.matches {
        send_pair(context, operators, id, plan, Some(other), row)?;
    }
    if found.is_alone {
        send_pair(context, operators, id, plan, None, row)?;
    }
    Ok(())
}

/// Lets a record find those of the other side, and be found by them from now on.
fn meet<'a>(
    join: &mut StreamJoin,
    stores: &Stores<'_>,
    plan: &StreamJoinPlan,
    key: &[u8],
    row: &Row<'_, 'a>,
) -> Result<Found<'a>, ProcessError> {
    let place = Place {
        time: row.time,
        side: plan.side,
        key,
    };
    let released = match &stores.waiting {
        Some(store) if join.is_look_due(plan.side, row.time) => join.look(store)?,
        _ => Vec::new(),
    };
    let matches = join.matches(stores, place, row.arena)?;
    let mut buffer = std::mem::take(&mut join.buffer);
    buffer.clear();
    match join.is_behind_repartition {
        true => moved_row(&plan.computed, row, row.judged_by).encode_into(&mut buffer),
        false => stored_row(&plan.computed, row).encode_into(&mut buffer),
    }
    join.keep(stores, place, &buffer)?;
    let is_alone = matches.is_empty()
        && plan.kind.keeps(plan.side)
        && join.is_alone_at_once(stores, place, &buffer)?;
    join.buffer = buffer;
    Ok(Found {
        released,
        matches,
        is_alone,
    })
}

/// Sends a record on with one of the other side, or without.
fn send_pair<'a>(
    context: &mut Context<'_>,
    operators: &mut [OperatorState],
    id: OperatorId,
    plan: &StreamJoinPlan,
    other: Option<&'a [u8]>,
    row: &mut Row<'_, 'a>,
) -> Result<(), ProcessError> {
    let sub_topology = context.plan;
    let other_side = plan_of(sub_topology, plan.sides[plan.side.other() as usize]);
    let node = &sub_topology.operators[id].node;
    let stored = other.map(|bytes| decode_row(node, bytes, row.arena));
    let stored: Option<StoredRow<'a>> = stored.transpose()?;
    let own = (row.time, row.judged_by, row.event, row.joined);
    let mut events = Events::default();
    match &stored {
        Some(stored) => {
            read_fields(stored, &other_side.wanted, row.arena, row.fields);
            row.time = row.time.max(stored.time());
            // Whichever of the two comes second: the pair is late if one of them is.
            row.judged_by = row.judged_by.max(stored.judged_by());
            events = Events::of_kept(stored, plan.keeps_events, row.arena);
        }
        None => clear(other_side, row.fields),
    }
    let prefix = plan.keeps_events.then_some(plan.prefix.as_str());
    Events::of_sides(plan.side, Events::of_row(row), events, prefix, row.arena).give_to(row);
    let done = pass_on(context, operators, id, row);
    (row.time, row.judged_by, row.event, row.joined) = own;
    done
}

/// Nothing is known of the fields of this side.
fn clear(side: &StreamJoinPlan, fields: &mut [Value<'_>]) {
    for (_, slot) in &side.wanted.fields {
        fields[slot.index()] = Value::Missing;
    }
}

/// Sends on what has waited in vain.
fn release(
    context: &mut Context<'_>,
    operators: &mut [OperatorState],
    plan: &StreamJoinPlan,
    released: Vec<(Vec<u8>, Arrivals)>,
    arena: &Bump,
) -> Result<(), ProcessError> {
    for (place, arrivals) in released {
        let place = arena.alloc_slice_copy(&place);
        let Place { side, key, .. } = arrivals::place_of(place);
        for record in arrivals.0 {
            let record = arena.alloc_slice_copy(&record);
            send_alone(context, operators, plan.sides, side, key, record, arena)?;
        }
    }
    Ok(())
}

/// Sends a record that was kept on without one of the other side.
fn send_alone<'a>(
    context: &mut Context<'_>,
    operators: &mut [OperatorState],
    sides: [OperatorId; 2],
    side: Side,
    key: &'a [u8],
    record: &'a [u8],
    arena: &'a Bump,
) -> Result<(), ProcessError> {
    let sub_topology = context.plan;
    let id = sides[side as usize];
    let own = plan_of(sub_topology, id);
    let stored = decode_row(&sub_topology.operators[id].node, record, arena)?;
    let fields = arena.alloc_slice_fill_copy(sub_topology.slots, Value::Missing);
    read_fields(&stored, &own.wanted, arena, fields);
    let events = Events::of_kept(&stored, own.keeps_events, arena);
    let prefix = own.keeps_events.then_some(own.prefix.as_str());
    let mut row = Row {
        record: InRecord {
            topic: "",
            partition: context.share.partition,
            offset: -1,
            timestamp: stored.time(),
            key: Some(key),
            value: stored.event().map(|event| event.bytes()),
            headers: PackedHeaders::NONE,
        },
        key: Some(key),
        time: stored.time(),
        judged_by: stored.judged_by(),
        fields,
        arena,
        event: None,
        joined: &[],
        no_value: false,
        before: Before::Stream,
    };
    Events::of_sides(side, events, Events::default(), prefix, arena).give_to(&mut row);
    pass_on(context, operators, id, &mut row)
}
