//! What root may do by path, and how it reads the files of the account that the server runs as.
//!
//! A path is safe when only root can change what it leads to: each directory on the way belongs to root, and
//! nobody else may write in it, or it is sticky, as `/tmp` is, where nobody can move what is another's. A
//! server's directory is root's then, and root keeps its locks, notes and logs there. The data and the
//! socket's directory in it belong to the account; of these root uses the last component only, by handles
//! that follow no link.
//!
//! Where the server runs as ourselves, only [`read`] is called.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::{File, Metadata, Permissions, TryLockError};
use std::io::{self, ErrorKind, Read as _};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, fchown};
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::account::Account;
use super::fetch;
use super::held::Held;
use super::place::{CLIENT, DATA, FETCH_LOCK_FILE, LOCK_FILE, NEW_DATA, RUN, SOCKET_FILE};
use super::share::USERS;
use crate::error::embedded::{EmbeddedError, Result, io};

/// As many links as Linux follows.
const LINKS_MAX: usize = 40;

/// More than any file has that is read here.
const READ_MAX: u64 = 64 << 10;

/// How long another program may take to take over a directory.
const PATIENCE: Duration = Duration::from_secs(10);

/// Write permission of group and others.
const OTHERS_WRITE: u32 = 0o022;
const STICKY: u32 = 0o1000;

fn bad(path: &Path, reason: impl Into<String>) -> EmbeddedError {
    EmbeddedError::BadDirectory { path: path.to_path_buf(), reason: reason.into() }
}

/// Follows `path` as far as it exists: the directory that this leads to, without links, and the names that
/// do not exist below it.
///
/// # Errors
/// [`EmbeddedError::BadDirectory`] when anybody but root could change where it leads.
pub(super) fn resolve(path: &Path) -> Result<(PathBuf, Vec<OsString>)> {
    let absolute = std::path::absolute(path).map_err(io("resolve", path))?;
    let mut names = names(&absolute);
    let mut found = PathBuf::from("/");
    let mut links = 0;
    while let Some(name) = names.pop_front() {
        closed(path, &found)?;
        if name == ".." {
            found.pop();
            continue;
        }
        let next = found.join(&name);
        let metadata = match std::fs::symlink_metadata(&next) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                names.push_front(name);
                if names.iter().any(|name| name == "..") {
                    return Err(bad(path, "it leads through a directory that does not exist"));
                }
                return Ok((found, names.into()));
            }
            Err(error) => return Err(io("examine", &next)(error)),
        };
        if metadata.is_symlink() {
            links += 1;
            if metadata.uid() != 0 || links > LINKS_MAX {
                return Err(changeable(path, &next));
            }
            let target = std::fs::read_link(&next).map_err(io("read", &next))?;
            if target.is_absolute() {
                found = PathBuf::from("/");
            }
            let mut target = self::names(&target);
            target.append(&mut names);
            names = target;
        } else if metadata.is_dir() {
            found = next;
        } else {
            return Err(bad(path, format!("{} is not a directory", next.display())));
        }
    }
    closed(path, &found)?;
    Ok((found, Vec::new()))
}

/// As [`resolve`], of a directory that exists.
pub(super) fn existing(path: &Path) -> Result<PathBuf> {
    match resolve(path)? {
        (found, missing) if missing.is_empty() => Ok(found),
        _ => Err(bad(path, "it does not exist")),
    }
}

fn names(path: &Path) -> VecDeque<OsString> {
    let name = |component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some(OsString::from("..")),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    };
    path.components().filter_map(name).collect()
}

/// Checks that nobody but root can exchange what is root's in `dir`.
fn closed(path: &Path, dir: &Path) -> Result<()> {
    let metadata = std::fs::symlink_metadata(dir).map_err(io("examine", dir))?;
    let sticky = metadata.mode() & STICKY != 0;
    if metadata.uid() == 0 && (sticky || metadata.mode() & OTHERS_WRITE == 0) {
        return Ok(());
    }
    Err(changeable(path, dir))
}

fn changeable(path: &Path, dir: &Path) -> EmbeddedError {
    let reason = format!(
        "this program runs as root, and others than root can change {}, which leads there",
        dir.display()
    );
    bad(path, reason)
}

/// Whether a directory is root's alone, ready for the account, and of this crate.
fn is_taken(account: &Account, dir: &Path, metadata: &Metadata) -> bool {
    metadata.uid() == 0
        && Some(metadata.gid()) == account.demoted_gid()
        && metadata.mode() & OTHERS_WRITE == 0
        && MARKS.iter().any(|mark| {
            let mark = std::fs::symlink_metadata(dir.join(mark));
            mark.is_ok_and(|mark| is_mark(&mark))
        })
}

/// Files that only this crate makes, in a server's directory or in one of fetched programs.
const MARKS: [&str; 2] = [LOCK_FILE, FETCH_LOCK_FILE];

fn is_mark(metadata: &Metadata) -> bool {
    metadata.is_file() && metadata.uid() == 0
}

/// Lets the account's group into a directory of root's.
pub(super) fn open_to_account(account: &Account, held: &Held) -> io::Result<()> {
    held.handle().set_permissions(Permissions::from_mode(0o750))?;
    // The group last: it says that the directory is as it should be.
    fchown(held.handle(), Some(0), account.demoted_gid())
}

/// Makes a directory below a safe one root's own: an empty one, or one of an earlier version of this crate,
/// which left it to the account. Until the group is the account's, whatever else is in it may have been put
/// there by anybody; it is sorted out while nobody but root can change it.
pub(super) fn take(account: &Account, dir: &Path) -> Result<()> {
    let held = hold(dir)?;
    let examine = || held.metadata().map_err(io("examine", dir));
    if is_taken(account, dir, &examine()?) {
        return Ok(());
    }
    wait_for_lock(held.handle(), dir)?;
    let before = examine()?;
    if is_taken(account, dir, &before) {
        return Ok(());
    }
    if before.uid() != 0 && before.uid() != account.uid {
        return Err(bad(dir, "it belongs to another user"));
    }
    let restrict = |mode: u32, uid: u32, gid: u32| {
        fchown(held.handle(), Some(uid), Some(gid))?;
        held.handle().set_permissions(Permissions::from_mode(mode))
    };
    // The account can go through, to empty directories of its own, but change nothing here.
    restrict(0o711, 0, 0).map_err(io("change the owner of", dir))?;
    // From now on nobody but root can move it.
    let sorted = if held.is_at(dir) {
        sort_out(account, dir, &held)
    } else {
        Err(bad(dir, "it was exchanged while it was examined"))
    };
    if let Err(error) = sorted {
        // As it was: it is not ours.
        restrict(before.mode() & 0o7777, before.uid(), before.gid())
            .map_err(io("give back", dir))?;
        return Err(error);
    }
    open_to_account(account, &held).map_err(io("open to the server", dir))
}

/// Holds a directory, which a link is not.
pub(super) fn hold(dir: &Path) -> Result<Held> {
    Held::open(dir).map_err(|error| match Errno::from_io_error(&error) {
        Some(Errno::NOTDIR | Errno::LOOP) => bad(dir, "it is not a directory"),
        _ => io("open", dir)(error),
    })
}

fn wait_for_lock(handle: &File, dir: &Path) -> Result<()> {
    let began = Instant::now();
    loop {
        match handle.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) if began.elapsed() < PATIENCE => {
                super::pause(Duration::from_millis(10));
            }
            Err(TryLockError::WouldBlock) => {
                let (dir, seconds) = (dir.to_path_buf(), PATIENCE.as_secs());
                return Err(EmbeddedError::Busy { dir, seconds });
            }
            Err(TryLockError::Error(error)) => return Err(io("lock", dir)(error)),
        }
    }
}

/// Checks that the directory is one of ours, and keeps of what is in it only what does no harm.
fn sort_out(account: &Account, dir: &Path, held: &Held) -> Result<()> {
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(io("read", dir))? {
        let entry = entry.map_err(io("read", dir))?;
        let metadata = entry.metadata().map_err(io("examine", &entry.path()))?;
        entries.push((entry.file_name().to_string_lossy().into_owned(), metadata));
    }
    let marked = |name: &str, metadata: &Metadata| MARKS.contains(&name) && is_mark(metadata);
    if !entries.is_empty() && !entries.iter().any(|(name, metadata)| marked(name, metadata)) {
        return Err(bad(dir, "it holds other files, or those of a server that root did not start"));
    }
    for (name, metadata) in &entries {
        if name == DATA && (!metadata.is_dir() || metadata.uid() != account.uid) {
            return Err(bad(dir, format!("{DATA} in it is not a directory of {}", account.name())));
        }
    }
    if in_use(&dir.join(USERS)) {
        return Err(bad(
            dir,
            "a program with an earlier version of this crate uses it; end that first",
        ));
    }
    for (name, metadata) in &entries {
        let path = dir.join(name);
        if marked(name, metadata) {
            // A new one, which the account has not opened; at no time without a mark, should we be killed.
            let new = format!("{name}-{}", super::place::random_suffix());
            held.create(&new).map_err(io("create", &dir.join(&new)))?;
            std::fs::rename(dir.join(&new), &path).map_err(io("replace", &path))?;
        } else if OWN.contains(&name.as_str())
            || name.starts_with(NEW_DATA)
            || name == SOCKET_FILE && !is_socket(account, &path)
        {
            if metadata.is_dir() {
                account.discard(&path)?;
            } else {
                std::fs::remove_file(&path).map_err(io("remove", &path))?;
            }
        } else if fetch::is_programs(name) && !all_roots(&path) {
            if metadata.is_dir() {
                // The standard library's follows no link, whatever the owner does meanwhile.
                std::fs::remove_dir_all(&path).map_err(io("remove", &path))?;
            } else {
                std::fs::remove_file(&path).map_err(io("remove", &path))?;
            }
        }
    }
    Ok(())
}

/// Whether a program of root's lives that has an entry among the users. They were the account's to exchange:
/// each is looked at by a handle.
fn in_use(users: &Path) -> bool {
    if !std::fs::symlink_metadata(users).is_ok_and(|users| users.is_dir()) {
        return false;
    }
    let mut entries = std::fs::read_dir(users).into_iter().flatten().flatten();
    entries.any(|entry| {
        open_unfollowed(&entry.path()).is_ok_and(|file| {
            file.metadata().is_ok_and(|metadata| is_mark(&metadata))
                && matches!(file.try_lock(), Err(TryLockError::WouldBlock))
        })
    })
}

/// Opens the last component only as what it is, and waits for nobody who would write to a pipe.
fn open_unfollowed(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?.into())
}

/// Names that the launcher uses and makes again. A socket of earlier versions stays, because one of their
/// servers may be listening.
const OWN: [&str; 11] = [
    ".s.PGSQL.5432.lock",
    LOCK_FILE,
    FETCH_LOCK_FILE,
    USERS,
    "initdb-pid",
    "server-pid",
    "socket-dir",
    "server.log",
    "server.log.old",
    RUN,
    CLIENT,
];

/// Whether all of a tree is root's, and root's alone to change.
fn all_roots(path: &Path) -> bool {
    let Ok(metadata) = std::fs::symlink_metadata(path) else { return false };
    if metadata.uid() != 0 || metadata.mode() & OTHERS_WRITE != 0 {
        return false;
    }
    if !metadata.is_dir() {
        return metadata.is_file();
    }
    std::fs::read_dir(path)
        .is_ok_and(|mut entries| entries.all(|entry| entry.is_ok_and(|it| all_roots(&it.path()))))
}

/// The start of a file that the account owns, in one of its directories; `None` when it does not exist. What
/// the account may have put in its place, a link, a pipe or another user's file, is an error.
pub(super) fn read(account: &Account, path: &Path) -> io::Result<Option<String>> {
    let file = match open_unfollowed(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let metadata = file.metadata()?;
    if !metadata.is_file() || metadata.uid() != account.uid {
        return Err(io::Error::new(ErrorKind::InvalidData, "it is not a file of the server's"));
    }
    let mut bytes = Vec::new();
    file.take(READ_MAX).read_to_end(&mut bytes)?;
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

/// Makes a socket of the account's known under a name that only root can change, so that root's connections
/// go where they did when it was looked at. False when there is no socket of the account's.
pub(super) fn link_socket(account: &Account, theirs: &Path, ours: &Path) -> Result<bool> {
    let new = ours.join(format!("new-{}", super::place::random_suffix()));
    // Of a symbolic link the link itself gets another name.
    match std::fs::hard_link(theirs, &new) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(io("link", theirs)(error)),
    }
    let is_theirs = is_socket(account, &new);
    if is_theirs {
        let socket = ours.join(SOCKET_FILE);
        std::fs::rename(&new, &socket).map_err(io("create", &socket))?;
    } else {
        std::fs::remove_file(&new).map_err(io("remove", &new))?;
    }
    Ok(is_theirs)
}

/// Whether there is a socket of the account's, in a directory of root's.
pub(super) fn is_socket(account: &Account, path: &Path) -> bool {
    std::fs::symlink_metadata(path)
        .is_ok_and(|it| it.file_type().is_socket() && it.uid() == account.uid)
}
