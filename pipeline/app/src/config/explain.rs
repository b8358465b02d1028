//! Translates the messages of the TOML reader for the person who wrote the file.

use super::template;

/// Two names are alike if this share of them is: `partitons` is `partitions`, `port` is not `part_of`.
const ALIKE_MIN: f64 = 0.78;
/// Settings that had another name, or another shape, in an earlier version.
const RENAMED: [(&str, &str); 1] = [("writers", "concurrency = { max = .. }")];

/// Explains a message of the reader about a setting.
pub(super) fn explain(message: &str, setting: &str) -> String {
    // After a line feed the reader names the place, which we report ourselves.
    let message = message.lines().next().unwrap_or_default();
    if let Some(rest) = message.strip_prefix("unknown field ") {
        return unknown("there is no setting", &quoted(rest), setting);
    }
    if let Some(rest) = message.strip_prefix("unknown variant ") {
        return unknown(&format!("`{setting}` cannot be"), &quoted(rest), "");
    }
    if let Some(rest) = message.strip_prefix("missing field ") {
        let name = quoted(rest).into_iter().next().unwrap_or_default();
        return format!("`{name}` is missing in `{setting}`");
    }
    let wrong = message.strip_prefix("invalid type: ").or_else(|| message.strip_prefix("invalid value: "));
    if let Some((found, expected)) = wrong.and_then(|wrong| wrong.rsplit_once(", expected ")) {
        return format!("`{setting}` takes {}, not {}", expected_kind(expected), found_kind(found));
    }
    if message == "invalid socket address syntax" {
        return format!("`{setting}` takes an IP address and a port, such as \"127.0.0.1:8080\"");
    }
    if setting.is_empty() { message.to_owned() } else { format!("`{setting}`: {message}") }
}

/// The setting that a message of the reader reports as missing in `place`, if any.
pub(super) fn missing(message: &str, place: &str) -> Option<String> {
    let name = quoted(message.strip_prefix("missing field ")?).into_iter().next()?;
    Some(format!("{place}.{name}"))
}

/// The setting that was meant by the one at `path`, if an explanation names it.
pub(super) fn meant(explanation: &str, path: &str) -> Option<String> {
    let (_, question) = explanation.rsplit_once("; did you mean ")?;
    let name = quoted(question).into_iter().next()?;
    Some(path.rsplit_once('.').map_or(name.clone(), |(section, _)| format!("{section}.{name}")))
}

/// Explains a refused name, with the one that was probably meant or with all that exist.
fn unknown(refusal: &str, names: &[String], setting: &str) -> String {
    let Some((name, known)) = names.split_first() else { return refusal.to_owned() };
    let section = setting.rsplit_once('.').map(|(section, _)| section).unwrap_or_default();
    let place = if section.is_empty() { String::new() } else { format!(" in `{section}`") };
    if let Some((_, now)) = RENAMED.iter().find(|(before, _)| before == name) {
        return format!("{refusal} `{name}`{place} any more; it is `{now}` now");
    }
    if let Some(meant) = closest(name, known.iter().map(String::as_str)) {
        return format!("{refusal} `{name}`{place}; did you mean `{meant}`?");
    }
    let there = template::settings();
    let elsewhere = there.iter().find(|path| path.rsplit('.').next() == Some(name));
    if let (Some(path), false) = (elsewhere, setting.is_empty()) {
        return format!("{refusal} `{name}`{place}; did you mean `{path}`?");
    }
    let known: Vec<String> = known.iter().map(|name| format!("`{name}`")).collect();
    format!("{refusal} `{name}`{place}; known are {}", known.join(", "))
}

/// The most similar name, if any is similar enough.
pub(super) fn closest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let alike = known.map(|candidate| (strsim::jaro_winkler(name, candidate), candidate));
    let best = alike.max_by(|(one, _), (other, _)| one.total_cmp(other));
    best.filter(|(alike, _)| *alike >= ALIKE_MIN).map(|(_, candidate)| candidate)
}

/// The names between backticks.
pub(super) fn quoted(text: &str) -> Vec<String> {
    text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

fn expected_kind(expected: &str) -> String {
    let words = match expected {
        "u16" => "a whole number from 0 to 65535",
        "u32" => "a whole number from 0 to 4294967295",
        "a nonzero u32" => "a whole number from 1 to 4294967295",
        "i32" => "a whole number from -2147483648 to 2147483647",
        "u64" | "usize" => "a whole number, 0 or more",
        "a boolean" => "true or false",
        "a string" => "a text in quotes",
        "path string" => "a path in quotes",
        "a sequence" => "a list",
        "a map" => "a table",
        "socket address" => "an IP address and a port, such as \"127.0.0.1:8080\"",
        other if other.starts_with("struct ") => "a section of settings",
        other => other,
    };
    words.to_owned()
}

fn found_kind(found: &str) -> String {
    let value = quoted(found).into_iter().next().unwrap_or_default();
    match found.split_once(' ') {
        Some(("string", text)) => format!("the text {text}"),
        Some(("integer", _)) => format!("the number {value}"),
        Some(("floating", _)) => format!("the number {value}"),
        Some(("boolean", _)) => value,
        _ if found == "sequence" => "a list".to_owned(),
        _ if found == "map" => "a table".to_owned(),
        _ => found.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_nearly_right_are_recognised() {
        let known = ["kind", "partitions", "retention_seconds", "retention_bytes"];
        for (wrong, meant) in
            [("partitons", "partitions"), ("partition", "partitions"), ("retention_byte", "retention_bytes")]
        {
            assert_eq!(closest(wrong, known.into_iter()), Some(meant));
        }
        assert_eq!(closest("colour", known.into_iter()), None);
    }

    #[test]
    fn a_wrong_type_is_told_in_words() {
        let told = explain("invalid type: string \"twelve\", expected u32", "stream.partitions");
        assert_eq!(told, "`stream.partitions` takes a whole number from 0 to 4294967295, not the text \"twelve\"");
        let told = explain("invalid value: integer `70000`, expected u16", "postgres.pg_port");
        assert_eq!(told, "`postgres.pg_port` takes a whole number from 0 to 65535, not the number 70000");
    }

    #[test]
    fn a_setting_of_another_section_is_found_there() {
        let told = explain("unknown field `listen`, expected one of `kind`, `partitions`", "stream.listen");
        assert_eq!(told, "there is no setting `listen` in `stream`; did you mean `http.listen`?");
    }
}
