//! The program that opens a cluster: this test binary, started again, told what to do through its standard input.

use std::io::BufRead;
use std::path::PathBuf;

use millstream_postgres::{Cluster, ClusterOptions};
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection, Row};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

/// Names the home; without it this is no program but one test among many.
pub(crate) const HOME: &str = "MILLSTREAM_TEST_HOME";
pub(crate) const PORT: &str = "MILLSTREAM_TEST_PORT";
pub(crate) const DURABLE: &str = "MILLSTREAM_TEST_DURABLE";
/// What a line of the program's begins with, among those of the test runner.
pub(crate) const MARK: &str = "program: ";

#[test]
fn program() {
    let Some(home) = std::env::var_os(HOME) else { return };
    let options = ClusterOptions {
        pg_port: std::env::var(PORT).ok().map(|port| port.parse().unwrap()),
        durable: std::env::var_os(DURABLE).is_some(),
        ..ClusterOptions::new(PathBuf::from(home))
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    match runtime.block_on(run(&options)) {
        Ok(()) => say("ended"),
        Err(error) => say(&format!("error {error}")),
    }
    std::process::exit(0);
}

fn say(line: &str) {
    // One line each, and at once: the other side waits for it.
    println!("{MARK}{}", line.replace('\n', "\\n"));
}

async fn run(options: &ClusterOptions) -> Result<(), millstream_postgres::Error> {
    let mut orders = orders();
    // Before anyone can be told that the program is there, and press Ctrl-C.
    let mut interrupts = signal(SignalKind::interrupt()).unwrap();
    let mut cluster = Cluster::open(options).await?;
    say(&format!("opened {}", cluster.server_pid().unwrap_or(0)));
    loop {
        let order = tokio::select! {
            order = orders.recv() => order,
            _ = interrupts.recv() => Some("drain".to_owned()),
        };
        let order = order.unwrap_or_default();
        match order.split_once(' ').unwrap_or((&order, "")) {
            ("ask", sql) => say(&answer(&cluster, sql).await),
            ("ensure", _) => {
                cluster.ensure().await?;
                say(&format!("ensured {}", cluster.server_pid().unwrap_or(0)));
            }
            ("psql", _) => say(&cluster.psql_line()),
            ("url", _) => say(&cluster.tcp_url().unwrap_or_default()),
            ("drain", _) => {
                say(&answer(&cluster, "SELECT 'drained'").await);
                say(&format!("closed {}", cluster.close().await?));
                return Ok(());
            }
            ("close", _) => {
                say(&format!("closed {}", cluster.close().await?));
                return Ok(());
            }
            ("panic", _) => panic!("as it was told"),
            // An error somewhere else in the program, or its input ended: the cluster is only dropped.
            _ => return Ok(()),
        }
    }
}

async fn answer(cluster: &Cluster, sql: &str) -> String {
    let ask = async {
        let mut connection = PgConnection::connect_with(&cluster.options()).await?;
        let row = sqlx::query(AssertSqlSafe(sql.to_owned())).fetch_optional(&mut connection).await?;
        let text = row.map(|row| row.try_get::<String, _>(0)).transpose()?;
        connection.close().await?;
        Ok::<_, sqlx::Error>(text.unwrap_or_default())
    };
    match ask.await {
        Ok(text) => format!("answer {text}"),
        Err(error) => format!("answer failed: {error}"),
    }
}

/// The lines of the standard input, read on a thread of their own because that cannot be cancelled.
fn orders() -> mpsc::Receiver<String> {
    let (tx, rx) = mpsc::channel(1);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            let Ok(line) = line else { return };
            if tx.blocking_send(line).is_err() {
                return;
            }
        }
    });
    rx
}
