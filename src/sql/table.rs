//! What a sink expects of its table, and the DDL that makes such a table.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::dialect::Dialect;
use super::fit::{FindingCode, TableFinding};

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ColumnType {
    /// True or false: BOOLEAN.
    Bool,
    /// A whole number of 64 bits: BIGINT.
    Int,
    /// A number with a fraction: DOUBLE.
    Double,
    /// Text: VARBINARY(255) in a key, MEDIUMTEXT in utf8mb4 elsewhere.
    ///
    /// Keys are binary because every collation of MySQL and MariaDB that both know makes some
    /// distinct names equal (`a` and `A`, `a` and `a␠`, all emoji), and equal keys share a row.
    Text,
    /// Bytes: VARBINARY(255) in a key, LONGBLOB elsewhere.
    Bytes,
    /// A point in time, UTC, with milliseconds: DATETIME(3). In SQLite a text such as
    /// `2026-05-05T11:17:40.822Z`, which sorts by time and which its date functions read.
    Time,
}

/// A column of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// What it holds.
    pub kind: ColumnType,
    /// Whether it may be NULL.
    pub nullable: bool,
}

/// A table as a sink sees it. Columns of the live table that are not named here are left alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableSpec {
    /// Its name.
    pub table: String,
    /// The columns that are written, in the order of the cells of a row.
    pub columns: Vec<Column>,
    /// The primary key: indexes into `columns`.
    pub key: Vec<usize>,
}

/// The longest name that MySQL takes.
const NAME_LIMIT: usize = 64;

/// The longest index of InnoDB, in bytes.
const INDEX_LIMIT: usize = 3072;

/// Where the size of a key column of text or bytes ends.
const KEY_BYTES: usize = 255;

impl ColumnType {
    /// The name in messages and topology files: `bool`, `int`, `double`, `string`, `bytes`,
    /// `timestamp`.
    pub fn name(self) -> &'static str {
        match self {
            ColumnType::Bool => "bool",
            ColumnType::Int => "int",
            ColumnType::Double => "double",
            ColumnType::Text => "string",
            ColumnType::Bytes => "bytes",
            ColumnType::Time => "timestamp",
        }
    }

    /// The bytes that a key column of this type takes in the index, at most.
    fn key_bytes(self) -> usize {
        match self {
            ColumnType::Bool => 1,
            ColumnType::Int | ColumnType::Double | ColumnType::Time => 8,
            ColumnType::Text | ColumnType::Bytes => KEY_BYTES + 2,
        }
    }
}

impl TableSpec {
    /// True when the column of that index is part of the key.
    pub fn is_key(&self, column: usize) -> bool {
        self.key.contains(&column)
    }

    /// The names of the key's columns, in its order.
    pub fn key_names(&self) -> Vec<&str> {
        self.key
            .iter()
            .map(|&column| self.columns[column].name.as_str())
            .collect()
    }

    /// What is wrong with the table as it is wanted, before any database is asked: names outside
    /// the alphabet, names given twice, a key that is empty, may be null, or cannot be compared
    /// exactly.
    pub fn findings(&self) -> Vec<TableFinding> {
        let mut findings = Vec::new();
        let mut report = |text: String| {
            findings.push(TableFinding::error(FindingCode::Unusable, text, None));
        };
        if let Err(problem) = check_name(&self.table) {
            report(format!("table name {:?} {problem}", self.table));
        }
        let mut seen = BTreeSet::new();
        for column in &self.columns {
            if let Err(problem) = check_name(&column.name) {
                report(format!("column name {:?} {problem}", column.name));
            }
            if !seen.insert(column.name.to_ascii_lowercase()) {
                report(format!("column {} is there twice", column.name));
            }
        }
        if self.key.is_empty() {
            report(format!(
                "table {} has no key: without one a replay would write rows twice",
                self.table
            ));
        }
        if self.key.iter().collect::<BTreeSet<_>>().len() < self.key.len() {
            report(format!(
                "the key of table {} names a column twice",
                self.table
            ));
        }
        for &index in &self.key {
            match self.columns.get(index) {
                None => report(format!(
                    "the key names column {index} of {}",
                    self.columns.len()
                )),
                Some(column) if column.nullable => report(format!(
                    "key column {} may be null: two rows with a null in the key are never equal",
                    column.name
                )),
                Some(column) if column.kind == ColumnType::Double => report(format!(
                    "key column {} is a double: equal numbers may differ in their last bits",
                    column.name
                )),
                Some(_) => {}
            }
        }
        let columns = self.key.iter().filter_map(|&index| self.columns.get(index));
        let bytes: usize = columns.map(|column| column.kind.key_bytes()).sum();
        if bytes > INDEX_LIMIT {
            report(format!(
                "the key takes up to {bytes} bytes, an index holds {INDEX_LIMIT}"
            ));
        }
        findings
    }
}

/// Names that need no escaping anywhere: what is quoted in SQL comes from this alphabet only.
pub(super) fn check_name(name: &str) -> Result<(), String> {
    let fits = !name.is_empty()
        && name.len() <= NAME_LIMIT
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && !name.as_bytes()[0].is_ascii_digit();
    if fits {
        Ok(())
    } else {
        Err(format!(
            "should be 1 to {NAME_LIMIT} letters, digits and underscores, and not begin with a digit"
        ))
    }
}

/// The statement that makes the table. Keys of text are VARBINARY(255), other texts MEDIUMTEXT in
/// utf8mb4.
///
/// ```
/// use tidemill::sql::{Column, ColumnType, Dialect, TableSpec, ddl};
///
/// let column = |name: &str, kind| Column { name: name.into(), kind, nullable: false };
/// let table = TableSpec {
///     table: "edits".into(),
///     columns: vec![column("wiki", ColumnType::Text), column("edits", ColumnType::Int)],
///     key: vec![0],
/// };
/// assert_eq!(
///     ddl(&table, Dialect::MySql),
///     "CREATE TABLE `edits` (\n  `wiki` VARBINARY(255) NOT NULL,\n  `edits` BIGINT NOT NULL,\n  \
///      PRIMARY KEY (`wiki`)\n) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;"
/// );
/// ```
pub fn ddl(table: &TableSpec, dialect: Dialect) -> String {
    let mut sql = format!("CREATE TABLE {} (\n", dialect.quote(&table.table));
    for index in 0..table.columns.len() {
        let _ = writeln!(sql, "  {},", column_ddl(table, index, dialect));
    }
    let key: Vec<_> = table
        .key_names()
        .iter()
        .map(|name| dialect.quote(name))
        .collect();
    let _ = write!(
        sql,
        "  PRIMARY KEY ({})\n){};",
        key.join(", "),
        dialect.table_options()
    );
    sql
}

/// One column as it stands in `CREATE TABLE` and `ALTER TABLE`.
pub(super) fn column_ddl(table: &TableSpec, index: usize, dialect: Dialect) -> String {
    let column = &table.columns[index];
    let kind = dialect.column_type(column.kind, table.is_key(index));
    let null = if column.nullable {
        " NULL"
    } else {
        " NOT NULL"
    };
    format!("{} {kind}{null}", dialect.quote(&column.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(columns: &[(&str, ColumnType, bool)], key: &[usize]) -> TableSpec {
        TableSpec {
            table: "t".into(),
            columns: columns
                .iter()
                .map(|&(name, kind, nullable)| Column {
                    name: name.into(),
                    kind,
                    nullable,
                })
                .collect(),
            key: key.to_vec(),
        }
    }

    #[track_caller]
    fn check(table: &TableSpec, expected: &[&str]) {
        let found: Vec<_> = table
            .findings()
            .into_iter()
            .map(|finding| finding.message)
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_table_that_could_not_be_written_exactly_once_is_refused() {
        use ColumnType::{Double, Int, Text, Time};
        check(
            &table(&[("wiki", Text, false), ("edits", Int, true)], &[0]),
            &[],
        );
        check(
            &table(&[("edits", Int, true)], &[]),
            &["table t has no key: without one a replay would write rows twice"],
        );
        check(
            &table(
                &[
                    ("wiki", Text, true),
                    ("Wiki", Text, false),
                    ("x", Double, false),
                ],
                &[0, 2, 0],
            ),
            &[
                "column Wiki is there twice",
                "the key of table t names a column twice",
                "key column wiki may be null: two rows with a null in the key are never equal",
                "key column x is a double: equal numbers may differ in their last bits",
                "key column wiki may be null: two rows with a null in the key are never equal",
            ],
        );
        check(
            &table(&[("drop`table", Text, false), ("at", Time, false)], &[1, 5]),
            &[
                "column name \"drop`table\" should be 1 to 64 letters, digits and underscores, and not begin with a digit",
                "the key names column 5 of 2",
            ],
        );
        let names: Vec<_> = (0..12).map(|n| format!("k{n}")).collect();
        let wide: Vec<_> = names
            .iter()
            .map(|name| (name.as_str(), Text, false))
            .collect();
        check(
            &table(&wide, &(0..12).collect::<Vec<_>>()),
            &["the key takes up to 3084 bytes, an index holds 3072"],
        );
    }

    #[test]
    fn every_type_has_its_ddl_in_every_dialect() {
        use ColumnType::{Bool, Bytes, Double, Int, Text, Time};
        let table = table(
            &[
                ("wiki", Text, false),
                ("digest", Bytes, false),
                ("window_start", Time, false),
                ("edits", Int, false),
                ("mean", Double, true),
                ("bot", Bool, false),
                ("comment", Text, true),
                ("raw", Bytes, true),
            ],
            &[0, 1, 2],
        );
        expect_test::expect![[r#"
            CREATE TABLE `t` (
              `wiki` VARBINARY(255) NOT NULL,
              `digest` VARBINARY(255) NOT NULL,
              `window_start` DATETIME(3) NOT NULL,
              `edits` BIGINT NOT NULL,
              `mean` DOUBLE NULL,
              `bot` BOOLEAN NOT NULL,
              `comment` MEDIUMTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NULL,
              `raw` LONGBLOB NULL,
              PRIMARY KEY (`wiki`, `digest`, `window_start`)
            ) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;"#]]
        .assert_eq(&ddl(&table, Dialect::MariaDb));
        assert_eq!(ddl(&table, Dialect::MySql), ddl(&table, Dialect::MariaDb));
        expect_test::expect![[r#"
            CREATE TABLE "t" (
              "wiki" TEXT NOT NULL,
              "digest" BLOB NOT NULL,
              "window_start" DATETIME NOT NULL,
              "edits" BIGINT NOT NULL,
              "mean" DOUBLE NULL,
              "bot" BOOLEAN NOT NULL,
              "comment" TEXT NULL,
              "raw" BLOB NULL,
              PRIMARY KEY ("wiki", "digest", "window_start")
            );"#]]
        .assert_eq(&ddl(&table, Dialect::Sqlite));
    }
}
