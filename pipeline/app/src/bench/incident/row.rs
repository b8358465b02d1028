//! An event as the function of 2019 saw it: a row to write.

use anyhow::Context as _;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::bench::generate::Event;

/// One row of `incident.objects`.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) bucket: String,
    pub(super) key: String,
    pub(super) size: Option<i64>,
    pub(super) etag: Option<String>,
    pub(super) removed: bool,
    pub(super) sequencer: String,
    pub(super) time: String,
    pub(super) metadata: String,
}

#[derive(Deserialize)]
struct Notification {
    #[serde(rename = "Records")]
    records: Vec<Record>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    event_name: String,
    event_time: String,
    s3: Entity,
}

#[derive(Deserialize)]
struct Entity {
    object: Object,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Object {
    size: Option<i64>,
    e_tag: Option<String>,
    user_metadata: Option<Box<RawValue>>,
    sequencer: String,
}

impl Row {
    /// Takes a notification apart.
    pub(super) fn of(event: &Event) -> anyhow::Result<Row> {
        let notification: Notification = serde_json::from_slice(&event.payload).context("read a notification")?;
        let record = notification.records.into_iter().next().context("a notification without a record")?;
        let path = std::str::from_utf8(&event.key)?;
        let (bucket, key) = path.split_once('/').context("a key without a bucket")?;
        let object = record.s3.object;
        Ok(Row {
            bucket: bucket.to_owned(),
            key: key.to_owned(),
            size: object.size,
            etag: object.e_tag,
            removed: record.event_name.starts_with("s3:ObjectRemoved"),
            sequencer: object.sequencer,
            time: record.event_time,
            metadata: object.user_metadata.map_or_else(|| "{}".to_owned(), |raw| raw.get().to_owned()),
        })
    }

    /// The statements of one invocation, each sent by itself, as a driver that fills in values sends them.
    pub(super) fn statements(&self) -> [String; 5] {
        let bucket = quoted(&self.bucket);
        let key = quoted(&self.key);
        let size = self.size.map_or_else(|| "NULL".to_owned(), |size| size.to_string());
        let etag = self.etag.as_deref().map_or_else(|| "NULL".to_owned(), quoted);
        [
            "BEGIN".to_owned(),
            format!("SELECT sequencer, metadata FROM incident.objects WHERE bucket = {bucket} AND key = {key}"),
            format!(
                "INSERT INTO incident.objects (bucket, key, size, etag, removed, sequencer, event_time, metadata) VALUES \
                 ({bucket}, {key}, {size}, {etag}, {}, {}, {}, {}) {ON_CONFLICT}",
                self.removed,
                quoted(&self.sequencer),
                quoted(&self.time),
                quoted(&self.metadata),
            ),
            format!("UPDATE incident.counters SET events = events + 1 WHERE bucket = {bucket}"),
            "COMMIT".to_owned(),
        ]
    }
}

/// The newer event wins.
pub(super) const ON_CONFLICT: &str = "ON CONFLICT (bucket, key) DO UPDATE SET size = excluded.size, etag = excluded.etag, \
     removed = excluded.removed, sequencer = excluded.sequencer, event_time = excluded.event_time, \
     metadata = excluded.metadata WHERE excluded.sequencer > objects.sequencer";

/// A text as SQL writes it. Only for a server with `standard_conforming_strings`, as ours is.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::generate::Generator;

    #[test]
    fn what_the_generator_makes_is_a_row() {
        let mut generator = Generator::new(7, 1_795_459_345_730);
        let rows: Vec<Row> = (0..2_000).map(|_| Row::of(&generator.next_event()).unwrap()).collect();
        let removed = rows.iter().filter(|row| row.removed).count();
        assert!((50..200).contains(&removed), "{removed}");
        let kept = rows.iter().find(|row| !row.removed).unwrap();
        assert!(kept.bucket.starts_with("bucket-") && kept.key.starts_with("project-"), "{kept:?}");
        assert!(kept.metadata.contains("X-Amz-Meta-Owner") && kept.size.is_some() && kept.etag.is_some(), "{kept:?}");
    }

    #[test]
    fn a_quote_does_not_end_a_text() {
        assert_eq!(quoted("it's"), "'it''s'");
    }
}
