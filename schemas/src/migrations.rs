//! The tables, as numbered SQL files. A file that was released is never changed: a change is a new file.

/// One step of the schema.
#[derive(Clone, Copy, Debug)]
pub struct Migration {
    /// Its number: steps are applied in this order, each once.
    pub number: i32,
    /// Its name, for people.
    pub name: &'static str,
    /// The statements.
    pub sql: &'static str,
}

/// All steps, in order.
pub const MIGRATIONS: &[Migration] = &[
    Migration { number: 1, name: "objects", sql: include_str!("../migrations/0001_objects.sql") },
    Migration { number: 2, name: "positions", sql: include_str!("../migrations/0002_positions.sql") },
    Migration { number: 3, name: "analytics", sql: include_str!("../migrations/0003_analytics.sql") },
    Migration { number: 4, name: "key_order", sql: include_str!("../migrations/0004_key_order.sql") },
    Migration { number: 5, name: "assignment", sql: include_str!("../migrations/0005_assignment.sql") },
    Migration { number: 6, name: "segment_changes", sql: include_str!("../migrations/0006_segment_changes.sql") },
];
