//! Keeps a global table: reads its topics whole, then goes on reading, outside any group and apart from
//! the tasks.
//!
//! ```text
//!   open ─▶ read on from the marker ─▶ at the end of all partitions: serve the slot ─▶ read on ──┐
//!              ▲                                                                     ▲        │
//!              │   in doubt: into the other slot, while tasks keep what is served    └────────┘
//!              └──────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! Tasks wait until the tables of their process are served. Rows and the marker that says how far they go
//! are written in one batch, so a restart reads the tail only.

mod marker;
mod reading;
mod sheet;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bumpalo::Bump;

use self::marker::{Anew, Extent, TableMarker};
use self::reading::{Polled, Reading};
use self::sheet::Sheet;
use super::metrics::GlobalTableStatus;
use super::outage::Outage;
use super::thread::Shared;
use crate::broker::{BrokerError, Isolation, Offset, TopicPartition};
use crate::format::EventReader;
use crate::processor::{GlobalTables, NodeCounts, ProcessError};
use crate::record::Projection;
use crate::state::global::{ALL_ROWS, GlobalRows, SLOTS, record_key};
use crate::state::{Change, StateBackend, StateBatch, StateError, StoreId, TaskState};
use crate::topology::plan::{GlobalTablePlan, Plan};

/// An idle table wakes up this often.
const IDLE_POLL: Duration = Duration::from_millis(100);

/// Between two attempts after trouble: doubled each time, from the first to the second.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// How often the log is asked whether topics have new partitions, and whether all has been read.
const LOOK_EVERY_MS: i64 = 30_000;

/// The store of the marker, behind those of the slots.
const MARKER: StoreId = SLOTS.len();

/// The key of the marker there.
const MARKER_KEY: &[u8] = b"marker";

/// A global table cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum GlobalTableError {
    /// The log.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// The store.
    #[error(transparent)]
    State(#[from] StateError),
    /// A record at which it is told to stop.
    #[error(transparent)]
    Record(#[from] ProcessError),
}

/// Keeps one global table up to date; owned by the one thread that does.
pub(crate) struct GlobalUpdater {
    shared: Arc<Shared>,
    plan: Arc<GlobalTablePlan>,
    rows: Arc<GlobalRows>,
    events: EventReader,
    state: Box<dyn TaskState>,
    /// What is on disk.
    marker: TableMarker,
    /// The slot that tasks read; none until the table is whole.
    served: Option<StoreId>,
    reading: Option<Reading>,
    batch: StateBatch,
    buffer: Vec<u8>,
    arena: Bump,
    outage: Outage,
    /// Whether it is a schema that it waits for: it is not over before a record has been read.
    waits_for_schema: bool,
}

/// The global tables of a plan, none of them whole yet.
pub(super) fn tables(plan: &Plan) -> GlobalTables {
    let tables = plan.global_tables.iter();
    tables
        .map(|table| (table.node.clone(), Arc::default()))
        .collect()
}

/// Opens the state of all global tables, each to be kept by whoever asks for them.
///
/// # Errors
/// When a state is in use, or the disk refuses.
pub(crate) fn updaters(shared: &Arc<Shared>) -> Result<Vec<GlobalUpdater>, StateError> {
    let plans = shared.plan.global_tables.iter();
    plans
        .map(|plan| GlobalUpdater::open(shared, plan))
        .collect()
}

/// The rows of a global table on disk: the slot of a state that was opened with [`store_names`].
pub(crate) fn slot_on_disk(state: &dyn TaskState) -> Result<Option<StoreId>, StateError> {
    Ok(read_marker(state)?.map(|marker| marker.slot()))
}

/// The stores of a global table's state.
pub(crate) fn store_names() -> Vec<String> {
    ["rows-0", "rows-1", "marker"].map(str::to_owned).to_vec()
}

fn read_marker(state: &dyn TaskState) -> Result<Option<TableMarker>, StateError> {
    let mut bytes = Vec::new();
    if !state.get(MARKER, MARKER_KEY, &mut bytes)? {
        return Ok(None);
    }
    let marker = TableMarker::decode(&bytes).inspect_err(|error| {
        tracing::warn!(%error, "the marker of a global table is of no use: it is read anew");
    });
    Ok(marker.ok())
}

fn open_state(
    backend: &dyn StateBackend,
    plan: &GlobalTablePlan,
) -> Result<(Box<dyn TaskState>, Option<TableMarker>), StateError> {
    let open = || {
        let state = backend.open(&plan.state_name(), &store_names())?;
        let marker = read_marker(&*state)?;
        Ok((state, marker))
    };
    match open() {
        Err(error @ StateError::Corrupted { .. }) => {
            tracing::error!(table = %plan.node, %error, "the global table is set aside and read anew");
            backend.set_aside(&plan.state_name())?;
            open()
        }
        opened => opened,
    }
}

impl GlobalUpdater {
    fn open(
        shared: &Arc<Shared>,
        plan: &Arc<GlobalTablePlan>,
    ) -> Result<GlobalUpdater, StateError> {
        let (state, marker) = open_state(&*shared.backend, plan)?;
        let rows = Arc::clone(&shared.global_tables[&plan.node]);
        rows.open(state.reader());
        let is_new = marker.is_none();
        let now = shared.clock.now();
        let mut updater = GlobalUpdater {
            shared: Arc::clone(shared),
            plan: Arc::clone(plan),
            rows,
            events: EventReader::new(
                &plan.format,
                &Projection::default(),
                true,
                &shared.registries,
            ),
            state,
            marker: marker.unwrap_or_else(|| TableMarker::new(SLOTS[0], plan.content(), now)),
            served: None,
            reading: None,
            batch: StateBatch::default(),
            buffer: Vec::new(),
            arena: Bump::new(),
            outage: Outage::default(),
            waits_for_schema: false,
        };
        if is_new {
            // Rows without a marker may be anything.
            updater.empty(SLOTS[0], updater.marker.clone())?;
        }
        Ok(updater)
    }

    /// The name of its node.
    pub(super) fn name(&self) -> &str {
        self.plan.node.as_str()
    }

    /// Runs until it is told to stop.
    ///
    /// # Errors
    /// When a human is needed.
    pub(super) fn run(mut self) -> Result<(), GlobalTableError> {
        let mut pause = BACK_OFF.0;
        while !self.shared.stop.is_set() {
            match self.step(IDLE_POLL) {
                Ok(_) => pause = BACK_OFF.0,
                Err(error) => {
                    self.recover(error)?;
                    self.shared.stop.wait(pause);
                    pause = (pause * 2).min(BACK_OFF.1);
                }
            }
        }
        Ok(())
    }

    /// One round: reads what there is and writes it. Tells whether the table has come further.
    pub(crate) fn step(&mut self, timeout: Duration) -> Result<bool, GlobalTableError> {
        if self.rows.is_damaged() {
            self.begin_anew(&Anew::Damaged)?;
            self.rows.forget_damage();
        }
        self.look()?;
        if self.reading.is_none() {
            self.begin()?;
        }
        let polled = self.poll(timeout)?;
        if let Some(doubt) = polled.doubt {
            self.begin_anew(&doubt)?;
            return Ok(true);
        }
        if polled.has_moved {
            let reading = self.reading.as_ref().expect("its topics are being read");
            let marker = self.marker.reached_by(reading.positions());
            self.write(marker)?;
        }
        self.publish(&polled);
        if let Some(failed) = polled.failed {
            return Err(failed.into());
        }
        let is_served_now = self.serve_when_whole()?;
        Ok(polled.has_moved || is_served_now)
    }

    /// Deals with an error of a step; gives it back when a human is needed.
    pub(crate) fn recover(&mut self, error: GlobalTableError) -> Result<(), GlobalTableError> {
        let needs_human = match &error {
            GlobalTableError::Broker(error) => matches!(
                error,
                BrokerError::Fatal { .. }
                    | BrokerError::TooLarge { .. }
                    | BrokerError::Refused { .. }
            ),
            // Whoever opens it again finds out, and reads it anew.
            GlobalTableError::State(error) => matches!(error, StateError::Corrupted { .. }),
            GlobalTableError::Record(ProcessError::Registry { source, .. }) => !source.is_away(),
            GlobalTableError::Record(_) => true,
        };
        if needs_human {
            return Err(error);
        }
        self.reading = None;
        self.batch.clear();
        self.waits_for_schema = matches!(
            error,
            GlobalTableError::Record(ProcessError::Registry { .. })
        );
        if let Some(attempts) = self.outage.failed(self.shared.clock.now()) {
            let table = &self.plan.node;
            tracing::warn!(%table, %error, attempts, "the global table is not kept; trying again");
        }
        self.tell(|status| status.last_error = Some(error.to_string()));
        Ok(())
    }

    fn tell(&self, change: impl FnOnce(&mut GlobalTableStatus)) {
        self.shared.metrics.global_table(self.name(), change);
    }

    /// Goes on from the marker, or from the beginning if that is in doubt.
    fn begin(&mut self) -> Result<(), GlobalTableError> {
        let partitions = self.partitions()?;
        let extents = self.extents(&partitions)?;
        let now = self.shared.clock.now();
        if let Some(doubt) = self.marker.doubt(self.plan.content(), &extents, now) {
            self.begin_anew(&doubt)?;
        }
        let broker = &self.shared.broker;
        let targets = match self.served == Some(self.marker.slot()) {
            true => BTreeMap::new(),
            false => broker.end_offsets(&partitions, Isolation::ReadCommitted)?,
        };
        let reader = broker.reader(Isolation::ReadCommitted)?;
        let reading = Reading::begin(reader, &self.marker, &extents, targets, now)?;
        let (table, partitions, left) = (&self.plan.node, partitions.len(), reading.left());
        tracing::info!(%table, partitions, left, "reading a global table");
        self.reading = Some(reading);
        Ok(())
    }

    /// Gives up what is on disk. What is served stays so until the table is whole again.
    fn begin_anew(&mut self, why: &Anew) -> Result<(), StateError> {
        tracing::warn!(table = %self.plan.node, %why, "the global table is read anew");
        let slot = self.marker.slot();
        let slot = match self.served == Some(slot) {
            true => SLOTS[1 - slot],
            false => slot,
        };
        self.reading = None;
        self.batch.clear();
        let now = self.shared.clock.now();
        self.empty(slot, TableMarker::new(slot, self.plan.content(), now))?;
        self.tell(|status| status.rebuilds += 1);
        Ok(())
    }

    /// Deletes all rows of a slot.
    fn empty(&mut self, slot: StoreId, marker: TableMarker) -> Result<(), StateError> {
        self.batch.delete_range(slot, ALL_ROWS.0, ALL_ROWS.1);
        self.write(marker)
    }

    /// All partitions of its topics.
    fn partitions(&self) -> Result<Vec<TopicPartition>, BrokerError> {
        let topics: Vec<&str> = self.plan.topics.iter().map(String::as_str).collect();
        let counts = self.shared.broker.partition_counts(&topics)?;
        let mut partitions = Vec::new();
        for topic in topics {
            let count = counts
                .get(topic)
                .copied()
                .ok_or_else(|| BrokerError::Retry {
                    action: format!("read topic {topic}"),
                    reason: "it does not exist".to_owned(),
                })?;
            let topic: Arc<str> = topic.into();
            let numbers = 0..i32::try_from(count).unwrap_or(i32::MAX);
            partitions
                .extend(numbers.map(|number| TopicPartition::new(Arc::clone(&topic), number)));
        }
        Ok(partitions)
    }

    fn extents(
        &self,
        partitions: &[TopicPartition],
    ) -> Result<BTreeMap<TopicPartition, Extent>, BrokerError> {
        let broker = &self.shared.broker;
        let starts = broker.start_offsets(partitions)?;
        let ends = broker.end_offsets(partitions, Isolation::ReadUncommitted)?;
        let extent = |(at, start): (TopicPartition, Offset)| {
            let end = ends.get(&at).copied().unwrap_or(start);
            (at, Extent { start, end })
        };
        Ok(starts.into_iter().map(extent).collect())
    }

    /// Looks now and then whether topics have new partitions, which are read from their beginning, and
    /// whether all that there is has been read.
    fn look(&mut self) -> Result<(), GlobalTableError> {
        let now = self.shared.clock.now();
        let is_due = |reading: &Reading| now.0 - reading.looked().0 >= LOOK_EVERY_MS;
        if !self.reading.as_ref().is_some_and(is_due) {
            return Ok(());
        }
        let partitions = self.partitions()?;
        let broker = &self.shared.broker;
        let ends = broker.end_offsets(&partitions, Isolation::ReadCommitted)?;
        let reading = self.reading.as_mut().expect("as has been seen");
        if partitions.len() != reading.positions().count() {
            self.reading = None;
            return Ok(());
        }
        if let Some(read_at) = reading.look(ends, now) {
            let marker = self.marker.clone().read_at(read_at);
            self.write(marker)?;
        }
        Ok(())
    }

    /// Reads records into the batch.
    fn poll(&mut self, timeout: Duration) -> Result<Polled, GlobalTableError> {
        self.arena.reset();
        let mut sheet = Sheet {
            plan: &self.plan,
            slot: self.marker.slot(),
            events: &mut self.events,
            now: self.shared.clock.now(),
            batch: &mut self.batch,
            buffer: &mut self.buffer,
            arena: &self.arena,
        };
        let reading = self.reading.as_mut().expect("its topics are being read");
        match reading.poll(timeout, &mut sheet) {
            Err(BrokerError::OutOfRange { partition, offset }) => Ok(Polled {
                doubt: Some(self.out_of_range(partition, offset)?),
                ..Polled::default()
            }),
            polled => Ok(polled?),
        }
    }

    /// Why the log does not have an offset.
    fn out_of_range(&self, at: TopicPartition, next: Offset) -> Result<Anew, BrokerError> {
        let extent = self.extents(std::slice::from_ref(&at))?[&at];
        Ok(match next < extent.start {
            true => Anew::Behind {
                at,
                next,
                start: extent.start,
            },
            false => Anew::Beyond {
                at,
                next,
                end: extent.end,
            },
        })
    }

    /// Writes the batch and the marker that goes with it, and tells tasks what has changed.
    fn write(&mut self, marker: TableMarker) -> Result<(), StateError> {
        self.buffer.clear();
        marker.encode_into(&mut self.buffer);
        self.batch.put(MARKER, MARKER_KEY, &self.buffer);
        self.state.write(&self.batch)?;
        self.marker = marker;
        if self.served == Some(self.marker.slot()) {
            for change in self.batch.changes() {
                match change {
                    Change::Put(slot, key, _) | Change::Delete(slot, key) if slot != MARKER => {
                        self.rows.changed(record_key(key));
                    }
                    _ => {}
                }
            }
        }
        self.batch.clear();
        Ok(())
    }

    /// Lets tasks read the table once everything has been read that there was. Tells whether they do so
    /// from now on.
    fn serve_when_whole(&mut self) -> Result<bool, StateError> {
        let (slot, now) = (self.marker.slot(), self.shared.clock.now());
        if self.served == Some(slot) {
            return Ok(false);
        }
        let table = &self.plan.node;
        let reading = self.reading.as_mut().expect("its topics are being read");
        if !reading.is_whole() {
            reading.report(table.as_str(), now);
            return Ok(false);
        }
        reading.forget_targets();
        tracing::info!(%table, ms = reading.ms(now), "the global table is whole");
        self.served = Some(slot);
        self.rows.serve(slot);
        self.tell(|status| status.is_whole = true);
        let marker = self.marker.clone().read_at(now);
        self.empty(SLOTS[1 - slot], marker)?;
        Ok(true)
    }

    fn publish(&mut self, polled: &Polled) {
        let reading = self.reading.as_ref().expect("its topics are being read");
        let (left, is_whole) = (reading.left(), self.rows.is_whole());
        let positions = reading.positions();
        let positions = positions
            .map(|(at, reached)| (at.clone(), reached.next))
            .collect();
        self.tell(|status| {
            status.records += polled.records;
            status.bytes += polled.bytes;
            status.is_whole = is_whole;
            status.left = left;
            status.positions = positions;
        });
        if polled.counts != NodeCounts::default() {
            let counts = vec![(self.name().to_owned(), polled.counts)];
            let group = self.shared.plan.group();
            self.shared.metrics.add_counts(&group, counts);
        }
        if polled.failed.is_some() || (self.waits_for_schema && !polled.has_moved) {
            return;
        }
        self.waits_for_schema = false;
        self.tell(|status| status.last_error = None);
        if let Some(ended) = self.outage.succeeded(self.shared.clock.now()) {
            let (attempts, ms) = (ended.failures, ended.ms);
            tracing::info!(table = %self.plan.node, attempts, ms, "the global table is kept again");
        }
    }
}
