//! A join by a foreign key at work: left rows subscribe to right ones, which answer.
//! [`crate::topology::plan::ForeignJoinPlan`] has the picture.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use bumpalo::Bump;

use super::joined::Events;
use super::operator::{Commit, Stateful};
use super::outputs::key_bytes;
use super::rows::{decode_row, foreign, read_fields};
use super::run::{RowFault, drop_fault, move_fields, pass_on};
use super::{
    Before, Context, DropReason, Kind, OperatorState, Outputs, ProcessError, Produced, Row, expr,
};
use crate::codec::{
    self, Arena, BorrowDecode, BorrowDecoder, DecodeFailure, Encode, EncodeFailure, Encoder,
};
use crate::headers::PackedHeaders;
use crate::record::StoredRow;
use crate::state::{StoreId, keys};
use crate::time::Timestamp;
use crate::topology::graph::{JoinKind, NodeName, Side};
use crate::topology::plan::{ForeignJoinPlan, OperatorId, SubscriptionsPlan, Work};
use crate::value::Value;

/// What a left row says to the partition of its foreign key, which is the record's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Subscription<'a> {
    wish: Wish,
    /// The event time of the left row.
    time: Timestamp,
    /// The key of the left row.
    left_key: &'a [u8],
    /// Where it is, and where it is to be answered.
    partition: LeftPartition,
}

/// The partition of a left row, which need not be that of its key's hash: who fills a topic decides. None:
/// it is, as was taken for granted once.
type LeftPartition = Option<i32>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    /// The left row has no longer this foreign key: what it was answered, if anything, is taken back.
    End,
    /// It is to be answered if there is a right row, and whenever that changes.
    Row,
    /// It is to be answered in any case.
    Word,
}

/// What a left row is answered; its key is the record's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Answer<'a> {
    /// The event time of the right row; of its deletion; or, when there never was one, of the left row.
    time: Timestamp,
    /// The foreign key for which this is the answer.
    foreign_key: &'a [u8],
    /// The right row, as it is kept; none if there is none.
    row: Option<&'a [u8]>,
}

// Both begin as a row does that is sent: with a byte and the event time, by which a task with several
// inputs takes them in order.

/// Is added to what a subscription wishes for when the partition of the left row follows.
const WITH_PARTITION: u8 = 3;

impl Encode for Subscription<'_> {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeFailure> {
        let wish: u8 = match self.wish {
            Wish::End => 0,
            Wish::Row => 1,
            Wish::Word => 2,
        };
        match self.partition {
            None => (wish, self.time.0, self.left_key).encode(encoder),
            Some(partition) => {
                (wish + WITH_PARTITION, self.time.0, self.left_key, partition).encode(encoder)
            }
        }
    }
}

impl<'a> BorrowDecode<'a, Arena<'a>> for Subscription<'a> {
    fn borrow_decode<D: BorrowDecoder<'a, Context = Arena<'a>>>(
        decoder: &mut D,
    ) -> Result<Self, DecodeFailure> {
        let kind = u8::borrow_decode(decoder)?;
        Ok(Subscription {
            wish: match kind % WITH_PARTITION {
                _ if kind >= 2 * WITH_PARTITION => {
                    return Err(DecodeFailure::Other("a subscription of an unknown kind"));
                }
                0 => Wish::End,
                1 => Wish::Row,
                _ => Wish::Word,
            },
            time: Timestamp(i64::borrow_decode(decoder)?),
            left_key: <&[u8]>::borrow_decode(decoder)?,
            partition: match kind >= WITH_PARTITION {
                true => Some(i32::borrow_decode(decoder)?),
                false => None,
            },
        })
    }
}

impl Encode for Answer<'_> {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeFailure> {
        (0u8, self.time.0, self.foreign_key, self.row).encode(encoder)
    }
}

impl<'a> BorrowDecode<'a, Arena<'a>> for Answer<'a> {
    fn borrow_decode<D: BorrowDecoder<'a, Context = Arena<'a>>>(
        decoder: &mut D,
    ) -> Result<Self, DecodeFailure> {
        match u8::borrow_decode(decoder)? {
            0 => Ok(Answer {
                time: Timestamp(i64::borrow_decode(decoder)?),
                foreign_key: <&[u8]>::borrow_decode(decoder)?,
                row: Option::borrow_decode(decoder)?,
            }),
            _ => Err(DecodeFailure::Other("an answer of an unknown kind")),
        }
    }
}

/// Takes a record of the topic between the two sides.
pub(super) fn take_message(
    context: &mut Context<'_>,
    operators: &mut [OperatorState],
    id: OperatorId,
    row: &mut Row<'_, '_>,
) -> Result<(), ProcessError> {
    let sub_topology = context.plan;
    let operator = &sub_topology.operators[id];
    let (Some(key), Some(bytes)) = (row.record.key, row.record.value) else {
        return Err(ProcessError::Damaged {
            node: operator.node.to_string(),
            what: "a message between the sides of a join",
        });
    };
    match &operator.work {
        Work::ForeignJoin(plan) => {
            let answer = decode(&operator.node, bytes, row.arena)?;
            take_answer(context, operators, id, plan, key, &answer, row)
        }
        Work::Subscriptions(plan) => {
            let subscription = decode(&operator.node, bytes, row.arena)?;
            take_subscription(context, operators, id, plan, key, &subscription, row.arena)
        }
        _ => unreachable!("the planner puts a side of a join there"),
    }
}

fn decode<'a, T: BorrowDecode<'a, Arena<'a>>>(
    node: &NodeName,
    bytes: &'a [u8],
    arena: &'a Bump,
) -> Result<T, ProcessError> {
    codec::decode_borrowed(bytes, arena).map_err(foreign(node))
}

/// A left row, or that it is no more: it subscribes, and no longer where it did before.
pub(super) fn join_row(
    context: &mut Context<'_>,
    operators: &mut [OperatorState],
    id: OperatorId,
    plan: &ForeignJoinPlan,
    row: &mut Row<'_, '_>,
) -> Result<(), ProcessError> {
    let before = row.view_before();
    let had_row = before.is_some();
    // One that failed did not subscribe.
    let before = before.and_then(|view| foreign_key(plan, &view).ok().flatten());
    let now = match row.no_value {
        true => None,
        false => match foreign_key(plan, &row.view()) {
            Ok(Some(key)) => Some(key),
            Ok(None) if plan.kind == JoinKind::Left => None,
            Ok(None) => {
                let fault = RowFault::of(DropReason::NullKey, &"the row has no foreign key");
                drop_fault(context, operators, id, plan.on_error, &fault, row)?;
                None
            }
            Err(fault) => {
                drop_fault(context, operators, id, plan.on_error, &fault, row)?;
                None
            }
        },
    };
    let has_moved = before != now;
    if let Some(before) = before.filter(|_| has_moved) {
        subscribe(context, operators, id, plan, before, Wish::End, row)?;
    }
    match now {
        Some(now) => {
            // Where there was a result, one has to take its place or take it back.
            let had_result = before.is_some() && has_moved;
            let wish = match plan.kind == JoinKind::Left || had_result {
                true => Wish::Word,
                false => Wish::Row,
            };
            subscribe(context, operators, id, plan, now, wish, row)
        }
        None if plan.kind == JoinKind::Left && !row.no_value => {
            move_fields(&plan.moves, row);
            send_pair(context, operators, id, plan, None, row)
        }
        None if before.is_some() || (had_row && plan.kind == JoinKind::Left) => {
            move_fields(&plan.moves, row);
            if let Before::Row(Some(before)) = &row.before {
                for (_, slot) in &plan.moves {
                    row.fields[slot.index()] = before[slot.index()];
                }
            }
            send_deletion(context, operators, id, plan, row)
        }
        None => Ok(()),
    }
}

/// Joins an answer to the left row that there is now.
fn take_answer<'a>(
    context: &mut Context<'_>,
    operators: &mut [OperatorState],
    id: OperatorId,
    plan: &ForeignJoinPlan,
    left_key: &'a [u8],
    answer: &Answer<'a>,
    row: &mut Row<'_, 'a>,
) -> Result<(), ProcessError> {
    let sub_topology = context.plan;
    let (Kind::Table(table), Work::Table(table_plan)) = (
        &mut operators[plan.table].kind,
        &sub_topology.operators[plan.table].work,
    ) else {
        unreachable!("the planner puts a table there");
    };
    let Some(bytes) = table.rows.get(context, left_key, row.arena)? else {
        return Ok(());
    };
    let node = &sub_topology.operators[id].node;
    let left = decode_row(node, bytes, row.arena)?;
    row.key = Some(left_key);
    row.time = left.time().max(answer.time);
    row.judged_by = row.time;
    read_fields(&left, &table_plan.wanted, row.arena, row.fields);
    Events::of_kept(&left, plan.keeps_events, row.arena).give_to(row);
    let is_current =
        foreign_key(plan, &row.view()).is_ok_and(|current| current == Some(answer.foreign_key));
    if !is_current {
        return Ok(());
    }
    let right = answer.row.map(|bytes| decode_row(node, bytes, row.arena));
    let right = right.transpose()?;
    move_fields(&plan.moves, row);
    match (&right, plan.kind) {
        (None, JoinKind::Inner) => send_deletion(context, operators, id, plan, row),
        _ => send_pair(context, operators, id, plan, right.as_ref(), row),
    }
}

/// Sends a left row on with the right one, if there is any.
fn send_pair<'a>(
    context: &mut Context<'_>,
    operators: &mut [OperatorState],
    id: OperatorId,
    plan: &ForeignJoinPlan,
    right: Option<&StoredRow<'a>>,
    row: &mut Row<'_, 'a>,
) -> Result<(), ProcessError> {
    let own = (row.event, row.joined);
    let left = Events::of_row(row);
    let right = match right {
        Some(right) => {
            read_fields(right, &plan.wanted, row.arena, row.fields);
            Events::of_kept(right, plan.keeps_events, row.arena)
        }
        None => {
            clear_right(plan, row);
            Events::default()
        }
    };
    let prefix = plan.keeps_events.then_some(plan.prefix.as_str());
    Events::of_sides(Side::Left, left, right, prefix, row.arena).give_to(row);
    let done = send(context, operators, id, false, row);
    (row.event, row.joined) = own;
    done
}

/// Says that a left row has no result any more. Of the one that it had, the left row's fields are known.
fn send_deletion(
    context: &mut Context<'_>,
    operators: &mut [OperatorState],
    id: OperatorId,
    plan: &ForeignJoinPlan,
    row: &mut Row<'_, '_>,
) -> Result<(), ProcessError> {
    clear_right(plan, row);
    send(context, operators, id, true, row)
}

fn clear_right(plan: &ForeignJoinPlan, row: &mut Row<'_, '_>) {
    for (_, slot) in &plan.wanted.fields {
        row.set(*slot, Value::Missing);
    }
}

/// Which result it replaces is not known: the right row was elsewhere.
fn send(
    context: &mut Context<'_>,
    operators: &mut [OperatorState],
    id: OperatorId,
    no_value: bool,
    row: &mut Row<'_, '_>,
) -> Result<(), ProcessError> {
    let before = std::mem::replace(&mut row.before, Before::Unknown);
    let had_no_value = std::mem::replace(&mut row.no_value, no_value);
    let done = pass_on(context, operators, id, row);
    row.before = before;
    row.no_value = had_no_value;
    done
}

/// The foreign key of a row, as the key of a record; none where it is null.
fn foreign_key<'a>(
    plan: &ForeignJoinPlan,
    view: &expr::Row<'_, 'a>,
) -> Result<Option<&'a [u8]>, RowFault> {
    match plan.key.eval(view) {
        Ok(key) => Ok(key_bytes(&key, view.arena)),
        Err(error) => Err(RowFault::expression_of("on", &error)),
    }
}

fn subscribe(
    context: &mut Context<'_>,
    operators: &mut [OperatorState],
    id: OperatorId,
    plan: &ForeignJoinPlan,
    foreign_key: &[u8],
    wish: Wish,
    row: &Row<'_, '_>,
) -> Result<(), ProcessError> {
    let Kind::ForeignJoin(buffer) = &mut operators[id].kind else {
        unreachable!("a join by a foreign key is at work here");
    };
    let subscription = Subscription {
        wish,
        time: row.time,
        left_key: row.key.unwrap_or_default(),
        partition: Some(context.share.partition),
    };
    let place = (plan.subscriptions.as_str(), None);
    send_message(
        context.outputs,
        place,
        foreign_key,
        &subscription,
        row.time,
        buffer,
    )
}

/// Sends a message to a partition of a topic; none: to that of its key.
fn send_message(
    outputs: &mut dyn Outputs,
    (topic, partition): (&str, Option<i32>),
    key: &[u8],
    message: &impl Encode,
    time: Timestamp,
    buffer: &mut Vec<u8>,
) -> Result<(), ProcessError> {
    buffer.clear();
    codec::encode_into(message, buffer);
    Ok(outputs.produce(Produced {
        topic,
        partition,
        key: Some(key),
        value: Some(buffer),
        headers: PackedHeaders::NONE,
        timestamp: time,
    })?)
}

/// Who has subscribed to which right row: foreign keys with the keys of left rows, and where these are.
pub(super) struct Subscriptions {
    store: StoreId,
    /// What has changed since the last commit.
    changes: BTreeMap<Vec<u8>, Change>,
    heap_bytes: usize,
    budget_bytes: usize,
    key: Vec<u8>,
    buffer: Vec<u8>,
}

/// What has become of a subscription.
#[derive(Clone, Copy)]
enum Change {
    There(LeftPartition),
    Gone,
}

/// A partition that is kept; no bytes: none.
fn read_partition(stored: &[u8]) -> LeftPartition {
    stored.try_into().ok().map(i32::from_be_bytes)
}

impl Subscriptions {
    pub(super) fn new(plan: &SubscriptionsPlan, budget_bytes: usize) -> Subscriptions {
        Subscriptions {
            store: plan.store,
            changes: BTreeMap::new(),
            heap_bytes: 0,
            budget_bytes,
            key: Vec::new(),
            buffer: Vec::new(),
        }
    }

    fn set(&mut self, foreign_key: &[u8], left_key: &[u8], change: Change) {
        self.key.clear();
        push_foreign_key(foreign_key, &mut self.key);
        self.key.extend_from_slice(left_key);
        match self.changes.get_mut(&self.key) {
            Some(known) => *known = change,
            None => {
                self.heap_bytes += self.key.len() + 64;
                self.changes.insert(self.key.clone(), change);
            }
        }
    }

    /// Answers all who have subscribed to a right row.
    fn answer_all(
        &mut self,
        context: &mut Context<'_>,
        plan: &SubscriptionsPlan,
        answer: &Answer<'_>,
    ) -> Result<(), ProcessError> {
        let mut from = Vec::new();
        push_foreign_key(answer.foreign_key, &mut from);
        let mut to = from.clone();
        // Its end is two zeros.
        *to.last_mut().expect("a tag at least") = 1;
        let mut changes = self.changes.range(from.clone()..to.clone()).peekable();
        let (state, outputs) = (context.state, &mut *context.outputs);
        let buffer = &mut self.buffer;
        let mut send = |key: &[u8], change: Change| match change {
            Change::There(partition) => {
                let left = (&key[from.len()..], partition);
                send_answer(outputs, plan, left, answer, buffer)
            }
            Change::Gone => Ok(()),
        };
        let mut failed = None;
        let mut visit = |stored: &[u8], partition: &[u8]| -> Result<(), ProcessError> {
            // What has changed stands in for what is stored.
            while let Some((key, change)) = changes.next_if(|(key, _)| key.as_slice() < stored) {
                send(key, *change)?;
            }
            match changes.next_if(|(key, _)| key.as_slice() == stored) {
                Some((_, change)) => send(stored, *change),
                None => send(stored, Change::There(read_partition(partition))),
            }
        };
        state.scan(
            self.store,
            &from,
            &to,
            &mut |key, value| match visit(key, value) {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => {
                    failed = Some(error);
                    ControlFlow::Break(())
                }
            },
        )?;
        if let Some(error) = failed {
            return Err(error);
        }
        changes.try_for_each(|(key, change)| send(key, *change))
    }
}

impl Stateful for Subscriptions {
    fn flush(&mut self, commit: &mut Commit<'_, '_>) -> Result<(), ProcessError> {
        self.heap_bytes = 0;
        for (key, change) in std::mem::take(&mut self.changes) {
            match change {
                Change::There(partition) => {
                    let partition = partition.map(i32::to_be_bytes);
                    let value = partition.as_ref().map_or(&[][..], |bytes| bytes);
                    commit.batch.put(self.store, &key, value);
                }
                Change::Gone => commit.batch.delete(self.store, &key),
            }
        }
        Ok(())
    }

    fn is_full(&self) -> bool {
        self.heap_bytes > self.budget_bytes
    }
}

fn push_foreign_key(key: &[u8], out: &mut Vec<u8>) {
    keys::push_field(Value::Bytes(key), out).expect("bytes can be a part of a key");
}

fn send_answer(
    outputs: &mut dyn Outputs,
    plan: &SubscriptionsPlan,
    (left_key, partition): (&[u8], LeftPartition),
    answer: &Answer<'_>,
    buffer: &mut Vec<u8>,
) -> Result<(), ProcessError> {
    send_message(
        outputs,
        (&plan.answers, partition),
        left_key,
        answer,
        answer.time,
        buffer,
    )
}

/// Keeps a subscription and answers it, or ends it.
fn take_subscription(
    context: &mut Context<'_>,
    operators: &mut [OperatorState],
    id: OperatorId,
    plan: &SubscriptionsPlan,
    foreign_key: &[u8],
    subscription: &Subscription<'_>,
    arena: &Bump,
) -> Result<(), ProcessError> {
    let Kind::Table(table) = &mut operators[plan.table].kind else {
        unreachable!("the planner puts a table there");
    };
    let row = table.rows.get(context, foreign_key, arena)?;
    let time = match row {
        Some(bytes) => {
            StoredRow::time_of(bytes).map_err(foreign(&context.plan.operators[id].node))?
        }
        None => subscription.time,
    };
    let Kind::Subscriptions(subscriptions) = &mut operators[id].kind else {
        unreachable!("subscriptions are kept here");
    };
    let left = (subscription.left_key, subscription.partition);
    let is_there = subscription.wish != Wish::End;
    let change = match is_there {
        true => Change::There(subscription.partition),
        false => Change::Gone,
    };
    subscriptions.set(foreign_key, subscription.left_key, change);
    if row.is_none() && subscription.wish != Wish::Word {
        return Ok(());
    }
    let answer = Answer {
        time,
        foreign_key,
        // The last answer may be on its way still when the left row has this foreign key again: it is
        // taken back, behind it.
        row: row.filter(|_| is_there),
    };
    let buffer = &mut subscriptions.buffer;
    send_answer(context.outputs, plan, left, &answer, buffer)
}

/// Answers all who have subscribed to a right row that has changed.
pub(super) fn change_row(
    context: &mut Context<'_>,
    operators: &mut [OperatorState],
    id: OperatorId,
    plan: &SubscriptionsPlan,
    row: &Row<'_, '_>,
) -> Result<(), ProcessError> {
    if row.no_value && matches!(row.before, Before::Row(None)) {
        return Ok(());
    }
    let foreign_key = row.key.unwrap_or_default();
    let Kind::Table(table) = &mut operators[plan.table].kind else {
        unreachable!("the planner puts a table there");
    };
    let answer = Answer {
        time: row.time,
        foreign_key,
        row: table.rows.get(context, foreign_key, row.arena)?,
    };
    let Kind::Subscriptions(subscriptions) = &mut operators[id].kind else {
        unreachable!("subscriptions are kept here");
    };
    subscriptions.answer_all(context, plan, &answer)
}
