//! The tree is as the README says, and stays readable.

mod circles;
mod dependencies;
mod names;
mod reading;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Beyond this a file has more than one subject.
const FILE_LINES_MAX: usize = 500;
/// Beyond this a function cannot be seen at once.
const FUNCTION_LINES_MAX: usize = 70;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Files of the project with this ending, with their text; nothing that is built, and nothing hidden.
fn files(ending: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut waiting = vec![root()];
    while let Some(directory) = waiting.pop() {
        for entry in std::fs::read_dir(&directory).unwrap().flatten() {
            let path = entry.path();
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with('.') || name == "target" {
                continue;
            }
            if path.is_dir() {
                waiting.push(path);
            } else if name.ends_with(ending) {
                let name = path.strip_prefix(root()).unwrap().display().to_string();
                found.push((name, std::fs::read_to_string(&path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

/// Source without its unit tests, which stand at the end of a file.
fn without_tests(text: &str) -> &str {
    text.split("\n#[cfg(test)]\nmod tests").next().unwrap_or(text)
}

fn is_test(name: &str) -> bool {
    name.starts_with("tests/") && !name.starts_with("tests/src/")
        || name.contains("/tests/")
        || name.ends_with("/tests.rs")
}

fn none(what: &str, wrong: Vec<String>) {
    assert!(wrong.is_empty(), "{what}:\n{}", wrong.join("\n"));
}

#[test]
fn files_are_short() {
    assert!(files(".rs").len() > 100, "the files are found at all");
    let long = |(name, text): &(String, String)| {
        let lines = without_tests(text).lines().count();
        (lines > FILE_LINES_MAX && !is_test(name)).then(|| format!("{name}: {lines} lines"))
    };
    none("too long", files(".rs").iter().filter_map(long).collect());
}

#[test]
fn functions_are_short() {
    let mut wrong = Vec::new();
    for (name, text) in files(".rs") {
        let lines: Vec<&str> = without_tests(&text).lines().collect();
        let indent = |line: &str| line.len() - line.trim_start().len();
        for (at, line) in lines.iter().enumerate() {
            let words = line.trim_start();
            let begins = ["fn ", "async fn ", "pub fn ", "pub async fn ", "const fn ", "pub const fn "];
            let visible = words.strip_prefix("pub(crate) ").or(words.strip_prefix("pub(super) ")).unwrap_or(words);
            if !begins.iter().any(|begin| visible.starts_with(begin)) || words.ends_with(';') {
                continue;
            }
            // A declaration of several lines, in a trait.
            let next =
                lines.iter().skip(at + 1).find(|later| indent(later) == indent(line) && !later.trim().is_empty());
            if next.is_some_and(|next| next.trim().starts_with(')') && next.ends_with(';')) {
                continue;
            }
            // rustfmt puts the end of a function on a line of its own, indented like its beginning.
            let end = lines.iter().skip(at).position(|later| indent(later) == indent(line) && later.trim() == "}");
            if let Some(length) = end.filter(|length| *length + 1 > FUNCTION_LINES_MAX) {
                wrong.push(format!("{name}:{}: {} lines", at + 1, length + 1));
            }
        }
    }
    none("functions too long", wrong);
}

#[test]
fn modules_stand_beside_their_directories() {
    let wrong = files(".rs").into_iter().map(|(name, _)| name).filter(|name| name.ends_with("/mod.rs"));
    none("mod.rs", wrong.collect());
}

#[test]
fn nothing_is_left_undone() {
    // Written in parts, so that this file does not contain them.
    let words = [["to", "do!"], ["unimple", "mented!"], ["FIX", "ME"], ["TO", "DO:"], ["XX", "X:"], ["HA", "CK:"]];
    let words = words.map(|parts| parts.concat());
    let mut wrong = Vec::new();
    for ending in [".rs", ".sql", ".sh", ".toml", ".md", ".yml", ".yaml", ".js", ".css", ".html"] {
        for (name, text) in files(ending) {
            for (number, line) in text.lines().enumerate() {
                if words.iter().any(|word| line.contains(&**word)) {
                    wrong.push(format!("{name}:{}: {}", number + 1, line.trim()));
                }
            }
        }
    }
    none("left undone", wrong);
}

#[test]
fn every_statement_in_a_file_is_used() {
    let sources: String = files(".rs").into_iter().map(|(_, text)| text).collect();
    let used = |name: &str| {
        let file = name.rsplit('/').next().unwrap_or(name);
        sources.contains(&format!("/{file}\"")) || sources.contains(&format!("\"{file}\""))
    };
    none("used nowhere", files(".sql").into_iter().map(|(name, _)| name).filter(|name| !used(name)).collect());
}

#[test]
fn the_top_level_is_what_was_asked_for() {
    let entries = std::fs::read_dir(root()).unwrap().flatten().map(|entry| entry.file_name().into_string().unwrap());
    let built = ["target", "Cargo.lock", "LICENSE"];
    let there: BTreeSet<String> = entries.filter(|name| !name.starts_with('.') && !built.contains(&&**name)).collect();
    let allowed = ["Cargo.toml", "README.md", "docker-compose.yml", "connectors", "pipeline", "schemas", "tests"];
    let unexpected: Vec<String> = there.iter().filter(|name| !allowed.contains(&&***name)).cloned().collect();
    none("not part of the top level", unexpected);
    for directory in ["connectors", "pipeline", "schemas", "tests"] {
        assert!(there.contains(directory), "{directory} is missing");
    }
}

/// Our packages that a manifest names under `[dependencies]`.
fn dependencies(manifest: &str) -> BTreeSet<String> {
    let section = manifest.split("\n[dependencies]").nth(1).unwrap_or_default();
    let section = section.split("\n[").next().unwrap_or_default();
    let names = section.lines().filter_map(|line| line.split(['.', ' ', '=']).next());
    names.filter(|name| name.starts_with("millstream")).map(str::to_owned).collect()
}

#[test]
fn dependencies_go_one_way() {
    let may = [
        ("schemas", &[][..]),
        ("connectors/kafka", &[]),
        ("connectors/log", &[]),
        ("connectors/postgres", &[]),
        ("pipeline/engine", &["schemas"]),
        ("pipeline/gateway", &["schemas", "engine", "postgres"]),
        ("connectors", &["schemas", "engine", "kafka", "log", "postgres"]),
        ("pipeline/app", &["schemas", "engine", "log", "postgres", "connectors", "gateway"]),
    ];
    let mut wrong = Vec::new();
    for (package, may) in may {
        let Ok(manifest) = std::fs::read_to_string(root().join(package).join("Cargo.toml")) else { continue };
        for name in dependencies(&manifest) {
            if !may.iter().any(|allowed| name == format!("millstream-{allowed}")) {
                wrong.push(format!("{package} depends on {name}"));
            }
        }
    }
    none("against the direction", wrong);
}

#[test]
fn schemas_do_no_io_and_the_engine_names_no_vendor() {
    let mut wrong = Vec::new();
    for (name, text) in files(".rs") {
        let words: &[&str] = if name.starts_with("schemas/src/") {
            &["std::fs", "std::net", "tokio", "async fn", "std::process"]
        } else if name.starts_with("pipeline/engine/src/") {
            &["sqlx", "rdkafka", "millstream_log", "millstream_postgres", "aws_sdk"]
        } else {
            continue;
        };
        wrong.extend(
            words.iter().filter(|word| without_tests(&text).contains(**word)).map(|word| format!("{name}: {word}")),
        );
    }
    none("in the wrong layer", wrong);
}
