//! What users test their topologies with.
//!
//! [`TopologyTestDriver`] runs a topology in the test's own thread: no Kafka, no time that passes by
//! itself. It is the real engine (planner, tasks, stores, commits, SQL sinks) over a log in memory.
//! A test pipes records in, moves the clock, reads what comes out, looks into stores and tables, and
//! can let the process crash, with or without its disk, between any two records.
//!
//! ```
//! use std::time::Duration;
//!
//! use serde_json::json;
//! use tidemill::config;
//! use tidemill::processor::DropReason;
//! use tidemill::testkit::TopologyTestDriver;
//! use tidemill::time::Timestamp;
//!
//! let file = "
//! app: shop
//! nodes:
//!   orders: { source: { topic: orders, key: shop, timestamp: at } }
//!   per_shop:
//!     aggregate: { from: orders, by: shop, window: { tumbling: 10s }, set: { n: count(), sum: sum(price) } }
//!   to_topic: { kafka: { from: per_shop, topic: sales } }
//!   to_table: { sql: { from: per_shop, table: sales } }
//! ";
//! let topology = config::parse(file, "shop.yaml").map_err(|report| report.to_string())?;
//! let mut driver = TopologyTestDriver::new(&topology)?;
//!
//! let mut orders = driver.input_topic("orders");
//! let order = |second: i64, price: i64| json!({"shop": "a", "price": price, "at": second * 1_000});
//! orders.pipe(&mut driver, "a", &order(3, 5))?;
//! orders.pipe(&mut driver, "a", &order(7, 2))?;
//!
//! // The machine is lost; another one goes on from the log.
//! driver.lose_state();
//! driver.restart()?;
//! orders.pipe(&mut driver, "a", &order(12, 1))?;
//! orders.pipe(&mut driver, "a", &order(4, 1))?; // too late
//! driver.advance_wall_clock_time(Duration::from_secs(60))?;
//!
//! let sales = driver.output_topic("sales");
//! let sums: Vec<_> = sales.read_values(&mut driver).iter().map(|sale| sale["sum"].clone()).collect();
//! assert_eq!(sums, [5, 7, 1]);
//! assert_eq!(driver.drops("per_shop", DropReason::Late), 1);
//!
//! let store = driver.window_store("per_shop");
//! let first = store.fetch(&[json!("a")], Timestamp(0)).expect("a window from 0 s to 10 s");
//! assert_eq!(first.results["n"], 2);
//! assert_eq!(driver.sql_rows("sales")?.len(), 2);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! For those who know the driver of Kafka Streams:
//!
//! | there | here |
//! | --- | --- |
//! | `new TopologyTestDriver(topology, config, initialWallClockTime)` | [`TopologyTestDriver::with_options`] |
//! | `createInputTopic`, `pipeInput`, `pipeKeyValueList` | [`TopologyTestDriver::input_topic`], [`TestInputTopic::pipe`], [`TestInputTopic::pipe_all`] |
//! | `TestRecord` | [`TestRecord`] |
//! | `advanceTime`, auto-advance | [`TestInputTopic::advance_time`], [`TestInputTopic::advancing_by`] |
//! | `advanceWallClockTime` | [`TopologyTestDriver::advance_wall_clock_time`] |
//! | `createOutputTopic`, `readRecord`, `readKeyValuesToList`, `readKeyValuesToMap`, `getQueueSize` | [`TopologyTestDriver::output_topic`], [`TestOutputTopic::read_record`], [`TestOutputTopic::read_key_values`], [`TestOutputTopic::read_key_values_to_map`], [`TestOutputTopic::queue_size`] |
//! | `producedTopicNames` | [`TopologyTestDriver::produced_topics`] |
//! | `getKeyValueStore`, `getWindowStore`, `getSessionStore`, `getAllStateStores` | [`TopologyTestDriver::key_value_store`], [`TopologyTestDriver::window_store`], [`TopologyTestDriver::processor_store`], [`TopologyTestDriver::state_stores`] |
//! | `metrics` (dropped records) | [`TopologyTestDriver::drops`], [`TopologyTestDriver::counts`] |
//! | `close` | dropping it |
//!
//! Beyond it: several partitions ([`DriverOptions`]), the tables of SQL sinks
//! ([`TopologyTestDriver::sql_rows`]), dead letters, and crashes.
//!
//! [`CaseRunner`] plays the tests that stand in a topology file, as `tidemill test` does.

mod driver;
mod record;
mod topics;
mod formats;
mod stores;
mod database;
mod cases;

pub use cases::{CaseFailure, CaseReport, CaseRunner, Difference, Problem, Run, Subject, Way};
pub use driver::{DriverError, DriverOptions, TopologyTestDriver};
pub use record::TestRecord;
pub use stores::{KeyValueStore, StoreEntry, TableRow, WindowStore};
pub use topics::{TestInputTopic, TestOutputTopic};

#[cfg(test)]
mod aggregate_tests;
#[cfg(test)]
mod calendar_tests;
#[cfg(test)]
mod case_tests;
#[cfg(test)]
mod clock_tests;
#[cfg(test)]
mod deduplicate_tests;
#[cfg(test)]
mod processor_tests;
#[cfg(test)]
mod session_tests;
#[cfg(test)]
mod silence_tests;
#[cfg(test)]
mod sink_rows;
#[cfg(test)]
mod driver_tests;
#[cfg(test)]
mod fate;
#[cfg(test)]
mod engine_tests;
#[cfg(test)]
mod foreign_join_tests;
#[cfg(test)]
mod format_tests;
#[cfg(test)]
mod global_table_properties;
#[cfg(test)]
mod global_table_tests;
#[cfg(test)]
mod header_tests;
#[cfg(test)]
mod join_properties;
#[cfg(test)]
mod join_tests;
#[cfg(test)]
mod merge_tests;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod stateless_tests;
#[cfg(test)]
mod state_formats;
#[cfg(test)]
mod suppress_oracle_tests;
#[cfg(test)]
mod suppress_tests;
#[cfg(test)]
mod table_aggregate_tests;
#[cfg(test)]
mod table_tests;
#[cfg(test)]
mod time_properties;
#[cfg(test)]
mod to_stream_tests;
#[cfg(test)]
mod window_properties;
#[cfg(test)]
mod window_tests;
