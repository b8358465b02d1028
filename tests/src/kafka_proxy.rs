//! Between the clients of a Kafka and its broker: lets nothing through in one direction, or makes every commit of a
//! group fail.
//!
//! Reads as much of the protocol as it needs for that: frames of a length, and the key of a request (Kafka protocol
//! guide, "Protocol Primitive Types", "Request and Response Headers").

use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};

use millstream_engine::task;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// The key of OffsetCommit among requests.
const OFFSET_COMMIT: [u8; 2] = [0, 8];
/// What no client and no broker makes; a broken frame must not eat the memory.
const FRAME_BYTES_MAX: u32 = 256 << 20;

/// What is let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Open {
    requests: bool,
    answers: bool,
}

struct Shared {
    broker: Mutex<Option<SocketAddr>>,
    open: watch::Sender<Open>,
    /// The topic whose commits fail, and one that there is not, of the same length.
    commits_fail: Mutex<Option<(Vec<u8>, Vec<u8>)>>,
    /// Whether they do now. What was made to fail is answered later, and then mended all the same.
    is_failing: AtomicBool,
    commits: AtomicU64,
}

/// A running proxy; ends with its handle.
pub struct KafkaProxy {
    shared: Arc<Shared>,
    address: SocketAddr,
    acceptor: tokio::task::JoinHandle<()>,
}

impl fmt::Debug for KafkaProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaProxy").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Drop for KafkaProxy {
    fn drop(&mut self) {
        self.acceptor.abort();
        // Ends the connections that wait.
        self.resume();
    }
}

impl KafkaProxy {
    /// On any free port, in front of nothing yet.
    ///
    /// # Panics
    /// If there is no free port.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared {
            broker: Mutex::default(),
            open: watch::Sender::new(Open { requests: true, answers: true }),
            commits_fail: Mutex::default(),
            is_failing: AtomicBool::new(false),
            commits: AtomicU64::new(0),
        });
        let own = Arc::clone(&shared);
        let acceptor = task::spawn("proxy", async move {
            while let Ok((client, _)) = listener.accept().await {
                drop(task::spawn("proxied connection", serve(client, Arc::clone(&own))));
            }
        });
        KafkaProxy { shared, address, acceptor }
    }

    /// Where clients begin.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The broker that it stands in front of from now on.
    ///
    /// # Panics
    /// If that is no address.
    pub fn towards(&self, broker: &str) {
        let broker = broker.parse().expect("HOST:PORT");
        *self.shared.broker.lock().unwrap_or_else(PoisonError::into_inner) = Some(broker);
    }

    /// Lets no request through any more, and cuts nothing.
    pub fn stall_requests(&self) {
        self.shared.open.send_replace(Open { requests: false, answers: true });
    }

    /// Lets no answer through any more, and cuts nothing.
    pub fn stall_answers(&self) {
        self.shared.open.send_replace(Open { requests: true, answers: false });
    }

    /// Lets everything through again, also what waited.
    pub fn resume(&self) {
        self.shared.open.send_replace(Open { requests: true, answers: true });
    }

    /// Makes every commit of positions in a topic fail from now on, as if there were no such topic.
    pub fn fail_commits(&self, topic: &str) {
        let other = topic.bytes().map(|byte| if byte == b'q' { b'z' } else { b'q' }).collect();
        *self.shared.commits_fail.lock().unwrap_or_else(PoisonError::into_inner) = Some((topic.into(), other));
        self.shared.is_failing.store(true, SeqCst);
    }

    /// Lets commits succeed again.
    pub fn allow_commits(&self) {
        self.shared.is_failing.store(false, SeqCst);
    }

    /// Commits that were made to fail.
    pub fn commits_failed(&self) -> u64 {
        self.shared.commits.load(SeqCst)
    }
}

async fn serve(client: TcpStream, shared: Arc<Shared>) {
    let broker = *shared.broker.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(broker) = broker else { return };
    let Ok(broker) = TcpStream::connect(broker).await else { return };
    let client = client.into_split();
    let broker = broker.into_split();
    let requests = forward(client.0, broker.1, &shared, |open| open.requests, |frame| break_commit(&shared, frame));
    let answers = forward(broker.0, client.1, &shared, |open| open.answers, |frame| mend_answer(&shared, frame));
    // Whichever side leaves, the other one is told by its connection.
    tokio::select! {
        _ = requests => {}
        _ = answers => {}
    }
}

/// Frames of one direction, each whole.
async fn forward(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    shared: &Shared,
    is_open: impl Fn(&Open) -> bool,
    change: impl Fn(&mut [u8]),
) -> Option<()> {
    let mut open = shared.open.subscribe();
    loop {
        let length = from.read_u32().await.ok().filter(|length| *length <= FRAME_BYTES_MAX)?;
        let mut frame = vec![0; length as usize];
        from.read_exact(&mut frame).await.ok()?;
        drop(open.wait_for(&is_open).await.ok()?);
        change(&mut frame);
        to.write_u32(length).await.ok()?;
        to.write_all(&frame).await.ok()?;
    }
}

fn break_commit(shared: &Shared, frame: &mut [u8]) {
    if frame.starts_with(&OFFSET_COMMIT)
        && shared.is_failing.load(SeqCst)
        && let Some((topic, other)) = &*shared.commits_fail.lock().unwrap_or_else(PoisonError::into_inner)
        && replace(frame, topic, other)
    {
        shared.commits.fetch_add(1, SeqCst);
    }
}

/// The client looks for the topic that it asked for, and takes an answer without it for a success.
fn mend_answer(shared: &Shared, frame: &mut [u8]) {
    if let Some((topic, other)) = &*shared.commits_fail.lock().unwrap_or_else(PoisonError::into_inner) {
        replace(frame, other, topic);
    }
}

/// Replaces a text by another one of its length. Whether it was there.
fn replace(bytes: &mut [u8], text: &[u8], by: &[u8]) -> bool {
    let found = bytes.windows(text.len()).position(|window| window == text);
    let place = found.and_then(|at| bytes.get_mut(at..at + text.len()));
    place.map(|place| place.copy_from_slice(by)).is_some()
}
