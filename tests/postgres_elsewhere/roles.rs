//! Accounts: made and granted by millstream, or by somebody else from what millstream prints, and no more than that.

use super::*;
use millstream_tests::{Model, compare, database};

/// A database as a careful owner has it: nobody may do anything there.
async fn shut(database: &Database) {
    database
        .execute(&format!(
            "REVOKE ALL ON DATABASE {} FROM PUBLIC; REVOKE ALL ON SCHEMA public FROM PUBLIC",
            database.name
        ))
        .await;
    database.execute("REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA millstream FROM PUBLIC").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_existing_account_with_the_printed_grants_can_do_all_the_work_and_no_more() {
    let database = database().await;
    shut(&database).await;
    let role = database.role("app", "secret").await;
    let setup = setup(&database, &format!("{role}:secret"), database.port(), "").set("postgres.roles=existing");
    let refused = command(&setup, &["run"]);
    assert_eq!(refused.code, 1, "{refused:#?}");

    let printed = command(&setup, &["migrate", "--grants"]);
    assert_eq!(printed.code, 0, "{printed:#?}");
    let mut grants: Vec<&str> = printed.out.lines().filter(|line| line.starts_with("GRANT ")).collect();
    // All but one: what is missing is told with the statement that mends it.
    let last = grants.iter().position(|grant| grant.contains("millstream.slot ")).unwrap();
    let last = grants.remove(last);
    database.execute(&grants.join("\n")).await;
    let refused = command(&setup, &["run"]);
    assert!(refused.code == 1 && refused.err.contains(last) && !refused.err.contains(grants[3]), "{refused:#?}");
    let found = doctor(&setup, "grants");
    assert_eq!(found, format!("FAIL: 1 missing -> {last}"));
    database.execute(last).await;

    let running = setup.start().await;
    let events = Generator::new("existing").events(1_000);
    post_and_wait(&running, &events).await;
    compare(&database, &Model::of(&events)).await;
    let paths = [
        "/v1/buckets",
        "/v1/buckets/uploads/count",
        "/v1/buckets/uploads/count?size_min=1",
        "/v1/buckets/uploads/objects?prefix=in/",
    ];
    for path in paths {
        let answer = running.get(path).await;
        assert!(answer.status.is_success(), "{path}: {}", answer.text());
    }
    running.finish().await;
    for arguments in [
        &["quarantine", "ls"][..],
        &["positions", "reset", "--pipeline", "objects", "--to", "earliest"],
        &["quarantine", "purge", "--all"],
        &["migrate"],
    ] {
        let ran = command(&setup, arguments);
        assert_eq!(ran.code, 0, "{arguments:?}: {ran:#?}");
    }
    a_user_is_printed_and_not_made(&database, &setup).await;

    // Reading everything again changes nothing, and shows that the position was moved.
    let running = setup.start().await;
    running.caught_up(WITHIN).await;
    compare(&database, &Model::of(&events)).await;
    running.finish().await;

    may_do_no_more(&database, &role).await;
}

/// What it may not do is printed for somebody who may.
async fn a_user_is_printed_and_not_made(database: &Database, setup: &Setup) {
    let analyst = format!("{}_ana", database.name);
    let printed = command(setup, &["user", "add", &analyst, "--role", "analyst"]);
    assert_eq!(printed.code, 0, "{printed:#?}");
    let there = format!("SELECT count(*) FROM pg_roles WHERE rolname = '{analyst}'");
    assert_eq!(database.number(&there).await, 0);
    database.execute(&printed.out).await;
    assert_eq!(database.number(&there).await, 1);
}

async fn may_do_no_more(database: &Database, role: &str) {
    let account = database
        .number(&format!(
            "SELECT count(*) FROM pg_roles WHERE rolname = '{role}' AND (rolsuper OR rolcreaterole OR rolcreatedb)"
        ))
        .await;
    assert_eq!(account, 0);
    let may = |what: &str| format!("SELECT ({})::int", what.replace("ROLE", &format!("'{role}'")));
    for forbidden in [
        "has_schema_privilege(ROLE, 'millstream', 'CREATE')",
        "has_database_privilege(ROLE, current_database(), 'CREATE')",
        "has_table_privilege(ROLE, 'millstream.objects', 'DELETE')",
        "has_table_privilege(ROLE, 'millstream.objects', 'TRUNCATE')",
        "has_table_privilege(ROLE, 'millstream.migration', 'INSERT')",
    ] {
        assert_eq!(database.number(&may(forbidden)).await, 0, "{forbidden}");
    }
}

/// What a role may not see is missing, not zero; and nothing fails for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_account_cannot_see_is_missing_and_not_zero() {
    let database = database().await;
    let role = database.owner("secret").await;
    let setup = setup(&database, &format!("{role}:secret"), database.port(), "");
    let running = setup.start().await;
    let events = Generator::new("unseen").events(300);
    post_and_wait(&running, &events).await;
    compare(&database, &Model::of(&events)).await;

    let found = doctor(&setup, "signals");
    assert!(found.starts_with("note: the load of other sessions is unknown"), "{found}");
    let grant = found.split_once("GRANT ").map(|(_, grant)| format!("GRANT {grant}")).unwrap();
    // The test cluster runs without fsync, which is rightly called a failure.
    let failures = checks(&setup).into_iter().filter(|(part, line)| line.starts_with("FAIL") && part != "durability");
    assert_eq!(failures.collect::<Vec<_>>(), [], "nothing else fails");
    database.execute(&grant).await;
    let found = doctor(&setup, "signals");
    assert!(found.starts_with("ok: ") && found.contains("other sessions at work"), "{found}");
    running.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn accounts_are_made_by_the_owner_that_is_named() {
    let database = database().await;
    let owner = database.owner("owners").await;
    database.execute(&format!("ALTER ROLE {owner} CREATEROLE")).await;
    let name = &database.name;
    let role = format!("{}_writer", database.name);
    let migrate = format!("postgres.migrate_url=postgres://{owner}:owners@127.0.0.1:{}/{name}", database.port());
    let setup = setup(&database, &role, database.port(), "").set(&migrate);
    let file = setup.scratch().join("password");
    std::fs::write(&file, "it's \\ secret\n").unwrap();
    let setup = setup.set(&format!("postgres.password_file={}", file.display()));
    database.execute(&format!("REVOKE ALL ON DATABASE {name} FROM PUBLIC")).await;

    // Twice, because the second start finds everything there.
    let events = Generator::new("created").events(600);
    for part in events.chunks(300) {
        let running = setup.start().await;
        post_and_wait(&running, part).await;
        let writing = format!("SELECT count(*) FROM pg_stat_activity WHERE usename = '{role}'");
        assert!(database.number(&writing).await >= 2, "writers and readers use the account that was made");
        running.finish().await;
    }
    compare(&database, &Model::of(&events)).await;
    let found = doctor(&setup, "grants");
    assert!(found.starts_with("ok: "), "{found}");
    assert_eq!(
        database.number(&format!("SELECT has_table_privilege('{role}', 'millstream.objects', 'DELETE')::int")).await,
        0
    );

    // An owner that may not make roles is told so, with both ways out.
    database.execute(&format!("ALTER ROLE {owner} NOCREATEROLE")).await;
    let other = Setup::embedded()
        .set(&format!("postgres.url=postgres://{role}_2:x@127.0.0.1:{}/{name}", database.port()))
        .set(&migrate);
    let ran = command(&other, &["run"]);
    assert!(
        ran.code == 1 && ran.err.contains("CREATEROLE") && ran.err.contains("postgres.roles = \"existing\""),
        "{ran:#?}"
    );
}
