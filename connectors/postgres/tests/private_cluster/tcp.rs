//! TCP on request: on loopback, with a password, and nothing else.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;

use sqlx::postgres::{PgConnectOptions, PgConnection, PgSslMode};
use sqlx::{Connection, Error};

use crate::stage::{Home, free_port};

fn connect(port: u16, password: &str) -> Result<String, String> {
    let options = PgConnectOptions::new_without_pgpass().host("127.0.0.1").port(port).username("millstream");
    let options = options.database("millstream").password(password).ssl_mode(PgSslMode::Disable);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let ask = async {
            let mut connection = PgConnection::connect_with(&options).await?;
            sqlx::query_scalar("SELECT 'in'::text").fetch_one(&mut connection).await
        };
        ask.await.map_err(|error: Error| match error {
            Error::Database(error) => error.code().unwrap_or_default().into_owned(),
            other => other.to_string(),
        })
    })
}

#[test]
fn a_port_takes_the_password_and_nothing_else() {
    let home = Home::made();
    let port = free_port();
    let mut program = home.program().port(port).start();
    let server = program.opened();
    let path = home.path().join("password");
    let password = fs::read_to_string(&path).unwrap().trim().to_owned();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(connect(port, &password), Ok("in".to_owned()));
    assert_eq!(connect(port, "wrong"), Err("28P01".to_owned()));
    assert_eq!(program.tell("url"), format!("postgres://millstream:{password}@127.0.0.1:{port}/millstream"));
    assert!(!home.log().contains(&password), "the password is in the log");
    // Who asks for no port finds the socket all the same, though the port is part of its name.
    let mut second = home.start();
    assert_eq!(second.opened(), server);
    assert_eq!(second.ask("SELECT 'on'"), "on");
    assert!(!second.close());
    assert!(program.close());
    // The next start keeps the password.
    let mut program = home.program().port(port).start();
    program.opened();
    assert_eq!(connect(port, &password), Ok("in".to_owned()));
    assert!(program.close());
}

#[test]
fn a_port_that_the_running_server_has_not_is_refused() {
    let home = Home::made();
    let mut first = home.start();
    first.opened();
    // Also the number that names the socket of a server without TCP.
    for port in [5432, free_port()] {
        let said = home.program().port(port).start().refused();
        assert!(said.contains(&format!("without TCP port {port}")), "{said}");
    }
    assert_eq!(first.ask("SELECT 'on'"), "on");
    assert!(first.close());
}

#[test]
fn a_taken_port_is_named() {
    let home = Home::made();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let said = home.program().port(port).start().refused();
    assert!(said.starts_with(&format!("port {port} of 127.0.0.1 is taken")), "{said}");
    assert!(home.is_unused());
}
