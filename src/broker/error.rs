//! What can go wrong with a log, by the reaction that it demands.

use super::{Offset, Outgoing, RecordMark, TopicPartition};

/// What went wrong with the log, by the reaction that it demands.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// Passing trouble: try the same again.
    #[error("{action}: {reason}")]
    Retry {
        /// What was tried.
        action: String,
        /// What the client library said.
        reason: String,
    },
    /// The transaction cannot be committed any more: abort it, go back to the last commit.
    #[error("{action}: {reason} (transaction aborted)")]
    Abort {
        /// What was tried.
        action: String,
        /// What the client library said.
        reason: String,
    },
    /// Someone else has taken over (newer producer, or evicted from the group): drop everything,
    /// make a new producer, rejoin.
    #[error(
        "{action}: {reason} (fenced: another process has taken over, or the transaction was open for longer than the setting transaction_timeout)"
    )]
    Fenced {
        /// What was tried.
        action: String,
        /// What the client library said.
        reason: String,
    },
    /// Another member has joined with this one's instance id: this one is of no further use.
    #[error("{action}: {reason} (replaced by another member of the same instance id)")]
    Replaced {
        /// What was tried.
        action: String,
        /// What the client library said.
        reason: String,
    },
    /// The asked offset is no longer, or not yet, in the log.
    #[error("offset {offset} of {partition} is out of range")]
    OutOfRange {
        /// Where.
        partition: TopicPartition,
        /// Which offset was asked for.
        offset: Offset,
    },
    /// A single record is larger than the topic allows.
    #[error("record of {bytes} bytes is too large for topic {topic}")]
    TooLarge {
        /// The topic.
        topic: String,
        /// Key and value together.
        bytes: usize,
    },
    /// A topic takes no such records: their times are too far from its clock, or they lack the key
    /// that it needs.
    #[error("topic {topic} refuses {}: {reason}", count(records.len()))]
    Refused {
        /// The topic.
        topic: String,
        /// Which ones; at least one.
        records: Vec<RecordMark>,
        /// What the client library said of the first one.
        reason: String,
    },
    /// Needs a human: wrong address, no rights, missing topic.
    #[error("{action}: {reason}")]
    Fatal {
        /// What was tried.
        action: String,
        /// What is wrong and, where known, what to do.
        reason: String,
    },
}

impl BrokerError {
    /// Whether the topic of a record has refused just that one.
    pub fn is_about(&self, record: &Outgoing<'_>) -> bool {
        match self {
            BrokerError::TooLarge { topic, bytes } => {
                topic == record.topic && *bytes == record.bytes()
            }
            BrokerError::Refused { topic, records, .. } => {
                topic == record.topic && *records == [RecordMark::of(record)]
            }
            _ => false,
        }
    }

    /// A [`BrokerError::Retry`].
    pub fn retry(action: impl Into<String>, reason: impl Into<String>) -> BrokerError {
        BrokerError::Retry {
            action: action.into(),
            reason: reason.into(),
        }
    }

    /// A [`BrokerError::Abort`].
    pub fn abort(action: impl Into<String>, reason: impl Into<String>) -> BrokerError {
        BrokerError::Abort {
            action: action.into(),
            reason: reason.into(),
        }
    }

    /// A [`BrokerError::Fenced`].
    pub fn fenced(action: impl Into<String>, reason: impl Into<String>) -> BrokerError {
        BrokerError::Fenced {
            action: action.into(),
            reason: reason.into(),
        }
    }

    /// A [`BrokerError::Replaced`].
    pub fn replaced(action: impl Into<String>, reason: impl Into<String>) -> BrokerError {
        BrokerError::Replaced {
            action: action.into(),
            reason: reason.into(),
        }
    }

    /// A [`BrokerError::Fatal`].
    pub fn fatal(action: impl Into<String>, reason: impl Into<String>) -> BrokerError {
        BrokerError::Fatal {
            action: action.into(),
            reason: reason.into(),
        }
    }
}

fn count(records: usize) -> String {
    match records {
        1 => "a record".to_owned(),
        records => format!("{records} records"),
    }
}
