//! The password for TCP: random, made once, in a file that only the cluster's account reads.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;

use super::home::Home;
use super::owner::Owner;
use crate::Error;
use crate::error::Doing;

/// 192 bits cannot be guessed, and as 48 characters still fit a form.
const RANDOM_BYTES: usize = 24;

/// The stored password, if there is one.
pub(crate) fn read(home: &Home) -> Option<String> {
    let text = fs::read_to_string(home.password()).ok()?;
    let word = text.trim();
    // Letters and digits need no quoting in an address.
    let plain = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphanumeric());
    plain.then(|| word.to_owned())
}

/// The stored password, or a new one, which is stored. The caller must hold the turn.
pub(crate) fn keep(home: &Home, owner: &Owner) -> Result<String, Error> {
    if let Some(password) = read(home) {
        return Ok(password);
    }
    let mut random = [0u8; RANDOM_BYTES];
    let read = File::open("/dev/urandom").and_then(|mut source| source.read_exact(&mut random));
    read.doing(|| "read /dev/urandom".to_owned())?;
    let password: String = random.iter().map(|byte| format!("{byte:02x}")).collect();

    let path = home.password();
    let new = home.dir().join("password.new");
    fs::remove_file(&new).ok();
    let write = || {
        let mut file = File::options().write(true).create_new(true).mode(0o600).open(&new)?;
        writeln!(file, "{password}")?;
        file.sync_all()
    };
    write().doing(|| format!("write {}", new.display()))?;
    owner.give(&new)?;
    fs::rename(&new, &path).doing(|| format!("rename {} to {}", new.display(), path.display()))?;
    Ok(password)
}
