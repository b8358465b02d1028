//! Futures that are dropped or held at every moment of their course.

use std::future::Future;
use std::pin::Pin;
use std::task::Poll;

/// The search ends after this many moments in a row before which the future had ended. How often a future is polled
/// depends on how fast answers come, so that ending once proves little.
const ENDED_IN_A_ROW: u32 = 10;

/// All moments, one after another, for as long as futures reach them.
#[derive(Debug, Default)]
pub(super) struct Moments {
    tried: usize,
    ended_in_a_row: u32,
}

impl Moments {
    /// The next moment, unless futures have kept ending before.
    pub(super) fn next(&mut self) -> Option<Moment> {
        let moment = Moment { polls: 1 + self.tried / 2, answered: self.tried % 2 == 1 };
        self.tried += 1;
        (self.ended_in_a_row < ENDED_IN_A_ROW).then_some(moment)
    }

    /// Notes whether the future had ended before the moment.
    pub(super) fn ended(&mut self, before: bool) {
        self.ended_in_a_row = if before { self.ended_in_a_row + 1 } else { 0 };
    }
}

/// The moment at which a future is stopped: when it has been polled this often and is not done.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    polls: usize,
    /// Stopped when the answer it waits for is there, instead of as soon as it has asked.
    answered: bool,
}

impl Moment {
    /// The moment right after poll number `polls`.
    pub(super) fn polled(polls: usize) -> Self {
        Moment { polls, answered: false }
    }

    /// Runs a future up to this moment; returns its output if it ended before.
    pub(super) async fn reach<F: Future>(self, mut future: Pin<&mut F>) -> Option<F::Output> {
        let mut left = self.polls;
        std::future::poll_fn(|context| {
            if left == 0 {
                return Poll::Ready(None);
            }
            left -= 1;
            match future.as_mut().poll(context) {
                Poll::Ready(output) => Poll::Ready(Some(output)),
                Poll::Pending if left == 0 && !self.answered => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            }
        })
        .await
    }
}
