//! Every `sslmode` against a server with TLS, and one without.

use std::path::{Path, PathBuf};
use std::time::Duration;

use buffetbot_db::config::SslMode;
use buffetbot_db::{Config, Database, Error, Result};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

use crate::support::process::write_private;
use crate::support::server::{PASSWORD, ServerOptions, TcpServer};
use crate::support::{active, database, eventually, execute, number, raw};

/// A certificate authority.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "test authority");
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Authority { issuer: Issuer::new(params, key), pem }
    }

    /// A certificate for a host or a user, and its key.
    fn certify(&self, name: &str, expired: bool) -> (String, String) {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        if expired {
            params.not_before = rcgen::date_time_ymd(2019, 1, 1);
            params.not_after = rcgen::date_time_ymd(2020, 1, 1);
        }
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }
}

/// A directory of PEM files, removed in the end.
struct Files(PathBuf);

impl Files {
    fn new() -> Self {
        let dir = std::env::temp_dir().join(format!("bb-tls-{}", uuid::Uuid::new_v4().simple()));
        std::fs::create_dir(&dir).unwrap();
        Files(dir)
    }

    fn write(&self, name: &str, pem: &str) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, pem).unwrap();
        path.display().to_string()
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        // A leftover in the temporary directory is no failure of what is tested.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Users come over TLS only: `ada` with a certificate, all others with a password.
const HBA: &str = "hostssl all ada 127.0.0.1/32 cert\n\
                   hostssl all all 127.0.0.1/32 scram-sha-256\n";

/// A server whose certificate is for `localhost`.
async fn tls_server(authority: &Authority, expired: bool) -> TcpServer {
    TcpServer::start_with(|dir: &Path| {
        let (certificate, key) = authority.certify("localhost", expired);
        let mut settings = vec!["ssl=on".to_owned()];
        for (name, content) in [("cert", &certificate), ("key", &key), ("ca", &authority.pem)] {
            let path = dir.join(format!("server-{name}.pem"));
            write_private(&path, content);
            settings.push(format!("ssl_{name}_file={}", path.display()));
        }
        ServerOptions { settings, hba: Some(HBA.into()), ..ServerOptions::default() }
    })
    .await
}

fn url(server: &TcpServer, user: &str, host: &str, query: &str) -> String {
    format!("postgres://{user}:{PASSWORD}@{host}:{}/postgres?{query}", server.port)
}

/// Whether the connection that this URL makes is encrypted.
async fn encrypted(url: &str) -> Result<bool> {
    let db = Database::connect(Config::new(url)?.pool_size(1).pool_max_overflow(0)).await?;
    let connection = db.connection().await?;
    let sql = "SELECT ssl::int::bigint AS n FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    Ok(number(&connection, sql).await? == 1)
}

#[track_caller]
fn assert_refused(result: Result<bool>, cause: &str) {
    let error = result.unwrap_err();
    assert!(
        matches!(&error, Error::Unavailable { reason, .. } if reason.contains(cause)),
        "{error:?}"
    );
    assert!(!format!("{error} {error:?}").contains(PASSWORD), "{error:?}");
}

#[tokio::test]
#[ignore = "needs a PostgreSQL with TLS, which the fetched one lacks"]
async fn each_mode_trusts_as_far_as_its_name_says() {
    let files = Files::new();
    let (authority, stranger) = (Authority::new(), Authority::new());
    let known = files.write("known.pem", &authority.pem);
    let unknown = files.write("unknown.pem", &stranger.pem);
    let server = tls_server(&authority, false).await;
    let connect =
        async |host: &str, query: &str| encrypted(&url(&server, "postgres", host, query)).await;
    assert_refused(connect("localhost", "sslmode=disable").await, "no encryption");
    for query in ["", "sslmode=prefer", "sslmode=require"] {
        assert!(connect("127.0.0.1", query).await.unwrap(), "{query}");
    }
    for (mode, ca, by_name, by_address) in [
        ("require", &known, true, true),
        ("require", &unknown, false, false),
        ("verify-ca", &known, true, true),
        ("verify-ca", &unknown, false, false),
        ("verify-full", &known, true, false),
        ("verify-full", &unknown, false, false),
    ] {
        let query = format!("sslmode={mode}&sslrootcert={ca}");
        for (host, accepted) in [("localhost", by_name), ("127.0.0.1", by_address)] {
            match connect(host, &query).await {
                Ok(encrypted) => assert!(encrypted && accepted, "{host} {query}"),
                refused if !accepted => assert_refused(refused, "certificate"),
                refused => panic!("{host} {query}: {refused:?}"),
            }
        }
    }
    // Without a CA the system's are trusted, and none of those made this certificate.
    let error = connect("localhost", "sslmode=verify-full").await.unwrap_err();
    assert!(matches!(&error, Error::Unavailable { .. } | Error::Config { .. }), "{error:?}");
}

#[tokio::test]
#[ignore = "needs a PostgreSQL with TLS, which the fetched one lacks"]
async fn an_expired_certificate_is_refused_where_it_is_checked() {
    let files = Files::new();
    let authority = Authority::new();
    let ca = files.write("ca.pem", &authority.pem);
    let server = tls_server(&authority, true).await;
    for mode in ["verify-ca", "verify-full"] {
        let query = format!("sslmode={mode}&sslrootcert={ca}");
        let result = encrypted(&url(&server, "postgres", "localhost", &query)).await;
        assert_refused(result, "xpired");
    }
    assert!(encrypted(&url(&server, "postgres", "localhost", "sslmode=require")).await.unwrap());
}

#[tokio::test]
#[ignore = "needs a PostgreSQL with TLS, which the fetched one lacks"]
async fn a_client_certificate_logs_in() {
    let files = Files::new();
    let (authority, stranger) = (Authority::new(), Authority::new());
    let ca = files.write("ca.pem", &authority.pem);
    let server = tls_server(&authority, false).await;
    let admin = url(&server, "postgres", "localhost", "sslmode=require");
    let admin = Database::connect(Config::new(&admin).unwrap()).await.unwrap();
    execute(&admin.connection().await.unwrap(), "CREATE ROLE ada LOGIN").await.unwrap();
    let login = async |by: &Authority, user: &str| {
        let (certificate, key) = by.certify(user, false);
        let (certificate, key) =
            (files.write("cert.pem", &certificate), files.write("key.pem", &key));
        let query =
            format!("sslmode=verify-full&sslrootcert={ca}&sslcert={certificate}&sslkey={key}");
        encrypted(&url(&server, "ada", "localhost", &query)).await
    };
    assert!(login(&authority, "ada").await.unwrap());
    assert_refused(login(&authority, "eve").await, "28000");
    assert!(login(&stranger, "ada").await.is_err());
    let without = format!("sslmode=verify-full&sslrootcert={ca}");
    assert!(encrypted(&url(&server, "ada", "localhost", &without)).await.is_err());
}

#[tokio::test]
#[ignore = "needs a PostgreSQL with TLS, which the fetched one lacks"]
async fn a_dropped_statement_is_cancelled_over_tls() {
    let files = Files::new();
    let authority = Authority::new();
    let ca = files.write("ca.pem", &authority.pem);
    let server = tls_server(&authority, false).await;
    let query = format!("sslmode=verify-full&sslrootcert={ca}");
    let config = Config::new(&url(&server, "postgres", "localhost", &query)).unwrap();
    let db =
        Database::connect(config.pool_size(2).statement_timeout(Duration::ZERO)).await.unwrap();
    let observer = db.connection().await.unwrap();
    let running = "SELECT count(*) AS n FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
    let call = async {
        let connection = db.connection().await.unwrap();
        number(&connection, "SELECT 1::bigint AS n FROM pg_sleep(600)").await
    };
    let busy =
        eventually("the server is at work", async || number(&observer, running).await.unwrap() > 0);
    tokio::select! {
        biased;
        done = call => panic!("{done:?}"),
        () = busy => {}
    }
    eventually("the server stops", async || number(&observer, running).await.unwrap() == 0).await;
}

#[tokio::test]
async fn a_server_without_tls_is_used_only_where_that_is_allowed() {
    let server = TcpServer::start().await;
    for (query, allowed) in [
        ("", true),
        ("sslmode=disable", true),
        ("sslmode=prefer", true),
        ("sslmode=require", false),
    ] {
        match encrypted(&url(&server, "postgres", "127.0.0.1", query)).await {
            Ok(encrypted) => assert!(allowed && !encrypted, "{query}"),
            refused if !allowed => assert_refused(refused, "TLS"),
            refused => panic!("{query}: {refused:?}"),
        }
    }
}

#[tokio::test]
async fn a_unix_socket_needs_no_tls() {
    let db = database(1).await;
    let config = db.config().ssl_mode(SslMode::Prefer).pool_size(1);
    let other = Database::connect(config).await.unwrap();
    assert_eq!(
        number(&other.connection().await.unwrap(), "SELECT 1::bigint AS n").await.unwrap(),
        1
    );
    let observer = raw(db.url()).await;
    assert_eq!(active(&observer).await, 0);
}

#[tokio::test]
async fn certificates_that_cannot_be_used_are_errors_of_configuration() {
    let files = Files::new();
    let (certificate, key) = Authority::new().certify("ada", false);
    let certificate = files.write("cert.pem", &certificate);
    let key = files.write("key.pem", &key);
    let nothing = files.write("nothing.pem", "no certificate at all");
    for (query, variable) in [
        ("sslmode=verify-full&sslrootcert=/nowhere/ca.pem".to_owned(), "DB_SSL_CA"),
        (format!("sslmode=verify-full&sslrootcert={nothing}"), "DB_SSL_CA"),
        (format!("sslcert={certificate}"), "DB_SSL_KEY"),
        (format!("sslkey={key}"), "DB_SSL_CERT"),
        (format!("sslcert={certificate}&sslkey={nothing}"), "DB_SSL_KEY"),
        (format!("sslcert={nothing}&sslkey={key}"), "DB_SSL_CERT"),
    ] {
        let config = Config::new(&format!("postgres://ada@localhost/db?{query}")).unwrap();
        let error = Database::connect_lazy(config).unwrap_err();
        assert!(
            matches!(&error, Error::Config { variable: v, .. } if v == variable),
            "{query}: {error:?}"
        );
    }
}
