//! How a row passes from operator to operator.

use super::{
    Context, DeadLetter, DropReason, NodeCounts, OperatorState, ProcessError, Row, aggregate,
    outputs,
};
use crate::expr::{EvalError, Evaluator};
use crate::topology::graph::{NodeName, OnError};
use crate::topology::plan::{Assignment, OperatorId, Way, Work};
use crate::value::{Slot, Value};

/// What becomes of a row in an operator with one output.
enum Fate {
    Passes,
    /// It loses its value: there is no row of this key any more.
    Tombstone,
    Ends,
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
    ids.iter()
        .try_for_each(|id| run(context, operators, *id, row))
}

fn run(
    context: &mut Context<'_>,
    operators: &mut [OperatorState],
    id: OperatorId,
    row: &mut Row<'_, '_>,
) -> Result<(), ProcessError> {
    let plan = context.plan;
    let operator = &plan.operators[id];
    operators[id].counts.input += 1;
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
        Work::SelectKey { key, on_error } => match key.eval(&row.view()) {
            Ok(key) => {
                let key = outputs::key_bytes(&key, row.arena);
                let before = std::mem::replace(&mut row.key, key);
                let done = pass_on(context, operators, id, row);
                row.key = before;
                return done;
            }
            Err(error) => Err(fault(on_error, &error)),
        },
        Work::Branch { ways, on_error } => match way_of(ways, row) {
            Ok(way) => return run_ways(context, operators, id, ways, way, row),
            Err(error) => Err(fault(on_error, &error)),
        },
        Work::Pass => Ok(Fate::Passes),
        Work::Merge { moves } => {
            for (from, to) in moves {
                let value = from.map_or(Value::Missing, |slot| row.fields[slot.index()]);
                row.set(*to, value);
            }
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
        Work::Kafka(kafka) => match outputs::write_record(context, kafka, row) {
            Ok(()) => Ok(Fate::Passes),
            Err(failure) => Err((kafka.on_error, failure.row_fault()?)),
        },
        Work::Sql(sql) => match outputs::write_row(context, sql, row) {
            Ok(()) => Ok(Fate::Passes),
            Err(failure) => Err((sql.on_error, failure.row_fault()?)),
        },
        Work::Aggregate(_) | Work::Fold(_) => {
            return aggregate::fold_row(context, operators, id, row);
        }
    };
    match fate {
        Ok(Fate::Passes) => pass_on(context, operators, id, row),
        Ok(Fate::Tombstone) => pass_tombstone(context, operators, id, row),
        Ok(Fate::Ends) => Ok(()),
        Err((on_error, RowFault { reason, message })) => {
            let counts = &mut operators[id].counts;
            drop_row(
                context,
                counts,
                &operator.node,
                on_error,
                reason,
                &message,
                row,
            )
        }
    }
}

/// Sends a row on to whoever is behind an operator.
fn pass_on(
    context: &mut Context<'_>,
    operators: &mut [OperatorState],
    id: OperatorId,
    row: &mut Row<'_, '_>,
) -> Result<(), ProcessError> {
    operators[id].counts.output += 1;
    let next = &context.plan.operators[id].next;
    run_all(context, operators, next, row)
}

/// Sends on that there is no row of this key any more.
fn pass_tombstone(
    context: &mut Context<'_>,
    operators: &mut [OperatorState],
    id: OperatorId,
    row: &mut Row<'_, '_>,
) -> Result<(), ProcessError> {
    let before = std::mem::replace(&mut row.no_value, true);
    let done = pass_on(context, operators, id, row);
    row.no_value = before;
    done
}

fn filter(condition: &Evaluator, passes_when: bool, row: &Row<'_, '_>) -> Result<Fate, EvalError> {
    if row.takes_back() {
        return Ok(Fate::Passes);
    }
    Ok(match condition.test(&row.view())? == passes_when {
        true => Fate::Passes,
        false if row.is_update => Fate::Tombstone,
        false => Fate::Ends,
    })
}

fn map(
    set: &[Assignment],
    tombstone_if: Option<&Evaluator>,
    row: &mut Row<'_, '_>,
) -> Result<Fate, RowFault> {
    for Assignment { field, slot, value } in set {
        let value = match value.eval(&row.view()) {
            Ok(value) => value,
            // Nobody but a key needs the fields of a row that is no more.
            Err(_) if row.no_value => Value::Null,
            Err(error) => return Err(RowFault::expression_of(field.as_str(), &error)),
        };
        row.set(*slot, value);
    }
    let Some(condition) = tombstone_if.filter(|_| !row.no_value) else {
        return Ok(Fate::Passes);
    };
    match condition.test(&row.view()) {
        Ok(true) => Ok(Fate::Tombstone),
        Ok(false) => Ok(Fate::Passes),
        Err(error) => Err(RowFault::expression_of("tombstone_if", &error)),
    }
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
    let before = std::mem::replace(&mut row.is_update, false);
    let done = list.iter().enumerate().try_for_each(|(at, value)| {
        row.set(element, *value);
        if let Some(position) = position {
            row.set(position, Value::Int(at as i64));
        }
        pass_on(context, operators, id, row)
    });
    row.is_update = before;
    done
}

/// The number of the first way whose condition is true; none for a row that takes back what may
/// have gone any way.
fn way_of(ways: &[Way], row: &Row<'_, '_>) -> Result<Option<usize>, EvalError> {
    if row.takes_back() {
        return Ok(None);
    }
    for (at, way) in ways.iter().enumerate() {
        match &way.condition {
            Some(condition) if condition.test(&row.view())? => return Ok(Some(at)),
            Some(_) => {}
            None => return Ok(Some(at)),
        }
    }
    unreachable!("the planner adds a way without a condition")
}

/// Sends a row one way; of an update the other ways learn that it is not theirs.
fn run_ways(
    context: &mut Context<'_>,
    operators: &mut [OperatorState],
    id: OperatorId,
    ways: &[Way],
    taken: Option<usize>,
    row: &mut Row<'_, '_>,
) -> Result<(), ProcessError> {
    let is_passed_on = taken.is_none_or(|taken| ways[taken].next.is_some());
    operators[id].counts.output += u64::from(is_passed_on);
    operators[id].counts.filtered += u64::from(!is_passed_on);
    let before = row.no_value;
    for (at, way) in ways.iter().enumerate() {
        let is_taken = taken == Some(at);
        let Some(next) = way.next.filter(|_| is_taken || row.is_update) else {
            continue;
        };
        row.no_value = before || !is_taken;
        let done = run(context, operators, next, row);
        row.no_value = before;
        done?;
    }
    Ok(())
}

fn log(node: &NodeName, text: Option<&Evaluator>, row: &Row<'_, '_>) {
    let text = match text.map(|text| text.eval(&row.view())) {
        Some(Ok(Value::Str(text))) => text.into(),
        Some(Ok(value)) => outputs::json_text(&value, row.arena),
        Some(Err(error)) => format!("({error})").into(),
        None => String::from_utf8_lossy(row.record.value.unwrap_or(b"(no value)")),
    };
    let (topic, partition, offset) = (row.record.topic, row.record.partition, row.record.offset);
    let key = row.key.map(String::from_utf8_lossy).unwrap_or_default();
    tracing::info!(%node, topic, partition, offset, %key, time = %row.time, "{text}");
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
