//! The changes of a transaction, written once per counter row of its slot.

use millstream_postgres::Connection;

use super::counts::{BucketDeltas, Deltas, Hour, Objects};
use super::segments::Segments;
use super::slot::Slot;
use crate::sinks::tables::error::Fault;

/// Writes the changes into the rows of one slot.
pub(super) async fn write(
    connection: &mut Connection,
    deltas: &Deltas,
    slot: &Slot,
    segments: &mut Segments,
) -> Result<(), Fault> {
    write_buckets(connection, &deltas.buckets, slot).await?;
    segments.write(connection, slot, &deltas.buckets).await?;
    write_hours(connection, &deltas.buckets, slot).await
}

async fn write_buckets(connection: &mut Connection, buckets: &[BucketDeltas], slot: &Slot) -> Result<(), Fault> {
    let mut changes: Vec<(&str, &str, Objects)> = Vec::with_capacity(buckets.len());
    for BucketDeltas { store, bucket, segments, .. } in buckets {
        let mut sum = Objects::default();
        for delta in segments.values() {
            sum.objects += delta.objects;
            sum.bytes += delta.bytes;
            sum.unknown_size += delta.unknown_size;
        }
        if sum != Objects::default() {
            changes.push((store, bucket, sum));
        }
    }
    if changes.is_empty() {
        return Ok(());
    }
    sqlx::query(include_str!("sql/counts_apply.sql"))
        .bind(slot.number)
        .bind(changes.iter().map(|(store, _, _)| *store).collect::<Vec<_>>())
        .bind(changes.iter().map(|(_, bucket, _)| *bucket).collect::<Vec<_>>())
        .bind(changes.iter().map(|(_, _, sum)| sum.objects).collect::<Vec<_>>())
        .bind(changes.iter().map(|(_, _, sum)| sum.bytes.to_string()).collect::<Vec<_>>())
        .bind(changes.iter().map(|(_, _, sum)| sum.unknown_size).collect::<Vec<_>>())
        .execute(connection)
        .await
        .map_err(Fault::ours)?;
    Ok(())
}

async fn write_hours(connection: &mut Connection, buckets: &[BucketDeltas], slot: &Slot) -> Result<(), Fault> {
    let mut changes: Vec<(&str, &str, i64, Hour)> = Vec::with_capacity(buckets.len());
    for BucketDeltas { store, bucket, hours, .. } in buckets {
        let changed = hours.iter().filter(|(_, delta)| **delta != Hour::default());
        changes.extend(changed.map(|(hour, delta)| (&**store, &**bucket, *hour, *delta)));
    }
    if changes.is_empty() {
        return Ok(());
    }
    sqlx::query(include_str!("sql/hour_counts_apply.sql"))
        .bind(slot.number)
        .bind(changes.iter().map(|(store, _, _, _)| *store).collect::<Vec<_>>())
        .bind(changes.iter().map(|(_, bucket, _, _)| *bucket).collect::<Vec<_>>())
        .bind(changes.iter().map(|(_, _, hour, _)| *hour).collect::<Vec<_>>())
        .bind(changes.iter().map(|(_, _, _, delta)| delta.created).collect::<Vec<_>>())
        .bind(changes.iter().map(|(_, _, _, delta)| delta.removed).collect::<Vec<_>>())
        .bind(changes.iter().map(|(_, _, _, delta)| delta.bytes.to_string()).collect::<Vec<_>>())
        .execute(connection)
        .await
        .map_err(Fault::ours)?;
    Ok(())
}
