//! `tune --replay FILE`: feeds the recorded events to a new controller. The same version decides the same; another one
//! shows where it would have decided otherwise.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use millstream_engine::concurrency::{Controller, Decision};
use millstream_engine::gate::record::{Line, Play, What};
use serde_json::json;

use super::super::screen;

/// Maximum bytes of a line; ours have a few hundred.
const LINE_BYTES_MAX: u64 = 64 << 10;

/// One decision of the recording, of the replay, or of both.
#[derive(Debug, PartialEq)]
struct Compared {
    at: Duration,
    recorded: Option<What>,
    replayed: Option<What>,
}

/// Exits 1 if the two differ.
pub(super) fn run(path: &Path, as_json: bool) -> anyhow::Result<ExitCode> {
    let file = File::open(path).with_context(|| format!("open {}", path.display()))?;
    let (compared, events) = compare(lines(BufReader::new(file)))?;
    let differ = compared.iter().filter(|one| one.recorded != one.replayed).count();
    if as_json {
        let decisions: Vec<_> = compared.iter().map(to_json).collect();
        screen::print_json(&json!({ "events": events, "differ": differ, "decisions": decisions }))?;
    } else {
        let mut rows = vec![["seconds", "recorded", "replayed", ""].map(str::to_owned).to_vec()];
        rows.extend(compared.iter().map(row));
        screen::print(&screen::table(&rows));
        let events = screen::grouped(events);
        let decisions = compared.len();
        screen::print(&format!("{events} events, {decisions} decisions, {differ} differ"));
    }
    Ok(if differ == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The lines of a recording, each with its number.
fn lines(mut file: impl std::io::BufRead) -> impl Iterator<Item = anyhow::Result<Line>> {
    let mut number = 0;
    std::iter::from_fn(move || {
        number += 1;
        let mut text = Vec::new();
        let read = file.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut text);
        match read {
            Ok(0) => None,
            // A process that was killed leaves half a line at the end.
            Ok(_) if !text.ends_with(b"\n") && (text.len() as u64) < LINE_BYTES_MAX => None,
            Ok(_) => {
                Some(serde_json::from_slice(&text).with_context(|| format!("line {number} is none of a recording")))
            }
            Err(error) => Some(Err(anyhow::Error::new(error).context(format!("read line {number}")))),
        }
    })
}

/// Plays the lines, and pairs decisions that were made at the same event.
fn compare(lines: impl Iterator<Item = anyhow::Result<Line>>) -> anyhow::Result<(Vec<Compared>, u64)> {
    let mut controller: Option<Controller> = None;
    let mut compared = Vec::new();
    let mut events = 0;
    // Decisions that the line before caused and that the recording has not confirmed yet.
    let mut replayed = VecDeque::new();
    let mut at = Duration::ZERO;
    for line in lines {
        let line = line?;
        let play = line.play();
        if play == Play::Decided {
            compared.push(Compared { at, recorded: Some(line.what), replayed: replayed.pop_front() });
            continue;
        }
        compared.extend(replayed.drain(..).map(|one| Compared { at, recorded: None, replayed: Some(one) }));
        at = line.at();
        let decided: Vec<Decision> = match (play, &mut controller) {
            (Play::Settings(settings), None) => {
                controller = Some(Controller::new(settings, at));
                continue;
            }
            (Play::Settings(settings), Some(controller)) => controller.set(at, settings),
            (Play::Event(event), Some(controller)) => {
                events += 1;
                controller.on_event(at, &event)
            }
            (Play::End, _) => break,
            (_, None) => bail!("the first line does not say what was allowed: this is no recording"),
            (Play::Decided, _) => continue,
        };
        replayed.extend(decided.iter().map(What::decided));
    }
    compared.extend(replayed.into_iter().map(|one| Compared { at, recorded: None, replayed: Some(one) }));
    Ok((compared, events))
}

fn row(one: &Compared) -> Vec<String> {
    let said = |what: &Option<What>| match what {
        Some(What::Decision { knob, from, to, reason, .. }) => {
            format!("{} {from} -> {to}, {}", screen::escape(knob), screen::escape(reason))
        }
        _ => "-".to_owned(),
    };
    let differs = if one.recorded == one.replayed { "" } else { "differs" };
    vec![format!("{:.3}", one.at.as_secs_f64()), said(&one.recorded), said(&one.replayed), differs.to_owned()]
}

fn to_json(one: &Compared) -> serde_json::Value {
    json!({ "at_seconds": one.at.as_secs_f64(), "recorded": one.recorded, "replayed": one.replayed })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = r#"{"at_ns":0,"what":{"settings":{"concurrency_min":1,"concurrency_max":4,"records_max":1000,"bytes_max":1048576,"freshness_ns":250000000,"transaction_max_ns":2000000000,"records_per_second_max":0,"freeze":false}}}"#;
    const LIMIT: &str = r#"{"at_ns":5000000000,"what":{"settings":{"concurrency_min":1,"concurrency_max":1,"records_max":1000,"bytes_max":1048576,"freshness_ns":250000000,"transaction_max_ns":2000000000,"records_per_second_max":0,"freeze":false}}}"#;

    fn compared(text: &str) -> (Vec<Compared>, u64) {
        compare(lines(text.as_bytes())).unwrap()
    }

    #[test]
    fn what_only_one_of_them_decided_stands_alone() {
        let invented = r#"{"at_ns":7,"what":{"decision":{"knob":"concurrency","from":77,"to":78,"reason":"stall"}}}"#;
        let (found, events) = compared(&format!("{HEAD}\n{{\"at_ns\":7,\"what\":\"tick\"}}\n{invented}\n"));
        assert_eq!((found.len(), events), (1, 1));
        assert!(found[0].recorded.is_some() && found[0].replayed.is_none(), "{found:?}");

        // What the limits force is decided by every controller.
        let (found, _) = compared(&format!("{HEAD}\n{LIMIT}\n"));
        assert!(!found.is_empty() && found.iter().all(|one| one.recorded.is_none()), "{found:?}");
        let decided: Vec<String> = found
            .iter()
            .map(|one| {
                let line = Line { at_ns: 5_000_000_000, what: one.replayed.clone().unwrap() };
                serde_json::to_string(&line).unwrap()
            })
            .collect();
        let (found, _) = compared(&format!("{HEAD}\n{LIMIT}\n{}\n", decided.join("\n")));
        assert!(found.iter().all(|one| one.recorded == one.replayed), "{found:?}");
    }

    #[test]
    fn half_a_line_at_the_end_is_left_out_and_another_file_is_refused() {
        assert_eq!(compared(&format!("{HEAD}\n{{\"at_ns\":7,\"wh")).1, 0);
        let wrong = compare(lines("{\"at_ns\":7,\"what\":\"tick\"}\n".as_bytes())).unwrap_err();
        assert!(wrong.to_string().contains("no recording"), "{wrong}");
        let wrong = compare(lines("hello\n".as_bytes())).unwrap_err();
        assert!(wrong.to_string().contains("line 1"), "{wrong}");
    }
}
