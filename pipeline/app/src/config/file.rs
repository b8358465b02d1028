//! Reads one file of settings: all its mistakes, with line and column, and where each value stands.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use serde::Deserialize as _;
use toml::Spanned;
use toml::de::{DeTable, DeValue, Deserializer};

use super::explain::{explain, meant, missing};
use super::problem::{Origin, Problem};
use super::{Config, MISTAKES_MAX, renamed};

/// A file that was read.
#[derive(Debug, Default)]
pub(super) struct Read {
    /// Its settings.
    pub(super) values: toml::Table,
    /// Where each of them is set.
    pub(super) origins: BTreeMap<String, Origin>,
    /// What is wrong.
    pub(super) problems: Vec<Problem>,
}

/// A key or a value of the file.
#[derive(Debug)]
struct Place {
    steps: Vec<Step>,
    /// Its name, with a pipeline's name in place of its number.
    path: String,
    /// Where the key stands; of an element of a list, where the element does.
    key: Range<usize>,
    value: Range<usize>,
    is_leaf: bool,
}

#[derive(Clone, Debug)]
enum Step {
    Key(String),
    Index(usize),
}

/// Reads a file's text.
pub(super) fn read(path: &Path, text: &str) -> Read {
    let origin = |at: usize| {
        let (line, column) = line_and_column(text, at);
        Origin::File { path: path.to_owned(), line, column }
    };
    let (mut table, mistakes) = DeTable::parse_recoverable(text);
    if !mistakes.is_empty() {
        let problems = mistakes.iter().map(|mistake| {
            let at = mistake.span().map_or(0, |span| span.start);
            Problem { origin: origin(at), message: format!("not TOML: {}", mistake.message().replace('\n', ", ")) }
        });
        return Read { problems: problems.collect(), ..Read::default() };
    }
    let twice = renamed::rename(&mut table);
    let places = places(&table);
    let mut problems: Vec<Problem> =
        twice.into_iter().map(|twice| Problem { origin: origin(twice.at), message: twice.message }).collect();
    let mut removed: Vec<String> = Vec::new();
    // The reader stops at the first mistake, so that is removed and the rest is read again.
    while problems.len() < MISTAKES_MAX {
        let Err(mistake) = Config::deserialize(Deserializer::from(table.clone())) else { break };
        let found = locate(&places, mistake.span(), mistake.message());
        let path = found.map_or("", |place| &place.path);
        // A setting that is missing because it was removed here, or misspelt, was reported when that was found.
        if !missing(mistake.message(), path).is_some_and(|missing| removed.contains(&missing)) {
            let at = found.map_or(mistake.span().map_or(0, |span| span.start), |place| place.at(mistake.span()));
            let message = explain(mistake.message(), path);
            removed.extend(meant(&message, path));
            problems.push(Problem { origin: origin(at), message });
        }
        removed.push(path.to_owned());
        if !found.is_some_and(|place| remove(table.get_mut(), &place.steps)) {
            break;
        }
    }
    problems.sort_by(|one, other| one.origin.cmp(&other.origin));
    let leaves = places.iter().filter(|place| place.is_leaf);
    let origins = leaves.map(|place| (place.path.clone(), origin(place.value.start))).collect();
    let mut values = toml::from_str(text).unwrap_or_default();
    renamed::rename_values(&mut values);
    Read { values, origins, problems }
}

impl Place {
    /// Where to point: at the value if that is wrong, else at the key.
    fn at(&self, span: Option<Range<usize>>) -> usize {
        if span.is_some_and(|span| span == self.value) { self.value.start } else { self.key.start }
    }
}

/// Line and column, counted from 1, of a byte.
fn line_and_column(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |end| end + 1);
    let column = before.get(line_start..).map_or(0, |line| line.chars().count());
    (before.matches('\n').count() + 1, column + 1)
}

/// All keys and values, outer ones first.
fn places(table: &Spanned<DeTable<'_>>) -> Vec<Place> {
    let mut places = Vec::new();
    walk_table(table.get_ref(), &[], "", &mut places);
    places
}

fn walk_table(table: &DeTable<'_>, steps: &[Step], path: &str, places: &mut Vec<Place>) {
    for (key, value) in table {
        let name = key.get_ref().to_string();
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        let steps: Vec<Step> = steps.iter().cloned().chain([Step::Key(name)]).collect();
        walk(value, key.span(), steps, path, places);
    }
}

fn walk(value: &Spanned<DeValue<'_>>, key: Range<usize>, steps: Vec<Step>, path: String, places: &mut Vec<Place>) {
    let at = places.len();
    places.push(Place { steps: steps.clone(), path: path.clone(), key, value: value.span(), is_leaf: false });
    match value.get_ref() {
        DeValue::Table(table) => walk_table(table, &steps, &path, places),
        DeValue::Array(array) if array.iter().any(|value| value.get_ref().is_table()) => {
            for (index, value) in array.iter().enumerate() {
                let name = value.get_ref().get("name").and_then(|name| name.get_ref().as_str().map(str::to_owned));
                let path = format!("{path}.{}", name.unwrap_or_else(|| index.to_string()));
                let steps: Vec<Step> = steps.iter().cloned().chain([Step::Index(index)]).collect();
                walk(value, value.span(), steps, path, places);
            }
        }
        _ => {
            if let Some(place) = places.get_mut(at) {
                place.is_leaf = true;
            }
        }
    }
}

/// What a mistake is about: the key or value of that span, or the innermost one around it.
fn locate<'p>(places: &'p [Place], span: Option<Range<usize>>, message: &str) -> Option<&'p Place> {
    let span = span?;
    let exact = places.iter().find(|place| place.key == span).or_else(|| {
        // Of a table and its only member, the outer one.
        places.iter().find(|place| place.value == span)
    });
    let around = |place: &&Place| place.value.start <= span.start && span.end <= place.value.end;
    let place = exact.or_else(|| places.iter().filter(around).min_by_key(|place| place.value.len()))?;
    // Inside of an enum the reader knows only the whole; the name in its message is more precise.
    let unknown = message.strip_prefix("unknown field `").and_then(|rest| rest.split('`').next());
    let named = |name: &str| {
        let path = format!("{}.{name}", place.path);
        places.iter().find(|inner| inner.path == path)
    };
    unknown.and_then(named).or(Some(place))
}

/// Removes a key. Returns false if there is none to remove.
fn remove(table: &mut DeTable<'_>, steps: &[Step]) -> bool {
    let Some((Step::Key(name), rest)) = steps.split_first() else { return false };
    let inner = rest.iter().any(|step| matches!(step, Step::Key(_)));
    let key = table.keys().find(|key| key.get_ref() == name).cloned();
    let Some(key) = key else { return false };
    // A list loses all its elements: one of them is not enough to read the others by number again.
    if !inner {
        return table.remove(&key).is_some();
    }
    let Some(value) = table.get_mut(&key) else { return false };
    match (value.get_mut(), rest) {
        (DeValue::Table(table), rest) => remove(table, rest),
        (DeValue::Array(array), [Step::Index(index), rest @ ..]) => match array.get_mut(*index) {
            Some(value) => match value.get_mut() {
                DeValue::Table(table) => remove(table, rest),
                _ => false,
            },
            None => false,
        },
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> Vec<String> {
        read(Path::new("m.toml"), text).problems.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_former_name_is_read_and_both_names_are_refused() {
        let former = read(Path::new("m.toml"), "[limits]\nquarantine_window_events = 5\n");
        assert!(former.problems.is_empty(), "{:?}", former.problems);
        assert_eq!(former.values["limits"]["quarantine_window_records"].as_integer(), Some(5));
        assert!(former.origins.contains_key("limits.quarantine_window_records"), "{:?}", former.origins);
        let wrong = problems("[limits]\nquarantine_window_events = \"many\"\n");
        assert_eq!(wrong.len(), 1, "{wrong:?}");
        assert!(wrong[0].starts_with("m.toml:2:28: `limits.quarantine_window_records` takes"), "{wrong:?}");
        let both = problems("[limits]\nquarantine_window_records = 5\nquarantine_window_events = 5\n");
        let told = "`limits.quarantine_window_events` is `limits.quarantine_window_records` now: give one of them";
        assert_eq!(both, [format!("m.toml:3:1: {told}")]);
    }

    #[test]
    fn every_mistake_is_told_with_line_and_column() {
        let text = "[stream]\npartitons = 3\nretention_seconds = \"a week\"\n\n[htp]\nlisten = 1\n\n[limits]\n  memory_bytes = -1\n";
        let told = problems(text);
        assert_eq!(told.len(), 4, "{told:#?}");
        assert_eq!(told[0], "m.toml:2:1: there is no setting `partitons` in `stream`; did you mean `partitions`?");
        assert_eq!(
            told[1],
            "m.toml:3:21: `stream.retention_seconds` takes a whole number, 0 or more, not the text \"a week\""
        );
        assert_eq!(told[2], "m.toml:5:2: there is no setting `htp`; did you mean `http`?");
        assert!(told[3].starts_with("m.toml:9:18: `limits.memory_bytes`"), "{}", told[3]);
    }

    #[test]
    fn mistakes_in_a_pipeline_are_found() {
        let text = "[[pipeline]]\nname = \"a\"\nsource = { kind = \"stream\", topick = \"x\" }\nfreshness = \"soon\"\n";
        let told = problems(text);
        assert_eq!(told.len(), 2, "{told:#?}");
        assert!(
            told.iter().any(|one| one.contains("m.toml:3:29") && one.contains("did you mean `topic`?")),
            "{told:#?}"
        );
        assert!(told.iter().any(|one| one.starts_with("m.toml:4:13") && one.contains("250ms")), "{told:#?}");
    }

    #[test]
    fn a_mistake_is_told_once() {
        let told = problems("[[pipeline]]\nname = \"a\"\nsource = { kind = \"streem\", topic = \"x\" }\n");
        assert_eq!(told, ["m.toml:3:19: `pipeline.a.source.kind` cannot be `streem`; did you mean `stream`?"]);
        let told = problems("[[pipeline]]\nname = \"a\"\n");
        assert_eq!(told, ["m.toml:1:1: `source` is missing in `pipeline.a`"]);
    }

    #[test]
    fn text_that_is_not_toml_says_where() {
        let told = problems("[stream]\npartitions 3\n");
        assert!(told[0].starts_with("m.toml:2:"), "{told:#?}");
        assert!(told[0].contains("not TOML"), "{told:#?}");
    }

    #[test]
    fn columns_count_characters() {
        assert_eq!(line_and_column("é = 1\nüü = 2", 11), (2, 3));
    }
}
