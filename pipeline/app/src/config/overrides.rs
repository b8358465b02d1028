//! Single settings from the environment, `--set` and flags: text that becomes a value of the right type.

use serde::Deserialize as _;
use toml::{Table, Value};

use super::explain::explain;
use super::problem::{Origin, Problem};
use super::{Config, Pipeline, renamed, template};

/// Variables with this prefix are settings; `MILLSTREAM_LOG` and `MILLSTREAM_PG_BIN` are not (see `millstream --help`).
const PREFIX: &str = "MILLSTREAM__";

/// One setting and its origin.
#[derive(Clone, Debug)]
pub(super) struct Override {
    pub(super) path: Vec<String>,
    pub(super) text: String,
    pub(super) origin: Origin,
}

/// The settings of the environment, in the order of their names.
pub(super) fn environment(variables: impl Iterator<Item = (String, String)>) -> Vec<Override> {
    let setting = |(name, text): (String, String)| {
        let path = name.strip_prefix(PREFIX)?.to_ascii_lowercase();
        let mut path: Vec<String> = path.split("__").map(str::to_owned).collect();
        renamed::path(&mut path);
        Some(Override { path, text, origin: Origin::Environment(name) })
    };
    let mut settings: Vec<Override> = variables.filter_map(setting).collect();
    settings.sort_by(|one, other| one.origin.cmp(&other.origin));
    settings
}

/// Variables that were meant to be settings but have one underscore instead of two. Only names of settings are refused:
/// orchestrators set variables of their own that look similar (`MILLSTREAM_HTTP_PORT`).
pub(super) fn misspelt(variables: impl Iterator<Item = (String, String)>) -> Vec<Problem> {
    let settings = template::settings();
    let problem = |(name, _): (String, String)| {
        let said = name.strip_prefix("MILLSTREAM_").filter(|_| !name.starts_with(PREFIX))?;
        let said = said.to_ascii_lowercase().replace("__", "_");
        let meant = settings.iter().find_map(|setting| meant(setting, &said))?.to_ascii_uppercase();
        let message = format!(
            "`{name}` would change nothing; did you mean `{PREFIX}{meant}`? Two underscores stand before a section and \
             before a key"
        );
        Some(Problem { origin: Origin::Environment(name), message })
    };
    let mut problems: Vec<Problem> = variables.filter_map(problem).collect();
    problems.sort_by(|one, other| one.origin.cmp(&other.origin));
    problems
}

/// The variable of a setting, if that was meant by what was said. Between `pipeline` and its key stands a name.
fn meant(setting: &str, said: &str) -> Option<String> {
    if setting.replace('.', "_") == said {
        return Some(setting.replace('.', "__"));
    }
    let key = setting.strip_prefix("pipeline.")?;
    let name = said.strip_prefix("pipeline_")?.strip_suffix(&key.replace('.', "_"))?.strip_suffix('_')?;
    (!name.is_empty()).then(|| format!("pipeline__{name}__{}", key.replace('.', "__")))
}

/// One `--set section.key=value`.
pub(super) fn set(argument: &str) -> Result<Override, Problem> {
    let Some((path, text)) = argument.split_once('=') else {
        let message = format!("`{argument}` has no `=`: write --set section.key=value");
        return Err(Problem { origin: Origin::Set(argument.to_owned()), message });
    };
    let origin = Origin::Set(path.trim().to_owned());
    let mut path: Vec<String> = path.trim().split('.').map(str::to_owned).collect();
    renamed::path(&mut path);
    Ok(Override { path, text: text.trim().to_owned(), origin })
}

/// Puts a setting into the values; returns its name there.
pub(super) fn apply(values: &mut Table, setting: &Override) -> Result<String, Problem> {
    let problem = |message| Problem { origin: setting.origin.clone(), message };
    let value = typed(setting).map_err(problem)?;
    if let [section, name, rest @ ..] = setting.path.as_slice()
        && section == "pipeline"
        && !rest.is_empty()
    {
        let (name, pipeline) = pipeline(values, name).map_err(problem)?;
        put(pipeline, rest, value);
        return Ok(format!("pipeline.{name}.{}", rest.join(".")));
    }
    put(values, &setting.path, value);
    Ok(setting.path.join("."))
}

/// The value of the text: parsed as TOML if the setting takes that, else the text itself.
fn typed(setting: &Override) -> Result<Value, String> {
    let read = |value: &Value| check(&setting.path, value.clone());
    let parsed: Option<Table> = toml::from_str(&format!("value = {}", setting.text)).ok();
    // More than one key: the text contained a line break.
    let parsed = parsed.filter(|table| table.len() == 1).and_then(|mut table| table.remove("value"));
    let text = Value::String(setting.text.clone());
    match parsed {
        Some(value) => match read(&value) {
            Ok(()) => Ok(value),
            Err(refused) => read(&text).map(|()| text).map_err(|_| refused),
        },
        None => read(&text).map(|()| text),
    }
}

/// Whether a configuration with this one setting can be read.
fn check(path: &[String], value: Value) -> Result<(), String> {
    let named = path.join(".");
    let told = |error: toml::de::Error| explain(error.message(), &named);
    match path {
        [section, _, rest @ ..] if section == "pipeline" && !rest.is_empty() => {
            let mut table = Table::try_from(Pipeline::objects()).map_err(|error| error.to_string())?;
            put(&mut table, rest, value);
            Pipeline::deserialize(table).map(drop).map_err(told)
        }
        path => {
            let mut table = Table::new();
            put(&mut table, path, value);
            Config::deserialize(table).map(drop).map_err(told)
        }
    }
}

/// The pipeline of that name, whatever its letter case in the environment.
fn pipeline<'v>(values: &'v mut Table, name: &str) -> Result<(String, &'v mut Table), String> {
    let pipelines = values.get_mut("pipeline").and_then(Value::as_array_mut);
    let mut known = Vec::new();
    for table in pipelines.into_iter().flatten().filter_map(Value::as_table_mut) {
        let here = table.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
        if here.eq_ignore_ascii_case(name) {
            return Ok((here, table));
        }
        known.push(format!("`{here}`"));
    }
    Err(format!("there is no pipeline `{name}`; known are {}", known.join(", ")))
}

fn put(table: &mut Table, path: &[String], value: Value) {
    match path {
        [] => {}
        [name] => {
            table.insert(name.clone(), value);
        }
        [name, rest @ ..] => {
            let inner = table.entry(name.clone()).or_insert_with(|| Value::Table(Table::new()));
            if !inner.is_table() {
                *inner = Value::Table(Table::new());
            }
            if let Value::Table(inner) = inner {
                put(inner, rest, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(argument: &str) -> Result<Value, String> {
        typed(&set(argument).map_err(|problem| problem.message)?)
    }

    #[test]
    fn the_setting_decides_what_the_text_is() {
        assert_eq!(value("stream.partitions=3"), Ok(Value::Integer(3)));
        assert_eq!(value("http.listen=127.0.0.1:9000"), Ok(Value::String("127.0.0.1:9000".to_owned())));
        assert_eq!(value("http.tokens_file=5"), Ok(Value::String("5".to_owned())));
        assert_eq!(value("pipeline.objects.freshness=2s"), Ok(Value::String("2s".to_owned())));
        assert_eq!(value("postgres.settings.work_mem=64"), Ok(Value::String("64".to_owned())));
        assert_eq!(
            value("stream.partitions=many"),
            Err("`stream.partitions` takes a whole number from 0 to 4294967295, not the text \"many\"".to_owned())
        );
        assert!(value("http.lisen=x").unwrap_err().contains("did you mean `listen`?"));
    }

    #[test]
    fn a_text_cannot_bring_a_second_setting() {
        assert!(value("stream.partitions=3\nkind = \"log\"").is_err());
    }

    #[test]
    fn only_two_underscores_make_a_setting() {
        let given = |name: &str| vec![(name.to_owned(), "x".to_owned())].into_iter();
        for (name, meant) in [
            ("MILLSTREAM_HTTP_LISTEN", "`MILLSTREAM__HTTP__LISTEN`"),
            ("MILLSTREAM_HTTP__LISTEN", "`MILLSTREAM__HTTP__LISTEN`"),
            ("MILLSTREAM_DATA_DIR", "`MILLSTREAM__DATA_DIR`"),
            ("MILLSTREAM_POSTGRES_POOL_CONNECTIONS_MAX", "`MILLSTREAM__POSTGRES__POOL__CONNECTIONS_MAX`"),
            ("MILLSTREAM_PIPELINE_MY_OBJECTS_FREEZE", "`MILLSTREAM__PIPELINE__MY_OBJECTS__FREEZE`"),
        ] {
            let told = misspelt(given(name)).pop().unwrap().message;
            assert!(told.contains(meant), "{told}");
        }
        for other in ["MILLSTREAM_LOG", "MILLSTREAM_HTTP_PORT", "MILLSTREAM_STREAM", "MILLSTREAM__HTTP__LISTEN", "HOME"]
        {
            assert!(misspelt(given(other)).is_empty(), "{other}");
        }
        let variables = [("MILLSTREAM_LOG", "debug"), ("MILLSTREAM__HTTP__LISTEN", "x"), ("HOME", "/")];
        let found = environment(variables.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].path, ["http", "listen"]);
    }
}
