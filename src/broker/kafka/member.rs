//! The Kafka member of a consumer group.
//!
//! librdkafka waits for `assign` after each rebalance callback. The callback only records what the
//! group wants; [`KafkaMember::poll`] hands it over:
//!
//! * *Assigned*: answered at once with an empty assignment, so that the group goes on while tasks
//!   restore their state; `acknowledge` names the partitions to read later, as often as it likes.
//! * *Revoked*: answered when everything has been acknowledged. Until then librdkafka neither
//!   fetches nor rejoins, so the member may still commit with the generation it has.
//! * *Lost*: answered at once.
//!
//! The invariant: the proof of membership is taken when an assignment is handed over, never later.
//! A member that was evicted has the generation −1 and an empty id until it rejoins, and the
//! broker accepts *any* offsets that come with those.

use std::collections::{BTreeSet, VecDeque};
use std::ffi::{CStr, CString};
use std::ptr::{self, NonNull};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rdkafka::TopicPartitionList;
use rdkafka::bindings as c;

use super::answer::AnswerQueue;
use super::classify::Failure;
use super::fetch::{Fetcher, Membership};
use super::list::{self, Entry};
use super::native::{Callbacks, Handle, Kind, Rebalance};
use super::{KafkaSettings, config};
use crate::broker::{
    Acknowledge, BrokerError, GroupEvent, GroupMember, GroupMetadata, MemberOptions, Offset,
    OnRecord, TopicPartition,
};

/// How long the group has to take offsets. librdkafka itself would wait for minutes, and the member
/// is not polled meanwhile.
const COMMIT_PATIENCE: Duration = Duration::from_secs(10);

pub(super) struct KafkaMember {
    fetcher: Fetcher<Rebalances>,
    group: String,
    owned: BTreeSet<TopicPartition>,
    stage: Stage,
    proof: Option<Arc<Proof>>,
    /// Another member has its instance id: what librdkafka said of that.
    replaced: Option<String>,
}

/// Where a member is between two events.
enum Stage {
    /// Outside, or waiting for the others.
    Waiting,
    Reading,
    /// Told to give up these.
    Stopping(BTreeSet<TopicPartition>),
}

/// What the group wants and has not been told yet.
#[derive(Default)]
struct Rebalances(Mutex<VecDeque<Rebalance>>);

impl Callbacks for Rebalances {
    fn rebalanced(&self, rebalance: Rebalance) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push_back(rebalance);
    }
}

impl Rebalances {
    fn next(&self) -> Option<Rebalance> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop_front()
    }
}

impl KafkaMember {
    pub(super) fn new(
        settings: &KafkaSettings,
        options: &MemberOptions,
    ) -> Result<KafkaMember, BrokerError> {
        let name = match &options.instance_id {
            Some(instance) => format!("member {instance} of {}", options.group),
            None => format!("member of {}", options.group),
        };
        let properties = config::member(settings, options);
        let mut handle = Handle::new(Kind::Consumer, name, &properties, Rebalances::default())?;
        if options.instance_id.is_none() {
            handle.leave_group_when_closed();
        }
        let fetcher = Fetcher::new(handle, Membership::Member)?;
        let mut topics = TopicPartitionList::new();
        for topic in &options.topics {
            topics.add_topic_unassigned(topic);
        }
        // SAFETY: client and list are alive.
        let code = unsafe { c::rd_kafka_subscribe(fetcher.handle().ptr(), topics.ptr()) };
        let action = || format!("join group {}", options.group);
        Failure::check(code).map_err(|failure| failure.in_doing(action()))?;
        Ok(KafkaMember {
            fetcher,
            group: options.group.clone(),
            owned: BTreeSet::new(),
            stage: Stage::Waiting,
            proof: None,
            replaced: None,
        })
    }

    fn check_fenced(&self, action: &str) -> Result<(), BrokerError> {
        match &self.replaced {
            Some(reason) => Err(BrokerError::fenced(self.doing(action), reason.clone())),
            None => Ok(()),
        }
    }

    fn check_replaced(&self) -> Result<(), BrokerError> {
        match &self.replaced {
            Some(reason) => Err(BrokerError::replaced(self.doing("poll"), reason.clone())),
            None => Ok(()),
        }
    }

    fn doing(&self, action: &str) -> String {
        format!("{action} (group {})", self.group)
    }

    fn take_error(&mut self) -> Result<(), BrokerError> {
        match self.fetcher.take_error() {
            Some(BrokerError::Fenced { reason, .. }) => {
                self.replaced = Some(reason);
                self.lose();
                self.check_replaced()
            }
            error => error.map_or(Ok(()), Err),
        }
    }

    /// What the group wants next, as an event.
    fn next_event(&mut self) -> Result<Option<GroupEvent>, BrokerError> {
        while let Some(rebalance) = self.fetcher.handle().callbacks().next() {
            if let Some(event) = self.hear(rebalance)? {
                return Ok(Some(event));
            }
        }
        Ok(None)
    }

    fn hear(&mut self, rebalance: Rebalance) -> Result<Option<GroupEvent>, BrokerError> {
        match rebalance {
            Rebalance::Assign(partitions) => {
                let partitions = names(partitions);
                // Before `assign`: only until then is a second rebalance sure not to interfere.
                self.proof = Proof::take(self.fetcher.handle(), &self.group).map(Arc::new);
                self.fetcher.assign(&[])?;
                self.owned = partitions.iter().cloned().collect();
                self.stage = Stage::Reading;
                Ok(Some(GroupEvent::Assigned(partitions)))
            }
            Rebalance::Revoke { lost } if lost || self.is_evicted() => {
                self.fetcher.unassign()?;
                let lost = self.lose();
                Ok((!lost.is_empty()).then_some(GroupEvent::Lost(lost)))
            }
            Rebalance::Revoke { .. } if self.owned.is_empty() => {
                self.stage = Stage::Waiting;
                self.fetcher.unassign()?;
                Ok(None)
            }
            Rebalance::Revoke { .. } => {
                self.stage = Stage::Stopping(self.owned.clone());
                Ok(Some(GroupEvent::Revoked(
                    self.owned.iter().cloned().collect(),
                )))
            }
        }
    }

    /// Whether librdkafka knows that the member is out. A revocation that was called for while it
    /// was still in stays a plain one to librdkafka, however late it is served.
    fn is_evicted(&self) -> bool {
        Proof::take(self.fetcher.handle(), &self.group).is_none()
    }

    /// Forgets what it owns; returns that.
    fn lose(&mut self) -> Vec<TopicPartition> {
        self.stage = Stage::Waiting;
        self.proof = None;
        std::mem::take(&mut self.owned).into_iter().collect()
    }

    fn start(&mut self, positions: &[(TopicPartition, Offset)]) -> Result<(), BrokerError> {
        // SAFETY: the client is alive.
        let lost = unsafe { c::rd_kafka_assignment_lost(self.fetcher.handle().ptr()) } != 0;
        let missing = positions
            .iter()
            .find(|(partition, _)| !self.owned.contains(partition));
        match missing {
            _ if lost => Err(BrokerError::fenced(
                self.doing("start reading"),
                "the member was evicted from the group",
            )),
            Some((partition, _)) => Err(BrokerError::fenced(
                self.doing(&format!("start reading {partition}")),
                "it is not assigned to this member",
            )),
            None if matches!(self.stage, Stage::Stopping(_)) => Ok(()),
            None => self.fetcher.assign(positions),
        }
    }

    fn stop(&mut self, partitions: &[TopicPartition]) -> Result<(), BrokerError> {
        self.owned
            .retain(|partition| !partitions.contains(partition));
        self.fetcher.forget(partitions);
        match &mut self.stage {
            Stage::Stopping(left) => {
                left.retain(|partition| !partitions.contains(partition));
                if left.is_empty() {
                    self.stage = Stage::Waiting;
                    self.fetcher.unassign()?;
                }
                Ok(())
            }
            Stage::Reading => {
                let rest = self.fetcher.positions();
                self.fetcher.assign(&rest)
            }
            Stage::Waiting => Ok(()),
        }
    }
}

impl GroupMember for KafkaMember {
    fn poll(
        &mut self,
        timeout: Duration,
        max_records: usize,
        on_record: OnRecord<'_>,
    ) -> Result<Option<GroupEvent>, BrokerError> {
        self.check_replaced()?;
        self.take_error()?;
        if let Some(event) = self.next_event()? {
            return Ok(Some(event));
        }
        let records = self.fetcher.poll(timeout, max_records, on_record);
        if records > 0 {
            return Ok(None);
        }
        let event = self.next_event()?;
        if event.is_none() {
            self.take_error()?;
        }
        Ok(event)
    }

    fn acknowledge(&mut self, answer: Acknowledge<'_>) -> Result<(), BrokerError> {
        self.check_fenced("acknowledge")?;
        match answer {
            Acknowledge::Start(positions) => self.start(positions),
            Acknowledge::Stop(partitions) => self.stop(partitions),
        }
    }

    fn metadata(&self) -> Option<GroupMetadata> {
        let proof = self.proof.clone()?;
        Some(GroupMetadata(proof))
    }

    fn commit(&mut self, offsets: &[(TopicPartition, Offset)]) -> Result<(), BrokerError> {
        let action = "commit offsets";
        self.check_fenced(action)?;
        if self.proof.is_none() {
            let reason = "the member has no assignment";
            return Err(BrokerError::fenced(self.doing(action), reason));
        }
        let list = list::with_offsets(action, offsets)?;
        let queue = AnswerQueue::new(self.fetcher.handle());
        // SAFETY: client, list and queue are alive; no callback is wanted.
        let code = unsafe {
            let client = self.fetcher.handle().ptr();
            c::rd_kafka_commit_queue(client, list.ptr(), queue.ptr(), None, ptr::null_mut())
        };
        let refused = |failure: Failure| failure.in_doing(self.doing(action));
        Failure::check(code).map_err(refused)?;
        match queue.wait(COMMIT_PATIENCE) {
            Some(answer) => answer.check().map_err(refused),
            None => {
                let reason = format!("no answer within {COMMIT_PATIENCE:?}");
                Err(BrokerError::retry(self.doing(action), reason))
            }
        }
    }

    fn at_end(&self, partition: &TopicPartition) -> bool {
        self.fetcher.at_end(partition)
    }

    fn position(&self, partition: &TopicPartition) -> Option<Offset> {
        self.fetcher.position(partition)
    }
}

impl Drop for KafkaMember {
    fn drop(&mut self) {
        // Closing serves the callbacks that are still to come, but not the one that was served
        // and not answered.
        if let Stage::Stopping(_) = self.stage {
            self.fetcher.unassign().ok();
        }
    }
}

/// What [`GroupMetadata`] holds for Kafka: group, generation, member id, instance id.
pub(super) struct Proof(NonNull<c::rd_kafka_consumer_group_metadata_t>);

// SAFETY: never changed after it was made.
unsafe impl Send for Proof {}
// SAFETY: as above.
unsafe impl Sync for Proof {}

impl Proof {
    /// None when the member is not in a generation any more.
    fn take<C: Callbacks>(handle: &Handle<C>, group: &str) -> Option<Proof> {
        // SAFETY: the client is alive; the object is ours; its texts live as long as it does.
        unsafe {
            let metadata = c::rd_kafka_consumer_group_metadata(handle.ptr());
            let proof = Proof(NonNull::new(metadata)?);
            let generation = c::rd_kafka_consumer_group_metadata_generation_id(metadata);
            let id = CStr::from_ptr(c::rd_kafka_consumer_group_metadata_member_id(metadata));
            tracing::debug!(group, generation, ?id, "membership");
            (generation >= 0 && !id.is_empty()).then_some(proof)
        }
    }

    /// Only the group: no generation, no member.
    pub(super) fn of_nobody(group: &str) -> Proof {
        let group = CString::new(group).expect("names of groups have no zeros");
        // SAFETY: the text is copied; the object is ours.
        let metadata = unsafe { c::rd_kafka_consumer_group_metadata_new(group.as_ptr()) };
        Proof(NonNull::new(metadata).expect("room for a few bytes"))
    }

    /// For the calls that want it, while this is alive.
    pub(super) fn ptr(&self) -> *const c::rd_kafka_consumer_group_metadata_t {
        self.0.as_ptr()
    }
}

impl Drop for Proof {
    fn drop(&mut self) {
        // SAFETY: the object is ours.
        unsafe { c::rd_kafka_consumer_group_metadata_destroy(self.0.as_ptr()) };
    }
}

fn names(entries: Vec<Entry>) -> Vec<TopicPartition> {
    let mut names: Vec<_> = entries.into_iter().map(|entry| entry.partition).collect();
    names.sort();
    names
}
