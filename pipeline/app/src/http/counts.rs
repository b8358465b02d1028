//! What the endpoint counts as it happens.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;

/// Maximum number of stores that are counted separately: a client with a token for all may name any.
const STORES_MAX: usize = 1000;
/// Bounds of the histogram, from a read in memory to the longest that anything here may take.
const REQUEST_SECONDS: [f64; 10] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.25, 1.0, 5.0, 30.0];

/// What is counted as it happens.
#[derive(Debug)]
pub(super) struct Counts {
    pub(super) accepted: Counter,
    pub(super) refused: Counter,
    pub(super) body_bytes: Counter,
    /// Accepted and refused events of a store.
    stores: Mutex<BTreeMap<String, (u64, u64)>>,
    pub(super) requests: Family<RequestLabels, Counter>,
    pub(super) seconds: Family<RouteLabel, Histogram, fn() -> Histogram>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct RequestLabels {
    pub(super) route: String,
    pub(super) method: &'static str,
    pub(super) status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct RouteLabel {
    pub(super) route: String,
}

impl Counts {
    pub(super) fn new() -> Self {
        let seconds = Family::new_with_constructor((|| Histogram::new(REQUEST_SECONDS)) as fn() -> Histogram);
        let [accepted, refused, body_bytes] = [(); 3].map(|()| Counter::default());
        Counts { accepted, refused, body_bytes, stores: Mutex::default(), requests: Family::default(), seconds }
    }

    /// Counts events of a store, for clients that see no other.
    pub(super) fn of_store(&self, store: &str, accepted: u64, refused: u64) {
        let mut stores = self.stores.lock().unwrap_or_else(PoisonError::into_inner);
        if !stores.contains_key(store) && stores.len() >= STORES_MAX {
            return;
        }
        let counts = stores.entry(store.to_owned()).or_default();
        *counts = (counts.0 + accepted, counts.1 + refused);
    }

    /// Accepted and refused events of a store.
    pub(super) fn store(&self, store: &str) -> (u64, u64) {
        let stores = self.stores.lock().unwrap_or_else(PoisonError::into_inner);
        stores.get(store).copied().unwrap_or_default()
    }
}
