//! Splits the body of a message into records of the stream.

use std::borrow::Cow;

use bytes::Bytes;
use millstream_schemas::{Limits, Piece, RefusalReason, STORE_HEADER, split};

use crate::sinks::stream::NewRecord;

/// Splits bodies for one queue.
#[derive(Clone, Debug, Default)]
pub(super) struct Splitter {
    store: Option<Bytes>,
    limits: Limits,
}

impl Splitter {
    /// Records name this store, if one is given.
    pub(super) fn new(store: Option<String>) -> Self {
        Splitter { store: store.map(Bytes::from), limits: Limits::default() }
    }

    /// One record for each event of a body, keyed by its entity; the body itself, too, if a part of it is refused.
    pub(super) fn records(&self, body: Bytes) -> Vec<NewRecord> {
        let mut records = Vec::new();
        let mut is_refused = false;
        let mut is_whole = true;
        split(&body, "application/json", &self.limits, &mut |piece| match piece {
            Piece::Record { payload, subject, .. } => {
                let mut key = Vec::new();
                subject.append_key(&mut key);
                let payload = match payload {
                    Cow::Borrowed(slice) => body.slice_ref(slice),
                    Cow::Owned(bytes) => bytes.into(),
                };
                records.push(NewRecord { key: key.into(), ..self.whole(payload) });
            }
            Piece::Refused { reason, .. } => {
                is_refused = true;
                is_whole &= reason != RefusalReason::TooManyParts;
            }
        });
        if !is_whole {
            // The records are incomplete: only the body is appended.
            records.clear();
        }
        if is_refused {
            records.push(self.whole(body));
        }
        records
    }

    /// A record with the unchanged body.
    pub(super) fn whole(&self, body: Bytes) -> NewRecord {
        let headers = self.store.iter().map(|store| (STORE_HEADER.into(), store.clone())).collect();
        NewRecord { key: Bytes::new(), headers, payload: body }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(body: &str) -> Vec<(String, String)> {
        let text = |bytes: &Bytes| String::from_utf8(bytes.to_vec()).unwrap();
        let records = Splitter::default().records(Bytes::copy_from_slice(body.as_bytes()));
        assert!(records.iter().all(|record| record.headers.is_empty()));
        records.iter().map(|record| (text(&record.key), text(&record.payload))).collect()
    }

    fn event(key: &str) -> String {
        format!(
            r#"{{"eventName":"ObjectCreated:Put","eventTime":"2026-11-23T18:42:25.730Z","s3":{{"bucket":{{"name":"b"}},"object":{{"key":"{key}","size":1}}}}}}"#
        )
    }

    #[test]
    fn each_event_is_a_record_keyed_by_its_object() {
        let first = event("in/with+space");
        let second = event("in/plus%2B");
        let body = format!(r#"{{"Records":[{first},{second}]}}"#);
        assert_eq!(split(&body), [("b/in/with space".to_owned(), first), ("b/in/plus+".to_owned(), second)]);
    }

    #[test]
    fn what_is_refused_follows_unchanged_and_without_a_key() {
        for body in ["", "no json", "{\"a\":1}", "[]", "[1, 2]"] {
            let records = split(body);
            assert!(records.contains(&(String::new(), body.to_owned())), "{body}: {records:?}");
        }
        let body = format!("[{},17]", event("in/good"));
        assert_eq!(split(&body), [("b/in/good".to_owned(), event("in/good")), (String::new(), body.clone())]);
    }

    #[test]
    fn too_many_parts_are_one_record() {
        let splitter = Splitter { store: None, limits: Limits { parts_per_body_max: 2, ..Limits::default() } };
        let body = format!("{}\n{}\n{}", event("1"), event("2"), event("3"));
        let records = splitter.records(body.clone().into());
        assert_eq!(records, [NewRecord { payload: body.into(), ..NewRecord::default() }]);
    }

    #[test]
    fn records_name_their_store() {
        let records = Splitter::new(Some("minio-a".to_owned())).records(event("k").into());
        let header: (Box<str>, Bytes) = (STORE_HEADER.into(), "minio-a".into());
        assert_eq!(records.first().map(|record| record.headers.clone()), Some(vec![header]));
    }
}
