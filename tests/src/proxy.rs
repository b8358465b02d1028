//! Between a writer and PostgreSQL: cuts the connection at a chosen moment, or lets nothing through.
//!
//! Reads as much of the protocol as it needs to see a COMMIT pass: the start-up message, then messages of a type byte
//! and a length (PostgreSQL manual, "Frontend/Backend Protocol", "Message Formats").

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};

use millstream_engine::task;
use sqlx::postgres::PgConnectOptions;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;

use crate::database::Database;

/// What happens to a connection when a COMMIT comes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Nothing.
    Never,
    /// It is cut, and PostgreSQL never sees the COMMIT.
    Before,
    /// The COMMIT is sent and the connection cut at once: nobody knows.
    During,
    /// PostgreSQL has committed and answered, and the answer is lost.
    After,
}

type Plan = Box<dyn Fn(u64) -> Cut + Send + Sync>;

struct Shared {
    socket: PathBuf,
    /// What to do at the COMMIT of this number, counted from 0.
    plan: Mutex<Plan>,
    commits: AtomicU64,
    savepoints: AtomicU64,
    cuts: AtomicU64,
    /// Bytes to PostgreSQL after which a connection is cut; 0 for never.
    bytes_left: AtomicU64,
    /// Whether the next rows of a COPY close the way.
    stall_in_copy: AtomicBool,
    open: watch::Sender<bool>,
}

/// A running proxy; ends with its handle.
pub struct Proxy {
    shared: Arc<Shared>,
    address: SocketAddr,
    options: PgConnectOptions,
    acceptor: tokio::task::JoinHandle<()>,
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.acceptor.abort();
        // Ends the connections that wait.
        self.shared.open.send_replace(true);
    }
}

impl Proxy {
    /// In front of a test database.
    ///
    /// # Panics
    /// If there is no free port.
    pub async fn start(database: &Database) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared {
            socket: database.socket(),
            plan: Mutex::new(Box::new(|_| Cut::Never)),
            commits: AtomicU64::new(0),
            savepoints: AtomicU64::new(0),
            cuts: AtomicU64::new(0),
            bytes_left: AtomicU64::new(0),
            stall_in_copy: AtomicBool::new(false),
            open: watch::Sender::new(true),
        });
        let own = Arc::clone(&shared);
        let acceptor = task::spawn("proxy", async move {
            while let Ok((client, _)) = listener.accept().await {
                drop(task::spawn("proxied connection", serve(client, Arc::clone(&own))));
            }
        });
        let name = &database.name;
        let options = PgConnectOptions::new_without_pgpass()
            .host("127.0.0.1")
            .port(address.port())
            .username("millstream")
            .database(name)
            .ssl_mode(sqlx::postgres::PgSslMode::Disable);
        Proxy { shared, address, options, acceptor }
    }

    /// How to connect through it.
    pub fn options(&self) -> PgConnectOptions {
        self.options.clone()
    }

    /// The address as the configuration takes it, `postgres.url`.
    pub fn url(&self) -> String {
        let database = self.options.get_database().expect("named above");
        format!("postgres://millstream@{}/{database}", self.address)
    }

    /// Says what happens at each COMMIT, by its number from 0.
    pub fn at_commit(&self, plan: impl Fn(u64) -> Cut + Send + Sync + 'static) {
        *self.shared.plan.lock().unwrap_or_else(PoisonError::into_inner) = Box::new(plan);
    }

    /// Cuts the connection that brings the total of bytes to PostgreSQL, from now on, past this number; once.
    pub fn cut_after_bytes(&self, bytes: u64) {
        self.shared.bytes_left.store(bytes.max(1), SeqCst);
    }

    /// Lets nothing through any more, in either direction, and cuts nothing.
    pub fn stall(&self) {
        self.shared.open.send_replace(false);
    }

    /// Stalls as soon as a COPY has begun, before its first rows arrive.
    pub fn stall_in_copy(&self) {
        self.shared.stall_in_copy.store(true, SeqCst);
    }

    /// Lets everything through again.
    pub fn resume(&self) {
        self.shared.open.send_replace(true);
    }

    /// COMMITs seen.
    pub fn commits(&self) -> u64 {
        self.shared.commits.load(SeqCst)
    }

    /// Savepoints seen.
    pub fn savepoints(&self) -> u64 {
        self.shared.savepoints.load(SeqCst)
    }

    /// Connections cut.
    pub fn cuts(&self) -> u64 {
        self.shared.cuts.load(SeqCst)
    }
}

/// One connection, until either side leaves or it is cut.
async fn serve(mut client: TcpStream, shared: Arc<Shared>) {
    let Ok(mut server) = UnixStream::connect(&shared.socket).await else { return };
    let mut open = shared.open.subscribe();
    let mut unread: Vec<u8> = Vec::new();
    let mut started = false;
    let mut up = vec![0; 64 * 1024];
    let mut down = vec![0; 64 * 1024];
    loop {
        if open.wait_for(|open| *open).await.is_err() {
            return;
        }
        tokio::select! {
            read = client.read(&mut up) => {
                let Ok(count @ 1..) = read else { return };
                unread.extend_from_slice(up.get(..count).unwrap_or_default());
                while let Some(message) = message(&mut unread, &mut started) {
                    if message.starts_with(b"d") && shared.stall_in_copy.swap(false, SeqCst) {
                        shared.open.send_replace(false);
                    }
                    if open.wait_for(|open| *open).await.is_err() {
                        return;
                    }
                    if forward(&shared, &mut server, &message).await.is_none() {
                        shared.cuts.fetch_add(1, SeqCst);
                        return;
                    }
                }
            }
            read = server.read(&mut down) => {
                let Ok(count @ 1..) = read else { return };
                // Stalled while it was on its way: it waits here.
                if open.wait_for(|open| *open).await.is_err() {
                    return;
                }
                if client.write_all(down.get(..count).unwrap_or_default()).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// Takes one whole message off the bytes read so far.
fn message(unread: &mut Vec<u8>, started: &mut bool) -> Option<Vec<u8>> {
    let head = usize::from(*started);
    let length: [u8; 4] = unread.get(head..head + 4)?.try_into().ok()?;
    let end = head + u32::from_be_bytes(length) as usize;
    if unread.len() < end {
        return None;
    }
    *started = true;
    Some(unread.drain(..end).collect())
}

/// Sends a message on; `None` says that the connection is to be cut.
async fn forward(shared: &Shared, server: &mut UnixStream, message: &[u8]) -> Option<()> {
    let query = message.strip_prefix(b"Q").and_then(|rest| rest.get(4..)).unwrap_or_default();
    if query.starts_with(b"SAVEPOINT") {
        shared.savepoints.fetch_add(1, SeqCst);
    }
    let length = message.len() as u64;
    let counting = shared.bytes_left.fetch_update(SeqCst, SeqCst, |left| match left {
        0 => None,
        left if left <= length => Some(0),
        left => Some(left - length),
    });
    if let Ok(left) = counting
        && left <= length
    {
        let part = message.get(..left as usize).unwrap_or_default();
        server.write_all(part).await.ok();
        return None;
    }
    let mut cut = Cut::Never;
    if query.starts_with(b"COMMIT") {
        let number = shared.commits.fetch_add(1, SeqCst);
        cut = (shared.plan.lock().unwrap_or_else(PoisonError::into_inner))(number);
    }
    if cut == Cut::Before {
        return None;
    }
    server.write_all(message).await.ok()?;
    match cut {
        Cut::Never => Some(()),
        Cut::After => {
            // PostgreSQL answers only once the commit has taken effect.
            server.read_u8().await.ok();
            None
        }
        Cut::Before | Cut::During => None,
    }
}
