//! The file of tokens, and the commands that write it.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use millstream_tests::{Millstream, Setup, database, until};
use serde_json::{Value, json};

use super::{A, ALL, B, WITHIN, get, is_forbidden, with};
use crate::config::{Ran, millstream};

/// A command of the program on the files of a setup.
fn command(setup: &Setup, millstream_at: &Millstream, arguments: &[&str]) -> Ran {
    let file = format!("http.tokens_file={}", setup.scratch().join("tokens").display());
    let listen = millstream_at.address().to_string();
    let common = ["--set", &*file, "--data-dir", setup.data_dir().to_str().unwrap(), "--listen", &*listen];
    millstream(setup.scratch(), &[], &[arguments, &common].concat())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_file_is_read_again_and_a_wrong_one_changes_nothing() {
    let database = database().await;
    let setup = Setup::new(&database).allow("tokens not read again");
    let file = setup.scratch().join("tokens");
    std::fs::write(&file, format!("ops:{ALL}\n")).unwrap();
    let millstream = setup.clone().set(&format!("http.tokens_file={}", file.display())).start().await;
    let becomes = async |token: &str, status: u16| {
        until(&format!("{status}"), Duration::from_secs(60), || async {
            (get(&millstream, "/v1/status", token).await.status == status).then_some(())
        })
        .await;
    };
    let added = command(&setup, &millstream, &["token", "add", "scrape", "--duties", "metrics", "--store", "minio-a"]);
    assert_eq!(added.code, 0, "{added:?}");
    let token = added.out.lines().next().unwrap().to_owned();
    assert!(
        token.len() >= 40
            && std::fs::read_to_string(&file)
                .unwrap()
                .contains(&format!("scrape:{token} duties=metrics store=minio-a\n"))
    );
    becomes(&token, 200).await;
    is_forbidden(&get(&millstream, "/v1/buckets", &token).await, "another duty");

    // Told by its line, in the log and in the state; nobody is shut out, nor let in.
    std::fs::write(&file, format!("ops:{ALL}\nnew:{B}\nshort\n")).unwrap();
    let said = millstream.logged("tokens not read again", WITHIN).await;
    assert!(said.contains("line 3") && !said.contains(B), "{said}");
    let standing = get(&millstream, "/v1/status", ALL).await.json()["http"]["tokens"].clone();
    assert!(standing["error"].as_str().unwrap().contains("line 3"), "{standing}");
    assert_eq!(
        (
            get(&millstream, "/v1/status", B).await.status.as_u16(),
            get(&millstream, "/v1/status", &token).await.status.as_u16()
        ),
        (401, 200)
    );

    std::fs::write(&file, format!("ops:{ALL}\nscrape:{token}\nnew:{B}\n")).unwrap();
    becomes(B, 200).await;
    assert_eq!(get(&millstream, "/v1/status", ALL).await.json()["http"]["tokens"]["error"], Value::Null);
    let removed = command(&setup, &millstream, &["token", "rm", "new"]);
    assert_eq!(removed.code, 0, "{removed:?}");
    becomes(B, 401).await;
    millstream.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_commands_write_the_file_and_never_show_what_is_in_it() {
    let database = database().await;
    let (setup, millstream) = with(&database, &format!("# by hand\n{A} store=minio-a\nb:{B} store=minio-b")).await;
    let file = setup.scratch().join("tokens");
    let run = |arguments: &[&str]| command(&setup, &millstream, arguments);

    // Store tokens alone operate nothing, and it says so instead of showing none of them.
    for arguments in [&["pace", "--freeze"][..], &["pace"]] {
        let ran = run(arguments);
        assert_eq!(ran.code, 1, "{ran:?}");
        assert!(ran.err.contains("no token in") && ran.err.contains("has the duty operate and no limits"), "{ran:?}");
        assert!(ran.err.contains("millstream token add"), "{ran:?}");
    }
    let limited = run(&["status", "--json"]);
    assert_eq!((limited.code, &limited.json()["limited_to"]["store"]), (0, &json!("minio-a")), "{limited:?}");

    let shown = run(&["status"]);
    assert!(shown.code == 0 && shown.out.contains("token is for store minio-a only"), "{shown:?}");

    let added = run(&["token", "add", "ops", "--duties", "operate,read"]);
    let token = added.out.lines().next().unwrap().to_owned();
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let text = std::fs::read_to_string(&file).unwrap();
    assert_eq!(
        text,
        format!("# by hand\n{A} store=minio-a\nb:{B} store=minio-b\nops:{token} duties=read,operate\n")
            .replace("read,operate", "operate,read")
    );
    until("the new token to be known", WITHIN, || async { (run(&["pace", "--freeze"]).code == 0).then_some(()) }).await;

    let table = run(&["token", "ls"]);
    assert!(
        table.out.contains("ops") && table.out.contains("store=minio-b") && table.out.contains("read,operate"),
        "{table:?}"
    );
    let listed = run(&["token", "ls", "--json"]).json();
    assert_eq!(
        listed[0],
        json!({ "line": 2, "name": null, "duties": ["ingest", "read", "write", "delete", "metrics", "operate", "gateway"], "limits": { "store": "minio-a" } })
    );
    for (arguments, said) in [
        (&["token", "add", "ops"][..], "there is a token ops already"),
        (&["token", "add", "a b"], "a name"),
        (&["token", "add", "n", "--store", "UPPER"], "store=S"),
        (&["token", "add", "n", "--prefix", "a b"], "spaces"),
        (&["token", "rm", "nobody"], "there is no token nobody"),
        (&["token", "rm", "--line", "1"], "there is no token line 1"),
    ] {
        let ran = run(arguments);
        assert!(ran.code != 0 && ran.err.contains(said), "{arguments:?}: {ran:?}");
        let shown = format!("{}{}", ran.out, ran.err);
        assert!(![A, B, &token].iter().any(|token| shown.contains(*token)), "{ran:?}");
    }
    assert!(![A, B, &token].iter().any(|token| table.out.contains(*token)), "{table:?}");
    assert_eq!(run(&["token", "rm", "--line", "2"]).code, 0);
    assert_eq!(run(&["token", "rm", "b"]).code, 0);
    let last = run(&["token", "rm", "ops"]);
    assert!(last.code == 1 && last.err.contains("last token"), "{last:?}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), format!("# by hand\nops:{token} duties=operate,read\n"));
    // What is wrong with the file is found before a process is started with it.
    std::fs::write(&file, format!("ops:{token}\nshort\n")).unwrap();
    let looked = run(&["doctor"]);
    let line = looked.out.lines().find(|line| line.contains(" tokens ")).unwrap_or_else(|| panic!("{looked:?}"));
    assert!(looked.code == 1 && line.starts_with("FAIL") && line.contains("line 2"), "{looked:?}");
    assert!(!looked.out.contains(&token), "{looked:?}");
    std::fs::write(&file, format!("ops:{token}\n")).unwrap();
    millstream.finish().await;
}
