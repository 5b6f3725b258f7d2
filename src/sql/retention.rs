//! Keeping a table that only grows within its days: partitions ahead, old ones dropped.
//!
//! Dropping a partition takes no time whatever its size; deleting its rows would take hours. On a
//! server the table must be partitioned by `RANGE COLUMNS` over a DATETIME, with a last partition
//! up to MAXVALUE, as `recentchange` is; days are cut from that last one before events reach them.
//! SQLite has no partitions; there the rows are deleted.

use std::time::Duration;

use jiff::civil::Date;
use tracing::info;

use super::connection::{Purpose, Session};
use super::database::DatabaseUrl;
use super::datum::{Datum, calendar};
use super::dialect::Dialect;
use super::error::SqlError;
use super::rows::Cell;
use super::table::check_name;
use crate::time::Timestamp;

/// Which days of a table are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Whole days before today (UTC) that stay; all when absent.
    pub keep_days: Option<u32>,
    /// Days after today that get their partition now.
    pub ahead_days: u32,
}

/// What was changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RetentionReport {
    /// Partitions that were cut off the last one.
    pub added: Vec<String>,
    /// Partitions that were dropped with their rows.
    pub dropped: Vec<String>,
    /// Rows deleted one by one (SQLite only).
    pub deleted_rows: u64,
}

/// Prepares the coming days of a table and drops those that are no longer kept. `time_column` is
/// the column by which the table is partitioned. Safe to call at any time, from any number of
/// processes.
///
/// # Errors
/// When the database cannot be reached or refuses, or the table is not partitioned by day.
pub async fn maintain_partitions(
    database: &DatabaseUrl,
    table: &str,
    time_column: &str,
    now: Timestamp,
    retention: Retention,
) -> Result<RetentionReport, SqlError> {
    let action = || format!("keep table {table} in {database} within its days");
    let fatal = |reason: String| SqlError::Fatal {
        action: action(),
        reason,
    };
    for name in [table, time_column] {
        check_name(name).map_err(|problem| fatal(format!("name {name:?} {problem}")))?;
    }
    let today = calendar(now).map(jiff::civil::DateTime::date);
    let today = today.ok_or_else(|| fatal(format!("the clock says {now}")))?;
    let mut session = Session::open(database, Purpose::Write)
        .await
        .map_err(|error| SqlError::of(action(), &error, None))?;
    // Cutting the last partition copies the rows that it holds.
    session.statement_timeout = Duration::from_secs(3600);
    let dialect = session.dialect;
    let failed = |error: sqlx::Error| SqlError::of(action(), &error, Some(dialect));
    if dialect == Dialect::Sqlite {
        let deleted_rows = delete_rows(&mut session, table, time_column, today, retention).await;
        return Ok(RetentionReport {
            deleted_rows: deleted_rows.map_err(failed)?,
            ..RetentionReport::default()
        });
    }
    let name = format!("partitions of {table}");
    session
        .lock(&name, Duration::from_secs(60))
        .await
        .map_err(failed)?;
    let partitions = read_partitions(&mut session, table).await.map_err(failed)?;
    let plan = plan(&partitions, today, retention).map_err(fatal)?;
    for statement in plan.statements(table, dialect) {
        session.run(&statement).await.map_err(failed)?;
    }
    let report = RetentionReport {
        added: plan.add.iter().map(|&day| partition_name(day)).collect(),
        dropped: plan.drop,
        deleted_rows: 0,
    };
    if report != RetentionReport::default() {
        info!(table, added = ?report.added, dropped = ?report.dropped, "partitions");
    }
    Ok(report)
}

async fn delete_rows(
    session: &mut Session,
    table: &str,
    time_column: &str,
    today: Date,
    retention: Retention,
) -> Result<u64, sqlx::Error> {
    let Some(first) = retention.first_day(today) else {
        return Ok(0);
    };
    let mut text = String::new();
    Dialect::Sqlite.write_time(first.at(0, 0, 0, 0), &mut text);
    let dialect = session.dialect;
    let (table, column) = (dialect.quote(table), dialect.quote(time_column));
    let sql = format!("DELETE FROM {table} WHERE {column} < ?");
    let first = session.bind([Cell::Text(&text)])?;
    session.execute(&sql.into(), first).await
}

/// A partition: its name, and the day before which its rows lie; none for MAXVALUE.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Partition {
    name: String,
    before: Option<Date>,
}

async fn read_partitions(
    session: &mut Session,
    table: &str,
) -> Result<Vec<Partition>, sqlx::Error> {
    let found = session
        .rows(
            "SELECT partition_name, partition_description FROM information_schema.partitions \
             WHERE table_schema = DATABASE() AND table_name = ? AND partition_name IS NOT NULL \
             ORDER BY partition_ordinal_position",
            &[Cell::Text(table)],
        )
        .await?;
    let partition = |row: Vec<Datum>| {
        let [name, bound]: [String; 2] = row
            .into_iter()
            .map(Datum::into_text)
            .collect::<Vec<_>>()
            .try_into()
            .expect("as many columns as the query names");
        let day = bound
            .trim_matches('\'')
            .get(..10)
            .and_then(|day| day.parse().ok());
        Partition { name, before: day }
    };
    Ok(found.rows.into_iter().map(partition).collect())
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
struct Plan {
    /// The partition up to MAXVALUE.
    last: String,
    /// Days to be cut from it.
    add: Vec<Date>,
    /// Partitions to be dropped.
    drop: Vec<String>,
}

/// Decides which partitions are added and which dropped.
fn plan(partitions: &[Partition], today: Date, retention: Retention) -> Result<Plan, String> {
    let Some((last, days)) = partitions.split_last() else {
        return Err("the table is not partitioned by RANGE COLUMNS over a DATETIME".to_owned());
    };
    if last.before.is_some() || days.iter().any(|partition| partition.before.is_none()) {
        return Err(
            "the table is not partitioned by days up to a last partition with MAXVALUE".to_owned(),
        );
    }
    let first_new = days
        .last()
        .and_then(|partition| partition.before)
        .unwrap_or(today)
        .max(
            // Days that nobody prepared while no process ran are in the last partition; they are cut
            // off it as one piece, before the first of the coming ones.
            today.yesterday().unwrap_or(today),
        );
    let last_new = today.saturating_add(jiff::Span::new().days(i64::from(retention.ahead_days)));
    let add = first_new
        .series(jiff::Span::new().days(1))
        .take_while(|&day| day <= last_new);
    let drop = match retention.first_day(today) {
        None => Vec::new(),
        Some(first) => days
            .iter()
            .filter(|partition| partition.before.is_some_and(|before| before <= first))
            .map(|partition| partition.name.clone())
            .collect(),
    };
    Ok(Plan {
        last: last.name.clone(),
        add: add.collect(),
        drop,
    })
}

impl Retention {
    /// The first day that stays.
    fn first_day(self, today: Date) -> Option<Date> {
        let days = i64::from(self.keep_days?);
        Some(today.saturating_sub(jiff::Span::new().days(days)))
    }
}

impl Plan {
    fn statements(&self, table: &str, dialect: Dialect) -> Vec<String> {
        let mut statements = Vec::new();
        let (table, last) = (dialect.quote(table), dialect.quote(&self.last));
        if !self.add.is_empty() {
            let days: Vec<_> = self
                .add
                .iter()
                .map(|&day| partition_ddl(day, dialect))
                .collect();
            statements.push(format!(
                "ALTER TABLE {table} REORGANIZE PARTITION {last} INTO ({}, PARTITION {last} VALUES LESS THAN (MAXVALUE))",
                days.join(", ")
            ));
        }
        if !self.drop.is_empty() {
            let names: Vec<_> = self.drop.iter().map(|name| dialect.quote(name)).collect();
            statements.push(format!(
                "ALTER TABLE {table} DROP PARTITION {}",
                names.join(", ")
            ));
        }
        statements
    }
}

fn partition_name(day: Date) -> String {
    format!("p{:04}{:02}{:02}", day.year(), day.month(), day.day())
}

fn partition_ddl(day: Date, dialect: Dialect) -> String {
    let next = day.tomorrow().unwrap_or(Date::MAX);
    format!(
        "PARTITION {} VALUES LESS THAN ('{next} 00:00:00')",
        dialect.quote(&partition_name(day))
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::date;

    fn partitions(days: &[i8]) -> Vec<Partition> {
        let day = |&day| Partition {
            name: partition_name(date(2026, 5, day)),
            before: Some(date(2026, 5, day + 1)),
        };
        let last = Partition {
            name: "p_rest".into(),
            before: None,
        };
        days.iter().map(day).chain([last]).collect()
    }

    #[track_caller]
    fn check(days: &[i8], keep_days: Option<u32>, add: &[i8], drop: &[i8]) {
        let retention = Retention {
            keep_days,
            ahead_days: 2,
        };
        let plan = plan(&partitions(days), date(2026, 5, 10), retention).unwrap();
        assert_eq!(
            plan.add,
            add.iter()
                .map(|&day| date(2026, 5, day))
                .collect::<Vec<_>>()
        );
        let names: Vec<_> = drop
            .iter()
            .map(|&day| partition_name(date(2026, 5, day)))
            .collect();
        assert_eq!(plan.drop, names);
    }

    #[test]
    fn days_are_added_ahead_and_dropped_behind() {
        check(&[], None, &[10, 11, 12], &[]);
        check(&[8, 9, 10, 11, 12], None, &[], &[]);
        check(&[8, 9, 10, 11], Some(1), &[12], &[8]);
        check(&[7, 8, 9, 10, 11], Some(0), &[12], &[7, 8, 9]);
        check(&[3, 4], None, &[9, 10, 11, 12], &[]);
        check(&[3, 4], Some(30), &[9, 10, 11, 12], &[]);
    }

    #[test]
    fn a_table_that_is_partitioned_otherwise_is_left_alone() {
        let retention = Retention {
            keep_days: None,
            ahead_days: 1,
        };
        let today = date(2026, 5, 10);
        assert!(plan(&[], today, retention).is_err());
        assert!(plan(&partitions(&[9])[..1], today, retention).is_err());
        let hash = Partition {
            name: "p0".into(),
            before: None,
        };
        assert!(plan(&[hash.clone(), hash], today, retention).is_err());
    }

    #[test]
    fn the_last_partition_is_cut_into_days() {
        let plan = Plan {
            last: "p_rest".into(),
            add: vec![date(2026, 12, 31)],
            drop: vec!["p20261201".into()],
        };
        assert_eq!(
            plan.statements("t", Dialect::MySql),
            [
                "ALTER TABLE `t` REORGANIZE PARTITION `p_rest` INTO (PARTITION `p20261231` VALUES LESS THAN ('2027-01-01 00:00:00'), PARTITION `p_rest` VALUES LESS THAN (MAXVALUE))",
                "ALTER TABLE `t` DROP PARTITION `p20261201`",
            ]
        );
    }
}
