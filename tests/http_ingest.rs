//! What a producer meets: every way to pack events, every answer, and nothing stored of what was refused.

mod limits;
mod packing;
mod refusals;
mod stores;

use std::io::Write as _;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use hyper::Method;
use millstream_tests::generator::DAY_NS;
use millstream_tests::{Event, Millstream, Response};

const JSON: (&str, &str) = ("content-type", "application/json");

fn event(key: &str) -> Event {
    Event::create("uploads", key, DAY_NS, 5)
}

fn packed(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

async fn post(millstream: &Millstream, path: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Response {
    // A server that answers before it has read the whole body may reset the connection before the client has read the
    // answer (RFC 9112, 9.6). Events are idempotent, so the client asks again.
    let body = body.into();
    for _ in 0..5 {
        if let Ok(answer) = millstream.send(Method::POST, path, headers, body.clone()).await {
            return answer;
        }
    }
    millstream.send(Method::POST, path, headers, body).await.unwrap()
}

/// Every refusal is a problem document that says what it is.
fn is_problem(answer: &Response, status: u16, name: &str) {
    let text = answer.text();
    assert_eq!(answer.status, status, "{text}");
    assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{text}");
    let problem = answer.json();
    assert_eq!(problem["status"], status, "{text}");
    assert_eq!(problem["type"], format!("urn:millstream:problem:{name}"), "{text}");
    assert!(!problem["detail"].as_str().unwrap().is_empty() && !problem["title"].as_str().unwrap().is_empty());
}

/// Records that the stream took since the process began.
async fn accepted(millstream: &Millstream) -> u64 {
    millstream.get("/v1/status").await.json()["http"]["accepted_events"].as_u64().unwrap()
}

/// A file system of its own, so that it can really be full. `None` without the right to mount one.
pub(crate) struct SmallDisk(pub(crate) std::path::PathBuf);

impl SmallDisk {
    pub(crate) fn mount(at: std::path::PathBuf, bytes: &str) -> Option<Self> {
        std::fs::create_dir_all(&at).unwrap();
        let mut mount = std::process::Command::new("mount");
        mount
            .args(["-t", "tmpfs", "-o", &format!("size={bytes}"), "tmpfs"])
            .arg(&at)
            .stderr(std::process::Stdio::null());
        mount.status().is_ok_and(|status| status.success()).then_some(SmallDisk(at))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        std::process::Command::new("umount").arg("--lazy").arg(&self.0).status().ok();
    }
}
