//! The ceiling: what signals do to it, and how it rises again.

use super::super::ceiling::Ceiling;
use super::*;

#[test]
fn what_is_missing_moves_nothing() {
    let mut ceiling = Ceiling::new();
    for second in 0..1000 {
        assert!(!ceiling.heed(f64::from(second), &Signals::default(), 8));
        let half = Signals { sessions_running: Some(500.0), ..Signals::default() };
        assert!(!ceiling.heed(f64::from(second), &half, 8), "how many processors is not known");
    }
    assert_eq!(ceiling.within(64), 64);
}

#[test]
fn it_begins_at_what_may_run_and_doubles_while_less_than_half_of_that_does() {
    let mut ceiling = Ceiling::new();
    let running = |sessions| Signals { sessions_running: Some(sessions), processors: Some(4.0), ..Signals::default() };
    assert!(ceiling.heed(0.0, &running(2.0), 2), "nothing is known of it yet");
    assert_eq!(ceiling.within(64), 9);
    for second in 1..10 {
        ceiling.heed(f64::from(second), &running(7.0), 8);
        assert!(!ceiling.relax(f64::from(second), 64), "most of that is in use");
    }
    let mut raised = Vec::new();
    for second in 10..40 {
        ceiling.heed(f64::from(second), &running(1.0), 8);
        if ceiling.relax(f64::from(second), 64) {
            raised.push(ceiling.within(64));
        }
    }
    assert_eq!(raised, [18, 36, 64], "transactions wait for something else, and the last step is all that is allowed");
}

#[test]
fn it_doubles_while_processors_are_not_full_and_no_more_once_they_are() {
    let mut ceiling = Ceiling::new();
    // Two on one processor: one of them runs nearly always, but now and then none does.
    let used = |used| Signals {
        sessions_running: Some(1.4),
        sessions_of_others: Some(0.0),
        processors: Some(1.0),
        processors_used: Some(used),
        ..Signals::default()
    };
    ceiling.heed(0.0, &used(0.85), 2);
    assert_eq!(ceiling.within(64), 3, "two for the processor, and one");
    let mut raised = Vec::new();
    for second in 1..30 {
        let now = if ceiling.within(64) == 3 { 0.85 } else { 0.96 };
        ceiling.heed(f64::from(second), &used(now), 2);
        if ceiling.relax(f64::from(second), 64) {
            raised.push((second, ceiling.within(64)));
        }
    }
    assert!(matches!(raised[..], [(3..8, 6)]), "{raised:?}");
}

#[test]
fn the_floor_is_what_sessions_of_ours_keep_busy_and_nothing_where_that_is_not_known() {
    let floor = |running: f64, ours: Option<f64>, others: f64| {
        let mut ceiling = Ceiling::new();
        let signals = Signals {
            sessions_running: Some(running),
            sessions_of_others: Some(others),
            processors: Some(4.0),
            processors_used: Some(1.0),
            processors_ours: ours,
            ..Signals::default()
        };
        (0..30).for_each(|second| {
            ceiling.heed(f64::from(second), &signals, 8);
        });
        let floor = ceiling.floor(1);
        assert_eq!(ceiling.floor(2), floor.div_ceil(2), "of two processes each keeps half of them busy");
        ceiling.heed(30.0, &Signals { processors_ours: None, ..signals }, 8);
        assert_eq!(ceiling.floor(1), 1, "it says no more");
        floor
    };
    assert_eq!(floor(4.0, Some(1.0), 0.0), 4);
    assert_eq!(floor(3.0, Some(1.0), 0.0), 3, "the rest is this process");
    assert_eq!(floor(9.0, Some(0.6), 0.0), 3, "they wait for processors that somebody else has");
    assert_eq!(floor(4.0, Some(1.0), 0.8), 3);
    assert_eq!(floor(4.0, None, 0.0), 1);
}

#[test]
fn too_many_running_lower_it_once_in_ten_seconds_and_it_rises_again() {
    let mut ceiling = Ceiling::new();
    let many = Signals { sessions_running: Some(20.0), processors: Some(4.0), ..Signals::default() };
    assert!(ceiling.heed(0.0, &many, 20), "to begin with");
    let fell = (1..25).filter(|second| ceiling.heed(f64::from(*second), &many, 20)).collect::<Vec<_>>();
    assert_eq!(fell, [7, 17], "not at the first word, and not at each");
    assert_eq!(ceiling.within(64), 4, "by a tenth, then by as much as there is too much");
    let few = Signals { sessions_running: Some(7.0), ..many };
    for second in 25..6000 {
        ceiling.heed(f64::from(second), &few, 16);
        ceiling.relax(f64::from(second), 20);
    }
    assert_eq!(ceiling.within(64), 64);
}

#[test]
fn beside_others_half_as_many_are_enough_and_again_all_when_they_have_left() {
    let mut ceiling = Ceiling::new();
    let running = |own, others| Signals {
        sessions_running: Some(own + others),
        sessions_of_others: Some(others),
        processors: Some(2.0),
        ..Signals::default()
    };
    ceiling.heed(0.0, &running(3.0, 0.0), 4);
    for second in 1..20 {
        assert!(!ceiling.heed(f64::from(second), &running(3.0, 0.0), 4), "three of four that are enough");
    }
    let fell = (20..60).filter(|second| {
        let own = ceiling.within(4);
        ceiling.heed(f64::from(*second), &running(own as f64, 2.0), own)
    });
    let fell: Vec<i32> = fell.collect();
    assert!(matches!(fell[..], [20..25, ..]) && fell.len() <= 2, "{fell:?}");
    assert_eq!(ceiling.within(4), 1, "two of others on two processors are enough");
    let rose = (60..120).find(|second| {
        ceiling.heed(f64::from(*second), &running(1.0, 0.0), 1);
        ceiling.relax(f64::from(*second), 4) && ceiling.within(4) >= 4
    });
    assert!(rose.is_some_and(|second| second < 80), "{rose:?}");
}

#[test]
fn others_keep_it_low_while_they_wait_for_their_clients_and_take_nothing_where_there_is_room() {
    let signals = |running, others| Signals {
        sessions_running: Some(running),
        sessions_of_others: Some(others),
        processors: Some(4.0),
        ..Signals::default()
    };
    let mut ceiling = Ceiling::new();
    ceiling.heed(0.0, &signals(3.0, 8.0), 3);
    for second in 1..600 {
        assert!(!ceiling.heed(f64::from(second), &signals(3.5, 8.0), 3), "half a processor is idle");
    }
    assert_eq!(ceiling.within(8), 8);
    assert!((600..610).any(|second| ceiling.heed(f64::from(second), &signals(6.0, 8.0), 4)));
    assert_eq!(ceiling.within(8), 3, "of four as many as there are too many");
    for second in 610..630 {
        ceiling.heed(f64::from(second), &signals(1.0, 8.0), 3);
        assert!(!ceiling.relax(f64::from(second), 8), "they are there, though seldom seen at work");
    }
    let rose = (630..700).find(|second| {
        ceiling.heed(f64::from(*second), &signals(1.0, 0.0), 3);
        ceiling.relax(f64::from(*second), 8)
    });
    assert!(rose.is_some_and(|second| second < 645), "{rose:?}");
}

/// Other programs have clients on the database's machine: its sessions hardly ever wait, their clients do.
fn on_a_shared_machine(others: f64, used: f64, ours: f64) -> Signals {
    Signals {
        sessions_running: Some(1.0),
        sessions_of_others: Some(others),
        processors: Some(2.0),
        processors_used: Some(used),
        processors_ours: Some(ours),
        ..Signals::default()
    }
}

#[test]
fn on_a_full_machine_one_at_a_time_rests_beside_others_until_they_have_left() {
    let mut ceiling = Ceiling::new();
    let mut seconds = (0..).map(f64::from);
    let mut look = |ceiling: &mut Ceiling, signals: &Signals, own: usize| {
        let now = seconds.next().unwrap();
        let fell = ceiling.heed(now, signals, own);
        (now, fell, ceiling.relax(now, 8))
    };
    look(&mut ceiling, &on_a_shared_machine(0.0, 1.0, 1.0), 4);
    for _ in 0..20 {
        assert!(!look(&mut ceiling, &on_a_shared_machine(0.0, 1.0, 1.0), 4).1, "nobody else is there");
    }
    let mut steps = Vec::new();
    for _ in 0..20 {
        let own = ceiling.within(4);
        if look(&mut ceiling, &on_a_shared_machine(6.0, 1.0, 0.5), own).1 {
            steps.push((ceiling.within(4), ceiling.rests()));
        }
    }
    assert_eq!(steps, [(2, false), (1, false), (1, true)], "half each time, and then half of one");
    let rose = (0..60).find(|_| {
        look(&mut ceiling, &on_a_shared_machine(0.0, 0.9, 0.5), 1);
        !ceiling.rests() && ceiling.within(4) >= 2
    });
    assert!(rose.is_some_and(|looks| looks < 20), "{rose:?}");
}

#[test]
fn what_many_used_is_not_held_against_one() {
    let mut ceiling = Ceiling::new();
    ceiling.heed(0.0, &on_a_shared_machine(0.0, 1.0, 1.0), 8);
    for second in 1..60 {
        let own = ceiling.within(4);
        let ours = if own == 1 { 0.2 } else { 1.0 };
        ceiling.heed(f64::from(second), &on_a_shared_machine(8.0, 1.0, ours), own);
    }
    assert_eq!((ceiling.within(4), ceiling.rests()), (1, false));
}

#[test]
fn one_rests_neither_on_an_idle_machine_nor_where_it_has_little() {
    for (used, ours) in [(0.6, 0.5), (1.0, 0.2)] {
        let mut ceiling = Ceiling::new();
        ceiling.heed(0.0, &on_a_shared_machine(0.0, 0.6, 0.5), 1);
        for second in 1..60 {
            ceiling.heed(f64::from(second), &on_a_shared_machine(8.0, used, ours), 1);
            assert!(!ceiling.rests(), "{used} {ours}");
        }
    }
}

#[test]
fn one_on_each_processor_is_soon_two_again() {
    let mut ceiling = Ceiling::new();
    let running = |sessions| Signals { sessions_running: Some(sessions), processors: Some(1.0), ..Signals::default() };
    ceiling.heed(0.0, &running(1.0), 2);
    assert!((1..20).any(|second| ceiling.heed(f64::from(second), &running(6.0), 2)));
    assert_eq!(ceiling.within(8), 1);
    let mut raised = Vec::new();
    for second in 20..60 {
        ceiling.heed(f64::from(second), &running(ceiling.within(8) as f64), ceiling.within(8));
        if ceiling.relax(f64::from(second), 8) {
            raised.push((second, ceiling.within(8)));
        }
    }
    assert!(matches!(raised[..], [(20..30, 2), ..]), "{raised:?}");
    assert!(raised.len() < 3, "and no more than that while two are in use: {raised:?}");
}

#[test]
fn processes_divide_the_first_ceiling() {
    let first = |processes| {
        let mut ceiling = Ceiling::new();
        let signals = Signals {
            sessions_running: Some(1.0),
            processors: Some(4.0),
            processes: Some(processes),
            ..Signals::default()
        };
        ceiling.heed(0.0, &signals, 2);
        ceiling.within(64)
    };
    assert_eq!([1, 3, 8, 100].map(first), [9, 3, 1, 1], "two for each processor, and one, of all together");
}

#[test]
fn idle_processors_raise_nothing_while_a_replica_is_behind() {
    let mut ceiling = Ceiling::new();
    let signals = |lag| Signals {
        sessions_running: Some(1.0),
        processors: Some(4.0),
        processors_used: Some(0.5),
        replica_lag: Some(Duration::from_secs(lag)),
        ..Signals::default()
    };
    for second in 0..30u32 {
        ceiling.heed(f64::from(second), &signals(20 + u64::from(second)), 9);
        assert!(!ceiling.relax(f64::from(second), 64), "it does not follow");
    }
    assert!(ceiling.within(64) < 9);
    let rose = (30..40).find(|second| {
        ceiling.heed(f64::from(*second), &signals(1), 8);
        ceiling.relax(f64::from(*second), 64)
    });
    assert!(rose.is_some(), "once it does, idle processors count");
}

#[test]
fn a_replica_must_fall_further_behind() {
    let mut ceiling = Ceiling::new();
    let lag = |seconds| Signals { replica_lag: Some(Duration::from_secs(seconds)), ..Signals::default() };
    assert!(!ceiling.heed(0.0, &lag(5), 10));
    assert!(ceiling.heed(1.0, &lag(30), 10));
    assert!(!ceiling.heed(20.0, &lag(30), 9));
    assert!(!ceiling.heed(40.0, &lag(20), 9));
}

#[test]
fn what_signals_lowered_ends_some_minutes_after_them() {
    let mut ceiling = Ceiling::new();
    let many = Signals { processors_used: Some(1.0), ..Signals::default() };
    assert!((0..60).any(|second| ceiling.heed(f64::from(second), &many, 20)));
    assert!(!ceiling.relax(200.0, 64), "nothing says that it may rise");
    assert!(ceiling.relax(361.0, 64));
    assert_eq!(ceiling.within(64), 64);
}
