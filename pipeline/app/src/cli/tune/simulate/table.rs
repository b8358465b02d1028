//! The comparison, for people.

use std::fmt::Write as _;

use millstream_engine::testing::simulator::report::{PlantReport, Report, Score};

use crate::cli::screen;

/// Minimum share of the oracle's goodput.
const GOODPUT_LEAST: f64 = 0.95;
/// Maximum multiple of the oracle's concurrency.
const CONCURRENCY_MOST: f64 = 1.3;
/// Maximum share by which it may be behind any competitor.
const BEHIND_MOST: f64 = 0.02;

/// Maximum seconds after a change until it reaches 90 % of the new best.
const BACK_MOST: f64 = 60.0;
/// Maximum changes of concurrency per minute if less arrives than can be written.
const CHANGES_MOST: f64 = 2.0;

/// A row for each plant, and the conclusions.
pub(super) fn table(report: &Report, seeds: usize) -> String {
    let competitors: Vec<&str> = report.plants.iter().flat_map(|plant| plant.competitors.keys().copied()).collect();
    let mut names: Vec<&str> = Vec::new();
    for name in competitors {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let titles = ["plant", "oracle", "ours", "least", "changes/min", "back after", "p99 age"];
    let mut rows = vec![titles.iter().chain(&names).map(|title| (*title).to_owned()).collect::<Vec<_>>()];
    rows.extend(report.plants.iter().map(|plant| row(plant, &names)));
    let mut text = String::from(
        "Records written and transactions open at a time, each as a part of the best fixed setting's (the oracle: the\n\
         smallest concurrency that writes 95 % of the most, with the best batch), over ",
    );
    // Writing to a String cannot fail.
    write!(text, "{seeds} seeds. Competitors get the best batch.\n\n{}\n", screen::table(&rows)).ok();
    text + &verdict(report, &names)
}

fn row(plant: &PlantReport, names: &[&str]) -> Vec<String> {
    let back = plant.ours.recovery_seconds.iter().map(|seconds| format!("{seconds:.0} s"));
    let age = plant.ours.age_p99_ms.map(|age| format!("{:.2} s", age as f64 / 1000.0));
    let mut row = vec![
        plant.name.to_owned(),
        format!("{} x {}", plant.oracle_concurrency, plant.oracle_records),
        cell(&plant.ours),
        format!("{:.3}", plant.ours.goodput_over_oracle_least),
        format!("{:.1}", plant.ours.changes_per_minute),
        back.collect::<Vec<_>>().join(", "),
        age.unwrap_or_default(),
    ];
    row.extend(names.iter().map(|name| plant.competitors.get(name).map(cell).unwrap_or_default()));
    row
}

fn cell(score: &Score) -> String {
    format!("{:.3} at {:.2}", score.goodput_over_oracle, score.mean_concurrency_over_oracle)
}

fn verdict(report: &Report, names: &[&str]) -> String {
    let ours: Vec<&Score> = report.plants.iter().map(|plant| &plant.ours).collect();
    let (goodput, concurrency) = mean(&ours);
    let mut text = format!("geometric mean: ours {goodput:.3} at {concurrency:.2}");
    let mut ahead = Vec::new();
    for name in names {
        let scores: Vec<&Score> = report.plants.iter().filter_map(|plant| plant.competitors.get(name)).collect();
        let other = mean(&scores);
        write!(text, "; {name} {:.3} at {:.2}", other.0, other.1).ok();
        if other.0 > goodput {
            ahead.push(format!(
                "{name} writes {:.1} % more with {:.1} times as many",
                (other.0 / goodput - 1.0) * 100.0,
                other.1 / concurrency
            ));
        }
    }
    if !ahead.is_empty() {
        write!(text, "\nahead of ours on that mean: {}", ahead.join(", ")).ok();
    }
    let mut missed = Vec::new();
    for plant in &report.plants {
        let what = misses(plant);
        if !what.is_empty() {
            missed.push((plant.name, what));
        }
    }
    text.push('\n');
    for (name, what) in &missed {
        writeln!(text, "{name}: {}", what.join(", ")).ok();
    }
    let all = report.plants.len();
    let good = report.plants.len() - missed.len();
    let verdict = if missed.is_empty() { "all targets met" } else { "targets missed" };
    writeln!(text, "{verdict}: {good} of {all} plants meet every target").ok();
    text
}

/// Which targets our controller misses on a plant, in words.
fn misses(plant: &PlantReport) -> Vec<String> {
    let score = &plant.ours;
    let mut what = Vec::new();
    if score.goodput_over_oracle < GOODPUT_LEAST {
        what.push(format!("goodput {:.3} < {GOODPUT_LEAST}", score.goodput_over_oracle));
    }
    if score.mean_concurrency_over_oracle > CONCURRENCY_MOST {
        what.push(format!("concurrency {:.2} > {CONCURRENCY_MOST}", score.mean_concurrency_over_oracle));
    }
    if let Some(seconds) = score.recovery_seconds.iter().find(|seconds| **seconds > BACK_MOST) {
        what.push(format!("back after {seconds:.0} s > {BACK_MOST}"));
    }
    if plant.application_limited && score.limit_most > score.limit_first {
        what.push(format!("grew from {} to {} for nothing", score.limit_first, score.limit_most));
    }
    if plant.application_limited && score.changes_per_minute >= CHANGES_MOST {
        what.push(format!("{:.1} changes/min >= {CHANGES_MOST}", score.changes_per_minute));
    }
    for (name, other) in &plant.competitors {
        let behind = 1.0 - score.goodput_over_oracle / other.goodput_over_oracle;
        if behind > BEHIND_MOST {
            what.push(format!("{:.1} % behind {name}", behind * 100.0));
        }
    }
    what
}

/// Geometric means of goodput and of concurrency.
fn mean(scores: &[&Score]) -> (f64, f64) {
    let mean = |of: fn(&Score) -> f64| {
        let sum: f64 = scores.iter().map(|score| of(score).max(1e-9).ln()).sum();
        (sum / scores.len().max(1) as f64).exp()
    };
    (mean(|score| score.goodput_over_oracle), mean(|score| score.mean_concurrency_over_oracle))
}
