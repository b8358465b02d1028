//! Whose directories are opened. Root can follow and overwrite anything, so it opens only what belongs to itself or to
//! an account that PostgreSQL may run as. No account follows a link inside a directory of ours.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use super::owner;
use crate::Error;
use crate::error::Doing;

/// As the kernel's own limit (`MAXSYMLINKS`).
const LINKS_MAX: usize = 40;

/// The accounts whose files this process opens.
#[derive(Clone, Debug)]
pub struct Trust {
    /// User ids beside root's own. `None` if we are not root: then only the kernel's permissions count.
    owners: Option<Vec<u32>>,
}

impl Trust {
    /// The trust of this process.
    #[must_use]
    pub fn here() -> Trust {
        let root = rustix::process::geteuid().is_root();
        Trust { owners: root.then(|| owner::accounts().into_iter().map(|account| account.uid).collect()) }
    }

    /// Refuses a directory that another account owns, or to which a link of another account leads. A missing one is
    /// accepted.
    ///
    /// # Errors
    /// [`Error::NotTrusted`], [`Error::Io`].
    pub fn directory(&self, directory: &Path) -> Result<(), Error> {
        if self.owners.is_none() {
            return Ok(());
        }
        let absolute = std::path::absolute(directory).doing(|| format!("find {}", directory.display()))?;
        let mut at = PathBuf::from("/");
        let mut links = 0;
        let mut rest = words(&absolute);
        while let Some(word) = rest.pop_front() {
            if word == ".." {
                at.pop();
                continue;
            }
            let next = at.join(&word);
            let Some(there) = there(&next)? else { return Ok(()) };
            if !there.is_symlink() {
                at = next;
                continue;
            }
            self.owned(&next, &there)?;
            links += 1;
            let target = fs::read_link(&next).doing(|| format!("follow {}", next.display()))?;
            if links > LINKS_MAX {
                return Err(Error::Link { path: next });
            }
            if target.is_absolute() {
                at = PathBuf::from("/");
            }
            words(&target).into_iter().rev().for_each(|word| rest.push_front(word));
        }
        match there(&at)? {
            Some(there) => self.owned(&at, &there),
            None => Ok(()),
        }
    }

    /// Refuses a part of such a directory that is a link, or another account's. A missing one is accepted.
    ///
    /// # Errors
    /// [`Error::Link`], [`Error::NotTrusted`], [`Error::Io`].
    pub fn part(&self, path: &Path) -> Result<(), Error> {
        match there(path)? {
            Some(there) if there.is_symlink() => Err(Error::Link { path: path.to_owned() }),
            Some(there) => self.owned(path, &there),
            None => Ok(()),
        }
    }

    fn owned(&self, path: &Path, there: &Metadata) -> Result<(), Error> {
        let owner = there.uid();
        match &self.owners {
            Some(owners) if owner != 0 && !owners.contains(&owner) => {
                Err(Error::NotTrusted { path: path.to_owned(), owner })
            }
            _ => Ok(()),
        }
    }
}

fn there(path: &Path) -> Result<Option<Metadata>, Error> {
    match fs::symlink_metadata(path) {
        Ok(there) => Ok(Some(there)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::Io { doing: format!("look at {}", path.display()), source }),
    }
}

/// The names in a path, without its root and without `.`.
fn words(path: &Path) -> VecDeque<OsString> {
    let named = |part: &Component<'_>| matches!(part, Component::Normal(_) | Component::ParentDir);
    path.components().filter(named).map(|part| part.as_os_str().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{lchown, symlink};

    /// A root that trusts no other account; chown needs root.
    fn alone() -> Option<Trust> {
        rustix::process::geteuid().is_root().then(|| Trust { owners: Some(vec![7]) })
    }

    #[test]
    fn root_refuses_what_somebody_else_owns() {
        let Some(trust) = alone() else { return };
        let place = tempfile::tempdir().unwrap();
        let own = place.path().join("own");
        fs::create_dir(&own).unwrap();
        trust.directory(&own).unwrap();
        trust.directory(&place.path().join("not/there/yet")).unwrap();
        lchown(&own, Some(7), Some(7)).unwrap();
        trust.directory(&own).unwrap();
        lchown(&own, Some(5), Some(5)).unwrap();
        assert!(matches!(trust.directory(&own), Err(Error::NotTrusted { owner: 5, .. })));
        assert!(matches!(trust.part(&own), Err(Error::NotTrusted { owner: 5, .. })));
    }

    #[test]
    fn a_link_on_the_way_is_trusted_as_its_owner_is() {
        let Some(trust) = alone() else { return };
        let place = tempfile::tempdir().unwrap();
        let place = place.path().canonicalize().unwrap();
        fs::create_dir_all(place.join("own/data")).unwrap();
        for (link, target) in
            [("plain", place.join("own")), ("relative", "x/../own/.".into()), ("chain", "plain".into())]
        {
            symlink(target, place.join(link)).unwrap();
        }
        fs::create_dir(place.join("x")).unwrap();
        for way in ["plain/data", "relative/data", "chain/data", "chain/../own/data", "plain/new"] {
            trust.directory(&place.join(way)).unwrap();
        }
        lchown(place.join("plain"), Some(5), Some(5)).unwrap();
        for way in ["plain/data", "chain/data", "plain/new"] {
            let refused = trust.directory(&place.join(way)).unwrap_err();
            assert!(matches!(&refused, Error::NotTrusted { path, .. } if *path == place.join("plain")), "{refused}");
        }
        symlink("loop", place.join("loop")).unwrap();
        assert!(matches!(trust.directory(&place.join("loop/x")), Err(Error::Link { .. })));
        // Inside, no link is followed, not even our own.
        let anybody = Trust { owners: None };
        assert!(matches!(anybody.part(&place.join("relative")), Err(Error::Link { .. })));
    }
}
