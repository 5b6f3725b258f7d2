//! Deduplication: of rows with equal keys and times close to each other, the first to come passes.
//!
//! ```text
//!   within 10 s:        10 s    │    10 s
//!                  ├────────────p────────────┤       p has passed: whatever comes for its key with a
//!              o        d             d     o        time in there is a duplicate, and o is none
//! ```
//!
//! It is kept which times have passed, by key. The store's keys begin with the time, rounded down to a
//! bucket as long as `within`: of the times in a bucket at most one can have passed, so an entry is a
//! single time, three look-ups judge a row, and old entries are one range.

use std::convert::Infallible;

use bumpalo::collections::Vec as ArenaVec;

use super::aggregate::check_record_key;
use super::clock::{NodeProgress, StreamClock};
use super::input_clocks::InputClocks;
use super::operator::{Commit, Stateful};
use super::run::{RowFault, drop_row, pass_on};
use super::table::{Kept, Lookup, Table};
use super::{Context, DropReason, Kind, OperatorState, ProcessError, Progress, Row};
use crate::codec;
use crate::state::{StateBatch, StoreId, TaskState, keys};
use crate::time::Timestamp;
use crate::topology::graph::{OnDuplicate, OnError, OnLate};
use crate::topology::plan::{DeduplicatePlan, Operator, OperatorId};
use crate::value::Value;
use crate::window::Tumbling;

/// A deduplicate at work.
pub(super) struct Deduplicator {
    store: StoreId,
    within_ms: i64,
    grace_ms: i64,
    buckets: Tumbling,
    /// The times that have passed, by bucket and key.
    passed: Table<Passed>,
    /// How far the rows have come.
    clock: StreamClock,
    /// The table has all entries of buckets behind this one; unknown until the store was asked.
    complete_behind: Option<Timestamp>,
    /// The newest bucket with an entry that was made here.
    newest: Timestamp,
    key: Vec<u8>,
    buffer: Vec<u8>,
}

/// The time of a bucket that has passed.
#[derive(Clone, Copy, Debug)]
struct Passed(Timestamp);

impl Kept for Passed {
    fn heap_bytes(&self) -> usize {
        0
    }
}

/// What becomes of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Passes,
    /// Of one of that time.
    Duplicate(Timestamp),
    /// It is too old to be judged.
    Late,
}

/// Lets a row pass, unless it is a duplicate.
pub(super) fn judge_row(
    context: &mut Context<'_>,
    operators: &mut [OperatorState],
    id: OperatorId,
    plan: &DeduplicatePlan,
    row: &mut Row<'_, '_>,
) -> Result<(), ProcessError> {
    let node = &context.plan.operators[id].node;
    let Kind::Deduplicate(deduplicator) = &mut operators[id].kind else {
        unreachable!("a deduplicate is at work here");
    };
    let (on_error, RowFault { reason, message }) = match key(plan, row) {
        Err(fault) => (plan.on_error, fault),
        Ok(key) => {
            deduplicator.clock.advance(row.time);
            let by = deduplicator.clock.judge_by(row);
            let times = (row.time, by);
            match deduplicator.judge(context.state, node.as_str(), key, times)? {
                Verdict::Passes => return pass_on(context, operators, id, row),
                Verdict::Duplicate(of) => duplicate(plan.on_duplicate, row, of),
                Verdict::Late => late(plan.on_late, row, by),
            }
        }
    };
    let counts = &mut operators[id].counts;
    drop_row(context, counts, node, on_error, reason, &message, row)
}

/// What tells a row from others.
fn key<'a>(plan: &DeduplicatePlan, row: &Row<'_, 'a>) -> Result<&'a [u8], RowFault> {
    if let Some(slot) = plan.partitioned_by {
        check_record_key(row.fields[slot.index()], row.record.key)?;
    }
    let mut key = ArenaVec::with_capacity_in(64, row.arena);
    let mut push = |value: Value<'_>| {
        let pushed = keys::push_field(value, &mut key);
        pushed.map_err(|error| RowFault::of(DropReason::NullKey, &error))
    };
    if plan.by.is_empty() {
        push(Value::Bytes(row.key.ok_or_else(RowFault::null_key)?))?;
    }
    let view = row.view();
    for evaluator in &plan.by {
        let value = evaluator.eval(&view);
        push(value.map_err(|error| RowFault::expression(&error))?)?;
    }
    Ok(key.into_bump_slice())
}

fn duplicate(reaction: OnDuplicate, row: &Row<'_, '_>, of: Timestamp) -> (OnError, RowFault) {
    let (on_error, message) = match reaction {
        OnDuplicate::Drop => (OnError::Drop, String::new()),
        OnDuplicate::DeadLetter => {
            let message = format!("of {}: one of {of} has passed", row.time);
            (OnError::DeadLetter, message)
        }
    };
    let reason = DropReason::Duplicate;
    (on_error, RowFault { reason, message })
}

pub(super) fn late(
    reaction: OnLate,
    row: &Row<'_, '_>,
    stream_time: Timestamp,
) -> (OnError, RowFault) {
    let (on_error, message) = match reaction {
        OnLate::Drop => (OnError::Drop, String::new()),
        OnLate::DeadLetter => {
            let message = format!(
                "of {}: at {stream_time} it is too old to be known for a duplicate or not",
                row.time
            );
            (OnError::DeadLetter, message)
        }
    };
    let reason = DropReason::Late;
    (on_error, RowFault { reason, message })
}

impl Deduplicator {
    pub(super) fn new(
        plan: &DeduplicatePlan,
        budget_bytes: usize,
        progress: NodeProgress,
    ) -> Deduplicator {
        Deduplicator {
            store: plan.store,
            within_ms: plan.within_ms,
            grace_ms: plan.grace_ms,
            buckets: Tumbling {
                size_ms: plan.within_ms,
                grace_ms: 0,
            },
            passed: Table::new(budget_bytes),
            clock: StreamClock::new(progress, &plan.time),
            complete_behind: None,
            newest: Timestamp::MIN,
            key: Vec::new(),
            buffer: Vec::new(),
        }
    }

    /// Whether a row passes of that time, judged by that stream time; if it does, that is remembered.
    fn judge(
        &mut self,
        state: &dyn TaskState,
        node: &str,
        key: &[u8],
        (time, stream_time): (Timestamp, Timestamp),
    ) -> Result<Verdict, ProcessError> {
        let bucket = self.buckets.start_of(time);
        // What has been let go because a partition was silent may have passed or not.
        let is_forgotten = bucket.plus_millis(-self.within_ms) < self.purged_until();
        if is_forgotten || time < stream_time.plus_millis(-self.grace_ms) {
            return Ok(Verdict::Late);
        }
        // Nearly always a duplicate is in the same bucket.
        for shift_ms in [0, -self.within_ms, self.within_ms] {
            let near = self.passed_in(state, node, bucket.plus_millis(shift_ms), key)?;
            if let Some(at) = near
                && at.0.abs_diff(time.0) <= self.within_ms.unsigned_abs()
            {
                return Ok(Verdict::Duplicate(at));
            }
        }
        self.set_key(bucket, key);
        let id = match self.passed.find(&self.key) {
            Lookup::Found(_) => unreachable!("two that have passed are further apart than that"),
            Lookup::Absent(hash) => self.passed.insert(hash, &self.key, Passed(time)),
        };
        self.passed.change(id);
        self.newest = self.newest.max(bucket);
        Ok(Verdict::Passes)
    }

    /// The time of a bucket that has passed for a key.
    fn passed_in(
        &mut self,
        state: &dyn TaskState,
        node: &str,
        bucket: Timestamp,
        key: &[u8],
    ) -> Result<Option<Timestamp>, ProcessError> {
        self.set_key(bucket, key);
        let hash = match self.passed.find(&self.key) {
            Lookup::Found(id) => return Ok(Some(self.passed.get(id).0)),
            Lookup::Absent(hash) => hash,
        };
        if bucket > self.complete_behind(state)? || bucket < self.purged_until() {
            return Ok(None);
        }
        if !state.get(self.store, &self.key, &mut self.buffer)? {
            return Ok(None);
        }
        let time_ms = codec::decode(&self.buffer).map_err(|_| ProcessError::Damaged {
            node: node.to_owned(),
            what: "the time of a record that has passed",
        })?;
        let time = Timestamp(time_ms);
        self.passed.insert(hash, &self.key, Passed(time));
        Ok(Some(time))
    }

    /// Of buckets behind this one, the table has everything that the store has.
    fn complete_behind(&mut self, state: &dyn TaskState) -> Result<Timestamp, ProcessError> {
        if let Some(known) = self.complete_behind {
            return Ok(known);
        }
        state.last_key(self.store, &mut self.buffer)?;
        let newest = keys::split_window(&self.buffer).map_or(Timestamp::MIN, |(at, _)| at);
        Ok(*self.complete_behind.insert(newest))
    }

    fn set_key(&mut self, bucket: Timestamp, key: &[u8]) {
        self.key.clear();
        keys::push_window(bucket, &mut self.key);
        self.key.extend_from_slice(key);
    }

    /// Writes what has passed since the last commit.
    fn write(&mut self, batch: &mut StateBatch) {
        let Deduplicator {
            passed,
            store,
            buffer,
            ..
        } = self;
        let Ok(()) = passed.drain_dirty(|key, Passed(time)| {
            buffer.clear();
            codec::encode_into(&time.0, buffer);
            batch.put(*store, key, buffer);
            Ok::<(), Infallible>(())
        });
    }

    fn drop_old(&mut self, inputs: &InputClocks, batch: &mut StateBatch) {
        let time = self.clock.closing_time(inputs);
        if time > Timestamp::MIN {
            let needed_from = time.plus_millis(-self.grace_ms);
            self.purge(needed_from.plus_millis(-self.within_ms), batch);
        }
    }

    /// Entries of earlier buckets are gone from the store.
    fn purged_until(&self) -> Timestamp {
        Timestamp(self.clock.progress.emitted_until_ms)
    }

    /// Drops whole buckets before a time.
    fn purge(&mut self, until: Timestamp, batch: &mut StateBatch) {
        let until = self.buckets.start_of(until);
        if until > self.purged_until() {
            batch.expire(self.store, until);
            self.passed.forget_before(until);
            // Also after a restart nothing of before that may pass.
            self.clock.progress.emitted_until_ms = until.0;
        }
    }
}

impl Stateful for Deduplicator {
    fn flush(&mut self, commit: &mut Commit<'_, '_>) -> Result<(), ProcessError> {
        self.write(commit.batch);
        self.drop_old(commit.context.clocks, commit.batch);
        Ok(())
    }

    fn expire(&mut self, _: &Operator, inputs: &InputClocks, batch: &mut StateBatch) {
        self.drop_old(inputs, batch);
    }

    fn committed(&mut self) {
        self.passed.trim();
        if self.passed.entries().is_empty() {
            self.complete_behind = self.complete_behind.map(|known| known.max(self.newest));
        }
    }

    fn save(&self, operator: &Operator, progress: &mut Progress) {
        progress.set(operator.node.as_str(), self.clock.progress.clone());
    }

    fn is_full(&self) -> bool {
        self.passed.is_full()
    }

    fn stream_time(&self) -> Timestamp {
        self.clock.stream_time()
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{RngExt as _, SeedableRng as _};

    use super::*;
    use crate::state::StateBackend as _;
    use crate::state::memory::MemoryBackend;
    use crate::topology::plan::TimeSource;

    fn plan(within_ms: i64, grace_ms: i64) -> DeduplicatePlan {
        DeduplicatePlan {
            store: 0,
            by: Vec::new(),
            partitioned_by: None,
            within_ms,
            grace_ms,
            time: TimeSource::default(),
            on_duplicate: OnDuplicate::Drop,
            on_late: OnLate::Drop,
            on_error: OnError::Drop,
        }
    }

    /// Everything that has passed, in memory.
    #[derive(Default)]
    struct Model {
        passed: Vec<(String, i64)>,
        stream_time: Option<i64>,
    }

    impl Model {
        fn judge(&mut self, plan: &DeduplicatePlan, key: &str, time: i64) -> Verdict {
            let stream_time = self.stream_time.map_or(time, |known| known.max(time));
            self.stream_time = Some(stream_time);
            if time < stream_time - plan.grace_ms {
                return Verdict::Late;
            }
            let is_near =
                |(other, at): &&(String, i64)| *other == key && (at - time).abs() <= plan.within_ms;
            match self.passed.iter().any(|passed| is_near(&passed)) {
                true => Verdict::Duplicate(Timestamp(time)),
                false => {
                    self.passed.push((key.to_owned(), time));
                    Verdict::Passes
                }
            }
        }
    }

    /// What becomes of a record that is judged by those that have come.
    fn judge(
        deduplicator: &mut Deduplicator,
        state: &dyn TaskState,
        key: &str,
        time: i64,
    ) -> Verdict {
        let time = Timestamp(time);
        deduplicator.clock.advance(time);
        let times = (time, deduplicator.stream_time());
        let verdict = deduplicator.judge(state, "n", key.as_bytes(), times);
        verdict.unwrap()
    }

    /// Whatever a table in memory has room for, and whenever a task begins anew: what passes is what
    /// passes where everything is remembered.
    #[test]
    fn a_record_passes_unless_one_that_is_near_has_passed() {
        for seed in 0..200 {
            let random = &mut StdRng::seed_from_u64(seed);
            let (within, grace) = (random.random_range(1..20), random.random_range(0..40));
            let plan = plan(within, grace);
            let budget = [0, 600, 1 << 20][random.random_range(0..3)];
            let mut state = MemoryBackend::default()
                .open("t", &["s".to_owned()])
                .unwrap();
            let mut deduplicator = Deduplicator::new(&plan, budget, NodeProgress::default());
            let mut model = Model::default();
            let mut now = random.random_range(-50..50);
            for _ in 0..300 {
                now += random.random_range(0..6);
                let time = now - random.random_range(0..2) * random.random_range(0..60);
                let key = ["a", "b", "c"][random.random_range(0..3)];
                let found = match judge(&mut deduplicator, &*state, key, time) {
                    Verdict::Duplicate(of) => {
                        assert!(of.0.abs_diff(time) <= within as u64);
                        Verdict::Duplicate(Timestamp(time))
                    }
                    verdict => verdict,
                };
                let expected = model.judge(&plan, key, time);
                assert_eq!(found, expected, "seed {seed}: {key} at {time}, {plan:?}");
                if random.random_bool(0.1) {
                    let mut batch = StateBatch::default();
                    deduplicator.write(&mut batch);
                    deduplicator.drop_old(&InputClocks::none(), &mut batch);
                    state.write(&batch).unwrap();
                    deduplicator.committed();
                    if random.random_bool(0.3) {
                        let progress = deduplicator.clock.progress.clone();
                        deduplicator = Deduplicator::new(&plan, budget, progress.clone());
                    }
                }
            }
        }
    }

    #[test]
    fn bytes_of_the_format_stay_as_they_are() {
        let plan = plan(60_000, 0);
        let mut state = MemoryBackend::default()
            .open("t", &["s".to_owned()])
            .unwrap();
        let mut deduplicator = Deduplicator::new(&plan, 1 << 20, NodeProgress::default());
        let verdict = judge(&mut deduplicator, &*state, "k", 61_000);
        assert_eq!(verdict, Verdict::Passes);
        let mut batch = StateBatch::default();
        deduplicator.write(&mut batch);
        state.write(&batch).unwrap();
        let mut value = Vec::new();
        let key = [0x80, 0, 0, 0, 0, 0, 0xEA, 0x60, b'k'];
        assert!(state.get(0, &key, &mut value).unwrap());
        assert_eq!(value, [1, 252, 144, 220, 1, 0]);
    }
}
