//! The embedded stream of a running process, accessed over HTTP: the log is open in that process and nowhere else.

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hyper::Method;
use millstream_engine::{Position, Record};
use serde::de::DeserializeOwned;

use crate::cli::client::Client;
use crate::config::{Config, Pipeline};
use crate::http::damage::{Aside, Damaged};
use crate::http::stream::{Answer, Described, Extent, Line};

/// A topic in a running process.
#[derive(Debug)]
pub(crate) struct Running {
    client: Client,
    path: String,
    incarnation: String,
    partitions: u32,
}

impl Running {
    /// Asks the process that runs on the data directory, if there is one.
    pub(super) async fn find(config: &Config, pipeline: &Pipeline) -> anyhow::Result<Option<Self>> {
        let Some(client) = Client::find(config).await? else { return Ok(None) };
        let path = format!("/v1/pipelines/{}/stream", pipeline.name);
        let described: Described = ask(&client, &path).await?;
        let partitions = u32::try_from(described.partitions.len()).unwrap_or(u32::MAX);
        Ok(Some(Running { client, path, incarnation: described.incarnation, partitions }))
    }

    pub(super) fn incarnation(&self) -> &str {
        &self.incarnation
    }

    pub(super) fn partitions(&self) -> u32 {
        self.partitions
    }

    pub(super) async fn range(&self, partition: u32) -> anyhow::Result<(u64, u64)> {
        let described: Described = ask(&self.client, &self.path).await?;
        let extent = usize::try_from(partition).ok().and_then(|at| described.partitions.get(at).copied());
        let Extent { start, end } = extent.with_context(|| format!("there is no partition {partition}"))?;
        Ok((start, end))
    }

    pub(super) async fn offset_at(&self, partition: u32, ms: i64) -> anyhow::Result<u64> {
        let answer = self.ask(partition, &format!("at_ms={ms}")).await?;
        answer.offset.context("the process told no offset")
    }

    pub(super) async fn era(&self, partition: u32, next: u64) -> anyhow::Result<Option<i64>> {
        Ok(self.ask(partition, &format!("era_before={next}")).await?.era)
    }

    pub(super) async fn read(&self, partition: u32, from: u64) -> anyhow::Result<(Vec<Record>, u64)> {
        let answer = self.ask(partition, &format!("from={from}")).await?;
        let records = answer.records.into_iter().map(record).collect::<anyhow::Result<_>>()?;
        Ok((records, answer.next.unwrap_or(from)))
    }

    /// The damage at an offset, if the process has met it.
    pub(super) async fn damage_at(&self, partition: u32, offset: u64) -> anyhow::Result<Option<Damaged>> {
        let described: Described = ask(&self.client, &self.path).await?;
        let is_there = |damage: &Damaged| damage.partition == partition && (damage.from..damage.to).contains(&offset);
        Ok(described.damages.into_iter().find(is_there))
    }

    /// Lets the process read a whole partition; returns what cannot be read.
    pub(super) async fn damages(&self, partition: u32) -> anyhow::Result<Vec<Damaged>> {
        ask(&self.client, &format!("{}/{partition}/damage", self.path)).await
    }

    pub(super) async fn set_aside(&self, partition: u32, from: u64) -> anyhow::Result<()> {
        let body = serde_json::to_vec(&Aside { from })?;
        let path = format!("{}/{partition}/damage", self.path);
        self.client.json(Method::POST, &path, body.into()).await.map(drop)
    }

    async fn ask(&self, partition: u32, question: &str) -> anyhow::Result<Answer> {
        ask(&self.client, &format!("{}/{partition}?{question}", self.path)).await
    }
}

async fn ask<T: DeserializeOwned>(client: &Client, path: &str) -> anyhow::Result<T> {
    Ok(serde_json::from_value(client.json(Method::GET, path, Bytes::new()).await?)?)
}

fn record(line: Line) -> anyhow::Result<Record> {
    let bytes = |text: &str| STANDARD.decode(text).map(Bytes::from).context("read a record that the process told");
    let headers = line.headers.iter().map(|(name, value)| Ok((name.as_str().into(), bytes(value)?)));
    Ok(Record {
        position: Position::Offset(line.offset),
        published_at_ms: line.published_at_ms,
        key: bytes(&line.key)?,
        headers: headers.collect::<anyhow::Result<_>>()?,
        payload: bytes(&line.payload)?,
    })
}
