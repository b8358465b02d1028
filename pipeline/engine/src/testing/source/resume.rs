//! Going on from a stored position: after a restart, after a commit, after something was lost.

use super::reader::Reader;
use super::{Fixture, not_applicable, numbered, partitions};
use crate::{Checkpoint, Partition, Position, Source, SourceError};

/// Why most of these checks do not apply to a queue.
const NO_REPLAY: &str = "cannot be read again by another process";

/// Every record's position and every `next` is a place to begin at.
pub async fn any_record_is_a_place_to_go_on_from(fixture: &mut impl Fixture) {
    let abilities = fixture.abilities();
    let source = fixture.open().await;
    let partition = partitions(&*source, &abilities).await.swap_remove(0);
    let published = numbered(0..40, 200);
    // Some are stored together and some are not.
    fixture.publish(&partition, &published[..25]).await;
    for record in published[25..].chunks(3) {
        fixture.publish(&partition, record).await;
    }
    let published = Reader::start(&*source, &abilities, &partition, None).await.order(&published).await;
    let records = Reader::start(&*source, &abilities, &partition, None).await.expect(&published).await;
    for (number, record) in records.iter().enumerate() {
        let mut reader = Reader::start(&*source, &abilities, &partition, Some(&record.position)).await;
        let read = reader.expect(&published[number..]).await;
        assert_eq!(read.first().map(|read| &read.position), Some(&record.position), "the record itself comes first");
    }
    let mut reader = Reader::start(&*source, &abilities, &partition, None).await;
    let mut read = 0;
    while read < published.len() {
        read += reader.read(1, 500).await.len();
        let mut other = Reader::start(&*source, &abilities, &partition, Some(&reader.next)).await;
        other.expect(&published[read..]).await;
    }
}

/// The end is a place to begin at: what was read does not come again, what is new does.
pub async fn at_the_end_only_what_is_new_comes(fixture: &mut impl Fixture) {
    let abilities = fixture.abilities();
    if !abilities.replays {
        return not_applicable(NO_REPLAY);
    }
    let source = fixture.open().await;
    let partition = partitions(&*source, &abilities).await.swap_remove(0);
    // Of a partition that never had a record, too.
    let mut empty = Reader::start(&*source, &abilities, &partition, None).await;
    empty.expect_end().await;
    let old = numbered(0..5, 100);
    let new = numbered(5..9, 100);
    fixture.publish(&partition, &old).await;
    empty.expect(&old).await;
    let end = empty.next.clone();
    drop(source);
    let source = fixture.open().await;
    let mut reader = Reader::start(&*source, &abilities, &partition, Some(&end)).await;
    reader.expect_end().await;
    fixture.publish(&partition, &new).await;
    reader.expect(&new).await;
    reader.expect_end().await;
}

/// A process that died between fetch and write has lost nothing: the next one reads from the stored position.
pub async fn what_was_not_stored_comes_again_after_a_restart(fixture: &mut impl Fixture) {
    let abilities = fixture.abilities();
    if !abilities.replays {
        return not_applicable(NO_REPLAY);
    }
    let published = numbered(0..60, 200);
    let source = fixture.open().await;
    let partition = partitions(&*source, &abilities).await.swap_remove(0);
    fixture.publish(&partition, &published).await;
    let all = Reader::start(&*source, &abilities, &partition, None).await.expect(&published).await;
    drop(source);
    for stored in [20, 59, 1] {
        let source = fixture.open().await;
        let mut reader = Reader::start(&*source, &abilities, &partition, Some(&all[stored].position)).await;
        let again = reader.expect(&published[stored..]).await;
        for (first, again) in all[stored..].iter().zip(&again) {
            assert_eq!((&first.position, first.published_at_ms), (&again.position, again.published_at_ms));
        }
    }
    let source = fixture.open().await;
    Reader::start(&*source, &abilities, &partition, None).await.expect(&published).await;
}

/// Positions committed to the stream are for people: the tables decide, also when they are behind.
pub async fn a_commit_never_makes_anything_be_skipped(fixture: &mut impl Fixture) {
    let abilities = fixture.abilities();
    if !abilities.replays {
        return not_applicable(NO_REPLAY);
    }
    let published = numbered(0..30, 200);
    let source = fixture.open().await;
    let partition = partitions(&*source, &abilities).await.swap_remove(0);
    fixture.publish(&partition, &published).await;
    let mut reader = Reader::start(&*source, &abilities, &partition, None).await;
    let records = reader.expect(&published).await;
    let behind = records[10].position.clone();
    let end = reader.next.clone();
    let checkpoint = |position: &Position| Checkpoint::new(vec![(partition.clone(), position.clone())]);
    source.commit(&checkpoint(&behind)).await.expect("commit");
    source.commit(&checkpoint(&end)).await.expect("commit");
    reopened(&*source, &abilities, &partition, &behind, &published).await;
    drop(source);
    let source = fixture.open().await;
    reopened(&*source, &abilities, &partition, &behind, &published).await;
    source.commit(&checkpoint(&behind)).await.expect("commit what is behind");
    reopened(&*source, &abilities, &partition, &behind, &published).await;
}

async fn reopened(
    source: &dyn Source,
    abilities: &super::Abilities,
    partition: &Partition,
    behind: &Position,
    published: &[super::NewRecord],
) {
    Reader::start(source, abilities, partition, Some(behind)).await.expect(&published[10..]).await;
    Reader::start(source, abilities, partition, None).await.expect(published).await;
}

/// A stored position that retention has passed is reported as a gap, with what is left, by a start and by a fetch.
pub async fn what_retention_removed_is_a_gap(fixture: &mut impl Fixture) {
    let abilities = fixture.abilities();
    if !abilities.expires {
        return not_applicable("removes nothing at will");
    }
    let source = fixture.open().await;
    let partition = partitions(&*source, &abilities).await.swap_remove(0);
    // Enough for several of the files or shards that retention removes as a whole.
    let published = numbered(0..100, 20_000);
    for part in published.chunks(5) {
        fixture.publish(&partition, part).await;
    }
    let mut reader = Reader::start(&*source, &abilities, &partition, None).await;
    let records = reader.expect(&published).await;
    let oldest = records[0].position.clone();
    let end = reader.next.clone();
    drop(source);
    fixture.expire(&partition).await;
    let source = fixture.open().await;

    let start = expect_gap(source.start(&partition, Some(&oldest), None).await, &partition, &oldest);
    let left = records.iter().position(|record| record.position == start);
    let left = left.expect("the gap ends at a record that is still there");
    assert!(left > 0 && left < records.len(), "some records are left and some are not");
    let mut late = Reader::start(&*source, &abilities, &partition, None).await;
    late.next = oldest.clone();
    assert_eq!(expect_gap(late.fetch(1 << 20, abilities.patience).await, &partition, &oldest), start);
    let before = &records[left - 1].position;
    assert_eq!(expect_gap(source.start(&partition, Some(before), None).await, &partition, before), start);

    for stored in [None, Some(&start)] {
        let mut reader = Reader::start(&*source, &abilities, &partition, stored).await;
        assert_eq!(reader.next, start, "never read before means from the oldest record");
        reader.expect(&published[left..]).await;
        assert_eq!(reader.next, end);
    }
}

/// A position beyond the end belongs to another stream, or to one that went back.
pub async fn a_position_that_never_existed_is_a_gap(fixture: &mut impl Fixture) {
    let abilities = fixture.abilities();
    if !abilities.replays {
        return not_applicable(NO_REPLAY);
    }
    let source = fixture.open().await;
    let partition = partitions(&*source, &abilities).await.swap_remove(0);
    let published = numbered(0..10, 100);
    fixture.publish(&partition, &published).await;
    let mut reader = Reader::start(&*source, &abilities, &partition, None).await;
    reader.expect(&published).await;
    let Position::Offset(end) = reader.next else { return not_applicable("does not count its positions") };
    for beyond in [Position::Offset(end + 1), Position::Offset(end + 1_000_000), Position::Offset(u64::MAX)] {
        expect_gap(source.start(&partition, Some(&beyond), None).await, &partition, &beyond);
        reader.next = beyond.clone();
        expect_gap(reader.fetch(1 << 20, abilities.patience).await, &partition, &beyond);
    }
}

/// The oldest position that a gap leaves.
fn expect_gap<T: std::fmt::Debug>(result: Result<T, SourceError>, at: &Partition, from: &Position) -> Position {
    match result {
        Err(SourceError::Gap { partition, stored, start, reason, .. }) => {
            assert_eq!((&partition, &stored), (at, from), "the gap begins where the tables are");
            assert!(!reason.is_empty(), "a person is told what happened");
            start
        }
        other => panic!("{from} cannot be read, and must be a gap: {other:?}"),
    }
}
