//! The graph of a topology: what its nodes are, how to build it, what is wrong with it.
//!
//! In reading order: [`graph`] is what a topology is, [`builder`] how to make one in Rust,
//! [`process`] what users' own nodes are, and `check` the rules that it must keep, each of which gives
//! [findings](finding). [`shape`] says which fields records have behind each node, and [`describe`]
//! draws it. Nothing here knows YAML,
//! Kafka or threads.

pub mod graph;
pub mod aggregation;
pub mod stateless;
pub mod windowing;
pub mod joining;
pub mod sinks;
pub mod suppression;
pub mod deduplication;
pub mod global_table;
pub mod process;
pub mod duration;
pub mod drop_reason;
pub mod builder;
pub mod finding;
pub mod shape;
mod analysis;
mod check;
pub mod plan;
pub mod describe;
pub mod nearest;

pub use check::{Explanation, explanations};
