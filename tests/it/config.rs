//! Configuration: each variable, its default, and its errors.

use std::collections::HashMap;
use std::time::Duration;

use buffetbot_db::config::{Certificates, SslMode};
use buffetbot_db::testing::TestDatabase;
use buffetbot_db::{Config, Database, Environment, Error, Result};
use proptest::prelude::*;
use proptest::strategy::ValueTree;

use crate::support::server::{PASSWORD, TcpServer};
use crate::support::{database, execute, number};

const BASE: [(&str, &str); 2] = [("DB_USERNAME", "ada"), ("DB_NAME", "buffet")];

fn from(vars: &[(&str, &str)]) -> Result<Config> {
    let vars: HashMap<_, _> = vars.iter().copied().collect();
    Config::from_vars(|name| vars.get(name).map(|value| (*value).to_owned()))
}

fn with(more: &[(&str, &str)]) -> Result<Config> {
    from(&[&BASE, more].concat())
}

fn shown(config: &Config) -> String {
    format!("{config:?}")
}

#[track_caller]
fn assert_blames(result: Result<Config>, variable: &str) {
    let error = result.unwrap_err();
    assert!(matches!(&error, Error::Config { variable: v, .. } if v == variable), "{error:?}");
    assert!(error.to_string().contains(variable), "{error}");
}

#[test]
fn what_is_not_set_has_its_default() {
    let config = shown(&with(&[]).unwrap());
    for part in [
        "localhost",
        "5432",
        "ada",
        "buffet",
        "ssl_mode: Prefer",
        "environment: Development",
        "pool_size: 20",
        "pool_max_overflow: 30",
        "pool_timeout: 30s",
        "pool_recycle: Some(3600s)",
    ] {
        assert!(config.contains(part), "{part} in {config}");
    }
    // An empty variable, as from an unfilled template, is none.
    let empty =
        ["DATABASE_URL", "DB_HOST", "DB_PORT", "DB_PASSWORD", "DB_POOL_SIZE", "ENVIRONMENT"];
    assert_eq!(shown(&with(&empty.map(|name| (name, ""))).unwrap()), config);
}

#[test]
fn each_variable_is_heard() {
    for (name, value, part) in [
        ("DB_HOST", "db.example.com", "db.example.com"),
        ("DB_PORT", "6543", "6543"),
        ("DB_USERNAME", "grace", "grace"),
        ("DB_NAME", "other", "other"),
        ("DB_POOL_SIZE", "7", "pool_size: 7"),
        ("DB_POOL_MAX_OVERFLOW", "0", "pool_max_overflow: 0"),
        ("DB_POOL_TIMEOUT", "4", "pool_timeout: 4s"),
        ("DB_POOL_RECYCLE", "60", "pool_recycle: Some(60s)"),
        ("DB_POOL_RECYCLE", "0", "pool_recycle: None"),
        ("DB_SSL_MODE", "verify-full", "ssl_mode: VerifyFull"),
        ("DB_SSL_MODE", "disable", "ssl_mode: Disable"),
        ("DB_REPLICA_URLS", "postgres://a/x, postgres://b/x", "replicas: 2"),
        ("DB_REPLICA_URLS", "postgres://a,b:5/x,postgresql://u:p,w@c,postgres://d", "replicas: 3"),
        ("ENVIRONMENT", "testing", "environment: Testing"),
        ("ENVIRONMENT", "staging", "environment: Staging"),
        ("ENVIRONMENT", "production", "environment: Production"),
    ] {
        let config = shown(&with(&[(name, value)]).unwrap());
        assert!(config.contains(part), "{name}={value}: {config}");
    }
}

#[test]
fn each_variable_that_cannot_be_used_is_named() {
    for (name, value) in [
        ("DATABASE_URL", "mysql://ada@localhost/db"),
        ("DATABASE_URL", "postgres://ada@localhost:port/db"),
        ("DATABASE_URL", "postgres://ada@localhost/db?sslmode=perhaps"),
        ("DATABASE_URL", "postgres://ada@localhost/db?sslrootcert=%zz"),
        ("DATABASE_URL", "postgres://ada@localhost/db&password=hunter2"),
        ("DATABASE_URL", "postgres://ada@localhost/db#hunter2"),
        ("DB_PORT", "none"),
        ("DB_PORT", "0"),
        ("DB_PORT", "65536"),
        ("DB_PORT", "-1"),
        ("DB_POOL_SIZE", "0"),
        ("DB_POOL_SIZE", "many"),
        ("DB_POOL_SIZE", "-3"),
        ("DB_POOL_MAX_OVERFLOW", "1.5"),
        ("DB_POOL_TIMEOUT", "0"),
        ("DB_POOL_TIMEOUT", "30s"),
        ("DB_POOL_RECYCLE", "-1"),
        ("DB_SSL_MODE", "VERIFY-FULL"),
        ("DB_REPLICA_URLS", "postgres://a/x,nonsense"),
        ("ENVIRONMENT", "Production"),
        ("ENVIRONMENT", "prod"),
    ] {
        assert_blames(with(&[(name, value)]), name);
    }
    assert_blames(from(&[("DB_NAME", "buffet")]), "DB_USERNAME");
    assert_blames(from(&[("DB_USERNAME", "ada")]), "DB_NAME");
}

#[test]
fn a_url_goes_before_its_parts_and_variables_before_its_settings() {
    let url = "postgres://grace@db.example.com:7777/main?sslmode=require";
    let config = shown(&with(&[("DATABASE_URL", url)]).unwrap());
    for part in ["grace", "db.example.com", "7777", "main", "ssl_mode: Require"] {
        assert!(config.contains(part), "{part} in {config}");
    }
    assert!(!config.contains("ada"), "{config}");
    let config = with(&[("DATABASE_URL", url), ("DB_SSL_MODE", "disable")]).unwrap();
    assert!(shown(&config).contains("ssl_mode: Disable"));
}

#[test]
fn no_error_and_no_debug_shows_a_url_or_a_password() {
    let secret = "sesameopenup";
    for url in [
        format!("postgres://ada:{secret}@localhost:port/db"),
        format!("postgres://ada:{secret}@localhost/db?sslmode={secret}"),
        format!("postgres://ada:{secret}@localhost/db?unknown={secret}"),
        format!("{secret}://ada:{secret}@localhost/db"),
    ] {
        for name in ["DATABASE_URL", "DB_REPLICA_URLS"] {
            let error = with(&[(name, &url)]).unwrap_err();
            assert!(!format!("{error} {error:?}").contains(secret), "{error:?}");
        }
    }
    let config = with(&[("DB_PASSWORD", secret)]).unwrap();
    assert!(!shown(&config).contains(secret));
    let db = Database::connect_lazy;
    let url = format!("postgres://ada:{secret}@localhost/db");
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let _context = runtime.enter();
    assert!(!format!("{:?}", db(Config::new(&url).unwrap()).unwrap()).contains(secret));
}

#[test]
fn a_variable_that_is_no_text_is_named() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    // In a program of its own: a program's environment is shared by its threads.
    let variable = "BUFFETBOT_TEST_CHILD";
    if std::env::var_os(variable).is_some() {
        assert_blames(Config::from_env(), "DB_PASSWORD");
        return;
    }
    let status = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "config::a_variable_that_is_no_text_is_named"])
        .env(variable, "1")
        .env_remove("DATABASE_URL")
        .env("DB_USERNAME", "ada")
        .env("DB_NAME", "buffet")
        .env("DB_PASSWORD", OsStr::from_bytes(b"caf\xe9"))
        .output()
        .unwrap();
    let out = String::from_utf8_lossy(&status.stdout);
    assert!(status.status.success() && out.contains("1 passed"), "{out}");
}

#[tokio::test]
async fn the_certificates_variables_are_heard() {
    for (name, blamed) in
        [("DB_SSL_CA", "DB_SSL_CA"), ("DB_SSL_CERT", "DB_SSL_KEY"), ("DB_SSL_KEY", "DB_SSL_CERT")]
    {
        let config = with(&[("DB_SSL_MODE", "verify-full"), (name, "/nowhere.pem")]).unwrap();
        // Another CA than the system's is needed where the system has none.
        let config = match name {
            "DB_SSL_CA" => config,
            _ => config.ssl_mode(SslMode::Require),
        };
        let error = Database::connect_lazy(config).unwrap_err();
        assert!(
            matches!(&error, Error::Config { variable, .. } if variable == blamed),
            "{error:?}"
        );
    }
    let both = with(&[("DB_SSL_CERT", "/a.pem"), ("DB_SSL_KEY", "/b.pem")]).unwrap();
    assert!(Database::connect_lazy(both.certificates(Certificates::default())).is_ok());
}

#[tokio::test]
async fn a_directory_as_the_host_is_a_unix_socket() {
    let db = database(1).await;
    let Some(server) = db.server() else {
        // The tests run against a server that need not have a socket here.
        return;
    };
    let dir = server.socket_dir().display().to_string();
    let vars = [("DB_HOST", dir.as_str()), ("DB_USERNAME", "postgres"), ("DB_NAME", db.name())];
    let other = Database::connect(from(&vars).unwrap()).await.unwrap();
    assert_eq!(
        number(&other.connection().await.unwrap(), "SELECT 1::bigint AS n").await.unwrap(),
        1
    );
}

#[tokio::test]
async fn an_environment_is_known_to_the_handle() {
    let config = with(&[("ENVIRONMENT", "production")]).unwrap();
    assert_eq!(Database::connect_lazy(config).unwrap().environment(), Environment::Production);
}

#[tokio::test]
async fn names_and_limits_of_the_url_reach_the_server() {
    let db = database(1).await;
    let url = format!("{}&application_name=mine&options=-c%20statement_timeout%3D4321", db.url());
    let config = Config::new(&url).unwrap().lock_timeout(Duration::from_millis(99));
    let other = Database::connect(config).await.unwrap();
    let connection = other.connection().await.unwrap();
    let sql = "SELECT (current_setting('application_name') = 'mine'
                AND current_setting('statement_timeout') = '4321ms'
                AND current_setting('lock_timeout') = '99ms')::int::bigint AS n";
    assert_eq!(number(&connection, sql).await.unwrap(), 1);
}

fn percent_encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

/// Any character but NUL, which no PostgreSQL password can hold, and with some that are special
/// somewhere more often.
fn password() -> impl Strategy<Value = String> {
    let special = prop::sample::select(
        " %@:/?#[]&=+'\"\\$\n\té\u{1F511}\u{FF21}".chars().collect::<Vec<_>>(),
    );
    let any = any::<char>().prop_filter("no NUL", |c| *c != '\0');
    prop::collection::vec(prop_oneof![special, any], 1..24).prop_map(String::from_iter)
}

proptest! {
    #[test]
    fn a_password_of_any_characters_is_kept_and_not_shown(password in password()) {
        let by_parts = with(&[("DB_PASSWORD", &password)]).unwrap();
        let url = format!("postgres://ada:{}@localhost/buffet", percent_encoded(&password));
        let by_url = Config::new(&url).unwrap();
        // Both ways lead to one configuration, and neither lets the password into its text.
        prop_assert_eq!(shown(&by_parts), shown(&by_url));
        let without = shown(&with(&[]).unwrap());
        prop_assert_eq!(shown(&by_parts), without);
    }
}

#[tokio::test]
async fn a_password_of_any_characters_logs_in() {
    let server = TcpServer::start().await;
    let admin = Database::connect(Config::new(&server.url()).unwrap()).await.unwrap();
    let admin = admin.connection().await.unwrap();
    execute(&admin, "CREATE ROLE ada LOGIN").await.unwrap();
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let port = server.port.to_string();
    let mut passwords: Vec<String> =
        (0..12).map(|_| password().new_tree(&mut runner).unwrap().current()).collect();
    passwords.push(r#" p@ss:w/o?r#d%41&=+'"\ "#.into());
    for password in passwords {
        let literal = password.replace('\\', r"\\").replace('\'', "''");
        execute(&admin, &format!("ALTER ROLE ada PASSWORD E'{literal}'")).await.unwrap();
        let vars = [
            ("DB_HOST", "127.0.0.1"),
            ("DB_PORT", port.as_str()),
            ("DB_USERNAME", "ada"),
            ("DB_NAME", "postgres"),
            ("DB_PASSWORD", password.as_str()),
        ];
        let by_parts = Database::connect(from(&vars).unwrap()).await;
        assert!(by_parts.is_ok(), "{password:?}: {by_parts:?}");
        let url = server.url_of("ada", &percent_encoded(&password), "postgres");
        let by_url = Database::connect(Config::new(&url).unwrap()).await;
        assert!(by_url.is_ok(), "{password:?}: {by_url:?}");
    }
    let wrong = server.url_of("ada", PASSWORD, "postgres");
    assert!(Database::connect(Config::new(&wrong).unwrap()).await.is_err());
}

const OURS: [&str; 3] = ["60000", "10000", "60000"];

/// The server's limits in milliseconds, as it has them for a connection with these options in its URL.
async fn limits_with(db: &TestDatabase, options: &str) -> Vec<String> {
    let url = format!("{}&options={}", db.url(), percent_encoded(options));
    let other = Database::connect(Config::new(&url).expect(options)).await.expect(options);
    let connection = other.connection().await.expect(options);
    let mut limits = Vec::new();
    for name in ["statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"] {
        let sql = format!("SELECT setting::bigint AS n FROM pg_settings WHERE name = '{name}'");
        limits.push(number(&connection, &sql).await.expect(options).to_string());
    }
    limits
}

#[tokio::test]
async fn c2_options_of_the_url_change_what_they_name_and_nothing_else() {
    let db = database(1).await;
    for (options, place, value) in [
        ("-c deadlock_timeout=2s", None, ""),
        ("-c application_name=lock_timeout", None, ""),
        (r"-c application_name=a\ -c\ lock_timeout=1", None, ""),
        ("--statement-timeout=5s", Some(0), "5000"),
        ("--statement_timeout=5s", Some(0), "5000"),
        ("-cstatement_timeout=5s", Some(0), "5000"),
        ("-c statement-timeout=5s", Some(0), "5000"),
        ("-c STATEMENT_TIMEOUT=5s", Some(0), "5000"),
        ("  -c  statement_timeout=5s  ", Some(0), "5000"),
        ("-c statement_timeout=7s --statement-timeout=5s", Some(0), "5000"),
        (r"-c lock_timeout=7\ s", Some(1), "7000"),
        (r"-c lock_timeout=7s\", Some(1), "7000"),
        ("--idle-in-transaction-session-timeout=0", Some(2), "0"),
    ] {
        let mut expected = OURS.map(str::to_owned);
        if let Some(place) = place {
            expected[place] = value.to_owned();
        }
        assert_eq!(limits_with(&db, options).await, expected, "{options}");
    }
}

#[test]
fn c2_a_parameter_that_is_not_known_is_named() {
    for (query, named) in [
        ("schema=public", "schema"),
        ("pgbouncer=true", "pgbouncer"),
        ("sslmode=disable&connection_limit=5", "connection_limit"),
        ("application_name=a&%73chema=public", "schema"),
        ("connect_timeout=soon", "connect_timeout"),
        ("target_session_attrs=standby", "target_session_attrs"),
        ("keepalives_retries=-1", "keepalives_retries"),
        ("port=none", "port"),
    ] {
        let url = format!("postgres://ada:sesame@localhost/db?{query}");
        let error = Config::new(&url).unwrap_err();
        let Error::Config { variable, reason } = &error else { panic!("{error:?}") };
        assert_eq!(variable, "DATABASE_URL");
        assert!(reason.contains(&format!("`{named}`")), "{query}: {reason}");
        assert!(!reason.contains("sesame"), "{reason}");
    }
}

#[test]
fn c2_no_part_of_a_password_becomes_anything_else() {
    for url in [
        "postgres://ada:hunter2@secret@host/db",
        "postgres://ada:hunter2@secret/db@host/db",
        "postgres://ada:12/secret@host/db",
        "postgres://ada:/secret@host/db",
        "postgres://ada:12?secret@host/db",
        "postgres://ada:12?secret=1@host/db",
        "postgres://ada:hunter2@x/y?secret=1@host/db",
        "postgres://ada:hunter2@x?secret@host/db",
        "postgres://ada:hunter2?password=x&secret@host",
        "postgres://host:5432?password=hunt@secret",
        "postgres://host?password=hunt@secret",
        "postgres://host/db?password=hunt&secret",
        "postgres://host/db?password=hunt&secret=2",
        "postgres://ada@host:secret/db",
        "postgres://ada:%zzsecret@host/db",
        "postgres://ada:%00secret@host/db",
        "postgres://ada:%ffsecret@host/db",
    ] {
        match Config::new(url) {
            Ok(config) => panic!("{url}: {config:?}"),
            Err(error) => assert!(!format!("{error} {error:?}").contains("secret"), "{error:?}"),
        }
    }
    // What is not ambiguous is taken as PostgreSQL takes it.
    for (url, parts) in [
        ("postgres://ada:a:b#c@host:99/db", ["\"host\"", "[99]", "Some(\"ada\")", "Some(\"db\")"]),
        ("postgres://ada:x@host/db?application_name=me@home", ["\"host\"", "[5432]", "ada", "db"]),
        ("postgresql:///db?user=ada@home&host=a", ["Tcp(\"a\")", "[", "ada@home", "db"]),
        ("postgres://ada@a:1,b:2/db", ["\"a\"", "[1, 2]", "\"b\"", "db"]),
        ("postgres://[::1]:6543/db?user=ada", ["\"::1\"", "[6543]", "ada", "db"]),
        ("postgres://%2Frun%2Fpg/db?user=ada", ["/run/pg", "[5432]", "ada", "db"]),
        ("postgres://a/x?dbname=db&user=ada&host=b&port=7", ["Tcp(\"b\")", "[7]", "ada", "db"]),
        ("postgres://ada@%65x/d%62", ["\"ex\"", "[5432]", "ada", "\"db\""]),
    ] {
        let config = shown(&Config::new(url).expect(url));
        for part in parts {
            assert!(config.contains(part), "{url}: {part} in {config}");
        }
    }
    let config = shown(&Config::new("postgres://a/x?host=b").unwrap());
    assert!(!config.contains("\"a\""), "{config}");
}

#[test]
fn c2_what_the_url_says_of_the_connection_is_heard() {
    let config = Config::new("postgres://ada@host/db?connect_timeout=3&ssl=true").unwrap();
    assert!(shown(&config).contains("connect_timeout: 3s"), "{config:?}");
    assert!(shown(&config).contains("ssl_mode: Require"), "{config:?}");
    let config = config.connect_timeout(Duration::from_secs(4));
    assert!(shown(&config).contains("connect_timeout: 4s"), "{config:?}");
}
