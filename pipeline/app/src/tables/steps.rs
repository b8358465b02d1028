//! The steps that bring the tables up to date, or the refusal to write to tables that lack some.

use anyhow::bail;
use millstream_postgres::settings::Migrate;
use millstream_postgres::{Connector, Postgres};

use crate::migrate;

/// Applies the steps that are missing, or, with `postgres.migrate = "never"`, refuses if there are any.
///
/// # Errors
/// Names what is missing and who applies it, or the step that failed.
pub(crate) async fn bring_up_to_date(postgres: &Postgres, connector: &Connector) -> anyhow::Result<()> {
    if postgres.migrate == Migrate::Never {
        let mut connection = connector.connect().await?;
        let pending = migrate::pending(&mut connection).await?;
        connection.close().await.ok();
        if pending.is_empty() {
            return Ok(());
        }
        let steps: Vec<String> = pending.iter().map(|step| format!("{} {}", step.number, step.name)).collect();
        bail!(
            "postgres.migrate is \"never\", and the tables lack {}: an owner runs `millstream migrate` (`--dry-run` prints the SQL)",
            steps.join(", ")
        );
    }
    for step in migrate::apply(connector, migrate::TRY_FOR).await? {
        tracing::info!(number = step.number, name = step.name, "migrated");
    }
    Ok(())
}
