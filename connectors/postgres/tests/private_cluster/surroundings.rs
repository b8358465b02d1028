//! Programs that are missing, variables that mean other servers, paths that are too long.

use std::fs;
use std::net::TcpListener;

use crate::stage::{Home, is_root, possible, skip};

#[test]
fn a_home_too_long_for_a_socket_gets_one_in_tmp() {
    let home = Home::fresh();
    let path = home.place.path().join("d".repeat(90)).join("home");
    let home = home.moved(path);
    let mut first = home.start();
    let mut second = home.start();
    let server = first.opened();
    assert_eq!(second.opened(), server);
    let line = first.tell("psql");
    assert!(line.starts_with("psql -h /tmp/millstream-"), "{line}");
    assert_eq!(first.ask("SELECT 'on'"), "on");
    assert!(!first.close());
    assert!(second.close());
}

#[test]
fn variables_for_other_servers_change_nothing() {
    let home = Home::made();
    // Taken where it is free; in either case it is not ours.
    let _taken = TcpListener::bind("127.0.0.1:5432");
    let mut stage = home.program().set("LANG", "de_DE.UTF-8").set("LC_ALL", "").set("NOTIFY_SOCKET", "/nowhere");
    for (name, value) in [
        ("PGHOST", "db.example.com"),
        ("PGHOSTADDR", "192.0.2.1"),
        ("PGPORT", "6432"),
        ("PGUSER", "somebody"),
        ("PGPASSWORD", "secret"),
        ("PGDATABASE", "somewhere"),
        ("PGDATA", "/nowhere"),
        ("PGSSLMODE", "require"),
        ("PGSSLROOTCERT", "/nowhere"),
        ("PGAPPNAME", "another"),
    ] {
        stage = stage.set(name, value);
    }
    let mut program = stage.start();
    program.opened();
    assert_eq!(program.ask("SELECT current_user || ' ' || current_database()"), "millstream millstream");
    assert_eq!(program.ask("SHOW application_name"), "millstream");
    // Nor do they reach the server, whose own programs (an archive command, a copy) may be clients of others.
    assert_eq!(program.ask("CREATE TABLE variables (line text)"), "");
    assert_eq!(program.ask("COPY variables FROM PROGRAM 'env'"), "");
    let ours =
        "SELECT coalesce(string_agg(line, ' '), '') FROM variables WHERE line ~ '^(PG(HOST|PASS|SSL|USER)|NOTIFY)'";
    assert_eq!(program.ask(ours), "");
    assert!(program.close());
    let said = home.program().set("PGOPTIONS", "-c synchronous_commit=off").start().refused();
    assert!(said.contains("env -u PGOPTIONS"), "{said}");
}

#[test]
fn the_programs_of_another_major_version_are_not_used() {
    let home = Home::made();
    fs::write(home.path().join("data/PG_VERSION"), "9\n").unwrap();
    let said = home.program().unset("MILLSTREAM_PG_BIN").start().refused();
    assert!(said.starts_with("PostgreSQL 9 made this cluster, and only PostgreSQL "), "{said}");
    assert!(said.contains("Install PostgreSQL 9 (") && said.contains("postgresql-major-version.md"), "{said}");
}

#[test]
fn a_machine_without_postgresql_is_told_what_to_do() {
    if !(is_root() && possible(&["unshare", "-m", "true"])) {
        return skip("needs root and a mount namespace");
    }
    let home = Home::fresh();
    let hide = "for d in /usr/lib/postgresql /usr/libexec/postgresql* /usr/local/pgsql*; \
                do if [ -d \"$d\" ]; then mount -t tmpfs none \"$d\" || exit 1; fi; done; exec \"$0\" \"$@\"";
    let stage = home.program().wrap(&["unshare", "-m", "sh", "-c", hide]);
    let said = stage.set("PATH", "/usr/bin:/bin:/usr/sbin:/sbin").unset("MILLSTREAM_PG_BIN").start().refused();
    assert!(
        said.starts_with("this machine has no PostgreSQL server (looked in PATH, /usr/lib/postgresql/*/bin"),
        "{said}"
    );
    for way in ["apt-get install postgresql", "MILLSTREAM_PG_BIN=", "--set postgres.url=postgres://"] {
        assert!(said.contains(way), "{said}");
    }
}

#[test]
fn a_named_directory_without_the_programs_is_refused() {
    let home = Home::fresh();
    let said = home.program().set("MILLSTREAM_PG_BIN", "/usr/bin").start().refused();
    assert_eq!(said, "MILLSTREAM_PG_BIN=/usr/bin holds no postgres, initdb");
}

#[test]
fn a_setting_that_postgresql_refuses_is_told_with_its_log() {
    let home = Home::made();
    fs::write(home.path().join("data/postgresql.auto.conf"), "shared_memory_type = 'nonsense'\n").unwrap();
    let said = home.start().refused();
    assert!(said.starts_with("PostgreSQL does not answer (exit status: 1)"), "{said}");
    assert!(said.contains("shared_memory_type") && said.contains("home/log says:"), "{said}");
    assert!(home.is_unused());
}
