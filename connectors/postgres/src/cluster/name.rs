//! What everything about a private cluster is called.

/// The role, the database and the preferred account.
pub(super) const NAME: &str = "millstream";
