//! Why a task cannot go on.

use super::{DeadLetter, DropReason, FoldedError, OutputError};
use crate::format::RegistryError;
use crate::state::StateError;

/// The task cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// The node is told to stop on such a record.
    #[error("node {node} stops at {topic}-{partition} offset {offset}: {reason}: {message}")]
    Stop {
        /// The node.
        node: String,
        /// The record's topic.
        topic: String,
        /// Its partition.
        partition: i32,
        /// Its offset.
        offset: i64,
        /// What kind of trouble.
        reason: DropReason,
        /// What exactly.
        message: String,
    },
    /// The store.
    #[error(transparent)]
    State(#[from] StateError),
    /// The way out.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// A store or a repartition topic holds what this topology did not write.
    #[error("node {node}: {source}")]
    Foreign {
        /// The node.
        node: String,
        /// What is wrong.
        source: FoldedError,
    },
    /// The schema of a record cannot be had.
    #[error("node {node}: {source}")]
    Registry {
        /// The node.
        node: String,
        /// Why.
        source: RegistryError,
    },
    /// A suppress that may not let results go early holds back more than it may.
    #[error(
        "node {node}: {rows} results of {bytes} bytes are held back, more than `max_rows` or \
         `max_bytes` allows: raise the bound, or hold results back for a shorter time"
    )]
    Full {
        /// The node.
        node: String,
        /// How many results are held back.
        rows: u64,
        /// Their size.
        bytes: u64,
    },
    /// A user's processor failed where there is no record to be dropped.
    #[error("node {node}: its processor failed {at}: {message}")]
    Processor {
        /// The node.
        node: String,
        /// When.
        at: &'static str,
        /// What it says.
        message: String,
    },
    /// A store or a repartition topic holds a damaged key or marker.
    #[error("node {node}: {what} is damaged")]
    Damaged {
        /// The node.
        node: String,
        /// What.
        what: &'static str,
    },
}

impl ProcessError {
    /// A node is told to stop on such a record.
    pub(crate) fn stop(letter: &DeadLetter<'_>) -> ProcessError {
        ProcessError::Stop {
            node: letter.node.to_owned(),
            topic: letter.record.topic.to_owned(),
            partition: letter.record.partition,
            offset: letter.record.offset,
            reason: letter.reason,
            message: letter.message.to_owned(),
        }
    }
}

/// A task has to wait: the schema of a record cannot be had at the moment.
#[derive(Debug)]
pub struct Wait {
    /// So many records of the batch have been processed; nothing of the next one has been.
    pub processed: usize,
    /// The node that needs the schema.
    pub node: String,
    /// Why it cannot be had.
    pub source: RegistryError,
}

impl Wait {
    /// It is waited for a registry that is away; what one refuses needs a human.
    pub(crate) fn or_stop(self) -> Result<Option<Wait>, ProcessError> {
        match self.source.is_away() {
            true => Ok(Some(self)),
            false => Err(self.into()),
        }
    }
}

impl From<Wait> for ProcessError {
    fn from(wait: Wait) -> ProcessError {
        ProcessError::Registry {
            node: wait.node,
            source: wait.source,
        }
    }
}
