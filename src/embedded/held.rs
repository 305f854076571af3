//! Directories that are held open.
//!
//! In `/tmp` a name is anybody's once its directory has been removed. What is done through a handle is done in
//! the directory that was looked at, wherever its name leads by then.

use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{AtFlags, Dir, Mode, OFlags};

const FILE: OFlags = OFlags::RDWR.union(OFlags::NOFOLLOW).union(COMMON);
const DIRECTORY: OFlags = OFlags::DIRECTORY.union(OFlags::NOFOLLOW).union(COMMON);
/// Does not wait for a writer to a pipe.
const COMMON: OFlags = OFlags::NONBLOCK.union(OFlags::CLOEXEC);

/// For ourselves only.
const PRIVATE_FILE: Mode = Mode::RUSR.union(Mode::WUSR);

/// A directory that is held open.
#[derive(Debug)]
pub(super) struct Held(File);

impl Held {
    /// Opens a directory; a link is refused.
    pub(super) fn open(dir: &Path) -> io::Result<Held> {
        Ok(Held(rustix::fs::open(dir, DIRECTORY, Mode::empty())?.into()))
    }

    pub(super) fn handle(&self) -> &File {
        &self.0
    }

    pub(super) fn metadata(&self) -> io::Result<Metadata> {
        self.0.metadata()
    }

    /// Whether a path leads here.
    pub(super) fn is_at(&self, dir: &Path) -> bool {
        let id = |metadata: Metadata| (metadata.dev(), metadata.ino());
        match (self.metadata(), std::fs::symlink_metadata(dir)) {
            (Ok(held), Ok(there)) => id(held) == id(there),
            _ => false,
        }
    }

    /// Creates a file, which must not exist, for ourselves only.
    pub(super) fn create(&self, name: impl AsRef<Path>) -> io::Result<File> {
        let flags = FILE | OFlags::CREATE | OFlags::EXCL;
        Ok(rustix::fs::openat(&self.0, name.as_ref(), flags, PRIVATE_FILE)?.into())
    }

    /// Opens a file of ours for reading and writing.
    pub(super) fn file(&self, name: impl AsRef<Path>) -> io::Result<File> {
        Ok(rustix::fs::openat(&self.0, name.as_ref(), FILE, Mode::empty())?.into())
    }

    /// Whether a name in here leads to this file.
    pub(super) fn has(&self, name: &str, file: &File) -> bool {
        let there = rustix::fs::statat(&self.0, name, AtFlags::SYMLINK_NOFOLLOW);
        let same = |there: rustix::fs::Stat| {
            rustix::fs::fstat(file).is_ok_and(|it| it.st_ino == there.st_ino)
        };
        there.is_ok_and(same)
    }

    /// Creates a directory for ourselves only, unless it is there.
    pub(super) fn make_dir(&self, name: &str) -> io::Result<()> {
        match rustix::fs::mkdirat(&self.0, name, Mode::RWXU) {
            Err(rustix::io::Errno::EXIST) => Ok(()),
            made => made.map_err(io::Error::from),
        }
    }

    pub(super) fn remove_file(&self, name: impl AsRef<Path>) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&self.0, name.as_ref(), AtFlags::empty())?)
    }

    /// The names in a directory in here.
    pub(super) fn names(&self, dir: &str) -> io::Result<Vec<OsString>> {
        let dir = rustix::fs::openat(&self.0, dir, DIRECTORY, Mode::empty())?;
        let mut names = Vec::new();
        for entry in Dir::read_from(dir)? {
            let name = OsString::from_vec(entry?.file_name().to_bytes().to_vec());
            if name != OsStr::new(".") && name != OsStr::new("..") {
                names.push(name);
            }
        }
        Ok(names)
    }
}
