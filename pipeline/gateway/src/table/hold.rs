//! Which generation of an alias this gateway serves (R32 to R34): make before break, in its own view.
//!
//! The newest generation is taken once each target with weight has its `min_ready` routable tasks. Until then the
//! gateway serves what it served. It also takes it when what it serves has no routable task and the newest has any, and
//! after `hold_max` where the alias says `force`. Generations between are skipped. It goes back only when the whole
//! table was loaded anew, and then at once.
//!
//! Where the rules leave a choice:
//! - After a start the former generation is served if it is ready, or as long as a task of it has not been tried: after
//!   a start from disk every task is on probation, and the first trial that ends must not decide.
//! - An alias that means every live revision is ready when one of them is.
//! - `min_ready` of 0 waits for nothing. A target without a live deploy is never ready.
//! - The time of a hold begins anew with each newer generation, because each has its own `hold_max`.

use std::sync::Arc;
use std::time::Duration;

use millstream_schemas::tasks::Alias;
use tokio::time::Instant;

/// The targets of a generation, as this gateway sees them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sight {
    /// Each target with weight has its `min_ready`.
    pub(super) is_ready: bool,
    /// Routable tasks of all of them.
    pub(super) routable: usize,
    /// Tasks on probation that were not tried yet.
    pub(super) untried: usize,
}

/// An alias at this gateway.
#[derive(Debug, Clone, Default)]
pub(super) struct Hold {
    /// What it serves.
    pub(super) served: Option<Arc<Alias>>,
    /// What it may have served before it was started.
    pub(super) former: Option<Arc<Alias>>,
    /// The generation that waits, and since when.
    pub(super) waiting: Option<(i64, Instant)>,
}

impl Hold {
    /// Decides again. `may_go_back` after the whole table was loaded.
    pub(super) fn step(
        &mut self,
        newest: &Arc<Alias>,
        may_go_back: bool,
        now: Instant,
        hold_max: Option<Duration>,
        see: &dyn Fn(&Alias) -> Sight,
    ) {
        if self.served.is_none() {
            self.served = self.former.take().filter(|former| serves_after_start(former, newest, see));
        }
        let served = self.served.as_ref().map(|served| served.generation);
        let takes = match served {
            Some(generation) if generation == newest.generation => true,
            Some(generation) if generation > newest.generation => {
                if !may_go_back {
                    self.waiting = None;
                    return;
                }
                true
            }
            _ => self.is_time(newest, now, hold_max, see),
        };
        if takes {
            self.served = Some(Arc::clone(newest));
            self.waiting = None;
        } else if self.waiting.is_none_or(|(generation, _)| generation != newest.generation) {
            self.waiting = Some((newest.generation, now));
        }
    }

    /// Whether a newer generation is taken.
    fn is_time(&self, newest: &Alias, now: Instant, hold_max: Option<Duration>, see: &dyn Fn(&Alias) -> Sight) -> bool {
        let new = see(newest);
        let old = self.served.as_ref().map(|served| see(served)).unwrap_or_default();
        let is_gone = old.routable == 0 && old.untried == 0;
        new.is_ready || is_gone && new.routable > 0 || newest.force && self.has_waited(newest, now, hold_max)
    }

    fn has_waited(&self, newest: &Alias, now: Instant, hold_max: Option<Duration>) -> bool {
        let own = newest.hold_max_ms.map(|most| Duration::from_millis(u64::try_from(most).unwrap_or(0)));
        let Some(most) = own.or(hold_max) else { return false };
        let since =
            self.waiting.filter(|(generation, _)| *generation == newest.generation).map_or(now, |(_, since)| since);
        now.saturating_duration_since(since) >= most
    }
}

fn serves_after_start(former: &Alias, newest: &Alias, see: &dyn Fn(&Alias) -> Sight) -> bool {
    if former.generation >= newest.generation {
        // It served this one before, so there is nothing to wait for. A greater one was of a database that went back.
        return former.generation == newest.generation;
    }
    let sight = see(former);
    sight.is_ready || sight.untried > 0
}

#[cfg(test)]
mod tests {
    use super::*;

    const READY: Sight = Sight { is_ready: true, routable: 2, untried: 0 };
    const SOME: Sight = Sight { is_ready: false, routable: 1, untried: 0 };
    const NONE: Sight = Sight { is_ready: false, routable: 0, untried: 0 };
    const UNTRIED: Sight = Sight { is_ready: false, routable: 0, untried: 1 };

    fn generation(generation: i64) -> Arc<Alias> {
        Arc::new(Alias { generation, ..Alias::default() })
    }

    fn forced(generation: i64, hold_max_ms: Option<i64>) -> Arc<Alias> {
        Arc::new(Alias { generation, force: true, hold_max_ms, ..Alias::default() })
    }

    fn serving(generation: i64) -> Hold {
        Hold { served: Some(self::generation(generation)), ..Hold::default() }
    }

    /// Decides, where the generations look like this from 1 on; gives what is served and what waits.
    fn step(hold: &mut Hold, newest: &Arc<Alias>, sights: &[Sight], now: Instant) -> (Option<i64>, Option<i64>) {
        step_loaded(hold, newest, sights, now, false)
    }

    fn step_loaded(
        hold: &mut Hold,
        newest: &Arc<Alias>,
        sights: &[Sight],
        now: Instant,
        is_load: bool,
    ) -> (Option<i64>, Option<i64>) {
        let see = |alias: &Alias| sights[usize::try_from(alias.generation - 1).unwrap()];
        hold.step(newest, is_load, now, None, &see);
        let served = hold.served.as_ref().map(|served| served.generation);
        (served, hold.waiting.map(|(generation, _)| generation))
    }

    #[test]
    fn the_former_generation_serves_until_the_new_one_is_ready() {
        let now = Instant::now();
        let mut hold = serving(1);
        let new = generation(2);
        for sight in [NONE, SOME, UNTRIED] {
            assert_eq!(step(&mut hold, &new, &[SOME, sight], now), (Some(1), Some(2)));
        }
        assert_eq!(step(&mut hold, &new, &[SOME, READY], now), (Some(2), None));
        assert_eq!(step(&mut hold, &new, &[READY, NONE], now), (Some(2), None), "what is served is not given back");
    }

    #[test]
    fn a_hold_ends_when_what_it_holds_on_to_is_gone_and_the_new_one_has_any() {
        let now = Instant::now();
        let mut hold = serving(1);
        let new = generation(2);
        assert_eq!(step(&mut hold, &new, &[NONE, NONE], now), (Some(1), Some(2)));
        assert_eq!(step(&mut hold, &new, &[SOME, SOME], now), (Some(1), Some(2)));
        assert_eq!(step(&mut hold, &new, &[UNTRIED, SOME], now), (Some(1), Some(2)), "it may not be gone");
        assert_eq!(step(&mut hold, &new, &[NONE, SOME], now), (Some(2), None));
    }

    #[test]
    fn generations_between_are_skipped_and_their_holds_forgotten() {
        let now = Instant::now();
        let mut hold = serving(1);
        assert_eq!(step(&mut hold, &generation(2), &[READY, SOME, NONE], now), (Some(1), Some(2)));
        assert_eq!(step(&mut hold, &generation(3), &[READY, READY, NONE], now), (Some(1), Some(3)));
        assert_eq!(step(&mut hold, &generation(3), &[READY, READY, READY], now), (Some(3), None));
    }

    #[test]
    fn it_goes_back_only_with_a_load_and_then_at_once() {
        let now = Instant::now();
        let mut hold = serving(3);
        let sights = [NONE, NONE, READY];
        assert_eq!(step(&mut hold, &generation(2), &sights, now), (Some(3), None));
        assert_eq!(step_loaded(&mut hold, &generation(2), &sights, now, true), (Some(2), None));
        let mut held = serving(1);
        assert_eq!(
            step_loaded(&mut held, &generation(2), &[READY, SOME], now, true),
            (Some(1), Some(2)),
            "a load forward"
        );
    }

    #[test]
    fn force_ends_a_hold_after_its_time_and_stay_never() {
        let start = Instant::now();
        let millis = |millis: u64| start + Duration::from_millis(millis);
        for (new, ends) in [(forced(2, Some(500)), true), (generation(2), false), (forced(2, None), false)] {
            let mut hold = serving(1);
            step(&mut hold, &new, &[READY, NONE, NONE], start);
            assert_eq!(step(&mut hold, &new, &[READY, NONE, NONE], millis(499)).0, Some(1));
            let served = step(&mut hold, &new, &[READY, NONE, NONE], millis(500)).0;
            assert_eq!(served, Some(if ends { 2 } else { 1 }), "{new:?}");
        }
        let mut hold = serving(1);
        step(&mut hold, &forced(2, Some(500)), &[READY, NONE, NONE], start);
        let newer = forced(3, Some(500));
        step(&mut hold, &newer, &[READY, NONE, NONE], millis(400));
        assert_eq!(step(&mut hold, &newer, &[READY, NONE, NONE], millis(800)).0, Some(1), "its own time");
        assert_eq!(step(&mut hold, &newer, &[READY, NONE, NONE], millis(900)).0, Some(3));
    }

    #[test]
    fn a_general_time_counts_where_the_alias_names_none() {
        let now = Instant::now();
        let mut hold = serving(1);
        let see = |alias: &Alias| if alias.generation == 1 { READY } else { NONE };
        for (wait, serves) in [(0, 1), (1, 1), (2, 2)] {
            hold.step(&forced(2, None), false, now + Duration::from_secs(wait), Some(Duration::from_secs(2)), &see);
            assert_eq!(hold.served.as_ref().unwrap().generation, serves);
        }
    }

    #[test]
    fn a_new_alias_is_served_with_its_first_routable_task() {
        let now = Instant::now();
        let mut hold = Hold::default();
        assert_eq!(step(&mut hold, &generation(1), &[NONE], now), (None, Some(1)));
        assert_eq!(step(&mut hold, &generation(1), &[SOME], now), (Some(1), None));
    }

    #[test]
    fn after_a_start_the_generation_before_serves_if_it_is_ready() {
        let now = Instant::now();
        let started = |former: i64, sights: [Sight; 2]| {
            let mut hold = Hold { former: Some(generation(former)), ..Hold::default() };
            step_loaded(&mut hold, &generation(2), &sights, now, true)
        };
        assert_eq!(started(1, [READY, SOME]), (Some(1), Some(2)));
        assert_eq!(started(1, [READY, READY]), (Some(2), None));
        assert_eq!(started(1, [SOME, SOME]), (Some(2), None), "it is not ready");
        assert_eq!(started(1, [UNTRIED, SOME]), (Some(1), Some(2)), "its tasks are not tried yet");
        assert_eq!(started(2, [READY, NONE]), (Some(2), None), "it was applied before the start");
        assert_eq!(started(3, [READY, NONE]), (None, Some(2)), "of a database that went back");
    }
}
