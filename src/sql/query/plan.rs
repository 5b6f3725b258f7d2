//! From options to one SELECT: pure, so that every form of it is a line in a table of cases.

use std::fmt::Write as _;

use super::filter::{Bound, Filter, place};
use super::schema::{Schema, SchemaColumn};
use super::{MOST_ROWS, QueryError, QueryOptions, ResultColumn, ResultKind};
use crate::sql::dialect::Dialect;
use crate::time::Timestamp;

/// A SELECT, ready to be sent.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Statement {
    pub sql: String,
    pub values: Vec<Bound>,
    pub columns: Vec<ResultColumn>,
    /// How many rows are taken; the statement asks for one more.
    pub limit: usize,
    /// More rows than these were not wanted.
    pub is_top: bool,
}

/// Turns options into a statement.
pub(super) fn plan(schema: &Schema, options: &QueryOptions) -> Result<Statement, QueryError> {
    let limit = options.top.unwrap_or(options.limit).clamp(1, MOST_ROWS);
    let mut select = Select::new(schema, limit, options.top.is_some());
    for filter in &options.filters {
        select.filter(filter)?;
    }
    select.between(options.since, options.until)?;
    let by = options
        .by
        .as_deref()
        .map(|by| schema.column(by))
        .transpose()?;
    match (options.top, by, schema.window_key()) {
        (None, by, _) => select.rows(&options.columns, by),
        (Some(_), None, _) => Err(QueryError::Unclear(
            "--top wants to know by which column: add --by, such as --by edits".to_owned(),
        )),
        (Some(_), Some(by), Some(key)) => select.sums(&key, by),
        (Some(_), Some(by), None) => match by.kind {
            ResultKind::Int | ResultKind::Double => select.rows(&options.columns, Some(by)),
            ResultKind::Bool | ResultKind::Text | ResultKind::Time => Ok(select.counts(by)),
        },
    }
}

/// A statement in the making.
pub(super) struct Select<'a> {
    schema: &'a Schema,
    conditions: Vec<String>,
    values: Vec<Bound>,
    limit: usize,
    is_top: bool,
}

impl<'a> Select<'a> {
    pub fn new(schema: &'a Schema, limit: usize, is_top: bool) -> Select<'a> {
        Select {
            schema,
            conditions: Vec::new(),
            values: Vec::new(),
            limit,
            is_top,
        }
    }

    pub fn dialect(&self) -> Dialect {
        self.schema.dialect
    }

    fn quote(&self, name: &str) -> String {
        self.dialect().quote(name)
    }

    fn filter(&mut self, filter: &Filter) -> Result<(), QueryError> {
        let column = self.schema.column(&filter.column)?;
        let value = filter.bind(column)?;
        self.conditions.push(format!(
            "{} {} {}",
            self.quote(&column.name),
            filter.comparison.sql(),
            place(column, &value)
        ));
        self.values.push(value);
        Ok(())
    }

    pub fn between(
        &mut self,
        since: Option<Timestamp>,
        until: Option<Timestamp>,
    ) -> Result<(), QueryError> {
        for (time, sign) in [(since, ">="), (until, "<")] {
            let Some(time) = time else { continue };
            let column = self.schema.time_column().ok_or_else(|| {
                let text = format!(
                    "table {} has no column with a time for --since and --until",
                    self.schema.table
                );
                QueryError::Unclear(text)
            })?;
            self.conditions
                .push(format!("{} {sign} ?", self.quote(&column.name)));
            self.values.push(Bound::Time(time));
        }
        Ok(())
    }

    pub fn condition(&mut self, column: &str, value: Bound) {
        self.conditions.push(format!("{} = ?", self.quote(column)));
        self.values.push(value);
    }

    /// For a statement in which the conditions stand twice.
    pub fn repeat_values(&mut self) {
        self.values.extend_from_within(..);
    }

    /// ` WHERE …`, or nothing.
    pub fn where_clause(&self) -> String {
        if self.conditions.is_empty() {
            String::new()
        } else {
            format!(" WHERE {}", self.conditions.join(" AND "))
        }
    }

    pub fn finish(self, sql: &str, columns: Vec<ResultColumn>) -> Statement {
        Statement {
            // One more than wanted tells whether there are more.
            sql: format!("{sql} LIMIT {}", self.limit + 1),
            values: self.values,
            columns,
            limit: self.limit,
            is_top: self.is_top,
        }
    }

    /// Rows as they are: the largest of `by` first, otherwise the newest.
    fn rows(self, columns: &[String], by: Option<&SchemaColumn>) -> Result<Statement, QueryError> {
        let shown: Vec<&SchemaColumn> = if columns.is_empty() {
            self.schema.columns.iter().collect()
        } else {
            columns
                .iter()
                .map(|name| self.schema.column(name))
                .collect::<Result<_, _>>()?
        };
        let names: Vec<_> = shown
            .iter()
            .map(|column| self.quote(&column.name))
            .collect();
        let first = by
            .or_else(|| self.schema.time_column())
            .map(|column| column.name.as_str());
        let rest = self
            .schema
            .key
            .iter()
            .filter(|name| first != Some(name.as_str()));
        let mut order: Vec<_> = first
            .map(|name| format!("{} DESC", self.quote(name)))
            .into_iter()
            .collect();
        order.extend(rest.map(|name| self.quote(name)));
        let mut sql = format!(
            "SELECT {} FROM {}{}",
            names.join(", "),
            self.quote(&self.schema.table),
            self.where_clause()
        );
        if !order.is_empty() {
            let _ = write!(sql, " ORDER BY {}", order.join(", "));
        }
        let columns = shown.into_iter().map(result_column).collect();
        Ok(self.finish(&sql, columns))
    }

    /// A number of each key, summed over its windows.
    fn sums(self, key: &[&SchemaColumn], by: &SchemaColumn) -> Result<Statement, QueryError> {
        if let Some(reason) = not_additive(by) {
            return Err(QueryError::NotAdditive {
                column: by.name.clone(),
                reason,
            });
        }
        let keys: Vec<_> = key.iter().map(|column| self.quote(&column.name)).collect();
        let by_name = self.quote(&by.name);
        let sum = match by.kind {
            ResultKind::Int => self.schema.dialect.whole_sum(&by_name),
            _ => format!("SUM({by_name})"),
        };
        let mut shown = keys.clone();
        shown.push(format!("{sum} AS {by_name}"));
        shown.push(format!("COUNT(*) AS {}", self.quote("windows")));
        let mut sql = format!(
            "SELECT {} FROM {}{}",
            shown.join(", "),
            self.quote(&self.schema.table),
            self.where_clause()
        );
        if !keys.is_empty() {
            let _ = write!(sql, " GROUP BY {}", keys.join(", "));
        }
        // By position: the name of the sum is a column's name too.
        let _ = write!(sql, " ORDER BY {} DESC", keys.len() + 1);
        for position in 1..=keys.len() {
            let _ = write!(sql, ", {position}");
        }
        let mut columns: Vec<_> = key.iter().copied().map(result_column).collect();
        columns.push(result_column(by));
        columns.push(ResultColumn {
            name: "windows".to_owned(),
            kind: ResultKind::Int,
        });
        Ok(self.finish(&sql, columns))
    }

    /// How many rows there are of each value.
    fn counts(self, by: &SchemaColumn) -> Statement {
        let name = self.quote(&by.name);
        let sql = format!(
            "SELECT {name}, COUNT(*) AS {} FROM {}{} GROUP BY {name} ORDER BY 2 DESC, 1",
            self.quote("rows"),
            self.quote(&self.schema.table),
            self.where_clause()
        );
        let rows = ResultColumn {
            name: "rows".to_owned(),
            kind: ResultKind::Int,
        };
        self.finish(&sql, vec![result_column(by), rows])
    }
}

pub(super) fn result_column(column: &SchemaColumn) -> ResultColumn {
    ResultColumn {
        name: column.name.clone(),
        kind: column.kind,
    }
}

/// Why a sum of this column over windows would say nothing; none when it does say something. By
/// its type, and by the words that names of such results are made of.
fn not_additive(column: &SchemaColumn) -> Option<String> {
    if !matches!(column.kind, ResultKind::Int | ResultKind::Double) {
        return Some("it is not a number".to_owned());
    }
    let words = || column.name.split('_');
    let has = |list: &[&str]| words().any(|word| list.contains(&word));
    let is_quantile = |word: &str| {
        word.strip_prefix('p')
            .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit()))
    };
    if has(&["distinct", "unique"]) {
        Some("whoever is in two windows would be counted twice".to_owned())
    } else if has(&[
        "avg", "average", "mean", "median", "stddev", "quantile", "percent", "ratio", "share",
    ]) || words().any(is_quantile)
    {
        Some("it is a statistic of each window".to_owned())
    } else if has(&[
        "min", "max", "first", "last", "earliest", "latest", "largest", "smallest", "biggest",
        "highest", "lowest", "longest", "shortest", "peak",
    ]) {
        Some("it is one value of each window".to_owned())
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::super::schema::Storage;
    use super::*;

    fn schema(columns: &[(&str, ResultKind)], key: &[&str]) -> Schema {
        Schema {
            table: "t".into(),
            dialect: Dialect::MySql,
            columns: columns
                .iter()
                .map(|&(name, kind)| SchemaColumn {
                    name: name.into(),
                    kind,
                    storage: match name {
                        "computed" => Storage::Untyped,
                        "bytes" => Storage::Bytes,
                        _ => Storage::Typed,
                    },
                })
                .collect(),
            key: key.iter().map(|&name| name.into()).collect(),
        }
    }

    fn rollup() -> Schema {
        use ResultKind::{Bool, Double, Int, Text, Time};
        schema(
            &[
                ("wiki", Text),
                ("window_start", Time),
                ("window_end", Time),
                ("edits", Int),
                ("bytes", Double),
                ("distinct_users", Int),
                ("p95_delta", Double),
                ("busy", Bool),
            ],
            &["wiki", "window_start"],
        )
    }

    fn raw() -> Schema {
        use ResultKind::{Int, Text, Time};
        schema(
            &[
                ("event_time", Time),
                ("id", Text),
                ("user", Text),
                ("delta", Int),
            ],
            &["event_time", "id"],
        )
    }

    #[track_caller]
    fn check(schema: &Schema, change: impl FnOnce(&mut QueryOptions), expected: &str) {
        let mut options = QueryOptions::of("t");
        change(&mut options);
        let found = match plan(schema, &options) {
            Ok(statement) => format!("{} {:?}", statement.sql, statement.values),
            Err(error) => error.to_string(),
        };
        assert_eq!(found, expected);
    }

    fn filters(texts: &[&str]) -> Vec<Filter> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn rows_come_newest_first() {
        check(
            &raw(),
            |_| {},
            "SELECT `event_time`, `id`, `user`, `delta` FROM `t` ORDER BY `event_time` DESC, `id` LIMIT 51 []",
        );
        check(
            &raw(),
            |options| {
                options.columns = vec!["USER".into()];
                options.filters = filters(&["user != x=y", "delta>=-3"]);
                options.since = Some(Timestamp(1));
                options.until = Some(Timestamp(2));
                options.by = Some("delta".into());
                options.limit = 5;
            },
            "SELECT `user` FROM `t` WHERE `user` <> ? AND `delta` >= ? AND `event_time` >= ? AND `event_time` < ? ORDER BY `delta` DESC, `event_time`, `id` LIMIT 6 [Text(\"x=y\"), Int(-3), Time(Timestamp(1)), Time(Timestamp(2))]",
        );
    }

    #[test]
    fn a_top_list_of_a_rollup_sums_over_the_windows() {
        let top = |by: &str| {
            let by = by.to_owned();
            move |options: &mut QueryOptions| (options.top, options.by) = (Some(10), Some(by))
        };
        check(
            &rollup(),
            top("edits"),
            "SELECT `wiki`, CAST(SUM(`edits`) AS SIGNED) AS `edits`, COUNT(*) AS `windows` FROM `t` GROUP BY `wiki` ORDER BY 2 DESC, 1 LIMIT 11 []",
        );
        check(
            &rollup(),
            top("bytes"),
            "SELECT `wiki`, SUM(`bytes`) AS `bytes`, COUNT(*) AS `windows` FROM `t` GROUP BY `wiki` ORDER BY 2 DESC, 1 LIMIT 11 []",
        );
        let help = "; look at single windows instead, without --top, or with --since and --until around one of them";
        check(
            &rollup(),
            top("distinct_users"),
            &format!(
                "column distinct_users cannot be summed over windows: whoever is in two windows would be counted twice{help}"
            ),
        );
        check(
            &rollup(),
            top("p95_delta"),
            &format!(
                "column p95_delta cannot be summed over windows: it is a statistic of each window{help}"
            ),
        );
        check(
            &rollup(),
            top("busy"),
            &format!("column busy cannot be summed over windows: it is not a number{help}"),
        );
        check(
            &rollup(),
            |options| options.top = Some(3),
            "--top wants to know by which column: add --by, such as --by edits",
        );
    }

    #[test]
    fn a_top_list_of_other_tables_shows_the_largest_numbers_or_the_most_frequent_values() {
        let top = |by: &str| {
            let by = by.to_owned();
            move |options: &mut QueryOptions| (options.top, options.by) = (Some(3), Some(by))
        };
        check(
            &raw(),
            top("delta"),
            "SELECT `event_time`, `id`, `user`, `delta` FROM `t` ORDER BY `delta` DESC, `event_time`, `id` LIMIT 4 []",
        );
        check(
            &raw(),
            top("user"),
            "SELECT `user`, COUNT(*) AS `rows` FROM `t` GROUP BY `user` ORDER BY 2 DESC, 1 LIMIT 4 []",
        );
    }

    #[test]
    fn a_view_of_windows_is_grouped_by_its_texts() {
        let view = Schema {
            key: Vec::new(),
            ..rollup()
        };
        check(
            &view,
            |options| (options.top, options.by) = (Some(1), Some("edits".into())),
            "SELECT `wiki`, CAST(SUM(`edits`) AS SIGNED) AS `edits`, COUNT(*) AS `windows` FROM `t` GROUP BY `wiki` ORDER BY 2 DESC, 1 LIMIT 2 []",
        );
    }

    #[test]
    fn names_and_values_that_do_not_fit_are_explained() {
        check(
            &raw(),
            |options| options.filters = filters(&["usr=x"]),
            "table t has no column usr: did you mean user?",
        );
        check(
            &raw(),
            |options| options.by = Some("payload".into()),
            "table t has no column payload; the columns: event_time, id, user, delta",
        );
        check(
            &raw(),
            |options| options.filters = filters(&["delta=many"]),
            "column delta holds whole numbers, found \"many\"",
        );
        check(
            &raw(),
            |options| options.filters = filters(&["user>=10"]),
            "column user holds texts, of which 9 comes behind 10: with a number it can be compared by \
             = and != only",
        );
        check(
            &raw(),
            |options| options.filters = filters(&["event_time>2h"]),
            "column event_time holds times such as 2026-05-05T11:00:00Z, found \"2h\"",
        );
        check(
            &rollup(),
            |options| options.filters = filters(&["busy=maybe"]),
            "column busy holds true or false, found \"maybe\"",
        );
        let timeless = schema(&[("n", ResultKind::Int)], &["n"]);
        check(
            &timeless,
            |options| options.since = Some(Timestamp(0)),
            "table t has no column with a time for --since and --until",
        );
    }

    #[test]
    fn limits_stay_within_their_bounds() {
        let limit = |limit| {
            let options = QueryOptions {
                limit,
                ..QueryOptions::of("t")
            };
            plan(&raw(), &options).unwrap().limit
        };
        assert_eq!((limit(0), limit(7), limit(usize::MAX)), (1, 7, MOST_ROWS));
    }
}
