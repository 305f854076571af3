//! How the server is reached: `sslmode` and certificates.

use crate::error::{Error, Result};

/// How the server is reached and how far its certificate is trusted; the names are libpq's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SslMode {
    /// Never TLS.
    Disable,
    /// TLS where the server offers it; its certificate is not checked.
    #[default]
    Prefer,
    /// TLS or no connection; the certificate is checked only where a CA is given.
    Require,
    /// TLS, and the certificate must come from the CA given, else from one the system trusts.
    VerifyCa,
    /// As `VerifyCa`, and the certificate must name the host.
    VerifyFull,
}

impl SslMode {
    /// The mode of this libpq name.
    ///
    /// # Errors
    /// [`Error::Config`] of `variable` for any other text.
    pub fn parse(text: &str, variable: &'static str) -> Result<Self> {
        Ok(match text {
            "disable" => SslMode::Disable,
            "prefer" => SslMode::Prefer,
            "require" => SslMode::Require,
            "verify-ca" => SslMode::VerifyCa,
            "verify-full" => SslMode::VerifyFull,
            _ => {
                return Err(Error::Config {
                    variable: variable.into(),
                    reason: "expected disable, prefer, require, verify-ca or verify-full".into(),
                });
            }
        })
    }
}

/// Certificates for TLS: paths of PEM files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Certificates {
    /// The authorities to trust instead of the system's.
    pub ca: Option<std::path::PathBuf>,
    /// The client's certificate chain.
    pub cert: Option<std::path::PathBuf>,
    /// The client's private key.
    pub key: Option<std::path::PathBuf>,
}
