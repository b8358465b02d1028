//! The one place of the gateway where tasks begin: connections of clients and of tasks, tunnels, and sweeps of pools.

use std::future::Future;

/// Starts a task that nobody waits for. It ends by itself: each has a connection or a limit that ends it.
pub(crate) fn spawn(future: impl Future<Output = ()> + Send + 'static) {
    drop(millstream_engine::task::spawn("gateway", future));
}
