//! One connection of HTTP/1.1 for requests one after another, and a server that gives everybody the same answer.

use std::convert::Infallible;
use std::net::SocketAddr;

use anyhow::Context as _;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use millstream_engine::task;
use tokio::net::{TcpListener, TcpStream};

/// A connection that is made again when the server has closed it.
#[derive(Debug)]
pub(in crate::bench) struct Exchange {
    address: SocketAddr,
    sender: Option<SendRequest<Full<Bytes>>>,
}

impl Exchange {
    pub(in crate::bench) fn with(address: SocketAddr) -> Exchange {
        Exchange { address, sender: None }
    }

    /// Sends a request and reads all of its answer; only its status is of interest.
    pub(in crate::bench) async fn send(
        &mut self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> anyhow::Result<StatusCode> {
        let mut request = Request::builder().method(method).uri(path).header("host", self.address.to_string());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body))?;
        let mut sender = self.sender().await?;
        let answer = sender.send_request(request).await.context("send a request")?;
        let status = answer.status();
        answer.into_body().collect().await.context("read an answer")?;
        self.sender = Some(sender);
        Ok(status)
    }

    async fn sender(&mut self) -> anyhow::Result<SendRequest<Full<Bytes>>> {
        if let Some(mut sender) = self.sender.take()
            && sender.ready().await.is_ok()
        {
            return Ok(sender);
        }
        let stream = TcpStream::connect(self.address).await.with_context(|| format!("connect to {}", self.address))?;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // Ends when the sender is dropped; its errors reach the sender.
        drop(task::spawn("connection of a benchmark", async move { drop(connection.await) }));
        Ok(sender)
    }
}

/// Answers every request with these bytes, until the process ends.
pub(in crate::bench) async fn answer(listener: TcpListener, body: Bytes) {
    while let Ok((stream, _)) = listener.accept().await {
        if stream.set_nodelay(true).is_err() {
            continue;
        }
        let body = body.clone();
        let service = service_fn(move |_: Request<Incoming>| {
            let body = body.clone();
            async move { Ok::<_, Infallible>(Response::new(Full::new(body))) }
        });
        let serving = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
        // How a connection of a client ends is the client's affair.
        drop(task::spawn("answers of a benchmark", async move { drop(serving.await) }));
    }
}
