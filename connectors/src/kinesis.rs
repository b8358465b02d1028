//! Amazon Kinesis Data Streams: what its source and its producer share.
//!
//! [`client`] is the only place that names the vendor's types; `failure` sorts its errors by what has to happen next.
//! `aggregate` is the format in which several records, or one with headers, are stored as one.

pub(crate) mod aggregate;
pub mod client;
pub(crate) mod failure;

pub use client::Address;
