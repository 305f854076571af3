//! Other programs that use the cache: this very program again, with [`child`] as its only test, told
//! by its input what to do.
//!
//! Fetches are rows of `provider_calls`, which the test answers: what is counted there holds for all
//! programs, also for those that were killed.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::SystemTime;

use buffetbot_db::Config;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::*;
use crate::support::process::run;
use crate::support::{eventually, raw};

/// How long a fetch stays reserved for a program that has died.
pub const LEASE: Duration = Duration::from_secs(1);

/// Another program.
pub struct Program {
    process: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Program {
    /// Starts a program that uses the cache of this database.
    pub fn start(db: &TestDatabase, more: impl FnOnce(&mut Command)) -> Program {
        let mut command = Command::new(std::env::current_exe().expect("this program's path"));
        command
            .args(["--exact", "cache::program::child", "--ignored", "--nocapture"])
            .env("BUFFETBOT_TEST_URL", db.url())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true);
        more(&mut command);
        let mut process = command.spawn().expect("it starts");
        let input = process.stdin.take().expect("a pipe");
        let output = BufReader::new(process.stdout.take().expect("a pipe")).lines();
        Program { process, input, output }
    }

    pub async fn tell(&mut self, command: &str) {
        let line = format!("{command}\n");
        self.input.write_all(line.as_bytes()).await.expect("it reads");
        self.input.flush().await.expect("it reads");
    }

    /// What the program says next under this word.
    pub async fn hear(&mut self, word: &str) -> String {
        let wanted = format!("{word}\t");
        let line = async {
            while let Some(line) = self.output.next_line().await.expect("it writes") {
                if let Some((_, said)) = line.split_once(&wanted) {
                    return said.to_owned();
                }
            }
            panic!("it ended before it said {word}")
        };
        tokio::time::timeout(GENEROUS, line).await.expect("in time")
    }

    /// Lets so many callers ask for AAPL; returns when all of them have missed.
    pub async fn ask(&mut self, callers: u32, ttl: Duration) {
        self.tell(&format!("ask {callers} {}", ttl.as_millis())).await;
        self.hear("WAITING").await;
    }

    pub fn signal(&self, name: &str) {
        let pid = self.process.id().expect("it runs").to_string();
        run(std::process::Command::new("kill").args([format!("-{name}"), pid]));
    }

    pub async fn kill(mut self) {
        self.process.kill().await.expect("it ends");
    }
}

/// The provider of all programs.
pub struct Desk<'a>(pub &'a TestDatabase);

impl<'a> Desk<'a> {
    pub async fn open(db: &'a TestDatabase) -> Desk<'a> {
        db.sql("CREATE TABLE provider_calls (id SERIAL PRIMARY KEY, answer BIGINT)").await;
        Desk(db)
    }

    pub async fn calls(&self) -> i64 {
        count(self.0, "SELECT count(*) AS n FROM provider_calls").await
    }

    /// Waits until the `n`th fetch is under way.
    pub async fn called(&self, n: i64) {
        eventually("the provider is called", async || self.calls().await >= n).await;
    }

    pub async fn answer(&self, n: i64, value: u32) {
        let sql = format!("UPDATE provider_calls SET answer = {value} WHERE id = {n}");
        self.0.sql(&sql).await;
    }
}

/// A fetch: calls the provider and waits for its answer.
async fn call(url: String) -> Result<u32, BoxError> {
    let client = raw(&url).await;
    let call = "INSERT INTO provider_calls DEFAULT VALUES RETURNING id";
    let id: i32 = client.query_one(call, &[]).await?.get(0);
    loop {
        let answer = "SELECT answer FROM provider_calls WHERE id = $1";
        let answer: Option<i64> = client.query_one(answer, &[&id]).await?.get(0);
        if let Some(answer) = answer {
            return Ok(u32::try_from(answer)?);
        }
        tokio::time::sleep(MS * 20).await;
    }
}

/// The other program. By itself, among all ignored tests, it has nothing to do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the program that other tests run"]
async fn child() {
    let Ok(url) = std::env::var("BUFFETBOT_TEST_URL") else { return };
    let config = Config::new(&url).expect("a URL").pool_size(4).pool_max_overflow(0);
    let db = Database::connect(config).await.expect("the database");
    let db = db.with_cache(CacheOptions::default().lease(LEASE)).expect("a cache");
    let (lines, mut input) = tokio::sync::mpsc::unbounded_channel();
    std::thread::spawn(move || {
        std::io::stdin().lines().map_while(Result::ok).try_for_each(|line| lines.send(line))
    });
    while let Some(line) = input.recv().await {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["ask", callers, ttl] => {
                let ttl = MS * ttl.parse().expect("milliseconds");
                asks(&db, &url, callers.parse().expect("a number"), ttl).await;
            }
            ["get"] => println!("GOT\t{:?}", value(&db, "AAPL").await),
            ["counters"] => {
                let counters = serde_json::to_string(&db.cache().counters()).expect("JSON");
                println!("COUNTERS\t{counters}");
            }
            ["clock"] => {
                let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
                println!("CLOCK\t{}", since.expect("after 1970").as_secs());
            }
            _ => panic!("no command: {line}"),
        }
    }
}

/// Says how often each value was returned, or how often an error was.
async fn asks(db: &Database, url: &str, callers: u64, ttl: Duration) {
    let before = db.cache().counters().misses;
    let policy = Policy::ttl(ttl).jitter(0.0);
    let tasks: Vec<_> = (0..callers)
        .map(|_| {
            let url = url.to_owned();
            ask(db, "AAPL", &policy, move |_| call(url))
        })
        .collect();
    eventually("all have missed", async || {
        db.cache().counters().misses == before + callers
            || tasks.iter().all(JoinHandle::is_finished)
    })
    .await;
    println!("WAITING\t");
    let mut outcomes = BTreeMap::<String, u32>::new();
    for task in tasks {
        let outcome = match done(task).await {
            Ok(cached) => cached.value.to_string(),
            Err(error) => error.to_string(),
        };
        *outcomes.entry(outcome).or_default() += 1;
    }
    println!("DONE\t{outcomes:?}");
}
