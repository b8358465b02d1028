//! `millstream produce`: lines of JSON to the running process, which answers once they are on disk.
//!
//! What is not answered is sent again: tables take every event once.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use hyper::{Method, StatusCode};
use indicatif::{ProgressBar, ProgressStyle};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

use super::client::{Client, problem};
use super::screen;
use crate::config::Config;

/// Lines in a request: more gain nothing, since the endpoint syncs what arrives together anyway.
const BATCH_LINES_MAX: usize = 1000;
/// Bytes in a request: far below the usual limit of a body, many times what a sync costs.
const BATCH_BYTES_MAX: usize = 4 << 20;
/// Attempts for one request while the process is busy or restarts: about two minutes.
const ATTEMPTS_MAX: u32 = 30;
/// Refused events are named one by one up to this many.
const NAMED_MAX: usize = 20;

/// Options of `produce`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The topic; without it that of the first pipeline.
    #[arg(short, long)]
    topic: Option<String>,
    /// A header of each request, `name=value`; `ce-..` headers make each line the data of one CloudEvent.
    #[arg(short = 'H', long = "header", value_name = "NAME=VALUE")]
    headers: Vec<String>,
    /// Which object store the events speak of; without it the pipeline's.
    #[arg(long)]
    store: Option<String>,
    /// Files of one JSON document a line; `-` or none is standard input.
    files: Vec<PathBuf>,
}

/// What the endpoint says of a request.
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

/// Lines on their way.
#[derive(Debug, Default)]
struct Batch {
    body: Vec<u8>,
    lines: usize,
    first_line: u64,
}

struct Producer {
    client: Client,
    path: String,
    headers: Vec<(String, String)>,
    lines_max: usize,
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
            producer.send_lines("standard input", &mut BufReader::new(std::io::stdin())).await
        } else {
            let opened = std::fs::File::open(file).with_context(|| format!("open {name}"))?;
            producer.send_lines(&name, &mut BufReader::new(opened)).await
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
        let mut headers = Vec::new();
        for header in &args.headers {
            let Some((name, value)) = header.split_once('=') else { bail!("--header {header}: write name=value") };
            headers.push((name.trim().to_ascii_lowercase(), value.to_owned()));
        }
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
            lines_max: if binary { 1 } else { BATCH_LINES_MAX },
            bytes_max: BATCH_BYTES_MAX.min(config.http.body_bytes_max),
            bar: ProgressBar::new_spinner().with_style(style),
            accepted: 0,
            refused: 0,
        })
    }

    async fn send_lines(&mut self, name: &str, input: &mut impl BufRead) -> anyhow::Result<()> {
        let mut batch = Batch::default();
        let mut line = Vec::new();
        let mut number = 0;
        loop {
            let read = read_line(input, &mut line, self.bytes_max).with_context(|| format!("read {name}"))?;
            number += 1;
            match read {
                Line::End => return self.send(name, &mut batch).await,
                Line::TooLong => {
                    self.refuse(&format!("{name}:{number}: longer than {} bytes", self.bytes_max));
                    continue;
                }
                Line::Whole if line.trim_ascii().is_empty() => continue,
                Line::Whole => {}
            }
            if batch.lines >= self.lines_max || batch.body.len() + line.len() >= self.bytes_max {
                self.send(name, &mut batch).await?;
            }
            if batch.lines == 0 {
                batch.first_line = number;
            }
            batch.lines += 1;
            if batch.lines > 1 {
                batch.body.push(b'\n');
            }
            batch.body.extend_from_slice(line.trim_ascii());
        }
    }

    /// Sends a batch until it is answered.
    async fn send(&mut self, name: &str, batch: &mut Batch) -> anyhow::Result<()> {
        let batch = std::mem::take(batch);
        if batch.lines == 0 {
            return Ok(());
        }
        let body = Bytes::from(batch.body);
        let mut last = anyhow::anyhow!("not sent");
        for attempt in 0..ATTEMPTS_MAX {
            match self.client.send(Method::POST, &self.path, &self.headers, body.clone()).await {
                Ok((StatusCode::ACCEPTED | StatusCode::UNPROCESSABLE_ENTITY, answer)) => {
                    // One CloudEvent that was taken whole has no more to be said of it.
                    let answer = match &answer[..] {
                        [] => Answer { accepted: 1, ..Answer::default() },
                        answer => serde_json::from_slice(answer).context("read the answer")?,
                    };
                    self.count(name, batch.first_line, &answer);
                    return Ok(());
                }
                Ok((status @ (StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE), answer)) => {
                    last = anyhow::anyhow!("{} answers {status}{}", self.client.address, problem(&answer));
                }
                Ok((status, answer)) => bail!("{} answers {status}{}", self.client.address, problem(&answer)),
                Err(error) => last = error,
            }
            self.bar.set_message("waiting");
            tokio::time::sleep(Duration::from_millis(100 << attempt.min(6))).await;
        }
        Err(last.context(format!("gave up after {ATTEMPTS_MAX} attempts")))
    }

    fn count(&mut self, name: &str, first_line: u64, answer: &Answer) {
        self.accepted += answer.accepted;
        self.bar.set_position(self.accepted);
        for refused in &answer.refused {
            let Refused { index, reason, detail } = refused;
            // A line may hold several events, so the number of the event is not that of its line.
            let place = format!("{name}, event {index} of those from line {first_line} on");
            self.refuse(&format!("{place}: {}: {}", screen::escape(reason), screen::escape(detail)));
        }
        self.refused += answer.refused_more;
    }

    fn refuse(&mut self, message: &str) {
        self.refused += 1;
        if self.refused <= NAMED_MAX as u64 {
            self.bar.suspend(|| screen::complain(message));
        }
    }
}

enum Line {
    Whole,
    /// It was passed over.
    TooLong,
    End,
}

/// Reads a line of bounded length.
fn read_line(input: &mut impl BufRead, line: &mut Vec<u8>, bytes_max: usize) -> std::io::Result<Line> {
    line.clear();
    let (mut too_long, mut any) = (false, false);
    loop {
        let buffer = input.fill_buf()?;
        if buffer.is_empty() {
            return Ok(if !any {
                Line::End
            } else if too_long {
                Line::TooLong
            } else {
                Line::Whole
            });
        }
        any = true;
        let end = buffer.iter().position(|byte| *byte == b'\n');
        let part = buffer.get(..end.unwrap_or(buffer.len())).unwrap_or_default();
        too_long |= line.len() + part.len() > bytes_max;
        if !too_long {
            line.extend_from_slice(part);
        }
        let used = end.map_or(buffer.len(), |end| end + 1);
        input.consume(used);
        if end.is_some() {
            return Ok(if too_long { Line::TooLong } else { Line::Whole });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_up_to_a_limit() {
        let mut input = BufReader::with_capacity(4, &b"one\nlonger than that\n\nlast"[..]);
        let mut line = Vec::new();
        let mut read = Vec::new();
        loop {
            match read_line(&mut input, &mut line, 8).unwrap() {
                Line::End => break,
                Line::TooLong => read.push("too long".to_owned()),
                Line::Whole => read.push(String::from_utf8(line.clone()).unwrap()),
            }
        }
        assert_eq!(read, ["one", "too long", "", "last"]);
    }
}
