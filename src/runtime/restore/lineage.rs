//! Whether a changelog is the one that the local state was written with.

use std::ops::Range;

use super::{POLL, RestoreError, Restorer};
use crate::broker::{Isolation, Offset, TopicPartition};
use crate::processor::MARKER_KEY;
use crate::state::{StateError, TaskState};
use crate::topology::plan::TaskId;

/// The last commit of a state is looked for among so many offsets below its checkpoint.
const LINEAGE_RECORDS: Offset = 1_000;

impl Restorer<'_> {
    /// Whether the changelog is the one that the local state was written with: the last commit below the
    /// checkpoint must be that of the state. A topic that was deleted and created again, as by a reset that
    /// this machine did not take part in, may be longer by now than the old one was.
    pub(super) fn check_lineage(
        &self,
        task: TaskId,
        state: &dyn TaskState,
        store: usize,
        changelog: &TopicPartition,
        below: Range<Offset>,
    ) -> Result<(), RestoreError> {
        let mut own = Vec::new();
        if !state.get(store, MARKER_KEY, &mut own)? {
            return Ok(());
        }
        let from = below.start.max(below.end - LINEAGE_RECORDS);
        // Compaction may have left none there.
        match self.last_marker(changelog, from, below.end)? {
            Some(found) if found != own => Err(RestoreError::State(StateError::Corrupted {
                path: task.to_string(),
                reason: format!(
                    "it is not the state of changelog {changelog}, which has another commit before \
                     offset {}: the topic was deleted and created again",
                    below.end
                ),
            })),
            _ => Ok(()),
        }
    }

    fn last_marker(
        &self,
        changelog: &TopicPartition,
        from: Offset,
        end: Offset,
    ) -> Result<Option<Vec<u8>>, RestoreError> {
        let mut reader = self.broker.reader(Isolation::ReadCommitted)?;
        reader.assign(&[(changelog.clone(), from)])?;
        let mut last = None;
        let mut position = from;
        while position < end {
            if (self.stop)() {
                return Err(RestoreError::Stopped);
            }
            reader.poll(POLL, 10_000, &mut |record| {
                if record.offset < end && record.key == Some(MARKER_KEY) {
                    last = record.value.map(<[u8]>::to_vec);
                }
            })?;
            position = reader.position(changelog).unwrap_or(position);
        }
        Ok(last)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use super::*;
    use crate::broker::memory::MemoryBroker;
    use crate::broker::{Broker, Outgoing, ProducerOptions, TopicSpec};
    use crate::runtime::marker::CommitMarker;
    use crate::runtime::metrics::EngineMetrics;
    use crate::state::StateBackend;
    use crate::state::memory::MemoryBackend;
    use crate::time::{Clock, ManualClock, Timestamp};

    const TASK: TaskId = TaskId {
        sub_topology: 0,
        partition: 1,
    };

    /// The state of a machine that did not take part when the application was reset: the changelog is
    /// another one, and longer by now.
    #[test]
    fn state_of_a_topic_that_was_made_anew_is_rebuilt() {
        let file = "app: a\nnodes:\n  s: { source: { topic: t, key: k } }\n  n: { aggregate: { from: s, by: k, \
                    window: none, set: { c: count() } } }\n";
        let topology = crate::config::parse(file, "a.yaml").unwrap();
        let plan = crate::topology::plan::plan(&topology).unwrap();
        let plan = &plan.processing[0];
        let changelog = plan.stores[0].changelog.as_str();
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(Timestamp(0)));
        let broker: Arc<dyn Broker> = Arc::new(MemoryBroker::new(Arc::clone(&clock)));
        let spec = TopicSpec {
            name: changelog.to_owned(),
            partitions: 2,
            replication: -1,
            config: BTreeMap::new(),
        };
        let backend: Arc<dyn StateBackend> = Arc::new(MemoryBackend::default());
        let restorer = Restorer {
            broker: &broker,
            backend: &backend,
            clock: &clock,
            stop: &|| false,
            metrics: &EngineMetrics::default(),
        };
        // What the store holds after a restore, once the topic has so many commits of that life.
        let after = |life: u8, commits: Range<i64>| {
            broker.create_topics(std::slice::from_ref(&spec)).unwrap();
            let mut producer = broker.producer(&ProducerOptions::default()).unwrap();
            for commit in commits {
                let marker = CommitMarker {
                    positions: [(("t".to_owned(), 1), commit)].into(),
                    contents: [("life".to_owned(), life.to_string())].into(),
                    ..CommitMarker::default()
                };
                let mut bytes = Vec::new();
                marker.encode_into(&mut bytes);
                for (key, value) in [(&[life, 0][..], &[1][..]), (MARKER_KEY, &bytes)] {
                    let sent = producer.send(Outgoing {
                        topic: changelog,
                        partition: Some(1),
                        timestamp: Timestamp(0),
                        key: Some(key),
                        value: Some(value),
                        headers: &[],
                    });
                    sent.unwrap();
                }
            }
            producer.flush().unwrap();
            let restored = restorer.restore(TASK, plan).unwrap();
            let mut value = Vec::new();
            [1, 2].map(|life| restored.state.get(0, &[life, 0], &mut value).unwrap())
        };
        assert_eq!(after(1, 0..3), [true, false]);
        assert_eq!(after(1, 3..5), [true, false], "it goes on");
        broker.delete_topics(&[changelog]).unwrap();
        assert_eq!(after(2, 0..9), [false, true]);
        assert_eq!(after(2, 9..9), [false, true]);
    }
}
