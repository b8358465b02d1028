//! The calls to Kinesis, in our own types. The only file that names the vendor's types.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_kinesis::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::{PutRecordsRequestEntry, ShardIteratorType, StreamStatus};
use bytes::Bytes;

use super::failure::{Failure, Kind, of_answer};

/// Timeout of one call, which is then retried. An answer holds up to 10 MB, which takes a slow line some seconds.
const CALL_MAX: Duration = Duration::from_secs(20);

/// Most pages of shards that are read: enough for 100,000 shards. More means a loop on the server.
const PAGES_MAX: usize = 1_000;

/// A stream, and how to reach it.
#[derive(Clone, Debug, Default)]
pub struct Address {
    /// The name of the stream, or its ARN.
    pub stream: String,
    /// The region; by default that of the environment or the profile.
    pub region: Option<String>,
    /// The URL of a compatible service other than AWS.
    pub endpoint: Option<String>,
    /// Settings and credentials that replace the standard chain of environment, profile and instance.
    pub config: Option<SdkConfig>,
}

/// A stream as Kinesis describes it.
#[derive(Clone, Debug)]
pub(crate) struct Summary {
    /// Its ARN and creation time.
    pub(crate) incarnation: String,
    /// How long it keeps records.
    pub(crate) retention: Duration,
    /// Whether it can be used.
    pub(crate) is_ready: bool,
}

/// A shard as Kinesis lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listed {
    /// Its name.
    pub(crate) id: String,
    /// The shards it was made from.
    pub(crate) parents: Vec<String>,
    /// The first and the last hash of its keys.
    pub(crate) hashes: Option<(u128, u128)>,
}

/// Where an iterator begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start<'a> {
    /// At the oldest record.
    Oldest,
    /// At this record.
    At(&'a str),
    /// Behind this record.
    After(&'a str),
}

/// A record as Kinesis keeps it.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) sequence: String,
    pub(crate) arrived_ms: i64,
    pub(crate) key: Bytes,
    pub(crate) data: Bytes,
}

/// One answer to GetRecords.
#[derive(Clone, Debug)]
pub(crate) struct Page {
    pub(crate) records: Vec<Stored>,
    /// `None` at the end of a closed shard.
    pub(crate) next: Option<String>,
    /// Milliseconds from the end of this answer to the newest record.
    pub(crate) behind_ms: i64,
}

/// A record to put.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) key: String,
    /// Selects the shard instead of the key, if it is given.
    pub(crate) hash: Option<u128>,
    pub(crate) data: Bytes,
}

/// A client of one stream.
#[derive(Debug)]
pub(crate) struct Client {
    address: Address,
    /// Made when it is first used, and anew after [`Client::renew`].
    sdk: Mutex<Option<aws_sdk_kinesis::Client>>,
}

impl Client {
    pub(crate) fn new(address: Address) -> Self {
        Client { address, sdk: Mutex::new(None) }
    }

    /// The stream as it was configured.
    pub(crate) fn stream(&self) -> &str {
        &self.address.stream
    }

    /// Makes the next call with new connections, credentials and settings.
    pub(crate) fn renew(&self) {
        *self.sdk.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    async fn sdk(&self) -> aws_sdk_kinesis::Client {
        if let Some(sdk) = &*self.sdk.lock().unwrap_or_else(PoisonError::into_inner) {
            return sdk.clone();
        }
        let config = match &self.address.config {
            Some(config) => config.clone(),
            None => aws_config::defaults(BehaviorVersion::latest()).load().await,
        };
        let mut own = aws_sdk_kinesis::config::Builder::from(&config)
            // We pace and retry: hidden retries would use up the calls that a shard allows.
            .retry_config(RetryConfig::disabled())
            .timeout_config(TimeoutConfig::builder().operation_timeout(CALL_MAX).build());
        if let Some(region) = &self.address.region {
            own = own.region(Region::new(region.clone()));
        }
        if let Some(endpoint) = &self.address.endpoint {
            own = own.endpoint_url(endpoint);
        }
        let sdk = aws_sdk_kinesis::Client::from_conf(own.build());
        *self.sdk.lock().unwrap_or_else(PoisonError::into_inner) = Some(sdk.clone());
        sdk
    }

    /// The stream as a name or as an ARN, whichever it is.
    fn named(&self) -> (Option<String>, Option<String>) {
        let stream = Some(self.address.stream.clone());
        if self.address.stream.starts_with("arn:") { (None, stream) } else { (stream, None) }
    }

    /// Creates the stream with `shards` shards.
    pub(crate) async fn create(&self, shards: i32) -> Result<(), Failure> {
        let call = self.sdk().await.create_stream().stream_name(&self.address.stream).shard_count(shards);
        call.send().await.map(drop).map_err(|error| failure("make the stream", error))
    }

    pub(crate) async fn describe(&self) -> Result<Summary, Failure> {
        let (name, arn) = self.named();
        let call = self.sdk().await.describe_stream_summary().set_stream_name(name).set_stream_arn(arn);
        let answer = call.send().await.map_err(|error| failure("describe the stream", error))?;
        let Some(summary) = answer.stream_description_summary else {
            return Err(misspoken("describe the stream", "no description"));
        };
        let made = summary.stream_creation_timestamp.to_millis().unwrap_or_default();
        let hours = u64::try_from(summary.retention_period_hours).unwrap_or_default().max(1);
        Ok(Summary {
            incarnation: format!("{}@{made}", summary.stream_arn),
            retention: Duration::from_secs(hours * 3_600),
            is_ready: matches!(summary.stream_status, StreamStatus::Active | StreamStatus::Updating),
        })
    }

    /// All shards that the stream still has, closed ones too.
    pub(crate) async fn list_shards(&self) -> Result<Vec<Listed>, Failure> {
        let (name, arn) = self.named();
        let first = self.sdk().await.list_shards().set_stream_name(name).set_stream_arn(arn);
        let mut answer = first.send().await.map_err(|error| failure("list the shards", error))?;
        let mut listed = Vec::new();
        for _ in 0..PAGES_MAX {
            listed.extend(answer.shards.take().unwrap_or_default().into_iter().map(|shard| Listed {
                parents: shard.parent_shard_id.into_iter().chain(shard.adjacent_parent_shard_id).collect(),
                hashes: shard.hash_key_range.and_then(|range| {
                    Some((range.starting_hash_key.parse().ok()?, range.ending_hash_key.parse().ok()?))
                }),
                id: shard.shard_id,
            }));
            let Some(token) = answer.next_token.filter(|token| !token.is_empty()) else { return Ok(listed) };
            // The token stands for the stream: naming both is refused.
            let next = self.sdk().await.list_shards().next_token(token);
            answer = next.send().await.map_err(|error| failure("list the shards", error))?;
        }
        Err(misspoken("list the shards", "the pages have no end"))
    }

    pub(crate) async fn iterator(&self, shard: &str, start: Start<'_>) -> Result<String, Failure> {
        let (name, arn) = self.named();
        let (kind, sequence) = match start {
            Start::Oldest => (ShardIteratorType::TrimHorizon, None),
            Start::At(sequence) => (ShardIteratorType::AtSequenceNumber, Some(sequence.to_owned())),
            Start::After(sequence) => (ShardIteratorType::AfterSequenceNumber, Some(sequence.to_owned())),
        };
        let call = self.sdk().await.get_shard_iterator().set_stream_name(name).set_stream_arn(arn);
        let call = call.shard_id(shard).shard_iterator_type(kind).set_starting_sequence_number(sequence);
        let answer = call.send().await.map_err(|error| failure("get an iterator", error))?;
        answer.shard_iterator.ok_or_else(|| misspoken("get an iterator", "no iterator"))
    }

    pub(crate) async fn records(&self, iterator: &str, limit: i32) -> Result<Page, Failure> {
        let call = self.sdk().await.get_records().shard_iterator(iterator).limit(limit);
        let answer = call.send().await.map_err(|error| failure("get records", error))?;
        let records = answer.records.into_iter().map(|record| Stored {
            sequence: record.sequence_number,
            arrived_ms: record.approximate_arrival_timestamp.and_then(|at| at.to_millis().ok()).unwrap_or_default(),
            key: record.partition_key.unwrap_or_default().into(),
            data: record.data.into_inner().into(),
        });
        Ok(Page {
            records: records.collect(),
            next: answer.next_shard_iterator,
            behind_ms: answer.millis_behind_latest.unwrap_or_default().max(0),
        })
    }

    /// Puts records; returns why each of them failed, in their order.
    pub(crate) async fn put(&self, entries: &[Entry]) -> Result<Vec<Option<Failure>>, Failure> {
        let (name, arn) = self.named();
        let put = |entry: &Entry| {
            let built = PutRecordsRequestEntry::builder().partition_key(&entry.key);
            let built = built.set_explicit_hash_key(entry.hash.map(|hash| hash.to_string()));
            built.data(Blob::new(entry.data.clone())).build()
        };
        let records: Result<Vec<_>, _> = entries.iter().map(put).collect();
        let records = records.map_err(|error| misspoken("put records", error))?;
        let call = self.sdk().await.put_records().set_stream_name(name).set_stream_arn(arn);
        let answer = call.set_records(Some(records)).send().await.map_err(|error| failure("put records", error))?;
        if answer.records.len() != entries.len() {
            return Err(misspoken("put records", "the answer is about another number of records"));
        }
        let failed = answer.records.into_iter().map(|result| {
            let code = result.error_code?;
            let source = result.error_message.unwrap_or_default().into();
            Some(Failure { kind: of_answer(Some(&code), 400), doing: "put a record", code: Some(code), source })
        });
        Ok(failed.collect())
    }
}

fn failure<E>(doing: &'static str, error: SdkError<E>) -> Failure
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    let code = error.code().map(str::to_owned);
    let kind = match &error {
        SdkError::ServiceError(answer) => of_answer(code.as_deref(), answer.raw().status().as_u16()),
        SdkError::TimeoutError(_) | SdkError::DispatchFailure(_) | SdkError::ResponseError(_) => Kind::Away,
        // A setting is missing or invalid.
        _ => Kind::Broken,
    };
    Failure { kind, doing, code, source: Box::new(error) }
}

/// The server violates the protocol.
fn misspoken(doing: &'static str, what: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Failure {
    Failure { kind: Kind::Away, doing, code: None, source: what.into() }
}
