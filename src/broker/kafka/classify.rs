//! What librdkafka says went wrong, and which reaction it demands. The one place that decides.

use std::ffi::CStr;
use std::fmt;

use rdkafka::bindings as c;
use rdkafka::error::RDKafkaErrorCode;

use crate::broker::BrokerError;

/// librdkafka's and the brokers' error codes.
pub(super) type Code = RDKafkaErrorCode;

/// A failed call, as librdkafka describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub code: Code,
    pub text: String,
    /// The client is of no further use.
    pub fatal: bool,
    /// The same call may succeed later.
    pub retriable: bool,
    /// The transaction cannot be committed any more.
    pub must_abort: bool,
}

/// What the caller is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reaction {
    Retry,
    Abort,
    Fenced,
    Fatal,
}

impl Failure {
    /// A failure that is known by its code alone; none when the code is success. Codes that this
    /// librdkafka does not know become [`Code::Unknown`].
    pub(super) fn from_code(raw: i32, text: Option<String>) -> Option<Failure> {
        if raw == 0 {
            return None;
        }
        let known = c::rd_kafka_resp_err_t::try_from(raw);
        let native = known.unwrap_or(c::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_UNKNOWN);
        let text = text
            .filter(|text| !text.is_empty())
            .unwrap_or_else(|| match known {
                Ok(code) => describe(code),
                Err(_) => format!("error code {raw}"),
            });
        let code = Code::from(native);
        Some(Failure {
            code,
            text,
            fatal: false,
            retriable: false,
            must_abort: false,
        })
    }

    /// The result of a call that gives an error object.
    ///
    /// # Safety
    /// The pointer is null or an error object, which is destroyed here.
    pub(super) unsafe fn take(error: *mut c::rd_kafka_error_t) -> Result<(), Failure> {
        if error.is_null() {
            return Ok(());
        }
        // SAFETY: as required.
        unsafe {
            let result = Failure::read(error);
            c::rd_kafka_error_destroy(error);
            result
        }
    }

    /// As [`Failure::take`], of an object that someone else destroys.
    ///
    /// # Safety
    /// The pointer is null or an error object that lives through this call.
    pub(super) unsafe fn read(error: *const c::rd_kafka_error_t) -> Result<(), Failure> {
        if error.is_null() {
            return Ok(());
        }
        // SAFETY: as required.
        let failure = unsafe {
            let text = CStr::from_ptr(c::rd_kafka_error_string(error)).to_string_lossy();
            Failure::from_code(
                c::rd_kafka_error_code(error) as i32,
                Some(text.into_owned()),
            )
            .map(|failure| Failure {
                fatal: c::rd_kafka_error_is_fatal(error) != 0,
                retriable: c::rd_kafka_error_is_retriable(error) != 0,
                must_abort: c::rd_kafka_error_txn_requires_abort(error) != 0,
                ..failure
            })
        };
        failure.map_or(Ok(()), Err)
    }

    /// The result of a call that gives a code.
    pub(super) fn check(code: c::rd_kafka_resp_err_t) -> Result<(), Failure> {
        Failure::from_code(code as i32, None).map_or(Ok(()), Err)
    }

    /// The error that demands the right reaction.
    pub(super) fn in_doing(self, action: impl Into<String>) -> BrokerError {
        let (action, reason) = (action.into(), self.to_string());
        match self.reaction() {
            Reaction::Retry => BrokerError::Retry { action, reason },
            Reaction::Abort => BrokerError::Abort { action, reason },
            Reaction::Fenced => BrokerError::Fenced { action, reason },
            Reaction::Fatal => BrokerError::Fatal { action, reason },
        }
    }

    /// Whether a topic takes no such record, now or later.
    pub(super) fn is_refusal(&self) -> bool {
        matches!(self.code, Code::InvalidTimestamp | Code::InvalidRecord)
    }

    /// Whether the client asked a broker that does not lead the partition, or not in the client's
    /// epoch, or has never heard of the partition.
    pub(super) fn shows_old_metadata(&self) -> bool {
        matches!(
            self.code,
            Code::FencedLeaderEpoch
                | Code::UnknownLeaderEpoch
                | Code::NotLeaderForPartition
                | Code::UnknownPartition
                | Code::NoEnt
        )
    }

    /// Decides. What is known to be someone else's takeover or a human's business is so whatever
    /// else librdkafka says; of the rest, its own flags are believed, and a client that is out of
    /// use is replaced like a fenced one.
    fn reaction(&self) -> Reaction {
        match of_code(self.code) {
            Some(reaction @ (Reaction::Fenced | Reaction::Fatal)) => reaction,
            _ if self.fatal => Reaction::Fenced,
            _ if self.must_abort => Reaction::Abort,
            _ if self.retriable => Reaction::Retry,
            Some(reaction) => reaction,
            None => Reaction::Fatal,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({:?})", self.text.trim(), self.code)
    }
}

/// The reaction that a code always demands.
fn of_code(code: Code) -> Option<Reaction> {
    match code {
        Code::Fenced
        | Code::ProducerFenced
        | Code::InvalidProducerEpoch
        | Code::InvalidProducerIdMapping
        | Code::UnknownProducerId
        | Code::OutOfOrderSequenceNumber
        | Code::FencedInstanceId
        | Code::FencedMemberEpoch
        | Code::StaleMemberEpoch
        | Code::UnknownMemberId
        | Code::IllegalGeneration
        | Code::AssignmentLost
        | Code::PollExceeded => Some(Reaction::Fenced),

        Code::Authentication
        | Code::SaslAuthenticationFailed
        | Code::UnsupportedSASLMechanism
        | Code::IllegalSASLState
        | Code::SSL
        | Code::TopicAuthorizationFailed
        | Code::GroupAuthorizationFailed
        | Code::ClusterAuthorizationFailed
        | Code::TransactionalIdAuthorizationFailed
        | Code::UnknownTopicOrPartition
        | Code::UnknownTopic
        | Code::InvalidTopic
        | Code::InvalidPartitions
        | Code::InvalidReplicationFactor
        | Code::InvalidConfig
        | Code::InvalidGroupId
        | Code::InvalidSessionTimeout
        | Code::InvalidTransactionTimeout
        | Code::InconsistentGroupProtocol
        | Code::GroupMaxSizeReached
        | Code::PolicyViolation
        | Code::InvalidRecord
        | Code::MessageSizeTooLarge
        | Code::UnsupportedVersion
        | Code::UnsupportedFeature
        | Code::UnsupportedCompressionType
        | Code::BadMessage
        | Code::InvalidArgument
        | Code::NotConfigured => Some(Reaction::Fatal),

        Code::BrokerTransportFailure
        | Code::AllBrokersDown
        | Code::Resolve
        | Code::OperationTimedOut
        | Code::TimedOutQueue
        | Code::MessageTimedOut
        | Code::RequestTimedOut
        | Code::NetworkException
        | Code::BrokerDestroy
        | Code::DestroyBroker
        // What the client does not know the cluster may know; it has a code of its own.
        | Code::UnknownPartition
        // No partition that was asked for has a leader just now.
        | Code::NoEnt
        | Code::LeaderNotAvailable
        | Code::NotLeaderForPartition
        | Code::ReplicaNotAvailable
        | Code::BrokerNotAvailable
        | Code::NotEnoughReplicas
        | Code::NotEnoughReplicasAfterAppend
        | Code::KafkaStorageError
        | Code::CoordinatorLoadInProgress
        | Code::CoordinatorNotAvailable
        | Code::NotCoordinator
        | Code::NotController
        | Code::WaitingForCoordinator
        | Code::ConcurrentTransactions
        | Code::UnstableOffsetCommit
        | Code::OffsetNotAvailable
        | Code::FencedLeaderEpoch
        | Code::UnknownLeaderEpoch
        | Code::RebalanceInProgress
        | Code::ThrottlingQuotaExceeded
        | Code::InProgress
        | Code::PreviousInProgress
        | Code::QueueFull
        | Code::Retry
        | Code::WaitCache => Some(Reaction::Retry),

        _ => None,
    }
}

fn describe(code: c::rd_kafka_resp_err_t) -> String {
    // SAFETY: the text is static.
    unsafe { CStr::from_ptr(c::rd_kafka_err2str(code)) }
        .to_string_lossy()
        .into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(code: Code) -> Failure {
        let text = "said so".to_owned();
        Failure {
            code,
            text,
            fatal: false,
            retriable: false,
            must_abort: false,
        }
    }

    fn fatal(code: Code) -> Failure {
        Failure {
            fatal: true,
            ..failure(code)
        }
    }

    fn retriable(code: Code) -> Failure {
        Failure {
            retriable: true,
            ..failure(code)
        }
    }

    fn must_abort(code: Code) -> Failure {
        Failure {
            must_abort: true,
            ..failure(code)
        }
    }

    #[track_caller]
    fn check(failure: &Failure, expected: Reaction) {
        assert_eq!(failure.reaction(), expected, "{failure:?}");
    }

    #[test]
    fn whoever_was_replaced_is_fenced_whatever_else_is_said() {
        // A producer whose id was taken, or whose transaction timed out.
        check(&fatal(Code::Fenced), Reaction::Fenced);
        check(&fatal(Code::InvalidProducerEpoch), Reaction::Fenced);
        // A member that was evicted: librdkafka only asks for an abort.
        check(&must_abort(Code::IllegalGeneration), Reaction::Fenced);
        check(&must_abort(Code::UnknownMemberId), Reaction::Fenced);
        check(&must_abort(Code::FencedInstanceId), Reaction::Fenced);
        // The broker has forgotten the producer.
        check(
            &must_abort(Code::InvalidProducerIdMapping),
            Reaction::Fenced,
        );
    }

    #[test]
    fn what_needs_a_human_is_fatal_even_where_a_retry_is_offered() {
        check(&failure(Code::Authentication), Reaction::Fatal);
        check(&failure(Code::UnknownTopicOrPartition), Reaction::Fatal);
        check(&must_abort(Code::TopicAuthorizationFailed), Reaction::Fatal);
        check(&retriable(Code::UnknownTopic), Reaction::Fatal);
        check(&failure(Code::InvalidTransactionTimeout), Reaction::Fatal);
    }

    #[test]
    fn passing_trouble_is_retried_unless_the_transaction_is_lost() {
        for code in [
            Code::BrokerTransportFailure,
            Code::OperationTimedOut,
            Code::NotCoordinator,
        ] {
            check(&failure(code), Reaction::Retry);
            check(&must_abort(code), Reaction::Abort);
            check(&fatal(code), Reaction::Fenced);
        }
        check(&failure(Code::UnstableOffsetCommit), Reaction::Retry);
        check(&failure(Code::RebalanceInProgress), Reaction::Retry);
        check(&failure(Code::UnknownPartition), Reaction::Retry);
        check(&failure(Code::NoEnt), Reaction::Retry);
    }

    #[test]
    fn whoever_asks_the_wrong_leader_has_old_metadata() {
        #[track_caller]
        fn check(code: Code, expected: bool) {
            assert_eq!(failure(code).shows_old_metadata(), expected, "{code:?}");
        }
        check(Code::FencedLeaderEpoch, true);
        check(Code::UnknownLeaderEpoch, true);
        check(Code::NotLeaderForPartition, true);
        check(Code::UnknownPartition, true);
        check(Code::NoEnt, true);
        check(Code::OperationTimedOut, false);
        check(Code::UnknownTopicOrPartition, false);
    }

    #[test]
    fn an_unknown_code_follows_the_flags_and_stops_without_them() {
        check(&failure(Code::Unknown), Reaction::Fatal);
        check(&retriable(Code::Unknown), Reaction::Retry);
        check(&must_abort(Code::Unknown), Reaction::Abort);
        check(&fatal(Code::GaplessGuarantee), Reaction::Fenced);
        // A call out of turn, unless the transaction or the client had broken down before.
        check(&failure(Code::State), Reaction::Fatal);
        check(&must_abort(Code::State), Reaction::Abort);
        check(&fatal(Code::State), Reaction::Fenced);
        let unheard_of = Failure::from_code(4711, None).unwrap();
        assert_eq!(unheard_of.to_string(), "error code 4711 (Unknown)");
        assert_eq!(Failure::from_code(0, None), None);
    }

    #[test]
    fn an_error_names_what_was_tried_and_what_librdkafka_said() {
        let error = Failure::from_code(3, None).unwrap().in_doing("read t-0");
        assert_eq!(
            error.to_string(),
            "read t-0: Broker: Unknown topic or partition (UnknownTopicOrPartition)"
        );
    }
}
