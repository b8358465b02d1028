//! The file of tokens, read as `run` reads it.

use super::Check;
use crate::config::Config;
use crate::tokens;

pub(super) fn look(config: &Config) -> Option<Check> {
    let name = "tokens";
    let file = config.http.tokens_file.as_deref()?;
    Some(match tokens::read(file) {
        Ok(entries) => Check::good(name, format!("{} in {}", entries.len(), file.display())),
        Err(error) if file.exists() => {
            Check::bad(name, format!("{error:#}"), "mend the lines named above; pipeline/README.md describes them")
        }
        Err(error) => Check::bad(name, format!("{error:#}"), "`millstream token add NAME`"),
    })
}
