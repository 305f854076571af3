//! How programs share one server directory.
//!
//! Each program that uses the server has an entry in `users/`, an open and locked file, and a watcher
//! (`watch.sh`) that removes the entry when the program leaves or dies. Removing the *directory*
//! `users` succeeds only when it is empty, and only once: whoever succeeds stops the server. A program
//! that wants in creates its entry; when `users` is gone the server is being stopped, and it waits.
//! Starting, and sweeping entries whose program and watcher are both dead, happen under the lock file.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant, SystemTime};

use super::account::Account;
use super::error::{EmbeddedError, Result, io};
use super::launch;
use super::place::{self, LOCK_FILE};

const WATCH: &str = include_str!("watch.sh");

/// How long to wait for another program that starts or stops the server.
const PATIENCE: Duration = Duration::from_secs(180);
/// After this long a stop that another program began is taken for abandoned.
const ABANDONED: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(10);

/// A server's directory and what becomes of it.
#[derive(Clone, Debug)]
pub(super) struct Site {
    pub(super) dir: PathBuf,
    pub(super) account: Account,
    /// Removed by the last one out, rather than kept for next time.
    pub(super) vanishes: bool,
    /// Seconds that the server outlives its last user, in case another one follows.
    pub(super) linger: u32,
}

impl Site {
    pub(super) fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    fn users(&self) -> PathBuf {
        self.dir.join("users")
    }

    fn watch(&self, entry: &str, stdin: Stdio) -> Result<Child> {
        let shell = Path::new("/bin/sh");
        self.account
            .command(shell)
            .args(["-c", WATCH, "buffetbot-db-watch"])
            .arg(&self.dir)
            .arg(entry)
            .arg(if self.vanishes { "remove" } else { "keep" })
            .arg(self.linger.to_string())
            .stdin(stdin)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(io("run", shell))
    }

    /// Joins the programs that use this directory. The lock is held until the returned guard is
    /// dropped: nobody else starts the server meanwhile.
    pub(super) fn join(&self) -> Result<(Membership, File)> {
        let began = Instant::now();
        loop {
            if self.vanishes && !self.stands()? {
                continue;
            }
            let (lock, fresh) = match self.lock(began)? {
                Some(locked) => locked,
                None => continue,
            };
            match self.enter() {
                Ok(membership) => return Ok((membership, lock)),
                Err(EmbeddedError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
            let stopped = !self.vanishes && !launch::is_alive(&self.data());
            if fresh || stopped {
                self.open_users()?;
                continue;
            }
            // The last one out is stopping it.
            if began.elapsed() > PATIENCE {
                return Err(self.busy());
            }
            if began.elapsed() > ABANDONED {
                self.clear()?;
            }
            drop(lock);
            super::pause(PAUSE);
        }
    }

    /// Creates a vanishing server's directory, or checks that it is ours; false: it has just vanished.
    fn stands(&self) -> Result<bool> {
        match place::create_private(&self.account, &self.dir) {
            Err(EmbeddedError::Io { source, .. }) if source.kind() == ErrorKind::AlreadyExists => {}
            other => return other.map(|()| true),
        }
        match place::check_private(&self.account, &self.dir) {
            Err(EmbeddedError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {
                Ok(false)
            }
            other => other.map(|()| true),
        }
    }

    /// Locks the directory; `None` when it was removed meanwhile. True: nobody had locked it before.
    fn lock(&self, began: Instant) -> Result<Option<(File, bool)>> {
        let path = self.dir.join(LOCK_FILE);
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        let (file, fresh) = match options.clone().create_new(true).open(&path) {
            Ok(file) => (file, true),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => match options.open(&path) {
                Ok(file) => (file, false),
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(io("open", &path)(error)),
            },
            Err(error) if error.kind() == ErrorKind::NotFound && self.vanishes => return Ok(None),
            Err(error) => return Err(io("create", &path)(error)),
        };
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if began.elapsed() > PATIENCE => {
                    return Err(self.busy());
                }
                Err(TryLockError::WouldBlock) => super::pause(PAUSE),
                Err(TryLockError::Error(error)) => return Err(io("lock", &path)(error)),
            }
        }
        let held = file.metadata().map_err(io("examine", &path))?.ino();
        let current = std::fs::metadata(&path).map(|metadata| metadata.ino());
        Ok(matches!(current, Ok(ino) if ino == held).then_some((file, fresh)))
    }

    fn busy(&self) -> EmbeddedError {
        EmbeddedError::Busy { dir: self.dir.clone(), seconds: PATIENCE.as_secs() }
    }

    fn open_users(&self) -> Result<()> {
        let users = self.users();
        match std::fs::create_dir(&users) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                Err(io("create", &users)(error))
            }
            _ => self.account.own(&users),
        }
    }

    fn enter(&self) -> Result<Membership> {
        let entry = format!("{}-{}", std::process::id(), place::random_suffix());
        let path = self.users().join(&entry);
        let file = File::create_new(&path).map_err(io("create", &path))?;
        file.try_lock().map_err(std::io::Error::from).map_err(io("lock", &path))?;
        let watcher = match self.watch(&entry, Stdio::piped()) {
            Ok(watcher) => watcher,
            Err(error) => {
                let _ = std::fs::remove_file(&path);
                return Err(error);
            }
        };
        self.sweep_entries();
        Ok(Membership { site: self.clone(), entry, _file: file, watcher: Some(watcher) })
    }

    /// Removes entries whose program is dead. Called under the lock, so that no entry is between its
    /// creation and its locking.
    fn sweep_entries(&self) {
        for entry in std::fs::read_dir(self.users()).into_iter().flatten().flatten() {
            if File::open(entry.path()).is_ok_and(|file| file.try_lock().is_ok()) {
                let _ = std::fs::remove_file(entry.path());
            }
        }
    }

    /// Does the work of a watcher that died: stops the server, and removes the directory if it vanishes.
    fn clear(&self) -> Result<()> {
        self.open_users()?;
        self.sweep_entries();
        let mut child = self.watch("-", Stdio::null())?;
        child.wait().map(drop).map_err(io("wait for", Path::new("/bin/sh")))
    }
}

/// This program's entry among those that use a server. Leaves when dropped.
#[derive(Debug)]
pub(super) struct Membership {
    site: Site,
    entry: String,
    /// Locked as long as this program lives.
    _file: File,
    watcher: Option<Child>,
}

impl Membership {
    /// Leaves, and waits until that is complete: if this was the last one out, the server has ended.
    pub(super) fn leave(mut self) -> std::io::Result<()> {
        match self.release() {
            Some(leaving) => leaving.finish(),
            None => Ok(()),
        }
    }

    /// Lets the watcher go to work.
    fn release(&mut self) -> Option<Leaving> {
        let mut watcher = self.watcher.take()?;
        drop(watcher.stdin.take());
        Some(Leaving { site: self.site.clone(), entry: self.entry.clone(), watcher })
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        let Some(mut leaving) = self.release() else {
            return;
        };
        // Looked at before the thread, which may not get to run when the program ends now.
        if leaving.revive().is_ok() {
            let thread = std::thread::Builder::new().name("buffetbot-db-leave".into());
            // Without a thread the watcher still works; it only stays as a zombie until the program ends.
            let _ = thread.spawn(move || leaving.finish());
        }
    }
}

/// A watcher at work.
struct Leaving {
    site: Site,
    entry: String,
    watcher: Child,
}

impl Leaving {
    /// Replaces the watcher if somebody killed it.
    fn revive(&mut self) -> std::io::Result<()> {
        if let Some(status) = self.watcher.try_wait()?
            && !status.success()
        {
            self.watcher =
                self.site.watch(&self.entry, Stdio::null()).map_err(std::io::Error::other)?;
        }
        Ok(())
    }

    fn finish(mut self) -> std::io::Result<()> {
        self.watcher.wait()?;
        self.revive()?;
        self.watcher.wait().map(drop)
    }
}

/// Collects a child's exit status in the background, so that it does not stay as a zombie.
pub(super) fn reap(mut child: Child) {
    let thread = std::thread::Builder::new().name("buffetbot-db-reap".into());
    // Without a thread the zombie goes when the program ends: nothing more to do.
    let _ = thread.spawn(move || child.wait());
}

/// Removes ephemeral servers whose program and watcher were both killed, as when a container's
/// processes all are.
pub(super) fn sweep_abandoned(site: &Site) {
    /// Younger ones may be between two steps of their creation or removal.
    const GRACE: Duration = Duration::from_secs(60);
    let Some(base) = site.dir.parent() else {
        return;
    };
    for entry in std::fs::read_dir(base).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let ours = [place::EPHEMERAL_PREFIX, place::SHARED_PREFIX]
            .iter()
            .any(|prefix| name.starts_with(prefix));
        let dir = entry.path();
        if !ours || dir == site.dir {
            continue;
        }
        let Ok(metadata) = std::fs::symlink_metadata(&dir) else {
            continue;
        };
        let age = newest_change(&dir).and_then(|time| SystemTime::now().duration_since(time).ok());
        if !metadata.is_dir()
            || metadata.uid() != site.account.uid
            || age.is_none_or(|age| age < GRACE)
        {
            continue;
        }
        let abandoned = Site { dir, linger: 0, ..site.clone() };
        abandoned.clear_if_unused();
    }
}

/// The later of the changes of a server's directory and of its list of users.
fn newest_change(dir: &Path) -> Option<SystemTime> {
    let changed = |path: &Path| std::fs::metadata(path).and_then(|metadata| metadata.modified());
    let own = changed(dir).ok()?;
    Some(changed(&dir.join("users")).map_or(own, |users| users.max(own)))
}

impl Site {
    fn clear_if_unused(&self) {
        let lock = OpenOptions::new().read(true).write(true).open(self.dir.join(LOCK_FILE));
        let free = match &lock {
            Ok(file) => file.try_lock().is_ok(),
            Err(error) => error.kind() == ErrorKind::NotFound,
        };
        if !free {
            return;
        }
        self.sweep_entries();
        let used =
            std::fs::read_dir(self.users()).is_ok_and(|mut entries| entries.next().is_some());
        if used || self.open_users().is_err() {
            return;
        }
        if let Ok(child) = self.watch("-", Stdio::null()) {
            reap(child);
        }
    }
}
