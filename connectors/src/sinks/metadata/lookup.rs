//! Which keys of a batch are looked up before it is written.
//!
//! A lookup costs PostgreSQL one descent of the key index per key, half as much as the row itself (decision 1), and
//! most lookups find nothing: a key that is overwritten was mostly written a moment ago. So keys written lately are
//! remembered in a filter that forgets none of them but has some false positives, and only remembered keys are looked
//! up. It is a guess: if a key that is not remembered is stored, COPY refuses it, nothing is written, and this batch
//! and the next ones look up all keys.

use std::sync::{Arc, Mutex, PoisonError};

use fastbloom::BloomFilter;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::columns::{Columns, Row};
use super::fold::Folded;
use super::stored::{Known, Sought};

/// Successive batches whose new keys were all absent, after which only remembered keys are looked up. A wrong guess
/// costs one repeated transaction.
const CALM_BEFORE_GUESS: u32 = 8;
/// At least this many of the last keys are remembered, at most twice as many. Each filter of this size takes 2.5 MB.
const REMEMBERED: usize = 1 << 21;
/// Share of the new keys that are looked up all the same.
const FALSE_POSITIVES: f64 = 0.01;

/// Shared by the writers of a pipeline, because a key may come to another writer next time.
#[derive(Clone, Debug, Default)]
pub(super) struct Lookup(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    written: Written,
    /// Successive batches in which keys that were not remembered were looked up and none was stored.
    calm: u32,
    /// Remaining batches that look up every key because of a recent unique violation.
    owed: u32,
    surprises: u32,
}

impl State {
    fn looks_at_all(&self) -> bool {
        self.owed > 0 || self.calm < CALM_BEFORE_GUESS
    }
}

impl Lookup {
    /// Returns which keys to look up, and remembers all keys, since absent ones are about to be written.
    pub(super) fn seek(&self, columns: &Columns, folded: &[Folded], all: bool) -> Sought {
        let hashes: Vec<u64> = folded.iter().map(|one| hash(columns, &one.row)).collect();
        let mut state = self.state();
        let all = all || state.looks_at_all();
        Sought { all, remembered: hashes.into_iter().map(|hash| state.written.remember(hash)).collect() }
    }

    /// Learns from what a lookup found.
    pub(super) fn found(&self, sought: &Sought, known: &[Known]) {
        if !sought.all {
            return;
        }
        let mut state = self.state();
        state.owed = state.owed.saturating_sub(1);
        let mut strangers = sought.remembered.iter().zip(known).filter(|(remembered, _)| !**remembered).peekable();
        // A repeated batch finds its own keys remembered, and shows nothing about others.
        if strangers.peek().is_some() {
            let stored = strangers.any(|(_, known)| !matches!(known, Known::Nothing));
            state.calm = if stored { 0 } else { state.calm.saturating_add(1) };
        }
    }

    /// A key that was not looked up exists: after each such surprise all keys are looked up for longer.
    pub(super) fn surprised(&self) {
        let mut state = self.state();
        state.surprises = (state.surprises + 1).min(10);
        state.owed = 8 << state.surprises;
        state.calm = 0;
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        // The state is a guess, so poisoning does no harm.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The keys written lately: a filter that is being filled, and the full one before it.
#[derive(Debug)]
struct Written {
    newest: BloomFilter,
    before: BloomFilter,
    /// Keys in the newest.
    keys: usize,
}

impl Default for Written {
    fn default() -> Self {
        let filter = || BloomFilter::with_false_pos(FALSE_POSITIVES).seed(&0).expected_items(REMEMBERED);
        Written { newest: filter(), before: filter(), keys: 0 }
    }
}

impl Written {
    /// Remembers a key; returns whether it was remembered before.
    fn remember(&mut self, hash: u64) -> bool {
        if self.newest.insert_hash(hash) {
            return true;
        }
        let known = self.before.contains_hash(hash);
        self.keys += 1;
        if self.keys >= REMEMBERED {
            std::mem::swap(&mut self.newest, &mut self.before);
            self.newest.clear();
            self.keys = 0;
        }
        known
    }
}

/// The hash of a key as it stands in the key index.
fn hash(columns: &Columns, row: &Row) -> u64 {
    let parts =
        [columns.bytes(row.bucket), columns.bytes(row.key), columns.store(row).as_bytes(), columns.bytes(row.version)];
    parts.into_iter().fold(0, |seed, part| xxh3_64_with_seed(part, seed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_lately_is_never_forgotten_and_little_else_is_remembered() {
        let mut written = Written::default();
        let name = |key: usize| xxh3_64_with_seed(&key.to_le_bytes(), 0);
        let strangers = (0..3 * REMEMBERED).filter(|key| !written.remember(name(*key))).count();
        assert!(strangers > 3 * REMEMBERED / 100 * 97, "{strangers}");
        assert!((2 * REMEMBERED..3 * REMEMBERED).all(|key| written.remember(name(key))));
        let older = (0..REMEMBERED).filter(|key| written.before.contains_hash(name(*key))).count();
        assert!(older < REMEMBERED / 20, "{older}");
    }

    #[test]
    fn after_each_surprise_all_keys_are_looked_up_for_twice_as_long() {
        let lookup = Lookup::default();
        let looks_at_all = || {
            let all = lookup.state().looks_at_all();
            lookup.found(&Sought { all, remembered: vec![false] }, &[Known::Nothing]);
            all
        };
        let batches = |most: usize| (0..most).take_while(|_| looks_at_all()).count();
        assert_eq!(batches(100), 8);
        lookup.surprised();
        assert_eq!(batches(100), 16);
        lookup.surprised();
        assert_eq!(batches(100), 32);
        lookup.surprised();
        lookup.found(&Sought { all: true, remembered: vec![true] }, &[Known::Stale]);
        assert_eq!(batches(100), 63, "what was remembered is no news");
    }

    #[test]
    fn a_stored_key_that_nobody_remembered_keeps_the_looks() {
        let lookup = Lookup::default();
        for _ in 0..20 {
            let sought = Sought { all: true, remembered: vec![false, true, false] };
            lookup.found(&sought, &[Known::Nothing, Known::Duplicate, Known::Stale]);
        }
        assert!(lookup.state().looks_at_all());
    }
}
