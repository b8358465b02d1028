//! The generator of uploads: a steady rate with bursts, overwrites, deletes, duplicates and reordering.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::Bytes;
use hyper::StatusCode;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::model::{Meaning, Model, Upload};
use super::tree::File;
use super::{Args, Shared, Wish, row_by_row};
use crate::bench::client::Poster;
use crate::cli::client::problem;
use crate::time::utc;

const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// Events per POST request.
const POST: usize = 10;
/// Events that wait to be sent out of order.
const SHUFFLE: usize = 50;
/// Events kept to be sent again.
const KEPT: usize = 1_000;
/// Seconds between bursts.
const BURST_EVERY: u64 = 15;
/// Pause before a post is repeated, number of repeats before the screen shows it, and their maximum number once the
/// demo is to end.
const WAIT: Duration = Duration::from_millis(100);
const NOTED_AFTER: u32 = 20;
const WAITS_MAX: u32 = 50;

struct Emitter {
    random: SmallRng,
    files: Vec<File>,
    /// Files already uploaded, to be overwritten or deleted.
    uploaded: Vec<(usize, usize)>,
    waiting: Vec<Vec<u8>>,
    kept: VecDeque<Vec<u8>>,
    model: Model,
    last_ns: u64,
    next_file: usize,
}

/// Sends until told to stop; returns the model of what was sent.
pub(super) async fn emit(
    args: Args,
    files: Vec<File>,
    shared: Arc<Shared>,
    mut wishes: mpsc::Receiver<Wish>,
    stop: CancellationToken,
) -> anyhow::Result<Model> {
    let mut emitter = Emitter {
        random: SmallRng::seed_from_u64(args.seed),
        files,
        uploaded: Vec::new(),
        waiting: Vec::new(),
        kept: VecDeque::new(),
        model: Model::default(),
        last_ns: 0,
        next_file: 0,
    };
    let mut poster = Poster::connect(shared.address).await?;
    let began = Instant::now();
    let mut due = began;
    while !stop.is_cancelled() {
        tokio::select! {
            () = tokio::time::sleep_until(due) => {}
            wish = wishes.recv() => {
                if let Some(wish) = wish {
                    emitter.grant(wish, &mut poster, &shared, &stop).await?;
                }
                continue;
            }
            () = stop.cancelled() => break,
        }
        let burst = began.elapsed().as_secs() % BURST_EVERY == BURST_EVERY - 1;
        let rate = args.rate.max(1) * if burst { 5 } else { 1 };
        due += Duration::from_secs_f64(POST as f64 / rate as f64);
        let body = emitter.body();
        send(&mut poster, &shared, &stop, body, POST as u64).await?;
    }
    // What still waits is sent, so that the model and the stream hold the same.
    while !emitter.waiting.is_empty() {
        let count = emitter.waiting.len().min(POST);
        let body = emitter.waiting.drain(..count).collect::<Vec<_>>().join(&b'\n');
        if !send(&mut poster, &shared, &stop, body, count as u64).await? {
            anyhow::ensure!(!args.check, "the endpoint took no events any more");
            break;
        }
    }
    Ok(emitter.model)
}

/// Posts, and returns whether the events were accepted. If the endpoint asks to wait, the post is repeated, until the
/// demo ends and a while beyond that.
async fn send(
    poster: &mut Poster,
    shared: &Shared,
    stop: &CancellationToken,
    body: Vec<u8>,
    events: u64,
) -> anyhow::Result<bool> {
    let body = Bytes::from(body);
    let mut waits = 0;
    loop {
        let (status, answer) = poster.post("/v1/events", body.clone()).await?;
        match status {
            StatusCode::ACCEPTED => {
                shared.sent.fetch_add(events, Relaxed);
                return Ok(true);
            }
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                waits += 1;
                if waits == NOTED_AFTER {
                    shared.note(format!("events are not taken at the moment ({status}){}", problem(&answer)));
                }
                if stop.is_cancelled() && waits > WAITS_MAX {
                    return Ok(false);
                }
                tokio::time::sleep(WAIT).await;
            }
            _ => anyhow::bail!("the endpoint answers {status}{}", problem(&answer)),
        }
    }
}

impl Emitter {
    fn body(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        for _ in 0..POST {
            while self.waiting.len() < SHUFFLE {
                let event = self.event();
                if self.random.random_ratio(1, 100) {
                    self.waiting.push(event.clone());
                }
                self.waiting.push(event);
            }
            let at = self.random.random_range(0..self.waiting.len());
            let event = self.waiting.swap_remove(at);
            body.extend_from_slice(&event);
            body.push(b'\n');
            self.kept.push_back(event);
            if self.kept.len() > KEPT {
                self.kept.pop_front();
            }
        }
        body
    }

    /// The bytes of the next event; the model learns its meaning.
    fn event(&mut self) -> Vec<u8> {
        let again = self.uploaded.len() > 100 && self.random.random_ratio(15, 100);
        let (file, round) = if again {
            let at = self.random.random_range(0..self.uploaded.len());
            self.uploaded.get(at).copied().unwrap_or_default()
        } else {
            let new = (self.next_file % self.files.len(), self.next_file / self.files.len());
            self.next_file += 1;
            self.uploaded.push(new);
            new
        };
        let removed = again && self.random.random_ratio(1, 3);
        let Some(File { name, size }) = self.files.get(file).cloned() else { return Vec::new() };
        let bucket = ["uploads", "archive", "models"].get(file % 3).copied().unwrap_or("uploads");
        let key = if round == 0 { name } else { format!("round-{round}/{name}") };
        // Times are a little in the past and all different, so that the order is never a matter of luck.
        let now_ns = (millstream_engine::clock::now_ms() as u64) * 1_000_000;
        self.last_ns = (self.last_ns + 1_000).max(now_ns);
        let ns = self.last_ns;
        let upload = (!removed).then(|| Upload {
            size: size + u64::from(self.random.random::<u8>()),
            etag: format!("{:032x}", self.random.random::<u128>()),
            owner: format!("owner-{}", self.random.random_range(0..50)),
        });
        let bytes = bytes(bucket, &key, ns, upload.as_ref());
        self.model.learn(&Meaning { bucket: bucket.to_owned(), key, ns, upload });
        bytes
    }

    async fn grant(
        &mut self,
        wish: Wish,
        poster: &mut Poster,
        shared: &Arc<Shared>,
        stop: &CancellationToken,
    ) -> anyhow::Result<()> {
        match wish {
            Wish::Duplicates => {
                let events: Vec<Vec<u8>> = self.kept.iter().cloned().collect();
                let count = events.len();
                for chunk in events.chunks(200) {
                    send(poster, shared, stop, chunk.join(&b'\n'), chunk.len() as u64).await?;
                }
                shared.note(format!("sent {count} events again: `filtered` grows, objects and bytes stay"));
            }
            Wish::Poison => {
                let poison = poison();
                let count = poison.len() as u64;
                if send(poster, shared, stop, poison.join(&b'\n'), count).await? {
                    shared.poison_sent.fetch_add(count, Relaxed);
                }
                let data_dir = shared.node.config.data_dir.display();
                shared.note(format!(
                    "sent {count} poisoned events: `quarantined` grows, the rest goes on; see `millstream --data-dir {data_dir} quarantine ls`"
                ));
            }
            Wish::KillPostgres => shared.note(kill_postgres(shared)),
            Wish::Flip | Wish::KillTask | Wish::Sicken => {
                let shared = Arc::clone(shared);
                // Its result is a note.
                drop(millstream_engine::task::spawn("demo services", async move { serve(wish, &shared).await }));
            }
            Wish::RowByRow => {
                let shared = Arc::clone(shared);
                // Its result is shown on the screen.
                drop(millstream_engine::task::spawn("row by row", async move { row_by_row::show(&shared).await }));
            }
        }
        Ok(())
    }
}

/// Does to the service of the demo what a key asks for.
async fn serve(wish: Wish, shared: &Shared) {
    let services = &shared.services;
    let done = match wish {
        Wish::Flip => services.flip().await,
        Wish::KillTask => services.kill().await,
        _ => services.sicken().await,
    };
    shared.note(done.unwrap_or_else(|error| format!("{error:#}")));
}

/// Kills the server, if it runs; returns what happened.
fn kill_postgres(shared: &Shared) -> String {
    let Some(cluster) = &shared.node.cluster else {
        return "PostgreSQL is not ours to kill: it runs elsewhere".to_owned();
    };
    // The task that holds the lock is starting the server: waiting for that would hold up the events.
    let Ok(cluster) = cluster.try_lock() else { return "PostgreSQL is just being started again".to_owned() };
    let pid = cluster.as_ref().and_then(millstream_postgres::Cluster::server_pid);
    let pid = pid.and_then(|pid| i32::try_from(pid).ok()).and_then(rustix::process::Pid::from_raw);
    let Some(pid) = pid else { return "PostgreSQL is dead already; it is started again within a second".to_owned() };
    match rustix::process::kill_process(pid, rustix::process::Signal::KILL) {
        Ok(()) => {
            format!("killed PostgreSQL (pid {}): lag grows, then falls to 0; nothing is lost", pid.as_raw_nonzero())
        }
        Err(error) => format!("PostgreSQL (pid {}) was not killed: {error}", pid.as_raw_nonzero()),
    }
}

/// An event as MinIO sends it.
fn bytes(bucket: &str, key: &str, ns: u64, upload: Option<&Upload>) -> Vec<u8> {
    let encoded = utf8_percent_encode(key, UNRESERVED).to_string().replace("%20", "+");
    let name = if upload.is_some() { "s3:ObjectCreated:Put" } else { "s3:ObjectRemoved:Delete" };
    let mut object = json!({ "key": encoded, "sequencer": format!("{ns:016X}") });
    if let (Some(upload), Some(object)) = (upload, object.as_object_mut()) {
        object.insert("size".to_owned(), json!(upload.size));
        object.insert("eTag".to_owned(), json!(upload.etag));
        object.insert("contentType".to_owned(), json!("application/octet-stream"));
        object.insert(
            "userMetadata".to_owned(),
            json!({ "content-type": "application/octet-stream", "X-Amz-Meta-Owner": upload.owner, "X-Amz-Meta-Stage": "raw" }),
        );
    }
    let event = json!({
        "EventName": name,
        "Key": format!("{bucket}/{key}"),
        "Records": [{
            "eventVersion": "2.0", "eventSource": "minio:s3", "awsRegion": "",
            "eventTime": utc((ns / 1_000_000) as i64), "eventName": name,
            "s3": {
                "s3SchemaVersion": "1.0", "configurationId": "Config",
                "bucket": { "name": bucket, "arn": format!("arn:aws:s3:::{bucket}") },
                "object": object,
            },
        }],
    });
    event.to_string().into_bytes()
}

/// Events that are accepted, because they can be a record, and that no table can hold.
fn poison() -> Vec<Vec<u8>> {
    let event = |key: &str, size: serde_json::Value, time: &str| {
        let event = json!({ "Records": [{
            "eventVersion": "2.1", "eventName": "ObjectCreated:Put", "eventTime": time,
            "s3": { "bucket": { "name": "poison" }, "object": { "key": key, "size": size } },
        }]});
        event.to_string().into_bytes()
    };
    let now = utc(millstream_engine::clock::now_ms());
    vec![
        event("size-is-negative", json!(-1), &now),
        event("nul-%00-in-key", json!(1), &now),
        event("from-the-year-9999", json!(1), "9999-01-01T00:00:00.000Z"),
        event(&"k".repeat(3000), json!(1), &now),
    ]
}
