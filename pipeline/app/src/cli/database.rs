//! The database, opened beside a running process or alone.

use std::path::Path;

use anyhow::{Context as _, bail};
use millstream_postgres::{Cluster, Connection, Connector};
use sqlx::postgres::PgConnectOptions;

use crate::config::Config;
use crate::{data_dir, elsewhere, migrate, postgres};

/// An open database. It has to be closed: a private server without another user stops then.
#[derive(Debug)]
pub(super) struct Database {
    pub(super) connect: PgConnectOptions,
    /// Command line that opens psql, to paste.
    pub(super) psql_line: String,
    pub(super) cluster: Option<Cluster>,
}

/// What a command expects of the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expect {
    /// The tables are there and up to date.
    Tables,
    /// The server is there, whatever it holds: a newer millstream may have made the tables.
    Server,
    /// Nothing; a private cluster is created if there is none.
    Nothing,
}

impl Database {
    /// Opens the database; `connection` is the first connection to it.
    pub(super) async fn open(config: &Config, expect: Expect) -> anyhow::Result<(Database, Connection)> {
        if expect != Expect::Nothing && config.postgres.is_embedded() && !has_cluster(&config.data_dir) {
            bail!(
                "there is no database in {} yet: `millstream run` makes one (or name another place with --data-dir)",
                config.data_dir.display()
            );
        }
        if expect == Expect::Nothing {
            data_dir::prepare(config)?;
        }
        let (cluster, connect, psql_line) = postgres::open(config).await?;
        // Behind a pooler commands go around it: they need a session.
        let connector = if cluster.is_some() { connect } else { config.postgres.migrate_connector() };
        let connector = connector.application_name("millstream command");
        let mut connection = connector.connect().await.context("connect to PostgreSQL")?;
        if cluster.is_none() {
            elsewhere::refuse_pooler(&connector, &config.postgres, true).await?;
        }
        let connect = connector.options()?;
        if expect == Expect::Tables && !migrate::pending(&mut connection).await?.is_empty() {
            bail!("the tables are not there or not up to date: run `millstream migrate`");
        }
        Ok((Database { connect, psql_line, cluster }, connection))
    }

    /// How writers connect to it.
    pub(super) fn connector(&self, config: &Config) -> Connector {
        if self.cluster.is_some() { self.connect.clone().into() } else { config.postgres.connector() }
    }

    /// How its owner connects to it, with a session.
    pub(super) fn migrate_connector(&self, config: &Config) -> Connector {
        if self.cluster.is_some() { self.connect.clone().into() } else { config.postgres.migrate_connector() }
    }

    /// Closes it; a private server that nobody else uses stops.
    pub(super) async fn close(self, connection: Connection) -> anyhow::Result<()> {
        // The result of closing does not matter.
        connection.close().await.ok();
        if let Some(cluster) = self.cluster {
            cluster.close().await.context("leave the private PostgreSQL")?;
        }
        Ok(())
    }
}

/// Whether a private cluster was created here.
pub(super) fn has_cluster(data_dir: &Path) -> bool {
    data_dir.join("postgres/data").exists()
}
