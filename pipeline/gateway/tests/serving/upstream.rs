//! A task that reads requests byte by byte with a parser of its own, and answers as a test says.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// A request as the task counted it.
#[derive(Debug, Clone)]
pub(crate) struct Received {
    /// The number of its connection, from 1.
    pub(crate) connection: usize,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

/// What the task does with a request.
pub(crate) enum Action {
    Reply(Vec<u8>),
    /// Replies, and closes after this time without a word.
    ReplyThenClose(Vec<u8>, Duration),
    /// Closes without an answer.
    Close,
    /// Never answers.
    Stall,
    /// Writes each part after its pause.
    Stream(Vec<(Duration, Vec<u8>)>),
    /// Writes this, and then whatever it reads.
    Echo(Vec<u8>),
}

#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) requests: Mutex<Vec<Received>>,
    pub(crate) accepted: AtomicUsize,
    pub(crate) closed: AtomicUsize,
    /// Bytes that were no request.
    pub(crate) garbage: AtomicUsize,
}

type Handler = Arc<dyn Fn(&Received) -> Action + Send + Sync>;

pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    pub(crate) seen: Arc<Seen>,
    tasks: JoinSet<()>,
}

/// A response with a length.
pub(crate) fn ok(body: &str) -> Vec<u8> {
    response("200 OK", "", body)
}

pub(crate) fn response(status: &str, headers: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

impl Upstream {
    pub(crate) async fn start(handler: impl Fn(&Received) -> Action + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Seen::default());
        let handler: Handler = Arc::new(handler);
        let mut tasks = JoinSet::new();
        let shared = Arc::clone(&seen);
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let number = shared.accepted.fetch_add(1, Ordering::SeqCst) + 1;
                let seen = Arc::clone(&shared);
                let handler = Arc::clone(&handler);
                connections.spawn(async move {
                    serve(stream, number, &seen, &handler).await;
                    seen.closed.fetch_add(1, Ordering::SeqCst);
                });
            }
        });
        Self { address, seen, tasks }
    }

    /// Ends the process, as it seems from outside: connections break, new ones are refused.
    pub(crate) async fn kill(&mut self) {
        self.tasks.shutdown().await;
    }

    pub(crate) fn count(&self) -> usize {
        self.seen.requests.lock().unwrap().len()
    }

    pub(crate) fn requests(&self) -> Vec<Received> {
        self.seen.requests.lock().unwrap().clone()
    }

    pub(crate) fn accepted(&self) -> usize {
        self.seen.accepted.load(Ordering::SeqCst)
    }

    pub(crate) fn closed(&self) -> usize {
        self.seen.closed.load(Ordering::SeqCst)
    }
}

impl Received {
    /// The values of a header.
    pub(crate) fn header(&self, name: &str) -> Vec<&str> {
        let lines = self.head.split("\r\n").skip(1).filter_map(|line| line.split_once(':'));
        lines.filter(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).collect()
    }

    pub(crate) fn line(&self) -> &str {
        self.head.split("\r\n").next().unwrap()
    }
}

async fn serve(mut stream: TcpStream, connection: usize, seen: &Seen, handler: &Handler) {
    let mut buffer = Vec::new();
    while let Some((head, body)) = read_request(&mut stream, &mut buffer, seen).await {
        let received = Received { connection, head, body };
        seen.requests.lock().unwrap().push(received.clone());
        match handler(&received) {
            Action::Reply(bytes) => stream.write_all(&bytes).await.unwrap_or_default(),
            Action::ReplyThenClose(bytes, pause) => {
                stream.write_all(&bytes).await.unwrap_or_default();
                tokio::time::sleep(pause).await;
                return;
            }
            Action::Close => return,
            Action::Stall => {
                // Until the other side closes.
                drop(stream.read(&mut [0; 1_024]).await);
                return;
            }
            Action::Stream(parts) => {
                for (pause, part) in parts {
                    let mut byte = [0];
                    tokio::select! {
                        () = tokio::time::sleep(pause) => (),
                        _ = stream.read(&mut byte) => return,
                    }
                    if stream.write_all(&part).await.is_err() {
                        return;
                    }
                }
            }
            Action::Echo(head) => {
                stream.write_all(&head).await.unwrap();
                stream.write_all(&buffer).await.unwrap();
                let (mut from, mut to) = stream.split();
                drop(tokio::io::copy(&mut from, &mut to).await);
                return;
            }
        }
    }
}

/// Reads a request strictly: lines end in CRLF, and the body has either a length or chunks.
async fn read_request(stream: &mut TcpStream, buffer: &mut Vec<u8>, seen: &Seen) -> Option<(String, Vec<u8>)> {
    let end = fill_until(stream, buffer, b"\r\n\r\n").await?;
    let head = String::from_utf8_lossy(&buffer.drain(..end).collect::<Vec<u8>>()).into_owned();
    let value = |name: &str| -> Vec<String> {
        let lines = head.split("\r\n").skip(1).filter_map(|line| line.split_once(':'));
        let found = lines.filter(|(found, _)| found.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.trim().to_owned()).collect()
    };
    let lengths = value("content-length");
    let codings = value("transfer-encoding");
    if !head.split("\r\n").next()?.ends_with(" HTTP/1.1") || lengths.len() + codings.len() > 1 {
        seen.garbage.fetch_add(1, Ordering::SeqCst);
        return None;
    }
    if codings.is_empty() {
        let length = lengths.first().map_or(0, |length| length.parse().unwrap());
        while buffer.len() < length {
            fill(stream, buffer).await?;
        }
        return Some((head, buffer.drain(..length).collect()));
    }
    let mut body = Vec::new();
    loop {
        let end = fill_until(stream, buffer, b"\r\n").await?;
        let line = String::from_utf8(buffer.drain(..end).collect()).unwrap();
        let length = usize::from_str_radix(line.trim_end(), 16).unwrap();
        while buffer.len() < length + 2 {
            fill(stream, buffer).await?;
        }
        body.extend(buffer.drain(..length));
        assert_eq!(buffer.drain(..2).collect::<Vec<u8>>(), b"\r\n");
        if length == 0 {
            return Some((head, body));
        }
    }
}

async fn fill_until(stream: &mut TcpStream, buffer: &mut Vec<u8>, end: &[u8]) -> Option<usize> {
    loop {
        if let Some(at) = buffer.windows(end.len()).position(|window| window == end) {
            return Some(at + end.len());
        }
        fill(stream, buffer).await?;
    }
}

async fn fill(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<()> {
    let count = stream.read_buf(buffer).await.ok()?;
    (count > 0).then_some(())
}
