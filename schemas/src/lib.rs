//! What the bytes of a record mean: zero or more events about objects, from any dialect that object stores speak.
//!
//! Pure: no input or output, no clock, no threads. Nothing that a producer sends makes this crate panic, allocate
//! beyond [`Limits`], or lose an event without saying so: each ends as one [`Decoded`].
//! To accept one more dialect, see `shape` and the files under `decode/`.

mod json;

mod shape;
mod slot;

mod decode;
pub use decode::{decode, decode_with_entities};

pub mod effect;

mod time;

pub mod order;
pub use order::{Order, OrderClass};

mod describe;
mod judge;
mod text;

pub mod event;
pub use event::{Decoded, Description, Dialect, Effect, Entity, Input, ObjectEvent};

pub mod refusal;
pub use refusal::{FilterReason, Refusal, RefusalReason};

pub mod limits;
pub use limits::Limits;

pub mod migrations;

pub mod grants;

pub mod ingest;
pub use ingest::{Piece, is_structured, split, split_binary};
