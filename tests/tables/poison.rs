//! A bad record never takes its neighbours with it; an outage is never taken for one.

use std::time::Duration;

use millstream_connectors::sinks::tables::redrive::{Redrive, Rewriter as _};
use millstream_postgres::Connector;
use millstream_tests::{Generator, Proxy, Run, Stream, until};
use rand::Rng as _;

use super::domain::{Domain, append, kept, put, refuse, run, writer};

/// Events of which some are refused by the database.
fn mixed<D: Domain>(count: u64, is_bad: impl Fn(u64) -> bool) -> (Vec<D::Event>, Vec<D::Event>) {
    let all = (0..count).map(|number| if is_bad(number) { D::poison(number) } else { D::numbered(number) });
    (all.collect(), (0..count).filter(|number| !is_bad(*number)).map(D::numbered).collect())
}

pub(super) async fn the_database_refuses_some_records_of_a_batch<D: Domain>() {
    let mut generator = Generator::new("refused");
    for bad in [1usize, 3, 20] {
        let database = D::database().await;
        refuse::<D>(&database).await;
        let proxy = Proxy::start(&database).await;
        let mut writer = writer::<D>(proxy.options(), &["0"]).await;
        let count = 1_000usize;
        let mut picked = rand::seq::index::sample(generator.rng(), count, bad).into_vec();
        picked.sort_unstable();
        let (events, good) = mixed::<D>(count as u64, |number| picked.contains(&(number as usize)));
        let outcome = put::<D>(&mut writer, &events).await;
        assert_eq!((outcome.written, outcome.quarantined), ((count - bad) as u64, bad as u64));
        D::holds(&database, &good).await;
        let expected: Vec<i64> = picked.iter().map(|number| *number as i64).collect();
        assert_eq!(kept(&database).await, expected);
        // Every try but the first of the batch stands behind a savepoint. Halving 1,000 takes 10 steps.
        let tries = proxy.savepoints() + 1;
        assert_eq!(outcome.isolating_tries, tries as u64, "what is told is what was done");
        let bound = bad as f64 * ((count as f64).log2().ceil() + 2.0);
        println!("{bad} bad of {count}: {tries} tries, at most {bound:.0}");
        assert!((tries as f64) <= bound, "{tries} tries for {bad} bad records of {count}, at most {bound}");
    }
}

pub(super) async fn a_batch_of_nothing_but_refused_records_passes<D: Domain>() {
    let database = D::database().await;
    refuse::<D>(&database).await;
    let mut writer = writer::<D>(database.options(), &["0"]).await;
    let outcome = put::<D>(&mut writer, &mixed::<D>(40, |_| true).0).await;
    assert_eq!((outcome.written, outcome.quarantined), (0, 40));
    D::holds(&database, &[]).await;
}

/// Connections break and backends are killed while bad records are being narrowed down.
pub(super) async fn an_outage_in_the_middle_blames_no_record<D: Domain>() {
    let mut generator = Generator::new("outage");
    let database = D::database().await;
    let stream = Stream::default();
    refuse::<D>(&database).await;
    let topic = stream.topic("objects", 2);
    let (events, good) = mixed::<D>(3_000, |number| number.is_multiple_of(97));
    append::<D>(&topic, &events).await;
    let proxy = Proxy::start(&database).await;
    let run = run::<D>(&topic, proxy.options(), Run::limits(2, 300));
    for round in 0..20 {
        if round % 2 == 0 {
            proxy.cut_after_bytes(generator.rng().random_range(1..200_000));
        } else {
            database.end_writers().await;
        }
        let seen = run.progress.snapshot().retries;
        until("a fault to be met, or the end", Duration::from_secs(30), || async {
            (run.progress.snapshot().retries > seen || run.lag() == Some(0)).then_some(())
        })
        .await;
    }
    run.caught_up(Duration::from_secs(60)).await;
    assert!(run.stop().await.drained);
    D::holds(&database, &good).await;
    assert_eq!(kept(&database).await.len(), events.len() - good.len(), "exactly the planted ones");
}

pub(super) async fn what_was_refused_is_written_once_nobody_refuses_it<D: Domain>() {
    let database = D::database().await;
    refuse::<D>(&database).await;
    let mut writer = writer::<D>(database.options(), &["0"]).await;
    let (events, good) = mixed::<D>(10, |number| number % 3 == 0);
    put::<D>(&mut writer, &events).await;
    D::holds(&database, &good).await;
    let ids = "SELECT id FROM millstream.quarantine ORDER BY id";
    let ids: Vec<i64> = sqlx::query_scalar(ids).fetch_all(&mut database.connect().await).await.unwrap();
    assert_eq!(ids.len(), 4);
    let mut connection = Connector::from(database.options()).connect().await.unwrap();
    let redrive = |dry_run| Redrive::new(D::rows(), D::decoder(), String::new(), dry_run);

    // They are still refused, and stay.
    let done = redrive(false).run(&mut connection, &ids).await.unwrap();
    assert_eq!((done.rows, done.removed, done.kept.len(), done.outcome.written), (4, 0, 4, 0));
    D::holds(&database, &good).await;

    database.execute(&format!("ALTER TABLE {} DROP CONSTRAINT picky", D::TABLE)).await;
    let done = redrive(true).run(&mut connection, &ids).await.unwrap();
    assert_eq!((done.rows, done.removed, done.outcome.written), (4, 4, 4));
    D::holds(&database, &good).await;
    assert_eq!(kept(&database).await, [0, 3, 6, 9], "a dry run changes nothing");

    let done = redrive(false).run(&mut connection, &ids).await.unwrap();
    assert_eq!((done.rows, done.removed, done.outcome.written), (4, 4, 4));
    assert_eq!(kept(&database).await, [0i64; 0]);
    D::holds(&database, &events).await;
    // Nothing is left to be done of them.
    assert_eq!(redrive(false).run(&mut connection, &ids).await.unwrap().rows, 0);
    D::holds(&database, &events).await;
}
