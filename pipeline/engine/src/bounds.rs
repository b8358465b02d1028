//! What the lanes of a pipeline share.

use std::sync::Arc;

use crate::cap::Cap;
use crate::gate::Gate;
use crate::limits::Limits;
use crate::spread::Spread;

/// What the lanes of a pipeline have in common.
#[derive(Debug)]
pub(crate) struct Bounds {
    pub(crate) limits: Limits,
    pub(crate) gate: Arc<Gate>,
    pub(crate) cap: Cap,
    pub(crate) spread: Spread,
}
