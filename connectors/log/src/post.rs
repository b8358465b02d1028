//! One append on its way: split into chunks by partition, answered once all of them are settled.

use std::sync::{Arc, Mutex};

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::error::Cause;
use crate::lock;

/// Records that became durable together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// Their partition.
    pub partition: u32,
    /// The offset of the first; the others follow without gaps, in the order they were given.
    pub first_offset: u64,
    /// The number of records.
    pub count: u32,
}

/// Encoded records of one append for one partition, at most one frame.
#[derive(Debug)]
pub(crate) struct Chunk {
    pub(crate) raw: Vec<u8>,
    pub(crate) count: u32,
    pub(crate) ticket: Ticket,
}

/// Which records of the append a chunk holds: `count` of those for `partition`, after the first `skip`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Part {
    pub(crate) partition: u32,
    pub(crate) skip: usize,
    pub(crate) count: u32,
}

/// What became of an append.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) appended: Vec<Appended>,
    pub(crate) failed: Vec<(Part, Cause)>,
}

#[derive(Debug)]
struct Open {
    outcome: Outcome,
    unsettled: usize,
    done: Option<oneshot::Sender<Outcome>>,
    // Holds the queue's room until every chunk is settled, even if the append is cancelled.
    _room: OwnedSemaphorePermit,
}

/// The duty to report exactly once what became of a chunk.
#[derive(Debug)]
pub(crate) struct Ticket {
    post: Arc<Mutex<Open>>,
    part: Part,
    settled: bool,
}

impl Ticket {
    pub(crate) fn durable(mut self, first_offset: u64) {
        let Part { partition, count, .. } = self.part;
        self.settle(Ok(Appended { partition, first_offset, count }));
    }

    pub(crate) fn fail(mut self, cause: &Cause) {
        self.settle(Err(cause.clone()));
    }

    fn settle(&mut self, result: Result<Appended, Cause>) {
        if std::mem::replace(&mut self.settled, true) {
            return;
        }
        let mut open = lock(&self.post);
        match result {
            Ok(appended) => open.outcome.appended.push(appended),
            Err(cause) => open.outcome.failed.push((self.part, cause)),
        }
        open.unsettled = open.unsettled.saturating_sub(1);
        if open.unsettled == 0
            && let Some(done) = open.done.take()
        {
            let outcome = std::mem::take(&mut open.outcome);
            // If the append was cancelled, the receiver is gone; the records are durable all the same.
            drop(done.send(outcome));
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        // An unsettled ticket must neither look like success nor block its append.
        self.settle(Err(Cause::Thread("dropped unsettled".into())));
    }
}

/// Makes one ticket per part; the receiver gets the outcome when the last is settled.
pub(crate) fn tickets(parts: &[Part], room: OwnedSemaphorePermit) -> (Vec<Ticket>, oneshot::Receiver<Outcome>) {
    let (done, outcome) = oneshot::channel();
    let open = Open { outcome: Outcome::default(), unsettled: parts.len(), done: Some(done), _room: room };
    let post = Arc::new(Mutex::new(open));
    let ticket = |part: &Part| Ticket { post: Arc::clone(&post), part: *part, settled: false };
    (parts.iter().map(ticket).collect(), outcome)
}
