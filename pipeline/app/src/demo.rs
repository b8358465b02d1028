//! `millstream demo`.
