//! The least that a forwarder on hyper does: a pool, last in, first out, and nothing else of a gateway.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use millstream_engine::task;
use tokio::net::{TcpListener, TcpStream};

/// Idle connections to the upstream, the one to take next last.
#[derive(Debug)]
struct Pool {
    upstream: SocketAddr,
    idle: Mutex<Vec<SendRequest<Incoming>>>,
}

impl Pool {
    async fn take(&self) -> anyhow::Result<SendRequest<Incoming>> {
        let taken = || self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        while let Some(sender) = taken() {
            if !sender.is_closed() {
                return Ok(sender);
            }
        }
        let stream = TcpStream::connect(self.upstream).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        drop(task::spawn("upstream", async move { drop(connection.await) }));
        Ok(sender)
    }

    async fn forward(self: Arc<Self>, request: Request<Incoming>) -> anyhow::Result<Response<Incoming>> {
        let mut sender = self.take().await?;
        sender.ready().await?;
        let answer = sender.send_request(request).await?;
        // Taken before the body has ended, it waits: only then is it ready again.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(sender);
        Ok(answer)
    }
}

/// Forwards until the process ends.
pub(super) async fn serve(listener: TcpListener, upstream: SocketAddr) {
    let pool = Arc::new(Pool { upstream, idle: Mutex::default() });
    while let Ok((stream, _)) = listener.accept().await {
        if stream.set_nodelay(true).is_err() {
            continue;
        }
        let pool = Arc::clone(&pool);
        let service = service_fn(move |request| Arc::clone(&pool).forward(request));
        let serving = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
        drop(task::spawn("client", async move { drop(serving.await) }));
    }
}
