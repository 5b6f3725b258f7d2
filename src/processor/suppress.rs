//! Suppression: rows are held back, the last one of each key and window, and leave in the order of
//! their times.
//!
//! ```text
//!   rows of an aggregate ──→ news (memory) ──┐ at each commit
//!                            last of each     ├─→ due ──────→ leaves, in the order of the times
//!                                             ├─→ too many ─→ the oldest leave early, or stop
//!                                             └─→ waits ────→ changelog, then the store
//! ```
//!
//! The store has a row under its time and what tells it from others, so that those that are due are
//! one range. The time is the end of its window (until that is closed), or the event time of the
//! first update that was held back (for a time): a later one takes its place. Where the time does not
//! follow from the row, the store has it under the row's identity as well.
//!
//! The invariant: what leaves depends on the rows that have come up to a commit and not on the order
//! in which those of one commit did. Rows are let go at the commit only, when all of them are there.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use bumpalo::Bump;

use super::clock::NodeProgress;
use super::input_clocks::InputClocks;
use super::joined::Events;
use super::operator::{Commit, Stateful};
use super::rows::{foreign, read_fields, stored_row};
use super::table::{Kept, Lookup, Table};
use super::{Before, Context, InRecord, Kind, OperatorState, ProcessError, Progress, Row, run_all};
use crate::codec;
use crate::headers::PackedHeaders;
use crate::record::StoredRow;
use crate::state::{StateBatch, StoreId, TaskState, keys};
use crate::time::Timestamp;
use crate::topology::graph::WhenFull;
use crate::topology::plan::{Bounds, Identity, Operator, OperatorId, Release, SuppressPlan, Work};
use crate::value::Value;

/// In front of the key of a row that waits: its time follows, and its identity.
const HELD: u8 = 1;

/// In front of the identity of a row, under which its time is.
const PLACE: u8 = 2;

/// A suppress at work.
pub(super) struct Suppressor {
    /// The rows that have come since the last commit, by identity.
    news: Table<News>,
    /// The highest event time of the rows that have come.
    stream_time: Timestamp,
    /// No row of the store has a time up to this.
    let_go_until: Timestamp,
    /// What waited at the last commit, or when the task was opened, has at least this time; none: nothing
    /// did.
    held_from: Option<Timestamp>,
    /// What is held back, where that is bounded; unknown until the store was asked.
    held: Option<Amount>,
    identity: Vec<u8>,
    buffer: Vec<u8>,
}

/// The last row of one identity.
#[derive(Debug)]
struct News {
    /// What it waits under, unless an earlier one does so already.
    at: Timestamp,
    no_value: bool,
    bytes: Vec<u8>,
}

impl Kept for News {
    fn heap_bytes(&self) -> usize {
        self.bytes.capacity()
    }
}

/// A row on its way through a commit, by its key in the store.
struct Waiting {
    bytes: Vec<u8>,
    /// The length of what the store has under its key, where that matters.
    stored: Option<usize>,
    /// Whether the store has something else.
    is_news: bool,
}

type AllWaiting = BTreeMap<Vec<u8>, Waiting>;

/// How much is held back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Amount {
    rows: u64,
    bytes: u64,
}

impl Amount {
    fn add(&mut self, key: &[u8], value_bytes: usize) {
        self.rows += 1;
        self.bytes += (key.len() + value_bytes) as u64;
    }

    fn take(&mut self, key: &[u8], value_bytes: usize) {
        self.rows -= 1;
        self.bytes -= (key.len() + value_bytes) as u64;
    }

    /// How much more it is than may be; none when it is not.
    fn beyond(&self, bounds: &Bounds) -> Option<Amount> {
        let more = |is: u64, most: Option<u64>| most.map_or(0, |most| is.saturating_sub(most));
        let beyond = Amount {
            rows: more(self.rows, bounds.max_rows),
            bytes: more(self.bytes, bounds.max_bytes),
        };
        (beyond != Amount::default()).then_some(beyond)
    }
}

/// A commit of one suppress.
struct Flush<'f, 'c> {
    context: &'f mut Context<'c>,
    operators: &'f mut [OperatorState],
    id: OperatorId,
    plan: &'f SuppressPlan,
    batch: &'f mut StateBatch,
    arena: &'f Bump,
    buffer: Vec<u8>,
}

/// Takes a row in, which leaves at a commit or later.
pub(super) fn hold_row(
    operators: &mut [OperatorState],
    id: OperatorId,
    plan: &SuppressPlan,
    row: &Row<'_, '_>,
) {
    let Kind::Suppress(suppressor) = &mut operators[id].kind else {
        unreachable!("a suppress is at work here");
    };
    suppressor.hold(plan, row);
}

impl Suppressor {
    pub(super) fn new(budget_bytes: usize, progress: &NodeProgress) -> Suppressor {
        Suppressor {
            news: Table::new(budget_bytes),
            stream_time: Timestamp(progress.stream_time_ms),
            let_go_until: Timestamp::MIN,
            held_from: None,
            held: None,
            identity: Vec::new(),
            buffer: Vec::new(),
        }
    }

    fn hold(&mut self, plan: &SuppressPlan, row: &Row<'_, '_>) {
        self.stream_time = self.stream_time.max(row.time);
        self.identity.clear();
        let end = push_identity(plan, row, &mut self.identity);
        let at = match plan.release {
            Release::Close { .. } => end,
            Release::TimeLimit { .. } => row.time,
        };
        let stored = stored_row(&plan.held, row);
        self.buffer.clear();
        codec::encode_into(&(row.key, row.no_value, &stored), &mut self.buffer);
        match self.news.find(&self.identity) {
            Lookup::Found(id) => {
                let news = self.news.change(id);
                news.no_value = row.no_value;
                news.bytes.clear();
                news.bytes.extend_from_slice(&self.buffer);
            }
            Lookup::Absent(hash) => {
                let news = News {
                    at,
                    no_value: row.no_value,
                    bytes: self.buffer.clone(),
                };
                let id = self.news.insert(hash, &self.identity, news);
                self.news.change(id);
            }
        }
    }

    /// Rows that wait under a time up to this are due.
    fn due_until(
        &self,
        release: Release,
        operators: &[OperatorState],
        inputs: &InputClocks,
    ) -> Timestamp {
        match release {
            Release::TimeLimit { ms } => self.stream_time.plus_millis(-ms),
            Release::Close {
                aggregate,
                after_end_ms,
                ..
            } => {
                let Kind::Aggregate(aggregate) = &operators[aggregate].kind else {
                    unreachable!("the planner names the aggregate in front");
                };
                // Behind a repartition a row may come from a partition that is far ahead, while
                // another one still adds to the window.
                let time = self.stream_time.min(aggregate.closing_time(inputs));
                time.plus_millis(-after_end_ms)
            }
        }
    }

    /// Puts the rows that have come since the last commit among those that wait.
    fn take_news(
        &mut self,
        flush: &mut Flush<'_, '_>,
        waiting: &mut AllWaiting,
    ) -> Result<(), ProcessError> {
        let held = &mut self.held;
        self.news
            .drain_dirty(|identity, news| -> Result<(), ProcessError> {
                let place = flush.place(identity)?;
                let key = held_key(place.unwrap_or(news.at), identity);
                let stored = match waiting.remove(&key) {
                    Some(due) => due.stored,
                    None => flush.stored_bytes(&key, place.is_some(), news.no_value)?,
                };
                if let (Some(held), Some(bytes)) = (held.as_mut(), stored) {
                    held.take(&key, bytes);
                }
                let never_leaves =
                    news.no_value && matches!(flush.plan.release, Release::Close { .. });
                if never_leaves {
                    return match stored {
                        Some(_) => {
                            flush.delete(&key);
                            Ok(())
                        }
                        None => Ok(()),
                    };
                }
                if let Some(held) = held.as_mut() {
                    held.add(&key, news.bytes.len());
                }
                let row = Waiting {
                    bytes: std::mem::take(&mut news.bytes),
                    stored,
                    is_news: true,
                };
                waiting.insert(key, row);
                Ok(())
            })?;
        self.news.clear();
        Ok(())
    }

    fn let_go(
        &mut self,
        flush: &mut Flush<'_, '_>,
        key: &[u8],
        row: &Waiting,
    ) -> Result<(), ProcessError> {
        if let Some(held) = &mut self.held {
            held.take(key, row.bytes.len());
        }
        if row.stored.is_some() {
            flush.delete(key);
            flush.delete_place(key);
        }
        flush.emit(&row.bytes)
    }

    /// Lets go the oldest rows until no more wait than may, or gives up.
    fn keep_bounds(
        &mut self,
        flush: &mut Flush<'_, '_>,
        waiting: &mut AllWaiting,
        first_kept: &[u8],
    ) -> Result<(), ProcessError> {
        let bounds = flush.plan.bounds;
        let Some(held) = self.held else {
            return Ok(());
        };
        let Some(beyond) = held.beyond(&bounds) else {
            return Ok(());
        };
        if bounds.when_full == WhenFull::Stop {
            return Err(ProcessError::Full {
                node: flush.node().to_owned(),
                rows: held.rows,
                bytes: held.bytes,
            });
        }
        flush.add_oldest(waiting, first_kept, beyond)?;
        while self.held.is_some_and(|held| held.beyond(&bounds).is_some())
            && let Some((key, row)) = waiting.pop_first()
        {
            self.let_go(flush, &key, &row)?;
        }
        Ok(())
    }
}

impl Stateful for Suppressor {
    fn open(&mut self, operator: &Operator, state: &dyn TaskState) -> Result<(), ProcessError> {
        let Work::Suppress(plan) = &operator.work else {
            unreachable!("a suppress is at work here");
        };
        let is_holding = is_held_from(state, plan.store, &[HELD])?;
        self.held_from = is_holding.then_some(Timestamp::MIN);
        Ok(())
    }

    /// Lets go what is due, and keeps the rest.
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
        let Work::Suppress(plan) = &context.plan.operators[id].work else {
            unreachable!("a suppress is at work here");
        };
        let due_until = self.due_until(plan.release, operators, context.clocks);
        let mut flush = Flush {
            context,
            operators,
            id,
            plan,
            batch,
            arena,
            buffer: Vec::new(),
        };
        if self.held.is_none() && !plan.bounds.is_unbounded() {
            self.held = Some(flush.count()?);
        }
        let mut waiting = match due_until > self.let_go_until {
            true => flush.stored(self.let_go_until, due_until)?,
            false => AllWaiting::new(),
        };
        self.take_news(&mut flush, &mut waiting)?;
        self.let_go_until = due_until;
        let first_kept = held_key(due_until.plus_millis(1), &[]);
        while let Some(first) = waiting.first_entry().filter(|it| *it.key() < first_kept) {
            let (key, row) = first.remove_entry();
            self.let_go(&mut flush, &key, &row)?;
        }
        self.keep_bounds(&mut flush, &mut waiting, &first_kept)?;
        for (key, row) in waiting.iter().filter(|(_, row)| row.is_news) {
            flush.keep(key, row);
        }
        let is_holding =
            !waiting.is_empty() || is_held_from(flush.context.state, plan.store, &first_kept)?;
        self.held_from = is_holding.then(|| match plan.release {
            Release::Close {
                longest_ms: Some(longest_ms),
                ..
            } if due_until > Timestamp::MIN => due_until.plus_millis(-longest_ms),
            Release::Close { .. } | Release::TimeLimit { .. } => Timestamp::MIN,
        });
        Ok(())
    }

    fn save(&self, operator: &Operator, progress: &mut Progress) {
        let own = NodeProgress {
            stream_time_ms: self.stream_time.0,
            ..NodeProgress::default()
        };
        progress.set(operator.node.as_str(), own);
    }

    fn holds_from(&self) -> Option<Timestamp> {
        self.held_from
    }

    fn is_full(&self) -> bool {
        self.news.is_full()
    }

    fn stream_time(&self) -> Timestamp {
        self.stream_time
    }
}

impl Flush<'_, '_> {
    fn node(&self) -> &str {
        self.context.plan.operators[self.id].node.as_str()
    }

    /// The rows of the store with a time behind the first one and up to the second.
    fn stored(&self, behind: Timestamp, up_to: Timestamp) -> Result<AllWaiting, ProcessError> {
        let from = match behind {
            Timestamp::MIN => held_key(behind, &[]),
            time => held_key(time.plus_millis(1), &[]),
        };
        let to = held_key(up_to.plus_millis(1), &[]);
        let mut rows = AllWaiting::new();
        let mut visit = |key: &[u8], value: &[u8]| {
            rows.insert(key.to_vec(), Waiting::stored(value));
            ControlFlow::Continue(())
        };
        let (state, store) = (self.context.state, self.plan.store);
        state.scan(store, &from, &to, &mut visit)?;
        Ok(rows)
    }

    /// How much the store holds back.
    fn count(&self) -> Result<Amount, ProcessError> {
        let mut amount = Amount::default();
        let mut visit = |key: &[u8], value: &[u8]| {
            amount.add(key, value.len());
            ControlFlow::Continue(())
        };
        let (state, store) = (self.context.state, self.plan.store);
        state.scan(store, &[HELD], &[HELD + 1], &mut visit)?;
        Ok(amount)
    }

    /// Adds the oldest rows of the store to those that wait, until they come to so much.
    fn add_oldest(
        &self,
        waiting: &mut AllWaiting,
        first_kept: &[u8],
        amount: Amount,
    ) -> Result<(), ProcessError> {
        let mut found = Amount::default();
        let mut visit = |key: &[u8], value: &[u8]| {
            let row = waiting
                .entry(key.to_vec())
                .or_insert_with(|| Waiting::stored(value));
            found.add(key, row.bytes.len());
            match found.rows >= amount.rows && found.bytes >= amount.bytes {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        };
        let (state, store) = (self.context.state, self.plan.store);
        Ok(state.scan(store, first_kept, &[HELD + 1], &mut visit)?)
    }

    /// The time under which a row waits already, where that does not follow from the row.
    fn place(&mut self, identity: &[u8]) -> Result<Option<Timestamp>, ProcessError> {
        if matches!(self.plan.release, Release::Close { .. }) {
            return Ok(None);
        }
        let key = [&[PLACE], identity].concat();
        let (state, store) = (self.context.state, self.plan.store);
        if !state.get(store, &key, &mut self.buffer)? {
            return Ok(None);
        }
        let time_ms = codec::decode(&self.buffer);
        let time_ms = time_ms.map_err(|_| ProcessError::Damaged {
            node: self.node().to_owned(),
            what: "the time of a row that is held back",
        })?;
        Ok(Some(Timestamp(time_ms)))
    }

    /// The length of what the store has under a key, if it has something and that matters: what is
    /// to be deleted, or counted.
    fn stored_bytes(
        &mut self,
        key: &[u8],
        has_place: bool,
        is_deletion: bool,
    ) -> Result<Option<usize>, ProcessError> {
        if self.plan.bounds.is_unbounded() && (has_place || !is_deletion) {
            return Ok(has_place.then_some(0));
        }
        let (state, store) = (self.context.state, self.plan.store);
        let is_there = state.get(store, key, &mut self.buffer)?;
        Ok(is_there.then_some(self.buffer.len()))
    }

    /// Writes a row that waits into the store.
    fn keep(&mut self, key: &[u8], row: &Waiting) {
        self.put(key, &row.bytes);
        if let (Release::TimeLimit { .. }, None) = (self.plan.release, row.stored) {
            let (time, identity) = split(key);
            let mut value = Vec::new();
            codec::encode_into(&time.0, &mut value);
            self.put(&[&[PLACE], identity].concat(), &value);
        }
    }

    fn delete_place(&mut self, key: &[u8]) {
        if let Release::TimeLimit { .. } = self.plan.release {
            self.delete(&[&[PLACE], split(key).1].concat());
        }
    }

    fn put(&mut self, key: &[u8], value: &[u8]) {
        self.batch.put(self.plan.store, key, value);
    }

    fn delete(&mut self, key: &[u8]) {
        self.batch.delete(self.plan.store, key);
    }

    /// Sends a row on, to the operators behind and to SQL sinks.
    fn emit(&mut self, bytes: &[u8]) -> Result<(), ProcessError> {
        let sub_topology = self.context.plan;
        let operator = &sub_topology.operators[self.id];
        let arena = self.arena;
        let held = codec::decode_borrowed(arena.alloc_slice_copy(bytes), arena);
        let (key, no_value, stored): (Option<&[u8]>, bool, StoredRow<'_>) =
            held.map_err(foreign(&operator.node))?;
        self.operators[self.id].counts.output += 1;
        if operator.next.is_empty() {
            return Ok(());
        }
        let fields = arena.alloc_slice_fill_copy(sub_topology.slots, Value::Missing);
        read_fields(&stored, &self.plan.wanted, arena, fields);
        let time = stored.time();
        let mut row = Row {
            record: InRecord {
                topic: "",
                partition: self.context.partition().0,
                offset: -1,
                timestamp: time,
                key,
                value: stored.event().map(|event| event.bytes()),
                headers: PackedHeaders::NONE,
            },
            key,
            time,
            judged_by: time,
            fields,
            arena,
            event: None,
            joined: &[],
            no_value,
            before: match self.plan.replaces {
                true => Before::Unknown,
                false => Before::Stream,
            },
        };
        Events::of_kept(&stored, true, arena).give_to(&mut row);
        run_all(self.context, self.operators, &operator.next, &mut row)
    }
}

impl Waiting {
    /// As the store has it.
    fn stored(value: &[u8]) -> Waiting {
        Waiting {
            bytes: value.to_vec(),
            stored: Some(value.len()),
            is_news: false,
        }
    }
}

/// Appends what tells a row from others: its key; of a result, its aggregate's, and start and end of
/// its window. Gives the end.
fn push_identity(plan: &SuppressPlan, row: &Row<'_, '_>, out: &mut Vec<u8>) -> Timestamp {
    let Identity::Result { by, window } = &plan.identity else {
        out.extend_from_slice(row.key.unwrap_or_default());
        return Timestamp(i64::MAX);
    };
    for slot in by {
        keys::push_field(row.fields[slot.index()], out).expect("made of an aggregate's key");
    }
    let Some((start, end)) = *window else {
        return Timestamp(i64::MAX);
    };
    let [start, end] = [start, end].map(|slot| match row.fields[slot.index()] {
        Value::Time(time) => time,
        _ => unreachable!("an aggregate fills in its windows"),
    });
    keys::push_window(start, out);
    keys::push_window(end, out);
    end
}

/// Whether a store holds something back from this key on.
fn is_held_from(state: &dyn TaskState, store: StoreId, from: &[u8]) -> Result<bool, ProcessError> {
    let mut is_held = false;
    let mut visit = |_: &[u8], _: &[u8]| {
        is_held = true;
        ControlFlow::Break(())
    };
    state.scan(store, from, &[HELD + 1], &mut visit)?;
    Ok(is_held)
}

/// The key of a row that waits.
fn held_key(time: Timestamp, identity: &[u8]) -> Vec<u8> {
    [&[HELD], keys::window_bytes(time).as_slice(), identity].concat()
}

/// Takes such a key apart: time and identity.
fn split(key: &[u8]) -> (Timestamp, &[u8]) {
    keys::split_window(&key[1..]).expect("made by held_key")
}
