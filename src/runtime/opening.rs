//! Opening a task: its state is restored, and where its inputs are read on is decided.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::outage::Patience;
use super::restore::{RestoreError, Restorer, decide_positions};
use super::start::LogRanges;
use super::task::{Task, TaskStart};
use super::thread::Shared;
use super::trouble::ThreadError;
use crate::broker::{BrokerError, Offset, TopicPartition};
use crate::processor::Share;
use crate::topology::graph::Guarantee;
use crate::topology::plan::{SubTopology, TaskId};

/// Between two attempts to get the group's positions: doubled each time, from the first to the second.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

pub(super) struct Opening<'t> {
    pub(super) shared: &'t Arc<Shared>,
    /// The name of the thread.
    pub(super) thread: &'t str,
    /// For the cache of each task.
    pub(super) cache_bytes: usize,
}

impl Opening<'_> {
    /// Restores its state, and finds out where its inputs are read on.
    pub(super) fn task(&self, id: TaskId, plan: &Arc<SubTopology>) -> Result<Task, ThreadError> {
        let shared = self.shared;
        let inputs: Vec<TopicPartition> = plan
            .topics()
            .map(|topic| TopicPartition::new(topic, id.partition))
            .collect();
        shared.metrics.opening(id, Some("the group's positions"));
        let committed = self.wait_for_committed(&inputs)?;
        shared.metrics.opening(id, Some("its state"));
        let stop = || shared.stop.is_set();
        let restorer = Restorer {
            broker: &shared.broker,
            backend: &shared.backend,
            clock: &shared.clock,
            stop: &stop,
            metrics: &shared.metrics,
        };
        let restored = restorer.restore(id, plan)?;
        let exactly_once = shared.plan.guarantee == Guarantee::ExactlyOnce;
        let marker = restored.marker.as_ref();
        if marker.is_none() && !plan.stores.is_empty() && !committed.is_empty() {
            tracing::warn!(
                task = %id, ?committed,
                "no changelog has anything of this task: its stores are new, or their changelogs \
                 were deleted. The state begins empty at the group's positions"
            );
        }
        let kept = decide_positions(id, &inputs, &committed, marker, exactly_once)?;
        let positions = self.begin(id, kept)?;
        let progress = restored
            .marker
            .map(|marker| marker.progress)
            .unwrap_or_default();
        let partitions = plan
            .topics()
            .filter_map(|topic| shared.partitions.get(topic))
            .copied()
            .max();
        let share = Share {
            partition: id.partition,
            partitions: partitions.unwrap_or(1),
        };
        tracing::debug!(task = %id, ?committed, ?positions, "task opened");
        let start = TaskStart {
            state: restored.state,
            positions,
            progress,
            cache_bytes: self.cache_bytes,
            registries: Arc::clone(&shared.registries),
            global_tables: Arc::clone(&shared.global_tables),
            now: shared.clock.now(),
        };
        Task::new(id, Arc::clone(plan), share, start)
    }

    /// The positions to read from, and what is lost because the log has deleted it.
    fn begin(
        &self,
        task: TaskId,
        kept: BTreeMap<TopicPartition, Option<Offset>>,
    ) -> Result<BTreeMap<TopicPartition, Offset>, ThreadError> {
        let partitions: Vec<_> = kept.keys().cloned().collect();
        let ranges = LogRanges::of(&*self.shared.broker, &partitions)?;
        let mut positions = BTreeMap::new();
        for (partition, position) in kept {
            let start = ranges
                .begin(&partition, position)
                .map_err(|source| RestoreError::BeyondEnd { task, source })?;
            if start.lost > 0 {
                tracing::error!(
                    %task, %partition, ?position, lost = start.lost,
                    "records were deleted from the topic before they were processed"
                );
                self.shared.metrics.lost(start.lost);
            }
            positions.insert(partition, start.offset);
        }
        Ok(positions)
    }

    /// The group's positions; waits while another member's open transaction holds any of them.
    fn wait_for_committed(
        &self,
        inputs: &[TopicPartition],
    ) -> Result<BTreeMap<TopicPartition, Offset>, ThreadError> {
        let mut pause = BACK_OFF.0;
        let mut patience = Patience::new(&*self.shared.clock);
        loop {
            match self
                .shared
                .broker
                .committed(&self.shared.plan.group(), inputs)
            {
                Ok(committed) => return Ok(committed),
                Err(BrokerError::Retry { reason, .. }) => {
                    if self.shared.stop.is_set() {
                        return Err(RestoreError::Stopped.into());
                    }
                    tracing::debug!(%reason, "waiting for stable offsets");
                    if let Some(waited_s) = patience.is_over() {
                        let inputs: Vec<String> = inputs.iter().map(ToString::to_string).collect();
                        let inputs = inputs.join(", ");
                        tracing::warn!(
                            thread = %self.thread, inputs, waited_s, %reason,
                            "the group's positions cannot be had: a transaction that is not \
                             ended holds them, until it times out or is aborted \
                             (kafka-transactions.sh find-hanging, abort)"
                        );
                    }
                    self.shared.stop.wait(pause);
                    pause = (pause * 2).min(BACK_OFF.1);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}
