//! A consumer group: who is in it, who holds which partition, which offsets are committed.
//!
//! Rebalances are eager, as with Kafka's classic `range` group: when someone comes or goes, every
//! member gives up everything, and only when the last one has done so (or was evicted) does the
//! next generation begin. A member's stages:
//!
//! ```text
//!   join ──▶ Waiting ──(all are waiting: next generation)──▶ Assigned ──(told)──▶ Reading
//!               ▲                                                                   │
//!               └──(stopped all)── Stopping ◀──(told)── Revoked ◀──(rebalance)──────┘
//! ```
//!
//! A member that holds nothing, or was never told what it holds, goes straight to Waiting.
//! Everything here is a function of the calls and the times handed in.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use super::assign::{self, Subscription};
use super::log::TransactionNumber;
use crate::broker::{Offset, TopicPartition};
use crate::time::Timestamp;

/// Names a member; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct MemberId(pub(super) u64);

/// How many times the group has agreed on an assignment.
pub(super) type Generation = u32;

/// How someone wants to join.
#[derive(Clone, Debug)]
pub(super) struct Application {
    pub instance: Option<String>,
    pub subscription: Subscription,
    pub session_timeout: Duration,
    pub max_poll_interval: Duration,
}

/// What a member has to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum News {
    Assigned(Generation, Vec<TopicPartition>),
    Revoked(Vec<TopicPartition>),
}

/// Why a member is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It was evicted.
    Unknown,
    /// Its instance id belongs to someone else now.
    Replaced,
    /// Its generation is over.
    Outdated,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Refusal::Unknown => "the member was evicted from the group",
            Refusal::Replaced => "another member has joined with the same instance id",
            Refusal::Outdated => "the group has moved on to a newer generation",
        })
    }
}

/// A group and its committed offsets.
#[derive(Debug, Default)]
pub(super) struct Group {
    generation: Generation,
    rebalancing_since: Option<Timestamp>,
    members: BTreeMap<MemberId, Member>,
    offsets: BTreeMap<TopicPartition, Offset>,
    /// Offsets of transactions that are still open.
    pending: BTreeMap<TransactionNumber, BTreeMap<TopicPartition, Offset>>,
}

#[derive(Debug)]
struct Member {
    application: Application,
    stage: Stage,
    held: Vec<TopicPartition>,
    last_poll: Timestamp,
    /// When a static member was dropped.
    gone_since: Option<Timestamp>,
}

#[derive(Debug, PartialEq, Eq)]
enum Stage {
    Waiting,
    Assigned,
    Reading,
    Revoked,
    Stopping(BTreeSet<TopicPartition>),
}

impl Group {
    /// Someone new. With an instance id that is taken, it steps into the older member's place,
    /// without a rebalance if it wants the same topics.
    pub(super) fn join(&mut self, id: MemberId, application: Application, now: Timestamp) {
        let mut member = Member {
            application,
            stage: Stage::Waiting,
            held: Vec::new(),
            last_poll: now,
            gone_since: None,
        };
        if let Some(older) = self.holder_of(member.application.instance.as_deref()) {
            let older = self.members.remove(&older).expect("just found");
            let same = older.application.subscription == member.application.subscription;
            if self.rebalancing_since.is_none() && same {
                member.stage = Stage::Assigned;
                member.held = older.held;
                self.members.insert(id, member);
                return;
            }
        }
        self.members.insert(id, member);
        self.rebalance(now);
    }

    fn holder_of(&self, instance: Option<&str>) -> Option<MemberId> {
        let instance = instance?;
        self.members
            .iter()
            .find(|(_, member)| member.application.instance.as_deref() == Some(instance))
            .map(|(id, _)| *id)
    }

    /// What the members call themselves.
    pub(super) fn names(&self) -> Vec<String> {
        let members = self.members.iter();
        let name = |(id, member): (&MemberId, &Member)| {
            let instance = member.application.instance.clone();
            instance.unwrap_or_else(|| format!("member {}", id.0))
        };
        members.map(name).collect()
    }

    /// The member's process let go of it: a dynamic member leaves, a static one keeps its place
    /// until its session times out.
    pub(super) fn drop_member(&mut self, id: MemberId, now: Timestamp) {
        let Some(member) = self.members.get_mut(&id) else {
            return;
        };
        if member.application.instance.is_some() {
            member.gone_since = Some(now);
        } else {
            self.members.remove(&id);
            self.rebalance(now);
        }
    }

    /// Evicts members whose time is up.
    pub(super) fn expire(&mut self, now: Timestamp) {
        let since = self.rebalancing_since;
        let patience = self
            .members
            .values()
            .map(|m| m.application.max_poll_interval)
            .max();
        let overdue = since
            .zip(patience)
            .is_some_and(|(since, limit)| is_over(since, limit, now));
        let before = self.members.len();
        self.members.retain(|_, member| {
            !(member.is_silent(now) || overdue && member.stage != Stage::Waiting)
        });
        if self.members.len() < before {
            self.rebalance(now);
        }
    }

    /// The member shows that it is alive; what it has to be told is told by this.
    pub(super) fn poll(
        &mut self,
        id: MemberId,
        instance: Option<&str>,
        now: Timestamp,
    ) -> Result<Option<News>, Refusal> {
        self.check_member(id, instance)?;
        let member = self.members.get_mut(&id).expect("just checked");
        member.last_poll = now;
        match member.stage {
            Stage::Assigned => {
                member.stage = Stage::Reading;
                Ok(Some(News::Assigned(self.generation, member.held.clone())))
            }
            Stage::Revoked => {
                member.stage = Stage::Stopping(member.held.iter().cloned().collect());
                Ok(Some(News::Revoked(member.held.clone())))
            }
            Stage::Waiting | Stage::Reading | Stage::Stopping(_) => Ok(None),
        }
    }

    /// Whether the member may be given records.
    pub(super) fn is_reading(&self, id: MemberId) -> bool {
        self.members
            .get(&id)
            .is_some_and(|member| member.stage == Stage::Reading)
    }

    /// The member gives these up; only a revocation that it was told of takes notice.
    pub(super) fn stop(&mut self, id: MemberId, partitions: &[TopicPartition], now: Timestamp) {
        let Some(member) = self.members.get_mut(&id) else {
            return;
        };
        let Stage::Stopping(left) = &mut member.stage else {
            return;
        };
        left.retain(|partition| !partitions.contains(partition));
        if left.is_empty() {
            member.wait();
            self.begin_generation_when_all_wait(now);
        }
    }

    /// Whether `id` is in the group.
    pub(super) fn check_member(&self, id: MemberId, instance: Option<&str>) -> Result<(), Refusal> {
        match self.members.contains_key(&id) {
            true => Ok(()),
            false if self.holder_of(instance).is_some() => Err(Refusal::Replaced),
            false => Err(Refusal::Unknown),
        }
    }

    /// Whether `id` may commit as a member of `generation`.
    pub(super) fn check_generation(
        &self,
        id: MemberId,
        instance: Option<&str>,
        generation: Generation,
    ) -> Result<(), Refusal> {
        self.check_member(id, instance)?;
        if generation == self.generation {
            Ok(())
        } else {
            Err(Refusal::Outdated)
        }
    }

    fn rebalance(&mut self, now: Timestamp) {
        self.rebalancing_since.get_or_insert(now);
        for member in self.members.values_mut() {
            match member.stage {
                Stage::Assigned => member.wait(),
                Stage::Reading if member.held.is_empty() => member.wait(),
                Stage::Reading => member.stage = Stage::Revoked,
                Stage::Waiting | Stage::Revoked | Stage::Stopping(_) => {}
            }
        }
        self.begin_generation_when_all_wait(now);
    }

    fn begin_generation_when_all_wait(&mut self, now: Timestamp) {
        if self
            .members
            .values()
            .any(|member| member.stage != Stage::Waiting)
        {
            return;
        }
        self.rebalancing_since = None;
        self.generation += 1;
        let mut assignment = assign::range(&self.in_order());
        for (id, member) in &mut self.members {
            member.stage = Stage::Assigned;
            member.held = assignment.remove(id).unwrap_or_default();
            // Waiting for the others is not the member's fault.
            member.last_poll = now;
        }
    }

    /// Static members first, by their instance ids, then the others in the order of joining.
    fn in_order(&self) -> Vec<(MemberId, &Subscription)> {
        let mut members: Vec<_> = self.members.iter().collect();
        members.sort_by_key(|(id, member)| {
            let instance = member.application.instance.as_deref();
            (instance.is_none(), instance, **id)
        });
        members
            .into_iter()
            .map(|(id, m)| (*id, &m.application.subscription))
            .collect()
    }

    /// Commits offsets outside any transaction.
    pub(super) fn commit(&mut self, offsets: impl IntoIterator<Item = (TopicPartition, Offset)>) {
        self.offsets.extend(offsets);
    }

    /// Holds offsets until their transaction ends.
    pub(super) fn add_pending(
        &mut self,
        number: TransactionNumber,
        offsets: impl IntoIterator<Item = (TopicPartition, Offset)>,
    ) {
        self.pending.entry(number).or_default().extend(offsets);
    }

    /// The transaction has ended: its offsets count, or are forgotten.
    pub(super) fn end_transaction(&mut self, number: TransactionNumber, committed: bool) {
        let offsets = self.pending.remove(&number).unwrap_or_default();
        if committed {
            self.offsets.extend(offsets);
        }
    }

    /// Whether a transaction that may still change this offset is open.
    pub(super) fn is_unstable(&self, partition: &TopicPartition) -> bool {
        self.pending
            .values()
            .any(|offsets| offsets.contains_key(partition))
    }

    /// The committed offset.
    pub(super) fn committed(&self, partition: &TopicPartition) -> Option<Offset> {
        self.offsets.get(partition).copied()
    }

    /// All committed offsets.
    pub(super) fn all_committed(&self) -> &BTreeMap<TopicPartition, Offset> {
        &self.offsets
    }
}

impl Member {
    fn wait(&mut self) {
        self.stage = Stage::Waiting;
        self.held.clear();
    }

    fn is_silent(&self, now: Timestamp) -> bool {
        match self.gone_since {
            Some(since) => is_over(since, self.application.session_timeout, now),
            None => is_over(self.last_poll, self.application.max_poll_interval, now),
        }
    }
}

fn is_over(since: Timestamp, limit: Duration, now: Timestamp) -> bool {
    let limit = i64::try_from(limit.as_millis()).unwrap_or(i64::MAX);
    now > since.plus_millis(limit)
}

#[cfg(test)]
mod tests;
