//! Commands that ask the running process, and those that look at what is around it.

use std::path::Path;

use millstream_tests::{Event, Model, Setup, compare, database, until};

use super::{WITHIN, command, event, lines};
use crate::config::millstream;

#[tokio::test]
async fn produce_and_status_talk_to_the_running_process() {
    let database = database().await;
    let setup = Setup::new(&database).set("http.listen=127.0.0.1:0");
    let running = setup.start().await;
    let events: Vec<Event> = (0..2_500).map(|number| event(&format!("in/{number}"), number, 1)).collect();
    let file = setup.scratch().join("events.ndjson");
    std::fs::write(&file, lines(&events)).unwrap();
    // The process is found by its data directory: it took a port of its own choice.
    let sent = command(&database, &setup, &["produce", file.to_str().unwrap()]);
    assert_eq!((sent.code, sent.out.as_str()), (0, "accepted 2,500, refused 0\n"), "{sent:#?}");
    running.caught_up(WITHIN).await;
    compare(&database, &Model::of(&events)).await;

    std::fs::write(&file, [b"{\"x\":1}\n\n".as_slice(), &lines(&events[..1])].concat()).unwrap();
    let sent = command(&database, &setup, &["produce", "--store", "elsewhere", file.to_str().unwrap()]);
    assert_eq!((sent.code, sent.out.as_str()), (1, "accepted 1, refused 1\n"), "{sent:#?}");
    assert!(sent.err.contains("unknown_shape"), "{sent:#?}");
    running.caught_up(WITHIN).await;
    until("the other store", WITHIN, || async {
        let there = "SELECT count(*) FROM millstream.objects WHERE store = 'elsewhere'";
        (database.number(there).await == 1).then_some(())
    })
    .await;

    let status = command(&database, &setup, &["status", "--json"]);
    assert_eq!(status.json()["pipelines"][0]["written"], 2_501, "{status:#?}");
    let shown = command(&database, &setup, &["status"]);
    assert!(shown.out.contains("keeping up") && shown.out.contains("2,501"), "{shown:#?}");

    // The stream is open in that process, so it is asked.
    let why = command(&database, &setup, &["why", "uploads", "in/7", "--json"]);
    let told = why.json();
    assert_eq!(told["streams"]["objects"]["verdicts"], serde_json::json!(["written: what the row shows"]), "{told:#}");
    running.finish().await;
    let gone = command(&database, &setup, &["status"]);
    assert!(gone.code == 1 && gone.err.contains("millstream run"), "{gone:#?}");
}

#[tokio::test]
async fn doctor_names_what_is_wrong_and_what_mends_it() {
    let database = database().await;
    let here = Setup::embedded();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = taken.local_addr().unwrap().to_string();
    let checks = |arguments: &[&str]| {
        let ran = command(&database, &here, &[&["doctor", "--json"], arguments].concat());
        let checks = ran.json()["checks"].as_array().unwrap().clone();
        let find = move |name: &str| -> (String, String) {
            let check =
                checks.iter().find(|check| check["name"] == name).unwrap_or_else(|| panic!("no {name}: {checks:#?}"));
            let text = |member: &str| check[member].as_str().unwrap_or_default().to_owned();
            (text("state"), text("mend"))
        };
        (ran.code, find)
    };
    let (code, find) = checks(&[]);
    // The cluster of the tests does without fsync, which is just what must be found.
    assert_eq!(code, 1);
    assert_eq!(find("durability").0, "FAIL");
    assert!(find("durability").1.contains("fsync = on"));
    for good in ["configuration", "free space", "stream", "clock", "schema", "postgres"] {
        assert_eq!(find(good).0, "ok", "{good}");
    }
    database.execute("UPDATE millstream.migration SET number = number + 1000, floor = 1001 WHERE number = 1").await;
    assert_eq!(checks(&[]).1("schema").0, "FAIL");
    database.execute("DELETE FROM millstream.migration WHERE number > 1000").await;
    assert_eq!(checks(&[]).1("schema").0, "note");
    let nowhere = format!("data_dir={}", Path::new("/proc/nothing").display());
    let ran = millstream(here.scratch(), &[], &["doctor", "--json", "--set", &nowhere, "--listen", &listen]);
    let text = ran.out;
    assert!(ran.code == 1 && text.contains("choose an address with --listen") && text.contains("--data-dir"), "{text}");
}
