//! What holds whatever happens, in whatever order, at whatever time.

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Move {
    Begin(usize, bool),
    End(usize, u8),
    Again(u8),
    Wait(usize),
    Tick,
    Signal(Signals),
    Later(u64),
    Earlier(u64),
    Limit(usize, usize, usize, bool),
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        6 => (0usize..5000, any::<bool>()).prop_map(|(records, full)| Move::Begin(records, full)),
        6 => (0usize..40, 0u8..12).prop_map(|(which, ending)| Move::End(which, ending)),
        1 => (0u8..12).prop_map(Move::Again),
        2 => (0usize..30).prop_map(Move::Wait),
        4 => Just(Move::Tick),
        1 => signals().prop_map(Move::Signal),
        6 => (0u64..800).prop_map(Move::Later),
        1 => (1000u64..10_000_000).prop_map(Move::Later),
        1 => (0u64..100_000).prop_map(Move::Earlier),
        1 => (0usize..20, 0usize..40, 1usize..20_000, any::<bool>())
            .prop_map(|(min, max, records, freeze)| Move::Limit(min, max, records, freeze)),
    ];
    proptest::collection::vec(one, 0..400)
}

fn signals() -> impl Strategy<Value = Signals> {
    use proptest::option::of;
    (of(0.0..200.0), of(0.0..16.0), of(0.0..20.0), of(0.0..1.0), of(0.0..1.0), of(0usize..9)).prop_map(
        |(sessions_running, processors, sessions_of_others, processors_used, processors_ours, processes)| Signals {
            sessions_running,
            sessions_of_others,
            processors,
            processors_used,
            processors_ours,
            processes,
            ..Signals::default()
        },
    )
}

fn ending(number: u8) -> Ending {
    match number {
        0 => Ending::Overload,
        1 => Ending::Contention,
        2 => Ending::Other,
        _ => Ending::Committed,
    }
}

fn finite(decisions: &[Decision]) -> bool {
    decisions.iter().flat_map(|decision| &decision.figures).all(|figure| figure.1.is_finite())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn concurrency_stays_within_limits_and_is_zero_only_while_something_is_awaited(moves in moves()) {
        let mut limits = settings();
        let mut controller = Controller::new(limits.clone(), Duration::ZERO);
        let mut now = Duration::from_secs(1000);
        let mut open: Vec<(Duration, Work)> = Vec::new();
        let mut last = None;
        for step in moves {
            let mut lowered = 0;
            let decisions = match step {
                Move::Begin(records, full) => {
                    let work = Work { pipeline: 0, records, bytes: records * 7, full };
                    open.push((now, work));
                    controller.on_event(now, &Event::Begun(work))
                }
                Move::End(which, how) if !open.is_empty() => {
                    let (began, work) = open.swap_remove(which % open.len());
                    last = Some((began, work));
                    controller.on_event(now, &Event::Ended { began, work, ending: ending(how) })
                }
                Move::Again(how) => match last {
                    Some((began, work)) => controller.on_event(now, &Event::Ended { began, work, ending: ending(how) }),
                    None => Vec::new(),
                },
                Move::Wait(batches) => controller.on_event(now, &Event::Waiting(batches)),
                Move::Signal(signals) => controller.on_event(now, &Event::Signals(signals)),
                Move::Later(milliseconds) => {
                    now += Duration::from_millis(milliseconds);
                    Vec::new()
                }
                Move::Earlier(milliseconds) => {
                    now = now.saturating_sub(Duration::from_millis(milliseconds));
                    Vec::new()
                }
                Move::Limit(min, max, records, freeze) => {
                    limits =
                        Settings { concurrency_min: min, concurrency_max: max, records_max: records, freeze, ..limits };
                    controller.set(now, limits.clone())
                }
                Move::Tick | Move::End(..) => controller.on_event(now, &Event::Tick),
            };
            lowered += decisions.iter().filter(|decision| decision.reason == Reason::Overload && decision.knob == Knob::Concurrency).count();
            prop_assert!(lowered <= 1);
            prop_assert!(finite(&decisions), "{decisions:?}");
            let pace = controller.pace(0);
            let min = limits.concurrency_min.max(1);
            prop_assert!(pace.concurrency == 0 || (min..=limits.concurrency_max.max(min)).contains(&pace.concurrency), "{pace:?}");
            prop_assert!(pace.concurrency > 0 || !open.is_empty() , "nothing is awaited");
            prop_assert!((1..=limits.records_max).contains(&pace.records));
            prop_assert!(pace.linger <= limits.freshness / 2);
        }
    }

    #[test]
    fn of_one_flight_only_the_first_failure_counts(flight in 1usize..40, again in 0usize..3) {
        let mut controller = Controller::new(Settings { concurrency_min: 20, ..settings() }, Duration::ZERO);
        controller.set(Duration::ZERO, settings());
        let work = Work { pipeline: 0, records: 10, bytes: 10, full: true };
        for _ in 0..flight {
            controller.on_event(Duration::from_millis(10), &Event::Begun(work));
        }
        let mut lowered = 0;
        for number in 0..flight * (again + 1) {
            let now = Duration::from_millis(20 + number as u64);
            let began = Duration::from_millis(10);
            let decisions = controller.on_event(now, &Event::Ended { began, work, ending: Ending::Overload });
            lowered += decisions.iter().filter(|decision| decision.knob == Knob::Concurrency).count();
        }
        prop_assert_eq!(lowered, 1);
    }
}
