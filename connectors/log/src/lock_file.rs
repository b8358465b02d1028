//! The lock of a log's directory, so that one process at a time has it open.

use std::fs::OpenOptions;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::fs::{FlockOperation, OFlags, flock};

use crate::error::{During, Error, Fault};

/// The exclusive right to the directory.
#[derive(Debug)]
pub(crate) struct Lock(std::fs::File);

impl Lock {
    pub(crate) fn take(directory: &Path) -> Result<Self, Error> {
        let path = directory.join("lock");
        // Every account that can read the file can lock it.
        let mut how = OpenOptions::new();
        how.read(true).write(true).create(true).truncate(false).mode(0o600);
        how.custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
        let mut file = how.open(&path).during("open", &path)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut text = String::new();
                // Only a hint for the message: the holder may be writing it at this moment.
                let read = (&file).take(32).read_to_string(&mut text);
                let pid: Option<u32> = read.ok().and_then(|_| text.trim().parse().ok());
                return Err(Error::Locked { lock: path, pid, lives: pid.is_some_and(lives) });
            }
            Err(errno) => return Err(Fault::new("lock", &path, errno.into()).into()),
        }
        let written = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
        written.during("write", &path)?;
        Ok(Self(file))
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing is not enough: a child process being started at this moment has the same file open until its exec.
        if let Err(error) = flock(&self.0, FlockOperation::Unlock) {
            tracing::warn!(%error, "the directory was not unlocked");
        }
    }
}

/// Whether a process with that number is visible; those of other containers are not.
fn lives(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
    // A process of another account lives, too, but refuses a signal.
    pid.is_some_and(|pid| rustix::process::test_kill_process(pid) != Err(rustix::io::Errno::SRCH))
}
