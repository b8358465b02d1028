//! What a source does about each error of the client.

use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode as Code;

/// What to do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// A wanted offset may be gone: check the ranges of the partitions.
    OutOfRange,
    /// The topic may be gone or replaced.
    Topic,
    /// One of several brokers is away, or a short timeout: the client goes on by itself.
    Passing,
    /// No records until a person or a broker acts: log it for the operator, and retry.
    Unavailable,
    /// The group has another member with our name, or an old entry of ourselves: a new client may be able to join.
    Fenced,
    /// A retry cannot help.
    Broken,
}

/// The meaning of an error that came in place of a record.
pub(super) fn meaning(error: &KafkaError) -> Meaning {
    match error {
        KafkaError::MessageConsumptionFatal(Code::FencedInstanceId) => Meaning::Fenced,
        KafkaError::MessageConsumptionFatal(_) => Meaning::Broken,
        KafkaError::MessageConsumption(code) | KafkaError::Global(code) => of_code(*code),
        _ => Meaning::Unavailable,
    }
}

fn of_code(code: Code) -> Meaning {
    match code {
        Code::AutoOffsetReset | Code::OffsetOutOfRange | Code::LogTruncation => Meaning::OutOfRange,
        Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition | Code::UnknownTopicId => {
            Meaning::Topic
        }
        Code::BrokerTransportFailure
        | Code::Resolve
        | Code::OperationTimedOut
        | Code::RequestTimedOut
        | Code::MessageTimedOut
        | Code::TimedOutQueue
        | Code::NotLeaderForPartition
        | Code::LeaderNotAvailable
        | Code::ReplicaNotAvailable
        | Code::FencedLeaderEpoch
        | Code::UnknownLeaderEpoch
        | Code::CoordinatorNotAvailable
        | Code::CoordinatorLoadInProgress
        | Code::NotCoordinator
        | Code::RebalanceInProgress
        | Code::UnknownMemberId
        | Code::IllegalGeneration
        | Code::PollExceeded
        | Code::OffsetNotAvailable
        | Code::KafkaStorageError
        | Code::WaitingForCoordinator
        | Code::InProgress
        | Code::Retry => Meaning::Passing,
        // The client lacks a feature that the records need, or the brokers are too old for the request.
        Code::NotImplemented
        | Code::UnsupportedFeature
        | Code::UnsupportedVersion
        | Code::InvalidArgument
        | Code::InvalidConfig
        | Code::InvalidTopic
        | Code::Fatal
        | Code::Fail => Meaning::Broken,
        Code::FencedInstanceId => Meaning::Fenced,
        // Credentials rotate, permissions are granted, brokers come back.
        _ => Meaning::Unavailable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_error_has_its_meaning() {
        let table = [
            (Code::AutoOffsetReset, Meaning::OutOfRange),
            (Code::LogTruncation, Meaning::OutOfRange),
            (Code::UnknownTopicOrPartition, Meaning::Topic),
            (Code::BrokerTransportFailure, Meaning::Passing),
            (Code::NotLeaderForPartition, Meaning::Passing),
            (Code::AllBrokersDown, Meaning::Unavailable),
            (Code::Authentication, Meaning::Unavailable),
            (Code::SaslAuthenticationFailed, Meaning::Unavailable),
            (Code::TopicAuthorizationFailed, Meaning::Unavailable),
            (Code::GroupAuthorizationFailed, Meaning::Unavailable),
            (Code::BadCompression, Meaning::Unavailable),
            // A topic in zstd and a client without it: permanent, so never retried.
            (Code::NotImplemented, Meaning::Broken),
            (Code::FencedInstanceId, Meaning::Fenced),
        ];
        for (code, expected) in table {
            assert_eq!(meaning(&KafkaError::MessageConsumption(code)), expected, "{code:?}");
        }
        assert_eq!(meaning(&KafkaError::MessageConsumptionFatal(Code::BadMessage)), Meaning::Broken);
    }
}
