//! A slot of the counters: rows to which only one writer adds, so that no writer waits for another.

use std::time::{Duration, Instant};

use millstream_engine::{Recovery, SinkError};
use millstream_postgres::Connection;

use crate::sinks::tables::error::failed;
use crate::sinks::tables::lease::random_uuid;
use crate::sinks::tables::session::{enter, leave};

/// The number of slots, as in `slot_lease.sql`: more than the writers of any database.
const SLOTS: u32 = 1_024;
/// Interval at which a writer renews its slot. After an hour without, another writer may take it.
pub(super) const RENEW_EVERY: Duration = Duration::from_secs(600);
const DOING: &str = "lease a counter slot";

/// A leased slot of the counter rows.
#[derive(Clone, Debug)]
pub(super) struct Slot {
    pub(super) number: i16,
    token: String,
    renewed: Instant,
}

impl Slot {
    /// Leases a slot that no other writer has.
    pub(super) async fn lease(connection: &mut Connection) -> Result<Slot, SinkError> {
        let token = random_uuid();
        // Each answer without a slot means that another writer got one, so one try per slot is enough.
        for _ in 0..SLOTS {
            let renewed = Instant::now();
            let leased: Option<i16> = sqlx::query_scalar(include_str!("sql/slot_lease.sql"))
                .bind(&token)
                .fetch_optional(&mut *connection)
                .await
                .map_err(|error| failed(DOING, error))?;
            if let Some(number) = leased {
                return Ok(Slot { number, token, renewed });
            }
        }
        let source = "every counter slot is leased to a writer that was active within the hour".into();
        Err(SinkError::Failed { doing: DOING, recovery: Recovery::Alarm, pressure: None, source })
    }

    /// The same slot, unless another writer has it by now.
    pub(super) async fn renew(&self, connection: &mut Connection) -> Result<Option<Slot>, SinkError> {
        let renewed = Instant::now();
        let renew = sqlx::query(include_str!("sql/slot_renew.sql")).bind(self.number).bind(&self.token);
        let done = renew.execute(connection).await.map_err(|error| failed(DOING, error))?;
        Ok((done.rows_affected() == 1).then(|| Slot { renewed, ..self.clone() }))
    }

    /// Leases or renews the slot of a writer, where that is due.
    pub(super) async fn keep(
        slot: &mut Option<Slot>,
        every: Duration,
        connection: &mut Connection,
    ) -> Result<(), SinkError> {
        if slot.as_ref().is_some_and(|slot| slot.renewed.elapsed() < every) {
            return Ok(());
        }
        enter(connection).await.map_err(|error| failed(DOING, error))?;
        let renewed = match slot {
            Some(slot) => slot.renew(connection).await?,
            None => None,
        };
        let kept = match renewed {
            Some(renewed) => renewed,
            None => Slot::lease(connection).await?,
        };
        leave(connection).await.map_err(|error| failed(DOING, error))?;
        *slot = Some(kept);
        Ok(())
    }
}
