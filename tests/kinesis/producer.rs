//! Records that are put while some of a call are refused.

use bytes::Bytes;
use millstream_connectors::sinks::stream::kinesis::KinesisProducer;
use millstream_connectors::sinks::stream::{Append as _, AppendError, NewRecord};
use millstream_tests::kinesis::Shards;
use millstream_tests::parts::{Kinesalite, KinesisLocal};
use millstream_tests::{Fate, Faults};
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

use super::{open, read_all};

fn record(key: &str, payload: impl Into<Bytes>) -> NewRecord {
    NewRecord { key: key.to_owned().into(), headers: Vec::new(), payload: payload.into() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_refused_is_put_again_and_keys_keep_their_order() {
    let Some(service) = Kinesalite::shared().await else { return };
    let shards = Shards::new(service, 3).await;
    let faults = Faults::start(service.endpoint()).await;
    let mut rng = SmallRng::seed_from_u64(7);
    // A fifth of the records of every call, and one call in twenty as a whole. A call that is cut may have been taken, so
    // it is not cut here: at least once is all that is promised then.
    faults.plan(move |name, body| {
        if name != "PutRecords" {
            return Fate::Pass;
        }
        let records = body["Records"].as_array().unwrap().len();
        if rng.random_ratio(1, 20) {
            return Fate::Refused("ThrottlingException");
        }
        Fate::Partly((0..records).filter(|_| rng.random_ratio(1, 5)).collect())
    });
    let producer = KinesisProducer::new(faults.address(&shards).await);
    let keys = 40;
    let each = 6;
    let numbered = (0..keys * each).map(|number| record(&format!("key {}", number % keys), number.to_string()));
    producer.append(numbered.collect()).await.unwrap();

    let by_key = read_all(&*open(shards.address().await).await, keys * each).await;
    assert_eq!(by_key.len(), keys);
    for (key, records) in by_key {
        let key: usize = String::from_utf8(key).unwrap().strip_prefix("key ").unwrap().parse().unwrap();
        let read: Vec<String> =
            records.iter().map(|record| String::from_utf8(record.payload.to_vec()).unwrap()).collect();
        let put: Vec<String> = (0..each).map(|turn| (turn * keys + key).to_string()).collect();
        assert_eq!(read, put, "once each, in order");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_always_refused_is_given_up() {
    let Some(service) = Kinesalite::shared().await else { return };
    let shards = Shards::new(service, 1).await;
    let faults = Faults::start(service.endpoint()).await;
    let producer = KinesisProducer::new(faults.address(&shards).await);
    faults.plan(|name, _| if name == "PutRecords" { Fate::Partly(vec![1]) } else { Fate::Pass });
    // The second of the two is refused in every call that has two; alone it is the first.
    producer.append(vec![record("a", "1"), record("b", "2")]).await.unwrap();
    faults.plan(|name, _| if name == "PutRecords" { Fate::Partly(vec![0]) } else { Fate::Pass });
    let given_up = producer.append(vec![record("a", "3")]).await.unwrap_err();
    assert!(
        matches!(&given_up, AppendError::NotDurable(why) if why.contains("ProvisionedThroughputExceeded") && why.contains("8 times")),
        "{given_up:?}"
    );
    faults.plan(|name, _| if name == "PutRecords" { Fate::Refused("AccessDeniedException") } else { Fate::Pass });
    let refused = producer.append(vec![record("a", "4")]).await.unwrap_err();
    assert!(
        matches!(&refused, AppendError::NotDurable(why) if why.contains("AccessDenied") && why.contains("1 times")),
        "{refused:?}"
    );
    faults.plan(|_, _| Fate::Pass);
    assert_eq!(read_all(&*open(shards.address().await).await, 2).await.len(), 2, "nothing of what failed was put");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_kinesis_cannot_carry_comes_back_as_it_was_put() {
    let Some(service) = KinesisLocal::shared().await else { return };
    let shards = Shards::new(service, 3).await;
    let producer = KinesisProducer::new(shards.address().await);
    let headers: Vec<(Box<str>, Bytes)> =
        vec![("millstream-store".into(), "minio-a".into()), ("twice".into(), "1".into()), ("twice".into(), "".into())];
    let mut put = vec![
        record("plain", "{}"),
        record("", "without a key"),
        record(&"long ".repeat(100), "with a long key"),
        record("marked", &b"\xf3\x89\x9a\xc2 looks like an aggregate"[..]),
        NewRecord { key: Bytes::from_static(b"\xff\xfe"), ..record("", "a key that is no text") },
    ];
    put.extend((0..20).map(|number| NewRecord { headers: headers.clone(), ..record(&format!("key {number}"), "{}") }));
    producer.append(put.clone()).await.unwrap();
    let by_key = read_all(&*open(shards.address().await).await, put.len()).await;
    for record in put {
        let read = by_key[&*record.key].first().unwrap();
        let read = NewRecord { key: read.key.clone(), headers: read.headers.clone(), payload: read.payload.clone() };
        assert_eq!(read, record);
    }
}
