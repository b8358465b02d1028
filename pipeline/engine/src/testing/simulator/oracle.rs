//! The best fixed setting, which only foresight could know, found by trying a grid.

use super::measure::Run;
use super::plant::Plant;
use super::policy::{Fixed, Policy};
use super::world::simulate;

/// Batch sizes that are tried, in records.
const RECORDS: [usize; 6] = [250, 500, 1000, 2000, 4000, 8000];
/// Concurrencies that are tried: each one up to where one more is less than a tenth.
const CONCURRENCY: [usize; 21] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14, 16, 18, 20, 24, 28, 32, 48, 64];
/// Concurrencies at which batch sizes are compared.
const COARSE: [usize; 8] = [1, 2, 4, 6, 8, 12, 20, 32];
/// The smallest batch size that gives this part of what the best one gives is taken.
const BATCH_ENOUGH: f64 = 0.98;
/// The smallest concurrency that gives this part of the most is taken.
const ENOUGH: f64 = 0.95;
/// Without a backlog, the 99th percentile of age must not be more than this multiple of the lowest one.
const AGE_ENOUGH: f64 = 1.5;
/// Without a backlog, a 99th percentile of age this high (ms) halves a batch size's score: all write what comes.
const AGE_HALVES_MS: f64 = 20_000.0;
/// Seconds in which a steady plant shows its throughput.
const STEADY_SECONDS: f64 = 40.0;
/// Seeds of the grid: neither those of tuning nor those of the final check.
const SEEDS: [u64; 2] = [501, 502];

/// The best fixed setting of a plant.
#[derive(Clone, Debug)]
pub struct Oracle {
    /// The plant's best batch size.
    pub records: usize,
    /// The smallest concurrency of one instance that is enough.
    pub concurrency: usize,
    /// The most records per second of the whole grid.
    pub most: f64,
    /// The most records per second of the grid in each part between changes: from, to, records per second.
    pub parts: Vec<(f64, f64, f64)>,
    /// Batch sizes tried, each with its score.
    pub batches: Vec<(usize, f64)>,
    /// Concurrencies tried at the best batch size, with records per second and 99th percentile of age in milliseconds.
    pub grid: Vec<(usize, f64, u64)>,
}

impl Oracle {
    /// Tries the grid.
    #[must_use]
    pub fn find(plant: &Plant) -> Self {
        let short = steady(plant);
        let lanes = |tried: &[usize]| tried.iter().copied().filter(|count| *count <= plant.lanes).collect::<Vec<_>>();
        let coarse = lanes(&COARSE);
        let best = |records: usize| {
            let each = coarse.iter().map(|count| score(&short, &fixed(&short, *count, records, SEEDS[0])));
            each.fold(0.0, f64::max)
        };
        let scores = RECORDS.map(|records| (records, best(records)));
        let top = scores.iter().map(|score| score.1).fold(0.0, f64::max);
        let records = scores.iter().find(|score| score.1 >= top * BATCH_ENOUGH).map_or(RECORDS[0], |score| score.0);

        let runs: Vec<(usize, Vec<Run>)> = lanes(&CONCURRENCY)
            .into_iter()
            .map(|count| (count, SEEDS.iter().map(|seed| fixed(&short, count, records, *seed)).collect()))
            .collect();
        let grid: Vec<(usize, f64, u64)> = runs
            .iter()
            .map(|(count, runs)| {
                let goodput = runs.iter().map(Run::goodput).sum::<f64>() / runs.len() as f64;
                (*count, goodput, runs.iter().map(|run| run.age_p99_ms).max().unwrap_or(0))
            })
            .collect();
        let most = grid.iter().map(|cell| cell.1).fold(0.0, f64::max);
        let parts = parts(plant, &runs);
        Self { records, concurrency: enough(plant, &grid, most), most, parts, batches: scores.to_vec(), grid }
    }

    /// The run of the best fixed setting.
    #[must_use]
    pub fn run(&self, plant: &Plant, seed: u64) -> Run {
        fixed(plant, self.concurrency, self.records, seed)
    }
}

/// The same plant, for as long as the grid needs it.
fn steady(plant: &Plant) -> Plant {
    let mut plant = plant.clone();
    if plant.changes.is_empty() && plant.is_backlogged() {
        plant.seconds = STEADY_SECONDS;
    }
    plant
}

fn fixed(plant: &Plant, concurrency: usize, records: usize, seed: u64) -> Run {
    let policies = (0..plant.instances).map(|_| -> Box<dyn Policy> { Box::new(Fixed::new(concurrency, records)) });
    simulate(plant, policies.collect(), seed)
}

/// Higher is better: records per second, and where there is no backlog, younger records.
fn score(plant: &Plant, run: &Run) -> f64 {
    if plant.is_backlogged() { run.goodput() } else { run.goodput() / (1.0 + run.age_p99_ms as f64 / AGE_HALVES_MS) }
}

fn enough(plant: &Plant, grid: &[(usize, f64, u64)], most: f64) -> usize {
    let good = grid.iter().filter(|cell| cell.1 >= most * ENOUGH);
    let youngest = good.clone().map(|cell| cell.2).min().unwrap_or(0) as f64;
    let young = |cell: &&(usize, f64, u64)| plant.is_backlogged() || cell.2 as f64 <= youngest * AGE_ENOUGH;
    good.clone().find(young).map_or(1, |cell| cell.0)
}

/// The most that the grid gives between changes that last. The first third of each part is left out: in it the grid
/// itself recovers.
fn parts(plant: &Plant, runs: &[(usize, Vec<Run>)]) -> Vec<(f64, f64, f64)> {
    let mut bounds: Vec<f64> = plant.changes.iter().map(|change| change.0).collect();
    bounds.push(plant.seconds);
    bounds.dedup();
    bounds
        .windows(2)
        .map(|bound| {
            let from = bound[0];
            let to = bound[1];
            let each =
                runs.iter().flat_map(|(_, runs)| runs).map(|run| run.goodput_between(from + (to - from) / 3.0, to));
            (from, to, each.fold(0.0, f64::max))
        })
        .collect()
}
