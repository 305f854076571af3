//! A PostgreSQL server on loopback TCP with a password, which a test can kill and restart.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::GENEROUS;
use super::process::{Supervised, free_port, give, private_dir, run, unprivileged, write_private};

/// The password of `postgres`: URL-safe, and to be found nowhere in output.
pub const PASSWORD: &str = "Tops3cretWord";

pub struct TcpServer {
    pub port: u16,
    dir: PathBuf,
    bin: PathBuf,
    settings: Vec<String>,
    environment: Vec<String>,
    running: Vec<Supervised>,
}

impl TcpServer {
    /// A plain server that wants passwords by SCRAM.
    pub async fn start() -> Self {
        Self::start_with(|_| ServerOptions::default()).await
    }

    /// A server whose settings and `pg_hba.conf` the closure makes; it may put files into the
    /// directory that it is given.
    pub async fn start_with(options: impl FnOnce(&Path) -> ServerOptions) -> Self {
        let bin = super::programs().await;
        let dir = private_dir();
        let password_file = dir.join("password");
        write_private(&password_file, PASSWORD);
        run(unprivileged(bin.join("initdb"))
            .arg("-D")
            .arg(dir.join("data"))
            .args(["-U", "postgres", "-A", "scram-sha-256", "-E", "UTF8", "--locale=C", "-N"])
            .arg("--pwfile")
            .arg(&password_file));
        let options = options(&dir);
        if let Some(hba) = &options.hba {
            write_private(&dir.join("data/pg_hba.conf"), hba);
        }
        give(&dir);
        let port = free_port();
        let mut server = TcpServer {
            port,
            dir,
            bin,
            settings: options.settings,
            environment: options.environment,
            running: Vec::new(),
        };
        server.run().await;
        server
    }

    pub fn url(&self) -> String {
        self.url_of("postgres", PASSWORD, "postgres")
    }

    pub fn url_of(&self, user: &str, password: &str, database: &str) -> String {
        format!("postgres://{user}:{password}@127.0.0.1:{}/{database}", self.port)
    }

    /// A directory that goes with the server.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Starts the server, or starts it again after a kill, and waits until it accepts.
    pub async fn run(&mut self) {
        let started = Instant::now();
        let data = self.dir.join("data");
        let (port, socket) = (self.port.to_string(), self.dir.display().to_string());
        let postgres = self.bin.join("postgres");
        let mut arguments: Vec<&str> = self.environment.iter().map(String::as_str).collect();
        arguments.push(postgres.to_str().unwrap());
        arguments.extend(["-D", data.to_str().unwrap(), "-p", &port, "-k", &socket, "-F"]);
        let listen = "listen_addresses=127.0.0.1".to_owned();
        for setting in self.settings.iter().chain([&listen]) {
            arguments.extend(["-c", setting]);
        }
        // What a killed server leaves says that it is ready.
        let file = data.join("postmaster.pid");
        let pid_of = |text: &str| text.lines().next().map(str::to_owned);
        let former = std::fs::read_to_string(&file).ok().and_then(|text| pid_of(&text));
        let is_ready = |text: String| {
            pid_of(&text) != former
                && text.lines().nth(7).is_some_and(|line| line.trim() == "ready")
        };
        let mut attempt = None;
        loop {
            // Right after a kill its orphans may still hold the shared memory: try again.
            if attempt.as_ref().is_none_or(|since: &Instant| since.elapsed().as_secs() >= 5) {
                attempt = Some(Instant::now());
                let env = Path::new("/usr/bin/env");
                self.running.push(Supervised::start(&self.dir, "QUIT", env, &arguments));
            }
            if std::fs::read_to_string(&file).is_ok_and(is_ready) {
                let address = ("127.0.0.1", self.port);
                if tokio::net::TcpStream::connect(address).await.is_ok() {
                    return;
                }
            }
            let log = || std::fs::read_to_string(self.dir.join("log")).unwrap_or_default();
            assert!(started.elapsed() < GENEROUS, "server does not start: {}", log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// `kill -9`: no farewell to anybody.
    pub fn kill(&self) {
        self.signal("KILL");
    }

    /// A signal to the server: `INT` is a fast shutdown, `QUIT` an immediate one.
    pub fn signal(&self, signal: &str) {
        let text = std::fs::read_to_string(self.dir.join("data/postmaster.pid")).unwrap();
        let pid = text.lines().next().unwrap().to_owned();
        run(Command::new("kill").arg(format!("-{signal}")).arg(pid));
    }
}

#[derive(Default)]
pub struct ServerOptions {
    /// `name=value` each.
    pub settings: Vec<String>,
    /// `NAME=value` each, for the server's process.
    pub environment: Vec<String>,
    /// The whole `pg_hba.conf`.
    pub hba: Option<String>,
}
