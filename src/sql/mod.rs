//! SQL tables: schema, the exactly-once sink, queries.
//!
//! The one place that names sqlx. A sink writes its rows and its position (a row of
//! `tidemill_ledger`) in one transaction of the database, so a crash neither loses nor repeats
//! them; the position in the ledger, not Kafka's group offset, says where to go on.
//!
//! ```text
//! RowBatch ──► SqlSink::write ──► BEGIN
//!  (rows)                          UPDATE tidemill_ledger  (compare and set: fences stale writers)
//!                                  INSERT … ON DUPLICATE KEY UPDATE / DELETE   (sorted, in chunks)
//!                                  COMMIT  (its outcome unknown? the ledger tells)
//! ```
//!
//! Reading order: [`DatabaseUrl`] and [`Dialect`], [`TableSpec`] and [`RowBatch`], the sink, then
//! [`migrate()`] and the retention of partitioned tables, then [`query`].

mod database;
mod dialect;
mod error;
mod table;

mod rows;

mod connection;
mod datum;

mod fit;
mod live;
mod create;

mod ledger;
mod writers;
mod plan;
mod retry;
mod sink;
mod write;

mod gaps;
mod migrate;
mod retention;

pub mod query;

pub use create::create_tables;
#[cfg(test)]
pub(crate) use create::execute;
pub use database::{DatabaseUrl, DatabaseUrlError};
pub use dialect::Dialect;
pub use error::SqlError;
pub use fit::{FindingCode, TableFinding, check_table};
pub use gaps::{GapRow, record_gaps};
pub use ledger::{LedgerMove, LedgerRow, read_ledger, reset_sink};
pub use live::live_columns;
pub use migrate::{dialect_of, migrate};
pub use retention::{Retention, RetentionReport, maintain_partitions};
pub use rows::{Cell, Change, RowBatch};
pub use sink::{ExistingRows, OtherWriters, SinkOptions, SqlSink};
pub use table::{Column, ColumnType, TableSpec, ddl};
pub use write::{Rejected, WriteReport};
