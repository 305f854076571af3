//! Servers as child processes, which end with the test however it ends.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// User and group that servers run as when the tests run as root, which they refuse to be: those of `postgres`, or of
/// `nobody` on a machine without PostgreSQL.
fn account() -> (String, String) {
    let passwd = std::fs::read_to_string("/etc/passwd").expect("/etc/passwd");
    let of = |name: &str| {
        let mut accounts = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>());
        let fields = accounts.find(|fields| fields.len() > 3 && fields[0] == name)?;
        Some((fields[2].to_owned(), fields[3].to_owned()))
    };
    of("postgres").or_else(|| of("nobody")).expect("an account for servers")
}

pub fn is_root() -> bool {
    let output = Command::new("id").arg("-u").output().expect("`id` runs");
    output.stdout.trim_ascii() == b"0"
}

/// A command that runs as an account which servers accept.
pub fn unprivileged(program: impl AsRef<Path>) -> Command {
    if !is_root() {
        return Command::new(program.as_ref());
    }
    let (user, group) = account();
    let mut command = Command::new("setpriv");
    command
        .arg(format!("--reuid={user}"))
        .arg(format!("--regid={group}"))
        .args(["--clear-groups", "--"])
        .arg(program.as_ref());
    command
}

/// Runs a command to its end, which must be a good one.
pub fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?} does not start: {e}"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} failed: {errors}");
    output
}

/// A new private directory, owned by the servers' account.
pub fn private_dir() -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let n = COUNT.fetch_add(1, Ordering::Relaxed);
    let dir = std::env::temp_dir().join(format!("bb-it-{}-{n}", std::process::id()));
    std::fs::create_dir(&dir).unwrap();
    run(Command::new("chmod").arg("0700").arg(&dir));
    give(&dir);
    dir
}

/// Gives a path to the servers' account.
pub fn give(path: &Path) {
    if is_root() {
        let (user, group) = account();
        run(Command::new("chown").arg("-R").arg(format!("{user}:{group}")).arg(path));
    }
}

/// Writes a file that only the servers' account can read.
pub fn write_private(path: &Path, content: &str) {
    std::fs::write(path, content).unwrap();
    run(Command::new("chmod").arg("0600").arg(path));
    give(path);
}

/// A port that nobody listens on.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A server process. A shell beside it holds a pipe to the test: when that closes, by drop, panic
/// or kill, the shell stops the server and removes its directory.
pub struct Supervised {
    shell: Child,
}

/// Runs the server, waits for the end of the pipe, stops the server.
const SUPERVISE: &str = r#"trap '' INT TERM HUP
dir=$1 signal=$2; shift 2
"$@" >"$dir/log" 2>&1 </dev/null & server=$!
cat >/dev/null
kill -$signal $server 2>/dev/null
wait $server
rm -rf "$dir"
"#;

impl Supervised {
    /// `signal` stops the server at once, whatever its clients do.
    pub fn start(dir: &Path, signal: &str, server: &Path, arguments: &[&str]) -> Self {
        let shell = unprivileged("/bin/sh")
            .args(["-c", SUPERVISE, "sh"])
            .arg(dir)
            .arg(signal)
            .arg(server)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the shell starts");
        Supervised { shell }
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        // Nothing to be done about a server that does not stop.
        let _ = self.shell.wait();
    }
}
