//! Places for connections: a bounded number, of which no peer can take all.
//!
//! When places are short, the peer with the most connections gives up the idlest of them, those that never showed a
//! token first. If no connection can make room, a newcomer gets one of a few places that are kept for health probes.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::visit::{End, Peer, Visit};
use crate::config::Http;

/// Maximum number of connections that were told to leave and still have a file descriptor. Beyond it newcomers wait.
const LEAVING_MAX: usize = 64;
/// Interval between two log lines about places that are short.
const LOG_EVERY: Duration = Duration::from_secs(60);

/// All places.
#[derive(Debug)]
pub(in crate::http) struct Places {
    connections_max: usize,
    per_peer_max: usize,
    kept_max: usize,
    table: Mutex<Table>,
    /// Notified when a connection has ended.
    left: Notify,
    ended: [AtomicU64; End::ALL.len()],
}

#[derive(Debug, Default)]
struct Table {
    next: u64,
    open: HashMap<u64, Arc<Visit>>,
    /// Connections of each peer that have a usual place.
    peers: HashMap<Peer, usize>,
    placed: usize,
    kept: usize,
    leaving: usize,
    logged: Option<Instant>,
    /// Connections ended to make room, since the last line of the log.
    displaced: u64,
    refused: u64,
}

/// A connection that has a place; gives it back when it is dropped.
#[derive(Debug)]
pub(super) struct Guest {
    places: Arc<Places>,
    number: u64,
    pub(super) visit: Arc<Visit>,
}

impl Places {
    pub(in crate::http) fn new(http: &Http) -> Arc<Self> {
        Arc::new(Places {
            connections_max: http.connections_max,
            per_peer_max: http.connections_per_peer_max.min(http.connections_max),
            kept_max: http.connections_kept,
            table: Mutex::default(),
            left: Notify::new(),
            ended: Default::default(),
        })
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives a place, if need be that of another connection. `None` if there is none, not even a kept one.
    pub(super) fn admit(self: &Arc<Self>, peer: Peer) -> Option<Guest> {
        let mut table = self.table();
        let own = table.peers.get(&peer).copied().unwrap_or_default();
        let is_short = table.placed >= self.connections_max || own >= self.per_peer_max;
        // A peer at its maximum makes room with a connection of its own.
        let makes_room = |other: Peer, count: usize| {
            if own >= self.per_peer_max { other == peer } else { count > own || other == peer }
        };
        let has_room = !is_short || table.displace(&makes_room);
        let kept = !has_room;
        if kept && table.kept >= self.kept_max && !table.displace_kept() {
            table.refused += 1;
            self.count(End::Refused);
            table.log(self.connections_max);
            return None;
        }
        if is_short {
            table.log(self.connections_max);
        }
        let visit = Visit::new(peer, kept);
        if kept {
            table.kept += 1;
        } else {
            table.placed += 1;
            *table.peers.entry(peer).or_default() += 1;
        }
        let number = table.next;
        table.next += 1;
        table.open.insert(number, Arc::clone(&visit));
        Some(Guest { places: Arc::clone(self), number, visit })
    }

    /// Ends a connection when the system has no more descriptors.
    pub(super) fn give_one_up(&self) {
        let mut table = self.table();
        table.displace(&|_, _| true);
        table.log(self.connections_max);
    }

    /// Waits until most of the connections that were told to leave have ended.
    pub(super) async fn settle(&self) {
        loop {
            let mut left = std::pin::pin!(self.left.notified());
            left.as_mut().enable();
            if self.table().leaving < LEAVING_MAX {
                return;
            }
            left.await;
        }
    }

    pub(super) fn count(&self, end: End) {
        if let Some(count) = self.ended.get(end as usize) {
            count.fetch_add(1, Relaxed);
        }
    }

    /// Connections ended by this side, by reason.
    pub(in crate::http) fn ended(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        End::ALL.into_iter().zip(&self.ended).map(|(end, count)| (end.as_str(), count.load(Relaxed)))
    }

    /// Open connections, and the most there may be.
    pub(in crate::http) fn open(&self) -> (usize, usize) {
        (self.table().open.len(), self.connections_max)
    }
}

impl Table {
    /// Tells the idlest connection of the largest peer that may make room to leave; returns whether there was one.
    fn displace(&mut self, may: &dyn Fn(Peer, usize) -> bool) -> bool {
        let candidates = self.open.values().filter_map(|visit| {
            let count = self.peers.get(&visit.peer).copied().unwrap_or_default();
            let is_candidate = !visit.is_kept() && !visit.leave.is_cancelled() && may(visit.peer, count);
            let (known, since) = is_candidate.then(|| visit.idleness())??;
            Some(((usize::MAX - count, known, since), visit))
        });
        let Some(visit) = candidates.min_by_key(|(order, _)| *order).map(|(_, visit)| Arc::clone(visit)) else {
            return false;
        };
        self.placed = self.placed.saturating_sub(1);
        self.forget(visit.peer);
        self.send_away(&visit);
        true
    }

    fn displace_kept(&mut self) -> bool {
        let waiting = self.open.values().filter(|visit| visit.is_kept() && !visit.leave.is_cancelled());
        let idlest = waiting.filter_map(|visit| Some((visit.idleness()?, visit))).min_by_key(|(order, _)| *order);
        let Some(visit) = idlest.map(|(_, visit)| Arc::clone(visit)) else { return false };
        self.kept = self.kept.saturating_sub(1);
        self.send_away(&visit);
        true
    }

    fn send_away(&mut self, visit: &Visit) {
        self.displaced += 1;
        self.leaving += 1;
        visit.leave.cancel();
    }

    fn forget(&mut self, peer: Peer) {
        if let Some(count) = self.peers.get_mut(&peer) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.peers.remove(&peer);
            }
        }
    }

    /// Logs that places are short, at most once a minute.
    fn log(&mut self, connections_max: usize) {
        if self.logged.is_some_and(|at| at.elapsed() < LOG_EVERY) {
            return;
        }
        self.logged = Some(Instant::now());
        let largest = self.peers.iter().max_by_key(|(_, count)| **count);
        tracing::warn!(
            connections_max,
            displaced = self.displaced,
            refused = self.refused,
            peer = largest.map(|(peer, _)| tracing::field::display(peer.0)),
            connections_of_peer = largest.map(|(_, count)| *count),
            "connections are short (http.connections_max, http.connections_per_peer_max); the idlest of the peer with the most make room"
        );
        self.displaced = 0;
        self.refused = 0;
    }
}

impl Guest {
    /// Whether it may ask anything: with a kept place only once a usual one is free, which it then takes.
    pub(super) fn is_placed(&self) -> bool {
        if !self.visit.is_kept() {
            return true;
        }
        let mut table = self.places.table();
        let own = table.peers.get(&self.visit.peer).copied().unwrap_or_default();
        if table.placed >= self.places.connections_max
            || own >= self.places.per_peer_max
            || self.visit.leave.is_cancelled()
        {
            return false;
        }
        table.kept = table.kept.saturating_sub(1);
        table.placed += 1;
        *table.peers.entry(self.visit.peer).or_default() += 1;
        self.visit.is_placed();
        true
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let mut table = self.places.table();
        table.open.remove(&self.number);
        if self.visit.leave.is_cancelled() {
            table.leaving = table.leaving.saturating_sub(1);
            self.places.count(End::Displaced);
        } else if self.visit.is_kept() {
            table.kept = table.kept.saturating_sub(1);
        } else {
            table.placed = table.placed.saturating_sub(1);
            table.forget(self.visit.peer);
        }
        drop(table);
        self.places.left.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn places(connections_max: usize, per_peer_max: usize) -> Arc<Places> {
        Places::new(&Http {
            connections_max,
            connections_per_peer_max: per_peer_max,
            connections_kept: 1,
            ..Http::default()
        })
    }

    fn peer(last: u8) -> Peer {
        Peer::of(IpAddr::from([192, 0, 2, last]))
    }

    fn left(guests: &[Guest]) -> Vec<usize> {
        let gone = guests.iter().enumerate().filter(|(_, guest)| guest.visit.leave.is_cancelled());
        gone.map(|(at, _)| at).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn the_idlest_of_the_largest_peer_makes_room() {
        let places = places(4, 4);
        let mut guests = Vec::new();
        for from in [1, 2, 2, 2] {
            guests.push(places.admit(peer(from)).unwrap());
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        // The one that was idle for longest has just been served, the next is being served, and one is known.
        guests[1].visit.asked();
        guests[1].visit.answered();
        guests[1].visit.flushed();
        guests[2].visit.asked();
        guests.push(places.admit(peer(3)).unwrap());
        assert_eq!(left(&guests), [3], "peer 2 has most; 1 was just served, 2 is being served");
        guests.push(places.admit(peer(1)).unwrap());
        assert_eq!(left(&guests), [1, 3], "peer 2 has two, one more than peer 1");
        assert!(!guests.iter().any(|guest| guest.visit.is_kept()));
    }

    #[tokio::test(start_paused = true)]
    async fn who_never_showed_a_token_goes_first() {
        let places = places(2, 2);
        let guests = [places.admit(peer(1)).unwrap(), places.admit(peer(1)).unwrap()];
        guests[0].visit.becomes_known();
        let newcomer = places.admit(peer(1)).unwrap();
        assert_eq!(left(&guests), [1]);
        assert!(newcomer.is_placed());
    }

    #[tokio::test(start_paused = true)]
    async fn no_peer_takes_all_places_however_busy_it_is() {
        let places = places(4, 3);
        let mut guests: Vec<Guest> = (0..3).map(|_| places.admit(peer(1)).unwrap()).collect();
        guests.iter().for_each(|guest| guest.visit.asked());
        let beyond = places.admit(peer(1)).unwrap();
        assert!(beyond.visit.is_kept() && !beyond.is_placed());
        let other = places.admit(peer(2)).unwrap();
        assert!(!other.visit.is_kept() && left(&guests).is_empty());
        other.visit.asked();
        // The kept place is for the next probe; the one before has not asked yet.
        let probe = places.admit(peer(3)).unwrap();
        assert!(probe.visit.is_kept() && beyond.visit.leave.is_cancelled());
        probe.visit.asked();
        assert!(places.admit(peer(4)).is_none(), "everybody is busy");
        guests.pop();
        drop(other);
        assert!(probe.is_placed(), "a usual place is free again");
    }

    #[tokio::test(start_paused = true)]
    async fn places_come_back() {
        let places = places(3, 3);
        for round in 0..100u8 {
            let guests: Vec<Guest> = (0..10).filter_map(|at| places.admit(peer(round % 5 + at % 3))).collect();
            assert!(places.open().0 >= 3);
            drop(guests);
        }
        let table = places.table();
        assert_eq!((table.placed, table.kept, table.leaving, table.open.len(), table.peers.len()), (0, 0, 0, 0, 0));
        let ended: u64 = places.ended().map(|(_, count)| count).sum();
        assert_eq!(ended, 700, "seven of ten made room or found none");
    }
}
