//! Rows of the same windows, computed twice.

use std::collections::BTreeMap;

use super::scheme::{Agreement, Rollup};
use crate::sql::query::QueryValue;
use crate::time::Timestamp;

/// Numbers with a fraction are equal when they differ by less than so much of the larger one: sums
/// depend on the order in which they were added up.
const ROUNDING: f64 = 1e-9;

/// Counts of different values are exact up to so many.
const EXACT: i64 = 1_024;

/// Beyond that they agree when they differ by less than so much of the larger one.
const ESTIMATE: f64 = 0.03;

/// A row that is not what the events say.
#[derive(Clone, Debug, PartialEq)]
pub struct RowDifference {
    /// The start of its window.
    pub start: Timestamp,
    /// The columns of its key, the start of the window not among them, and their values.
    pub key: Vec<(String, QueryValue)>,
    /// In what.
    pub what: Discrepancy,
}

/// In what a row is not what the events say.
#[derive(Clone, Debug, PartialEq)]
pub enum Discrepancy {
    /// There are events and no row.
    Missing,
    /// There is a row and no event.
    Unfounded,
    /// Some columns have other values.
    Columns(Vec<ColumnDifference>),
}

/// A column that is not what the events say.
#[derive(Clone, Debug, PartialEq)]
pub struct ColumnDifference {
    /// Its name.
    pub column: String,
    /// What comes of the events.
    pub events: QueryValue,
    /// What is in the table.
    pub table: QueryValue,
}

/// A row: the start of its window, and its values in the order of [`columns`].
pub(super) type Row = (Timestamp, Vec<QueryValue>);

/// What a row is told apart by: the start of its window, and the values of its key as texts.
pub(super) type RowKey = (Timestamp, Vec<String>);

/// That of a row.
pub(super) fn row_key(rollup: &Rollup, (start, values): &Row) -> RowKey {
    let width = key(rollup).count();
    (*start, values[..width].iter().map(text).collect())
}

impl RowDifference {
    pub(super) fn row_key(&self) -> RowKey {
        let values = self.key.iter().map(|(_, value)| text(value));
        (self.start, values.collect())
    }
}

/// The columns of a rollup that are read: those of its key, and those that are compared.
pub(super) fn columns(rollup: &Rollup) -> Vec<&str> {
    let compared = compared(rollup).map(|column| column.name.as_str());
    key(rollup).chain(compared).collect()
}

fn key(rollup: &Rollup) -> impl Iterator<Item = &str> {
    let columns = rollup.key.iter().map(String::as_str);
    columns.filter(|name| *name != rollup.start)
}

fn compared(rollup: &Rollup) -> impl Iterator<Item = &super::scheme::Column> {
    let columns = rollup.columns.iter();
    columns.filter(|column| column.agreement != Agreement::Unknown)
}

/// Everything in which these rows differ, in the order of their windows and keys.
pub(super) fn compare(rollup: &Rollup, events: Vec<Row>, table: Vec<Row>) -> Vec<RowDifference> {
    let width = key(rollup).count();
    let by_key = |rows: Vec<Row>| -> BTreeMap<RowKey, Vec<QueryValue>> {
        let rows = rows.into_iter();
        rows.map(|row| (row_key(rollup, &row), row.1)).collect()
    };
    let (expected, mut found) = (by_key(events), by_key(table));
    let difference = |start: Timestamp, values: &[QueryValue], what: Discrepancy| {
        let names = key(rollup).map(str::to_owned);
        RowDifference {
            start,
            key: names.zip(values.iter().cloned()).collect(),
            what,
        }
    };
    let mut differences = Vec::new();
    for ((start, key), values) in expected {
        let Some(row) = found.remove(&(start, key)) else {
            differences.push(difference(start, &values, Discrepancy::Missing));
            continue;
        };
        let pairs = values[width..].iter().zip(&row[width..]);
        let pairs = compared(rollup).zip(pairs);
        let differing = pairs.filter(|(column, (a, b))| !agree(column.agreement, a, b));
        let columns: Vec<ColumnDifference> = differing
            .map(|(column, (events, table))| ColumnDifference {
                column: column.name.clone(),
                events: events.clone(),
                table: table.clone(),
            })
            .collect();
        if !columns.is_empty() {
            differences.push(difference(start, &values, Discrepancy::Columns(columns)));
        }
    }
    let unfounded = found.iter();
    differences.extend(
        unfounded.map(|((start, _), values)| difference(*start, values, Discrepancy::Unfounded)),
    );
    differences.sort_by_key(|each| each.start);
    differences
}

/// A value of a key as any column type shows it: whether a column holds numbers or texts of them is a
/// matter of its type.
fn text(value: &QueryValue) -> String {
    match value {
        QueryValue::Null => String::new(),
        QueryValue::Bool(value) => i64::from(*value).to_string(),
        QueryValue::Int(value) => value.to_string(),
        QueryValue::Double(value) => value.to_string(),
        QueryValue::Text(value) | QueryValue::Time(value) => value.clone(),
    }
}

fn agree(agreement: Agreement, events: &QueryValue, table: &QueryValue) -> bool {
    match (events, table) {
        _ if agreement == Agreement::Unknown => true,
        (QueryValue::Null, other) | (other, QueryValue::Null) => *other == QueryValue::Null,
        (QueryValue::Int(a), QueryValue::Int(b))
            if agreement == Agreement::Equal || *a.max(b) <= EXACT =>
        {
            a == b
        }
        _ => {
            let (a, b) = (text(events), text(table));
            let json = |text: &str| serde_json::from_str(text).ok();
            a == b || matches!((json(&a), json(&b)), (Some(a), Some(b)) if same(agreement, &a, &b))
        }
    }
}

/// The same of JSON, wherever in it numbers stand.
fn same(agreement: Agreement, a: &serde_json::Value, b: &serde_json::Value) -> bool {
    use serde_json::Value as Json;
    let tolerance = match agreement {
        Agreement::Equal => ROUNDING,
        Agreement::Near | Agreement::Unknown => ESTIMATE,
    };
    match (a, b) {
        (Json::Number(a), Json::Number(b)) => match (a.as_f64(), b.as_f64()) {
            (Some(x), Some(y)) => a == b || (x - y).abs() <= tolerance * x.abs().max(y.abs()),
            _ => a == b,
        },
        (Json::Array(a), Json::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(agreement, a, b))
        }
        (Json::Object(a), Json::Object(b)) => {
            let mut fields = a.iter();
            a.len() == b.len()
                && fields.all(|(name, a)| b.get(name).is_some_and(|b| same(agreement, a, b)))
        }
        (a, b) => a == b,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_agree_as_far_as_two_computations_can() {
        use Agreement::{Equal, Near, Unknown};
        let text = |text: &str| QueryValue::Text(text.to_owned());
        let int = QueryValue::Int;
        let cases = [
            (Equal, int(5), int(5), true),
            (Equal, int(5), int(6), false),
            (Equal, int(i64::MAX), int(i64::MAX - 1), false),
            (Near, int(10_000), int(10_100), true),
            (Near, int(10_000), int(11_000), false),
            (Near, int(1_000), int(1_001), false),
            (Unknown, int(1), text("x"), true),
            (
                Equal,
                QueryValue::Double(0.1 + 0.2),
                QueryValue::Double(0.3),
                true,
            ),
            (Equal, QueryValue::Double(5.0), int(5), true),
            // A column whose type nobody has told holds texts.
            (Equal, text("5"), int(5), true),
            (Equal, QueryValue::Bool(true), int(1), true),
            (Equal, text("true"), int(1), false),
            (Equal, QueryValue::Null, QueryValue::Null, true),
            (Equal, QueryValue::Null, int(0), false),
            (Equal, text("[1,2.0]"), text("[1.0, 2]"), true),
            (Equal, text("[1,2]"), text("[1,2,3]"), false),
            (Equal, text(r#"{"a":1}"#), text(r#"{"a":2}"#), false),
        ];
        for (agreement, a, b, expected) in cases {
            assert_eq!(
                agree(agreement, &a, &b),
                expected,
                "{agreement:?} {a:?} {b:?}"
            );
        }
    }
}
