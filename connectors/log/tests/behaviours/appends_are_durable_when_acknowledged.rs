//! The order of writing, syncing and acknowledging, seen through the system calls.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Barrier};
use std::task::{Context, Waker};
use std::time::Duration;

use millstream_log::{Options, Retention};

use crate::support::{Event, Faulty, append, directory, read_all, record};

#[test]
fn every_write_is_synced_before_the_append_returns() {
    let directory = directory();
    let system = Faulty::default();
    let log = system.log(directory.path(), Options { segment_bytes: Some(2_000), ..Options::default() });
    let topic = log.topic("t", 2).unwrap();
    for round in 0..40_u32 {
        let before = system.events().len();
        append(&topic, vec![record(round % 2, vec![7; 300]), record(0, vec![8; 10])]).unwrap();
        // Only this append is under way, so nothing may be left unsynced now.
        let events = system.events().split_off(before);
        let writes = events.iter().filter(|event| event.is_segment() && matches!(event, Event::Write(_)));
        assert!(writes.count() > 0, "the append was written during the call");
        for (index, event) in events.iter().enumerate() {
            if let Event::Write(path) = event
                && event.is_segment()
            {
                let synced = events[index..].contains(&Event::Sync(path.clone()));
                assert!(synced, "{} was written but not synced before the acknowledgement", path.display());
            }
        }
    }
}

/// Appends that wait while another is synced share a write, and that write is synced before any of them returns.
#[test]
fn a_group_of_appends_is_synced_before_any_of_them_returns() {
    const GROUP: usize = 5;
    let directory = directory();
    let system = Faulty::default();
    let log = system.log(directory.path(), Options::default());
    let topic = log.topic("t", 1).unwrap();
    append(&topic, vec![record(0, "before")]).unwrap();
    for round in 0..10_u8 {
        // The first append is held in its sync until the others wait behind it.
        let held = Arc::new(Barrier::new(2));
        let release = Arc::new(Barrier::new(2));
        let holds = Arc::clone(&held);
        let waits = Arc::clone(&release);
        let once = AtomicBool::new(false);
        system.rule(move |event| {
            if event.is_segment() && matches!(event, Event::Sync(_)) && !once.swap(true, SeqCst) {
                holds.wait();
                waits.wait();
            }
            None
        });
        let before = system.events().len();
        let of_first = topic.clone();
        let first = std::thread::spawn(move || append(&of_first, vec![record(0, "first")]).unwrap());
        held.wait();
        let mut others: Vec<_> = (0..GROUP).map(|_| Box::pin(topic.append(vec![record(0, vec![round; 50])]))).collect();
        let mut context = Context::from_waker(Waker::noop());
        assert!(others.iter_mut().all(|other| other.as_mut().poll(&mut context).is_pending()), "they wait");
        release.wait();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        for other in others {
            runtime.block_on(other).unwrap();
            let events = system.events().split_off(before);
            let written = events.iter().rposition(|event| event.is_segment() && matches!(event, Event::Write(_)));
            let synced = events.iter().rposition(|event| event.is_segment() && matches!(event, Event::Sync(_)));
            assert!(written.is_some() && synced > written, "an append of a group returned before its sync: {events:?}");
        }
        first.join().unwrap();
        system.no_rule();
        let events = system.events().split_off(before);
        let writes = events.iter().filter(|event| event.is_segment() && matches!(event, Event::Write(_))).count();
        assert!(writes < 1 + GROUP, "{GROUP} appends made {writes} writes with the first: no group was formed");
    }
    assert_eq!(read_all(&topic, 0).unwrap().len(), 1 + 10 * (1 + GROUP));
}

#[test]
fn readers_do_not_see_what_is_not_synced() {
    let directory = directory();
    let system = Faulty::default();
    let log = system.log(directory.path(), Options::default());
    let topic = log.topic("t", 1).unwrap();
    append(&topic, vec![record(0, "one")]).unwrap();
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let at_sync = topic.clone();
    let during = Arc::clone(&seen);
    system.rule(move |event| {
        if event.is_segment() && matches!(event, Event::Sync(_)) {
            during.lock().unwrap().push((at_sync.range(0).end, at_sync.read(0, 1, 1000).unwrap().records.len()));
        }
        None
    });
    append(&topic, vec![record(0, "two")]).unwrap();
    system.no_rule();
    assert_eq!(*seen.lock().unwrap(), [(1, 0)], "while the second record is being synced, only the first is there");
    assert_eq!(read_all(&topic, 0).unwrap().len(), 2);
}

#[test]
fn a_new_segment_is_in_its_directory_for_good_before_it_is_written() {
    let directory = directory();
    let system = Faulty::default();
    let log = system.log(directory.path(), Options { segment_bytes: Some(500), ..Options::default() });
    let topic = log.topic("t", 1).unwrap();
    for _ in 0..10 {
        append(&topic, vec![record(0, crate::support::Random::new(5).bytes(300))]).unwrap();
    }
    let events = system.events();
    let created = |event: &Event| event.is_segment() && matches!(event, Event::Create(_));
    // The first segment was created with the topic; see the test below.
    let rolls: Vec<usize> = (0..events.len()).filter(|index| created(&events[*index])).skip(1).collect();
    assert!(rolls.len() >= 3, "{} segments were begun", rolls.len());
    for index in rolls {
        let Event::Create(path) = &events[index] else { unreachable!() };
        let later = &events[index..];
        let synced = later.iter().position(|event| *event == Event::SyncDir(path.parent().unwrap().to_owned()));
        let written = later.iter().position(|event| *event == Event::Write(path.clone()));
        assert!(written.is_none_or(|written| synced.is_some_and(|synced| synced < written)), "{later:?}");
    }
}

#[test]
fn a_topic_is_there_for_good_when_it_is_returned() {
    let directory = directory();
    let system = Faulty::default();
    let log = system.log(directory.path(), Options::default());
    let before = system.events().len();
    let topic = log.topic("t", 2).unwrap();
    let events = system.events().split_off(before);
    let renamed = events.iter().position(|event| matches!(event, Event::Rename(_))).unwrap();
    let parents: Vec<_> = events.iter().filter(|event| matches!(event, Event::SyncDir(_))).collect();
    assert_eq!(parents.len(), 4, "each partition, the topic, and the directory it was renamed in: {parents:?}");
    assert_eq!(events.last(), Some(&Event::SyncDir(directory.path().join("topics"))));
    assert!(events[..renamed].iter().any(|event| matches!(event, Event::Sync(path) if path.ends_with("meta"))));

    let id = topic.id().to_owned();
    drop((topic, log));
    let again = system.log(directory.path(), Options::default());
    assert_eq!(again.topic("t", 2).unwrap().id(), id, "the incarnation survives");
    assert_ne!(again.topic("u", 2).unwrap().id(), id, "each topic has its own");
}

#[test]
fn segments_are_removed_one_by_one_from_the_oldest() {
    let directory = directory();
    let system = Faulty::default();
    let retention = Retention { age: Some(Duration::from_secs(1)), bytes: None };
    let options = Options { segment_bytes: Some(200), retention, ..Options::default() };
    system.set_clock(1_000);
    let log = system.log(directory.path(), options);
    let topic = log.topic("t", 1).unwrap();
    for index in 0..6_u8 {
        append(&topic, vec![record(0, vec![index; 20]); 20]).unwrap();
        append(&topic, vec![record(0, crate::support::Random::new(9).bytes(300))]).unwrap();
    }
    system.set_clock(10_000);
    let before = system.events().len();
    let removed = log.enforce_retention().unwrap();
    assert!(removed.segments >= 3, "{removed:?}");
    let range = topic.range(0);
    assert_eq!((range.start, range.end), (126, 126), "everything was too old");
    let mut pending = None;
    let mut order = Vec::new();
    for event in system.events().split_off(before) {
        match event {
            Event::Remove(path) => {
                assert_eq!(pending.replace(path.clone()), None, "an unlink is synced before the next");
                order.push(path);
            }
            Event::SyncDir(_) => pending = None,
            _ => {}
        }
    }
    assert_eq!(pending, None);
    assert!(order.is_sorted(), "oldest first");
    drop((topic, log));
    let topic = system.log(directory.path(), Options::default()).topic("t", 1).unwrap();
    assert_eq!(topic.range(0), range, "offsets go on after everything was removed");
}
