//! A server is believed only if its certificate is by the right authority and for its name.

use super::*;
use millstream_tests::{Model, compare, database, tls};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_is_verified_by_authority_and_name() {
    let database = database().await;
    let Some(authority) = tls::switch_on(&database).await else { return };
    let role = database.owner("secret").await;
    let at = |host: &str, ca: &std::path::Path| {
        let url = format!("postgres://{role}:secret@{host}:{}/{}", database.port(), database.name);
        let tls = format!("postgres.tls={{ mode = \"verify-full\", ca = \"{}\" }}", ca.display());
        Setup::embedded().set(&format!("postgres.url={url}")).set(&tls)
    };
    let setup = at("localhost", &authority.ca);
    let running = setup.start().await;
    let events = Generator::new("tls").events(500);
    post_and_wait(&running, &events).await;
    compare(&database, &Model::of(&events)).await;
    assert!(running.get("/v1/buckets/uploads/count").await.status.is_success());
    let ours = format!("FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE usename = '{role}'");
    assert!(database.number(&format!("SELECT count(*) {ours}")).await >= 2, "writers and readers");
    assert_eq!(database.number(&format!("SELECT count(*) {ours} AND NOT ssl")).await, 0, "all of them encrypted");
    let found = doctor(&setup, "tls");
    assert!(found.starts_with("ok: TLSv1") && found.contains("verified by certificate and name"), "{found}");
    running.finish().await;

    for (host, ca, says) in [
        ("localhost", &authority.stranger, "postgres.tls: no authority of `ca`"),
        ("127.0.0.1", &authority.ca, "postgres.tls: the certificate of 127.0.0.1:"),
        ("localhost", &database.data_dir().join("no-such-file"), "postgres.tls: cannot read "),
    ] {
        let wrong = at(host, ca);
        let ran = command(&wrong, &["run"]);
        assert!(ran.code != 0 && ran.err.contains(says), "{says}: {ran:#?}");
        if ran.code == 1 {
            let found = doctor(&wrong, "postgres");
            assert!(found.starts_with("FAIL: ") && found.contains(says), "{found}");
        }
    }
    // Without the setting, the address is what is to be mended.
    let url = format!("postgres://{role}:secret@127.0.0.1:{}/{}", database.port(), database.name);
    let ca = authority.ca.display();
    let ran =
        command(&Setup::embedded().set(&format!("postgres.url={url}?sslmode=verify-full&sslrootcert={ca}")), &["run"]);
    assert!(ran.err.contains("is for other names than 127.0.0.1: use one of those in postgres.url"), "{ran:#?}");
}

/// A real server that speaks no TLS: the private one of another millstream.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_without_tls_is_refused() {
    let port = millstream_tests::free_port().unwrap();
    let other = Setup::embedded().set(&format!("postgres.pg_port={port}"));
    let running = other.start().await;
    let password = std::fs::read_to_string(other.data_dir().join("postgres/password")).unwrap();
    let url = format!("postgres.url=postgres://millstream:{}@127.0.0.1:{port}/millstream", password.trim());
    let plain = command(&Setup::embedded().set(&url), &["quarantine", "ls"]);
    assert_eq!(plain.code, 0, "{plain:#?}");
    let ran = command(&Setup::embedded().set(&url).set("postgres.tls.mode=verify-full"), &["run"]);
    assert_eq!(ran.code, 1, "{ran:#?}");
    assert!(ran.err.contains(&format!("postgres.tls: 127.0.0.1:{port} has no usable TLS")), "{ran:#?}");
    assert!(!ran.err.contains(password.trim()), "{ran:#?}");
    running.finish().await;
}
