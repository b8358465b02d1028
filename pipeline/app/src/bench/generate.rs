//! Upload events as MinIO sends them, from a seed.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use bytes::Bytes;
use clap::Args as ClapArgs;
use millstream_connectors::sinks::stream::{Append, NewRecord};
use millstream_log::{Log, Options};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

use super::backlog::{Appended, GOOD_SIZE_MAX};
use super::source::{Kind, queue};
use crate::config::Config;
use crate::stream;
use crate::time::utc;

/// Characters that form encoding leaves as they are.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// Buckets that events are spread over.
pub const BUCKETS: u64 = 100;
/// Maximum distance of an event from its place.
const SHUFFLE: usize = 1_000;

/// Options of the generator process.
#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    /// Directory of the embedded stream, or address of a service.
    #[arg(long)]
    to: String,
    #[arg(long, value_enum)]
    source: Kind,
    /// Topic, stream or queue.
    #[arg(long)]
    topic: String,
    /// Maximum number of good events.
    #[arg(long)]
    events: u64,
    /// Bytes of keys and payloads; the event that reaches this number is the last.
    #[arg(long)]
    bytes: u64,
    /// Events that are too large, per thousand good ones.
    #[arg(long, value_parser = clap::value_parser!(u32).range(..=1000))]
    bad_per_thousand: u32,
    #[arg(long)]
    seed: u64,
    #[arg(long)]
    partitions: u32,
    /// Time of the first event, in milliseconds since 1970.
    #[arg(long)]
    start_ms: i64,
}

/// One event: its entity key and its bytes.
#[derive(Clone, Debug)]
pub struct Event {
    /// `bucket/key`.
    pub key: Bytes,
    /// The notification.
    pub payload: Bytes,
}

/// Makes events: 85 % new keys, 10 % overwrites, 5 % deletes, 1 % of all twice, shuffled within 1,000.
#[derive(Debug)]
pub struct Generator {
    random: SmallRng,
    start_ms: i64,
    made: u64,
    objects: u64,
    window: Vec<Event>,
}

impl Generator {
    /// The same seed and start give the same events.
    pub fn new(seed: u64, start_ms: i64) -> Self {
        Generator { random: SmallRng::seed_from_u64(seed), start_ms, made: 0, objects: 0, window: Vec::new() }
    }

    /// The next event in the order of sending.
    pub fn next_event(&mut self) -> Event {
        while self.window.len() < SHUFFLE {
            let event = self.make();
            if self.random.random_ratio(1, 100) {
                self.window.push(event.clone());
            }
            self.window.push(event);
        }
        let at = self.random.random_range(0..self.window.len());
        self.window.swap_remove(at)
    }

    fn make(&mut self) -> Event {
        let share = if self.objects < 100 { 100 } else { self.random.random_range(0..100) };
        let object = if share < 15 { self.random.random_range(0..self.objects) } else { self.objects };
        self.objects += u64::from(object == self.objects);
        let ns = (self.start_ms as u64) * 1_000_000 + self.made * 1_000_000 / 4;
        self.made += 1;
        let removed = share < 5;
        let random = self.random.random();
        event(object, ns, removed, random, random % GOOD_SIZE_MAX)
    }
}

/// A number that looks random but is fixed for each object.
fn scramble(object: u64) -> u64 {
    let mut x = object.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x ^= x >> 32;
    x.wrapping_mul(0xd6e8_feb8_6659_fd93)
}

fn event(object: u64, ns: u64, removed: bool, random: u64, size: u64) -> Event {
    let own = scramble(object);
    let bucket = format!("bucket-{:02}", own % BUCKETS);
    let project = own >> 8 & 31;
    let camera = own >> 16 & 127;
    let day = own >> 24 & 31;
    let key = format!("project-{project}/camera-{camera}/2026-11-{:02}/frame {object:09}.jpg", day % 30 + 1);
    let encoded = utf8_percent_encode(&key, UNRESERVED).to_string().replace("%20", "+");
    let time = utc((ns / 1_000_000) as i64);
    let name = if removed { "s3:ObjectRemoved:Delete" } else { "s3:ObjectCreated:Put" };
    let facts = if removed {
        String::new()
    } else {
        format!(
            r#","size":{size},"eTag":"{etag:016x}{own:016x}","contentType":"image/jpeg","userMetadata":{{"content-type":"image/jpeg","X-Amz-Meta-Owner":"owner-{owner}","X-Amz-Meta-Project":"project-{project}","X-Amz-Meta-Stage":"{stage}","X-Amz-Meta-Camera":"camera-{camera_id}","X-Amz-Meta-Sha":"{random:016x}{own:016x}","X-Amz-Meta-Run":"run-{run}"}}"#,
            etag = random,
            owner = own % 2_000,
            stage = ["raw", "train", "validate", "test"][(random % 4) as usize],
            camera_id = own >> 16 & 0x3fff,
            run = own >> 40 & 0xff,
        )
    };
    let payload = format!(
        r#"{{"EventName":"{name}","Key":"{bucket}/{key}","Records":[{{"eventVersion":"2.0","eventSource":"minio:s3","awsRegion":"","eventTime":"{time}","eventName":"{name}","userIdentity":{{"principalId":"uploader"}},"requestParameters":{{"principalId":"uploader","region":"","sourceIPAddress":"127.0.0.1"}},"responseElements":{{"x-amz-id-2":"dd9025bab4ad464b049177c95eb6ebf374d3b3fd1af9251148b658df7ac2e3e8","x-amz-request-id":"{ns:016X}","x-minio-deployment-id":"1e1ac9b6-2a5b-4b0f-9a0f-5d0f9a9c2d11","x-minio-origin-endpoint":"http://127.0.0.1:9000"}},"s3":{{"s3SchemaVersion":"1.0","configurationId":"Config","bucket":{{"name":"{bucket}","ownerIdentity":{{"principalId":"uploader"}},"arn":"arn:aws:s3:::{bucket}"}},"object":{{"key":"{encoded}"{facts},"sequencer":"{ns:016X}"}}}},"source":{{"host":"127.0.0.1","port":"","userAgent":"MinIO (linux; amd64) minio-go/v7.0.80"}}}}]}}"#
    );
    Event { key: format!("{bucket}/{key}").into(), payload: payload.into() }
}

/// Records of one append.
const APPEND_RECORDS: usize = 2_000;
/// Bad objects are numbered from here, so that none shares its key with a good one.
const BAD_OBJECTS_FROM: u64 = 1 << 40;

/// Appends events to a stream; prints how many.
pub(super) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    if args.source != Kind::Log {
        fill(&*appender(&args).await?, &args).await?;
        return Ok(ExitCode::SUCCESS);
    }
    let log = Log::open(Path::new(&args.to), Options::default()).context("open the stream")?;
    let topic = log.topic(&args.topic, args.partitions)?;
    fill(&topic, &args).await?;
    log.close()?;
    Ok(ExitCode::SUCCESS)
}

/// The service that is appended to.
async fn appender(args: &Args) -> anyhow::Result<Arc<dyn Append>> {
    let mut config = Config::default();
    match args.source {
        Kind::Log => anyhow::bail!("the embedded stream is opened as such"),
        Kind::Kafka => {
            config.stream.kafka.brokers.clone_from(&args.to);
            stream::kafka_producer(&config, &args.topic)
        }
        Kind::Kinesis => {
            config.stream.kinesis.endpoint = Some(args.to.clone());
            stream::kinesis_producer(&config, &args.topic)
        }
        Kind::Sqs => stream::make_queue(&config, &queue(&args.topic, Some(args.to.clone()))).await,
    }
}

async fn fill(stream: &dyn Append, args: &Args) -> anyhow::Result<()> {
    let mut generator = Generator::new(args.seed, args.start_ms);
    // A random source of its own: the good events are the same with and without bad ones.
    let mut chance = SmallRng::seed_from_u64(!args.seed);
    let mut appended = Appended::default();
    while appended.events - appended.bad < args.events && appended.bytes < args.bytes {
        let mut records = Vec::with_capacity(APPEND_RECORDS);
        while records.len() < APPEND_RECORDS
            && appended.events - appended.bad < args.events
            && appended.bytes < args.bytes
        {
            push(&mut records, &mut appended, generator.next_event());
            if chance.random_ratio(args.bad_per_thousand, 1000) {
                let ns = (args.start_ms as u64) * 1_000_000;
                let bad = event(BAD_OBJECTS_FROM + appended.bad, ns, false, appended.bad, GOOD_SIZE_MAX);
                push(&mut records, &mut appended, bad);
                appended.bad += 1;
            }
        }
        stream.append(records).await.context("append")?;
    }
    super::print(&serde_json::to_string(&appended)?);
    Ok(())
}

fn push(records: &mut Vec<NewRecord>, appended: &mut Appended, event: Event) {
    appended.events += 1;
    appended.bytes += (event.key.len() + event.payload.len()) as u64;
    records.push(NewRecord { key: event.key, headers: Vec::new(), payload: event.payload });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_events() {
        let make = |seed| {
            let mut generator = Generator::new(seed, 1_795_459_345_730);
            (0..3000).map(|_| generator.next_event().payload).collect::<Vec<_>>()
        };
        assert_eq!(make(7), make(7));
        assert_ne!(make(7), make(8));
    }
}
