//! The layers: defaults < file < environment < `--set` < flags. All mistakes are reported at once.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize as _;
use toml::{Table, Value};

use super::overrides::{self, Override};
use super::problem::{Origin, Problem, Problems};
use super::{Config, Pipeline, Said, SinkKind, check, file, template};

/// The file that is read if it exists and no other is named.
pub const FILE_NAME: &str = "millstream.toml";
/// A file of settings has a few kilobytes; a longer one is another file.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Where settings come from.
#[derive(Clone, Debug, Default)]
pub struct Layers {
    /// The file that was named; it must be there.
    pub file: Option<PathBuf>,
    /// Names and values of the environment.
    pub environment: Vec<(String, String)>,
    /// The arguments of `--set`, in order.
    pub set: Vec<String>,
    /// Flags that stand for one setting: their names, the settings, the values.
    pub flags: Vec<(&'static str, &'static str, String)>,
}

/// A configuration, and where each part of it was set.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// The file that was read, if any.
    pub file: Option<PathBuf>,
    values: Table,
    origins: BTreeMap<String, Origin>,
}

/// Reads all layers.
///
/// # Errors
/// All mistakes.
pub fn load(layers: &Layers) -> Result<Loaded, Problems> {
    let mut values = template::defaults();
    let mut origins = BTreeMap::new();
    let mut problems = Vec::new();

    let file = read_file(layers.file.as_deref(), &mut values, &mut origins, &mut problems);

    problems.extend(overrides::misspelt(layers.environment.iter().cloned()));
    let mut settings = overrides::environment(layers.environment.iter().cloned());
    for argument in &layers.set {
        match overrides::set(argument) {
            Ok(setting) => settings.push(setting),
            Err(problem) => problems.push(problem),
        }
    }
    settings.extend(layers.flags.iter().map(|(flag, setting, text)| Override {
        path: setting.split('.').map(str::to_owned).collect(),
        text: text.clone(),
        origin: Origin::Flag(flag),
    }));
    // `values` still holds the mistakes of the file, so the other layers are checked against the defaults.
    if problems.iter().any(|problem| matches!(problem.origin, Origin::File { .. })) {
        values = template::defaults();
    }
    for setting in &settings {
        match overrides::apply(&mut values, setting) {
            Ok(name) => drop(origins.insert(name, setting.origin.clone())),
            Err(problem) => problems.push(problem),
        }
    }
    if !problems.is_empty() {
        return Err(Problems(problems));
    }
    let mut config = Config::deserialize(values.clone()).map_err(|error| {
        Problems(vec![Problem { origin: Origin::Default, message: super::explain::explain(error.message(), "") }])
    })?;
    if !config.task_source.is_empty() && config.pipeline_into(SinkKind::Routing).is_none() {
        config.pipeline.push(Pipeline::tasks());
    }
    // Includes the defaults of what a pipeline leaves out.
    if let Ok(pipelines) = Value::try_from(&config.pipeline) {
        values.insert("pipeline".to_owned(), pipelines);
    }
    let mut loaded = Loaded { config, file, values, origins };
    loaded.config.said = Said::of(loaded.file.clone(), loaded.settings());
    let wrong = check::check(&loaded.config);
    if wrong.is_empty() {
        return Ok(loaded);
    }
    let problem = |(setting, message): (String, String)| Problem { origin: loaded.origin(&setting), message };
    Err(Problems(wrong.into_iter().map(problem).collect()))
}

/// Reads the file that was named, or [`FILE_NAME`] if it exists; returns which.
fn read_file(
    named: Option<&Path>,
    values: &mut Table,
    origins: &mut BTreeMap<String, Origin>,
    problems: &mut Vec<Problem>,
) -> Option<PathBuf> {
    let path = named.unwrap_or(Path::new(FILE_NAME));
    let text = match read_text(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && named.is_none() => return None,
        Err(error) => {
            problems.push(Problem { origin: Origin::Default, message: format!("read {}: {error}", path.display()) });
            return None;
        }
    };
    let read = file::read(path, &text);
    merge(values, read.values);
    origins.extend(read.origins);
    problems.extend(read.problems);
    Some(path.to_owned())
}

fn read_text(path: &Path) -> std::io::Result<String> {
    use std::io::Read as _;
    let mut text = String::new();
    let read = std::fs::File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
    if read as u64 > FILE_BYTES_MAX {
        return Err(std::io::Error::other(format!("it has more than {FILE_BYTES_MAX} bytes")));
    }
    Ok(text)
}

/// Tables are merged, everything else is replaced.
fn merge(values: &mut Table, over: Table) {
    for (name, value) in over {
        match (values.get_mut(&name), value) {
            (Some(Value::Table(under)), Value::Table(over)) => merge(under, over),
            (_, value) => drop(values.insert(name, value)),
        }
    }
}

impl Loaded {
    /// The origin of a setting: its own, else that of a part of it, else that of what it is a part of.
    pub fn origin(&self, setting: &str) -> Origin {
        if let Some(origin) = self.origins.get(setting) {
            return origin.clone();
        }
        let inner = format!("{setting}.");
        let part = self.origins.range(inner.clone()..).next().filter(|(name, _)| name.starts_with(&inner));
        let whole = || {
            let ends = setting.match_indices('.').map(|(at, _)| at);
            ends.rev().find_map(|end| self.origins.get(setting.get(..end)?))
        };
        part.map(|(_, origin)| origin).or_else(whole).cloned().unwrap_or(Origin::Default)
    }

    /// Whether the file holds a secret.
    pub fn file_has_secrets(&self) -> bool {
        let mut settings = Vec::new();
        list("", &Value::Table(self.values.clone()), &mut settings);
        settings.into_iter().any(|(name, value)| {
            matches!(self.origin(&name), Origin::File { .. }) && super::secret::masked(&name, value.clone()) != value
        })
    }

    /// Every setting that has a value, with the value and its origin. Secrets are masked.
    pub fn settings(&self) -> Vec<(String, Value, Origin)> {
        let mut settings = Vec::new();
        list("", &Value::Table(self.values.clone()), &mut settings);
        let shown = settings.into_iter().map(|(name, value)| {
            let origin = self.origin(&name);
            let value = super::secret::masked(&name, value);
            (name, value, origin)
        });
        shown.collect()
    }
}

fn list(path: &str, value: &Value, settings: &mut Vec<(String, Value)>) {
    let under = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    match value {
        Value::Table(table) => table.iter().for_each(|(name, value)| list(&under(name), value, settings)),
        Value::Array(values) if values.iter().any(Value::is_table) => {
            for (index, value) in values.iter().enumerate() {
                let name = value.get("name").and_then(Value::as_str).map_or_else(|| index.to_string(), str::to_owned);
                list(&under(&name), value, settings);
            }
        }
        value => settings.push((path.to_owned(), value.clone())),
    }
}
