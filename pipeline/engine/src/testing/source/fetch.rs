//! One fetch: how much it returns, how long it waits, and what a drop does to it.

use std::pin::pin;
use std::time::Duration;

use tokio::time::Instant;

use super::reader::{PLENTY, Reader, same};
use super::{Fixture, not_applicable, numbered, partitions};
use crate::testing::moment::{Moment, Moments};
use crate::{Record, Source};

/// Longer than any patience: a wait that only a new record may end.
const LONG: Duration = Duration::from_secs(600);

/// Rounds in which a fetch stands still while a record is published; in the others the two race.
const HELD_ROUNDS: u64 = 16;

/// A backlog far larger than what is asked for comes in bounded parts, whatever the size of its records.
pub async fn a_fetch_keeps_to_its_bytes(fixture: &mut impl Fixture) {
    let abilities = fixture.abilities();
    let source = fixture.open().await;
    let partitions = partitions(&*source, &abilities).await;
    // Records so small that their bookkeeping outweighs them, and records of a usual size.
    let sizes = [(abilities.backlog, 0), (abilities.backlog / 5, 1_000)];
    for (partition, (count, bytes)) in partitions.iter().zip(sizes) {
        let published = numbered(0..count, bytes);
        for part in published.chunks(1_000) {
            fixture.publish(partition, part).await;
        }
        for bytes_max in [64 << 10, 256 << 10] {
            let mut reader = Reader::start(&*source, &abilities, partition, None).await;
            let mut records = Vec::new();
            let mut fetches = 0;
            while records.len() < published.len() {
                // The reader checks the bytes of each answer.
                records.extend(reader.read(1, bytes_max).await);
                fetches += 1;
            }
            same(&records, &published, &abilities);
            let cost: usize = records.iter().map(Record::cost_bytes).sum();
            let most = bytes_max + abilities.overshoot_bytes;
            assert!(fetches >= cost / most, "{cost} bytes in {fetches} fetches of at most {most}");
        }
    }
    // Each partition has its own bound when several are wanted at once.
    let mut wants = Vec::new();
    for partition in partitions.iter().take(2) {
        wants.push(Reader::start(&*source, &abilities, partition, None).await.want(32 << 10));
    }
    for batch in source.fetch(&wants, abilities.patience).await.expect("fetch two partitions") {
        let bytes: usize = batch.records.iter().map(Record::cost_bytes).sum();
        assert!(bytes <= (32 << 10) + abilities.overshoot_bytes, "{bytes} bytes of partition {}", batch.partition);
    }
}

/// A record that is larger than what was asked for comes all the same, and so do those after it.
pub async fn a_record_larger_than_asked_for_still_comes(fixture: &mut impl Fixture) {
    let abilities = fixture.abilities();
    let source = fixture.open().await;
    let partition = partitions(&*source, &abilities).await.swap_remove(0);
    let mut published = numbered(0..3, 100);
    published.extend(numbered(3..4, 300_000));
    published.extend(numbered(4..6, 100));
    published.extend(numbered(6..8, 200_000));
    for record in &published {
        fixture.publish(&partition, std::slice::from_ref(record)).await;
    }
    for bytes_max in [0, 1, 1_000, 250_000] {
        let mut reader = Reader::start(&*source, &abilities, &partition, None).await;
        let records = reader.read(published.len(), bytes_max).await;
        same(&records, &published, &abilities);
        reader.expect_end().await;
    }
}

/// A fetch at the end waits as long as it may: not shorter, which would keep a core busy, and not longer.
pub async fn a_fetch_at_the_end_waits_and_no_longer_than_told(fixture: &mut impl Fixture) {
    let abilities = fixture.abilities();
    let source = fixture.open().await;
    let partitions = partitions(&*source, &abilities).await;
    fixture.publish(&partitions[0], &numbered(0..5, 100)).await;
    let mut full = Reader::start(&*source, &abilities, &partitions[0], None).await;
    full.read(5, PLENTY).await;
    let mut cases = vec![vec![full.want(PLENTY)], Vec::new()];
    if let Some(other) = partitions.get(1) {
        let empty = Reader::start(&*source, &abilities, other, None).await;
        cases.push(vec![empty.want(PLENTY), full.want(PLENTY)]);
    }
    let wait = Duration::from_millis(300);
    for wants in cases {
        let began = Instant::now();
        let batches = source.fetch(&wants, wait).await.expect("fetch at the end");
        let took = began.elapsed();
        assert!(batches.iter().all(|batch| batch.records.is_empty()), "there is nothing");
        // A tenth of tolerance for clocks that differ.
        assert!(took >= wait * 9 / 10, "waited only {took:?} of {wait:?}");
        assert!(took < wait + abilities.patience, "waited {took:?} instead of {wait:?}");
    }
}

/// A record that arrives during the wait ends it, in whichever of the wanted partitions, however close the race.
pub async fn a_new_record_ends_the_wait(fixture: &mut impl Fixture) {
    let abilities = fixture.abilities();
    let source = fixture.open().await;
    let partitions = partitions(&*source, &abilities).await;
    let mut readers = Vec::new();
    for partition in partitions.iter().take(2) {
        readers.push(Reader::start(&*source, &abilities, partition, None).await);
    }
    for round in 0..40u64 {
        let published = numbered(round..round + 1, 100);
        let wants: Vec<_> = readers.iter().map(|reader| reader.want(PLENTY)).collect();
        let turn = round as usize % readers.len();
        let reader = &mut readers[turn];
        let mut fetch = pin!(source.fetch(&wants, LONG));
        let fetched = if round < HELD_ROUNDS {
            // Held at one of its first steps, the usual one being its wait: what comes meanwhile must be seen.
            let step = Moment::polled(1 + round as usize % 4);
            let early = tokio::time::timeout(Duration::from_millis(10), step.reach(fetch.as_mut())).await;
            assert!(!matches!(early, Ok(Some(_))), "there is nothing yet: {early:?}");
            fixture.publish(&reader.partition, &published).await;
            tokio::time::timeout(abilities.patience, fetch).await
        } else {
            let fetch = tokio::time::timeout(abilities.patience, fetch);
            tokio::join!(fetch, fixture.publish(&reader.partition, &published)).0
        };
        let fetched = fetched.expect("a new record ends the wait").expect("fetch");
        let records: Vec<Record> = fetched.into_iter().flat_map(|batch| batch.records).collect();
        same(&records, &published, &abilities);
        reader.expect(&published).await;
    }
}

/// Lanes share a source: one at the end of its partition waits, another goes on with its own.
pub async fn a_lane_that_waits_does_not_hold_up_another(fixture: &mut impl Fixture) {
    let abilities = fixture.abilities();
    if !abilities.several {
        return not_applicable("gives a process one partition, and so one lane");
    }
    let source = fixture.open().await;
    let partitions = partitions(&*source, &abilities).await;
    let published = numbered(0..50, 1_000);
    fixture.publish(&partitions[1], &published).await;
    let mut waits = Reader::start(&*source, &abilities, &partitions[0], None).await;
    let mut works = Reader::start(&*source, &abilities, &partitions[1], None).await;
    let late = numbered(50..51, 100);
    let mut waiting = pin!(waits.read(1, PLENTY));
    let early = tokio::time::timeout(Duration::from_millis(10), waiting.as_mut()).await;
    assert!(early.is_err(), "there is nothing yet");
    let other = async {
        let records = works.read(published.len(), 5_000).await;
        same(&records, &published, &abilities);
        // Only now does the first lane have something to do.
        fixture.publish(&partitions[0], &late).await;
    };
    let (records, ()) = tokio::join!(waiting, other);
    same(&records, &late, &abilities);
}

/// A fetch that is dropped at any moment takes nothing with it: the same position gives the same records.
pub async fn a_dropped_fetch_loses_nothing(fixture: &mut impl Fixture) {
    let abilities = fixture.abilities();
    let source = fixture.open().await;
    let partition = partitions(&*source, &abilities).await.swap_remove(0);
    let published = numbered(0..30, 500);
    fixture.publish(&partition, &published).await;
    let published = Reader::start(&*source, &abilities, &partition, None).await.order(&published).await;
    let mut moments = Moments::default();
    while let Some(moment) = moments.next() {
        let mut reader = Reader::start(&*source, &abilities, &partition, None).await;
        let part = reader.read(1, 2_000).await.len();
        let wants = [reader.want(2_000)];
        moments.ended(moment.reach(pin!(source.fetch(&wants, abilities.patience))).await.is_some());
        reader.expect(&published[part..]).await;
    }
    // While it waits at the end, and while records arrive.
    let mut end = Reader::start(&*source, &abilities, &partition, None).await;
    end.expect(&published).await;
    for round in 0..20u64 {
        let new = numbered(100 + round..101 + round, 100);
        let wants = [end.want(PLENTY)];
        let dropped = tokio::time::timeout(Duration::from_millis(round % 5), source.fetch(&wants, LONG));
        let (_, ()) = tokio::join!(dropped, fixture.publish(&partition, &new));
        end.expect(&new).await;
    }
    end.expect_end().await;
    whole(&*source, &abilities, &partition, published.len() + 20).await;
}

/// The partition from its beginning has as many records as were published.
async fn whole(source: &dyn Source, abilities: &super::Abilities, partition: &crate::Partition, count: usize) {
    let mut reader = Reader::start(source, abilities, partition, None).await;
    assert_eq!(reader.read(count, PLENTY).await.len(), count);
    reader.expect_end().await;
}
