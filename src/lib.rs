//! Tidemill: streams in, tables out.
//!
//! A stateful stream processor in the style of Kafka Streams. A *topology* (a YAML file, or the
//! builder in [`topology`]) names sources, filters, maps, windowed aggregates and sinks; Tidemill
//! cuts it into tasks, keeps their state in RocksDB with changelogs in Kafka, and writes raw events
//! and rolling aggregates into SQL tables, exactly once.
//!
//! # The map, in reading order
//!
//! The path of a record is one-way: ingest → topic → [`broker`] → runtime (thread → queue → task)
//! → processor → state → commit → SQL sink → query. Modules may only use what stands above them
//! here; `tests/it/tidy.rs` checks that.

pub mod time;
pub mod value;
pub mod codec;
pub mod expr;
pub mod record;
pub mod window;
pub mod topology;
pub mod config;
pub mod aggregate;
pub mod broker;
pub mod state;
pub mod processor;
pub mod sql;
pub mod ingest;
pub mod runtime;
pub mod settings;
pub mod http;
pub mod cli;
pub mod testkit;
