//! The calls to SQS. The only file that names its types.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::retry::RetryConfig;
use aws_sdk_sqs::error::{BuildError, DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_sdk_sqs::types::{
    BatchResultErrorEntry, ChangeMessageVisibilityBatchRequestEntry, DeleteMessageBatchRequestEntry,
    MessageSystemAttributeName, QueueAttributeName, SendMessageBatchRequestEntry,
};
use bytes::Bytes;
use millstream_engine::clock::now_ms;

use super::error::Error;
use super::options::SqsOptions;

/// Maximum messages per call to receive, to extend and to delete, set by SQS.
pub(crate) const BATCH: usize = 10;
/// How long a poll waits for a first message: the maximum of SQS, so that an idle queue costs least.
pub(crate) const POLL: Duration = Duration::from_secs(20);
/// Timeout of a call, for polls in addition to [`POLL`].
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// An existing queue.
#[derive(Clone)]
pub struct Queue {
    client: Client,
    url: String,
    incarnation: Arc<str>,
    pub(crate) options: Arc<SqsOptions>,
}

/// A message as it was received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    /// The same at every receipt.
    pub(crate) id: Arc<str>,
    /// The handle of this receipt.
    pub(crate) handle: Arc<str>,
    pub(crate) body: Bytes,
    /// When it was sent, in milliseconds since 1970.
    pub(crate) sent_ms: i64,
}

/// An entry of a batch that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NotDone {
    /// Its index in the batch.
    pub(crate) index: usize,
    /// Whether it can never succeed: the handle is void by now.
    pub(crate) is_final: bool,
    /// Whether the handle is stale, so that we have nothing to delete.
    pub(crate) is_stale: bool,
    pub(crate) reason: String,
}

impl Queue {
    /// Finds a queue, with the credentials and the region of the environment, the files of the AWS tools or the
    /// machine's role.
    ///
    /// # Errors
    /// If an option is invalid, if the region is unknown, or if SQS does not know the queue or does not answer.
    pub async fn open(options: SqsOptions) -> Result<Queue, Error> {
        let mut config = aws_config::defaults(BehaviorVersion::latest());
        if let Some(region) = options.region.as_deref().or(options.region_in_url()) {
            config = config.region(Region::new(region.to_owned()));
        }
        Queue::open_with(&config.load().await, options).await
    }

    /// The same for a program that has an AWS configuration of its own; an endpoint and a region in `options` take
    /// precedence over it.
    ///
    /// # Errors
    /// As [`Queue::open`].
    pub async fn open_with(config: &SdkConfig, options: SqsOptions) -> Result<Queue, Error> {
        options.check()?;
        let timeouts = TimeoutConfig::builder().operation_timeout(POLL + ANSWER_MAX).build();
        // Callers retry, since they know what a retry may cost.
        let mut builder =
            aws_sdk_sqs::config::Builder::from(config).retry_config(RetryConfig::disabled()).timeout_config(timeouts);
        if let Some(endpoint) = &options.endpoint {
            builder = builder.endpoint_url(endpoint);
        }
        if let Some(region) = options.region.as_deref().or(options.region_in_url()) {
            builder = builder.region(Region::new(region.to_owned()));
        } else if config.region().is_none() {
            return Err(Error::NoRegion);
        }
        let client = Client::from_conf(builder.build());
        let is_url = options.queue.starts_with("http://") || options.queue.starts_with("https://");
        let url = if is_url { options.queue.clone() } else { find(&client, &options.queue).await? };
        let mut queue = Queue { client, url, incarnation: "".into(), options: options.into() };
        let says = queue.attributes([QueueAttributeName::QueueArn, QueueAttributeName::CreatedTimestamp]).await?;
        let said = |name| says.get(&name).cloned().unwrap_or_default();
        let arn = said(QueueAttributeName::QueueArn);
        let made = said(QueueAttributeName::CreatedTimestamp);
        // A queue that is deleted and made again is another one; SQS requires a minute between the two.
        queue.incarnation = format!("{arn}@{made}").into();
        Ok(queue)
    }

    /// Creates the queue named in `options`, or finds it if it exists.
    ///
    /// # Errors
    /// As [`Queue::open`].
    pub async fn create(options: SqsOptions) -> Result<Queue, Error> {
        let mut config = aws_config::defaults(BehaviorVersion::latest());
        if let Some(region) = &options.region {
            config = config.region(Region::new(region.clone()));
        }
        let config = config.load().await;
        let mut builder = aws_sdk_sqs::config::Builder::from(&config);
        if let Some(endpoint) = &options.endpoint {
            builder = builder.endpoint_url(endpoint);
        }
        let doing = "make the queue";
        let client = Client::from_conf(builder.build());
        let made = answered(doing, client.create_queue().queue_name(&options.queue).send()).await?;
        made.map_err(|error| failed(doing, &options.queue, &error))?;
        Queue::open_with(&config, options).await
    }

    /// Identifies the queue: its ARN, and its creation time in seconds since 1970.
    pub fn incarnation(&self) -> &str {
        &self.incarnation
    }

    /// One poll for up to `count` messages, at most [`BATCH`], that waits up to `wait` for the first one.
    pub(crate) async fn receive(&self, count: usize, wait: Duration) -> Result<Vec<Message>, Error> {
        let doing = "receive messages";
        let answer = self
            .client
            .receive_message()
            .queue_url(&self.url)
            .max_number_of_messages(count.clamp(1, BATCH) as i32)
            .wait_time_seconds(wait.as_secs() as i32)
            .visibility_timeout(self.options.visibility.as_secs() as i32)
            .message_system_attribute_names(MessageSystemAttributeName::SentTimestamp)
            .send()
            .await
            .map_err(|error| self.failed(doing, &error))?;
        let messages = answer.messages.unwrap_or_default().into_iter().filter_map(|message| {
            let (Some(id), Some(handle)) = (message.message_id, message.receipt_handle) else {
                // Such a message cannot be handled, and becomes visible again.
                tracing::error!("a message has no id or no receipt handle; it is left in the queue");
                return None;
            };
            let sent = message.attributes.as_ref().and_then(|all| all.get(&MessageSystemAttributeName::SentTimestamp));
            let sent_ms = sent.and_then(|text| text.parse().ok()).unwrap_or_else(now_ms);
            let body = Bytes::from(message.body.unwrap_or_default());
            Some(Message { id: id.into(), handle: handle.into(), body, sent_ms })
        });
        Ok(messages.collect())
    }

    /// Keeps up to [`BATCH`] messages invisible for `time` from now on; zero makes them visible. Returns the failed
    /// entries.
    pub(crate) async fn keep_invisible(&self, handles: &[Arc<str>], time: Duration) -> Result<Vec<NotDone>, Error> {
        let doing = "change the visibility of messages";
        let entry = |(index, handle): (usize, &Arc<str>)| {
            ChangeMessageVisibilityBatchRequestEntry::builder()
                .id(index.to_string())
                .receipt_handle(&**handle)
                .visibility_timeout(time.as_secs() as i32)
                .build()
        };
        let entries: Result<Vec<_>, BuildError> = handles.iter().enumerate().map(entry).collect();
        let entries = entries.map_err(|error| Error::Failed { doing, detail: error.to_string() })?;
        let call = self.client.change_message_visibility_batch().queue_url(&self.url).set_entries(Some(entries));
        let answer = answered(doing, call.send()).await?.map_err(|error| self.failed(doing, &error))?;
        Ok(answer.failed.into_iter().map(not_done).collect())
    }

    /// Deletes up to [`BATCH`] messages. Returns those not deleted.
    pub(crate) async fn delete(&self, handles: &[Arc<str>]) -> Result<Vec<NotDone>, Error> {
        let doing = "delete messages";
        let entry = |(index, handle): (usize, &Arc<str>)| {
            DeleteMessageBatchRequestEntry::builder().id(index.to_string()).receipt_handle(&**handle).build()
        };
        let entries: Result<Vec<_>, BuildError> = handles.iter().enumerate().map(entry).collect();
        let entries = entries.map_err(|error| Error::Failed { doing, detail: error.to_string() })?;
        let call = self.client.delete_message_batch().queue_url(&self.url).set_entries(Some(entries));
        let answer = answered(doing, call.send()).await?.map_err(|error| self.failed(doing, &error))?;
        Ok(answer.failed.into_iter().map(not_done).collect())
    }

    /// Sends up to [`BATCH`] messages. Returns those not accepted.
    pub(crate) async fn send(&self, bodies: &[String]) -> Result<Vec<NotDone>, Error> {
        let doing = "send messages";
        let entry = |(index, body): (usize, &String)| {
            SendMessageBatchRequestEntry::builder().id(index.to_string()).message_body(body).build()
        };
        let entries: Result<Vec<_>, BuildError> = bodies.iter().enumerate().map(entry).collect();
        let entries = entries.map_err(|error| Error::Failed { doing, detail: error.to_string() })?;
        let call = self.client.send_message_batch().queue_url(&self.url).set_entries(Some(entries));
        let answer = answered(doing, call.send()).await?.map_err(|error| self.failed(doing, &error))?;
        Ok(answer.failed.into_iter().map(not_done).collect())
    }

    /// About how many messages wait to be received.
    pub(crate) async fn waiting(&self) -> Result<Option<u64>, Error> {
        let name = QueueAttributeName::ApproximateNumberOfMessages;
        let says = self.attributes([name.clone()]).await?;
        Ok(says.get(&name).and_then(|text| text.parse().ok()))
    }

    async fn attributes<const N: usize>(
        &self,
        names: [QueueAttributeName; N],
    ) -> Result<HashMap<QueueAttributeName, String>, Error> {
        let doing = "read the attributes of the queue";
        let call = self.client.get_queue_attributes().queue_url(&self.url).set_attribute_names(Some(names.into()));
        let answer = answered(doing, call.send()).await?.map_err(|error| self.failed(doing, &error))?;
        Ok(answer.attributes.unwrap_or_default())
    }

    fn failed<E>(&self, doing: &'static str, error: &SdkError<E>) -> Error
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        failed(doing, &self.options.queue, error)
    }
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").field("incarnation", &self.incarnation).field("options", &self.options).finish()
    }
}

async fn find(client: &Client, name: &str) -> Result<String, Error> {
    let doing = "find the queue";
    let call = client.get_queue_url().queue_name(name);
    let answer = answered(doing, call.send()).await?.map_err(|error| failed(doing, name, &error))?;
    answer.queue_url.ok_or_else(|| Error::Failed { doing, detail: "SQS gave no URL".to_owned() })
}

async fn answered<T>(doing: &'static str, call: impl Future<Output = T>) -> Result<T, Error> {
    let no_answer = |_| Error::Failed { doing, detail: format!("no answer within {} s", ANSWER_MAX.as_secs()) };
    tokio::time::timeout(ANSWER_MAX, call).await.map_err(no_answer)
}

fn failed<E>(doing: &'static str, queue: &str, error: &SdkError<E>) -> Error
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let code = error.code().unwrap_or_default();
    if code.ends_with("QueueDoesNotExist") || code.ends_with("NonExistentQueue") {
        return Error::NoSuchQueue { doing, queue: queue.to_owned() };
    }
    let detail = match error.message() {
        Some(message) => format!("{code}: {message}"),
        None => DisplayErrorContext(error).to_string(),
    };
    Error::Failed { doing, detail }
}

fn not_done(entry: BatchResultErrorEntry) -> NotDone {
    let BatchResultErrorEntry { id, sender_fault, code, message, .. } = entry;
    NotDone {
        index: id.parse().unwrap_or(usize::MAX),
        is_final: sender_fault,
        is_stale: code.ends_with("ReceiptHandleIsInvalid"),
        reason: format!("{code}: {}", message.unwrap_or_default()),
    }
}
