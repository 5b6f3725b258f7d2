//! What a processor can do apart from computing.

use std::ops::ControlFlow;
use std::time::Duration;

use smallvec::SmallVec;

use super::{Failure, PunctuationType, Record, Schedule, Store};
use crate::time::Timestamp;
use crate::topology::duration::Millis;
use crate::topology::plan::TaskId;
use crate::value::Value;

/// A processor's task, while the processor is called.
pub struct Context<'c> {
    host: &'c mut dyn Host,
}

/// Receives entries of a store, in the order of their keys.
pub(crate) type OnEntry<'f> = &'f mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>;

/// What runs a processor. Stores are numbered in the order in which the node names them. An error of
/// the engine's own it remembers, so that it counts even where a processor does not pass it on.
pub(crate) trait Host {
    fn task(&self) -> TaskId;
    fn stream_time(&self) -> Option<Timestamp>;
    fn wall_clock(&self) -> Timestamp;
    fn forward(&mut self, output: Output<'_>) -> Result<(), Failure>;
    fn schedule(&mut self, every_ms: i64, by: PunctuationType) -> Schedule;
    fn cancel(&mut self, schedule: Schedule);
    /// The number of the store of that name.
    fn store(&self, name: &str) -> Option<usize>;
    fn get(&mut self, store: usize, key: &[u8]) -> Result<Option<&[u8]>, Failure>;
    fn set(&mut self, store: usize, key: &[u8], value: Option<&[u8]>);
    fn scan(
        &mut self,
        store: usize,
        from: &[u8],
        to: Option<&[u8]>,
        visit: OnEntry<'_>,
    ) -> Result<(), Failure>;
}

impl<'c> Context<'c> {
    pub(crate) fn new(host: &'c mut dyn Host) -> Context<'c> {
        Context { host }
    }

    /// The task: which sub-topology, and which partition.
    pub fn task_id(&self) -> TaskId {
        self.host.task()
    }

    /// How far the task has come: the highest event time that it has read, and behind a repartition
    /// the lowest of those that the upstream partitions have reached. It never goes back, also over a
    /// restart. None before that is known.
    pub fn stream_time(&self) -> Option<Timestamp> {
        self.host.stream_time()
    }

    /// The wall clock of the task, as it stood when this batch of records was begun.
    pub fn wall_clock(&self) -> Timestamp {
        self.host.wall_clock()
    }

    /// Sends a row to the nodes behind; all of them have dealt with it when this returns.
    ///
    /// # Errors
    /// When a value is not of the type that the node says its field has. When the log does not take
    /// what follows from the row; that ends the task's work, whatever becomes of this error.
    ///
    /// # Panics
    /// When the node does not say that it gives a field of that name: see
    /// [`Process::gives`](super::Process::gives).
    pub fn forward(&mut self, output: Output<'_>) -> Result<(), Failure> {
        self.host.forward(output)
    }

    /// Calls [`Processor::punctuate`](super::Processor::punctuate) again and again. By stream time,
    /// whenever that reaches or passes a multiple of `interval` (since the epoch), and first as soon
    /// as it is known. By the wall clock, first when `interval` has gone by from now. If several
    /// times have passed since the last call, there is one call for all of them.
    ///
    /// Schedules are not kept over a restart: [`Processor::init`](super::Processor::init) makes them
    /// anew. The wall clock then begins from there. A schedule by stream time that is made in `init`
    /// goes on with the next multiple behind the stream time that was reached.
    ///
    /// # Errors
    /// When the interval is shorter than a millisecond.
    pub fn schedule(
        &mut self,
        interval: Duration,
        by: PunctuationType,
    ) -> Result<Schedule, Failure> {
        match Millis::from(interval).0 {
            ..1 => Err(Failure::new(format_args!(
                "cannot schedule a punctuation every {interval:?}: the shortest interval is 1 ms"
            ))),
            every_ms => Ok(self.host.schedule(every_ms, by)),
        }
    }

    /// Ends a schedule.
    pub fn cancel(&mut self, schedule: Schedule) {
        self.host.cancel(schedule);
    }

    /// A store of the node.
    ///
    /// # Panics
    /// When the node has none of that name: see [`Process::store`](super::Process::store).
    pub fn store(&mut self, name: &str) -> Store<'_> {
        match self.host.store(name) {
            Some(number) => Store::new(self.host, number),
            None => panic!("the node has no store {name:?}; name it with Process::store"),
        }
    }
}

/// A row that a processor sends on.
#[derive(Clone, Debug)]
pub struct Output<'o> {
    pub(crate) key: Option<&'o [u8]>,
    pub(crate) time: Timestamp,
    pub(crate) fields: SmallVec<[(&'o str, Value<'o>); 8]>,
    pub(crate) is_deletion: bool,
}

impl<'o> Output<'o> {
    /// A row of this event time, without a key.
    pub fn new(time: Timestamp) -> Output<'o> {
        Output {
            key: None,
            time,
            fields: SmallVec::new(),
            is_deletion: false,
        }
    }

    /// A row with the key and the time of a record.
    pub fn of(record: &Record<'o>) -> Output<'o> {
        Output {
            key: record.key(),
            ..Output::new(record.time())
        }
    }

    /// With this key.
    #[must_use]
    pub fn key(mut self, key: &'o (impl AsRef<[u8]> + ?Sized)) -> Output<'o> {
        self.key = Some(key.as_ref());
        self
    }

    /// With this field. Those that the node gives and that are not named are null.
    #[must_use]
    pub fn field(mut self, name: &'o str, value: Value<'o>) -> Output<'o> {
        self.fields.push((name, value));
        self
    }

    /// It says that there is nothing of its key any more: a topic gets a record without a value, a
    /// table deletes the row.
    #[must_use]
    pub fn deletion(mut self) -> Output<'o> {
        self.is_deletion = true;
        self
    }
}
