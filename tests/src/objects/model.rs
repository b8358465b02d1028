//! What the tables must hold after a set of events, computed the slow and obvious way.
//!
//! The model keeps every event and looks at all of them for each row, so there is no fold whose order could matter.
//! It shares no code with the product, except the hash function that is part of the stored format.

use std::collections::{BTreeMap, BTreeSet};

use xxhash_rust::xxh3::xxh3_64;

use crate::objects::event::{Event, Kind, Order};

/// Store, bucket, key and version.
pub type RowName = (String, String, String, String);
/// Store, bucket and key.
type KeyName = (String, String, String);

/// One row of `millstream.objects`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectRow {
    /// Effect code.
    pub kind: i16,
    /// Order of the facts, as stored.
    pub order: (i64, i64),
    /// 3 strong, 2 clock, 1 weak, 0 none.
    pub order_class: i16,
    /// Whether a reader without a version id gets this one.
    pub current: bool,
    /// Whether the key has versions or was removed as a whole; only on the row without a version.
    pub versioned: bool,
    /// Order and class of the newest removal of the whole key; only on the row without a version.
    pub removed: Option<(i64, i64, i16)>,
    /// Bytes.
    pub size: Option<i64>,
    /// Entity tag.
    pub etag: String,
    /// Order of the description, as stored, and the hash of its texts.
    pub described: (i64, i64, i64),
    /// MIME type.
    pub content_type: Option<String>,
    /// User metadata.
    pub metadata: Option<BTreeMap<String, String>>,
    /// Tags.
    pub tags: Option<BTreeMap<String, String>>,
}

/// A sum over current objects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Objects.
    pub objects: i64,
    /// Bytes of those whose size is known.
    pub bytes: i128,
    /// Those whose size is not.
    pub unknown_size: i64,
}

/// A sum over one hour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hour {
    /// Versions made.
    pub created: i64,
    /// Versions removed, and markers.
    pub removed: i64,
    /// Bytes made.
    pub bytes: i128,
}

/// What the tables hold. Counters are summed over slots, and those that are zero left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tables {
    /// `millstream.objects`.
    pub objects: BTreeMap<RowName, ObjectRow>,
    /// `millstream.bucket_count` by store and bucket.
    pub buckets: BTreeMap<(String, String), Count>,
    /// `millstream.segment_count` by store, bucket and first path segment.
    pub segments: BTreeMap<(String, String, String), Count>,
    /// `millstream.hour_count` by store, bucket and seconds since 1970.
    pub hours: BTreeMap<(String, String, i64), Hour>,
}

/// All events so far.
#[derive(Clone, Debug, Default)]
pub struct Model {
    events: BTreeMap<RowName, Vec<Event>>,
}

impl Model {
    /// The model of these events.
    pub fn of<'a>(events: impl IntoIterator<Item = &'a Event>) -> Self {
        let mut model = Model::default();
        model.add(events);
        model
    }

    /// Adds events; adding one twice changes nothing.
    pub fn add<'a>(&mut self, events: impl IntoIterator<Item = &'a Event>) {
        for event in events {
            let name = (event.store.clone(), event.bucket.clone(), event.key.clone(), event.version.clone());
            let own = self.events.entry(name).or_default();
            if !own.contains(event) {
                own.push(event.clone());
            }
        }
    }

    /// How many different events there are.
    pub fn events(&self) -> usize {
        self.events.values().map(Vec::len).sum()
    }

    /// `millstream.objects`.
    pub fn objects(&self) -> BTreeMap<RowName, ObjectRow> {
        // A removal of the whole key is an event of each of its rows, whichever of the two came first.
        let mut removals: BTreeMap<KeyName, Vec<Event>> = BTreeMap::new();
        for event in self.events.values().flatten().filter(|event| event.kind == Kind::RemoveKey) {
            let key = (event.store.clone(), event.bucket.clone(), event.key.clone());
            removals.entry(key).or_default().push(Event { kind: Kind::Delete, ..event.clone() });
        }
        let folded = |(store, bucket, key, _): &RowName, events: &[Event]| {
            let removals = removals.get(&(store.clone(), bucket.clone(), key.clone())).map_or(&[][..], Vec::as_slice);
            let own = events.iter().filter(|event| event.kind != Kind::RemoveKey);
            row(&own.chain(removals).cloned().collect::<Vec<_>>())
        };
        let mut rows: BTreeMap<RowName, ObjectRow> =
            self.events.iter().map(|(name, events)| (name.clone(), folded(name, events))).collect();
        // A key with versions has a row without one, which says so; and so has one that was removed.
        let versioned: BTreeSet<KeyName> = rows
            .keys()
            .filter(|(_, _, _, version)| !version.is_empty())
            .map(|(store, bucket, key, _)| (store.clone(), bucket.clone(), key.clone()))
            .chain(removals.keys().cloned())
            .collect();
        for (store, bucket, key) in versioned {
            let removals = removals.get(&(store.clone(), bucket.clone(), key.clone())).into_iter().flatten();
            let removed = removals.map(|event| event.order());
            let removed = removed.map(|order| (stored(order.time), stored(order.number), order.class)).max();
            let name = (store, bucket, key, String::new());
            let head = rows.entry(name.clone()).or_insert_with(|| folded(&name, &[]));
            head.versioned = true;
            head.removed = removed;
        }
        for name in current(&rows) {
            rows.get_mut(&name).expect("one of them").current = true;
        }
        rows
    }

    /// All tables.
    pub fn tables(&self) -> Tables {
        let objects = self.objects();
        let buckets = count(&objects, |store, bucket, _| (store.to_owned(), bucket.to_owned()));
        let segments = count(&objects, |store, bucket, key| {
            let segment = key.split_once('/').map_or(String::new(), |(first, _)| format!("{first}/"));
            (store.to_owned(), bucket.to_owned(), segment)
        });
        let hours = hours(&objects);
        Tables { objects, buckets, segments, hours }
    }
}

/// Rows by the hour of their own time.
fn hours(objects: &BTreeMap<RowName, ObjectRow>) -> BTreeMap<(String, String, i64), Hour> {
    let mut hours: BTreeMap<_, Hour> = BTreeMap::new();
    for ((store, bucket, _, _), row) in objects.iter().filter(|(_, row)| row.kind != 0) {
        let seconds = ((row.order.0 as u64) ^ (1 << 63)) >> 32;
        // Without a time it counts in no hour.
        if row.order_class == 0 {
            continue;
        }
        let hour = hours.entry((store.clone(), bucket.clone(), (seconds - seconds % 3600) as i64)).or_default();
        if row.kind == Kind::Create as i16 {
            hour.created += 1;
            hour.bytes += i128::from(row.size.unwrap_or(0));
        } else {
            hour.removed += 1;
        }
    }
    hours
}

/// A number without sign, as it is stored: in the same order, in a column with sign.
fn stored(number: u64) -> i64 {
    (i128::from(number) - (1i128 << 63)) as i64
}

/// What its events make of one row.
fn row(events: &[Event]) -> ObjectRow {
    let place = |event: &Event| (event.order().time, event.order().number);
    let facts = |event: &&Event| {
        let (time, number) = place(event);
        (time, number, event.kind, event.etag.clone())
    };
    let newest = events.iter().filter(|event| event.kind != Kind::Describe).max_by_key(facts);
    let mut row = ObjectRow {
        kind: 0,
        order: (i64::MIN, i64::MIN),
        order_class: 0,
        current: false,
        versioned: false,
        removed: None,
        size: None,
        etag: String::new(),
        described: (i64::MIN, i64::MIN, 0),
        content_type: None,
        metadata: None,
        tags: None,
    };
    if let Some(newest) = newest {
        let Order { time, number, .. } = newest.order();
        row.kind = newest.kind as i16;
        row.order = (stored(time), stored(number));
        row.etag.clone_from(&newest.etag);
        let equal = || events.iter().filter(|event| event.kind != Kind::Describe && facts(event) == facts(&newest));
        row.order_class = equal().map(|event| event.order().class).max().unwrap_or(0);
        row.size = equal().map(|event| event.size).max().flatten();
    }
    let described: Vec<&Event> = events.iter().filter(|event| event.description.is_some()).collect();
    if let Some((time, number)) = described.iter().map(|event| place(event)).max() {
        let newest = described.iter().filter(|event| place(event) == (time, number));
        let told: Vec<_> = newest.filter_map(|event| event.description.as_ref()).collect();
        let hash =
            told.iter().map(|told| hash([told.content_type.clone(), json(&told.metadata), json(&told.tags)])).max();
        row.described = (stored(time), stored(number), hash.unwrap_or(0));
        row.content_type = told.iter().filter_map(|told| told.content_type.clone()).max();
        row.metadata = told.iter().filter_map(|told| told.metadata.clone()).max_by(jsonb_order);
        row.tags = told.iter().filter_map(|told| told.tags.clone()).max_by(jsonb_order);
    }
    row
}

/// Which rows are current: of each key the newest that is not deleted, if that is not a marker.
fn current(rows: &BTreeMap<RowName, ObjectRow>) -> Vec<RowName> {
    let mut newest: BTreeMap<(&str, &str, &str), (&RowName, &ObjectRow)> = BTreeMap::new();
    for (name, row) in rows.iter().filter(|(_, row)| row.kind == 1 || row.kind == 2) {
        let order = |name: &RowName, row: &ObjectRow| (row.order, row.kind, name.3.clone(), row.etag.clone());
        let best = newest.entry((&name.0, &name.1, &name.2)).or_insert((name, row));
        if order(name, row) > order(best.0, best.1) {
            *best = (name, row);
        }
    }
    newest.into_values().filter(|(_, row)| row.kind == 1).map(|(name, _)| name.clone()).collect()
}

fn count<K: Ord>(rows: &BTreeMap<RowName, ObjectRow>, name: impl Fn(&str, &str, &str) -> K) -> BTreeMap<K, Count> {
    let mut counts: BTreeMap<K, Count> = BTreeMap::new();
    for ((store, bucket, key, _), row) in rows.iter().filter(|(_, row)| row.current) {
        let count = counts.entry(name(store, bucket, key)).or_default();
        count.objects += 1;
        match row.size {
            Some(size) => count.bytes += i128::from(size),
            None => count.unknown_size += 1,
        }
    }
    counts
}

/// PostgreSQL's order of JSON objects whose values are text: by their number of names, then name by name, each with its
/// value; shorter names stand before longer ones.
fn jsonb_order(one: &BTreeMap<String, String>, other: &BTreeMap<String, String>) -> std::cmp::Ordering {
    let sorted = |object: &BTreeMap<String, String>| {
        let mut pairs: Vec<(String, String)> = object.clone().into_iter().collect();
        pairs.sort_by(|(a, _), (b, _)| (a.len(), a).cmp(&(b.len(), b)));
        pairs
    };
    one.len().cmp(&other.len()).then_with(|| sorted(one).cmp(&sorted(other)))
}

/// Metadata as the canonical text that is hashed: sorted by name.
fn json(object: &Option<BTreeMap<String, String>>) -> Option<String> {
    object.as_ref().map(|object| serde_json::to_string(object).expect("texts"))
}

/// The stored hash of a description: each text with its length before it, or all ones where there is none.
fn hash(texts: [Option<String>; 3]) -> i64 {
    let mut bytes = Vec::new();
    for text in texts {
        let length = text.as_ref().map_or(u64::MAX, |text| text.len() as u64);
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(text.unwrap_or_default().as_bytes());
    }
    xxh3_64(&bytes) as i64
}
