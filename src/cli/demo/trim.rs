//! Keeps the log in memory small: what every group has read is deleted, and the changelogs are
//! compacted.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use super::stage::partitions;
use crate::broker::memory::MemoryBroker;
use crate::broker::{BrokerError, Offset, TopicPartition};
use crate::runtime::StopSignal;
use crate::topology::plan::{Plan, Purpose};

const EVERY: Duration = Duration::from_secs(5);

/// So many entries stay behind the last position, for threads that begin anew from a commit.
const KEPT: Offset = 1_000;

/// A thread that trims until it is told to stop.
pub(super) struct Trimmer(Option<JoinHandle<()>>);

impl Trimmer {
    pub fn start(broker: MemoryBroker, plan: Arc<Plan>, stop: StopSignal) -> Trimmer {
        let work = move || {
            while !stop.wait(EVERY) {
                if let Err(error) = trim(&broker, &plan, KEPT) {
                    tracing::debug!(%error, "the log is not trimmed this time");
                }
            }
        };
        let thread = std::thread::Builder::new()
            .name("demo-trim".to_owned())
            .spawn(work);
        Trimmer(thread.ok())
    }

    pub fn join(self) {
        if let Some(thread) = self.0 {
            // A panic has been printed; the demo's results do not depend on it.
            let _ = thread.join();
        }
    }
}

fn trim(broker: &MemoryBroker, plan: &Plan, kept: Offset) -> Result<(), BrokerError> {
    let compacted: Vec<&str> = plan
        .internal_topics
        .iter()
        .filter(|topic| matches!(topic.purpose, Purpose::Changelog { .. } | Purpose::Progress))
        .map(|topic| topic.name.as_str())
        .collect();
    for (partition, position) in read_by_all(broker, plan)? {
        if !compacted.contains(&&*partition.topic) {
            broker.delete_records(&partition, (position - kept).max(0));
        }
    }
    for topic in compacted {
        broker.compact(topic);
    }
    Ok(())
}

/// Up to where every group that reads a partition has come; partitions that one of them has not
/// begun are left out.
fn read_by_all(
    broker: &MemoryBroker,
    plan: &Plan,
) -> Result<BTreeMap<TopicPartition, Offset>, BrokerError> {
    let processing = plan.processing.iter().map(|sub| (plan.group(), sub));
    let sinks = plan
        .sinks
        .iter()
        .map(|sub| (plan.sink_group(&sub.name), sub));
    let mut positions: BTreeMap<TopicPartition, Option<Offset>> = BTreeMap::new();
    for (group, sub) in processing.chain(sinks) {
        let committed = broker.committed_offsets(&group);
        let topics: Vec<&str> = sub.topics().collect();
        for partition in partitions(broker, &topics)? {
            let own = committed.get(&partition).copied();
            let least = positions.entry(partition).or_insert(own);
            *least = least.zip(own).map(|(a, b)| a.min(b));
        }
    }
    let known = |(partition, position): (_, Option<Offset>)| Some((partition, position?));
    Ok(positions.into_iter().filter_map(known).collect())
}
