//! How programs share one server directory.
//!
//! The directory is ours, also where the server and its data are another account's: locks and the list of
//! users are nothing that this account could change.
//!
//! Each program that uses the server has an entry in `users/`, an open and locked file, and a watcher
//! (`watch.sh`) that removes the entry when the program leaves or dies. Removing the *directory*
//! `users` succeeds only when it is empty, and only once: the program that succeeds stops the server. A program
//! that wants in creates its entry; when `users` is gone the server is being stopped, and it waits.
//! Starting, and sweeping entries whose program and watcher are both dead, happen under the lock file.

use std::fs::{File, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use super::account::Account;
use super::held::Held;
use super::place::{DATA, LOCK_FILE};
use super::watch::Watch;
use super::{guard, launch, place};
use crate::error::embedded::{EmbeddedError, Result, io};

/// The directory with an entry for each program that uses the server.
pub(super) const USERS: &str = "users";

/// How long to wait for another program that starts or stops the server.
const PATIENCE: Duration = Duration::from_secs(180);
/// After this long a stop that another program began is taken for abandoned.
const ABANDONED: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(10);

/// A server's directory and what happens to it at the end.
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
        self.dir.join(DATA)
    }

    /// Joins the programs that use this directory. The lock is held until the returned guard is
    /// dropped: nobody else starts the server meanwhile.
    pub(super) fn join(&self) -> Result<(Membership, File)> {
        let began = Instant::now();
        loop {
            let Some(held) = self.hold()? else {
                continue;
            };
            let Some((lock, fresh)) = self.lock(&held, began)? else {
                continue;
            };
            match self.enter(&held) {
                Ok(membership) => return Ok((membership, lock)),
                Err(EmbeddedError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
            let stopped = !self.vanishes && !launch::is_alive(self);
            if fresh || stopped {
                self.open_users(&held)?;
                continue;
            }
            // The last one out is stopping it.
            if began.elapsed() > PATIENCE {
                return Err(self.busy());
            }
            if began.elapsed() > ABANDONED {
                self.clear(&held)?;
            }
            drop(lock);
            super::pause(PAUSE);
        }
    }

    /// Creates a vanishing server's directory, or checks that it is ours; `None`: it has just vanished.
    fn hold(&self) -> Result<Option<Held>> {
        if !self.vanishes {
            return guard::hold(&self.dir).map(Some);
        }
        match place::create_private(&self.account, &self.dir) {
            Err(EmbeddedError::Io { source, .. }) if source.kind() == ErrorKind::AlreadyExists => {}
            other => return other.map(Some),
        }
        match place::hold_private(&self.account, &self.dir) {
            Err(EmbeddedError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {
                Ok(None)
            }
            other => other.map(Some),
        }
    }

    /// Locks the directory; `None` when it was removed meanwhile. True: nobody had locked it before.
    fn lock(&self, held: &Held, began: Instant) -> Result<Option<(File, bool)>> {
        let path = self.dir.join(LOCK_FILE);
        let (file, fresh) = match held.create(LOCK_FILE) {
            Ok(file) => (file, true),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => match held.file(LOCK_FILE) {
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
        Ok((held.has(LOCK_FILE, &file) && held.is_at(&self.dir)).then_some((file, fresh)))
    }

    fn busy(&self) -> EmbeddedError {
        EmbeddedError::Busy { dir: self.dir.clone(), seconds: PATIENCE.as_secs() }
    }

    pub(super) fn open_users(&self, held: &Held) -> Result<()> {
        held.make_dir(USERS).map_err(io("create", &self.dir.join(USERS)))
    }

    /// Makes an entry for this program. As long as it is there, nobody of ours moves or removes the directory.
    fn enter(&self, held: &Held) -> Result<Membership> {
        let entry = format!("{}-{}", std::process::id(), place::random_suffix());
        let name = Path::new(USERS).join(&entry);
        let path = self.dir.join(&name);
        let file = held.create(&name).map_err(io("create", &path))?;
        file.try_lock().map_err(std::io::Error::from).map_err(io("lock", &path))?;
        if !held.is_at(&self.dir) {
            let _ = held.remove_file(&name);
            return Err(io("find", &self.dir)(ErrorKind::NotFound.into()));
        }
        let watcher = match Watch::start(self, &entry, Stdio::piped()) {
            Ok(watcher) => watcher,
            Err(error) => {
                let _ = held.remove_file(&name);
                return Err(error);
            }
        };
        self.sweep_entries(held);
        Ok(Membership { site: self.clone(), entry, _file: file, watcher: Some(watcher) })
    }

    /// Removes entries whose program is dead. Called under the lock, so that no entry is between its
    /// creation and its locking.
    pub(super) fn sweep_entries(&self, held: &Held) {
        for entry in held.names(USERS).unwrap_or_default() {
            let name = Path::new(USERS).join(entry);
            if held.file(&name).is_ok_and(|file| file.try_lock().is_ok()) {
                let _ = held.remove_file(&name);
            }
        }
    }

    /// Does the work of a watcher that died: stops the server, and removes the directory if it vanishes.
    fn clear(&self, held: &Held) -> Result<()> {
        self.open_users(held)?;
        self.sweep_entries(held);
        let mut watch = Watch::start(self, "-", Stdio::null())?;
        watch.wait().map(drop).map_err(io("wait for", Path::new("/bin/sh")))
    }
}

/// This program's entry among those that use a server. Leaves when dropped.
#[derive(Debug)]
pub(super) struct Membership {
    site: Site,
    entry: String,
    /// Locked as long as this program lives.
    _file: File,
    watcher: Option<Watch>,
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
        watcher.begin();
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
    watcher: Watch,
}

impl Leaving {
    /// Replaces the watcher if somebody killed it.
    fn revive(&mut self) -> std::io::Result<()> {
        if self.watcher.was_killed()? {
            self.watcher = Watch::start(&self.site, &self.entry, Stdio::null())
                .map_err(std::io::Error::other)?;
        }
        Ok(())
    }

    fn finish(mut self) -> std::io::Result<()> {
        self.watcher.wait()?;
        self.revive()?;
        self.watcher.wait()
    }
}

/// Collects a child's exit status in the background, so that it does not stay as a zombie.
pub(super) fn reap(mut child: Child) {
    let thread = std::thread::Builder::new().name("buffetbot-db-reap".into());
    // Without a thread the zombie goes when the program ends: nothing more to do.
    let _ = thread.spawn(move || child.wait());
}
