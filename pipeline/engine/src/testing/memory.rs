//! A stream and tables in memory: the reference implementations of the contracts, and what the engine's tests run on.
//!
//! They keep the contracts and survive nothing: a process that dies is a handle that is dropped.

mod stream;
pub use stream::{Numbering, Stream};

mod tables;
pub use tables::{Contents, Decoder, Sink, Tables, Words};
