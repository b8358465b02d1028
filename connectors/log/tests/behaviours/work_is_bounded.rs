//! Queues, reads and idle partitions.

use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use millstream_log::{AppendError, Log, NewRecord, Options};

use crate::support::{Event, Faulty, Random, append, directory, read_all, record};

#[test]
fn appends_wait_for_room_before_they_are_queued() {
    let directory = directory();
    let system = Faulty::default();
    let log = system.log(directory.path(), Options { queue_bytes_max: 1_000, ..Options::default() });
    let topic = log.topic("t", 1).unwrap();
    // The disk does not answer until told to.
    let gate = Arc::new((Mutex::new(false), Condvar::new()));
    let held = Arc::clone(&gate);
    system.rule(move |event| {
        if event.is_segment() && matches!(event, Event::Sync(_)) {
            let open = held.1.wait_while(held.0.lock().unwrap(), |open| !*open).unwrap();
            drop(open);
        }
        None
    });
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let mut first = Box::pin(topic.append(vec![record(0, vec![1; 900])]));
        assert!(is_pending(&mut first).await);
        // Polled once and given up: with room it would have been queued by then, and stored.
        let mut second = Box::pin(topic.append(vec![record(0, vec![2; 900])]));
        assert!(is_pending(&mut second).await);
        drop(second);
        *gate.0.lock().unwrap() = true;
        gate.1.notify_all();
        first.await.unwrap();
        // More than the whole queue is taken when it is empty.
        topic.append(vec![record(0, vec![3; 3_000])]).await.unwrap();
    });
    let first_bytes: Vec<u8> = read_all(&topic, 0).unwrap().iter().map(|record| record.payload[0]).collect();
    assert_eq!(first_bytes, [1, 3]);
}

async fn is_pending<F: Future + Unpin>(future: &mut F) -> bool {
    std::future::poll_fn(|ctx| std::task::Poll::Ready(std::pin::Pin::new(&mut *future).poll(ctx).is_pending())).await
}

#[test]
fn concurrent_appends_share_a_sync() {
    let directory = directory();
    let system = Faulty::default();
    let log = system.log(directory.path(), Options::default());
    let topic = log.topic("t", 1).unwrap();
    append(&topic, vec![record(0, "first")]).unwrap();
    let gate = Arc::new((Mutex::new(false), Condvar::new()));
    let held = Arc::clone(&gate);
    let syncs = Arc::new(Mutex::new(0));
    let counted = Arc::clone(&syncs);
    system.rule(move |event| {
        if event.is_segment() && matches!(event, Event::Sync(_)) {
            *counted.lock().unwrap() += 1;
            drop(held.1.wait_while(held.0.lock().unwrap(), |open| !*open).unwrap());
        }
        None
    });
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let mut appends: Vec<_> = (0..50).map(|_| Box::pin(topic.append(vec![record(0, "x")]))).collect();
        for append in &mut appends {
            assert!(is_pending(append).await);
        }
        *gate.0.lock().unwrap() = true;
        gate.1.notify_all();
        for append in appends {
            append.await.unwrap();
        }
    });
    assert_eq!(topic.range(0).end, 51);
    assert!(*syncs.lock().unwrap() <= 3, "{} syncs for 50 appends that waited together", syncs.lock().unwrap());
}

#[test]
fn reading_forward_does_not_start_over_and_a_read_is_bounded() {
    let directory = directory();
    let system = Faulty::default();
    let log = system.log(directory.path(), Options { group_bytes_max: 2_000, ..Options::default() });
    let topic = log.topic("t", 1).unwrap();
    let mut random = Random::new(4);
    for _ in 0..100 {
        append(&topic, (0..10).map(|_| record(0, random.bytes(1_500))).collect()).unwrap();
    }
    let stored_bytes = topic.backlog_bytes(0, 0);
    let before = system.bytes_read();
    let mut reader_positions = [0, 500, 700];
    for _ in 0..1_000 {
        for next in &mut reader_positions {
            if *next < 1_000 {
                let read = topic.read(0, *next, 3_000).unwrap();
                assert_eq!(read.records.len(), 1, "two frames would exceed the 3,000 bytes");
                *next = read.next;
            }
        }
    }
    assert_eq!(reader_positions, [1_000; 3]);
    // Three readers with 1,000 + 500 + 300 records, each looking a page ahead, and two seeks.
    let read_bytes = system.bytes_read() - before;
    assert!(read_bytes < stored_bytes * 12, "{read_bytes} bytes were read of {stored_bytes}");
}

#[test]
fn records_over_the_limit_are_refused_whole() {
    let directory = directory();
    let log = Log::open(directory.path(), Options { record_bytes_max: 100, ..Options::default() }).unwrap();
    let topic = log.topic("t", 1).unwrap();
    let refused = append(&topic, vec![record(0, "fine"), record(0, vec![0; 101])]);
    assert!(matches!(refused, Err(AppendError::RecordTooLarge { index: 1, .. })), "{refused:?}");
    let refused = append(&topic, vec![record(0, "fine"), record(1, "nowhere")]);
    assert!(matches!(refused, Err(AppendError::NoSuchPartition { index: 1, partition: 1, .. })), "{refused:?}");
    assert_eq!(topic.range(0).end, 0);
    append(&topic, vec![record(0, vec![0; 100])]).unwrap();
    assert!(append(&topic, Vec::new()).unwrap().is_empty());
}

#[test]
fn a_record_larger_than_a_frame_is_stored_whole() {
    let directory = directory();
    let log = Log::open(directory.path(), Options { group_bytes_max: 100, ..Options::default() }).unwrap();
    let topic = log.topic("t", 1).unwrap();
    let payloads: Vec<Vec<u8>> = [1, 5_000, 10, 90, 90, 300].map(|length| Random::new(6).bytes(length)).into();
    append(&topic, payloads.iter().map(|payload| record(0, payload.clone())).collect()).unwrap();
    let stored = read_all(&topic, 0).unwrap();
    assert!(stored.iter().map(|record| record.payload.as_ref()).eq(payloads.iter().map(Vec::as_slice)));
}

#[test]
fn readers_are_woken_and_idle_partitions_have_no_thread() {
    let directory = directory();
    let log = Log::open(directory.path(), Options::default()).unwrap();
    let topic = log.topic("idle-and-busy", 200).unwrap();
    let threads = || {
        std::fs::read_dir("/proc/self/task").unwrap().filter(|task| {
            let name = task.as_ref().unwrap().path().join("comm");
            std::fs::read_to_string(name).is_ok_and(|name| ["log-commit-198", "log-commit-199"].contains(&name.trim()))
        })
    };
    assert_eq!(threads().count(), 0);
    let mut moved = topic.subscribe();
    assert!(!moved.has_changed().unwrap());
    append(&topic, vec![NewRecord { partition: Some(199), ..NewRecord::default() }]).unwrap();
    assert!(moved.has_changed().unwrap());
    moved.mark_unchanged();
    assert_eq!(threads().count(), 1, "only the partition that was written to has its thread");
    assert!(!moved.has_changed().unwrap());
}

#[test]
fn lingering_never_delays_one_alone_nor_a_full_group_nor_closing() {
    const FOREVER: Duration = Duration::from_secs(100_000);
    let directory = directory();
    let system = Faulty::default();
    let log = system.log(directory.path(), Options { linger: FOREVER, group_bytes_max: 100, ..Options::default() });
    let topic = log.topic("t", 1).unwrap();
    // One append after another.
    for _ in 0..3 {
        append(&topic, vec![record(0, "alone")]).unwrap();
    }
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        for _ in 0..3 {
            // Each is stored as 100 bytes and fills a frame; eight frames fill a group. The groups are shared, so the
            // next lingers until it is full as well, which it is.
            topic.append(vec![record(0, vec![1; 97]); 24]).await.unwrap();
        }
        let mut last = Box::pin(topic.append(vec![record(0, "lingers"), record(0, vec![1; 97])]));
        assert!(is_pending(&mut last).await);
        log.close().unwrap();
        last.await.unwrap();
    });
    assert_eq!(topic.range(0).end, 3 + 72 + 2);
}
