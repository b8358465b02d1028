//! Mistakes in the configuration, and where each value was set.

use std::fmt;
use std::path::PathBuf;

/// Where a value was set. Later ones win over earlier ones.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// Nowhere: it is the default.
    Default,
    /// In the file.
    File {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// Counted from 1, in characters.
        column: usize,
    },
    /// In the environment, by the variable's name.
    Environment(String),
    /// By `--set`, with the setting's name.
    Set(String),
    /// By a flag of its own.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => formatter.write_str("default"),
            Origin::File { path, line, column } => write!(formatter, "{}:{line}:{column}", path.display()),
            Origin::Environment(name) => write!(formatter, "environment {name}"),
            Origin::Set(name) => write!(formatter, "--set {name}"),
            Origin::Flag(name) => formatter.write_str(name),
        }
    }
}

/// One mistake to correct.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where it was set.
    pub origin: Origin,
    /// What is wrong, and what to write instead if that is known.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.origin {
            // A default is never wrong by itself: a combination is wrong, or something is missing.
            Origin::Default => write!(formatter, "configuration: {}", self.message),
            origin => write!(formatter, "{origin}: {}", self.message),
        }
    }
}

/// All that is wrong: one a line.
#[derive(Debug)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, problem) in self.0.iter().enumerate() {
            let separator = if number == 0 { "" } else { "\n" };
            write!(formatter, "{separator}{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}
