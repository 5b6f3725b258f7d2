//! Tests of the whole, in one binary: every binary links RocksDB and librdkafka again.

// `allow-unwrap-in-tests` in clippy.toml does not reach the helper functions of this crate.
#![allow(clippy::unwrap_used)]

mod harness;

mod broker;
mod chaos;
mod cli;
mod cluster;
mod conformance;
mod dead_letters;
mod eventstreams;
mod far_ahead;
mod formats;
mod global_table;
mod held;
mod ingest;
mod input;
mod join;
mod live;
mod logs;
mod oracle;
mod processors;
mod repartition;
mod reset;
mod sql;
mod stateless;
mod table;
mod tidy;
mod verify;
