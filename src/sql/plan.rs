//! Which rows of a batch are sent, and in which order: pure.
//!
//! Rows that the ledger has already are left out, of each key only the last row counts, and rows go
//! in the order of the primary key, so that two writers of one table lock in the same order. Rows
//! that no database would take are found here too.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use super::datum::calendar;
use super::rows::{Cell, Change, RowBatch};
use super::table::{ColumnType, TableSpec};
use super::write::{Rejected, STATEMENT_BYTES};
use crate::broker::Offset;

/// Which rows of a batch are sent, and in which order.
pub(super) struct Plan {
    /// Rows by key, and those of one key in the order of the batch.
    pub order: Vec<u32>,
    /// Positions in `order` of the last row of each key.
    pub last: Vec<u32>,
    pub replayed: u64,
}

impl Plan {
    /// `floors` holds the first offset of each partition that is not in the table yet; `excluded`
    /// the rows that are known to be refused.
    pub fn new(
        table: &TableSpec,
        batch: &RowBatch,
        floors: &[Offset],
        excluded: &BTreeMap<usize, Rejected>,
    ) -> Plan {
        let mut replayed = 0;
        let mut order = Vec::with_capacity(batch.len());
        for index in 0..batch.len() {
            let row = batch.row(index);
            if row.offset < floors[row.partition as usize] {
                replayed += 1;
            } else if !excluded.contains_key(&index) {
                order.push(u32::try_from(index).expect("a batch has fewer rows than cells"));
            }
        }
        order.sort_unstable_by(|&a, &b| {
            compare_keys(table, batch, a as usize, b as usize).then(a.cmp(&b))
        });
        let ends = |&position: &usize| {
            order.get(position + 1).is_none_or(|&next| {
                compare_keys(table, batch, order[position] as usize, next as usize).is_ne()
            })
        };
        let last = (0..order.len())
            .filter(ends)
            .map(|position| position as u32)
            .collect();
        Plan {
            order,
            last,
            replayed,
        }
    }

    /// The row at a position.
    pub fn row(&self, position: u32) -> usize {
        self.order[position as usize] as usize
    }

    /// The row of the same key that comes before, in the batch's order.
    pub fn earlier(&self, table: &TableSpec, batch: &RowBatch, position: u32) -> Option<u32> {
        let before = position.checked_sub(1)?;
        compare_keys(table, batch, self.row(before), self.row(position))
            .is_eq()
            .then_some(before)
    }
}

/// By the key's columns, as the index of the table sorts them.
fn compare_keys(table: &TableSpec, batch: &RowBatch, a: usize, b: usize) -> Ordering {
    table
        .key
        .iter()
        .map(|&column| compare_cells(batch.cell(a, column), batch.cell(b, column)))
        .find(|ordering| ordering.is_ne())
        .unwrap_or(Ordering::Equal)
}

fn compare_cells(a: Cell<'_>, b: Cell<'_>) -> Ordering {
    match (a, b) {
        (Cell::Text(a), Cell::Text(b)) => a.as_bytes().cmp(b.as_bytes()),
        (Cell::Bytes(a), Cell::Bytes(b)) => a.cmp(b),
        (Cell::Int(a), Cell::Int(b)) => a.cmp(&b),
        (Cell::Bool(a), Cell::Bool(b)) => a.cmp(&b),
        (Cell::Time(a), Cell::Time(b)) => a.cmp(&b),
        (Cell::Double(a), Cell::Double(b)) => a.total_cmp(&b),
        (a, b) => rank(a).cmp(&rank(b)),
    }
}

/// Cells of different kinds in one column: any order will do, if it is always the same.
fn rank(cell: Cell<'_>) -> u8 {
    match cell {
        Cell::Null => 0,
        Cell::Bool(_) => 1,
        Cell::Int(_) => 2,
        Cell::Double(_) => 3,
        Cell::Time(_) => 4,
        Cell::Text(_) => 5,
        Cell::Bytes(_) => 6,
    }
}

/// Rows that no database would take as they are meant, found before anything is sent.
pub(super) fn refused_rows(
    table: &TableSpec,
    batch: &RowBatch,
    max_packet: usize,
) -> BTreeMap<usize, Rejected> {
    let refused = |row: usize, (code, message): (&str, String)| {
        (
            row,
            Rejected {
                row,
                code: code.to_owned(),
                message,
            },
        )
    };
    (0..batch.len())
        .filter_map(|row| Some(refused(row, refusal(table, batch, row, max_packet)?)))
        .collect()
}

fn refusal(
    table: &TableSpec,
    batch: &RowBatch,
    row: usize,
    max_packet: usize,
) -> Option<(&'static str, String)> {
    let about = batch.row(row);
    for (index, column) in table.columns.iter().enumerate() {
        if about.change == Change::Delete && !table.is_key(index) {
            continue;
        }
        let name = &column.name;
        match batch.cell(row, index) {
            Cell::Null if !column.nullable => {
                return Some(("null", format!("column {name} may not be null")));
            }
            Cell::Double(value) if !value.is_finite() => {
                return Some(("not_finite", format!("column {name} would be {value}")));
            }
            Cell::Time(time) if calendar(time).is_none() => {
                let text = format!("column {name} would be {time}, outside the years 1 to 9999");
                return Some(("out_of_calendar", text));
            }
            cell if !fits(column.kind, cell) => {
                let text = format!(
                    "column {name} would be {}, it holds {}",
                    shown(cell),
                    column.kind.name()
                );
                return Some(("wrong_type", text));
            }
            _ => {}
        }
    }
    let size = about.size as usize + STATEMENT_BYTES;
    (size > max_packet).then(|| {
        let text = format!(
            "the row takes {size} bytes, the server takes {max_packet} (max_allowed_packet)"
        );
        ("too_large", text)
    })
}

/// Whether a column of that type takes the cell as it is. No database is asked: MySQL rounds
/// fractions away; and where a prepared statement had a number in place of a text once, it takes
/// all later texts for Latin-1 and refuses those that are not.
fn fits(kind: ColumnType, cell: Cell<'_>) -> bool {
    match cell {
        Cell::Null => true,
        Cell::Bool(_) | Cell::Int(_) => {
            matches!(
                kind,
                ColumnType::Bool | ColumnType::Int | ColumnType::Double
            )
        }
        Cell::Double(value) => {
            kind == ColumnType::Double || (kind == ColumnType::Int && is_int(value))
        }
        Cell::Text(_) => matches!(kind, ColumnType::Text | ColumnType::Time),
        Cell::Bytes(_) => kind == ColumnType::Bytes,
        Cell::Time(_) => matches!(kind, ColumnType::Text | ColumnType::Time),
    }
}

/// Whether the number is a whole one of 64 bits; servers take 2^63 for 2^63 - 1.
fn is_int(value: f64) -> bool {
    const BEYOND: f64 = 9_223_372_036_854_775_808.0;
    value.fract() == 0.0 && (-BEYOND..BEYOND).contains(&value)
}

/// A cell in a message; of a text its beginning.
fn shown(cell: Cell<'_>) -> String {
    match cell {
        Cell::Null => "null".to_owned(),
        Cell::Bool(value) => value.to_string(),
        Cell::Int(value) => value.to_string(),
        Cell::Double(value) => value.to_string(),
        Cell::Text(text) => format!("{:?}", text.chars().take(40).collect::<String>()),
        Cell::Bytes(_) => "bytes".to_owned(),
        Cell::Time(time) => time.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::table::Column;
    use crate::time::Timestamp;

    fn table() -> TableSpec {
        let column = |name: &str, kind, nullable| Column {
            name: name.into(),
            kind,
            nullable,
        };
        TableSpec {
            table: "t".into(),
            columns: vec![
                column("n", ColumnType::Int, true),
                column("wiki", ColumnType::Text, false),
                column("at", ColumnType::Time, false),
            ],
            key: vec![1, 2],
        }
    }

    #[test]
    fn what_a_column_would_have_to_change_does_not_fit() {
        use ColumnType::{Bool, Bytes, Double, Int, Text, Time};
        let all = [Bool, Int, Double, Text, Bytes, Time];
        let check = |cell: Cell<'_>, expected: &[ColumnType]| {
            let found: Vec<_> = all.into_iter().filter(|kind| fits(*kind, cell)).collect();
            assert_eq!(found, expected, "{cell:?}");
        };
        check(Cell::Null, &all);
        check(Cell::Bool(true), &[Bool, Int, Double]);
        check(Cell::Int(5), &[Bool, Int, Double]);
        check(Cell::Double(5.0), &[Int, Double]);
        check(Cell::Double(5.5), &[Double]);
        check(Cell::Double(-9_223_372_036_854_775_808.0), &[Int, Double]);
        check(Cell::Double(9_223_372_036_854_775_808.0), &[Double]);
        check(Cell::Text("5"), &[Text, Time]);
        check(Cell::Bytes(b"5"), &[Bytes]);
        check(Cell::Time(Timestamp(0)), &[Text, Time]);
    }

    fn batch(rows: &[(&str, i64, u32, Offset)]) -> RowBatch {
        let mut batch = RowBatch::new(3);
        for &(wiki, at, partition, offset) in rows {
            batch.push_int(offset);
            batch.push_text(wiki);
            batch.push_time(Timestamp(at));
            batch.finish_row(Change::Upsert, partition, offset);
        }
        batch
    }

    /// Rows that are sent, in order; how many were replayed.
    fn plan(batch: &RowBatch, floors: &[Offset], excluded: &[usize]) -> (Vec<usize>, u64) {
        let rejected = |row| Rejected {
            row,
            code: String::new(),
            message: String::new(),
        };
        let excluded = excluded.iter().map(|&row| (row, rejected(row))).collect();
        let plan = Plan::new(&table(), batch, floors, &excluded);
        (
            plan.last
                .iter()
                .map(|&position| plan.row(position))
                .collect(),
            plan.replayed,
        )
    }

    #[test]
    fn of_each_key_the_last_row_is_sent_in_the_order_of_the_key() {
        let rows = batch(&[
            ("b", 1, 0, 10),
            ("a", 2, 0, 11),
            ("a", 1, 0, 12),
            ("b", 1, 0, 13),
        ]);
        assert_eq!(plan(&rows, &[10], &[]), (vec![2, 1, 3], 0));
    }

    #[test]
    fn keys_are_told_apart_by_their_bytes() {
        let rows = batch(&[
            ("a", 1, 0, 1),
            ("A", 1, 0, 2),
            ("a ", 1, 0, 3),
            ("á", 1, 0, 4),
        ]);
        assert_eq!(plan(&rows, &[0], &[]), (vec![1, 0, 2, 3], 0));
    }

    #[test]
    fn rows_below_the_floor_of_their_partition_are_replays() {
        let rows = batch(&[("a", 1, 0, 10), ("b", 1, 1, 10), ("c", 1, 0, 9)]);
        assert_eq!(plan(&rows, &[10, 11], &[]), (vec![0], 2));
    }

    #[test]
    fn a_row_that_is_refused_leaves_its_key_to_the_one_before() {
        let rows = batch(&[("a", 1, 0, 1), ("a", 1, 0, 2), ("a", 1, 0, 3)]);
        assert_eq!(plan(&rows, &[0], &[2]), (vec![1], 0));
        let plan = Plan::new(&table(), &rows, &[0], &BTreeMap::new());
        assert_eq!(plan.last, [2]);
        assert_eq!(plan.earlier(&table(), &rows, 2), Some(1));
        assert_eq!(plan.earlier(&table(), &rows, 0), None);
    }

    #[test]
    fn rows_that_no_database_takes_are_found_before_they_are_sent() {
        let mut rows = RowBatch::new(3);
        let mut push = |wiki: Option<&str>, at, change| {
            rows.push_double(f64::NAN);
            match wiki {
                None => rows.push_null(),
                Some(wiki) => rows.push_text(wiki),
            }
            rows.push_time(Timestamp(at));
            rows.finish_row(change, 0, 0);
        };
        push(Some("a"), 0, Change::Delete);
        push(Some("a"), 0, Change::Upsert);
        push(None, 0, Change::Delete);
        push(Some("a"), i64::MAX, Change::Delete);
        push(Some(&"x".repeat(60_000)), 0, Change::Delete);
        let refused = refused_rows(&table(), &rows, 60_000);
        let codes: Vec<_> = refused
            .iter()
            .map(|(row, found)| (*row, found.code.as_str()))
            .collect();
        assert_eq!(
            codes,
            [
                (1, "not_finite"),
                (2, "null"),
                (3, "out_of_calendar"),
                (4, "too_large"),
            ]
        );
    }
}
