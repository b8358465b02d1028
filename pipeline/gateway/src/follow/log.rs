//! The log of changes, read in order and applied commit by commit.

use millstream_postgres::Connection;
use millstream_schemas::tasks::{Fact, Key, Kind};
use sqlx::Row as _;
use sqlx::postgres::PgRow;
use tokio::time::Instant;

use super::fault::Fault;
use super::into::Into;
use crate::table::Change;

/// Changes that are read at a time. More: a follower that is far behind holds more in memory.
const CHANGES_MAX: i64 = 10_000;

/// Why the log cannot be followed from where the reader stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lost {
    /// Nothing was read yet.
    Nothing,
    /// The database is at an older state, or another one.
    Rewound,
    /// The facts differ from those of the database.
    Digest,
    /// What comes next was removed.
    Pruned,
}

impl Lost {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Lost::Nothing => "nothing",
            Lost::Rewound => "db_rewound",
            Lost::Digest => "digest",
            Lost::Pruned => "pruned",
        }
    }
}

/// Where a follower stands in the log.
#[derive(Debug)]
pub(super) struct Reader {
    identity: String,
    /// The last commit that is applied.
    seq: i64,
    digest: u64,
    /// Changes of a commit that is not read to its end.
    open: Vec<Change>,
}

impl Reader {
    pub(super) fn new(identity: String, seq: i64, digest: u64) -> Self {
        Reader { identity, seq, digest, open: Vec::new() }
    }

    pub(super) fn identity(&self) -> &str {
        &self.identity
    }

    pub(super) fn seq(&self) -> i64 {
        self.seq
    }

    pub(super) fn digest(&self) -> u64 {
        self.digest
    }

    /// Reads and applies everything that is there.
    pub(super) async fn read(&mut self, connection: &mut Connection, into: &Into) -> Result<Result<(), Lost>, Fault> {
        self.open.clear();
        let mut read = self.seq;
        loop {
            let rows = self.page(connection, read).await?;
            let Some(first) = rows.first() else { return Ok(Err(Lost::Rewound)) };
            if let Err(lost) = self.judge(first, read)? {
                return Ok(Err(lost));
            }
            let mut count = 0;
            for row in &rows {
                let Some(seq) = row.try_get::<Option<i64>, _>(4)? else { break };
                count += 1;
                read += 1;
                if seq != read {
                    return Ok(Err(Lost::Rewound));
                }
                self.open.push(change(row)?);
                if let Some(digest) = row.try_get::<Option<i64>, _>(8)? {
                    let commit = std::mem::take(&mut self.open);
                    let is_alias = commit.iter().any(is_alias);
                    self.seq = seq;
                    self.digest = digest.cast_unsigned();
                    let applied = into.change(is_alias, |applier| {
                        applier.apply(commit, Instant::now());
                        into.stand_at(seq);
                        applier.digest()
                    });
                    if applied != self.digest {
                        return Ok(Err(Lost::Digest));
                    }
                }
            }
            if count < CHANGES_MAX {
                // A commit is visible as a whole or not at all.
                return Ok(if self.open.is_empty() { Ok(()) } else { Err(Lost::Rewound) });
            }
        }
    }

    async fn page(&self, connection: &mut Connection, read: i64) -> Result<Vec<PgRow>, Fault> {
        let pooled = connection.is_pooled();
        if pooled {
            sqlx::raw_sql(include_str!("sql/begin.sql")).execute(&mut *connection).await?;
        }
        let rows = sqlx::query(include_str!("sql/log_select.sql"))
            .bind(self.seq)
            .bind(read)
            .bind(CHANGES_MAX)
            .fetch_all(&mut *connection)
            .await?;
        if pooled {
            sqlx::raw_sql("COMMIT").execute(connection).await?;
        }
        Ok(rows)
    }

    /// Whether the log goes on from where this reader stands; `read` is the last change that was read.
    fn judge(&self, row: &PgRow, read: i64) -> Result<Result<(), Lost>, Fault> {
        let identity: String = row.try_get(0)?;
        let pruned_to: i64 = row.try_get(1)?;
        let newest: i64 = row.try_get::<Option<i64>, _>(2)?.unwrap_or_default();
        let digest = row.try_get::<Option<i64>, _>(3)?.map(i64::cast_unsigned);
        Ok(if identity != self.identity || newest < self.seq {
            Err(Lost::Rewound)
        } else if pruned_to > read {
            Err(Lost::Pruned)
        } else if digest.is_none() && pruned_to < self.seq {
            // It was not removed, so it never was: another history has passed this number.
            Err(Lost::Rewound)
        } else if digest.is_some_and(|digest| digest != self.digest) {
            Err(Lost::Digest)
        } else {
            Ok(())
        })
    }
}

fn change(row: &PgRow) -> Result<Change, Fault> {
    let kind: String = row.try_get(5)?;
    let kind: Kind = serde_json::from_value(kind.into())?;
    let after: Option<String> = row.try_get(7)?;
    Ok(match after {
        Some(after) => Change::Put(Fact::read(kind, &after)?),
        None => Change::Remove(Key { kind, columns: row.try_get(6)? }),
    })
}

fn is_alias(change: &Change) -> bool {
    let kind = match change {
        Change::Put(fact) => fact.kind(),
        Change::Remove(key) => key.kind,
    };
    kind == Kind::Alias
}
