//! What goes wrong in threads and sinks, and what is to be done about it.

use super::restore::RestoreError;
use super::start::BeyondEnd;
use super::topics::TopicError;
use crate::broker::BrokerError;
use crate::format::RegistryError;
use crate::processor::{OutputError, ProcessError};
use crate::sql::SqlError;
use crate::state::StateError;

/// A thread cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum ThreadError {
    /// The log.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// A task.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// A task's state could not be restored.
    #[error(transparent)]
    Restore(#[from] RestoreError),
    /// A store.
    #[error(transparent)]
    State(#[from] StateError),
    /// A topic is gone.
    #[error(transparent)]
    Topic(#[from] TopicError),
    /// A topic has more partitions than at the start.
    #[error(
        "topic {topic} has been given more partitions while it was read: partition {partition} is \
         new, there were {known}. State, and topics that are read together, are split by partition, so this \
         needs a new application name, or a topic with the old count"
    )]
    MorePartitions {
        /// The topic.
        topic: String,
        /// A partition that was not there.
        partition: i32,
        /// How many there were.
        known: u32,
    },
}

impl ThreadError {
    /// Whether it may come of a topic that was deleted.
    pub(super) fn may_miss_a_topic(&self) -> bool {
        match self {
            ThreadError::Broker(error)
            | ThreadError::Restore(RestoreError::Broker(error))
            | ThreadError::Process(ProcessError::Output(OutputError::Broker(error))) => {
                may_miss_a_topic(error)
            }
            _ => false,
        }
    }

    /// The state that was found to be damaged while it was used, by its path.
    pub(super) fn damage(&self) -> Option<&str> {
        match self {
            ThreadError::State(StateError::Corrupted { path, .. })
            | ThreadError::Process(ProcessError::State(StateError::Corrupted { path, .. })) => {
                Some(path)
            }
            _ => None,
        }
    }
}

/// A log that does not know a topic says so, or lets what is written wait until its time is over.
fn may_miss_a_topic(error: &BrokerError) -> bool {
    matches!(
        error,
        BrokerError::Fatal { .. } | BrokerError::Abort { .. } | BrokerError::Retry { .. }
    )
}

/// What is to be done about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reaction {
    /// Throw producer and tasks away and begin anew from what is committed.
    Reset,
    /// A human is needed.
    Stop,
}

/// What an error demands.
pub(crate) fn reaction(error: &ThreadError) -> Reaction {
    let broker = |error: &BrokerError| match error {
        // Sinks set refused records aside; what is left is an entry of a changelog or a partial
        // result, without which the state would be wrong, or a dead letter.
        BrokerError::Fatal { .. } | BrokerError::TooLarge { .. } | BrokerError::Refused { .. } => {
            Reaction::Stop
        }
        BrokerError::Retry { .. }
        | BrokerError::Abort { .. }
        | BrokerError::Fenced { .. }
        | BrokerError::Replaced { .. }
        | BrokerError::OutOfRange { .. } => Reaction::Reset,
    };
    let state = |_: &StateError| Reaction::Reset;
    match error {
        ThreadError::Broker(error)
        | ThreadError::Restore(RestoreError::Broker(error))
        | ThreadError::Process(ProcessError::Output(OutputError::Broker(error))) => broker(error),
        ThreadError::State(error)
        | ThreadError::Restore(RestoreError::State(error))
        | ThreadError::Process(ProcessError::State(error)) => state(error),
        // It is asked again with the same record.
        ThreadError::Process(ProcessError::Registry {
            source: RegistryError::Away { .. },
            ..
        }) => Reaction::Reset,
        ThreadError::Restore(
            RestoreError::PositionsDiffer { .. }
            | RestoreError::OtherContent { .. }
            | RestoreError::OtherVersion { .. }
            | RestoreError::ChangelogReplaced { .. }
            | RestoreError::BeyondEnd { .. },
        )
        | ThreadError::Topic(_)
        | ThreadError::MorePartitions { .. }
        | ThreadError::Process(
            ProcessError::Stop { .. }
            | ProcessError::Foreign { .. }
            | ProcessError::Damaged { .. }
            | ProcessError::Processor { .. }
            | ProcessError::Registry { .. }
            | ProcessError::Full { .. },
        ) => Reaction::Stop,
    }
}

/// A sink cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// The log.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// The database.
    #[error(transparent)]
    Sql(#[from] SqlError),
    /// A topic is gone.
    #[error(transparent)]
    Topic(#[from] TopicError),
    /// A record.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// The ledger is ahead of the log.
    #[error(
        "{0}. If the topic was rightly replaced, delete the sink's rows from tidemill_ledger to \
         read it from the beginning"
    )]
    BeyondEnd(#[from] BeyondEnd),
}

impl SinkError {
    /// Whether it may come of a topic that was deleted.
    pub(super) fn may_miss_a_topic(&self) -> bool {
        match self {
            SinkError::Broker(error)
            | SinkError::Process(ProcessError::Output(OutputError::Broker(error))) => {
                may_miss_a_topic(error)
            }
            _ => false,
        }
    }
}

/// Whether a sink cannot get over an error by itself.
pub(super) fn needs_human(error: &SinkError) -> bool {
    match error {
        SinkError::Sql(SqlError::Unavailable { .. } | SqlError::Fenced { .. }) => false,
        SinkError::Sql(SqlError::Mismatch { .. } | SqlError::Fatal { .. }) => true,
        SinkError::BeyondEnd(_) | SinkError::Topic(_) => true,
        SinkError::Broker(error)
        | SinkError::Process(ProcessError::Output(OutputError::Broker(error))) => {
            // Even cut to its beginning a dead letter is too large for its topic, or refused.
            matches!(
                error,
                BrokerError::Fatal { .. }
                    | BrokerError::TooLarge { .. }
                    | BrokerError::Refused { .. }
            )
        }
        SinkError::Process(ProcessError::Registry {
            source: RegistryError::Away { .. },
            ..
        }) => false,
        SinkError::Process(_) => true,
    }
}
