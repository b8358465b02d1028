//! Changes of aliases. A command replaces the generation that it has just read, so two of them at once do not overwrite
//! each other unseen.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use hyper::{Method, StatusCode};
use serde_json::{Value, json};

use super::super::client::{Client, problem};
use super::super::screen::{self, found};
use super::{path, show};

/// Interval between looks at the gateways.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Exit code of `--wait` when a gateway holds the former generation.
const EXIT_HELD: u8 = 2;

/// What every change has.
#[derive(Debug, clap::Args)]
pub struct ChangeArgs {
    /// Service.
    service: String,
    /// Alias, such as `prod`.
    alias: String,
    #[command(flatten)]
    how: How,
}

#[derive(Debug, clap::Args)]
struct How {
    /// Do everything but commit.
    #[arg(long)]
    dry_run: bool,
    /// Wait until every gateway serves it; exits with 2 if one holds the former generation.
    #[arg(long)]
    wait: bool,
    /// How long to wait, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 60, requires = "wait")]
    wait_seconds: u64,
    /// Print the JSON answer of the process.
    #[arg(long)]
    json: bool,
}

/// Options of `route set`.
#[derive(Debug, clap::Args)]
pub struct SetArgs {
    /// Service.
    service: String,
    /// Alias, such as `prod`.
    alias: String,
    /// Revisions with weights, such as `blue=90 green=10`; a revision alone has the weight 100.
    #[arg(required_unless_present = "any", conflicts_with = "any", value_name = "REVISION[=WEIGHT]")]
    targets: Vec<String>,
    /// Any live revision, as a load balancer does.
    #[arg(long)]
    any: bool,
    /// Keep requests with the same value of this header at one revision.
    #[arg(long, value_name = "HEADER")]
    sticky: Option<String>,
    /// Take revisions that are not deployed yet.
    #[arg(long)]
    allow_pending: bool,
    #[command(flatten)]
    how: How,
}

/// Options of `route flip`.
#[derive(Debug, clap::Args)]
pub struct FlipArgs {
    /// Service.
    service: String,
    /// Alias, such as `prod`.
    alias: String,
    /// The revision that takes over.
    revision: String,
    #[command(flatten)]
    how: How,
}

/// Options of `route purge`.
#[derive(Debug, clap::Args)]
pub struct PurgeArgs {
    /// Age since which they are gone, such as `30d`; at least a day, and the retention of the stream.
    #[arg(long, value_name = "AGE", value_parser = crate::config::some_time)]
    older_than: Duration,
    /// Count them, and remove nothing.
    #[arg(long)]
    dry_run: bool,
    /// Print the JSON answer of the process.
    #[arg(long)]
    json: bool,
}

pub(super) async fn purge(client: &Client, args: &PurgeArgs) -> anyhow::Result<ExitCode> {
    let path = format!("/v1/routes/purge?older_than_seconds={}&dry_run={}", args.older_than.as_secs(), args.dry_run);
    let mut removed = 0;
    loop {
        let answer = client.json(Method::POST, &path, Bytes::new()).await?;
        let some = found(&answer, "removed").and_then(Value::as_u64).unwrap_or_default();
        removed += some;
        if some == 0 || args.dry_run {
            break;
        }
        if !args.json {
            screen::print(&format!("{} tasks, instances and slices removed", screen::grouped(removed)));
        }
    }
    if args.json {
        screen::print_json(&json!({ "removed": removed, "dry_run": args.dry_run }))?;
    } else if args.dry_run {
        screen::print(&format!(
            "dry run, nothing was changed: {} tasks, instances and slices would be removed",
            screen::grouped(removed)
        ));
    } else if removed == 0 {
        screen::print("nothing is gone for so long, but for what living tasks still need");
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn set(client: &Client, args: &SetArgs) -> anyhow::Result<ExitCode> {
    let targets = args.targets.iter().map(|target| read_target(target)).collect::<anyhow::Result<Vec<_>>>()?;
    let body = json!({
        "targets": targets, "any": args.any, "sticky": args.sticky, "allow_pending": args.allow_pending,
        "change_id": change_id(),
    });
    put(client, &args.service, &args.alias, body, &args.how).await
}

pub(super) async fn flip(client: &Client, args: &FlipArgs) -> anyhow::Result<ExitCode> {
    let path = path(&["routes", &args.service, &args.alias]);
    // What else is set of the alias stays.
    let mut body = current(client, &path).await?.unwrap_or_else(|| json!({}));
    let members = body.as_object_mut().context("read the alias")?;
    const KEPT: [&str; 6] = ["sticky", "force", "hold_max_ms", "retry_responses", "retry_keyed", "timeout_ms"];
    members.retain(|name, _| KEPT.contains(&name.as_str()));
    members.insert("targets".to_owned(), json!([{ "revision": args.revision, "weight": 100 }]));
    members.insert("change_id".to_owned(), change_id().into());
    put(client, &args.service, &args.alias, body, &args.how).await
}

pub(super) async fn roll_back(client: &Client, args: &ChangeArgs) -> anyhow::Result<ExitCode> {
    let path = path(&["routes", &args.service, &args.alias]);
    change(client, Method::POST, &path, "/rollback", Bytes::new(), &args.how).await
}

pub(super) async fn delete(client: &Client, args: &ChangeArgs) -> anyhow::Result<ExitCode> {
    let path = path(&["routes", &args.service, &args.alias]);
    change(client, Method::DELETE, &path, "", Bytes::new(), &args.how).await
}

async fn put(client: &Client, service: &str, alias: &str, body: Value, how: &How) -> anyhow::Result<ExitCode> {
    let path = path(&["routes", service, alias]);
    change(client, Method::PUT, &path, "", body.to_string().into(), how).await
}

/// Sends a change that replaces what is there now, and waits for it if that is asked for.
async fn change(
    client: &Client,
    method: Method,
    path: &str,
    suffix: &str,
    body: Bytes,
    how: &How,
) -> anyhow::Result<ExitCode> {
    let condition = match current(client, path).await? {
        Some(now) => {
            let generation = found(&now, "generation").and_then(Value::as_i64).context("read its generation")?;
            ("if-match".to_owned(), format!("\"{generation}\""))
        }
        None => ("if-none-match".to_owned(), "*".to_owned()),
    };
    // A body has its id in it.
    let id = body.is_empty().then(|| format!("&change_id={}", change_id()));
    let path_and_query = format!("{path}{suffix}?dry_run={}{}", how.dry_run, id.unwrap_or_default());
    let headers = [condition, ("content-type".to_owned(), "application/json".to_owned())];
    let (status, answer) = client.send(method, &path_and_query, &headers, body).await?;
    if !status.is_success() {
        bail!("{} answers {status}{}", client.address, problem(&answer));
    }
    let answer: Value = serde_json::from_slice(&answer).context("read the answer")?;
    if how.json {
        screen::print_json(&answer)?;
    } else {
        let would = if how.dry_run { "dry run, nothing was changed; it would be: " } else { "" };
        screen::print(&format!("{would}{}", show::line(&answer)));
    }
    let is_deleted = found(&answer, "deleted").and_then(Value::as_bool).unwrap_or_default();
    if how.wait && !how.dry_run && is_deleted {
        screen::print("it was not waited for: gateways say nothing of an alias that is deleted");
    } else if how.wait && !how.dry_run {
        return wait(client, path, &answer, how).await;
    }
    Ok(ExitCode::SUCCESS)
}

/// The alias as it is; `None` if there is none.
async fn current(client: &Client, path: &str) -> anyhow::Result<Option<Value>> {
    let (status, body) = client.send(Method::GET, path, &[], Bytes::new()).await?;
    match status {
        StatusCode::NOT_FOUND => Ok(None),
        status if status.is_success() => Ok(Some(serde_json::from_slice(&body).context("read the alias")?)),
        status => bail!("{} answers {status}{}", client.address, problem(&body)),
    }
}

/// Waits until every live gateway serves the generation.
async fn wait(client: &Client, path: &str, answer: &Value, how: &How) -> anyhow::Result<ExitCode> {
    let wanted = found(answer, "generation").and_then(Value::as_i64).unwrap_or_default();
    let began = std::time::Duration::from_secs(how.wait_seconds);
    let deadline = tokio::time::Instant::now() + began;
    loop {
        let now = current(client, path).await?.unwrap_or_default();
        let gateways: Vec<Value> = found(&now, "gateways").and_then(Value::as_array).cloned().unwrap_or_default();
        let serves =
            |one: &&Value| found(one, "generation").and_then(Value::as_i64).is_some_and(|serving| serving >= wanted);
        let behind: Vec<&Value> = gateways.iter().filter(|one| !serves(one)).collect();
        if behind.is_empty() && !gateways.is_empty() {
            screen::print(&format!("{} gateways serve generation {wanted}", gateways.len()));
            return Ok(ExitCode::SUCCESS);
        }
        if tokio::time::Instant::now() > deadline {
            if gateways.is_empty() {
                bail!("no gateway is alive: `millstream status` shows why, or start one with gateway.listen");
            }
            for one in behind {
                screen::print(&show::gateway(one));
            }
            return Ok(ExitCode::from(EXIT_HELD));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn read_target(text: &str) -> anyhow::Result<Value> {
    let (revision, weight) = text.split_once('=').unwrap_or((text, "100"));
    let weight: u16 = weight
        .parse()
        .with_context(|| format!("{text:?}: write REVISION or REVISION=WEIGHT, with a weight of 0 to 1000"))?;
    Ok(json!({ "revision": revision, "weight": weight }))
}

/// Recognises the request of a command if it is sent twice.
pub(in crate::cli) fn change_id() -> String {
    format!("{:016x}", rand::random::<u64>())
}
