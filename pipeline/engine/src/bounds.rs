//! What the lanes of a pipeline share.

use std::sync::Arc;

use crate::cap::Cap;
use crate::gate::Gate;
use crate::limits::Limits;
use crate::spread::Spread;

/// The limits, the gate, the cap and the spread that all lanes of a pipeline use.
#[derive(Debug)]
pub(crate) struct Bounds {
    pub(crate) limits: Limits,
    pub(crate) gate: Arc<Gate>,
    pub(crate) cap: Cap,
    pub(crate) spread: Spread,
}
