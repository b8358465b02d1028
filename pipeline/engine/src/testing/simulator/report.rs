//! Compares policies with the oracle, over plants and seeds.

use std::time::Duration;

use serde::Serialize;

use super::competitors::COMPETITORS;
use super::measure::Run;
use super::oracle::Oracle;
use super::plant::Plant;
use super::policy::{Ours, Policy};
use super::world::simulate;
use crate::concurrency::Settings;

/// The most records in a transaction, as the pipeline has it.
pub const RECORDS_MAX: usize = 10_000;
/// The most bytes of records in a transaction.
const BYTES_MAX: usize = 16 << 20;
/// The default freshness goal.
const FRESHNESS: Duration = Duration::from_millis(250);
/// How long a transaction may take.
const TRANSACTION_MAX: Duration = Duration::from_secs(2);
/// A change that lasts for less than this, in seconds, is a disturbance to sit out.
const RECOVERY_PART: f64 = 60.0;

/// The results of all plants.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// One result for each plant.
    pub plants: Vec<PlantReport>,
}

/// The results of a plant. Ratios are of sums over all seeds; all policies get the same seeds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PlantReport {
    /// The plant.
    pub name: &'static str,
    /// What it shows.
    pub about: &'static str,
    /// Whether less arrives than it can write, always: then nothing is to be gained, and nothing should grow.
    pub application_limited: bool,
    /// Records per second of the best fixed setting.
    pub oracle_goodput: f64,
    /// Its concurrency, of all instances together.
    pub oracle_concurrency: usize,
    /// Its batch size.
    pub oracle_records: usize,
    /// Our controller.
    #[serde(flatten)]
    pub ours: Score,
    /// The competitors, by name.
    pub competitors: std::collections::BTreeMap<&'static str, Score>,
}

/// How a policy did on a plant.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Score {
    /// Records committed, as a part of what the oracle's setting committed.
    pub goodput_over_oracle: f64,
    /// The least of that for any one seed.
    pub goodput_over_oracle_least: f64,
    /// Transactions open on average, as a part of the oracle's.
    pub mean_concurrency_over_oracle: f64,
    /// The most transactions that were allowed at a time.
    pub limit_most: usize,
    /// What was allowed at first.
    pub limit_first: usize,
    /// Changes of the concurrency per minute and instance.
    pub changes_per_minute: f64,
    /// Changes of the batch size per minute and instance.
    pub batch_changes_per_minute: f64,
    /// For each change of the plant that lasts a minute or more, the seconds until goodput is at 90 % of the best fixed
    /// setting after it: the worst of all seeds, or the length of that part if it never was. Empty if nothing changes.
    pub recovery_seconds: Vec<f64>,
    /// The 99th percentile of a record's age when it was committed, in milliseconds; `None` with a backlog.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub age_p99_ms: Option<u64>,
    /// Jain's index of fairness between instances, of the worst seed; `None` with one instance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fairness: Option<f64>,
    /// The error of Little's law in the worst run: rounding.
    pub little_residual: f64,
}

/// Runs our controller and all others on `plant` with each seed.
#[must_use]
pub fn report(plant: &Plant, seeds: &[u64]) -> PlantReport {
    let oracle = Oracle::find(plant);
    let best: Vec<Run> = seeds.iter().map(|seed| oracle.run(plant, *seed)).collect();
    let run = |begin: &dyn Fn(u64) -> Box<dyn Policy>| {
        let each = |seed: &u64| {
            // Instances know nothing of each other, and each has its own jitter.
            let policies = (0..plant.instances as u64).map(|number| begin(seed * 100 + number)).collect();
            simulate(plant, policies, *seed)
        };
        Score::new(plant, &oracle, &best, &seeds.iter().map(each).collect::<Vec<_>>())
    };
    let others = COMPETITORS.map(|(name, begin)| (name, run(&|seed| begin(oracle.records, plant.lanes, seed))));
    PlantReport {
        name: plant.name,
        about: plant.about,
        application_limited: plant.is_application_limited(),
        oracle_goodput: best.iter().map(Run::goodput).sum::<f64>() / best.len().max(1) as f64,
        oracle_concurrency: oracle.concurrency * plant.instances,
        oracle_records: oracle.records,
        ours: run(&|_| Box::new(Ours::new(settings(plant), plant.instances))),
        competitors: others.into(),
    }
}

/// What our controller is allowed on a plant: the product's defaults.
#[must_use]
pub fn settings(plant: &Plant) -> Settings {
    Settings {
        concurrency_min: 1,
        concurrency_max: plant.lanes,
        concurrency_max_together: 0,
        records_max: RECORDS_MAX,
        bytes_max: BYTES_MAX,
        freshness: FRESHNESS,
        transaction_max: TRANSACTION_MAX,
        records_per_second_max: 0,
        freeze: false,
    }
}

impl Score {
    fn new(plant: &Plant, oracle: &Oracle, best: &[Run], runs: &[Run]) -> Self {
        let sum = |runs: &[Run], of: fn(&Run) -> f64| runs.iter().map(of).sum::<f64>();
        let mean = |of: fn(&Run) -> f64| sum(runs, of) / runs.len().max(1) as f64;
        let most = |of: fn(&Run) -> f64| runs.iter().map(of).fold(0.0, f64::max);
        let pairs = runs.iter().zip(best);
        Self {
            goodput_over_oracle: sum(runs, Run::goodput) / sum(best, Run::goodput),
            goodput_over_oracle_least: pairs.map(|(run, best)| run.goodput() / best.goodput()).fold(f64::MAX, f64::min),
            mean_concurrency_over_oracle: sum(runs, |run| run.concurrency) / sum(best, |run| run.concurrency),
            limit_most: runs.iter().map(|run| run.limit_most).max().unwrap_or(0),
            limit_first: runs.iter().map(|run| run.limit_first).max().unwrap_or(0),
            changes_per_minute: mean(|run| run.changes_per_minute),
            batch_changes_per_minute: mean(|run| run.batch_changes_per_minute),
            recovery_seconds: recoveries(oracle, runs),
            age_p99_ms: (!plant.is_backlogged()).then(|| runs.iter().map(|run| run.age_p99_ms).max().unwrap_or(0)),
            fairness: (plant.instances > 1).then(|| runs.iter().map(|run| run.fairness).fold(1.0, f64::min)),
            little_residual: most(|run| run.little),
        }
    }
}

/// For each change that lasts, the worst of all runs. A part in which nothing can be written has no recovery.
fn recoveries(oracle: &Oracle, runs: &[Run]) -> Vec<f64> {
    let parts = oracle.parts.iter().filter(|(from, to, best)| *best > 0.0 && to - from >= RECOVERY_PART);
    parts
        .map(|(from, to, best)| {
            let each = runs.iter().map(|run| run.recovery(*from, *to, *best).unwrap_or(to - from));
            each.fold(0.0, f64::max)
        })
        .collect()
}
