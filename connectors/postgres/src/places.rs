//! Where PostgreSQL's programs usually are.

/// Where Debian, PGDG's RPMs, Alpine, Homebrew (ARM, Intel), Postgres.app and source builds put PostgreSQL.
pub(crate) const PLACES: [&str; 7] = [
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/usr/libexec/postgresql*",
    "/opt/homebrew/opt/postgresql*/bin",
    "/usr/local/opt/postgresql*/bin",
    "/Applications/Postgres.app/Contents/Versions/*/bin",
    "/usr/local/pgsql*/bin",
];
