//! A store as those read and write it whose entries lie along time.

use std::ops::ControlFlow;

use super::ProcessError;
use super::aggregate::Deleting;
use super::table::{Folded, FoldedError, Kept};
use crate::state::{StateBatch, StoreId, TaskState, keys};
use crate::time::Timestamp;
use crate::topology::graph::Function;

/// What is kept under a key.
pub(super) trait Stored: Kept + Clone {
    /// Appends its bytes.
    fn encode(&self, out: &mut Vec<u8>);

    /// Reads what `encode` wrote; of an aggregate, with its functions.
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

/// A store to be read.
pub(super) struct Store<'c> {
    pub(super) state: &'c dyn TaskState,
    pub(super) id: StoreId,
    pub(super) node: &'c str,
    pub(super) functions: &'c [Function],
    /// When results are deleted; none while nothing is folded in.
    pub(super) deleting: Option<&'c Deleting<'c>>,
}

impl<'s> Store<'s> {
    /// One in which no results are.
    pub(super) fn of_rows(state: &'s dyn TaskState, id: StoreId, node: &'s str) -> Store<'s> {
        Store {
            state,
            id,
            node,
            functions: &[],
            deleting: None,
        }
    }
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
        self.walk(from, to, |key, value| {
            visit(key, value)?;
            Ok(ControlFlow::Continue(()))
        })
    }

    /// The same, until the visitor has seen enough.
    pub(super) fn walk(
        &self,
        from: &[u8],
        to: &[u8],
        mut visit: impl FnMut(&[u8], &[u8]) -> Result<ControlFlow<()>, FoldedError>,
    ) -> Result<(), ProcessError> {
        let mut failure = None;
        self.state.scan(
            self.id,
            from,
            to,
            &mut |key, value| match visit(key, value) {
                Ok(flow) => flow,
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

    pub(super) fn foreign(&self, source: FoldedError) -> ProcessError {
        ProcessError::Foreign {
            node: self.node.to_owned(),
            source,
        }
    }
}

/// A store to be written at a commit.
pub(super) struct StoreWriter<'w> {
    pub(super) store: StoreId,
    pub(super) batch: &'w mut StateBatch,
    pub(super) buffer: &'w mut Vec<u8>,
}

impl StoreWriter<'_> {
    /// Writes an entry.
    pub(super) fn put(&mut self, key: &[u8], encode: impl FnOnce(&mut Vec<u8>)) {
        self.buffer.clear();
        encode(self.buffer);
        self.batch.put(self.store, key, self.buffer);
    }

    /// Deletes an entry.
    pub(super) fn delete(&mut self, key: &[u8]) {
        self.batch.delete(self.store, key);
    }
}
