//! The embedded server: its life and death, its data, how it is found.
//!
//! Deaths cannot be tried in the test's own process, so these tests run this very program again, with
//! [`child`] as its only test, and tell it by environment variables what to start and how to end.

mod attacks;
mod ends;
mod finding;
mod kept;
mod shared;

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use buffetbot_db::embedded::{EmbeddedOptions, EmbeddedServer};
use buffetbot_db::testing::TestDatabase;
use tokio_postgres::{NoTls, SimpleQueryMessage};

const LIMIT: Duration = Duration::from_secs(60);

/// Polls until `condition` holds; fails naming `what` if it never does.
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < LIMIT, "never happened: {what}");
        pause(Duration::from_millis(20));
    }
}

/// Runs `text` on a connection of its own; the first column of each row.
pub(crate) async fn query(url: &str, text: &str) -> Result<Vec<String>, tokio_postgres::Error> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    let driver = tokio::spawn(connection);
    let messages = client.simple_query(text).await?;
    drop(client);
    // Waits for the goodbye, so that the server counts one connection less.
    driver.await.unwrap()?;
    let column = |message| match message {
        SimpleQueryMessage::Row(row) => Some(row.get(0).unwrap_or_default().to_owned()),
        _ => None,
    };
    Ok(messages.into_iter().filter_map(column).collect())
}

/// [`query`] outside of a runtime.
pub(crate) fn sql(url: &str, text: &str) -> Result<Vec<String>, tokio_postgres::Error> {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().build().unwrap().block_on(query(url, text))
}

#[expect(clippy::disallowed_methods, reason = "these tests have no runtime")]
fn pause(time: Duration) {
    std::thread::sleep(time);
}

pub(crate) fn start(options: &EmbeddedOptions) -> EmbeddedServer {
    EmbeddedServer::start_blocking(options).unwrap()
}

/// Process id of the server in `dir`.
fn server_pid(dir: &Path) -> u32 {
    let text = std::fs::read_to_string(dir.join("data/postmaster.pid")).unwrap();
    text.lines().next().unwrap().parse().unwrap()
}

fn signal(name: &str, pid: u32) {
    let status = Command::new("kill").args([format!("-{name}"), pid.to_string()]).status();
    assert!(status.unwrap().success());
}

/// False once the process has ended, also as a zombie that nobody has collected.
fn runs(pid: u32) -> bool {
    let output = Command::new("ps").args(["-o", "stat=", "-p", &pid.to_string()]).output().unwrap();
    let state = String::from_utf8_lossy(&output.stdout);
    !state.trim().is_empty() && !state.trim().starts_with('Z')
}

fn is_root() -> bool {
    let output = Command::new("id").arg("-u").output().unwrap();
    String::from_utf8_lossy(&output.stdout).trim() == "0"
}

/// A temporary directory that every user can write in, removed at the end.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new() -> Scratch {
        let random = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 0);
        let path = std::env::temp_dir().join(format!("bdb-{:08x}", random as u32));
        std::fs::create_dir(&path).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o1777)).unwrap();
        Scratch(path)
    }

    pub(crate) fn entries(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.0).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // A watcher may be removing a server there at the same time: what one has removed under the
        // other is an error.
        for _ in 0..100 {
            if std::fs::remove_dir_all(&self.0).is_ok() || !self.0.exists() {
                break;
            }
            pause(Duration::from_millis(20));
        }
    }
}

/// Another program that uses an embedded server.
pub(crate) struct Program {
    process: Child,
    output: BufReader<std::process::ChildStdout>,
}

/// What another program said about its server.
pub(crate) struct Ready {
    dir: PathBuf,
    pub(crate) url: String,
    pub(crate) version: String,
}

impl Program {
    /// Starts a program that starts the server `what` and then, when told to [`end`](Self::end), ends
    /// in the way `how`.
    pub(crate) fn new(
        what: &str,
        how: &str,
        tmp: &Scratch,
        more: impl FnOnce(&mut Command),
    ) -> Program {
        Self::spawn(Command::new(std::env::current_exe().unwrap()), what, how, tmp, more)
    }

    /// The same as a user who is not root, whoever runs the tests.
    fn as_ordinary_user(
        what: &str,
        how: &str,
        tmp: &Scratch,
        more: impl FnOnce(&mut Command),
    ) -> Program {
        if !is_root() {
            return Self::new(what, how, tmp, more);
        }
        // The build directory may lie where that user cannot reach it.
        let bin = tmp.0.join("bin");
        let copy = bin.join("program");
        std::fs::DirBuilder::new().mode(0o755).create(&bin).unwrap();
        std::fs::copy(std::env::current_exe().unwrap(), &copy).unwrap();
        let mut command = Command::new(copy);
        command.uid(65_534).gid(65_534);
        Self::spawn(command, what, how, tmp, more)
    }

    fn spawn(
        mut command: Command,
        what: &str,
        how: &str,
        tmp: &Scratch,
        more: impl FnOnce(&mut Command),
    ) -> Program {
        command
            .args(["--exact", "embedded::child", "--ignored", "--nocapture"])
            .current_dir("/")
            .env("BUFFETBOT_TEST_START", what)
            .env("BUFFETBOT_TEST_END", how)
            .env("TMPDIR", &tmp.0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        more(&mut command);
        let mut process = command.spawn().unwrap();
        let output = BufReader::new(process.stdout.take().unwrap());
        Program { process, output }
    }

    /// Waits until its server runs; the error it met otherwise.
    pub(crate) fn ready(&mut self) -> Result<Ready, String> {
        let mut line = String::new();
        loop {
            line.clear();
            assert_ne!(self.output.read_line(&mut line).unwrap(), 0, "ended early");
            if let Some((_, error)) = line.split_once("FAILED\t") {
                return Err(error.trim_end().to_owned());
            }
            if let Some((_, fields)) = line.split_once("READY\t") {
                let mut fields = fields.trim_end().split('\t').map(str::to_owned);
                let mut next = || fields.next().unwrap();
                return Ok(Ready { dir: next().into(), url: next(), version: next() });
            }
        }
    }

    pub(crate) fn end(mut self) -> ExitStatus {
        self.process.stdin.take().unwrap().write_all(b"\n").unwrap();
        self.process.wait().unwrap()
    }

    pub(crate) fn kill(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Both fail when it has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The other program. By itself, among all ignored tests, it has nothing to do.
#[test]
#[ignore = "the program that other tests run"]
fn child() {
    let Ok(what) = std::env::var("BUFFETBOT_TEST_START") else { return };
    let how = std::env::var("BUFFETBOT_TEST_END").expect("run by another test");
    if what.ends_with("database") || what.ends_with("databases") {
        return child_with_database(what == "abandoned-databases");
    }
    let options = match what.split_once(':') {
        Some(("shared", key)) => EmbeddedOptions::shared(key),
        Some(("kept", "")) => EmbeddedOptions::kept(None),
        Some(("kept", dir)) => EmbeddedOptions::kept(Some(dir.into())),
        _ => EmbeddedOptions::ephemeral(),
    };
    // In the data directory: what a killed server had in /dev/shm would stay.
    let options = options.setting("dynamic_shared_memory_type", "mmap");
    let server = match EmbeddedServer::start_blocking(&options) {
        Ok(server) => server,
        Err(error) => {
            println!("FAILED\t{}", error.to_string().replace('\n', " "));
            return;
        }
    };
    let dir = server.data_dir().display();
    println!("READY\t{dir}\t{}\t{}", server.url("postgres"), server.version());
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
    match how.as_str() {
        "panic" => panic!("as told"),
        "exit" => std::process::exit(7),
        "abort" => std::process::abort(),
        _ => drop(server),
    }
}

/// A program that tests, rather than one that uses a server itself.
fn child_with_database(abandon_some: bool) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let made = runtime.block_on(async {
        for _ in 0..if abandon_some { 4 } else { 0 } {
            // Polled once, so that the request is on its way, and dropped.
            assert!(futures_util::poll!(std::pin::pin!(TestDatabase::new())).is_pending());
        }
        // Made after those before it.
        TestDatabase::new().await
    });
    match made {
        Ok(db) => {
            println!("READY\t-\t{}\t{}", db.url(), db.name());
            std::mem::forget(db);
        }
        Err(error) => println!("FAILED\t{}", error.to_string().replace('\n', " ")),
    }
    // Killed here, or let go: this one does not drop its database in either case.
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
}

/// Owner of a file.
fn owner(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().uid()
}
