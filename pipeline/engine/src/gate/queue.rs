//! Which batch is next: the one with the oldest record, as long as no other is passed by too often.

use tokio::sync::oneshot;

/// This many later batches may be served before one that waits. Fewer: the backlog of one pipeline and the fresh
/// records of another are served in turns, whatever their age. More: fresh records wait longer beside a backlog, whose
/// records are always older.
const PASSED_MAX: u64 = 4;

/// The number of a batch that never had to wait.
pub(super) const NOBODY: u64 = 0;

/// Batches that wait for a turn, in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: Vec<Waiting>,
    joined: u64,
    granted: u64,
}

#[derive(Debug)]
struct Waiting {
    number: u64,
    oldest_ms: i64,
    /// Turns given before it joined.
    granted: u64,
    grant: oneshot::Sender<()>,
}

impl Queue {
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Returns the number to leave with.
    pub(super) fn join(&mut self, oldest_ms: i64, grant: oneshot::Sender<()>) -> u64 {
        self.joined += 1;
        self.waiting.push(Waiting { number: self.joined, oldest_ms, granted: self.granted, grant });
        self.joined
    }

    /// Returns false if the batch has its turn already.
    pub(super) fn leave(&mut self, number: u64) -> bool {
        let before = self.waiting.len();
        self.waiting.retain(|waiting| waiting.number != number);
        self.waiting.len() < before
    }

    /// Gives a turn to the next batch. Returns false if none waits.
    pub(super) fn grant(&mut self) -> bool {
        let first_is_passed =
            self.waiting.first().is_some_and(|first| self.granted.saturating_sub(first.granted) >= PASSED_MAX);
        let oldest = || {
            let ages = self.waiting.iter().enumerate();
            ages.min_by_key(|(_, waiting)| (waiting.oldest_ms, waiting.number)).map(|(index, _)| index)
        };
        let next = if first_is_passed { Some(0) } else { oldest() };
        let Some(index) = next else { return false };
        self.granted += 1;
        // A batch that left is no longer in the queue, so this one receives its grant.
        self.waiting.remove(index).grant.send(()).ok();
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The ages of the batches served in `turns` turns: `ages` wait from the beginning, and one more of age `joins`
    /// joins after each turn.
    fn served(ages: &[i64], joins: i64, turns: usize) -> Vec<i64> {
        let mut queue = Queue::default();
        let mut waiting = Vec::new();
        let mut order = Vec::new();
        let mut arriving = ages.to_vec();
        for _ in 0..turns {
            for age in arriving.drain(..) {
                let (grant, granted) = oneshot::channel();
                queue.join(age, grant);
                waiting.push((age, granted));
            }
            assert!(queue.grant());
            let served = waiting.iter_mut().position(|(_, granted)| granted.try_recv().is_ok()).unwrap();
            order.push(waiting.remove(served).0);
            arriving.push(joins);
        }
        order
    }

    #[test]
    fn the_oldest_is_next() {
        assert_eq!(served(&[3, 1, 2], 9, 4), [1, 2, 3, 9]);
    }

    #[test]
    fn what_is_fresh_is_served_beside_a_backlog_that_is_always_older() {
        let order = served(&[1, 1, 100], 1, 10);
        assert_eq!(order.iter().position(|age| *age == 100), Some(PASSED_MAX as usize), "{order:?}");
    }

    #[test]
    fn who_has_left_is_not_served() {
        let mut queue = Queue::default();
        let (grant, granted) = oneshot::channel();
        let number = queue.join(1, grant);
        assert!(queue.leave(number) && !queue.leave(number));
        assert!(!queue.grant() && queue.is_empty());
        drop(granted);
    }
}
