//! What holds for objects alone: the order of their events, the tables that the events become, and what is counted and
//! found in them. What every domain promises is in `tables`.

mod analytics;
mod convergence;
mod counters;
mod lookup;
mod order_vectors;
mod search;
mod versions;
