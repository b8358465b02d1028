//! What the demo shows.

use std::io::{IsTerminal as _, Write as _};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use millstream_engine::{Snapshot, Summary, Verdict};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::services::{ALIAS, SERVICE};
use super::terminal::{Terminal, View};
use crate::config::SinkKind;

/// Interval between two frames, and between two lines if there is no terminal.
const FRAME_EVERY: Duration = Duration::from_millis(500);
const LINE_EVERY: Duration = Duration::from_secs(5);
/// An older count is not shown as the present one.
const COUNT_AGE_MAX: Duration = Duration::from_secs(2);
/// Timeout of the count query: a screen that waits for it would stand still.
const COUNT_WITHIN: Duration = Duration::from_secs(5);

/// Prints one line; returns false once its reader is gone.
pub(super) fn say(text: &str) -> bool {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}").and_then(|()| out.flush()).is_ok()
}

/// Addresses and directories, and two lines to paste.
fn places(shared: &Shared) -> Vec<String> {
    let node = &shared.node;
    let address = shared.address;
    vec![
        format!("data   {}   (remove the directory to remove everything)", node.config.data_dir.display()),
        format!("page   http://{address}/"),
        format!("model  curl -sS http://{}/services/{SERVICE}/{ALIAS}/", shared.services.gateway),
        format!(
            "psql   {} -c \"SELECT bucket, objects, pg_size_pretty(bytes) FROM analytics.object_counts WHERE segment IS NULL\"",
            node.psql_line
        ),
        format!(
            "post   curl -sS http://{address}/v1/events -H 'content-type: application/json' -d '{{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"me\",\"type\":\"millstream.object.created\",\"time\":\"'$(date -u +%Y-%m-%dT%H:%M:%SZ)'\",\"data\":{{\"bucket\":\"mine\",\"key\":\"hello.txt\",\"size\":5}}}}' && sleep 1 && curl -sS http://{address}/v1/buckets/mine/objects/hello.txt"
        ),
    ]
}

fn title(duration: Option<Duration>) -> String {
    let ends = duration.map_or("Ctrl-C drains and leaves".to_owned(), |duration| format!("ends after {duration:?}"));
    format!("millstream demo: uploads -> stream -> PostgreSQL; {ends}")
}

/// Shows the state until it is told to stop: a screen on a terminal, else a line now and then. Cancels `gone` once
/// nobody reads these lines.
pub(super) async fn show(
    shared: Arc<Shared>,
    duration: Option<Duration>,
    keys: bool,
    stop: CancellationToken,
    gone: CancellationToken,
) -> anyhow::Result<()> {
    let mut terminal = std::io::stdout().is_terminal().then(Terminal::enter);
    let mut view = View { title: title(duration), places: places(&shared), ..View::default() };
    if keys {
        view.keys = vec![
            "keys",
            "d duplicates",
            "p poison",
            "k kill PostgreSQL",
            "r row by row",
            "b blue/green",
            "x kill a task",
            "h health",
            "Ctrl-C drain",
        ];
    }
    if terminal.is_none() && !say(&format!("{}\n\n{}\n", view.title, view.places.join("\n"))) {
        gone.cancel();
    }
    let counted = Arc::new(Counted::default());
    drop(millstream_engine::task::spawn("demo count", count(Arc::clone(&shared), Arc::clone(&counted), stop.clone())));
    let mut resized = signal(SignalKind::window_change())?;
    let Some(pipeline) = shared.node.pipeline_into(SinkKind::Metadata) else { return Ok(()) };
    let mut earlier = pipeline.progress.snapshot();
    let mut next = Instant::now();
    loop {
        if Instant::now() >= next {
            next += if terminal.is_some() { FRAME_EVERY } else { LINE_EVERY };
            let now = pipeline.look();
            view.figures = figures(&shared, &earlier, &now, &counted.shown());
            earlier = now.0;
            if terminal.is_none() && !say(&line(&view)) {
                gone.cancel();
            }
        }
        view.notes.clone_from(&shared.notes.lock().unwrap_or_else(PoisonError::into_inner));
        if let Some(terminal) = &mut terminal {
            terminal.draw(&view);
        }
        tokio::select! {
            () = tokio::time::sleep_until(next) => {}
            _ = resized.recv() => {}
            () = shared.noted.notified() => {}
            () = stop.cancelled() => return Ok(()),
        }
    }
}

fn figures(
    shared: &Shared,
    earlier: &Snapshot,
    (now, lag, verdict): &(Snapshot, u64, Verdict),
    counted: &str,
) -> Vec<(&'static str, String)> {
    let recent = now.freshness.since(&earlier.freshness);
    let batches = now.batch_records.since(&earlier.batch_records);
    let age = now.oldest_ms.map_or(0, |at_ms| (millstream_engine::clock::now_ms() - at_ms).max(0));
    let ms = |share| recent.quantile_ms(share).map_or("-".to_owned(), |ms| format!("{ms} ms"));
    let filtered: u64 = now.filtered.values().sum();
    vec![
        ("verdict", shared.node.config.localized(&name(verdict)).into_owned()),
        ("events", format!("{:.0}/s (sent {})", now.records_per_second(earlier), shared.sent.load(Relaxed))),
        ("batch", format!("p50 {} records", batches.quantile_ms(0.5).unwrap_or(0))),
        ("lag", format!("{:.1} s, {lag} records", if *lag == 0 { 0.0 } else { age as f64 / 1000.0 })),
        ("freshness", format!("p50 {}, p99 {}", ms(0.5), ms(0.99))),
        ("counted", counted.to_owned()),
        ("tasks", tasks(shared)),
        ("route", route(shared)),
        ("requests", requests(shared)),
        ("so far", format!("{} written, {filtered} filtered, {} quarantined", now.written, now.quarantined)),
    ]
}

/// The tasks of the service, by state.
fn tasks(shared: &Shared) -> String {
    let Some(serving) = &shared.node.serving else { return "-".to_owned() };
    let states = serving.states(SERVICE);
    let shown: Vec<String> =
        states.iter().map(|(state, count)| format!("{count} {}", state.replace('_', " "))).collect();
    if shown.is_empty() { "none yet".to_owned() } else { shown.join(", ") }
}

/// What the alias means at the gateway.
fn route(shared: &Shared) -> String {
    let view = shared.node.serving.as_ref().and_then(|serving| serving.table.lookup(SERVICE));
    let Some(alias) = view.as_ref().and_then(|view| view.alias(ALIAS)) else { return "none yet".to_owned() };
    let targets: Vec<&str> = alias.alias.targets.iter().map(|target| &*target.revision).collect();
    let held = alias.held.as_ref().map(|held| format!("; generation {} waits", held.generation)).unwrap_or_default();
    format!("{ALIAS} -> {} (generation {}){held}", targets.join(", "), alias.alias.generation)
}

/// What became of the requests through the gateway.
fn requests(shared: &Shared) -> String {
    let counts = &shared.services.counts;
    let gateway = shared.node.serving.as_ref().and_then(|serving| serving.gateway.as_ref());
    let retried = gateway.map_or(0, |gateway| gateway.snapshot().retried);
    let first = counts.to_first_answer().map(|[median, most]| {
        format!("; event to first answer p50 {} ms, p99 {} ms", median.as_millis(), most.as_millis())
    });
    format!(
        "{} sent, {} GETs and {} POSTs failed, {retried} retried{}",
        counts.sent.load(Relaxed),
        counts.failed_gets.load(Relaxed),
        counts.failed_posts.load(Relaxed),
        first.unwrap_or_default()
    )
}

/// The figures in one line.
fn line(view: &View) -> String {
    let figures: Vec<String> = view.figures.iter().map(|(name, value)| format!("{name} {value}")).collect();
    crate::cli::screen::escape(&figures.join("; "))
}

/// The last answer about what the tables hold.
#[derive(Debug, Default)]
struct Counted(Mutex<Option<(Instant, String)>>);

impl Counted {
    fn shown(&self) -> String {
        match &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            Some((at, text)) if at.elapsed() <= COUNT_AGE_MAX => text.clone(),
            Some((at, text)) => format!("{text} {} s ago; PostgreSQL does not answer", at.elapsed().as_secs()),
            None => "PostgreSQL has not answered yet".to_owned(),
        }
    }
}

async fn count(shared: Arc<Shared>, counted: Arc<Counted>, stop: CancellationToken) {
    while !stop.is_cancelled() {
        let question = sqlx::query_as::<_, (i64, String)>(
            "SELECT coalesce(sum(objects), 0)::bigint, pg_size_pretty(coalesce(sum(bytes), 0)) FROM millstream.bucket_count",
        );
        let answer = tokio::time::timeout(COUNT_WITHIN, question.fetch_one(&shared.node.pool)).await;
        if let Ok(Ok((objects, bytes))) = answer {
            let text = format!("{objects} objects, {bytes}");
            *counted.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), text));
        }
        tokio::select! {
            () = tokio::time::sleep(FRAME_EVERY) => {}
            () = stop.cancelled() => {}
        }
    }
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

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

/// Prints the last lines.
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
