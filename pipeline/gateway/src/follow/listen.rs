//! Notices of commits: a hint to look at the log now, on a connection of its own.

use std::sync::Arc;
use std::time::Duration;

use millstream_postgres::Connector;
use sqlx::postgres::{PgListener, PgPoolOptions};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// The channel of the notices.
const CHANNEL: &str = "millstream_routes";
/// The time between two attempts to listen: meanwhile the log is read at each tick.
const RETRY: Duration = Duration::from_secs(1);

/// Listens until `stop`, whatever happens to the connection.
pub(super) fn spawn(connector: Connector, hint: Arc<Notify>, stop: CancellationToken) -> JoinHandle<()> {
    millstream_engine::task::spawn("listen for routes", async move {
        loop {
            tokio::select! {
                heard = listen(&connector, &hint) => if let Err(error) = heard {
                    tracing::debug!(%error, "notices of routes are not heard");
                },
                () = stop.cancelled() => return,
            }
            tokio::select! {
                () = tokio::time::sleep(RETRY) => {}
                () = stop.cancelled() => return,
            }
        }
    })
}

async fn listen(connector: &Connector, hint: &Notify) -> Result<(), sqlx::Error> {
    let options = connector.options().map_err(|error| sqlx::Error::Configuration(error.into()))?;
    let pool = PgPoolOptions::new().max_connections(1).acquire_timeout(RETRY * 10).connect_lazy_with(options);
    let mut listener = PgListener::connect_with(&pool).await?;
    listener.listen(CHANNEL).await?;
    // What was committed before is in the log.
    hint.notify_one();
    // `None` means that the connection was lost: notices may be missing, so look, then listen anew.
    while listener.try_recv().await?.is_some() {
        hint.notify_one();
    }
    hint.notify_one();
    Ok(())
}
