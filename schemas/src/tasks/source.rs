//! Who may send task events, and what of: the sources of the configuration (`[[task_source]]`).
//!
//! The name of a source is part of the key of every fact. It comes from the header of a record, which our endpoints and
//! bridges set, never from the payload.

use core::net::IpAddr;
use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::fact::Kind;

/// Bytes of a name of a source, network, service, revision or alias.
const NAME_BYTES_MAX: usize = 127;

/// A scheduler.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceKind {
    /// Amazon ECS in one account and region.
    Ecs,
    /// One cluster of Kubernetes.
    Kubernetes,
}

/// A source of task events.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// Its name: 1 to 127 letters, digits, `.`, `_`, `-`.
    pub name: String,
    /// Its scheduler.
    pub kind: SourceKind,
    /// The clusters that it may speak of: ARNs of ECS, or the uid of the namespace `kube-system`. An event of any other
    /// is refused. Events of Kubernetes do not name their cluster, so such a source lists exactly one.
    pub clusters: Vec<String>,
    /// The network of its addresses: those of different networks are never compared.
    pub network: String,
    /// The address ranges of its tasks, as `10.0.0.0/16`; none means that the source does not say.
    #[serde(default)]
    pub cidrs: Vec<String>,
    /// The kinds of facts that it may send; default `task`, `instance`, `slice`.
    #[serde(default = "default_may")]
    pub may: BTreeSet<Kind>,
}

fn default_may() -> BTreeSet<Kind> {
    BTreeSet::from([Kind::Task, Kind::Instance, Kind::Slice])
}

/// The configured sources, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Vec<Source>")]
pub struct Sources(BTreeMap<String, Source>);

/// Why sources cannot be used as they are configured.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// Two sources have one name.
    #[error("task source {0:?} is there twice")]
    Twice(String),
    /// The name of a source or network.
    #[error("{0:?} is not a name: 1 to {NAME_BYTES_MAX} letters, digits, `.`, `_`, `-`")]
    Name(String),
    /// A source of ECS without clusters, or one of Kubernetes without exactly one.
    #[error("task source {0:?}: list the ARNs of its clusters (ecs), or the uid of its kube-system (kubernetes)")]
    Clusters(String),
    /// An address range.
    #[error("task source {0:?}: {1:?} is not an address range such as 10.0.0.0/16")]
    Range(String, String),
    /// Aliases are set by the API only.
    #[error("task source {0:?}: `may` cannot hold `alias`, because events never set an alias")]
    Alias(String),
}

impl Sources {
    /// Checks sources and holds them by name.
    ///
    /// # Errors
    /// See [`SourceError`].
    pub fn new(sources: impl IntoIterator<Item = Source>) -> Result<Self, SourceError> {
        let mut held = BTreeMap::new();
        for source in sources {
            source.check()?;
            if let Some(source) = held.insert(source.name.clone(), source) {
                return Err(SourceError::Twice(source.name));
            }
        }
        Ok(Self(held))
    }

    /// The source of a name.
    pub fn get(&self, name: &str) -> Option<&Source> {
        self.0.get(name)
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Source> {
        self.0.values()
    }

    /// Whether none is configured.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl TryFrom<Vec<Source>> for Sources {
    type Error = SourceError;

    fn try_from(sources: Vec<Source>) -> Result<Self, SourceError> {
        Self::new(sources)
    }
}

impl Source {
    fn check(&self) -> Result<(), SourceError> {
        for name in [&self.name, &self.network] {
            if !is_name(name) {
                return Err(SourceError::Name(name.clone()));
            }
        }
        let has_clusters = match self.kind {
            SourceKind::Ecs => !self.clusters.is_empty(),
            SourceKind::Kubernetes => self.clusters.len() == 1,
        };
        if !has_clusters || self.clusters.iter().any(|cluster| cluster.is_empty() || cluster.contains('\0')) {
            return Err(SourceError::Clusters(self.name.clone()));
        }
        if let Some(range) = self.cidrs.iter().find(|range| !is_range(range)) {
            return Err(SourceError::Range(self.name.clone(), range.clone()));
        }
        if self.may.contains(&Kind::Alias) {
            return Err(SourceError::Alias(self.name.clone()));
        }
        Ok(())
    }
}

/// Whether a text can name a source, network, service, revision or alias.
pub fn is_name(text: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=NAME_BYTES_MAX).contains(&text.len()) && text.bytes().all(is_letter)
}

fn is_range(text: &str) -> bool {
    let Some((address, bits)) = text.split_once('/') else { return false };
    let max = match address.parse() {
        Ok(IpAddr::V4(_)) => 32_u8,
        Ok(IpAddr::V6(_)) => 128,
        Err(_) => return false,
    };
    bits.parse().is_ok_and(|bits: u8| bits <= max)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ECS: &str = r#"{"name":"prod","kind":"ecs","clusters":["arn:c"],"network":"vpc-1","cidrs":["10.0.0.0/16"]}"#;

    fn sources(edits: &[(&str, &str)]) -> Result<Sources, String> {
        let text = edits.iter().fold(ECS.to_owned(), |text, (from, to)| text.replace(from, to));
        serde_json::from_str(&format!("[{text}]")).map_err(|error| error.to_string())
    }

    #[test]
    fn a_source_sends_tasks_instances_and_slices_unless_more_is_named() {
        let held = sources(&[]).unwrap();
        let may = &held.get("prod").unwrap().may;
        assert_eq!(may, &BTreeSet::from([Kind::Task, Kind::Instance, Kind::Slice]));
        let held = sources(&[("}", r#","may":["deploy","health"]}"#)]).unwrap();
        assert_eq!(held.get("prod").unwrap().may, BTreeSet::from([Kind::Deploy, Kind::Health]));
        assert!(held.get("other").is_none() && held.iter().count() == 1 && !held.is_empty());
    }

    #[test]
    fn a_source_that_cannot_be_meant_is_refused() {
        let rows: &[(&[(&str, &str)], &str)] = &[
            (&[(r#""prod""#, r#""a b""#)], "not a name"),
            (&[(r#""vpc-1""#, r#""""#)], "not a name"),
            (&[(r#"["arn:c"]"#, "[]")], "list the ARNs"),
            (&[("ecs", "kubernetes"), (r#"["arn:c"]"#, r#"["a","b"]"#)], "list the ARNs"),
            (&[("/16", "/33")], "not an address range"),
            (&[("}", r#","may":["alias"]}"#)], "events never set an alias"),
            (&[("}", r#","store":"x"}"#)], "unknown field"),
            (&[(ECS, &format!("{ECS},{ECS}"))], "there twice"),
        ];
        for (edits, expected) in rows {
            let found = sources(edits).unwrap_err();
            assert!(found.contains(expected), "{edits:?}: {found}");
        }
    }
}
