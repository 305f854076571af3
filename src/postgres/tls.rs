//! Transport: plain or TLS, by `sslmode`.

use std::sync::{Arc, OnceLock};

use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio_postgres::{AsyncMessage, CancelToken, Client, NoTls};

use crate::config::{Certificates, SslMode};
#[cfg(not(feature = "tls"))]
use crate::error::Error;
use crate::error::Result;

/// A connector, made once per configuration and shared.
#[derive(Clone)]
pub(crate) enum Tls {
    Plain,
    #[cfg(feature = "tls")]
    Rustls(tokio_postgres_rustls::MakeRustlsConnect),
}

impl Tls {
    pub fn new(mode: SslMode, certificates: &Certificates) -> Result<Self> {
        match mode {
            SslMode::Disable => Ok(Tls::Plain),
            #[cfg(feature = "tls")]
            mode => super::rustls_config::client_config(mode, certificates)
                .map(|config| Tls::Rustls(tokio_postgres_rustls::MakeRustlsConnect::new(config))),
            #[cfg(not(feature = "tls"))]
            SslMode::Prefer if *certificates == Certificates::default() => Ok(Tls::Plain),
            #[cfg(not(feature = "tls"))]
            _ => Err(Error::Config {
                variable: "DB_SSL_MODE".into(),
                reason: "TLS needs the crate's feature `tls`".into(),
            }),
        }
    }

    /// Connects and drives the connection on the current runtime, until it ends or the driver is stopped. `wake` is
    /// woken by notifications, and by the connection's end.
    pub async fn connect(
        &self,
        config: &tokio_postgres::Config,
        wake: Option<Arc<Notify>>,
    ) -> Result<(Client, Driver), tokio_postgres::Error> {
        match self {
            Tls::Plain => {
                let (client, connection) = config.connect(NoTls).await?;
                Ok((client, drive(connection, wake)))
            }
            #[cfg(feature = "tls")]
            Tls::Rustls(tls) => {
                let (client, connection) = config.connect(tls.clone()).await?;
                Ok((client, drive(connection, wake)))
            }
        }
    }

    /// Asks the server to cancel what runs on the token's connection, over the same transport.
    pub async fn cancel(self, token: CancelToken) -> Result<(), tokio_postgres::Error> {
        match self {
            Tls::Plain => token.cancel_query(NoTls).await,
            #[cfg(feature = "tls")]
            Tls::Rustls(tls) => token.cancel_query(tls).await,
        }
    }

    /// As [`cancel`](Self::cancel), on the caller's stream to the host of this name.
    pub async fn cancel_on<S>(
        &self,
        token: &CancelToken,
        stream: S,
        name: &str,
    ) -> Result<(), tokio_postgres::Error>
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    {
        // Only a certificate can be for another name.
        #[cfg(not(feature = "tls"))]
        let _ = name;
        match self {
            Tls::Plain => token.cancel_query_raw(stream, NoTls).await,
            #[cfg(feature = "tls")]
            Tls::Rustls(tls) => {
                use tokio_postgres::tls::MakeTlsConnect;
                match MakeTlsConnect::<S>::make_tls_connect(&mut tls.clone(), name) {
                    Ok(tls) => token.cancel_query_raw(stream, tls).await,
                    // No host name: the connection was not made over TLS either.
                    Err(_) => token.cancel_query_raw(stream, NoTls).await,
                }
            }
        }
    }
}

/// The driver's half of a connection, at work.
pub(crate) struct Driver {
    pub task: AbortHandle,
    /// Why the connection ended, once it has.
    pub end: Arc<OnceLock<tokio_postgres::Error>>,
}

/// Runs the driver's half of a connection until it ends; its end reaches every statement as an error.
fn drive<S, T>(
    mut connection: tokio_postgres::Connection<S, T>,
    wake: Option<Arc<Notify>>,
) -> Driver
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let end = Arc::new(OnceLock::new());
    let told = end.clone();
    let driver = tokio::spawn(async move {
        let end = match &wake {
            None => (&mut connection).await,
            Some(wake) => loop {
                match std::future::poll_fn(|context| connection.poll_message(context)).await {
                    Some(Ok(AsyncMessage::Notification(_))) => wake.notify_one(),
                    Some(Ok(_)) => {}
                    Some(Err(error)) => break Err(error),
                    None => break Ok(()),
                }
            },
        };
        if let Err(error) = end {
            let reason = super::sqlstate::without_secrets(&error);
            tracing::debug!(target: "buffetbot_db::connection", reason, "connection ended");
            // Nobody else sets it.
            let _ = told.set(error);
        }
        // Statements learn of the end by this, when the reason is known.
        drop(connection);
        if let Some(wake) = wake {
            wake.notify_one();
        }
    });
    Driver { task: driver.abort_handle(), end }
}
