//! The number of concurrent receivers: more while polls come back full, one while there are few messages.

use tokio::sync::watch;

use super::client::BATCH;

/// The number of receivers that may poll.
#[derive(Debug)]
pub(super) struct Pace {
    polling: watch::Sender<usize>,
    max: usize,
}

impl Pace {
    /// One of at most `max`.
    pub(super) fn new(max: usize) -> Self {
        Pace { polling: watch::Sender::new(1), max }
    }

    /// Waits until the receiver with this number, counted from 0, may poll.
    pub(super) async fn turn(&self, number: usize) {
        // We hold the sender, so the channel cannot close.
        self.polling.subscribe().wait_for(|polling| *polling > number).await.ok();
    }

    /// Learns from a poll. Every full poll adds a receiver, so that they double with each round of polls; a nearly
    /// empty one removes one.
    pub(super) fn polled(&self, asked: usize, got: usize) {
        self.polling.send_if_modified(|polling| {
            let before = *polling;
            if asked == BATCH && got == BATCH {
                *polling = (before + 1).min(self.max);
            } else if got <= 1 {
                *polling = before.saturating_sub(1).max(1);
            }
            before != *polling
        });
    }

    /// After a failure one receiver is enough to learn when the queue answers again.
    pub(super) fn failed(&self) {
        self.polling.send_replace(1);
    }

    /// How many may poll.
    pub(super) fn polling(&self) -> usize {
        *self.polling.borrow()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn receivers_double_with_full_polls_and_end_with_empty_ones() {
        let pace = Pace::new(6);
        let mut seen = vec![pace.polling()];
        for _ in 0..4 {
            // Every poll comes back full.
            (0..pace.polling()).for_each(|_| pace.polled(BATCH, BATCH));
            seen.push(pace.polling());
        }
        assert_eq!(seen, [1, 2, 4, 6, 6]);
        pace.polled(BATCH, 7);
        pace.polled(3, 3);
        assert_eq!(pace.polling(), 6, "neither a sign of a backlog nor of its end");
        (0..20).for_each(|_| pace.polled(BATCH, 0));
        assert_eq!(pace.polling(), 1);
        (0..3).for_each(|_| pace.polled(BATCH, BATCH));
        pace.failed();
        assert_eq!(pace.polling(), 1);
    }
}
