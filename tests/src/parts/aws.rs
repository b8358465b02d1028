//! Stand-ins for services of AWS.

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_sqs::config::Credentials;
use tokio::sync::OnceCell;

use super::{NUMBER, Part, Relaxed, unique};

/// The region of everything.
const REGION: &str = "us-east-1";

/// A stand-in that all tests share.
#[derive(Debug)]
pub struct StandIn {
    /// Its process.
    pub part: Part,
}

impl StandIn {
    /// One of the test's own, from the script of one of the four.
    ///
    /// # Panics
    /// If it does not start, or has to be had.
    pub async fn alone(script: &'static str) -> Option<StandIn> {
        Some(StandIn { part: Part::start(script, &[]).await? })
    }

    /// Its URL.
    pub fn endpoint(&self) -> &str {
        self.part.address()
    }

    /// An account of the test's own. ministack and kinesis-local keep the queues and streams of accounts apart, the
    /// others do not: a name from [`unique`] serves with all four.
    pub fn account(&self) -> Account {
        let number = 100_000_000_000 + NUMBER.fetch_add(1, Relaxed);
        Account { endpoint: self.endpoint().to_owned(), key: number.to_string() }
    }
}

/// Who asks a stand-in.
#[derive(Clone, Debug)]
pub struct Account {
    endpoint: String,
    /// Its number of 12 digits, which is its access key as well.
    pub key: String,
}

impl Account {
    /// What a client of the SDK is made from.
    pub async fn config(&self) -> SdkConfig {
        aws_config::defaults(BehaviorVersion::latest())
            .region(Region::new(REGION))
            .endpoint_url(&self.endpoint)
            .credentials_provider(Credentials::new(&self.key, "secret", None, None, "test"))
            .load()
            .await
    }

    /// The environment of a process that finds the stand-in by the SDK's own rules.
    pub fn variables(&self) -> [(&'static str, String); 7] {
        [
            ("AWS_ENDPOINT_URL", self.endpoint.clone()),
            ("AWS_ACCESS_KEY_ID", self.key.clone()),
            ("AWS_SECRET_ACCESS_KEY", "secret".to_owned()),
            ("AWS_REGION", REGION.to_owned()),
            ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
            // Whatever the person who runs the tests has configured.
            ("AWS_CONFIG_FILE", "/dev/null".to_owned()),
            ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null".to_owned()),
        ]
    }

    /// A queue of SQS with a name of its own; its URL.
    ///
    /// # Panics
    /// If it is refused.
    pub async fn queue(&self, name: &str) -> String {
        let sqs = aws_sdk_sqs::Client::new(&self.config().await);
        let made = sqs.create_queue().queue_name(unique(name)).send().await.expect("make a queue");
        made.queue_url.expect("a queue has a URL")
    }

    /// A stream of Kinesis with a name of its own, ready for records; its name.
    ///
    /// # Panics
    /// If it is refused, or not ready in time.
    pub async fn stream(&self, name: &str, shards: i32) -> String {
        let kinesis = aws_sdk_kinesis::Client::new(&self.config().await);
        let name = unique(name);
        let create = kinesis.create_stream().stream_name(&name).shard_count(shards);
        create.send().await.expect("make a stream");
        crate::until("the stream to be active", std::time::Duration::from_secs(60), || async {
            let summary = kinesis.describe_stream_summary().stream_name(&name).send().await.expect("describe it");
            let status = summary.stream_description_summary?.stream_status;
            (status == aws_sdk_kinesis::types::StreamStatus::Active).then_some(())
        })
        .await;
        name
    }
}

macro_rules! stand_ins {
    ($($(#[$text:meta])* $name:ident = $script:literal;)*) => {$(
        $(#[$text])*
        #[derive(Debug)]
        pub struct $name;

        impl $name {
            /// The one that all tests share. `None` where it cannot be had.
            ///
            /// # Panics
            /// If it does not start, or has to be had.
            pub async fn shared() -> Option<&'static StandIn> {
                static SHARED: OnceCell<Option<StandIn>> = OnceCell::const_new();
                SHARED.get_or_init(|| StandIn::alone($script)).await.as_ref()
            }
        }
    )*};
}

stand_ins! {
    /// S3 with events, SQS, SNS, EventBridge, CloudWatch Logs. Not for Kinesis that reshards.
    Ministack = "ministack.sh";
    /// SQS: strict and fast.
    ElasticMq = "elasticmq.sh";
    /// Kinesis by the rules: for shards that end and have children, and some thousand records.
    KinesisLocal = "kinesis-local.sh";
    /// Kinesis for volume.
    Kinesalite = "kinesalite.sh";
}
