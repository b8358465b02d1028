//! Waiting for a condition, never for a time.

use std::time::Duration;

use tokio::time::Instant;

/// Between two looks. Short beside anything waited for, long beside a look.
const POLL: Duration = Duration::from_millis(10);

/// Waits until `condition` gives a value; fails the test when it does not within `within`.
///
/// # Panics
/// After `within`, naming `what`.
pub async fn until<T, F>(what: &str, within: Duration, mut condition: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let began = Instant::now();
    loop {
        if let Some(value) = condition().await {
            return value;
        }
        assert!(began.elapsed() < within, "waited {within:?} for {what}");
        tokio::time::sleep(POLL).await;
    }
}
