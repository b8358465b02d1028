//! A gateway, its facts, and clients that send raw bytes.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use millstream_gateway::server::options::Options;
use millstream_gateway::server::{Drained, Gateway};
use millstream_gateway::{Applier, Change, Dialable, Former, Table};
use millstream_schemas::tasks::{Alias, Deploy, Fact, Instance, Port, Selector, Target, Task};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

/// Nothing that a test waits for takes as long.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Harness {
    pub(crate) gateway: Gateway,
    pub(crate) address: SocketAddr,
    pub(crate) stop: CancellationToken,
    applier: Applier,
    server: JoinSet<Drained>,
}

pub(crate) struct Setup {
    pub(crate) options: Options,
    pub(crate) deploy: Deploy,
    pub(crate) alias: Alias,
}

impl Default for Setup {
    fn default() -> Self {
        let selector = Selector { definition: Some("blue:1".to_owned()), ..Selector::default() };
        let deploy = Deploy {
            service: "s".to_owned(),
            revision: "blue".to_owned(),
            generation: 1,
            selector: Some(selector),
            port: Some(8_080),
            min_ready: 1,
            drain_ms: 30_000,
            ..Deploy::default()
        };
        let alias = Alias {
            service: "s".to_owned(),
            alias: "a".to_owned(),
            generation: 7,
            targets: vec![Target { revision: "blue".to_owned(), weight: 1 }],
            ..Alias::default()
        };
        Self { options: Options::new("gw-test"), deploy, alias }
    }
}

/// A task of the revision `blue` that is reached at a port of the machine.
pub(crate) fn task(id: &str, address: SocketAddr) -> Fact {
    let port = Port { container: "c".to_owned(), container_port: 8_080, host_port: Some(address.port()), name: None };
    Fact::Task(Box::new(Task {
        source: "src".to_owned(),
        id: id.to_owned(),
        version: 1,
        definition: Some("blue:1".to_owned()),
        status: Some("RUNNING".to_owned()),
        desired_status: Some("RUNNING".to_owned()),
        started_ms: Some(1),
        address_epoch: Some(0),
        address_rank: Some(0),
        address_version: Some(1),
        network: Some("vpc".to_owned()),
        ports: vec![port],
        instance: Some("i".to_owned()),
        ..Task::default()
    }))
}

impl Setup {
    /// Starts a gateway with tasks `t1`, `t2`, .. at these addresses.
    pub(crate) async fn start(self, addresses: &[SocketAddr]) -> Harness {
        let table = Arc::new(Table::default());
        let networks = BTreeMap::from([("vpc".to_owned(), vec!["127.0.0.0/8".parse().unwrap()])]);
        let dialable = Arc::new(Dialable::new(networks, [], []));
        let mut applier = Applier::new(Arc::clone(&table), dialable, millstream_gateway::Options::default());
        let instance = Instance {
            source: "src".to_owned(),
            id: "i".to_owned(),
            network: Some("vpc".to_owned()),
            addresses: vec!["127.0.0.1".parse().unwrap()],
            ..Instance::default()
        };
        let fixed = [
            Fact::Instance(Box::new(instance)),
            Fact::Deploy(Box::new(self.deploy)),
            Fact::Alias(Box::new(self.alias)),
        ];
        let tasks = addresses.iter().enumerate().map(|(at, address)| task(&format!("t{}", at + 1), *address));
        applier.load(fixed.into_iter().chain(tasks), &Former::default(), Instant::now());
        let gateway = Gateway::new(table, self.options);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let mut server = JoinSet::new();
        let serving = gateway.clone();
        let stopping = stop.clone();
        server.spawn(async move { serving.serve(listener, stopping).await });
        Harness { gateway, address, stop, applier, server }
    }
}

impl Harness {
    pub(crate) fn put(&mut self, fact: Fact) {
        self.applier.apply(vec![Change::Put(fact)], Instant::now());
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends bytes on a connection of their own, and reads until the gateway closes it.
    pub(crate) async fn raw(&self, bytes: &[u8]) -> Vec<Response> {
        let mut stream = self.connect().await;
        stream.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        // A reset after the response is an end too.
        let end = timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
        assert!(end.is_ok(), "the gateway neither answers nor closes: {}", String::from_utf8_lossy(&answer));
        Response::all(&answer)
    }

    /// Sends one request, and reads its response.
    pub(crate) async fn request(&self, method: &str, path: &str, headers: &str, body: &str) -> Response {
        let length = match body {
            "" => String::new(),
            body => format!("content-length: {}\r\n", body.len()),
        };
        let head = format!("{method} {path} HTTP/1.1\r\nhost: h\r\nconnection: close\r\n{headers}{length}\r\n");
        let mut all = self.raw(&[head.as_bytes(), body.as_bytes()].concat()).await;
        assert_eq!(all.len(), 1, "{all:?}");
        all.remove(0)
    }

    pub(crate) async fn get(&self, path: &str) -> Response {
        self.request("GET", path, "", "").await
    }

    /// Stops the gateway, and waits until it has.
    pub(crate) async fn drain(&mut self) -> Drained {
        self.stop.cancel();
        timeout(PATIENCE, self.server.join_next()).await.unwrap().unwrap().unwrap()
    }
}

/// A response as a client counted it.
#[derive(Debug, Clone)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Response {
    /// All responses in what was read; 1xx ones have no body.
    pub(crate) fn all(mut bytes: &[u8]) -> Vec<Self> {
        let mut found = Vec::new();
        while let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8(bytes[..end + 2].to_vec()).unwrap();
            bytes = &bytes[end + 4..];
            let status = head.split(' ').nth(1).unwrap().parse().unwrap();
            let mut response = Self { status, head, body: Vec::new() };
            if status < 200 {
                found.push(response);
                continue;
            }
            if response.header("transfer-encoding").is_some() {
                bytes = response.read_chunks(bytes);
            } else {
                let length = response.header("content-length").map_or(0, |length| length.parse().unwrap());
                response.body = bytes[..bytes.len().min(length)].to_vec();
                bytes = &bytes[bytes.len().min(length)..];
            }
            found.push(response);
        }
        assert!(bytes.is_empty(), "{:?} is behind the responses", String::from_utf8_lossy(bytes));
        found
    }

    fn read_chunks<'a>(&mut self, mut bytes: &'a [u8]) -> &'a [u8] {
        while let Some(end) = bytes.windows(2).position(|window| window == b"\r\n") {
            let length = usize::from_str_radix(std::str::from_utf8(&bytes[..end]).unwrap(), 16).unwrap();
            self.body.extend_from_slice(&bytes[end + 2..][..length]);
            bytes = &bytes[end + 2 + length + 2..];
            if length == 0 {
                break;
            }
        }
        bytes
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.split("\r\n").skip(1).filter_map(|line| line.split_once(':'));
        lines.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// The `reason` of a refusal.
    pub(crate) fn reason(&self) -> String {
        let body: serde_json::Value = serde_json::from_slice(&self.body).unwrap_or_default();
        body["reason"].as_str().unwrap_or_default().to_owned()
    }
}

/// Waits until something holds.
pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "never: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Reads until these bytes were read.
pub(crate) async fn read_until(stream: &mut TcpStream, end: &[u8]) -> Vec<u8> {
    let mut read = Vec::new();
    while !read.windows(end.len()).any(|window| window == end) {
        let mut part = [0; 4_096];
        let count = timeout(PATIENCE, stream.read(&mut part)).await.unwrap().unwrap();
        assert!(count > 0, "closed after {:?}", String::from_utf8_lossy(&read));
        read.extend_from_slice(&part[..count]);
    }
    read
}
