//! The controller and its competitors on simulated databases.

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use millstream_engine::testing::simulator::report::{PlantReport, Report, report};
use millstream_engine::testing::simulator::{Plant, plants};

use super::Args;
use crate::cli::screen;

mod table;

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let mut chosen = plants();
    if let Some(name) = &args.plant {
        let names: Vec<&str> = plants().iter().map(|plant| plant.name).collect();
        chosen.retain(|plant| plant.name == name);
        anyhow::ensure!(!chosen.is_empty(), "no plant is called {name:?}; there are {}", names.join(", "));
    }
    let seeds: Vec<u64> = (args.first_seed..=u64::MAX).take(usize::try_from(args.seeds)?).collect();
    let report = Report { plants: simulate(&chosen, &seeds) };
    if args.json {
        screen::print_json(&serde_json::to_value(&report)?)?;
    } else {
        screen::print(&table::table(&report, seeds.len()));
    }
    Ok(ExitCode::SUCCESS)
}

/// Simulates one plant after another on each processor, and reports each that is done.
fn simulate(plants: &[Plant], seeds: &[u64]) -> Vec<PlantReport> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::new());
    let work = || {
        while let Some((at, plant)) =
            Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|at| Some((at, plants.get(at)?)))
        {
            let begun = Instant::now();
            let report = report(plant, seeds);
            // If another thread has panicked while holding it, that ends the command.
            if let Ok(mut done) = done.lock() {
                done.push((at, report));
                let count = done.len();
                let all = plants.len();
                let seconds = begun.elapsed().as_secs_f64();
                screen::complain(&format!("{count} of {all}: {} in {seconds:.1} s", plant.name));
            }
        }
    };
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..processors.min(plants.len()) {
            scope.spawn(work);
        }
    });
    let mut done = done.into_inner().unwrap_or_default();
    done.sort_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, report)| report).collect()
}
