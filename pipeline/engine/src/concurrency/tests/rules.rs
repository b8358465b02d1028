//! One test for each rule.

use super::*;

#[test]
fn finds_the_knee_from_a_cold_start_within_twenty_seconds_and_stays() {
    let mut bench = Bench::new(settings());
    bench.run(20, Ending::Committed);
    let early = bench.controller.pace(0).concurrency;
    assert!((7..=16).contains(&early), "{early}");
    bench.run(100, Ending::Committed);
    let late = bench.controller.pace(0).concurrency;
    assert!((7..=13).contains(&late), "{late}");
    assert_eq!(bench.decisions.first().map(|decision| decision.reason), Some(Reason::Startup));
    assert!(bench.decisions.iter().all(|decision| decision.from != decision.to));
    assert_eq!(bench.controller.limited(), Limited::Database);
}

#[test]
fn the_first_trial_is_of_larger_transactions_and_waits_until_their_times_are_known() {
    let mut bench = Bench::new(settings());
    bench.run(60, Ending::Committed);
    let first = bench.decisions.iter().find(|decision| decision.reason == Reason::Trial).unwrap();
    assert_eq!((first.knob, first.from < first.to), (Knob::Records, true), "{first:?}");
    let mut early = Bench::new(settings());
    // Two transactions at a time, each of seconds: fewer than 24 end.
    early.processors = 1;
    early.run(5, Ending::Committed);
    assert!(!early.reasons().contains(&Reason::Trial), "{:?}", early.decisions);
}

/// Whether a trial begins with this decision.
fn is_begun(decision: &Decision) -> bool {
    decision.reason == Reason::Trial && decision.figures.iter().any(|(name, _)| *name == "records_per_second")
}

/// The trials of concurrency, in pairs: how they began and what came of them.
fn trials(bench: &Bench) -> Vec<(Decision, Decision)> {
    let numbers: Vec<_> = bench.decisions.iter().filter(|decision| decision.knob == Knob::Concurrency).collect();
    let pairs = numbers.windows(2).filter(|pair| is_begun(pair[0]));
    pairs.map(|pair| (pair[0].clone(), pair[1].clone())).collect()
}

#[test]
fn a_trial_ends_once_what_it_says_is_clear() {
    let mut bench = Bench::new(settings());
    bench.run(300, Ending::Committed);
    let trials = trials(&bench);
    let lasted = |(began, ended): &(Decision, Decision)| ended.at - began.at;
    let longest = trials.iter().filter(|(began, _)| began.to <= 6).map(lasted).max().expect("two processors idle");
    let shortest = trials.iter().filter(|(began, _)| began.from == 9 && began.to > 9).map(lasted).min();
    assert!(Some(longest) < shortest, "that more gives nothing takes longer to see: {trials:?}");
}

#[test]
fn a_trial_that_is_clearly_better_stays() {
    let mut bench = Bench::new(settings());
    bench.run(60, Ending::Committed);
    let before = bench.controller.pace(0).concurrency;
    bench.processors = 24;
    bench.decisions.clear();
    bench.run(60, Ending::Committed);
    let stayed = trials(&bench).into_iter().find(|(began, ended)| began.to > began.from && ended.to >= began.to);
    let (began, ended) = stayed.expect("more is better at once");
    assert_eq!((ended.reason, began.from >= before), (Reason::MoreIsFaster, true), "{began:?} {ended:?}");
    assert!(ended.from == began.from || ended.from == began.to, "{began:?} {ended:?}");
}

#[test]
fn where_no_trial_can_tell_larger_transactions_are_believed_in() {
    let mut bench = Bench::new(settings());
    bench.processors = 2;
    bench.uneven = &[0.2, 1.9, 0.4, 2.4, 0.1, 1.6, 0.9, 0.5];
    bench.run(120, Ending::Committed);
    let sizes: Vec<_> = bench.decisions.iter().filter(|decision| decision.knob == Knob::Records).collect();
    let [began, ended, ..] = sizes[..] else { panic!("{sizes:?}") };
    assert_eq!((began.reason, ended.reason), (Reason::Trial, Reason::MoreIsFaster), "{began:?} {ended:?}");
    assert!(ended.from < ended.to, "it stays after half of the trial: {began:?} {ended:?}");
}

#[test]
fn where_many_wait_for_locks_smaller_transactions_are_tried_first() {
    let tried_first = |looks: usize| {
        let mut bench = Bench::new(settings());
        for _ in 0..looks {
            bench.tell(Event::Signals(Signals { sessions_locked: Some(5.0), ..Signals::default() }));
        }
        bench.run(60, Ending::Committed);
        let first = bench.decisions.into_iter().find(|decision| decision.reason == Reason::Trial).unwrap();
        (first.knob, first.from < first.to)
    };
    assert_eq!(tried_first(2), (Knob::Records, false));
    assert_eq!(tried_first(1), (Knob::Records, true), "as without: once is not enough");
}

#[test]
fn a_trial_of_larger_transactions_ends_where_many_wait_for_locks() {
    let mut bench = Bench::new(settings());
    while bench.controller.pace(0).records < 10_000 && bench.now < Duration::from_secs(60) {
        bench.run(1, Ending::Committed);
    }
    let before = bench.decisions.len();
    let many = Event::Signals(Signals { sessions_locked: Some(100.0), ..Signals::default() });
    bench.tell(many);
    assert_eq!(bench.decisions.len(), before, "once is no habit");
    bench.tell(many);
    let ended = bench.decisions[before..].first().map(|decision| (decision.knob, decision.from, decision.to));
    assert_eq!(ended, Some((Knob::Records, 10_000, 5_478)));
    bench.run(60, Ending::Committed);
    let next = bench.decisions[before + 1..].iter().find(|decision| decision.knob == Knob::Records).unwrap();
    assert!(next.to < 5_478, "then smaller ones are tried: {next:?}");
}

#[test]
fn while_many_wait_for_locks_sizes_are_tried_again_at_another_concurrency() {
    // What is decided after the first step towards many more processors.
    let then = |locked: f64| {
        let mut bench = Bench::new(settings());
        for second in 0..240 {
            if second == 200 {
                bench.decisions.clear();
                bench.processors = 24;
            }
            bench.tell(Event::Signals(Signals { sessions_locked: Some(locked), ..Signals::default() }));
            bench.run(1, Ending::Committed);
        }
        let mut decisions = bench.decisions.into_iter();
        decisions.find(|decision| decision.reason == Reason::MoreIsFaster).expect("more is better");
        let then = decisions.next().expect("and more still");
        (then.knob, then.from < then.to)
    };
    assert_eq!((then(0.0), then(32.0)), ((Knob::Concurrency, true), (Knob::Records, false)));
}

#[test]
fn a_trial_of_fewer_stays_where_the_ceiling_falls_below_its_beginning() {
    let mut bench = Bench::new(settings());
    let look = |bench: &mut Bench, running: f64, others: f64| {
        let sessions_running = Some(running);
        let sessions_of_others = Some(others);
        let processors = Some(8.0);
        bench.tell(Event::Signals(Signals { sessions_running, sessions_of_others, processors, ..Signals::default() }));
    };
    let tries_fewer = |bench: &Bench| {
        let last = bench.decisions.iter().rfind(|decision| decision.knob == Knob::Concurrency);
        last.is_some_and(|last| is_begun(last) && last.from > last.to)
    };
    while !tries_fewer(&bench) {
        assert!(bench.now < Duration::from_secs(600), "{:?}", bench.decisions);
        look(&mut bench, 8.0, 0.0);
        bench.run(1, Ending::Committed);
    }
    bench.decisions.clear();
    look(&mut bench, 14.0, 8.0);
    for _ in 0..20 {
        look(&mut bench, 7.0, 8.0);
        bench.run(1, Ending::Committed);
    }
    let fell = bench.decisions.iter().find(|decision| decision.knob == Knob::Ceiling);
    let ceiling = fell.expect("six of them are too many").to;
    let above = |decision: &&Decision| decision.knob == Knob::Concurrency && decision.to > ceiling;
    assert_eq!(bench.decisions.iter().find(above), None, "{:?}", bench.decisions);
}

#[test]
fn follows_when_the_database_gets_three_times_the_processors() {
    let mut bench = Bench::new(settings());
    bench.run(60, Ending::Committed);
    bench.processors = 24;
    bench.run(60, Ending::Committed);
    assert!(bench.controller.pace(0).concurrency >= 20, "{:?}", bench.controller.pace(0));
}

#[test]
fn without_a_backlog_nothing_grows_and_nothing_changes() {
    let mut bench = Bench { backlog: false, ..Bench::new(settings()) };
    bench.run(300, Ending::Committed);
    assert_eq!(bench.decisions, []);
    assert_eq!(bench.controller.limited(), Limited::Application);
    assert!(bench.controller.pace(0).linger >= Duration::from_millis(400), "waits for company");
}

#[test]
fn what_the_operators_cap_holds_back_is_no_sign_of_the_database() {
    let mut bench = Bench::new(Settings { records_per_second_max: 100, ..settings() });
    bench.run(60, Ending::Committed);
    assert_eq!(bench.controller.pace(0).concurrency, 2);
}

#[test]
fn overload_takes_three_tenths_once_per_flight() {
    let mut bench = Bench::new(Settings { concurrency_min: 20, ..settings() });
    bench.begin();
    let settings = Settings { concurrency_min: 1, ..settings() };
    bench.controller.set(bench.now, settings);
    bench.now += Duration::from_secs(1);
    for (began, _, records) in std::mem::take(&mut bench.open) {
        let work = Bench::work(records, true);
        bench.tell(Event::Ended { began, work, ending: Ending::Overload });
    }
    let lowered = bench.decisions.iter().filter(|decision| decision.knob == Knob::Concurrency).collect::<Vec<_>>();
    assert_eq!(lowered.len(), 1, "{lowered:?}");
    assert!(lowered.iter().all(|decision| decision.reason == Reason::Overload && decision.from == 20));
    assert!((12..=14).contains(&bench.controller.pace(0).concurrency));
    assert!(bench.decisions.iter().any(|decision| decision.knob == Knob::Ceiling && decision.to == 17));
}

#[test]
fn an_outage_ends_at_the_fewest_and_does_not_leave_a_ceiling() {
    let mut bench = Bench::new(settings());
    bench.run(60, Ending::Committed);
    let before = bench.controller.pace(0).concurrency;
    bench.run(20, Ending::Overload);
    assert_eq!(bench.controller.pace(0).concurrency, 1);
    let decisions = bench.decisions.len();
    bench.run(2, Ending::Committed);
    // With the first commit, concurrency returns to what one overload leaves.
    let back = bench.decisions.get(decisions).expect("it is back");
    assert_eq!((back.knob, back.from, back.reason), (Knob::Concurrency, 1, Reason::Recovery), "{back:?}");
    assert!(back.to * 10 >= before * 6 && back.to < before, "{before} before, {back:?}");
    bench.run(28, Ending::Committed);
    let after = bench.controller.pace(0).concurrency;
    assert!(after * 10 >= before * 7, "{before} before, {after} after");
}

#[test]
fn contention_is_answered_when_much_meets_it_and_not_when_one_does() {
    let mut bench = Bench::new(Settings { concurrency_min: 20, ..settings() });
    bench.run(5, Ending::Committed);
    bench.controller.set(bench.now, settings());
    bench.run(1, Ending::Contention);
    let lowered = |bench: &Bench| {
        let mut all = bench.decisions.iter().filter(|decision| decision.reason == Reason::Contention);
        all.next().map(|decision| decision.to * 100 / decision.from)
    };
    assert!(lowered(&bench).is_some_and(|part| (70..=85).contains(&part)), "{:?}", bench.decisions);
    let mut other = Bench::new(Settings { concurrency_min: 20, ..settings() });
    other.run(5, Ending::Committed);
    let work = Bench::work(10, true);
    other.tell(Event::Ended { began: other.now, work, ending: Ending::Contention });
    assert_eq!(lowered(&other), None);
}

#[test]
fn a_stall_stops_all_until_something_ends_and_goes_on_with_a_little_less() {
    let mut bench = Bench::new(Settings { concurrency_min: 20, ..settings() });
    bench.run(5, Ending::Committed);
    bench.controller.set(bench.now, settings());
    let before = bench.controller.pace(0).concurrency;
    for _ in 0..80 {
        bench.now += Duration::from_millis(250);
        bench.tell(Event::Tick);
    }
    assert_eq!(bench.controller.pace(0).concurrency, 0);
    let (began, _, records) = bench.open.pop().unwrap();
    bench.tell(Event::Ended { began, work: Bench::work(records, true), ending: Ending::Committed });
    assert_eq!(bench.controller.pace(0).concurrency, before * 85 / 100);
    assert!(bench.reasons().contains(&Reason::Stall));
}

#[test]
fn a_stall_in_which_all_fails_does_not_stop_for_ever() {
    let mut bench = Bench::new(settings());
    bench.run(1, Ending::Committed);
    for _ in 0..80 {
        bench.now += Duration::from_millis(250);
        bench.tell(Event::Tick);
    }
    assert_eq!(bench.controller.pace(0).concurrency, 0);
    for (began, _, records) in std::mem::take(&mut bench.open) {
        bench.tell(Event::Ended { began, work: Bench::work(records, true), ending: Ending::Other });
    }
    assert!(bench.controller.pace(0).concurrency >= 1);
}

#[test]
fn fewer_than_keep_the_processors_busy_are_not_tried() {
    // The database has eight processors. Nothing is known about them, or their use is reported each second.
    let lowest = |told: bool| {
        let mut bench = Bench::new(settings());
        for second in 0..240 {
            bench.run(1, Ending::Committed);
            let running = bench.open.len().min(8) as f64;
            let signals = Signals {
                sessions_running: Some(running),
                sessions_of_others: Some(0.0),
                processors: Some(8.0),
                processors_used: Some(running / 8.0),
                processors_ours: Some(running / 8.0),
                ..Signals::default()
            };
            if told {
                bench.tell(Event::Signals(signals));
            }
            if second == 20 {
                bench.decisions.clear();
            }
        }
        let tried = bench.decisions.iter().filter(|one| one.knob == Knob::Concurrency).map(|one| one.to);
        (tried.min(), bench.controller.pace(0).concurrency)
    };
    let (told, found) = lowest(true);
    assert!(told.is_none_or(|lowest| lowest >= 8) && found >= 8, "{told:?}, {found}");
    assert!(lowest(false).0 < Some(8), "who is told nothing has to try");
}

#[test]
fn frozen_it_changes_nothing_whatever_happens() {
    let mut bench = Bench::new(Settings { freeze: true, ..settings() });
    bench.run(20, Ending::Committed);
    bench.run(20, Ending::Overload);
    bench.tell(Event::Signals(Signals { processors_used: Some(1.0), ..Signals::default() }));
    assert_eq!(bench.decisions, []);
    assert_eq!(bench.controller.pace(0).concurrency, 2);
}

#[test]
fn the_operators_limits_hold_at_once() {
    let mut bench = Bench::new(settings());
    bench.run(40, Ending::Committed);
    let limits = Settings { concurrency_max: 3, records_max: 500, ..settings() };
    let decisions = bench.controller.set(bench.now, limits);
    assert!(decisions.iter().any(|decision| decision.knob == Knob::Concurrency && decision.to == 3));
    assert!(decisions.iter().any(|decision| decision.knob == Knob::Records && decision.to == 500));
    bench.run(40, Ending::Committed);
    assert!(bench.controller.pace(0).concurrency <= 3 && bench.controller.pace(0).records <= 500);
    assert_eq!(bench.controller.limited(), Limited::Limit, "eight processors could do more");
    let back = bench.controller.set(bench.now, settings());
    let to = |knob| back.iter().find(|decision| decision.knob == knob).map(|decision| decision.to);
    for lowered in &decisions {
        assert_eq!(to(lowered.knob), Some(lowered.from), "as before they held: {back:?}");
    }
}

#[test]
fn a_limit_that_is_lifted_gives_no_more_than_the_database_bears_meanwhile() {
    let mut bench = Bench::new(settings());
    bench.run(40, Ending::Committed);
    let found = bench.controller.pace(0).concurrency;
    bench.controller.set(bench.now, Settings { concurrency_max: 3, ..settings() });
    bench.tell(Event::Signals(Signals { sessions_running: Some(2.0), processors: Some(1.0), ..Signals::default() }));
    bench.controller.set(bench.now, settings());
    assert!(found > 3 && bench.controller.pace(0).concurrency == 3, "{found}: it has one processor now");

    let mut bench = Bench::new(settings());
    bench.run(40, Ending::Committed);
    let lowered = bench.controller.set(bench.now, Settings { records_max: 500, ..settings() });
    let found = lowered.iter().find(|decision| decision.knob == Knob::Records).map_or(0, |decision| decision.from);
    bench.run(10, Ending::Committed);
    // Nor does it return at once to a size that would take too long.
    bench.controller.set(bench.now, Settings { transaction_max: Duration::from_millis(100), ..settings() });
    let pace = bench.controller.pace(0);
    assert!(found >= 4_000 && pace.records < found / 2, "{found} before, {pace:?}");
}

#[test]
fn who_shared_with_others_for_a_while_has_what_he_had_found_also_out_of_a_trial() {
    let mut bench = Bench::new(Settings { concurrency_max_together: 32, ..settings() });
    let others = |processes| Event::Signals(Signals { processes: Some(processes), ..Signals::default() });
    let home = (0..400).find_map(|_| {
        bench.run(1, Ending::Committed);
        let last = bench.decisions.iter().rfind(|decision| decision.knob == Knob::Concurrency)?;
        let begins = last.figures.first().is_some_and(|figure| figure.0 == "records_per_second");
        (last.reason == Reason::Trial && last.to > last.from && begins).then_some(last.from)
    });
    let home = home.expect("a trial of more");
    bench.tell(others(16));
    assert_eq!(bench.controller.pace(0).concurrency, 2);
    bench.tell(others(1));
    assert_eq!(bench.controller.pace(0).concurrency, home, "{:?}", bench.decisions);
}

#[test]
fn processes_divide_what_they_may_have_together_frozen_or_not() {
    for freeze in [false, true] {
        let all = Settings { concurrency_min: 6, concurrency_max_together: 16, freeze, ..settings() };
        let mut controller = Controller::new(all, Duration::ZERO);
        assert_eq!((controller.pace(0).concurrency, controller.limits()), (6, (6, 16)));
        let others = |processes| Event::Signals(Signals { processes: Some(processes), ..Signals::default() });
        let decisions = controller.on_event(Duration::from_secs(1), &others(4));
        assert!(decisions.iter().all(|decision| decision.reason == Reason::Limit), "{decisions:?}");
        assert_eq!((controller.pace(0).concurrency, controller.limits()), (4, (4, 4)));
        controller.on_event(Duration::from_secs(2), &others(100));
        assert_eq!((controller.pace(0).concurrency, controller.limits()), (1, (1, 1)), "each has one");
        controller.on_event(Duration::from_secs(3), &others(0));
        assert_eq!(controller.limits(), (6, 16));
    }
}

#[test]
fn transactions_that_take_too_long_get_smaller() {
    let mut bench = Bench::new(Settings { transaction_max: Duration::from_millis(100), ..settings() });
    bench.run(60, Ending::Committed);
    assert!(bench.controller.pace(0).records <= 1400, "{:?}", bench.controller.pace(0));
    assert!(bench.reasons().contains(&Reason::Cost));
}

#[test]
fn lanes_that_all_write_while_nobody_waits_are_the_partitions_limit() {
    let mut controller = Controller::new(Settings { concurrency_min: 8, ..settings() }, Duration::ZERO);
    for _ in 0..20 {
        let now = Duration::from_millis(5);
        let work = Bench::work(1000, true);
        controller.on_event(now, &Event::Begun(work));
        controller.on_event(now, &Event::Ended { began: now, work, ending: Ending::Committed });
    }
    controller.on_event(Duration::from_millis(6), &Event::Begun(Bench::work(1000, true)));
    assert_eq!(controller.limited(), Limited::Partitions);
}
