//! Nobody holds the door: whatever a peer does with its connections, others get in, and every client gets its answer.

mod answers;
mod crowd;
mod places;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use millstream_engine::task;
use millstream_tests::generator::DAY_NS;
use millstream_tests::{Event, Millstream};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

fn event(key: &str) -> Event {
    Event::create("uploads", key, DAY_NS, 5)
}

/// A connection from an address of the loopback network.
async fn connect_from(from: [u8; 4], to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from((from, 0))).unwrap();
    socket.connect(to).await.unwrap()
}

async fn connect(to: SocketAddr) -> TcpStream {
    TcpStream::connect(to).await.unwrap()
}

/// Sends text, and reads until the other side closes.
async fn exchange(mut stream: TcpStream, text: &str) -> String {
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    tokio::time::timeout(Duration::from_secs(30), stream.read_to_end(&mut answer)).await.unwrap().unwrap();
    String::from_utf8(answer).unwrap()
}

fn post(body: &[u8]) -> String {
    let head = format!(
        "POST /v1/events HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/x-ndjson\r\ncontent-length: {}\r\n",
        body.len()
    );
    format!("{head}connection: close\r\n\r\n{}", std::str::from_utf8(body).unwrap())
}

/// A counter of `/metrics`.
async fn metric(millstream: &Millstream, name: &str) -> f64 {
    let text = millstream.get("/metrics").await.text();
    let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name} is not in\n{text}"));
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

async fn ended(millstream: &Millstream, reason: &str) -> f64 {
    metric(millstream, &format!("millstream_http_connections_ended_total{{reason=\"{reason}\"}}")).await
}

/// Holds a connection open until it is closed by the other side or the test ends; counts those that were closed.
fn hold(stream: TcpStream, drip: &'static [u8], closed: &Arc<AtomicU64>) {
    let closed = Arc::clone(closed);
    drop(task::spawn("holder", async move {
        let (mut reading, mut writing) = stream.into_split();
        let dripping = async {
            for byte in drip.iter().cycle() {
                tokio::time::sleep(Duration::from_millis(100)).await;
                if drip.len() > 1 && writing.write_all(&[*byte]).await.is_err() {
                    return;
                }
            }
            std::future::pending().await
        };
        let mut buffer = [0; 1024];
        let ending = async { while matches!(reading.read(&mut buffer).await, Ok(1..)) {} };
        tokio::select! {
            () = dripping => {}
            () = ending => {}
        }
        closed.fetch_add(1, Relaxed);
    }));
}

fn question(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
}
