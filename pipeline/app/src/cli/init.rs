//! `millstream init`: a file to begin with.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;

use super::screen;
use crate::config::{FILE_NAME, TEMPLATE, from_anywhere};

/// Options of `init`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Replace an existing file.
    #[arg(long)]
    force: bool,
}

pub(super) fn run(args: &Args, path: Option<&Path>) -> anyhow::Result<ExitCode> {
    let path = path.unwrap_or(Path::new(FILE_NAME));
    // Must be a new file without --force, so that two commands at once cannot overwrite each other either.
    let opened = if args.force {
        OpenOptions::new().write(true).create(true).truncate(true).open(path)
    } else {
        OpenOptions::new().write(true).create_new(true).open(path)
    };
    let mut file = match opened {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            let config = from_anywhere(path);
            anyhow::bail!(
                "{} is there already; `millstream init --force --config {config}` replaces it",
                path.display()
            );
        }
        opened => opened.with_context(|| format!("write {}", path.display()))?,
    };
    file.write_all(TEMPLATE.as_bytes()).with_context(|| format!("write {}", path.display()))?;
    let config = from_anywhere(path);
    screen::print(&format!(
        "wrote {}: every setting with its default\n\n\
         next: millstream doctor --config {config}\n      millstream run --config {config}",
        path.display()
    ));
    Ok(ExitCode::SUCCESS)
}
