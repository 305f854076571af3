//! PgBouncer in front of a server, in transaction mode.

use std::path::PathBuf;

use super::fetched::in_path;
use super::process::{Supervised, free_port, private_dir, write_private};
use super::{GENEROUS, server::TcpServer};

/// A running PgBouncer; any client is let in as `postgres`.
pub struct Pooler {
    pub port: u16,
    _running: Supervised,
}

impl Pooler {
    /// In front of `server`, which must trust, with `servers` connections to it.
    pub async fn start(server: &TcpServer, servers: u32) -> Self {
        let (dir, port) = (private_dir(), free_port());
        let file = dir.join("pgbouncer.ini");
        let settings = format!(
            "[databases]
             * = host=127.0.0.1 port={} user=postgres
             [pgbouncer]
             listen_addr = 127.0.0.1
             listen_port = {port}
             unix_socket_dir =
             auth_type = any
             pool_mode = transaction
             default_pool_size = {servers}
             max_client_conn = 200\n",
            server.port
        );
        write_private(&file, &settings.replace("             ", ""));
        let running = Supervised::start(&dir, "KILL", &program(), &[file.to_str().unwrap()]);
        let started = std::time::Instant::now();
        while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            let log = || std::fs::read_to_string(dir.join("log")).unwrap_or_default();
            assert!(started.elapsed() < GENEROUS, "PgBouncer does not start: {}", log());
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        Pooler { port, _running: running }
    }

    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }
}

fn program() -> PathBuf {
    // An ordinary user's PATH may lack the directories of services.
    let of_services = ["/usr/sbin/pgbouncer", "/usr/local/sbin/pgbouncer"].map(PathBuf::from);
    in_path("pgbouncer")
        .or_else(|| of_services.into_iter().find(|program| program.is_file()))
        .expect("this test needs PgBouncer: apt-get install pgbouncer")
}
