//! Finds the sessions that block a step.

use std::convert::Infallible;
use std::fmt;
use std::future::{Future, pending};
use std::time::Duration;

use millstream_postgres::Connector;
use sqlx::Row as _;

/// Interval between two checks for blocking sessions: well below the time that a step waits.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// The sessions that a step waited for, as far as known.
#[derive(Clone, Debug, Default)]
pub(super) struct Blocked {
    sessions: Vec<Session>,
}

#[derive(Clone, Debug)]
struct Session {
    pid: i32,
    role: String,
    application: String,
    state: String,
    seconds: f64,
}

impl fmt::Display for Blocked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Session { pid, role, application, state, seconds } in &self.sessions {
            write!(
                f,
                ": session {pid} of {role} ({application}, {state}, transaction open for {seconds:.0} s) has it"
            )?;
            write!(f, " (to end it: SELECT pg_terminate_backend({pid}))")?;
        }
        Ok(())
    }
}

/// Runs a step, and meanwhile looks for the sessions that block it. What cannot be seen is left out: it only improves
/// the message.
pub(super) async fn watched<T>(connector: &Connector, step: impl Future<Output = T>) -> (T, Option<Blocked>) {
    let mut seen = None;
    let look = async {
        let Ok(mut connection) = connector.connect().await else { return pending::<Infallible>().await };
        loop {
            let rows = sqlx::query(include_str!("../sql/migration_blockers.sql")).bind(super::LOCK);
            let sessions: Option<Vec<Session>> =
                rows.fetch_all(&mut connection).await.ok().and_then(|rows| rows.iter().map(session).collect());
            if let Some(sessions) = sessions.filter(|sessions| !sessions.is_empty()) {
                seen = Some(Blocked { sessions });
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    let ended = tokio::select! {
        ended = step => ended,
        never = look => match never {},
    };
    (ended, seen)
}

fn session(row: &sqlx::postgres::PgRow) -> Option<Session> {
    Some(Session {
        pid: row.try_get("pid").ok()?,
        role: row.try_get("role").ok()?,
        application: row.try_get("application").ok()?,
        state: row.try_get("state").ok()?,
        seconds: row.try_get("seconds").ok()?,
    })
}
