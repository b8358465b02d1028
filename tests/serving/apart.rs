//! A gateway in a process of its own.

use std::net::SocketAddr;

use hyper::Method;
use millstream_tests::client::Http;
use millstream_tests::{Millstream, Setup, free_port, until};
use serde_json::Value;

use super::event::CLUSTER;
use super::requests::WITHIN;
use super::sources;

/// The process, and where it answers.
pub(crate) struct Apart {
    pub(crate) process: Millstream,
    pub(crate) listen: SocketAddr,
    admin: SocketAddr,
    http: Http,
}

/// A gateway on a database, with a data directory of its own that restarts share.
pub(crate) fn setup(url: &str) -> Setup {
    let setup = Setup::embedded().command("gateway").set(&format!("postgres.url={url}"));
    setup.set(&sources(&["ecs"], &[CLUSTER]))
}

impl Apart {
    /// Starts it at free ports.
    pub(crate) fn start(setup: &Setup) -> Apart {
        let free = || SocketAddr::from(([127, 0, 0, 1], free_port().unwrap()));
        let listen = free();
        let admin = free();
        let setup = setup.clone().set(&format!("gateway.listen={listen}")).set(&format!("gateway.admin={admin}"));
        Apart { process: setup.spawn(), listen, admin, http: Http::default() }
    }

    async fn ask(&self, path: &str) -> Option<(u16, String)> {
        let answer = self.http.send(Method::GET, self.admin, path, &[], "").await.ok()?;
        Some((answer.status.as_u16(), answer.text()))
    }

    /// What `/readyz` says once it says what is waited for.
    pub(crate) async fn says(&self, what: &str, is: impl Fn(bool, &Value) -> bool) -> Value {
        until(what, WITHIN, || async {
            let (status, body) = self.ask("/readyz").await?;
            let body = serde_json::from_str(&body).ok()?;
            is(status == 200, &body).then_some(body)
        })
        .await
    }

    /// A counter or gauge.
    pub(crate) async fn metric(&self, name: &str) -> f64 {
        let (_, text) = self.ask("/metrics").await.unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("millstream_gateway_{name} ")));
        line.unwrap_or_else(|| panic!("{name}: {text}")).parse().unwrap()
    }

    /// A service as it has it; null if it has none.
    pub(crate) async fn table(&self, service: &str) -> Value {
        let (_, text) = self.ask(&format!("/v1/table/{service}")).await.unwrap();
        serde_json::from_str(&text).unwrap()
    }
}
