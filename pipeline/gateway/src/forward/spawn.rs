//! The one place of the gateway where tasks begin: connections of clients and of tasks, tunnels, and sweeps of pools.

use std::future::Future;

/// Starts a task that nobody waits for. It ends by itself: each has a connection or a limit that ends it.
#[expect(clippy::disallowed_methods, reason = "the gateway does not depend on the engine, whose helper this is like")]
pub(crate) fn spawn(future: impl Future<Output = ()> + Send + 'static) {
    drop(tokio::spawn(future));
}
