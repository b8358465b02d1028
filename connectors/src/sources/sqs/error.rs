//! The errors of SQS.

use millstream_engine::SourceError;

/// A failed call.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// An option has an invalid value.
    #[error("{0}")]
    Options(String),
    /// The region of the queue is unknown.
    #[error("the region of the queue is not known: say it, or set AWS_REGION")]
    NoRegion,
    /// There is no such queue.
    #[error("{doing}: there is no queue {queue}")]
    NoSuchQueue {
        /// The action that failed.
        doing: &'static str,
        /// Its name or URL.
        queue: String,
    },
    /// SQS refused it, or did not answer.
    #[error("{doing}: {detail}")]
    Failed {
        /// The action that failed.
        doing: &'static str,
        /// The error of SQS or of the connection.
        detail: String,
    },
}

impl Error {
    /// The error for the engine. Permissions and passwords may be fixed while we wait; a deleted queue does not return.
    pub(super) fn for_engine(self) -> SourceError {
        match self {
            Error::Failed { .. } => SourceError::Unavailable(Box::new(self)),
            Error::Options(_) | Error::NoRegion | Error::NoSuchQueue { .. } => SourceError::Broken(Box::new(self)),
        }
    }
}

#[cfg(test)]
mod tests {
    use millstream_engine::Recovery;

    use super::*;

    #[test]
    fn only_what_may_pass_is_tried_again() {
        let doing = "receive messages";
        let again = Recovery::Retry;
        let table = [
            (Error::Options("x".to_owned()), Recovery::Halt),
            (Error::NoRegion, Recovery::Halt),
            (Error::NoSuchQueue { doing, queue: "x".to_owned() }, Recovery::Halt),
            (Error::Failed { doing, detail: "x".to_owned() }, again),
        ];
        for (error, recovery) in table {
            assert_eq!(error.clone().for_engine().recovery(), recovery, "{error}");
        }
    }
}
