//! The commented file that `init` writes. It is also the source of the defaults.

use toml::Table;

/// Every setting with its default, commented out where it has none.
pub const TEMPLATE: &str = include_str!("millstream.toml");

/// The defaults as a table.
pub(super) fn defaults() -> Table {
    let mut table: Table = toml::from_str(TEMPLATE).unwrap_or_default();
    let data_dir = super::default_data_dir().display().to_string();
    table.insert("data_dir".to_owned(), toml::Value::String(data_dir));
    table
}

/// The names of all settings, including those that are commented out; a pipeline's without the pipeline's name.
pub(super) fn settings() -> Vec<String> {
    let mut section = String::new();
    let mut settings = Vec::new();
    for line in TEMPLATE.lines() {
        if let Some(name) = line.strip_prefix('[') {
            section = format!("{}.", name.trim_matches(['[', ']']));
            continue;
        }
        let Some((name, _)) = line.trim_start_matches("# ").split_once(" = ") else { continue };
        if name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_') {
            settings.push(format!("{section}{name}"));
        }
    }
    settings
}

#[cfg(test)]
mod tests {
    use serde::Deserialize as _;

    use super::*;
    use crate::config::Config;
    use crate::config::explain::quoted;

    #[test]
    fn the_template_is_the_default() {
        let read: Config = toml::from_str(TEMPLATE).unwrap();
        assert_eq!(format!("{read:?}"), format!("{:?}", Config::default()));
    }

    #[test]
    fn the_template_names_every_setting() {
        let listed = settings();
        for section in [
            "",
            "postgres",
            "postgres.pool",
            "stream",
            "stream.kafka",
            "stream.kinesis",
            "http",
            "controller",
            "gateway",
            "checker",
            "limits",
            "pipeline",
        ] {
            let wrong = match section {
                "" => "no_such_setting = 1".to_owned(),
                "pipeline" => "[[pipeline]]\nno_such_setting = 1".to_owned(),
                section => format!("[{section}]\nno_such_setting = 1"),
            };
            let refused = toml::from_str::<Config>(&wrong).unwrap_err();
            let names = quoted(refused.message());
            assert!(names.len() > 2, "{refused}");
            for name in names.iter().skip(1) {
                let path = if section.is_empty() { name.clone() } else { format!("{section}.{name}") };
                let inner = format!("{path}.");
                let there = listed.contains(&path) || listed.iter().any(|one| one.starts_with(&inner));
                assert!(there, "{path} is not in the template");
            }
        }
    }

    #[test]
    fn what_is_commented_out_can_be_switched_on() {
        for line in TEMPLATE.lines().filter(|line| line.starts_with("# ") && line.contains(" = ")) {
            let setting = line.trim_start_matches("# ");
            let name = setting.split(" = ").next().unwrap_or_default();
            if !name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_') {
                continue;
            }
            let path = settings().into_iter().find(|path| path.rsplit('.').next() == Some(name)).unwrap();
            let section = path.rsplit_once('.').map_or("", |(section, _)| section);
            let text = if section.is_empty() { setting.to_owned() } else { format!("[{section}]\n{setting}") };
            let table: Table = toml::from_str(&text).unwrap();
            Config::deserialize(table).unwrap_or_else(|error| panic!("{setting}: {error}"));
        }
    }
}
