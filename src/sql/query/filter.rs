//! Conditions as they are typed, and as values that a column can be compared with.

use std::str::FromStr;

use super::schema::{SchemaColumn, Storage};
use super::{QueryError, ResultKind, parse_when};
use crate::sql::rows::Cell;
use crate::time::Timestamp;

/// A condition on one column: `wiki=enwiki`, `edits>=10`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// The column.
    pub column: String,
    /// How it is compared.
    pub comparison: Comparison,
    /// With what, as it was typed.
    pub value: String,
}

/// How a column is compared with a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// `=`
    Equal,
    /// `!=`; rows without a value are not among them.
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    AtMost,
    /// `>`
    Greater,
    /// `>=`
    AtLeast,
}

impl Comparison {
    /// Longer ones first, so that `>=` is not read as `>`.
    const ALL: [(&'static str, Comparison); 6] = [
        ("!=", Comparison::NotEqual),
        ("<=", Comparison::AtMost),
        (">=", Comparison::AtLeast),
        ("=", Comparison::Equal),
        ("<", Comparison::Less),
        (">", Comparison::Greater),
    ];

    /// Whether it is about which of two comes first.
    fn is_by_order(self) -> bool {
        !matches!(self, Comparison::Equal | Comparison::NotEqual)
    }

    pub(super) fn sql(self) -> &'static str {
        match self {
            Comparison::NotEqual => "<>",
            other => Comparison::ALL
                .iter()
                .find(|(_, each)| *each == other)
                .map_or("=", |(sql, _)| sql),
        }
    }
}

impl FromStr for Filter {
    type Err = QueryError;

    fn from_str(text: &str) -> Result<Filter, QueryError> {
        let wrong = || QueryError::Filter(text.to_owned());
        let at = text.find(['=', '!', '<', '>']).ok_or_else(wrong)?;
        let (column, rest) = text.split_at(at);
        let found = Comparison::ALL
            .iter()
            .find(|(sign, _)| rest.starts_with(sign));
        let (sign, comparison) = found.ok_or_else(wrong)?;
        let column = column.trim();
        if column.is_empty() {
            return Err(wrong());
        }
        let value = rest[sign.len()..].trim();
        // Expressions write `==`.
        let value = match comparison {
            Comparison::Equal => value.strip_prefix('=').unwrap_or(value).trim(),
            _ => value,
        };
        let (value, is_quoted) = without_quotes(value);
        if !is_quoted && is_followed_by_another(value) {
            return Err(QueryError::SeveralFilters(text.to_owned()));
        }
        Ok(Filter {
            column: column.to_owned(),
            comparison: *comparison,
            value: value.to_owned(),
        })
    }
}

/// What stands between quotes, as in SQL; whether there were any.
fn without_quotes(value: &str) -> (&str, bool) {
    let between = |quote: char| value.strip_prefix(quote)?.strip_suffix(quote);
    match between('\'').or_else(|| between('"')) {
        Some(inner) => (inner, true),
        None => (value, false),
    }
}

/// Whether a second condition follows behind an `and`.
fn is_followed_by_another(value: &str) -> bool {
    let lower = value.to_lowercase();
    lower.match_indices(" and ").any(|(at, and)| {
        let rest = lower[at + and.len()..].trim_start();
        let name = rest.find(|c: char| !(c.is_alphanumeric() || c == '_'));
        let (name, rest) = rest.split_at(name.unwrap_or(rest.len()));
        !name.is_empty() && rest.trim_start().starts_with(['=', '!', '<', '>'])
    })
}

/// A value to be bound.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Bound {
    Bool(bool),
    Int(i64),
    Double(f64),
    Text(String),
    Time(Timestamp),
}

impl Bound {
    pub fn as_cell(&self) -> Cell<'_> {
        match self {
            Bound::Bool(value) => Cell::Bool(*value),
            Bound::Int(value) => Cell::Int(*value),
            Bound::Double(value) => Cell::Double(*value),
            Bound::Text(value) => Cell::Text(value),
            Bound::Time(value) => Cell::Time(*value),
        }
    }
}

/// Where a value stands in a statement. SQLite compares by how values are stored: a number is not
/// equal to the same text, nor a text to the same bytes, unless it is told so.
pub(super) fn place(column: &SchemaColumn, value: &Bound) -> &'static str {
    match (column.storage, value) {
        (Storage::Untyped, Bound::Double(_)) => "CAST(? AS NUMERIC)",
        (Storage::Bytes, _) => "CAST(? AS BLOB)",
        _ => "?",
    }
}

impl Filter {
    /// The value as the column holds it.
    ///
    /// # Errors
    /// When the column holds nothing that it could be compared with.
    pub(super) fn bind(&self, column: &SchemaColumn) -> Result<Bound, QueryError> {
        let text = self.value.as_str();
        let wrong = |expected| QueryError::Value {
            column: column.name.clone(),
            expected,
            found: text.to_owned(),
        };
        let number = || text.parse().ok().filter(|number: &f64| number.is_finite());
        match column.kind {
            ResultKind::Text => match number() {
                Some(number) if column.storage == Storage::Untyped => Ok(Bound::Double(number)),
                Some(_) if self.comparison.is_by_order() => Err(QueryError::Unclear(format!(
                    "column {} holds texts, of which 9 comes behind 10: with a number it can be compared \
                     by = and != only",
                    column.name
                ))),
                _ => Ok(Bound::Text(text.to_owned())),
            },
            ResultKind::Bool => match text {
                "true" | "1" => Ok(Bound::Bool(true)),
                "false" | "0" => Ok(Bound::Bool(false)),
                _ => Err(wrong("true or false")),
            },
            ResultKind::Int => text
                .parse()
                .map(Bound::Int)
                .map_err(|_| wrong("whole numbers")),
            ResultKind::Double => number().map(Bound::Double).ok_or_else(|| wrong("numbers")),
            ResultKind::Time => {
                // Not relative to now: a condition means the same whenever it is asked.
                let time = parse_when(text, Timestamp::MIN)
                    .ok()
                    .filter(|&time| time != Timestamp::MIN);
                time.map(Bound::Time)
                    .ok_or_else(|| wrong("times such as 2026-05-05T11:00:00Z"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_is_read_at_its_first_sign() {
        let check = |text: &str, expected: Option<(&str, Comparison, &str)>| {
            let found = text.parse::<Filter>().ok();
            let found = found.as_ref().map(|filter| {
                (
                    filter.column.as_str(),
                    filter.comparison,
                    filter.value.as_str(),
                )
            });
            assert_eq!(found, expected, "{text}");
        };
        check("wiki=enwiki", Some(("wiki", Comparison::Equal, "enwiki")));
        check("title=a>=b", Some(("title", Comparison::Equal, "a>=b")));
        check("n >= 3", Some(("n", Comparison::AtLeast, "3")));
        check("n<3", Some(("n", Comparison::Less, "3")));
        check("user=", Some(("user", Comparison::Equal, "")));
        check("wiki==enwiki", Some(("wiki", Comparison::Equal, "enwiki")));
        check("wiki = 'x'", Some(("wiki", Comparison::Equal, "x")));
        check(
            "title='a and b=c'",
            Some(("title", Comparison::Equal, "a and b=c")),
        );
        check(
            "title=salt and pepper",
            Some(("title", Comparison::Equal, "salt and pepper")),
        );
        check("user=u1 and clicks > 2", None);
        check("wiki", None);
        check("=x", None);
        check("a!b", None);
    }

    #[test]
    fn a_value_stands_as_sqlite_must_be_told() {
        let check = |kind, storage, text: &str, expected| {
            let column = SchemaColumn {
                name: "c".to_owned(),
                kind,
                storage,
            };
            let filter: Filter = format!("c>={text}").parse().unwrap();
            let bound = filter.bind(&column);
            let found = bound.map(|value| (place(&column, &value), value));
            assert_eq!(found.ok(), expected, "{text} in {storage:?}");
        };
        let number = Some(("CAST(? AS NUMERIC)", Bound::Double(5.0)));
        let text = |text: &str| Bound::Text(text.to_owned());
        check(ResultKind::Text, Storage::Untyped, "5", number);
        check(
            ResultKind::Text,
            Storage::Untyped,
            "a",
            Some(("?", text("a"))),
        );
        check(
            ResultKind::Text,
            Storage::Typed,
            "a",
            Some(("?", text("a"))),
        );
        check(ResultKind::Text, Storage::Typed, "5", None);
        check(
            ResultKind::Int,
            Storage::Typed,
            "5",
            Some(("?", Bound::Int(5))),
        );
        check(ResultKind::Int, Storage::Typed, "a", None);
        let bytes = Some(("CAST(? AS BLOB)", text("a")));
        check(ResultKind::Text, Storage::Bytes, "a", bytes);
    }
}
