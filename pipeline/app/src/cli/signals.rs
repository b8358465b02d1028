//! What signals mean to processes that run until they are told to stop.
//!
//! No signal ends such a process on the spot, because its private PostgreSQL would be left running. SIGTERM, SIGINT and
//! SIGQUIT ask for a drain; a second one asks for an end at once. SIGHUP has two meanings by custom: a closing terminal
//! sends it to its processes, and people send it to services to have them reload their files.

use std::io::IsTerminal as _;
use std::process::ExitCode;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    /// To finish what is in flight, and leave.
    Drain,
    /// To reload files.
    Reload,
}

/// The signals of this process, from when this is made.
#[derive(Debug)]
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
    hangup: Signal,
    /// They mean nothing here, and would kill the process by default.
    users: [Signal; 2],
    terminal: bool,
}

impl Signals {
    /// Starts to listen. Checks now whether there is a terminal: later it may be gone.
    ///
    /// # Errors
    /// Operating system errors.
    pub(crate) fn listen() -> std::io::Result<Signals> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            hangup: signal(SignalKind::hangup())?,
            users: [signal(SignalKind::user_defined1())?, signal(SignalKind::user_defined2())?],
            terminal: std::io::stdin().is_terminal(),
        })
    }

    /// Whether the process runs on a terminal.
    pub(crate) fn on_terminal(&self) -> bool {
        self.terminal
    }

    /// Waits for the next signal. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Ask {
        let [user1, user2] = &mut self.users;
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return Ask::Drain,
                _ = self.interrupt.recv() => return Ask::Drain,
                _ = self.quit.recv() => return Ask::Drain,
                _ = self.hangup.recv() => return if self.terminal { Ask::Drain } else { Ask::Reload },
                _ = user1.recv() => tracing::info!("SIGUSR1 means nothing here"),
                _ = user2.recv() => tracing::info!("SIGUSR2 means nothing here"),
            }
        }
    }

    /// During a drain, waits for a signal that asks for an end at once. SIGHUP does not: a closing terminal may send it
    /// twice, by the shell and by the kernel. Cancel-safe.
    pub(crate) async fn again(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
            _ = self.quit.recv() => {}
        }
    }
}

/// Runs a command; a signal ends it as an error would, so that a private PostgreSQL that it started stops, too.
/// `keeps_interrupts`: the command handles Ctrl-C itself.
///
/// # Errors
/// Those of the command.
pub(super) async fn or_leave(
    command: impl Future<Output = anyhow::Result<ExitCode>>,
    keeps_interrupts: bool,
) -> anyhow::Result<ExitCode> {
    let kinds = [SignalKind::terminate(), SignalKind::quit(), SignalKind::hangup(), SignalKind::interrupt()];
    let kinds = kinds.into_iter().filter(|kind| !(keeps_interrupts && *kind == SignalKind::interrupt()));
    let listened = kinds.map(|kind| Ok((kind, signal(kind)?))).collect::<std::io::Result<Vec<_>>>()?;
    let waits = listened.into_iter().map(|(kind, mut signal)| {
        Box::pin(async move {
            signal.recv().await;
            kind
        })
    });
    let (ended, left) = tokio::select! {
        ended = command => (Some(ended), 0),
        (kind, _, _) = futures::future::select_all(waits) => (None, kind.as_raw_value()),
    };
    // As shells report it: 128 plus the number of the signal.
    ended.unwrap_or_else(|| Ok(ExitCode::from(u8::try_from(128 + left).unwrap_or(u8::MAX))))
}
