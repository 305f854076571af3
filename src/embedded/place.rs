//! Where a server, its socket and fetched programs live.

use std::collections::hash_map::RandomState;
use std::fs::{DirBuilder, Permissions};
use std::hash::{BuildHasher, Hasher};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::account::Account;
use super::guard;
use super::held::Held;
use crate::error::embedded::{EmbeddedError, Result, io};

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

/// The directory with PostgreSQL's data, in a server's.
pub(super) const DATA: &str = "data";
/// Prefix of a data directory in the making.
pub(super) const NEW_DATA: &str = "data.new-";

/// The directory in which a server that runs as another account makes its socket, and the one in which root
/// finds it.
pub(super) const RUN: &str = "run";
pub(super) const CLIENT: &str = "socket";

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

/// The directory of the shared server called `key`; the first program creates it. In memory where
/// there is plenty: copying a database is several times faster there, above all when other programs
/// keep the disk busy.
pub(super) fn shared(account: &Account, key: &str) -> Result<PathBuf> {
    let name = format!("{SHARED_PREFIX}{}-{key}", account.own_uid);
    let memory = Path::new(MEMORY);
    // A temporary directory that was asked for is taken.
    if std::env::var_os("TMPDIR").is_none()
        && has_room(memory)
        && let Some(memory) = usable(account, memory)?
    {
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
        return prepare(account, dir);
    }
    first_usable(account, "XDG_DATA_HOME", ".local/share", "/var/lib")
}

/// The directory for fetched programs: readable by the server's account.
pub(super) fn cache(account: &Account) -> Result<PathBuf> {
    first_usable(account, "XDG_CACHE_HOME", ".cache", "/var/cache")
}

/// The directories that [`cache`] used earlier, as far as nobody else can change what is in them.
pub(super) fn caches(account: &Account) -> Vec<PathBuf> {
    let existing = candidates(account, "XDG_CACHE_HOME", ".cache", "/var/cache")
        .into_iter()
        .filter(|dir| dir.symlink_metadata().is_ok());
    if account.is_demoted() {
        return existing.filter_map(|dir| prepare(account, &dir).ok()).collect();
    }
    existing.filter(|dir| hold_private(account, dir).is_ok()).collect()
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
            Ok(usable) => {
                if let Some(EmbeddedError::BadDirectory { path, reason }) = refused {
                    tracing::info!(
                        wanted = %path.display(), %reason, using = %usable.display(),
                        "the usual directory cannot be used"
                    );
                }
                return Ok(usable);
            }
            Err(error) => {
                let error = match error {
                    EmbeddedError::Io { path, source, .. } => {
                        EmbeddedError::BadDirectory { path, reason: source.to_string() }
                    }
                    other => other,
                };
                // Its data is not to be missed silently for an empty server elsewhere.
                if holds_roots_server(account, &dir) {
                    return Err(error);
                }
                refused.get_or_insert(error);
            }
        }
    }
    Err(refused.unwrap_or_else(|| EmbeddedError::BadDirectory {
        path: std::env::temp_dir(),
        reason: "no usable directory".into(),
    }))
}

/// Whether an earlier version of this crate, run by root, kept its data in `dir`.
fn holds_roots_server(account: &Account, dir: &Path) -> bool {
    let uid = |path: &Path| path.symlink_metadata().ok().map(|metadata| metadata.uid());
    account.is_demoted()
        && uid(dir) == Some(account.uid)
        && uid(&dir.join(DATA)) == Some(account.uid)
        && uid(&dir.join(LOCK_FILE)) == Some(0)
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
    let bases = [PathBuf::from("/var/tmp"), std::env::temp_dir()];
    // Earlier versions took the account's uid where root uses its own now.
    let earlier = bases.iter().map(|base| base.join(format!("{NAME}-{}", account.uid)));
    found.extend(earlier.filter(|dir| holds_roots_server(account, dir)));
    found.extend(bases.iter().map(|base| base.join(format!("{NAME}-{}", account.own_uid))));
    found
}

/// A directory for short-lived files that we can create directories in, and that the account can enter.
fn temporary_base(account: &Account) -> Result<PathBuf> {
    let wanted = std::env::temp_dir();
    for base in [wanted.as_path(), Path::new("/tmp"), Path::new("/var/tmp")] {
        if let Some(base) = usable(account, base)? {
            return Ok(base);
        }
    }
    Err(EmbeddedError::BadDirectory {
        reason: format!("{} cannot create files there, or others can change it", account.name()),
        path: wanted,
    })
}

/// The directory's own path, if it will do for directories of ours.
fn usable(account: &Account, base: &Path) -> Result<Option<PathBuf>> {
    if !account.is_demoted() {
        let fits = account.can_write_in(base);
        let base = std::path::absolute(base).map_err(io("resolve", base))?;
        return Ok(fits.then_some(base));
    }
    let Ok(found) = guard::existing(base) else { return Ok(None) };
    Ok((account.can_enter(&found) && account.we_can_write_in(&found)).then_some(found))
}

/// Creates `dir`, which must not exist, with nobody let in but us and the server.
pub(super) fn create_private(account: &Account, dir: &Path) -> Result<Held> {
    DirBuilder::new().mode(0o700).create(dir).map_err(io("create", dir))?;
    hold_private(account, dir)
}

/// Holds an existing directory, a private one of ours: no other account can have put a server there.
pub(super) fn hold_private(account: &Account, dir: &Path) -> Result<Held> {
    let held = guard::hold(dir)?;
    let metadata = held.metadata().map_err(io("examine", dir))?;
    // Root's lets the account through.
    let others = if account.is_demoted() { 0o027 } else { 0o077 };
    if metadata.uid() != account.own_uid || metadata.mode() & others != 0 {
        return Err(EmbeddedError::BadDirectory {
            path: dir.to_path_buf(),
            reason: "it is not a private directory of the current user".into(),
        });
    }
    if account.is_demoted() && Some(metadata.gid()) != account.demoted_gid() {
        guard::open_to_account(account, &held).map_err(io("open to the server", dir))?;
    }
    Ok(held)
}

/// Makes `dir` a server's own directory: created when absent; when present it must be ours, or empty. What it
/// is called then, without links where we are root.
fn prepare(account: &Account, dir: &Path) -> Result<PathBuf> {
    let dir = std::path::absolute(dir).map_err(io("resolve", dir))?;
    let unreachable = || EmbeddedError::BadDirectory {
        path: dir.clone(),
        reason: format!(
            "the server runs as {} here, who cannot enter it or write in it",
            account.name()
        ),
    };
    if account.is_demoted() {
        let (Some(parent), Some(name)) = (dir.parent(), dir.file_name()) else {
            return Err(unreachable());
        };
        let (mut path, missing) = guard::resolve(parent)?;
        if !account.can_enter(&path) {
            return Err(unreachable());
        }
        for name in missing {
            path.push(name);
            // The server's account must get through.
            if !create(&path, 0o755)? {
                // Somebody was faster.
                path = guard::existing(&path)?;
            }
        }
        path.push(name);
        create(&path, 0o700)?;
        guard::take(account, &path)?;
        return if account.can_enter(&path) { Ok(path) } else { Err(unreachable()) };
    }
    if let Some(parent) = dir.parent() {
        let existing = parent.ancestors().find(|ancestor| ancestor.exists());
        if !existing.is_some_and(|ancestor| account.can_enter(ancestor)) {
            return Err(unreachable());
        }
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(parent)
            .map_err(io("create", parent))?;
    }
    if !create(&dir, 0o700)? {
        adopt(account, &dir)?;
    }
    if account.can_write_in(&dir) { Ok(dir) } else { Err(unreachable()) }
}

/// Creates a directory; false when there is something of that name already.
pub(super) fn create(dir: &Path, mode: u32) -> Result<bool> {
    match DirBuilder::new().mode(mode).create(dir) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(io("create", dir)(error)),
    }
}

/// Whether there is a directory of ours.
pub(super) fn is_own_dir(account: &Account, dir: &Path) -> bool {
    let metadata = std::fs::symlink_metadata(dir);
    metadata.is_ok_and(|it| it.is_dir() && it.uid() == account.own_uid)
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
    if metadata.uid() != account.uid {
        return Err(bad("it belongs to another user"));
    }
    let ours = dir.join(LOCK_FILE).exists() || dir.join(FETCH_LOCK_FILE).exists();
    let mut entries = std::fs::read_dir(dir).map_err(io("read", dir))?;
    if !ours && entries.next().is_some() {
        return Err(bad("it holds other files"));
    }
    if metadata.permissions().mode() & 0o777 != 0o700 {
        std::fs::set_permissions(dir, Permissions::from_mode(0o700))
            .map_err(io("make private", dir))?;
    }
    Ok(())
}

/// Where a server has its socket.
#[derive(Clone, Debug)]
pub(super) struct Sockets {
    /// The server's directory, or a short one of its own.
    pub(super) base: PathBuf,
    /// Where the server makes it.
    pub(super) server: PathBuf,
    /// Where programs find it.
    pub(super) client: PathBuf,
}

impl Sockets {
    pub(super) fn of(account: &Account, base: &Path) -> Sockets {
        let (server, client) = if account.is_demoted() {
            (base.join(RUN), base.join(CLIENT))
        } else {
            (base.to_path_buf(), base.to_path_buf())
        };
        Sockets { base: base.to_path_buf(), server, client }
    }

    fn create(account: &Account, base: &Path) -> Result<Sockets> {
        let sockets = Sockets::of(account, base);
        if account.is_demoted() {
            if create(&sockets.server, 0o700)? {
                account.give(&sockets.server)?;
            }
            create(&sockets.client, 0o700)?;
        }
        Ok(sockets)
    }

    fn fit(&self) -> bool {
        fits(&self.server) && fits(&self.client)
    }
}

/// Where the server in `dir` puts its socket: in `dir`, or in a short directory of its own when that
/// path would not fit into a socket address or a list of directories.
pub(super) fn sockets(account: &Account, dir: &Path) -> Result<Sockets> {
    if Sockets::of(account, dir).fit() {
        return Sockets::create(account, dir);
    }
    let name = format!("{SOCKET_PREFIX}{}", random_suffix());
    for base in [std::env::temp_dir(), "/tmp".into(), "/var/tmp".into()] {
        let Some(base) = usable(account, &base)? else { continue };
        let short = base.join(&name);
        if Sockets::of(account, &short).fit() && create_private(account, &short).is_ok() {
            return Sockets::create(account, &short);
        }
    }
    Err(EmbeddedError::BadDirectory {
        path: dir.to_path_buf(),
        reason: format!(
            "its path is too long for a socket ({SOCKET_PATH_MAX} bytes) or has a comma or a quote, and no other \
             directory can be created"
        ),
    })
}

/// Whether a socket's path can be in it, and the server and its URL can name it: each takes a list of directories.
fn fits(dir: &Path) -> bool {
    let bytes = dir.as_os_str().as_bytes();
    let is_listed = !bytes.iter().any(|b| b",\"".contains(b)) && !bytes.ends_with(b" ");
    bytes.len() + 1 + SOCKET_FILE.len() <= SOCKET_PATH_MAX && is_listed
}

/// Whether `dir` is a separate socket directory made by [`sockets`].
pub(super) fn is_socket_dir(dir: &Path) -> bool {
    dir.file_name().is_some_and(|name| name.to_string_lossy().starts_with(SOCKET_PREFIX))
}
