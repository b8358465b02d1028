//! What the demo shows.

use std::io::{IsTerminal as _, Write as _};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use millstream_engine::{Summary, Verdict};
use tokio_util::sync::CancellationToken;

use super::Shared;

/// One line to standard output.
pub(super) fn say(text: &str) {
    crate::bench::print(text);
}

/// Where things are, and two lines to paste.
pub(super) fn introduce(shared: &Shared, duration: Option<Duration>) {
    let (node, address) = (&shared.node, shared.address);
    let ends = duration.map_or("Ctrl-C drains and leaves".to_owned(), |duration| format!("ends after {duration:?}"));
    say(&format!(
        "millstream demo: uploads -> stream -> PostgreSQL; {ends}\n\n\
         data   {}   (remove the directory to remove everything)\n\
         page   http://{address}/\n\
         psql   {} -c \"SELECT bucket, objects, pg_size_pretty(bytes) FROM analytics.object_counts WHERE segment IS NULL\"\n\
         post   curl -sS http://{address}/v1/events -H 'content-type: application/json' -d '{{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"me\",\"type\":\"millstream.object.created\",\"time\":\"'$(date -u +%Y-%m-%dT%H:%M:%SZ)'\",\"data\":{{\"bucket\":\"mine\",\"key\":\"hello.txt\",\"size\":5}}}}' && sleep 1 && curl -sS http://{address}/v1/buckets/mine/objects/hello.txt\n",
        node.config.data_dir.display(),
        node.psql_line,
    ));
}

/// Shows the state twice a second on a terminal, else a line every five seconds.
pub(super) async fn show(shared: Arc<Shared>, stop: CancellationToken, keys: bool) {
    let terminal = std::io::stdout().is_terminal();
    let period = if terminal { Duration::from_millis(500) } else { Duration::from_secs(5) };
    let Some(pipeline) = shared.node.pipelines.first() else { return };
    let mut earlier = pipeline.progress.snapshot();
    let mut drawn = 0;
    loop {
        tokio::select! {
            () = tokio::time::sleep(period) => {}
            () = stop.cancelled() => return,
        }
        let (now, lag, verdict) = pipeline.look();
        let recent = now.freshness.since(&earlier.freshness);
        let batches = now.batch_records.since(&earlier.batch_records);
        let age = now.oldest_ms.map_or(0, |at_ms| (millstream_engine::run::now_ms() - at_ms).max(0));
        let ms = |share| recent.quantile_ms(share).map_or("-".to_owned(), |ms| format!("{ms} ms"));
        let counted: Result<(i64, String), _> = sqlx::query_as(
            "SELECT coalesce(sum(objects), 0)::bigint, pg_size_pretty(coalesce(sum(bytes), 0)) FROM millstream.bucket_count",
        )
        .fetch_one(&shared.node.pool)
        .await;
        let counted =
            counted.map_or("database away".to_owned(), |(objects, bytes)| format!("{objects} objects, {bytes}"));
        let filtered: u64 = now.filtered.values().sum();
        let mut lines = vec![
            format!("{:<14}{}", "verdict", name(&verdict)),
            format!("{:<14}{:.0}/s (sent {})", "events", now.records_per_second(&earlier), shared.sent.load(Relaxed)),
            format!("{:<14}p50 {} records", "batch", batches.quantile_ms(0.5).unwrap_or(0)),
            format!("{:<14}{:.1} s, {lag} records", "lag", if lag == 0 { 0.0 } else { age as f64 / 1000.0 }),
            format!("{:<14}p50 {}, p99 {}", "freshness", ms(0.5), ms(0.99)),
            format!("{:<14}{counted}", "counted"),
            format!("{:<14}{} written, {filtered} filtered, {} quarantined", "so far", now.written, now.quarantined),
        ];
        if terminal {
            if keys {
                lines.push(String::new());
                lines.push(
                    "keys: d duplicates   p poison   k kill PostgreSQL   r row per transaction   Ctrl-C drain"
                        .to_owned(),
                );
            }
            let notes = shared.notes.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
            lines.extend(notes.iter().map(|note| format!("  {note}")));
            draw(&lines, &mut drawn);
        } else {
            say(&lines
                .iter()
                .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
                .collect::<Vec<_>>()
                .join("; "));
        }
        earlier = now;
    }
}

/// Draws lines over the ones drawn before.
fn draw(lines: &[String], drawn: &mut usize) {
    let mut out = std::io::stdout().lock();
    let mut text = String::new();
    if *drawn > 0 {
        text.push_str(&format!("\x1b[{drawn}A"));
    }
    for line in lines {
        text.push_str(&format!("\x1b[2K{line}\n"));
    }
    text.push_str("\x1b[J");
    *drawn = lines.len();
    // A terminal that went away takes the screen with it, not the demo.
    out.write_all(text.as_bytes()).ok();
    out.flush().ok();
}

fn name(verdict: &Verdict) -> String {
    match verdict {
        Verdict::KeepingUp => "keeping up".to_owned(),
        Verdict::CatchingUp { seconds_left: Some(seconds) } => format!("catching up, {seconds} s left"),
        Verdict::CatchingUp { seconds_left: None } => "catching up".to_owned(),
        Verdict::Stalled => "stalled".to_owned(),
        Verdict::Braked { reason } => format!("braked: {}", first_line(reason)),
        Verdict::Flooding { reason } => format!("flooding: {}", first_line(reason)),
        Verdict::Halted { reason } => format!("halted: {}", first_line(reason)),
    }
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().chars().take(100).collect()
}

/// The last lines.
pub(super) fn summarize(shared: &Shared, summary: &Summary) {
    for pipeline in &shared.node.pipelines {
        let counts = pipeline.progress.snapshot();
        say(&format!(
            "{}: {} records in {} transactions; {} written, {} filtered, {} quarantined; {}",
            pipeline.config.name,
            counts.records,
            counts.transactions,
            counts.written,
            counts.filtered.values().sum::<u64>(),
            counts.quarantined,
            if summary.drained && summary.halted.is_empty() {
                "all committed"
            } else {
                "not all committed: the rest is read at the next start"
            },
        ));
    }
}
