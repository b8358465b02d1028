//! A proxy before PostgreSQL that swallows every notice, and nothing else.
//!
//! A message of the server is a type byte and a length (PostgreSQL manual, "Message Formats"); `A` is a notice of NOTIFY.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use millstream_engine::task;
use millstream_tests::Database;
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixStream};

/// Its parts; ends with the test.
#[derive(Debug)]
pub(crate) struct Deaf {
    pub(crate) options: PgConnectOptions,
    swallowed: Arc<AtomicU64>,
    acceptor: tokio::task::JoinHandle<()>,
}

impl Drop for Deaf {
    fn drop(&mut self) {
        self.acceptor.abort();
    }
}

impl Deaf {
    pub(crate) async fn start(database: &Database) -> Deaf {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let options = PgConnectOptions::new_without_pgpass().host("127.0.0.1").port(port).username("millstream");
        let options = options.database(&database.name).ssl_mode(PgSslMode::Disable);
        let swallowed = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&swallowed);
        let socket = database.socket();
        let acceptor = task::spawn("deaf proxy", async move {
            while let Ok((client, _)) = listener.accept().await {
                let serving = serve(client, socket.clone(), Arc::clone(&count));
                drop(task::spawn("deaf connection", serving));
            }
        });
        Deaf { options, swallowed, acceptor }
    }

    /// Notices that were swallowed.
    pub(crate) fn swallowed(&self) -> u64 {
        self.swallowed.load(SeqCst)
    }
}

async fn serve(client: TcpStream, socket: PathBuf, swallowed: Arc<AtomicU64>) {
    let Ok(server) = UnixStream::connect(&socket).await else { return };
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let down = async {
        loop {
            let mut head = [0; 5];
            from_server.read_exact(&mut head).await?;
            let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
            let mut body = vec![0; length - 4];
            from_server.read_exact(&mut body).await?;
            if head[0] == b'A' {
                swallowed.fetch_add(1, SeqCst);
                continue;
            }
            to_client.write_all(&[&head[..], &body].concat()).await?;
        }
    };
    let down: std::pin::Pin<Box<dyn Future<Output = std::io::Result<()>> + Send>> = Box::pin(down);
    tokio::select! {
        _ = down => {}
        _ = tokio::io::copy(&mut from_client, &mut to_server) => {}
    }
}
