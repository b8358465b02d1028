//! Commands to give next, as they can be pasted into a shell.

use std::path::{Path, PathBuf};

use toml::Value;

use super::load::Loaded;
use super::problem::Origin;
use super::{Config, default_data_dir};

/// Settings that decide which database, stream and process a command speaks to.
const REACH: [&str; 4] = ["postgres.", "stream.", "pipeline", "http.tokens_file"];

/// What was said outside of the defaults, so that a command in another shell has to say it again.
#[derive(Clone, Debug, Default)]
pub struct Said {
    /// The file that was read.
    file: Option<PathBuf>,
    /// Settings of the environment and of `--set`, as `--set` takes them. Secrets are masked.
    set: Vec<String>,
}

impl Said {
    /// Of what was loaded.
    pub(super) fn of(loaded: &Loaded) -> Self {
        let settings = loaded.settings().into_iter().filter_map(|(name, value, origin)| {
            let is_said = matches!(origin, Origin::Environment(_) | Origin::Set(_));
            let reaches = REACH.iter().any(|part| name.starts_with(part));
            (is_said && reaches).then(|| match value {
                Value::String(text) => format!("{name}={text}"),
                value => format!("{name}={value}"),
            })
        });
        Said { file: loaded.file.clone(), set: settings.collect() }
    }
}

impl Config {
    /// A command of this program that speaks to the same things as this process, to paste into any shell.
    pub fn command(&self, arguments: &str) -> String {
        let mut command = format!("millstream {arguments}");
        // The default of an ordinary account lies where the process runs.
        if self.data_dir != default_data_dir() || self.data_dir.is_relative() {
            command += &format!(" --data-dir {}", from_anywhere(&self.data_dir));
        }
        if let Some(file) = &self.said.file {
            command += &format!(" --config {}", from_anywhere(file));
        }
        for setting in &self.said.set {
            command += &format!(" --set {}", quoted(setting));
        }
        command
    }
}

/// A path as a shell reads it, wherever it runs.
pub fn from_anywhere(path: &Path) -> String {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    quoted(&path.display().to_string())
}

/// An argument as a shell reads it.
pub fn quoted(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+:@%=".contains(&byte);
    if !text.is_empty() && text.bytes().all(is_plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::super::load::{Layers, load};
    use super::*;

    #[test]
    fn a_command_names_the_directory_that_it_would_not_find() {
        let mut config = Config { data_dir: "/srv/m".into(), ..Config::default() };
        assert_eq!(config.command("doctor"), "millstream doctor --data-dir /srv/m");
        config.data_dir = "/srv/it's here".into();
        assert_eq!(config.command("doctor"), "millstream doctor --data-dir '/srv/it'\\''s here'");
        config.data_dir = "here".into();
        let here = std::env::current_dir().unwrap().join("here");
        assert_eq!(config.command("doctor"), format!("millstream doctor --data-dir {}", here.display()));
    }

    #[test]
    fn a_command_says_again_what_no_file_says() {
        let set =
            ["data_dir=/srv/m", "postgres.url=postgres://w@db/events", "stream.partitions=4", "http.appends_max=9"];
        let layers = Layers { set: set.map(str::to_owned).to_vec(), ..Layers::default() };
        let expected =
            "millstream doctor --data-dir /srv/m --set postgres.url=postgres://w@db/events --set stream.partitions=4";
        assert_eq!(load(&layers).unwrap().config.command("doctor"), expected);
    }

    #[test]
    fn a_command_has_no_password() {
        let layers = Layers { set: vec!["postgres.url=postgres://w:geheim@db/events".to_owned()], ..Layers::default() };
        let command = load(&layers).unwrap().config.command("doctor");
        assert!(command.contains("postgres://w:***@db/events") && !command.contains("geheim"), "{command}");
    }
}
