//! Decodes the bytes of a record into zero or more events of a domain (objects or tasks), from any dialect.
//!
//! Pure: no input or output, no clock, no threads. Nothing that a producer sends makes this crate panic, allocate
//! beyond [`Limits`], or lose an event silently: each ends as one [`objects::Decoded`] or [`tasks::Decoded`].
//! A domain is a directory (`objects/`, `tasks/`) over a shared base: the reading of JSON, envelopes, times and limits.

mod json;
mod slot;
mod text;
mod time;

pub mod limits;
pub use limits::Limits;

pub mod refusal;
pub use refusal::{Refusal, RefusalReason};

mod input;
pub use input::{Input, STORE_HEADER};

mod envelope;
pub use envelope::domain::Domain;

pub mod objects;

pub mod logs;

pub mod tasks;

pub mod ingest;
pub use ingest::{Piece, Subject, is_structured, split, split_binary};

pub mod migrations;

pub mod grants;
