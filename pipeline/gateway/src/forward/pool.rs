//! The idle connections of one task: last in, first out.
//!
//! They belong to the task, never to its address: a new task at an old address begins with none, and those of a task that
//! is gone close with it. A connection that was idle for too long is closed by a sweep, whether or not requests come.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use hyper::client::conn::http1::SendRequest;
use tokio::time::{Instant, sleep_until};

use super::replay::Outgoing;
use super::spawn::spawn;

/// See the module.
#[derive(Debug, Default)]
pub struct Pool {
    idle: Arc<Mutex<Idle>>,
}

#[derive(Debug, Default)]
struct Idle {
    /// The one to take first is the last one.
    connections: Vec<Parked>,
    is_swept: bool,
    is_closed: bool,
}

#[derive(Debug)]
struct Parked {
    sender: SendRequest<Outgoing>,
    since: Instant,
    until: Instant,
}

impl Pool {
    /// Takes the connection that was idle for the shortest time, if that is less than `idle_max`.
    pub(crate) fn take(&self, idle_max: Duration, now: Instant) -> Option<SendRequest<Outgoing>> {
        let mut idle = lock(&self.idle);
        while let Some(parked) = idle.connections.last() {
            if parked.sender.is_closed() || parked.until <= now {
                idle.connections.pop();
                continue;
            }
            if now.saturating_duration_since(parked.since) >= idle_max {
                return None;
            }
            return idle.connections.pop().map(|parked| parked.sender);
        }
        None
    }

    /// Keeps a connection for `keep`. With `max` of them the oldest one is closed.
    pub(crate) fn put(&self, sender: SendRequest<Outgoing>, keep: Duration, max: usize, now: Instant) {
        let mut idle = lock(&self.idle);
        if idle.is_closed || max == 0 || sender.is_closed() {
            return;
        }
        if idle.connections.len() >= max {
            idle.connections.remove(0);
        }
        idle.connections.push(Parked { sender, since: now, until: now + keep });
        if !idle.is_swept {
            idle.is_swept = true;
            spawn(sweep(Arc::downgrade(&self.idle)));
        }
    }

    /// Closes the idle connections, and keeps none from now on: the task is draining.
    pub fn close(&self) {
        let mut idle = lock(&self.idle);
        idle.is_closed = true;
        idle.connections.clear();
    }

    /// Keeps idle connections again: the task is not draining after all.
    pub(crate) fn open(&self) {
        lock(&self.idle).is_closed = false;
    }

    /// The number of idle connections.
    pub fn idle(&self) -> usize {
        lock(&self.idle).connections.len()
    }
}

fn lock(idle: &Mutex<Idle>) -> MutexGuard<'_, Idle> {
    idle.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Closes what was idle for too long, until nothing is idle.
async fn sweep(idle: Weak<Mutex<Idle>>) {
    while let Some(until) = idle.upgrade().and_then(|idle| expire(&idle, Instant::now())) {
        sleep_until(until).await;
    }
}

/// Closes what is over; gives the time of the next look.
fn expire(idle: &Mutex<Idle>, now: Instant) -> Option<Instant> {
    let mut idle = lock(idle);
    idle.connections.retain(|parked| parked.until > now && !parked.sender.is_closed());
    let next = idle.connections.iter().map(|parked| parked.until).min();
    idle.is_swept = next.is_some();
    next
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A connection whose other end is held by the task that serves it.
    async fn sender() -> (SendRequest<Outgoing>, tokio::io::DuplexStream) {
        let (near, far) = tokio::io::duplex(1_024);
        let (sender, connection) =
            hyper::client::conn::http1::handshake(hyper_util::rt::TokioIo::new(near)).await.unwrap();
        spawn(async move { drop(connection.await) });
        (sender, far)
    }

    const KEEP: Duration = Duration::from_millis(1_500);

    #[tokio::test(start_paused = true)]
    async fn an_unsafe_request_takes_only_what_was_idle_for_a_short_time() {
        let pool = Pool::default();
        let (first, _far) = sender().await;
        pool.put(first, KEEP, 8, Instant::now());
        tokio::time::advance(Duration::from_millis(249)).await;
        let taken = pool.take(Duration::from_millis(250), Instant::now()).unwrap();
        pool.put(taken, KEEP, 8, Instant::now());
        tokio::time::advance(Duration::from_millis(250)).await;
        assert!(pool.take(Duration::from_millis(250), Instant::now()).is_none());
        assert!(pool.take(KEEP, Instant::now()).is_some(), "a safe one still finds it");
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_one_that_came_is_the_first_one_taken() {
        let pool = Pool::default();
        let (old, _far) = sender().await;
        pool.put(old, KEEP, 8, Instant::now());
        tokio::time::advance(Duration::from_millis(500)).await;
        let (new, _far) = sender().await;
        pool.put(new, KEEP, 8, Instant::now());
        assert!(pool.take(Duration::from_millis(1), Instant::now()).is_some(), "the new one");
        assert!(pool.take(Duration::from_millis(1), Instant::now()).is_none(), "the old one");
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_idle_for_too_long_is_closed_without_a_request() {
        let pool = Pool::default();
        let (first, mut far) = sender().await;
        pool.put(first, KEEP, 8, Instant::now());
        let mut rest = Vec::new();
        let begun = Instant::now();
        tokio::io::AsyncReadExt::read_to_end(&mut far, &mut rest).await.unwrap();
        let waited = Instant::now() - begun;
        assert!(waited >= KEEP && waited < KEEP + Duration::from_millis(50), "{waited:?}");
        assert_eq!(pool.idle(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_than_the_limit_are_kept_and_none_of_a_draining_task() {
        let pool = Pool::default();
        let mut ends = Vec::new();
        for _ in 0..3 {
            let (sender, far) = sender().await;
            ends.push(far);
            pool.put(sender, KEEP, 2, Instant::now());
        }
        assert_eq!(pool.idle(), 2);
        pool.close();
        let (sender, _far) = sender().await;
        pool.put(sender, KEEP, 2, Instant::now());
        assert_eq!(pool.idle(), 0);
    }
}
