//! The schema of a table as the database describes it: one reader for servers, one for SQLite.

use super::connection::{Purpose, Session};
use super::database::DatabaseUrl;
use super::datum::Datum;
use super::error::SqlError;
use super::rows::Cell;
use super::table::{Column, ColumnType};

/// The columns of a table as it is, each with the type that a sink writes into it; none when there
/// is no such table.
///
/// # Errors
/// When the database cannot be reached or its schema cannot be read.
pub async fn live_columns(database: &DatabaseUrl, table: &str) -> Result<Vec<Column>, SqlError> {
    let action = || format!("read the columns of table {table} in {database}");
    let mut session = Session::open(database, Purpose::Read)
        .await
        .map_err(|error| SqlError::of(action(), &error, None))?;
    let dialect = session.dialect;
    let live = read_table(&mut session, table)
        .await
        .map_err(|error| SqlError::of(action(), &error, Some(dialect)))?;
    let column = |live: LiveColumn| Column {
        kind: live.kind(),
        nullable: live.nullable,
        name: live.name,
    };
    Ok(live
        .into_iter()
        .flat_map(|live| live.columns)
        .map(column)
        .collect())
}

/// A table as the database describes it.
#[derive(Clone, Debug, Default)]
pub(super) struct LiveTable {
    /// `BASE TABLE`, or `VIEW` and the like.
    pub kind: String,
    /// Empty for SQLite.
    pub engine: String,
    pub columns: Vec<LiveColumn>,
    /// In the order of the index.
    pub primary_key: Vec<String>,
    /// Unique indexes besides the primary key.
    pub unique: Vec<(String, Vec<String>)>,
    /// Columns of which the primary key holds only the beginning.
    pub cut_in_key: Vec<String>,
}

/// A column as the database describes it.
#[derive(Clone, Debug, Default)]
pub(super) struct LiveColumn {
    pub name: String,
    /// The type without sizes, in lower case: `varbinary`.
    pub base: String,
    /// The type as declared: `varbinary(255)`.
    pub declared: String,
    pub nullable: bool,
    /// A row that does not name the column gets a value all the same.
    pub fills_itself: bool,
    pub generated: bool,
    /// Empty for what is not text.
    pub charset: String,
    pub collation: String,
    /// Digits behind the second, for times.
    pub fraction: Option<i64>,
}

impl LiveTable {
    /// The column of that name; names of columns are the same in either case everywhere.
    pub fn column(&self, name: &str) -> Option<&LiveColumn> {
        self.columns
            .iter()
            .find(|column| column.name.eq_ignore_ascii_case(name))
    }
}

impl LiveColumn {
    /// What the column holds, for reading and for writing. VARBINARY and the like hold text here:
    /// that is how keys are kept.
    pub fn kind(&self) -> ColumnType {
        match self.base.as_str() {
            "tinyint" if self.declared.eq_ignore_ascii_case("tinyint(1)") => ColumnType::Bool,
            "boolean" => ColumnType::Bool,
            "tinyint" | "smallint" | "mediumint" | "int" | "bigint" | "integer" | "year"
            | "bit" => ColumnType::Int,
            "double" | "float" | "real" | "decimal" | "numeric" => ColumnType::Double,
            "datetime" | "timestamp" | "date" => ColumnType::Time,
            "blob" | "mediumblob" | "longblob" | "tinyblob" | "binary" => ColumnType::Bytes,
            _ => ColumnType::Text,
        }
    }
}

/// What the database says of a table; none when it is not there.
pub(super) async fn read_table(
    session: &mut Session,
    table: &str,
) -> Result<Option<LiveTable>, sqlx::Error> {
    if session.dialect.is_server() {
        read_from_information_schema(session, table).await
    } else {
        read_from_pragmas(session, table).await
    }
}

async fn read_from_information_schema(
    session: &mut Session,
    table: &str,
) -> Result<Option<LiveTable>, sqlx::Error> {
    let name = [Cell::Text(table)];
    let found = session
        .rows(
            "SELECT table_type, engine FROM information_schema.tables \
             WHERE table_schema = DATABASE() AND table_name = ?",
            &name,
        )
        .await?;
    let Some(about) = found.rows.into_iter().next() else {
        return Ok(None);
    };
    let [kind, engine] = texts(about);
    let mut live = LiveTable {
        kind,
        engine,
        ..LiveTable::default()
    };
    let columns = session
        .rows(
            "SELECT column_name, data_type, column_type, is_nullable, column_default, extra, \
                    character_set_name, collation_name, CAST(datetime_precision AS SIGNED) \
             FROM information_schema.columns \
             WHERE table_schema = DATABASE() AND table_name = ? ORDER BY ordinal_position",
            &name,
        )
        .await?;
    for mut row in columns.rows {
        let fraction = row.pop().and_then(|datum| datum.as_int());
        let has_default = row[4] != Datum::Null;
        let [name, base, declared, nullable, _, extra, charset, collation] = texts(row);
        let extra = extra.to_ascii_lowercase();
        live.columns.push(LiveColumn {
            name,
            base: base.to_ascii_lowercase(),
            declared,
            nullable: nullable == "YES",
            fills_itself: has_default || extra.contains("auto_increment"),
            generated: extra.contains("virtual") || extra.contains("stored"),
            charset,
            collation,
            fraction,
        });
    }
    let indexes = session
        .rows(
            "SELECT index_name, column_name, CAST(sub_part AS SIGNED) \
             FROM information_schema.statistics \
             WHERE table_schema = DATABASE() AND table_name = ? AND non_unique = 0 \
             ORDER BY index_name, seq_in_index",
            &name,
        )
        .await?;
    for mut row in indexes.rows {
        let cut = row.pop().is_some_and(|sub_part| sub_part != Datum::Null);
        let [index, column] = texts(row);
        if index == "PRIMARY" {
            if cut {
                live.cut_in_key.push(column.clone());
            }
            live.primary_key.push(column);
        } else {
            push_index(&mut live.unique, index, column);
        }
    }
    Ok(Some(live))
}

async fn read_from_pragmas(
    session: &mut Session,
    table: &str,
) -> Result<Option<LiveTable>, sqlx::Error> {
    let name = [Cell::Text(table)];
    let found = session
        .rows(
            "SELECT type FROM sqlite_master WHERE name = ? AND type IN ('table', 'view')",
            &name,
        )
        .await?;
    let Some(about) = found.rows.into_iter().next() else {
        return Ok(None);
    };
    let [kind] = texts(about);
    let kind = if kind == "table" {
        "BASE TABLE".to_owned()
    } else {
        kind
    };
    let mut live = LiveTable {
        kind,
        ..LiveTable::default()
    };
    let columns = session
        .rows(
            "SELECT name, type, \"notnull\", dflt_value, pk, hidden FROM pragma_table_xinfo(?)",
            &name,
        )
        .await?;
    let mut key = Vec::new();
    for row in columns.rows {
        let [not_null, pk, hidden] = [2, 4, 5].map(|index| row[index].as_int().unwrap_or(0));
        let has_default = row[3] != Datum::Null;
        let [name, declared, ..] = texts::<6>(row);
        if pk > 0 {
            key.push((pk, name.clone()));
        }
        live.columns.push(LiveColumn {
            name,
            base: affinity(&declared),
            declared,
            nullable: not_null == 0 && pk == 0,
            fills_itself: has_default,
            generated: hidden > 1,
            ..LiveColumn::default()
        });
    }
    key.sort();
    live.primary_key = key.into_iter().map(|(_, name)| name).collect();
    let indexes = session
        .rows(
            "SELECT list.name, list.origin, info.name, info.coll \
             FROM pragma_index_list(?) AS list, pragma_index_xinfo(list.name) AS info \
             WHERE list.\"unique\" = 1 AND info.key = 1 ORDER BY list.name, info.seqno",
            &name,
        )
        .await?;
    for row in indexes.rows {
        let [index, origin, column, collation] = texts(row);
        if origin == "pk" {
            let live = live.columns.iter_mut().find(|live| live.name == column);
            if let Some(live) = live {
                live.collation = collation;
            }
        } else {
            push_index(&mut live.unique, index, column);
        }
    }
    Ok(Some(live))
}

/// The cells of a row as texts.
///
/// The query must have as many columns: anything else is a bug here.
fn texts<const N: usize>(row: Vec<Datum>) -> [String; N] {
    let texts: Vec<_> = row.into_iter().map(Datum::into_text).collect();
    texts
        .try_into()
        .expect("as many columns as the query names")
}

fn push_index(indexes: &mut Vec<(String, Vec<String>)>, index: String, column: String) {
    match indexes.last_mut() {
        Some((last, columns)) if *last == index => columns.push(column),
        _ => indexes.push((index, vec![column])),
    }
}

/// SQLite's rule: what a declared type means is told by what its name contains.
fn affinity(declared: &str) -> String {
    let name = declared.to_ascii_lowercase();
    let has = |part: &str| name.contains(part);
    if has("int") {
        "integer"
    } else if has("char") || has("clob") || has("text") {
        "text"
    } else if has("blob") || name.is_empty() {
        "blob"
    } else if has("real") || has("floa") || has("doub") {
        "real"
    } else if has("bool") {
        "boolean"
    } else if has("date") || has("time") {
        "datetime"
    } else {
        "numeric"
    }
    .to_owned()
}
