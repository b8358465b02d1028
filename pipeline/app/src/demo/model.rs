//! What the tables must hold: a plain map from the meaning of each event. It shares no code with the decoders or the
//! sink, and never sees the bytes.

use std::collections::BTreeMap;

/// What an event means.
#[derive(Clone, Debug)]
pub(super) struct Meaning {
    pub(super) bucket: String,
    pub(super) key: String,
    /// Nanoseconds since 1970, different for every event.
    pub(super) ns: u64,
    pub(super) upload: Option<Upload>,
}

/// An upload; without one the event is a deletion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Upload {
    pub(super) size: u64,
    pub(super) etag: String,
    pub(super) owner: String,
}

/// The newest event of each key.
#[derive(Debug, Default)]
pub(super) struct Model {
    newest: BTreeMap<(String, String), (u64, Option<Upload>)>,
}

/// Counts of one bucket or segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) objects: i64,
    pub(super) bytes: i64,
}

impl Model {
    /// Takes note of an event, in any order.
    pub(super) fn learn(&mut self, meaning: &Meaning) {
        let entry = self.newest.entry((meaning.bucket.clone(), meaning.key.clone()));
        let newest = entry.or_insert_with(|| (meaning.ns, meaning.upload.clone()));
        if meaning.ns > newest.0 {
            *newest = (meaning.ns, meaning.upload.clone());
        }
    }

    /// Objects that must be there.
    pub(super) fn objects(&self) -> BTreeMap<(String, String), Upload> {
        let live = self.newest.iter().filter_map(|(key, (_, upload))| Some((key.clone(), upload.clone()?)));
        live.collect()
    }

    /// Keys whose newest event is a deletion.
    pub(super) fn deleted(&self) -> usize {
        self.newest.values().filter(|(_, upload)| upload.is_none()).count()
    }

    /// Counts by bucket (empty segment name is the whole bucket, told apart by the flag) and by first path segment.
    pub(super) fn counts(&self) -> (BTreeMap<String, Counts>, BTreeMap<(String, String), Counts>) {
        let mut buckets = BTreeMap::new();
        let mut segments = BTreeMap::new();
        for ((bucket, key), upload) in self.objects() {
            let segment = match key.split_once('/') {
                Some((first, _)) => format!("{first}/"),
                None => String::new(),
            };
            let add = |counts: &mut Counts| {
                counts.objects += 1;
                counts.bytes += upload.size as i64;
            };
            add(buckets.entry(bucket.clone()).or_default());
            add(segments.entry((bucket, segment)).or_default());
        }
        (buckets, segments)
    }

    /// Uploads and deletions by bucket and hour of their time.
    pub(super) fn hours(&self) -> BTreeMap<(String, i64), (i64, i64)> {
        let mut hours: BTreeMap<(String, i64), (i64, i64)> = BTreeMap::new();
        for ((bucket, _), (ns, upload)) in &self.newest {
            let hour = hours.entry((bucket.clone(), (ns / 1_000_000_000 / 3600) as i64)).or_default();
            match upload {
                Some(_) => hour.0 += 1,
                None => hour.1 += 1,
            }
        }
        hours
    }
}
