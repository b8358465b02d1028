//! What holds for every document that another one carries.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::refusal::{Refusal, RefusalReason};

/// Envelopes around one notification: a topic that feeds a topic, or a topic that feeds a queue, is seen; more is a
/// loop.
pub(crate) const ENVELOPES_MAX: usize = 2;

/// The bytes of `field`.
pub(crate) fn from_base64(encoded: &str, field: &str) -> Result<Vec<u8>, Refusal> {
    STANDARD
        .decode(encoded.as_bytes())
        .map_err(|error| Refusal::new(RefusalReason::BadBase64, format!("{field}: {error}")))
}
