//! Where what a SQL sink's operators give goes: rows into the batch, dead letters into the log.

use super::outputs::{DeadLetters, Writer, send_dead_letter};
use crate::broker::Offset;
use crate::processor::{DeadLetter, OutputError, Outputs, Produced, TableRow};
use crate::sql::{Change, ColumnType, RowBatch};
use crate::value::Value;

/// The outputs of a sink's operators: rows into the batch, dead letters into the log.
pub(super) struct SinkOutputs<'o> {
    pub(super) rows: &'o mut RowBatch,
    /// The types of the columns.
    pub(super) kinds: &'o [ColumnType],
    /// The queue and offset of each row.
    pub(super) origins: &'o mut Vec<(usize, Offset)>,
    pub(super) queue: usize,
    pub(super) partition: u32,
    pub(super) writer: &'o mut Writer,
    pub(super) dead_letters: DeadLetters<'o>,
    /// Set when there was any.
    pub(super) sent_dead_letters: &'o mut bool,
}

impl Outputs for SinkOutputs<'_> {
    fn produce(&mut self, _record: Produced<'_>) -> Result<(), OutputError> {
        unreachable!("the planner puts nothing but stateless nodes in front of a SQL sink")
    }

    fn row(&mut self, row: TableRow<'_, '_>) -> Result<(), OutputError> {
        for (cell, kind) in row.cells.iter().zip(self.kinds) {
            push_cell(self.rows, cell, *kind);
        }
        let change = match row.deleted {
            true => Change::Delete,
            false => Change::Upsert,
        };
        self.rows
            .finish_row(change, self.partition, row.record.offset);
        self.origins.push((self.queue, row.record.offset));
        Ok(())
    }

    fn dead_letter(&mut self, letter: &DeadLetter<'_>) -> Result<(), OutputError> {
        *self.sent_dead_letters = true;
        Ok(send_dead_letter(self.writer, self.dead_letters, letter)?)
    }

    fn partitions(&self, _topic: &str) -> u32 {
        1
    }
}

/// Puts a value into a column of that type. Numbers become texts where the column wants texts, and
/// texts that are numbers become numbers where it wants those; whatever else does not fit is given
/// as it is, for the sink to refuse the row.
fn push_cell(rows: &mut RowBatch, value: &Value<'_>, kind: ColumnType) {
    match (kind, value) {
        (_, Value::Missing | Value::Null) => rows.push_null(),
        (ColumnType::Text, Value::Bytes(bytes)) => match str::from_utf8(bytes) {
            Ok(text) => rows.push_text(text),
            Err(_) => rows.push_bytes(bytes),
        },
        (ColumnType::Bytes, Value::Str(text)) => rows.push_bytes(text.as_bytes()),
        (ColumnType::Text, Value::Bool(_) | Value::Int(_) | Value::Float(_)) => {
            rows.push_text(&number_text(value));
        }
        (ColumnType::Bytes, Value::Bool(_) | Value::Int(_) | Value::Float(_)) => {
            rows.push_bytes(number_text(value).as_bytes());
        }
        (ColumnType::Int, Value::Str(text)) => match text.parse() {
            Ok(number) => rows.push_int(number),
            Err(_) => rows.push_text(text),
        },
        (ColumnType::Double, Value::Str(text)) => match text.parse() {
            Ok(number) => rows.push_double(number),
            Err(_) => rows.push_text(text),
        },
        (_, Value::Bool(value)) => rows.push_bool(*value),
        (_, Value::Int(value)) => rows.push_int(*value),
        (_, Value::Float(value)) => rows.push_double(*value),
        (_, Value::Str(text)) => rows.push_text(text),
        (_, Value::Bytes(bytes)) => rows.push_bytes(bytes),
        (_, Value::Time(time)) => rows.push_time(*time),
        (_, Value::Duration(ms)) => rows.push_int(*ms),
        (_, Value::List(_) | Value::Map(_)) => unreachable!("a row has these as texts"),
    }
}

/// A number, or true or false, as JSON writes it.
fn number_text(value: &Value<'_>) -> String {
    match value {
        Value::Bool(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Float(value) => value.to_string(),
        other => unreachable!("{} is no number", other.type_name()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::Cell;

    #[test]
    fn a_value_becomes_what_its_column_holds_if_nothing_is_lost_by_it() {
        #[track_caller]
        fn check(value: Value<'_>, kind: ColumnType, expected: Cell<'_>) {
            let mut rows = RowBatch::new(1);
            push_cell(&mut rows, &value, kind);
            rows.finish_row(Change::Upsert, 0, 0);
            assert_eq!(rows.cell(0, 0), expected, "{value:?} in {kind:?}");
        }
        use ColumnType::{Bytes, Double, Int, Text, Time};
        check(Value::Missing, Text, Cell::Null);
        check(Value::Int(5), Text, Cell::Text("5"));
        check(Value::Bool(true), Text, Cell::Text("true"));
        check(Value::Float(1.5), Text, Cell::Text("1.5"));
        check(Value::Bytes(b"a"), Text, Cell::Text("a"));
        check(Value::Bytes(b"\xff"), Text, Cell::Bytes(b"\xff"));
        check(Value::Str("a"), Bytes, Cell::Bytes(b"a"));
        check(Value::Int(5), Bytes, Cell::Bytes(b"5"));
        check(Value::Str("5"), Int, Cell::Int(5));
        check(Value::Str("1.5"), Int, Cell::Text("1.5"));
        check(Value::Str("1.5"), Double, Cell::Double(1.5));
        check(Value::Float(1.5), Int, Cell::Double(1.5));
        check(Value::Duration(5), Int, Cell::Int(5));
        check(Value::Str("now"), Time, Cell::Text("now"));
    }
}
