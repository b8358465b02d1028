//! Writes the facts to a file now and then, while they change and are followed.
//!
//! The facts are copied part by part, and the lock is free between the parts; what changes meanwhile is written at the
//! end. A file is written only of facts whose log was read to its end, so a database that is away makes it older and
//! never newer. A file that cannot be written costs nothing but the next start.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use millstream_schemas::tasks::{Alias, Cursor};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::disk;
use super::disk::{Told, Writer};
use super::into::{Into, Place};
use super::options::Options;

/// Facts that are copied while the lock is held: about a millisecond. More: changes wait longer for it.
const PART: usize = 500;
/// So many changes are written sooner, but not more often than [`SOON`].
const CHANGES: i64 = 10_000;
const SOON: Duration = Duration::from_secs(1);
/// Writing takes at most this part of the time of one core.
const SHARE: u32 = 20;

/// See the module.
#[derive(Debug)]
pub(super) struct Saver {
    file: Option<PathBuf>,
    every: Duration,
    /// When the file is written although nothing has changed, so that it does not become too old.
    refresh: Duration,
    running: Option<JoinHandle<io::Result<Place>>>,
    begun: Option<Instant>,
    took: Duration,
    /// What the file holds.
    saved: Option<Place>,
    has_failed: bool,
}

impl Saver {
    pub(super) fn new(options: &Options) -> Self {
        Saver {
            file: options.file.clone(),
            every: options.save_every,
            refresh: options.stale_max / 8,
            running: None,
            begun: None,
            took: Duration::ZERO,
            saved: None,
            has_failed: false,
        }
    }

    /// Begins to write if it is time; to be called when the log was read to its end.
    pub(super) async fn look(&mut self, into: &Into, now: Instant) {
        let Some(file) = &self.file else { return };
        if self.running.as_ref().is_some_and(|running| !running.is_finished()) {
            return;
        }
        let file = file.clone();
        self.ended().await;
        if self.is_time(&into.place(), now) {
            self.begun = Some(now);
            let into = into.clone();
            self.running = Some(tokio::task::spawn_blocking(move || save(&file, &into)));
        }
    }

    fn is_time(&self, place: &Place, now: Instant) -> bool {
        let Some(begun) = self.begun else { return true };
        let passed = now.saturating_duration_since(begun);
        let changes = match &self.saved {
            Some(saved) if saved.identity == place.identity => place.seq.saturating_sub(saved.seq),
            _ => CHANGES,
        };
        let every = match changes {
            0 => self.refresh,
            CHANGES.. => self.every.min(SOON),
            _ => self.every,
        };
        passed >= every.max(self.took * SHARE)
    }

    /// Takes account of a write that has ended.
    async fn ended(&mut self) {
        let Some(running) = self.running.take() else { return };
        let result = running.await.unwrap_or_else(|panic| Err(io::Error::other(panic)));
        self.took = self.begun.map(|begun| begun.elapsed()).unwrap_or_default().min(Duration::from_secs(60));
        match result {
            Ok(place) => {
                self.saved = Some(place);
                self.has_failed = false;
            }
            Err(error) => {
                if !self.has_failed {
                    tracing::warn!(%error, file = ?self.file, "the routes are not kept in the file");
                }
                self.has_failed = true;
            }
        }
    }

    /// Writes the last state, if it was read to the end of the log and is not written yet.
    pub(super) async fn finish(&mut self, into: &Into) {
        self.ended().await;
        let is_in_step = {
            let standing = into.standing.borrow();
            standing.in_step.is_some() && standing.away.is_none()
        };
        if let Some(file) = self.file.clone().filter(|_| is_in_step && self.saved.as_ref() != Some(&into.place())) {
            let into = into.clone();
            self.running = Some(tokio::task::spawn_blocking(move || save(&file, &into)));
            self.ended().await;
        }
    }
}

/// Writes all facts to a file. MUST run where it may block.
fn save(file: &Path, into: &Into) -> io::Result<Place> {
    let saved = copy(file, into);
    if saved.is_err() {
        // What changes need not be noted any longer.
        drop(into.locked().end_copy());
    }
    saved
}

fn copy(file: &Path, into: &Into) -> io::Result<Place> {
    let mut writer = Writer::new(file)?;
    into.locked().begin_copy();
    let mut at = Some(Cursor::default());
    while let Some(cursor) = at {
        let (page, next) = into.locked().facts().page(cursor, PART);
        at = next;
        for fact in &page {
            writer.put(fact)?;
        }
    }
    let (changes, applied, told) = {
        let mut applier = into.locked();
        let changes = applier.end_copy().ok_or_else(|| io::Error::other("all facts were replaced meanwhile"))?;
        let applied: Vec<_> = applier.applied_aliases().into_iter().map(|applied| applied.row).collect();
        let place = into.place();
        let facts = applier.len() as u64;
        let told =
            Told { identity: place.identity, seq: place.seq, digest: applier.digest(), read_ms: read_ms(into), facts };
        (changes, applied, told)
    };
    let place = Place { identity: told.identity.clone(), seq: told.seq };
    let applied: Vec<Alias> = applied.into_iter().map(std::sync::Arc::unwrap_or_clone).collect();
    writer.late(&changes, &applied)?;
    writer.finish(told)?;
    Ok(place)
}

/// When the log had been read to its end.
fn read_ms(into: &Into) -> i64 {
    let age = into.standing.borrow().in_step.map(|at| at.elapsed()).unwrap_or_default();
    millstream_engine::clock::now_ms().saturating_sub(i64::try_from(age.as_millis()).unwrap_or(i64::MAX))
}

/// Publishes the facts of the file, all on probation, if it is there and can be used.
pub(super) async fn load(options: &Options, into: &Into) {
    let Some(path) = options.file.clone() else { return };
    let stale_max = options.stale_max;
    let reading = tokio::task::spawn_blocking({
        let path = path.clone();
        move || {
            disk::remove_leftovers(&path);
            disk::read(&path, stale_max, millstream_engine::clock::now_ms())
        }
    });
    let found = match reading.await {
        Ok(Ok(Some(found))) => found,
        Ok(Ok(None)) => return,
        Ok(Err(bad)) => {
            let error = super::fault::told(&bad);
            return tracing::warn!(%error, file = %path.display(), "the file of routes is not used");
        }
        Err(error) => return tracing::error!(%error, "the file of routes was not read"),
    };
    let disk::Found { header, facts, applied } = found;
    into.change(true, |applier| {
        applier.load_from_disk(facts, &applied, Instant::now());
        into.stand(Place { identity: header.identity.clone(), seq: header.seq });
    });
    into.standing.send_modify(|standing| {
        standing.identity = Some(header.identity);
        standing.seq = header.seq;
        standing.digest = header.digest;
        standing.is_from_disk = true;
    });
    tracing::info!(seq = header.seq, facts = header.facts, "routes were read from the file; each task is tried first");
}

#[cfg(test)]
mod tests;
