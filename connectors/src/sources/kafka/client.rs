//! The thread that owns the clients: one is a member of the group, the other one reads.
//!
//! `BaseConsumer`, polled by hand: its callbacks run where we expect them, nothing can miss a wake-up, and a client that
//! stands still can be thrown away and made anew.

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

/// How often the group is told our positions.
const COMMIT_EVERY: Duration = Duration::from_millis(500);
/// How often in a while a client is made anew because the group knows another one by its name.
const FENCES_MAX: usize = 3;
/// That while.
const FENCES_WITHIN: Duration = Duration::from_secs(120);
/// How soon a client is made again that could not be made.
const MAKE_AGAIN: Duration = Duration::from_secs(1);

/// Runs clients until told to stop. `each_round` must not block.
pub(super) fn run(shared: &Arc<Shared>, options: &KafkaOptions, partitions: u32, each_round: impl Fn()) {
    let mut fences = Vec::new();
    while !shared.is_stopped() {
        match Client::new(shared, options, partitions) {
            Ok(client) => client.serve(&each_round),
            // Settings were accepted before: it is the file of the password, which may be written at this moment.
            Err(error) => {
                tracing::warn!(topic = shared.topic, error, "the Kafka client cannot be made");
                shared.unavailable(error);
                shared.rest(MAKE_AGAIN);
            }
        }
        // Dropping it has left the group, or told it that we come back.
        shared.left();
        if shared.forget_fence() {
            fenced(shared, options, &mut fences);
        }
        while shared.broken().is_some() && !shared.is_stopped() {
            shared.rest(MAKE_AGAIN);
        }
    }
}

/// A member whose session ended while the coordinator was away may be taken for another one of its name (librdkafka 2.12
/// sends heartbeats without its id then): a new client is let in at once. Two processes of one name keep replacing each
/// other, and one of them has to give in.
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
    /// Of the topic, when it was opened.
    partitions: u32,
    member: BaseConsumer<Membership>,
    reader: Reader<'a>,
    committed: Instant,
    /// What the group was told last.
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

    /// Reads until told to stop or to begin anew.
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
        // Where brokers do not answer, nobody is to wait for them but who says goodbye.
        self.commit(if self.shared.is_stopped() { CommitMode::Sync } else { CommitMode::Async });
    }

    /// The buffers are kept: it goes on where they end.
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

    /// Hears of the group. What it gave us is ours when another poll has taken nothing back, and the topic is still the
    /// one that was opened.
    fn hear(&mut self) {
        let confirms = self.shared.is_unconfirmed();
        for said in hear(&self.member) {
            // Others the callback has told, with their reasons.
            if let Err(error @ KafkaError::MessageConsumptionFatal(_)) = said {
                self.shared.client_failed(&error, "");
            }
        }
        if confirms && self.shared.is_unconfirmed() && self.reader.look_at_topic() {
            self.shared.publish();
        }
    }

    /// Tells the group how far the tables are: for people and their tools.
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
