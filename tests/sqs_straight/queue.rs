//! What the queue does: it shows messages again, has limits, fails.

use std::sync::atomic::Ordering::Relaxed;

use aws_sdk_sqs::types::QueueAttributeName;
use millstream_connectors::sources::sqs::{Error, Queue, SqsOptions};
use millstream_engine::{Position, Source as _, SourceError, Want};
use millstream_tests::parts::ElasticMq;
use millstream_tests::{Generator, SqsFaults, TestQueue, compare, database, until};

use super::{SECOND, WITHIN, begin, bodies, drained, open, services, start};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_stay_invisible_while_the_database_is_slow() {
    for (_, service) in services().await {
        let queue = TestQueue::new(service).await;
        let database = database().await;
        let (bodies, model) = bodies(&mut Generator::new("sqs slow"), 40);
        queue.send(&bodies).await;
        let source = open(&queue, SqsOptions { visibility: 2 * SECOND, ..queue.options() }).await;
        let mut blocker = database.connect().await;
        sqlx::raw_sql("BEGIN; LOCK TABLE millstream.objects IN ACCESS EXCLUSIVE MODE")
            .execute(&mut blocker)
            .await
            .unwrap();
        let run = start(&source, &database);
        let count = bodies.len() as u64;
        until("each to be extended three times", WITHIN, || async {
            let counts = source.counters().counts();
            assert_eq!((counts.again, counts.let_go, counts.deleted), (0, 0, 0), "{counts:?}");
            (counts.extended >= 3 * count).then_some(())
        })
        .await;
        assert_eq!(queue.messages().await, (0, count), "nobody else could have received one");
        sqlx::raw_sql("COMMIT").execute(&mut blocker).await.unwrap();
        drained(&queue, &source).await;
        run.stop().await;
        compare(&database, &model).await;
        let counts = source.counters().counts();
        assert_eq!((counts.received, counts.deleted), (count, count), "{counts:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_never_committed_goes_to_the_dead_letter_queue() {
    for (_, service) in services().await {
        let dead = TestQueue::new(service).await;
        let arn = dead.attribute(QueueAttributeName::QueueArn).await;
        let policy = serde_json::json!({ "deadLetterTargetArn": arn, "maxReceiveCount": 2 }).to_string();
        let queue = dead.beside(&[(QueueAttributeName::RedrivePolicy, policy)]).await;
        let bodies: Vec<String> = (0..12).map(|number| format!("never committed {number}")).collect();
        queue.send(&bodies).await;
        let options = SqsOptions { visibility: 2 * SECOND, age_max: 2 * SECOND, ..queue.options() };
        let source = open(&queue, options).await;
        begin(&source, None).await;
        until("all of them to be dead letters", WITHIN, || async { (dead.messages().await.0 == 12).then_some(()) })
            .await;
        let counts = source.counters().counts();
        assert_eq!((counts.received, counts.again, counts.deleted), (24, 12, 0), "{counts:?}");
        assert_eq!(source.held().0, 12, "a second receipt is no second record");
        queue.emptied(WITHIN).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deleting_what_is_gone_already_is_no_error() {
    for (_, service) in services().await {
        let queue = TestQueue::new(service).await;
        let database = database().await;
        let (bodies, model) = bodies(&mut Generator::new("sqs gone"), 25);
        queue.send(&bodies).await;
        let source = open(&queue, queue.options()).await;
        begin(&source, None).await;
        until("everything in its hands", WITHIN, || async { (source.held().0 == bodies.len()).then_some(()) }).await;
        queue.sqs.purge_queue().queue_url(&queue.url).send().await.unwrap();
        let run = start(&source, &database);
        until("everything deleted", WITHIN, || async {
            (source.counters().counts().deleted == bodies.len() as u64).then_some(())
        })
        .await;
        run.stop().await;
        compare(&database, &model).await;
        let counts = source.counters().counts();
        assert_eq!((counts.undeleted, counts.errors), (0, 0), "{counts:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_inbox_receives_no_more() {
    for (_, service) in services().await {
        let queue = TestQueue::new(service).await;
        let bodies: Vec<String> = (0..60).map(|number| format!("{number}")).collect();
        queue.send(&bodies).await;
        let options = SqsOptions { messages_max: 25, receivers_max: 8, ..queue.options() };
        let source = open(&queue, options).await;
        let Position::Offset(first) = begin(&source, None).await else { unreachable!() };
        until("a full inbox", WITHIN, || async { (source.held().0 == 25).then_some(()) }).await;
        assert_eq!(queue.messages().await, (35, 25));
        let partition = source.assignment().borrow()[0].clone();
        until("a known lag", WITHIN, || async {
            (source.lag_records(&partition, &Position::Offset(first)) == Some(60)).then_some(())
        })
        .await;
        // What is written makes room for as much.
        let database = database().await;
        let run = start(&source, &database);
        drained(&queue, &source).await;
        run.stop().await;
        assert_eq!(database.number("SELECT count(*) FROM millstream.quarantine").await, 60, "none of them is an event");
        assert_eq!(source.counters().counts().received, 60);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_that_is_not_there_is_said_so() {
    for (name, service) in services().await {
        let queue = TestQueue::new(service).await;
        let source = open(&queue, queue.options()).await;
        queue.sqs.delete_queue().queue_url(&queue.url).send().await.unwrap();
        let none = Queue::open_with(&queue.config, queue.options()).await;
        assert!(matches!(none, Err(Error::NoSuchQueue { .. })), "{name}: {none:?}");
        let from = begin(&source, None).await;
        let partition = source.assignment().borrow()[0].clone();
        let want = Want { partition, from, bytes_max: 1000 };
        let error =
            until("an error", WITHIN, || async { source.fetch(std::slice::from_ref(&want), SECOND).await.err() }).await;
        assert!(matches!(error, SourceError::Broken(_)), "{name}: {error:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn throttling_partial_deletions_and_lost_answers_are_waited_out() {
    let Some(service) = ElasticMq::shared().await else { return };
    let queue = TestQueue::new(service).await;
    let database = database().await;
    let faults = SqsFaults::before(service.endpoint()).await;
    let (bodies, model) = bodies(&mut Generator::new("sqs faults"), 200);
    queue.send(&bodies).await;
    let options = SqsOptions { endpoint: Some(faults.endpoint.clone()), ..queue.options() };
    let source = open(&queue, options).await;
    faults.throttled.store(6, Relaxed);
    faults.partly_deleted.store(5, Relaxed);
    faults.unanswered.store(3, Relaxed);
    let run = start(&source, &database);
    drained(&queue, &source).await;
    until("every deletion to be known", WITHIN, || async {
        (source.counters().counts().deleted == bodies.len() as u64).then_some(())
    })
    .await;
    assert_eq!(run.stop().await.halted, Vec::<String>::new());
    compare(&database, &model).await;
    let counts = source.counters().counts();
    assert_eq!((faults.left(), counts.undeleted, counts.received), (0, 0, bodies.len() as u64), "{counts:?}");
    assert!(counts.errors >= 9, "what was throttled or not answered: {counts:?}");
}
