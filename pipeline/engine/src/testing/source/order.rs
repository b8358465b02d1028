//! What comes out is what went in: order, bytes, positions, lag.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;

use super::reader::Reader;
use super::{Fixture, Lag, NewRecord, not_applicable, numbered, partitions};
use crate::Position;
use crate::clock::now_ms;

/// Records with bytes that are easily lost on the way.
fn awkward() -> Vec<NewRecord> {
    let header = |name: &str, value: &'static [u8]| (name.into(), Bytes::from_static(value));
    let plain = NewRecord { key: "bucket/key".into(), headers: Vec::new(), payload: "text".into() };
    vec![
        NewRecord { payload: Bytes::new(), ..plain.clone() },
        NewRecord { payload: Bytes::from_static(b"\0\xff\xfe\r\n\0"), ..plain.clone() },
        NewRecord { key: "b\u{fc}cket/\u{1f600} key+%20".into(), ..plain.clone() },
        NewRecord { headers: vec![header("b", b"2"), header("a", b"1"), header("b", b"3")], ..plain.clone() },
        NewRecord { headers: vec![header("empty", b""), header("binary", b"\0\xff")], ..plain.clone() },
        plain,
    ]
}

/// Order, key, headers, bytes, time and position of each record, by one reading and by another.
pub async fn records_come_back_in_order_and_unchanged(fixture: &mut impl Fixture) {
    let abilities = fixture.abilities();
    let source = fixture.open().await;
    let partition = partitions(&*source, &abilities).await.swap_remove(0);
    let mut published = Vec::new();
    let began_ms = now_ms();
    // In parts of many sizes, since what is accepted together may be stored together.
    for (part, size) in [1, 7, 100, 2, 400].into_iter().enumerate() {
        let mut records = numbered(1_000 * part as u64..1_000 * part as u64 + size, 300);
        records.extend(awkward());
        fixture.publish(&partition, &records).await;
        published.extend(records);
    }
    let tolerance_ms = abilities.patience.as_millis() as i64;
    let earliest_ms = began_ms - tolerance_ms;
    let latest_ms = now_ms() + tolerance_ms;

    let mut reader = Reader::start(&*source, &abilities, &partition, None).await;
    let first = reader.expect(&published).await;
    reader.expect_end().await;
    let positions: BTreeSet<&Position> = first.iter().map(|record| &record.position).collect();
    assert_eq!(positions.len(), first.len(), "each record has a position of its own");
    for record in &first {
        let at_ms = record.published_at_ms;
        assert!((earliest_ms..=latest_ms).contains(&at_ms), "accepted at {at_ms}, not in {earliest_ms}..{latest_ms}");
    }

    let mut reader = Reader::start(&*source, &abilities, &partition, None).await;
    let again = reader.read(published.len(), 10_000).await;
    super::reader::same(&again, &published, &abilities);
    for (first, again) in first.iter().zip(&again) {
        assert_eq!((&first.position, first.published_at_ms), (&again.position, again.published_at_ms));
    }
}

/// What goes to one partition does not show in another, and one fetch may want several.
pub async fn every_partition_has_an_order_of_its_own(fixture: &mut impl Fixture) {
    let abilities = fixture.abilities();
    if !abilities.several {
        return not_applicable("gives a process one partition");
    }
    let source = fixture.open().await;
    let partitions = partitions(&*source, &abilities).await;
    assert!(partitions.len() >= 2, "a fixture has at least two partitions");
    let names: BTreeSet<_> = partitions.iter().collect();
    assert_eq!(names.len(), partitions.len(), "each partition is named once");
    let published: Vec<Vec<NewRecord>> =
        (0..partitions.len() as u64).map(|number| numbered(1_000 * number..1_000 * number + 60, 200)).collect();
    for part in 0..3 {
        for (partition, records) in partitions.iter().zip(&published) {
            fixture.publish(partition, &records[part * 20..part * 20 + 20]).await;
        }
    }
    for (partition, records) in partitions.iter().zip(&published) {
        let mut reader = Reader::start(&*source, &abilities, partition, None).await;
        reader.expect(records).await;
        reader.expect_end().await;
    }

    let mut read: Vec<Vec<crate::Record>> = vec![Vec::new(); partitions.len()];
    let mut wants = Vec::new();
    for partition in &partitions {
        wants.push(Reader::start(&*source, &abilities, partition, None).await.want(4_000));
    }
    while read.iter().map(Vec::len).sum::<usize>() < 60 * partitions.len() {
        let batches = source.fetch(&wants, abilities.patience).await.expect("fetch several partitions");
        assert!(!batches.is_empty(), "there are records left");
        for batch in batches {
            let index = partitions.iter().position(|partition| *partition == batch.partition);
            let index = index.expect("only what was asked for");
            read[index].extend(batch.records);
            wants[index].from = batch.next;
        }
    }
    for (read, published) in read.iter().zip(&published) {
        super::reader::same(read, published, &abilities);
    }
}

/// A range without records, in the middle and at the end, is passed: nothing is lost, and no reader waits before it.
pub async fn positions_move_over_ranges_without_records(fixture: &mut impl Fixture) {
    let abilities = fixture.abilities();
    if !abilities.skips {
        return not_applicable("has no ranges without records");
    }
    let source = fixture.open().await;
    let partition = partitions(&*source, &abilities).await.swap_remove(0);
    let mut reader = Reader::start(&*source, &abilities, &partition, None).await;
    let published = numbered(0..20, 100);
    fixture.publish(&partition, &published[..10]).await;
    fixture.skip(&partition).await;
    fixture.publish(&partition, &published[10..]).await;
    let records = reader.expect(&published).await;
    // Also from the record before the hole, and from within what is left.
    for number in [0, 9, 10, 19] {
        let at = &records[number].position;
        let mut reader = Reader::start(&*source, &abilities, &partition, Some(at)).await;
        reader.expect(&published[number..]).await;
    }

    fixture.skip(&partition).await;
    let before = reader.next.clone();
    let deadline = tokio::time::Instant::now() + abilities.patience;
    while reader.next == before {
        reader.expect_end().await;
        assert!(tokio::time::Instant::now() < deadline, "the position does not move over a range without records");
    }
    let end = reader.next.clone();
    assert!(matches!(source.lag_records(&partition, &end), None | Some(0)), "no records are left behind it");
    let mut reader = Reader::start(&*source, &abilities, &partition, Some(&end)).await;
    let more = numbered(20..23, 100);
    fixture.publish(&partition, &more).await;
    reader.expect(&more).await;
}

/// The incarnation changes when, and only when, the stream was made anew.
pub async fn the_stream_keeps_its_name_until_it_is_made_anew(fixture: &mut impl Fixture) {
    let abilities = fixture.abilities();
    let source = fixture.open().await;
    let first = source.incarnation().to_owned();
    assert!(!first.is_empty(), "a stream has a name");
    let partition = partitions(&*source, &abilities).await.swap_remove(0);
    fixture.publish(&partition, &numbered(0..3, 100)).await;
    assert_eq!(source.incarnation(), first, "records do not change it");
    drop(source);
    let source = fixture.open().await;
    assert_eq!(source.incarnation(), first, "a restart does not change it");
    assert!(partitions(&*source, &abilities).await.contains(&partition), "nor the names of partitions");
    if !abilities.recreates {
        return not_applicable("cannot be made anew");
    }
    drop(source);
    fixture.recreate().await;
    let source = fixture.open().await;
    assert_ne!(source.incarnation(), first, "old positions must not be applied to new data");
    let mut reader = Reader::start(&*source, &abilities, &partition, None).await;
    reader.expect_end().await;
}

/// The lag at each record, as precisely as the source claims to know it.
pub async fn lag_counts_the_records_that_are_left(fixture: &mut impl Fixture) {
    let abilities = fixture.abilities();
    let source = fixture.open().await;
    let partition = partitions(&*source, &abilities).await.swap_remove(0);
    let mut reader = Reader::start(&*source, &abilities, &partition, None).await;
    if abilities.lag == Lag::Unknown {
        assert_eq!(source.lag_records(&partition, &reader.next), None, "it claims not to know");
        return not_applicable("does not know its lag");
    }
    let published = numbered(0..30, 100);
    fixture.publish(&partition, &published).await;
    let records = reader.expect(&published).await;
    let places = records.iter().map(|record| &record.position).chain([&reader.next]);
    for (number, place) in places.enumerate() {
        let expected = (published.len() - number) as u64;
        let right = |lag: Option<u64>| match abilities.lag {
            Lag::Exact => lag == Some(expected),
            Lag::Rough | Lag::Unknown => lag.is_some_and(|lag| (lag > 0) == (expected > 0)),
        };
        // A source may learn of the end a little later than a reader does.
        let deadline = tokio::time::Instant::now() + abilities.patience;
        while !right(source.lag_records(&partition, place)) {
            let lag = source.lag_records(&partition, place);
            assert!(tokio::time::Instant::now() < deadline, "lag {lag:?} with {expected} records left");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}
