//! Events about objects, from any dialect that object stores speak.
//!
//! `envelope` opens a record, its dialect decides which file here reads it, and `judge` checks its fields
//! and makes the [`ObjectEvent`]. To accept one more dialect, see `envelope.rs`.

mod decode;
pub use decode::{decode, decode_with_entities};

pub mod effect;

pub mod event;
pub use event::{Decoded, Description, Dialect, Effect, Entity, ObjectEvent};

pub mod order;
pub use order::{Order, OrderClass};

mod filter;
pub use filter::FilterReason;

pub(crate) mod cloudevents;
pub(crate) mod eventbridge;
mod message;
pub(crate) mod notification;
mod plain;
mod sns;

mod describe;
pub(crate) mod judge;

pub(crate) mod key;
pub(crate) mod record;
