//! The data directory: checks its owner, and closes it to the other accounts of the machine.
//!
//! Directories are 0700 and files 0600, whatever the umask is. If root runs the private PostgreSQL, the server's
//! account may pass through to its own directories (0711) and lists nothing. Wider modes, left by an earlier millstream
//! or by a person, are closed at the start. Locks depend on this, too: an account that can read a file can lock it.

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use anyhow::Context as _;
use millstream_postgres::cluster::Trust;
use rustix::fs::OFlags;

use crate::config::Config;

/// Names of our own entries. A directory with anything else in it (`/tmp`, a home) also serves others: then its mode
/// stays, and only our entries are closed.
const NAMES: [&str; 8] =
    ["stream", "postgres", "address", "address.new", "demo", "check", "lost+found", "millstream.toml"];
/// Entries that we create and that must not be links. What lies deeper is checked when it is opened.
const PARTS: [&str; 11] = [
    "address",
    "stream",
    "stream/lock",
    "stream/topics",
    "postgres",
    "postgres/data",
    "postgres/run",
    "postgres/log",
    "postgres/password",
    "postgres/server.lock",
    "postgres/postgres",
];
/// Entries of the private cluster's directory that belong to PostgreSQL, which manages their modes itself.
const OF_POSTGRES: [&str; 3] = ["data", "run", "postgres"];
/// Maximum bytes of a note; an address has some 30.
const NOTE_BYTES_MAX: u64 = 256;

/// Refuses a directory whose owner could make us read or overwrite files of others, and one whose parts are links. A
/// missing directory is fine.
///
/// # Errors
/// Names the directory, file or link, and what to do.
pub(crate) fn check(data_dir: &Path) -> anyhow::Result<()> {
    let trust = Trust::here();
    trust.directory(data_dir)?;
    for part in PARTS {
        trust.part(&data_dir.join(part))?;
    }
    Ok(())
}

/// Creates the directory if missing, and closes what others can read.
///
/// # Errors
/// Those of [`check`], and of the file system.
pub(crate) fn prepare(config: &Config) -> anyhow::Result<()> {
    let data_dir = &config.data_dir;
    check(data_dir)?;
    let embedded = config.postgres.is_embedded();
    let mode = if embedded && rustix::process::geteuid().is_root() { 0o711 } else { 0o700 };
    make(data_dir, mode).with_context(|| format!("make the data directory {}", data_dir.display()))?;
    let closed = || {
        if is_ours_alone(data_dir)? {
            close(data_dir, mode)?;
        }
        close_all(&data_dir.join("stream"), &Trust::here())?;
        close_cluster(&data_dir.join("postgres"), mode)
    };
    closed().with_context(|| format!("close {} to other accounts", data_dir.display()))
}

/// Creates a directory with exactly this mode, if missing.
fn make(directory: &Path, mode: u32) -> io::Result<()> {
    if directory.exists() {
        return Ok(());
    }
    DirBuilder::new().recursive(true).mode(mode).create(directory)?;
    fs::set_permissions(directory, Permissions::from_mode(mode))
}

fn is_ours_alone(data_dir: &Path) -> io::Result<bool> {
    for entry in fs::read_dir(data_dir)? {
        let name = entry?.file_name();
        if !NAMES.iter().any(|ours| name == *ours) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Closes a file, or a directory with everything in it.
fn close_all(path: &Path, trust: &Trust) -> anyhow::Result<()> {
    trust.part(path)?;
    let there = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        there => there?,
    };
    if !there.is_dir() {
        return Ok(close(path, 0o600)?);
    }
    close(path, 0o700)?;
    for entry in fs::read_dir(path)? {
        close_all(&entry?.path(), trust)?;
    }
    Ok(())
}

/// Closes our own files in the private cluster's directory.
fn close_cluster(home: &Path, mode: u32) -> anyhow::Result<()> {
    if !home.exists() {
        return Ok(());
    }
    close(home, mode)?;
    for entry in fs::read_dir(home)? {
        let entry = entry?;
        let of_postgres = OF_POSTGRES.iter().any(|name| entry.file_name() == *name);
        if !of_postgres && entry.file_type()?.is_file() {
            close(&entry.path(), 0o600)?;
        }
    }
    Ok(())
}

/// Removes permissions beyond `allowed`. Files of another account keep their mode, unless we are root.
fn close(path: &Path, allowed: u32) -> io::Result<()> {
    let loose = |there: &Metadata| there.mode() & 0o777 & !allowed != 0;
    let me = rustix::process::geteuid();
    let there = match fs::symlink_metadata(path) {
        // Its owner removed it since it was listed.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        there => there?,
    };
    if !loose(&there) || !(me.is_root() || there.uid() == me.as_raw()) {
        return Ok(());
    }
    // The mode is changed on the opened file, so a link that is put in its place meanwhile has no effect.
    let file = OpenOptions::new().read(true).custom_flags(nofollow(OFlags::NONBLOCK)).open(path)?;
    let mode = file.metadata()?.mode() & 0o7777 & (allowed | 0o7000);
    file.set_permissions(Permissions::from_mode(mode))
}

fn nofollow(more: OFlags) -> i32 {
    (OFlags::NOFOLLOW | more).bits().cast_signed()
}

/// Creates a file that only we can read, or empties an existing one. A link is not followed.
///
/// # Errors
/// File system errors.
pub(crate) fn create(path: &Path) -> io::Result<File> {
    let mut how = OpenOptions::new();
    how.write(true).create(true).truncate(true).mode(0o600).custom_flags(nofollow(OFlags::NONBLOCK));
    let file = how.open(path)?;
    if file.metadata()?.is_file() {
        close(path, 0o600)?;
    }
    Ok(file)
}

/// Replaces a file with a short text, atomically.
///
/// # Errors
/// File system errors.
pub(crate) fn note(path: &Path, text: &str) -> io::Result<()> {
    let new = path.with_extension("new");
    fs::remove_file(&new).or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    file.write_all(text.as_bytes())?;
    fs::rename(&new, path)
}

/// Reads such a text, if the file exists and is no link.
pub(crate) fn noted(path: &Path) -> Option<String> {
    let file = OpenOptions::new().read(true).custom_flags(nofollow(OFlags::NONBLOCK)).open(path).ok()?;
    let mut text = String::new();
    file.take(NOTE_BYTES_MAX).read_to_string(&mut text).ok()?;
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).unwrap().mode() & 0o7777
    }

    #[test]
    fn what_was_open_is_closed_and_strangers_are_left_alone() {
        let place = tempfile::tempdir().unwrap();
        let mut config: Config = toml::from_str("").unwrap();
        config.postgres.embedded = Some(false);
        config.data_dir = place.path().join("new");
        prepare(&config).unwrap();
        assert_eq!(mode(&config.data_dir), 0o700);

        config.data_dir = place.path().join("old");
        let deep = config.data_dir.join("stream/topics/objects/0000");
        fs::create_dir_all(&deep).unwrap();
        let segment = deep.join("00000000000000000000.segment");
        fs::write(&segment, "x").unwrap();
        for path in [config.data_dir.as_path(), &config.data_dir.join("stream"), &deep] {
            fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
        }
        fs::set_permissions(&segment, Permissions::from_mode(0o644)).unwrap();
        prepare(&config).unwrap();
        assert_eq!([mode(&config.data_dir), mode(&deep), mode(&segment)], [0o700, 0o700, 0o600]);

        // A directory that others use.
        fs::write(config.data_dir.join("letter.txt"), "x").unwrap();
        fs::set_permissions(&config.data_dir, Permissions::from_mode(0o1777)).unwrap();
        fs::set_permissions(&deep, Permissions::from_mode(0o755)).unwrap();
        prepare(&config).unwrap();
        assert_eq!([mode(&config.data_dir), mode(&deep)], [0o1777, 0o700]);
    }

    #[test]
    fn no_link_is_followed() {
        let place = tempfile::tempdir().unwrap();
        let outside = place.path().join("outside");
        fs::write(&outside, "kept").unwrap();
        let data_dir = place.path().join("data");
        fs::create_dir(&data_dir).unwrap();
        for part in ["address", "stream", "postgres"] {
            let link = data_dir.join(part);
            std::os::unix::fs::symlink(&outside, &link).unwrap();
            assert!(check(&data_dir).unwrap_err().to_string().contains("is a link"), "{part}");
            assert!(create(&link).is_err());
            assert_eq!(noted(&link), None);
            note(&link, "a note").unwrap();
            assert_eq!(
                (noted(&link).as_deref(), fs::read_to_string(&outside).unwrap().as_str()),
                (Some("a note"), "kept")
            );
            fs::remove_file(&link).unwrap();
        }
    }
}
