//! The table as it is against the table as the sink needs it.
//!
//! Comparing is pure, and reports everything at once, each finding with the DDL that mends it.

use std::fmt;

use super::connection::{Purpose, Session};
use super::database::DatabaseUrl;
use super::dialect::Dialect;
use super::error::SqlError;
use super::live::{LiveColumn, LiveTable, read_table};
use super::table::{ColumnType, TableSpec, column_ddl, ddl};

/// Something about a live table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableFinding {
    /// Which rule it comes from.
    pub code: FindingCode,
    /// True when the sink cannot work so; false when it can, but rows may be refused.
    pub error: bool,
    /// What was found and what is needed.
    pub message: String,
    /// The statement that mends it, where one does.
    pub fix: Option<String>,
}

/// The rules that a live table is held against.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FindingCode {
    /// The wanted table is impossible in itself.
    Unusable,
    /// The table is not there.
    NoTable,
    /// It is a view, or its engine has no transactions.
    NotTransactional,
    /// A column is not there.
    NoColumn,
    /// A column has another type.
    ColumnType,
    /// A column refuses nulls that the sink may write.
    NotNull,
    /// A column that the sink does not write has no default.
    NoDefault,
    /// The primary key is another one.
    PrimaryKey,
    /// There is a second unique index.
    SecondUniqueIndex,
    /// The key's collation makes distinct texts equal.
    MergingCollation,
    /// A text column that cannot hold every character.
    Charset,
    /// Another sink writes the table as well.
    AnotherWriter,
}

impl FindingCode {
    /// The stable code, for documentation and tests.
    pub fn code(self) -> &'static str {
        match self {
            FindingCode::Unusable => "S01",
            FindingCode::NoTable => "S02",
            FindingCode::NotTransactional => "S03",
            FindingCode::NoColumn => "S04",
            FindingCode::ColumnType => "S05",
            FindingCode::NotNull => "S06",
            FindingCode::NoDefault => "S07",
            FindingCode::PrimaryKey => "S08",
            FindingCode::SecondUniqueIndex => "S09",
            FindingCode::MergingCollation => "S10",
            FindingCode::Charset => "S11",
            FindingCode::AnotherWriter => "S12",
        }
    }
}

impl TableFinding {
    pub(super) fn error(code: FindingCode, message: String, fix: Option<String>) -> TableFinding {
        TableFinding {
            code,
            error: true,
            message,
            fix,
        }
    }

    pub(super) fn warning(code: FindingCode, message: String, fix: Option<String>) -> TableFinding {
        TableFinding {
            code,
            error: false,
            message,
            fix,
        }
    }
}

impl fmt::Display for TableFinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.error { "error" } else { "warning" };
        write!(f, "{kind}[{}]: {}", self.code.code(), self.message)?;
        match &self.fix {
            Some(fix) => write!(f, "\n    fix: {}", fix.replace('\n', "\n         ")),
            None => Ok(()),
        }
    }
}

/// Holds the live table against what the sink needs; empty when it fits.
///
/// # Errors
/// When the database cannot be reached or its schema cannot be read.
pub async fn check_table(
    database: &DatabaseUrl,
    table: &TableSpec,
) -> Result<Vec<TableFinding>, SqlError> {
    let action = || format!("check table {} in {database}", table.table);
    let mut session = Session::open(database, Purpose::Read)
        .await
        .map_err(|error| SqlError::of(action(), &error, None))?;
    let dialect = session.dialect;
    let live = read_table(&mut session, &table.table)
        .await
        .map_err(|error| SqlError::of(action(), &error, Some(dialect)))?;
    Ok(compare(table, live.as_ref(), dialect))
}

/// Everything that keeps `live` from being the table of a sink, in the order of the columns.
pub(super) fn compare(
    table: &TableSpec,
    live: Option<&LiveTable>,
    dialect: Dialect,
) -> Vec<TableFinding> {
    let mut findings = table.findings();
    if !findings.is_empty() {
        return findings;
    }
    let Some(live) = live else {
        return vec![TableFinding::error(
            FindingCode::NoTable,
            format!("there is no table {}", table.table),
            Some(ddl(table, dialect)),
        )];
    };
    findings.extend(check_kind(table, live, dialect));
    for index in 0..table.columns.len() {
        findings.extend(check_column(table, index, live, dialect));
    }
    findings.extend(check_other_columns(table, live, dialect));
    findings.extend(check_key(table, live, dialect));
    findings.extend(check_unique(table, live, dialect));
    findings
}

fn check_kind(table: &TableSpec, live: &LiveTable, dialect: Dialect) -> Option<TableFinding> {
    let name = &table.table;
    if live.kind != "BASE TABLE" {
        let message = format!(
            "{name} is a {}, not a table",
            live.kind.to_ascii_lowercase()
        );
        return Some(TableFinding::error(
            FindingCode::NotTransactional,
            message,
            None,
        ));
    }
    let transactional = ["", "InnoDB", "ROCKSDB", "ndbcluster"];
    let known = transactional
        .iter()
        .any(|engine| engine.eq_ignore_ascii_case(&live.engine));
    (!known).then(|| {
        TableFinding::error(
            FindingCode::NotTransactional,
            format!(
                "table {name} has engine {}, which has no transactions",
                live.engine
            ),
            Some(format!(
                "ALTER TABLE {} ENGINE=InnoDB;",
                dialect.quote(name)
            )),
        )
    })
}

fn check_column(
    table: &TableSpec,
    index: usize,
    live: &LiveTable,
    dialect: Dialect,
) -> Vec<TableFinding> {
    let wanted = &table.columns[index];
    let ddl = column_ddl(table, index, dialect);
    let Some(column) = live.column(&wanted.name) else {
        return vec![TableFinding::error(
            FindingCode::NoColumn,
            format!("table {} has no column {}", table.table, wanted.name),
            Some(dialect.add_column(&table.table, &ddl)),
        )];
    };
    let modify = || dialect.modify_column(&table.table, &ddl);
    if column.generated {
        let message = format!("column {} is generated and cannot be written", wanted.name);
        return vec![TableFinding::error(
            FindingCode::ColumnType,
            message,
            modify(),
        )];
    }
    let mut findings = Vec::new();
    if let Some(problem) = type_problem(wanted.kind, column, table.is_key(index), dialect) {
        let message = format!("column {} is {}, {problem}", wanted.name, column.declared);
        findings.push(TableFinding::error(
            FindingCode::ColumnType,
            message,
            modify(),
        ));
    } else if table.is_key(index)
        && wanted.kind == ColumnType::Text
        && let Some(problem) = merging(column, live)
    {
        let message = format!("key column {} {problem}", wanted.name);
        findings.push(TableFinding::error(
            FindingCode::MergingCollation,
            message,
            modify(),
        ));
    } else if !["", "utf8mb4", "binary"].contains(&column.charset.as_str()) {
        let message = format!(
            "column {} has character set {}: rows with other characters (emoji, for one) will be refused",
            wanted.name, column.charset
        );
        findings.push(TableFinding::warning(
            FindingCode::Charset,
            message,
            modify(),
        ));
    }
    if wanted.nullable && !column.nullable {
        let message = format!(
            "column {} is NOT NULL: rows without a value will be refused",
            wanted.name
        );
        findings.push(TableFinding::warning(
            FindingCode::NotNull,
            message,
            modify(),
        ));
    }
    findings
}

/// Why a column of that live type cannot hold the wanted one; none when it can.
fn type_problem(
    wanted: ColumnType,
    column: &LiveColumn,
    in_key: bool,
    dialect: Dialect,
) -> Option<String> {
    let base = column.base.as_str();
    let whole = [
        "tinyint",
        "smallint",
        "mediumint",
        "int",
        "bigint",
        "integer",
        "decimal",
        "numeric",
    ];
    let fits = match wanted {
        ColumnType::Bool => base == "boolean" || whole.contains(&base),
        ColumnType::Int => whole.contains(&base),
        ColumnType::Double => ["double", "float", "real"].contains(&base),
        ColumnType::Text => {
            let text = [
                "char",
                "varchar",
                "tinytext",
                "text",
                "mediumtext",
                "longtext",
                "json",
            ];
            let bytes = ["varbinary", "tinyblob", "blob", "mediumblob", "longblob"];
            // SQLite would keep texts in a BLOB column, but as texts: unequal to the same bytes.
            text.contains(&base)
                || ["enum", "set", "uuid"].contains(&base)
                || (dialect.is_server() && bytes.contains(&base))
        }
        ColumnType::Bytes => {
            ["varbinary", "tinyblob", "blob", "mediumblob", "longblob"].contains(&base)
                || (base == "binary" && !in_key)
        }
        ColumnType::Time => {
            ["datetime", "timestamp"].contains(&base)
                || (dialect == Dialect::Sqlite && base == "text")
        }
    };
    if !fits {
        return Some(format!("the sink writes {}", article(wanted)));
    }
    if wanted == ColumnType::Time && column.fraction.is_some_and(|digits| digits < 3) {
        return Some(
            "which rounds milliseconds; the sink writes a timestamp with three digits".into(),
        );
    }
    None
}

fn article(kind: ColumnType) -> String {
    match kind {
        ColumnType::Int => "an int".to_owned(),
        ColumnType::Bytes => "bytes".to_owned(),
        other => format!("a {}", other.name()),
    }
}

/// Why the index of the key makes distinct texts equal; none when it does not.
fn merging(column: &LiveColumn, live: &LiveTable) -> Option<String> {
    if live.cut_in_key.contains(&column.name) {
        return Some("is in the primary key with its beginning only: long texts that begin alike would share a row".into());
    }
    let collation = column.collation.to_ascii_lowercase();
    let exact = collation.is_empty()
        || collation == "binary"
        || collation == "utf8mb4_0900_bin"
        || collation.ends_with("_nopad_bin");
    if exact {
        return None;
    }
    let example = if collation.ends_with("_bin") || collation == "rtrim" {
        "'a' and 'a '"
    } else if collation.ends_with("_cs") {
        "'é' and 'e' with a combining accent"
    } else {
        "'a' and 'A'"
    };
    Some(format!(
        "has collation {}: {example} would share a row",
        column.collation
    ))
}

/// Columns that the sink does not write must fill themselves.
fn check_other_columns(table: &TableSpec, live: &LiveTable, dialect: Dialect) -> Vec<TableFinding> {
    let written = |name: &str| {
        table
            .columns
            .iter()
            .any(|column| column.name.eq_ignore_ascii_case(name))
    };
    let needed = live.columns.iter().filter(|column| {
        !column.nullable && !column.fills_itself && !column.generated && !written(&column.name)
    });
    needed
        .map(|column| {
            let ddl = format!("{} {} NULL", dialect.quote(&column.name), column.declared);
            TableFinding::error(
                FindingCode::NoDefault,
                format!(
                    "column {} is NOT NULL without a default, and the sink does not write it",
                    column.name
                ),
                dialect.modify_column(&table.table, &ddl),
            )
        })
        .collect()
}

fn check_key(table: &TableSpec, live: &LiveTable, dialect: Dialect) -> Option<TableFinding> {
    let wanted = table.key_names();
    if same_names(&wanted, &live.primary_key) {
        return None;
    }
    let has = match live.primary_key.as_slice() {
        [] => "has no primary key".to_owned(),
        columns => format!("has primary key ({})", columns.join(", ")),
    };
    Some(TableFinding::error(
        FindingCode::PrimaryKey,
        format!(
            "table {} {has}, the sink's key is ({})",
            table.table,
            wanted.join(", ")
        ),
        dialect.replace_primary_key(&table.table, !live.primary_key.is_empty(), &wanted),
    ))
}

/// The same columns, in whatever order.
fn same_names(wanted: &[&str], found: &[String]) -> bool {
    wanted.len() == found.len()
        && wanted
            .iter()
            .all(|name| found.iter().any(|other| other.eq_ignore_ascii_case(name)))
}

fn check_unique(table: &TableSpec, live: &LiveTable, dialect: Dialect) -> Vec<TableFinding> {
    live.unique
        .iter()
        .map(|(index, columns)| {
            TableFinding::error(
                FindingCode::SecondUniqueIndex,
                format!(
                    "table {} has a second unique index {index} ({}): an upsert would overwrite whichever row it meets",
                    table.table,
                    columns.join(", ")
                ),
                Some(dialect.drop_index(&table.table, index)),
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::table::Column;

    fn wanted() -> TableSpec {
        let column = |name: &str, kind, nullable| Column {
            name: name.into(),
            kind,
            nullable,
        };
        TableSpec {
            table: "t".into(),
            columns: vec![
                column("user", ColumnType::Text, false),
                column("at", ColumnType::Time, false),
                column("note", ColumnType::Text, true),
            ],
            key: vec![0, 1],
        }
    }

    fn live_column(name: &str, declared: &str) -> LiveColumn {
        let base = declared.split('(').next().unwrap_or_default();
        LiveColumn {
            name: name.into(),
            base: base.into(),
            declared: declared.into(),
            fraction: (base == "datetime").then_some(3),
            nullable: name == "note",
            ..LiveColumn::default()
        }
    }

    fn fitting() -> LiveTable {
        LiveTable {
            kind: "BASE TABLE".into(),
            engine: "InnoDB".into(),
            columns: vec![
                live_column("user", "varbinary(255)"),
                live_column("at", "datetime(3)"),
                live_column("note", "mediumtext"),
            ],
            primary_key: vec!["at".into(), "user".into()],
            ..LiveTable::default()
        }
    }

    #[track_caller]
    fn check(change: impl FnOnce(&mut LiveTable), expected: &[&str]) {
        let mut live = fitting();
        change(&mut live);
        let found = compare(&wanted(), Some(&live), Dialect::MySql);
        let found: Vec<_> = found.iter().map(ToString::to_string).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_table_that_fits_has_no_findings_whatever_the_order_of_its_key() {
        check(|_| {}, &[]);
        check(
            |live| live.columns.push(live_column("note2", "text")),
            &[
                "error[S07]: column note2 is NOT NULL without a default, and the sink does not write it\
             \n    fix: ALTER TABLE `t` MODIFY COLUMN `note2` text NULL;",
            ],
        );
    }

    #[test]
    fn every_misfit_is_found_with_its_fix() {
        check(
            |live| drop(live.columns.remove(2)),
            &["error[S04]: table t has no column note\
             \n    fix: ALTER TABLE `t` ADD COLUMN `note` MEDIUMTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NULL;"],
        );
        check(
            |live| live.columns[1] = live_column("at", "bigint"),
            &[
                "error[S05]: column at is bigint, the sink writes a timestamp\
             \n    fix: ALTER TABLE `t` MODIFY COLUMN `at` DATETIME(3) NOT NULL;",
            ],
        );
        check(
            |live| live.columns[1].fraction = Some(0),
            &[
                "error[S05]: column at is datetime(3), which rounds milliseconds; the sink writes a timestamp with three digits\
             \n    fix: ALTER TABLE `t` MODIFY COLUMN `at` DATETIME(3) NOT NULL;",
            ],
        );
        check(
            |live| live.columns[2].nullable = false,
            &[
                "warning[S06]: column note is NOT NULL: rows without a value will be refused\
             \n    fix: ALTER TABLE `t` MODIFY COLUMN `note` MEDIUMTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NULL;",
            ],
        );
        check(
            |live| live.primary_key = vec!["user".into()],
            &[
                "error[S08]: table t has primary key (user), the sink's key is (user, at)\
             \n    fix: ALTER TABLE `t` DROP PRIMARY KEY, ADD PRIMARY KEY (`user`, `at`);",
            ],
        );
        check(
            |live| live.primary_key.clear(),
            &[
                "error[S08]: table t has no primary key, the sink's key is (user, at)\
             \n    fix: ALTER TABLE `t` ADD PRIMARY KEY (`user`, `at`);",
            ],
        );
        check(
            |live| live.unique.push(("u1".into(), vec!["note".into()])),
            &[
                "error[S09]: table t has a second unique index u1 (note): an upsert would overwrite whichever row it meets\
             \n    fix: ALTER TABLE `t` DROP INDEX `u1`;",
            ],
        );
        check(
            |live| live.engine = "MyISAM".into(),
            &[
                "error[S03]: table t has engine MyISAM, which has no transactions\
             \n    fix: ALTER TABLE `t` ENGINE=InnoDB;",
            ],
        );
        check(
            |live| live.kind = "VIEW".into(),
            &["error[S03]: t is a view, not a table"],
        );
    }

    #[test]
    fn a_key_whose_collation_merges_names_is_refused() {
        let check = |collation: &str, example: Option<&str>| {
            let mut live = fitting();
            live.columns[0] = LiveColumn {
                charset: "utf8mb4".into(),
                collation: collation.into(),
                ..live_column("user", "varchar(255)")
            };
            let found = compare(&wanted(), Some(&live), Dialect::MySql);
            let message = example.map(|example| {
                format!("key column user has collation {collation}: {example} would share a row")
            });
            let found: Vec<_> = found.into_iter().map(|finding| finding.message).collect();
            assert_eq!(found, message.into_iter().collect::<Vec<_>>());
        };
        check("utf8mb4_general_ci", Some("'a' and 'A'"));
        check(
            "utf8mb4_0900_as_cs",
            Some("'é' and 'e' with a combining accent"),
        );
        check("utf8mb4_bin", Some("'a' and 'a '"));
        check("utf8mb4_0900_bin", None);
        check("utf8mb4_nopad_bin", None);
    }

    #[test]
    fn a_column_that_cannot_hold_every_character_is_a_warning_only() {
        let mut live = fitting();
        live.columns[2].charset = "utf8mb3".into();
        let found = compare(&wanted(), Some(&live), Dialect::MariaDb);
        assert_eq!(found.len(), 1);
        assert_eq!(
            (found[0].code, found[0].error),
            (FindingCode::Charset, false)
        );
    }

    #[test]
    fn a_missing_table_comes_with_its_ddl() {
        let found = compare(&wanted(), None, Dialect::Sqlite);
        assert_eq!(
            found[0].fix.as_deref(),
            Some(ddl(&wanted(), Dialect::Sqlite).as_str())
        );
    }
}
