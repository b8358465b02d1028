use std::collections::BTreeSet;
use std::sync::atomic::Ordering::Relaxed;

use millstream_schemas::tasks::{Pending, Standing};
use rand::SeedableRng as _;
use rand::rngs::SmallRng;

use super::*;
use crate::table::TaskState;
use crate::table::view::Line;

pub(super) const UNHEALTHY: Standing = Standing::Pending(Pending::Unhealthy);
pub(super) const UNKNOWN: Standing = Standing::Pending(Pending::UnknownHealth);

pub(super) fn rng() -> SmallRng {
    SmallRng::seed_from_u64(7)
}

pub(super) fn member(id: usize, standing: Standing) -> Arc<Member> {
    let key = TaskKey { source: "ecs".into(), id: id.to_string().into() };
    let address = std::net::SocketAddr::from(([10, 0, 0, u8::try_from(id).unwrap()], 80));
    let task = Arc::new(TaskState::new(key, "vpc".into(), address));
    Arc::new(Member { task, standing, is_from_disk: false })
}

pub(super) fn revision_of(members: Vec<Arc<Member>>) -> RevisionView {
    let tasks = Arc::new(Tasks { number: 1, members, ..Tasks::default() });
    let line = Arc::new(Line::new(Arc::default(), Arc::default()));
    RevisionView { revision: "r1".into(), deploy: Arc::default(), tasks, line }
}

pub(super) fn revision(standings: &[Standing]) -> RevisionView {
    revision_of(standings.iter().enumerate().map(|(id, standing)| member(id, *standing)).collect())
}

/// The ids that some hundred attempts are sent to; nothing is told of them.
fn chosen(revision: &RevisionView, now: Instant) -> BTreeSet<String> {
    let mut rng = rng();
    let attempts = (0..300).filter_map(|_| revision.choose(&[], now, &mut rng).ok());
    attempts.map(|attempt| attempt.task().key().id.to_string()).collect()
}

fn ids(ids: impl IntoIterator<Item = usize>) -> BTreeSet<String> {
    ids.into_iter().map(|id| id.to_string()).collect()
}

/// An attempt at one task, whichever would be chosen.
fn attempt_at(revision: &RevisionView, id: usize, now: Instant) -> Attempt {
    let member = &revision.tasks.members[id];
    assert!(member.task.enter(None));
    revision.begin(member, &revision.tasks, Tries::default(), now)
}

fn fail(revision: &RevisionView, id: usize, failure: Failure, times: usize, now: Instant) {
    (0..times).for_each(|_| attempt_at(revision, id, now).failed(now, failure));
}

#[test]
fn unhealthy_tasks_are_left_out_while_half_are_usable() {
    let now = Instant::now();
    let half = revision(&[[Standing::Routable; 5], [UNHEALTHY; 5]].concat());
    assert_eq!(chosen(&half, now), ids(0..5));
    assert_eq!(half.line.counters.panic.load(Relaxed), 0);
}

#[test]
fn all_serve_when_the_health_of_more_than_half_fails() {
    let now = Instant::now();
    let panic = revision(&[[Standing::Routable; 4].as_slice(), &[UNHEALTHY; 6]].concat());
    assert_eq!(chosen(&panic, now), ids(0..10));
    assert_eq!(panic.line.counters.panic.load(Relaxed), 300);
}

#[test]
fn what_cannot_be_reached_stays_out_in_panic_and_does_not_count_for_it() {
    let now = Instant::now();
    let revision = revision(&[[Standing::Routable; 5], [UNHEALTHY; 5]].concat());
    fail(&revision, 5, Failure::Connect, 1, now);
    assert_eq!(chosen(&revision, now), ids(0..5), "5 usable of 9");
    fail(&revision, 0, Failure::Connect, 1, now);
    assert_eq!(chosen(&revision, now), ids(1..5), "4 usable of 8");
    fail(&revision, 1, Failure::Connect, 1, now);
    assert_eq!(chosen(&revision, now), ids([2, 3, 4, 6, 7, 8, 9]), "3 usable of 7");
}

#[test]
fn draining_tasks_serve_only_when_nothing_else_can_be_reached() {
    let now = Instant::now();
    let revision = revision(&[UNHEALTHY, Standing::Draining, Standing::Draining, UNKNOWN]);
    assert_eq!(chosen(&revision, now), ids([0]));
    fail(&revision, 0, Failure::Connect, 1, now);
    fail(&revision, 1, Failure::Connect, 1, now);
    assert_eq!(chosen(&revision, now), ids([2]));
    assert_eq!(revision.line.counters.draining.load(Relaxed), 300);
    fail(&revision, 2, Failure::Connect, 1, now);
    let refused = revision.choose(&[], now, &mut rng()).unwrap_err();
    assert_eq!((refused, refused.to_string().as_str()), (Refused::NoRoutableTask, "no_routable_task"));
}

#[test]
fn a_task_that_cannot_be_reached_is_tried_by_one_request_when_there_is_no_other() {
    let start = Instant::now();
    let revision = revision(&[Standing::Routable]);
    fail(&revision, 0, Failure::Connect, 1, start);
    let rng = &mut rng();
    assert_eq!(revision.choose(&[], start, rng).unwrap_err(), Refused::NoRoutableTask);
    let now = start + Duration::from_secs(1);
    let first = revision.choose(&[], now, rng).unwrap();
    assert_eq!(revision.choose(&[], now, rng).unwrap_err(), Refused::NoRoutableTask, "one try");
    first.failed(now, Failure::Connect);
    assert!(revision.choose(&[], now + Duration::from_millis(1_999), rng).is_err());
    let now = now + Duration::from_secs(2);
    drop(revision.choose(&[], now, rng).unwrap());
    let second = revision.choose(&[], now, rng).unwrap();
    second.head(now, 200);
    assert!(revision.choose(&[], now, rng).is_ok() && !revision.tasks.members[0].task.is_marked());
}

#[test]
fn requests_do_not_try_what_cannot_be_reached_while_there_are_others() {
    let start = Instant::now();
    let revision = revision(&[Standing::Routable; 2]);
    fail(&revision, 0, Failure::Connect, 1, start);
    assert_eq!(chosen(&revision, start + Duration::from_secs(60)), ids([1]));
}

#[test]
fn a_task_that_was_tried_is_not_chosen_again() {
    let now = Instant::now();
    let revision = revision(&[Standing::Routable; 2]);
    let rng = &mut rng();
    let first = revision.choose(&[], now, rng).unwrap().task().key().clone();
    for _ in 0..50 {
        let second = revision.choose(std::slice::from_ref(&first), now, rng).unwrap().task().key().clone();
        assert_ne!(first, second);
        assert_eq!(revision.choose(&[first.clone(), second], now, rng).unwrap_err(), Refused::NoRoutableTask);
    }
}

#[test]
fn the_lesser_load_of_two_different_tasks_is_taken() {
    let now = Instant::now();
    let revision = revision(&[Standing::Routable; 2]);
    let rng = &mut rng();
    let busy = attempt_at(&revision, 0, now);
    for _ in 0..50 {
        assert_eq!(&*revision.choose(&[], now, rng).unwrap().task().key().id, "1");
    }
    drop(busy);
    attempt_at(&revision, 0, now).head(now + Duration::from_millis(10), 200);
    attempt_at(&revision, 1, now).head(now + Duration::from_millis(35), 200);
    let three: Vec<Attempt> = (0..3).map(|_| attempt_at(&revision, 0, now)).collect();
    let later = now + Duration::from_millis(35);
    assert_eq!(&*revision.choose(&[], later, rng).unwrap().task().key().id, "1", "4 x 10 ms is more than 35 ms");
    drop(three);
    assert_eq!(&*revision.choose(&[], later, rng).unwrap().task().key().id, "0");
}

#[test]
fn a_new_task_begins_at_the_median_of_its_group() {
    let now = Instant::now();
    let revision = revision(&[Standing::Routable; 4]);
    for (id, millis) in [(0, 100), (1, 200), (2, 900)] {
        attempt_at(&revision, id, now).head(now + Duration::from_millis(millis), 200);
    }
    let rng = &mut rng();
    let cost = |id: usize| revision.tasks.members[id].task.record().peak.cost(now);
    while cost(3).is_none() {
        drop(revision.choose(&[], now, rng));
    }
    assert!((cost(3).unwrap() - 0.2).abs() < 1e-6);
    let alone = super::tests::revision(&[Standing::Routable; 2]);
    drop(alone.choose(&[], now, rng));
    assert_eq!(alone.tasks.members[0].task.record().peak.cost(now), Some(0.03), "where nothing is known");
}

#[test]
fn fast_failures_and_errors_make_no_task_look_fast() {
    let now = Instant::now();
    let revision = revision(&[Standing::Routable; 4]);
    let cost = |id: usize| revision.tasks.members[id].task.record().peak.cost(now);
    for id in 0..4 {
        attempt_at(&revision, id, now).head(now + Duration::from_millis(500), 200);
    }
    let later = now + Duration::from_millis(500);
    attempt_at(&revision, 0, later).head(later, 503);
    attempt_at(&revision, 1, later).failed(later, Failure::Reset);
    attempt_at(&revision, 2, later).head(later, 429);
    attempt_at(&revision, 3, later).head(later, 500);
    assert_eq!([cost(0), cost(1), cost(2), cost(3)], [Some(1.0), Some(1.0), Some(0.5), Some(0.5)]);
}

#[test]
fn a_breaker_opens_after_five_failures_in_a_row_and_lets_one_request_through() {
    let start = Instant::now();
    let revision = revision(&[Standing::Routable; 4]);
    let rng = &mut rng();
    fail(&revision, 0, Failure::TimedOut, 4, start);
    attempt_at(&revision, 0, start).head(start, 404);
    fail(&revision, 0, Failure::Reset, 4, start);
    assert!(!revision.tasks.members[0].task.is_marked());
    attempt_at(&revision, 0, start).head(start, 503);
    assert_eq!(chosen(&revision, start), ids(1..4));
    let now = start + Duration::from_millis(1_200);
    let one = revision.choose(&[], now, rng).unwrap();
    assert_eq!(&*one.task().key().id, "0");
    assert_eq!(chosen(&revision, now), ids(1..4));
    one.head(now, 429);
    assert_eq!(chosen(&revision, now + Duration::from_millis(1_500)), ids(1..4), "it opened for two seconds");
    assert_eq!(revision.line.counters.breaker_openings.load(Relaxed), 2);
    let now = now + Duration::from_millis(2_400);
    let retried = [member(9, Standing::Routable).task.key().clone()];
    assert_ne!(&*revision.choose(&retried, now, rng).unwrap().task().key().id, "0", "a second attempt is not risked");
    revision.choose(&[], now, rng).unwrap().head(now, 200);
    assert!(!revision.tasks.members[0].task.is_marked());
}

#[test]
fn breakers_open_for_half_at_most_and_never_for_the_last() {
    let now = Instant::now();
    for (tasks, most) in [(1, 0), (2, 1), (3, 1), (5, 2)] {
        let revision = revision(&vec![Standing::Routable; tasks]);
        (0..tasks).for_each(|id| fail(&revision, id, Failure::Reset, 20, now));
        let open = revision.tasks.members.iter().filter(|member| member.task.is_marked()).count();
        assert_eq!((open, chosen(&revision, now).len()), (most, tasks - most), "of {tasks}");
        assert!(revision.line.counters.breaker_refused.load(Relaxed) > 0);
    }
}

#[test]
fn breakers_let_tasks_in_again_when_the_others_are_gone() {
    let now = Instant::now();
    let before = revision(&[Standing::Routable; 4]);
    fail(&before, 0, Failure::Reset, 5, now);
    fail(&before, 1, Failure::Reset, 5, now);
    assert_eq!(chosen(&before, now), ids(2..4));
    let after = revision_of(before.tasks.members[..2].to_vec());
    assert_eq!(chosen(&after, now).len(), 1, "one of two");
    let last = revision_of(before.tasks.members[..1].to_vec());
    assert_eq!(chosen(&last, now), ids([0]));
}

#[test]
fn a_full_task_is_not_chosen_and_a_place_that_is_freed_wakes() {
    let now = Instant::now();
    let mut revision = revision(&[Standing::Routable; 2]);
    let members = revision.tasks.members.clone();
    revision.tasks = Arc::new(Tasks { number: 1, concurrency_max: Some(1), members, ..Tasks::default() });
    let rng = &mut rng();
    let first = revision.choose(&[], now, rng).unwrap();
    let second = revision.choose(&[], now, rng).unwrap();
    assert_ne!(first.task().key(), second.task().key());
    assert_eq!(revision.choose(&[], now, rng).unwrap_err(), Refused::Saturated);
    assert_eq!(revision.line.counters.saturated.load(Relaxed), 1);
    let freed = first.task().key().clone();
    drop(first);
    let woken = revision.freed().notified();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(Duration::from_secs(5), woken).await.unwrap() });
    assert_eq!(revision.choose(&[], now, rng).unwrap().task().key(), &freed);
}

#[test]
fn a_request_is_in_flight_until_its_attempt_is_dropped() {
    let now = Instant::now();
    let revision = revision(&[Standing::Routable]);
    let attempt = revision.choose(&[], now, &mut rng()).unwrap();
    attempt.head(now, 200);
    assert_eq!(revision.tasks.members[0].task.in_flight(), 1);
    drop(attempt);
    assert_eq!(revision.tasks.members[0].task.in_flight(), 0);
}

#[test]
fn a_result_counts_once() {
    let now = Instant::now();
    let revision = revision(&[Standing::Routable; 2]);
    for _ in 0..10 {
        let attempt = attempt_at(&revision, 0, now);
        attempt.head(now, 200);
        attempt.failed(now, Failure::Reset);
    }
    assert_eq!(chosen(&revision, now), ids(0..2));
}
