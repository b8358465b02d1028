//! What a screen says to do next works as it is printed.

use millstream_tests::{Setup, database};

use super::{agree, command, doctor, pasted, reaches};
use crate::poison::poison;

/// The commands of this program in a text, each between backticks.
fn commands(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).filter(|quoted| quoted.starts_with("millstream ")).collect()
}

/// What stands behind `name` in its line.
fn behind<'t>(text: &'t str, name: &str) -> &'t str {
    text.lines().find_map(|line| Some(line.split_once(name)?.1.trim())).unwrap_or_else(|| panic!("no {name}: {text}"))
}

/// In a shell that stands elsewhere and knows nothing but the program; what it printed.
fn followed(printed: &str) -> String {
    let told = pasted(printed);
    assert!(told.status.success(), "{printed}: {told:#?}");
    String::from_utf8(told.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn advice_is_followed_as_it_is_printed() {
    let database = database().await;
    let setup = ["stream.partitions=1", "limits.quarantine_window_events=10000"];
    let setup = setup.iter().fold(Setup::new(&database), |setup, setting| setup.set(setting)).allow("");
    let running = setup.start().await;
    let json = [("content-type", "application/x-ndjson")];
    let posted = running.send(hyper::Method::POST, "/v1/events?store=a", &json, poison(500)).await.unwrap();
    assert_eq!(posted.status, 202, "{}", posted.text());
    reaches(&running, "flooding").await;

    let status = command(&setup, &["status"]);
    let doctor = command(&setup, &["doctor"]);
    let state = doctor.out.lines().find(|line| line.contains("flooding: ")).unwrap();
    let resume = commands(state).pop().unwrap_or_else(|| panic!("{doctor:#?}"));
    let here = format!("millstream resume objects --store a --data-dir {} ", setup.data_dir().display());
    assert!(resume.starts_with(&here) && commands(&status.out).contains(&resume), "{resume}: {status:#?}");

    // From the state to the quarantine, and from there to a row of it.
    let list = behind(&status.out, "events are in quarantine: ");
    let listed = followed(list);
    let id = listed.lines().find(|line| line.contains("bad_time")).unwrap().split_whitespace().next().unwrap();
    let look = behind(&listed, "look: ").replace(" ID ", &format!(" {id} "));
    assert!(followed(&look).contains("payload, "), "{look}");
    for filter in ["--reason no_such_reason", "--store b"] {
        assert_eq!(followed(&format!("{list} {filter}")), "nothing in quarantine matches\n");
    }
    // What fails says what to do in the same way.
    let absent = pasted(&look.replace(&format!(" {id} "), " 0 "));
    let told = String::from_utf8(absent.stderr).unwrap();
    assert!(!absent.status.success() && followed(commands(&told).first().unwrap()).contains("bad_time"), "{told}");

    assert!(followed(resume).contains("goes on"));
    reaches(&running, "keeping_up").await;
    running.finish().await;
}

/// A process that stands still, and one that is gone without taking leave.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_say_that_the_process_does_not_answer() {
    let database = database().await;
    let setup = Setup::new(&database);
    let mut running = setup.start().await;
    agree(&setup, &running, "keeping_up", "", "").await;
    running.freeze();
    let told = command(&setup, &["status"]);
    assert!(told.code == 1 && told.err.contains("does not answer within"), "{told:#?}");
    let (told, failing) = doctor(&setup);
    assert!(failing.contains(&"running process".to_owned()), "{told:#?}");
    running.thaw();
    running.kill();
    let told = command(&setup, &["status"]);
    assert!(told.code == 1 && told.err.contains("millstream run"), "{told:#?}");
    let (told, failing) = doctor(&setup);
    assert!(failing == ["running process"] && told.out.contains("millstream run"), "{told:#?}");
}
