//! The demo in a real terminal: the screen is right in every size and after every key, and nothing of it stays behind.

use std::path::Path;
use std::time::Duration;

use millstream_tests::database::program;
use millstream_tests::{OUTLIVES_PARENT, Tmux, scratch, until};

use crate::config::millstream;

const WITHIN: Duration = Duration::from_secs(90);
/// A resize, a frame, and a machine that is busy.
const SOON: Duration = Duration::from_secs(60);
const FIGURES: [&str; 10] =
    ["verdict", "events", "batch", "lag", "freshness", "counted", "tasks", "route", "requests", "so far"];
/// Lines that may be wider than the screen: they are there to be copied.
const PASTED: [&str; 5] = ["data ", "page ", "model ", "psql ", "post "];

fn start(columns: usize, rows: usize, data_dir: &Path) -> Option<Tmux> {
    let program = program();
    let data_dir = data_dir.to_str().unwrap().to_owned();
    let mut words = vec!["env".to_owned(), "-u".to_owned(), "MILLSTREAM_LOG".to_owned()];
    if let Ok(directory) = std::env::var("MILLSTREAM_TEST_PG_BIN") {
        words.push(format!("MILLSTREAM_PG_BIN={directory}"));
    }
    words.push(format!("{OUTLIVES_PARENT}=1"));
    words.push(program.to_str().unwrap().to_owned());
    words.extend(["demo", "--listen", "127.0.0.1:0", "--data-dir", &data_dir].map(str::to_owned));
    Tmux::start(columns, rows, &words.iter().map(|word| &**word).collect::<Vec<_>>())
}

/// What is wrong with the screen.
fn wrong(tmux: &Tmux) -> Option<String> {
    let screen = tmux.screen();
    let lines = tmux.lines();
    let columns = tmux.columns();
    let begins = |word: &str| screen.iter().filter(|row| row.starts_with(word)).count();
    for figure in FIGURES.into_iter().chain(["keys", "millstream demo"]) {
        if begins(figure) != 1 {
            return Some(format!("{} rows begin with {figure}\n{}", begins(figure), screen.join("\n")));
        }
    }
    for line in &lines {
        let wide = line.chars().count() > columns && !PASTED.iter().any(|name| line.starts_with(name));
        let known = line.is_empty() || line.starts_with("  ") || PASTED.iter().any(|name| line.starts_with(name));
        let known = known || FIGURES.into_iter().chain(["keys", "millstream demo"]).any(|name| line.starts_with(name));
        if wide || !known {
            return Some(format!("{line:?} is too wide or nobody's\n{}", screen.join("\n")));
        }
    }
    None
}

/// Waits for a screen that is right: what is read in the middle of a frame may not be.
async fn is_right(tmux: &Tmux) {
    let began = tokio::time::Instant::now();
    while let Some(wrong) = wrong(tmux) {
        assert!(began.elapsed() < SOON, "{} columns: {wrong}", tmux.columns());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn says(tmux: &Tmux, text: &str) -> bool {
    tmux.lines().iter().any(|line| line.contains(text))
}

fn sent(tmux: &Tmux) -> Option<u64> {
    let screen = tmux.lines();
    let row = screen.iter().find(|row| row.starts_with("events"))?;
    row.split_once("(sent ")?.1.trim_end_matches(')').parse().ok()
}

fn written(tmux: &Tmux) -> Option<u64> {
    let screen = tmux.lines();
    let row = screen.iter().find_map(|row| row.strip_prefix("so far"))?;
    row.split_once(" written")?.0.trim().replace(',', "").parse().ok()
}

async fn figures_change(tmux: &Tmux) {
    let before = until("events that are sent", SOON, || async { sent(tmux) }).await;
    until("more events", SOON, || async { sent(tmux).filter(|now| *now > before) }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_key_and_every_size_leaves_a_right_screen() {
    for (columns, rows) in [(80, 24), (120, 40)] {
        let scratch = scratch();
        let Some(mut tmux) = start(columns, rows, scratch.path()) else { return };
        // Before there is anything to show, it says what it waits for.
        tmux.shows("starting the stream and PostgreSQL", WITHIN).await;
        tmux.shows("verdict", WITHIN).await;
        is_right(&tmux).await;
        figures_change(&tmux).await;
        for (key, says) in [("d", "events again"), ("p", "poisoned events"), ("k", "killed PostgreSQL")] {
            for _ in 0..3 {
                tmux.press(&[key]);
                tmux.shows(says, SOON).await;
                is_right(&tmux).await;
            }
        }
        // It is refused while PostgreSQL is away, which the screen may not have noticed yet.
        until("the comparison to run", WITHIN, || async {
            tmux.press(&["r", "r"]);
            let runs = || async { says(&tmux, "it runs already").then_some(()) };
            tokio::time::timeout(Duration::from_secs(3), until("it to run", SOON, runs)).await.ok()
        })
        .await;
        tmux.press(&["k"]);
        let ends = |line: &&String| line.contains("row by row: ") && !line.contains("runs already");
        let told =
            until("the end of the comparison", WITHIN, || async { tmux.lines().iter().find(ends).cloned() }).await;
        assert!(!told.contains("at line") && !told.contains("error returned from"), "{told}");
        is_right(&tmux).await;

        for size in [(200 - columns, 64 - rows), (60, 20), (columns, rows)] {
            tmux.resize(size.0, size.1);
            is_right(&tmux).await;
            figures_change(&tmux).await;
        }
        // Too small for everything, and nobody's end.
        tmux.resize(20, 6);
        until("the verdict alone", SOON, || async {
            let screen = tmux.screen();
            (screen.iter().filter(|row| row.starts_with("verdict")).count() == 1).then_some(())
        })
        .await;
        tmux.resize(columns, rows);
        tmux.press(&["d", "p", "k", "r", "d", "p", "k", "r", "x", "d", "p", "k", "r"]);
        is_right(&tmux).await;
        figures_change(&tmux).await;
        // A drain gives up on a PostgreSQL that is away for long.
        until("PostgreSQL to be back", WITHIN, || async {
            let before = written(&tmux);
            tokio::time::sleep(Duration::from_secs(1)).await;
            (before.is_some() && written(&tmux) > before && says(&tmux, "keeping up")).then_some(())
        })
        .await;

        tmux.press(&["C-c"]);
        let code = tmux.ended().await;
        tmux.shows("all committed", SOON).await;
        let left = tmux.lines().join("\n");
        assert_eq!(code, "0", "{left}");
        // The screen from before is back, with what was said outside of the frames.
        assert!(left.contains("all committed") && !left.contains("verdict"), "{left}");
    }
}

/// Closing the terminal ends it in order: no PostgreSQL stays behind. A second one beside the first is told where to look.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_demo_says_where_the_first_is_and_a_closed_terminal_ends_it() {
    let scratch = scratch();
    let Some(tmux) = start(80, 24, scratch.path()) else { return };
    tmux.shows("verdict", WITHIN).await;
    let page = tmux.shows("page ", SOON).await;
    let page = page.split_whitespace().nth(1).unwrap().to_owned();
    let data_dir = scratch.path().to_str().unwrap();
    for more in [&[][..], &["--fresh"]] {
        let again = ["demo", "--data-dir", data_dir, "--listen", "127.0.0.1:0"];
        let ran = millstream(scratch.path(), &[], &[&again, more].concat());
        assert_eq!(ran.code, 1, "{ran:#?}");
        let says = format!("a demo runs already: open {page}, or take another place with --data-dir DIR");
        assert!(ran.err.contains(&says), "{ran:#?}");
    }
    is_right(&tmux).await;
    let pid_file = scratch.path().join("demo/postgres/data/postmaster.pid");
    assert!(pid_file.exists());
    tmux.close();
    until("PostgreSQL to be stopped", WITHIN, || async { (!pid_file.exists()).then_some(()) }).await;
}

#[test]
fn without_a_terminal_it_writes_lines() {
    let scratch = scratch();
    let data_dir = scratch.path().to_str().unwrap();
    let arguments = ["demo", "--for", "1s", "--data-dir", data_dir, "--listen", "127.0.0.1:0"];
    let ran = millstream(scratch.path(), &[], &arguments);
    assert_eq!(ran.code, 0, "{ran:#?}");
    assert!(!ran.out.contains('\u{1b}'), "{ran:#?}");
    assert!(ran.out.starts_with("millstream demo: starting the stream and PostgreSQL in "), "{ran:#?}");
    assert!(ran.out.lines().any(|line| line.starts_with("verdict ")) && ran.out.contains("all committed"), "{ran:#?}");
}

/// Their tasks listen on addresses of their own, so that the end of one takes nothing from the other.
#[test]
fn demos_that_start_together_are_served_by_tasks_of_their_own() {
    let demos: Vec<_> = ["1s", "1s", "12s"]
        .map(|time| {
            std::thread::spawn(move || {
                let scratch = scratch();
                let data_dir = scratch.path().to_str().unwrap();
                let arguments = ["demo", "--for", time, "--data-dir", data_dir, "--listen", "127.0.0.1:0"];
                millstream(scratch.path(), &[], &arguments)
            })
        })
        .into();
    for demo in demos {
        let ran = demo.join().unwrap();
        assert_eq!(ran.code, 0, "{ran:#?}");
        let mut verdicts = ran.out.lines().filter(|line| line.starts_with("verdict ")).peekable();
        assert!(verdicts.peek().is_some(), "{ran:#?}");
        assert!(verdicts.all(|line| line.contains("0 GETs and 0 POSTs failed")), "{ran:#?}");
    }
}
