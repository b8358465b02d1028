//! One private cluster for the whole test run, one fresh migrated database for each test.
//!
//! A process of its own holds the cluster and watches its standard input: when the tests end, however they end, it
//! stops the server and removes everything. `MILLSTREAM_TEST_PG_BIN` names the programs of the PostgreSQL to test with.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use millstream_postgres::{Cluster, ClusterOptions};
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

/// The argument that makes the program under test hold the cluster.
pub const HOLD: &str = "hold-postgres";
/// Made once, copied for each test: a copy takes 50 ms, the migrations longer.
const TEMPLATE: &str = "migrated";

static SERVER: OnceLock<Server> = OnceLock::new();
static NUMBER: AtomicU32 = AtomicU32::new(0);

#[derive(Debug)]
struct Server {
    home: PathBuf,
    socket_dir: PathBuf,
    port: u16,
    /// Closed when this process ends, which tells the holder to clear up.
    holder: Mutex<ChildStdin>,
    _child: Child,
}

/// A fresh database with the product's schema, dropped with its handle unless the test failed.
#[derive(Debug)]
pub struct Database {
    /// Its name in the cluster; empty where it is not of the tests' own cluster.
    pub name: String,
    options: PgConnectOptions,
}

/// A fresh migrated database.
///
/// # Panics
/// If PostgreSQL cannot be started.
pub async fn database() -> Database {
    let name = format!("test_{}", NUMBER.fetch_add(1, Relaxed));
    let mut connection = PgConnection::connect_with(&options("postgres")).await.expect("connect to the test cluster");
    let create = format!("CREATE DATABASE {name} TEMPLATE {TEMPLATE}");
    sqlx::raw_sql(AssertSqlSafe(create)).execute(&mut connection).await.expect("make a database");
    Database { options: options(&name), name }
}

impl Database {
    /// The private cluster of a millstream that runs.
    ///
    /// # Panics
    /// If it does not run.
    pub fn private(data_dir: &Path) -> Database {
        let file = data_dir.join("postgres/data/postmaster.pid");
        let text = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("read {}: {error}", file.display()));
        let line = |number: usize| text.lines().nth(number).unwrap_or_default().trim();
        let options = PgConnectOptions::new_without_pgpass()
            .socket(line(4))
            .port(line(3).parse().expect("a port"))
            .username("millstream")
            .database("millstream")
            .ssl_mode(PgSslMode::Disable);
        Database { name: String::new(), options }
    }

    /// How to connect, over the socket.
    pub fn options(&self) -> PgConnectOptions {
        self.options.clone()
    }

    /// A connection of the test's own.
    ///
    /// # Panics
    /// If the server is away.
    pub async fn connect(&self) -> PgConnection {
        PgConnection::connect_with(&self.options.clone().application_name("test")).await.expect("connect")
    }

    /// The address as the configuration takes it, `postgres.url`.
    pub fn url(&self) -> String {
        let server = server();
        let host = server.socket_dir.to_str().expect("a path of text").replace('/', "%2F");
        format!("postgres://millstream@{host}:{}/{}", server.port, self.name)
    }

    /// The socket of the server, for a proxy.
    pub fn socket(&self) -> PathBuf {
        let server = server();
        server.socket_dir.join(format!(".s.PGSQL.{}", server.port))
    }

    /// The port of 127.0.0.1 where the server takes passwords, with TLS once [`crate::tls`] has switched it on.
    pub fn port(&self) -> u16 {
        server().port
    }

    /// The directory of the server's data, which belongs to the account that it runs as.
    pub fn data_dir(&self) -> PathBuf {
        server().home.join("data")
    }

    /// A role that may log in with a password; its name is unique among all tests.
    pub async fn role(&self, name: &str, password: &str) -> String {
        let role = format!("{}_{name}", self.name);
        self.execute(&format!("CREATE ROLE {role} LOGIN PASSWORD '{password}'")).await;
        role
    }

    /// A role that owns everything in the database, as a person would set it up: not a superuser, nothing there yet.
    pub async fn owner(&self, password: &str) -> String {
        let role = self.role("owner", password).await;
        self.execute("DROP SCHEMA analytics CASCADE; DROP SCHEMA millstream CASCADE").await;
        self.execute(&format!("ALTER DATABASE {} OWNER TO {role}", self.name)).await;
        role
    }

    /// Runs statements that return nothing.
    ///
    /// # Panics
    /// If PostgreSQL refuses them.
    pub async fn execute(&self, sql: &str) {
        let mut connection = self.connect().await;
        sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut connection).await.expect(sql);
    }

    /// Ends the sessions of all writers.
    ///
    /// # Panics
    /// If PostgreSQL refuses.
    pub async fn end_writers(&self) {
        let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                   WHERE datname = current_database() AND application_name = 'millstream writer'";
        self.execute(end).await;
    }

    /// The one value of a query, as a number.
    ///
    /// # Panics
    /// If there is none.
    pub async fn number(&self, sql: &str) -> i64 {
        let mut connection = self.connect().await;
        let query = sqlx::query_scalar(AssertSqlSafe(format!("SELECT ({sql})::bigint")));
        query.fetch_one(&mut connection).await.expect(sql)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // What a failed test leaves behind is evidence, for as long as the run lasts.
        if !self.name.is_empty()
            && !std::thread::panicking()
            && let Ok(mut holder) = server().holder.lock()
        {
            writeln!(holder, "{}", self.name).ok();
        }
    }
}

fn options(database: &str) -> PgConnectOptions {
    let server = server();
    PgConnectOptions::new_without_pgpass()
        .socket(&server.socket_dir)
        .port(server.port)
        .username("millstream")
        .database(database)
        .ssl_mode(PgSslMode::Disable)
}

fn server() -> &'static Server {
    SERVER.get_or_init(|| {
        let home = crate::scratch().keep();
        let mut command = Command::new(program());
        command.arg(HOLD).arg(&home).stdin(Stdio::piped()).stdout(Stdio::piped());
        // Out of reach of Ctrl-C and of `timeout`, which signal the whole group: it has to outlive us to clear up.
        command.process_group(0);
        if let Some(directory) = std::env::var_os("MILLSTREAM_TEST_PG_BIN") {
            command.env("MILLSTREAM_PG_BIN", directory);
        }
        let mut child = command.spawn().expect("start the holder of the cluster");
        let mut ready = String::new();
        let output = child.stdout.take().expect("piped above");
        BufReader::new(output).read_line(&mut ready).expect("read what the holder says");
        let (port, socket_dir) = ready.trim_end().split_once(' ').expect("the cluster did not start; see above");
        let port = port.parse().expect("a port");
        let version = std::fs::read_to_string(home.join("data/PG_VERSION")).expect("a cluster");
        println!("database: PostgreSQL {} in {}", version.trim_end(), home.display());
        let holder = Mutex::new(child.stdin.take().expect("piped above"));
        Server { home, socket_dir: socket_dir.into(), port, holder, _child: child }
    })
}

/// The program under test, beside the directory of the test binary.
///
/// # Panics
/// If it was not built, which `cargo test` always does first.
pub fn program() -> PathBuf {
    let test = std::env::current_exe().expect("know our own path");
    let directory = test.ancestors().nth(2).expect("a test binary lies in target/PROFILE/deps");
    let program = directory.join("millstream-under-test");
    assert!(program.is_file(), "{} is not there: cargo test builds it", program.display());
    program
}

/// The holder's own program: opens the cluster, makes the template, drops databases as told, clears up at the end.
pub fn hold() -> ExitCode {
    let home = std::env::args_os().nth(2).map(PathBuf::from).expect("a directory");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let held = runtime.block_on(hold_in(&home));
    std::fs::remove_dir_all(&home).ok();
    match held {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            writeln!(std::io::stderr(), "hold the test cluster: {error:#}").ok();
            ExitCode::FAILURE
        }
    }
}

/// TCP beside the socket, for tests of passwords, TLS and poolers.
async fn open_on_free_port(wanted: &mut ClusterOptions) -> Result<Cluster, Box<dyn std::error::Error>> {
    loop {
        wanted.pg_port = Some(crate::free_port()?);
        match Cluster::open(wanted).await {
            // Somebody was faster.
            Err(millstream_postgres::Error::PortTaken { .. }) => {}
            opened => return Ok(opened?),
        }
    }
}

async fn hold_in(home: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let mut wanted = ClusterOptions::new(home);
    wanted.durable = false;
    wanted.settings = [("max_connections", "100"), ("deadlock_timeout", "200ms")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec();
    let cluster = open_on_free_port(&mut wanted).await?;
    let options = cluster.options().database("postgres");
    let mut connection = PgConnection::connect_with(&options).await?;
    sqlx::raw_sql(AssertSqlSafe(format!("CREATE DATABASE {TEMPLATE}"))).execute(&mut connection).await?;
    let template = options.clone().database(TEMPLATE).into();
    millstream::migrate::apply(&template, Duration::from_secs(60)).await?;
    let socket_dir = options.get_socket().ok_or("a cluster without a socket")?;
    writeln!(std::io::stdout(), "{} {}", options.get_port(), socket_dir.display())?;
    // Ends when the tests do: nobody else has the other end of this pipe.
    for name in std::io::stdin().lines() {
        let drop = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", name?);
        sqlx::raw_sql(AssertSqlSafe(drop)).execute(&mut connection).await?;
    }
    connection.close().await?;
    cluster.close().await?;
    Ok(())
}
