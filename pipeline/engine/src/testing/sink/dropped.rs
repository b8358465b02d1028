//! A call that is dropped at any moment took effect as a whole or not at all, and blocks no later call.

use std::pin::pin;

use super::Fixture;
use super::bench::{Bad, Bench, Filtered, Part, Word, account, good, names, settle};
use crate::testing::moment::Moments;

/// Passes over all moments in search of a lost answer. Each misses it with a probability of about one in five.
const PASSES_MAX: u32 = 10;

/// Words of every kind, with bad ones of every way among them.
fn words(number: u64, ways: usize) -> Vec<Word> {
    let mut words = good(number..number + 2);
    words.extend((0..ways).map(Bad));
    words.push(Filtered);
    words.extend(good(number + 2..number + 4));
    words
}

/// The same batch again: it finds out whether the dropped call took effect, and takes effect once.
pub async fn a_dropped_write_is_found_out_by_the_next(fixture: &mut impl Fixture) {
    let mut bench = Bench::new(fixture);
    let mut writer = bench.writer(&["0", "1"]).await;
    let mut number = 0;
    let mut from = [0, 0];
    let mut lost = 0;
    let mut passes = 1;
    let mut moments = Moments::default();
    loop {
        let Some(moment) = moments.next() else {
            if lost > 0 {
                break;
            }
            // How often a call is polled depends on how fast answers come, so a pass may miss the moment.
            passes += 1;
            assert!(passes < PASSES_MAX, "at one moment at least the answer alone is lost");
            moments = Moments::default();
            continue;
        };
        let parts = [
            Part::new("0", from[0], words(number, bench.bad.len())),
            Part::new("1", from[1], good(number + 4..number + 6)),
        ];
        let batch = bench.batch(&parts);
        let ended = moment.reach(pin!(writer.write(&batch))).await.is_some();
        moments.ended(ended);
        // All or nothing, at any moment.
        let now = bench.stored().await;
        let after = bench.after(&parts);
        assert!(now == bench.expected || now == after, "half done at {moment:?}: {now:?}");
        lost += u32::from(now == after && !ended);
        let (outcome, _) = settle(&mut writer, &batch).await.expect("write the same batch again");
        account(&parts, &outcome);
        bench.expected = after;
        bench.check("the batch took effect once").await;
        from = [parts[0].next, parts[1].next];
        number += 6;
    }
}

/// Another batch instead: leases are taken again, and the records that are left come in other batches.
pub async fn a_dropped_write_leaves_nothing_behind_for_another_batch(fixture: &mut impl Fixture) {
    let mut bench = Bench::new(fixture);
    let mut writer = bench.writer(&["0", "1"]).await;
    let mut number = 0;
    let mut from = [0, 0];
    let mut moments = Moments::default();
    while let Some(moment) = moments.next() {
        let parts = [
            Part::new("0", from[0], words(number, bench.bad.len())),
            // Longer, so that the next batch has good records in the places of bad ones of the first.
            Part::new("1", from[1], good(number + 4..number + 20)),
        ];
        let batch = bench.batch(&parts);
        let ended = moment.reach(pin!(writer.write(&batch))).await.is_some();
        moments.ended(ended);
        let held = writer.acquire(&names(&["0", "1"])).await.expect("take leases again");
        let after = bench.after(&parts);
        let stored = |held: &crate::Held| after.positions.get(&held.partition) == held.next.as_ref();
        if held.iter().all(stored) {
            bench.expected = after;
            bench.check("the dropped write took effect").await;
        } else {
            bench.check("the dropped write took no effect").await;
            bench.acquire(&mut writer, &["0", "1"]).await;
            for part in parts.iter().rev() {
                bench.write(&mut writer, std::slice::from_ref(part)).await;
            }
        }
        from = [parts[0].next, parts[1].next];
        number += 20;
    }
}

/// An acquisition that was dropped is made again, and then everything goes on.
pub async fn a_dropped_acquire_leaves_the_writer_usable(fixture: &mut impl Fixture) {
    let mut bench = Bench::new(fixture);
    let mut writer = bench.open().await;
    let mut from = 0;
    let mut moments = Moments::default();
    while let Some(moment) = moments.next() {
        let partitions = names(&["0"]);
        moments.ended(moment.reach(pin!(writer.acquire(&partitions))).await.is_some());
        bench.check("leases move nothing").await;
        bench.acquire(&mut writer, &["0"]).await;
        bench.write(&mut writer, &[Part::new("0", from, good(from..from + 1))]).await;
        from += 1;
    }
}
