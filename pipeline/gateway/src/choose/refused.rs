//! Why nothing was chosen.

/// Why an attempt was not begun. The text is the `reason` of the response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// There is no task that may be sent the request.
    #[error("no_routable_task")]
    NoRoutableTask,
    /// Each task has as many requests as it takes.
    #[error("saturated")]
    Saturated,
}
