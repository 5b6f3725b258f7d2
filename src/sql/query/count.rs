//! How many rows a table has.

use std::time::Duration;

use super::{QueryError, QueryValue, Reader, ResultColumn, ResultKind};
use crate::sql::database::DatabaseUrl;
use crate::sql::query::plan::Statement;

/// Counts the rows of a table or view.
///
/// # Errors
/// When there is no such table, it takes too long, or the database cannot be asked.
pub async fn count(
    database: &DatabaseUrl,
    table: &str,
    timeout: Duration,
) -> Result<u64, QueryError> {
    let mut reader = Reader::open(database, timeout).await?;
    let schema = reader.schema(table).await?;
    let column = ResultColumn {
        name: "rows".to_owned(),
        kind: ResultKind::Int,
    };
    let statement = Statement {
        sql: format!(
            "SELECT COUNT(*) FROM {}",
            schema.dialect.quote(&schema.table)
        ),
        values: Vec::new(),
        columns: vec![column],
        limit: 1,
        is_top: true,
    };
    let result = reader.answer(&statement).await?;
    match result.rows.first().and_then(|row| row.first()) {
        Some(QueryValue::Int(rows)) => Ok(u64::try_from(*rows).unwrap_or(0)),
        _ => Ok(0),
    }
}
