//! Processes of millstream that share a topic, a group and a database.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::time::Duration;

use millstream_tests::parts::{Topics, unique};
use millstream_tests::{Database, Event, Millstream, Model, Setup, compare, database, until};
use sqlx::Row as _;
use tokio::time::Instant;

/// A rebalance, a broker that comes back and a start on two busy cores, all at once.
pub(super) const PATIENCE: Duration = Duration::from_secs(150);

/// How long the group waits for a process that is gone.
pub(super) const SESSION: Duration = Duration::from_secs(6);

/// What such a process says when others come and go.
const EXPECTED: [&str; 9] = [
    // A question that is given up while its COMMIT is under way is rolled back after it.
    "there is no transaction in progress",
    // A partition that was just made may have no leader yet.
    "the stream does not answer",
    "leases are taken again",
    "braked",
    "database away",
    "stalled",
    "kept leases locked for too long",
    "it is not known who owns the partitions now",
    "the group was not told our position",
];

/// A topic of a test, and where it is written to.
pub(super) struct Fleet {
    pub(super) database: Database,
    pub(super) topics: Topics,
    pub(super) bootstrap: String,
    pub(super) topic: String,
    pub(super) group: String,
    settings: BTreeMap<String, String>,
}

impl Fleet {
    /// A topic of its own with so many partitions.
    pub(super) async fn new(topics: &Topics, bootstrap: &str, partitions: i32) -> Self {
        let topic = unique("fleet");
        topics.create(&topic, partitions, &[]).await;
        Fleet::on(topics, bootstrap, topic).await
    }

    /// A topic that is there.
    pub(super) async fn on(topics: &Topics, bootstrap: &str, topic: String) -> Self {
        Fleet {
            database: database().await,
            topics: topics.clone(),
            bootstrap: bootstrap.to_owned(),
            topic,
            group: unique("group"),
            settings: BTreeMap::new(),
        }
    }

    /// A setting of the client, for all processes from now on.
    pub(super) fn client_setting(&mut self, name: &str, value: &str) {
        self.settings.insert(name.to_owned(), value.to_owned());
    }

    /// One more process, with a data directory of its own.
    pub(super) fn setup(&self) -> Setup {
        let settings: Vec<String> =
            self.settings.iter().map(|(name, value)| format!("\"{name}\" = \"{value}\"")).collect();
        let setup = Setup::new(&self.database)
            .set("stream.kind=kafka")
            .set(&format!("stream.kafka.brokers={}", self.bootstrap))
            .set(&format!("stream.kafka.session={}s", SESSION.as_secs()))
            .set(&format!("stream.kafka.settings={{ {} }}", settings.join(", ")))
            .set(&format!("pipeline.objects.source.topic={}", self.topic))
            .set(&format!("pipeline.objects.source.group={}", self.group))
            .set("limits.lease_lock_seconds_max=2");
        EXPECTED.iter().fold(setup, |setup, text| setup.allow(text))
    }

    /// Where the tables are in each partition, and which process took them there.
    pub(super) async fn leases(&self) -> BTreeMap<i32, Lease> {
        let mut connection = self.database.connect().await;
        let query = "SELECT partition::int, owner, coalesce(next_position, '0')::bigint FROM millstream.lease";
        let rows = sqlx::query(query).fetch_all(&mut connection).await.unwrap();
        let lease = |row: &sqlx::postgres::PgRow| {
            let pid = row.get::<&str, _>(1).rsplit(':').next().and_then(|pid| pid.parse().ok()).unwrap_or(0);
            (row.get(0), Lease { pid, next: row.get(2) })
        };
        rows.iter().map(lease).collect()
    }

    /// Records whose effect is committed: positions of a topic without transactions count them.
    pub(super) async fn committed(&self) -> i64 {
        self.leases().await.values().map(|lease| lease.next).sum()
    }

    /// Waits until so many records are committed.
    pub(super) async fn reaches(&self, records: usize, within: Duration) {
        let what = format!("{records} records to be committed");
        let seen = Cell::new(-1);
        let is_reached = || async {
            let committed = self.committed().await;
            if seen.replace(committed) != committed {
                println!("{committed} of {records} committed: {:?}", self.leases().await);
            }
            (committed == records as i64).then_some(())
        };
        until(&what, within, is_reached).await;
    }

    /// Waits until these events, which are all of the topic, are in the tables, and compares everything.
    pub(super) async fn holds(&self, events: &[Event], within: Duration) {
        self.reaches(events.len(), within).await;
        compare(&self.database, &Model::of(events)).await;
    }

    /// How often records were lost on record.
    pub(super) async fn gaps(&self) -> i64 {
        self.database.number("SELECT count(*) FROM millstream.gap").await
    }
}

/// A lease, as far as it tells of progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lease {
    pub(super) pid: u32,
    pub(super) next: i64,
}

impl Fleet {
    /// Waits until each of these processes has moved a position of its own.
    pub(super) async fn moves_by_all(&self, processes: &[Millstream]) {
        let before = self.leases().await;
        let began = Instant::now();
        loop {
            let leases = self.leases().await;
            let moved = |pid: u32| {
                let next = |partition| before.get(partition).map_or(0, |lease: &Lease| lease.next);
                leases.iter().any(|(partition, lease)| lease.pid == pid && lease.next > next(partition))
            };
            if processes.iter().all(|process| moved(process.pid())) {
                return;
            }
            if began.elapsed() > PATIENCE {
                let pids: Vec<u32> = processes.iter().map(Millstream::pid).collect();
                println!("{leases:?}");
                processes.iter().for_each(|process| println!("{} said:\n{}", process.pid(), end_of(&process.log())));
                panic!("not all of {pids:?} move a position");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Of a log, what a failed test shows.
fn end_of(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(60)..].join("\n")
}

impl Fleet {
    /// Waits until every partition has moved.
    pub(super) async fn moves_everywhere(&self) {
        let before = self.leases().await;
        until("every partition to move", PATIENCE, || async {
            let leases = self.leases().await;
            before.iter().all(|(partition, was)| leases[partition].next > was.next).then_some(())
        })
        .await;
    }
}
