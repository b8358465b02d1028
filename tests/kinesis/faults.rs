//! A shard that throttles, whose iterators expire, that does not answer, that forgets, or that is gone.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use millstream_connectors::sources::kinesis::{KinesisOptions, KinesisSource};
use millstream_engine::clock::now_ms;
use millstream_engine::{Partition, Position, Recovery, Source as _, SourceError, Want};
use millstream_tests::kinesis::{Put, Shards, User, aggregate, hash};
use millstream_tests::parts::{Kinesalite, KinesisLocal};
use millstream_tests::{Fate, Faults, until};
use serde_json::json;

use super::{WITHIN, open, options, read};

const HOUR_MS: i64 = 3_600_000;

fn at(text: impl Into<String>) -> Position {
    Position::Sequence(text.into().into())
}

fn numbered(range: std::ops::Range<u32>) -> Vec<Put> {
    range.map(|number| Put { key: "key".to_owned(), hash: None, data: number.to_string().into_bytes() }).collect()
}

fn payloads(records: &[millstream_engine::Record]) -> Vec<String> {
    records.iter().map(|record| String::from_utf8(record.payload.to_vec()).unwrap()).collect()
}

fn numbers(range: std::ops::Range<u32>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

fn only(source: &KinesisSource) -> Partition {
    source.assignment().borrow().first().unwrap().clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shard_that_throttles_or_forgets_its_iterators_is_read_to_the_last_record() {
    let Some(service) = Kinesalite::shared().await else { return };
    let shards = Shards::new(service, 1).await;
    let faults = Faults::start(service.endpoint()).await;
    shards.put(&numbered(0..300)).await;
    let codes = [
        "ProvisionedThroughputExceededException",
        "ExpiredIteratorException",
        "KMSThrottlingException",
        "LimitExceededException",
    ];
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    faults.plan(move |name, body| {
        if !matches!(name, "GetRecords" | "GetShardIterator") {
            return Fate::Pass;
        }
        let number = counted.fetch_add(1, SeqCst);
        if number % 3 == 1 {
            return Fate::Refused(codes[number / 3 % codes.len()]);
        }
        let mut body = body.clone();
        if name == "GetRecords" {
            body["Limit"] = json!(20);
        }
        Fate::Instead(body)
    });
    let source = open(faults.address(&shards).await).await;
    let partition = only(&source);
    let mut from = source.start(&partition, None, None).await;
    while from.is_err() {
        from = source.start(&partition, None, None).await;
    }
    let (records, _) = read(&source, &partition, from.unwrap(), 300).await.unwrap();
    assert_eq!(payloads(&records), numbers(0..300));
    assert!(calls.load(SeqCst) >= 20, "it took some calls");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_away_is_tried_again_and_what_is_forbidden_halts() {
    let Some(service) = Kinesalite::shared().await else { return };
    let shards = Shards::new(service, 1).await;
    let faults = Faults::start(service.endpoint()).await;
    shards.put(&numbered(0..5)).await;
    let source = open(faults.address(&shards).await).await;
    let partition = only(&source);
    let from = source.start(&partition, None, None).await.unwrap();
    let again = Recovery::Retry;
    for (code, recovery) in
        [(Some("InternalFailure"), again), (None, again), (Some("AccessDeniedException"), Recovery::Halt)]
    {
        faults.plan(move |name, _| match (name, code) {
            ("GetRecords", Some(code)) => Fate::Refused(code),
            ("GetRecords", None) => Fate::Cut,
            _ => Fate::Pass,
        });
        let error = read(&source, &partition, from.clone(), 5).await.unwrap_err();
        assert_eq!(error.recovery(), recovery, "{error:?}");
    }
    faults.plan(|_, _| Fate::Pass);
    let (records, _) = read(&source, &partition, from, 5).await.unwrap();
    assert_eq!(payloads(&records), numbers(0..5));
}

/// One shard is refused every call: the other is read meanwhile, by a fetch that wants both.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shard_that_is_refused_holds_up_no_other() {
    let Some(service) = Kinesalite::shared().await else { return };
    let shards = Shards::new(service, 2).await;
    let faults = Faults::start(service.endpoint()).await;
    let hashes = shards.hashes().await;
    for hash in hashes.values() {
        let puts = numbered(0..50).into_iter().map(|put| Put { hash: Some(hash.clone()), ..put });
        shards.put(&puts.collect::<Vec<_>>()).await;
    }
    let slow = Partition::new(hashes.keys().next().unwrap());
    let fast = Partition::new(hashes.keys().last().unwrap());
    let source = open(faults.address(&shards).await).await;
    for partition in [&slow, &fast] {
        source.start(partition, None, None).await.unwrap();
    }
    let own = slow.to_string();
    faults.plan(move |name, body| match name {
        "GetShardIterator" if body["ShardId"] == json!(own) => Fate::Refused("ProvisionedThroughputExceededException"),
        _ => Fate::Pass,
    });
    // Neither has an iterator any more.
    source.revive();
    let mut wants =
        [&slow, &fast].map(|partition| Want { partition: partition.clone(), from: at("oldest"), bytes_max: 2_000 });
    let mut seen = 0;
    let began = tokio::time::Instant::now();
    while seen < 50 {
        assert!(began.elapsed() < WITHIN, "{seen} records came");
        for batch in source.fetch(&wants, WITHIN).await.unwrap() {
            assert_eq!(batch.partition, fast);
            seen += batch.records.len();
            wants[1].from = batch.next;
        }
    }
    faults.plan(|_, _| Fate::Pass);
    let (records, _) = read(&source, &slow, at("oldest"), 50).await.unwrap();
    assert_eq!(payloads(&records), numbers(0..50));
}

/// Retention that has removed the first records, as AWS shows it: an iterator at or behind one of them begins with what
/// is left, and nothing is said.
fn forget(faults: &Faults, sequences: Vec<String>) {
    faults.plan(move |name, body| match name {
        "GetShardIterator" => {
            let mut body = body.clone();
            let wanted = body["StartingSequenceNumber"].as_str().unwrap_or_default();
            if sequences.iter().any(|gone| gone == wanted) {
                body["ShardIteratorType"] = json!("TRIM_HORIZON");
                body.as_object_mut().unwrap().remove("StartingSequenceNumber");
            }
            Fate::Instead(body)
        }
        "GetRecords" => {
            let gone = sequences.clone();
            Fate::Changed(Box::new(move |answer| {
                let Some(records) = answer.get_mut("Records").and_then(|records| records.as_array_mut()) else {
                    return;
                };
                records.retain(|record| !gone.iter().any(|gone| record["SequenceNumber"] == json!(gone)));
            }))
        }
        _ => Fate::Pass,
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_retention_removed_is_a_gap_where_that_can_be_known() {
    let Some(service) = Kinesalite::shared().await else { return };
    let shards = Shards::new(service, 1).await;
    let faults = Faults::start(service.endpoint()).await;
    shards.put(&numbered(0..10)).await;
    let source = open(faults.address(&shards).await).await;
    let partition = only(&source);
    let (records, end) = read(&source, &partition, at("oldest"), 10).await.unwrap();
    let sequences: Vec<String> =
        records.iter().map(|record| record.position.to_string().strip_prefix("at:").unwrap().to_owned()).collect();
    let long_ago = now_ms() - 25 * HOUR_MS;
    let lately = now_ms() - 23 * HOUR_MS;
    let after = |number: usize, ms: i64| at(format!("after:{}@{ms}", sequences[number]));
    forget(&faults, sequences[..7].to_vec());

    // A record to go on with proves itself, and so does the one before, however long ago that was.
    let right = [
        at(format!("at:{}", sequences[7])),
        after(7, long_ago),
        after(9, long_ago),
        at(format!("after:{}", sequences[8])),
        end,
        // It was read until a moment that the stream still has: what is gone had been read.
        after(6, lately),
        at("oldest"),
        at(format!("oldest@{lately}")),
    ];
    for stored in right {
        let source = open(faults.address(&shards).await).await;
        assert_eq!(source.start(&partition, Some(&stored), None).await.unwrap(), stored);
    }
    let lost = [
        at(format!("at:{}", sequences[6])),
        at(format!("at:{}:3", sequences[0])),
        after(5, long_ago),
        at(format!("after:{}", sequences[6])),
        at(format!("oldest@{long_ago}")),
    ];
    for stored in lost {
        let source = open(faults.address(&shards).await).await;
        let started = source.start(&partition, Some(&stored), None).await;
        let fetched = read(&source, &partition, stored.clone(), 1).await;
        for result in [started.map(drop), fetched.map(drop)] {
            let Err(SourceError::Gap { stored: from, start, .. }) = result else { panic!("{stored}: {result:?}") };
            assert_eq!(from, stored);
            // Where a person says to go on, it goes on.
            let go_on = source.start(&partition, Some(&start), None).await.unwrap();
            let (left, _) = read(&source, &partition, go_on, 3).await.unwrap();
            assert_eq!(payloads(&left), numbers(7..10));
        }
    }
}

/// An iterator is kept while calls are refused. Once retention has passed its place it would begin with what is left.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_iterator_whose_place_retention_has_passed_is_not_used() {
    let Some(service) = Kinesalite::shared().await else { return };
    let shards = Shards::new(service, 1).await;
    let faults = Faults::start(service.endpoint()).await;
    shards.put(&numbered(0..10)).await;
    let source = open(faults.address(&shards).await).await;
    let partition = only(&source);
    let (records, _) = read(&source, &partition, at("oldest"), 10).await.unwrap();
    let sequences: Vec<String> =
        records.iter().map(|record| record.position.to_string().strip_prefix("at:").unwrap().to_owned()).collect();

    let source = open(faults.address(&shards).await).await;
    // In three seconds the stream need not have any more what came after this: 24 hours, less a margin.
    let passed_at = now_ms() + 3_000;
    let stored = at(format!("after:{}@{}", sequences[5], passed_at - 24 * HOUR_MS + 10 * 60_000));
    assert_eq!(source.start(&partition, Some(&stored), None).await.unwrap(), stored);
    let refused = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&refused);
    faults.plan(move |name, _| {
        if name != "GetRecords" {
            return Fate::Pass;
        }
        counted.fetch_add(1, SeqCst);
        Fate::Refused("ProvisionedThroughputExceededException")
    });
    let want = || [Want { partition: partition.clone(), from: stored.clone(), bytes_max: 1 << 20 }];
    // Also what was under way at that moment is refused: one call is made at a time.
    let mut before = 0;
    let mut after = 0;
    while before == 0 || after < before + 2 {
        let read = source.fetch(&want(), Duration::from_millis(500)).await;
        assert!(read.iter().flatten().all(|batch| batch.records.is_empty()), "{read:?}");
        assert!(!matches!(&read, Err(SourceError::Gap { .. })), "nothing is lost yet: {read:?}");
        after = refused.load(SeqCst);
        before = if now_ms() <= passed_at { after } else { before };
    }
    forget(&faults, sequences[..7].to_vec());
    let read = read(&source, &partition, stored.clone(), 1).await;
    assert!(matches!(&read, Err(SourceError::Gap { stored: from, .. }) if *from == stored), "{read:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_position_or_a_shard_that_never_was_is_a_gap_and_other_text_is_refused() {
    let Some(service) = KinesisLocal::shared().await else { return };
    let shards = Shards::new(service, 1).await;
    shards.put(&numbered(0..3)).await;
    let source = open(shards.address().await).await;
    let partition = only(&source);
    let (records, _) = read(&source, &partition, at("oldest"), 1).await.unwrap();
    let sequence = records[0].position.to_string().strip_prefix("at:").unwrap().to_owned();
    // Another shard's, by its number.
    let mut other = sequence.clone();
    other.replace_range(2..4, "17");
    for text in [format!("at:{other}"), format!("after:{other}@{}", now_ms())] {
        let started = source.start(&partition, Some(&at(text.clone())), None).await;
        assert!(
            matches!(&started, Err(SourceError::Gap { start, .. }) if *start == at("oldest")),
            "{text}: {started:?}"
        );
    }
    let gone = Partition::new("shardId-000000000099");
    let started = source.start(&gone, Some(&at(format!("after:{sequence}@{}", now_ms()))), None).await;
    assert!(matches!(&started, Err(SourceError::Gap { start, .. }) if *start == at("end")), "{started:?}");
    for stored in [Position::Offset(7), at(sequence)] {
        let started = source.start(&partition, Some(&stored), None).await;
        assert!(matches!(started, Err(SourceError::Broken(_))), "{started:?}");
    }
    shards.recreate(1).await;
    let after = at(format!("after:{other}@{}", now_ms()));
    // A look is good for a moment.
    until("another stream to be noticed", WITHIN, || async {
        matches!(source.start(&partition, Some(&after), None).await, Err(SourceError::Broken(_))).then_some(())
    })
    .await;
    let fetched = read(&source, &partition, after, 1).await;
    assert!(matches!(fetched, Err(SourceError::Broken(_))), "{fetched:?}");
}

/// A shard where nothing comes: its position says until when, so that nobody has to guess later.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_position_of_a_quiet_shard_is_stored_anew_now_and_then() {
    let Some(service) = Kinesalite::shared().await else { return };
    let shards = Shards::new(service, 1).await;
    let quiet = Duration::from_millis(400);
    let options = KinesisOptions { quiet, ..options(shards.address().await) };
    let source = KinesisSource::open(options).await.unwrap();
    let partition = only(&source);
    let marked = |from: Position| {
        let source = &source;
        let partition = &partition;
        async move {
            until("a newer mark", WITHIN, || async {
                let want = Want { partition: partition.clone(), from: from.clone(), bytes_max: 1_000 };
                let batches = source.fetch(&[want], Duration::from_secs(1)).await.unwrap();
                assert!(batches.iter().all(|batch| batch.records.is_empty()));
                Some(batches.into_iter().next()?.next)
            })
            .await
        }
    };
    let oldest = source.start(&partition, None, None).await.unwrap();
    let marked_oldest = marked(oldest).await;
    assert!(marked_oldest.to_string().starts_with("oldest@"), "{marked_oldest}");
    shards.put(&numbered(0..1)).await;
    let (_, end) = read(&source, &partition, marked_oldest, 1).await.unwrap();
    let (sequence, before) = end.to_string().split_once('@').map(|(at, ms)| (at.to_owned(), ms.to_owned())).unwrap();
    let later = marked(end).await.to_string();
    let (same, ms) = later.split_once('@').unwrap();
    assert_eq!(same, sequence);
    assert!(ms.parse::<u128>().unwrap() >= before.parse::<u128>().unwrap() + quiet.as_millis(), "{before} {later}");
    // And it is a place to go on from.
    shards.put(&numbered(1..2)).await;
    let (records, _) = read(&source, &partition, at(later.clone()), 1).await.unwrap();
    assert_eq!(payloads(&records), ["1"]);
}

/// The producer library may have known the shards as they were before: it puts the records of the other child again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_an_aggregate_only_the_records_of_its_own_shard_are_read() {
    let Some(service) = KinesisLocal::shared().await else { return };
    let shards = Shards::new(service, 2).await;
    let users: Vec<User> = (0..40)
        .map(|number: u32| User {
            key: format!("key {number}").into_bytes(),
            // Some say their hash themselves.
            hash: number.is_multiple_of(4).then(|| hash(format!("other {number}").as_bytes()).to_string()),
            data: number.to_string().into_bytes(),
            ..User::default()
        })
        .collect();
    // The same aggregate into both, and something that only looks like one.
    let broken = [&aggregate(&users)[..], b"x"].concat();
    for hash in shards.hashes().await.values() {
        for data in [aggregate(&users), broken.clone()] {
            shards.put(&[Put { key: "k".to_owned(), hash: Some(hash.clone()), data }]).await;
        }
    }
    let by_key = super::read_all(&*open(shards.address().await).await, users.len() + 2).await;
    for user in users {
        let records = &by_key[&user.key];
        assert_eq!((records.len(), &*records[0].payload), (1, &*user.data), "once, in its own shard");
    }
    let whole: Vec<&[u8]> = by_key[&b"k"[..]].iter().map(|record| &*record.payload).collect();
    assert_eq!(whole, [&broken[..]; 2], "what does not parse is delivered as it is");
}
