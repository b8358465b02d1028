//! Amazon Kinesis Data Streams: what its source and its producer share.
//!
//! [`client`] is the only place that names the vendor's types; what it says went wrong is sorted in `failure` by what
//! has to happen next. `aggregate` is the format in which several records, or one with headers, travel as one.

pub(crate) mod aggregate;
pub mod client;
pub(crate) mod failure;

pub use client::Address;
