//! Where MySQL, MariaDB and SQLite differ: all of it is in this file.
//!
//! Texts only; what is sent, when and why is decided elsewhere. Names are quoted by
//! [`Dialect::quote`] after [`super::table::check_name`]; values are always bound.

use std::fmt;

use super::table::{ColumnType, TableSpec};

/// A database's way of speaking SQL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// MySQL 8.0.20 and later.
    MySql,
    /// MariaDB 10.6 and later.
    MariaDb,
    /// SQLite 3.35 and later.
    Sqlite,
}

impl Dialect {
    /// Which server speaks, by what its `VERSION()` says.
    pub(super) fn of_version(version: &str) -> Dialect {
        if version.to_ascii_lowercase().contains("mariadb") {
            Dialect::MariaDb
        } else {
            Dialect::MySql
        }
    }

    /// True for the two that speak MySQL's protocol.
    pub fn is_server(self) -> bool {
        self != Dialect::Sqlite
    }

    /// A name in quotes. Names come from a checked alphabet; a quote inside one is doubled all the
    /// same.
    pub(super) fn quote(self, name: &str) -> String {
        match self {
            Dialect::MySql | Dialect::MariaDb => format!("`{}`", name.replace('`', "``")),
            Dialect::Sqlite => format!("\"{}\"", name.replace('"', "\"\"")),
        }
    }

    /// The type of a column in DDL.
    pub(super) fn column_type(self, kind: ColumnType, in_key: bool) -> &'static str {
        if self == Dialect::Sqlite {
            return match kind {
                ColumnType::Bool => "BOOLEAN",
                ColumnType::Int => "BIGINT",
                ColumnType::Double => "DOUBLE",
                ColumnType::Text => "TEXT",
                ColumnType::Bytes => "BLOB",
                ColumnType::Time => "DATETIME",
            };
        }
        match kind {
            ColumnType::Bool => "BOOLEAN",
            ColumnType::Int => "BIGINT",
            ColumnType::Double => "DOUBLE",
            ColumnType::Text | ColumnType::Bytes if in_key => "VARBINARY(255)",
            ColumnType::Text => "MEDIUMTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
            ColumnType::Bytes => "LONGBLOB",
            ColumnType::Time => "DATETIME(3)",
        }
    }

    /// What follows the columns in `CREATE TABLE`. The character set is always written: the
    /// default of MariaDB is latin1.
    pub(super) fn table_options(self) -> &'static str {
        match self {
            Dialect::MySql | Dialect::MariaDb => {
                " ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"
            }
            Dialect::Sqlite => "",
        }
    }

    /// How many values one statement can bind.
    pub(super) fn max_placeholders(self) -> usize {
        match self {
            Dialect::MySql | Dialect::MariaDb => 65_535,
            Dialect::Sqlite => 32_766,
        }
    }

    /// Begins a transaction that will write. SQLite takes its one write lock at once, since an
    /// upgrade from reading to writing fails without waiting.
    pub(super) fn begin(self) -> &'static str {
        match self {
            Dialect::MySql | Dialect::MariaDb => "START TRANSACTION",
            Dialect::Sqlite => "BEGIN IMMEDIATE",
        }
    }

    /// Makes a SELECT lock its rows. SQLite has locked the whole file by then.
    pub(super) fn for_update(self) -> &'static str {
        match self {
            Dialect::MySql | Dialect::MariaDb => " FOR UPDATE",
            Dialect::Sqlite => "",
        }
    }

    /// The database's clock, UTC, in the form of a [`ColumnType::Time`] column.
    pub(super) fn now(self) -> &'static str {
        match self {
            Dialect::MySql | Dialect::MariaDb => "UTC_TIMESTAMP(3)",
            Dialect::Sqlite => "strftime('%Y-%m-%dT%H:%M:%fZ', 'now')",
        }
    }

    /// An `INSERT` into `columns` that overwrites `overwrite` when the key is there already.
    ///
    /// `VALUES(column)` is deprecated in MySQL, but its successor is a syntax error in MariaDB.
    pub(super) fn on_conflict(self, key: &[&str], overwrite: &[&str]) -> String {
        let list = |names: &[&str], one: &dyn Fn(String) -> String| {
            let parts: Vec<_> = names.iter().map(|name| one(self.quote(name))).collect();
            parts.join(", ")
        };
        match self {
            Dialect::MySql | Dialect::MariaDb => {
                // A table that is all key has nothing to overwrite; naming a key column keeps the
                // statement from failing on the repeated row.
                let columns = if overwrite.is_empty() {
                    &key[..1]
                } else {
                    overwrite
                };
                let set = list(columns, &|name| format!("{name} = VALUES({name})"));
                format!(" ON DUPLICATE KEY UPDATE {set}")
            }
            Dialect::Sqlite => {
                let target = list(key, &|name| name);
                if overwrite.is_empty() {
                    return format!(" ON CONFLICT ({target}) DO NOTHING");
                }
                let set = list(overwrite, &|name| format!("{name} = excluded.{name}"));
                format!(" ON CONFLICT ({target}) DO UPDATE SET {set}")
            }
        }
    }

    /// Inserts or overwrites `rows` rows; the values are bound row by row.
    pub(super) fn upsert(self, table: &TableSpec, rows: usize) -> String {
        let names: Vec<_> = table
            .columns
            .iter()
            .map(|column| self.quote(&column.name))
            .collect();
        let row = format!("({})", vec!["?"; names.len()].join(","));
        let key = table.key_names();
        let overwrite: Vec<_> = (0..table.columns.len())
            .filter(|&column| !table.is_key(column))
            .map(|column| table.columns[column].name.as_str())
            .collect();
        format!(
            "INSERT INTO {} ({}) VALUES {}{}",
            self.quote(&table.table),
            names.join(", "),
            vec![row; rows].join(","),
            self.on_conflict(&key, &overwrite),
        )
    }

    /// Deletes `rows` rows by their keys; the values are bound key by key.
    ///
    /// Alternatives of equalities rather than `(a, b) IN (…)`, which not every version answers
    /// from the index.
    pub(super) fn delete(self, table: &TableSpec, rows: usize) -> String {
        let equal: Vec<_> = table
            .key_names()
            .iter()
            .map(|name| format!("{} = ?", self.quote(name)))
            .collect();
        let row = format!("({})", equal.join(" AND "));
        format!(
            "DELETE FROM {} WHERE {}",
            self.quote(&table.table),
            vec![row; rows].join(" OR ")
        )
    }

    /// Adds a column to a live table.
    pub(super) fn add_column(self, table: &str, column_ddl: &str) -> String {
        format!("ALTER TABLE {} ADD COLUMN {column_ddl};", self.quote(table))
    }

    /// Gives a column of a live table another type; none where that takes a new table.
    pub(super) fn modify_column(self, table: &str, column_ddl: &str) -> Option<String> {
        self.is_server().then(|| {
            format!(
                "ALTER TABLE {} MODIFY COLUMN {column_ddl};",
                self.quote(table)
            )
        })
    }

    /// Gives a live table another primary key; none where that takes a new table.
    pub(super) fn replace_primary_key(
        self,
        table: &str,
        had_one: bool,
        key: &[&str],
    ) -> Option<String> {
        let columns: Vec<_> = key.iter().map(|name| self.quote(name)).collect();
        let drop = if had_one { "DROP PRIMARY KEY, " } else { "" };
        self.is_server().then(|| {
            format!(
                "ALTER TABLE {} {drop}ADD PRIMARY KEY ({});",
                self.quote(table),
                columns.join(", ")
            )
        })
    }

    /// Drops an index.
    pub(super) fn drop_index(self, table: &str, index: &str) -> String {
        match self {
            Dialect::MySql | Dialect::MariaDb => {
                format!(
                    "ALTER TABLE {} DROP INDEX {};",
                    self.quote(table),
                    self.quote(index)
                )
            }
            Dialect::Sqlite => format!("DROP INDEX {};", self.quote(index)),
        }
    }

    /// Shows a binary column that holds text as text.
    pub(super) fn as_text(self, column: &str) -> String {
        match self {
            Dialect::MySql | Dialect::MariaDb => format!("CONVERT({column} USING utf8mb4)"),
            Dialect::Sqlite => column.to_owned(),
        }
    }

    /// A sum that stays a whole number; MySQL makes DECIMAL of it otherwise.
    pub(super) fn whole_sum(self, expression: &str) -> String {
        match self {
            Dialect::MySql | Dialect::MariaDb => format!("CAST(SUM({expression}) AS SIGNED)"),
            Dialect::Sqlite => format!("SUM({expression})"),
        }
    }

    /// Ends each SELECT of the session after so many milliseconds; none where the connection does
    /// that itself.
    pub(super) fn limit_query_time(self, ms: u64) -> Option<String> {
        match self {
            Dialect::MySql => Some(format!("SET SESSION max_execution_time = {ms}")),
            Dialect::MariaDb => Some(format!(
                "SET SESSION max_statement_time = {}.{:03}",
                ms / 1000,
                ms % 1000
            )),
            Dialect::Sqlite => None,
        }
    }

    /// Appends a point in time in the form in which it is bound: `2026-05-05 11:17:40.822`, in
    /// SQLite RFC 3339.
    pub(super) fn write_time(self, time: jiff::civil::DateTime, out: &mut impl fmt::Write) {
        let (separator, end) = if self == Dialect::Sqlite {
            ('T', "Z")
        } else {
            (' ', "")
        };
        let _ = write!(
            out,
            "{:04}-{:02}-{:02}{separator}{:02}:{:02}:{:02}.{:03}{end}",
            time.year(),
            time.month(),
            time.day(),
            time.hour(),
            time.minute(),
            time.second(),
            time.millisecond(),
        );
    }
}

/// The product's name.
impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Dialect::MySql => "MySQL",
            Dialect::MariaDb => "MariaDB",
            Dialect::Sqlite => "SQLite",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::table::Column;

    fn table() -> TableSpec {
        let column = |name: &str| Column {
            name: name.into(),
            kind: ColumnType::Int,
            nullable: false,
        };
        TableSpec {
            table: "t".into(),
            columns: vec![column("a"), column("b"), column("c")],
            key: vec![1, 0],
        }
    }

    #[test]
    fn a_server_tells_its_product_by_its_version() {
        assert_eq!(Dialect::of_version("9.7.4"), Dialect::MySql);
        assert_eq!(Dialect::of_version("8.0.36-28-log"), Dialect::MySql);
        assert_eq!(
            Dialect::of_version("10.11.19-MariaDB-0+deb12u1"),
            Dialect::MariaDb
        );
        assert_eq!(
            Dialect::of_version("5.5.5-10.6.4-mariadb"),
            Dialect::MariaDb
        );
    }

    #[test]
    fn an_upsert_overwrites_everything_but_the_key() {
        assert_eq!(
            Dialect::MySql.upsert(&table(), 2),
            "INSERT INTO `t` (`a`, `b`, `c`) VALUES (?,?,?),(?,?,?) ON DUPLICATE KEY UPDATE `c` = VALUES(`c`)"
        );
        assert_eq!(
            Dialect::Sqlite.upsert(&table(), 1),
            "INSERT INTO \"t\" (\"a\", \"b\", \"c\") VALUES (?,?,?) ON CONFLICT (\"b\", \"a\") DO UPDATE SET \"c\" = excluded.\"c\""
        );
        let all_key = TableSpec {
            key: vec![0, 1, 2],
            ..table()
        };
        assert_eq!(
            Dialect::MariaDb.upsert(&all_key, 1),
            "INSERT INTO `t` (`a`, `b`, `c`) VALUES (?,?,?) ON DUPLICATE KEY UPDATE `a` = VALUES(`a`)"
        );
        assert_eq!(
            Dialect::Sqlite.upsert(&all_key, 1),
            "INSERT INTO \"t\" (\"a\", \"b\", \"c\") VALUES (?,?,?) ON CONFLICT (\"a\", \"b\", \"c\") DO NOTHING"
        );
    }

    #[test]
    fn a_delete_names_keys_only() {
        assert_eq!(
            Dialect::MySql.delete(&table(), 2),
            "DELETE FROM `t` WHERE (`b` = ? AND `a` = ?) OR (`b` = ? AND `a` = ?)"
        );
    }

    #[test]
    fn a_time_is_bound_in_the_form_that_the_database_reads() {
        let time = jiff::civil::datetime(2026, 5, 5, 11, 17, 40, 822_000_000);
        let mut text = String::new();
        Dialect::MySql.write_time(time, &mut text);
        text.push('|');
        Dialect::Sqlite.write_time(time, &mut text);
        assert_eq!(text, "2026-05-05 11:17:40.822|2026-05-05T11:17:40.822Z");
    }
}
