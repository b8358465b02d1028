//! Runs a plant: takes the next event, until the time is over.

use super::agenda::{Agenda, Happening};
use super::arrivals::Waiting;
use super::database::Database;
use super::instance::Instance;
use super::measure::{Meter, Run};
use super::plant::Plant;
use super::policy::Policy;
use super::random::Random;
use crate::concurrency::Event;

/// Seconds between the ticks that a policy gets.
const TICK: f64 = 0.25;
/// Seconds between signals of the database: as often as one may query `pg_stat_activity`.
const SIGNALS_EVERY: f64 = 1.0;

/// Runs `plant` with a policy for each of its instances. The same seed gives the same run.
#[must_use]
pub fn simulate(plant: &Plant, policies: Vec<Box<dyn Policy>>, seed: u64) -> Run {
    let mut world = World::new(plant, policies, seed);
    while let Some(at) = world.next().filter(|at| *at <= plant.seconds) {
        world.step(at);
    }
    let mut meters: Vec<(&mut Meter, usize)> = world.instances.iter_mut().map(Instance::finish).collect();
    Run::new(plant.seconds, &mut meters)
}

struct World {
    agenda: Agenda,
    database: Database,
    instances: Vec<Instance>,
}

impl World {
    fn new(plant: &Plant, policies: Vec<Box<dyn Policy>>, seed: u64) -> Self {
        let mut agenda = Agenda::default();
        let each = policies.into_iter().enumerate();
        let mut instances: Vec<Instance> = each
            .map(|(number, policy)| {
                let stream = number as u64 * 2;
                let records = Waiting::new(plant.arrivals, Random::new(seed, stream + 100));
                Instance::new(number, policy, records, plant.lanes, Random::new(seed, stream + 101))
            })
            .collect();
        for (number, instance) in instances.iter_mut().enumerate() {
            if let Some(at) = instance.records.come(0.0, true) {
                agenda.at(at, Happening::Records(number));
            }
        }
        for (at, change) in &plant.changes {
            agenda.at(*at, Happening::Change(*change));
        }
        agenda.at(0.0, Happening::Tick);
        if plant.signals {
            agenda.at(SIGNALS_EVERY, Happening::Signals);
        }
        Self { agenda, database: Database::new(plant, Random::new(seed, 1)), instances }
    }

    /// The time of the next event.
    fn next(&self) -> Option<f64> {
        match (self.agenda.next(), self.database.next()) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        }
    }

    fn step(&mut self, now: f64) {
        if self.database.next().is_some_and(|at| at <= now) {
            self.database.computed(now, &mut self.agenda);
        } else if let Some(what) = self.agenda.take() {
            self.happened(now, what);
        }
        for ended in self.database.take_ended() {
            if let Some(instance) = self.instances.get_mut(ended.instance) {
                instance.ended(now, &ended, &mut self.agenda);
                instance.dispatch(now, &mut self.database, &mut self.agenda);
            }
        }
    }

    fn happened(&mut self, now: f64, what: Happening) {
        match what {
            Happening::Records(number) => {
                if let Some(at) = self.instances.get_mut(number).and_then(|instance| instance.records.come(now, false))
                {
                    self.agenda.at(at, Happening::Records(number));
                }
                self.dispatch(now, number);
            }
            Happening::Lingered(number) | Happening::Recovered(number) => {
                if let Some(instance) = self.instances.get_mut(number) {
                    match what {
                        Happening::Lingered(_) => instance.lingered(),
                        _ => instance.recovered(),
                    }
                }
                self.dispatch(now, number);
            }
            Happening::Tick => {
                self.database.look(now);
                self.agenda.at(now + TICK, Happening::Tick);
                self.tell(now, &Event::Tick);
            }
            Happening::Signals => {
                self.agenda.at(now + SIGNALS_EVERY, Happening::Signals);
                if let Some(signals) = self.database.signals(now) {
                    self.tell(now, &Event::Signals(signals));
                }
            }
            _ => self.database.happened(now, what, &mut self.agenda),
        }
    }

    fn tell(&mut self, now: f64, event: &Event) {
        for number in 0..self.instances.len() {
            if let Some(instance) = self.instances.get_mut(number) {
                instance.tell(now, event);
            }
            self.dispatch(now, number);
        }
    }

    fn dispatch(&mut self, now: f64, number: usize) {
        if let Some(instance) = self.instances.get_mut(number) {
            instance.dispatch(now, &mut self.database, &mut self.agenda);
        }
    }
}
