//! Passwords stand in no log: not in ours at any level, not in the server's, whatever it is told to write down.

use millstream_tests::{Database, Setup, database};
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::{Connection as _, PgConnection};

use crate::config::{Ran, millstream};

const EVERYTHING: (&str, &str) = ("MILLSTREAM_LOG", "trace");

/// Runs a command with the settings of a setup, and all that can be logged.
fn command(setup: &Setup, arguments: &[&str]) -> Ran {
    let settings = setup.settings();
    let settings: Vec<&str> = settings.iter().flat_map(|setting| ["--set", setting]).collect();
    let common = ["--data-dir", setup.data_dir().to_str().unwrap(), "--listen", "127.0.0.1:1"];
    millstream(setup.scratch(), &[EVERYTHING], &[arguments, &settings, &common].concat())
}

/// The password that a command has shown.
fn shown(ran: &Ran) -> String {
    assert_eq!(ran.code, 0, "{ran:#?}");
    ran.json()["password"].as_str().unwrap().to_owned()
}

async fn logs_in(port: u16, user: &str, password: &str, database: &str) -> Result<(), String> {
    let options = PgConnectOptions::new_without_pgpass().host("127.0.0.1").port(port).username(user);
    let options = options.database(database).password(password).ssl_mode(PgSslMode::Disable);
    let connection = PgConnection::connect_with(&options).await;
    connection.map(drop).map_err(|error| error.as_database_error().unwrap().code().unwrap().into_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn passwords_of_a_private_cluster_stand_in_no_log() {
    let port = millstream_tests::free_port().unwrap();
    let setup = Setup::embedded()
        .set("postgres.settings.log_statement=all")
        .set("postgres.settings.log_min_duration_statement=0")
        .set(&format!("postgres.pg_port={port}"))
        .variable(EVERYTHING.0, EVERYTHING.1);
    let running = setup.start().await;
    let added = command(&setup, &["user", "add", "ana", "--role", "analyst", "--json"]);
    // A statement that fails is written down whatever the settings are.
    let again = command(&setup, &["user", "add", "ana", "--role", "analyst"]);
    assert!(again.code == 1 && again.err.contains("there is a role ana already"), "{again:#?}");
    let changed = command(&setup, &["user", "passwd", "ana", "--json"]);
    let first = shown(&added);
    let second = shown(&changed);
    assert_eq!(logs_in(port, "ana", &second, "millstream").await, Ok(()));
    for wrong in [&first, "wrong"] {
        assert_eq!(logs_in(port, "ana", wrong, "millstream").await, Err("28P01".to_owned()));
    }
    let own = std::fs::read_to_string(setup.data_dir().join("postgres/password")).unwrap();
    let log = std::fs::read_to_string(setup.data_dir().join("postgres/log")).unwrap();
    assert!(
        log.contains("CREATE ROLE ana") && log.contains("ALTER ROLE millstream PASSWORD"),
        "else it proves nothing"
    );
    let said = [running.log(), log, added.err, again.err, again.out, changed.err].join("\n");
    for secret in [&first, &second, own.trim()] {
        assert!(!said.contains(secret), "a password was logged");
    }
    // The driver's own log of statements, slow ones or all, holds whatever stands in them.
    let statements: Vec<&str> = said.lines().filter(|line| line.contains("sqlx::query")).collect();
    assert!(statements.is_empty(), "{statements:#?}");
    running.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_password_of_the_account_that_writes_stands_in_no_log() {
    let database: Database = database().await;
    let owner = database.owner("owners").await;
    database.execute(&format!("ALTER ROLE {owner} CREATEROLE")).await;
    database.execute(&format!("ALTER DATABASE {} SET log_statement = 'ddl'", database.name)).await;
    let name = &database.name;
    let role = format!("{}_writer", database.name);
    let port = database.port();
    let setup = Setup::embedded()
        .set(&format!("postgres.url=postgres://{role}@127.0.0.1:{port}/{name}"))
        .set(&format!("postgres.migrate_url=postgres://{owner}:owners@127.0.0.1:{port}/{name}"))
        .variable(EVERYTHING.0, EVERYTHING.1);
    // Written in two ways that clients take for one (RFC 4013), with what SQL would have to quote.
    let password = "it's \\ \u{2168} $ secret-of-the-writer";
    let file = setup.scratch().join("password");
    std::fs::write(&file, format!("{password}\n")).unwrap();
    let setup = setup.set(&format!("postgres.password_file={}", file.display()));
    let running = setup.start().await;
    assert_eq!(logs_in(port, &role, &password.replace('\u{2168}', "IX"), name).await, Ok(()));
    let kept = format!("SELECT (rolpassword LIKE 'SCRAM-SHA-256$4096:%')::int FROM pg_authid WHERE rolname = '{role}'");
    assert_eq!(database.number(&kept).await, 1);
    let log = std::fs::read_to_string(database.data_dir().parent().unwrap().join("log")).unwrap();
    assert!(log.contains(&format!("CREATE ROLE {role} LOGIN")), "else it proves nothing");
    assert!(!log.contains("secret-of-the-writer") && !running.log().contains("secret-of-the-writer"));
    running.finish().await;
}
