//! Keys pressed while the demo runs.

use std::io::Read as _;

use rustix::termios::{LocalModes, OptionalActions, Termios, isatty, tcgetattr, tcsetattr};
use tokio::sync::mpsc;

use super::Wish;

/// The terminal as it was, put back when this is dropped.
#[derive(Debug)]
pub(super) struct Keyboard {
    before: Termios,
}

/// Begins to listen; `None` without a terminal.
pub(super) fn listen(wishes: mpsc::Sender<Wish>) -> Option<Keyboard> {
    let input = std::io::stdin();
    if !isatty(&input) {
        return None;
    }
    let before = tcgetattr(&input).ok()?;
    let mut raw = before.clone();
    // Keys come at once and are not shown; Ctrl-C stays a signal.
    raw.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO);
    tcsetattr(&input, OptionalActions::Now, &raw).ok()?;
    // A thread, because reading a terminal cannot be cancelled; it ends with the process.
    std::thread::spawn(move || {
        for byte in std::io::stdin().lock().bytes().map_while(Result::ok) {
            let wish = match byte {
                b'd' => Wish::Duplicates,
                b'p' => Wish::Poison,
                b'k' => Wish::KillPostgres,
                b'r' => Wish::RowByRow,
                b'b' => Wish::Flip,
                b'x' => Wish::KillTask,
                b'h' => Wish::Sicken,
                _ => continue,
            };
            if wishes.blocking_send(wish).is_err() {
                return;
            }
        }
    });
    Some(Keyboard { before })
}

impl Drop for Keyboard {
    fn drop(&mut self) {
        // Nothing can be done if the terminal is gone.
        tcsetattr(std::io::stdin(), OptionalActions::Now, &self.before).ok();
    }
}
