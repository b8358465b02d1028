//! Connections: a bounded number, each with a limit on how long a client may keep it without saying anything.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use millstream_engine::task;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Open connections; more wait to be accepted. Each has a buffer of up to [`BUFFER_BYTES_MAX`] and a file descriptor,
/// of which processes usually have 1,024: the rest is for the stream and the database.
const CONNECTIONS_MAX: usize = 512;
/// How long the head of a request may take, and a connection lie idle. Longer than clients keep theirs in a pool would
/// be pointless; much shorter cuts slow networks off.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);
/// The buffer that a head must fit into. Larger heads are answered 431; bodies are read through it, so that much less
/// would cost more calls per body.
const BUFFER_BYTES_MAX: usize = 128 << 10;
/// After an error of `accept`, which as a rule means that descriptors have run out: some will be closed by then.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Accepts until told to stop; connections end after the request they are at, or at once on `abort`.
pub(super) async fn accept(
    listener: TcpListener,
    router: Router,
    stop: CancellationToken,
    abort: CancellationToken,
    tasks: TaskTracker,
) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let next = async { (Arc::clone(&room).acquire_owned().await, listener.accept().await) };
        let (permit, accepted) = tokio::select! {
            next = next => next,
            () = stop.cancelled() => return,
        };
        match accepted {
            Ok((stream, _)) => {
                let connection = serve(stream, router.clone(), stop.clone(), abort.clone());
                let connection = async move {
                    connection.await;
                    drop(permit);
                };
                drop(task::spawn("http connection", tasks.track_future(connection)));
            }
            Err(error) => {
                tracing::warn!(%error, "a connection was not accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve(stream: TcpStream, router: Router, stop: CancellationToken, abort: CancellationToken) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "answers may wait for the client's acknowledgements");
    }
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(BUFFER_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                ended = connection => ended,
                () = abort.cancelled() => return,
            }
        }
    };
    if let Err(error) = ended {
        // The client went away or spoke nonsense: nothing that an operator could act upon.
        tracing::debug!(%error, "a connection ended early");
    }
}
