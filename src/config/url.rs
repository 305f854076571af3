//! Connection URLs.

use std::path::PathBuf;

use super::invalid;
use crate::connection::{Certificates, SslMode};
use crate::error::Result;

/// libpq's TLS settings, which the driver does not know.
#[derive(Default)]
pub(super) struct TlsSettings {
    pub mode: Option<SslMode>,
    pub certificates: Certificates,
}

/// A PostgreSQL URL as the driver's configuration, and what libpq says of TLS in it.
///
/// # Errors
/// [`Error::Config`](crate::Error::Config) of `variable`, without the URL.
pub(super) fn parse_url(
    url: &str,
    variable: &'static str,
) -> Result<(tokio_postgres::Config, TlsSettings)> {
    if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
        return Err(invalid(variable, "expected postgres://user:password@host:port/name"));
    }
    let (base, query) = url.split_once('?').unwrap_or((url, ""));
    let mut tls = TlsSettings::default();
    let mut kept = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        match name {
            "sslmode" => tls.mode = Some(SslMode::parse(value, variable)?),
            "sslrootcert" => tls.certificates.ca = Some(path(value, variable)?),
            "sslcert" => tls.certificates.cert = Some(path(value, variable)?),
            "sslkey" => tls.certificates.key = Some(path(value, variable)?),
            _ => kept.push(pair),
        }
    }
    let rest = if kept.is_empty() { base.to_owned() } else { format!("{base}?{}", kept.join("&")) };
    // The driver's message may quote a part of the URL.
    let driver = rest.parse().map_err(|_| invalid(variable, "not a valid PostgreSQL URL"))?;
    Ok((driver, tls))
}

/// A percent-encoded path.
fn path(value: &str, variable: &'static str) -> Result<PathBuf> {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let hex = [rest.next(), rest.next()].map(|d| d.and_then(|d| char::from(d).to_digit(16)));
        let [Some(high), Some(low)] = hex else {
            return Err(invalid(variable, "bad percent-encoding"));
        };
        bytes.push((high * 16 + low) as u8);
    }
    String::from_utf8(bytes)
        .map(PathBuf::from)
        .map_err(|_| invalid(variable, "a path is not UTF-8"))
}
