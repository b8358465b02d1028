//! How to reach a Kafka cluster, and which settings of librdkafka users may not change.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;

/// A Kafka cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cluster {
    /// Some of the brokers, as `host:port,host:port`.
    pub brokers: String,
    /// Any other settings of librdkafka, such as `security.protocol`, except those that [`refused`] names.
    pub settings: BTreeMap<String, String>,
    /// A file that holds `sasl.password`, read whenever a client is made.
    pub password_file: Option<PathBuf>,
}

/// The options of a source.
#[derive(Clone, Debug)]
pub struct KafkaOptions {
    /// The cluster.
    pub cluster: Cluster,
    /// The topic.
    pub topic: String,
    /// The consumer group: it decides who reads which partition.
    pub group: String,
    /// The name of this process in the group (`group.instance.id`): a process that returns under its name within the
    /// session gets its partitions back without a rebalance. Two processes must not share a name.
    pub instance: Option<String>,
    /// Session timeout of a process in the group.
    pub session: Duration,
    /// Bytes of records read ahead, in all.
    pub memory_bytes: usize,
}

/// Settings that would break a guarantee or that follow from another setting, with the reason.
const REFUSED: [(&str, &str); 19] = [
    ("bootstrap.servers", "it is `brokers`"),
    ("metadata.broker.list", "it is `brokers`"),
    ("group.id", "it is `group` of the pipeline's source"),
    ("group.instance.id", "it is `instance` of the pipeline's source"),
    ("group.protocol", "only `classic` is safe with this client"),
    ("partition.assignment.strategy", "cooperative rebalancing loops with this client; `range` is used"),
    ("session.timeout.ms", "it is `session` of the pipeline's source"),
    ("heartbeat.interval.ms", "it follows from the session"),
    ("enable.auto.commit", "positions are committed by the tables' transactions"),
    ("enable.auto.offset.store", "positions are committed by the tables' transactions"),
    ("auto.offset.reset", "a lost position must never be skipped silently"),
    ("enable.partition.eof", "the end of a partition must be told"),
    ("isolation.level", "records of aborted transactions must not be read"),
    ("check.crcs", "damaged records must be found"),
    ("enable.idempotence", "a producer that repeats or reorders breaks the order of keys"),
    ("acks", "an acknowledged record must be on all replicas in sync"),
    ("queued.max.messages.kbytes", "it follows from limits.memory_bytes"),
    ("fetch.max.bytes", "it follows from limits.memory_bytes"),
    ("statistics.interval.ms", "the lag comes from the statistics"),
];

/// Why a setting of librdkafka is refused, if it is.
#[must_use]
pub fn refused(setting: &str) -> Option<&'static str> {
    let (_, why) = REFUSED.iter().find(|(name, _)| *name == setting)?;
    Some(why)
}

/// Checks a cluster's settings with librdkafka, without connecting: for unknown names, values out of range, and TLS
/// that was not built in.
///
/// # Errors
/// Its message.
pub fn check(cluster: &Cluster) -> Result<(), String> {
    if let Some((name, why)) = cluster.settings.keys().find_map(|name| Some((name, refused(name)?))) {
        return Err(format!("`{name}` cannot be set: {why}"));
    }
    let config = cluster.client().map_err(|error| error.to_string())?;
    config.create_native_config().map(drop).map_err(|error| error.to_string())
}

impl Cluster {
    /// The settings common to all clients.
    ///
    /// # Errors
    /// If the password file cannot be read.
    pub fn client(&self) -> std::io::Result<ClientConfig> {
        let mut config = ClientConfig::new();
        config
            .set("client.id", "millstream")
            .set("socket.keepalive.enable", "true")
            // New metadata of a changed cluster is fetched soon: added partitions, moved leaders.
            .set("topic.metadata.refresh.interval.ms", "30000")
            .set("reconnect.backoff.max.ms", "2000")
            .set_log_level(RDKafkaLogLevel::Warning);
        for (name, value) in &self.settings {
            config.set(name, value);
        }
        config.set("bootstrap.servers", &self.brokers);
        if let Some(path) = &self.password_file {
            config.set("sasl.password", std::fs::read_to_string(path)?.trim_end());
        }
        Ok(config)
    }
}

impl KafkaOptions {
    /// Settings of the member of the group.
    pub(super) fn member(&self) -> std::io::Result<ClientConfig> {
        let mut config = self.consumer()?;
        config
            .set("partition.assignment.strategy", "range")
            .set("session.timeout.ms", self.session.as_millis().to_string())
            .set("heartbeat.interval.ms", self.heartbeat().as_millis().to_string());
        if let Some(instance) = &self.instance {
            config.set("group.instance.id", instance);
        }
        Ok(config)
    }

    /// Settings of the client that reads. It has the group's name, as every consumer must, but never joins the group.
    pub(super) fn reader(&self, partitions: u32) -> std::io::Result<ClientConfig> {
        let mut config = self.consumer()?;
        let debug = config.get("debug").map_or("metadata".to_owned(), |asked| format!("{asked},metadata"));
        // A broker sends at least one batch whatever these limits are. Several brokers may answer at once, and an
        // answer stays until the last record of any of its partitions is taken. Fetched data is compressed, and several
        // times as large in memory.
        let fetch_bytes = (self.memory_bytes / 24).clamp(1 << 20, 64 << 20);
        config
            .set("enable.partition.eof", "true")
            .set("isolation.level", "read_committed")
            .set("check.crcs", "true")
            .set("statistics.interval.ms", "1000")
            // Only this shows that the topic was replaced: see `context::CHANGED_TOPIC`.
            .set("debug", debug)
            .set_log_level(RDKafkaLogLevel::Debug)
            // With the default of 1 s, a queue that was full is then empty for most of that second.
            .set("fetch.queue.backoff.ms", "20")
            .set("fetch.wait.max.ms", "100")
            .set("fetch.max.bytes", fetch_bytes.to_string())
            .set("max.partition.fetch.bytes", (fetch_bytes / 8).min(1 << 20).to_string())
            .set("queued.min.messages", "100000")
            // Per partition: the client counts each one, and holds an answer of the broker beyond that.
            .set("queued.max.messages.kbytes", (self.queue_bytes(partitions) >> 10).to_string())
            // Three times the requested bytes, because compressed data may grow beyond them.
            .set("receive.message.max.bytes", (3 * fetch_bytes).max(100_000_000).to_string());
        Ok(config)
    }

    /// Bytes of one partition that the client may hold before it stops fetching it: many partitions together stay
    /// within the memory; a few need only enough to keep a lane busy.
    fn queue_bytes(&self, partitions: u32) -> usize {
        let share = self.memory_bytes / partitions.max(1) as usize;
        share.min((self.memory_bytes / 64).max(512 << 10)).max(64 << 10)
    }

    fn consumer(&self) -> std::io::Result<ClientConfig> {
        let mut config = self.cluster.client()?;
        config
            .set("group.id", &self.group)
            .set("group.protocol", "classic")
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "error");
        Ok(config)
    }

    /// The interval of the heartbeats between this process and the group.
    pub(super) fn heartbeat(&self) -> Duration {
        (self.session / 12).max(Duration::from_millis(100))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster(name: &str, value: &str) -> Cluster {
        let settings = BTreeMap::from([(name.to_owned(), value.to_owned())]);
        Cluster { brokers: "127.0.0.1:1".to_owned(), settings, password_file: None }
    }

    #[test]
    fn settings_that_break_a_guarantee_are_refused_with_the_reason() {
        for (name, _) in REFUSED {
            let said = check(&cluster(name, "1")).unwrap_err();
            assert!(said.contains(name) && said.contains("cannot be set"), "{said}");
        }
    }

    #[test]
    fn other_settings_are_left_to_the_client_to_judge() {
        assert_eq!(check(&cluster("client.rack", "a")), Ok(()));
        assert!(check(&cluster("client.rakc", "a")).unwrap_err().contains("client.rakc"));
        assert!(check(&cluster("socket.timeout.ms", "soon")).unwrap_err().contains("socket.timeout.ms"));
    }
}
