//! The settings that a private server is started with.

use std::process::Command;

use super::binaries::Binaries;
use super::owner;
use crate::Error;
use crate::error::Doing;

/// Defaults for a small machine, each with its reason. The caller's settings come later and win.
const DEFAULTS: [(&str, &str); 13] = [
    // An acknowledged row is on disk. These are PostgreSQL's own defaults, set here so that a later
    // `ALTER SYSTEM` by hand cannot silently change them.
    ("fsync", "on"),
    ("full_page_writes", "on"),
    ("synchronous_commit", "on"),
    // Tables that are updated all day need it.
    ("autovacuum", "on"),
    // Twice the default keeps the hot end of the key index in memory; more would cost an idle laptop more than it adds.
    ("shared_buffers", "256MB"),
    // Checkpoints by time and not by volume: after each one every page goes to the log in full again.
    ("max_wal_size", "4GB"),
    ("checkpoint_timeout", "15min"),
    // Compiling our statements takes longer than running them.
    ("jit", "off"),
    // People read the server's log when something is wrong, which is often a lock or a checkpoint.
    ("log_checkpoints", "on"),
    ("log_lock_waits", "on"),
    ("log_line_prefix", "%m [%p] %a "),
    // Otherwise initdb takes the machine's zone, and a dump read elsewhere differs.
    ("timezone", "UTC"),
    ("log_timezone", "UTC"),
];

/// Settings that the cluster depends on, and why.
const OURS: [(&str, &str); 7] = [
    ("listen_addresses", "TCP is opened by postgres.pg_port"),
    ("port", "TCP is opened by postgres.pg_port"),
    ("unix_socket_directories", "the socket is in a directory that only the owner enters"),
    ("logging_collector", "it would take the place of the standard output, by which the server is known to run"),
    ("data_directory", "it is the directory `data` of the home"),
    ("hba_file", "it is in the directory `data` of the home"),
    ("config_file", "it is in the directory `data` of the home"),
];

/// Checks the caller's settings: their names must be possible names of settings, and none of [`OURS`].
pub(crate) fn check(settings: &[(String, String)]) -> Result<(), Error> {
    for (name, _) in settings {
        let refuse = |why| Err(Error::Setting { name: name.clone(), why });
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.".contains(&byte)) {
            return refuse("a name has letters, digits, `_` and `.`");
        }
        if let Some((_, why)) = OURS.iter().find(|(ours, _)| ours.eq_ignore_ascii_case(name)) {
            return refuse(why);
        }
    }
    Ok(())
}

/// Asks the server's own program about each of the caller's settings. It starts nothing, and needs no cluster.
pub(crate) fn ask(found: &Binaries, settings: &[(String, String)]) -> Result<(), Error> {
    for (name, value) in settings {
        let mut command = Command::new(found.dir.join("postgres"));
        // -C comes first, or root is refused; the directory is only read.
        command
            .arg("-C")
            .arg(name)
            .args(["-D", "/", "-c", "config_file=/dev/null", "-c"])
            .arg(format!("{name}={value}"));
        owner::without_settings(&mut command);
        let answer = command.output().doing(|| format!("ask {} about {name}", found.dir.join("postgres").display()))?;
        if !answer.status.success() {
            let said = String::from_utf8_lossy(&answer.stderr);
            let words = said.lines().filter_map(|line| {
                line.split_once("FATAL:  ").or_else(|| line.split_once("HINT:  ")).map(|(_, words)| words)
            });
            let said = words.collect::<Vec<_>>().join("; ");
            return Err(Error::ServerSetting { name: name.clone(), value: value.clone(), major: found.major, said });
        }
    }
    Ok(())
}

/// The arguments for all settings, by rising precedence: PostgreSQL takes the last of a name.
pub(crate) fn arguments(settings: &[(String, String)], durable: bool, probed: Probed) -> Vec<String> {
    let mut all: Vec<String> = DEFAULTS.iter().map(|(name, value)| format!("{name}={value}")).collect();
    if probed.lz4 {
        all.push("wal_compression=lz4".to_owned());
    } else {
        all.push("wal_compression=on".to_owned());
    }
    if probed.syncfs {
        // After a crash 0.4 s to ready; the default opens and syncs every file, which took up to 3.7 s.
        all.push("recovery_init_sync_method=syncfs".to_owned());
    }
    if probed.shared_memory_small {
        // Parallel queries would fail: "could not resize shared memory segment: No space left on device".
        all.push("dynamic_shared_memory_type=mmap".to_owned());
    }
    if !durable {
        all.extend(["fsync=off", "full_page_writes=off"].map(str::to_owned));
    }
    all.extend(settings.iter().map(|(name, value)| format!("{name}={value}")));
    all.into_iter().flat_map(|setting| ["-c".to_owned(), setting]).collect()
}

/// What this build of PostgreSQL and this machine can do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Probed {
    /// Built with LZ4, and of a version (15) that compresses its log with it.
    pub(crate) lz4: bool,
    /// Linux and PostgreSQL 14.
    pub(crate) syncfs: bool,
    /// /dev/shm is as small as Docker makes it.
    pub(crate) shared_memory_small: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING: Probed = Probed { lz4: false, syncfs: false, shared_memory_small: false };

    fn one(name: &str) -> Vec<(String, String)> {
        vec![(name.to_owned(), "x".to_owned())]
    }

    #[test]
    fn what_holds_the_cluster_together_is_refused() {
        for (name, _) in OURS {
            assert!(check(&one(name)).is_err(), "{name}");
            assert!(check(&one(&name.to_uppercase())).is_err(), "{name}");
        }
        for name in ["", "work mem", "a=b", "-c"] {
            assert!(check(&one(name)).is_err(), "{name}");
        }
        assert!(check(&one("work_mem")).is_ok());
        assert!(check(&one("pg_stat_statements.max")).is_ok());
    }

    #[test]
    fn the_callers_settings_come_last() {
        let arguments = arguments(&one("shared_buffers"), false, NOTHING);
        assert_eq!(arguments.last().map(String::as_str), Some("shared_buffers=x"));
        let at = |text: &str| arguments.iter().position(|argument| argument == text);
        assert!(at("fsync=on") < at("fsync=off"));
        assert!(at("shared_buffers=256MB") < at("shared_buffers=x"));
    }

    #[test]
    fn a_durable_server_syncs() {
        let arguments = arguments(&[], true, NOTHING);
        assert!(arguments.contains(&"fsync=on".to_owned()));
        assert!(!arguments.iter().any(|argument| argument.ends_with("=off") && argument != "jit=off"));
    }
}
