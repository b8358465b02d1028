//! A recording of everything that the controller was told, to be replayed to another one.
//!
//! One line for each event, in the order in which the controller heard them, with the exact time; and one for each
//! decision that it made. The gate never waits for the writer of the lines: when the queue between them is full, the
//! recording ends there, because with a hole in it it could not be replayed.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use crate::concurrency::{Allowance, Decision, Ending, Event, Settings, Signals, Work};

/// Lines between the gate and their writer. Fewer: a short pause of the disk ends a recording. About 200 bytes each.
const QUEUE_LINES: usize = 10_000;

/// One line of a recording.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// Nanoseconds since the gate was made.
    pub at_ns: u64,
    /// What happened.
    pub what: What,
}

/// What a line records.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// What the operator allows: the first line, and again at each change.
    Settings(Allowed),
    /// A transaction was begun.
    Begun(Held),
    /// A transaction ended.
    Ended {
        /// When it was begun, in nanoseconds as the line's own time.
        began_ns: u64,
        /// What it held.
        #[serde(flatten)]
        held: Held,
        /// How it ended.
        ending: Ended,
    },
    /// From now on this many batches wait for a turn.
    Waiting(usize),
    /// What the database reports about itself.
    Signals(Told),
    /// Time has passed.
    Tick,
    /// A pipeline begins to write.
    Joined {
        /// Its name, for the reader.
        name: String,
        /// Its number.
        pipeline: usize,
        /// Whether nothing that was learnt under this number is its own.
        anew: bool,
        /// The most records in a transaction of it.
        records_max: usize,
        /// The most bytes of records in a transaction of it.
        bytes_max: usize,
        /// How old an event of it may become, in nanoseconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        freshness_ns: Option<u64>,
    },
    /// What was decided because of the line before.
    Decision {
        /// The number of the pipeline that it concerns; 0 also if it concerns all of them.
        #[serde(default, skip_serializing_if = "is_first")]
        pipeline: usize,
        /// The knob.
        knob: String,
        /// The number before.
        from: usize,
        /// The number after.
        to: usize,
        /// Why.
        reason: String,
    },
    /// The recording ends here, because lines came faster than they could be written, or because it is long enough.
    Cut,
}

/// [`Settings`] in written form; times in nanoseconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the members are those of Settings")]
pub struct Allowed {
    pub concurrency_min: usize,
    pub concurrency_max: usize,
    #[serde(default)]
    pub concurrency_max_together: usize,
    pub records_max: usize,
    pub bytes_max: usize,
    pub freshness_ns: u64,
    pub transaction_max_ns: u64,
    pub records_per_second_max: u64,
    pub freeze: bool,
}

/// [`Work`] in written form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the members are those of Work")]
pub struct Held {
    /// A recording of an older version has one pipeline, and does not say which.
    #[serde(default, skip_serializing_if = "is_first")]
    pub pipeline: usize,
    pub records: usize,
    pub bytes: usize,
    pub full: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_first(pipeline: &usize) -> bool {
    *pipeline == 0
}

/// [`Ending`] in written form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the variants are those of Ending")]
pub enum Ended {
    Committed,
    Overload,
    Contention,
    Other,
}

/// [`Signals`] in written form; a figure that is missing is left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "the members are those of Signals")]
pub struct Told {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sessions_running: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sessions_of_others: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sessions_locked: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sessions_waiting_io: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub processors: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub processors_used: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub processors_ours: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replica_lag_ns: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub processes: Option<usize>,
}

/// What to do with a controller when a line is replayed to it.
#[derive(Clone, Debug, PartialEq)]
pub enum Play {
    /// Make it, or change its settings, with these.
    Settings(Settings),
    /// Tell it this event.
    Event(Event),
    /// Expect that it has made this decision.
    Decided,
    /// The recording ends.
    End,
}

impl Line {
    /// When it happened.
    pub fn at(&self) -> Duration {
        Duration::from_nanos(self.at_ns)
    }

    /// What the line means for a controller.
    pub fn play(&self) -> Play {
        let work = |held: &Held| {
            let Held { pipeline, records, bytes, full } = *held;
            Work { pipeline, records, bytes, full }
        };
        match &self.what {
            What::Settings(allowed) => Play::Settings(allowed.into()),
            What::Begun(held) => Play::Event(Event::Begun(work(held))),
            What::Ended { began_ns, held, ending } => {
                let ending = match ending {
                    Ended::Committed => Ending::Committed,
                    Ended::Overload => Ending::Overload,
                    Ended::Contention => Ending::Contention,
                    Ended::Other => Ending::Other,
                };
                Play::Event(Event::Ended { began: Duration::from_nanos(*began_ns), work: work(held), ending })
            }
            What::Waiting(waiting) => Play::Event(Event::Waiting(*waiting)),
            What::Signals(told) => Play::Event(Event::Signals(told.into())),
            What::Tick => Play::Event(Event::Tick),
            What::Joined { pipeline, anew, records_max, bytes_max, freshness_ns, .. } => {
                let freshness = freshness_ns.map(Duration::from_nanos);
                let allowance = Allowance { records_max: *records_max, bytes_max: *bytes_max, freshness };
                Play::Event(Event::Joined { pipeline: *pipeline, anew: *anew, allowance })
            }
            What::Decision { .. } => Play::Decided,
            What::Cut => Play::End,
        }
    }
}

impl What {
    /// A decision in written form.
    pub fn decided(decision: &Decision) -> What {
        let knob = super::journal::name(&decision.knob);
        let reason = super::journal::name(&decision.reason);
        What::Decision { pipeline: decision.pipeline.unwrap_or(0), knob, from: decision.from, to: decision.to, reason }
    }

    fn joined(name: &str, pipeline: usize, anew: bool, allowance: &Allowance) -> What {
        let Allowance { records_max, bytes_max, freshness } = *allowance;
        What::Joined { name: name.to_owned(), pipeline, anew, records_max, bytes_max, freshness_ns: freshness.map(ns) }
    }

    fn event(event: &Event) -> What {
        let held = |work: &Work| {
            let Work { pipeline, records, bytes, full } = *work;
            Held { pipeline, records, bytes, full }
        };
        match event {
            Event::Begun(work) => What::Begun(held(work)),
            Event::Ended { began, work, ending } => {
                let ending = match ending {
                    Ending::Committed => Ended::Committed,
                    Ending::Overload => Ended::Overload,
                    Ending::Contention => Ended::Contention,
                    Ending::Other => Ended::Other,
                };
                What::Ended { began_ns: ns(*began), held: held(work), ending }
            }
            Event::Waiting(waiting) => What::Waiting(*waiting),
            Event::Signals(signals) => What::Signals(signals.into()),
            Event::Tick => What::Tick,
            Event::Joined { pipeline, anew, allowance } => What::joined("", *pipeline, *anew, allowance),
        }
    }
}

impl From<&Settings> for Allowed {
    fn from(settings: &Settings) -> Self {
        Allowed {
            concurrency_min: settings.concurrency_min,
            concurrency_max: settings.concurrency_max,
            concurrency_max_together: settings.concurrency_max_together,
            records_max: settings.records_max,
            bytes_max: settings.bytes_max,
            freshness_ns: ns(settings.freshness),
            transaction_max_ns: ns(settings.transaction_max),
            records_per_second_max: settings.records_per_second_max,
            freeze: settings.freeze,
        }
    }
}

impl From<&Allowed> for Settings {
    fn from(allowed: &Allowed) -> Self {
        Settings {
            concurrency_min: allowed.concurrency_min,
            concurrency_max: allowed.concurrency_max,
            concurrency_max_together: allowed.concurrency_max_together,
            records_max: allowed.records_max,
            bytes_max: allowed.bytes_max,
            freshness: Duration::from_nanos(allowed.freshness_ns),
            transaction_max: Duration::from_nanos(allowed.transaction_max_ns),
            records_per_second_max: allowed.records_per_second_max,
            freeze: allowed.freeze,
        }
    }
}

impl From<&Signals> for Told {
    fn from(signals: &Signals) -> Self {
        Told {
            sessions_running: signals.sessions_running,
            sessions_of_others: signals.sessions_of_others,
            sessions_locked: signals.sessions_locked,
            sessions_waiting_io: signals.sessions_waiting_io,
            processors: signals.processors,
            processors_used: signals.processors_used,
            processors_ours: signals.processors_ours,
            replica_lag_ns: signals.replica_lag.map(ns),
            processes: signals.processes,
        }
    }
}

impl From<&Told> for Signals {
    fn from(told: &Told) -> Self {
        Signals {
            sessions_running: told.sessions_running,
            sessions_of_others: told.sessions_of_others,
            sessions_locked: told.sessions_locked,
            sessions_waiting_io: told.sessions_waiting_io,
            processors: told.processors,
            processors_used: told.processors_used,
            processors_ours: told.processors_ours,
            replica_lag: told.replica_lag_ns.map(Duration::from_nanos),
            processes: told.processes,
        }
    }
}

/// In nanoseconds; more than five centuries count as for ever.
fn ns(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// The gate's end of a recording.
#[derive(Debug)]
pub struct Recorder {
    /// `None` once the recording is cut.
    lines: Option<mpsc::Sender<Line>>,
}

impl Recorder {
    /// A recorder, and the receiver of its lines.
    pub fn new() -> (Recorder, mpsc::Receiver<Line>) {
        let (lines, out) = mpsc::channel(QUEUE_LINES);
        (Recorder { lines: Some(lines) }, out)
    }

    pub(super) fn settings(&mut self, now: Duration, settings: &Settings) {
        self.put(now, What::Settings(settings.into()));
    }

    pub(super) fn event(&mut self, now: Duration, event: &Event) {
        self.put(now, What::event(event));
    }

    pub(super) fn joined(&mut self, now: Duration, name: &str, pipeline: usize, anew: bool, allowance: &Allowance) {
        self.put(now, What::joined(name, pipeline, anew, allowance));
    }

    pub(super) fn decision(&mut self, now: Duration, decision: &Decision) {
        self.put(now, What::decided(decision));
    }

    fn put(&mut self, now: Duration, what: What) {
        let Some(lines) = &self.lines else { return };
        let line = Line { at_ns: ns(now), what };
        if lines.capacity() > 1 {
            if lines.try_send(line).is_err() {
                self.lines = None;
            }
            return;
        }
        // The last place in the queue is for this mark.
        lines.try_send(Line { what: What::Cut, ..line }).ok();
        self.lines = None;
    }
}
