//! A thread's place in its group, kept also when its instance id is lost to another member.
//!
//! The id can be lost for two reasons, which the group's list of members tells apart:
//!
//! * The member has fenced itself: its request to join took so long, or its connection broke, that the client
//!   library sent it again, and the broker gave the id to the second one. Joining anew puts that right.
//! * A second process runs with a copy of the state directory. Whoever joins takes the id from the
//!   other one, and so on to and fro. The first that has lost it [`MOST_LOSSES`] times within
//!   [`MEMORY_MS`] gives up, so exactly one of the two goes on.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::broker::{
    Acknowledge, Broker, BrokerError, GroupEvent, GroupMember, GroupMetadata, MemberOptions,
    Offset, OnRecord, TopicPartition,
};
use crate::time::{Clock, Timestamp};

/// So often the instance id may be lost to another process; the last time is one too many.
const MOST_LOSSES: usize = 3;

/// A loss counts for so long, in milliseconds.
const MEMORY_MS: i64 = 5 * 60 * 1_000;

/// A member of a group that joins anew when it has been replaced.
pub(super) struct Membership {
    broker: Arc<dyn Broker>,
    clock: Arc<dyn Clock>,
    options: MemberOptions,
    member: Box<dyn GroupMember>,
    /// What the group has given to the member and not had back.
    owned: BTreeSet<TopicPartition>,
    /// The member was replaced and is of no further use.
    is_replaced: bool,
    /// When the instance id was lost to another process lately.
    losses: VecDeque<Timestamp>,
}

impl Membership {
    /// Joins the group.
    ///
    /// # Errors
    /// As [`Broker::member`].
    pub(super) fn join(
        broker: Arc<dyn Broker>,
        clock: Arc<dyn Clock>,
        options: MemberOptions,
    ) -> Result<Membership, BrokerError> {
        Ok(Membership {
            member: broker.member(&options)?,
            broker,
            clock,
            options,
            owned: BTreeSet::new(),
            is_replaced: false,
            losses: VecDeque::new(),
        })
    }

    /// As [`GroupMember::poll`], except that a member that was replaced has lost what it owned, and
    /// joins anew with the next poll.
    ///
    /// # Errors
    /// As there; [`BrokerError::Fatal`] when another process seems to have the same identity.
    pub(super) fn poll(
        &mut self,
        timeout: Duration,
        max_records: usize,
        on_record: OnRecord<'_>,
    ) -> Result<Option<GroupEvent>, BrokerError> {
        if self.is_replaced {
            self.member = self.broker.member(&self.options)?;
            self.is_replaced = false;
        }
        let event = match self.member.poll(timeout, max_records, on_record) {
            Err(BrokerError::Replaced { action, reason }) => self.replaced(action, &reason)?,
            polled => polled?,
        };
        match &event {
            Some(GroupEvent::Assigned(partitions)) => self.owned.extend(partitions.iter().cloned()),
            Some(GroupEvent::Lost(partitions)) => self.disown(partitions),
            Some(GroupEvent::Revoked(_)) | None => {}
        }
        Ok(event)
    }

    /// Notes that the instance id was lost; gives what was lost with it.
    fn replaced(&mut self, action: String, heard: &str) -> Result<Option<GroupEvent>, BrokerError> {
        self.is_replaced = true;
        let now = self.clock.now();
        let instance = self.options.instance_id.as_deref().unwrap_or_default();
        self.losses.retain(|lost| now < lost.plus_millis(MEMORY_MS));
        // A log that cannot be asked is one that is in trouble, and makes members fence themselves.
        let is_held = self.broker.is_held_elsewhere(&self.options.group, instance);
        if is_held.unwrap_or(false) {
            self.losses.push_back(now);
        }
        if self.losses.len() >= MOST_LOSSES {
            return Err(BrokerError::fatal(
                action,
                format!(
                    "another process has joined as {instance} ({heard}): was a state directory \
                     copied? Each process needs its own"
                ),
            ));
        }
        tracing::warn!(
            group = %self.options.group, instance, reason = heard,
            "the place in the group was lost; joining anew"
        );
        let lost: Vec<_> = self.owned.iter().cloned().collect();
        Ok((!lost.is_empty()).then_some(GroupEvent::Lost(lost)))
    }

    fn disown(&mut self, partitions: &[TopicPartition]) {
        self.owned
            .retain(|partition| !partitions.contains(partition));
    }

    /// As [`GroupMember::acknowledge`].
    ///
    /// # Errors
    /// As there.
    pub(super) fn acknowledge(&mut self, answer: Acknowledge<'_>) -> Result<(), BrokerError> {
        if let Acknowledge::Stop(partitions) = &answer {
            self.disown(partitions);
        }
        self.member.acknowledge(answer)
    }

    /// As [`GroupMember::metadata`].
    pub(super) fn metadata(&self) -> Option<GroupMetadata> {
        self.member.metadata()
    }

    /// As [`GroupMember::commit`].
    ///
    /// # Errors
    /// As there.
    pub(super) fn commit(
        &mut self,
        offsets: &[(TopicPartition, Offset)],
    ) -> Result<(), BrokerError> {
        self.member.commit(offsets)
    }

    /// As [`GroupMember::at_end`].
    pub(super) fn at_end(&self, partition: &TopicPartition) -> bool {
        self.member.at_end(partition)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::broker::memory::MemoryBroker;
    use crate::broker::{Isolation, TopicSpec};
    use crate::time::ManualClock;

    struct Stage {
        broker: MemoryBroker,
        clock: ManualClock,
    }

    /// A log with the topic `t` of one partition.
    fn stage() -> Stage {
        let clock = ManualClock::default();
        let broker = MemoryBroker::new(Arc::new(clock.clone()));
        let spec = TopicSpec {
            name: "t".to_owned(),
            partitions: 1,
            replication: -1,
            config: BTreeMap::new(),
        };
        broker.create_topics(&[spec]).unwrap();
        Stage { broker, clock }
    }

    fn options() -> MemberOptions {
        MemberOptions {
            group: "g".to_owned(),
            topics: vec!["t".to_owned()],
            instance_id: Some("one".to_owned()),
            session_timeout: Duration::from_secs(10),
            max_poll_interval: Duration::from_secs(1_000),
            isolation: Isolation::ReadCommitted,
        }
    }

    impl Stage {
        fn join(&self) -> Membership {
            let (broker, clock) = (self.broker.clone(), self.clock.clone());
            Membership::join(Arc::new(broker), Arc::new(clock), options()).unwrap()
        }

        /// Someone joins with the same instance id, and goes away.
        fn take_identity(&self) {
            drop(self.broker.member(&options()).unwrap());
        }
    }

    fn poll(member: &mut Membership) -> Result<Option<GroupEvent>, BrokerError> {
        member.poll(Duration::ZERO, 10, &mut |_| ())
    }

    fn partitions() -> Vec<TopicPartition> {
        vec![TopicPartition::new("t", 0)]
    }

    #[track_caller]
    fn check(member: &mut Membership, expected: Option<&GroupEvent>) {
        assert_eq!(poll(member).unwrap().as_ref(), expected);
    }

    #[track_caller]
    fn check_rejoins(member: &mut Membership) {
        check(member, Some(&GroupEvent::Lost(partitions())));
        check(member, Some(&GroupEvent::Assigned(partitions())));
        member
            .acknowledge(Acknowledge::Start(&[(partitions().remove(0), 0)]))
            .unwrap();
    }

    #[test]
    fn a_member_that_has_lost_its_instance_id_to_itself_joins_anew_as_often_as_it_takes() {
        let stage = stage();
        stage.broker.make_one_process();
        let mut member = stage.join();
        check(&mut member, Some(&GroupEvent::Assigned(partitions())));
        for _ in 0..2 * MOST_LOSSES {
            stage.take_identity();
            check_rejoins(&mut member);
        }
    }

    #[test]
    fn a_member_that_has_lost_its_instance_id_loses_its_partitions_and_joins_anew() {
        let stage = stage();
        let mut member = stage.join();
        check(&mut member, Some(&GroupEvent::Assigned(partitions())));
        for _ in 0..2 {
            stage.take_identity();
            check_rejoins(&mut member);
        }
        // What was long ago does not count.
        stage.clock.advance_millis(MEMORY_MS);
        for _ in 0..2 {
            stage.take_identity();
            check_rejoins(&mut member);
        }
        stage.take_identity();
        let error = poll(&mut member).unwrap_err();
        assert!(matches!(error, BrokerError::Fatal { .. }), "{error:?}");
        expect_test::expect![
            "poll (group g): another process has joined as one (another member has joined with the \
             same instance id): was a state directory copied? Each process needs its own"
        ]
        .assert_eq(&error.to_string());
    }

    #[test]
    fn a_member_that_is_replaced_before_it_owns_anything_just_joins_anew() {
        let stage = stage();
        let mut member = stage.join();
        stage.take_identity();
        check(&mut member, None);
        check(&mut member, Some(&GroupEvent::Assigned(partitions())));
    }

    #[test]
    fn what_was_given_back_is_not_lost_again() {
        let stage = stage();
        let mut member = stage.join();
        check(&mut member, Some(&GroupEvent::Assigned(partitions())));
        member
            .acknowledge(Acknowledge::Stop(&partitions()))
            .unwrap();
        stage.take_identity();
        check(&mut member, None);
    }

    #[test]
    fn of_two_processes_with_one_identity_one_stops_and_the_other_goes_on() {
        let stage = stage();
        let (mut first, mut second) = (stage.join(), stage.join());
        let error = loop {
            if let Err(error) = poll(&mut first) {
                break error;
            }
            poll(&mut second).unwrap();
        };
        assert!(matches!(error, BrokerError::Fatal { .. }), "{error:?}");
        drop(first);
        for _ in 0..3 {
            poll(&mut second).unwrap();
        }
        assert_eq!(second.owned, partitions().into_iter().collect());
    }
}
