//! The options of a queue.

use std::time::Duration;

use super::error::Error;

/// Longest invisibility of a message in SQS, counted from its receipt.
const INVISIBLE_MAX: Duration = Duration::from_secs(12 * 3600);
/// SQS counts in whole seconds, and half of the period must leave time for a call.
const VISIBILITY_MIN: Duration = Duration::from_secs(2);
/// Messages of a standard queue that may be invisible at once.
const MESSAGES_LIMIT: usize = 120_000;

/// A queue of Amazon SQS, and how it is read.
#[derive(Clone, Debug)]
pub struct SqsOptions {
    /// Its name, or its URL.
    pub queue: String,
    /// Its region; by default the one in its URL, else that of the AWS configuration.
    pub region: Option<String>,
    /// The URL of SQS, such as `http://127.0.0.1:9324`; by default `AWS_ENDPOINT_URL_SQS`, else AWS.
    pub endpoint: Option<String>,
    /// Without a bridge: the name of this process among the readers of the queue, which no other running process may
    /// have. By default the name of the host with a number that no other process of the host has.
    pub consumer: Option<String>,
    /// How long a received message stays invisible to others; it is extended after half of this time. Shorter: messages
    /// of a killed process come again sooner. Longer: fewer calls while the sink is slow. Whole seconds, 2 s to 12 h;
    /// default 60 s.
    pub visibility: Duration,
    /// How long a message is kept invisible, counted from its receipt. After that others receive it again, and the
    /// queue's redrive policy counts it. Default 11 h: SQS allows 12 h, and an outage of the sink is no message's
    /// fault.
    pub age_max: Duration,
    /// Concurrent long polls with a backlog; without one there is one poll. Default 16: about 8,000 messages a second
    /// if an answer takes 20 ms.
    pub receivers_max: usize,
    /// Maximum messages received and not yet deleted. Default 20,000: two batches.
    pub messages_max: usize,
    /// The same in bytes; running polls may exceed it. Default 64 MiB.
    pub bytes_max: usize,
    /// Without a bridge: whether a loss of messages is accepted when the database returns to an older state (a backup,
    /// a failover to an asynchronous standby), because messages deleted from a queue cannot be read again. It must be
    /// `true` unless the database has a synchronous standby. If `true`, reading continues after such a return, with an
    /// error in the log; otherwise it halts, and a person decides. A process that starts after the return sees no
    /// difference and continues in both cases.
    pub accept_loss_on_restore: bool,
}

impl SqsOptions {
    /// The defaults, for a queue with this name or URL.
    pub fn new(queue: impl Into<String>) -> Self {
        SqsOptions {
            queue: queue.into(),
            region: None,
            endpoint: None,
            consumer: None,
            visibility: Duration::from_secs(60),
            age_max: Duration::from_secs(11 * 3600),
            receivers_max: 16,
            messages_max: 20_000,
            bytes_max: 64 << 20,
            accept_loss_on_restore: false,
        }
    }

    /// The error names the invalid value.
    pub(super) fn check(&self) -> Result<(), Error> {
        let wrong = |what: &str| Err(Error::Options(what.to_owned()));
        if self.queue.is_empty() {
            return wrong("queue: a name or a URL");
        }
        if !(VISIBILITY_MIN..=INVISIBLE_MAX).contains(&self.visibility) || self.visibility.subsec_nanos() != 0 {
            return wrong("visibility: whole seconds, from 2 s to 12 h");
        }
        if self.age_max > INVISIBLE_MAX {
            return wrong("age_max: at most 12 h, which is what SQS allows");
        }
        if !(1..=1000).contains(&self.receivers_max) {
            return wrong("receivers_max: from 1 to 1,000");
        }
        if !(1..=MESSAGES_LIMIT).contains(&self.messages_max) {
            return wrong("messages_max: from 1 to 120,000, which is what SQS allows");
        }
        if self.bytes_max == 0 {
            return wrong("bytes_max: at least 1");
        }
        if self.consumer.as_ref().is_some_and(|name| name.is_empty() || name.len() > 200) {
            return wrong("consumer: a name of at most 200 bytes");
        }
        Ok(())
    }

    /// The region in a queue's URL, if it is a URL of AWS.
    pub(super) fn region_in_url(&self) -> Option<&str> {
        let host = self.queue.strip_prefix("https://")?.split('/').next()?;
        let (region, domain) = host.strip_prefix("sqs.")?.split_once('.')?;
        domain.starts_with("amazonaws.com").then_some(region)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_allowed_and_nonsense_is_not() {
        assert_eq!(SqsOptions::new("events").check(), Ok(()));
        let wrong: [fn(&mut SqsOptions); 7] = [
            |options| options.queue.clear(),
            |options| options.visibility = Duration::from_millis(2500),
            |options| options.visibility = Duration::from_secs(1),
            |options| options.age_max = Duration::from_secs(13 * 3600),
            |options| options.receivers_max = 0,
            |options| options.messages_max = 120_001,
            |options| options.consumer = Some(String::new()),
        ];
        for (number, spoil) in wrong.iter().enumerate() {
            let mut options = SqsOptions::new("events");
            spoil(&mut options);
            assert!(matches!(options.check(), Err(Error::Options(_))), "number {number}");
        }
    }

    #[test]
    fn a_url_of_aws_names_its_region() {
        let region = |queue: &str| SqsOptions::new(queue).region_in_url().map(str::to_owned);
        assert_eq!(region("https://sqs.eu-west-1.amazonaws.com/123456789012/events").as_deref(), Some("eu-west-1"));
        assert_eq!(region("https://sqs.cn-north-1.amazonaws.com.cn/123456789012/e").as_deref(), Some("cn-north-1"));
        assert_eq!(region("http://127.0.0.1:9324/000000000000/events"), None);
        assert_eq!(region("events"), None);
    }
}
