//! `millstream produce`: JSON however it lies in files, and no second try of what can never be taken.

use std::io::Write as _;
use std::time::Duration;

use millstream_tests::{Setup, database};
use tokio::time::Instant;

use crate::commands::command;

const WITHIN: Duration = Duration::from_secs(30);

fn event(key: &str) -> String {
    format!(
        "{{\"specversion\": \"1.0\", \"id\": \"{key}\", \"source\": \"test\", \"type\": \"millstream.object.created\",\n  \
         \"time\": \"2026-11-29T10:00:00Z\",\n  \"data\": {{\n    \"bucket\": \"b\",\n    \"key\": \"{key}\",\n    \"size\": 1\n  }}\n}}"
    )
}

fn on_one_line(event: &str) -> String {
    event.replace('\n', " ")
}

fn packed(text: &[u8]) -> Vec<u8> {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packer.write_all(text).unwrap();
    packer.finish().unwrap()
}

#[tokio::test]
async fn documents_are_taken_however_they_lie() {
    let database = database().await;
    let setup = Setup::new(&database);
    let running = setup.start().await;
    let file = |name: &str, content: &[u8]| {
        let path = setup.scratch().join(name);
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let pretty = file("pretty.json", event("pretty").as_bytes());
    let mark = file("mark.json", format!("\u{feff}{}", event("mark")).as_bytes());
    let beside = file("beside.json", format!("{}{}", event("one"), on_one_line(&event("two"))).as_bytes());
    let gzip = file("packed.json.gz", &packed(format!("{}\n{}", event("three"), event("four")).as_bytes()));
    let sent = command(&database, &setup, &["produce", &pretty, &mark, &beside, &gzip]);
    assert_eq!((sent.code, sent.out.as_str()), (0, "accepted 6, refused 0\n"), "{sent:#?}");
    running.caught_up(WITHIN).await;
    assert_eq!(database.number("SELECT count(*) FROM millstream.objects WHERE size = 1").await, 6);

    // What is refused is named by its line, whatever lies before it.
    let lines = [event("five"), "{\"x\":".to_owned(), on_one_line(&event("six")), "no json".to_owned()].join("\n");
    let sent = command(&database, &setup, &["produce", &file("bad.json", lines.as_bytes())]);
    assert_eq!((sent.code, sent.out.as_str()), (1, "accepted 2, refused 2\n"), "{sent:#?}");
    assert!(sent.err.contains("bad.json:9: not_json") && sent.err.contains("bad.json:11: not_json"), "{sent:#?}");
    running.finish().await;
}

#[tokio::test]
async fn what_can_never_be_taken_is_tried_once() {
    let database = database().await;
    let setup = Setup::new(&database);
    let running = setup.start().await;
    let file = setup.scratch().join("events");
    std::fs::write(&file, on_one_line(&event("once"))).unwrap();
    let file = file.to_str().unwrap();
    for (arguments, code, told) in [
        (&["-H", "x y=1"][..], 2, "cannot name a header"),
        (&["-H", "x=a\u{7}b"], 2, "no header may have"),
        (&["-H", "x"], 2, "name=value"),
        (&["--topic", "nowhere"], 1, "answers 4"),
        (&["--store", "No Store"], 1, "answers 400"),
        (&["-H", "content-encoding=nonsense"], 1, "answers 4"),
    ] {
        let began = Instant::now();
        let sent = command(&database, &setup, &[&["produce"], arguments, &[file]].concat());
        assert!(sent.code == code && sent.err.contains(told), "{arguments:?}: {sent:#?}");
        assert!(began.elapsed() < Duration::from_secs(5), "{arguments:?} took {:?}", began.elapsed());
    }
    running.finish().await;
}
