//! Why a request is answered by the gateway itself and not by a task.

use hyper::StatusCode;

/// A refusal: rendered as RFC 9457 JSON with its `reason`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The status of the response.
    pub status: StatusCode,
    /// A constant name, for programs.
    pub reason: &'static str,
    /// A sentence, for people. It holds nothing that the client does not know already.
    pub detail: &'static str,
    /// Seconds after which the client may ask again.
    pub retry_after: Option<u32>,
    /// Whether the connection is closed: what follows on it cannot be trusted.
    pub closes: bool,
}

impl Refusal {
    const fn new(status: StatusCode, reason: &'static str, detail: &'static str) -> Self {
        Self { status, reason, detail, retry_after: None, closes: false }
    }

    /// The request is malformed; its connection is closed.
    pub const fn malformed(detail: &'static str) -> Self {
        Self { closes: true, ..Self::new(StatusCode::BAD_REQUEST, "malformed", detail) }
    }

    /// The path is ambiguous.
    pub const fn bad_path(detail: &'static str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_path", detail)
    }

    /// The request has passed this gateway before.
    pub const fn looped() -> Self {
        Self::new(StatusCode::LOOP_DETECTED, "loop", "the request has passed this gateway before")
    }

    /// There is no such service or alias, or no service is named.
    pub const fn no_route() -> Self {
        Self::new(StatusCode::NOT_FOUND, "no_route", "no service and alias have this path")
    }

    /// The route has no task that can be sent requests.
    pub const fn no_routable_task() -> Self {
        let detail = "no task of the revision can be sent requests";
        Self { retry_after: Some(1), ..Self::new(StatusCode::SERVICE_UNAVAILABLE, "no_routable_task", detail) }
    }

    /// Each task of the revision has as many requests as it takes.
    pub const fn saturated() -> Self {
        let detail = "each task of the revision has as many requests as it takes";
        Self { retry_after: Some(1), ..Self::new(StatusCode::SERVICE_UNAVAILABLE, "saturated", detail) }
    }

    /// This gateway is stopping, and no response came in the time that is left for it. The task may have done the work.
    pub const fn draining() -> Self {
        let detail = "this gateway is stopping, and no response came in time";
        Self { closes: true, ..Self::new(StatusCode::SERVICE_UNAVAILABLE, "draining", detail) }
    }

    /// No connection could be made.
    pub const fn connect() -> Self {
        Self::new(StatusCode::BAD_GATEWAY, "connect", "no connection to a task could be made")
    }

    /// The connection to the task broke.
    pub const fn reset() -> Self {
        Self::new(StatusCode::BAD_GATEWAY, "reset", "the connection broke before a response came")
    }

    /// The task did not answer in HTTP.
    pub const fn protocol() -> Self {
        Self::new(StatusCode::BAD_GATEWAY, "protocol", "the task did not answer with a valid response")
    }

    /// Somebody else answered at the address of the task.
    pub const fn foreign() -> Self {
        Self::new(StatusCode::BAD_GATEWAY, "foreign", "the response did not come from the task that was asked")
    }

    /// No response came in time.
    pub const fn timed_out() -> Self {
        Self::new(StatusCode::GATEWAY_TIMEOUT, "timed_out", "no response came in time")
    }

    /// The client stopped sending the body.
    pub const fn request_timed_out() -> Self {
        let detail = "the body of the request did not come in time";
        Self { closes: true, ..Self::new(StatusCode::REQUEST_TIMEOUT, "request_timed_out", detail) }
    }
}
