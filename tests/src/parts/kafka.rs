//! Real Apache Kafka: one broker that all tests share, one of a test's own, and three to lose one of.

use std::path::PathBuf;

use tokio::sync::OnceCell;

use super::{Part, Process, Topics, run};

/// Who may log in at the listeners with SASL.
pub const USER: &str = "millstream";
/// With this password, by SCRAM-SHA-256, SCRAM-SHA-512 and PLAIN.
pub const PASSWORD: &str = "secret-of-millstream";

/// The broker of the test run: a JVM is too dear for one each.
static SHARED: OnceCell<Option<Kafka>> = OnceCell::const_new();

/// One broker. Topics are not made by asking for them; a test makes its own, with a name from [`super::unique`].
#[derive(Debug)]
pub struct Kafka {
    /// The broker, to be killed, frozen and started again: never the shared one.
    pub part: Part,
    /// Its topics, records and groups.
    pub topics: Topics,
}

impl Kafka {
    /// The broker that all tests share, with listeners for TLS and passwords as well. `None` where there is no Java.
    ///
    /// # Panics
    /// If it does not start, or has to be had.
    pub async fn shared() -> Option<&'static Kafka> {
        let started = async {
            // Said by the test that needs it: all others do without.
            let secure = crate::has_program("openssl");
            Kafka::start(if secure { &[("KAFKA_SECURE", "1")] } else { &[] }).await
        };
        SHARED.get_or_init(|| started).await.as_ref()
    }

    /// A broker of the test's own, to be killed, frozen and started again: five seconds. Without TLS and passwords.
    ///
    /// # Panics
    /// If it does not start, or has to be had.
    pub async fn alone() -> Option<Kafka> {
        Kafka::start(&[]).await
    }

    /// A broker of the test's own that sends its clients to another port of 127.0.0.1: that of a proxy.
    ///
    /// # Panics
    /// If it does not start, or has to be had.
    pub async fn behind(port: u16) -> Option<Kafka> {
        // Once a test, of those few that have a proxy.
        let advertised: &str = format!("advertised.listeners=PLAINTEXT://127.0.0.1:{port}").leak();
        Kafka::start(vec![("KAFKA_PROPERTIES", advertised)].leak()).await
    }

    async fn start(variables: &'static [(&str, &str)]) -> Option<Kafka> {
        let part = Part::start("kafka.sh", variables).await?;
        let topics = Topics::new(part.address());
        Some(Kafka { part, topics })
    }

    /// Where clients begin, without TLS and passwords.
    pub fn bootstrap(&self) -> &str {
        self.part.address()
    }

    /// Where clients begin at a listener: `SSL`, `SASL_SSL`, `SASL_PLAINTEXT`. `None` where there is no openssl.
    ///
    /// # Panics
    /// If the list of listeners cannot be read.
    pub fn listener(&self, name: &str) -> Option<String> {
        let listeners = std::fs::read_to_string(self.part.directory().join("listeners")).expect("read the listeners");
        let mut pairs = listeners.lines().filter_map(|line| line.split_once(' '));
        pairs.find(|(listener, _)| *listener == name).map(|(_, address)| address.to_owned())
    }

    /// A file of its TLS: `ca.pem`; `client.pem` and `client.key`, signed by it; `stranger.pem`, which signed nothing.
    pub fn tls(&self, name: &str) -> PathBuf {
        self.part.directory().join("tls").join(name)
    }

    /// What the broker's own tool says of a group: a line of each partition with its position, end and lag.
    ///
    /// # Panics
    /// If the tool fails.
    pub async fn describe_group(&self, group: &str) -> String {
        run("kafka-group.sh", &[self.bootstrap(), group]).await.expect("describe a group")
    }
}

/// Three brokers, each a controller as well; everything is there three times, and two must have a record. Half a minute
/// to start on two busy cores, and ten times the work of one broker for each record.
#[derive(Debug)]
pub struct Kafka3 {
    /// All three.
    pub part: Part,
    /// Their topics, records and groups.
    pub topics: Topics,
}

impl Kafka3 {
    /// Three of the test's own.
    ///
    /// # Panics
    /// If they do not start, or have to be had.
    pub async fn alone() -> Option<Kafka3> {
        let part = Part::start("kafka3.sh", &[]).await?;
        let topics = Topics::with_replicas(part.address(), 3);
        Some(Kafka3 { part, topics })
    }

    /// Where clients begin: all three, with commas between.
    pub fn bootstrap(&self) -> &str {
        self.part.address()
    }

    /// The process of node 1, 2 or 3.
    pub fn node(&self, number: u8) -> Process {
        Process { directory: self.part.directory().join(number.to_string()) }
    }

    /// Starts a node again where it does not run, with its data and on its port; returns when it is in the cluster.
    ///
    /// # Panics
    /// If it does not start.
    pub async fn restart(&self, number: u8) {
        let directory = self.part.directory().to_str().expect("a path of text");
        run("kafka3.sh", &["start-one", directory, &number.to_string()]).await.expect("start a node again");
    }
}
