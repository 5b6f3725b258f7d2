//! Why a record does not come through. The words are for users: they stand in metrics, in dead letters
//! and in the tests of topology files.

use std::fmt;

/// Why a record was dropped. Every drop is counted under one of these, by node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DropReason {
    /// The value is not what the source's format says.
    Unreadable,
    /// The value is empty or a tombstone, where an event is expected.
    NoValue,
    /// The event time is missing or not a time.
    NoTimestamp,
    /// The event time is further ahead of the wall clock than the source allows.
    Ahead,
    /// An expression failed.
    Expression,
    /// A field of an aggregate's key is missing.
    NullKey,
    /// The record's key is not the field by which its topic is said to be keyed.
    KeyMismatch,
    /// The window is closed.
    Late,
    /// A record with the same key and a time close to its own has passed before.
    Duplicate,
    /// A processor cannot handle the record.
    Processor,
    /// What was to be written is larger than the topic takes.
    TooLarge,
    /// The database refused the row.
    Refused,
    /// The topic of a Kafka sink takes no such record: its time is too far from the broker's clock,
    /// or it lacks the key that a compacted topic needs.
    RefusedByTopic,
    /// What was to be written does not fit the schema of a Kafka sink.
    Unwritable,
}

impl DropReason {
    /// All of them.
    pub const ALL: [DropReason; 14] = [
        DropReason::Unreadable,
        DropReason::NoValue,
        DropReason::NoTimestamp,
        DropReason::Ahead,
        DropReason::Expression,
        DropReason::NullKey,
        DropReason::KeyMismatch,
        DropReason::Late,
        DropReason::Duplicate,
        DropReason::Processor,
        DropReason::TooLarge,
        DropReason::Refused,
        DropReason::RefusedByTopic,
        DropReason::Unwritable,
    ];

    /// The name in metrics, logs and dead letters.
    pub const fn name(self) -> &'static str {
        match self {
            DropReason::Unreadable => "unreadable",
            DropReason::NoValue => "no_value",
            DropReason::NoTimestamp => "no_timestamp",
            DropReason::Ahead => "ahead",
            DropReason::Expression => "expression",
            DropReason::NullKey => "null_key",
            DropReason::KeyMismatch => "key_mismatch",
            DropReason::Late => "late",
            DropReason::Duplicate => "duplicate",
            DropReason::Processor => "processor",
            DropReason::TooLarge => "too_large",
            DropReason::Refused => "refused",
            DropReason::RefusedByTopic => "refused_by_topic",
            DropReason::Unwritable => "unwritable",
        }
    }
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_numbered_as_they_are_listed() {
        for (at, reason) in DropReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, at, "{reason}");
        }
    }
}
