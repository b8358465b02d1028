//! Rewrites the records of a paused share once the share is resumed.

use std::fmt;

use millstream_engine::SinkError;
use millstream_postgres::Connection;

use super::error::failed;
use super::redrive::{Redriven, Rewriter};
use super::session::{enter, leave};

/// Records in one transaction of a redrive: enough to share its cost, few enough to hold locks briefly.
const REDRIVE_RECORDS_MAX: usize = 500;
/// Bytes of records in one transaction, which are in memory at once.
const REDRIVE_BYTES_MAX: i64 = 16 << 20;

/// Writes the records of a resumed share that were kept, some in each transaction.
pub struct Rewrite {
    pipeline: String,
    share: String,
    redrive: Box<dyn Rewriter>,
}

impl fmt::Debug for Rewrite {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Rewrite { pipeline, share, redrive: _ } = self;
        formatter.debug_struct("Rewrite").field("pipeline", pipeline).field("share", share).finish_non_exhaustive()
    }
}

impl Rewrite {
    /// For a pipeline and a share.
    pub fn new(pipeline: &str, share: &str, redrive: Box<dyn Rewriter>) -> Self {
        Rewrite { pipeline: pipeline.to_owned(), share: share.to_owned(), redrive }
    }

    /// Rewrites the next records. `None` once there are no more, or the share is paused again.
    ///
    /// # Errors
    /// The database failed. A record that it blames stays in quarantine with the reason.
    pub async fn step(&mut self, connection: &mut Connection) -> Result<Option<Redriven>, SinkError> {
        let told = |error| failed("read what was kept", error);
        enter(connection).await.map_err(told)?;
        let next: Vec<(i64, i64)> = sqlx::query_as(include_str!("sql/share_aside_select.sql"))
            .bind(&self.pipeline)
            .bind(&self.share)
            .bind(i64::try_from(REDRIVE_RECORDS_MAX).unwrap_or(i64::MAX))
            .fetch_all(&mut *connection)
            .await
            .map_err(told)?;
        leave(connection).await.map_err(told)?;
        let ids = chunk(&next);
        if ids.is_empty() {
            enter(connection).await.map_err(told)?;
            sqlx::query(include_str!("sql/share_pause_delete.sql"))
                .bind(&self.pipeline)
                .bind(&self.share)
                .execute(&mut *connection)
                .await
                .map_err(told)?;
            leave(connection).await.map_err(told)?;
            return Ok(None);
        }
        self.redrive.run(connection, &ids).await.map(Some)
    }
}

/// The first of these rows that one transaction may redrive: at least one, however large.
pub fn chunk(rows: &[(i64, i64)]) -> Vec<i64> {
    let mut bytes = 0;
    let fits = |(_, payload_bytes): &&(i64, i64)| {
        bytes += payload_bytes;
        bytes <= REDRIVE_BYTES_MAX
    };
    let count = rows.iter().take(REDRIVE_RECORDS_MAX).take_while(fits).count().max(1);
    rows.iter().take(count).map(|(id, _)| *id).collect()
}
