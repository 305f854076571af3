//! Makes a data directory and runs a server on it.

use std::fs::File;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use super::error::{EmbeddedError, Result, io};
use super::locate::Programs;
use super::place::{self, SOCKET_FILE};
use super::share::{Site, reap};

/// Line of `postmaster.pid` with the socket directory, and with the state.
const PID_LINE_SOCKET: usize = 4;
const PID_LINE_STATE: usize = 7;

/// A server whose log must end the message of a failed start.
const LOG_TAIL_LINES: usize = 12;

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

/// Major version of the data in `data`, if it holds any.
pub(super) fn data_version(data: &Path) -> Option<u32> {
    let text = std::fs::read_to_string(data.join("PG_VERSION")).ok()?;
    text.trim().parse().ok()
}

/// Creates the data directory, whole or not at all.
pub(super) fn init(site: &Site, programs: &Programs) -> Result<()> {
    let data = site.data();
    for entry in std::fs::read_dir(&site.dir).map_err(io("read", &site.dir))? {
        let entry = entry.map_err(io("read", &site.dir))?;
        if entry.file_name().to_string_lossy().starts_with("data.new-") {
            // Left by a program that was killed in the middle of this function.
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
    let new = site.dir.join(format!("data.new-{}", place::random_suffix()));
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
        let output = run_initdb(site, initdb).map_err(io("run", &program))?;
        if output.status.success() {
            return std::fs::rename(&new, &data).map_err(io("rename to", &data));
        }
        refused = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    }
    Err(EmbeddedError::Initdb { bin: programs.bin.clone(), detail: refused })
}

/// Runs initdb, leaving its process id where the watcher finds it, should we be killed meanwhile.
fn run_initdb(site: &Site, mut command: Command) -> std::io::Result<Output> {
    let note = site.dir.join("initdb-pid");
    let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
    std::fs::write(&note, child.id().to_string())?;
    let output = child.wait_with_output()?;
    std::fs::remove_file(&note)?;
    Ok(output)
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
        if is_alive(&site.data()) {
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
    let socket_dir = place::socket_dir(&site.account, &site.dir)?;
    forget_socket_dir(site);
    if socket_dir != site.dir {
        let note = site.dir.join("socket-dir");
        std::fs::write(&note, path_line(&socket_dir)).map_err(io("write", &note))?;
    }
    let log = log_file(site)?;
    let mut command = server_command(site, programs, settings, &socket_dir);
    command.stdout(log.try_clone().map_err(io("open", &site.dir))?).stderr(log);
    let mut child = command.spawn().map_err(io("run", &programs.bin.join("postgres")))?;
    let ready = wait_ready(site, Some(&mut child));
    reap(child);
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
    File::create(&log).map_err(io("create", &log))
}

/// Removes the separate socket directory of a server that crashed.
fn forget_socket_dir(site: &Site) {
    let note = site.dir.join("socket-dir");
    let Ok(text) = std::fs::read_to_string(&note) else {
        return;
    };
    let old = PathBuf::from(text.trim_end_matches('\n'));
    if place::is_socket_dir(&old) {
        for file in [SOCKET_FILE.to_owned(), format!("{SOCKET_FILE}.lock")] {
            let _ = std::fs::remove_file(old.join(file));
        }
        let _ = std::fs::remove_dir(&old);
    }
    let _ = std::fs::remove_file(note);
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
            None => !is_alive(&site.data()),
        };
        if gone {
            return Ok(None);
        }
        let pid_file = pid_file(&site.data());
        let ours =
            child.as_deref().is_none_or(|child| pid_file.first() == Some(&child.id().to_string()));
        let ready = pid_file.get(PID_LINE_STATE).is_some_and(|state| state.trim() == "ready");
        if ours
            && ready
            && let Some(socket_dir) = pid_file.get(PID_LINE_SOCKET)
        {
            return Ok(Some(PathBuf::from(socket_dir)));
        }
        if began.elapsed() > limit {
            return Err(failed(site, &format!("not ready after {} s", limit.as_secs())));
        }
        super::pause(PAUSE);
    }
}

/// Whether a server runs on `data`, ready or not.
pub(super) fn is_alive(data: &Path) -> bool {
    let pid_file = pid_file(data);
    let Some(pid) = pid_file.first() else {
        return false;
    };
    // A pid alone may have been reused; a server's working directory is its data directory.
    let cwd = std::fs::read_link(Path::new("/proc").join(pid).join("cwd"));
    if let (Ok(cwd), Ok(data)) = (cwd, data.canonicalize())
        && cwd == data
    {
        return true;
    }
    pid_file
        .get(PID_LINE_SOCKET)
        .is_some_and(|dir| UnixStream::connect(Path::new(dir).join(SOCKET_FILE)).is_ok())
}

fn pid_file(data: &Path) -> Vec<String> {
    std::fs::read_to_string(data.join("postmaster.pid"))
        .unwrap_or_default()
        .lines()
        .map(str::to_owned)
        .collect()
}

fn failed(site: &Site, what: &str) -> EmbeddedError {
    let log = std::fs::read(site.dir.join("server.log")).unwrap_or_default();
    let log = String::from_utf8_lossy(&log);
    let lines: Vec<&str> = log.lines().collect();
    let tail = lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n");
    EmbeddedError::Start {
        dir: site.dir.clone(),
        detail: format!("{what}; the end of its log:\n{tail}"),
    }
}
