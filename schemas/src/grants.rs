//! The privileges that the account of the writers needs, and no more. A migration that adds a table adds a line here.

/// Privileges on one object.
#[derive(Clone, Copy, Debug)]
pub struct Grant {
    /// The kind of object.
    pub kind: Kind,
    /// Its name, in schema `millstream` unless it is the schema itself.
    pub name: &'static str,
    /// The privileges needed.
    pub privileges: &'static [&'static str],
}

/// Kinds of objects that GRANT has a word for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A schema.
    Schema,
    /// A table.
    Table,
    /// A function, with the types of its parameters.
    Function,
}

/// All privileges that `run` and the commands need. COPY needs INSERT, a row lock needs UPDATE.
pub const WRITER: &[Grant] = &[
    Grant { kind: Kind::Schema, name: "millstream", privileges: &["USAGE"] },
    table("migration", &["SELECT"]),
    table("objects", &["SELECT", "INSERT", "UPDATE"]),
    table("bucket_count", &["SELECT", "INSERT", "UPDATE"]),
    table("segment", &["SELECT", "INSERT"]),
    table("segment_limit", &["SELECT", "INSERT", "UPDATE"]),
    table("segment_count", &["SELECT", "INSERT", "UPDATE"]),
    table("segment_change", &["SELECT", "INSERT", "DELETE"]),
    table("segment_sum", &["SELECT"]),
    table("hour_count", &["SELECT", "INSERT", "UPDATE"]),
    table("slot", &["SELECT", "INSERT", "UPDATE"]),
    table("lease", &["SELECT", "INSERT", "UPDATE"]),
    table("member", &["SELECT", "INSERT", "UPDATE", "DELETE"]),
    table("assignment", &["SELECT", "INSERT", "UPDATE", "DELETE"]),
    table("gap", &["SELECT", "INSERT"]),
    table("quarantine", &["SELECT", "INSERT", "UPDATE", "DELETE"]),
    table("quarantine_change", &["SELECT", "INSERT", "DELETE"]),
    table("share_pause", &["SELECT", "INSERT", "UPDATE", "DELETE"]),
    table("task", &["SELECT", "INSERT", "UPDATE", "DELETE"]),
    table("instance", &["SELECT", "INSERT", "UPDATE", "DELETE"]),
    table("slice", &["SELECT", "INSERT", "UPDATE", "DELETE"]),
    table("deploy", &["SELECT", "INSERT", "UPDATE"]),
    table("deploy_change", &["SELECT", "INSERT", "DELETE"]),
    table("health", &["SELECT", "INSERT", "UPDATE", "DELETE"]),
    table("alias", &["SELECT", "INSERT", "UPDATE"]),
    table("alias_history", &["SELECT", "INSERT", "UPDATE"]),
    // A row lock needs UPDATE.
    table("route_turn", &["SELECT", "UPDATE"]),
    table("route_log", &["SELECT", "INSERT", "DELETE"]),
    table("route_commit", &["SELECT", "INSERT", "DELETE"]),
    table("route_identity", &["SELECT", "UPDATE"]),
    table("route_state", &["SELECT", "INSERT", "UPDATE", "DELETE"]),
    table("task_floor", &["SELECT", "INSERT", "UPDATE"]),
    table("gateway", &["SELECT", "INSERT", "UPDATE", "DELETE"]),
    table("gateway_alias", &["SELECT", "INSERT", "DELETE"]),
    Grant { kind: Kind::Function, name: "ms_to_time(bigint)", privileges: &["EXECUTE"] },
    Grant { kind: Kind::Function, name: "to_time(bigint)", privileges: &["EXECUTE"] },
    Grant { kind: Kind::Function, name: "to_date(bigint)", privileges: &["EXECUTE"] },
    Grant { kind: Kind::Function, name: "from_time(timestamptz)", privileges: &["EXECUTE"] },
];

const fn table(name: &'static str, privileges: &'static [&'static str]) -> Grant {
    Grant { kind: Kind::Table, name, privileges }
}

impl Kind {
    /// The word in GRANT.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Schema => "SCHEMA",
            Kind::Table => "TABLE",
            Kind::Function => "FUNCTION",
        }
    }
}

impl Grant {
    /// The object as SQL names it.
    pub fn object(&self) -> String {
        match self.kind {
            Kind::Schema => self.name.to_owned(),
            Kind::Table | Kind::Function => format!("millstream.{}", self.name),
        }
    }

    /// The statement that grants this to a role.
    pub fn statement(&self, role: &str) -> String {
        let privileges = self.privileges.join(", ");
        let kind = self.kind.word();
        let object = self.object();
        format!("GRANT {privileges} ON {kind} {object} TO {};", quoted(role))
    }
}

/// A name quoted for SQL, whatever it contains.
pub fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::migrations::MIGRATIONS;

    #[test]
    fn every_table_is_granted() {
        for migration in MIGRATIONS {
            for line in migration.sql.lines() {
                let Some(rest) = line.strip_prefix("CREATE TABLE millstream.") else { continue };
                let name = rest.split(' ').next().unwrap_or_default();
                assert!(WRITER.iter().any(|grant| grant.kind == Kind::Table && grant.name == name), "{name}");
            }
        }
    }

    #[test]
    fn a_role_of_any_name_gets_its_own_grants() {
        let grant = table("lease", &["SELECT", "UPDATE"]);
        assert_eq!(grant.statement("a\"b"), "GRANT SELECT, UPDATE ON TABLE millstream.lease TO \"a\"\"b\";");
    }
}
