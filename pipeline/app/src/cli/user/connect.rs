//! How a person, or a tool, connects with an account.

use std::fmt::Write as _;

use serde_json::json;

use crate::cli::database::Database;
use crate::cli::screen;
use crate::config::Config;

/// Prints the password, which is shown nowhere else, and how to connect. `open`: what the account can still write, each
/// with the statement that revokes it.
pub(super) fn print(
    config: &Config,
    database: &Database,
    name: &str,
    password: &str,
    open: &[(String, String)],
    as_json: bool,
) -> anyhow::Result<()> {
    let connect = &database.connect;
    let name_of_database = connect.get_database().unwrap_or("millstream");
    let tcp = match (database.cluster.is_some(), config.postgres.pg_port) {
        (true, port) => port.map(|port| ("127.0.0.1".to_owned(), port)),
        (false, _) => Some((connect.get_host().to_owned(), connect.get_port())),
    };
    let url = |(host, port): &(String, u16)| format!("postgres://{name}:{password}@{host}:{port}/{name_of_database}");
    if as_json {
        let statements: Vec<&str> = open.iter().map(|(_, statement)| &**statement).collect();
        return screen::print_json(&json!({
            "name": name, "role": "analyst", "password": password, "database": name_of_database,
            "url": tcp.as_ref().map(url), "host": tcp.as_ref().map(|(host, _)| host), "port": tcp.as_ref().map(|(_, port)| port),
            "to_be_revoked": statements,
        }));
    }
    let mut text = format!("{name} reads the views of schema analytics.\npassword: {password}    (shown once)\n\n");
    match &tcp {
        Some(address @ (host, port)) => {
            text += &format!(
                "psql      psql \"{}\"\n\
                 DuckDB    ATTACH 'host={host} port={port} user={name} password={password} dbname={name_of_database}' AS millstream (TYPE postgres, READ_ONLY);\n          \
                 SELECT * FROM millstream.analytics.objects LIMIT 10;\n\
                 Metabase  PostgreSQL, host {host}, port {port}, database {name_of_database}, user {name}, schemas: only analytics\n",
                url(address)
            );
        }
        None => {
            let line = database.psql_line.replace("-U millstream", &format!("-U {name}"));
            text += &format!(
                "psql      {line}    (as root or the account that PostgreSQL runs as)\n\
                 DuckDB and Metabase need TCP, which the private PostgreSQL opens on 127.0.0.1 only when asked:\n          \
                 set postgres.pg_port = 5433 in millstream.toml, start `millstream run` again, then\n\
                 DuckDB    ATTACH 'host=127.0.0.1 port=5433 user={name} password={password} dbname={name_of_database}' AS millstream (TYPE postgres, READ_ONLY);\n\
                 Metabase  PostgreSQL, host 127.0.0.1, port 5433, database {name_of_database}, user {name}, schemas: only analytics\n",
            );
        }
    }
    text += "\ntry       SELECT bucket, objects, bytes FROM analytics.object_counts WHERE segment IS NULL;";
    for (what, statement) in open {
        // Writing to a String cannot fail.
        write!(text, "\n\nIt can still make {what}, which an owner of the database, or a superuser, takes from everybody with\n{statement}").ok();
    }
    screen::print(&config.localized(&text));
    Ok(())
}
