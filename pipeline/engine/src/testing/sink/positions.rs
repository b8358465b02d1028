//! Stored positions: returned exactly, moved exactly, never skipped.

use super::Fixture;
use super::bench::{Bench, Filtered, Part, good, names};
use crate::{Gap, Partition, Position, SinkError};

/// Nothing is stored at first; then the position behind each batch, for this writer and for the next.
pub async fn none_is_stored_at_first_and_then_what_was_written(fixture: &mut impl Fixture) {
    let mut bench = Bench::new(fixture);
    bench.check("tables are empty at first").await;
    let mut writer = bench.writer(&["0", "1", "2"]).await;
    bench.check("leases alone store nothing").await;
    // The oldest record of a stream need not be its record 0.
    bench.write(&mut writer, &[Part::new("0", 5, good(0..3))]).await;
    bench.write(&mut writer, &[Part::new("0", 8, good(3..4))]).await;
    bench.write(&mut writer, &[Part::new("2", 0, good(4..9))]).await;
    // Acquires again, and so do a writer that has just started and one that wants other partitions too.
    bench.acquire(&mut writer, &["0", "1", "2"]).await;
    bench.write(&mut writer, &[Part::new("0", 9, good(9..10))]).await;
    let mut next = bench.writer(&["2", "0", "1", "3"]).await;
    bench.write(&mut next, &[Part::new("0", 10, good(10..11)), Part::new("3", 7, good(11..12))]).await;
}

/// Positions that are text, of more digits than any number has, are stored, compared and returned as they are.
pub async fn text_positions_come_back_as_they_were(fixture: &mut impl Fixture) {
    let position = |place: u64| Position::Sequence(format!("49590338271490256608559692538361571095{place:018}").into());
    let mut bench = Bench::with_positions(fixture, position);
    let mut writer = bench.writer(&["shardId-000000000000", "shardId-000000000001"]).await;
    bench.write(&mut writer, &[Part::new("shardId-000000000000", 3, good(0..4))]).await;
    bench.write(&mut writer, &[Part::new("shardId-000000000000", 7, good(4..5)).until(19)]).await;
    let mut next = bench.writer(&["shardId-000000000000", "shardId-000000000001"]).await;
    bench.write(&mut next, &[Part::new("shardId-000000000000", 19, good(5..7))]).await;
    let refused = bench.refused(&mut next, &[Part::new("shardId-000000000000", 20, good(7..9))]).await;
    assert!(matches!(refused, SinkError::Moved { .. }), "{refused:?}");
}

/// An era is returned as it was stored with its position; a batch without one leaves none.
pub async fn an_era_belongs_to_its_position(fixture: &mut impl Fixture) {
    let mut bench = Bench::new(fixture);
    let mut writer = bench.writer(&["0", "1"]).await;
    bench.write(&mut writer, &[Part::new("0", 0, good(0..2)).of_era(i64::MAX), Part::new("1", 0, good(2..3))]).await;
    bench.acquire(&mut writer, &["0", "1"]).await;
    bench.write(&mut writer, &[Part::new("0", 2, good(3..4)).of_era(7), Part::new("1", 1, good(4..5)).of_era(0)]).await;
    bench.acquire(&mut writer, &["0", "1"]).await;
    bench.write(&mut writer, &[Part::new("1", 2, good(5..6))]).await;
    let mut next = bench.writer(&["1", "0"]).await;
    bench.write(&mut next, &[Part::new("0", 3, []).until(9)]).await;
    bench.acquire(&mut next, &["0", "1"]).await;
}

/// One batch moves all of its partitions, and no other.
pub async fn several_partitions_move_together(fixture: &mut impl Fixture) {
    let mut bench = Bench::new(fixture);
    let mut writer = bench.writer(&["0", "1", "10", "2"]).await;
    bench.write(&mut writer, &[Part::new("1", 0, good(0..2)), Part::new("10", 4, good(2..5))]).await;
    bench
        .write(
            &mut writer,
            &[Part::new("10", 7, good(5..6)), Part::new("0", 9, good(6..8)), Part::new("1", 2, good(8..9))],
        )
        .await;
    // One of them begins elsewhere: none moves.
    let parts = [Part::new("0", 11, good(20..22)), Part::new("10", 1, good(22..23)), Part::new("1", 3, good(23..24))];
    let refused = bench.refused(&mut writer, &parts).await;
    assert!(is_moved(&refused, "10", Some(8)), "{refused:?}");
    // One of them is there already: one transaction moves all or none, so these are not the parts of one.
    let parts = [Part::new("0", 11, good(20..22)), Part::new("10", 7, good(5..6))];
    let refused = bench.refused(&mut writer, &parts).await;
    assert!(matches!(refused, SinkError::Moved { .. }), "{refused:?}");
}

/// Control records and compaction leave places without records: positions pass them, alone and beside others.
pub async fn positions_move_over_a_range_without_records(fixture: &mut impl Fixture) {
    let mut bench = Bench::new(fixture);
    let mut writer = bench.writer(&["0", "1"]).await;
    bench.write(&mut writer, &[Part::new("0", 0, []).until(7)]).await;
    bench.write(&mut writer, &[Part::new("0", 7, good(0..2)).until(20), Part::new("1", 3, []).until(4)]).await;
    bench.write(&mut writer, &[Part::new("1", 4, [Filtered])]).await;
    bench.acquire(&mut writer, &["0", "1"]).await;
    bench.write(&mut writer, &[Part::new("0", 20, []).until(21), Part::new("1", 5, good(2..3))]).await;
}

/// A batch that does not begin at the stored position is refused, however it differs; the error has that position.
pub async fn a_batch_from_another_position_is_refused(fixture: &mut impl Fixture) {
    let mut bench = Bench::new(fixture);
    let mut writer = bench.writer(&["0"]).await;
    bench.write(&mut writer, &[Part::new("0", 0, good(0..10))]).await;
    // Read twice; one record left out; far ahead; the same again with one more; one less.
    let wrong = [(0, 5), (3, 10), (11, 3), (4711, 1), (0, 11), (9, 5)];
    for (from, count) in wrong {
        let refused = bench.refused(&mut writer, &[Part::new("0", from, good(100..100 + count))]).await;
        assert!(is_moved(&refused, "0", Some(10)), "{refused:?} for a beginning at {from}");
    }
    // Also for a writer that has just started; and none of it blocks the right batch.
    let mut next = bench.writer(&["0"]).await;
    let refused = bench.refused(&mut next, &[Part::new("0", 0, good(0..10))]).await;
    assert!(is_moved(&refused, "0", Some(10)), "nobody here wrote that: {refused:?}");
    bench.write(&mut next, &[Part::new("0", 10, good(10..12))]).await;
}

fn is_moved(error: &SinkError, at: &str, place: Option<u64>) -> bool {
    let expected = place.map(Position::Offset);
    matches!(error, SinkError::Moved { partition, stored } if partition.as_str() == at && *stored == expected)
}

/// A gap stands on record once however often it is met, and moves no position.
pub async fn a_gap_is_recorded_once(fixture: &mut impl Fixture) {
    let mut bench = Bench::new(fixture);
    let mut writer = bench.writer(&["0", "1"]).await;
    bench.write(&mut writer, &[Part::new("0", 0, good(0..3))]).await;
    let gap = |partition: &str, to| Gap {
        partition: Partition::new(partition),
        from: Position::Offset(3),
        to: Position::Offset(to),
        reason: "retention has removed the records in between".to_owned(),
    };
    for (partition, to) in [("0", 90), ("1", 90), ("0", 200)] {
        bench.expected.gaps.push(gap(partition, to));
        writer.record_gap(&gap(partition, to)).await.expect("record a gap");
        writer.record_gap(&gap(partition, to)).await.expect("record a gap again");
    }
    // The last gap of each partition is returned as its halt, to every writer; recording it again changes nothing.
    let mut next = bench.writer(&["0", "1"]).await;
    next.record_gap(&gap("0", 200)).await.expect("record a gap again");
    let key = |gap: &Gap| (gap.partition.clone(), gap.to.clone());
    let mut stored = bench.stored().await;
    stored.gaps.sort_by_key(key);
    bench.expected.gaps.sort_by_key(key);
    assert_eq!(stored, bench.expected, "each gap once");
    assert_eq!(names(&["0"]), stored.positions.into_keys().collect::<Vec<_>>(), "no position moves");
}

/// Who goes on after a gap moves the position with the record of the gap, and halts nothing; only the holder may.
pub async fn a_partition_goes_on_after_a_gap(fixture: &mut impl Fixture) {
    let gap = |partition: &str, to| Gap {
        partition: Partition::new(partition),
        from: Position::Offset(3),
        to: Position::Offset(to),
        reason: "retention has removed the records in between".to_owned(),
    };
    let mut bench = Bench::new(fixture);
    let mut writer = bench.writer(&["0", "1"]).await;
    bench.write(&mut writer, &[Part::new("0", 0, good(0..3)).of_era(7)]).await;
    // Forward and back, of a partition that was read and of one that was not, and of one without a lease.
    bench.go_on(&mut writer, &gap("0", 90), Some(8)).await;
    bench.go_on(&mut writer, &gap("1", 20), None).await;
    bench.go_on(&mut writer, &gap("2", 5), Some(1)).await;
    // The lease is still its own, and it writes from there on; what was there before does not fit any more.
    let refused = bench.refused(&mut writer, &[Part::new("0", 3, good(3..5))]).await;
    assert!(is_moved(&refused, "0", Some(90)), "{refused:?}");
    bench.write(&mut writer, &[Part::new("0", 90, good(3..5)), Part::new("1", 20, good(5..6))]).await;
    bench.go_on(&mut writer, &gap("0", 1), None).await;
    bench.go_on(&mut writer, &gap("0", 1), None).await;

    // Nothing is halted, and who lost the lease moves nothing.
    let mut next = bench.writer(&["0", "1", "2"]).await;
    for partition in ["0", "2"] {
        let late = writer.go_on(&gap(partition, 50), &Position::Offset(50), None).await;
        assert!(matches!(&late, Err(SinkError::Fenced { partition: lost }) if lost.as_str() == partition), "{late:?}");
        bench.check("who lost the lease changes nothing").await;
    }
    bench.write(&mut next, &[Part::new("0", 1, good(6..8)), Part::new("2", 5, good(8..9))]).await;
}
