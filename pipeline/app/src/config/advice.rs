//! Suggested commands, completed so that they can be pasted into a shell.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use toml::Value;

use super::problem::Origin;
use super::secret::MASK;
use super::{Config, default_data_dir};

/// Settings that decide which database, stream and process a command speaks to.
const REACH: [&str; 4] = ["postgres.", "stream.", "pipeline", "http.tokens_file"];
/// How a command of this program begins in a text for people; it ends at the next backtick.
const QUOTED: &str = "`millstream ";
/// The options that [`Config::options`] returns: a command with one of them already names its target.
const OPTIONS: [&str; 3] = [" --data-dir ", " --config ", " --set "];

/// What was set outside of the defaults, so that a command in another shell has to repeat it.
#[derive(Clone, Debug, Default)]
pub struct Said {
    /// The file that was read.
    file: Option<PathBuf>,
    /// Settings of `--set` and of the environment, as `--set` takes them, with secrets masked. A secret from the
    /// environment is left to the shell: its mask in `--set` would override the right value.
    set: Vec<String>,
}

impl Said {
    /// Made from the file that was read, and from every setting with its value and its origin.
    pub(super) fn of(file: Option<PathBuf>, settings: Vec<(String, Value, Origin)>) -> Self {
        let settings = settings.into_iter().filter_map(|(name, value, origin)| {
            let names_file = name.ends_with("_file");
            // A relative path in the file cannot be found from another directory, so the setting is repeated.
            let is_near = names_file && value.as_str().is_some_and(|path| Path::new(path).is_relative());
            let has_secret = value.as_str().is_some_and(|text| text.contains(MASK));
            let is_said = match origin {
                Origin::Default | Origin::Flag(_) => false,
                Origin::File { .. } => is_near,
                Origin::Environment(_) => !has_secret,
                Origin::Set(_) => true,
            };
            let reaches = REACH.iter().any(|part| name.starts_with(part));
            (is_said && reaches).then(|| match value {
                Value::String(path) if names_file => format!("{name}={}", absolute(Path::new(&path)).display()),
                Value::String(text) => format!("{name}={text}"),
                value => format!("{name}={value}"),
            })
        });
        Said { file, set: settings.collect() }
    }
}

impl Config {
    /// A command of this program with the options that reach the same things as this process, to paste into any shell.
    pub fn command(&self, arguments: &str) -> String {
        format!("millstream {arguments}{}", self.options())
    }

    /// The options of such a command, with a space before each; empty if everything is at its default.
    pub fn options(&self) -> String {
        let mut options = String::new();
        // The default of an ordinary account lies where the process runs.
        if self.data_dir != default_data_dir() || self.data_dir.is_relative() {
            options += &format!(" --data-dir {}", from_anywhere(&self.data_dir));
        }
        if let Some(file) = &self.said.file {
            options += &format!(" --config {}", from_anywhere(file));
        }
        for setting in &self.said.set {
            options += &format!(" --set {}", quoted(setting));
        }
        options
    }

    /// Completes every `` `millstream ..` `` in a text for people, as [`Config::command`] does. The authors of the
    /// texts know what to do, but not where; a command that names its target stays as it is.
    pub fn localized<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let options = self.options();
        let mut told = String::new();
        let mut rest = text;
        while let Some((before, command)) = rest.split_once(QUOTED)
            && let Some((arguments, behind)) = command.split_once('`')
        {
            let says_where = OPTIONS.iter().any(|option| arguments.contains(option));
            let options = if says_where { "" } else { options.as_str() };
            told += &format!("{before}{QUOTED}{arguments}{options}`");
            rest = behind;
        }
        if told.len() + rest.len() == text.len() { Cow::Borrowed(text) } else { Cow::Owned(told + rest) }
    }
}

/// A path, absolute and quoted, for a shell in any directory.
pub fn from_anywhere(path: &Path) -> String {
    quoted(&absolute(path).display().to_string())
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// An argument quoted for a shell.
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
    fn a_secret_in_the_environment_is_left_to_it() {
        let environment = [
            ("MILLSTREAM__POSTGRES__URL", "postgres://w:geheim@db/events"),
            ("MILLSTREAM__STREAM__PARTITIONS", "4"),
            ("MILLSTREAM__DATA_DIR", "/srv/m"),
        ];
        let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        let mut layers = Layers { environment, ..Layers::default() };
        let expected = "millstream doctor --data-dir /srv/m --set stream.partitions=4";
        assert_eq!(load(&layers).unwrap().config.command("doctor"), expected);
        // `--set` wins there, too.
        layers.set = vec!["stream.partitions=5".to_owned()];
        let expected = "millstream doctor --data-dir /srv/m --set stream.partitions=5";
        assert_eq!(load(&layers).unwrap().config.command("doctor"), expected);
    }

    #[test]
    fn files_are_found_from_elsewhere() {
        let here = tempfile::tempdir().unwrap();
        let file = here.path().join("some.toml");
        std::fs::write(&file, "[http]\ntokens_file = \"tokens\"\n").unwrap();
        let set = ["data_dir=/srv/m", "stream.kafka.password_file=password"].map(str::to_owned).to_vec();
        let layers = Layers { file: Some(file.clone()), set, ..Layers::default() };
        let command = load(&layers).unwrap().config.command("doctor");
        let at = |name: &str| std::env::current_dir().unwrap().join(name).display().to_string();
        for part in [
            format!(" --config {}", file.display()),
            format!(" --set http.tokens_file={}", at("tokens")),
            format!(" --set stream.kafka.password_file={}", at("password")),
        ] {
            assert!(command.contains(&part), "{part}: {command}");
        }
    }

    #[test]
    fn every_command_in_a_text_says_where() {
        let config = Config { data_dir: "/srv/m".into(), ..Config::default() };
        let text = "a is paused: `millstream resume p --store a`; b: `millstream quarantine ls`, `purge` makes room";
        let told = "a is paused: `millstream resume p --store a --data-dir /srv/m`; \
                    b: `millstream quarantine ls --data-dir /srv/m`, `purge` makes room";
        assert_eq!(config.localized(text), told);
        // Options that are there already are not repeated, for this process or another one.
        let elsewhere = "run `millstream doctor --data-dir /other` or `millstream run --set stream.partitions=4`";
        for same in [told, elsewhere, "no `command` here", "`millstream` alone", "`millstream without an end", ""] {
            assert!(matches!(config.localized(same), Cow::Borrowed(text) if text == same), "{same}");
        }
    }

    #[test]
    fn a_command_has_no_password() {
        let layers = Layers { set: vec!["postgres.url=postgres://w:geheim@db/events".to_owned()], ..Layers::default() };
        let command = load(&layers).unwrap().config.command("doctor");
        assert!(command.contains("postgres://w:***@db/events") && !command.contains("geheim"), "{command}");
    }
}
