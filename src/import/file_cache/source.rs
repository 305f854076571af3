//! The files of a cache: those of a directory, or whatever else yields named bytes.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use walkdir::WalkDir;

use crate::error::{Error, Result};
use crate::import::input::{from_path, unreadable, unreadable_because};

/// Deepest directory that is looked into, counted from the cache's own.
const DEPTH: usize = 32;

/// Where the files of a cache come from: a directory, or anything that yields them, such as the
/// members of an archive.
pub struct FileCacheSource(Input);

enum Input {
    Directory(PathBuf),
    Files(Box<dyn Iterator<Item = io::Result<CachedFile>> + Send>),
}

/// One file of a cache.
pub struct CachedFile {
    /// Its path, relative to the cache's own directory.
    pub path: PathBuf,
    /// When it was written: the time of its document, if the document has none. A future time counts as
    /// now.
    pub modified: DateTime<Utc>,
    /// What is in it, plain or compressed by gzip. It is read in a thread in which it may block.
    pub content: Box<dyn Read + Send>,
}

impl FileCacheSource {
    /// The files that `files` yields; an error of it ends the import.
    pub fn files(files: impl Iterator<Item = io::Result<CachedFile>> + Send + 'static) -> Self {
        FileCacheSource(Input::Files(Box::new(files)))
    }

    /// The files one after another; of one that cannot be opened its path and why.
    pub(super) fn open(self) -> Result<Box<dyn Iterator<Item = Found>>> {
        let directory = match self.0 {
            Input::Files(files) => {
                return Ok(Box::new(
                    files.map(|file| file.map_err(|e| Missed::All(unreadable(&e)))),
                ));
            }
            Input::Directory(directory) => directory,
        };
        // Reported at once, instead of as one rejected file.
        std::fs::read_dir(&directory)
            .map_err(|e| Error::invalid("directory", unreadable_because(&e)))?;
        // Symbolic links are not followed: what they lead to need not belong to the cache.
        let entries = WalkDir::new(&directory).min_depth(1).max_depth(DEPTH).into_iter();
        Ok(Box::new(entries.filter_map(move |entry| {
            let entry = match entry {
                Ok(entry) => entry,
                Err(e) => {
                    let path =
                        e.path().map_or_else(PathBuf::new, |path| relative(path, &directory));
                    let why =
                        e.io_error().map_or_else(|| "cannot be read".into(), unreadable_because);
                    return Some(Err(Missed::One(path, why)));
                }
            };
            let path = relative(entry.path(), &directory);
            if entry.file_type().is_dir() {
                let is_too_deep = entry.depth() == DEPTH;
                let why = || format!("nested deeper than {DEPTH} directories");
                return is_too_deep.then(|| Err(Missed::One(path, why())));
            }
            entry.file_type().is_file().then(|| opened(entry.path(), path))
        })))
    }
}

/// A file, or why it was missed.
pub(super) type Found = std::result::Result<CachedFile, Missed>;

/// A file that cannot be opened, or an end of all.
pub(super) enum Missed {
    One(PathBuf, String),
    All(Error),
}

fn relative(path: &Path, directory: &Path) -> PathBuf {
    path.strip_prefix(directory).unwrap_or(path).to_owned()
}

fn opened(at: &Path, path: PathBuf) -> Found {
    let opened = File::open(at).and_then(|file| Ok((file.metadata()?.modified()?, file)));
    match opened {
        Ok((modified, file)) => {
            Ok(CachedFile { path, modified: modified.into(), content: Box::new(file) })
        }
        Err(e) => Err(Missed::One(path, unreadable_because(&e))),
    }
}

impl std::fmt::Debug for FileCacheSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0 {
            Input::Directory(path) => f.debug_tuple("FileCacheSource").field(path).finish(),
            Input::Files(_) => f.write_str("FileCacheSource(files)"),
        }
    }
}

impl std::fmt::Debug for CachedFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CachedFile")
            .field("path", &self.path)
            .field("modified", &self.modified)
            .finish_non_exhaustive()
    }
}

from_path!(FileCacheSource, |path| FileCacheSource(Input::Directory(path)));
