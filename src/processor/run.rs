//! How a row passes from operator to operator.

use super::{
    Before, Context, DeadLetter, DropReason, Kind, NodeCounts, OperatorState, ProcessError, Row,
    aggregate, custom, deduplicate, foreign, global_join, join, outputs, rows, stream_join,
    suppress,
};
use crate::expr::{self, EvalError, Evaluator};
use crate::topology::graph::{NodeName, OnError};
use crate::topology::plan::{Assignment, OperatorId, Route, Way, Work};
use crate::value::{Slot, Value};

/// What becomes of a row in an operator with one output.
#[derive(Clone, Copy)]
enum Fate {
    Passes,
    /// Only its value passes, or only the earlier row that it replaces, which is thereby taken back.
    Partly(Parts),
    Ends,
}

/// What of a row passes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Parts {
    pub(super) value: bool,
    pub(super) before: bool,
}

impl Fate {
    /// Of a row that loses its value: there is none of its key any more.
    const TOMBSTONE: Fate = Fate::Partly(Parts {
        value: false,
        before: true,
    });

    /// Of a row that replaces a known one, when it is known which of the two pass.
    fn of(parts: Parts) -> Fate {
        match parts {
            Parts {
                value: false,
                before: false,
            } => Fate::Ends,
            parts => Fate::Partly(parts),
        }
    }
}

/// Why a single row cannot go on.
pub(super) struct RowFault {
    pub(super) reason: DropReason,
    pub(super) message: String,
}

impl RowFault {
    pub(super) fn of(reason: DropReason, error: &dyn std::fmt::Display) -> RowFault {
        RowFault {
            reason,
            message: error.to_string(),
        }
    }

    /// One of several expressions of a node has failed.
    pub(super) fn expression_of(name: &str, error: &dyn std::fmt::Display) -> RowFault {
        RowFault::expression(&format_args!("{name}: {error}"))
    }

    pub(super) fn null_key() -> RowFault {
        RowFault::of(DropReason::NullKey, &"the record has no key")
    }

    pub(super) fn expression(error: &dyn std::fmt::Display) -> RowFault {
        RowFault::of(DropReason::Expression, error)
    }
}

/// Runs a row through these operators and everything behind them.
pub(super) fn run_all(
    context: &mut Context<'_>,
    operators: &mut [OperatorState],
    ids: &[OperatorId],
    row: &mut Row<'_, '_>,
) -> Result<(), ProcessError> {
    ids.iter().try_for_each(|id| match context.is_for(*id) {
        true => run(context, operators, *id, row),
        false => Ok(()),
    })
}

fn run(
    context: &mut Context<'_>,
    operators: &mut [OperatorState],
    id: OperatorId,
    row: &mut Row<'_, '_>,
) -> Result<(), ProcessError> {
    let plan = context.plan;
    let operator = &plan.operators[id];
    // What is sent is counted where it came from, and where it arrives.
    let is_counted = !matches!(operator.work, Work::Send(_) | Work::Subscriptions(_));
    operators[id].counts.input += u64::from(is_counted);
    let fault = |on_error: &OnError, error: &EvalError| (*on_error, RowFault::expression(error));
    let fate = match &operator.work {
        Work::Filter {
            condition,
            passes_when,
            on_error,
        } => match filter(condition, *passes_when, row) {
            Ok(fate) => {
                operators[id].counts.filtered += u64::from(!matches!(fate, Fate::Passes));
                Ok(fate)
            }
            Err(error) => Err(fault(on_error, &error)),
        },
        Work::Map {
            set,
            tombstone_if,
            on_error,
        } => map(set, tombstone_if.as_ref(), row).map_err(|found| (*on_error, found)),
        Work::FlatMap {
            each,
            element,
            position,
            on_error,
        } => match elements(each, row) {
            Ok(list) => {
                return run_elements(context, operators, id, (*element, *position), list, row);
            }
            Err(found) => Err((*on_error, found)),
        },
        Work::SelectKey { key, on_error } => match keys(key, row) {
            Ok(keys) => return run_keys(context, operators, id, keys, row),
            Err(error) => Err(fault(on_error, &error)),
        },
        Work::Branch { ways, on_error } => match taken(ways, row) {
            Ok(taken) => return run_ways(context, operators, id, ways, &taken, row),
            Err(error) => Err(fault(on_error, &error)),
        },
        Work::Pass => Ok(Fate::Passes),
        Work::Merge { moves } => {
            move_fields(moves, row);
            Ok(Fate::Passes)
        }
        Work::Log { text, every } => {
            let OperatorState {
                logged, is_copy, ..
            } = &mut operators[id];
            if !*is_copy && logged.is_multiple_of(*every) {
                log(&operator.node, text.as_ref(), row);
            }
            *logged += 1;
            Ok(Fate::Passes)
        }
        Work::Kafka(kafka) => {
            let writer = match &mut operators[id].kind {
                Kind::Write(writer) => Some(&mut **writer),
                _ => None,
            };
            match outputs::write_record(context, kafka, writer, row) {
                Ok(()) => Ok(Fate::Passes),
                Err(failure) => Err((kafka.on_error, failure.row_fault(&operator.node)?)),
            }
        }
        Work::Sql(sql) => match outputs::write_row(context, sql, row) {
            Ok(()) => Ok(Fate::Passes),
            Err(failure) => Err((sql.on_error, failure.row_fault(&operator.node)?)),
        },
        Work::Updates { on_error } if row.key.is_none() => Err((*on_error, RowFault::null_key())),
        Work::Updates { .. } => {
            let before = std::mem::replace(&mut row.before, Before::Unknown);
            let done = pass_on(context, operators, id, row);
            row.before = before;
            return done;
        }
        Work::ToStream => {
            let before = std::mem::replace(&mut row.before, Before::Stream);
            let done = pass_on(context, operators, id, row);
            row.before = before;
            return done;
        }
        Work::Table(table) => match row.key {
            Some(key) => return rows::keep_row(context, operators, id, table, key, row),
            None => Err((table.on_error, RowFault::null_key())),
        },
        Work::Suppress(plan) => {
            suppress::hold_row(operators, id, plan, row);
            return Ok(());
        }
        Work::Deduplicate(plan) => {
            return deduplicate::judge_row(context, operators, id, plan, row);
        }
        Work::Process(plan) => return custom::process_row(context, operators, id, plan, row),
        Work::Join(join) => return join::join_row(context, operators, id, join, row),
        Work::GlobalJoin(join) => {
            return global_join::join_record(context, operators, id, join, row);
        }
        Work::StreamJoin(join) => {
            return stream_join::join_record(context, operators, id, join, row);
        }
        Work::ForeignJoin(join) => return foreign::join_row(context, operators, id, join, row),
        Work::Subscriptions(plan) => {
            return foreign::change_row(context, operators, id, plan, row);
        }
        Work::Send(send) if send.route == Route::ByKey && row.key.is_none() => {
            Err((send.on_error, RowFault::null_key()))
        }
        Work::Send(send) => return rows::send_row(context, operators, id, send, row),
        Work::Aggregate(_) | Work::Fold(_) => {
            return aggregate::fold_row(context, operators, id, row);
        }
    };
    match fate {
        Ok(fate) => meet(context, operators, id, fate, row),
        Err((on_error, fault)) => {
            drop_fault(context, operators, id, on_error, &fault, row)?;
            take_back(context, operators, id, row)
        }
    }
}

/// Sends on what comes through of a row.
fn meet(
    context: &mut Context<'_>,
    operators: &mut [OperatorState],
    id: OperatorId,
    fate: Fate,
    row: &mut Row<'_, '_>,
) -> Result<(), ProcessError> {
    match fate {
        Fate::Passes => pass_on(context, operators, id, row),
        Fate::Partly(parts) => partly(parts, row, |row| pass_on(context, operators, id, row)),
        Fate::Ends => Ok(()),
    }
}

/// A row that does not come through, because an expression fails, takes the place of an earlier one all
/// the same: what that one has left behind the operator is taken back, as if there were no row any more.
fn take_back(
    context: &mut Context<'_>,
    operators: &mut [OperatorState],
    id: OperatorId,
    row: &mut Row<'_, '_>,
) -> Result<(), ProcessError> {
    if row.no_value || matches!(row.before, Before::Stream | Before::Row(None)) {
        return Ok(());
    }
    row.no_value = true;
    // Without a value nothing can fail.
    let done = match &context.plan.operators[id].work {
        Work::Filter {
            condition,
            passes_when,
            ..
        } => match filter(condition, *passes_when, row) {
            Ok(fate) => meet(context, operators, id, fate, row),
            Err(_) => Ok(()),
        },
        Work::Map {
            set, tombstone_if, ..
        } => match map(set, tombstone_if.as_ref(), row) {
            Ok(fate) => meet(context, operators, id, fate, row),
            Err(_) => Ok(()),
        },
        Work::SelectKey { key, .. } => match keys(key, row) {
            Ok(keys) => run_keys(context, operators, id, keys, row),
            Err(_) => Ok(()),
        },
        Work::Branch { ways, .. } => match taken(ways, row) {
            Ok(taken) => run_ways(context, operators, id, ways, &taken, row),
            Err(_) => Ok(()),
        },
        _ => Ok(()),
    };
    row.no_value = false;
    done
}

/// Sends a row on to whoever is behind an operator.
pub(super) fn pass_on(
    context: &mut Context<'_>,
    operators: &mut [OperatorState],
    id: OperatorId,
    row: &mut Row<'_, '_>,
) -> Result<(), ProcessError> {
    operators[id].counts.output += 1;
    let next = &context.plan.operators[id].next;
    run_all(context, operators, next, row)
}

/// Runs what sees only these parts of a row.
pub(super) fn partly<T>(
    parts: Parts,
    row: &mut Row<'_, '_>,
    run: impl FnOnce(&mut Row<'_, '_>) -> T,
) -> T {
    let had_no_value = row.no_value;
    row.no_value |= !parts.value;
    let hidden = match (&mut row.before, parts.before) {
        (Before::Row(before), false) => before.take(),
        _ => None,
    };
    let done = run(row);
    row.no_value = had_no_value;
    if let (Before::Row(before), Some(hidden)) = (&mut row.before, hidden) {
        *before = Some(hidden);
    }
    done
}

fn filter(condition: &Evaluator, passes_when: bool, row: &Row<'_, '_>) -> Result<Fate, EvalError> {
    let test = || Ok(condition.test(&row.view())? == passes_when);
    Ok(match &row.before {
        Before::Stream => match test()? {
            true => Fate::Passes,
            false => Fate::Ends,
        },
        Before::Unknown => match row.no_value || test()? {
            true => Fate::Passes,
            false => Fate::TOMBSTONE,
        },
        Before::Row(_) => Fate::of(Parts {
            value: !row.no_value && test()?,
            before: row.view_before().is_some_and(|before| {
                // One that failed did not pass.
                condition.test(&before).is_ok_and(|is| is == passes_when)
            }),
        }),
    })
}

fn map(
    set: &[Assignment],
    tombstone_if: Option<&Evaluator>,
    row: &mut Row<'_, '_>,
) -> Result<Fate, RowFault> {
    // An earlier row that failed did not come through.
    let mut has_failed_before = false;
    for Assignment { field, slot, value } in set {
        let before = row.view_before().map(|before| value.eval(&before));
        let value = match value.eval(&row.view()) {
            Ok(value) => value,
            // Nobody but a key needs the fields of a row that is no more.
            Err(_) if row.no_value => Value::Null,
            Err(error) => return Err(RowFault::expression_of(field.as_str(), &error)),
        };
        row.set(*slot, value);
        if let Some(before) = before {
            has_failed_before |= before.is_err();
            row.set_before(*slot, before.unwrap_or(Value::Null));
        }
    }
    let value = match tombstone_if {
        None if !has_failed_before => return Ok(Fate::Passes),
        _ if row.no_value => false,
        None => true,
        Some(condition) => !condition
            .test(&row.view())
            .map_err(|error| RowFault::expression_of("tombstone_if", &error))?,
    };
    Ok(match &row.before {
        Before::Row(_) => {
            let before = row.view_before().is_some_and(|before| {
                let has_value = |condition: &Evaluator| !condition.test(&before).unwrap_or(true);
                !has_failed_before && tombstone_if.is_none_or(has_value)
            });
            // Unlike a filter, a map is never silent: of no row after no row it tells as well.
            Fate::Partly(Parts { value, before })
        }
        Before::Stream | Before::Unknown if value || row.no_value => Fate::Passes,
        Before::Stream | Before::Unknown => Fate::TOMBSTONE,
    })
}

/// Copies fields to other places, where there are any, of the earlier row too.
pub(super) fn move_fields(moves: &[(Option<Slot>, Slot)], row: &mut Row<'_, '_>) {
    let move_in = |fields: &mut [Value<'_>]| {
        for (from, to) in moves {
            let value = from.map_or(Value::Missing, |slot| fields[slot.index()]);
            fields[to.index()] = value;
        }
    };
    move_in(row.fields);
    if let Before::Row(Some(before)) = &mut row.before {
        move_in(before);
    }
}

/// The key that a row is given, and what the earlier one had.
#[derive(Clone, Copy)]
struct Keys<'a> {
    own: Option<&'a [u8]>,
    earlier: Earlier<'a>,
}

/// The key of an earlier row.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Earlier<'a> {
    /// There was none, or it had the same one.
    Same,
    Other(Option<&'a [u8]>),
    /// It could not be given one, and did not come through.
    Failed,
}

fn keys<'a>(key: &Evaluator, row: &Row<'_, 'a>) -> Result<Keys<'a>, EvalError> {
    let bytes = |value: &Value<'a>| outputs::key_bytes(value, row.arena);
    let before = row.view_before().map(|before| key.eval(&before));
    let own = match key.eval(&row.view()) {
        Ok(key) => bytes(&key),
        Err(_) if row.no_value => None,
        Err(error) => return Err(error),
    };
    let earlier = match before {
        None => Earlier::Same,
        Some(Err(_)) => Earlier::Failed,
        Some(Ok(before)) => match bytes(&before) {
            // What is no more is so under its own key.
            own if row.no_value => {
                let earlier = Earlier::Same;
                return Ok(Keys { own, earlier });
            }
            before if before == own => Earlier::Same,
            before => Earlier::Other(before),
        },
    };
    Ok(Keys { own, earlier })
}

/// Sends a row on under its new key; under the earlier one, that it is no more.
fn run_keys<'a>(
    context: &mut Context<'_>,
    operators: &mut [OperatorState],
    id: OperatorId,
    keys: Keys<'a>,
    row: &mut Row<'_, 'a>,
) -> Result<(), ProcessError> {
    if row.no_value && keys.earlier == Earlier::Failed {
        return Ok(());
    }
    let record_key = row.key;
    if let Earlier::Other(before) = keys.earlier {
        row.key = before;
        let only_before = Parts {
            value: false,
            before: true,
        };
        partly(only_before, row, |row| pass_on(context, operators, id, row))?;
    }
    row.key = keys.own;
    let parts = Parts {
        value: true,
        before: keys.earlier == Earlier::Same,
    };
    let done = partly(parts, row, |row| pass_on(context, operators, id, row));
    row.key = record_key;
    done
}

/// The list of which rows are to be made; empty when there is none.
fn elements<'a>(each: &Evaluator, row: &Row<'_, 'a>) -> Result<&'a [Value<'a>], RowFault> {
    match each.eval(&row.view()) {
        Ok(Value::List(list)) => Ok(list),
        Ok(Value::Missing | Value::Null) => Ok(&[]),
        Err(_) if row.no_value => Ok(&[]),
        Err(error) => Err(RowFault::expression(&error)),
        Ok(other) => {
            let message = format!("expected a list, found {}", other.type_name());
            Err(RowFault::expression(&message))
        }
    }
}

/// Elements are no updates: which ones an earlier list had is not known.
fn run_elements<'a>(
    context: &mut Context<'_>,
    operators: &mut [OperatorState],
    id: OperatorId,
    (element, position): (Slot, Option<Slot>),
    list: &[Value<'a>],
    row: &mut Row<'_, 'a>,
) -> Result<(), ProcessError> {
    let before = std::mem::replace(&mut row.before, Before::Stream);
    let done = list.iter().enumerate().try_for_each(|(at, value)| {
        row.set(element, *value);
        if let Some(position) = position {
            row.set(position, Value::Int(at as i64));
        }
        pass_on(context, operators, id, row)
    });
    row.before = before;
    done
}

/// The number of the first way whose condition is true.
fn way_of(ways: &[Way], row: &expr::Row<'_, '_>) -> Result<usize, EvalError> {
    for (at, way) in ways.iter().enumerate() {
        match &way.condition {
            Some(condition) if condition.test(row)? => return Ok(at),
            Some(_) => {}
            None => return Ok(at),
        }
    }
    unreachable!("the planner adds a way without a condition")
}

/// The ways that a row and the earlier one take.
struct Taken {
    value: Option<usize>,
    before: Ways,
}

enum Ways {
    None,
    One(usize),
    /// Perhaps any.
    All,
}

fn taken(ways: &[Way], row: &Row<'_, '_>) -> Result<Taken, EvalError> {
    let is_only_taken_back = row.no_value && !matches!(row.before, Before::Stream);
    let value = match is_only_taken_back {
        true => None,
        false => Some(way_of(ways, &row.view())?),
    };
    let before = match &row.before {
        Before::Stream => Ways::None,
        Before::Unknown => Ways::All,
        // One that failed went no way.
        Before::Row(_) => match row.view_before().map(|before| way_of(ways, &before)) {
            Some(Ok(way)) => Ways::One(way),
            Some(Err(_)) | None => Ways::None,
        },
    };
    Ok(Taken { value, before })
}

/// Sends a row its way; the way of the earlier one, if it is another, learns before that it is no more:
/// where ways come together again, the row is what is said last.
fn run_ways(
    context: &mut Context<'_>,
    operators: &mut [OperatorState],
    id: OperatorId,
    ways: &[Way],
    taken: &Taken,
    row: &mut Row<'_, '_>,
) -> Result<(), ProcessError> {
    let is_passed_on = taken.value.is_none_or(|way| ways[way].next.is_some());
    operators[id].counts.output += u64::from(is_passed_on);
    operators[id].counts.filtered += u64::from(!is_passed_on);
    let others = (0..ways.len()).filter(|at| Some(*at) != taken.value);
    for at in others.chain(taken.value) {
        let parts = Parts {
            value: taken.value == Some(at),
            before: match taken.before {
                Ways::None => false,
                Ways::One(before) => before == at,
                Ways::All => true,
            },
        };
        if let Some(next) = ways[at].next
            && let Fate::Partly(parts) = Fate::of(parts)
        {
            partly(parts, row, |row| run(context, operators, next, row))?;
        }
    }
    Ok(())
}

fn log(node: &NodeName, text: Option<&Evaluator>, row: &Row<'_, '_>) {
    let text = match text.map(|text| text.eval(&row.view())) {
        Some(Ok(Value::Str(text))) => text.into(),
        Some(Ok(value)) => outputs::json_text(&value, row.arena).into(),
        Some(Err(error)) => format!("({error})").into(),
        None => String::from_utf8_lossy(row.event.map_or(b"(no value)", |event| event.bytes())),
    };
    let (topic, partition, offset) = (row.record.topic, row.record.partition, row.record.offset);
    let key = row.key.map(String::from_utf8_lossy).unwrap_or_default();
    tracing::info!(%node, topic, partition, offset, %key, time = %row.time, "{text}");
}

/// Drops a row that an operator cannot take, as that operator says.
pub(super) fn drop_fault(
    context: &mut Context<'_>,
    operators: &mut [OperatorState],
    id: OperatorId,
    on_error: OnError,
    fault: &RowFault,
    row: &Row<'_, '_>,
) -> Result<(), ProcessError> {
    let node = &context.plan.operators[id].node;
    let counts = &mut operators[id].counts;
    let RowFault { reason, message } = fault;
    drop_row(context, counts, node, on_error, *reason, message, row)
}

/// Counts a row that does not come through, and does with it what the node says.
pub(super) fn drop_row(
    context: &mut Context<'_>,
    counts: &mut NodeCounts,
    node: &NodeName,
    on_error: OnError,
    reason: DropReason,
    message: &str,
    row: &Row<'_, '_>,
) -> Result<(), ProcessError> {
    counts.dropped(reason);
    let letter = DeadLetter {
        node: node.as_str(),
        reason,
        message,
        record: row.record,
    };
    match on_error {
        OnError::Drop => Ok(()),
        OnError::DeadLetter => Ok(context.outputs.dead_letter(&letter)?),
        OnError::Stop => Err(ProcessError::stop(&letter)),
    }
}
