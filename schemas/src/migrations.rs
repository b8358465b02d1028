//! The tables, as numbered SQL files. A file that was released is never changed: a change is a new file.
//!
//! Each step has a floor, which decides what an older program may still do with the new schema: see
//! [`Migration::floor`]. `connectors/postgres` applies steps to a server; this list only defines them.

/// One step of the schema.
#[derive(Clone, Copy, Debug)]
pub struct Migration {
    /// Its number: steps are applied in this order, each once.
    pub number: i32,
    /// Its name, for people.
    pub name: &'static str,
    /// The number of the newest step that a program must know to go on writing once this one is applied. A step that
    /// only adds what older programs need not know keeps the floor of the step before it; a step after which an older
    /// program would write wrong rows has its own number.
    pub floor: i32,
    /// How it is applied.
    pub form: Form,
    /// The statements.
    pub sql: &'static str,
}

/// How a step is applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// All statements in one transaction.
    Transaction,
    /// One statement, `CREATE INDEX CONCURRENTLY IF NOT EXISTS`, outside of a transaction: writers go on meanwhile. An
    /// attempt that was interrupted leaves an invalid index of this name in schema `millstream`, which the next attempt
    /// removes first.
    Concurrently {
        /// The index.
        index: &'static str,
    },
}

const fn step(number: i32, name: &'static str, floor: i32, sql: &'static str) -> Migration {
    Migration { number, name, floor, form: Form::Transaction, sql }
}

/// All steps, in order.
pub const MIGRATIONS: &[Migration] = &[
    step(1, "objects", 1, include_str!("../migrations/0001_objects.sql")),
    step(2, "positions", 2, include_str!("../migrations/0002_positions.sql")),
    step(3, "analytics", 3, include_str!("../migrations/0003_analytics.sql")),
    step(4, "key_order", 4, include_str!("../migrations/0004_key_order.sql")),
    step(5, "assignment", 5, include_str!("../migrations/0005_assignment.sql")),
    step(6, "segment_changes", 6, include_str!("../migrations/0006_segment_changes.sql")),
    // An older program does not see the mark of a halt and would read on, so it must not write.
    step(7, "halts", 7, include_str!("../migrations/0007_halts.sql")),
    // An older program knows no removal of a whole key and would revive rows of the key.
    step(9, "key_removals", 9, include_str!("../migrations/0009_key_removals.sql")),
    // An older program would let the views show metadata that has become too old for its object.
    step(10, "analytics_time", 10, include_str!("../migrations/0010_analytics_time.sql")),
    // An older program would write records of a share that is put aside.
    step(11, "shares", 11, include_str!("../migrations/0011_shares.sql")),
    step(12, "metadata_statistics", 11, include_str!("../migrations/0012_metadata_statistics.sql")),
    // New tables only: an older program has no pipeline of tasks.
    step(13, "tasks", 11, include_str!("../migrations/0013_tasks.sql")),
    // Views, a table that only remembers requests, and a column that may be null: an older program writes the same facts.
    step(14, "task_standing", 11, include_str!("../migrations/0014_task_standing.sql")),
    step(15, "deploy_changes", 11, include_str!("../migrations/0015_deploy_changes.sql")),
    step(16, "route_seen", 11, include_str!("../migrations/0016_route_seen.sql")),
];

/// The newest step that this program knows.
pub const NEWEST: i32 = match MIGRATIONS.last() {
    Some(last) => last.number,
    None => 0,
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_rise_and_floors_never_fall() {
        assert!(MIGRATIONS.windows(2).all(|pair| pair[0].number < pair[1].number));
        for step in MIGRATIONS {
            assert!((1..=step.number).contains(&step.floor), "{}", step.name);
        }
        assert!(MIGRATIONS.windows(2).all(|pair| pair[0].floor <= pair[1].floor));
    }

    #[test]
    fn what_runs_outside_of_a_transaction_is_one_statement_that_can_be_repeated() {
        for step in MIGRATIONS {
            let Form::Concurrently { index } = step.form else { continue };
            let statement = step.sql.lines().filter(|line| !line.starts_with("--")).collect::<Vec<_>>().join("\n");
            assert!(statement.trim_start().starts_with("CREATE INDEX CONCURRENTLY IF NOT EXISTS "), "{}", step.name);
            assert!(statement.contains(index), "{}", step.name);
            assert_eq!(statement.trim_end().trim_end_matches(';').matches(';').count(), 0, "{}", step.name);
        }
    }
}
