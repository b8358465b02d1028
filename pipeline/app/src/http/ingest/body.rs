//! The body of a request as one buffer, under limits: bytes, memory of all requests together, ratio of compression,
//! and time.

use std::io::Read as _;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use bytes::{Buf as _, Bytes, BytesMut};
use flate2::bufread::MultiGzDecoder;
use http_body_util::BodyExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::super::problem::{Problem, shortened};
use super::super::shared::App;
use crate::config::Http;

/// Maximum ratio of compression: events of one kind compress 10 to 50 times; a bomb of gzip reaches 1,030.
const RATIO_MAX: usize = 200;
/// Bytes below which no ratio is harmful.
const RATIO_FREE_BYTES: usize = 1 << 20;
/// Bytes decompressed per step: each step is checked against the limits before the next.
const STEP_BYTES: usize = 64 << 10;

/// A body, and the memory it was given.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) bytes: Bytes,
    /// To be held as long as the bytes.
    pub(super) memory: Memory,
}

/// A share of the memory for bodies and their records that grows with what is held.
#[derive(Debug)]
pub(super) struct Memory {
    all: Arc<Semaphore>,
    held: Option<OwnedSemaphorePermit>,
}

impl Memory {
    pub(super) fn grow(&mut self, bytes: usize) -> Result<(), Problem> {
        let busy = || Problem::too_many("the memory for request bodies is in use; send again");
        let bytes = u32::try_from(bytes).map_err(|_| busy())?;
        let more = Arc::clone(&self.all).try_acquire_many_owned(bytes).map_err(|_| busy())?;
        match &mut self.held {
            Some(held) => held.merge(more),
            None => self.held = Some(more),
        }
        Ok(())
    }
}

/// Reads a body to its end and unpacks it.
pub(super) async fn receive(app: &App, headers: &HeaderMap, body: Body) -> Result<Received, Problem> {
    let packed = is_packed(headers)?;
    let bytes_max = app.node.config.http.body_bytes_max;
    let length = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if length.is_some_and(|length| length > bytes_max) {
        return Err(over(bytes_max));
    }
    let mut memory = Memory { all: Arc::clone(&app.body_bytes), held: None };
    let bytes = collect(body, length.unwrap_or(0), bytes_max, &app.node.config.http, &mut memory).await?;
    if !packed {
        return Ok(Received { bytes, memory });
    }
    // Unpacking takes milliseconds of pure computing, during which other requests should go on.
    let unpacked = tokio::task::spawn_blocking(move || unpack(&bytes, bytes_max, memory)).await;
    unpacked.map_err(|error| Problem::bad_request(format!("the body could not be unpacked: {error}")))?
}

/// Reads a body that is small and not packed.
pub(in crate::http) async fn small(app: &App, body: Body, bytes_max: usize) -> Result<Bytes, Problem> {
    let mut memory = Memory { all: Arc::clone(&app.body_bytes), held: None };
    let read = collect(body, 0, bytes_max, &app.node.config.http, &mut memory).await;
    read.map_err(|problem| match problem.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Problem::too_large(format!("at most {bytes_max} bytes are read")),
        _ => problem,
    })
}

fn over(bytes_max: usize) -> Problem {
    Problem::too_large(format!(
        "more than {bytes_max} bytes (http.body_bytes_max), compressed or not; send fewer events per request"
    ))
}

fn too_slow(http: &Http) -> Problem {
    let title = "the body came too slowly";
    let detail = format!(
        "at most {} s for a body (http.body_seconds_max) and {} s without a byte of it (http.body_pause_seconds_max)",
        http.body_seconds_max, http.body_pause_seconds_max
    );
    Problem::new(StatusCode::REQUEST_TIMEOUT, "slow-body", title, detail)
}

fn is_packed(headers: &HeaderMap) -> Result<bool, Problem> {
    let Some(value) = headers.get(header::CONTENT_ENCODING) else { return Ok(false) };
    match value.to_str().unwrap_or("?").trim().to_ascii_lowercase().as_str() {
        "" | "identity" => Ok(false),
        "gzip" | "x-gzip" => Ok(true),
        other => {
            let detail = format!("content-encoding {:?} is not supported; send gzip or none", shortened(other));
            let title = "the encoding is not supported";
            Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-encoding", title, detail)
                .header(header::ACCEPT_ENCODING, HeaderValue::from_static("gzip")))
        }
    }
}

async fn collect(
    mut body: Body,
    length: usize,
    bytes_max: usize,
    http: &Http,
    memory: &mut Memory,
) -> Result<Bytes, Problem> {
    let mut first = Bytes::new();
    let mut all = BytesMut::new();
    let end = Instant::now() + Duration::from_secs(http.body_seconds_max);
    loop {
        let pause = Instant::now() + Duration::from_secs(http.body_pause_seconds_max);
        let Ok(frame) = tokio::time::timeout_at(pause.min(end), body.frame()).await else { return Err(too_slow(http)) };
        let Some(frame) = frame else { break };
        let frame = frame.map_err(|error| Problem::bad_request(format!("the body ended early: {error}")))?;
        let Ok(data) = frame.into_data() else { continue };
        if first.len().max(all.len()).saturating_add(data.len()) > bytes_max {
            return Err(over(bytes_max));
        }
        memory.grow(data.len())?;
        // A body that came as one piece is not copied.
        if first.is_empty() && all.is_empty() {
            first = data;
            continue;
        }
        if all.is_empty() {
            all.reserve(length.max(first.remaining()));
            all.extend_from_slice(&first);
        }
        all.extend_from_slice(&data);
    }
    Ok(if all.is_empty() { first } else { all.freeze() })
}

fn unpack(packed: &Bytes, bytes_max: usize, mut memory: Memory) -> Result<Received, Problem> {
    let ratio_max = packed.len().saturating_mul(RATIO_MAX).max(RATIO_FREE_BYTES);
    let mut decoder = MultiGzDecoder::new(packed.as_ref());
    let mut out = Vec::new();
    loop {
        let mut step = decoder.by_ref().take(STEP_BYTES as u64);
        let read = step
            .read_to_end(&mut out)
            .map_err(|error| Problem::bad_request(format!("the body is no gzip: {error}")))?;
        if read == 0 {
            return Ok(Received { bytes: out.into(), memory });
        }
        if out.len() > bytes_max {
            return Err(over(bytes_max));
        }
        if out.len() > ratio_max {
            return Err(Problem::too_large(format!(
                "the body unpacks to more than {RATIO_MAX} times its size, which no events do; send it unpacked"
            )));
        }
        memory.grow(read)?;
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn packed(bytes: &[u8]) -> Bytes {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap().into()
    }

    fn memory(bytes: usize) -> Memory {
        Memory { all: Arc::new(Semaphore::new(bytes)), held: None }
    }

    #[test]
    fn what_was_packed_is_unpacked_also_in_members() {
        let mut two = packed(b"{\"a\":1}\n").to_vec();
        two.extend_from_slice(&packed(b"{\"b\":2}"));
        let received = unpack(&two.into(), 1000, memory(1000)).unwrap();
        assert_eq!(&received.bytes[..], b"{\"a\":1}\n{\"b\":2}");
    }

    #[test]
    fn bombs_stop_at_the_limits_of_size_ratio_and_memory() {
        let bomb = packed(&vec![b' '; 64 << 20]);
        for (bytes_max, memory_bytes) in [(16 << 20, 1 << 30), (1 << 30, 1 << 30), (1 << 30, 1 << 20)] {
            let memory = memory(memory_bytes);
            let all = Arc::clone(&memory.all);
            assert!(unpack(&bomb, bytes_max, memory).is_err());
            assert_eq!(all.available_permits(), memory_bytes, "given back");
        }
        assert!(unpack(&Bytes::from_static(b"\x1f\x8bnonsense"), 1000, memory(1000)).is_err());
    }
}
