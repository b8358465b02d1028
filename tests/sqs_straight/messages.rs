//! What is in the queue is in the tables, whatever a message looks like.

use std::time::Instant;

use millstream_connectors::sources::sqs::SqsOptions;
use millstream_tests::parts::Ministack;
use millstream_tests::sqs::stored;
use millstream_tests::{Generator, TestBucket, TestQueue, compare, database, until};

use super::{WITHIN, bodies, drained, open, services, start, use_bucket};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_object_of_a_bucket_is_in_the_tables_as_it_is_in_the_store() {
    let Some(ministack) = Ministack::shared().await else { return };
    let queue = TestQueue::new(ministack).await;
    let database = database().await;
    let source = open(&queue, queue.options()).await;
    let run = start(&source, &database);
    for is_versioned in [false, true] {
        let bucket = TestBucket::new(&queue, is_versioned).await;
        use_bucket(&bucket, is_versioned).await;
        let listed = bucket.list().await;
        assert!(listed.len() >= 26, "{listed:?}");
        until("the tables to have what the store has", WITHIN, || async {
            (stored(&database, &bucket.name).await == listed).then_some(())
        })
        .await;
    }
    drained(&queue, &source).await;
    assert_eq!(run.stop().await.halted, Vec::<String>::new());
    assert_eq!(database.number("SELECT count(*) FROM millstream.quarantine").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_of_every_kind_in_any_order_and_number_are_applied() {
    for (name, service) in services().await {
        let queue = TestQueue::new(service).await;
        let database = database().await;
        let (bodies, model) = bodies(&mut Generator::new("sqs bodies"), 1_000);
        queue.send(&bodies).await;
        let source = open(&queue, SqsOptions { receivers_max: 4, ..queue.options() }).await;
        let began = Instant::now();
        let run = start(&source, &database);
        drained(&queue, &source).await;
        println!("{name}: {} messages straight into the tables in {:?}", bodies.len(), began.elapsed());
        run.stop().await;
        compare(&database, &model).await;
        let counts = source.counters().counts();
        assert_eq!((counts.received, counts.deleted), (bodies.len() as u64, bodies.len() as u64), "{counts:?}");
        assert_eq!((counts.undeleted, counts.let_go, counts.errors), (0, 0, 0), "{counts:?}");
    }
}
