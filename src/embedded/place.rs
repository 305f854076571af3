//! Where a server, its socket and fetched programs live.

use std::collections::hash_map::RandomState;
use std::fs::{DirBuilder, Metadata, Permissions};
use std::hash::{BuildHasher, Hasher};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::account::Account;
use super::error::{EmbeddedError, Result, io};

/// Marks a directory as a server's own, and is what programs that share the server lock while they
/// start it.
pub(super) const LOCK_FILE: &str = "buffetbot-db.lock";

/// The same for a directory of fetched programs.
pub(super) const FETCH_LOCK_FILE: &str = "buffetbot-db-fetch.lock";

/// Prefix of ephemeral server directories.
pub(super) const EPHEMERAL_PREFIX: &str = "buffetbot-db-e-";
/// Prefix of the directories of servers that several programs share while they run.
pub(super) const SHARED_PREFIX: &str = "buffetbot-db-t-";
/// Prefix of socket directories apart from the server's own; `watch.sh` knows it too.
const SOCKET_PREFIX: &str = "buffetbot-db-s-";

/// File name of the socket: port 5432, on which nothing listens.
pub(super) const SOCKET_FILE: &str = ".s.PGSQL.5432";

/// Longest socket path: `sun_path` less its closing NUL.
const SOCKET_PATH_MAX: usize = if cfg!(target_os = "linux") { 107 } else { 103 };

/// Eight hexadecimal digits that differ from call to call.
pub(super) fn random_suffix() -> String {
    format!("{:08x}", RandomState::new().build_hasher().finish() as u32)
}

/// A new private directory for an ephemeral server, under the temporary directory.
pub(super) fn ephemeral(account: &Account) -> Result<PathBuf> {
    let name = format!("{EPHEMERAL_PREFIX}{}-{}", std::process::id(), random_suffix());
    let dir = temporary_base(account)?.join(name);
    create_private(account, &dir)?;
    Ok(dir)
}

/// The directory of the shared server called `key`; whoever joins first creates it. In memory where
/// there is plenty: copying a database is several times faster there, above all when other programs
/// keep the disk busy.
pub(super) fn shared(account: &Account, key: &str) -> Result<PathBuf> {
    let name = format!("{SHARED_PREFIX}{}-{key}", account.uid);
    let memory = Path::new(MEMORY);
    // A temporary directory that was asked for is taken.
    if std::env::var_os("TMPDIR").is_none() && has_room(memory) && account.can_write_in(memory) {
        return Ok(memory.join(name));
    }
    Ok(temporary_base(account)?.join(name))
}

/// A file system in memory, on Linux; containers usually have 64 MB of it.
const MEMORY: &str = "/dev/shm";

/// Enough for a server and some hundreds of test databases of 8 MB each.
const ROOM_KIB: u64 = 4 << 20;

fn has_room(dir: &Path) -> bool {
    let output = std::process::Command::new("df").arg("-Pk").arg(dir).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    // The fourth column of the second line: kibibytes available.
    text.is_ok_and(|text| {
        let free =
            text.lines().nth(1).and_then(|line| line.split_whitespace().nth(3)?.parse().ok());
        free.is_some_and(|free: u64| free >= ROOM_KIB)
    })
}

/// The directory of a kept server: the one asked for, or the first usable of the usual ones.
pub(super) fn kept(account: &Account, asked: Option<&Path>) -> Result<PathBuf> {
    if let Some(dir) = asked {
        let dir = std::path::absolute(dir).map_err(io("resolve", dir))?;
        prepare(account, &dir)?;
        return Ok(dir);
    }
    first_usable(account, "XDG_DATA_HOME", ".local/share", "/var/lib")
}

/// The directory for fetched programs: readable by the server's account.
pub(super) fn cache(account: &Account) -> Result<PathBuf> {
    first_usable(account, "XDG_CACHE_HOME", ".cache", "/var/cache")
}

/// Existing directories that [`cache`] may have used, without creating any.
pub(super) fn cache_candidates(account: &Account) -> Vec<PathBuf> {
    candidates(account, "XDG_CACHE_HOME", ".cache", "/var/cache")
}

fn first_usable(
    account: &Account,
    variable: &str,
    in_home: &str,
    for_root: &str,
) -> Result<PathBuf> {
    let mut refused = None;
    for dir in candidates(account, variable, in_home, for_root) {
        match prepare(account, &dir) {
            Ok(()) => {
                if let Some(EmbeddedError::BadDirectory { path, reason }) = refused {
                    tracing::info!(
                        wanted = %path.display(), %reason, using = %dir.display(),
                        "the usual directory cannot be used"
                    );
                }
                return Ok(dir);
            }
            Err(error) => {
                let error = match error {
                    EmbeddedError::Io { path, source, .. } => {
                        EmbeddedError::BadDirectory { path, reason: source.to_string() }
                    }
                    other => other,
                };
                refused.get_or_insert(error);
            }
        }
    }
    Err(refused.unwrap_or_else(|| EmbeddedError::BadDirectory {
        path: std::env::temp_dir(),
        reason: "no usable directory".into(),
    }))
}

fn candidates(account: &Account, variable: &str, in_home: &str, for_root: &str) -> Vec<PathBuf> {
    const NAME: &str = "buffetbot-db";
    let absolute =
        |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let mut found = Vec::new();
    found.extend(absolute(variable).map(|path| path.join(NAME)));
    found.extend(absolute("HOME").map(|path| path.join(in_home).join(NAME)));
    if account.is_demoted() {
        found.push(Path::new(for_root).join(NAME));
    }
    // World-writable directories: the uid keeps users apart, the owner check in `prepare` keeps them honest.
    let own_name = format!("{NAME}-{}", account.uid);
    found.push(Path::new("/var/tmp").join(&own_name));
    found.push(std::env::temp_dir().join(&own_name));
    found
}

/// A directory for short-lived files that the account can create directories in.
fn temporary_base(account: &Account) -> Result<PathBuf> {
    let wanted = std::env::temp_dir();
    for base in [wanted.as_path(), Path::new("/tmp"), Path::new("/var/tmp")] {
        if account.can_write_in(base) {
            return std::path::absolute(base).map_err(io("resolve", base));
        }
    }
    Err(EmbeddedError::BadDirectory {
        reason: format!("{} cannot create files there", account.name()),
        path: wanted,
    })
}

/// Creates `dir`, which must not exist, with nobody else let in.
pub(super) fn create_private(account: &Account, dir: &Path) -> Result<()> {
    DirBuilder::new().mode(0o700).create(dir).map_err(io("create", dir))?;
    account.own(dir)
}

/// Makes `dir` a server's own directory: created when absent; when present it must be ours, or empty.
fn prepare(account: &Account, dir: &Path) -> Result<()> {
    let unreachable = || EmbeddedError::BadDirectory {
        path: dir.to_path_buf(),
        reason: format!(
            "the server runs as {} here, who cannot enter it or write in it",
            account.name()
        ),
    };
    if let Some(parent) = dir.parent() {
        let existing = parent.ancestors().find(|ancestor| ancestor.exists());
        if !existing.is_some_and(|ancestor| account.can_enter(ancestor)) {
            return Err(unreachable());
        }
        // As root the server's account must get through; otherwise nobody else need.
        let mode = if account.is_demoted() { 0o755 } else { 0o700 };
        DirBuilder::new()
            .recursive(true)
            .mode(mode)
            .create(parent)
            .map_err(io("create", parent))?;
    }
    match create_private(account, dir) {
        Ok(()) => {}
        Err(EmbeddedError::Io { source, .. })
            if source.kind() == std::io::ErrorKind::AlreadyExists =>
        {
            adopt(account, dir)?;
        }
        Err(error) => return Err(error),
    }
    if account.can_write_in(dir) { Ok(()) } else { Err(unreachable()) }
}

/// Checks that an existing directory is a private one of this account, so that nobody else can have
/// put a server of his own there.
pub(super) fn check_private(account: &Account, dir: &Path) -> Result<()> {
    let metadata = std::fs::symlink_metadata(dir).map_err(io("examine", dir))?;
    let private = metadata.permissions().mode() & 0o077 == 0;
    if metadata.is_dir() && owned(account, &metadata) && private {
        return Ok(());
    }
    Err(EmbeddedError::BadDirectory {
        path: dir.to_path_buf(),
        reason: "it is not a private directory of the current user".into(),
    })
}

/// Takes over an existing directory, unless it is somebody else's or holds something else.
fn adopt(account: &Account, dir: &Path) -> Result<()> {
    let bad = |reason: &str| EmbeddedError::BadDirectory {
        path: dir.to_path_buf(),
        reason: reason.to_owned(),
    };
    let metadata = std::fs::symlink_metadata(dir).map_err(io("examine", dir))?;
    if !metadata.is_dir() {
        return Err(bad("it is not a directory"));
    }
    let ours = dir.join(LOCK_FILE).exists() || dir.join(FETCH_LOCK_FILE).exists();
    let empty = || -> Result<bool> {
        let mut entries = std::fs::read_dir(dir).map_err(io("read", dir))?;
        Ok(entries.next().is_none())
    };
    if !owned(account, &metadata) {
        return Err(bad("it belongs to another user"));
    }
    if !ours && !empty()? {
        return Err(bad("it holds other files"));
    }
    if metadata.permissions().mode() & 0o777 != 0o700 {
        std::fs::set_permissions(dir, Permissions::from_mode(0o700))
            .map_err(io("make private", dir))?;
    }
    account.own(dir)
}

/// Root's own directories count too: `own` hands them over.
fn owned(account: &Account, metadata: &Metadata) -> bool {
    metadata.uid() == account.uid || (account.is_demoted() && metadata.uid() == 0)
}

/// Where the server in `dir` puts its socket: in `dir`, or in a short directory of its own when that
/// path would not fit into a socket address.
pub(super) fn socket_dir(account: &Account, dir: &Path) -> Result<PathBuf> {
    if fits(dir) {
        return Ok(dir.to_path_buf());
    }
    let name = format!("{SOCKET_PREFIX}{}", random_suffix());
    for base in [std::env::temp_dir(), "/tmp".into(), "/var/tmp".into()] {
        let short = base.join(&name);
        if fits(&short) && account.can_write_in(&base) && create_private(account, &short).is_ok() {
            return Ok(short);
        }
    }
    Err(EmbeddedError::BadDirectory {
        path: dir.to_path_buf(),
        reason: format!(
            "its path is too long for a socket ({SOCKET_PATH_MAX} bytes) and no shorter directory can be created"
        ),
    })
}

fn fits(dir: &Path) -> bool {
    dir.as_os_str().as_bytes().len() + 1 + SOCKET_FILE.len() <= SOCKET_PATH_MAX
}

/// Whether `dir` is a separate socket directory made by [`socket_dir`].
pub(super) fn is_socket_dir(dir: &Path) -> bool {
    dir.file_name().is_some_and(|name| name.to_string_lossy().starts_with(SOCKET_PREFIX))
}
