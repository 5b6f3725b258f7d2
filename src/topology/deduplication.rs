//! Deduplication: of records with equal keys and times close to each other, the first that comes
//! passes.

use super::duration::Millis;
use super::graph::{NodeName, OnError, OnLate};
use crate::expr::Expression;

/// Lets pass a record unless one with the same key has passed whose event time is close to its own.
#[derive(Clone, Debug)]
pub struct Deduplicate {
    /// The input.
    pub from: NodeName,
    /// What tells records from one another; empty: the record's key.
    pub by: Vec<Expression>,
    /// At most this far from the event time of a record that has passed, before or after, another is
    /// its duplicate. In milliseconds, above 0.
    pub within_ms: i64,
    /// So far behind stream time a record is still judged, in milliseconds; none: as far as `within`.
    pub grace_ms: Option<i64>,
    /// What happens to duplicates.
    pub on_duplicate: OnDuplicate,
    /// What happens to a record that is too old to be judged.
    pub on_late: OnLate,
    /// When an expression fails, or a part of the key is missing.
    pub on_error: OnError,
}

/// What happens to duplicates. They are always counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnDuplicate {
    /// Nothing more.
    #[default]
    Drop,
    /// To the dead-letter topic.
    DeadLetter,
}

impl Deduplicate {
    /// Whether records that it takes for equal have equal keys.
    pub(super) fn is_by_key(&self) -> bool {
        self.by.is_empty() || self.by.iter().any(Expression::is_record_key)
    }

    /// Of records with equal keys, each at most so far from one that has passed is its duplicate.
    pub fn within(within: impl Into<Millis>) -> Deduplicate {
        Deduplicate {
            from: NodeName::new(""),
            by: Vec::new(),
            within_ms: within.into().0,
            grace_ms: None,
            on_duplicate: OnDuplicate::default(),
            on_late: OnLate::default(),
            on_error: OnError::default(),
        }
    }

    /// What tells records from one another: fields, or other expressions. Their keys unless set.
    #[must_use]
    pub fn by<'a>(mut self, by: impl IntoIterator<Item = &'a str>) -> Deduplicate {
        self.by = by.into_iter().map(Expression::parse).collect();
        self
    }

    /// How far behind stream time a record is still judged; as far as `within` unless set.
    #[must_use]
    pub fn grace(mut self, grace: impl Into<Millis>) -> Deduplicate {
        self.grace_ms = Some(grace.into().0);
        self
    }

    /// What happens to duplicates.
    #[must_use]
    pub fn on_duplicate(mut self, reaction: OnDuplicate) -> Deduplicate {
        self.on_duplicate = reaction;
        self
    }

    /// What happens to records that are too old to be judged.
    #[must_use]
    pub fn on_late(mut self, reaction: OnLate) -> Deduplicate {
        self.on_late = reaction;
        self
    }

    /// What happens to a record for which an expression fails, or a part of the key is missing.
    #[must_use]
    pub fn on_error(mut self, reaction: OnError) -> Deduplicate {
        self.on_error = reaction;
        self
    }

    /// How far behind stream time a record is still judged, in milliseconds.
    pub fn grace_ms(&self) -> i64 {
        self.grace_ms.unwrap_or(self.within_ms)
    }
}
