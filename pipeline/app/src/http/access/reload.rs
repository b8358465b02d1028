//! Rereads the file of tokens when it changes.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::super::shared::App;
use super::known::Tokens;

/// Interval of the check of the file: a removed token works for this long, and a check costs one system call.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Checks the file until told to stop.
pub(in crate::http) async fn keep_reading(app: Arc<App>, stop: CancellationToken) {
    let mut reloads = app.node.reloads.subscribe();
    loop {
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            Ok(()) = reloads.changed() => {}
            () = stop.cancelled() => return,
        }
        let app = Arc::clone(&app);
        // The file may lie on a network; nothing else waits for it.
        let look = tokio::task::spawn_blocking(move || app.tokens.as_ref().map(Tokens::look));
        if let Err(error) = look.await {
            tracing::error!(%error, "the file of tokens was not looked at");
        }
    }
}
