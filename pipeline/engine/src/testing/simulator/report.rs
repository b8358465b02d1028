//! Policies against the oracle, over plants and seeds.

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
/// The default of how old an event may become.
const FRESHNESS: Duration = Duration::from_millis(250);
/// How long a transaction may take.
const TRANSACTION_MAX: Duration = Duration::from_secs(2);
/// What is over sooner, in seconds, is a disturbance to sit out.
const RECOVERY_PART: f64 = 60.0;

/// What came of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// Of each plant.
    pub plants: Vec<PlantReport>,
}

/// What came of a plant. Ratios are of sums over all seeds, each seed the same for all.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PlantReport {
    /// The plant.
    pub name: &'static str,
    /// What it shows.
    pub about: &'static str,
    /// Whether less comes than it can write, always: then nothing is to be gained, and nothing should grow.
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
    /// The others, by name.
    pub competitors: std::collections::BTreeMap<&'static str, Score>,
}

/// How a policy did on a plant.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Score {
    /// Records committed, as a part of what the oracle's setting committed.
    pub goodput_over_oracle: f64,
    /// The least of that in any one seed.
    pub goodput_over_oracle_least: f64,
    /// Transactions open on average, as a part of the oracle's.
    pub mean_concurrency_over_oracle: f64,
    /// The most transactions that were allowed at a time, and what was allowed at first.
    pub limit_most: usize,
    /// What was allowed at first.
    pub limit_first: usize,
    /// Changes of the concurrency per minute and instance.
    pub changes_per_minute: f64,
    /// Changes of the batch size per minute and instance.
    pub batch_changes_per_minute: f64,
    /// Seconds after each change of the plant that lasts a minute or more until goodput is at 90 % of the best fixed setting for what is left: the
    /// worst of all seeds, and the length of that part where it never was. Empty where nothing changes.
    pub recovery_seconds: Vec<f64>,
    /// How old the oldest 1 % of all records were when they were committed, in milliseconds; nothing under a backlog.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub age_p99_ms: Option<u64>,
    /// Jain's index of fairness between instances, of the worst seed; nothing where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fairness: Option<f64>,
    /// How far Little's law is off in the worst run: rounding.
    pub little_residual: f64,
}

/// Runs our controller and all others on `plant` with each seed.
#[must_use]
pub fn report(plant: &Plant, seeds: &[u64]) -> PlantReport {
    let oracle = Oracle::find(plant);
    let best: Vec<Run> = seeds.iter().map(|seed| oracle.run(plant, *seed)).collect();
    let run = |begin: &dyn Fn(u64) -> Box<dyn Policy>| {
        let each = |seed: &u64| {
            // Instances know nothing of each other, and their jitter is their own.
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

/// What our controller is allowed on a plant: the defaults of the product.
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

/// After each change that lasts, the worst of all runs. Where nothing can be written there is nothing to come back to.
fn recoveries(oracle: &Oracle, runs: &[Run]) -> Vec<f64> {
    let parts = oracle.parts.iter().filter(|(from, to, best)| *best > 0.0 && to - from >= RECOVERY_PART);
    parts
        .map(|(from, to, best)| {
            let each = runs.iter().map(|run| run.recovery(*from, *to, *best).unwrap_or(to - from));
            each.fold(0.0, f64::max)
        })
        .collect()
}
