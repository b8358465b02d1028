//! What the crate promises, seen from outside.

mod bodies;
mod dialects;
mod limits;
mod oracles;
mod properties;
mod refusals;
mod support;
mod vectors;
