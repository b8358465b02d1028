//! Settings that had another name in an earlier version and are still read under it.

use toml::de::{DeTable, DeValue};
use toml::{Spanned, Table, Value};

/// Section, the name before, the name now.
const RENAMED: [(&str, &str, &str); 1] = [("limits", "quarantine_window_events", "quarantine_window_records")];

/// A setting that a file gives under both of its names.
#[derive(Debug)]
pub(super) struct Twice {
    /// Where the former name stands.
    pub(super) at: usize,
    /// What is wrong.
    pub(super) message: String,
}

/// Renames the settings of a file to their present names. If one is given twice, the former name is removed.
pub(super) fn rename(table: &mut Spanned<DeTable<'_>>) -> Vec<Twice> {
    let mut twice = Vec::new();
    for (section, before, now) in RENAMED {
        let Some(DeValue::Table(settings)) = table.get_mut().get_mut(section).map(Spanned::get_mut) else { continue };
        let Some((name, value)) = settings.remove_entry(before) else { continue };
        if settings.contains_key(now) {
            let message = format!("`{section}.{before}` is `{section}.{now}` now: give one of them");
            twice.push(Twice { at: name.span().start, message });
            continue;
        }
        settings.insert(Spanned::new(name.span(), now.into()), value);
    }
    twice
}

/// The same for values that were read.
pub(super) fn rename_values(values: &mut Table) {
    for (section, before, now) in RENAMED {
        let Some(Value::Table(settings)) = values.get_mut(section) else { continue };
        if let Some(value) = settings.remove(before) {
            settings.insert(now.to_owned(), value);
        }
    }
}

/// Renames a single setting to its present name.
pub(super) fn path(path: &mut [String]) {
    let renamed = |(section, before, _): &&(&str, &str, &str)| path.iter().eq([section, before]);
    if let Some((_, _, now)) = RENAMED.iter().find(renamed)
        && let Some(name) = path.last_mut()
    {
        (*now).clone_into(name);
    }
}
