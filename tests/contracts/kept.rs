//! What the writer of tables keeps beside the rows, whatever those are.

use millstream_engine::testing::sink::Stored;
use millstream_engine::{Gap, Partition, Position};
use sqlx::PgConnection;

/// Positions, quarantine and gaps; no rows.
pub(super) async fn kept(connection: &mut PgConnection) -> Result<Stored, sqlx::Error> {
    let positions = "SELECT partition, next_position FROM millstream.lease WHERE next_position IS NOT NULL";
    let positions: Vec<(String, String)> = sqlx::query_as(positions).fetch_all(&mut *connection).await?;
    let quarantined = "SELECT partition, position FROM millstream.quarantine";
    let quarantined: Vec<(String, String)> = sqlx::query_as(quarantined).fetch_all(&mut *connection).await?;
    let gaps = "SELECT partition, from_position, to_position, reason FROM millstream.gap";
    let gaps: Vec<(String, String, String, String)> = sqlx::query_as(gaps).fetch_all(&mut *connection).await?;

    let position = |text: &str| text.parse::<Position>().unwrap();
    let place = |(name, text): &(String, String)| (Partition::new(name), position(text));
    let mut quarantined: Vec<(Partition, Position)> = quarantined.iter().map(place).collect();
    quarantined.sort();
    let gap = |(name, from, to, reason): &(String, String, String, String)| Gap {
        partition: Partition::new(name),
        from: position(from),
        to: position(to),
        reason: reason.clone(),
    };
    Ok(Stored {
        positions: positions.iter().map(place).collect(),
        quarantined,
        gaps: gaps.iter().map(gap).collect(),
        ..Stored::default()
    })
}
