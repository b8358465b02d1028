//! A real file tree, so that names are as odd as in life.

use std::path::{Path, PathBuf};

use anyhow::ensure;

/// Enough for hours of new names; more would only take memory.
const FILES_MAX: usize = 50_000;

/// A file of the tree.
#[derive(Clone, Debug)]
pub(super) struct File {
    pub(super) name: String,
    pub(super) size: u64,
}

/// Names relative to the root, and sizes, in a fixed order.
pub(super) fn files(root: &Path) -> anyhow::Result<Vec<File>> {
    let mut files = Vec::new();
    let mut directories: Vec<PathBuf> = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        // A directory that may not be read is no reason to stop.
        let Ok(entries) = std::fs::read_dir(&directory) else { continue };
        let mut entries: Vec<_> = entries.flatten().collect();
        entries.sort_by_key(std::fs::DirEntry::file_name);
        for entry in entries {
            let Ok(kind) = entry.file_type() else { continue };
            if kind.is_dir() {
                directories.push(entry.path());
            } else if kind.is_file() && files.len() < FILES_MAX {
                let path = entry.path();
                let (Ok(relative), Ok(metadata)) = (path.strip_prefix(root), entry.metadata()) else { continue };
                if let Some(name) = relative.to_str() {
                    files.push(File { name: name.to_owned(), size: metadata.len() });
                }
            }
        }
        if files.len() >= FILES_MAX {
            break;
        }
    }
    ensure!(!files.is_empty(), "no files under {}: name another tree with --tree", root.display());
    Ok(files)
}
