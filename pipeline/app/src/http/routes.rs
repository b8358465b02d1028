//! Routes: which tasks there are, which revisions a service has, which of them an alias means, and what gateways serve.

mod ask;
mod edit;
mod history;
mod list;
mod steps;

use axum::routing::{MethodRouter, get, post};

use super::shared::Shared;

/// Their routes, in the order of the documentation.
pub(super) fn routes() -> Vec<(&'static str, MethodRouter<Shared>)> {
    vec![
        ("/v1/tasks", get(list::tasks)),
        ("/v1/deploys", get(list::deploys)),
        ("/v1/deploys/{service}/{revision}", get(list::deploy).put(edit::put_deploy).delete(edit::retire)),
        ("/v1/routes", get(list::routes)),
        ("/v1/routes/purge", post(edit::purge)),
        ("/v1/routes/{service}/{alias}", get(list::route).put(edit::put_route).delete(edit::delete_route)),
        ("/v1/routes/{service}/{alias}/rollback", post(edit::roll_back)),
        ("/v1/routes/{service}/{alias}/history", get(history::history)),
        ("/v1/routes/{service}/{alias}/who", get(history::who)),
        ("/v1/gateways", get(history::gateways)),
    ]
}
