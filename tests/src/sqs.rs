//! Queues of a stand-in for SQS, and buckets whose events go there.

use std::collections::BTreeMap;
use std::time::Duration;

use aws_config::SdkConfig;
use aws_sdk_s3::types::{
    BucketVersioningStatus, Event as S3Event, NotificationConfiguration, QueueConfiguration, VersioningConfiguration,
};
use aws_sdk_sqs::types::{QueueAttributeName, SendMessageBatchRequestEntry};
use millstream_connectors::sources::sqs::{Queue, SqsOptions};

use crate::database::Database;
use crate::parts::{StandIn, unique};
use crate::wait::until;

/// Bytes in one call to send messages, below what the strictest stand-in takes.
const SEND_BYTES: usize = 200_000;

/// A queue of the test's own.
#[derive(Debug)]
pub struct TestQueue {
    /// Its client.
    pub sqs: aws_sdk_sqs::Client,
    /// Of the account that it is in.
    pub config: SdkConfig,
    /// Its URL.
    pub url: String,
    name: String,
}

impl TestQueue {
    /// A new one in an account of its own.
    ///
    /// # Panics
    /// If it is refused.
    pub async fn new(stand_in: &StandIn) -> Self {
        TestQueue::make(stand_in.account().config().await, unique("queue"), &[]).await
    }

    /// A new one beside another queue.
    ///
    /// # Panics
    /// If it is refused.
    pub async fn beside(&self, attributes: &[(QueueAttributeName, String)]) -> Self {
        TestQueue::make(self.config.clone(), unique("queue"), attributes).await
    }

    async fn make(config: SdkConfig, name: String, attributes: &[(QueueAttributeName, String)]) -> Self {
        let sqs = aws_sdk_sqs::Client::new(&config);
        let attributes = Some(attributes.iter().cloned().collect()).filter(|_| !attributes.is_empty());
        let made = sqs.create_queue().queue_name(&name).set_attributes(attributes).send().await.expect("make a queue");
        TestQueue { url: made.queue_url.expect("a queue has a URL"), sqs, config, name }
    }

    /// Deletes it and makes it anew under its name, at another second.
    ///
    /// # Panics
    /// If that is refused.
    pub async fn remake(&mut self) {
        let made = QueueAttributeName::CreatedTimestamp;
        let before = self.attribute(made.clone()).await;
        until("a queue made at another second", Duration::from_secs(60), || async {
            self.sqs.delete_queue().queue_url(&self.url).send().await.expect("delete a queue");
            TestQueue::make(self.config.clone(), self.name.clone(), &[]).await;
            (self.attribute(made.clone()).await != before).then_some(())
        })
        .await;
    }

    /// How a reader of it is configured by default.
    pub fn options(&self) -> SqsOptions {
        SqsOptions { consumer: Some("test".to_owned()), ..SqsOptions::new(&self.name) }
    }

    /// The queue, opened with these options.
    ///
    /// # Panics
    /// If it is not there.
    pub async fn open(&self, options: SqsOptions) -> Queue {
        Queue::open_with(&self.config, options).await.expect("open the queue")
    }

    /// Sends messages in their order.
    ///
    /// # Panics
    /// If they are refused.
    pub async fn send(&self, bodies: &[String]) {
        let mut rest = bodies;
        while !rest.is_empty() {
            let mut bytes = 0;
            let fits = |body: &&String| {
                bytes += body.len();
                bytes <= SEND_BYTES
            };
            let count = rest.iter().take(10).take_while(fits).count().max(1);
            let (now, later) = rest.split_at(count);
            let entry = |(number, body): (usize, &String)| {
                let entry = SendMessageBatchRequestEntry::builder().id(number.to_string()).message_body(body);
                entry.build().expect("an entry")
            };
            let entries = now.iter().enumerate().map(entry).collect();
            let call = self.sqs.send_message_batch().queue_url(&self.url).set_entries(Some(entries));
            let sent = call.send().await.expect("send messages");
            assert!(sent.failed.is_empty(), "{:?}", sent.failed);
            rest = later;
        }
    }

    /// An attribute as text.
    ///
    /// # Panics
    /// If it has none of this name.
    pub async fn attribute(&self, name: QueueAttributeName) -> String {
        let [value] = self.attributes([name]).await;
        value
    }

    /// Attributes as text, as they were at one moment.
    async fn attributes<const COUNT: usize>(&self, names: [QueueAttributeName; COUNT]) -> [String; COUNT] {
        let call = self.sqs.get_queue_attributes().queue_url(&self.url).set_attribute_names(Some(names.to_vec()));
        let mut said = call.send().await.expect("read attributes").attributes.expect("some");
        names.map(|name| said.remove(&name).expect("this one"))
    }

    /// How many messages are visible, and how many are not.
    ///
    /// # Panics
    /// If the queue does not say.
    pub async fn messages(&self) -> (u64, u64) {
        // Asked for one after the other, a message that becomes visible in between is in neither.
        let names = [
            QueueAttributeName::ApproximateNumberOfMessages,
            QueueAttributeName::ApproximateNumberOfMessagesNotVisible,
        ];
        let [visible, invisible] = self.attributes(names).await;
        (visible.parse().expect("a number"), invisible.parse().expect("a number"))
    }

    /// Waits until all of its messages are deleted.
    ///
    /// # Panics
    /// If they are not in time.
    pub async fn emptied(&self, within: Duration) {
        until("the queue to be empty", within, || async { (self.messages().await == (0, 0)).then_some(()) }).await;
    }
}

/// A bucket whose events go to a queue.
#[derive(Debug)]
pub struct TestBucket {
    /// Its client.
    pub s3: aws_sdk_s3::Client,
    /// Its name.
    pub name: String,
}

/// A version as the store lists it: whether it is a marker, whether it is what a reader gets, its size and entity tag.
pub type Listed = (bool, bool, Option<i64>, String);

impl TestBucket {
    /// A new one, with or without versions.
    ///
    /// # Panics
    /// If it is refused.
    pub async fn new(queue: &TestQueue, is_versioned: bool) -> Self {
        let s3 = aws_sdk_s3::Client::new(&queue.config);
        let name = unique("bucket");
        s3.create_bucket().bucket(&name).send().await.expect("make a bucket");
        if is_versioned {
            let on = VersioningConfiguration::builder().status(BucketVersioningStatus::Enabled).build();
            s3.put_bucket_versioning().bucket(&name).versioning_configuration(on).send().await.expect("versions");
        }
        let to_queue = QueueConfiguration::builder()
            .queue_arn(queue.attribute(QueueAttributeName::QueueArn).await)
            .events(S3Event::from("s3:ObjectCreated:*"))
            .events(S3Event::from("s3:ObjectRemoved:*"))
            .build()
            .expect("a configuration");
        let told = NotificationConfiguration::builder().queue_configurations(to_queue).build();
        let call = s3.put_bucket_notification_configuration().bucket(&name).notification_configuration(told);
        call.send().await.expect("configure events");
        TestBucket { s3, name }
    }

    /// Puts an object; its version, empty without versions.
    ///
    /// # Panics
    /// If it is refused.
    pub async fn put(&self, key: &str, size: usize) -> String {
        let body = vec![b'x'; size].into();
        let put = self.s3.put_object().bucket(&self.name).key(key).body(body).send().await.expect("put an object");
        put.version_id.unwrap_or_default()
    }

    /// Deletes an object, or one version of it.
    ///
    /// # Panics
    /// If it is refused.
    pub async fn delete(&self, key: &str, version: Option<&str>) {
        let call = self.s3.delete_object().bucket(&self.name).key(key).set_version_id(version.map(str::to_owned));
        call.send().await.expect("delete an object");
    }

    /// What the store has, by key and version (empty without versions).
    ///
    /// # Panics
    /// If it does not say.
    pub async fn list(&self) -> BTreeMap<(String, String), Listed> {
        let listed = self.s3.list_object_versions().bucket(&self.name).send().await.expect("list versions");
        assert!(!listed.is_truncated.unwrap_or(false), "one page");
        let version = |id: Option<String>| id.filter(|id| id != "null").unwrap_or_default();
        let objects = listed.versions.unwrap_or_default().into_iter().map(|object| {
            let etag = object.e_tag.unwrap_or_default().trim_matches('"').to_owned();
            let name = (object.key.unwrap_or_default(), version(object.version_id));
            (name, (false, object.is_latest.unwrap_or(false), object.size, etag))
        });
        let markers = listed.delete_markers.unwrap_or_default().into_iter().map(|marker| {
            let name = (marker.key.unwrap_or_default(), version(marker.version_id));
            (name, (true, false, None, String::new()))
        });
        objects.chain(markers).collect()
    }
}

/// What the tables have of a bucket, in the words of the store: what was deleted for good is not there.
///
/// # Panics
/// If they cannot be read.
pub async fn stored(database: &Database, bucket: &str) -> BTreeMap<(String, String), Listed> {
    let rows = "SELECT key, version_id, kind = 2, current, size, etag FROM millstream.objects
                WHERE bucket = $1 AND kind IN (1, 2)";
    let rows: Vec<(String, String, bool, bool, Option<i64>, String)> =
        sqlx::query_as(rows).bind(bucket).fetch_all(&mut database.connect().await).await.expect("read objects");
    rows.into_iter()
        .map(|(key, version, marker, current, size, etag)| ((key, version), (marker, current, size, etag)))
        .collect()
}
