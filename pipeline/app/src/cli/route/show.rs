//! Aliases as a person reads them.

use std::process::ExitCode;
use std::time::Duration;

use serde_json::Value;

use super::super::client::Client;
use super::super::screen::{self, found, text};
use super::{AliasArgs, ListArgs, WhoArgs, path};

pub(super) async fn list(client: &Client, args: &ListArgs) -> anyhow::Result<ExitCode> {
    let encoded = args.service.as_ref().map(|service| {
        format!("?service={}", percent_encoding::utf8_percent_encode(service, percent_encoding::NON_ALPHANUMERIC))
    });
    let answer = client.get(&format!("/v1/routes{}", encoded.unwrap_or_default())).await?;
    if args.json {
        screen::print_json(&answer)?;
        return Ok(ExitCode::SUCCESS);
    }
    let items = found(&answer, "items").and_then(Value::as_array).cloned().unwrap_or_default();
    if items.is_empty() {
        screen::print("there is no route; `millstream route set SERVICE ALIAS REVISION` makes one");
        return Ok(ExitCode::SUCCESS);
    }
    for item in &items {
        screen::print(&line(item));
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn one(client: &Client, args: &AliasArgs) -> anyhow::Result<ExitCode> {
    let answer = client.get(&path(&["routes", &args.service, &args.alias])).await?;
    if args.json {
        screen::print_json(&answer)?;
        return Ok(ExitCode::SUCCESS);
    }
    screen::print(&line(&answer));
    for revision in found(&answer, "revisions").and_then(Value::as_array).into_iter().flatten() {
        let states = found(revision, "tasks").and_then(Value::as_object);
        let states = states.into_iter().flatten().map(|(state, count)| format!("{count} {}", state.replace('_', " ")));
        let states: Vec<String> = states.collect();
        let states = if states.is_empty() { "no tasks".to_owned() } else { states.join(", ") };
        screen::print(&format!("  {}: {states}", text(revision, "revision")));
    }
    for one in found(&answer, "gateways").and_then(Value::as_array).into_iter().flatten() {
        screen::print(&format!("  {}", gateway(one)));
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn history(client: &Client, args: &AliasArgs) -> anyhow::Result<ExitCode> {
    let answer = client.get(&path(&["routes", &args.service, &args.alias, "history"])).await?;
    if args.json {
        screen::print_json(&answer)?;
        return Ok(ExitCode::SUCCESS);
    }
    for item in found(&answer, "items").and_then(Value::as_array).into_iter().flatten() {
        let until = found(item, "valid_to").and_then(Value::as_str).unwrap_or("now");
        screen::print(&format!("{} to {until}  {}", text(item, "valid_from"), line(item)));
    }
    Ok(ExitCode::SUCCESS)
}

/// Interval between looks of `watch`.
const LOOK_EVERY: Duration = Duration::from_millis(500);

pub(super) async fn watch(client: &Client, args: &AliasArgs) -> anyhow::Result<ExitCode> {
    let path = path(&["routes", &args.service, &args.alias]);
    let mut shown = Value::Null;
    loop {
        let now = client.get(&path).await?;
        if now != shown {
            if args.json {
                screen::print_json(&now)?;
            } else {
                screen::print(&line(&now));
                for one in found(&now, "gateways").and_then(Value::as_array).into_iter().flatten() {
                    screen::print(&format!("  {}", gateway(one)));
                }
            }
            shown = now;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

pub(super) async fn who(client: &Client, args: &WhoArgs) -> anyhow::Result<ExitCode> {
    let at = percent_encoding::utf8_percent_encode(&args.at, percent_encoding::NON_ALPHANUMERIC);
    let answer = client.get(&format!("{}?at={at}", path(&["routes", &args.service, &args.alias, "who"]))).await?;
    if args.json {
        screen::print_json(&answer)?;
        return Ok(ExitCode::SUCCESS);
    }
    match found(&answer, "route").filter(|route| !route.is_null()) {
        Some(route) => screen::print(&line(route)),
        None => screen::print("there was no such route then"),
    }
    for one in found(&answer, "gateways").and_then(Value::as_array).into_iter().flatten() {
        screen::print(&format!("  {}", gateway(one)));
    }
    Ok(ExitCode::SUCCESS)
}

/// The tasks of a service, each with the reason why it gets no requests.
pub(super) async fn tasks(client: &Client, service: &str) -> anyhow::Result<()> {
    let encoded = percent_encoding::utf8_percent_encode(service, percent_encoding::NON_ALPHANUMERIC);
    let answer = client.get(&format!("/v1/tasks?service={encoded}&limit=100")).await?;
    for item in found(&answer, "items").and_then(Value::as_array).into_iter().flatten() {
        let shadowed = found(item, "shadowed_by").and_then(Value::as_str);
        let shadowed = shadowed.map(|by| format!(": {} has its address", screen::escape(by))).unwrap_or_default();
        screen::print(&format!(
            "  task {} of {} at {}: {}{shadowed}",
            text(item, "id"),
            text(item, "revision"),
            text(item, "address"),
            text(item, "state").replace('_', " "),
        ));
    }
    Ok(())
}

/// An alias in one line: `digits/prod -> blue (generation 4)`.
pub(super) fn line(alias: &Value) -> String {
    let generation = found(alias, "generation").and_then(Value::as_i64).unwrap_or_default();
    let name = format!("{}/{}", text(alias, "service"), text(alias, "alias"));
    if found(alias, "deleted").and_then(Value::as_bool).unwrap_or_default() {
        return format!("{name} is deleted (generation {generation})");
    }
    let targets = found(alias, "targets").and_then(Value::as_array);
    let targets: Vec<String> = match targets.map(Vec::as_slice) {
        None | Some([]) => vec!["any live revision".to_owned()],
        Some([only]) => vec![text(only, "revision")],
        Some(several) => several
            .iter()
            .map(|one| {
                let weight = found(one, "weight").and_then(Value::as_u64).unwrap_or_default();
                format!("{} {weight}", text(one, "revision"))
            })
            .collect(),
    };
    format!("{name} -> {} (generation {generation})", targets.join(", "))
}

/// What a gateway serves of an alias, in one line.
pub(super) fn gateway(one: &Value) -> String {
    let generation = found(one, "generation").and_then(Value::as_i64).unwrap_or_default();
    let state = text(one, "state");
    let reason = found(one, "reason").and_then(Value::as_str).map(|reason| format!(": {}", screen::escape(reason)));
    // It reports 0 for an alias of which it has never served anything.
    let serves = if generation > 0 { format!("generation {generation}") } else { "nothing yet".to_owned() };
    format!("gateway {} serves {serves}, {state}{}", text(one, "gateway"), reason.unwrap_or_default())
}
