//! Why SQS did not do what it was asked for.

use millstream_engine::SourceError;

/// An answer that is no success, or none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// An option has a value that cannot be.
    #[error("{0}")]
    Options(String),
    /// Nothing says in which region the queue is.
    #[error("the region of the queue is not known: say it, or set AWS_REGION")]
    NoRegion,
    /// There is no such queue.
    #[error("{doing}: there is no queue {queue}")]
    NoSuchQueue {
        /// What was being done.
        doing: &'static str,
        /// Its name or URL.
        queue: String,
    },
    /// SQS refused it, or did not answer.
    #[error("{doing}: {detail}")]
    Failed {
        /// What was being done.
        doing: &'static str,
        /// What SQS or the connection said.
        detail: String,
    },
}

impl Error {
    /// What the engine is told. Rights and passwords are mended while we wait; a queue that is gone is not.
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
        let again = Recovery::Retry { after: None };
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
