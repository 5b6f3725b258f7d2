//! The in-memory producer.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Shared;
use super::fault::{Effect, Operation};
use super::log::Outcome;
use super::member::Membership;
use super::state::{Holder, State};
use crate::broker::{
    BrokerError, DEFAULT_TRANSACTION_TIMEOUT, GroupMetadata, Offset, Outgoing, Partition, Producer,
    ProducerOptions, TopicPartition,
};
use crate::time::Timestamp;

/// Where a producer is between its calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// It has no transactional id.
    Plain,
    Idle,
    Open,
    MustAbort,
}

pub(super) struct MemoryProducer {
    shared: Arc<Shared>,
    holder: Option<Holder>,
    phase: Phase,
    acknowledged: BTreeMap<Arc<str>, BTreeMap<Partition, Offset>>,
    suspect: bool,
    /// The last call took place, but its caller was told to retry.
    unanswered: Option<Operation>,
}

impl MemoryProducer {
    pub(super) fn new(
        shared: Arc<Shared>,
        options: &ProducerOptions,
    ) -> Result<MemoryProducer, BrokerError> {
        let holder = shared.call(Operation::NewProducer, |state, _| {
            let timeout = options
                .transaction_timeout
                .unwrap_or(DEFAULT_TRANSACTION_TIMEOUT);
            Ok(options
                .transactional_id
                .as_deref()
                .map(|id| state.take_over(id, timeout)))
        })?;
        Ok(MemoryProducer {
            shared,
            phase: if holder.is_some() {
                Phase::Idle
            } else {
                Phase::Plain
            },
            holder,
            acknowledged: BTreeMap::new(),
            suspect: false,
            unanswered: None,
        })
    }

    /// Runs a call, with the faults that are scripted for it.
    fn run(
        &mut self,
        operation: Operation,
        call: impl FnOnce(&mut MemoryProducer, &mut State, Timestamp) -> Result<(), BrokerError>,
    ) -> Result<(), BrokerError> {
        let shared = self.shared.clone();
        let (mut state, now) = shared.lock();
        if self.unanswered.take() == Some(operation) {
            return Ok(());
        }
        let result = match state.faults.take(operation, Effect::None) {
            Err(error) => Err(self.suffer(&mut state, error)),
            Ok(()) => call(self, &mut state, now).and_then(|()| {
                state.faults.take(operation, Effect::Done).map_err(|error| {
                    self.unanswered = Some(operation);
                    self.suffer(&mut state, error)
                })
            }),
        };
        if let Err(BrokerError::Abort { .. }) = result {
            self.phase = Phase::MustAbort;
        }
        // A call out of turn is the caller's mistake and says nothing about the log.
        let failed = !matches!(result, Ok(()) | Err(BrokerError::Fatal { .. }));
        self.suspect |= failed && operation != Operation::Send;
        shared.changed.notify_all();
        result
    }

    /// Makes a scripted error true: who is told that it is fenced, is.
    fn suffer(&mut self, state: &mut State, error: BrokerError) -> BrokerError {
        self.suspect = true;
        if let (BrokerError::Fenced { .. }, Some(holder)) = (&error, &self.holder)
            && state.check_holder("", holder).is_ok()
        {
            state.fence(&holder.transactional_id);
        }
        error
    }

    /// The holder, if it may do `action` in a transaction.
    fn holder_in(
        &self,
        state: &State,
        action: &str,
        phases: &[Phase],
    ) -> Result<Holder, BrokerError> {
        let refuse = |reason| Err(BrokerError::fatal(action, reason));
        let Some(holder) = &self.holder else {
            return refuse("the producer has no transactional id");
        };
        state.check_holder(action, holder)?;
        match self.phase {
            phase if phases.contains(&phase) => Ok(holder.clone()),
            Phase::MustAbort => Err(BrokerError::abort(
                action,
                "an earlier call of this transaction has failed",
            )),
            Phase::Open => refuse("a transaction is open already"),
            Phase::Idle | Phase::Plain => refuse("no transaction is open"),
        }
    }
}

impl Producer for MemoryProducer {
    fn send(&mut self, record: Outgoing<'_>) -> Result<(), BrokerError> {
        self.run(Operation::Send, |this, state, now| {
            let holder = match this.phase {
                Phase::Plain => None,
                _ => {
                    let action = format!("write to topic {}", record.topic);
                    Some(this.holder_in(state, &action, &[Phase::Open])?)
                }
            };
            let (partition, offset) = state.append(&record, holder.as_ref(), now)?;
            let of_topic = this.acknowledged.entry(partition.topic).or_default();
            of_topic.insert(partition.partition, offset + 1);
            Ok(())
        })
    }

    fn begin(&mut self) -> Result<(), BrokerError> {
        self.run(Operation::Begin, |this, state, _| {
            let action = "begin a transaction";
            this.holder_in(state, action, &[Phase::Idle])?;
            if this.suspect {
                return Err(BrokerError::fenced(
                    action,
                    "the producer is suspect; make a new one",
                ));
            }
            this.phase = Phase::Open;
            Ok(())
        })
    }

    fn send_offsets(
        &mut self,
        offsets: &[(TopicPartition, Offset)],
        member: &GroupMetadata,
    ) -> Result<(), BrokerError> {
        self.run(Operation::SendOffsets, |this, state, now| {
            let action = "add offsets to the transaction";
            let holder = this.holder_in(state, action, &[Phase::Open])?;
            let membership: &Membership = member.0.downcast_ref().ok_or_else(|| {
                BrokerError::fatal(action, "the membership is one of another log")
            })?;
            membership.check(state, action)?;
            state.add_offsets(&membership.group, offsets, &holder, now);
            Ok(())
        })
    }

    fn commit(&mut self) -> Result<(), BrokerError> {
        self.run(Operation::Commit, |this, state, _| {
            let holder = this.holder_in(state, "commit the transaction", &[Phase::Open])?;
            state.close(&holder.transactional_id, Outcome::Committed);
            this.phase = Phase::Idle;
            Ok(())
        })
    }

    fn abort(&mut self) -> Result<(), BrokerError> {
        self.run(Operation::Abort, |this, state, _| {
            let phases = [Phase::Open, Phase::MustAbort];
            let holder = this.holder_in(state, "abort the transaction", &phases)?;
            state.close(&holder.transactional_id, Outcome::Aborted);
            this.phase = Phase::Idle;
            Ok(())
        })
    }

    fn flush(&mut self) -> Result<(), BrokerError> {
        self.run(Operation::Flush, |_, _, _| Ok(()))
    }

    fn acknowledged(&self, topic: &str, partition: Partition) -> Option<Offset> {
        self.acknowledged.get(topic)?.get(&partition).copied()
    }

    fn is_suspect(&self) -> bool {
        self.suspect
    }
}
