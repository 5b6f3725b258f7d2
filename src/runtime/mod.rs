//! Runs a plan: threads, tasks, commits, restores, SQL sinks.
//!
//! Stream threads are threads of the operating system; a task belongs to one of them and shares
//! nothing. Only the SQL sinks wait for a tokio runtime, at their very edge.

mod app;
mod failpoint;
mod global;
mod holding;
mod marker;
mod membership;
mod memory;
mod metrics;
mod opening;
mod outage;
mod outputs;
mod queue;
mod restore;
mod settings;
mod sink;
mod sink_outputs;
mod sink_queues;
mod start;
mod stop;
mod tables;
mod task;
mod thread;
mod topics;
mod trouble;
mod writers;

pub use app::{App, AppError, Database, Environment};
pub(crate) use app::{prepare, sinks};
#[cfg(test)]
pub(crate) use failpoint::{Died, Ending};
pub use global::GlobalTableError;
pub(crate) use global::{GlobalUpdater, slot_on_disk, store_names, updaters};
pub(crate) use marker::progress_of;
pub use memory::{MemoryBudget, MemoryShares, MemoryUsers};
pub use metrics::{
    EngineMetrics, EngineStatus, GlobalTableStatus, NodeInGroup, RestoreStatus, SinkStatus,
    TaskStatus,
};
pub use settings::EngineSettings;
pub(crate) use sink::SinkThread;
pub use stop::StopSignal;
pub use tables::tables;
pub(crate) use thread::{Shared, StreamThread};
pub use topics::TopicError;
pub use trouble::{SinkError, ThreadError};
