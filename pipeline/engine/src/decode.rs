//! Stage 2: bytes become columns.
//!
//! A decoder never fails as a whole: each event of each record ends in the columns as one to be written, one to be
//! filtered or one to be quarantined, so a bad record cannot take its neighbours with it. There is no allocation, task
//! or future per record: a decoder appends to vectors that live as long as the batch.

use crate::source::Record;

/// Turns the records of a batch into the columns that one kind of sink writes.
pub trait Decode: Send + Sync {
    /// The column vectors of a batch.
    type Columns: Columns;

    /// The share that a record belongs to, found without decoding it. MUST NOT be empty.
    fn share<'a>(&'a self, record: &'a Record) -> &'a str;

    /// Decodes records in order. MUST account for every record: one that holds no event at all counts as one event,
    /// filtered or quarantined. MUST NOT decode the records that `aside` marks by index (beyond its end no record is
    /// marked): each of them is one event, quarantined.
    fn decode(&self, records: &[Record], aside: &[bool]) -> Self::Columns;
}

/// What the engine must know of a batch's columns.
pub trait Columns: Send + Sync {
    /// How many events the records held, however they ended. The receipt must account for each.
    fn events(&self) -> usize;

    /// About how many bytes the columns take in memory, with the bytes of the records that they only refer to. A batch
    /// counts as this many, or as the bytes of its records if those are more.
    fn unpacked_bytes(&self) -> usize;
}
