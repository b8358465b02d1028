//! `postmaster.pid`: a hint at which process to signal and which socket to use. Never a proof that a server runs.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::process::Pid;

/// The port of a server that opens no TCP: it only names the socket's file.
pub(crate) const PORT_NAMELESS: u16 = 5432;

/// The process to stop. The file may outlive its server, and its number may then name another process.
pub(crate) fn server(data: &Path) -> Option<Pid> {
    // A negative number would name a group of processes.
    let pid: i32 = line(data, 0)?.parse().ok().filter(|pid| *pid > 0)?;
    // Readable by all, unlike `cwd` and `exe`, for which root in a container lacks the capability. macOS has none.
    let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let ours = words.split(|byte| *byte == 0).any(|word| word == data.as_os_str().as_bytes());
    Pid::from_raw(pid).filter(|_| ours || !Path::new("/proc/self").exists())
}

/// The port of the server that wrote the file. It is part of the socket's name.
pub(crate) fn port(data: &Path) -> Option<u16> {
    line(data, 3)?.parse().ok()
}

/// Whether that server listens on TCP.
pub(crate) fn listens(data: &Path) -> bool {
    line(data, 5).is_some_and(|address| !address.is_empty())
}

fn line(data: &Path, index: usize) -> Option<String> {
    let text = fs::read_to_string(data.join("postmaster.pid")).ok()?;
    text.lines().nth(index).map(|line| line.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_in_use_by_another_program_is_nobody() {
        let data = tempfile::tempdir().unwrap();
        assert!(server(data.path()).is_none());
        let text = format!("{}\n/data\n1700000000\n5544\n/run\n", std::process::id());
        fs::write(data.path().join("postmaster.pid"), text).unwrap();
        assert!(server(data.path()).is_none());
        assert_eq!(port(data.path()), Some(5544));
    }

    #[test]
    fn half_a_file_is_no_file() {
        let data = tempfile::tempdir().unwrap();
        for text in ["", "\n", "-5\n", "0\n", "99999999999999\n", "12\n/data\n1\nx\n"] {
            fs::write(data.path().join("postmaster.pid"), text).unwrap();
            assert!(server(data.path()).is_none(), "{text:?}");
            assert!(port(data.path()).is_none(), "{text:?}");
        }
    }
}
