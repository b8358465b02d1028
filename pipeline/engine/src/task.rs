//! The one place where tasks begin.
//!
//! A task that panics is logged under its own name instead of vanishing, and the panic goes on: a lane or a server that
//! panics takes the process's summary with it.

use std::future::Future;

use tokio::task::JoinHandle;

/// Starts a named task whose panic is logged where it happened.
#[expect(clippy::disallowed_methods, reason = "this is the helper that every other place must use")]
pub fn spawn<F>(name: &'static str, future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    tokio::spawn(async move {
        use futures::FutureExt as _;
        match std::panic::AssertUnwindSafe(future).catch_unwind().await {
            Ok(output) => output,
            Err(panic) => {
                tracing::error!(task = name, "task panicked");
                std::panic::resume_unwind(panic)
            }
        }
    })
}
