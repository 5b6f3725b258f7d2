//! The in-memory member of a consumer group.

use std::sync::Arc;
use std::time::Duration;

use super::assign::Subscription;
use super::chance::Chance;
use super::cursor::Cursors;
use super::fault::{Effect, Operation};
use super::group::{Application, Generation, MemberId, News, Refusal};
use super::state::State;
use super::topics::{missing, missing_partition};
use super::{Shared, deliver};
use crate::broker::{
    Acknowledge, BrokerError, GroupEvent, GroupMember, GroupMetadata, MemberOptions, Offset,
    OnRecord, OwnedRecord, TopicPartition,
};
use crate::time::Timestamp;

/// Who commits: what [`GroupMetadata`] holds for this log.
#[derive(Clone, Debug)]
pub(super) struct Membership {
    pub group: String,
    /// None: nobody in particular.
    member: Option<Who>,
}

#[derive(Clone, Debug)]
struct Who {
    instance: Option<String>,
    id: MemberId,
    generation: Generation,
}

pub(super) struct MemoryMember {
    shared: Arc<Shared>,
    options: MemberOptions,
    subscription: Subscription,
    id: MemberId,
    /// As of the last assignment that was told.
    generation: Option<Generation>,
    owned: Vec<TopicPartition>,
    cursors: Cursors,
}

/// What one look at the group and the log found.
enum Found {
    Event(GroupEvent),
    Records(Vec<Arc<OwnedRecord>>),
}

impl MemoryMember {
    pub(super) fn new(
        shared: Arc<Shared>,
        options: &MemberOptions,
    ) -> Result<MemoryMember, BrokerError> {
        let (id, subscription) = shared.call(Operation::NewMember, |state, now| {
            let subscription = subscription(state, options)?;
            Ok((join(state, options, &subscription, now), subscription))
        })?;
        Ok(MemoryMember {
            shared,
            options: options.clone(),
            subscription,
            id,
            generation: None,
            owned: Vec::new(),
            cursors: Cursors::default(),
        })
    }

    fn look(
        &mut self,
        state: &mut State,
        now: Timestamp,
        max_records: usize,
    ) -> Result<Option<Found>, BrokerError> {
        state.faults.take(Operation::MemberPoll, Effect::None)?;
        let instance = self.options.instance_id.as_deref();
        let group = state
            .groups
            .get_mut(&self.options.group)
            .expect("it has been joined");
        match group.poll(self.id, instance, now) {
            // Nobody hears of it before the next heartbeat is answered, and reading goes on until then.
            Err(Refusal::Unknown) if state.chance.as_mut().is_some_and(Chance::is_late) => {
                self.fetch(state, max_records)
            }
            Err(Refusal::Unknown) => match self.rejoin(state, now) {
                Some(lost) => Ok(Some(Found::Event(lost))),
                None => self.look(state, now, max_records),
            },
            Err(refusal) => Err(BrokerError::replaced(
                format!("poll (group {})", self.options.group),
                refusal.to_string(),
            )),
            Ok(Some(news)) => Ok(Some(Found::Event(self.hear(news)))),
            Ok(None) if group.is_reading(self.id) => self.fetch(state, max_records),
            Ok(None) => Ok(None),
        }
    }

    fn fetch(
        &mut self,
        state: &mut State,
        max_records: usize,
    ) -> Result<Option<Found>, BrokerError> {
        let (isolation, chance) = (self.options.isolation, state.chance.as_mut());
        let records = self
            .cursors
            .fetch(&state.topics, isolation, max_records, chance)?;
        Ok((!records.is_empty()).then_some(Found::Records(records)))
    }

    /// After an eviction: everything is lost, and the member applies again.
    fn rejoin(&mut self, state: &mut State, now: Timestamp) -> Option<GroupEvent> {
        self.id = join(state, &self.options, &self.subscription, now);
        self.generation = None;
        self.cursors.clear();
        let lost = std::mem::take(&mut self.owned);
        (!lost.is_empty()).then_some(GroupEvent::Lost(lost))
    }

    fn hear(&mut self, news: News) -> GroupEvent {
        match news {
            News::Assigned(generation, partitions) => {
                self.generation = Some(generation);
                self.owned = partitions.clone();
                GroupEvent::Assigned(partitions)
            }
            News::Revoked(partitions) => GroupEvent::Revoked(partitions),
        }
    }

    fn fenced(&self, action: &str, refusal: Refusal) -> BrokerError {
        fenced(action, &self.options.group, refusal)
    }

    fn start(
        &mut self,
        state: &State,
        positions: &[(TopicPartition, Offset)],
    ) -> Result<(), BrokerError> {
        for (partition, _) in positions {
            if !self.owned.contains(partition) {
                return Err(BrokerError::fenced(
                    format!("start reading {partition}"),
                    "it is not assigned to this member",
                ));
            }
            let log = state.topics.log(partition);
            log.ok_or_else(|| missing_partition("read".to_owned(), partition))?;
        }
        self.cursors.assign(positions);
        Ok(())
    }

    fn stop(&mut self, state: &mut State, partitions: &[TopicPartition], now: Timestamp) {
        self.cursors.remove(partitions);
        self.owned
            .retain(|partition| !partitions.contains(partition));
        let group = state
            .groups
            .get_mut(&self.options.group)
            .expect("it has been joined");
        group.stop(self.id, partitions, now);
    }
}

impl GroupMember for MemoryMember {
    fn poll(
        &mut self,
        timeout: Duration,
        max_records: usize,
        on_record: OnRecord<'_>,
    ) -> Result<Option<GroupEvent>, BrokerError> {
        let shared = self.shared.clone();
        let found = shared.wait(timeout, |state, now| {
            self.look(state, now, max_records).transpose()
        });
        match found.transpose()? {
            None => Ok(None),
            Some(Found::Event(event)) => Ok(Some(event)),
            Some(Found::Records(records)) => {
                deliver(&records, on_record);
                Ok(None)
            }
        }
    }

    fn acknowledge(&mut self, answer: Acknowledge<'_>) -> Result<(), BrokerError> {
        let shared = self.shared.clone();
        shared.call(Operation::Acknowledge, |state, now| {
            let group = &state.groups[&self.options.group];
            group
                .check_member(self.id, self.options.instance_id.as_deref())
                .map_err(|refusal| self.fenced("acknowledge", refusal))?;
            match answer {
                Acknowledge::Start(positions) => self.start(state, positions),
                Acknowledge::Stop(partitions) => {
                    self.stop(state, partitions, now);
                    Ok(())
                }
            }
        })
    }

    fn metadata(&self) -> Option<GroupMetadata> {
        let membership = Membership {
            group: self.options.group.clone(),
            member: Some(Who {
                instance: self.options.instance_id.clone(),
                id: self.id,
                generation: self.generation?,
            }),
        };
        Some(GroupMetadata(Arc::new(membership)))
    }

    fn commit(&mut self, offsets: &[(TopicPartition, Offset)]) -> Result<(), BrokerError> {
        self.shared.call(Operation::MemberCommit, |state, _| {
            let (instance, action) = (self.options.instance_id.as_deref(), "commit offsets");
            let group = state
                .groups
                .get_mut(&self.options.group)
                .expect("it has been joined");
            group
                .check_generation(self.id, instance, self.generation.unwrap_or(0))
                .map_err(|refusal| self.fenced(action, refusal))?;
            group.commit(offsets.iter().cloned());
            Ok(())
        })
    }

    fn at_end(&self, partition: &TopicPartition) -> bool {
        self.cursors.at_end(partition)
    }

    fn position(&self, partition: &TopicPartition) -> Option<Offset> {
        self.cursors.position(partition)
    }
}

impl Drop for MemoryMember {
    fn drop(&mut self) {
        let (mut state, now) = self.shared.lock();
        if let Some(group) = state.groups.get_mut(&self.options.group) {
            group.drop_member(self.id, now);
        }
        self.shared.changed.notify_all();
    }
}

impl Membership {
    /// Of the group, and of nobody in it.
    pub(super) fn of_nobody(group: &str) -> Membership {
        Membership {
            group: group.to_owned(),
            member: None,
        }
    }

    /// Refuses a member that was evicted or whose generation is over.
    pub(super) fn check(&self, state: &State, action: &str) -> Result<(), BrokerError> {
        let Some(member) = &self.member else {
            return Ok(());
        };
        state.groups[&self.group]
            .check_generation(member.id, member.instance.as_deref(), member.generation)
            .map_err(|refusal| fenced(action, &self.group, refusal))
    }
}

fn fenced(action: &str, group: &str, refusal: Refusal) -> BrokerError {
    BrokerError::fenced(format!("{action} (group {group})"), refusal.to_string())
}

fn subscription(state: &State, options: &MemberOptions) -> Result<Subscription, BrokerError> {
    let action = || format!("join group {}", options.group);
    let find = |topic: &String| {
        state
            .topics
            .find(topic)
            .ok_or_else(|| missing(action(), topic))
    };
    options.topics.iter().map(find).collect()
}

fn join(
    state: &mut State,
    options: &MemberOptions,
    subscription: &Subscription,
    now: Timestamp,
) -> MemberId {
    let id = MemberId(state.next_member());
    let application = Application {
        instance: options.instance_id.clone(),
        subscription: subscription.clone(),
        session_timeout: options.session_timeout,
        max_poll_interval: options.max_poll_interval,
    };
    state
        .groups
        .entry(options.group.clone())
        .or_default()
        .join(id, application, now);
    id
}
