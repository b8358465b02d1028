//! Queries about objects: lists, single ones, counts, and why one is as it is.

mod cursor;
mod filter;

mod count;
mod list;
mod why;

use axum::routing::{MethodRouter, get};

use super::shared::Shared;

/// Their routes, in the order of the documentation.
pub(super) fn routes() -> Vec<(&'static str, MethodRouter<Shared>)> {
    vec![
        ("/v1/buckets", get(count::buckets)),
        ("/v1/buckets/{bucket}/objects", get(list::list)),
        ("/v1/buckets/{bucket}/objects/{*key}", get(list::one)),
        ("/v1/buckets/{bucket}/count", get(count::count)),
        ("/v1/why", get(why::why)),
    ]
}
