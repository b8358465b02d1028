//! What must hold in the end: the tables are what was told, the gateway has what the tables have, and no request failed,
//! was carried out twice, or was answered by another revision than its generation names.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::PoisonError;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use sqlx::{Connection as _, PgConnection};

use super::fleet::Fleet;
use super::{Counts, SOURCE, Services};
use crate::demo::screen::say;
use crate::node::Node;

/// How long the tables and the gateway may take to have everything.
const WITHIN: Duration = Duration::from_secs(60);

/// Compares, and prints what differs; returns true if nothing does.
pub(crate) async fn verify(node: &Node, services: &Services) -> anyhow::Result<bool> {
    let mut wrong = Vec::new();
    let fleet = services.fleet.lock().await;
    let expected: BTreeMap<String, (bool, i64)> = fleet
        .told()
        .map(|task| (task.id.clone(), (task.is_running, i64::try_from(task.version).unwrap_or_default())))
        .collect();
    let mut connection = PgConnection::connect_with(&node.connect).await?;
    let began = tokio::time::Instant::now();
    loop {
        // A demo that goes on where it stopped finds tasks of earlier runs, which are not compared.
        let rows: Vec<(String, i16, i64)> =
            sqlx::query_as("SELECT id, rank, version FROM millstream.task WHERE source = $1 AND id = ANY ($2)")
                .bind(SOURCE)
                .bind(expected.keys().cloned().collect::<Vec<_>>())
                .fetch_all(&mut connection)
                .await?;
        let found: BTreeMap<String, (bool, i64)> =
            rows.into_iter().map(|(id, rank, version)| (id, (rank == 0, version))).collect();
        let digest: (i64, i64) =
            sqlx::query_as("SELECT seq, digest FROM millstream.route_commit ORDER BY seq DESC LIMIT 1")
                .fetch_one(&mut connection)
                .await?;
        let standing = node.serving.as_ref().map(|serving| serving.standing.borrow().clone()).unwrap_or_default();
        let is_in_step = (standing.seq, standing.digest) == (digest.0, digest.1.cast_unsigned());
        if found == expected && is_in_step {
            break;
        }
        if began.elapsed() > WITHIN {
            wrong.push(format!("tasks: {expected:?} told, {found:?} stored"));
            wrong.push(format!("gateway: change {} of {digest:?}", standing.seq));
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    connection.close().await?;

    let counts = &services.counts;
    wrong.extend(failures(counts, &fleet));
    let generations: BTreeMap<i64, &str> = services.generations.lock().await.iter().copied().collect();
    let answers = counts.answers.lock().unwrap_or_else(PoisonError::into_inner).clone();
    for ((generation, revision), count) in &answers {
        if generations.get(generation) != Some(&revision.as_str()) {
            wrong.push(format!("{count} answers of generation {generation} came from {revision:?}"));
        }
    }
    for line in &wrong {
        say(line);
    }
    if wrong.is_empty() {
        say(&format!(
            "check: {} tasks equal what was told, the gateway has what the tables have; {} requests in {} generations: none failed that could be repeated ({} POSTs were in flight on killed tasks), none was carried out twice",
            expected.len(),
            counts.sent.load(Relaxed),
            generations.len(),
            counts.failed_posts.load(Relaxed),
        ));
    }
    Ok(wrong.is_empty())
}

/// Requests that failed although they could be repeated, and those that were carried out twice.
fn failures(counts: &Counts, fleet: &Fleet) -> Vec<String> {
    let mut wrong = Vec::new();
    let failed_gets = counts.failed_gets.load(Relaxed);
    if failed_gets > 0 {
        wrong.push(format!("{failed_gets} GETs failed"));
        wrong.extend(counts.failures.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned());
    }
    let mut executed = BTreeSet::new();
    for journal in fleet.journals() {
        for id in std::fs::read_to_string(&journal).unwrap_or_default().lines() {
            if !executed.insert(id.to_owned()) {
                wrong.push(format!("request {id} was carried out twice"));
            }
        }
    }
    wrong
}
