//! Refuses events of stores that are paused, and of those whose quarantine is full.

use axum::http::StatusCode;

use super::super::problem::Problem;
use crate::running::Running;

/// Delay before a retry: a person must act first, which takes minutes; earlier retries only cost requests.
const RETRY_AFTER_SECONDS: u16 = 60;

/// Refuses events of a store that is paused or whose quarantine is full.
pub(super) fn refuse(running: &Running, store: Option<&str>) -> Result<(), Problem> {
    let store = store.unwrap_or(&running.config.store);
    let Some(standing) = running.progress.standing(store) else { return Ok(()) };
    let pipeline = &running.config.name;
    if let Some(pause) = standing.pause.as_ref().filter(|pause| !pause.is_resumed) {
        let detail = format!(
            "too many events of store {store} were bad ({}), and nothing of it is taken until an operator runs `millstream resume {pipeline} --store {store}`; `millstream quarantine ls --store {store}` lists them",
            pause.reason
        );
        return Err(refused("store-paused", "the store is paused", detail));
    }
    if running.flood.is_full(&standing) {
        let detail = format!(
            "the quarantine holds {} rows of store {store} with {} bytes, as much as limits.quarantine_rows_max and limits.quarantine_bytes_max allow; `millstream quarantine redrive --store {store}` or `purge --store {store}` makes room",
            standing.rows, standing.bytes
        );
        return Err(refused("quarantine-full", "the quarantine of the store is full", detail));
    }
    Ok(())
}

fn refused(name: &'static str, title: &'static str, detail: String) -> Problem {
    Problem::new(StatusCode::TOO_MANY_REQUESTS, name, title, detail).retry_after(RETRY_AFTER_SECONDS)
}
