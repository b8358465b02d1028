//! The errors of Kinesis, sorted by what has to happen next.

use std::error::Error;

/// What has to happen after an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Slow down: a limit of the shard, of the stream or of the key service was reached.
    Throttled,
    /// Kinesis does not answer, or not now.
    Away,
    /// An iterator or a page token is too old: ask for a new one.
    Expired,
    /// The stream, the shard or the position does not exist.
    Missing,
    /// A person has to fix something: a permission, a setting, a key.
    Broken,
}

/// An error of Kinesis.
#[derive(Debug, thiserror::Error)]
#[error("{doing}{}", .code.as_ref().map(|code| format!(" ({code})")).unwrap_or_default())]
pub(crate) struct Failure {
    /// What has to happen next.
    pub(crate) kind: Kind,
    /// The action that failed.
    pub(crate) doing: &'static str,
    /// The code of the answer, if there was one.
    pub(crate) code: Option<String>,
    /// The client's error.
    #[source]
    pub(crate) source: Box<dyn Error + Send + Sync>,
}

/// The kind of an answer with this code and HTTP status.
pub(crate) fn of_answer(code: Option<&str>, status: u16) -> Kind {
    match code.unwrap_or_default() {
        "ProvisionedThroughputExceededException"
        | "LimitExceededException"
        | "KMSThrottlingException"
        | "ThrottlingException"
        | "Throttling"
        | "RequestLimitExceeded"
        | "TooManyRequestsException" => Kind::Throttled,
        "ExpiredIteratorException" | "ExpiredNextTokenException" => Kind::Expired,
        "ResourceNotFoundException" | "InvalidArgumentException" => Kind::Missing,
        // The stream is being made or changed, credentials are being replaced, a clock is being set.
        "ResourceInUseException"
        | "InternalFailureException"
        | "InternalFailure"
        | "ServiceUnavailable"
        | "ServiceUnavailableException"
        | "ExpiredTokenException"
        | "ExpiredToken"
        | "RequestExpired" => Kind::Away,
        "AccessDeniedException"
        | "AccessDenied"
        | "KMSAccessDeniedException"
        | "KMSDisabledException"
        | "KMSInvalidStateException"
        | "KMSNotFoundException"
        | "KMSOptInRequired"
        | "IncompleteSignature"
        | "InvalidSignatureException"
        | "MissingAuthenticationToken"
        | "NotAuthorized"
        | "OptInRequired"
        | "UnrecognizedClientException"
        | "UnknownOperationException"
        | "ValidationException" => Kind::Broken,
        _ if status == 429 => Kind::Throttled,
        _ if status >= 500 || status == 408 => Kind::Away,
        _ => Kind::Broken,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_says_what_happens_next() {
        let table = [
            ("ProvisionedThroughputExceededException", 400, Kind::Throttled),
            ("LimitExceededException", 400, Kind::Throttled),
            ("KMSThrottlingException", 400, Kind::Throttled),
            ("ThrottlingException", 400, Kind::Throttled),
            ("Throttling", 400, Kind::Throttled),
            ("RequestLimitExceeded", 503, Kind::Throttled),
            ("TooManyRequestsException", 429, Kind::Throttled),
            ("ExpiredIteratorException", 400, Kind::Expired),
            ("ExpiredNextTokenException", 400, Kind::Expired),
            ("ResourceNotFoundException", 400, Kind::Missing),
            ("InvalidArgumentException", 400, Kind::Missing),
            ("ResourceInUseException", 400, Kind::Away),
            ("InternalFailureException", 500, Kind::Away),
            ("InternalFailure", 500, Kind::Away),
            ("ServiceUnavailable", 503, Kind::Away),
            ("ServiceUnavailableException", 503, Kind::Away),
            ("ExpiredTokenException", 400, Kind::Away),
            ("ExpiredToken", 400, Kind::Away),
            ("RequestExpired", 400, Kind::Away),
            ("AccessDeniedException", 400, Kind::Broken),
            ("AccessDenied", 403, Kind::Broken),
            ("KMSAccessDeniedException", 400, Kind::Broken),
            ("KMSDisabledException", 400, Kind::Broken),
            ("KMSInvalidStateException", 400, Kind::Broken),
            ("KMSNotFoundException", 400, Kind::Broken),
            ("KMSOptInRequired", 400, Kind::Broken),
            ("IncompleteSignature", 400, Kind::Broken),
            ("InvalidSignatureException", 403, Kind::Broken),
            ("MissingAuthenticationToken", 400, Kind::Broken),
            ("NotAuthorized", 400, Kind::Broken),
            ("OptInRequired", 403, Kind::Broken),
            ("UnrecognizedClientException", 400, Kind::Broken),
            ("UnknownOperationException", 400, Kind::Broken),
            ("ValidationException", 400, Kind::Broken),
            ("SomethingNew", 400, Kind::Broken),
            ("SomethingNew", 429, Kind::Throttled),
            ("SomethingNew", 408, Kind::Away),
            ("SomethingNew", 500, Kind::Away),
            ("", 404, Kind::Broken),
            ("", 502, Kind::Away),
        ];
        for (code, status, kind) in table {
            let code = Some(code).filter(|code| !code.is_empty());
            assert_eq!(of_answer(code, status), kind, "{code:?} {status}");
        }
    }
}
