//! `millstream counters`: compares the counters of objects with the rows, and repairs them.

use std::process::ExitCode;

use indicatif::{ProgressBar, ProgressStyle};
use millstream_connectors::sinks::metadata::recount::{Counter, Difference, Mode, Recount};
use millstream_postgres::Connection;
use serde_json::{Value, json};

use super::database::{Database, Expect};
use super::screen;
use crate::config::Config;
use crate::time::utc;

/// Maximum number of differences shown in a table.
const SHOWN_MAX: usize = 40;
/// Maximum number of differences listed as JSON; the rest is counted, so that the report stays small.
const LISTED_MAX: usize = 1_000;

/// What to do with the counters.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Lists the counters that differ from the rows, and changes nothing; exits 1 if there are any.
    Check {
        #[command(flatten)]
        which: Which,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Adds the differences to the counters, exactly, also while events are being written. Rows are taken as they
    /// stand: errors in them are not repaired, and segments beyond `limits.segments_max` stay uncounted.
    Repair {
        #[command(flatten)]
        which: Which,
        /// Do everything but commit, and print what would change.
        #[arg(long)]
        dry_run: bool,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

/// A selection of buckets; all by default.
#[derive(Debug, clap::Args)]
pub struct Which {
    /// Only this store.
    #[arg(long)]
    store: Option<String>,
    /// Only this bucket.
    #[arg(long)]
    bucket: Option<String>,
}

/// What was found in all buckets.
#[derive(Debug, Default)]
struct Found {
    buckets: usize,
    buckets_differ: usize,
    counters: [usize; 3],
    listed: Vec<(String, String, Difference)>,
}

pub(super) async fn run(command: Command, config: &Config) -> anyhow::Result<ExitCode> {
    let (database, mut connection) = Database::open(config, Expect::Tables).await?;
    let (which, mode, json) = match command {
        Command::Check { which, json } => (which, Mode::Check, json),
        Command::Repair { which, dry_run: true, json } => (which, Mode::DryRun, json),
        Command::Repair { which, dry_run: false, json } => (which, Mode::Repair, json),
    };
    let done = recount(&mut connection, &which, mode).await;
    database.close(connection).await?;
    let found = done?;
    report(&found, config, mode, json)?;
    Ok(if mode == Mode::Check && found.differ() > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

async fn recount(connection: &mut Connection, which: &Which, mode: Mode) -> anyhow::Result<Found> {
    let buckets = Recount::buckets(connection, which.store.as_deref(), which.bucket.as_deref()).await?;
    let style = ProgressStyle::with_template("{spinner} {human_pos} of {human_len} buckets, {msg}")?;
    let bar = ProgressBar::new(buckets.len() as u64).with_style(style);
    bar.enable_steady_tick(std::time::Duration::from_millis(200));
    let mut recount = Recount::new(mode);
    let mut found = Found::default();
    for (store, bucket) in buckets {
        bar.set_message(format!("{} differences so far; now {}", found.differ(), screen::escape(&bucket)));
        let differences = recount.bucket(connection, &store, &bucket).await?;
        found.add(store, bucket, differences);
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(found)
}

impl Found {
    fn add(&mut self, store: String, bucket: String, differences: Vec<Difference>) {
        self.buckets += 1;
        self.buckets_differ += usize::from(!differences.is_empty());
        for difference in differences {
            let [of_buckets, of_segments, of_hours] = &mut self.counters;
            match difference.counter {
                Counter::Bucket => *of_buckets += 1,
                Counter::Segment(_) => *of_segments += 1,
                Counter::Hour(_) => *of_hours += 1,
            }
            if self.listed.len() < LISTED_MAX {
                self.listed.push((store.clone(), bucket.clone(), difference));
            }
        }
    }

    fn differ(&self) -> usize {
        self.counters.iter().sum()
    }
}

fn report(found: &Found, config: &Config, mode: Mode, json: bool) -> anyhow::Result<()> {
    let [of_buckets, of_segments, of_hours] = found.counters;
    if json {
        return screen::print_json(&json!({
            "mode": match mode { Mode::Check => "check", Mode::DryRun => "dry_run", Mode::Repair => "repair" },
            "buckets": found.buckets,
            "buckets_differ": found.buckets_differ,
            "counters_differ": { "bucket_count": of_buckets, "segment_count": of_segments, "hour_count": of_hours },
            "differences": found.listed.iter().map(listed).collect::<Vec<_>>(),
            "differences_more": found.differ() - found.listed.len(),
        }));
    }
    if found.differ() == 0 {
        screen::print(&format!("{} buckets looked at, every counter is what the rows come to", found.buckets));
        return Ok(());
    }
    let titles = ["store", "bucket", "counter", "of", "counted", "rows come to"].map(str::to_owned).to_vec();
    let shown = found.listed.iter().take(SHOWN_MAX).map(shown);
    screen::print(&screen::table(&std::iter::once(titles).chain(shown).collect::<Vec<_>>()));
    if found.differ() > SHOWN_MAX {
        screen::print(&format!("and {} more", found.differ() - SHOWN_MAX));
    }
    let end = match mode {
        Mode::Check => format!("mend them: {}", config.command("counters repair")),
        Mode::DryRun => "dry run, nothing was changed".to_owned(),
        Mode::Repair => "mended".to_owned(),
    };
    screen::print(&format!(
        "\n{} buckets looked at, {} differ: {of_buckets} bucket counters, {of_segments} of segments, {of_hours} of hours; {end}",
        found.buckets, found.buckets_differ
    ));
    Ok(())
}

/// A difference as JSON: numbers as numbers, since none of them is beyond 64 bits in any real table.
fn listed((store, bucket, difference): &(String, String, Difference)) -> Value {
    let numbers = |numbers: [i128; 3]| -> Value {
        let number =
            |number: i128| i64::try_from(number).map_or_else(|_| json!(number.to_string()), |number| json!(number));
        let named = difference.counter.fields().into_iter().zip(numbers);
        named.map(|(name, value)| (name.to_owned(), number(value))).collect::<serde_json::Map<_, _>>().into()
    };
    let mut value = json!({
        "counter": "bucket_count", "store": store, "bucket": bucket,
        "counted": numbers(difference.counted), "truth": numbers(difference.truth),
    });
    match &difference.counter {
        Counter::Bucket => {}
        Counter::Segment(segment) => {
            value["counter"] = json!("segment_count");
            value["segment"] = json!(segment);
        }
        Counter::Hour(hour) => {
            value["counter"] = json!("hour_count");
            value["hour"] = json!(time_of(*hour));
        }
    }
    value
}

/// A difference for a person: only the numbers that differ.
fn shown((store, bucket, difference): &(String, String, Difference)) -> Vec<String> {
    let (counter, of) = match &difference.counter {
        Counter::Bucket => ("bucket", String::new()),
        Counter::Segment(segment) if segment.is_empty() => ("segment", "(keys without a slash)".to_owned()),
        Counter::Segment(segment) => ("segment", screen::escape(segment)),
        Counter::Hour(hour) => ("hour", time_of(*hour)),
    };
    let mut counted = Vec::new();
    let mut truth = Vec::new();
    let pairs = difference.counted.into_iter().zip(difference.truth);
    for (name, (is, should)) in
        difference.counter.fields().into_iter().zip(pairs).filter(|(_, (is, should))| is != should)
    {
        counted.push(format!("{name} {is}"));
        truth.push(format!("{name} {should}"));
    }
    let texts = [screen::escape(store), screen::escape(bucket), counter.to_owned(), of];
    texts.into_iter().chain([counted.join(", "), truth.join(", ")]).collect()
}

fn time_of(hour: i64) -> String {
    utc(hour.saturating_mul(3_600_000))
}
