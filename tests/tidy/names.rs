//! Tests that documents name are there.

use std::collections::BTreeSet;

use super::{files, none, root};

/// The paths of all behaviours: `kafka::gaps::a_topic_that_is_deleted_is_missed_aloud`.
fn behaviours() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (name, text) in files(".rs").into_iter().filter(|(name, _)| name.starts_with("tests/")) {
        let module = name.trim_start_matches("tests/").trim_end_matches(".rs").replace('/', "::");
        found.insert(module.clone());
        for line in text.lines().map(str::trim_start) {
            let line = line.trim_start_matches("pub(super) ").trim_start_matches("async ");
            if let Some(rest) = line.strip_prefix("fn ") {
                found.insert(format!("{module}::{}", rest.split(['(', '<']).next().unwrap_or_default()));
            }
        }
    }
    found
}

/// What stands between backticks and looks like a test or a module of tests.
fn named(text: &str) -> BTreeSet<String> {
    let code = text.split('`').skip(1).step_by(2);
    let is_path = |word: &&str| {
        word.contains("::") && word.chars().all(|letter| letter.is_ascii_lowercase() || "_:0123456789".contains(letter))
    };
    code.filter(is_path).map(|word| word.trim_end_matches("::").to_owned()).collect()
}

#[test]
fn each_test_of_the_matrix_of_engines_is_there() {
    let text = std::fs::read_to_string(root().join("connectors/README.md")).unwrap();
    let matrix = text.split("### Which test shows what").nth(1).and_then(|rest| rest.split("\n### ").next()).unwrap();
    let behaviours = behaviours();
    let names = named(matrix);
    assert!(names.len() > 20, "{names:?}");
    let is_there = |name: &String| behaviours.iter().any(|test| test == name || test.starts_with(&format!("{name}::")));
    none("named and not there", names.into_iter().filter(|name| !is_there(name)).collect());
}
