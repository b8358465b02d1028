//! Finding the bad records of a batch that PostgreSQL refused: by bisection, with a savepoint per try.
//!
//! A bad record among n costs at most log2 n + 2 tries: the one that failed, the halves, and the one without it. Each
//! try folds again, so that excluding a bad PUT v2 does not lose the good PUT v1 that it had been merged over.

use std::collections::BTreeMap;

use millstream_engine::Range;
use millstream_postgres::Connection;

use super::columns::Events as _;
use super::error::Fault;
use super::rows::{Applied, Care, Include, Refusal, Rows};

/// Savepoints per transaction: more would overflow the per-session cache of subtransactions (64) and slow down every
/// reader of the tables.
const SAVEPOINTS_MAX: u32 = 32;

/// Records of the current batch that were refused, remembered across attempts.
#[derive(Debug, Default)]
pub(super) struct Verdicts {
    /// The batch: records are numbered by their place in it, so verdicts hold for this batch only.
    ranges: Vec<Range>,
    pub(super) refused: BTreeMap<u32, Refusal>,
    /// A refusal whose record is not found yet, and the records that may be the cause: the next transaction continues
    /// the bisection where this one had to end.
    unresolved: Option<(Refusal, Vec<u32>)>,
    /// Tries made for the current batch, for tests and logs.
    pub(super) tries: u32,
}

impl Verdicts {
    /// Forgets what was found in another batch, which may have been given up half-way.
    pub(super) fn begin(&mut self, ranges: &[Range]) {
        if self.ranges != ranges {
            *self = Verdicts { ranges: ranges.to_vec(), ..Verdicts::default() };
        }
    }
}

/// Applies a batch without the records already refused; on a new refusal finds the record, remembers it, and goes on.
pub(super) async fn apply_isolating<R: Rows>(
    rows: &mut R,
    connection: &mut Connection,
    columns: &R::Columns,
    care: Care,
    verdicts: &mut Verdicts,
) -> Result<Applied<R::Left>, Fault> {
    let mut savepoints = 0;
    while savepoints < SAVEPOINTS_MAX {
        let (mut refusal, mut suspects) = match verdicts.unresolved.take() {
            // The transaction before this one ended in it: no need to see it fail again.
            Some(unresolved) => unresolved,
            None => {
                let refused = &verdicts.refused;
                verdicts.tries += 1;
                // Before the first refusal a savepoint is not worth its cost.
                let attempt = if refused.is_empty() {
                    rows.apply(connection, columns, Include::All, care).await
                } else {
                    savepoints += 1;
                    apply_guarded(rows, connection, columns, Include::Without(refused), care).await
                };
                match attempt {
                    Err(fault) if fault.blames_record() => {
                        let among = (refusal_of(&fault), suspects::<R>(columns, refused));
                        if refused.is_empty() {
                            verdicts.unresolved = Some(among);
                            return Err(fault);
                        }
                        among
                    }
                    other => return other,
                }
            }
        };
        while suspects.len() > 1 && savepoints < SAVEPOINTS_MAX {
            let right = suspects.split_off(suspects.len() / 2);
            savepoints += 1;
            verdicts.tries += 1;
            match apply_guarded(rows, connection, columns, Include::Only(&suspects), care).await {
                Err(fault) if fault.blames_record() => refusal = refusal_of(&fault),
                Err(fault) => return Err(fault),
                Ok(_) => {
                    suspects = right;
                    rollback(connection).await.map_err(Fault::ours)?;
                }
            }
        }
        if let [bad] = suspects[..] {
            tracing::warn!(record = bad, sqlstate = %refusal.sqlstate, detail = %refusal.detail, "record quarantined");
            verdicts.refused.insert(bad, refusal);
        } else {
            verdicts.unresolved = Some((refusal, suspects));
        }
    }
    // The verdicts are kept; a new transaction continues from there.
    Err(Fault::Again)
}

/// The records that may have caused a refusal.
fn suspects<R: Rows>(columns: &R::Columns, refused: &BTreeMap<u32, Refusal>) -> Vec<u32> {
    let mut records: Vec<u32> = columns.records().collect();
    records.dedup();
    records.retain(|record| !refused.contains_key(record));
    records
}

/// Applies under a savepoint; rolls back to it after a fault that blames a record.
async fn apply_guarded<R: Rows>(
    rows: &mut R,
    connection: &mut Connection,
    columns: &R::Columns,
    include: Include<'_>,
    care: Care,
) -> Result<Applied<R::Left>, Fault> {
    sqlx::raw_sql("SAVEPOINT attempt").execute(&mut *connection).await.map_err(Fault::ours)?;
    let applied = rows.apply(connection, columns, include, care).await;
    if applied.as_ref().is_err_and(Fault::blames_record) {
        rollback(connection).await.map_err(Fault::ours)?;
    }
    applied
}

async fn rollback(connection: &mut Connection) -> Result<(), sqlx::Error> {
    sqlx::raw_sql("ROLLBACK TO SAVEPOINT attempt").execute(connection).await.map(drop)
}

fn refusal_of(fault: &Fault) -> Refusal {
    let Fault::Data(sqlx::Error::Database(error)) = fault else {
        return Refusal { sqlstate: String::new(), detail: String::new() };
    };
    Refusal { sqlstate: error.code().unwrap_or_default().into_owned(), detail: error.message().to_owned() }
}
