//! Since when each state lasts.

use std::sync::{Mutex, PoisonError};

use millstream_engine::clock::now_ms;

use super::state::State;

/// The state of the process and of each pipeline, with the time since when it is the same.
#[derive(Debug, Default)]
pub(in crate::http) struct Known(Mutex<Vec<Option<(State, i64)>>>);

impl Known {
    /// When the present state was first seen; of a pipeline by its number, or of the process.
    pub(super) fn since_ms(&self, pipeline: Option<usize>, state: State) -> i64 {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = pipeline.map_or(0, |pipeline| pipeline + 1);
        if known.len() <= at {
            known.resize(at + 1, None);
        }
        let now_ms = now_ms();
        let Some(slot) = known.get_mut(at) else { return now_ms };
        match slot {
            Some((before, since_ms)) if *before == state => *since_ms,
            slot => {
                *slot = Some((state, now_ms));
                now_ms
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_another_state_begins_anew() {
        let known = Known::default();
        let since = known.since_ms(Some(1), State::Braked);
        std::thread::sleep(std::time::Duration::from_millis(5));
        assert_eq!(known.since_ms(Some(1), State::Braked), since);
        assert!(known.since_ms(None, State::Braked) > since);
        assert!(known.since_ms(Some(1), State::Halted) > since);
    }
}
