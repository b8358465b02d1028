//! Removes old parts of the route log, so that it does not grow for ever.

use std::time::Duration;

use millstream_connectors::sinks::routing::purge::prune;
use millstream_postgres::Connector;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::tables::{self, Tables};

/// How often it is looked for what is old.
const EVERY: Duration = Duration::from_secs(60);

/// Keeps the log for so many hours, until `stop`.
pub(super) async fn keep(connector: Connector, hours: u32, tables: watch::Receiver<Tables>, stop: CancellationToken) {
    if !tables::are_ready(tables, &stop).await {
        return;
    }
    let hours = i32::try_from(hours).unwrap_or(i32::MAX);
    loop {
        // Each time a part of it, on a connection that is closed then: there is little to do.
        if let Ok(mut connection) = connector.connect().await {
            loop {
                match prune(&mut connection, hours).await {
                    Ok(Some(pruned_to)) if !stop.is_cancelled() => {
                        tracing::debug!(pruned_to, "the route log was removed up to here");
                    }
                    Ok(_) => break,
                    Err(fault) => {
                        tracing::debug!(error = %fault.into_sink_error("prune routes"), "the route log stays");
                        break;
                    }
                }
            }
            connection.close().await.ok();
        }
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = stop.cancelled() => return,
        }
    }
}
