use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use futures::FutureExt as _;

use super::*;
use crate::concurrency::{Ending, Work};
use crate::gate::record::{Line, What};
use crate::task;

/// Longer than anything that a test waits for. Time is paused, so a turn that is never given back fails at once.
const PATIENCE: Duration = Duration::from_secs(3600);
const WORK: Work = Work { pipeline: 0, records: 10, bytes: 1_000, full: true };

fn settings(concurrency_max: usize) -> Settings {
    Settings {
        concurrency_min: 1,
        concurrency_max,
        concurrency_max_together: 0,
        records_max: 10_000,
        bytes_max: 1 << 24,
        freshness: Duration::from_millis(250),
        transaction_max: Duration::from_secs(2),
        records_per_second_max: 0,
        freeze: false,
    }
}

/// A gate of exactly this width, whatever the controller decides.
fn gate(width: usize) -> Arc<Gate> {
    let gate = Gate::new(settings(8));
    widen(&gate, width);
    gate
}

fn widen(gate: &Gate, width: usize) {
    gate.lock().held = Some(width);
    gate.tell(&Event::Tick);
}

/// Waits for a turn, and fails if none is ever given.
async fn entered(gate: &Arc<Gate>, oldest_ms: i64) -> Turn {
    tokio::time::timeout(PATIENCE, gate.enter(0, oldest_ms, WORK)).await.expect("a turn that is given back")
}

/// Joins the queue and stays in it.
async fn queued(gate: &Arc<Gate>, oldest_ms: i64) -> std::pin::Pin<Box<dyn Future<Output = Turn> + Send>> {
    let gate = Arc::clone(gate);
    let mut entering = async move { entered(&gate, oldest_ms).await }.boxed();
    assert!(futures::poll!(&mut entering).is_pending(), "there is no turn");
    entering
}

#[tokio::test(start_paused = true)]
async fn turns_are_given_to_the_oldest_record_first() {
    let gate = gate(1);
    let first = entered(&gate, 5).await;
    let mut waiting = Vec::new();
    for oldest_ms in [30, 10, 20] {
        waiting.push((oldest_ms, queued(&gate, oldest_ms).await));
    }
    assert_eq!(gate.look().waiting, 3);
    let mut turn = first;
    let mut order = Vec::new();
    while !waiting.is_empty() {
        turn.end(Ending::Committed);
        let mut served = None;
        for (index, (_, entering)) in waiting.iter_mut().enumerate() {
            if let std::task::Poll::Ready(turn) = futures::poll!(entering) {
                served = Some((index, turn));
            }
        }
        let (index, next) = served.unwrap();
        order.push(waiting.remove(index).0);
        turn = next;
    }
    assert_eq!(order, [10, 20, 30]);
}

#[tokio::test(start_paused = true)]
async fn who_leaves_takes_no_turn_along() {
    let gate = gate(1);
    let turn = entered(&gate, 1).await;
    let gives_up = queued(&gate, 1).await;
    let served = queued(&gate, 2).await;
    let granted = queued(&gate, 3).await;
    drop(gives_up);
    assert_eq!(gate.look().waiting, 2);
    turn.end(Ending::Committed);
    // The turn is granted to a task that goes away before it knows: the next one gets it.
    assert_eq!((gate.look().waiting, gate.look().in_flight), (1, 1));
    drop(served);
    let turn = granted.await;
    assert_eq!((gate.look().waiting, gate.look().in_flight), (0, 1));
    drop(turn);
    assert_eq!(gate.look().in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn a_gate_that_shuts_while_nothing_ends_opens_again() {
    let gate = gate(2);
    let one = entered(&gate, 1).await;
    let other = entered(&gate, 1).await;
    let waiting = queued(&gate, 1).await;
    widen(&gate, 0);
    one.end(Ending::Other);
    let waits = tokio::time::timeout(Duration::from_secs(60), std::future::pending::<()>());
    assert!(waits.await.is_err());
    assert_eq!((gate.look().waiting, gate.look().in_flight, gate.look().standing), (1, 1, Standing::Braked));
    // When nothing is under way any more, one may enter; and when the gate opens, all that fit.
    other.end(Ending::Other);
    let turn = waiting.await;
    let second = queued(&gate, 2).await;
    let third = queued(&gate, 3).await;
    widen(&gate, 3);
    let turns = [turn, second.await, third.await];
    assert_eq!(gate.look().in_flight, turns.len());
}

#[tokio::test(start_paused = true)]
async fn no_more_are_under_way_than_may_be_whoever_is_cancelled() {
    let gate = gate(3);
    let inside = Arc::new(AtomicUsize::new(0));
    let most = Arc::new(AtomicUsize::new(0));
    let lanes = (0..16u64).map(|lane| {
        let gate = Arc::clone(&gate);
        let inside = Arc::clone(&inside);
        let most = Arc::clone(&most);
        task::spawn("lane", async move {
            let mut written = 0;
            for round in 0..200u64 {
                let write = async {
                    let turn = entered(&gate, round as i64).await;
                    most.fetch_max(inside.fetch_add(1, SeqCst) + 1, SeqCst);
                    let leaves = scopeguard(&inside);
                    tokio::time::sleep(Duration::from_millis(1 + lane % 3)).await;
                    drop(leaves);
                    turn.end(Ending::Committed);
                };
                let patience = Duration::from_millis(1 + (lane * 7 + round * 13) % 40);
                written += u32::from(tokio::time::timeout(patience, write).await.is_ok());
            }
            written
        })
    });
    let written: Vec<u32> = futures::future::try_join_all(lanes).await.unwrap();
    assert_eq!((gate.look().in_flight, gate.look().waiting), (0, 0), "nothing is lost");
    assert_eq!(most.load(SeqCst), 3);
    assert!(written.iter().all(|written| *written > 10), "everybody has had turns: {written:?}");
}

/// Counts one less when it is dropped.
fn scopeguard(inside: &AtomicUsize) -> impl Drop {
    struct Leaves<'a>(&'a AtomicUsize);
    impl Drop for Leaves<'_> {
        fn drop(&mut self) {
            self.0.fetch_sub(1, SeqCst);
        }
    }
    Leaves(inside)
}

#[tokio::test(start_paused = true)]
async fn a_recording_tells_what_the_controller_heard_in_its_order() {
    let (recorder, mut lines) = Recorder::new();
    let gate = Gate::recorded(settings(1), Some(recorder));
    let turn = entered(&gate, 1).await;
    let waiting = queued(&gate, 1).await;
    tokio::time::advance(Duration::from_millis(7)).await;
    turn.end(Ending::Overload);
    drop(waiting.await);
    gate.signals(Signals { sessions_running: Some(2.0), ..Signals::default() });
    let mut heard = Vec::new();
    while let Ok(Line { at_ns, what }) = lines.try_recv() {
        let name = match what {
            What::Settings(allowed) => {
                assert_eq!(Settings::from(&allowed), settings(1));
                "settings"
            }
            What::Begun(_) => "begun",
            What::Ended { .. } => "ended",
            What::Waiting(1) => "one waits",
            What::Waiting(_) => "none waits",
            What::Signals(_) => "signals",
            What::Tick | What::Cut | What::Joined { .. } => "other",
            What::Decision { .. } => continue,
        };
        heard.push((at_ns, name));
    }
    let names: Vec<&str> = heard.iter().map(|(_, name)| *name).collect();
    assert_eq!(names, ["settings", "begun", "one waits", "ended", "none waits", "begun", "ended", "signals"]);
    assert_eq!(heard[3].0, 7_000_000);
}

/// The gate of a database whose machine is full of other programs' sessions, held at one transaction at a time.
async fn beside_others() -> Arc<Gate> {
    let gate = Gate::new(settings(1));
    let signals = Signals {
        sessions_running: Some(1.0),
        sessions_of_others: Some(6.0),
        processors: Some(2.0),
        processors_used: Some(1.0),
        processors_ours: Some(0.5),
        ..Signals::default()
    };
    for _ in 0..20 {
        gate.signals(signals);
        tokio::time::advance(Duration::from_secs(1)).await;
        gate.tell(&Event::Tick);
    }
    assert!(gate.pace().rests);
    gate
}

#[tokio::test(start_paused = true)]
async fn beside_others_nothing_is_begun_for_as_long_as_the_last_one_took() {
    let gate = beside_others().await;
    let began = Instant::now();
    for round in 0..5u32 {
        let turn = entered(&gate, 1).await;
        assert_eq!(began.elapsed().as_millis(), u128::from(round) * 200);
        tokio::time::sleep(Duration::from_millis(100)).await;
        turn.end(Ending::Committed);
    }
    let rested = gate.decisions(usize::MAX).into_iter().map(|entry| entry.decision).find(|one| one.knob == Knob::Rest);
    assert!(matches!(rested, Some(Decision { from: 0, to: 50, reason: Reason::Signal, .. })), "{rested:?}");

    // A task that rests has the turn, and gives it back when it is dropped.
    let resting = queued(&gate, 1).await;
    assert_eq!(gate.look().in_flight, 1);
    let next = queued(&gate, 2).await;
    drop(resting);
    assert_eq!((gate.look().in_flight, gate.look().waiting), (1, 0));
    drop(next.await);
    assert_eq!(gate.look().in_flight, 0);

    // However long a transaction took, the rest after it is no longer than a transaction may take.
    let turn = entered(&gate, 1).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    turn.end(Ending::Committed);
    let began = Instant::now();
    drop(entered(&gate, 1).await);
    assert_eq!(began.elapsed(), settings(1).transaction_max);
}

#[tokio::test(start_paused = true)]
async fn what_is_allowed_changes_at_once_and_what_is_refused_changes_nothing() {
    let gate = Gate::new(settings(8));
    gate.allow(|now, _| Ok::<_, ()>(Settings { concurrency_min: 4, ..now.clone() })).unwrap();
    assert_eq!(gate.pace().concurrency, 4);
    let turns: Vec<Turn> = futures::future::join_all((0..4).map(|at| entered(&gate, at))).await;
    let mut next = queued(&gate, 4).await;
    gate.allow(|_, _| Err("no")).unwrap_err();
    assert_eq!(gate.look().settings.concurrency_min, 4);
    gate.allow(|now, _| Ok::<_, ()>(Settings { concurrency_min: 5, ..now.clone() })).unwrap();
    assert!(futures::poll!(&mut next).is_ready(), "who waits is let in at once");

    gate.allow(|_, configured| Ok::<_, ()>(Settings { concurrency_max: 2, ..configured.clone() })).unwrap();
    let look = gate.look();
    assert_eq!((look.pace.concurrency, look.limits, look.in_flight), (2, (1, 2), 4), "who is in stays");
    assert_eq!(look.configured, settings(8));
    drop(turns);
}

/// Runs a pipeline of `lanes` lanes: each takes records of this age, and its transactions take `took`. Returns the
/// longest time that a batch waited, and the time of all transactions.
async fn writes(
    member: Arc<Member>,
    lanes: usize,
    age_ms: i64,
    [every, took]: [Duration; 2],
    until: Instant,
) -> (Duration, Duration) {
    let lane = |_| async {
        let mut waited = Duration::ZERO;
        let mut worked = Duration::ZERO;
        while Instant::now() < until {
            tokio::time::sleep(every).await;
            let began = Instant::now();
            let turn = member.enter(now_ms() - age_ms, WORK).await;
            waited = waited.max(began.elapsed());
            tokio::time::sleep(took).await;
            worked += took;
            turn.end(Ending::Committed);
        }
        (waited, worked)
    };
    let each = futures::future::join_all((0..lanes).map(lane)).await;
    each.into_iter()
        .fold((Duration::ZERO, Duration::ZERO), |(most, sum), (waited, worked)| (most.max(waited), sum + worked))
}

#[tokio::test(start_paused = true)]
async fn fresh_records_wait_for_one_transaction_of_an_hour_old_backlog() {
    let gate = gate(1);
    let batch = crate::BatchLimits::default();
    let old = Arc::new(gate.join("backlog", Duration::from_millis(250), &batch));
    let fresh = Arc::new(gate.join("fresh", Duration::from_millis(10), &batch));
    let ms = Duration::from_millis;
    let until = Instant::now() + Duration::from_secs(60);
    // A paused clock does not move the time of day: the fresh records are just late.
    let backlog = writes(old, 4, 3_600_000, [Duration::ZERO, ms(100)], until);
    let stream = writes(fresh, 1, 20, [ms(40), ms(5)], until);
    let ((_, worked), (waited, _)) = tokio::join!(backlog, stream);
    assert!(waited <= ms(100), "{waited:?}");
    assert!(worked >= Duration::from_secs(50), "the backlog has all the time that is left: {worked:?}");
}

#[tokio::test(start_paused = true)]
async fn each_pipeline_has_a_size_of_its_own() {
    let gate = Gate::new(settings(4));
    let batch = |records_max| crate::BatchLimits { records_max, ..crate::BatchLimits::default() };
    let large = gate.join("large", Duration::from_secs(1), &batch(10_000));
    let small = gate.join("small", Duration::from_millis(10), &batch(100));
    assert_eq!((large.pace().records, small.pace().records), (5_478, 100));
    assert!(small.pace().linger < Duration::from_millis(10) && large.pace().linger > Duration::from_millis(100));
    let names: Vec<Arc<str>> = gate.look().pipelines.into_iter().map(|joined| joined.name).collect();
    assert_eq!(names, [Arc::from("large"), Arc::from("small")]);

    // A limit that one of them reaches is decided for that one, and says for which.
    gate.allow(|now, _| Ok::<_, ()>(Settings { records_max: 50, ..now.clone() })).unwrap();
    let decided = gate.decisions(10);
    let sizes = decided.iter().filter(|entry| entry.decision.knob == Knob::Records);
    let sizes: Vec<_> = sizes.map(|entry| (entry.pipeline.as_deref(), entry.decision.to)).collect();
    assert_eq!(sizes, [(Some("small"), 50), (Some("large"), 50)]);

    // Who comes back has the place and what was learnt; another name gets a place of its own.
    drop(large);
    let other = gate.join("other", Duration::from_secs(1), &batch(7));
    assert_eq!((other.pace().records, gate.look().pipelines.len()), (7, 2));
    let again = gate.join("large", Duration::from_secs(1), &batch(20));
    assert_eq!((again.pace().records, small.pace().records, other.pace().records), (20, 50, 7));
}

/// A number or a truth value, as it is in a line of a recording.
#[derive(Clone, Copy)]
enum Value {
    Number(u64),
    Truth(bool),
}

impl<'de> serde::Deserializer<'de> for Value {
    type Error = serde::de::value::Error;

    fn deserialize_any<V: serde::de::Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        match self {
            Value::Number(number) => visitor.visit_u64(number),
            Value::Truth(truth) => visitor.visit_bool(truth),
        }
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

impl serde::de::IntoDeserializer<'_> for Value {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

#[test]
fn a_line_without_a_pipeline_belongs_to_the_only_one() {
    use serde::Deserialize as _;
    let members = [("records", Value::Number(10)), ("bytes", Value::Number(1_000)), ("full", Value::Truth(true))];
    let held = record::Held::deserialize(serde::de::value::MapDeserializer::new(members.into_iter())).unwrap();
    let line = Line { at_ns: 7, what: What::Begun(held) };
    assert_eq!(line.play(), record::Play::Event(Event::Begun(WORK)));
}

#[tokio::test(start_paused = true)]
async fn a_recording_of_several_pipelines_is_replayed_to_the_same_numbers() {
    let (recorder, mut lines) = Recorder::new();
    let gate = Gate::recorded(settings(1), Some(recorder));
    let batch = crate::BatchLimits::default();
    let members = ["one", "two"].map(|name| gate.join(name, Duration::from_millis(10), &batch));
    drop(members[1].enter(1, WORK).await);
    let mut controller: Option<Controller> = None;
    let mut begun = Vec::new();
    while let Ok(line) = lines.try_recv() {
        match (line.play(), &mut controller) {
            (record::Play::Settings(settings), _) => controller = Some(Controller::new(settings, line.at())),
            (record::Play::Event(event), Some(controller)) => {
                controller.on_event(line.at(), &event);
                begun.extend(matches!(event, Event::Begun(_)).then_some(event));
            }
            _ => {}
        }
    }
    assert_eq!(begun, [Event::Begun(Work { pipeline: 1, ..WORK })]);
    assert_eq!(controller.unwrap().pace(1), members[1].pace());
}
