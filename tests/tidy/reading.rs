//! What reads like a puzzle may only become less.

use super::{files, is_test, none, without_tests};

/// Unrelated values bound or assigned by one statement with a tuple on either side; it was 553.
const TUPLES_MAX: usize = 9;
/// Closures bound by `let` in a function, beyond two of them.
const CLOSURES_MAX: usize = 25;

/// What stands behind the parenthesis that closes the one before a text.
fn behind(text: &str) -> Option<&str> {
    let mut depth = 1;
    let closes = text.char_indices().find(|(_, letter)| {
        depth += i32::from("([{".contains(*letter)) - i32::from(")]}".contains(*letter));
        depth == 0
    });
    closes.map(|(at, _)| &text[at + 1..])
}

/// Whether a statement binds, or assigns, the parts of a tuple that stands right there.
fn packs(statement: &str) -> bool {
    let statement = statement.strip_prefix("let ").unwrap_or(statement);
    let pattern = statement.strip_prefix('(').and_then(behind);
    let typed = pattern.and_then(|rest| rest.strip_prefix(": (")).and_then(behind);
    let value = typed.or(pattern).and_then(|rest| rest.strip_prefix(" = (")).and_then(behind);
    value.is_some_and(|rest| rest.starts_with(';'))
}

#[test]
fn no_more_values_are_packed_into_one_binding() {
    let mut found = Vec::new();
    for (name, text) in files(".rs") {
        let mut at = 0;
        for (number, line) in text.split_inclusive('\n').enumerate() {
            if packs(text[at..].trim_start_matches(' ')) {
                found.push(format!("{name}:{}", number + 1));
            }
            at += line.len();
        }
    }
    let count = found.len();
    let which = found.join("\n");
    assert!(count <= TUPLES_MAX, "{count} bindings of packed values, {TUPLES_MAX} are allowed:\n{which}");
    assert!(count + 5 > TUPLES_MAX, "only {count} are left: let the limit fall");
}

#[test]
fn no_more_closures_are_bound_in_one_function() {
    let mut more = 0;
    let mut worst = Vec::new();
    for (name, text) in files(".rs").into_iter().filter(|(name, _)| !is_test(name)) {
        let mut function = String::new();
        let mut bound = 0;
        // rustfmt puts a long closure below its name.
        let text = without_tests(&text).replace(" =\n", " = ");
        for line in text.lines().map(str::trim_start).chain(["fn end"]) {
            let words = line.split(['(', '<']).next().unwrap_or_default();
            if words.split(' ').any(|word| word == "fn") && !line.starts_with("//") {
                more += usize::saturating_sub(bound, 2);
                if bound > 4 {
                    worst.push(format!("{name}: {bound} in {function}"));
                }
                bound = 0;
                function = words.to_owned();
            }
            let value = line.strip_prefix("let ").and_then(|rest| rest.split_once(" = ")).map(|(_, value)| value);
            let value = value.map(|value| value.trim_start().trim_start_matches("async ").trim_start_matches("move "));
            bound += usize::from(value.is_some_and(|value| value.starts_with('|')));
        }
    }
    none("five closures and more", worst.into_iter().filter(|_| more > CLOSURES_MAX).collect());
    assert!(more <= CLOSURES_MAX, "{more} closures beyond two of a function, {CLOSURES_MAX} are allowed");
    assert!(more + 5 > CLOSURES_MAX, "only {more} are left: let the limit fall");
}

#[test]
fn packed_values_are_told_from_one_value() {
    assert!(packs("let (a, b) = (1, 2);"));
    assert!(packs("let (a, (b, _)) = (first(1, 2), second());"));
    assert!(packs("(self.a, self.b) = (1, None);"));
    assert!(packs("let (a, b): (i32, i64) = (\n    1,\n    2,\n);"));
    assert!(!packs("let (a, b) = pair();"));
    assert!(!packs("let (a, b) = (first, second).max((0, 0));"));
    assert!(!packs("let sum = (1, 2);"));
}
