//! A Redis server of a test's own, and what tests do to it.

use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use redis::FromRedisValue;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use super::fetched;
use crate::cache::redis::RedisLevel;
use crate::cache::redis::options::RedisOptions;

/// How long a test waits for what should come at once.
pub const GENEROUS: Duration = Duration::from_secs(30);

/// A server on a socket in a directory of its own. A shell beside it holds a pipe to the test: however
/// the test ends, the shell stops the server.
pub struct Server {
    dir: PathBuf,
    arguments: Vec<String>,
    shell: Option<Child>,
}

const SUPERVISE: &str = r#"redis=$1 dir=$2; shift 2
"$redis" --port 0 --unixsocket "$dir/socket" --dir "$dir" --save "" "$@" >"$dir/log" 2>&1 </dev/null &
server=$!; cat >/dev/null; kill -KILL $server; wait $server 2>/dev/null"#;

impl Server {
    pub async fn start(arguments: &[&str]) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("bdb-redis-{}-{n}", std::process::id()));
        std::fs::create_dir(&dir).expect("a directory");
        let arguments = arguments.iter().map(ToString::to_string).collect();
        let mut server = Server { dir, arguments, shell: None };
        server.run().await;
        server
    }

    /// Starts it, or starts it again after a kill, with what it has saved.
    pub async fn run(&mut self) {
        let socket = self.dir.join("socket");
        let _ = std::fs::remove_file(&socket);
        let shell = Command::new("/bin/sh")
            .args(["-c", SUPERVISE, "sh"])
            .arg(fetched::redis_server())
            .arg(&self.dir)
            .args(&self.arguments)
            .stdin(Stdio::piped())
            .spawn();
        self.shell = Some(shell.expect("the shell starts"));
        let log = || std::fs::read_to_string(self.dir.join("log")).unwrap_or_default();
        eventually(log, async || tokio::net::UnixStream::connect(&socket).await.is_ok()).await;
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        if let Some(mut shell) = self.shell.take() {
            drop(shell.stdin.take());
            let _ = shell.wait();
        }
    }

    /// Sends the server a signal, such as `STOP`.
    pub async fn signal(&self, signal: &str, pid: &str) {
        let status = Command::new("kill").arg(format!("-{signal}")).arg(pid).status();
        assert!(status.expect("kill").success());
    }

    pub async fn pid(&self) -> String {
        let info: redis::InfoDict = self.ask(&["INFO", "server"]).await;
        info.get("process_id").expect("a process id")
    }

    pub fn url(&self) -> String {
        url(&self.dir.join("socket"))
    }

    pub fn level(&self) -> RedisLevel {
        level(&self.url())
    }

    /// What the server answers to a command.
    pub async fn ask<T: FromRedisValue>(&self, command: &[&str]) -> T {
        let client = redis::Client::open(self.url()).expect("a URL");
        let mut connection = client.get_multiplexed_async_connection().await.expect("a connection");
        let mut cmd = redis::cmd(command[0]);
        cmd.arg(&command[1..]).query_async(&mut connection).await.expect("an answer")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn url(socket: &Path) -> String {
    format!("unix://{}", socket.display())
}

/// The level of namespace `db`, patient enough for a busy machine.
pub fn level(url: &str) -> RedisLevel {
    let options = RedisOptions::new(url).expect("a URL").timeout(Duration::from_secs(5));
    RedisLevel::new(&options, "db").expect("a level")
}

/// Polls until it is so.
pub async fn eventually(said: impl Fn() -> String, is_so: impl AsyncFn() -> bool) {
    let began = Instant::now();
    while !is_so().await {
        assert!(began.elapsed() < GENEROUS, "not in time: {}", said());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// What is logged on this thread: a line for each event and each span, with all its fields.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<String>>);

impl Log {
    pub fn start() -> (Log, tracing::subscriber::DefaultGuard) {
        let log = Log::default();
        (log.clone(), tracing::subscriber::set_default(log))
    }

    pub fn text(&self) -> String {
        self.0.lock().expect("the log").clone()
    }

    /// How many events are of this level.
    pub fn count(&self, level: &str) -> usize {
        self.text().matches(&format!("event {level} buffetbot_db::cache")).count()
    }

    fn line(&self, metadata: &Metadata<'_>, record: impl FnOnce(&mut dyn Visit)) {
        let kind = if metadata.is_span() { "span" } else { "event" };
        let mut line = format!("{kind} {} {}:", metadata.level(), metadata.target());
        record(&mut |field: &Field, value: &dyn Debug| line += &format!(" {field}={value:?}"));
        *self.0.lock().expect("the log") += &(line + "\n");
    }
}

impl Subscriber for Log {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        self.line(span.metadata(), |fields| span.record(fields));
        Id::from_u64(1)
    }

    fn event(&self, event: &Event<'_>) {
        self.line(event.metadata(), |fields| event.record(fields));
    }

    fn record(&self, _: &Id, values: &Record<'_>) {
        let mut text = String::new();
        values.record(&mut |field: &Field, value: &dyn Debug| {
            text += &format!("{field}={value:?}\n")
        });
        *self.0.lock().expect("the log") += &text;
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}
