//! Compares counters with the rows they count, and repairs differences.
//!
//! Guarantees: truth and sum are read by one statement, so in one snapshot; their difference is added in a slot of its
//! own. Commits of writers before, during or after that commute with it, so a repair is exact while writers go on, and
//! waits for none of them. Two repairs of a bucket take turns. On a crash nothing is half done: a bucket is one
//! transaction, and another run finds what is left.
//!
//! Truth is what `millstream.objects` holds, `current` included: a row that is wrong itself is counted as it is. A
//! segment that is not counted, because it is beyond the limit, remains uncounted.

use millstream_engine::SinkError;
use millstream_postgres::Connection;
use sqlx::{AssertSqlSafe, Row as _};

use super::slot::Slot;
use crate::sinks::tables::error::{Fault, failed};
use crate::sinks::tables::session::rollback;

/// What a recount may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Only compares.
    Check,
    /// Does everything but commit.
    DryRun,
    /// Adds the differences.
    Repair,
}

/// Which counter of a bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Counter {
    /// Of the whole bucket: `bucket_count`.
    Bucket,
    /// Of a first path segment: `segment_count`.
    Segment(String),
    /// Of an hour, in hours since 1970: `hour_count`.
    Hour(i64),
}

/// A counter that differs from its rows. The numbers are in the order of [`Counter::fields`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The counter.
    pub counter: Counter,
    /// The sum of its slots.
    pub counted: [i128; 3],
    /// The sum of the rows.
    pub truth: [i128; 3],
}

/// Compares buckets one by one.
#[derive(Debug)]
pub struct Recount {
    mode: Mode,
    slot: Option<Slot>,
}

impl Counter {
    /// The names of its three numbers.
    pub fn fields(&self) -> [&'static str; 3] {
        match self {
            Counter::Bucket | Counter::Segment(_) => ["objects", "bytes", "unknown_size"],
            Counter::Hour(_) => ["created", "bytes", "removed"],
        }
    }
}

impl Recount {
    /// Leases no slot before a difference has to be added.
    pub fn new(mode: Mode) -> Self {
        Recount { mode, slot: None }
    }

    /// All buckets, by store and name, or only those selected.
    ///
    /// # Errors
    /// The database failed.
    pub async fn buckets(
        connection: &mut Connection,
        store: Option<&str>,
        bucket: Option<&str>,
    ) -> Result<Vec<(String, String)>, SinkError> {
        let buckets = sqlx::query_as(include_str!("sql/recount_buckets.sql")).bind(store).bind(bucket);
        buckets.fetch_all(connection).await.map_err(|error| failed("list buckets", error))
    }

    /// Returns which counters of a bucket differ, and repairs them if that is the mode. The connection must not be in a
    /// transaction.
    ///
    /// # Errors
    /// The database failed; nothing of this bucket was changed.
    pub async fn bucket(
        &mut self,
        connection: &mut Connection,
        store: &str,
        bucket: &str,
    ) -> Result<Vec<Difference>, SinkError> {
        let done = self.transaction(connection, store, bucket).await;
        if done.is_err() {
            // The first error is the one to report.
            rollback(connection).await.ok();
        }
        done.map_err(|fault| fault.into_sink_error("count a bucket again"))
    }

    async fn transaction(
        &mut self,
        connection: &mut Connection,
        store: &str,
        bucket: &str,
    ) -> Result<Vec<Difference>, Fault> {
        let begin = sqlx::raw_sql(AssertSqlSafe(include_str!("sql/recount_begin.sql")));
        begin.execute(&mut *connection).await.map_err(Fault::ours)?;
        if self.mode != Mode::Check {
            let lock = sqlx::query(include_str!("sql/recount_lock.sql")).bind(store).bind(bucket);
            lock.execute(&mut *connection).await.map_err(Fault::ours)?;
        }
        let differences = select(connection, store, bucket).await.map_err(Fault::ours)?;
        if self.mode == Mode::Check || differences.is_empty() {
            rollback(connection).await.map_err(Fault::ours)?;
            return Ok(differences);
        }
        // Only now, because a lease waits for transactions that leased a slot and have not committed.
        let slot = self.slot(connection).await?;
        add(connection, &slot, store, bucket, &differences).await.map_err(Fault::ours)?;
        if self.mode == Mode::DryRun {
            rollback(connection).await.map_err(Fault::ours)?;
        } else {
            sqlx::raw_sql("COMMIT").execute(connection).await.map_err(Fault::ours)?;
            self.slot = Some(slot);
        }
        Ok(differences)
    }

    /// The slot of this repair, renewed, or a new one.
    async fn slot(&self, connection: &mut Connection) -> Result<Slot, Fault> {
        let renewed = match &self.slot {
            Some(slot) => slot.renew(connection).await.map_err(Fault::Fence)?,
            None => None,
        };
        match renewed {
            Some(renewed) => Ok(renewed),
            None => Slot::lease(connection).await.map_err(Fault::Fence),
        }
    }
}

async fn select(connection: &mut Connection, store: &str, bucket: &str) -> Result<Vec<Difference>, sqlx::Error> {
    let rows =
        sqlx::query(include_str!("sql/recount_select.sql")).bind(store).bind(bucket).fetch_all(connection).await?;
    let number = |row: &sqlx::postgres::PgRow, at: usize| {
        let text: &str = row.try_get(at)?;
        text.parse::<i128>().map_err(|error| sqlx::Error::Decode(format!("{text} in a counter: {error}").into()))
    };
    let difference = |row: &sqlx::postgres::PgRow| {
        let counter = match (row.try_get(0)?, row.try_get(1)?) {
            (Some(segment), _) => Counter::Segment(segment),
            (None, Some(hour)) => Counter::Hour(hour),
            (None, None) => Counter::Bucket,
        };
        let numbers =
            |from: usize| Ok::<_, sqlx::Error>([number(row, from)?, number(row, from + 1)?, number(row, from + 2)?]);
        Ok(Difference { counter, counted: numbers(2)?, truth: numbers(5)? })
    };
    rows.iter().map(difference).collect()
}

/// Adds truth minus sum to the counters that differ.
async fn add(
    connection: &mut Connection,
    slot: &Slot,
    store: &str,
    bucket: &str,
    differences: &[Difference],
) -> Result<(), sqlx::Error> {
    let [mut buckets, mut segments, mut hours] = [(); 3].map(|()| Deltas::default());
    let mut segment_names = Vec::new();
    let mut hour_numbers = Vec::new();
    for difference in differences {
        match &difference.counter {
            Counter::Bucket => buckets.push(difference)?,
            Counter::Segment(name) => {
                segment_names.push(&**name);
                segments.push(difference)?;
            }
            Counter::Hour(hour) => {
                hour_numbers.push(*hour);
                hours.push(difference)?;
            }
        }
    }
    let both = |rows: usize| (vec![store; rows], vec![bucket; rows]);
    let (stores, names) = both(buckets.number.len());
    sqlx::query(include_str!("sql/counts_apply.sql"))
        .bind(slot.number)
        .bind(stores)
        .bind(names)
        .bind(buckets.number)
        .bind(buckets.bytes)
        .bind(buckets.other)
        .execute(&mut *connection)
        .await?;
    let (stores, names) = both(segments.number.len());
    sqlx::query(include_str!("sql/segment_counts_apply.sql"))
        .bind(slot.number)
        .bind(stores)
        .bind(names)
        .bind(segment_names)
        .bind(segments.number)
        .bind(segments.bytes)
        .bind(segments.other)
        .execute(&mut *connection)
        .await?;
    let (stores, names) = both(hours.number.len());
    sqlx::query(include_str!("sql/hour_counts_apply.sql"))
        .bind(slot.number)
        .bind(stores)
        .bind(names)
        .bind(hour_numbers)
        .bind(hours.number)
        .bind(hours.other)
        .bind(hours.bytes)
        .execute(connection)
        .await?;
    Ok(())
}

/// Columns of differences, as the statements of `counts` take them.
#[derive(Debug, Default)]
struct Deltas {
    number: Vec<i64>,
    bytes: Vec<String>,
    other: Vec<i64>,
}

impl Deltas {
    fn push(&mut self, difference: &Difference) -> Result<(), sqlx::Error> {
        let whole = |number: i128| i64::try_from(number).map_err(|error| sqlx::Error::Encode(error.into()));
        let ([number, bytes, other], [true_number, true_bytes, true_other]) = (difference.counted, difference.truth);
        self.number.push(whole(true_number - number)?);
        self.bytes.push((true_bytes - bytes).to_string());
        self.other.push(whole(true_other - other)?);
        Ok(())
    }
}
