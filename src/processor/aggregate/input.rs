//! How rows and partial results come into aggregates, and into the near sides of repartitions.

use std::io::Write as _;

use bumpalo::Bump;
use bumpalo::collections::Vec as ArenaVec;

use super::{Added, Addition};
use crate::aggregate::check_arguments;
use crate::expr;
use crate::processor::fold::Partial;
use crate::processor::outputs::key_bytes;
use crate::processor::run::{RowFault, drop_fault, drop_row};
use crate::processor::{Before, Context, DropReason, Kind, OperatorState, ProcessError, Row};
use crate::state::keys;
use crate::time::Timestamp;
use crate::topology::graph::{OnError, OnLate};
use crate::topology::plan::{FoldShape, KeyPart, KeyPlace, OperatorId, Work};
use crate::value::{Value, ValueType};
use crate::window::Placed;

/// Folds a row into the aggregate or fold with that number.
pub(in crate::processor) fn fold_row(
    context: &mut Context<'_>,
    operators: &mut [OperatorState],
    id: OperatorId,
    row: &Row<'_, '_>,
) -> Result<(), ProcessError> {
    let operator = &context.plan.operators[id];
    let shape = operator
        .work
        .fold_shape()
        .expect("run() sends rows to folds only");
    if let Before::Row(_) = row.before {
        return fold_update(context, operators, id, shape, row);
    }
    let prepared = match row.no_value && !shape.windows.take_null_values() {
        true => Err(RowFault {
            reason: DropReason::NoValue,
            message: "expected a record with a value, found a tombstone".to_owned(),
        }),
        false => prepare(shape, &row.view(), !row.no_value, row),
    };
    match prepared {
        Ok(Prepared { group, arguments }) => {
            let addition = Addition::Row {
                time: row.time,
                shape,
                arguments,
            };
            add(context, operators, id, group, &addition, row)
        }
        Err(fault) => drop_fault(context, operators, id, shape.on_error, &fault, row),
    }
}

/// Folds in a row of a table: it counts in its group, and the earlier one that it replaces no longer
/// does in its own. One that is in no group counts nowhere, as in Kafka Streams.
fn fold_update(
    context: &mut Context<'_>,
    operators: &mut [OperatorState],
    id: OperatorId,
    shape: &FoldShape,
    row: &Row<'_, '_>,
) -> Result<(), ProcessError> {
    // An earlier one that could not be counted was dropped then.
    let before = row.view_before();
    let before = before.and_then(|view| prepare(shape, &view, true, row).ok());
    let now = match row.no_value {
        true => None,
        false => match prepare(shape, &row.view(), true, row) {
            Ok(now) => Some(now),
            Err(fault) => {
                if fault.reason != DropReason::NullKey {
                    drop_fault(context, operators, id, shape.on_error, &fault, row)?;
                }
                None
            }
        },
    };
    match (&before, &now) {
        (None, None) => {
            operators[id].counts.filtered += 1;
            Ok(())
        }
        (Some(before), Some(now)) if before.group == now.group => {
            let both = update(row.time, shape, Some(before), Some(now));
            add(context, operators, id, now.group, &both, row)
        }
        _ => {
            if let Some(before) = &before {
                let taken = update(row.time, shape, Some(before), None);
                add(context, operators, id, before.group, &taken, row)?;
            }
            if let Some(now) = &now {
                let added = update(row.time, shape, None, Some(now));
                add(context, operators, id, now.group, &added, row)?;
            }
            Ok(())
        }
    }
}

fn update<'a>(
    time: Timestamp,
    shape: &'a FoldShape,
    before: Option<&Prepared<'a>>,
    now: Option<&Prepared<'a>>,
) -> Addition<'a> {
    Addition::Update {
        time,
        shape,
        before: before.map(|prepared| prepared.arguments),
        now: now.map(|prepared| prepared.arguments),
    }
}

/// Adds what comes with a row to a group.
fn add(
    context: &mut Context<'_>,
    operators: &mut [OperatorState],
    id: OperatorId,
    group: &[u8],
    addition: &Addition<'_>,
    row: &Row<'_, '_>,
) -> Result<(), ProcessError> {
    let operator = &context.plan.operators[id];
    let (added, shape) = match (&mut operators[id].kind, &operator.work) {
        (Kind::Fold(fold), Work::Fold(plan)) => {
            let stream_time = fold.time.judge_by(row, context.clocks);
            let Placed { place, late } = plan.shape.windows.place(row.time, stream_time);
            match place {
                Some(place) if plan.one_by_one => {
                    fold.send(plan, place, group, addition, context.outputs)?;
                }
                Some(place) => fold.add(place, group, addition),
                None => {}
            }
            (Added { late, fault: None }, &plan.shape)
        }
        (Kind::Aggregate(aggregate), Work::Aggregate(plan)) => {
            aggregate.clock.advance(row.time);
            let stream_time = aggregate.clock.judge_by(row);
            let Placed { place, late } = plan.shape.windows.place(row.time, stream_time);
            let mut added = match place {
                Some(place) => aggregate.add(context, id, place, group, addition, row)?,
                None => Added::default(),
            };
            added.late += late;
            (added, &plan.shape)
        }
        _ => unreachable!("run() sends rows to folds only"),
    };
    drop_added(context, operators, id, shape, &added, row)
}

/// What of a row is folded in.
struct Prepared<'a> {
    /// The key of its group.
    group: &'a [u8],
    /// The arguments of all functions, one behind the other.
    arguments: &'a [Value<'a>],
}

/// The key and the arguments of all functions, checked: a row counts wholly or not at all.
fn prepare<'a>(
    shape: &FoldShape,
    view: &expr::Row<'_, 'a>,
    has_value: bool,
    row: &Row<'_, 'a>,
) -> Result<Prepared<'a>, RowFault> {
    if let Some(slot) = shape.partitioned_by {
        check_record_key(view.fields[slot.index()], row.record.key)?;
    }
    let mut key = ArenaVec::with_capacity_in(64, row.arena);
    for part in &shape.by {
        let value = match &part.place {
            KeyPlace::Field(slot) => view.fields[slot.index()],
            KeyPlace::Inside(inside) => {
                let value = inside.eval(view);
                value.map_err(|error| no_key(part, &error))?
            }
        };
        keys::push_field(as_declared(value, part.kind, row.arena), &mut key)
            .map_err(|error| no_key(part, &error))?;
    }
    let mut arguments = ArenaVec::with_capacity_in(shape.calls.len() + 4, row.arena);
    for (function, evaluators) in &shape.calls {
        let first = arguments.len();
        for evaluator in evaluators {
            // A record without a value counts, and adds nothing.
            let value = match has_value {
                true => evaluator.eval(view),
                false => Ok(Value::Null),
            };
            arguments.push(value.map_err(|error| RowFault::of(DropReason::Expression, &error))?);
        }
        check_arguments(function, &arguments[first..])
            .map_err(|error| RowFault::of(DropReason::Expression, &error))?;
    }
    Ok(Prepared {
        group: key.into_bump_slice(),
        arguments: arguments.into_bump_slice(),
    })
}

/// A row that is in no group.
fn no_key(part: &KeyPart, error: &dyn std::fmt::Display) -> RowFault {
    RowFault {
        reason: DropReason::NullKey,
        message: format!("{}: {error}", part.path),
    }
}

/// A part of a key as its field is declared: JSON has numbers that are texts and the other way round, and
/// what is one row in a table, and one key in a topic, must be one group.
fn as_declared<'a>(value: Value<'a>, kind: ValueType, arena: &'a Bump) -> Value<'a> {
    match (kind, value) {
        (ValueType::Int, Value::Str(text)) => text.parse().map_or(value, Value::Int),
        (ValueType::Float, Value::Str(text)) => match text.parse::<f64>() {
            Ok(number) if number.is_finite() => Value::Float(number),
            _ => value,
        },
        (ValueType::Str, Value::Int(_) | Value::Float(_) | Value::Bool(_)) => {
            match key_bytes(&value, arena).map(str::from_utf8) {
                Some(Ok(text)) => Value::Str(text),
                _ => value,
            }
        }
        _ => value,
    }
}

/// A topic that is said to be keyed by a field must be: rows of one key in two partitions would
/// overwrite each other's results.
pub(in crate::processor) fn check_record_key(
    field: Value<'_>,
    key: Option<&[u8]>,
) -> Result<(), RowFault> {
    // A whole number has at most so many digits and a sign.
    let mut digits = [0; 20];
    let is_key = |text: &[u8]| key == Some(text);
    let fits = match field {
        Value::Missing | Value::Null => true,
        Value::Str(text) => is_key(text.as_bytes()),
        Value::Bytes(bytes) => is_key(bytes),
        Value::Bool(value) => is_key(if value { b"true" } else { b"false" }),
        Value::Int(number) => {
            let mut left = digits.as_mut_slice();
            let room = left.len();
            write!(left, "{number}").expect("room for all digits");
            let length = room - left.len();
            is_key(&digits[..length])
        }
        _ => false,
    };
    match fits {
        true => Ok(()),
        false => Err(RowFault {
            reason: DropReason::KeyMismatch,
            message: format!(
                "the source says that records are keyed by this field, but it holds {} and the \
                 record's key is {}",
                match field {
                    Value::Str(text) => format!("`{text}`"),
                    Value::Int(number) => format!("`{number}`"),
                    other => format!("a value of type {}", other.type_name()),
                },
                match key {
                    Some(key) => format!("`{}`", String::from_utf8_lossy(key)),
                    None => "missing".to_owned(),
                }
            ),
        }),
    }
}

/// Merges a partial result into the aggregate behind a repartition.
pub(in crate::processor) fn fold_partial(
    context: &mut Context<'_>,
    operators: &mut [OperatorState],
    id: OperatorId,
    group: &[u8],
    partial: &Partial,
    row: &Row<'_, '_>,
) -> Result<(), ProcessError> {
    let plan = context.plan;
    let operator = &plan.operators[id];
    let (Kind::Aggregate(aggregate), Work::Aggregate(aggregate_plan)) =
        (&mut operators[id].kind, &operator.work)
    else {
        unreachable!("the planner puts an aggregate behind a repartition");
    };
    aggregate
        .clock
        .advance(Timestamp(partial.folded.max_time_ms));
    let place = partial.place();
    let addition = Addition::Partial(&partial.folded);
    let added = aggregate.add(context, id, place, group, &addition, row)?;
    drop_added(context, operators, id, &aggregate_plan.shape, &added, row)
}

/// Puts a record aside that came too late or whose results leave it open whether they stay.
fn drop_added(
    context: &mut Context<'_>,
    operators: &mut [OperatorState],
    id: OperatorId,
    shape: &FoldShape,
    added: &Added,
    row: &Row<'_, '_>,
) -> Result<(), ProcessError> {
    drop_late(context, operators, id, shape, added.late, row)?;
    let Some(fault) = &added.fault else {
        return Ok(());
    };
    let fault = RowFault::expression_of("delete_if", fault);
    drop_fault(context, operators, id, shape.on_error, &fault, row)
}

/// Counts the windows for which a row came too late; it is put aside once.
fn drop_late(
    context: &mut Context<'_>,
    operators: &mut [OperatorState],
    id: OperatorId,
    shape: &FoldShape,
    late: u64,
    row: &Row<'_, '_>,
) -> Result<(), ProcessError> {
    if late == 0 {
        return Ok(());
    }
    let on_late = match shape.on_late {
        OnLate::Drop => OnError::Drop,
        OnLate::DeadLetter => OnError::DeadLetter,
    };
    let message = match (on_late, late) {
        (OnError::Drop, _) => String::new(),
        (_, 1) => format!("the window of {} is closed", row.time),
        (_, late) => format!("{late} windows of {} are closed", row.time),
    };
    let node = &context.plan.operators[id].node;
    let counts = &mut operators[id].counts;
    for _ in 1..late {
        counts.dropped(DropReason::Late);
    }
    drop_row(
        context,
        counts,
        node,
        on_late,
        DropReason::Late,
        &message,
        row,
    )
}
