//! Tidemill: streams in, tables out.
//!
//! A stateful stream processor in the style of Kafka Streams. A *topology* (a YAML file, or the
//! builder in [`topology`]) names sources, filters, maps, windowed aggregates and sinks; Tidemill
//! cuts it into tasks, keeps their state in RocksDB with changelogs in Kafka, and writes raw events
//! and rolling aggregates into SQL tables, exactly once.
//!
//! # From Rust
//!
//! What a file can say, the builder can; the test driver runs it without a broker.
//!
//! ```
//! use std::time::Duration;
//! use tidemill::testkit::TopologyTestDriver;
//! use tidemill::topology::builder::{KafkaSink, Rollup, Source};
//! use tidemill::topology::graph::Topology;
//!
//! let topology = Topology::builder("edits")
//!     .source("changes", Source::json("changes").timestamp("meta.dt").key("wiki"))
//!     .filter("edits", "changes", "type in ['edit', 'new']")
//!     .aggregate(
//!         "per_wiki",
//!         "edits",
//!         Rollup::by(["wiki"])
//!             .tumbling(Duration::from_secs(60))
//!             .grace(Duration::from_secs(30))
//!             .set("edits", "count()")
//!             .set("bots", "count_if(bot)"),
//!     )
//!     .kafka("out", "per_wiki", KafkaSink::topic("edits-per-wiki"))
//!     .build()?;
//!
//! let mut driver = TopologyTestDriver::new(&topology)?;
//! for second in [10, 20, 70] {
//!     let edit = format!(
//!         r#"{{"wiki":"enwiki","type":"edit","bot":true,"meta":{{"dt":"2026-05-05T11:{:02}:{:02}Z"}}}}"#,
//!         17 + second / 60,
//!         second % 60
//!     );
//!     driver.pipe("changes", Some("enwiki"), &edit);
//! }
//! let results = driver.read_json("edits-per-wiki");
//! let edits: Vec<_> = results.iter().map(|row| row["edits"].as_i64()).collect();
//! assert_eq!(edits, [Some(1), Some(2), Some(1)]);
//! assert_eq!(results[1]["window_start"], "2026-05-05T11:17:00.000Z");
//! assert_eq!(driver.store("per_wiki").len(), 2);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! What no operator does, a node can run as Rust code: [`topology::process`] says how it is written,
//! [`cli::run_topology`] runs it against a cluster.
//!
//! # The map, in reading order
//!
//! The path of a record is one-way: ingest → topic → [`broker`] → runtime (thread → queue → task)
//! → processor → state → commit → SQL sink → query. Modules may only use what stands above them
//! here; `tests/it/tidy.rs` checks that.

pub mod time;
pub mod value;
pub mod codec;
pub mod headers;
pub mod expr;
pub mod record;
pub mod format;
pub mod window;
pub mod topology;
pub mod config;
pub mod aggregate;
pub mod broker;
pub mod dead_letters;
pub mod state;
pub mod processor;
pub mod registry;
pub mod sql;
pub mod ingest;
pub mod reset;
pub mod runtime;
pub mod testkit;
pub mod verify;
pub mod settings;
pub mod http;
pub mod cli;
