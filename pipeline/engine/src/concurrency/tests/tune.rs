//! Tuning: prints how the controller does in every plant. Seeds of tuning only.

use super::super::*;
use crate::testing::simulator::report::settings;
use crate::testing::simulator::{Oracle, Plant, Policy, Run, plants, simulate};

/// Prints what it decides.
#[derive(Debug)]
struct Loud(Controller);

impl Policy for Loud {
    fn on_event(&mut self, now: Duration, event: &Event) {
        for decision in self.0.on_event(now, event) {
            let figures: Vec<String> = decision
                .figures
                .iter()
                .map(|(name, value)| format!("{}={value:.3}", &name[..name.len().min(18)]))
                .collect();
            println!(
                "      {:7.2} {:?} {} -> {} {:?} {}",
                now.as_secs_f64(),
                decision.knob,
                decision.from,
                decision.to,
                decision.reason,
                figures.join(" ")
            );
        }
    }

    fn pace(&self) -> Pace {
        self.0.pace()
    }
}

fn run(plant: &Plant, seed: u64, loud: bool) -> Run {
    let policy = || -> Box<dyn Policy> {
        let mut controller = Controller::new(settings(plant), Duration::ZERO);
        controller.shared_by(plant.instances);
        if loud { Box::new(Loud(controller)) } else { Box::new(controller) }
    };
    simulate(plant, (0..plant.instances).map(|_| policy()).collect(), seed)
}

#[test]
#[ignore = "prints for tuning"]
fn tune() {
    let wanted = std::env::var("PLANT").unwrap_or_default();
    let seeds: u64 = std::env::var("SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(3);
    let loud = std::env::var("LOUD").is_ok();
    for plant in plants().iter().filter(|plant| plant.name.contains(&wanted)) {
        let oracle = cached(plant);
        let mut line = String::new();
        let (mut ratios, mut cs, mut limits, mut mosts) = (vec![], vec![], vec![], vec![]);
        for seed in 1..=seeds {
            let run = run(plant, seed, loud && seed == 1);
            let best = simulate(
                plant,
                (0..plant.instances)
                    .map(|_| -> Box<dyn Policy> { Box::new(crate::testing::simulator::Fixed::new(oracle.0, oracle.1)) })
                    .collect(),
                seed,
            );
            ratios.push(run.goodput() / best.goodput());
            mosts.push(run.goodput() / oracle.2);
            cs.push(run.concurrency / best.concurrency);
            limits.push(run.limit / (oracle.0 * plant.instances) as f64);
            line = format!(
                "changes {:.1}/min age {} (oracle {})",
                run.changes_per_minute, run.age_p99_ms, best.age_p99_ms
            );
        }
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        let low = |values: &[f64]| values.iter().copied().fold(f64::MAX, f64::min);
        let high = |values: &[f64]| values.iter().copied().fold(0.0, f64::max);
        println!(
            "{:16} oracle c {:2} b {:4} | goodput {:.3} (min {:.3}) of most {:.3} | c {:.2} (max {:.2}) limit {:.2} | {line}",
            plant.name,
            oracle.0,
            oracle.1,
            mean(&ratios),
            low(&ratios),
            mean(&mosts),
            mean(&cs),
            high(&cs),
            mean(&limits)
        );
    }
}

/// The oracle of a plant, kept in a file: it does not depend on what is tuned.
fn cached(plant: &Plant) -> (usize, usize, f64) {
    let path = std::env::temp_dir().join(format!("oracle-{}", plant.name));
    if let Ok(text) = std::fs::read_to_string(&path) {
        let parts: Vec<&str> = text.split_whitespace().collect();
        return (parts[0].parse().unwrap(), parts[1].parse().unwrap(), parts[2].parse().unwrap());
    }
    let oracle = Oracle::find(plant);
    println!("{}: {:?}", plant.name, oracle.grid);
    std::fs::write(&path, format!("{} {} {}", oracle.concurrency, oracle.records, oracle.most)).unwrap();
    (oracle.concurrency, oracle.records, oracle.most)
}

/// Everything against everybody, as it is judged; takes `SEEDS` seeds from `FIRST` on.
#[test]
#[ignore = "prints the final figures"]
fn judge() {
    let number = |name: &str, or: u64| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(or);
    let wanted = std::env::var("PLANT").unwrap_or_default();
    let first = number("FIRST", 1);
    let seeds: Vec<u64> = (first..first + number("SEEDS", 3)).collect();
    let mut logs: std::collections::BTreeMap<&str, (f64, f64)> = std::collections::BTreeMap::new();
    for plant in plants().iter().filter(|plant| plant.name.contains(&wanted)) {
        let report = crate::testing::simulator::report::report(plant, &seeds);
        let ours = &report.ours;
        let others: Vec<String> = report
            .competitors
            .iter()
            .map(|(name, score)| {
                let sum = logs.entry(name).or_default();
                *sum = (sum.0 + (ours.goodput_over_oracle / score.goodput_over_oracle).ln(), sum.1 + 1.0);
                format!("{name} {:.3}@{:.2}", score.goodput_over_oracle, score.mean_concurrency_over_oracle)
            })
            .collect();
        println!(
            "{:16} | {:.3} least {:.3} | c {:.2} | changes {:.1} | recovery {:.0?} | fair {:?} | {}",
            report.name,
            ours.goodput_over_oracle,
            ours.goodput_over_oracle_least,
            ours.mean_concurrency_over_oracle,
            ours.changes_per_minute,
            ours.recovery_seconds,
            ours.fairness,
            others.join(" ")
        );
    }
    for (name, (sum, count)) in logs {
        println!("ours over {name}, geometric mean: {:.3}", (sum / count).exp());
    }
}
