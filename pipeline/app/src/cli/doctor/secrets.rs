//! Files that hold secrets: whether other accounts of this machine can read them.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::Check;
use crate::config::Loaded;

/// Permissions that are too open: any for others, and write for the group. Services get secrets by a group that reads.
const LOOSE: u32 = 0o027;

/// One line for each file that is open to others; one for all of them, if none is.
pub(super) fn look(loaded: &Loaded) -> Vec<Check> {
    let config = &loaded.config;
    let named = [
        ("http.tokens_file", config.http.tokens_file.as_deref()),
        ("postgres.url_file", config.postgres.url_file.as_deref()),
        ("postgres.password_file", config.postgres.password_file.as_deref()),
        ("stream.kafka.password_file", config.stream.kafka.password_file.as_deref()),
        ("the configuration", loaded.file.as_deref().filter(|_| loaded.file_has_secrets())),
    ];
    let files: Vec<(&str, &Path)> = named.into_iter().filter_map(|(what, file)| Some((what, file?))).collect();
    let loose: Vec<Check> = files.iter().filter_map(|(what, file)| loose(what, file)).collect();
    if loose.is_empty() && !files.is_empty() {
        let shown: Vec<String> = files.iter().map(|(_, file)| file.display().to_string()).collect();
        return vec![Check::good("secrets", format!("closed to other accounts: {}", shown.join(", ")))];
    }
    loose
}

fn loose(what: &str, file: &Path) -> Option<Check> {
    let shown = file.display();
    // A missing file is reported by the parts that need it.
    let mode = fs::metadata(file).ok()?.mode() & 0o777;
    if mode & LOOSE == 0 {
        return None;
    }
    let may = match (mode & 0o004 != 0, mode & 0o022 != 0) {
        (_, true) => "change",
        (true, false) => "read",
        (false, false) => "run",
    };
    // The group keeps its read access; others lose theirs.
    let mend = format!("chmod {:o} {shown}", if mode & 0o040 != 0 && mode & 0o007 == 0 { 0o640 } else { 0o600 });
    Some(Check::note("secrets", format!("{what}: {shown} has mode {mode:04o}, so other accounts can {may} it"), mend))
}
