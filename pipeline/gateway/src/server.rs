//! The server: accepts connections of clients, and ends them in order.
//!
//! After the notice to stop it still accepts for a while, because load balancers need time to see it. Then idle
//! connections close, the others close after the response that they carry, and what is left after the drain time is cut
//! off: refused as `draining` where no head of a response was sent. Heads that come slowly or are too large are refused by hyper, before anything is looked up.

pub mod counters;
pub(crate) mod hints;
pub mod options;

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use self::counters::{Counters, Snapshot};
use self::hints::{Hints, Stream};
use self::options::Options;
use crate::edge::Edge;
use crate::forward::Forwarder;
use crate::forward::spawn::spawn;
use crate::table::Table;

/// After a failure to accept, such as a lack of file descriptors: long enough that connections end meanwhile.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How long connections that were cut off may take to end.
const CUT: Duration = Duration::from_secs(1);
/// How long a refusal may take that is made when the drain time is over.
const LAST: Duration = Duration::from_millis(100);

/// A gateway: serves the routes of a table.
#[derive(Debug, Clone)]
pub struct Gateway {
    edge: Arc<Edge>,
    /// Cuts off what still runs.
    end: CancellationToken,
}

/// How a server has stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// Connections that were cut off with what they carried.
    pub cut: usize,
}

/// What the tasks of connections share.
struct Connections {
    gateway: Gateway,
    permits: Arc<Semaphore>,
    /// Lets connections end after the response that they carry.
    closing: CancellationToken,
}

impl Gateway {
    /// A gateway that serves the routes of `table`.
    pub fn new(table: Arc<Table>, options: Options) -> Self {
        let end = CancellationToken::new();
        let forwarder = Forwarder::new(options, Arc::default(), end.clone());
        Self { edge: Arc::new(Edge { table, forwarder }), end }
    }

    /// The limits.
    pub fn options(&self) -> &Options {
        &self.edge.forwarder.options
    }

    /// The table.
    pub fn table(&self) -> &Arc<Table> {
        &self.edge.table
    }

    /// The counters, to be read at any time.
    pub fn counters(&self) -> &Arc<Counters> {
        &self.edge.forwarder.counters
    }

    /// The counters now.
    pub fn snapshot(&self) -> Snapshot {
        self.counters().snapshot()
    }

    /// Serves until `stop` is cancelled, and then drains. A gateway that was stopped does not serve again.
    pub async fn serve(&self, listener: TcpListener, stop: CancellationToken) -> Drained {
        let options = self.options();
        let max = options.connections_max.min(Semaphore::MAX_PERMITS >> 3);
        let connections = Connections {
            gateway: self.clone(),
            permits: Arc::new(Semaphore::new(max)),
            closing: CancellationToken::new(),
        };
        let notice = async {
            stop.cancelled().await;
            sleep(options.drain_notice).await;
        };
        tokio::select! {
            () = notice => (),
            never = connections.accept(&listener) => match never {},
        }
        drop(listener);
        connections.closing.cancel();
        let all = u32::try_from(max).unwrap_or(u32::MAX);
        let ended = || Arc::clone(&connections.permits).acquire_many_owned(all);
        if timeout(options.drain, ended()).await.is_ok() {
            self.end.cancel();
            return Drained { cut: 0 };
        }
        let cut = max - connections.permits.available_permits();
        self.end.cancel();
        // Their futures are dropped at their next look; those that do not end by then end with the process.
        drop(timeout(CUT, ended()).await);
        Drained { cut }
    }
}

impl Connections {
    /// Accepts while there are permits; without one, clients wait in the backlog.
    async fn accept(&self, listener: &TcpListener) -> std::convert::Infallible {
        loop {
            let Ok(permit) = Arc::clone(&self.permits).acquire_owned().await else {
                // The semaphore is never closed.
                std::future::pending::<()>().await;
                continue;
            };
            match listener.accept().await {
                Ok((stream, peer)) => self.begin(stream, peer, permit),
                Err(error) if is_of_connection(&error) => (),
                Err(error) => {
                    tracing::warn!(%error, "accepting a connection failed");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn begin(&self, stream: TcpStream, peer: SocketAddr, permit: OwnedSemaphorePermit) {
        if stream.set_nodelay(true).is_err() {
            // The client is gone already.
            return;
        }
        let gateway = self.gateway.clone();
        let closing = self.closing.clone();
        spawn(async move {
            let hints = Arc::new(Hints::default());
            let stream = Stream::new(stream, Arc::clone(&hints), permit);
            serve_one(&gateway, stream, peer, hints, closing).await;
        });
    }
}

/// Serves one connection until it ends.
async fn serve_one(gateway: &Gateway, stream: Stream, peer: SocketAddr, hints: Arc<Hints>, closing: CancellationToken) {
    let options = gateway.options();
    let service = service_fn(move |request| {
        let edge = Arc::clone(&gateway.edge);
        let hints = Arc::clone(&hints);
        async move { Ok::<_, std::convert::Infallible>(edge.answer(peer, hints, request).await) }
    });
    let mut builder = Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(options.head_read);
    builder.max_headers(options.headers_max).max_header_size(options.head_bytes_max);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service).with_upgrades());
    tokio::select! {
        ended = connection.as_mut() => return note(ended),
        () = closing.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    tokio::select! {
        ended = connection.as_mut() => return note(ended),
        () = gateway.end.cancelled() => (),
    }
    // Time for a last refusal to leave; a response that runs is cut off with it.
    drop(timeout(LAST, connection).await);
}

/// Clients end connections as they like: that is no more than a line for whoever looks for it.
fn note(ended: hyper::Result<()>) {
    if let Err(error) = ended {
        tracing::debug!(%error, "connection of a client ended");
    }
}

/// Whether a failure to accept is about the one connection.
fn is_of_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}
