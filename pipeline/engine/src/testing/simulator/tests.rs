//! The simulator against theory, and the plants against what they claim.

mod theory;

use super::*;

fn fixed(plant: &Plant, concurrency: usize, records: usize, seed: u64) -> Run {
    let policies = (0..plant.instances).map(|_| -> Box<dyn Policy> { Box::new(Fixed::new(concurrency, records)) });
    simulate(plant, policies.collect(), seed)
}

#[test]
fn the_same_seed_gives_the_same_run_and_another_does_not() {
    let plant = Plant { seconds: 20.0, ..plant("stalls").unwrap() };
    let [one, again, other] = [7, 7, 8].map(|seed| fixed(&plant, 6, 1000, seed));
    assert_eq!((one.records, &one.by_second), (again.records, &again.by_second));
    assert_ne!(one.by_second, other.by_second);
}

/// Little's law on every plant, and what an outage, a neighbour and hot rows must do.
#[test]
fn every_plant_does_what_it_claims() {
    for plant in plants() {
        let run = fixed(&plant, 4, 1000, 1);
        assert!(run.little < 1e-9, "{}: Little's law is off by {:e}", plant.name, run.little);
        assert!(
            run.records > 0 && run.open_most <= 4 && run.concurrency <= 4.0 * plant.instances as f64,
            "{}",
            plant.name
        );
    }
    let outage = fixed(&plant("outage").unwrap(), 6, 4000, 1);
    assert_eq!(outage.goodput_between(101.0, 130.0), 0.0);
    assert!(outage.failed > 0);
    let before = outage.goodput_between(20.0, 100.0);
    let half = outage.goodput_between(140.0, 230.0);
    let after = outage.goodput_between(240.0, 300.0);
    assert!((half / before - 0.5).abs() < 0.03 && (after / before - 1.0).abs() < 0.03, "{before} {half} {after}");
    assert!(outage.recovery(230.0, 300.0, before).unwrap() < 3.0);

    // Larger batches are cheaper, but hold hot rows longer.
    let locks = Plant { seconds: 60.0, ..plant("row_locks").unwrap() };
    let [none, small, large] = [(None, 8000), (locks.locks, 1000), (locks.locks, 8000)]
        .map(|(rows, records)| fixed(&Plant { locks: rows, ..locks.clone() }, 8, records, 1).goodput());
    assert!(large < 0.6 * none && small > 1.5 * large, "{none} {small} {large}");
}

/// More records arrive in a burst than can be written; they wait and are written later: nothing is lost.
#[test]
fn what_comes_is_written() {
    let plant = plant("bursts").unwrap();
    let run = fixed(&plant, 8, 2000, 1);
    // 30,000 a second, and ten times that for thirty of three hundred seconds.
    let come = 30e3 * 270.0 + 300e3 * 30.0;
    assert!((run.records as f64 / come - 1.0).abs() < 0.01, "{} of {come}", run.records);
    assert!(run.age_p99_ms > 1000);
}

/// A few plants, with seeds that were not used to tune: the whole is `millstream tune --simulate`.
#[test]
fn our_controller_finds_what_is_enough() {
    for name in ["hard_knee", "group_commit", "outage", "trickle"] {
        let report = report::report(&plant(name).unwrap(), &[1001, 1002, 1003, 1004]);
        let ours = &report.ours;
        println!("{name}: {ours:?}");
        assert!(ours.goodput_over_oracle > 0.9, "{name}: goodput {:.3}", ours.goodput_over_oracle);
        assert!(ours.mean_concurrency_over_oracle < 1.5, "{name}: at {:.2}", ours.mean_concurrency_over_oracle);
        assert!(ours.recovery_seconds.iter().all(|seconds| *seconds < 60.0), "{name}: {:?}", ours.recovery_seconds);
        if report.application_limited {
            assert!(ours.limit_most == ours.limit_first && ours.changes_per_minute < 2.0, "{name} grows");
        }
    }
}
