//! A writer that lost a lease writes nothing, whenever it wakes.

use std::pin::pin;
use std::time::Duration;

use super::Fixture;
use super::bench::{Bench, Part, Writer, good, names, settle};
use crate::decode::Columns;
use crate::testing::moment::{Moment, Moments};
use crate::{Batch, Held, SinkError};

/// Long enough to connect and take a lease that nothing blocks, also on a busy machine; costs time only where the write
/// blocks it.
const STANDS_STILL: Duration = Duration::from_secs(1);

fn is_fenced(error: &SinkError, at: &str) -> bool {
    matches!(error, SinkError::Fenced { partition } if partition.as_str() == at)
}

/// Of all writers that acquired a partition only the last may write, even where the position of another would fit.
pub async fn who_lost_a_lease_writes_nothing_however_late(fixture: &mut impl Fixture) {
    let mut bench = Bench::new(fixture);
    let mut first = bench.writer(&["0"]).await;
    bench.write(&mut first, &[Part::new("0", 0, good(0..5))]).await;
    let late = [Part::new("0", 5, good(5..10))];

    first.confirm().await.expect("nobody has taken its lease");
    let mut second = bench.writer(&["0"]).await;
    second.confirm().await.expect("nobody has taken its lease");
    let lost = first.confirm().await.expect_err("another has taken its lease");
    assert!(is_fenced(&lost, "0"), "{lost:?}");
    let mut third = bench.writer(&["0"]).await;
    for former in [&mut first, &mut second] {
        let refused = bench.refused(former, &late).await;
        assert!(is_fenced(&refused, "0"), "before the owner writes: {refused:?}");
    }
    // The owner writes the very same batch, and one more: the position passes all that the late writers know.
    bench.write(&mut third, &late).await;
    for former in [&mut first, &mut second] {
        let refused = bench.refused(former, &late).await;
        assert!(is_fenced(&refused, "0"), "it was another's batch: {refused:?}");
    }
    bench.write(&mut third, &[Part::new("0", 10, good(10..12))]).await;
    for former in [&mut first, &mut second] {
        for parts in [&late, &[Part::new("0", 12, good(12..13))]] {
            let refused = bench.refused(former, parts).await;
            assert!(is_fenced(&refused, "0"), "{refused:?}");
        }
    }
    // The first writer takes the lease back and owns the partition: the newest lease counts, not the newest writer.
    bench.acquire(&mut first, &["0"]).await;
    let refused = bench.refused(&mut third, &[Part::new("0", 12, good(12..13))]).await;
    assert!(is_fenced(&refused, "0"), "{refused:?}");
    bench.write(&mut first, &[Part::new("0", 12, good(12..13))]).await;
}

/// Of a batch with one lost partition nothing is written; what is still held may be written without it.
pub async fn a_lost_partition_takes_the_whole_batch_with_it(fixture: &mut impl Fixture) {
    let mut bench = Bench::new(fixture);
    let mut former = bench.writer(&["0", "1", "2"]).await;
    let mut owner = bench.writer(&["1"]).await;
    let parts = [Part::new("0", 0, good(0..2)), Part::new("1", 0, good(2..4)), Part::new("2", 0, good(4..6))];
    let refused = bench.refused(&mut former, &parts).await;
    assert!(is_fenced(&refused, "1"), "{refused:?}");
    bench.write(&mut owner, &[Part::new("1", 0, good(2..4))]).await;
    let refused = bench.refused(&mut former, &parts).await;
    assert!(is_fenced(&refused, "1"), "{refused:?}");
    bench.write(&mut former, &[parts[0].clone(), parts[2].clone()]).await;
}

/// A later acquisition replaces an earlier one of the same writer, and two writers hold different partitions in peace.
pub async fn a_writer_holds_what_it_acquired_last(fixture: &mut impl Fixture) {
    let mut bench = Bench::new(fixture);
    let mut writer = bench.writer(&["0", "1"]).await;
    bench.acquire(&mut writer, &["1", "2"]).await;
    let refused = bench.refused(&mut writer, &[Part::new("0", 0, good(0..1))]).await;
    assert!(is_fenced(&refused, "0"), "it gave that one up: {refused:?}");
    let mut other = bench.writer(&["0"]).await;
    for round in 0..3 {
        bench.write(&mut writer, &[Part::new("1", round, good(10 + round..11 + round))]).await;
        bench.write(&mut other, &[Part::new("0", round, good(20 + round..21 + round))]).await;
    }
    let mut none = bench.open().await;
    let refused = bench.refused(&mut none, &[Part::new("1", 3, good(30..31))]).await;
    assert!(is_fenced(&refused, "1"), "without a lease: {refused:?}");
}

/// A lease is taken at every moment of another's write: the returned position is the one that stays.
pub async fn a_lease_taken_during_a_write_tells_how_it_ended(fixture: &mut impl Fixture) {
    let mut bench = Bench::new(fixture);
    let mut from = 0;
    let mut written = 0;
    let mut fenced = 0;
    let mut moments = Moments::default();
    while let Some(moment) = moments.next() {
        let mut former = bench.writer(&["0"]).await;
        let mut owner = bench.open().await;
        let parts = [Part::new("0", from, good(from..from + 3))];
        let Race { in_time, wrote, held } = race(&mut former, &bench.batch(&parts), &mut owner, moment).await;
        match wrote {
            Ok(()) => {
                written += 1;
                bench.expected = bench.after(&parts);
                from += 3;
            }
            Err(error) => {
                assert!(is_fenced(&error, "0"), "{error:?}");
                fenced += 1;
            }
        }
        let stays = bench.expected.positions.get(&held.partition);
        assert_eq!(held.next.as_ref(), stays, "what the new owner was told is what stays");
        bench.check("a write is whole, or was fenced").await;
        bench.write(&mut owner, &[Part::new("0", from, good(from..from + 1))]).await;
        from += 1;
        moments.ended(in_time);
    }
    assert!(written > 0 && fenced > 0, "both ends were met: {written} written, {fenced} fenced");
}

/// How a write and an acquisition of its partition ended.
struct Race {
    /// Whether the write had ended before the lease was asked for.
    in_time: bool,
    wrote: Result<(), SinkError>,
    held: Held,
}

/// The lease is taken while the write stands still at a moment, or has to wait for it; then the write goes on.
async fn race<C: Columns>(former: &mut Writer<C>, batch: &Batch<C>, owner: &mut Writer<C>, moment: Moment) -> Race {
    let partitions = names(&["0"]);
    let mut write = pin!(settle(former, batch));
    let mut wrote = moment.reach(write.as_mut()).await;
    let in_time = wrote.is_some();
    let mut acquire = pin!(owner.acquire(&partitions));
    let mut held = tokio::time::timeout(STANDS_STILL, acquire.as_mut()).await.ok();
    tokio::join!(
        async {
            if wrote.is_none() {
                wrote = Some(write.await);
            }
        },
        async {
            if held.is_none() {
                held = Some(acquire.await);
            }
        },
    );
    let held = held.expect("it ended").expect("take a lease").pop().expect("the lease asked for");
    Race { in_time, wrote: wrote.expect("it ended").map(drop), held }
}
