//! The options of a private cluster.

use std::path::PathBuf;

/// The options of a private cluster.
#[derive(Clone, Debug)]
pub struct ClusterOptions {
    /// The directory that holds everything; made if it is not there. Removing it removes the cluster.
    pub home: PathBuf,
    /// Opens this TCP port on 127.0.0.1, with a random password that is kept in `home/password`. It must be free.
    pub pg_port: Option<u16>,
    /// Settings of the server (`shared_buffers`, ..), which win over the defaults.
    pub settings: Vec<(String, String)>,
    /// Whether acknowledged data survives the loss of power. False only in tests.
    pub durable: bool,
}

impl ClusterOptions {
    /// A durable cluster without TCP and with the default settings.
    pub fn new(home: impl Into<PathBuf>) -> ClusterOptions {
        ClusterOptions { home: home.into(), pg_port: None, settings: Vec::new(), durable: true }
    }
}
