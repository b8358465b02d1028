//! Whether a request is sent again, to another task: a pure decision, and the budget that bounds it.
//!
//! What was not sent may always be sent again. What was sent may have been done: it is sent again only where doing it
//! twice is the same as doing it once, or where the route says so, and only while the service's budget lasts, so that
//! tasks that are slow do not get more requests for it.

use hyper::Method;
use tokio::time::Instant;

/// How an attempt ended that may be followed by another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// No byte of the request was sent.
    Unsent,
    /// Bytes may have been sent, and no head came.
    Sent,
    /// The task answered 502, 503 or 504.
    Unavailable {
        /// It said when to ask again: it wants fewer requests, not others.
        has_retry_after: bool,
    },
    /// In a way that no other attempt may follow.
    Final,
}

/// What the request and its route allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Terms {
    /// Sending it twice is allowed.
    pub(crate) is_repeatable: bool,
    /// The route has responses of tasks tried again.
    pub(crate) responses: bool,
    /// Attempts in all.
    pub(crate) attempts_max: usize,
}

/// What follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The attempt's result is the request's.
    Over,
    /// Another attempt.
    Again,
    /// Another attempt if the budget allows it.
    AgainIfPaid,
}

/// Decides what follows an attempt. `is_whole` says that the body can be sent from its beginning.
pub(crate) fn decide(terms: Terms, attempts: usize, ended: Ended, is_whole: bool) -> Verdict {
    if attempts >= terms.attempts_max || !is_whole {
        return Verdict::Over;
    }
    match ended {
        Ended::Unsent => Verdict::Again,
        Ended::Sent if terms.is_repeatable => Verdict::AgainIfPaid,
        Ended::Unavailable { has_retry_after: false } if terms.is_repeatable && terms.responses => Verdict::AgainIfPaid,
        Ended::Sent | Ended::Unavailable { .. } | Ended::Final => Verdict::Over,
    }
}

/// Whether a request may be sent twice: by its method; because its revision allows any; because it has a key by which
/// its task knows it again, and the route allows that.
pub(crate) fn is_repeatable(method: &Method, replay_any: bool, replay_keyed: bool, has_key: bool) -> bool {
    let by_method = [Method::GET, Method::HEAD, Method::OPTIONS, Method::PUT, Method::DELETE].contains(method);
    by_method || replay_any || (replay_keyed && has_key)
}

/// Retries that a service may cost: 20 % of its requests of the last ten seconds, and at least ten a second.
#[derive(Debug)]
pub(crate) struct Budget {
    begun: Instant,
    slots: [Slot; SLOTS],
}

#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    second: u64,
    requests: u64,
    retries: u64,
}

const SLOTS: usize = 10;
/// One retry for so many requests.
const REQUESTS_PER_RETRY: u64 = 5;
/// Always allowed, so that a service with few requests has any.
const PER_SECOND_MIN: u64 = 10;

impl Budget {
    pub(crate) fn new(now: Instant) -> Self {
        Self { begun: now, slots: [Slot::default(); SLOTS] }
    }

    /// Counts a request.
    pub(crate) fn request(&mut self, now: Instant) {
        self.slot(now).requests += 1;
    }

    /// Takes a retry; false if there is none left.
    pub(crate) fn retry(&mut self, now: Instant) -> bool {
        let oldest = self.second(now).saturating_sub(SLOTS as u64 - 1);
        let recent = self.slots.iter().filter(|slot| slot.second >= oldest);
        let (requests, retries) = recent.fold((0, 0), |sum, slot| (sum.0 + slot.requests, sum.1 + slot.retries));
        let slot = self.slot(now);
        let is_left = retries < requests / REQUESTS_PER_RETRY || slot.retries < PER_SECOND_MIN;
        slot.retries += u64::from(is_left);
        is_left
    }

    /// Whether nothing was counted for ten seconds.
    pub(crate) fn is_idle(&self, now: Instant) -> bool {
        let newest = self.slots.iter().map(|slot| slot.second).max().unwrap_or(0);
        self.second(now) > newest + SLOTS as u64
    }

    fn second(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.begun).as_secs()
    }

    fn slot(&mut self, now: Instant) -> &mut Slot {
        let second = self.second(now);
        let slot = &mut self.slots[(second % SLOTS as u64) as usize];
        if slot.second != second {
            *slot = Slot { second, ..Slot::default() };
        }
        slot
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const TERMS: Terms = Terms { is_repeatable: true, responses: true, attempts_max: 3 };
    const ONCE: Terms = Terms { is_repeatable: false, ..TERMS };
    const UNAVAILABLE: Ended = Ended::Unavailable { has_retry_after: false };

    #[test]
    fn what_was_not_sent_is_sent_again_whatever_it_is() {
        assert_eq!(decide(ONCE, 1, Ended::Unsent, true), Verdict::Again);
        assert_eq!(decide(TERMS, 2, Ended::Unsent, true), Verdict::Again);
        assert_eq!(decide(ONCE, 1, Ended::Unsent, false), Verdict::Over, "its body is lost");
    }

    #[test]
    fn what_was_sent_is_sent_again_only_where_twice_is_allowed() {
        assert_eq!(decide(TERMS, 1, Ended::Sent, true), Verdict::AgainIfPaid);
        assert_eq!(decide(TERMS, 1, Ended::Sent, false), Verdict::Over);
        assert_eq!(decide(ONCE, 1, Ended::Sent, true), Verdict::Over);
    }

    #[test]
    fn a_response_is_tried_again_only_where_the_route_says_so_and_the_task_did_not_ask_to_wait() {
        assert_eq!(decide(TERMS, 1, UNAVAILABLE, true), Verdict::AgainIfPaid);
        assert_eq!(decide(TERMS, 1, Ended::Unavailable { has_retry_after: true }, true), Verdict::Over);
        assert_eq!(decide(Terms { responses: false, ..TERMS }, 1, UNAVAILABLE, true), Verdict::Over);
        assert_eq!(decide(ONCE, 1, UNAVAILABLE, true), Verdict::Over);
        assert_eq!(decide(TERMS, 1, UNAVAILABLE, false), Verdict::Over);
    }

    #[test]
    fn there_are_no_more_attempts_than_the_limit() {
        for ended in [Ended::Unsent, Ended::Sent, UNAVAILABLE] {
            assert_eq!(decide(TERMS, 3, ended, true), Verdict::Over);
        }
        assert_eq!(decide(TERMS, 1, Ended::Final, true), Verdict::Over);
    }

    #[test]
    fn post_and_patch_are_repeatable_only_by_the_revision_or_by_a_key_on_a_route_that_says_so() {
        for method in [Method::GET, Method::HEAD, Method::OPTIONS, Method::PUT, Method::DELETE] {
            assert!(is_repeatable(&method, false, false, false), "{method}");
        }
        for method in [Method::POST, Method::PATCH, Method::TRACE] {
            assert!(!is_repeatable(&method, false, false, true), "{method}");
            assert!(!is_repeatable(&method, false, true, false), "{method}");
            assert!(is_repeatable(&method, false, true, true), "{method}");
            assert!(is_repeatable(&method, true, false, false), "{method}");
        }
    }

    #[test]
    fn the_budget_is_a_fifth_of_the_requests_of_ten_seconds() {
        let start = Instant::now();
        let mut budget = Budget::new(start);
        (0..1_000).for_each(|_| budget.request(start));
        let now = start + Duration::from_secs(5);
        assert_eq!((0..500).filter(|_| budget.retry(now)).count(), 200);
        let later = start + Duration::from_secs(10);
        assert_eq!((0..500).filter(|_| budget.retry(later)).count(), 10, "the requests are forgotten");
    }

    #[test]
    fn ten_retries_a_second_are_always_left() {
        let start = Instant::now();
        let mut budget = Budget::new(start);
        for second in 0..30 {
            let now = start + Duration::from_secs(second);
            assert_eq!((0..50).filter(|_| budget.retry(now)).count(), 10, "second {second}");
        }
        assert!(!budget.is_idle(start + Duration::from_secs(39)));
        assert!(budget.is_idle(start + Duration::from_secs(41)));
    }
}
