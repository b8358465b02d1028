//! Processes that die, share a queue, or end in order; a database that went back.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use millstream_connectors::sources::sqs::{SqsOptions, SqsSource};
use millstream_engine::{Checkpoint, Partition, Position, RecordBatch, Source, SourceError, Want};
use millstream_tests::parts::ElasticMq;
use millstream_tests::{Database, Generator, Run, TestQueue, compare, database, tables, until};
use tokio::sync::watch;

use super::{SECOND, WITHIN, begin, bodies, drained, open, services, start};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_dies_before_it_writes_loses_nothing() {
    for (_, service) in services().await {
        let queue = TestQueue::new(service).await;
        let database = database().await;
        let (bodies, model) = bodies(&mut Generator::new("sqs died before writing"), 60);
        queue.send(&bodies).await;
        let options = SqsOptions { visibility: 2 * SECOND, ..queue.options() };
        let died = open(&queue, options.clone()).await;
        begin(&died, None).await;
        until("everything in its hands", WITHIN, || async { (died.held().0 == bodies.len()).then_some(()) }).await;
        drop(died);
        let source = open(&queue, options).await;
        let run = start(&source, &database);
        drained(&queue, &source).await;
        run.stop().await;
        compare(&database, &model).await;
        assert_eq!(source.counters().counts().received, bodies.len() as u64);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_dies_before_it_deletes_changes_nothing() {
    for (_, service) in services().await {
        let queue = TestQueue::new(service).await;
        let database = database().await;
        let (bodies, model) = bodies(&mut Generator::new("sqs died before deleting"), 60);
        queue.send(&bodies).await;
        let options = SqsOptions { visibility: 2 * SECOND, ..queue.options() };
        let died = open(&queue, options.clone()).await;
        let forgetful = Arc::new(NeverTold(Arc::clone(&died)));
        let run = Run::read("objects", forgetful as Arc<dyn Source>, database.options(), Run::limits(1, 500));
        let records = bodies.len() as u64;
        until("everything written", WITHIN, || async { (run.progress.snapshot().records >= records).then_some(()) })
            .await;
        run.stop().await;
        assert_eq!(died.counters().counts().deleted, 0);
        drop(died);
        let before = tables(&database).await;
        let position = position(&database).await;
        compare(&database, &model).await;

        let source = open(&queue, options).await;
        let run = start(&source, &database);
        drained(&queue, &source).await;
        run.stop().await;
        assert_eq!(tables(&database).await, before);
        let went_on = self::position(&database).await;
        assert_eq!(went_on - position, source.counters().counts().received - source.counters().counts().again);
        assert!(went_on - position >= bodies.len() as u64, "all of them came again, under new numbers");
    }
}

/// The stored position of the test's consumer.
async fn position(database: &Database) -> u64 {
    database.number("SELECT next_position FROM millstream.lease WHERE partition = 'test'").await as u64
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_share_a_queue_and_no_position() {
    for (_, service) in services().await {
        let queue = TestQueue::new(service).await;
        let database = database().await;
        let (bodies, model) = bodies(&mut Generator::new("sqs shared"), 800);
        let unnamed = SqsOptions { consumer: None, receivers_max: 2, ..queue.options() };
        let first = open(&queue, unnamed.clone()).await;
        let second = open(&queue, unnamed).await;
        assert_ne!(first.consumer(), second.consumer());
        let runs = [start(&first, &database), start(&second, &database)];
        queue.send(&bodies).await;
        queue.emptied(WITHIN).await;
        for run in runs {
            assert_eq!(run.stop().await.halted, Vec::<String>::new());
        }
        compare(&database, &model).await;
        assert_eq!(database.number("SELECT count(*) FROM millstream.lease").await, 2);
        let received = [&first, &second].map(|source| source.counters().counts().received);
        assert_eq!(received.iter().sum::<u64>(), bodies.len() as u64);
        assert!(received.iter().all(|received| *received > 0), "{received:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_orderly_end_gives_back_what_is_not_written() {
    for (_, service) in services().await {
        let queue = TestQueue::new(service).await;
        let (bodies, _) = bodies(&mut Generator::new("sqs end"), 30);
        // Longer than the test may last: only a release makes them visible again.
        let source = open(&queue, SqsOptions { visibility: 600 * SECOND, ..queue.options() }).await;
        begin(&source, None).await;
        queue.send(&bodies).await;
        let left = bodies.len();
        until("the rest in its hands", WITHIN, || async { (source.held().0 == left).then_some(()) }).await;
        source.close(WITHIN).await;
        until("the rest to be visible", WITHIN, || async {
            (queue.messages().await == (left as u64, 0)).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_went_back_halts_unless_the_risk_is_accepted() {
    let Some(service) = ElasticMq::shared().await else { return };
    for accept_loss_on_restore in [false, true] {
        let queue = TestQueue::new(service).await;
        let database = database().await;
        let (bodies, _) = bodies(&mut Generator::new("sqs restored"), 40);
        let source = open(&queue, SqsOptions { accept_loss_on_restore, ..queue.options() }).await;
        let run = start(&source, &database);
        queue.send(&bodies[..20]).await;
        drained(&queue, &source).await;
        let position = position(&database).await;
        database.execute(&format!("UPDATE millstream.lease SET next_position = '{}'", position - 7)).await;
        queue.send(&bodies[20..]).await;
        if accept_loss_on_restore {
            drained(&queue, &source).await;
            let later = self::position(&database).await;
            assert_eq!(later - (position - 7), bodies.len() as u64 - 20, "positions go on from the stored one");
        } else {
            until("a gap", WITHIN, || async {
                (database.number("SELECT count(*) FROM millstream.gap").await == 1).then_some(())
            })
            .await;
            let gap = "SELECT to_position::bigint - from_position::bigint FROM millstream.gap";
            assert_eq!(database.number(gap).await, 7);
            let left = bodies.len() - 20;
            until("the rest in hand", WITHIN, || async { (source.held().0 == left).then_some(()) }).await;
            // What `positions reset --to latest` does: the consumer goes on with what it holds.
            let mut connection = database.connect().await;
            sqlx::query(include_str!("../../pipeline/app/src/cli/sql/position_reset.sql"))
                .bind("objects")
                .bind(source.incarnation())
                .bind(["test"])
                .bind([None::<String>])
                .bind([None::<i64>])
                .execute(&mut connection)
                .await
                .unwrap();
            drained(&queue, &source).await;
        }
        run.stop().await;
        assert_eq!(database.number("SELECT count(*) FROM millstream.gap").await, i64::from(!accept_loss_on_restore));
    }
}

/// A source that is never told what is durable, as if its process died before it could delete.
#[derive(Debug)]
struct NeverTold(Arc<SqsSource>);

#[async_trait]
impl Source for NeverTold {
    fn incarnation(&self) -> &str {
        self.0.incarnation()
    }

    fn assignment(&self) -> watch::Receiver<Vec<Partition>> {
        self.0.assignment()
    }

    async fn confirm(&self) -> Result<(), SourceError> {
        self.0.confirm().await
    }

    async fn start(
        &self,
        partition: &Partition,
        stored: Option<&Position>,
        era: Option<i64>,
    ) -> Result<Position, SourceError> {
        self.0.start(partition, stored, era).await
    }

    fn era(&self, partition: &Partition, next: &Position) -> Option<i64> {
        self.0.era(partition, next)
    }

    async fn fetch(&self, wants: &[Want], wait: Duration) -> Result<Vec<RecordBatch>, SourceError> {
        self.0.fetch(wants, wait).await
    }

    fn revive(&self) {
        self.0.revive();
    }

    async fn commit(&self, _: &Checkpoint) -> Result<(), SourceError> {
        Ok(())
    }

    async fn close(&self) {
        Source::close(&*self.0).await;
    }

    fn lag_records(&self, partition: &Partition, next: &Position) -> Option<u64> {
        self.0.lag_records(partition, next)
    }
}
