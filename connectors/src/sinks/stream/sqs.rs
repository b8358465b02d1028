//! A queue of Amazon SQS.
//!
//! A message is text and has no key, so keys are left out and no order is kept: the tables need none.

use async_trait::async_trait;
use futures::{StreamExt as _, TryStreamExt as _, stream};

use super::{Append, AppendError, NewRecord};
use crate::sources::sqs::Queue;

/// Messages in a call: the most that SQS takes.
const BATCH: usize = 10;
/// Bytes in a call; SQS takes 1 MiB.
const BATCH_BYTES: usize = 1_000_000;
/// Concurrent calls.
const CALLS: usize = 8;
/// Attempts to send messages that SQS did not take.
const ATTEMPTS: usize = 5;

#[async_trait]
impl Append for Queue {
    async fn append(&self, records: Vec<NewRecord>) -> Result<(), AppendError> {
        let mut batches: Vec<Vec<String>> = vec![Vec::new()];
        let mut bytes = 0;
        for record in records {
            if !record.headers.is_empty() {
                return Err(AppendError::Refused("a message of SQS carries no headers of ours".to_owned()));
            }
            let text = String::from_utf8(record.payload.into());
            let text = text.map_err(|_| AppendError::Refused("a message of SQS is text".to_owned()))?;
            let full = batches.last().is_none_or(|last| last.len() == BATCH || bytes + text.len() > BATCH_BYTES);
            if full {
                batches.push(Vec::new());
                bytes = 0;
            }
            bytes += text.len();
            if let Some(last) = batches.last_mut() {
                last.push(text);
            }
        }
        let sends = batches.into_iter().filter(|batch| !batch.is_empty()).map(|batch| self.send_all(batch));
        stream::iter(sends).buffer_unordered(CALLS).try_collect().await
    }
}

impl Queue {
    async fn send_all(&self, mut bodies: Vec<String>) -> Result<(), AppendError> {
        let mut reason = String::new();
        for _ in 0..ATTEMPTS {
            let failed = self.send(&bodies).await.map_err(|error| AppendError::NotDurable(error.to_string()))?;
            if failed.is_empty() {
                return Ok(());
            }
            reason = failed.iter().map(|entry| entry.reason.clone()).next().unwrap_or_default();
            let mut index = 0;
            bodies.retain(|_| {
                index += 1;
                failed.iter().any(|entry| entry.index + 1 == index)
            });
        }
        Err(AppendError::NotDurable(format!("SQS did not take {} messages: {reason}", bodies.len())))
    }
}
