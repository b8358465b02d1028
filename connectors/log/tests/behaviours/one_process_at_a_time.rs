//! The lock on the directory, and the rules about names and partitions.

use millstream_log::{AppendError, Error, Log, Options};

use crate::support::{append, directory, record};

#[test]
fn a_second_opener_is_refused_and_told_by_whom() {
    let directory = directory();
    let log = Log::open(directory.path(), Options::default()).unwrap();
    let topic = log.topic("t", 1).unwrap();
    let refused = Log::open(directory.path(), Options::default());
    assert!(matches!(&refused, Err(Error::Locked { pid: Some(pid), .. }) if *pid == std::process::id()), "{refused:?}");
    assert!(refused.unwrap_err().to_string().contains(&format!("by process {}", std::process::id())));

    drop(log);
    let still = Log::open(directory.path(), Options::default());
    assert!(matches!(still, Err(Error::Locked { .. })), "a topic in use keeps the lock: {still:?}");
    append(&topic, vec![record(0, "x")]).unwrap();
    drop(topic);
    Log::open(directory.path(), Options::default()).unwrap();
}

#[test]
fn closing_lets_go_takes_no_more_and_still_reads() {
    let directory = directory();
    let log = Log::open(directory.path(), Options::default()).unwrap();
    let topic = log.topic("t", 2).unwrap();
    append(&topic, vec![record(0, "x")]).unwrap();
    log.close().unwrap();
    log.close().unwrap();
    let other = Log::open(directory.path(), Options::default()).unwrap();
    for partition in [0, 1] {
        let refused = append(&topic, vec![record(partition, "y")]);
        assert!(matches!(refused, Err(AppendError::Closed)), "{refused:?}");
    }
    assert_eq!(topic.read(0, 0, 1000).unwrap().records[0].payload, "x");
    assert_eq!(other.topic("t", 2).unwrap().range(0).end, 1);
    assert!(matches!(log.topic("u", 1), Err(Error::Closed)));
}

#[test]
fn names_and_partition_numbers_are_checked() {
    let directory = directory();
    let log = Log::open(directory.path(), Options::default()).unwrap();
    for name in ["", ".", "..", ".hidden", "a/b", "~a", "ä", &"a".repeat(201)] {
        assert!(matches!(log.topic(name, 1), Err(Error::TopicName { .. })), "{name:?}");
    }
    assert!(matches!(log.topic("t", 0), Err(Error::PartitionsRange { .. })));
    assert!(matches!(log.topic("t", 1025), Err(Error::PartitionsRange { .. })));
    log.topic("t", 3).unwrap();
    let changed = log.topic("t", 4);
    assert!(matches!(changed, Err(Error::Partitions { existing: 3, requested: 4, .. })), "{changed:?}");
    assert_eq!(log.topics(), [("t".to_owned(), 3)]);
}

#[test]
fn an_interrupted_creation_leaves_nothing() {
    let directory = directory();
    drop(Log::open(directory.path(), Options::default()).unwrap());
    std::fs::create_dir_all(directory.path().join("topics/~t/0000")).unwrap();
    let log = Log::open(directory.path(), Options::default()).unwrap();
    assert_eq!(log.topics(), []);
    log.topic("t", 1).unwrap();
}
