//! The tables `member` and `assignment`: one short transaction for each look.

use std::collections::BTreeMap;

use millstream_engine::Partition;
use millstream_postgres::Connection;
use sqlx::{AssertSqlSafe, Row as _};

use super::error::Error;
use super::options::Options;
use super::plan::{Member, Plan, View, plan};

/// The access of one process to the tables. After a look that was dropped, the next one connects anew.
#[derive(Debug)]
pub(super) struct Table {
    options: Options,
    connection: Option<Connection>,
}

impl Table {
    pub(super) fn new(options: &Options) -> Self {
        Table { options: options.clone(), connection: None }
    }

    pub(super) fn disconnect(&mut self) {
        self.connection = None;
    }

    /// Renews our row, takes our share, and returns our partitions, each with the number of the decision about it.
    pub(super) async fn look(&mut self, members: &[Member], calm: bool) -> Result<BTreeMap<Partition, i64>, Error> {
        let mut connection = self.begin().await?;
        self.renew(&mut connection).await?;
        let view = self.view(&mut connection).await?;
        // The generator belongs to this thread: not kept over an await.
        let Plan { keep, take, forget } = plan(members, &view, &self.options.owner, calm, &mut rand::rng());
        let number = |partition: &Partition| view.owners.get(partition).map_or(0, |(_, number)| *number);
        let mut own: BTreeMap<Partition, i64> =
            keep.into_iter().map(|partition| (partition.clone(), number(&partition))).collect();
        if !take.is_empty() {
            own.extend(self.take(&mut connection, &take).await?);
        }
        if !forget.is_empty() {
            sqlx::query(include_str!("sql/assignment_delete.sql"))
                .bind(&self.options.pipeline)
                .bind(&self.options.incarnation)
                .bind(&self.options.owner)
                .bind(forget.iter().map(Partition::as_str).collect::<Vec<_>>())
                .execute(&mut connection)
                .await?;
        }
        self.commit(connection).await?;
        Ok(own)
    }

    /// Gives all partitions back and stops taking part.
    pub(super) async fn leave(&mut self) -> Result<(), Error> {
        let mut connection = self.begin().await?;
        for statement in [include_str!("sql/assignment_release.sql"), include_str!("sql/member_delete.sql")] {
            sqlx::query(statement)
                .bind(&self.options.pipeline)
                .bind(&self.options.incarnation)
                .bind(&self.options.owner)
                .execute(&mut connection)
                .await?;
        }
        self.commit(connection).await
    }

    /// A transaction, behind a pooler too.
    async fn begin(&mut self) -> Result<Connection, Error> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.options.connect.connect().await?,
        };
        let begin = format!("{}\n{}", include_str!("sql/look_begin.sql"), connection.set_local());
        sqlx::raw_sql(AssertSqlSafe(begin)).execute(&mut connection).await?;
        Ok(connection)
    }

    async fn commit(&mut self, mut connection: Connection) -> Result<(), Error> {
        sqlx::raw_sql("COMMIT").execute(&mut connection).await?;
        self.connection = Some(connection);
        Ok(())
    }

    async fn renew(&self, connection: &mut Connection) -> Result<(), Error> {
        sqlx::query(include_str!("sql/member_renew.sql"))
            .bind(&self.options.pipeline)
            .bind(&self.options.incarnation)
            .bind(&self.options.owner)
            .execute(connection)
            .await?;
        Ok(())
    }

    async fn view(&self, connection: &mut Connection) -> Result<View, Error> {
        let mut view = View::default();
        let living = sqlx::query(include_str!("sql/member_select.sql"))
            .bind(&self.options.pipeline)
            .bind(&self.options.incarnation)
            .bind(self.options.timing.expiry.as_secs_f64());
        for row in living.fetch_all(&mut *connection).await? {
            view.living.insert(row.try_get(0)?);
        }
        let owners = sqlx::query(include_str!("sql/assignment_select.sql"))
            .bind(&self.options.pipeline)
            .bind(&self.options.incarnation);
        for row in owners.fetch_all(&mut *connection).await? {
            view.owners.insert(Partition::new(row.try_get::<String, _>(0)?), (row.try_get(1)?, row.try_get(2)?));
        }
        let begun = sqlx::query(include_str!("sql/lease_finished_select.sql"))
            .bind(&self.options.pipeline)
            .bind(&self.options.incarnation)
            .bind(self.options.finished);
        for row in begun.fetch_all(connection).await? {
            let partition = Partition::new(row.try_get::<String, _>(0)?);
            if row.try_get(1)? {
                view.finished.insert(partition)
            } else {
                view.begun.insert(partition)
            };
        }
        Ok(view)
    }

    /// Takes the partitions whose owner has not changed.
    async fn take(
        &self,
        connection: &mut Connection,
        take: &[(Partition, i64)],
    ) -> Result<Vec<(Partition, i64)>, Error> {
        let rows = sqlx::query(include_str!("sql/assignment_take.sql"))
            .bind(&self.options.pipeline)
            .bind(&self.options.incarnation)
            .bind(&self.options.owner)
            .bind(take.iter().map(|(partition, _)| partition.as_str()).collect::<Vec<_>>())
            .bind(take.iter().map(|(_, number)| *number).collect::<Vec<_>>())
            .fetch_all(connection)
            .await?;
        let taken: Result<_, sqlx::Error> =
            rows.iter().map(|row| Ok((Partition::new(row.try_get::<String, _>(0)?), row.try_get(1)?))).collect();
        Ok(taken?)
    }
}
