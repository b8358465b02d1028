//! Rules for every document that another one carries.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::refusal::{Refusal, RefusalReason};

/// Maximum envelopes around one notification: a topic may feed a topic, or a topic a queue. More is a loop.
pub(crate) const ENVELOPES_MAX: usize = 2;

/// The bytes of `field`.
pub(crate) fn from_base64(encoded: &str, field: &str) -> Result<Vec<u8>, Refusal> {
    STANDARD
        .decode(encoded.as_bytes())
        .map_err(|error| Refusal::new(RefusalReason::BadBase64, format!("{field}: {error}")))
}
