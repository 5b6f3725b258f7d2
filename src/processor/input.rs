//! From a record of an input to a row, and on to the first operators.

use super::aggregate::{self, end_of};
use super::event_time::{event_time, is_ahead};
use super::fold::Partial;
use super::input_clocks::UpstreamTime;
use super::table::{Folded, FoldedError};
use super::{
    Before, Context, DropReason, InRecord, NodeCounts, OperatorState, ProcessError, Row, RowFault,
    drop_row, foreign, rows, run_all,
};
use crate::aggregate::Accumulator;
use crate::codec::{self, Decode, DecodeError, Encode};
use crate::format::{EventReader, Format, ReadError, RegistryError};
use crate::state::keys;
use crate::time::Timestamp;
use crate::topology::duration::Millis;
use crate::topology::graph::{Emit, Function, NodeName, NullValues};
use crate::topology::plan::{Input, Reader, ResultReader, ResultSlots, ResultTopic, SourceReader};
use crate::value::Value;

/// The key of the commit marker in a changelog; no store key is this short.
pub(crate) const MARKER_KEY: &[u8] = &[0];

/// A record could not be processed.
pub(super) enum InputError {
    /// The schema cannot be had by which this node's source reads it. Nothing has been done with it.
    Registry(NodeName, RegistryError),
    Process(ProcessError),
}

impl From<ProcessError> for InputError {
    fn from(error: ProcessError) -> InputError {
        InputError::Process(error)
    }
}

pub(super) fn read(
    context: &mut Context<'_>,
    operators: &mut [OperatorState],
    counts: &mut NodeCounts,
    number: usize,
    reader: Option<&mut EventReader>,
    now: Timestamp,
    row: &mut Row<'_, '_>,
) -> Result<(), InputError> {
    counts.input += 1;
    let input = &context.plan.inputs[number];
    match &input.reader {
        Reader::Source(source) => {
            let reader = reader.expect("the events of a source have a reader");
            match read_event(source, reader, now, row) {
                Ok(()) => {
                    counts.output += 1;
                    row.judged_by = context.clocks.advance(number, row.time);
                    run_all(context, operators, &input.next, row)?;
                }
                Err(Fault::Row(RowFault { reason, message })) => {
                    let (node, on_error) = (&source.node, source.on_error);
                    drop_row(context, counts, node, on_error, reason, &message, row)?;
                }
                Err(Fault::Registry(error)) => {
                    return Err(InputError::Registry(source.node.clone(), error));
                }
            }
        }
        Reader::Results(results) => read_result(context, operators, counts, results, input, row)?,
        Reader::Rows(rows) => rows::read_row(context, operators, counts, rows, number, row)?,
        Reader::Partials => read_partial(context, operators, counts, number, row)?,
        Reader::Foreign => foreign::take_message(context, operators, input.next[0], row)?,
    }
    Ok(())
}

/// Why a record does not become a row.
enum Fault {
    Row(RowFault),
    Registry(RegistryError),
}

impl Fault {
    fn row(reason: DropReason, message: impl std::fmt::Display) -> Fault {
        Fault::Row(RowFault::of(reason, &message))
    }
}

/// Makes a row of an event whose time may be.
fn read_event(
    source: &SourceReader,
    reader: &mut EventReader,
    now: Timestamp,
    row: &mut Row<'_, '_>,
) -> Result<(), Fault> {
    decode_event(source, reader, now, row)?;
    match source.max_ahead_ms {
        Some(max_ahead_ms) if is_ahead(row.time, source.max_ahead_ms, now) => {
            let (time, max_ahead) = (row.time, Millis(max_ahead_ms));
            let message = format!("the event time {time} is more than {max_ahead} ahead of {now}");
            Err(Fault::row(DropReason::Ahead, message))
        }
        _ => Ok(()),
    }
}

/// Fills the row from the record's value and finds its event time.
fn decode_event(
    source: &SourceReader,
    reader: &mut EventReader,
    now: Timestamp,
    row: &mut Row<'_, '_>,
) -> Result<(), Fault> {
    let value = match row.record.value {
        None if source.null_values == NullValues::Pass => {
            row.fields.fill(Value::Missing);
            rows::fill_key(source.key, row);
            return Ok(());
        }
        None => {
            let message = "expected an event, found a tombstone";
            return Err(Fault::row(DropReason::NoValue, message));
        }
        // A text may be empty, and so are messages all of whose fields are 0.
        Some([]) if source.format == Format::Json => {
            let message = "expected an event, found no bytes";
            return Err(Fault::row(DropReason::NoValue, message));
        }
        Some(value) => value,
    };
    match reader.read(value, row.arena, row.fields, now) {
        Ok(event) => row.event = Some(event),
        Err(ReadError::Unreadable(found)) => {
            return Err(Fault::row(DropReason::Unreadable, found));
        }
        Err(ReadError::Registry(error)) => return Err(Fault::Registry(error)),
    }
    if let Some(slot) = source.timestamp {
        row.time = event_time(row.fields[slot.index()]).map_err(|found| {
            let path = source.projection.path_of(slot);
            let field = path.map_or_else(String::new, |path| format!("{path}: "));
            Fault::row(DropReason::NoTimestamp, format_args!("{field}{found}"))
        })?;
    }
    Ok(())
}

/// A result from a changelog or results topic.
fn read_result(
    context: &mut Context<'_>,
    operators: &mut [OperatorState],
    counts: &mut NodeCounts,
    results: &ResultReader,
    input: &Input,
    row: &mut Row<'_, '_>,
) -> Result<(), ProcessError> {
    let damaged = || ProcessError::Damaged {
        node: results.node.to_string(),
        what: "a result's key",
    };
    let (Some(key), Some(value)) = (row.record.key, row.record.value) else {
        // What is deleted from a store was told by other means.
        return Ok(());
    };
    if key == MARKER_KEY {
        return Ok(());
    }
    let (start, group) = keys::split_window(key).map_err(|_| damaged())?;
    let by = keys::read_fields(group, row.arena).map_err(|_| damaged())?;
    if by.len() != results.slots.by.len() {
        return Err(damaged());
    }
    let change = match results.topic {
        ResultTopic::Changelog => {
            Folded::decode(value, &results.functions).map(|folded| StoredChange {
                end_ms: end_of(&results.windows, start).0,
                time_ms: folded.max_time_ms,
                folded: Some(folded),
            })
        }
        ResultTopic::Results => StoredChange::decode(value, &results.functions),
    };
    let change = change.map_err(|source| ProcessError::Foreign {
        node: results.node.to_string(),
        source,
    })?;
    row.time = Timestamp(change.time_ms);
    row.judged_by = row.time;
    row.no_value = change.folded.is_none();
    row.before = match results.emit {
        Emit::Updates => Before::Unknown,
        Emit::Close => Before::Stream,
    };
    let accumulators = change.folded.map(|folded| folded.accumulators);
    let parts = ResultParts {
        by,
        start,
        end: Timestamp(change.end_ms),
        accumulators: accumulators.as_deref(),
    };
    fill_result(row, &results.slots, &parts);
    counts.output += 1;
    run_all(context, operators, &input.next, row)
}

/// A result on its way to a SQL sink; the record's key is the window's start and the group's key.
#[derive(Debug, Encode, Decode)]
pub(super) struct StoredChange<F = Folded> {
    end_ms: i64,
    time_ms: i64,
    /// None: the window is no more.
    folded: Option<F>,
}

impl StoredChange {
    /// Appends the bytes of a result, or of the word that there is none.
    pub(super) fn encode(
        end: Timestamp,
        time: Timestamp,
        folded: Option<&Folded>,
        out: &mut Vec<u8>,
    ) {
        let change = StoredChange {
            end_ms: end.0,
            time_ms: time.0,
            folded,
        };
        codec::encode_into(&change, out);
    }

    /// The event time, without reading the rest.
    pub(super) fn time_of(bytes: &[u8]) -> Result<Timestamp, DecodeError> {
        let (_end_ms, time_ms): (i64, i64) = codec::decode_beginning(bytes)?;
        Ok(Timestamp(time_ms))
    }

    fn decode(bytes: &[u8], functions: &[Function]) -> Result<StoredChange, FoldedError> {
        let change: StoredChange = codec::decode(bytes)?;
        if let Some(folded) = &change.folded {
            folded.check(functions)?;
        }
        Ok(change)
    }
}

/// What a row behind an aggregate is made of.
pub(super) struct ResultParts<'p, 'a> {
    pub(super) by: &'p [Value<'a>],
    pub(super) start: Timestamp,
    pub(super) end: Timestamp,
    /// None: there is no result any more.
    pub(super) accumulators: Option<&'p [Accumulator]>,
}

/// Puts the parts of a result into their slots.
pub(super) fn fill_result<'a>(
    row: &mut Row<'_, 'a>,
    slots: &ResultSlots,
    parts: &ResultParts<'_, 'a>,
) {
    for (slot, value) in slots.by.iter().zip(parts.by) {
        row.set(*slot, *value);
    }
    if let Some((start, end)) = slots.window {
        row.set(start, Value::Time(parts.start));
        row.set(end, Value::Time(parts.end));
    }
    for (read, slot) in &slots.results {
        let value = match parts.accumulators {
            Some(accumulators) => accumulators[read.accumulator].read(&read.function, row.arena),
            None => Value::Null,
        };
        row.set(*slot, value);
    }
}

/// Whether an upstream of a repartition says with a record only how far it is.
pub(super) fn is_about_time(reader: &Reader, record: &InRecord<'_>) -> bool {
    match reader {
        Reader::Partials => record.key.is_none(),
        Reader::Rows(rows) => rows::is_about_time(rows, record),
        Reader::Source(_) | Reader::Results(_) | Reader::Foreign => false,
    }
}

/// A partial result of a repartition topic, or the stream time of one of its writers.
fn read_partial(
    context: &mut Context<'_>,
    operators: &mut [OperatorState],
    counts: &mut NodeCounts,
    input: usize,
    row: &Row<'_, '_>,
) -> Result<(), ProcessError> {
    let id = context.plan.inputs[input].next[0];
    let operator = &context.plan.operators[id];
    let damaged = |what| {
        move |_| ProcessError::Damaged {
            node: operator.node.to_string(),
            what,
        }
    };
    let value = row.record.value.unwrap_or_default();
    match row.record.key {
        None => {
            let time: UpstreamTime =
                codec::decode(value).map_err(damaged("an upstream's stream time"))?;
            context.clocks.upstream(input, &time);
            Ok(())
        }
        Some(group) => {
            let partial: Partial = codec::decode(value).map_err(damaged("a partial result"))?;
            counts.output += 1;
            aggregate::fold_partial(context, operators, id, group, &partial, row)
        }
    }
}
