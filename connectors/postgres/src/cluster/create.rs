//! Creating the cluster, whole or not at all.

use std::fs;
use std::path::Path;

use super::binaries::Binaries;
use super::name::NAME;
use super::owner::Owner;
use crate::Error;
use crate::error::Doing;

/// Creates the cluster beside its final place and renames it, so that `data` is whole or absent, also after a kill
/// during creation. The caller must hold `server.lock`.
pub(crate) async fn cluster(owner: &Owner, found: &Binaries, data: &Path, durable: bool) -> Result<(), Error> {
    let home = data.parent().unwrap_or(data);
    let entries = fs::read_dir(home).doing(|| format!("list {}", home.display()))?;
    for entry in entries.flatten() {
        if entry.file_name().to_string_lossy().starts_with("data.new-") {
            // A killed process left it.
            fs::remove_dir_all(entry.path()).ok();
        }
    }
    let new = home.join(format!("data.new-{}", std::process::id()));
    owner.private_dir(&new)?;
    let mut initdb = owner.command(&found.dir.join("initdb"));
    initdb.arg("--pgdata").arg(&new).args(["--username", NAME, "--encoding=UTF8"]);
    // The socket's directory lets in the owner alone. Over TCP no role has a password until one is asked for.
    initdb.args(["--auth-local=trust", "--auth-host=scram-sha-256", "--data-checksums"]);
    initdb.args(locale(found.major));
    if !durable {
        initdb.arg("--no-sync");
    }
    let made = tokio::process::Command::from(initdb).kill_on_drop(true).output().await;
    let made = made.map_err(|source| owner.cannot_drop(source))?;
    if !made.status.success() {
        return Err(Error::Initdb { said: String::from_utf8_lossy(&made.stderr).trim().to_owned() });
    }
    fs::rename(&new, data).doing(|| format!("rename {} to {}", new.display(), data.display()))
}

/// The same collation on every system, where the version allows it: an upgrade of libc then breaks no index. With
/// plain `C`, `upper('é')` and trigrams would handle only ASCII.
fn locale(major: u32) -> &'static [&'static str] {
    if major >= 17 {
        &["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]
    } else {
        &["--locale=C.UTF-8"]
    }
}
