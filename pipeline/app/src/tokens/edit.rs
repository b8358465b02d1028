//! Changes of the file of tokens: as a whole or not at all, and readable by its owner alone.

use std::fs::{File, Permissions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use anyhow::{Context as _, bail};
use rustix::fs::{FlockOperation, flock};

/// Its owner reads and writes it.
const MODE: u32 = 0o600;

/// Replaces the text of the file, which is created if missing. Nobody sees half of it, and two commands at once do not
/// undo each other.
pub(crate) fn edit<T>(path: &Path, change: impl FnOnce(&str) -> anyhow::Result<(String, T)>) -> anyhow::Result<T> {
    // A link stays a link.
    let path = match std::fs::canonicalize(path) {
        Ok(real) => real,
        Err(error) if error.kind() == ErrorKind::NotFound => path.to_owned(),
        Err(error) => return Err(error).with_context(|| format!("find {}", path.display())),
    };
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let lock = File::open(directory).with_context(|| format!("open {}", directory.display()))?;
    flock(&lock, FlockOperation::LockExclusive).with_context(|| format!("lock {}", directory.display()))?;
    let (text, owner) = match std::fs::read_to_string(&path) {
        Ok(text) => {
            let metadata = std::fs::metadata(&path).with_context(|| format!("look at {}", path.display()))?;
            if !metadata.is_file() {
                bail!("{} is no file", path.display());
            }
            (text, Some((metadata.uid(), metadata.gid())))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => (String::new(), None),
        Err(error) => return Err(error).with_context(|| format!("read {}", path.display())),
    };
    let (text, told) = change(&text)?;
    let write = || -> std::io::Result<()> {
        let mut file = tempfile::Builder::new().prefix(".tokens-").tempfile_in(directory)?;
        file.as_file().set_permissions(Permissions::from_mode(MODE))?;
        if let Some((user, group)) = owner {
            // The account that runs millstream keeps its file when root edits it.
            std::os::unix::fs::fchown(file.as_file(), Some(user), Some(group))?;
        }
        file.write_all(text.as_bytes())?;
        file.as_file().sync_all()?;
        file.persist(&path)?;
        lock.sync_all()
    };
    write().with_context(|| format!("write {}", path.display()))?;
    Ok(told)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_whole_private_and_keeps_links() {
        let scratch = tempfile::tempdir().unwrap();
        let file = scratch.path().join("real");
        let link = scratch.path().join("link");
        edit(&file, |text| Ok((format!("{text}a\n"), ()))).unwrap();
        std::os::unix::fs::symlink("real", &link).unwrap();
        std::fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
        edit(&link, |text| Ok((format!("{text}b\n"), ()))).unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "a\nb\n");
        assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, MODE);
        edit(&file, |_| anyhow::Result::<(String, ())>::Err(anyhow::anyhow!("no"))).unwrap_err();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "a\nb\n");
        assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 2, "nothing is left behind");
    }
}
