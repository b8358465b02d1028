//! The database of the configuration: a private cluster, started, or one elsewhere.

use anyhow::Context as _;
use millstream_postgres::{Cluster, Connector};

use crate::config::Config;

/// Opens it. Returns the cluster if it is private, the connector, and a command line that opens psql.
///
/// # Errors
/// Errors of the private cluster, or of reading a secret file.
pub(crate) async fn open(config: &Config) -> anyhow::Result<(Option<Cluster>, Connector, String)> {
    if !config.postgres.is_embedded() {
        let connector = config.postgres.connector();
        let connect = connector.options()?;
        let line = format!(
            "psql -h {} -p {} -U {} {}",
            connect.get_host(),
            connect.get_port(),
            connect.get_username(),
            connect.get_database().unwrap_or("millstream"),
        );
        return Ok((None, connector, line));
    }
    let options = config.postgres.cluster_options(&config.data_dir.join("postgres"))?;
    for setting in config.postgres.unsafe_settings() {
        tracing::warn!(setting, "postgres.settings switches off what keeps the tables whole when the power fails");
    }
    let cluster = Cluster::open(&options).await.context("start the private PostgreSQL")?;
    let connect = cluster.options();
    let line = cluster.psql_line();
    Ok((Some(cluster), connect.into(), line))
}
