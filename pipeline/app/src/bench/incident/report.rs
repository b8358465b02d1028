//! The table and the plots.

use std::path::Path;

use anyhow::Context as _;

use super::course::{Course, Sample, Verdict};
use super::{Load, Report};
use crate::bench::plot::{Axis, Figure, Panel, Series};

/// What is plotted, one file each.
struct Measure {
    file: &'static str,
    title: &'static str,
    axis: Axis,
    of: fn(&Sample) -> Option<f64>,
    /// Whether the runs with a backlog have it.
    with_backlog: bool,
}

const MEASURES: [Measure; 4] = [
    Measure {
        file: "cpu.svg",
        title: "CPU of PostgreSQL",
        axis: Axis { label: "% of its core", is_log: false, floor: 0.0, ceiling: Some(100.0) },
        of: |sample| Some(sample.database_cpu_share * 100.0),
        with_backlog: true,
    },
    Measure {
        file: "transactions.svg",
        title: "Transactions",
        axis: Axis { label: "per second", is_log: true, floor: 1.0, ceiling: None },
        of: |sample| Some(sample.transactions_per_second),
        with_backlog: true,
    },
    Measure {
        file: "queue-delay.svg",
        title: "Age of the oldest event that is not in the tables",
        axis: Axis { label: "seconds", is_log: true, floor: 0.01, ceiling: None },
        of: |sample| Some(sample.queue_delay_seconds),
        with_backlog: true,
    },
    Measure {
        file: "freshness.svg",
        title: "Age of events when they are committed, 99th percentile",
        axis: Axis { label: "milliseconds", is_log: true, floor: 1.0, ceiling: None },
        of: |sample| Some(sample.freshness_p99_ms? as f64),
        with_backlog: false,
    },
];

/// The loads that were run, in their order.
fn loads(report: &Report) -> Vec<Load> {
    let mut loads: Vec<Load> = report.runs.iter().map(|run| run.load).collect();
    loads.dedup();
    loads
}

/// Writes one file per measure: a panel per load, a line per shape.
pub(super) fn plot(report: &Report, folder: &Path) -> anyhow::Result<()> {
    for measure in &MEASURES {
        let path = folder.join(measure.file);
        std::fs::write(&path, figure(report, measure).svg()).with_context(|| format!("write {}", path.display()))?;
    }
    Ok(())
}

fn figure(report: &Report, measure: &Measure) -> Figure {
    let line = |run: &Course| Series {
        name: run.shape.to_owned(),
        points: run.samples.iter().filter_map(|sample| Some((sample.seconds, (measure.of)(sample)?))).collect(),
    };
    let loads = loads(report).into_iter().filter(|load| measure.with_backlog || load.backlog == 0);
    let panel = |load: Load| Panel {
        title: if load.backlog > 0 { load.name() } else { format!("{} events/s", load.rate) },
        series: report.runs.iter().filter(|run| run.load == load).map(line).collect(),
    };
    Figure {
        title: measure.title.to_owned(),
        subtitle: report.machine.clone(),
        x: Axis { label: "seconds since the start", is_log: false, floor: 0.0, ceiling: None },
        y: measure.axis,
        panels: loads.map(panel).collect(),
    }
}

/// All runs, as text.
pub(super) fn table(report: &Report) -> String {
    let mut text = format!(
        "{}, one core for PostgreSQL, seed {}\nconnection per message: up to {} at once; row per transaction: {} kept connections; fixed batches: {} rows x {} at a time\n",
        report.machine,
        report.seed,
        report.invocations,
        report.kept_connections,
        report.fixed_batch,
        report.fixed_concurrency,
    );
    for load in loads(report) {
        text.push_str(&format!(
            "\n{:<24}{:>8}{:>10}{:>10}{:>12}{:>12}{:>12}{:>18}  verdict\n",
            load.name(),
            "CPU",
            "ms/event",
            "tx/s",
            "events/s",
            "delay end",
            "delay p99",
            "fresh p50 / p99",
        ));
        for run in report.runs.iter().filter(|run| run.load == load) {
            text.push_str(&line(run));
        }
    }
    text
}

fn line(run: &Course) -> String {
    let freshness = match (run.freshness_p50_ms, run.freshness_p99_ms) {
        (Some(p50), Some(p99)) => format!("{p50} / {p99} ms"),
        _ => "-".to_owned(),
    };
    let found = run.found.as_ref().map_or_else(String::new, |found| {
        let changes = found.decisions.len();
        format!("; at the end {} at a time, {} records, after {changes} changes", found.concurrency, found.records)
    });
    let refused = if run.refused > 0 { format!(", {} refused", run.refused) } else { String::new() };
    format!(
        "{:<24}{:>6.1} %{:>10.3}{:>10.1}{:>12.0}{:>12}{:>12}{:>18}  {}{refused}{found}\n",
        run.shape,
        run.database_cpu_share * 100.0,
        run.database_cpu_ms_per_event,
        run.transactions_per_second,
        run.events_per_second,
        time(run.queue_delay_end_seconds),
        time(run.queue_delay_p99_seconds),
        freshness,
        verdict(run.verdict),
    )
}

fn verdict(verdict: Verdict) -> String {
    match verdict {
        Verdict::KeepsUp => "keeps up".to_owned(),
        Verdict::FallsBehind { events_per_second } => format!("falls behind: {events_per_second:.0} events/s"),
        Verdict::Drained { seconds } => format!("drained in {}", time(seconds)),
        Verdict::Drains { seconds } => format!("would drain in {}", time(seconds)),
    }
}

/// A time in the unit that a person would use.
fn time(seconds: f64) -> String {
    match seconds {
        0.0..60.0 => format!("{seconds:.1} s"),
        60.0..3_600.0 => format!("{:.1} min", seconds / 60.0),
        _ => format!("{:.1} h", seconds / 3_600.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(shape: &'static str, rate: f64, backlog: u64) -> Course {
        let sample = |seconds: f64| Sample {
            seconds,
            database_cpu_share: 0.5,
            transactions_per_second: rate,
            events_per_second: rate,
            queue_delay_seconds: seconds,
            freshness_p50_ms: Some(10),
            freshness_p99_ms: (backlog == 0).then_some(20),
        };
        Course {
            shape,
            load: Load { rate, backlog },
            seconds: 3.0,
            database_cpu_share: 0.5,
            database_cpu_ms_per_event: 2.0,
            transactions_per_second: rate,
            events_per_second: rate,
            queue_delay_end_seconds: 3.0,
            queue_delay_p99_seconds: 3.0,
            freshness_p50_ms: Some(10),
            freshness_p99_ms: Some(20),
            refused: 7,
            verdict: Verdict::FallsBehind { events_per_second: rate },
            samples: [1.0, 2.0, 3.0].map(sample).to_vec(),
            found: None,
        }
    }

    #[test]
    fn every_shape_is_in_every_plot_and_in_the_table() {
        let shapes = ["connection per message", "millstream"];
        let of_load = |rate, backlog| shapes.map(|shape| run(shape, rate, backlog));
        let report = Report {
            machine: "2 cores".to_owned(),
            seed: 11,
            invocations: 1_000,
            kept_connections: 20,
            fixed_batch: 500,
            fixed_concurrency: 2,
            runs: [of_load(20.0, 0), of_load(200.0, 0), of_load(200.0, 1_440_000)].concat(),
        };
        let folder = tempfile::tempdir().unwrap();
        plot(&report, folder.path()).unwrap();
        for measure in &MEASURES {
            let svg = std::fs::read_to_string(folder.path().join(measure.file)).unwrap();
            let panels = if measure.with_backlog { 3 } else { 2 };
            assert_eq!(svg.matches("<polyline").count(), panels * shapes.len(), "{}", measure.file);
            assert!(shapes.iter().all(|shape| svg.contains(shape)), "{}", measure.file);
        }
        let text = table(&report);
        for line in ["200/s, 2.0 h behind", "falls behind: 200 events/s, 7 refused"] {
            assert!(text.contains(line), "{text}");
        }
    }
}
