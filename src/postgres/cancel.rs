//! Asking the server to stop what runs on a connection.

use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_postgres::config::Host;
use tokio_postgres::{CancelToken, Error, NoTls};

use super::tls::Tls;

/// Where and over what transport a connection is cancelled.
///
/// The driver's own request closes its connection as soon as it is written. PgBouncer drops the
/// request then, because it has yet to connect to the server; libpq waits until the other side closes,
/// and so does this, where it can know the other side: with one host.
#[derive(Clone)]
pub(super) struct Canceller {
    tls: Tls,
    target: Option<Target>,
}

#[derive(Clone)]
enum Target {
    Tcp { address: String, name: String, port: u16 },
    Socket(PathBuf),
}

impl Canceller {
    pub fn new(config: &tokio_postgres::Config, tls: &Tls) -> Self {
        Canceller { tls: tls.clone(), target: target(config) }
    }

    pub async fn cancel(self, token: CancelToken) -> Result<(), Error> {
        match &self.target {
            Some(Target::Socket(path)) => self.cancel_on_socket(path, &token).await,
            Some(Target::Tcp { address, name, port }) => {
                let Ok(addresses) = tokio::net::lookup_host((address.as_str(), *port)).await else {
                    return self.tls.cancel(token).await;
                };
                // The name may have several; to another server the request's key says nothing.
                let mut result = None;
                for address in addresses {
                    if let Ok(stream) = TcpStream::connect(address).await {
                        result = Some(self.tls.cancel_on(&token, Lingering(stream), name).await);
                    }
                }
                match result {
                    Some(result) => result,
                    None => self.tls.cancel(token).await,
                }
            }
            None => self.tls.cancel(token).await,
        }
    }

    #[cfg(unix)]
    async fn cancel_on_socket(&self, path: &PathBuf, token: &CancelToken) -> Result<(), Error> {
        match tokio::net::UnixStream::connect(path).await {
            Ok(stream) => token.cancel_query_raw(Lingering(stream), NoTls).await,
            Err(_) => self.tls.clone().cancel(token.clone()).await,
        }
    }

    #[cfg(not(unix))]
    async fn cancel_on_socket(&self, _: &PathBuf, token: &CancelToken) -> Result<(), Error> {
        self.tls.clone().cancel(token.clone()).await
    }
}

/// The one host of a configuration.
fn target(config: &tokio_postgres::Config) -> Option<Target> {
    let port = match config.get_ports() {
        [] => 5432,
        [port] => *port,
        _ => return None,
    };
    match (config.get_hosts(), config.get_hostaddrs()) {
        ([Host::Tcp(name)], []) => {
            Some(Target::Tcp { address: name.clone(), name: name.clone(), port })
        }
        ([Host::Tcp(name)], [address]) => {
            Some(Target::Tcp { address: address.to_string(), name: name.clone(), port })
        }
        #[cfg(unix)]
        ([Host::Unix(dir)], []) => Some(Target::Socket(dir.join(format!(".s.PGSQL.{port}")))),
        _ => None,
    }
}

/// A stream whose shutdown waits for the other side to close first.
pub(super) struct Lingering<S>(S);

impl<S: AsyncRead + Unpin> AsyncRead for Lingering<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Lingering<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.0).poll_flush(context))?;
        let mut bytes = [0; 64];
        loop {
            let mut buffer = ReadBuf::new(&mut bytes);
            match ready!(Pin::new(&mut self.0).poll_read(context, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() => {}
                // Closed, or reset: the request was taken either way.
                _ => return Pin::new(&mut self.0).poll_shutdown(context),
            }
        }
    }
}
