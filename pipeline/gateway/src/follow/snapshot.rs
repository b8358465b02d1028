//! All facts as they are after one commit.

use millstream_postgres::Connection;
use millstream_schemas::tasks::{Alias, Fact, Kind};
use tokio::time::Instant;

use super::fault::Fault;
use crate::table::{Applier, Former};

/// The facts, and the commit that they belong to.
#[derive(Debug)]
pub(super) struct Snapshot {
    pub(super) identity: String,
    pub(super) seq: i64,
    pub(super) digest: u64,
    facts: Vec<Fact>,
    /// The generation before the newest of each alias: what may be served until the newest one is ready.
    former: Former,
}

impl Snapshot {
    /// Reads all tables in one transaction, which sees one state.
    pub(super) async fn take(connection: &mut Connection) -> Result<Snapshot, Fault> {
        sqlx::raw_sql(include_str!("sql/begin.sql")).execute(&mut *connection).await?;
        let standing: (String, i64, i64, String) =
            sqlx::query_as(include_str!("sql/standing_select.sql")).fetch_one(&mut *connection).await?;
        let mut facts = Vec::new();
        for kind in Kind::ALL {
            let rows: Vec<String> = sqlx::query_scalar(all(kind)).fetch_all(&mut *connection).await?;
            for row in rows {
                facts.push(Fact::read(kind, &row)?);
            }
        }
        let mut former = Former::new();
        let rows: Vec<String> =
            sqlx::query_scalar(include_str!("sql/former_aliases.sql")).fetch_all(&mut *connection).await?;
        for row in rows {
            let alias: Alias = serde_json::from_str(&row)?;
            former.insert((alias.service.clone(), alias.alias.clone()), alias);
        }
        sqlx::raw_sql("COMMIT").execute(connection).await?;
        Ok(Snapshot { identity: standing.0, seq: standing.1, digest: standing.2.cast_unsigned(), facts, former })
    }

    /// Publishes it in place of everything. Returns whether the rows have the digest that their writers kept.
    pub(super) fn load(self, applier: &mut Applier, now: Instant) -> bool {
        applier.load(self.facts, &self.former, now);
        applier.digest() == self.digest
    }
}

fn all(kind: Kind) -> &'static str {
    match kind {
        Kind::Task => include_str!("sql/task_all.sql"),
        Kind::Instance => include_str!("sql/instance_all.sql"),
        Kind::Slice => include_str!("sql/slice_all.sql"),
        Kind::Deploy => include_str!("sql/deploy_all.sql"),
        Kind::Health => include_str!("sql/health_all.sql"),
        Kind::Alias => include_str!("sql/alias_all.sql"),
    }
}
