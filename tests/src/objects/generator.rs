//! Seeded events with everything that makes objects hard: overwrites, deletes, versions, markers, unknown sizes,
//! descriptions, copies of one event in two dialects, and times that are equal.
//!
//! The seed is printed; `MILLSTREAM_SEED` sets it.

use std::collections::BTreeMap;

use rand::rngs::SmallRng;
use rand::seq::{IndexedRandom as _, SliceRandom as _};
use rand::{Rng as _, SeedableRng as _};

use crate::objects::dialect::Dialect;
use crate::objects::event::{Description, Event, Kind};

/// 2026-03-12: in the past of every test, as events are.
pub const DAY_NS: u64 = 1_773_273_600_000_000_000;
const SECOND_NS: u64 = 1_000_000_000;

/// Makes events.
#[derive(Debug)]
pub struct Generator {
    rng: SmallRng,
    /// The seed, for messages.
    pub seed: u64,
    /// Different keys per bucket. Fewer: more overwrites.
    pub keys: u32,
    /// Where the objects live.
    pub store: String,
    /// Plain buckets and those with versions.
    buckets: [&'static str; 3],
}

impl Generator {
    /// A generator whose seed is printed under a name.
    pub fn new(name: &str) -> Self {
        let named = std::env::var("MILLSTREAM_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = named.unwrap_or_else(|| rand::rng().random_range(0..u64::from(u32::MAX)));
        println!("{name}: MILLSTREAM_SEED={seed}");
        Generator::seeded(seed)
    }

    /// A generator that always makes the same.
    pub fn seeded(seed: u64) -> Self {
        Generator {
            rng: SmallRng::seed_from_u64(seed),
            seed,
            keys: 400,
            store: "default".to_owned(),
            buckets: ["uploads", "logs.eu", "versioned"],
        }
    }

    /// Its source of chance, so that a test needs no other.
    pub fn rng(&mut self) -> &mut SmallRng {
        &mut self.rng
    }

    /// So many events, each different from the others, in no particular order of time.
    pub fn events(&mut self, count: usize) -> Vec<Event> {
        let mut events: Vec<Event> = Vec::with_capacity(count);
        while events.len() < count {
            let event = self.event();
            // A copy of an event in another dialect, and two things at one moment, come by chance too rarely.
            let twin = self.twin(&event);
            events.push(event);
            events.extend(twin);
        }
        events.truncate(count);
        events
    }

    /// Events in another order, each of them `1 + more` times on average.
    pub fn shuffled(&mut self, events: &[Event], more: f64) -> Vec<Event> {
        let mut shuffled = events.to_vec();
        let copies = (events.len() as f64 * more) as usize;
        for _ in 0..copies {
            shuffled.extend(events.choose(&mut self.rng).cloned());
        }
        shuffled.shuffle(&mut self.rng);
        shuffled
    }

    /// Cuts a list into parts of random size, of up to `most`.
    pub fn split<T: Clone>(&mut self, list: &[T], most: usize) -> Vec<Vec<T>> {
        let mut parts = Vec::new();
        let mut rest = list;
        while !rest.is_empty() {
            let (part, after) = rest.split_at(self.rng.random_range(1..=most).min(rest.len()));
            parts.push(part.to_vec());
            rest = after;
        }
        parts
    }

    fn event(&mut self) -> Event {
        let rng = &mut self.rng;
        let bucket = *self.buckets.choose(rng).expect("some");
        let number = rng.random_range(0..self.keys);
        let segment = ["in/", "out/2026/", "a b+c/é/", "", "100%/"][(number % 5) as usize];
        let at_ns = DAY_NS + rng.random_range(0..6 * 3600) * SECOND_NS + rng.random_range(0..SECOND_NS);
        let version = match bucket {
            "versioned" if rng.random_bool(0.9) => format!("v{}", rng.random_range(0..4)),
            _ => String::new(),
        };
        let kind = match rng.random_range(0..100) {
            // Also in buckets that have no versions, where a rule removes what it was given.
            0..2 => Kind::RemoveKey,
            2..60 => Kind::Create,
            60..75 => Kind::Delete,
            75..85 if !version.is_empty() => Kind::Marker,
            75..85 => Kind::Create,
            _ => Kind::Describe,
        };
        let version = if kind == Kind::RemoveKey { String::new() } else { version };
        let dialect = match kind {
            Kind::Describe => Dialect::Plain,
            Kind::RemoveKey => Dialect::Minio,
            Kind::Marker => *[Dialect::Minio, Dialect::Aws, Dialect::EventBridge].choose(rng).expect("some"),
            Kind::Create | Kind::Delete => {
                *[Dialect::Minio, Dialect::Minio, Dialect::Minio, Dialect::Aws, Dialect::EventBridge, Dialect::Plain]
                    .choose(rng)
                    .expect("some")
            }
        };
        let made = kind == Kind::Create;
        Event {
            store: self.store.clone(),
            bucket: bucket.to_owned(),
            key: format!("{segment}object {number}.bin"),
            version,
            kind,
            at_ns,
            size: (made && rng.random_bool(0.9)).then(|| rng.random_range(0..1 << 40)),
            etag: if made { format!("{:032x}", rng.random::<u128>()) } else { String::new() },
            description: describe(rng, kind, dialect),
            dialect,
        }
    }

    /// Sometimes a second event at exactly the same place in time: a poorer copy, or one that differs.
    fn twin(&mut self, event: &Event) -> Option<Event> {
        if !self.rng.random_bool(0.15) {
            return None;
        }
        let mut twin = event.clone();
        match (event.dialect, self.rng.random_range(0..3)) {
            (Dialect::Aws, 0) => twin.dialect = Dialect::EventBridge,
            (Dialect::EventBridge, 0) => twin.dialect = Dialect::Aws,
            (_, 1) => twin.size = None,
            _ if event.kind == Kind::Create => twin.etag = format!("{:032x}", self.rng.random::<u128>()),
            _ => {}
        }
        if event.description.is_some() && self.rng.random_bool(0.5) {
            twin.description = describe(&mut self.rng, event.kind, event.dialect).or(twin.description);
        }
        Some(twin).filter(|twin| twin != event)
    }
}

fn describe(rng: &mut SmallRng, kind: Kind, dialect: Dialect) -> Option<Description> {
    let optional = match (kind, dialect) {
        (Kind::Create, Dialect::Minio) => false,
        (Kind::Create | Kind::Describe, Dialect::Plain) => true,
        _ => return None,
    };
    let content_type = ["text/plain", "image/png", "application/x-é"].choose(rng).map(|text| (*text).to_owned());
    let metadata = pairs(rng, &["stage", "owner", "trace-id", "ümlaut"]);
    let tags = pairs(rng, &["Stage", "Team"]);
    if !optional {
        return Some(Description { content_type, metadata: Some(metadata), tags: None });
    }
    let content_type = content_type.filter(|_| rng.random_bool(0.6));
    let metadata = Some(metadata).filter(|_| rng.random_bool(0.6));
    // One of the three must be there, or it would describe nothing.
    let needed = content_type.is_none() && metadata.is_none() && kind == Kind::Describe;
    let tags = Some(tags).filter(|_| needed || rng.random_bool(0.5));
    let description = Description { content_type, metadata, tags };
    Some(description).filter(|description| *description != Description::default())
}

fn pairs(rng: &mut SmallRng, names: &[&str]) -> BTreeMap<String, String> {
    let values = ["raw", "done", "7", "quote \" and \\ slash", "日本"];
    let mut pairs = BTreeMap::new();
    for name in names {
        if rng.random_bool(0.4) {
            pairs.insert((*name).to_owned(), (*values.choose(rng).expect("some")).to_owned());
        }
    }
    pairs
}
