//! Against queueing theory.

use std::time::Duration;

use super::super::*;
use crate::concurrency::Pace;

/// A database without any cost but the work given.
fn bare(cores: f64, cost: Cost, rate: f64, seconds: f64, lanes: usize) -> Plant {
    Plant {
        name: "bare",
        about: "",
        seconds,
        cost,
        sharing: Sharing::Cores(cores),
        commit: Commit::Alone { seconds: 0.0 },
        locks: None,
        gin: None,
        changes: Vec::new(),
        arrivals: Arrivals::Steady(rate),
        instances: 1,
        lanes,
        signals: false,
    }
}

fn run(plant: &Plant, records: usize, seed: u64) -> Run {
    let pace = Pace { concurrency: plant.lanes, records, linger: Duration::ZERO, rests: false };
    simulate(plant, vec![Box::new(Fixed(pace))], seed)
}

/// Erlang's C: the part of arrivals that find all `k` servers busy, at `a` erlangs.
fn erlang_c(k: u32, a: f64) -> f64 {
    let mut term = 1.0;
    let mut sum = 1.0;
    for n in 1..k {
        term *= a / f64::from(n);
        sum += term;
    }
    let last = term * a / f64::from(k) * f64::from(k) / (f64::from(k) - a);
    last / (sum + last)
}

/// M/M/k: as many in the system as Erlang's C says. Shared processors are a symmetric queue, so the distribution of the
/// number of jobs does not depend on that of their work (Kelly, Reversibility and Stochastic Networks, 1979, 3.3):
/// lognormal work must give what exponential work does.
#[test]
fn shared_processors_hold_as_many_as_erlang_c_says() {
    for (k, busy, cv) in [(1, 0.7, 0.2), (4, 0.8, 0.5), (4, 0.85, 1.0), (16, 0.9, 0.5)] {
        let work = 0.02;
        let rate = busy * f64::from(k) / work;
        let plant =
            bare(f64::from(k), Cost { network: 0.0, fixed: work, record: 0.0, cv }, rate, 600_000.0 / rate, 5000);
        let run = run(&plant, 1, 11);
        let offered = rate * work;
        let expected = offered + erlang_c(k, offered) * busy / (1.0 - busy);
        let off = run.concurrency / expected - 1.0;
        println!(
            "M/M/{k} at {busy}, CV {cv}: {:.3} in the system, Erlang C {expected:.3}, off by {:.2} %",
            run.concurrency,
            off * 100.0
        );
        assert!(off.abs() < 0.04, "{off}");
        assert!(run.little < 1e-9);
    }
}

/// M/G/1, first come first served: waiting as Pollaczek and Khinchine say, `l s^2 (1 + cv^2) / (2 (1 - r))`; with
/// constant work M/D/1.
#[test]
fn one_server_lets_wait_as_pollaczek_and_khinchine_say() {
    for (busy, cv) in [(0.5, 0.0), (0.8, 0.0), (0.9, 0.0), (0.8, 0.5), (0.8, 1.0)] {
        let work = 0.01;
        let rate = busy / work;
        let plant = bare(1.0, Cost { network: 0.0, fixed: work, record: 0.0, cv }, rate, 500_000.0 / rate, 1);
        let run = run(&plant, 1, 12);
        let expected = rate * work * work * (1.0 + cv * cv) / (2.0 * (1.0 - busy));
        let off = run.wait_mean / expected - 1.0;
        println!(
            "M/{}/1 at {busy}: waits {:.3} ms, Pollaczek-Khinchine {:.3} ms, off by {:.2} %",
            if cv == 0.0 { "D".to_owned() } else { format!("LN({cv})") },
            run.wait_mean * 1e3,
            expected * 1e3,
            off * 100.0
        );
        assert!(off.abs() < 0.04, "{off}");
    }
}

/// One server that takes all waiting records at once, in `fixed + record b`: the mean latency is at most
/// `3/2 f / (1 - l r) + r/2 (l r + 2) / (1 - l^2 r^2)`, and close to it under load (Inoue, Queueing Analysis of
/// GPU-Based Inference Servers with Dynamic Batching, arXiv 1912.06322, theorem 2).
#[test]
fn taking_all_that_waits_keeps_to_inoues_bound() {
    let fixed = 0.005;
    let record = 0.001;
    for busy in [0.1, 0.5, 0.8, 0.9] {
        let rate = busy / record;
        let plant = bare(1.0, Cost { network: 0.0, fixed, record, cv: 0.0 }, rate, 400_000.0 / rate, 1);
        let run = run(&plant, usize::MAX / 2, 13);
        let load = rate * record;
        let bound = 1.5 * fixed / (1.0 - load) + record / 2.0 * (load + 2.0) / (1.0 - load * load);
        let part = run.age_mean / bound;
        println!(
            "batches at {busy}: latency {:.3} ms, Inoue's bound {:.3} ms, {part:.3} of it",
            run.age_mean * 1e3,
            bound * 1e3
        );
        assert!(part < 1.01, "{part}");
        assert!(busy < 0.5 || part > 0.95, "{part}");
        // The larger the load, the larger the batches: what natural batching rests on.
        let batch = run.records as f64 / run.transactions as f64;
        assert!(batch >= rate * fixed, "{batch}");
    }
}

/// A closed system keeps to its asymptotes (Denning and Buzen, 1978): never more than all processors can do, nor than
/// each writer alone times their number; and the scalability law peaks where it says.
#[test]
fn a_backlog_keeps_to_the_asymptotes() {
    let plant = Plant { seconds: 60.0, ..plant("hard_knee").unwrap() };
    let work = plant.cost.fixed + plant.cost.record * 2000.0;
    let alone = work + plant.cost.network + 0.002;
    for concurrency in [1, 2, 3, 4, 5, 6, 8, 16, 64] {
        let goodput = super::fixed(&plant, concurrency, 2000, 3).goodput();
        let knee = 4.0 * 2000.0 / work;
        let each = concurrency as f64 * 2000.0 / alone;
        let part = goodput / knee.min(each);
        assert!(part < 1.02 && part > 0.9, "{concurrency}: {part}");
    }
    let law = Plant { seconds: 60.0, ..super::super::plant("retrograde").unwrap() };
    let best = (1..30).map(|count| (count, super::fixed(&law, count, 4000, 3).goodput()));
    let best = best.max_by(|a, b| a.1.total_cmp(&b.1)).unwrap().0;
    // Some of each transaction is round trips, so a few more than the law's own sqrt((1 - 0.02) / 0.01) = 9.9.
    assert!((9..=12).contains(&best), "{best}");
}
