//! The account that PostgreSQL runs as. PostgreSQL refuses to run as root, so root changes to another account.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use super::name::NAME;
use crate::Error;
use crate::error::Doing;

/// Our account, or one without privileges if we are root.
#[derive(Clone, Debug)]
pub(crate) struct Owner {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Set if we must change to this account to start a program.
    pub(crate) drop: bool,
}

impl Owner {
    /// The owner of the cluster if there is one; ours if we are not root; else `millstream`, `postgres` or `nobody`.
    pub(crate) fn of(data: &Path) -> Result<Owner, Error> {
        let me = rustix::process::geteuid().as_raw();
        if let Ok(there) = fs::metadata(data) {
            let uid = there.uid();
            let gid = there.gid();
            if me != 0 && me != uid {
                return Err(Error::ForeignCluster { data: data.to_owned(), owner: uid, me });
            }
            return Ok(Owner { uid, gid, drop: me == 0 });
        }
        if me != 0 {
            return Ok(Owner { uid: me, gid: rustix::process::getegid().as_raw(), drop: false });
        }
        accounts().into_iter().next().ok_or(Error::NoAccount)
    }

    /// A program that runs as this account, in a directory it can enter, without our PostgreSQL settings.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        without_settings(&mut command);
        if self.drop {
            // std clears the supplementary groups too.
            command.uid(self.uid).gid(self.gid);
        }
        command
    }

    /// Names the directory on the way to `dir` that shuts this account out.
    pub(crate) fn can_enter(&self, dir: &Path) -> Result<(), Error> {
        for dir in dir.ancestors().filter(|_| self.drop) {
            let there = fs::metadata(dir).doing(|| format!("look at {}", dir.display()))?;
            let search = if there.uid() == self.uid {
                0o100
            } else if there.gid() == self.gid {
                0o010
            } else {
                0o001
            };
            if there.mode() & search == 0 {
                return Err(Error::ShutOut { uid: self.uid, dir: dir.to_owned() });
            }
        }
        Ok(())
    }

    /// Makes sure that a directory exists that only this account can enter.
    pub(crate) fn private_dir(&self, dir: &Path) -> Result<(), Error> {
        // Links are not followed: in /tmp any account could have put one there.
        if let Ok(there) = fs::symlink_metadata(dir) {
            if there.is_dir() && there.uid() == self.uid && there.mode() & 0o077 == 0 {
                return Ok(());
            }
            return Err(Error::NotPrivate { dir: dir.to_owned(), uid: self.uid });
        }
        DirBuilder::new().mode(0o700).create(dir).doing(|| format!("make {}", dir.display()))?;
        self.give(dir)
    }

    /// Makes this account the owner of what we made as root.
    pub(crate) fn give(&self, path: &Path) -> Result<(), Error> {
        if self.drop {
            chown(path, Some(self.uid), Some(self.gid)).map_err(|source| self.cannot_drop(source))?;
        }
        Ok(())
    }

    /// The error of a step that fails when root may not change accounts.
    pub(crate) fn cannot_drop(&self, source: io::Error) -> Error {
        if self.drop {
            Error::CannotDrop { uid: self.uid, source }
        } else {
            Error::Io { doing: "start a program of PostgreSQL".to_owned(), source }
        }
    }
}

/// Hides from a program of PostgreSQL the part of our environment that it would use, and makes it speak English.
pub(crate) fn without_settings(command: &mut Command) {
    // Debian's server is built with systemd and would announce itself on NOTIFY_SOCKET as if it were us.
    command.current_dir("/").stdin(Stdio::null()).env("LC_ALL", "C").env_remove("NOTIFY_SOCKET");
    for (key, _) in std::env::vars_os().filter(|(key, _)| key.to_string_lossy().starts_with("PG")) {
        command.env_remove(key);
    }
}

/// The accounts of this machine that root may start PostgreSQL as, the preferred one first.
pub(crate) fn accounts() -> Vec<Owner> {
    let accounts = fs::read_to_string("/etc/passwd").unwrap_or_default();
    [NAME, "postgres", "nobody"].iter().filter_map(|name| account(&accounts, name)).collect()
}

/// The ids in the line `name:password:uid:gid:..` of /etc/passwd.
fn account(accounts: &str, name: &str) -> Option<Owner> {
    let mut fields = accounts.lines().find(|line| line.split(':').next() == Some(name))?.split(':').skip(2);
    Some(Owner { uid: fields.next()?.parse().ok()?, gid: fields.next()?.parse().ok()?, drop: true })
}

#[cfg(test)]
mod tests {
    use super::account;

    #[test]
    fn an_account_is_found_by_its_whole_name() {
        let accounts =
            "root:x:0:0::/root:/bin/sh\npostgresql:x:9:9::/:/bin/sh\npostgres:x:101:104::/var:/bin/sh\nbad:x\n";
        let postgres = account(accounts, "postgres").unwrap();
        assert_eq!((postgres.uid, postgres.gid), (101, 104));
        assert!(account(accounts, "bad").is_none());
        assert!(account(accounts, "nobody").is_none());
    }
}
