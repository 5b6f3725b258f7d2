//! The rows of one write, flat: cells in one vector, their texts in one buffer.
//!
//! A batch is filled record by record and reused, so that a row costs no allocation once the
//! buffers have grown. The invariant: `cells` holds `columns` cells per finished row.

use crate::broker::Offset;
use crate::time::Timestamp;

/// What a row does to the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Insert it, or overwrite the row of the same key.
    Upsert,
    /// Delete the row of the same key; cells outside the key are ignored.
    Delete,
}

/// The value of one cell.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Cell<'a> {
    /// NULL.
    Null,
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number with a fraction; NaN and infinities are refused when the row is written.
    Double(f64),
    /// A text.
    Text(&'a str),
    /// Bytes.
    Bytes(&'a [u8]),
    /// A point in time, kept to the millisecond; years 1 to 9999.
    Time(Timestamp),
}

/// Rows to be written together.
///
/// ```
/// use tidemill::sql::{Cell, Change, RowBatch};
///
/// let mut batch = RowBatch::new(2);
/// batch.push_text("enwiki");
/// batch.push_int(3);
/// batch.finish_row(Change::Upsert, 0, 17);
/// assert_eq!(batch.len(), 1);
/// assert_eq!(batch.cell(0, 0), Cell::Text("enwiki"));
/// ```
#[derive(Clone, Debug)]
pub struct RowBatch {
    columns: usize,
    cells: Vec<Stored>,
    texts: String,
    bytes: Vec<u8>,
    rows: Vec<Row>,
}

/// What a batch knows of a row beside its cells.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    pub change: Change,
    pub partition: u32,
    pub offset: Offset,
    /// What its cells take in a statement, about.
    pub size: u32,
}

/// A cell whose text or bytes lie in the batch's buffers.
#[derive(Clone, Copy, Debug)]
enum Stored {
    Null,
    Bool(bool),
    Int(i64),
    Double(f64),
    Time(Timestamp),
    Text { start: u32, len: u32 },
    Bytes { start: u32, len: u32 },
}

impl RowBatch {
    /// An empty batch for rows of `columns` cells.
    pub fn new(columns: usize) -> RowBatch {
        RowBatch {
            columns,
            cells: Vec::new(),
            texts: String::new(),
            bytes: Vec::new(),
            rows: Vec::new(),
        }
    }

    /// Empties the batch and keeps its memory.
    pub fn clear(&mut self) {
        self.cells.clear();
        self.texts.clear();
        self.bytes.clear();
        self.rows.clear();
    }

    /// How many finished rows it holds.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// True when it holds no finished row.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// How many cells a row has.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// The memory in use, in bytes; for limits, not exact. The texts of one batch may come to
    /// 4 GiB at most, and its bytes too.
    pub fn bytes(&self) -> usize {
        self.texts.len()
            + self.bytes.len()
            + self.cells.len() * size_of::<Stored>()
            + self.rows.len() * size_of::<Row>()
    }

    /// Appends NULL to the row that is being filled.
    pub fn push_null(&mut self) {
        self.cells.push(Stored::Null);
    }

    /// Appends a truth value.
    pub fn push_bool(&mut self, value: bool) {
        self.cells.push(Stored::Bool(value));
    }

    /// Appends a whole number.
    pub fn push_int(&mut self, value: i64) {
        self.cells.push(Stored::Int(value));
    }

    /// Appends a number with a fraction.
    pub fn push_double(&mut self, value: f64) {
        self.cells.push(Stored::Double(value));
    }

    /// Appends a text.
    pub fn push_text(&mut self, value: &str) {
        let (start, len) = span(self.texts.len(), value.len());
        self.texts.push_str(value);
        self.cells.push(Stored::Text { start, len });
    }

    /// Appends bytes.
    pub fn push_bytes(&mut self, value: &[u8]) {
        let (start, len) = span(self.bytes.len(), value.len());
        self.bytes.extend_from_slice(value);
        self.cells.push(Stored::Bytes { start, len });
    }

    /// Appends a point in time.
    pub fn push_time(&mut self, value: Timestamp) {
        self.cells.push(Stored::Time(value));
    }

    /// Ends the row: what it does, the index of its partition among the moves of the write, and
    /// the offset of the record it comes from.
    ///
    /// # Panics
    /// When the row has not exactly as many cells as the batch has columns.
    pub fn finish_row(&mut self, change: Change, partition: u32, offset: Offset) {
        let first = self.rows.len() * self.columns;
        assert_eq!(
            self.cells.len() - first,
            self.columns,
            "cells of the row being finished"
        );
        let size = self.cells[first..].iter().map(Stored::size).sum();
        self.rows.push(Row {
            change,
            partition,
            offset,
            size,
        });
    }

    /// The cell of `row` and `column`, both from 0.
    ///
    /// # Panics
    /// When there is no such cell.
    pub fn cell(&self, row: usize, column: usize) -> Cell<'_> {
        assert!(column < self.columns, "column {column} of {}", self.columns);
        match self.cells[row * self.columns + column] {
            Stored::Null => Cell::Null,
            Stored::Bool(value) => Cell::Bool(value),
            Stored::Int(value) => Cell::Int(value),
            Stored::Double(value) => Cell::Double(value),
            Stored::Time(value) => Cell::Time(value),
            Stored::Text { start, len } => {
                Cell::Text(&self.texts[start as usize..][..len as usize])
            }
            Stored::Bytes { start, len } => {
                Cell::Bytes(&self.bytes[start as usize..][..len as usize])
            }
        }
    }

    pub(super) fn row(&self, row: usize) -> Row {
        self.rows[row]
    }
}

/// Where a value of `len` bytes stands in a buffer of `start` bytes.
fn span(start: usize, len: usize) -> (u32, u32) {
    let end = start
        .checked_add(len)
        .and_then(|end| u32::try_from(end).ok());
    end.expect("the texts of a batch, and its bytes, stay below 4 GiB");
    (start as u32, len as u32)
}

impl Stored {
    /// Bytes in a statement: the value, its length, and the type that is sent with it.
    fn size(&self) -> u32 {
        match *self {
            Stored::Null | Stored::Bool(_) => 4,
            Stored::Int(_) | Stored::Double(_) => 11,
            Stored::Time(_) => 26,
            Stored::Text { len, .. } | Stored::Bytes { len, .. } => len.saturating_add(11),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_back_as_they_were_pushed() {
        let mut batch = RowBatch::new(7);
        batch.push_text("Grüße 😀");
        batch.push_bytes(&[0, 255]);
        batch.push_int(-3);
        batch.push_double(0.5);
        batch.push_bool(true);
        batch.push_time(Timestamp(17));
        batch.push_null();
        batch.finish_row(Change::Upsert, 2, 40);
        assert_eq!(
            (0..7)
                .map(|column| batch.cell(0, column))
                .collect::<Vec<_>>(),
            [
                Cell::Text("Grüße 😀"),
                Cell::Bytes(&[0, 255]),
                Cell::Int(-3),
                Cell::Double(0.5),
                Cell::Bool(true),
                Cell::Time(Timestamp(17)),
                Cell::Null,
            ]
        );
        let row = batch.row(0);
        assert_eq!(
            (row.change, row.partition, row.offset),
            (Change::Upsert, 2, 40)
        );
    }

    #[test]
    fn a_cleared_batch_keeps_its_memory() {
        let mut batch = RowBatch::new(1);
        batch.push_text("text");
        batch.finish_row(Change::Upsert, 0, 1);
        let capacity = batch.texts.capacity();
        batch.clear();
        assert!(batch.is_empty());
        assert_eq!((batch.bytes(), batch.texts.capacity()), (0, capacity));
    }

    #[test]
    #[should_panic(expected = "cells of the row being finished")]
    fn a_row_with_too_few_cells_is_a_bug_of_the_caller() {
        let mut batch = RowBatch::new(2);
        batch.push_null();
        batch.finish_row(Change::Upsert, 0, 1);
    }
}
