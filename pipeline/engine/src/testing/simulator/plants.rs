//! The plants: databases and loads as they occur, each with one property that misleads some controller.
//!
//! Costs are near what PostgreSQL showed here: about 20 microseconds of processor for each record that a bulk statement
//! writes, a millisecond or two for the statements of a transaction, milliseconds for a flush of the log. So a
//! transaction of a thousand records takes some twenty milliseconds, and one processor writes about 45,000 records a
//! second.

use super::plant::{Arrivals, Change, Commit, Cost, Gin, Locks, Plant, Sharing};

/// Transactions that a process could have open at a time.
pub const LANES: usize = 64;

/// Four processors nearby, with a backlog: the base that the other plants change.
fn basic(name: &'static str, about: &'static str) -> Plant {
    Plant {
        name,
        about,
        seconds: 300.0,
        cost: Cost { network: 0.004, fixed: 0.0015, record: 20e-6, cv: 0.2 },
        sharing: Sharing::Cores(4.0),
        commit: Commit::Alone { seconds: 0.002 },
        locks: None,
        gin: None,
        changes: Vec::new(),
        arrivals: Arrivals::Backlog,
        instances: 1,
        lanes: LANES,
        signals: false,
    }
}

/// All plants.
#[must_use]
pub fn plants() -> Vec<Plant> {
    [steady(), disturbed(), vec![growing()], loads(), shared()].concat()
}

/// The plant of this name.
#[must_use]
pub fn plant(name: &str) -> Option<Plant> {
    plants().into_iter().find(|plant| plant.name == name)
}

/// Always the same, with a backlog: M1 to M3.
fn steady() -> Vec<Plant> {
    let noise = |name, about, cv| {
        let plant = basic(name, about);
        Plant { cost: Cost { cv, ..plant.cost }, ..plant }
    };
    vec![
        Plant { signals: true, ..basic("hard_knee", "four processors near by: nothing is gained beyond the knee") },
        Plant {
            cost: Cost { network: 0.020, fixed: 0.0015, record: 20e-6, cv: 0.2 },
            sharing: Sharing::Cores(16.0),
            ..basic("hard_knee_far", "sixteen processors, 20 ms of round trips away")
        },
        Plant {
            sharing: Sharing::Scalability { sigma: 0.05, kappa: 0.001 },
            ..basic("soft_knee", "gains fade slowly: most at 31, 95 % of it much earlier")
        },
        Plant {
            sharing: Sharing::Scalability { sigma: 0.02, kappa: 0.01 },
            ..basic("retrograde", "beyond ten at a time less is written, not just no more")
        },
        Plant { lanes: 3, ..basic("few_lanes", "fewer lanes than the database could bear: all of them are enough") },
        noise("noise_20", "times of transactions vary by 20 %", 0.2),
        noise("noise_50", "times of transactions vary by 50 %", 0.5),
        noise("noise_100", "times of transactions vary by 100 %", 1.0),
    ]
}

/// Stalls, locks, group commit, outages, neighbours: M4 to M8.
fn disturbed() -> Vec<Plant> {
    let speed = |from, to, speed| [(from, Change::Speed(speed)), (to, Change::Speed(1.0))];
    let capacity = |from, to, part| [(from, Change::Capacity(part)), (to, Change::Capacity(1.0))];
    vec![
        Plant {
            seconds: 400.0,
            gin: Some(Gin { records: 200_000.0, seconds: (0.5, 0.2, 10.0) }),
            changes: [speed(60.0, 80.0, 0.5), capacity(120.0, 260.0, 0.8), speed(360.0, 380.0, 0.5)].concat(),
            signals: true,
            ..basic(
                "stalls",
                "one writer in hundreds empties a pending list, checkpoints halve the speed, vacuum takes a fifth",
            )
        },
        Plant {
            locks: Some(Locks { rows: 16, hottest: 0.0002 }),
            signals: true,
            ..basic("row_locks", "hot rows are held to the commit: larger batches and more of them wait for each other")
        },
        Plant {
            cost: Cost { network: 0.001, fixed: 0.0005, record: 8e-6, cv: 0.2 },
            commit: Commit::Group { seconds: 0.012, record: 1e-6 },
            ..basic("group_commit", "a slow log that is written for all who wait: more at a time share it")
        },
        Plant {
            changes: vec![
                (100.0, Change::Gone),
                (130.0, Change::Back),
                (130.0, Change::Capacity(0.5)),
                (230.0, Change::Capacity(1.0)),
            ],
            ..basic("outage", "30 s away, back with half of its processors, 100 s later with all")
        },
        Plant {
            changes: capacity(100.0, 200.0, 0.5).to_vec(),
            signals: true,
            ..basic("neighbour", "another takes half of the processors for 100 s")
        },
        Plant {
            cost: Cost { network: 0.004, fixed: 0.0015, record: 20e-6, cv: 0.3 },
            commit: Commit::Starved { seconds: 0.003, slowdown: 9.0 },
            signals: true,
            ..basic("starved_commit", "commits take ten times as long when all processors are in use, as on Aurora")
        },
    ]
}

/// A new PostgreSQL with one processor, as measured (`millstream bench pace`): a transaction costs as much as 1,300
/// records, a table slows down while it grows, and other work of the server slows it down for moments.
fn growing() -> Plant {
    let fills = (0..20).map(|step| {
        let at = f64::from(step) * 2.0;
        (at, 1.0 + 0.5 * (-at / 12.0).exp())
    });
    let disturbed = fills.flat_map(|(at, speed)| {
        // No rhythm that windows could fall into.
        let moment = at + (at * 7.3).sin().abs();
        [(at, Change::Speed(speed)), (moment, Change::Speed(speed * 0.55)), (moment + 0.6, Change::Speed(speed))]
    });
    Plant {
        seconds: 60.0,
        cost: Cost { network: 0.001, fixed: 0.020, record: 16e-6, cv: 0.15 },
        sharing: Sharing::Cores(1.0),
        commit: Commit::Alone { seconds: 0.006 },
        changes: disturbed.collect(),
        lanes: 8,
        signals: true,
        ..basic("growing", "one processor, a table that grows, moments of half the speed, a minute from a cold start")
    }
}

/// Loads without a backlog: M9.
fn loads() -> Vec<Plant> {
    let load = |name, about, arrivals| Plant { arrivals, ..basic(name, about) };
    let bursts = Arrivals::Bursts { rate: 30_000.0, times: 10.0, every: 100.0, lasting: 10.0 };
    vec![
        load("trickle", "200 records a second: there is nothing to be gained", Arrivals::Steady(200.0)),
        load("bursts", "ten times as many for ten seconds in a hundred: more than it can write", bursts),
        load(
            "day",
            "from a tenth to a tenth more than it can write",
            Arrivals::Day { low: 18e3, high: 200e3, length: 240.0 },
        ),
        Plant {
            // For as long as there is a backlog.
            seconds: 105.0,
            ..load(
                "backlog",
                "5 million wait, 150,000 more come each second",
                Arrivals::After { records: 5_000_000, rate: 150e3 },
            )
        },
    ]
}

/// Several processes that write to one database, each with its part of what is allowed: M10.
fn shared() -> Vec<Plant> {
    let several = |name, about, instances| {
        let plant = basic(name, about);
        Plant { instances, lanes: LANES / instances, sharing: Sharing::Cores(16.0), ..plant }
    };
    vec![
        several("two_instances", "two processes write to one database, each with half of the lanes", 2),
        several("eight_instances", "eight processes write to one database, each with an eighth of the lanes", 8),
    ]
}
