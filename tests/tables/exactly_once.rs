//! Each event takes effect once, wherever the connection breaks. Counters are the witness: they are sums, so an effect that
//! happens twice, or not at all, stays visible.

use std::time::Duration;

use millstream_tests::{Cut, Generator, Proxy, Run, Stream};
use rand::Rng as _;

use super::domain::{Domain, append, run};

/// Runs 200 batches through a proxy that cuts as planned, and demands every event once.
async fn cut_at_commits<D: Domain>(plan: impl Fn(u64) -> Cut + Send + Sync + 'static) {
    let database = D::database().await;
    let stream = Stream::default();
    let topic = stream.topic("objects", 2);
    let events = D::random("cuts", 2_000);
    let proxy = Proxy::start(&database).await;
    proxy.at_commit(plan);
    append::<D>(&topic, &events).await;
    let run = run::<D>(&topic, proxy.options(), Run::limits(2, 10));
    run.caught_up(Duration::from_secs(120)).await;
    let counted = run.progress.snapshot();
    assert!(run.stop().await.drained);
    let accounted = counted.written + counted.quarantined + counted.filtered.values().sum::<u64>();
    assert_eq!((counted.records, accounted), (events.len() as u64, events.len() as u64));
    D::holds(&database, &events).await;
    let stored = database.number("SELECT sum(next_position::bigint) FROM millstream.lease").await;
    assert_eq!(stored, events.len() as i64, "positions");
    let transactions = counted.transactions;
    let cuts = proxy.cuts();
    assert!(transactions >= 200, "{transactions} transactions");
    assert!(cuts >= transactions, "{cuts} cuts in {transactions} transactions");
}

pub(super) async fn the_answer_to_every_commit_is_lost<D: Domain>() {
    cut_at_commits::<D>(|_| Cut::After).await;
}

pub(super) async fn the_connection_breaks_while_every_commit_is_on_its_way<D: Domain>() {
    cut_at_commits::<D>(|_| Cut::During).await;
}

pub(super) async fn the_connection_breaks_before_every_other_commit<D: Domain>() {
    cut_at_commits::<D>(|commit| if commit % 2 == 0 { Cut::Before } else { Cut::After }).await;
}

pub(super) async fn the_connection_breaks_in_the_middle_of_statements<D: Domain>() {
    let mut generator = Generator::new("bytes");
    let database = D::database().await;
    let stream = Stream::default();
    let topic = stream.topic("objects", 2);
    let events = D::random("broken statements", 2_000);
    let proxy = Proxy::start(&database).await;
    let run = run::<D>(&topic, proxy.options(), Run::limits(2, 50));
    for part in events.chunks(100) {
        proxy.cut_after_bytes(generator.rng().random_range(1..D::BYTES_OF_100));
        append::<D>(&topic, part).await;
        run.caught_up(Duration::from_secs(60)).await;
    }
    assert!(run.stop().await.drained);
    assert!(proxy.cuts() >= 10, "{} cuts", proxy.cuts());
    D::holds(&database, &events).await;
}
