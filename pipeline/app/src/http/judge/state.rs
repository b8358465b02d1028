//! The states, in one word each.

use serde::Serialize;

/// A state, from the worst to the best.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::http) enum State {
    /// The process ends: it takes nothing new, and writes what is in flight.
    Draining,
    /// The stream takes no events.
    StreamStopped,
    /// The database does not answer; events are taken and wait.
    DatabaseAway,
    /// A person must decide how to go on.
    Halted,
    /// The database refuses or asks for less, or the stream does not answer; work waits.
    Braked,
    /// There is work, nothing hinders it, and none gets done.
    Stalled,
    /// Too many bad events of one store: it is paused, or its quarantine is full, and the others go on.
    Flooding,
    /// The operator holds the pace, and nothing else is to report.
    Frozen,
    /// There is a backlog, and it shrinks.
    CatchingUp,
    /// What arrives is written within the freshness goal.
    KeepingUp,
}

impl State {
    pub(in crate::http) const ALL: [State; 10] = [
        State::Draining,
        State::StreamStopped,
        State::DatabaseAway,
        State::Halted,
        State::Braked,
        State::Stalled,
        State::Flooding,
        State::Frozen,
        State::CatchingUp,
        State::KeepingUp,
    ];

    /// The name for programs.
    pub(in crate::http) fn as_str(self) -> &'static str {
        match self {
            State::Draining => "draining",
            State::StreamStopped => "stream_stopped",
            State::DatabaseAway => "database_away",
            State::Halted => "halted",
            State::Braked => "braked",
            State::Stalled => "stalled",
            State::Flooding => "flooding",
            State::Frozen => "frozen",
            State::CatchingUp => "catching_up",
            State::KeepingUp => "keeping_up",
        }
    }

    /// Whether no action is needed: `status` and `doctor` exit with 0.
    pub(in crate::http) fn is_well(self) -> bool {
        matches!(self, State::Draining | State::Frozen | State::CatchingUp | State::KeepingUp)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_are_those_that_are_written() {
        for state in State::ALL {
            assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
        }
        assert!(State::ALL.is_sorted());
    }
}
