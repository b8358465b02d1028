//! Events about objects whose meaning is known, and the model that says what the tables must hold after them.

pub mod event;
pub use event::{Description, Event, Kind, Order};

pub mod dialect;
pub use dialect::Dialect;

pub mod generator;
pub use generator::Generator;

pub mod model;
pub use model::Model;

pub mod compare;
pub use compare::{compare, tables};
