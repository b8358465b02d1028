//! `[gateway]`: the part that sends requests to tasks.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The gateway.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Gateway {
    /// Address and port for requests to services; `None` runs no gateway.
    pub listen: Option<SocketAddr>,
    /// Address and port for health, metrics and the table.
    pub admin: SocketAddr,
    /// Its name among the gateways; `None` derives one from the machine and the address.
    pub id: Option<String>,
    /// Networks that it may dial, each with its CIDRs; empty takes those of the task sources.
    pub networks: BTreeMap<String, Vec<String>>,
    /// The file that keeps the table for a start without the database; `None` is below the data directory.
    pub file: Option<PathBuf>,
    /// Allows to listen beyond this machine although requests are not authenticated.
    pub open: bool,
    /// Maximum number of open connections of clients.
    pub connections_max: usize,
}

impl Default for Gateway {
    fn default() -> Self {
        Gateway {
            listen: None,
            admin: SocketAddr::from(([127, 0, 0, 1], 8082)),
            id: None,
            networks: BTreeMap::new(),
            file: None,
            open: false,
            connections_max: 4_096,
        }
    }
}
