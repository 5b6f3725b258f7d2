//! Calls of the log that fail, each in the ways in which it can.

use rand::RngExt as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;

use crate::broker::BrokerError;
use crate::broker::memory::{MemoryBroker, Operation};

/// How a call fails.
#[derive(Clone, Copy)]
enum Kind {
    Retry,
    Abort,
    Fenced,
}

use Kind::{Abort, Fenced, Retry};

/// Nothing has happened, and the caller is told so.
const FAILURES: &[(Operation, Kind)] = &[
    (Operation::Commit, Retry),
    (Operation::Commit, Abort),
    (Operation::Commit, Fenced),
    (Operation::SendOffsets, Abort),
    (Operation::SendOffsets, Fenced),
    (Operation::Begin, Fenced),
    (Operation::Abort, Fenced),
    (Operation::NewProducer, Retry),
    (Operation::NewReader, Retry),
    (Operation::NewMember, Retry),
    (Operation::Committed, Retry),
    (Operation::EndOffsets, Retry),
    (Operation::StartOffsets, Retry),
    (Operation::PartitionCounts, Retry),
    (Operation::ReaderAssign, Retry),
    (Operation::ReaderPoll, Retry),
    (Operation::MemberPoll, Retry),
    (Operation::Acknowledge, Fenced),
    (Operation::MemberCommit, Retry),
    (Operation::MemberCommit, Fenced),
];

/// It has happened, and the caller is told otherwise.
const LOST_ANSWERS: &[(Operation, Kind)] = &[
    (Operation::Commit, Retry),
    (Operation::Commit, Fenced),
    (Operation::SendOffsets, Abort),
    (Operation::MemberCommit, Retry),
    (Operation::Abort, Fenced),
];

/// Lets a call of chance fail, the next time that anyone makes it.
pub(super) fn fail_something(broker: &MemoryBroker, rng: &mut StdRng) {
    let error = |kind: Kind| {
        let (action, reason) = ("simulated", "the seed wants it");
        match kind {
            Retry => BrokerError::retry(action, reason),
            Abort => BrokerError::abort(action, reason),
            Fenced => BrokerError::fenced(action, reason),
        }
    };
    let choose =
        |rng: &mut StdRng, from: &[(Operation, Kind)]| *from.choose(rng).expect("there are some");
    if rng.random_bool(0.3) {
        let (operation, kind) = choose(rng, LOST_ANSWERS);
        broker.lose_answer(operation, error(kind));
    } else {
        let (operation, kind) = choose(rng, FAILURES);
        broker.fail_next(operation, error(kind));
    }
}
