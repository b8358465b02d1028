//! The contract suites on the stream and the tables in memory, which show that the suites ask for what can be done.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail their test")]

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use millstream_engine::testing::memory::{Decoder, Numbering, Sink, Stream, Tables, Words};
use millstream_engine::testing::{sink, source};
use millstream_engine::{Decode, Partition, Source};

struct InStream {
    stream: Stream,
    numbering: Numbering,
}

impl InStream {
    fn new(numbering: Numbering) -> Self {
        InStream { stream: Stream::new(3, numbering), numbering }
    }
}

#[async_trait]
impl source::Fixture for InStream {
    fn abilities(&self) -> source::Abilities {
        source::Abilities {
            // Places can be left out.
            dense: false,
            overshoot_bytes: 0,
            headers: true,
            lag: source::Lag::Exact,
            ordered: true,
            several: true,
            replays: true,
            expires: true,
            skips: true,
            recreates: true,
            patience: Duration::from_secs(10),
            backlog: 20_000,
        }
    }

    async fn open(&mut self) -> Arc<dyn Source> {
        Arc::new(self.stream.clone())
    }

    async fn publish(&mut self, partition: &Partition, records: &[source::NewRecord]) {
        self.stream.publish(partition, records);
    }

    async fn expire(&mut self, partition: &Partition) {
        self.stream.expire(partition, 7);
    }

    async fn skip(&mut self, partition: &Partition) {
        self.stream.skip(partition, 5);
    }

    async fn recreate(&mut self) {
        self.stream = Stream::new(3, self.numbering);
    }
}

mod offsets {
    use super::{InStream, Numbering};

    millstream_engine::source_contract!(InStream::new(Numbering::Offsets));
}

mod sequences {
    use super::{InStream, Numbering};

    millstream_engine::source_contract!(InStream::new(Numbering::Sequences));
}

struct InTables(Tables);

#[async_trait]
impl sink::Fixture for InTables {
    type Columns = Words;

    fn decoder(&self) -> Box<dyn Decode<Columns = Words>> {
        Box::new(Decoder)
    }

    async fn open(&mut self) -> Box<dyn millstream_engine::Sink<Columns = Words>> {
        Box::new(Sink::new(self.0.clone()))
    }

    fn good(&self, number: u64) -> Bytes {
        number.to_string().into()
    }

    fn bad(&self) -> Vec<Bytes> {
        vec!["bad".into()]
    }

    fn filtered(&self) -> Bytes {
        "skip".into()
    }

    async fn stored(&mut self) -> sink::Stored {
        let contents = self.0.contents();
        let number = |word: &Bytes| std::str::from_utf8(word).unwrap().parse::<u64>().unwrap();
        let mut written: Vec<u64> = contents.written.iter().map(number).collect();
        written.sort_unstable();
        sink::Stored {
            positions: contents.positions(),
            effects: written.len() as u64,
            written,
            quarantined: contents.quarantined.into_iter().collect(),
            gaps: contents.gaps,
        }
    }
}

mod tables {
    use super::{InTables, Tables};

    millstream_engine::sink_contract!(InTables(Tables::default()));
}
