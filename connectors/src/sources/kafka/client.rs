//! The thread that owns the clients: one is a member of the group, the other one reads.
//!
//! We poll `BaseConsumer` ourselves: its callbacks run where we expect them, no wake-up is missed, and a client that
//! hangs can be replaced.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::error::KafkaError;

use super::context::{Membership, hear};
use super::reader::{Reader, list};
use super::settings::KafkaOptions;
use super::shared::Shared;

/// Interval of the commits of our positions to the group.
const COMMIT_EVERY: Duration = Duration::from_millis(500);
/// Replacements of a fenced client within `FENCES_WITHIN`, before we give up our name in the group.
const FENCES_MAX: usize = 3;
/// See `FENCES_MAX`.
const FENCES_WITHIN: Duration = Duration::from_secs(120);
/// Wait before another attempt to create a client.
const MAKE_AGAIN: Duration = Duration::from_secs(1);

/// Runs clients until it is stopped. `each_round` must not block.
pub(super) fn run(shared: &Arc<Shared>, options: &KafkaOptions, partitions: u32, each_round: impl Fn()) {
    let mut fences = Vec::new();
    while !shared.is_stopped() {
        match Client::new(shared, options, partitions) {
            Ok(client) => client.serve(&each_round),
            // The settings were accepted before, so it is the password file, which may be being written.
            Err(error) => {
                tracing::warn!(topic = shared.topic, error, "the Kafka client cannot be made");
                shared.unavailable(error);
                shared.rest(MAKE_AGAIN);
            }
        }
        // Dropping the client has left the group, or kept our name in it.
        shared.left();
        if shared.forget_fence() {
            fenced(shared, options, &mut fences);
        }
        while shared.broken().is_some() && !shared.is_stopped() {
            shared.rest(MAKE_AGAIN);
        }
    }
}

/// If a member's session ends while the coordinator is away, the group may take it for another member of its name
/// (librdkafka 2.12 then sends heartbeats without its id): a new client can join at once. Two processes of one name
/// keep replacing each other, so one of them has to give up.
fn fenced(shared: &Shared, options: &KafkaOptions, fences: &mut Vec<Instant>) {
    fences.retain(|at| at.elapsed() < FENCES_WITHIN);
    fences.push(Instant::now());
    let instance = options.instance.as_deref().unwrap_or_default();
    if fences.len() > FENCES_MAX {
        shared.break_with(format!("another process is a member of group {} by our name {instance}", options.group));
        tracing::error!(
            group = options.group,
            instance,
            "another process has our name in the group: it goes on, we do not"
        );
        return;
    }
    tracing::warn!(group = options.group, instance, "the group knows another member by our name: it is joined anew");
    if fences.len() > 1 {
        shared.rest(options.session);
    }
}

struct Client<'a> {
    shared: &'a Arc<Shared>,
    options: &'a KafkaOptions,
    /// Partitions of the topic when it was opened.
    partitions: u32,
    member: BaseConsumer<Membership>,
    reader: Reader<'a>,
    committed: Instant,
    /// The positions last committed to the group.
    told: BTreeMap<i32, u64>,
}

impl<'a> Client<'a> {
    fn new(shared: &'a Arc<Shared>, options: &'a KafkaOptions, partitions: u32) -> Result<Self, String> {
        let reader = Reader::new(shared, options, partitions)?;
        let config = options.member().map_err(|error| error.to_string())?;
        let made = config.create_with_context(Membership(Arc::clone(shared)));
        let member: BaseConsumer<Membership> = made.map_err(|error| error.to_string())?;
        member.subscribe(&[&options.topic]).map_err(|error| error.to_string())?;
        Ok(Client { shared, options, partitions, member, reader, committed: Instant::now(), told: BTreeMap::new() })
    }

    /// Reads until it is stopped or must be replaced.
    fn serve(mut self, each_round: &impl Fn()) {
        while !self.is_done() {
            self.shared.rounds.fetch_add(1, Relaxed);
            each_round();
            self.hear();
            if self.shared.is_to_give_up() {
                self.shared.lost();
            }
            if self.committed.elapsed() >= COMMIT_EVERY && !self.shared.is_dividing() {
                self.commit(CommitMode::Async);
            }
            self.reader.read();
            if self.reader.is_stuck() {
                self.read_anew();
            }
        }
        // Only a final commit waits for the brokers, because they may not answer.
        self.commit(if self.shared.is_stopped() { CommitMode::Sync } else { CommitMode::Async });
    }

    /// Replaces the reader, which continues where the buffers end.
    fn read_anew(&mut self) {
        tracing::warn!(topic = self.shared.topic, "the client that reads gets no answers: it is made anew");
        match Reader::new(self.shared, self.options, self.partitions) {
            Ok(reader) => self.reader = reader,
            Err(error) => self.shared.unavailable(error),
        }
    }

    fn is_done(&self) -> bool {
        let shared = self.shared;
        shared.is_stopped() || shared.is_to_revive() || shared.is_fenced() || shared.broken().is_some()
    }

    /// Polls the member. An assignment becomes ours if another poll has not revoked it and the topic is still the one
    /// that was opened.
    fn hear(&mut self) {
        let confirms = self.shared.is_unconfirmed();
        for said in hear(&self.member) {
            // The callback has already handled the others, with their reasons.
            if let Err(error @ KafkaError::MessageConsumptionFatal(_)) = said {
                self.shared.client_failed(&error, "");
            }
        }
        if confirms && self.shared.is_unconfirmed() && self.reader.look_at_topic() {
            self.shared.publish();
        }
    }

    /// Commits the positions of the tables to the group, for people and their tools.
    fn commit(&mut self, mode: CommitMode) {
        self.committed = Instant::now();
        let mut positions = std::mem::take(&mut *self.shared.commits());
        if self.shared.is_to_commit_again() {
            let ours = self.shared.buffers();
            self.told.iter().filter(|(partition, _)| ours.has(**partition)).for_each(|(partition, next)| {
                positions.entry(*partition).or_insert(*next);
            });
        }
        if positions.is_empty() {
            return;
        }
        let list = list(&self.options.topic, positions.iter().map(|(partition, next)| (*partition, Some(*next))));
        if let Err(error) = list.and_then(|list| self.member.commit(&list, mode)) {
            self.shared.commit_failed(&error.to_string());
        }
        self.told.extend(positions);
    }
}
