//! What leaves a task, and how rows become records and cells.

use base64::display::Base64Display;
use base64::engine::general_purpose::STANDARD as BASE64;
use bumpalo::Bump;
use bumpalo::collections::Vec as ArenaVec;

use super::{Context, DropReason, InRecord, ProcessError, Row, RowFault};
use crate::broker::BrokerError;
use crate::expr::EvalError;
use crate::format::{EventWriter, RegistryError, WriteError};
use crate::headers::PackedHeaders;
use crate::record::{Event, WHOLE_VALUE};
use crate::time::Timestamp;
use crate::topology::graph::NodeName;
use crate::topology::plan::{KafkaPlan, SqlPlan, WrittenValue};
use crate::value::Value;

/// Takes what a task gives: to the log, to a table, or into a test.
pub trait Outputs {
    /// Writes a record.
    ///
    /// # Errors
    /// When the log does not take it.
    fn produce(&mut self, record: Produced<'_>) -> Result<(), OutputError>;

    /// Takes a row of the table of a SQL sink.
    ///
    /// # Errors
    /// When the row cannot be kept.
    fn row(&mut self, row: TableRow<'_, '_>) -> Result<(), OutputError>;

    /// Writes a record that could not be handled to the dead-letter topic.
    ///
    /// # Errors
    /// When the log does not take it.
    fn dead_letter(&mut self, letter: &DeadLetter<'_>) -> Result<(), OutputError>;

    /// How many partitions a repartition topic has.
    fn partitions(&self, topic: &str) -> u32;
}

/// A record to be written.
#[derive(Clone, Copy, Debug)]
pub struct Produced<'a> {
    /// The topic.
    pub topic: &'a str,
    /// Where to; none: by the hash of the key.
    pub partition: Option<i32>,
    /// The key.
    pub key: Option<&'a [u8]>,
    /// The value; none is a tombstone.
    pub value: Option<&'a [u8]>,
    /// The event time.
    pub timestamp: Timestamp,
    /// The headers.
    pub headers: PackedHeaders<'a>,
}

/// A row for a table.
#[derive(Clone, Copy, Debug)]
pub struct TableRow<'r, 'a> {
    /// One per column of the sink, none a list or an object; of a deletion, only those of the key
    /// count.
    pub cells: &'r [Value<'a>],
    /// Whether the row with that key is to be deleted.
    pub deleted: bool,
    /// Where it came from.
    pub record: InRecord<'a>,
}

/// A record that could not be handled.
#[derive(Clone, Copy, Debug)]
pub struct DeadLetter<'a> {
    /// The node that could not.
    pub node: &'a str,
    /// What kind of trouble.
    pub reason: DropReason,
    /// What exactly.
    pub message: &'a str,
    /// The record as it came.
    pub record: InRecord<'a>,
}

/// An output was not taken.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// The log's reasons.
    #[error(transparent)]
    Broker(#[from] BrokerError),
}

/// A sink could not write a row.
pub(super) enum SinkFailure {
    /// Of this field or column.
    Expression(String, EvalError),
    /// The row does not fit the schema.
    Unwritable(String),
    /// The schema cannot be had.
    Registry(RegistryError),
    Output(OutputError),
}

impl SinkFailure {
    /// What is wrong with the row, if it alone is at fault; anything else ends the task's work.
    pub(super) fn row_fault(self, node: &NodeName) -> Result<RowFault, ProcessError> {
        let error = match self {
            SinkFailure::Expression(name, error) => {
                return Ok(RowFault::expression_of(&name, &error));
            }
            SinkFailure::Unwritable(reason) => {
                return Ok(RowFault::of(DropReason::Unwritable, &reason));
            }
            SinkFailure::Registry(source) => {
                return Err(ProcessError::Registry {
                    node: node.to_string(),
                    source,
                });
            }
            SinkFailure::Output(error) => error,
        };
        let reason = match &error {
            OutputError::Broker(BrokerError::TooLarge { .. }) => DropReason::TooLarge,
            OutputError::Broker(BrokerError::Refused { .. }) => DropReason::RefusedByTopic,
            OutputError::Broker(_) => return Err(error.into()),
        };
        Ok(RowFault::of(reason, &error))
    }
}

/// Writes a row to the topic of a Kafka sink; `writer` is there if its records have a schema.
pub(super) fn write_record(
    context: &mut Context<'_>,
    plan: &KafkaPlan,
    writer: Option<&mut EventWriter>,
    row: &Row<'_, '_>,
) -> Result<(), SinkFailure> {
    let view = row.view();
    let value = match row.no_value {
        true => None,
        false => written_value(plan, writer, row)?,
    };
    let key = match &plan.key {
        None => row.key,
        Some(evaluator) => {
            // A row that is deleted is so under the key that it had.
            let deleted = row.view_before().filter(|_| row.no_value);
            let key = evaluator.eval(&deleted.unwrap_or(view));
            let key = key.map_err(|error| failed("key", error))?;
            key_bytes(&key, row.arena)
        }
    };
    let record = Produced {
        topic: &plan.topic,
        partition: None,
        key,
        value,
        timestamp: row.time,
        headers: match plan.passes_headers {
            true => row.record.headers,
            false => PackedHeaders::NONE,
        },
    };
    context.outputs.produce(record).map_err(SinkFailure::Output)
}

fn failed(name: &str, error: EvalError) -> SinkFailure {
    SinkFailure::Expression(name.to_owned(), error)
}

/// The value of the record that is written of a row; none if there is no event any more.
fn written_value<'w, 'a: 'w>(
    plan: &KafkaPlan,
    writer: Option<&'w mut EventWriter>,
    row: &Row<'_, 'a>,
) -> Result<Option<&'w [u8]>, SinkFailure> {
    let view = row.view();
    Ok(match &plan.value {
        WrittenValue::AsItCame => row.event.map(|event| event.bytes()),
        WrittenValue::EventAsJson => row.event.map(|event| event_json(event, row.arena)),
        WrittenValue::Json(fields) => {
            let mut json = ArenaVec::new_in(row.arena);
            json.push(b'{');
            for (at, (name, evaluator)) in fields.iter().enumerate() {
                if at > 0 {
                    json.push(b',');
                }
                push_text(name, &mut json);
                json.push(b':');
                let value = evaluator.eval(&view);
                push_json(&value.map_err(|error| failed(name, error))?, &mut json);
            }
            json.push(b'}');
            Some(json.into_bump_slice())
        }
        WrittenValue::Single(evaluator) => {
            let value = evaluator.eval(&view);
            let value = value.map_err(|error| failed(WHOLE_VALUE, error))?;
            let bytes = key_bytes(&value, row.arena);
            let missing = || SinkFailure::Unwritable("expected a value, found null".to_owned());
            Some(bytes.ok_or_else(missing)?)
        }
        WrittenValue::Record(_, fields) => {
            let mut entries = ArenaVec::with_capacity_in(fields.len(), row.arena);
            for (name, evaluator) in fields {
                let value = evaluator.eval(&view);
                entries.push((name.as_str(), value.map_err(|error| failed(name, error))?));
            }
            let writer = writer.expect("records with a schema have a writer");
            let written = writer.write(&entries);
            Some(written.map_err(|error| match error {
                WriteError::Unfit(unfit) => SinkFailure::Unwritable(unfit.to_string()),
                WriteError::Registry(error) => SinkFailure::Registry(error),
            })?)
        }
    })
}

/// An event as a JSON object, whatever its format.
fn event_json<'a>(event: Event<'a>, arena: &'a Bump) -> &'a [u8] {
    let whole = |value: Value<'a>| {
        let entry = arena.alloc_slice_copy(&[(WHOLE_VALUE, value)]);
        json_text(&Value::Map(entry), arena).as_bytes()
    };
    match event {
        Event::Json(bytes) => bytes,
        Event::Text(text) => whole(Value::Str(text)),
        Event::Bytes(bytes) => whole(Value::Bytes(bytes)),
        Event::Typed { fields, .. } => json_text(&Value::Map(fields), arena).as_bytes(),
    }
}

/// Gives a row to the table of a SQL sink.
pub(super) fn write_row(
    context: &mut Context<'_>,
    plan: &SqlPlan,
    row: &Row<'_, '_>,
) -> Result<(), SinkFailure> {
    let view = row.view();
    let mut cells = ArenaVec::with_capacity_in(plan.columns.len(), row.arena);
    for (at, column) in plan.columns.iter().enumerate() {
        cells.push(match row.no_value && !plan.key.contains(&at) {
            true => Value::Null,
            false => {
                let value = column.value.eval(&view);
                single(
                    value.map_err(|error| failed(&column.name, error))?,
                    row.arena,
                )
            }
        });
    }
    context
        .outputs
        .row(TableRow {
            cells: &cells,
            deleted: row.no_value,
            record: row.record,
        })
        .map_err(SinkFailure::Output)
}

/// A value as a column can hold it: lists and objects as JSON.
fn single<'a>(value: Value<'a>, arena: &'a Bump) -> Value<'a> {
    match value {
        Value::List(_) | Value::Map(_) => Value::Str(json_text(&value, arena)),
        value => value,
    }
}

/// The key of a result, where a sink says nothing else: that of the group as [`key_bytes`] has it,
/// and a JSON array of its fields when there are several, so that no two groups share a key.
pub(super) fn result_key<'a>(by: &'a [Value<'a>], arena: &'a Bump) -> Option<&'a [u8]> {
    match by {
        [only] => key_bytes(only, arena),
        fields => key_bytes(&Value::List(fields), arena),
    }
}

/// The key of a record: a text as it is, anything else as JSON; none for absent values.
pub(super) fn key_bytes<'a>(value: &Value<'a>, arena: &'a Bump) -> Option<&'a [u8]> {
    match value {
        Value::Missing | Value::Null => None,
        Value::Str(text) => Some(text.as_bytes()),
        Value::Bytes(bytes) => Some(bytes),
        other => {
            let mut json = ArenaVec::new_in(arena);
            push_json(other, &mut json);
            Some(json.into_bump_slice())
        }
    }
}

/// A value as JSON.
pub(super) fn json_text<'a>(value: &Value<'_>, arena: &'a Bump) -> &'a str {
    let mut json = ArenaVec::new_in(arena);
    push_json(value, &mut json);
    str::from_utf8(json.into_bump_slice()).expect("JSON is UTF-8")
}

/// Appends a value as JSON: absent values as null, times as RFC 3339, lengths of time in
/// milliseconds, bytes as text where they are UTF-8, and else in base64.
fn push_json(value: &Value<'_>, out: &mut ArenaVec<'_, u8>) {
    match value {
        Value::Missing | Value::Null => out.extend_from_slice_copy(b"null"),
        Value::Bool(value) => out.extend_from_slice_copy(if *value { b"true" } else { b"false" }),
        Value::Int(value) => push_display(value, out),
        Value::Float(value) if value.is_finite() => push_display(value, out),
        Value::Float(_) => out.extend_from_slice_copy(b"null"),
        Value::Duration(ms) => push_display(ms, out),
        Value::Str(text) => push_text(text, out),
        Value::Bytes(bytes) => match str::from_utf8(bytes) {
            Ok(text) => push_text(text, out),
            Err(_) => {
                out.push(b'"');
                push_display(&Base64Display::new(bytes, &BASE64), out);
                out.push(b'"');
            }
        },
        Value::Time(time) => {
            out.push(b'"');
            push_display(time, out);
            out.push(b'"');
        }
        Value::List(list) => {
            out.push(b'[');
            for (at, value) in list.iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                push_json(value, out);
            }
            out.push(b']');
        }
        Value::Map(entries) => {
            out.push(b'{');
            for (at, (name, value)) in entries.iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                push_text(name, out);
                out.push(b':');
                push_json(value, out);
            }
            out.push(b'}');
        }
    }
}

fn push_display(value: &impl std::fmt::Display, out: &mut ArenaVec<'_, u8>) {
    use std::io::Write;
    write!(out, "{value}").expect("writing into memory does not fail");
}

fn push_text(text: &str, out: &mut ArenaVec<'_, u8>) {
    serde_json::to_writer(&mut *out, text).expect("a text is JSON, and memory does not fail");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(value: &Value<'_>, expected: &str) {
        let arena = Bump::new();
        let mut json = ArenaVec::new_in(&arena);
        push_json(value, &mut json);
        assert_eq!(std::str::from_utf8(&json), Ok(expected));
    }

    #[test]
    fn results_of_different_groups_have_different_keys() {
        #[track_caller]
        fn check(by: &[Value<'_>], expected: &str) {
            let arena = Bump::new();
            let key = result_key(by, &arena).map(String::from_utf8_lossy);
            assert_eq!(key.as_deref(), Some(expected));
        }
        check(&[Value::Str("enwiki")], "enwiki");
        check(&[Value::Int(7)], "7");
        check(&[Value::Str("a"), Value::Str("b,c")], r#"["a","b,c"]"#);
        check(&[Value::Str("a,b"), Value::Int(1)], r#"["a,b",1]"#);
    }

    #[test]
    fn a_column_gets_lists_and_objects_as_json() {
        let arena = Bump::new();
        let entry = [("value", Value::Str("a")), ("count", Value::Int(2))];
        let list = [Value::Map(&entry)];
        let expected = Value::Str(r#"[{"value":"a","count":2}]"#);
        assert_eq!(single(Value::List(&list), &arena), expected);
        assert_eq!(single(Value::Map(&[]), &arena), Value::Str("{}"));
        assert_eq!(single(Value::Null, &arena), Value::Null);
    }

    #[test]
    fn values_become_json() {
        check(&Value::Missing, "null");
        check(&Value::Float(f64::NAN), "null");
        check(&Value::Float(1.5), "1.5");
        check(&Value::Bytes(b"ab"), "\"ab\"");
        check(&Value::Bytes(b"\xfb\xff"), "\"+/8=\"");
        check(&Value::Str("a\"\n😀"), "\"a\\\"\\n😀\"");
        check(&Value::Time(Timestamp(0)), "\"1970-01-01T00:00:00.000Z\"");
        check(&Value::List(&[Value::Int(1), Value::Null]), "[1,null]");
        check(
            &Value::Map(&[("a", Value::Bool(true)), ("b", Value::List(&[]))]),
            "{\"a\":true,\"b\":[]}",
        );
    }
}
