//! Objects, as the checks must know them.

use bytes::Bytes;
use millstream_connectors::sinks::metadata;
use millstream_tests::generator::DAY_NS;
use millstream_tests::stream::{self, SEGMENTS_MAX};
use millstream_tests::{Database, Event, Generator, Model, compare};

use super::domain::Domain;

pub(super) struct Objects;

impl Domain for Objects {
    type Rows = metadata::Objects;
    type Decoder = metadata::Decoder;
    type Event = Event;

    const TABLE: &'static str = "millstream.objects";
    const COLUMN: &'static str = "size";
    const GOOD: &'static str = "key NOT LIKE '%poison%'";

    const BYTES_OF_100: u64 = 30_000;

    async fn database() -> Database {
        millstream_tests::database().await
    }

    fn rows() -> metadata::Objects {
        metadata::Objects::new(SEGMENTS_MAX)
    }

    fn decoder() -> metadata::Decoder {
        stream::decoder()
    }

    fn random(name: &str, count: usize) -> Vec<Event> {
        Generator::new(name).events(count)
    }

    fn numbered(number: u64) -> Event {
        Event::create("uploads", &format!("in/{number:04}"), DAY_NS + number, 1)
    }

    fn poison(number: u64) -> Event {
        Event::create("uploads", &format!("in/poison{number:04}"), DAY_NS + number, 1)
    }

    fn record(event: &Event) -> (Bytes, Bytes) {
        (event.entity().into(), event.json().into())
    }

    async fn holds(database: &Database, events: &[Event]) {
        compare(database, &Model::of(events)).await;
    }
}
