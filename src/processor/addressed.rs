//! Records that are not for everyone: a dead letter that is replayed is for the node that could not handle
//! it, since the others have seen it.

use crate::dead_letters::{REPLAY_GROUP, REPLAY_NODE};
use crate::headers::PackedHeaders;
use crate::topology::plan::SubTopology;

/// Whom a record is for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Addressed {
    ToAll,
    /// Of each operator whether it is for that one.
    ToSome(Vec<bool>),
    /// For none here.
    Elsewhere,
}

/// Whom a record with these headers is for.
pub(super) fn of(plan: &SubTopology, headers: PackedHeaders<'_>) -> Addressed {
    let Some(node) = headers.last(REPLAY_NODE) else {
        return Addressed::ToAll;
    };
    if headers.last(REPLAY_GROUP) != Some(plan.group.as_bytes()) {
        return Addressed::Elsewhere;
    }
    let node = String::from_utf8_lossy(node);
    match plan.around(&node) {
        Some(operators) => Addressed::ToSome(operators),
        None => {
            tracing::warn!(%node, group = plan.group, "a replayed record is for a node that is not here");
            Addressed::Elsewhere
        }
    }
}
