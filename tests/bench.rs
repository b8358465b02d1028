//! What `bench` is asked is checked before anything is measured, and a short run measures every shape.

use crate::config::millstream;

#[test]
fn what_cannot_be_measured_is_refused_at_once() {
    let here = tempfile::tempdir().unwrap();
    for (arguments, says) in [
        (&["incident", "--rates", "20,many"][..], "`many` is no number of events per second"),
        (&["incident", "--rates", "0"], "0.1 to 1000000 can be had"),
        (&["incident", "--for", "20"], "has no unit"),
        (&["incident", "--invocations", "0"], "0 is not in 1..=5000"),
        (&["pace", "--cores", "0"], "`0` is no number from 1"),
        (&["pace", "--batches", "500,x"], "`x` is no number from 1"),
    ] {
        let ran = millstream(here.path(), &[], &[&["bench"], arguments].concat());
        assert_eq!(ran.code, 2, "{arguments:?}: {ran:#?}");
        assert!(ran.err.contains(says), "{arguments:?}: {ran:#?}");
    }
    let ran = millstream(here.path(), &[], &["bench", "pace", "--cores", "1,9999"]);
    assert_eq!(ran.code, 1, "{ran:#?}");
    assert!(ran.err.contains("9999") || ran.err.contains("one processor is not enough"), "{ran:#?}");
    assert_eq!(std::fs::read_dir(here.path()).unwrap().count(), 0);
}

#[test]
fn a_short_incident_measures_and_plots_every_shape() {
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    if cores < 2 {
        println!("skipped: the database and its client need a core each");
        return;
    }
    let here = tempfile::tempdir().unwrap();
    let plots = here.path().join("plots");
    let plots = plots.to_str().unwrap();
    let arguments = ["bench", "incident", "--rates", "50", "--for", "1s", "--warm", "1s", "--backlog", "2000"];
    let ran = millstream(here.path(), &[], &[&arguments[..], &["--drain", "10s", "--plots", plots, "--json"]].concat());
    assert_eq!(ran.code, 0, "{ran:#?}");
    let report = ran.json();
    let runs = report["runs"].as_array().unwrap();
    let mut shapes: Vec<&str> = runs.iter().map(|run| run["shape"].as_str().unwrap()).collect();
    assert_eq!(runs.len(), 8, "{shapes:?}");
    for run in runs {
        assert!(run["events_per_second"].as_f64().unwrap() > 0.0, "{run:#}");
        assert!(run["database_cpu_share"].as_f64().unwrap() > 0.0, "{run:#}");
        assert!(!run["samples"].as_array().unwrap().is_empty(), "{run:#}");
    }
    // A transaction for each event is what the first two do and the others do not.
    let of_events = |run: &serde_json::Value| {
        run["transactions_per_second"].as_f64().unwrap() / run["events_per_second"].as_f64().unwrap()
    };
    let backlog: Vec<f64> = runs.iter().skip(4).map(of_events).collect();
    assert!(backlog[0] == 1.0 && backlog[1] == 1.0 && backlog[2] < 0.1 && backlog[3] < 0.1, "{backlog:?}");
    shapes.dedup();
    for file in ["cpu.svg", "transactions.svg", "queue-delay.svg", "freshness.svg"] {
        let svg = std::fs::read_to_string(here.path().join("plots").join(file)).unwrap();
        assert!(shapes.iter().all(|shape| svg.contains(shape)), "{file}");
    }
}
