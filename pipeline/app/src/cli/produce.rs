//! `millstream produce`: sends JSON documents to the running process, which answers once they are on disk.
//!
//! A request without an answer is sent again: tables take every event once. One that can never be accepted is not.

use std::io::Read;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use hyper::header::{HeaderName, HeaderValue};
use hyper::{Method, StatusCode};
use indicatif::{ProgressBar, ProgressStyle};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

use super::client::{Client, problem};
use super::screen;
use crate::config::Config;

mod documents;

use documents::{Documents, Next};

/// Maximum documents in a request: more gain nothing, since the endpoint syncs concurrent requests together anyway.
const BATCH_DOCUMENTS_MAX: usize = 1000;
/// Maximum bytes in a request: far below the usual limit of a body, many times what a sync costs.
const BATCH_BYTES_MAX: usize = 4 << 20;
/// Maximum attempts for one request while the process is busy or restarts: about two minutes.
const ATTEMPTS_MAX: u32 = 30;
/// Maximum number of refused events named one by one.
const NAMED_MAX: usize = 20;

/// Options of `produce`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Topic (default: that of the first pipeline of objects).
    #[arg(short, long)]
    topic: Option<String>,
    /// Header of each request, `name=value`; `ce-..` headers make each document the data of one CloudEvent.
    #[arg(short = 'H', long = "header", value_name = "NAME=VALUE", value_parser = header)]
    headers: Vec<(String, String)>,
    /// Object store of the events (default: the pipeline's).
    #[arg(long)]
    store: Option<String>,
    /// Files of JSON documents, one per line, several on a line or each over many lines, also gzipped; `-` or none is
    /// standard input.
    files: Vec<PathBuf>,
}

/// Parses a header.
fn header(text: &str) -> Result<(String, String), String> {
    let Some((name, value)) = text.split_once('=') else { return Err("a header is written name=value".to_owned()) };
    let name = name.trim().to_ascii_lowercase();
    if HeaderName::from_bytes(name.as_bytes()).is_err() {
        return Err(format!("{name:?} cannot name a header: use letters, digits and !#$%&'*+-.^_`|~"));
    }
    if HeaderValue::from_str(value).is_err() {
        return Err(format!("the value of the header {name} has characters that no header may have"));
    }
    Ok((name, value.to_owned()))
}

/// The endpoint's answer to a request.
#[derive(Debug, Default, Deserialize)]
struct Answer {
    accepted: u64,
    refused: Vec<Refused>,
    #[serde(default)]
    refused_more: u64,
}

#[derive(Debug, Deserialize)]
struct Refused {
    index: u64,
    reason: String,
    detail: String,
}

/// Documents of one request.
#[derive(Debug, Default)]
struct Batch {
    body: Vec<u8>,
    /// The line where each begins.
    lines: Vec<u64>,
}

struct Producer {
    client: Client,
    path: String,
    headers: Vec<(String, String)>,
    documents_max: usize,
    bytes_max: usize,
    bar: ProgressBar,
    accepted: u64,
    refused: u64,
}

pub(super) async fn run(args: &Args, config: &Config) -> anyhow::Result<ExitCode> {
    let mut producer = Producer::new(args, config).await?;
    let standard = [PathBuf::from("-")];
    let files = if args.files.is_empty() { &standard[..] } else { &args.files };
    for file in files {
        let name = file.display().to_string();
        let sent = if name == "-" {
            producer.send_all("standard input", std::io::stdin()).await
        } else {
            producer.send_all(&name, std::fs::File::open(file).with_context(|| format!("open {name}"))?).await
        };
        sent.with_context(|| format!("{} events were accepted before this", producer.accepted))?;
    }
    producer.bar.finish_and_clear();
    screen::print(&format!(
        "accepted {}, refused {}",
        screen::grouped(producer.accepted),
        screen::grouped(producer.refused)
    ));
    Ok(if producer.refused == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Producer {
    async fn new(args: &Args, config: &Config) -> anyhow::Result<Producer> {
        let mut headers = args.headers.clone();
        let binary = headers.iter().any(|(name, _)| name.starts_with("ce-"));
        if !headers.iter().any(|(name, _)| name == "content-type") {
            let kind = if binary { "application/json" } else { "application/x-ndjson" };
            headers.push(("content-type".to_owned(), kind.to_owned()));
        }
        let parameters = [("topic", &args.topic), ("store", &args.store)].into_iter().filter_map(|(name, value)| {
            Some(format!("{name}={}", utf8_percent_encode(value.as_deref()?, NON_ALPHANUMERIC)))
        });
        let parameters: Vec<String> = parameters.collect();
        let question = if parameters.is_empty() { "" } else { "?" };
        let style = ProgressStyle::with_template("{spinner} {human_pos} events accepted, {per_sec}")?;
        Ok(Producer {
            client: Client::expect(config).await?,
            path: format!("/v1/events{question}{}", parameters.join("&")),
            headers,
            documents_max: if binary { 1 } else { BATCH_DOCUMENTS_MAX },
            bytes_max: BATCH_BYTES_MAX.min(config.http.body_bytes_max),
            bar: ProgressBar::new_spinner().with_style(style),
            accepted: 0,
            refused: 0,
        })
    }

    async fn send_all(&mut self, name: &str, input: impl Read + 'static) -> anyhow::Result<()> {
        let reading = || format!("read {name}");
        let mut documents = Documents::of(input, self.bytes_max).with_context(reading)?;
        let mut batch = Batch::default();
        loop {
            let (line, document) = match documents.next().with_context(reading)? {
                Next::Document(line, document) => (line, document),
                Next::TooLong(line) => {
                    self.refuse(&format!("{name}:{line}: longer than {} bytes", self.bytes_max));
                    continue;
                }
                Next::End => return self.send(name, &mut batch).await,
            };
            if batch.lines.len() >= self.documents_max || batch.body.len() + document.len() >= self.bytes_max {
                self.send(name, &mut batch).await?;
            }
            if !batch.lines.is_empty() {
                batch.body.push(b'\n');
            }
            batch.lines.push(line);
            batch.body.extend_from_slice(&document);
        }
    }

    /// Sends a batch until it is answered.
    async fn send(&mut self, name: &str, batch: &mut Batch) -> anyhow::Result<()> {
        let batch = std::mem::take(batch);
        if batch.lines.is_empty() {
            return Ok(());
        }
        let body = Bytes::from(batch.body);
        let mut last = anyhow::anyhow!("not sent");
        for attempt in 0..ATTEMPTS_MAX {
            match self.client.send(Method::POST, &self.path, &self.headers, body.clone()).await {
                Ok((StatusCode::ACCEPTED | StatusCode::UNPROCESSABLE_ENTITY, answer)) => {
                    self.count(name, &batch.lines, &answer)?;
                    return Ok(());
                }
                Ok((status, answer)) if is_lasting(status) => {
                    bail!("{} answers {status}{}", self.client.address, problem(&answer))
                }
                Ok((status, answer)) => {
                    last = anyhow::anyhow!("{} answers {status}{}", self.client.address, problem(&answer));
                }
                // The request cannot be built.
                Err(error) if error.is::<hyper::http::Error>() => return Err(error),
                Err(error) => last = error,
            }
            self.bar.set_message("waiting");
            tokio::time::sleep(Duration::from_millis(100 << attempt.min(6))).await;
        }
        Err(last.context(format!("gave up after {ATTEMPTS_MAX} attempts")))
    }

    fn count(&mut self, name: &str, lines: &[u64], answer: &[u8]) -> anyhow::Result<()> {
        // One CloudEvent that is wholly accepted is answered without a body.
        let answer: Answer = if answer.trim_ascii().is_empty() {
            Answer { accepted: lines.len() as u64, ..Answer::default() }
        } else {
            serde_json::from_slice(answer).context("read the answer")?
        };
        self.accepted += answer.accepted;
        self.bar.set_position(self.accepted);
        let events = answer.accepted + answer.refused.len() as u64 + answer.refused_more;
        for refused in &answer.refused {
            let Refused { index, reason, detail } = refused;
            let line = usize::try_from(*index).ok().and_then(|index| lines.get(index));
            let place = match (line, lines) {
                (_, [only]) => format!("{name}:{only}"),
                // Each document is one event.
                (Some(line), _) if events == lines.len() as u64 => format!("{name}:{line}"),
                // One may hold several, so the number of the event is not that of its document.
                (_, lines) => {
                    let first = lines.first().copied().unwrap_or_default();
                    format!("{name}, event {} of the request that begins at line {first}", index + 1)
                }
            };
            self.refuse(&format!("{place}: {}: {}", screen::escape(reason), screen::escape(detail)));
        }
        self.refused += answer.refused_more;
        Ok(())
    }

    fn refuse(&mut self, message: &str) {
        self.refused += 1;
        if self.refused <= NAMED_MAX as u64 {
            self.bar.suspend(|| screen::complain(message));
        }
    }
}

/// Whether the same request will always be answered this way: the client's mistake, and not one of time.
fn is_lasting(status: StatusCode) -> bool {
    !status.is_server_error() && !matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS)
}
