//! What there is: tasks with what follows from the facts, revisions, and aliases with what gateways make of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Extension, State};
use axum::response::{IntoResponse as _, Response};
use millstream_gateway::Applier;
use millstream_schemas::tasks::{Alias, Deploy, Fact, Key, Kind, Placed};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::super::access::Access;
use super::super::asked::{Asked, Named};
use super::super::problem::Problem;
use super::super::shared::Shared;
use super::ask::Whole;
use super::steps::{Read, STEP};
use super::{ask, edit, history};
use crate::serving::{Serving, state};

/// Items of a list.
const LIMIT_MAX: usize = 1_000;

/// Parameters of the list of tasks.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TasksAsked {
    source: Option<String>,
    service: Option<String>,
    state: Option<String>,
    /// The first letters of an id.
    id: Option<String>,
    limit: Option<usize>,
    after: Option<String>,
}

/// Parameters of the other lists.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ServiceAsked {
    service: Option<String>,
    limit: Option<usize>,
    after: Option<String>,
}

#[derive(Debug, Serialize)]
struct Task {
    source: String,
    id: String,
    /// `routable`, `draining`, `gone`, or what it waits for.
    state: &'static str,
    service: Option<String>,
    revision: Option<String>,
    address: Option<String>,
    network: Option<String>,
    status: Option<String>,
    reason: Option<String>,
    exit_code: Option<i32>,
    started_ms: Option<i64>,
    shadowed_by: Option<String>,
    /// Other deploys that match, but less specifically.
    also_matched: Vec<String>,
}

pub(super) async fn tasks(
    State(app): State<Shared>,
    Extension(access): Extension<Access>,
    Asked(mut asked): Asked<TasksAsked>,
) -> Result<Json<Value>, Problem> {
    // A token that is held to a store sees the tasks of the source of that name.
    asked.source = access.store(asked.source)?;
    let serving = serving(&app)?;
    let limit = limit(asked.limit)?;
    let found = found(&asked, limit, &|read| serving.with(read)).await;
    Ok(page(found, limit, |task| format!("{}/{}", task.source, task.id)))
}

/// Holds the facts while it reads them.
type Hold<'a> = &'a (dyn Fn(&mut dyn FnMut(&Applier)) + Sync);

/// The tasks of a page, and one more if there is a next page. Changes wait for whoever holds the facts, so they are read
/// in steps; what changes between two steps is as it was or as it is.
async fn found(asked: &TasksAsked, limit: usize, hold: Hold<'_>) -> Vec<Task> {
    let after = split(asked.after.as_deref());
    let is_wanted = |(source, id): &(Arc<str>, Arc<str>)| {
        (&**source, &**id) > after
            && asked.source.as_ref().is_none_or(|wanted| **wanted == **source)
            && asked.id.as_ref().is_none_or(|start| id.starts_with(start.as_str()))
    };
    let mut keys: Vec<(Arc<str>, Arc<str>)> = Vec::new();
    let mut next = Some(0);
    while let Some(first) = next {
        hold(&mut |applier| {
            let (some, then) = applier.facts().task_keys(first, STEP as u32);
            keys.extend(some.into_iter().filter(is_wanted));
            next = then;
        });
        tokio::task::yield_now().await;
    }
    keys.sort_unstable();
    let mut items: Vec<Task> = Vec::new();
    for keys in keys.chunks(STEP) {
        hold(&mut |applier| {
            for placed in keys.iter().filter_map(|(source, id)| applier.task(source, id)) {
                let task = task(applier, &placed);
                let is_service = asked.service.is_none() || task.service == asked.service;
                if is_service && asked.state.as_ref().is_none_or(|state| state == task.state) {
                    items.push(task);
                }
                if items.len() > limit {
                    break;
                }
            }
        });
        if items.len() > limit {
            break;
        }
        tokio::task::yield_now().await;
    }
    items
}

fn task(applier: &Applier, placed: &Placed) -> Task {
    let key = Key { kind: Kind::Task, columns: vec![placed.source.to_string(), placed.id.to_string()] };
    let told = match applier.facts().get(&key) {
        Some(Fact::Task(task)) => *task,
        _ => millstream_schemas::tasks::Task::default(),
    };
    Task {
        source: told.source,
        id: told.id,
        state: state(placed.standing),
        service: placed.deploy.as_ref().map(|deploy| deploy.service.clone()),
        revision: placed.deploy.as_ref().map(|deploy| deploy.revision.clone()),
        address: placed.address.map(|address| address.to_string()),
        network: placed.network.as_ref().map(ToString::to_string),
        status: told.status,
        reason: told.reason,
        exit_code: told.exit_code,
        started_ms: told.started_ms,
        shadowed_by: placed.shadowed_by.as_ref().map(|(source, id)| format!("{source}/{id}")),
        also_matched: placed.lost.iter().map(|deploy| format!("{}/{}", deploy.service, deploy.revision)).collect(),
    }
}

pub(super) async fn deploys(
    State(app): State<Shared>,
    _: Whole,
    Asked(asked): Asked<ServiceAsked>,
) -> Result<Json<Value>, Problem> {
    let limit = limit(asked.limit)?;
    let read = Read { limit, after: split(asked.after.as_deref()), names: of_deploy };
    let serving = serving(&app)?;
    let found = read.all(|spot| {
        let service = asked.service.as_deref();
        serving.with(|applier| applier.facts().deploys(service, spot, STEP))
    });
    let found = found.await;
    Ok(page(found, limit, |deploy: &Arc<Deploy>| format!("{}/{}", deploy.service, deploy.revision)))
}

pub(super) async fn deploy(
    State(app): State<Shared>,
    _: Whole,
    Named((service, revision)): Named<(String, String)>,
) -> Result<Response, Problem> {
    ask::names(&service, &revision)?;
    let key = Key { kind: Kind::Deploy, columns: vec![service.clone(), revision.clone()] };
    let stored = history::stored(&app, &key).await?.ok_or_else(edit::missing)?;
    let tasks = serving(&app)?.with(|applier| {
        let service = applier.service(&service);
        let found = service.revisions.get(revision.as_str());
        found.map(|revision| counts(&revision.tasks)).unwrap_or_default()
    });
    let mut body = edit::shown(&stored);
    if let Some(body) = body.as_object_mut() {
        body.insert("tasks".to_owned(), json!(tasks));
    }
    let mut response = Json(body).into_response();
    edit::tagged(&mut response, &stored);
    Ok(response)
}

fn counts(tasks: &[Placed]) -> BTreeMap<&'static str, usize> {
    let mut counts = BTreeMap::new();
    for placed in tasks {
        *counts.entry(state(placed.standing)).or_default() += 1;
    }
    counts
}

pub(super) async fn routes(
    State(app): State<Shared>,
    _: Whole,
    Asked(asked): Asked<ServiceAsked>,
) -> Result<Json<Value>, Problem> {
    let limit = limit(asked.limit)?;
    let read = Read { limit, after: split(asked.after.as_deref()), names: of_alias };
    let serving = serving(&app)?;
    let found = read.all(|spot| {
        let service = asked.service.as_deref();
        let (mut aliases, next) = serving.with(|applier| applier.facts().aliases(service, spot, STEP));
        aliases.retain(|alias| !alias.deleted);
        (aliases, next)
    });
    let found = found.await;
    Ok(page(found, limit, |alias: &Arc<Alias>| format!("{}/{}", alias.service, alias.alias)))
}

/// One alias as it is stored, with its revisions and what each gateway serves.
pub(super) async fn route(
    State(app): State<Shared>,
    _: Whole,
    Named((service, alias)): Named<(String, String)>,
) -> Result<Response, Problem> {
    ask::names(&service, &alias)?;
    let key = Key { kind: Kind::Alias, columns: vec![service.clone(), alias.clone()] };
    let stored = history::stored(&app, &key).await?;
    let Some(Fact::Alias(row)) = stored.filter(|fact| matches!(fact, Fact::Alias(alias) if !alias.deleted)) else {
        return Err(edit::missing());
    };
    let revisions: Vec<Value> = serving(&app)?.with(|applier| {
        let resolved = applier.service(&service);
        let is_meant =
            |revision: &str| row.targets.is_empty() || row.targets.iter().any(|one| one.revision == revision);
        let named = row.targets.iter().map(|target| target.revision.as_str());
        let mut names: Vec<&str> = named.chain(resolved.revisions.keys().map(|name| &**name)).collect();
        names.sort_unstable();
        names.dedup();
        let shown = names.into_iter().filter(|name| is_meant(name)).map(|name| {
            let tasks = resolved.revisions.get(name).map(|revision| counts(&revision.tasks)).unwrap_or_default();
            json!({ "revision": name, "tasks": tasks })
        });
        shown.collect()
    });
    let gateways = history::serving(&app, &service, &alias).await?;
    let fact = Fact::Alias(row);
    let mut body = edit::shown(&fact);
    if let Some(body) = body.as_object_mut() {
        body.insert("revisions".to_owned(), revisions.into());
        body.insert("gateways".to_owned(), gateways.into());
    }
    let mut response = Json(body).into_response();
    edit::tagged(&mut response, &fact);
    Ok(response)
}

/// What follows the routing tables in this process.
pub(super) fn serving(app: &Shared) -> Result<&Serving, Problem> {
    app.node.serving.as_ref().ok_or_else(|| {
        let detail = "this process follows no routing tables: configure a task_source, as `millstream init` shows";
        Problem::new(axum::http::StatusCode::NOT_FOUND, "no-routes", "there are no routes here", detail)
    })
}

fn limit(asked: Option<usize>) -> Result<usize, Problem> {
    match asked.unwrap_or(100) {
        limit @ 1..=LIMIT_MAX => Ok(limit),
        _ => Err(Problem::bad_request(format!("limit: 1 to {LIMIT_MAX}"))),
    }
}

/// The names of the last item of the page before. They are compared one by one: in the whole text `/` would come after
/// `-`, which names may have.
fn split(after: Option<&str>) -> (&str, &str) {
    after.and_then(|after| after.split_once('/')).unwrap_or_default()
}

fn of_deploy(deploy: &Deploy) -> (&str, &str) {
    (&deploy.service, &deploy.revision)
}

fn of_alias(alias: &Alias) -> (&str, &str) {
    (&alias.service, &alias.alias)
}

/// A page of items, of which there is one more than asked for if there is a next page.
fn page<T: Serialize>(mut items: Vec<T>, limit: usize, name: impl Fn(&T) -> String) -> Json<Value> {
    let more = items.len() > limit;
    items.truncate(limit);
    let next = items.last().filter(|_| more).map(name);
    Json(json!({ "items": items, "next": next }))
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    use millstream_gateway::{Change, Dialable, Options, Table};
    use tokio::time::Instant;

    use super::*;

    fn put(number: usize) -> Change {
        let task = millstream_schemas::tasks::Task {
            source: format!("s{}", number % 3),
            id: format!("t{number:05}"),
            ..Default::default()
        };
        Change::Put(Fact::Task(Box::new(task)))
    }

    /// Facts that whoever reads them must not hold between two steps: a change is applied at each.
    async fn read(asked: &TasksAsked, limit: usize, changes: usize) -> (Vec<String>, usize) {
        let dialable = Arc::new(Dialable::new(BTreeMap::new(), [], []));
        let mut applier = Applier::new(Arc::new(Table::default()), dialable, Options::default());
        applier.apply((0..2_500).rev().map(put).collect(), Instant::now());
        let facts = Mutex::new(applier);
        let holds = AtomicUsize::new(0);
        let hold = |read: &mut dyn FnMut(&Applier)| {
            let number = holds.fetch_add(1, Relaxed);
            let mut applier = facts.try_lock().expect("nobody holds the facts between two steps");
            if number < changes {
                applier.apply(vec![put(10_000 + number)], Instant::now());
            }
            read(&applier);
        };
        let items = found(asked, limit, &hold).await;
        (items.into_iter().map(|task| format!("{}/{}", task.source, task.id)).collect(), holds.into_inner())
    }

    #[tokio::test]
    async fn tasks_are_read_in_steps_and_pages_are_the_whole() {
        let mut expected: Vec<String> = (0..2_500).map(|number| format!("s{}/t{number:05}", number % 3)).collect();
        expected.sort_unstable();
        let mut asked = TasksAsked::default();
        let mut pages = Vec::new();
        loop {
            let (mut page, _) = read(&asked, 700, 0).await;
            let more = page.len() > 700;
            page.truncate(700);
            asked.after = page.last().cloned();
            pages.extend(page);
            if !more {
                break;
            }
        }
        assert_eq!(pages, expected);

        // None is routable: every task must be looked at, keys first.
        let nothing = TasksAsked { state: Some("routable".to_owned()), ..TasksAsked::default() };
        assert_eq!(read(&nothing, 100, 0).await, (Vec::new(), 6));
        // What is there all the time is there once, whatever comes meanwhile.
        let (mut found, _) = read(&TasksAsked::default(), 5_000, 6).await;
        found.retain(|task| expected.contains(task));
        assert_eq!(found, expected);
    }
}
