use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use millstream_postgres::Connector;
use millstream_schemas::tasks::{Deploy, Fact, Selector, Target, Task};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::dial::Dialable;
use crate::follow::{Standing, follow};
use crate::table::{Applier, Change, Former, Table};

fn task(number: u8) -> Fact {
    Fact::Task(Box::new(Task {
        source: "ecs".into(),
        id: format!("t{number}"),
        version: 1,
        definition: Some("blue".into()),
        status: Some("RUNNING".into()),
        network: Some("vpc".into()),
        addresses: vec![[10, 0, 0, number].into()],
        ..Task::default()
    }))
}

fn alias(generation: i64) -> Fact {
    let targets = vec![Target { revision: "blue".into(), weight: 1 }];
    Fact::Alias(Box::new(Alias {
        service: "digits".into(),
        alias: "prod".into(),
        generation,
        targets,
        ..Alias::default()
    }))
}

fn facts(tasks: u8) -> Vec<Fact> {
    let selector = Some(Selector { definition: Some("blue".into()), ..Selector::default() });
    let deploy =
        Deploy { service: "digits".into(), revision: "blue".into(), selector, port: Some(80), ..Deploy::default() };
    (1..=tasks).map(task).chain([Fact::Deploy(Box::new(deploy)), alias(3)]).collect()
}

fn into() -> Into {
    let table = Arc::new(Table::default());
    let ranges = vec!["10.0.0.0/8".parse().unwrap()];
    let dialable = Dialable::new(BTreeMap::from([("vpc".to_owned(), ranges)]), [], []);
    let applier = Applier::new(Arc::clone(&table), Arc::new(dialable), crate::Options::default());
    Into::new(Arc::new(Mutex::new(applier)), table, Arc::default(), watch::channel(Standing::default()).0)
}

/// In step with a database, after this commit.
fn loaded(seq: i64) -> Into {
    let into = into();
    let mut applier = into.locked();
    applier.load(facts(4), &Former::new(), Instant::now());
    into.stand(Place { identity: "one".into(), seq });
    drop(applier);
    into.standing.send_modify(|standing| standing.in_step = Some(Instant::now()));
    into
}

fn options(directory: &tempfile::TempDir) -> Options {
    Options { file: Some(directory.path().join("routes")), ..Options::default() }
}

fn read(options: &Options) -> Option<disk::Found> {
    disk::read(options.file.as_ref().unwrap(), options.stale_max, millstream_engine::clock::now_ms()).unwrap()
}

fn ready(table: &Table) -> usize {
    let service = table.lookup("digits").unwrap();
    let members = &service.revision("blue").unwrap().tasks.members;
    members.iter().filter(|member| member.is_ready(Instant::now())).count()
}

#[tokio::test]
async fn what_is_written_is_loaded_on_probation_and_stands_where_it_stood() {
    let directory = tempfile::tempdir().unwrap();
    let options = options(&directory);
    let before = loaded(42);
    save(options.file.as_ref().unwrap(), &before).unwrap();
    let after = into();
    load(&options, &after).await;
    let standing = after.standing.borrow().clone();
    assert_eq!((standing.identity.as_deref(), standing.seq, standing.is_from_disk), (Some("one"), 42, true));
    assert_eq!(standing.digest, before.locked().digest());
    assert_eq!((standing.in_step, after.place()), (None, Place { identity: "one".into(), seq: 42 }));
    assert_eq!(after.locked().digest(), standing.digest);
    assert_eq!(after.locked().len(), 6);
    assert_eq!((ready(&before.table), ready(&after.table)), (4, 0));
    assert_eq!(after.locked().applied_aliases()[0].row.generation, 3, "served before, so served again");
    after.locked().confirm(Instant::now());
    assert_eq!(ready(&after.table), 4);
}

#[tokio::test]
async fn a_file_of_which_nothing_is_right_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let options = options(&directory);
    save(options.file.as_ref().unwrap(), &loaded(42)).unwrap();
    let path = options.file.as_ref().unwrap();
    let mut bytes = std::fs::read(path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(path, bytes).unwrap();
    for options in [options.clone(), Options { stale_max: Duration::ZERO, ..options.clone() }, Options::default()] {
        let after = into();
        load(&options, &after).await;
        assert_eq!(*after.standing.borrow(), Standing::default());
        assert!(after.locked().is_empty());
    }
}

#[tokio::test]
async fn a_copy_holds_what_changes_while_it_is_made() {
    let into = loaded(42);
    let mut applier = into.locked();
    applier.begin_copy();
    let gone = task(2);
    applier.apply(vec![Change::Put(task(9)), Change::Remove(gone.key()), Change::Put(alias(4))], Instant::now());
    applier.apply(vec![Change::Remove(task(9).key())], Instant::now());
    let mut changes = applier.end_copy().unwrap();
    changes.sort_by_key(|change| match change {
        Change::Put(fact) => fact.key(),
        Change::Remove(key) => key.clone(),
    });
    assert_eq!(changes, [Change::Remove(gone.key()), Change::Remove(task(9).key()), Change::Put(alias(4))]);
    assert!(applier.end_copy().is_none(), "nobody copies any more");
    applier.begin_copy();
    applier.load(facts(1), &Former::new(), Instant::now());
    assert!(applier.end_copy().is_none(), "all was replaced");
}

#[tokio::test]
async fn a_file_is_right_although_commits_are_applied_while_it_is_written() {
    let directory = tempfile::tempdir().unwrap();
    let options = options(&directory);
    let into = loaded(0);
    let many = |offset: i64| -> Vec<Change> {
        let task =
            |number: i64| Task { source: "ecs".into(), id: format!("x{number}"), version: offset, ..Task::default() };
        (0..3_000).map(|number| Change::Put(Fact::Task(Box::new(task(number + offset))))).collect()
    };
    into.locked().apply(many(0), Instant::now());
    let stop = CancellationToken::new();
    let changing = std::thread::spawn({
        let into = into.clone();
        let stop = stop.clone();
        move || {
            let mut seq = 0;
            while !stop.is_cancelled() && seq < 100_000 {
                seq += 1;
                let mut applier = into.locked();
                let changed = many(seq).swap_remove(usize::try_from(seq * 37 % 3_000).unwrap());
                let gone = many(0).swap_remove(usize::try_from(seq * 53 % 3_000).unwrap());
                let Change::Put(gone) = gone else { panic!() };
                applier.apply(vec![changed, Change::Remove(gone.key())], Instant::now());
                into.stand_at(seq);
            }
        }
    });
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..5 {
        let place = save(options.file.as_ref().unwrap(), &into).unwrap();
        let found = read(&options).unwrap();
        assert_eq!(found.header.seq, place.seq);
        seen.insert(place.seq);
    }
    stop.cancel();
    changing.join().unwrap();
    assert!(seen.len() > 1, "nothing changed");
}

#[tokio::test(start_paused = true)]
async fn it_is_written_when_facts_changed_and_now_and_then_when_not() {
    let directory = tempfile::tempdir().unwrap();
    let options = options(&directory);
    let into = loaded(42);
    let mut saver = Saver::new(&options);
    let look = async |saver: &mut Saver, after: Duration| {
        tokio::time::advance(after).await;
        std::fs::remove_file(options.file.as_ref().unwrap()).unwrap_or_default();
        saver.look(&into, Instant::now()).await;
        saver.ended().await;
        read(&options).map(|found| found.header.seq)
    };
    let second = Duration::from_secs(1);
    saver.took = Duration::ZERO;
    assert_eq!(look(&mut saver, Duration::ZERO).await, Some(42), "at first");
    saver.took = Duration::ZERO;
    assert_eq!(look(&mut saver, second * 60).await, None, "nothing changed");
    into.stand_at(43);
    assert_eq!(look(&mut saver, Duration::ZERO).await, Some(43));
    saver.took = Duration::ZERO;
    into.stand_at(44);
    assert_eq!(look(&mut saver, second * 9).await, None);
    assert_eq!(look(&mut saver, second).await, Some(44));
    saver.took = Duration::ZERO;
    into.stand_at(10_044);
    assert_eq!(look(&mut saver, second).await, Some(10_044), "many changes are written sooner");
    saver.took = second * 2;
    into.stand_at(10_045);
    assert_eq!(look(&mut saver, second * 39).await, None, "writing takes a twentieth of the time");
    assert_eq!(look(&mut saver, second).await, Some(10_045));
    saver.took = Duration::ZERO;
    assert_eq!(look(&mut saver, options.stale_max / 8).await, Some(10_045), "so that it stays young");
    into.stand(Place { identity: "two".into(), seq: 10_045 });
    assert_eq!(look(&mut saver, second).await, Some(10_045), "another history");
}

#[tokio::test]
async fn the_last_state_is_written_at_the_end_unless_the_database_is_away() {
    let directory = tempfile::tempdir().unwrap();
    let options = options(&directory);
    let into = loaded(42);
    let away = loaded(1);
    away.standing.send_modify(|standing| standing.away = Some("x".into()));
    Saver::new(&options).finish(&away).await;
    Saver::new(&options).finish(&super::tests::into()).await;
    assert!(read(&options).is_none());
    Saver::new(&options).finish(&into).await;
    assert_eq!(read(&options).unwrap().header.seq, 42);
    assert!(millstream_engine::clock::now_ms() - read(&options).unwrap().header.read_ms < 60_000);
}

#[tokio::test]
async fn what_a_file_is_of_is_the_time_at_which_the_log_was_read() {
    let directory = tempfile::tempdir().unwrap();
    let options = options(&directory);
    let into = loaded(42);
    let hour = Duration::from_secs(3_600);
    let Some(before) = Instant::now().checked_sub(hour) else { return };
    into.standing.send_modify(|standing| standing.in_step = Some(before));
    save(options.file.as_ref().unwrap(), &into).unwrap();
    let age = millstream_engine::clock::now_ms() - read(&options).unwrap().header.read_ms;
    assert!((3_600_000..3_660_000).contains(&age), "{age}");
}

#[tokio::test]
async fn a_gateway_starts_from_the_file_while_the_database_is_away() {
    let directory = tempfile::tempdir().unwrap();
    let options = options(&directory);
    save(options.file.as_ref().unwrap(), &loaded(42)).unwrap();
    let Into { applier, table, applied, .. } = into();
    let (sender, mut standing) = watch::channel(Standing::default());
    // Nobody listens at the port of a listener that is closed.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let server = sqlx::postgres::PgConnectOptions::new_without_pgpass().host("127.0.0.1").port(port);
    let connector = Connector::from(server);
    let stop = CancellationToken::new();
    let following = millstream_engine::task::spawn(
        "follow",
        follow(connector, options.clone(), applier, Arc::clone(&table), applied, sender, stop.clone()),
    );
    let away = standing.wait_for(|standing| standing.away.is_some()).await.unwrap().clone();
    assert_eq!((away.seq, away.is_from_disk, away.in_step), (42, true, None));
    let trials = table.trials(10, Instant::now());
    assert_eq!((ready(&table), trials.len()), (0, 4));
    trials.into_iter().for_each(crate::table::Trial::passed);
    tokio::time::timeout(Duration::from_secs(20), async {
        while ready(&table) < 4 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .unwrap();
    let written = std::fs::metadata(options.file.as_ref().unwrap()).unwrap().modified().unwrap();
    stop.cancel();
    following.await.unwrap();
    let after = std::fs::metadata(options.file.as_ref().unwrap()).unwrap().modified().unwrap();
    assert_eq!(written, after, "facts that nobody confirmed are not made younger");
}
