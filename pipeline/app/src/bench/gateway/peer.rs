//! The processes of the comparison that are this program itself: the upstream, the bare forwarder, and the gateway.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use clap::{Args as ClapArgs, ValueEnum};
use millstream_gateway::server::Gateway;
use millstream_gateway::server::options::Options;
use millstream_gateway::{Applier, Dialable, Former, Table};
use millstream_schemas::tasks::{Alias, Deploy, Fact, Selector, Target, Task};
use tokio::net::TcpListener;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::super::routes::exchange;
use super::bare;

/// Bytes of the upstream's answer.
const ANSWER_BYTES: usize = 1_024;
/// The network of its address.
const NETWORK: &str = "bench";

/// What the process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Role {
    Upstream,
    Bare,
    Millstream,
}

/// Options of the process.
#[derive(Clone, Debug, ClapArgs)]
pub(in crate::bench) struct Args {
    #[arg(long)]
    role: Role,
    /// Where it listens; `listen` is an option of all commands.
    #[arg(long)]
    at: SocketAddr,
    #[arg(long)]
    upstream: SocketAddr,
}

/// The command of such a process. It has one worker.
pub(super) fn command(role: Role, listen: SocketAddr, upstream: SocketAddr) -> anyhow::Result<tokio::process::Command> {
    let role = role.to_possible_value().context("name a role")?;
    let mut command = tokio::process::Command::new(std::env::current_exe().context("find this program")?);
    command.args(["bench", "peer", "--role", role.get_name(), "--at", &listen.to_string()]);
    command.args(["--upstream", &upstream.to_string()]).env("TOKIO_WORKER_THREADS", "1");
    Ok(command)
}

/// Serves until it is killed.
pub(in crate::bench) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let listener = TcpListener::bind(args.at).await.with_context(|| format!("listen on {}", args.at))?;
    match args.role {
        Role::Upstream => exchange::answer(listener, Bytes::from(vec![b'x'; ANSWER_BYTES])).await,
        Role::Bare => bare::serve(listener, args.upstream).await,
        Role::Millstream => {
            let gateway = Gateway::new(table(args.upstream)?, Options::new("bench"));
            gateway.serve(listener, CancellationToken::new()).await;
        }
    }
    bail!("the listener failed")
}

/// A table with one task, at the address of the upstream.
fn table(upstream: SocketAddr) -> anyhow::Result<Arc<Table>> {
    let range = "127.0.0.0/8".parse().context("read a range")?;
    let dialable = Dialable::new(BTreeMap::from([(NETWORK.to_owned(), vec![range])]), [], []);
    let table = Arc::new(Table::default());
    let mut applier = Applier::new(Arc::clone(&table), Arc::new(dialable), millstream_gateway::Options::default());
    applier.load(facts(upstream), &Former::new(), Instant::now());
    Ok(table)
}

fn facts(upstream: SocketAddr) -> [Fact; 3] {
    let definition = Some("bench:1".to_owned());
    let task = Task {
        source: NETWORK.to_owned(),
        id: "1".to_owned(),
        version: 1,
        definition: definition.clone(),
        status: Some("RUNNING".to_owned()),
        desired_status: Some("RUNNING".to_owned()),
        started_ms: Some(1),
        address_epoch: Some(0),
        address_rank: Some(0),
        address_version: Some(1),
        network: Some(NETWORK.to_owned()),
        addresses: vec![upstream.ip()],
        ..Task::default()
    };
    let deploy = Deploy {
        service: "bench".to_owned(),
        revision: "1".to_owned(),
        generation: 1,
        selector: Some(Selector { definition, ..Selector::default() }),
        port: Some(upstream.port()),
        min_ready: 1,
        ..Deploy::default()
    };
    let alias = Alias {
        service: "bench".to_owned(),
        alias: "prod".to_owned(),
        generation: 1,
        targets: vec![Target { revision: "1".to_owned(), weight: 100 }],
        ..Alias::default()
    };
    [Fact::Task(Box::new(task)), Fact::Deploy(Box::new(deploy)), Fact::Alias(Box::new(alias))]
}

#[cfg(test)]
mod tests {
    use super::*;
    use millstream_schemas::tasks::Standing;

    #[test]
    fn the_one_task_of_the_table_is_routable() {
        let table = table(SocketAddr::from(([127, 0, 0, 1], 80))).unwrap();
        let view = table.lookup("bench").unwrap();
        let members = &view.revisions.values().next().unwrap().tasks.members;
        assert_eq!(members.iter().map(|member| member.standing).collect::<Vec<_>>(), [Standing::Routable]);
        assert!(view.alias("prod").unwrap().is_served);
    }
}
