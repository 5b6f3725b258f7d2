//! The store of an aggregate, as its windows read it.

use std::ops::ControlFlow;

use super::deletion::Deleting;
use crate::processor::ProcessError;
use crate::processor::table::{Folded, FoldedError, Kept};
use crate::state::{StoreId, TaskState, keys};
use crate::time::Timestamp;
use crate::topology::graph::Function;

/// What an aggregate keeps under a key.
pub(super) trait Stored: Kept + Clone {
    /// Appends its bytes.
    fn encode(&self, out: &mut Vec<u8>);

    /// Reads what `encode` wrote.
    fn decode(bytes: &[u8], functions: &[Function]) -> Result<Self, FoldedError>;

    /// Whether nothing is kept any more: it has no bytes, and there is none in the store.
    fn is_deleted(&self) -> bool {
        false
    }
}

impl Stored for Folded {
    fn encode(&self, out: &mut Vec<u8>) {
        Folded::encode(self, out);
    }

    fn decode(bytes: &[u8], functions: &[Function]) -> Result<Folded, FoldedError> {
        Folded::decode(bytes, functions)
    }
}

/// The store of an aggregate.
pub(super) struct Store<'c> {
    pub(super) state: &'c dyn TaskState,
    pub(super) id: StoreId,
    pub(super) node: &'c str,
    pub(super) functions: &'c [Function],
    /// When results are deleted; none while nothing is folded in.
    pub(super) deleting: Option<&'c Deleting<'c>>,
}

impl Store<'_> {
    /// Whether a result has to be deleted, now that a record has been folded in.
    pub(super) fn deletes(&self, folded: &Folded) -> bool {
        self.deleting
            .is_some_and(|deleting| deleting.is_due(folded))
    }

    /// Before the first record.
    pub(super) fn empty(&self) -> Folded {
        Folded::new(self.functions)
    }

    /// What is stored under a key.
    pub(super) fn get<V: Stored>(
        &self,
        key: &[u8],
        buffer: &mut Vec<u8>,
    ) -> Result<Option<V>, ProcessError> {
        if !self.state.get(self.id, key, buffer)? {
            return Ok(None);
        }
        V::decode(buffer, self.functions)
            .map(Some)
            .map_err(|source| self.foreign(source))
    }

    /// Visits what is stored from one key to another, the second excluded.
    pub(super) fn scan(
        &self,
        from: &[u8],
        to: &[u8],
        mut visit: impl FnMut(&[u8], &[u8]) -> Result<(), FoldedError>,
    ) -> Result<(), ProcessError> {
        let mut failure = None;
        self.state.scan(
            self.id,
            from,
            to,
            &mut |key, value| match visit(key, value) {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => {
                    failure = Some(error);
                    ControlFlow::Break(())
                }
            },
        )?;
        match failure {
            None => Ok(()),
            Some(source) => Err(self.foreign(source)),
        }
    }

    /// The time in front of the last key; the beginning of time when there is none.
    pub(super) fn newest(&self, buffer: &mut Vec<u8>) -> Result<Timestamp, ProcessError> {
        self.state.last_key(self.id, buffer)?;
        Ok(keys::split_window(buffer).map_or(Timestamp::MIN, |(at, _)| at))
    }

    fn foreign(&self, source: FoldedError) -> ProcessError {
        ProcessError::Foreign {
            node: self.node.to_owned(),
            source,
        }
    }
}
