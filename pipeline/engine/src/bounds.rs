//! What the lanes of a pipeline share.

use std::sync::Arc;

use crate::cap::Cap;
use crate::gate::Member;
use crate::limits::Limits;
use crate::memory::Memory;
use crate::spread::Spread;

/// The limits, the place at the gate, the memory, the cap and the spread that all lanes of a pipeline use.
#[derive(Debug)]
pub(crate) struct Bounds {
    pub(crate) limits: Limits,
    pub(crate) gate: Member,
    pub(crate) memory: Arc<Memory>,
    pub(crate) cap: Cap,
    pub(crate) spread: Spread,
}
