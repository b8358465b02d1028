//! Between a client and a stand-in for SQS: what AWS does now and then, and no stand-in ever.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use millstream_engine::task;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// An endpoint that passes on everything, except for what is asked of it.
#[derive(Debug)]
pub struct SqsFaults {
    /// Its URL.
    pub endpoint: String,
    /// Calls that are refused because there are too many.
    pub throttled: AtomicU32,
    /// Calls to delete of which the first entry fails.
    pub partly_deleted: AtomicU32,
    /// Calls to delete that happen, and whose answer is lost.
    pub unanswered: AtomicU32,
    upstream: String,
}

impl SqsFaults {
    /// One in front of this URL.
    ///
    /// # Panics
    /// If it cannot listen.
    pub async fn before(url: &str) -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("listen");
        let address = listener.local_addr().expect("an address");
        let faults = Arc::new(SqsFaults {
            endpoint: format!("http://{address}"),
            throttled: AtomicU32::new(0),
            partly_deleted: AtomicU32::new(0),
            unanswered: AtomicU32::new(0),
            upstream: url.trim_start_matches("http://").trim_end_matches('/').to_owned(),
        });
        let serving = Arc::clone(&faults);
        drop(task::spawn("faults", async move {
            while let Ok((client, _)) = listener.accept().await {
                let faults = Arc::clone(&serving);
                // A client that leaves is no fault.
                drop(task::spawn("faults connection", async move { faults.serve(client).await.ok() }));
            }
        }));
        faults
    }

    /// How many of them are still to come.
    pub fn left(&self) -> u32 {
        [&self.throttled, &self.partly_deleted, &self.unanswered].iter().map(|left| left.load(Relaxed)).sum()
    }

    /// One call for each connection.
    async fn serve(&self, mut client: TcpStream) -> std::io::Result<()> {
        let (head, mut body) = read(&mut client).await?;
        let is_deletion = head.contains("AmazonSQS.DeleteMessageBatch");
        if take(&self.throttled) {
            let refusal = json!({ "__type": "com.amazonaws.sqs#RequestThrottled", "message": "slow down" });
            return answer(&mut client, "400 Bad Request", refusal.to_string().as_bytes()).await;
        }
        let failed = (is_deletion && take(&self.partly_deleted)).then(|| without_first(&mut body));
        let is_lost = is_deletion && take(&self.unanswered);
        let (status, mut body) = self.pass_on(&head, &body).await?;
        if is_lost {
            return Ok(());
        }
        if let Some(id) = failed {
            let mut said: Value = serde_json::from_slice(&body).unwrap_or_else(|_| json!({}));
            said["Failed"] =
                json!([{ "Id": id, "SenderFault": false, "Code": "InternalError", "Message": "try again" }]);
            body = said.to_string().into_bytes();
        }
        answer(&mut client, &status, &body).await
    }

    async fn pass_on(&self, head: &str, body: &[u8]) -> std::io::Result<(String, Vec<u8>)> {
        let mut server = TcpStream::connect(&self.upstream).await?;
        let own = |line: &&str| {
            let name = line.split(':').next().unwrap_or_default().to_ascii_lowercase();
            !matches!(&*name, "content-length" | "connection" | "host")
        };
        let kept: Vec<&str> = head.lines().filter(own).filter(|line| !line.is_empty()).collect();
        let head = format!(
            "{}\r\nhost: {}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
            kept.join("\r\n"),
            self.upstream,
            body.len()
        );
        server.write_all(head.as_bytes()).await?;
        server.write_all(body).await?;
        let (head, body) = read(&mut server).await?;
        let status = head.lines().next().unwrap_or_default().split_once(' ').unwrap_or_default().1.to_owned();
        Ok((status, body))
    }
}

/// Takes the first entry out of a call; its id. A call without any is refused, which is a fault as well.
fn without_first(body: &mut Vec<u8>) -> String {
    let mut call: Value = serde_json::from_slice(body).unwrap_or_else(|_| json!({}));
    let Some(entries) = call["Entries"].as_array_mut().filter(|entries| !entries.is_empty()) else {
        return String::new();
    };
    let first = entries.remove(0);
    *body = call.to_string().into_bytes();
    first["Id"].as_str().unwrap_or_default().to_owned()
}

fn take(left: &AtomicU32) -> bool {
    left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_ok()
}

/// A message of HTTP/1.1 with a length; head and body.
async fn read(stream: &mut TcpStream) -> std::io::Result<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end;
        }
        if stream.read_buf(&mut bytes).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    };
    let body = bytes.split_off(end + 4);
    let head = String::from_utf8_lossy(&bytes).into_owned();
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    let mut body = body;
    let length = length.unwrap_or(0);
    while body.len() < length {
        if stream.read_buf(&mut body).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok((head, body))
}

async fn answer(client: &mut TcpStream, status: &str, body: &[u8]) -> std::io::Result<()> {
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/x-amz-json-1.0\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    client.write_all(head.as_bytes()).await?;
    client.write_all(body).await?;
    client.shutdown().await
}
