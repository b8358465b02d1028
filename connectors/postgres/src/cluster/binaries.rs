//! Where PostgreSQL's programs are on this machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Error;
use crate::places::PLACES;

/// A directory with `postgres` and `initdb`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binaries {
    /// The directory of the programs.
    pub dir: PathBuf,
    /// The major version, 15 for 15.18.
    pub major: u32,
}

impl Binaries {
    /// The newest PostgreSQL of the machine, or the one of the major version that made the cluster.
    ///
    /// `MILLSTREAM_PG_BIN` is taken before everything else; `fetched` is a directory of versions (`VERSION/bin`).
    ///
    /// # Errors
    /// [`Error::NoServer`], [`Error::NotInDirectory`] or [`Error::OtherMajor`].
    pub fn find(major: Option<u32>, fetched: &Path) -> Result<Binaries, Error> {
        let named = std::env::var_os("MILLSTREAM_PG_BIN").map(PathBuf::from);
        Binaries::choose(named, major, fetched)
    }

    fn choose(named: Option<PathBuf>, major: Option<u32>, fetched: &Path) -> Result<Binaries, Error> {
        let fits = |found: &Binaries| major.is_none_or(|major| found.major == major);
        if let Some(dir) = named {
            let real = dir.canonicalize().unwrap_or_else(|_| dir.clone());
            return Binaries::at(&real).filter(fits).ok_or(Error::NotInDirectory { dir, major });
        }
        let found: Vec<Binaries> = places(fetched).iter().filter_map(|dir| Binaries::at(dir)).collect();
        if let Some(best) = found.iter().filter(|found| fits(found)).max_by_key(|found| found.major) {
            return Ok(best.clone());
        }
        Err(match (major, found.into_iter().next()) {
            (Some(made), Some(other)) => Error::OtherMajor { made, here: other.major, dir: other.dir },
            _ => Error::NoServer,
        })
    }

    /// The programs in `dir`. Both must exist: `libpq-dev` alone names the directory of a server that is not installed.
    fn at(dir: &Path) -> Option<Binaries> {
        if !["initdb", "postgres"].iter().all(|name| dir.join(name).is_file()) {
            return None;
        }
        let version = Command::new(dir.join("postgres")).arg("--version").output().ok()?;
        Some(Binaries { dir: dir.to_owned(), major: major(&String::from_utf8_lossy(&version.stdout))? })
    }
}

/// 15 from "postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)".
fn major(version: &str) -> Option<u32> {
    let number = version.split_whitespace().nth(2)?;
    number.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

fn places(fetched: &Path) -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut dirs: Vec<PathBuf> = std::env::split_paths(&path).filter(|dir| dir.is_absolute()).collect();
    dirs.extend(PLACES.iter().flat_map(|pattern| starred(pattern)));
    dirs.extend(fs::read_dir(fetched).into_iter().flatten().flatten().map(|entry| entry.path().join("bin")));
    dirs
}

/// The directories that a pattern with one star, which stays within one name, stands for.
fn starred(pattern: &str) -> Vec<PathBuf> {
    let Some((before, after)) = pattern.split_once('*') else { return vec![pattern.into()] };
    let Some((parent, prefix)) = before.rsplit_once('/') else { return Vec::new() };
    let entries = fs::read_dir(parent).into_iter().flatten().flatten();
    let names = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix));
    names.map(|entry| entry.path().join(after.trim_start_matches('/'))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_major_version_is_read_from_every_form() {
        assert_eq!(major("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)"), Some(15));
        assert_eq!(major("postgres (PostgreSQL) 18.6"), Some(18));
        assert_eq!(major("postgres (PostgreSQL) 19beta2"), Some(19));
        assert_eq!(major("bash: postgres: not found"), None);
        assert_eq!(major(""), None);
    }

    #[test]
    fn a_star_stays_within_one_name() {
        let home = tempfile::tempdir().unwrap();
        for dir in ["pgsql-15/bin", "pgsql-16/bin", "other-17/bin"] {
            fs::create_dir_all(home.path().join(dir)).unwrap();
        }
        let mut found = starred(&format!("{}/pgsql-*/bin", home.path().display()));
        found.sort();
        assert_eq!(found, [home.path().join("pgsql-15/bin"), home.path().join("pgsql-16/bin")]);
        assert_eq!(starred("/nowhere-at-all/pgsql-*/bin"), Vec::<PathBuf>::new());
    }

    #[test]
    fn a_named_directory_is_the_only_place() {
        let nowhere = Path::new("/nowhere-at-all");
        let empty = tempfile::tempdir().unwrap();
        let error = Binaries::choose(Some(empty.path().to_owned()), Some(9), nowhere).unwrap_err().to_string();
        assert!(error.ends_with("holds no postgres, initdb of PostgreSQL 9, which made this cluster"), "{error}");
        let error = Binaries::choose(Some(empty.path().to_owned()), None, nowhere).unwrap_err().to_string();
        assert!(error.ends_with("holds no postgres, initdb"), "{error}");
    }
}
