//! The grid as a heat map, and what is compared with it.

use std::path::Path;

use anyhow::Context as _;

use super::{Cell, Report, Round};
use crate::bench::plot::{Axis, Figure, Panel, Series};

/// Shades by the share that a cell has of the best rate.
const SHADES: [(f64, &str); 5] = [(0.95, "█"), (0.9, "▓"), (0.75, "▒"), (0.5, "░"), (0.0, " ")];

/// Everything, as text.
pub(super) fn text(report: &Report) -> String {
    let mut text = format!("{}, {} events, seed {}\n", report.machine, report.events, report.seed);
    for round in &report.rounds {
        text.push_str(&round_text(round));
    }
    text
}

/// Writes what happened over time, a panel per round.
pub(super) fn plot(report: &Report, folder: &Path) -> anyhow::Result<()> {
    let figure = |file: &str, title: &str, label, lines: &dyn Fn(&Round) -> Option<Vec<Series>>| {
        let panel = |round: &Round| {
            Some(Panel { title: format!("PostgreSQL on {} core(s)", round.cores), series: lines(round)? })
        };
        let figure = Figure {
            title: title.to_owned(),
            subtitle: report.machine.clone(),
            x: Axis { label: "seconds since a cold start", is_log: false, floor: 0.0, ceiling: None },
            y: Axis { label, is_log: false, floor: 0.0, ceiling: None },
            panels: report.rounds.iter().filter_map(panel).collect(),
        };
        let path = folder.join(file);
        std::fs::write(&path, figure.svg()).with_context(|| format!("write {}", path.display()))
    };
    let itself = |round: &Round| Some(round.itself.lines.clone());
    figure(
        "pace.svg",
        "A backlog, by the best cell of the grid and by millstream itself",
        "events per second",
        &itself,
    )?;
    let visit = |round: &Round| Some(round.neighbour.as_ref()?.lines.clone());
    figure("neighbour.svg", "A neighbour comes and leaves", "% of what each has alone", &visit)
}

fn round_text(round: &Round) -> String {
    let client = if round.client_apart { "the client on another" } else { "shared with the client" };
    let mut text = format!(
        "\nPostgreSQL on {} core(s), {client}: events/s, █ 95 % of the best and more, ▓ 90, ▒ 75, ░ 50\n\n",
        round.cores
    );
    text.push_str(&heat_map(&round.grid, &round.best));
    let itself = &round.itself;
    let close =
        itself.seconds_until_close.map_or_else(|| "never".to_owned(), |seconds| format!("after {seconds:.0} s"));
    let [before, after] = itself.best_events_per_second;
    text.push_str(&format!(
        "\nthe best cell, over the same rows {before:>10.0} and {after:.0} events/s\nmillstream by itself              {:>10.0} events/s, {:.2} of the best; within a tenth {close}\n",
        itself.events_per_second, itself.ratio,
    ));
    let found = &itself.ended.found;
    text.push_str(&format!(
        "it came to                        {:>10} at a time, {} records, by these decisions:\n{}",
        found.concurrency,
        found.records,
        found.lines(),
    ));
    if let Some(visit) = &round.neighbour {
        let regained = visit
            .seconds_until_regained
            .map_or_else(|| "not within a minute".to_owned(), |seconds| format!("{seconds:.0} s"));
        text.push_str(&format!(
            "\nneighbour alone, beside us        {:>10.0} and {:.0} transactions/s: it keeps {:.0} %\nwe before, beside it, after       {:>10.0}, {:.0}, {:.0} events/s\nof what we write alone of the same rows, beside it {:.2}, after {:.2}; nine tenths again after {regained}\n",
            visit.alone_per_second,
            visit.beside_per_second,
            visit.kept * 100.0,
            visit.before_per_second,
            visit.during_per_second,
            visit.after_per_second,
            visit.during,
            visit.after,
        ));
        text.push_str(&format!("meanwhile it decided:\n{}", visit.found.lines()));
    }
    text
}

fn heat_map(grid: &[Cell], best: &Cell) -> String {
    let mut concurrency: Vec<usize> = grid.iter().map(|cell| cell.concurrency).collect();
    concurrency.sort_unstable();
    concurrency.dedup();
    let mut text = format!("{:>24}", "transactions at a time");
    for column in &concurrency {
        text.push_str(&format!("{column:>12}"));
    }
    let mut row = None;
    for cell in grid {
        if row != Some(cell.records) {
            row = Some(cell.records);
            text.push_str(&format!("\n{:>17} records", cell.records));
        }
        let share = cell.events_per_second / best.events_per_second;
        let shade = SHADES.iter().find(|(from, _)| share >= *from).map_or(" ", |(_, shade)| *shade);
        text.push_str(&format!("{:>9.0} {shade}{shade}", cell.events_per_second));
    }
    text.push_str(&format!(
        "\n\nbest: {} records, {} at a time: {:.0} events/s\n",
        best.records, best.concurrency, best.events_per_second
    ));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heat_map_shows_every_cell_and_how_near_it_is_to_the_best() {
        let cell = |records, concurrency, events_per_second| Cell { records, concurrency, events_per_second };
        let grid = [cell(500, 1, 100.0), cell(500, 2, 800.0), cell(2_000, 1, 960.0), cell(2_000, 2, 1_000.0)];
        let map = heat_map(&grid, &grid[3]);
        for row in ["500 records      100         800 ▒▒", "2000 records      960 ██     1000 ██"] {
            assert!(map.contains(row), "{map}");
        }
        assert!(map.contains("best: 2000 records, 2 at a time"), "{map}");
    }
}
