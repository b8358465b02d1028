//! A dry run changes nothing, and a migration is made once.

use millstream_tests::{Setup, database};

use super::{command, contents, event, with_refused};

#[tokio::test]
async fn dry_runs_change_nothing() {
    let database = database().await;
    let setup = Setup::new(&database);
    with_refused(&database, &setup, &[event("in/a", 1, 666), event("in/b", 1, 5)], 1).await;
    let before = contents(&database).await;
    for arguments in [
        &["migrate", "--dry-run"][..],
        &["quarantine", "redrive", "--all", "--dry-run"],
        &["quarantine", "purge", "--all", "--dry-run"],
        &["positions", "reset", "--pipeline", "objects", "--to", "latest", "--dry-run"],
        &["positions", "reset", "--pipeline", "objects", "--to", "earliest", "--dry-run"],
    ] {
        let ran = command(&database, &setup, arguments);
        assert!(ran.code <= 1 && !ran.out.is_empty(), "{ran:#?}");
        assert_eq!(contents(&database).await, before, "{arguments:?} changed something");
    }
    let purged = command(&database, &setup, &["quarantine", "purge", "--all"]);
    assert_eq!((purged.code, purged.out.as_str()), (0, "1 rows removed\n"));
    assert_eq!(database.number("SELECT count(*) FROM millstream.quarantine").await, 0);
}

#[tokio::test]
async fn migrate_says_what_it_would_do_and_does_it_once() {
    let database = database().await;
    let here = Setup::embedded();
    database.execute("DROP SCHEMA analytics CASCADE; DROP SCHEMA millstream CASCADE").await;
    let dry = command(&database, &here, &["migrate", "--dry-run"]);
    assert!(dry.code == 0 && dry.out.contains("CREATE TABLE millstream.objects"), "{dry:#?}");
    let refused = command(&database, &here, &["quarantine", "ls"]);
    assert!(refused.code == 1 && refused.err.contains("millstream migrate"), "{refused:#?}");
    assert_eq!(database.number("SELECT count(*) FROM pg_namespace WHERE nspname = 'millstream'").await, 0);
    let done = command(&database, &here, &["migrate"]);
    assert!(done.code == 0 && done.out.contains("applied 1"), "{done:#?}");
    let again = command(&database, &here, &["migrate"]);
    assert_eq!(again.out, "nothing to do: the schema is up to date\n");
}
