use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn message(number: u64, receipt: u64) -> Message {
    Message {
        id: format!("id {number}").into(),
        handle: format!("handle {number} {receipt}").into(),
        body: format!("body {number}").into(),
        sent_ms: number as i64,
    }
}

fn messages(numbers: std::ops::Range<u64>) -> Vec<Message> {
    numbers.map(|number| message(number, 0)).collect()
}

fn bodies(inbox: &Inbox, from: u64) -> Vec<Bytes> {
    let (records, next) = inbox.read(from, usize::MAX).unwrap();
    assert_eq!(next, from + records.len() as u64);
    for (record, position) in records.iter().zip(from..) {
        assert_eq!(record.position, Position::Offset(position));
    }
    records.into_iter().map(|record| record.payload).collect()
}

fn texts(numbers: std::ops::Range<u64>) -> Vec<Bytes> {
    numbers.map(|number| format!("body {number}").into()).collect()
}

async fn done(inbox: &Inbox) -> Vec<Done> {
    tokio::time::timeout(SECOND, inbox.next_done()).await.expect("something to delete")
}

#[tokio::test]
async fn what_is_committed_is_deleted_and_the_rest_can_be_read_again() {
    let inbox = Inbox::new(100, 1 << 20);
    assert_eq!(inbox.put(messages(0..5), Instant::now()), 0);
    assert_eq!(inbox.start(Some(70), 9), (Start::Here, Ends { first: 70, end: 75 }));
    assert_eq!((bodies(&inbox, 70), bodies(&inbox, 73)), (texts(0..5), texts(3..5)));
    inbox.commit(72);
    assert_eq!(inbox.read(71, 1000).unwrap_err(), Ends { first: 72, end: 75 });
    assert_eq!(inbox.read(76, 1000).unwrap_err(), Ends { first: 72, end: 75 });
    assert_eq!(bodies(&inbox, 72), texts(2..5));
    inbox.commit(71);
    assert_eq!(inbox.ends(), Ends { first: 72, end: 75 }, "an old checkpoint changes nothing");
    let handles: Vec<_> = done(&inbox).await.into_iter().map(|done| done.handle).collect();
    assert_eq!(handles, ["handle 0 0".into(), "handle 1 0".into()]);
}

#[tokio::test]
async fn where_positions_go_on() {
    let inbox = Inbox::new(100, 1 << 20);
    assert_eq!(inbox.start(None, 1_000), (Start::Here, Ends { first: 1_000, end: 1_000 }));
    inbox.put(messages(0..5), Instant::now());
    inbox.commit(1_002);
    let ends = Ends { first: 1_002, end: 1_005 };
    assert_eq!(inbox.start(None, 9), (Start::Here, ends), "a reset to the earliest");
    assert_eq!(inbox.start(Some(1_004), 9), (Start::Here, ends), "an answer of the sink that was lost");
    assert_eq!(inbox.start(Some(1_000), 9), (Start::Behind(2), ends));
    assert_eq!(bodies(&inbox, 1_002), texts(2..5), "nothing changed");
    inbox.renumber(1_000);
    assert_eq!(bodies(&inbox, 1_000), texts(2..5));
    assert_eq!(inbox.start(Some(5_000), 9), (Start::Ahead, Ends { first: 5_000, end: 5_003 }));
    assert_eq!(bodies(&inbox, 5_000), texts(2..5));
}

#[tokio::test]
async fn a_message_that_comes_again_is_not_read_twice_and_its_new_handle_counts() {
    let inbox = Inbox::new(100, 1 << 20);
    inbox.start(Some(0), 0);
    inbox.put(messages(0..3), Instant::now());
    assert_eq!(inbox.put(vec![message(1, 1), message(3, 0)], Instant::now()), 1);
    assert_eq!(bodies(&inbox, 0), texts(0..4));
    inbox.commit(2);
    let first = done(&inbox).await;
    let handles: Vec<&str> = first.iter().map(|done| &*done.handle).collect();
    assert_eq!(handles, ["handle 0 0", "handle 1 1"]);
    // Again before it is deleted: only deleted anew.
    assert_eq!(inbox.put(vec![message(0, 1)], Instant::now()), 1);
    assert_eq!(bodies(&inbox, 2), texts(2..4));
    let second = done(&inbox).await;
    assert_eq!(&*second[0].handle, "handle 0 1");
    inbox.forget(&first);
    inbox.forget(&second);
    tokio::time::timeout(SECOND, inbox.all_forgotten()).await.unwrap();
    // After the deletion it is another record, which does no harm.
    assert_eq!(inbox.put(vec![message(0, 2)], Instant::now()), 0);
    assert_eq!(inbox.ends().end, 5);
}

#[tokio::test]
async fn only_what_fits_is_received() {
    let inbox = Inbox::new(25, 5_000);
    inbox.start(Some(0), 0);
    let first = inbox.room().await;
    let second = inbox.room().await;
    let third = inbox.room().await;
    assert_eq!([first.messages, second.messages, third.messages], [10, 10, 5]);
    let more = || tokio::time::timeout(Duration::from_millis(20), inbox.room());
    assert!(more().await.is_err(), "25 are promised");
    inbox.put(messages(0..4), Instant::now());
    drop((first, second, third));
    assert_eq!(more().await.unwrap().messages, 10);
    inbox.put(messages(4..20), Instant::now());
    assert!(inbox.size().1 > 5_000);
    assert!(more().await.is_err(), "too many bytes");
    inbox.commit(20);
    // Messages that are still to be deleted count as messages, no longer as bytes.
    assert_eq!(inbox.size(), (0, 0));
    assert_eq!(more().await.unwrap().messages, 5);
    let taken = done(&inbox).await;
    assert_eq!(more().await.unwrap().messages, 5);
    inbox.forget(&taken);
    assert_eq!(more().await.unwrap().messages, 10);
}

#[tokio::test(start_paused = true)]
async fn messages_are_extended_at_half_of_their_time_until_they_are_too_old() {
    let inbox = Inbox::new(100, 1 << 20);
    inbox.start(Some(0), 0);
    let visibility = 10 * SECOND;
    let age_max = 30 * SECOND;
    inbox.put(messages(0..3), Instant::now());
    let due = |inbox: &Inbox| {
        let (due, let_go) = inbox.due(Instant::now(), visibility, age_max);
        (due.len(), let_go)
    };
    tokio::time::advance(4 * SECOND).await;
    assert_eq!(due(&inbox), (0, 0));
    tokio::time::advance(SECOND).await;
    let (all, _) = inbox.due(Instant::now(), visibility, age_max);
    assert_eq!(all.len(), 3);
    inbox.extended(&all[..1], Instant::now());
    assert_eq!(inbox.let_go(&all[1..2]), 1);
    assert_eq!(due(&inbox), (1, 0), "one is extended, one is lost");
    // Received again meanwhile: results of the old handle are void, and its time begins anew.
    inbox.put(vec![message(2, 1), message(1, 1)], Instant::now());
    assert_eq!(inbox.let_go(&all[2..]), 0);
    assert_eq!(due(&inbox), (0, 0));
    tokio::time::advance(15 * SECOND).await;
    assert_eq!(due(&inbox), (3, 0), "at 20 s and 15 s");
    let (all, _) = inbox.due(Instant::now(), visibility, age_max);
    inbox.extended(&all, Instant::now());
    tokio::time::advance(5 * SECOND).await;
    assert_eq!(due(&inbox), (2, 1), "the first would be kept for more than 30 s");
    inbox.spare(2);
    assert_eq!(due(&inbox), (1, 0));
    assert_eq!(inbox.let_all_go(), ["handle 1 1".into()]);
    assert_eq!((due(&inbox), inbox.let_all_go()), ((0, 0), Vec::new()));
    inbox.commit(3);
    let deleted = done(&inbox).await;
    let handles: Vec<&str> = deleted.iter().map(|done| &*done.handle).collect();
    assert_eq!(handles, ["handle 0 0", "handle 1 1"], "what is too old is tried, what is spared is not");
}

proptest! {
    /// In any order of put, read, commit and repeated put, every message is read until it is committed, in order, and
    /// each committed message is deleted once.
    #[test]
    fn nothing_is_lost_and_nothing_deleted_early(steps in prop::collection::vec((0u8..4, 0u64..20), 1..60)) {
        let inbox = Inbox::new(1_000, 1 << 20);
        inbox.start(Some(500), 0);
        let mut put = 0;
        let mut committed = 0;
        let mut deleted = Vec::new();
        for (step, size) in steps {
            match step {
                0 => {
                    inbox.put(messages(put..put + size), Instant::now());
                    put += size;
                }
                1 => {
                    inbox.put(messages(committed..put.min(committed + size)), Instant::now());
                }
                2 => {
                    committed = put.min(committed + size);
                    inbox.commit(500 + committed);
                }
                _ => {
                    let (records, next) = inbox.read(500 + committed, size as usize * 100).unwrap();
                    prop_assert_eq!(records.is_empty(), committed == put);
                    prop_assert!(next <= 500 + put);
                }
            }
            prop_assert_eq!(bodies(&inbox, 500 + committed), texts(committed..put));
            let mut state = inbox.lock();
            deleted.extend(state.done.drain(..).map(|done| done.id));
        }
        let expected: Vec<Arc<str>> = (0..committed).map(|number| message(number, 0).id).collect();
        prop_assert_eq!(deleted, expected);
    }
}
