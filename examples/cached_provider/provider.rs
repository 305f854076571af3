//! A stand-in for a provider of market data: HTTP on loopback, slow, limited and unreliable.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// How the provider does.
#[derive(Clone, Copy, PartialEq)]
pub enum Health {
    Well,
    /// One request in five is answered 503, one in twenty never.
    Flaky,
    /// Half of the requests are answered 503, the others never.
    Down,
}

/// How the provider answers.
#[derive(Clone, Copy)]
pub struct Terms {
    /// How long it takes to answer.
    pub latency: Duration,
    /// Requests a second; what is more is answered 429, at once.
    pub limit: u32,
    /// Which requests fail when.
    pub seed: u64,
}

#[derive(Clone)]
pub struct Provider {
    state: Arc<Mutex<State>>,
    address: SocketAddr,
}

struct State {
    terms: Terms,
    health: Health,
    documents: HashMap<String, Served>,
    /// When the second of the limit began, and the requests since.
    second: (Instant, u32),
    refused: u64,
}

struct Served {
    body: String,
    requests: u64,
}

enum Reply {
    Document {
        etag: String,
        body: String,
    },
    Status(&'static str),
    /// None ever comes.
    Silence,
}

impl Provider {
    /// Serves the documents of a directory: `/NAME` is the file `NAME.json`.
    pub async fn start(directory: &Path, terms: Terms) -> io::Result<Self> {
        let mut documents = HashMap::new();
        for file in std::fs::read_dir(directory)? {
            let path = file?.path();
            if let Some(name) = path.file_stem().and_then(|name| name.to_str()) {
                let body = std::fs::read_to_string(&path)?;
                documents.insert(name.to_owned(), Served { body, requests: 0 });
            }
        }
        let second = (Instant::now(), 0);
        let state = State { terms, health: Health::Well, documents, second, refused: 0 };
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let provider =
            Provider { address: listener.local_addr()?, state: Arc::new(Mutex::new(state)) };
        let serving = provider.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let serving = serving.clone();
                // A client that hangs up is none of the provider's business.
                tokio::spawn(async move { serving.serve(stream).await.ok() });
            }
        });
        Ok(provider)
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn is_now(&self, health: Health) {
        self.lock().health = health;
    }

    /// Replaces text in a document.
    pub fn publish(&self, name: &str, old: &str, new: &str) {
        if let Some(document) = self.lock().documents.get_mut(name) {
            document.body = document.body.replace(old, new);
        }
    }

    /// Requests for documents whose name begins with `prefix`.
    pub fn requests(&self, prefix: &str) -> u64 {
        let state = self.lock();
        let meant = state.documents.iter().filter(|(name, _)| name.starts_with(prefix));
        meant.map(|(_, document)| document.requests).sum()
    }

    /// Those that were over the limit.
    pub fn refused(&self) -> u64 {
        self.lock().refused
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn serve(&self, stream: TcpStream) -> io::Result<()> {
        let mut stream = BufReader::new(stream);
        let mut head = String::new();
        while stream.read_line(&mut head).await? > 2 {}
        let name = head.split(' ').nth(1).unwrap_or_default().trim_start_matches('/');
        let known = head.lines().find_map(|line| line.strip_prefix("If-None-Match: "));
        let (reply, latency) = {
            let mut state = self.lock();
            (state.reply(name, known), state.terms.latency)
        };
        let text = match reply {
            Reply::Silence => return stream.read_u8().await.map(drop),
            Reply::Status(status) => format!("HTTP/1.1 {status}\r\nConnection: close\r\n\r\n"),
            Reply::Document { etag, body } => {
                format!("HTTP/1.1 200 OK\r\nETag: {etag}\r\nConnection: close\r\n\r\n{body}")
            }
        };
        if !text.contains(" 429 ") {
            tokio::time::sleep(latency).await;
        }
        stream.write_all(text.as_bytes()).await?;
        stream.shutdown().await
    }
}

impl State {
    fn reply(&mut self, name: &str, known: Option<&str>) -> Reply {
        if self.second.0.elapsed() >= Duration::from_secs(1) {
            self.second = (Instant::now(), 0);
        }
        self.second.1 += 1;
        let is_over_limit = self.second.1 > self.terms.limit;
        let Some(document) = self.documents.get_mut(name) else {
            return Reply::Status("404 Not Found");
        };
        document.requests += 1;
        if is_over_limit {
            self.refused += 1;
            return Reply::Status("429 Too Many Requests");
        }
        let chance = hash(&(self.terms.seed, name, document.requests)) % 100;
        let (silent, failing) = match self.health {
            Health::Well => (0, 0),
            Health::Flaky => (5, 25),
            Health::Down => (50, 100),
        };
        if chance < silent {
            return Reply::Silence;
        }
        if chance < failing {
            return Reply::Status("503 Service Unavailable");
        }
        let etag = format!("\"{:016x}\"", hash(&document.body));
        if known == Some(&etag) {
            return Reply::Status("304 Not Modified");
        }
        Reply::Document { etag, body: document.body.clone() }
    }
}

/// The same in every run.
fn hash(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}
