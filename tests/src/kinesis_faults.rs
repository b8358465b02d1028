//! Between a client of Kinesis and a stand-in: refuses calls, and changes answers. No stand-in does that by itself.
//!
//! Reads as much of HTTP as the SDK writes: a head, and a body of a length that the head tells.

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use hyper::Method;
use millstream_connectors::kinesis::Address;
use millstream_engine::task;
use serde_json::{Value, json};
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::client::Http;
use crate::kinesis::Shards;

/// What becomes of a call.
pub enum Fate {
    /// It passes.
    Pass,
    /// It is answered by an error with this code.
    Refused(&'static str),
    /// The connection ends without an answer.
    Cut,
    /// It passes with another body.
    Instead(Value),
    /// Its answer is changed on the way back.
    Changed(Box<dyn FnOnce(&mut Value) + Send>),
    /// Of a `PutRecords`, these records are answered as one too many, and do not pass.
    Partly(Vec<usize>),
}

impl fmt::Debug for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fate")
    }
}

type Plan = Box<dyn FnMut(&str, &Value) -> Fate + Send>;

/// A running proxy; ends with its handle.
pub struct Faults {
    address: SocketAddr,
    plan: Arc<Mutex<Plan>>,
    acceptor: tokio::task::JoinHandle<()>,
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Faults").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Drop for Faults {
    fn drop(&mut self) {
        self.acceptor.abort();
    }
}

impl Faults {
    /// In front of a stand-in, by its URL.
    ///
    /// # Panics
    /// If there is no free port.
    pub async fn start(endpoint: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let to: SocketAddr = endpoint.trim_start_matches("http://").parse().expect("the address of a stand-in");
        let plan: Arc<Mutex<Plan>> = Arc::new(Mutex::new(Box::new(|_, _| Fate::Pass)));
        let own = Arc::clone(&plan);
        let acceptor = task::spawn("faults", async move {
            while let Ok((client, _)) = listener.accept().await {
                drop(task::spawn("faulty connection", serve(client, to, Arc::clone(&own))));
            }
        });
        Faults { address, plan, acceptor }
    }

    /// Says what becomes of each call, by its name and body.
    pub fn plan(&self, plan: impl FnMut(&str, &Value) -> Fate + Send + 'static) {
        *self.plan.lock().unwrap_or_else(PoisonError::into_inner) = Box::new(plan);
    }

    /// The address of a stream through this proxy.
    pub async fn address(&self, shards: &Shards) -> Address {
        Address { endpoint: Some(format!("http://{}", self.address)), ..shards.address().await }
    }
}

async fn serve(client: TcpStream, to: SocketAddr, plan: Arc<Mutex<Plan>>) {
    let mut client = BufReader::new(client);
    let http = Http::default();
    while let Some((headers, body)) = request(&mut client).await {
        let target = headers.iter().find(|(name, _)| name == "x-amz-target").map(|(_, value)| value.clone());
        let name = target.as_deref().and_then(|target| target.rsplit('.').next()).unwrap_or_default().to_owned();
        let mut body: Value = serde_json::from_slice(&body).unwrap_or_default();
        let fate = (plan.lock().unwrap_or_else(PoisonError::into_inner))(&name, &body);
        let mut refused = Vec::new();
        let mut change = None;
        match fate {
            Fate::Pass => {}
            Fate::Cut => return,
            Fate::Refused(code) => {
                let status = if code == "InternalFailure" { 500 } else { 400 };
                let error = json!({ "__type": code, "message": "as planned" });
                if answer(&mut client, status, error.to_string().as_bytes()).await.is_none() {
                    return;
                }
                continue;
            }
            Fate::Instead(other) => body = other,
            Fate::Changed(by) => change = Some(by),
            Fate::Partly(records) => refused = records,
        }
        if let Some(records) = body.get_mut("Records").and_then(Value::as_array_mut) {
            refused.retain(|&number| number < records.len());
            let mut number = 0..;
            records.retain(|_| !refused.contains(&number.next().unwrap_or_default()));
        }
        let none_left = body.get("Records").and_then(Value::as_array).is_some_and(Vec::is_empty);
        let (status, mut said) = if none_left {
            (200, json!({ "FailedRecordCount": 0, "Records": [] }))
        } else {
            let headers: Vec<(&str, &str)> = headers
                .iter()
                .filter(|(name, _)| !matches!(name.as_str(), "content-length" | "host" | "connection"))
                .map(|(name, value)| (name.as_str(), value.as_str()))
                .collect();
            let Ok(response) = http.send(Method::POST, to, "/", &headers, body.to_string()).await else { return };
            (response.status.as_u16(), serde_json::from_slice(&response.body).unwrap_or_default())
        };
        if let Some(results) = said.get_mut("Records").and_then(Value::as_array_mut).filter(|_| !refused.is_empty()) {
            let failed = json!({ "ErrorCode": "ProvisionedThroughputExceededException", "ErrorMessage": "as planned" });
            refused.sort_unstable();
            refused.iter().for_each(|&number| results.insert(number, failed.clone()));
            said["FailedRecordCount"] = json!(refused.len());
        }
        if let Some(change) = change {
            change(&mut said);
        }
        let said = if said.is_null() { Vec::new() } else { said.to_string().into_bytes() };
        if answer(&mut client, status, &said).await.is_none() {
            return;
        }
    }
}

/// The headers and the body of the next request.
async fn request(client: &mut (impl AsyncBufRead + Unpin)) -> Option<(Vec<(String, String)>, Vec<u8>)> {
    let mut line = String::new();
    client.read_line(&mut line).await.ok().filter(|bytes| *bytes > 0)?;
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        client.read_line(&mut line).await.ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let length = headers.iter().find(|(name, _)| name == "content-length").and_then(|(_, value)| value.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    client.read_exact(&mut body).await.ok()?;
    Some((headers, body))
}

async fn answer(client: &mut BufReader<TcpStream>, status: u16, body: &[u8]) -> Option<()> {
    let head = format!(
        "HTTP/1.1 {status} planned\r\ncontent-type: application/x-amz-json-1.1\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    client.write_all(&[head.as_bytes(), body].concat()).await.ok()?;
    client.flush().await.ok()
}
