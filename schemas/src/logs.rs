//! Logs: records of every dialect become entries, which are packed into records of their own.
//!
//! A line is a run of entries up to one that is not open. Nothing joins entries while they are taken in: a decoder
//! remembers nothing between records, so that any order and any repetition of records gives the same entries.

mod varint;

pub mod blob;

pub mod entry;

pub mod key;

pub mod record;

pub mod time;

pub mod name;

pub mod packed;

pub mod inflate;

mod subscription;

pub mod otlp;

pub mod shipped;

pub mod decoded;

pub mod decode;

pub use decode::{Input, Options, decode};
pub use decoded::{Decoded, FilterReason, Part};
pub use entry::{ENTRY_BYTES_MAX, Entry, Flags, Level};
pub use inflate::weight;
pub use key::{KEY_BYTES, Key, Origin, Place, source};
