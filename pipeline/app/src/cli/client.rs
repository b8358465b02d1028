//! The running process, asked over HTTP.

use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{Method, Request, StatusCode};
use hyper_util::client::legacy::Client as Connections;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

use crate::config::Config;
use crate::data_dir;
use crate::http::access::{Need, need};
use crate::tokens::{self, Entry, Scope};

/// File that holds the address of the process that runs on a data directory.
const ADDRESS_FILE: &str = "address";
/// Written in its place, before a process id, once that process no longer listens.
const DRAINING: &str = "draining ";
/// A process on this machine accepts a connection at once or not at all.
const CONNECT_WITHIN: Duration = Duration::from_secs(2);
/// The endpoint waits 30 s for a disk.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);
/// For readiness the process asks its database, which takes a second or two; the state it answers from memory.
const READY_WITHIN: Duration = Duration::from_secs(5);
/// No answer to a command is nearly as long.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// A process that accepted a connection.
#[derive(Debug)]
pub(crate) struct Client {
    pub(super) address: SocketAddr,
    tokens_file: Option<PathBuf>,
    connections: Connections<HttpConnector, Full<Bytes>>,
}

/// Writes the address for [`Client::find`]; it is a hint, so a failure to write it is ignored.
pub(crate) fn note_address(data_dir: &Path, address: SocketAddr) {
    note(data_dir, format!("{address} {}", identity(data_dir)).trim_end());
}

/// Writes a note for commands that run when the process no longer listens.
pub(super) fn note_draining(data_dir: &Path) {
    note(data_dir, &format!("{DRAINING}{}\n", std::process::id()));
}

fn note(data_dir: &Path, text: &str) {
    let path = data_dir.join(ADDRESS_FILE);
    if let Err(error) = data_dir::note(&path, text) {
        tracing::warn!(%error, path = %path.display(), "commands will not find this process by its data directory");
    }
}

/// Removes the note of a process that was killed while it drained, whose id may be ours now.
pub(super) fn forget_drain(data_dir: &Path) {
    let note = data_dir::noted(&data_dir.join(ADDRESS_FILE));
    let drains = draining(data_dir).is_some_and(|pid| pid != std::process::id());
    if !drains && note.is_some_and(|note| note.starts_with(DRAINING)) {
        forget_address(data_dir);
    }
}

/// The process that drains on the data directory and no longer listens.
pub(super) fn draining(data_dir: &Path) -> Option<u32> {
    let pid: i32 = data_dir::noted(&data_dir.join(ADDRESS_FILE))?.strip_prefix(DRAINING)?.trim().parse().ok()?;
    let lives = rustix::process::test_kill_process(rustix::process::Pid::from_raw(pid)?);
    // The process may belong to another account, which we may not signal.
    (lives != Err(rustix::io::Errno::SRCH)).then_some(pid.unsigned_abs())
}

/// Removes the address.
pub(crate) fn forget_address(data_dir: &Path) {
    std::fs::remove_file(data_dir.join(ADDRESS_FILE)).ok();
}

/// The address that a process left there. A copy of a data directory is ignored: the process runs on the original.
pub(crate) fn noted_address(data_dir: &Path) -> Option<SocketAddr> {
    let note = crate::data_dir::noted(&data_dir.join(ADDRESS_FILE))?;
    let (address, of) = note.trim().split_once(' ').unwrap_or((note.trim(), ""));
    let is_here = of.is_empty() || of == identity(data_dir);
    address.parse().ok().filter(|_| is_here)
}

/// Distinguishes a directory from its copies: numbers of its file system and its inode. Empty if they cannot be read.
fn identity(data_dir: &Path) -> String {
    std::fs::metadata(data_dir).map(|there| format!("{}:{}", there.dev(), there.ino())).unwrap_or_default()
}

impl Client {
    /// Finds the process that runs on the data directory, or else at the configured address.
    pub(crate) async fn find(config: &Config) -> anyhow::Result<Option<Client>> {
        let noted = noted_address(&config.data_dir);
        for address in noted.into_iter().chain([config.http.listen]).map(reachable) {
            let connected = tokio::time::timeout(CONNECT_WITHIN, tokio::net::TcpStream::connect(address)).await;
            if address.port() != 0 && matches!(connected, Ok(Ok(_))) {
                let connections = Connections::builder(TokioExecutor::new()).build_http();
                return Ok(Some(Client { address, tokens_file: config.http.tokens_file.clone(), connections }));
            }
        }
        Ok(None)
    }

    /// The address of a process that ran on the data directory and no longer listens, but left its note: a process that
    /// ends in order removes it.
    pub(super) fn gone(config: &Config) -> Option<SocketAddr> {
        noted_address(&config.data_dir)
    }

    /// As [`Client::find`], but it is an error if there is no process.
    pub(crate) async fn expect(config: &Config) -> anyhow::Result<Client> {
        if let Some(pid) = draining(&config.data_dir) {
            bail!(
                "process {pid} drains on {}: it finishes what is in flight, takes no more requests, and ends",
                config.data_dir.display()
            );
        }
        Client::find(config).await?.with_context(|| {
            format!(
                "no millstream answers at {} or runs on {}: start it with `millstream run`, or say where it is with --listen or --data-dir",
                config.http.listen,
                config.data_dir.display()
            )
        })
    }

    /// Sends a request, and returns status and body.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(String, String)],
        body: Bytes,
    ) -> anyhow::Result<(StatusCode, Bytes)> {
        let mut request = Request::builder().method(&method).uri(format!("http://{}{path}", self.address));
        for (name, value) in headers {
            request = request.header(name, value);
        }
        if let Some(token) = self.token(&method, path)? {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let request = request.body(Full::new(body))?;
        let answer = async {
            let response = self.connections.request(request).await?;
            let status = response.status();
            let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
            let body = body.map_err(|error| anyhow::anyhow!("read the answer: {error}"))?;
            anyhow::Ok((status, body.to_bytes()))
        };
        tokio::time::timeout(ANSWER_WITHIN, answer)
            .await
            .with_context(|| format!("{} did not answer within {} s", self.address, ANSWER_WITHIN.as_secs()))?
            .with_context(|| format!("ask {}", self.address))
    }

    /// Its readiness, part by part. Another program may listen there, so the timeout is short.
    pub(super) async fn ready(&self) -> anyhow::Result<Bytes> {
        let answer = self.send(Method::GET, "/readyz?for=queries", &[], Bytes::new());
        let answered = tokio::time::timeout(READY_WITHIN, answer).await;
        let (_, body) = answered.map_err(|_| self.is_silent())??;
        Ok(body)
    }

    /// The state, as the process judges it. A frozen process accepts the connection and never answers.
    pub(super) async fn state(&self) -> anyhow::Result<serde_json::Value> {
        let asked = tokio::time::timeout(READY_WITHIN, self.get("/v1/status")).await;
        asked.map_err(|_| self.is_silent())?
    }

    fn is_silent(&self) -> anyhow::Error {
        anyhow::anyhow!(
            "{} takes connections and does not answer within {} s: the process may be stopped (SIGSTOP), or the machine too busy",
            self.address,
            READY_WITHIN.as_secs()
        )
    }

    /// Reads a JSON document.
    pub(super) async fn get(&self, path: &str) -> anyhow::Result<serde_json::Value> {
        self.json(Method::GET, path, Bytes::new()).await
    }

    /// Sends a JSON document, or nothing, and reads one.
    pub(crate) async fn json(&self, method: Method, path: &str, body: Bytes) -> anyhow::Result<serde_json::Value> {
        let headers = [("content-type".to_owned(), "application/json".to_owned())];
        let headers: &[_] = if body.is_empty() { &[] } else { &headers };
        let (status, body) = self.send(method, path, headers, body).await?;
        if !status.is_success() {
            bail!("{} answers {path} with {status}{}", self.address, problem(&body));
        }
        serde_json::from_slice(&body).with_context(|| format!("read what {} answers", self.address))
    }
}

/// The text of a problem document, for people.
pub(crate) fn problem(body: &[u8]) -> String {
    let Ok(document) = serde_json::from_slice::<serde_json::Value>(body) else { return String::new() };
    let text = |name: &str| document.get(name).and_then(|text| text.as_str()).map(super::screen::escape);
    match (text("title"), text("detail")) {
        (Some(title), Some(detail)) => format!(": {title}; {detail}"),
        (Some(one), None) | (None, Some(one)) => format!(": {one}"),
        (None, None) => String::new(),
    }
}

/// The local address of a listener on all interfaces.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(if address.is_ipv4() { [127, 0, 0, 1].into() } else { std::net::Ipv6Addr::LOCALHOST.into() });
    }
    address
}

impl Client {
    /// The token for a request: one for everything if there is one, else one with the duty. A user who can read the
    /// file may use it. It is read each time, because it may change while a command watches.
    fn token(&self, method: &Method, path: &str) -> anyhow::Result<Option<String>> {
        let Some(file) = &self.tokens_file else { return Ok(None) };
        let entries = tokens::read(file)?;
        let need = need(method.as_str(), path);
        let may = |entry: &&Entry| match need {
            Need::Nothing => true,
            Need::OneOf(duties) => duties.iter().any(|duty| entry.scope.duties.has(*duty)),
            Need::Everything => entry.scope == Scope::unlimited(),
        };
        // These concern all stores; everything else has a part that a limited token may see.
        let whole =
            path.starts_with("/v1/controller") || path.starts_with("/v1/pipelines/") && path.contains("/stream");
        let free = entries.iter().filter(may).find(|entry| !entry.scope.is_limited());
        let found = free.or_else(|| entries.iter().filter(may).find(|_| !whole));
        if let Some(entry) = found {
            return Ok(Some(entry.token.clone()));
        }
        let duty = match need {
            Need::Nothing => return Ok(None),
            Need::OneOf(duties) => duties.first().map_or("", |duty| duty.as_str()),
            Need::Everything => "operate",
        };
        let limits = if whole { " and no limits" } else { "" };
        bail!(
            "no token in {} has the duty {duty}{limits}, which this needs: `millstream token add NAME --duties {duty}` makes one",
            file.display()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_of_a_data_directory_is_no_place_of_the_process() {
        let place = tempfile::tempdir().unwrap();
        let own = place.path().join("own");
        let copy = place.path().join("copy");
        std::fs::create_dir(&own).unwrap();
        std::fs::create_dir(&copy).unwrap();
        let address: SocketAddr = "127.0.0.1:4321".parse().unwrap();
        note_address(&own, address);
        std::fs::copy(own.join(ADDRESS_FILE), copy.join(ADDRESS_FILE)).unwrap();
        assert_eq!((noted_address(&own), noted_address(&copy)), (Some(address), None));
        // An earlier version does not write which directory it runs on.
        note(&copy, "127.0.0.1:4321\n");
        assert_eq!(noted_address(&copy), Some(address));
    }
}
