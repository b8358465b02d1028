//! What an event means, before any dialect has written it down.

use std::collections::BTreeMap;

use crate::objects::dialect::Dialect;

/// What happened to the version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Only described.
    Describe = 0,
    /// Made.
    Create = 1,
    /// A delete marker was made.
    Marker = 2,
    /// Gone for good.
    Delete = 3,
    /// Gone for good with all versions of its key.
    RemoveKey = 4,
}

/// Content type, user metadata and tags, as far as they are told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Description {
    /// MIME type.
    pub content_type: Option<String>,
    /// User metadata, names in lower case.
    pub metadata: Option<BTreeMap<String, String>>,
    /// Tags.
    pub tags: Option<BTreeMap<String, String>>,
}

/// Where an event stands in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Order {
    /// Seconds since 1970 in 32.32 fixed point.
    pub time: u64,
    /// The emitter's number.
    pub number: u64,
    /// 3 strong, 2 clock, 1 weak. Not compared.
    pub class: i16,
}

/// One change of one version of one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Where the object lives.
    pub store: String,
    /// Its bucket.
    pub bucket: String,
    /// Its key, as the application wrote it.
    pub key: String,
    /// Its version; empty when it has none.
    pub version: String,
    /// What happened.
    pub kind: Kind,
    /// When, in nanoseconds since 1970.
    pub at_ns: u64,
    /// Bytes; only of what was made.
    pub size: Option<i64>,
    /// Entity tag; only of what was made.
    pub etag: String,
    /// What is said beyond the facts.
    pub description: Option<Description>,
    /// How it is written down: that decides how exactly its time is known.
    pub dialect: Dialect,
}

impl Event {
    /// An object made without a version, told by MinIO.
    pub fn create(bucket: &str, key: &str, at_ns: u64, size: i64) -> Self {
        Event {
            store: "default".to_owned(),
            bucket: bucket.to_owned(),
            key: key.to_owned(),
            version: String::new(),
            kind: Kind::Create,
            at_ns,
            size: Some(size),
            etag: format!("{at_ns:032x}"),
            description: Some(Description {
                content_type: Some("text/plain".to_owned()),
                metadata: Some(BTreeMap::new()),
                tags: None,
            }),
            dialect: Dialect::Minio,
        }
    }

    /// The same key at another time, with another effect; what only a made object has is left out.
    #[must_use]
    pub fn then(&self, kind: Kind, at_ns: u64) -> Self {
        let mut event = Event { kind, at_ns, ..self.clone() };
        if kind != Kind::Create {
            event.size = None;
            event.etag = String::new();
            event.description = event.description.filter(|_| kind == Kind::Describe);
        }
        if kind == Kind::Describe {
            event.dialect = Dialect::Plain;
        }
        event
    }

    /// The same with a version.
    #[must_use]
    pub fn version(mut self, version: &str) -> Self {
        version.clone_into(&mut self.version);
        self
    }

    /// Its place in time, as its dialect tells it.
    pub fn order(&self) -> Order {
        let seconds = self.at_ns / 1_000_000_000;
        let nanoseconds = self.at_ns % 1_000_000_000;
        let time = (seconds << 32) | ((u128::from(nanoseconds) << 32) / 1_000_000_000) as u64;
        match self.dialect {
            Dialect::Minio => Order { time, number: self.at_ns, class: 2 },
            Dialect::Aws | Dialect::EventBridge => Order { time, number: time, class: 3 },
            Dialect::Plain => Order { time, number: 0, class: 1 },
        }
    }

    /// What chooses its partition.
    pub fn entity(&self) -> String {
        format!("{}/{}", self.bucket, self.key)
    }

    /// The bytes of a record that says it.
    pub fn json(&self) -> Vec<u8> {
        crate::objects::dialect::write(self)
    }
}

/// Events as lines, for one POST.
pub fn lines(events: &[Event]) -> Vec<u8> {
    let mut body = Vec::with_capacity(events.len() * 900);
    for event in events {
        body.extend_from_slice(&event.json());
        body.push(b'\n');
    }
    body
}
