//! Changes of facts: a row is put or removed, the indexes follow, and the services that it touches are named.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::names::Name;
use super::row::TaskNumber;
use super::selectors::SelectorRow;
use super::tables::{DeployRow, HealthRow, SliceRow};
use super::{Facts, Touched};
use crate::tasks::fact::{Alias, Deploy, Fact, Health, Key, Kind, Slice};

impl Facts {
    /// Puts a fact in the place of the one with the same key.
    pub fn put(&mut self, fact: Fact) -> Touched {
        let mut touched = Touched::new();
        let before = self.get(&fact.key());
        if before.as_ref() == Some(&fact) {
            return touched;
        }
        self.count += usize::from(before.is_none());
        self.digest ^= before.map_or(0, |before| before.digest()) ^ fact.digest();
        match fact {
            Fact::Task(task) => self.put_task(*task, &mut touched),
            Fact::Instance(instance) => self.put_instance(*instance, &mut touched),
            Fact::Slice(slice) => self.put_slice(*slice, &mut touched),
            Fact::Deploy(deploy) => self.put_deploy(*deploy, &mut touched),
            Fact::Health(health) => self.put_health(*health, &mut touched),
            Fact::Alias(alias) => self.put_alias(*alias, &mut touched),
        }
        touched
    }

    /// Removes the fact of a key, as a purge does.
    pub fn remove(&mut self, key: &Key) -> Touched {
        let mut touched = Touched::new();
        let Some(before) = self.get(key) else {
            return touched;
        };
        self.count -= 1;
        self.digest ^= before.digest();
        match before {
            Fact::Task(task) => self.remove_task(&task, &mut touched),
            Fact::Instance(instance) => self.replace_instance(&instance.source, &instance.id, None, &mut touched),
            Fact::Slice(slice) => self.remove_slice(&slice, &mut touched),
            Fact::Deploy(deploy) => self.replace_deploy(&deploy.service, &deploy.revision, None, &mut touched),
            Fact::Health(health) => self.remove_health(&health, &mut touched),
            Fact::Alias(alias) => self.remove_alias(&alias, &mut touched),
        }
        touched
    }

    fn put_slice(&mut self, slice: Slice, touched: &mut Touched) {
        let columns = vec![slice.source.clone(), slice.id.clone()];
        let former = self.get(&Key { kind: Kind::Slice, columns });
        let source = self.names.keep(&slice.source);
        let id = self.names.keep(&slice.id);
        let service = slice.namespace.as_ref().zip(slice.service.as_ref());
        let service = service.map(|(namespace, service)| (self.names.keep(namespace), self.names.keep(service)));
        routed_service(&slice).into_iter().for_each(|service| touched.whole(service));
        let row = SliceRow::pack(slice, &mut self.names);
        if let Some(Fact::Slice(former)) = former {
            self.remove_slice(&former, touched);
        }
        self.by_kubernetes_service.extend(service.map(|service| ((source, service.0, service.1), id)));
        self.slices.insert((source, id), row);
    }

    fn remove_slice(&mut self, slice: &Slice, touched: &mut Touched) {
        routed_service(slice).into_iter().for_each(|service| touched.whole(service));
        let name = |text: &String| self.names.find(text);
        let Some((source, id)) = name(&slice.source).zip(name(&slice.id)) else {
            return;
        };
        let service = slice.namespace.as_ref().and_then(name).zip(slice.service.as_ref().and_then(name));
        if let Some((namespace, service)) = service {
            self.by_kubernetes_service.remove(&((source, namespace, service), id));
            self.names.release_all([namespace, service]);
        }
        if let Some(row) = self.slices.remove(&(source, id)) {
            self.names.release_all(row.names().chain([source, id]));
        }
    }

    fn put_deploy(&mut self, deploy: Deploy, touched: &mut Touched) {
        let service = deploy.service.clone();
        let revision = deploy.revision.clone();
        self.replace_deploy(&service, &revision, Some(deploy), touched);
    }

    fn replace_deploy(&mut self, service: &str, revision: &str, deploy: Option<Deploy>, touched: &mut Touched) {
        let place = (self.names.keep(service), self.names.keep(revision));
        touched.whole(self.names.text(place.0).clone());
        let mut affected: BTreeSet<TaskNumber> = BTreeSet::new();
        for index in [&self.members, &self.labelled] {
            let entries = index.range((place, TaskNumber::MIN)..=(place, TaskNumber::MAX));
            affected.extend(entries.map(|(_, number)| *number));
        }
        let mut released: Vec<Name> = vec![place.0, place.1];
        if let Some(former) = self.deploys.remove(&place) {
            former.filed.into_iter().for_each(|member| self.selectors.remove(member, place));
            released.extend(former.selector.iter().flat_map(SelectorRow::names).chain([place.0, place.1]));
        }
        if let Some(deploy) = deploy {
            self.names.keep(service);
            self.names.keep(revision);
            let selector = deploy.selector.as_ref().map(|selector| SelectorRow::pack(selector, &mut self.names));
            let takes = selector.as_ref().filter(|_| !deploy.retired);
            let filed = takes.map(|selector| self.selectors.insert(selector, place));
            affected
                .extend(takes.zip(filed).into_iter().flat_map(|(selector, filed)| self.candidates(selector, filed)));
            self.deploys.insert(place, DeployRow { deploy: Arc::new(deploy), selector, filed });
        }
        for number in affected {
            let moved = self.place(number).into_iter().flatten().flatten();
            moved.for_each(|place| self.touch(place, number, touched));
        }
        self.names.release_all(released);
    }

    fn put_health(&mut self, health: Health, touched: &mut Touched) {
        let source = self.names.keep(&health.source);
        let task = self.names.keep(&health.task);
        self.touch_checked((source, task), touched);
        if self.health.insert((source, task, health.port), HealthRow::pack(health)).is_some() {
            self.names.release_all([source, task]);
        }
    }

    fn remove_health(&mut self, health: &Health, touched: &mut Touched) {
        let Some(key) = self.names.find(&health.source).zip(self.names.find(&health.task)) else {
            return;
        };
        self.touch_checked(key, touched);
        if self.health.remove(&(key.0, key.1, health.port)).is_some() {
            self.names.release_all([key.0, key.1]);
        }
    }

    fn touch_checked(&self, task: (Name, Name), touched: &mut Touched) {
        if let Some(number) = self.tasks.find(task.0, task.1) {
            self.touch_task(number, touched);
        }
    }

    fn put_alias(&mut self, alias: Alias, touched: &mut Touched) {
        let key = (self.names.keep(&alias.service), self.names.keep(&alias.alias));
        touched.whole(self.names.text(key.0).clone());
        if self.aliases.insert(key, Arc::new(alias)).is_some() {
            self.names.release_all([key.0, key.1]);
        }
    }

    fn remove_alias(&mut self, alias: &Alias, touched: &mut Touched) {
        let Some(key) = self.names.find(&alias.service).zip(self.names.find(&alias.alias)) else {
            return;
        };
        touched.whole(self.names.text(key.0).clone());
        if self.aliases.remove(&key).is_some() {
            self.names.release_all([key.0, key.1]);
        }
    }
}

/// The service whose pods a slice names.
fn routed_service(slice: &Slice) -> Option<Arc<str>> {
    let names = slice.namespace.as_ref().zip(slice.service.as_ref());
    names.map(|(namespace, service)| format!("{namespace}.{service}").into())
}
