//! Nodes whose work is a user's own Rust code.
//!
//! A [`Processor`] gets one [`Record`] after the other and a [`Context`]: through it, it sends rows
//! on ([`Output`]), reads and writes [stores](Store), and asks to be called at a time
//! ([`Punctuation`]). A [`Process`] says in a topology which processor a node runs, which fields that
//! reads and gives, and which stores it has. Nothing here runs anything.
//!
//! ```
//! use std::time::Duration;
//!
//! use serde_json::json;
//! use tidemill::testkit::TopologyTestDriver;
//! use tidemill::topology::builder::{KafkaSink, Source};
//! use tidemill::topology::graph::Topology;
//! use tidemill::topology::process::{
//!     Context, Failure, Output, Process, Processor, Punctuation, PunctuationType, Record,
//! };
//! use tidemill::value::{Value, ValueType};
//!
//! /// Counts edits by wiki and says the counts every minute.
//! struct Counter;
//!
//! impl Processor for Counter {
//!     fn init(&mut self, context: &mut Context<'_>) -> Result<(), Failure> {
//!         context.schedule(Duration::from_secs(60), PunctuationType::WallClockTime)?;
//!         Ok(())
//!     }
//!
//!     fn process(&mut self, context: &mut Context<'_>, record: &Record<'_>) -> Result<(), Failure> {
//!         let wiki = record.field("wiki").as_str().ok_or("the wiki is no text")?;
//!         let mut counts = context.store("counts");
//!         let before = counts.get(wiki)?.map_or(Ok(0), |bytes| bytes.try_into().map(u64::from_be_bytes))?;
//!         counts.put(wiki, (before + 1).to_be_bytes());
//!         Ok(())
//!     }
//!
//!     fn punctuate(&mut self, context: &mut Context<'_>, now: &Punctuation) -> Result<(), Failure> {
//!         for (wiki, count) in context.store("counts").all()? {
//!             let count = u64::from_be_bytes(count.as_slice().try_into()?);
//!             context.forward(Output::new(now.time).key(&wiki).field("edits", Value::Int(count as i64)))?;
//!         }
//!         Ok(())
//!     }
//! }
//!
//! let topology = Topology::builder("counter")
//!     .source("changes", Source::json("changes").key("wiki"))
//!     .process(
//!         "counter",
//!         "changes",
//!         Process::new(|| Counter).reads(["wiki"]).gives("edits", ValueType::Int).store("counts"),
//!     )
//!     .kafka("out", "counter", KafkaSink::topic("edits"))
//!     .build()?;
//!
//! let mut driver = TopologyTestDriver::new(&topology)?;
//! driver.pipe("changes", Some("dewiki"), &json!({"wiki": "dewiki"}).to_string());
//! driver.pipe("changes", Some("dewiki"), &json!({"wiki": "dewiki"}).to_string());
//! driver.advance_wall_clock_time(Duration::from_secs(60))?;
//! assert_eq!(driver.read_json("edits"), [json!({"edits": 2})]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod context;
mod node;
mod record;
mod store;

use std::fmt;

pub(crate) use context::Host;
pub use context::{Context, Output};
pub use node::{Process, StoreUse, Supplier};
pub use record::Record;
pub(crate) use record::RecordParts;
pub use store::{Entries, Store};

use crate::time::Timestamp;

/// A user's own work on records. Each task has one of its own, which one thread calls; whatever it
/// keeps in itself is lost with the task, whatever it keeps in stores is restored.
///
/// A node may be told to drop records that fail; what the processor did for one before it failed
/// stays done.
pub trait Processor: Send {
    /// Called once, before anything else: a good moment for [`Context::schedule`].
    ///
    /// # Errors
    /// The process stops.
    fn init(&mut self, context: &mut Context<'_>) -> Result<(), Failure> {
        let _ = context;
        Ok(())
    }

    /// Called for each record, in the order in which the task reads them.
    ///
    /// # Errors
    /// The record cannot be handled: it is dropped as `processor`, and becomes of it what the node's
    /// `on_error` says.
    fn process(&mut self, context: &mut Context<'_>, record: &Record<'_>) -> Result<(), Failure>;

    /// Called when a [schedule](Context::schedule) is due.
    ///
    /// # Errors
    /// The process stops.
    fn punctuate(
        &mut self,
        context: &mut Context<'_>,
        punctuation: &Punctuation,
    ) -> Result<(), Failure> {
        let _ = (context, punctuation);
        Ok(())
    }

    /// Called once at the end of the task, in whatever way it ends short of the end of the process.
    /// What has been done since the last commit may be undone.
    fn close(&mut self) {}
}

/// What tells when a schedule is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PunctuationType {
    /// The time of the records that the task has read: it stands still while none come.
    StreamTime,
    /// The wall clock.
    WallClockTime,
}

/// A schedule of one processor, by which it knows which one is due and can cancel it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule(pub(crate) u64);

/// A schedule is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Punctuation {
    /// Which one.
    pub schedule: Schedule,
    /// By what.
    pub by: PunctuationType,
    /// What that says now: the stream time, or that of the wall clock.
    pub time: Timestamp,
}

/// A processor cannot do its work. Made of any error by `?`, or of a text.
#[derive(Debug)]
pub struct Failure(String);

impl Failure {
    /// A failure for this reason.
    pub fn new(reason: impl fmt::Display) -> Failure {
        Failure(reason.to_string())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A failure is no [`std::error::Error`] itself, so that all of those can become one.
impl<E: Into<Box<dyn std::error::Error>>> From<E> for Failure {
    fn from(error: E) -> Failure {
        Failure(error.into().to_string())
    }
}
