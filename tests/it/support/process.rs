//! Servers as child processes, which end with the test however it ends.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// The account that servers run as when the tests run as root: they refuse to be root.
const ACCOUNT: &str = "postgres";

pub fn is_root() -> bool {
    let output = Command::new("id").arg("-u").output().expect("`id` runs");
    output.stdout.trim_ascii() == b"0"
}

/// A command that runs as an account which servers accept.
pub fn unprivileged(program: impl AsRef<Path>) -> Command {
    if !is_root() {
        return Command::new(program.as_ref());
    }
    let mut command = Command::new("setpriv");
    command
        .arg(format!("--reuid={ACCOUNT}"))
        .arg(format!("--regid={ACCOUNT}"))
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
        run(Command::new("chown").arg("-R").arg(format!("{ACCOUNT}:")).arg(path));
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
dir=$1; shift
"$@" >"$dir/log" 2>&1 </dev/null & server=$!
cat >/dev/null
kill -QUIT $server 2>/dev/null
wait $server
rm -rf "$dir"
"#;

impl Supervised {
    pub fn start(dir: &Path, server: &Path, arguments: &[&str]) -> Self {
        let shell = unprivileged("/bin/sh")
            .args(["-c", SUPERVISE, "sh"])
            .arg(dir)
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
