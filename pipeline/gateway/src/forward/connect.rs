//! Connects to a task, at exactly the address that was checked for it.

use std::io;
use std::net::SocketAddr;

use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::replay::Outgoing;
use super::spawn::spawn;
use crate::server::options::Options;

/// Connects, and starts the task that drives the connection until either side closes it.
///
/// # Errors
/// When the address refuses, cannot be reached, or does not answer in time.
pub(crate) async fn connect(address: SocketAddr, options: &Options) -> io::Result<SendRequest<Outgoing>> {
    let stream = timeout(options.connect, TcpStream::connect(address)).await??;
    stream.set_nodelay(true)?;
    let mut builder = Builder::new();
    builder.max_headers(options.headers_max).max_header_size(options.head_bytes_max);
    let handshake = builder.handshake(TokioIo::new(stream)).await;
    let (sender, connection) = handshake.map_err(io::Error::other)?;
    spawn(async move {
        // How it ends is told to the request that is on it; an idle one may end as it likes.
        drop(connection.with_upgrades().await);
    });
    Ok(sender)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_closed_port_refuses_and_a_silent_one_is_given_up() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let options = Options { connect: Duration::from_millis(100), ..Options::new("test") };
        assert_eq!(connect(address, &options).await.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        // A listener whose backlog is full lets connections wait.
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let full = socket.listen(1).unwrap();
        let address = full.local_addr().unwrap();
        let mut waiting = Vec::new();
        for _ in 0..4 {
            match connect(address, &options).await {
                Ok(sender) => waiting.push(sender),
                Err(error) => return assert_eq!(error.kind(), io::ErrorKind::TimedOut),
            }
        }
        panic!("{} connections were made", waiting.len());
    }
}
