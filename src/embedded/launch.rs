//! Makes a data directory and runs a server on it.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::account::printed;
use super::locate::Programs;
use super::place::{NEW_DATA, SOCKET_FILE, Sockets};
use super::share::{Site, reap};
use super::{guard, place};
use crate::error::embedded::{EmbeddedError, Result, io};

/// Line of `postmaster.pid` with the socket directory, and with the state.
const PID_LINE_SOCKET: usize = 4;
const PID_LINE_STATE: usize = 7;

/// How much of a server's log ends the message of a failed start.
const LOG_TAIL_LINES: usize = 12;
const LOG_TAIL_BYTES: i64 = 16 << 10;

/// Files in the server's directory that say what `watch.sh` has to stop and to remove.
const INITDB_NOTE: &str = "initdb-pid";
const SERVER_NOTE: &str = "server-pid";
const SOCKET_NOTE: &str = "socket-dir";

const PAUSE: Duration = Duration::from_millis(3);

/// Settings of a server whose data nobody needs after a crash.
const FAST: [(&str, &str); 8] = [
    ("fsync", "off"),
    ("synchronous_commit", "off"),
    ("full_page_writes", "off"),
    ("wal_level", "minimal"),
    ("max_wal_senders", "0"),
    ("shared_buffers", "64MB"),
    ("autovacuum_naptime", "1d"),
    // Files in the data directory, rather than objects in /dev/shm that would outlive a killed server.
    ("dynamic_shared_memory_type", "mmap"),
];

/// Settings of every embedded server. The log is kept free of statements and row data.
const COMMON: [(&str, &str); 6] = [
    ("listen_addresses", ""),
    ("port", "5432"),
    ("unix_socket_permissions", "0700"),
    ("max_connections", "200"),
    ("log_min_error_statement", "panic"),
    ("log_error_verbosity", "terse"),
];

/// Major version of the data in `site`, if it holds any.
pub(super) fn data_version(site: &Site) -> Result<Option<u32>> {
    let file = site.data().join("PG_VERSION");
    let text = guard::read(&site.account, &file).map_err(io("read", &file))?;
    Ok(text.and_then(|text| text.trim().parse().ok()))
}

/// Writes a file in the server's directory, which is ours.
fn write_note(site: &Site, name: &str, text: &str) -> Result<()> {
    let path = site.dir.join(name);
    let mut file = create_file(&path).map_err(io("create", &path))?;
    file.write_all(text.as_bytes()).map_err(io("write", &path))
}

/// Closed to the account, which can enter the directory.
fn create_file(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}

fn remove_file(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(io("remove", path)(error)),
        _ => Ok(()),
    }
}

/// Creates the data directory, whole or not at all.
pub(super) fn init(site: &Site, programs: &Programs) -> Result<()> {
    let data = site.data();
    for entry in std::fs::read_dir(&site.dir).map_err(io("read", &site.dir))? {
        let entry = entry.map_err(io("read", &site.dir))?;
        if entry.file_name().to_string_lossy().starts_with(NEW_DATA) {
            // Left by a program that was killed in the middle of this function. Its initdb may be at work.
            let _ = site.account.discard(&entry.path());
        }
    }
    let new = site.dir.join(format!("{NEW_DATA}{}", place::random_suffix()));
    place::create(&new, 0o700)?;
    site.account.give(&new)?;
    // Case and character class of all of Unicode, bytewise order. Systems without C.UTF-8 get ASCII.
    let mut refused = String::new();
    for ctype in ["C.UTF-8", "C"] {
        let program = programs.bin.join("initdb");
        let mut initdb = site.account.command(&program);
        initdb.arg("-D").arg(&new);
        initdb.args(["-U", "postgres", "-E", "UTF8", "--locale=C"]);
        initdb.arg(format!("--lc-ctype={ctype}"));
        // Only the owner of the socket's 0700 directory (and root) reaches the socket, and TCP is
        // neither listened on nor let in: a password would protect from nobody.
        initdb.args(["--auth-local=trust", "--auth-host=reject", "--no-instructions"]);
        if site.vanishes {
            initdb.arg("--no-sync");
        }
        let (done, said) = run_initdb(site, &program, initdb)?;
        if done {
            return std::fs::rename(&new, &data).map_err(io("rename to", &data));
        }
        refused = said.trim().to_owned();
    }
    let _ = site.account.discard(&new);
    Err(EmbeddedError::Initdb { bin: programs.bin.clone(), detail: refused })
}

/// Runs initdb, leaving its process id where the watcher finds it, should we be killed meanwhile. Whether it
/// succeeded, and what it said.
fn run_initdb(site: &Site, program: &Path, mut command: Command) -> Result<(bool, String)> {
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(io("run", program))?;
    write_note(site, INITDB_NOTE, &child.id().to_string())?;
    let said = printed(child.stderr.take()).map_err(io("read what is said by", program))?;
    let status = child.wait().map_err(io("run", program))?;
    remove_file(&site.dir.join(INITDB_NOTE))?;
    Ok((status.success(), said))
}

/// The socket directory of the server that runs on `data`, starting it if none does. Called under the
/// lock, by a program that has joined.
pub(super) fn ensure_running(
    site: &Site,
    programs: &Programs,
    settings: &[(String, String)],
) -> Result<PathBuf> {
    // After a crash the old server's last processes may hold its memory for a moment; and a server
    // that is just coming up or going down refuses a second one. Both pass.
    const ATTEMPTS: u32 = 5;
    let mut attempt = 1;
    loop {
        if is_alive(site) {
            if let Some(socket_dir) = wait_ready(site, None)? {
                return Ok(socket_dir);
            }
            continue;
        }
        match start(site, programs, settings) {
            Err(EmbeddedError::Start { .. }) if attempt < ATTEMPTS => {
                attempt += 1;
                super::pause(Duration::from_millis(300));
            }
            other => return other,
        }
    }
}

fn start(site: &Site, programs: &Programs, settings: &[(String, String)]) -> Result<PathBuf> {
    // The server would wait at a pipe for somebody to write to it.
    let pid_file = pid_file_path(site);
    guard::read(&site.account, &pid_file).map_err(io("read", &pid_file))?;
    forget_sockets(site)?;
    let sockets = place::sockets(&site.account, &site.dir)?;
    if sockets.base != site.dir {
        write_note(site, SOCKET_NOTE, &path_line(&sockets.base))?;
    }
    let log = log_file(site)?;
    let mut command = server_command(site, programs, settings, &sockets.server);
    command.stdout(log.try_clone().map_err(io("open", &site.dir))?).stderr(log);
    let mut child = command.spawn().map_err(io("run", &programs.bin.join("postgres")))?;
    let noted = write_note(site, SERVER_NOTE, &child.id().to_string());
    let ready = wait_ready(site, Some(&mut child));
    reap(child);
    noted?;
    match ready? {
        Some(socket_dir) => Ok(socket_dir),
        None => Err(failed(site, "it stopped at once")),
    }
}

fn server_command(
    site: &Site,
    programs: &Programs,
    settings: &[(String, String)],
    socket_dir: &Path,
) -> Command {
    let mut command = site.account.command(programs.bin.join("postgres"));
    command.arg("-D").arg(site.data()).arg("-k").arg(socket_dir);
    let mut set = |name: &str, value: &str| {
        command.arg("-c").arg(format!("{name}={value}"));
    };
    if site.vanishes {
        FAST.iter().for_each(|(name, value)| set(name, value));
    }
    COMMON.iter().for_each(|(name, value)| set(name, value));
    settings.iter().for_each(|(name, value)| set(name, value));
    command.stdin(Stdio::null());
    command
}

/// The log of this start; the one before is kept beside it.
fn log_file(site: &Site) -> Result<File> {
    let log = site.dir.join("server.log");
    // Absent at the first start.
    let _ = std::fs::rename(&log, site.dir.join("server.log.old"));
    create_file(&log).map_err(io("create", &log))
}

/// Removes what a server that crashed has left of its sockets.
fn forget_sockets(site: &Site) -> Result<()> {
    let separate = noted_socket_dir(site).filter(|dir| place::is_socket_dir(dir));
    // In its own directory it clears up itself. Root's name of the socket is beyond its reach.
    let own = site.account.is_demoted().then(|| site.dir.clone());
    for base in own.into_iter().chain(separate.clone()) {
        let sockets = Sockets::of(&site.account, &base);
        for dir in [&sockets.client, &sockets.base] {
            for file in [SOCKET_FILE.to_owned(), format!("{SOCKET_FILE}.lock")] {
                remove_file(&dir.join(file))?;
            }
        }
    }
    if let Some(base) = separate {
        if site.account.is_demoted() {
            let sockets = Sockets::of(&site.account, &base);
            let _ = site.account.discard(&sockets.server);
            let _ = std::fs::remove_dir(&sockets.client);
        }
        // Nothing depends on it: the next server gets another one.
        let _ = std::fs::remove_dir(&base);
    }
    remove_file(&site.dir.join(SOCKET_NOTE))
}

/// The separate socket directory of the server that runs, or ran last, as the program that started it noted.
fn noted_socket_dir(site: &Site) -> Option<PathBuf> {
    let text = std::fs::read_to_string(site.dir.join(SOCKET_NOTE)).ok()?;
    Some(PathBuf::from(text.trim_end_matches('\n')))
}

fn path_line(path: &Path) -> String {
    format!("{}\n", path.display())
}

/// Waits until the server accepts connections; `None` when it is gone instead. `child` is the server
/// if we have just started it.
fn wait_ready(site: &Site, mut child: Option<&mut Child>) -> Result<Option<PathBuf>> {
    // Recovery after a crash takes as long as there is log to replay.
    let limit = Duration::from_secs(if site.vanishes { 60 } else { 600 });
    let began = Instant::now();
    loop {
        let gone = match child.as_deref_mut() {
            Some(child) => child.try_wait().map_err(io("wait for", &site.data()))?.is_some(),
            None => !is_alive(site),
        };
        if gone {
            return Ok(None);
        }
        let pid_file = pid_file(site);
        let ours =
            child.as_deref().is_none_or(|child| pid_file.first() == Some(&child.id().to_string()));
        let ready = pid_file.get(PID_LINE_STATE).is_some_and(|state| state.trim() == "ready");
        if ours
            && ready
            && let Some(listed) = pid_file.get(PID_LINE_SOCKET)
        {
            return client_dir(site, Path::new(listed)).map(Some);
        }
        if began.elapsed() > limit {
            return Err(failed(site, &format!("not ready after {} s", limit.as_secs())));
        }
        super::pause(PAUSE);
    }
}

/// Where programs connect to a server that is ready. `listed` is where it says that it listens.
fn client_dir(site: &Site, listed: &Path) -> Result<PathBuf> {
    if !site.account.is_demoted() {
        return Ok(listed.to_path_buf());
    }
    // Root does not follow a path that a file of the account gives.
    let base = noted_socket_dir(site).unwrap_or_else(|| site.dir.clone());
    let sockets = Sockets::of(&site.account, &base);
    if guard::is_socket(&site.account, &sockets.client.join(SOCKET_FILE)) {
        return Ok(sockets.client);
    }
    // The first of a program that was killed just then, the second of a server of an earlier version.
    for theirs in [&sockets.server, &base] {
        let theirs = theirs.join(SOCKET_FILE);
        place::create(&sockets.client, 0o700)?;
        if guard::link_socket(&site.account, &theirs, &sockets.client)? {
            return Ok(sockets.client);
        }
    }
    Err(failed(site, &format!("there is no socket of {} where it should be", site.account.name())))
}

/// Whether a server runs on the data, ready or not.
pub(super) fn is_alive(site: &Site) -> bool {
    let pid_file = pid_file(site);
    let Some(pid) = pid_file.first().and_then(|pid| pid.parse::<u32>().ok()) else {
        return false;
    };
    // A pid alone may have been reused; a server's working directory is its data directory.
    let cwd = std::fs::read_link(format!("/proc/{pid}/cwd"));
    if let (Ok(cwd), Ok(data)) = (cwd, site.data().canonicalize())
        && cwd == data
        && runs_as(pid, site.account.uid)
    {
        return true;
    }
    let socket_dir = if site.account.is_demoted() {
        let base = noted_socket_dir(site).unwrap_or_else(|| site.dir.clone());
        Some(Sockets::of(&site.account, &base).client)
    } else {
        pid_file.get(PID_LINE_SOCKET).map(PathBuf::from)
    };
    socket_dir.is_some_and(|dir| UnixStream::connect(dir.join(SOCKET_FILE)).is_ok())
}

/// Whether a process is the account's, as far as Linux says.
fn runs_as(pid: u32, uid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let ids = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    ids.and_then(|ids| ids.split_whitespace().next()?.parse().ok()) == Some(uid)
}

fn pid_file_path(site: &Site) -> PathBuf {
    site.data().join("postmaster.pid")
}

/// The lines of the server's own note of itself; none when it does not run.
fn pid_file(site: &Site) -> Vec<String> {
    let text = guard::read(&site.account, &pid_file_path(site)).ok().flatten().unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

fn failed(site: &Site, what: &str) -> EmbeddedError {
    let log = log_end(site).unwrap_or_default();
    let log = String::from_utf8_lossy(&log);
    let lines: Vec<&str> = log.lines().collect();
    let tail = lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n");
    EmbeddedError::Start {
        dir: site.dir.clone(),
        detail: format!("{what}; the end of its log:\n{tail}"),
    }
}

fn log_end(site: &Site) -> std::io::Result<Vec<u8>> {
    let mut log = File::open(site.dir.join("server.log"))?;
    let length = log.metadata()?.len();
    if length > LOG_TAIL_BYTES.unsigned_abs() {
        log.seek(SeekFrom::End(-LOG_TAIL_BYTES))?;
    }
    let mut end = Vec::new();
    log.take(LOG_TAIL_BYTES.unsigned_abs()).read_to_end(&mut end)?;
    Ok(end)
}
