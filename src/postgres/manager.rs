//! How bb8 makes, checks and gives up connections.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};

use super::pg_connection::{Options, PgConnection};
use super::sqlstate;
use super::tls::Tls;
use crate::error::{Error, Result};
use crate::types::span;

/// A connection that retired sooner would be too old before it is handed out.
const SHORTEST_LIFE: Duration = Duration::from_millis(100);

/// Why the last attempt to connect failed.
#[derive(Debug, Clone)]
pub(super) struct ConnectFailure {
    pub reason: String,
    /// The server's code, where it answered.
    pub sqlstate: Option<String>,
    /// Trying again cannot help: wrong password, unknown database.
    pub permanent: bool,
    /// Counts failures, so that equal ones are distinguished.
    pub number: u64,
}

/// The server's code, where it answered.
fn code_of(error: &tokio_postgres::Error) -> Option<String> {
    error.code().map(|code| code.code().to_owned())
}

/// Connects for the pool. Connecting has a limit of its own (the driver's covers the socket only,
/// and bb8 has none), and its failure is kept for waiting callers.
pub(super) struct Manager {
    config: tokio_postgres::Config,
    tls: Tls,
    options: Options,
    connect_timeout: Duration,
    recycle: Option<Duration>,
    ping_after: Duration,
    failure: watch::Sender<Option<ConnectFailure>>,
    open: Arc<()>,
}

impl Manager {
    pub fn new(config: &crate::config::Config) -> Result<Self> {
        config.check_spans()?;
        Ok(Manager {
            config: config.driver(),
            tls: Tls::new(config.ssl_mode, &config.certificates)?,
            options: Options::new(config),
            connect_timeout: config.connect_timeout,
            recycle: config.pool_recycle,
            ping_after: config.ping_after,
            failure: watch::Sender::new(None),
            open: Arc::new(()),
        })
    }

    #[cfg(feature = "redis")]
    pub fn name(&self) -> String {
        use tokio_postgres::config::Host;
        let hosts = self.config.get_hosts().iter().map(|host| match host {
            Host::Tcp(name) => name.clone(),
            #[cfg(unix)]
            Host::Unix(path) => path.display().to_string(),
        });
        let hosts: Vec<_> = hosts.collect();
        let name = self.config.get_dbname().or(self.config.get_user()).unwrap_or_default();
        format!("{}:{:?}/{name}", hosts.join(","), self.config.get_ports())
    }

    pub fn failures(&self) -> watch::Receiver<Option<ConnectFailure>> {
        self.failure.subscribe()
    }

    /// Connections open now, idle or in use.
    pub fn open(&self) -> usize {
        Arc::strong_count(&self.open) - 1
    }

    /// A connection beside the pool's; `wake` is woken by notifications, and by its end.
    pub async fn connect_unpooled(&self, wake: Option<Arc<Notify>>) -> Result<PgConnection> {
        match tokio::time::timeout(self.connect_timeout, self.try_connect(wake)).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(e)) => {
                let (reason, sqlstate) = (sqlstate::without_secrets(&e), code_of(&e));
                Err(Error::Unavailable { reason, sqlstate })
            }
            Err(_) => Err(Error::unavailable(self.timed_out())),
        }
    }

    async fn try_connect(
        &self,
        wake: Option<Arc<Notify>>,
    ) -> Result<PgConnection, tokio_postgres::Error> {
        PgConnection::connect(&self.config, &self.tls, &self.options, wake).await
    }

    fn timed_out(&self) -> String {
        format!("no answer to connecting within {:?}", self.connect_timeout)
    }

    fn fail(&self, reason: String, sqlstate: Option<String>) -> Error {
        tracing::warn!(target: "buffetbot_db::connection", reason, "connecting failed");
        let is_permanent = |code: &String| code.starts_with("28") || code == "3D000";
        self.failure.send_modify(|last| {
            *last = Some(ConnectFailure {
                reason: reason.clone(),
                permanent: sqlstate.as_ref().is_some_and(is_permanent),
                sqlstate: sqlstate.clone(),
                number: last.as_ref().map_or(0, |f| f.number) + 1,
            });
        });
        Error::Unavailable { reason, sqlstate }
    }

    /// The age at which a connection retires: within a tenth of the configured one, so that
    /// connections made together (at start, after a failover) are not all replaced together.
    fn retire_at(&self) -> Option<Instant> {
        let recycle = self.recycle?.max(SHORTEST_LIFE);
        let share = f64::from(uuid::Uuid::new_v4().as_bytes()[0]) / 255.0;
        Some(span::after(Instant::now(), span::share(recycle, 0.9 + 0.2 * share)))
    }
}

impl bb8::ManageConnection for Manager {
    type Connection = PgConnection;
    type Error = Error;

    async fn connect(&self) -> Result<PgConnection> {
        let prepared = async {
            let mut connection = self.try_connect(None).await?;
            connection.prepare_session().await.map(|()| connection)
        };
        match tokio::time::timeout(self.connect_timeout, prepared).await {
            Ok(Ok(mut connection)) => {
                connection.retire_at = self.retire_at();
                connection.open = Some(self.open.clone());
                // Forgotten without waking anybody: waiters wait for failures only.
                self.failure.send_if_modified(|last| {
                    *last = None;
                    false
                });
                Ok(connection)
            }
            Ok(Err(e)) => Err(self.fail(sqlstate::without_secrets(&e), code_of(&e))),
            Err(_) => Err(self.fail(self.timed_out(), None)),
        }
    }

    async fn is_valid(&self, connection: &mut PgConnection) -> Result<()> {
        // The driver sees the server close an idle connection: no ping is needed to know it.
        if connection.is_discarded() {
            return Err(Error::unavailable("connection was closed"));
        }
        if let Some(cleaning) = &mut connection.cleaning {
            match tokio::time::timeout(self.connect_timeout, &mut *cleaning).await {
                Ok(Ok(true)) => connection.cleaning = None,
                _ => {
                    cleaning.abort();
                    connection.discard();
                    return Err(Error::unavailable("what its borrower left could not be reset"));
                }
            }
        }
        let now = Instant::now();
        if connection.retire_at.is_some_and(|at| now >= at) {
            return Err(Error::unavailable("connection reached its age limit"));
        }
        if now.duration_since(connection.last_used) < self.ping_after {
            return Ok(());
        }
        // An empty statement: a round trip and nothing else. Dropped at its limit, it discards the connection.
        match tokio::time::timeout(self.connect_timeout, connection.batch("")).await {
            Ok(answer) => answer,
            Err(_) => Err(Error::unavailable("no answer to a ping")),
        }
    }

    fn has_broken(&self, connection: &mut PgConnection) -> bool {
        let now = Instant::now();
        connection.last_used = now;
        !connection.is_reusable() || connection.retire_at.is_some_and(|at| now >= at)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::Manager;

    #[test]
    fn connections_made_together_do_not_retire_together() {
        let hour = Duration::from_secs(3_600);
        let config = crate::config::Config::new("postgres://ada@localhost/db").unwrap();
        let manager = Manager::new(&config.clone().pool_recycle(Some(hour))).unwrap();
        let made = Instant::now();
        let ages: Vec<_> =
            (0..50).filter_map(|_| manager.retire_at()).map(|at| at - made).collect();
        assert_eq!(ages.len(), 50);
        // A little more than a tenth, for the time that this takes.
        assert!(ages.iter().all(|age| (hour * 9 / 10..hour * 6 / 5).contains(age)), "{ages:?}");
        let spread = ages.iter().max().unwrap().abs_diff(*ages.iter().min().unwrap());
        assert!(spread > hour / 20, "{spread:?}");
        assert!(Manager::new(&config.pool_recycle(None)).unwrap().retire_at().is_none());
    }
}
