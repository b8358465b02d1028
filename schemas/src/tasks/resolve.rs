//! What follows from the facts: the services, their revisions and tasks, and whether each task may be sent requests.
//!
//! A pure function of the facts and of what the gateway may dial. Gateways, commands, checkers and tests use this one;
//! the analytics view is tested against it.

mod address;
mod slices;
mod standing;

use core::net::SocketAddr;
use std::collections::BTreeMap;
use std::sync::Arc;

use self::address::{Reached, reached};
use self::slices::Named;
use super::fact::{Alias, Deploy, Rank};
use super::facts::row::{TaskNumber, TaskRow};
use super::facts::{Facts, TaskOf};

pub use self::standing::{Pending, Standing};

/// Routable tasks that an alias waits for, of a revision that no deploy describes.
const DEFAULT_MIN_READY: i32 = 1;
/// How long a draining task of such a revision may finish what it has, in milliseconds.
const DEFAULT_DRAIN_MS: i64 = 30_000;

/// Says whether the gateway may dial an address of a network; a task without a network has the empty one.
pub type MayDial<'a> = &'a dyn Fn(&str, SocketAddr) -> bool;

/// A service as it follows from the facts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Service {
    /// The service.
    pub name: Arc<str>,
    /// The revisions that are not retired, by name. They take the tasks; one without tasks is there too.
    pub revisions: BTreeMap<Arc<str>, Revision>,
    /// The aliases that are not deleted, by name.
    pub aliases: BTreeMap<Arc<str>, Arc<Alias>>,
}

/// A revision and its tasks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revision {
    /// What was told of it. A revision that only labels of pods name has generation 0, no port of its own (the first
    /// one of the pod is used) and no check.
    pub deploy: Arc<Deploy>,
    /// Its tasks by source and id, without those that are gone.
    pub tasks: Vec<Placed>,
}

/// A task where it belongs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// The source of the task.
    pub source: Arc<str>,
    /// The id of the task.
    pub id: Arc<str>,
    /// The network of the address.
    pub network: Option<Arc<str>>,
    /// Where it is reached, as far as that is known. A draining task has one only if it may be dialled.
    pub address: Option<SocketAddr>,
    /// Whether it may be sent requests.
    pub standing: Standing,
    /// When it started, in milliseconds since 1970.
    pub started_ms: Option<i64>,
    /// The deploy to which it belongs.
    pub deploy: Option<Arc<Deploy>>,
    /// Source and id of the task that has its address.
    pub shadowed_by: Option<(Arc<str>, Arc<str>)>,
    /// Other deploys whose selectors match, the best first; filled by [`Facts::task`] only.
    pub lost: Vec<Arc<Deploy>>,
}

impl Facts {
    /// A service; it is empty if no fact names it.
    pub fn service(&self, name: &str, may_dial: MayDial<'_>) -> Service {
        let mut service = Service { name: name.into(), ..Service::default() };
        for deploy in self.deploys_of(name).filter(|deploy| !deploy.retired) {
            let revision = Revision { deploy: deploy.clone(), tasks: Vec::new() };
            service.revisions.insert(deploy.revision.as_str().into(), revision);
        }
        let mut named = Named::default();
        for (revision, number) in self.members_of(name) {
            let Some(task) = self.row(number) else {
                continue;
            };
            let revision = service.revisions.entry(revision.clone()).or_insert_with(|| {
                let deploy = Arc::new(by_labels(name, revision));
                Revision { deploy, tasks: Vec::new() }
            });
            let placed = self.placed(number, task, Some(&revision.deploy), &mut named, may_dial);
            revision.tasks.push(placed);
        }
        for revision in service.revisions.values_mut() {
            revision.tasks.sort_unstable_by(|a, b| (&a.source, &a.id).cmp(&(&b.source, &b.id)));
        }
        service.aliases = self.live_aliases(name);
        service
    }

    /// The aliases of a service that are not deleted, by name.
    pub fn live_aliases(&self, service: &str) -> BTreeMap<Arc<str>, Arc<Alias>> {
        let aliases = self.aliases_of(service).filter(|(_, alias)| !alias.deleted);
        aliases.map(|(name, alias)| (name.clone(), alias.clone())).collect()
    }

    /// A task of a service with its revision, as [`Facts::service`] has it; `None` if it is not there.
    pub fn task_of(&self, service: &str, task: &TaskOf, may_dial: MayDial<'_>) -> Option<(Arc<str>, Placed)> {
        let number = self.number(&task.0, &task.1)?;
        let row = self.row(number).filter(|row| !row.is_gone())?;
        let place = row.place.filter(|place| &**self.text(place.0) == service)?;
        let revision = self.text(place.1);
        let told = self.deploy(place).cloned();
        let deploy = told.unwrap_or_else(|| Arc::new(by_labels(service, revision)));
        let placed = self.placed(number, row, Some(&deploy), &mut Named::default(), may_dial);
        Some((revision.clone(), placed))
    }

    /// A task, gone ones too, with the deploys that it could have belonged to.
    pub fn task(&self, source: &str, id: &str, may_dial: MayDial<'_>) -> Option<Placed> {
        let number = self.number(source, id)?;
        let task = self.row(number)?;
        let mut deploys = self.matching(task).into_iter().map(|place| {
            let told = self.deploy(place);
            told.cloned().unwrap_or_else(|| Arc::new(by_labels(self.text(place.0), self.text(place.1))))
        });
        let deploy = deploys.next();
        let mut placed = self.placed(number, task, deploy.as_ref(), &mut Named::default(), may_dial);
        placed.lost = deploys.collect();
        Some(placed)
    }

    fn placed(
        &self,
        number: TaskNumber,
        task: &TaskRow,
        deploy: Option<&Arc<Deploy>>,
        named: &mut Named,
        may_dial: MayDial<'_>,
    ) -> Placed {
        let is_named = deploy.is_some_and(|deploy| named.allows(self, task, &deploy.service));
        let reached = deploy.ok_or(Pending::NoDeploy).and_then(|deploy| reached(self, task, deploy));
        let owner = reached.ok().and_then(|reached| self.owner(reached.spot)).filter(|owner| *owner != number);
        let network = reached.ok().and_then(|reached| reached.network).map(|network| self.text(network).clone());
        let is_dialled = |reached: Reached| may_dial(network.as_deref().unwrap_or_default(), reached.address);
        let may_not = match reached {
            Err(pending) => Some(pending),
            Ok(_) if owner.is_some() => Some(Pending::Shadowed),
            Ok(reached) if !is_dialled(reached) => Some(Pending::AddressRefused),
            Ok(_) => None,
        };
        let standing = match task.rank {
            rank if rank >= Rank::Gone as i16 => Standing::Gone,
            rank if rank >= Rank::Draining as i16 => Standing::Draining,
            _ if !self.is_running(task) => Standing::Pending(Pending::NotRunning),
            _ if !is_named => Standing::Pending(Pending::NoDeploy),
            _ => {
                let unfit = || self.ill(task, deploy.map(Arc::as_ref), reached.ok());
                may_not.or_else(unfit).map_or(Standing::Routable, Standing::Pending)
            }
        };
        let is_shown = standing != Standing::Draining || may_not.is_none();
        Placed {
            source: self.text(task.source).clone(),
            id: self.text(task.id).clone(),
            network,
            address: reached.ok().filter(|_| is_shown).map(|reached| reached.address),
            standing,
            started_ms: task.started_ms,
            deploy: deploy.cloned(),
            shadowed_by: owner.and_then(|owner| self.row(owner)).map(|row| self.key_of(row)),
            lost: Vec::new(),
        }
    }

    fn is_running(&self, task: &TaskRow) -> bool {
        task.status.is_some_and(|status| self.text(status).eq_ignore_ascii_case("RUNNING"))
    }

    /// Why the health of a task keeps it from requests: by the check of its deploy, else by the condition of the pod.
    fn ill(&self, task: &TaskRow, deploy: Option<&Deploy>, reached: Option<Reached>) -> Option<Pending> {
        let has_check = deploy.is_some_and(|deploy| deploy.health.is_some());
        let port = reached.map(|reached| reached.address.port());
        let healthy = match port.filter(|_| has_check) {
            Some(port) => self.healthy(task, port),
            None if task.ready.is_some() || task.is_pod() => task.ready,
            None => return None,
        };
        match healthy {
            Some(true) => None,
            Some(false) => Some(Pending::Unhealthy),
            None => Some(Pending::UnknownHealth),
        }
    }
}

/// The deploy of a revision that only the labels of pods name.
fn by_labels(service: &str, revision: &str) -> Deploy {
    Deploy {
        service: service.to_owned(),
        revision: revision.to_owned(),
        min_ready: DEFAULT_MIN_READY,
        drain_ms: DEFAULT_DRAIN_MS,
        ..Deploy::default()
    }
}
