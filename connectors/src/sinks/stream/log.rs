//! The embedded log.

use async_trait::async_trait;
use millstream_log::{AppendError as LogError, Cause, Failed, Topic};

use super::{Append, AppendError, NewRecord};

#[async_trait]
impl Append for Topic {
    async fn append(&self, records: Vec<NewRecord>) -> Result<(), AppendError> {
        let record =
            |NewRecord { key, headers, payload }| millstream_log::NewRecord { partition: None, key, headers, payload };
        match Topic::append(self, records.into_iter().map(record).collect()).await {
            Ok(_) => Ok(()),
            Err(LogError::Closed) => Err(AppendError::Closed),
            Err(error @ (LogError::RecordTooLarge { .. } | LogError::NoSuchPartition { .. })) => {
                Err(AppendError::Refused(error.to_string()))
            }
            Err(LogError::NotDurable { failed, .. }) => Err(not_durable(&failed)),
        }
    }
}

fn not_durable(failed: &[Failed]) -> AppendError {
    match failed.first() {
        Some(Failed { cause: Cause::Closed, .. }) => AppendError::Closed,
        Some(Failed { cause: Cause::Fault(fault), .. }) if fault.is_space() => {
            AppendError::Full(format!("{fault}: {}", fault.source))
        }
        Some(failed) => AppendError::NotDurable(format!("partition {}: {}", failed.partition, failed.cause)),
        None => AppendError::NotDurable("the stream did not say which part failed".to_owned()),
    }
}
