//! One connection as the server sees it: which side it waits for, and since when.
//!
//! Time counts against a client only while the client is waited for, and only progress resets it: a byte now and then
//! of a head, a body or an answer is none.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::config::Http;

/// Bytes that count as progress of a body or an answer: as much as a slow mobile network carries in a second or two.
const STEP_BYTES: usize = 16 << 10;
/// How long a query goes on once its client has shut its sending side: a client that half-closes still gets usual
/// answers, and one that is gone costs no more than this.
const GONE_GRACE: Duration = Duration::from_secs(1);
/// Maximum delay with which limits of seconds are checked.
const TICK_MAX: Duration = Duration::from_secs(5);
const TICK_MIN: Duration = Duration::from_millis(50);

/// An address that shares places: IPv6 hosts have at least a /64 each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Peer(pub(super) IpAddr);

impl Peer {
    pub(super) fn of(address: IpAddr) -> Self {
        Peer(match address.to_canonical() {
            IpAddr::V6(address) => IpAddr::V6((address.to_bits() >> 64 << 64).into()),
            address => address,
        })
    }
}

/// Why a connection was ended by this side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::http) enum End {
    /// The idlest, when places were short.
    Displaced,
    /// There was no place, and no connection that could make room.
    Refused,
    /// No complete head in time.
    Head,
    /// No next request in time.
    Idle,
    /// A body did not come in time, or what was left of it when the answer was sent.
    Body,
    /// The client did not read its answer.
    Answer,
}

impl End {
    pub(in crate::http) const ALL: [End; 6] =
        [End::Displaced, End::Refused, End::Head, End::Idle, End::Body, End::Answer];

    pub(in crate::http) fn as_str(self) -> &'static str {
        match self {
            End::Displaced => "displaced",
            End::Refused => "refused",
            End::Head => "head_timeout",
            End::Idle => "idle_timeout",
            End::Body => "body_timeout",
            End::Answer => "answer_timeout",
        }
    }
}

/// How long a client may be waited for.
#[derive(Clone, Copy, Debug)]
pub(in crate::http) struct Patience {
    head: Duration,
    idle: Duration,
    body: Duration,
    answer: Duration,
    discard: Duration,
    pub(super) discard_bytes_max: usize,
}

impl Patience {
    pub(in crate::http) fn of(http: &Http) -> Self {
        let seconds = Duration::from_secs;
        Patience {
            head: seconds(http.head_seconds_max),
            idle: seconds(http.idle_seconds_max),
            // The limit of the handler comes first, because the handler knows how much is missing.
            body: seconds(http.body_seconds_max) * 2,
            answer: seconds(http.answer_seconds_max),
            discard: seconds(http.body_pause_seconds_max),
            discard_bytes_max: http.discard_bytes_max,
        }
    }

    /// Interval between two checks of the limits.
    pub(super) fn tick(&self) -> Duration {
        let shortest = self.head.min(self.idle).min(self.answer).min(self.discard);
        (shortest / 4).clamp(TICK_MIN, TICK_MAX)
    }
}

/// State of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Between requests.
    Idle,
    /// In the head of a request.
    Head,
    /// In its body.
    Body,
    /// The server works.
    Busy,
    /// The answer is being written.
    Answer,
    /// Answered; what the client still sends is discarded, so that it reads the answer.
    Discard,
}

#[derive(Debug)]
struct Moment {
    phase: Phase,
    since: Instant,
    /// Bytes of a body since then.
    read_bytes: usize,
    /// Since when, if the client takes no bytes of an answer.
    stuck: Option<Instant>,
    /// Bytes of an answer since then.
    written_bytes: usize,
    /// When the client was seen to have shut its sending side; in the past when it is gone altogether.
    shut: Option<Instant>,
    /// Whether a part of a body was left unread.
    unread: bool,
    /// Whether a request was let in: by its token, where there are tokens.
    known: bool,
    /// Whether it has one of the places that are kept for probes.
    kept: bool,
}

/// A connection.
#[derive(Debug)]
pub(in crate::http) struct Visit {
    pub(super) peer: Peer,
    moment: Mutex<Moment>,
    news: Notify,
    /// Set when it has to make room.
    pub(super) leave: CancellationToken,
}

impl Visit {
    pub(super) fn new(peer: Peer, kept: bool) -> Arc<Self> {
        let moment = Moment {
            phase: Phase::Head,
            since: Instant::now(),
            read_bytes: 0,
            stuck: None,
            written_bytes: 0,
            shut: None,
            unread: false,
            known: false,
            kept,
        };
        Arc::new(Visit { peer, moment: Mutex::new(moment), news: Notify::new(), leave: CancellationToken::new() })
    }

    fn moment(&self) -> MutexGuard<'_, Moment> {
        self.moment.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes were received.
    pub(super) fn read(&self, bytes: usize) {
        let mut moment = self.moment();
        match moment.phase {
            Phase::Idle => moment.enter(Phase::Head),
            Phase::Body | Phase::Busy => {
                moment.read_bytes += bytes;
                if moment.read_bytes >= STEP_BYTES {
                    moment.since = Instant::now();
                    moment.read_bytes = 0;
                }
            }
            _ => {}
        }
    }

    /// A head is complete, so what came before it was read.
    pub(super) fn asked(&self) {
        let mut moment = self.moment();
        moment.unread = false;
        moment.enter(Phase::Busy);
    }

    /// The handler waits for more of the body, or has got it.
    pub(super) fn waits_for_body(&self, waits: bool) {
        let mut moment = self.moment();
        if matches!(moment.phase, Phase::Body | Phase::Busy) {
            moment.phase = if waits { Phase::Body } else { Phase::Busy };
        }
    }

    /// The rest of a body will not be read.
    pub(super) fn left_unread(&self) {
        self.moment().unread = true;
    }

    /// Whether a part of the last request's body was not read.
    pub(super) fn is_unread(&self) -> bool {
        self.moment().unread
    }

    /// Told when the server will not wait for what an answered client still sends.
    pub(super) fn stops(&self) {
        self.moment().unread = false;
    }

    /// The answer is ready.
    pub(super) fn answered(&self) {
        self.moment().enter(Phase::Answer);
    }

    /// The client took bytes of an answer.
    pub(super) fn wrote(&self, bytes: usize) {
        self.moment().written_bytes += bytes;
    }

    /// The client takes no more bytes for now.
    pub(super) fn stuck(&self) {
        let mut moment = self.moment();
        if moment.stuck.is_none() || moment.written_bytes >= STEP_BYTES {
            moment.stuck = Some(Instant::now());
            moment.written_bytes = 0;
        }
    }

    /// Everything was taken.
    pub(super) fn flushed(&self) {
        let mut moment = self.moment();
        moment.stuck = None;
        if moment.phase == Phase::Answer {
            moment.enter(Phase::Idle);
        }
    }

    /// Only bytes to discard come from now on; returns whether there may be any.
    pub(super) fn discards(&self) -> bool {
        let mut moment = self.moment();
        if moment.phase != Phase::Discard {
            moment.enter(Phase::Discard);
        }
        moment.unread && moment.shut.is_none()
    }

    /// Whether the server works, so that a leaving client would not be noticed otherwise.
    pub(super) fn is_busy(&self) -> bool {
        let moment = self.moment();
        moment.phase == Phase::Busy && moment.shut.is_none()
    }

    /// The client has shut its sending side, or reset the connection.
    pub(super) fn shut(&self, reset: bool) {
        let now = Instant::now();
        let mut moment = self.moment();
        if moment.shut.is_none() || reset {
            moment.shut = Some(if reset { now.checked_sub(GONE_GRACE).unwrap_or(now) } else { now });
        }
        drop(moment);
        self.news.notify_waiters();
    }

    /// Waits until the client is gone and reads no answer, as far as that can be known.
    pub(in crate::http) async fn gone(&self) {
        loop {
            let mut news = std::pin::pin!(self.news.notified());
            news.as_mut().enable();
            // Copied out, so that the lock is not held.
            let shut = self.moment().shut;
            match shut {
                Some(at) if at.elapsed() >= GONE_GRACE => return,
                Some(at) => tokio::time::sleep_until(at + GONE_GRACE).await,
                None => news.await,
            }
        }
    }

    /// A request was let in.
    pub(in crate::http) fn becomes_known(&self) {
        self.moment().known = true;
    }

    /// Whether it has a kept place.
    pub(super) fn is_kept(&self) -> bool {
        self.moment().kept
    }

    /// Moves from a kept place to a usual one.
    pub(super) fn is_placed(&self) {
        self.moment().kept = false;
    }

    /// Rank by which connections go when places are short, smallest first; `None` while the client is not waited for.
    pub(super) fn idleness(&self) -> Option<(bool, Instant)> {
        let moment = self.moment();
        let since = moment.stuck.or((moment.phase != Phase::Busy).then_some(moment.since))?;
        Some((moment.known, since))
    }

    /// Whether nothing is lost if it ends now, while the process stops: it has no request, or its answer no reader.
    pub(super) fn may_end(&self) -> bool {
        let moment = self.moment();
        let is_unread = moment.stuck.is_some_and(|since| since.elapsed() >= GONE_GRACE);
        is_unread || matches!(moment.phase, Phase::Idle | Phase::Head | Phase::Discard)
    }

    /// Why the connection has to be ended now, if it has.
    pub(super) fn overdue(&self, patience: &Patience) -> Option<End> {
        let moment = self.moment();
        if moment.stuck.is_some_and(|since| since.elapsed() >= patience.answer) {
            return Some(End::Answer);
        }
        let (limit, end) = match moment.phase {
            Phase::Idle => (patience.idle, End::Idle),
            Phase::Head => (patience.head, End::Head),
            Phase::Body => (patience.body, End::Body),
            Phase::Discard => (patience.discard, End::Body),
            Phase::Busy | Phase::Answer => return None,
        };
        (moment.since.elapsed() >= limit).then_some(end)
    }
}

impl Moment {
    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.since = Instant::now();
        self.read_bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn visit() -> Arc<Visit> {
        Visit::new(Peer::of(IpAddr::from([127, 0, 0, 1])), false)
    }

    fn patience() -> Patience {
        Patience::of(&Http { head_seconds_max: 2, idle_seconds_max: 5, answer_seconds_max: 3, ..Http::default() })
    }

    async fn pass(seconds: u64) {
        tokio::time::advance(Duration::from_secs(seconds)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_now_and_then_are_no_progress() {
        let visit = visit();
        let patience = patience();
        for _ in 0..2 {
            assert_eq!(visit.overdue(&patience), None);
            visit.read(1);
            pass(1).await;
        }
        assert_eq!(visit.overdue(&patience), Some(End::Head));

        visit.asked();
        visit.answered();
        visit.stuck();
        for _ in 0..4 {
            pass(1).await;
            visit.wrote(1);
            visit.stuck();
        }
        assert_eq!(visit.overdue(&patience), Some(End::Answer));
        visit.wrote(STEP_BYTES);
        visit.stuck();
        assert_eq!(visit.overdue(&patience), None);
        visit.flushed();
        pass(4).await;
        assert_eq!(visit.overdue(&patience), None);
        pass(1).await;
        assert_eq!(visit.overdue(&patience), Some(End::Idle));
        // The next request has begun in time.
        visit.flushed();
        visit.asked();
        pass(100).await;
        assert_eq!((visit.overdue(&patience), visit.idleness()), (None, None), "this side works");
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_half_closes_has_a_moment_and_one_that_resets_has_none() {
        let visit = visit();
        visit.asked();
        visit.shut(false);
        let began = Instant::now();
        visit.gone().await;
        assert_eq!(began.elapsed(), GONE_GRACE);
        let reset = super::tests::visit();
        reset.shut(true);
        let began = Instant::now();
        reset.gone().await;
        assert_eq!(began.elapsed(), Duration::ZERO);
    }

    #[test]
    fn hosts_share_places_by_the_network_they_own() {
        let peer = |text: &str| Peer::of(text.parse().unwrap());
        assert_eq!(peer("2001:db8:1:2::1"), peer("2001:db8:1:2:ffff::9"));
        assert_ne!(peer("2001:db8:1:2::1"), peer("2001:db8:1:3::1"));
        assert_eq!(peer("::ffff:192.0.2.1"), peer("192.0.2.1"));
        assert_ne!(peer("127.0.0.1"), peer("127.0.0.2"));
    }
}
