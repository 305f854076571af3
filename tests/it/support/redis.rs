//! A Redis server on loopback TCP with a password, which a test can kill and restart.

use std::time::{Duration, Instant};

use super::fetched::redis_server;
use super::process::{Supervised, free_port, private_dir};
use super::{GENEROUS, server::PASSWORD};

pub struct RedisServer {
    port: u16,
    running: Option<Supervised>,
}

impl RedisServer {
    /// An empty server that keeps nothing.
    pub async fn start() -> Self {
        let mut server = RedisServer { port: free_port(), running: None };
        server.restart().await;
        server
    }

    pub fn url(&self) -> String {
        format!("redis://:{PASSWORD}@127.0.0.1:{}", self.port)
    }

    /// `kill -9`: no farewell to anybody. Returns when the server is gone.
    pub fn kill(&mut self) {
        drop(self.running.take());
    }

    /// Ends the server where it runs, and starts an empty one on the same port.
    pub async fn restart(&mut self) {
        self.kill();
        let (dir, port) = (private_dir(), self.port.to_string());
        let place = dir.to_str().unwrap();
        let arguments = [
            ["--port", &port],
            ["--bind", "127.0.0.1"],
            ["--requirepass", PASSWORD],
            ["--dir", place],
            ["--save", ""],
            ["--appendonly", "no"],
        ];
        let arguments = arguments.concat();
        self.running = Some(Supervised::start(&dir, "KILL", &redis_server(), &arguments));
        let started = Instant::now();
        while tokio::net::TcpStream::connect(("127.0.0.1", self.port)).await.is_err() {
            let log = || std::fs::read_to_string(dir.join("log")).unwrap_or_default();
            assert!(started.elapsed() < GENEROUS, "Redis does not start: {}", log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

#[tokio::test]
async fn a_restarted_server_is_empty_and_on_its_port() {
    let mut server = RedisServer::start().await;
    let url = server.url();
    let ask = async |command: &str| {
        let mut connection =
            redis::Client::open(url.as_str())?.get_multiplexed_async_connection().await?;
        let mut cmd = redis::Cmd::new();
        command.split(' ').fold(&mut cmd, |cmd, part| cmd.arg(part));
        cmd.query_async::<Option<String>>(&mut connection).await
    };
    ask("SET a 1").await.unwrap();
    assert_eq!(ask("GET a").await.unwrap().as_deref(), Some("1"));
    server.kill();
    assert!(ask("GET a").await.is_err());
    server.restart().await;
    assert_eq!(ask("GET a").await.unwrap(), None);
}
