//! R80, R82: what a client sends is one request for real proxies behind the gateway, too, or none; what it claims to be is
//! not passed on, and bodies arrive as they were sent.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, Uri};
use hyper::Method;
use millstream_engine::task;
use millstream_tests::client::Http;
use millstream_tests::parts::Part;
use millstream_tests::{Database, Millstream, Setup, database, free_port};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::serving::event::{CLUSTER, Task};
use crate::serving::requests::{create, is_state, taken};
use crate::serving::{sources, to};

/// Those of the gateway's own tests, whose task is no proxy.
#[path = "../pipeline/gateway/tests/serving/vectors.rs"]
mod vectors;

use vectors::{HEADS, LINES, SECOND};

const PATIENCE: Duration = Duration::from_secs(60);

/// Requests, and the statuses that the client gets for each and the one behind it.
fn vectors() -> Vec<(String, &'static [u16])> {
    let heads = HEADS.iter().map(|(head, wanted)| (format!("POST /services/s/a/first HTTP/1.1\r\n{head}"), *wanted));
    heads.chain(LINES.iter().map(|(line, wanted)| ((*line).to_owned(), *wanted))).collect()
}

#[derive(Debug)]
struct Received {
    path: String,
    headers: HeaderMap,
    body: Bytes,
}

/// A proxy, the server behind it, and a gateway before it whose only task it is.
struct Chain {
    received: Arc<Mutex<Vec<Received>>>,
    gateway: SocketAddr,
    millstream: Millstream,
    /// It ends with these.
    _proxy: Part,
    _database: Database,
}

impl Chain {
    /// `None` where the proxy is not installed.
    async fn start(script: &'static str) -> Option<Chain> {
        let proxy = Part::start(script, &[]).await?;
        let addresses: Vec<SocketAddr> = proxy.address().split(',').map(|address| address.parse().unwrap()).collect();
        let received: Arc<Mutex<Vec<Received>>> = Arc::default();
        let own = Arc::clone(&received);
        let echo = move |uri: Uri, headers: HeaderMap, body: Bytes| async move {
            let path = uri.path().to_owned();
            own.lock().unwrap().push(Received { path: path.clone(), headers, body: body.clone() });
            ([("x-path", path)], body)
        };
        let router = Router::new().fallback(echo).layer(axum::extract::DefaultBodyLimit::disable());
        let listener = TcpListener::bind(addresses[1]).await.unwrap();
        drop(task::spawn("server behind a proxy", async move { axum::serve(listener, router).await.unwrap() }));

        let database = database().await;
        let gateway = SocketAddr::from(([127, 0, 0, 1], free_port().unwrap()));
        let source = sources(&["ecs"], &[CLUSTER]).replace("127.66.0.0/15", "127.0.0.0/8");
        let setup = Setup::new(&database).set(&source).set(&format!("gateway.listen={gateway}"));
        let millstream = setup.set("gateway.admin=127.0.0.1:0").start().await;
        let deploy = json!({ "selector": { "definition": "digits-blue:1" }, "port": addresses[0].port() });
        create(&millstream, "/v1/deploys/s/blue", deploy).await;
        create(&millstream, "/v1/routes/s/a", to("blue")).await;
        taken(&millstream, "ecs", Task::running("proxy", "127.0.0.1").bridge()).await;
        is_state(&millstream, "proxy", "routable").await;
        Some(Chain { received, gateway, millstream, _proxy: proxy, _database: database })
    }

    /// Sends bytes on a connection of their own until the gateway closes it: status, path and body of each answer.
    async fn raw(&self, bytes: &[u8]) -> Vec<(u16, String, Vec<u8>)> {
        let mut stream = TcpStream::connect(self.gateway).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        let end = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
        assert!(end.is_ok(), "neither answered nor closed: {}", String::from_utf8_lossy(&answer));
        let mut rest = &*answer;
        let mut answers = Vec::new();
        while let Some(end) = rest.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&rest[..end]).to_ascii_lowercase();
            let header = |name: &str| head.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")));
            let length: usize = header("content-length").map_or(0, |length| length.parse().unwrap());
            let path = header("x-path").unwrap_or_default().to_owned();
            answers.push((head[9..12].parse().unwrap(), path, rest[end + 4..][..length].to_vec()));
            rest = &rest[end + 4 + length..];
        }
        assert!(rest.is_empty(), "{} is behind the answers", String::from_utf8_lossy(rest));
        answers
    }

    fn taken(&self) -> Vec<Received> {
        std::mem::take(&mut *self.received.lock().unwrap())
    }
}

async fn vectors_arrive(chain: &Chain) {
    let vectors = vectors();
    assert!(vectors.len() >= 60, "{}", vectors.len());
    let mut wrong = Vec::new();
    for (first, wanted) in vectors {
        let answers = chain.raw(format!("{first}{SECOND}").as_bytes()).await;
        let statuses: Vec<u16> = answers.iter().map(|answer| answer.0).collect();
        let answered: Vec<&str> = answers.iter().filter(|answer| answer.0 == 200).map(|answer| &*answer.1).collect();
        let received = chain.taken();
        let counted: Vec<&str> = received.iter().map(|received| &*received.path).collect();
        if statuses != wanted || answered != counted || !["/first", "/second"].starts_with(&counted) {
            wrong.push(format!("{first:?}: {statuses:?} for {wanted:?}, {answered:?} of {counted:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Whatever a client says of itself in any spelling, nothing of it arrives; its own headers do.
async fn nobody_is_impersonated(chain: &Chain) {
    for name in [
        "X-Millstream-Principal",
        "x_millstream_principal",
        "X-Millstream_Task",
        "Forwarded",
        "forwarded",
        "X-Forwarded-For",
        "x_forwarded_for",
        "X-Forwarded_Host",
        "X-FORWARDED-PROTO",
        "X-Real-IP",
        "X_Real_Ip",
    ] {
        let lines =
            format!("Host: h\r\nX-Own: kept\r\n{name}: spoofed\r\nConnection: close, x-millstream-task\r\n\r\n");
        let answers = chain.raw(format!("GET /services/s/a/first HTTP/1.1\r\n{lines}").as_bytes()).await;
        let received = chain.taken();
        assert_eq!((answers[0].0, received.len()), (200, 1), "{name}");
        let values: Vec<_> =
            received[0].headers.values().map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
        assert!(!values.iter().any(|value| value.contains("spoofed")), "{name}: {:?}", received[0].headers);
        assert_eq!(received[0].headers["x-own"], "kept", "{name}");
    }
}

async fn bodies_are_equal(chain: &Chain) {
    for length in [0, 1, 100, 65_536, 65_537, 1_000_000] {
        let body: Vec<u8> = (0..length).map(|at| (at * 31 % 251) as u8).collect();
        let answer =
            Http::default().send(Method::POST, chain.gateway, "/services/s/a/first", &[], body.clone()).await.unwrap();
        assert!(answer.status == 200 && answer.body == body, "{length} bytes came back as {}", answer.body.len());
        let mut chunked =
            b"POST /services/s/a/first HTTP/1.1\r\nHost: h\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
                .to_vec();
        for chunk in body.chunks(7_777) {
            chunked.extend([format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat());
        }
        chunked.extend(b"0\r\n\r\n");
        let answers = chain.raw(&chunked).await;
        assert!(answers[0].0 == 200 && answers[0].2 == body, "{length} bytes in chunks");
        assert!(chain.taken().iter().all(|received| received.body == body), "{length} bytes arrive");
    }
}

async fn behind(script: &'static str) {
    let Some(chain) = Chain::start(script).await else { return };
    vectors_arrive(&chain).await;
    nobody_is_impersonated(&chain).await;
    bodies_are_equal(&chain).await;
    chain.millstream.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_are_the_same_ones_behind_nginx() {
    behind("nginx.sh").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_are_the_same_ones_behind_haproxy() {
    behind("haproxy.sh").await;
}
