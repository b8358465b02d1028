//! How to reach a Kafka cluster, and which of librdkafka's settings are ours to choose.

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
    /// Any other settings of librdkafka, such as `security.protocol`; those of [`refused`] are not taken.
    pub settings: BTreeMap<String, String>,
    /// A file that holds `sasl.password`, read whenever a client is made.
    pub password_file: Option<PathBuf>,
}

/// What a source reads, and with how much memory.
#[derive(Clone, Debug)]
pub struct KafkaOptions {
    /// Where.
    pub cluster: Cluster,
    /// The topic.
    pub topic: String,
    /// The consumer group: it decides who reads which partition.
    pub group: String,
    /// The name of this process in the group (`group.instance.id`): one that comes back under its name within the
    /// session gets its partitions back without a rebalance. Two processes must not share one.
    pub instance: Option<String>,
    /// How long the group waits for a process that is gone.
    pub session: Duration,
    /// Bytes of records read ahead, in all.
    pub memory_bytes: usize,
}

/// Settings that would break a guarantee, or that follow from another one, and why.
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

/// Why a setting of librdkafka is not taken, if so.
#[must_use]
pub fn refused(setting: &str) -> Option<&'static str> {
    let (_, why) = REFUSED.iter().find(|(name, _)| *name == setting)?;
    Some(why)
}

/// What librdkafka says to a cluster's settings, without connecting: unknown names, values out of range, TLS that was
/// not built in.
///
/// # Errors
/// Its words.
pub fn check(cluster: &Cluster) -> Result<(), String> {
    if let Some((name, why)) = cluster.settings.keys().find_map(|name| Some((name, refused(name)?))) {
        return Err(format!("`{name}` cannot be set: {why}"));
    }
    let config = cluster.client().map_err(|error| error.to_string())?;
    config.create_native_config().map(drop).map_err(|error| error.to_string())
}

impl Cluster {
    /// What every client of it begins with.
    ///
    /// # Errors
    /// If the file of the password cannot be read.
    pub fn client(&self) -> std::io::Result<ClientConfig> {
        let mut config = ClientConfig::new();
        config
            .set("client.id", "millstream")
            .set("socket.keepalive.enable", "true")
            // Metadata of a cluster that changed is looked for soon: partitions that were added, leaders that moved.
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
    /// The member of the group.
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

    /// The client that reads. It has the group's name, because consumers must have one, and never joins it.
    pub(super) fn reader(&self, partitions: u32) -> std::io::Result<ClientConfig> {
        let mut config = self.consumer()?;
        let debug = config.get("debug").map_or("metadata".to_owned(), |asked| format!("{asked},metadata"));
        // A broker gives at least one batch whatever these say; answers of several brokers may be under way at once, and
        // one stays until the last record of any of its partitions is taken. What is fetched is compressed, and several
        // times as large in memory.
        let fetch_bytes = (self.memory_bytes / 24).clamp(1 << 20, 64 << 20);
        config
            .set("enable.partition.eof", "true")
            .set("isolation.level", "read_committed")
            .set("check.crcs", "true")
            .set("statistics.interval.ms", "1000")
            // Nothing else tells that the topic is another one now: see `context::CHANGED_TOPIC`.
            .set("debug", debug)
            .set_log_level(RDKafkaLogLevel::Debug)
            // With the default of a second, a queue that was full once stands empty for most of it.
            .set("fetch.queue.backoff.ms", "20")
            .set("fetch.wait.max.ms", "100")
            .set("fetch.max.bytes", fetch_bytes.to_string())
            .set("max.partition.fetch.bytes", (fetch_bytes / 8).min(1 << 20).to_string())
            .set("queued.min.messages", "100000")
            // Of each partition: the client counts them apart, and holds an answer of the broker beyond that.
            .set("queued.max.messages.kbytes", (self.queue_bytes(partitions) >> 10).to_string())
            // Three times what is asked for: what is compressed may grow beyond it.
            .set("receive.message.max.bytes", (3 * fetch_bytes).max(100_000_000).to_string());
        Ok(config)
    }

    /// What the client may hold of one partition before it asks for no more of it: with many, all of them keep to the
    /// memory; a few need no more than keeps a lane busy.
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

    /// How often the group hears of this process, and it of the group.
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
