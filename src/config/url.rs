//! Connection URLs, as libpq reads them.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;
use std::time::Duration;

use super::invalid;
use super::tls::{Certificates, SslMode};
use crate::error::Result;

/// What a URL says.
pub(super) struct Parsed {
    pub driver: tokio_postgres::Config,
    /// libpq's TLS settings, which the driver does not know.
    pub ssl_mode: Option<SslMode>,
    pub certificates: Certificates,
    pub connect_timeout: Option<Duration>,
}

/// The parameters of the driver.
const OF_DRIVER: [&str; 18] = [
    "application_name",
    "channel_binding",
    "connect_timeout",
    "dbname",
    "host",
    "hostaddr",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_retries",
    "load_balance_hosts",
    "options",
    "password",
    "port",
    "sslnegotiation",
    "target_session_attrs",
    "tcp_user_timeout",
    "user",
];

/// The parameters of this crate; `ssl=true` is libpq's alias of `sslmode=require`.
const OF_TLS: [&str; 5] = ["ssl", "sslcert", "sslkey", "sslmode", "sslrootcert"];

/// A peer that vanished is noticed after about 30 s of idling...
const KEEPALIVE_IDLE: Duration = Duration::from_secs(15);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVE_RETRIES: u32 = 3;
/// ... or of not acknowledging what was sent.
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(30);

const PORT: u16 = 5432;

/// # Errors
/// [`Error::Config`](crate::Error::Config) of `variable`. It names a parameter, and shows nothing that may be part of a password.
pub(super) fn parse_url(url: &str, variable: &'static str) -> Result<Parsed> {
    let refused = |reason: &str| invalid(variable, reason);
    let scheme = ["postgres://", "postgresql://"].iter().find_map(|s| url.strip_prefix(s));
    let expected = || refused("expected postgres://user:password@host:port/name");
    let rest = scheme.ok_or_else(expected)?;
    let (authority, rest) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    let user_info = authority.rsplit_once('@');
    // An unescaped password may hold any of these characters. Where it would end elsewhere for libpq, or for another
    // reader, part of it would be taken for a host, a name or a parameter.
    let is_ambiguous = user_info.is_some_and(|(user, _)| user.contains('@'))
        || path.contains(['@', '&', '#'])
        || user_info.is_none() && path.is_empty() && query.contains('@');
    if is_ambiguous {
        return Err(refused(
            "a user, a password or a name with @, /, ?, & or # must be percent-encoded; parameters begin with ?",
        ));
    }
    let decode = |text: &str| decoded(text).map_err(&refused);
    let given = parameters(query).map_err(|reason| refused(&reason))?;
    let is_given = |name: &str| given.contains_key(name);
    let mut driver = driver(&given).map_err(|reason| refused(&reason))?;

    let (user_info, hosts) = user_info.unwrap_or(("", authority));
    let (user, password) = user_info.split_once(':').unwrap_or((user_info, ""));
    let (user, password) = (decode(user)?, decode(password)?);
    let database = decode(path.strip_prefix('/').unwrap_or_default())?;
    if !user.is_empty() && !is_given("user") {
        driver.user(user);
    }
    if !password.is_empty() && !is_given("password") {
        driver.password(password);
    }
    if !database.is_empty() && !is_given("dbname") {
        driver.dbname(database);
    }
    let several = hosts.contains(',');
    for place in hosts.split(',').filter(|_| !hosts.is_empty()) {
        let (host, port) = host_and_port(place).map_err(&refused)?;
        if host.is_empty() && several {
            return Err(refused("one of several hosts has no name"));
        }
        if !host.is_empty() && !is_given("host") {
            driver.host(host);
        }
        match port {
            Some(port) if !is_given("port") => drop(driver.port(port)),
            None if !is_given("port") && !is_given("host") => drop(driver.port(PORT)),
            _ => {}
        }
    }

    let path = |name: &str| given.get(name).map(PathBuf::from);
    let ssl_mode = match given.get("sslmode") {
        Some(mode) => Some(SslMode::parse(mode, variable)?),
        None => is_given("ssl").then_some(SslMode::Require),
    };
    Ok(Parsed {
        ssl_mode,
        certificates: Certificates {
            ca: path("sslrootcert"),
            cert: path("sslcert"),
            key: path("sslkey"),
        },
        // For libpq, zero and below mean no limit.
        connect_timeout: is_given("connect_timeout")
            .then(|| driver.get_connect_timeout().copied().unwrap_or(Duration::MAX)),
        driver,
    })
}

/// The query's parameters, decoded; of several of a name the last, and without those that are empty.
fn parameters(query: &str) -> Result<BTreeMap<&'static str, String>, String> {
    let mut given = BTreeMap::new();
    // Behind an unescaped password, what looks like a parameter may be the rest of it.
    let mut may_be_secret = query.contains('@');
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let Some((name, value)) = pair.split_once('=') else {
            return Err("a parameter has no value".into());
        };
        let name = decoded(name)?;
        let known = OF_DRIVER.iter().chain(&OF_TLS).find(|known| **known == name);
        let Some(known) = known else {
            let is_word = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
            return Err(match !may_be_secret && name.len() <= 63 && name.chars().all(is_word) {
                true => format!("the parameter `{name}` is not known"),
                false => "a parameter is not known".into(),
            });
        };
        may_be_secret |= *known == "password";
        let value = decoded(value)?;
        if *known == "ssl" && value != "true" {
            return Err("the parameter `ssl` can be true only; see `sslmode`".into());
        }
        if !value.is_empty() {
            given.insert(*known, value);
        }
    }
    Ok(given)
}

/// The driver's configuration with these parameters.
fn driver(given: &BTreeMap<&'static str, String>) -> Result<tokio_postgres::Config, String> {
    let mut all = String::new();
    for (name, value) in given.iter().filter(|(name, _)| OF_DRIVER.contains(name)) {
        let value = value.replace('\\', r"\\").replace('\'', r"\'");
        let one = format!("{name}='{value}'");
        let lists_nothing = *name == "host" && value.split(',').any(str::is_empty);
        // One by one, because the driver's message may quote a part of the text.
        if lists_nothing || one.parse::<tokio_postgres::Config>().is_err() {
            return Err(format!("the parameter `{name}` has a value that cannot be used"));
        }
        let _ = write!(all, "{one} ");
    }
    let mut driver: tokio_postgres::Config =
        all.parse().map_err(|_| "not a valid PostgreSQL URL".to_owned())?;
    if !given.contains_key("keepalives_idle") {
        driver.keepalives_idle(KEEPALIVE_IDLE);
    }
    if !given.contains_key("keepalives_interval") {
        driver.keepalives_interval(KEEPALIVE_INTERVAL);
    }
    if !given.contains_key("keepalives_retries") {
        driver.keepalives_retries(KEEPALIVE_RETRIES);
    }
    if !given.contains_key("tcp_user_timeout") {
        driver.tcp_user_timeout(TCP_USER_TIMEOUT);
    }
    Ok(driver)
}

/// One of the hosts: a name, an address, in brackets where it has colons, or a socket's directory, percent-encoded.
fn host_and_port(text: &str) -> Result<(String, Option<u16>), &'static str> {
    let (host, port) = match text.strip_prefix('[') {
        Some(address) => {
            let (address, rest) = address.split_once(']').ok_or("a [ has no ]")?;
            match rest.strip_prefix(':') {
                None if !rest.is_empty() => {
                    return Err("a ] is followed by something else than a port");
                }
                port => (address, port),
            }
        }
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let number =
        |port: &str| port.parse::<u16>().ok().filter(|n| *n != 0 && !port.starts_with('+'));
    let port = match port.filter(|port| !port.is_empty()) {
        Some(port) => Some(number(port).ok_or("a port is not a number from 1 to 65535")?),
        None => None,
    };
    Ok((decoded(host)?, port))
}

/// The text behind percent-encoding.
fn decoded(text: &str) -> Result<String, &'static str> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let hex = [rest.next(), rest.next()].map(|d| d.and_then(|d| char::from(d).to_digit(16)));
        let [Some(high), Some(low)] = hex else {
            return Err("bad percent-encoding");
        };
        bytes.push((high * 16 + low) as u8);
    }
    match String::from_utf8(bytes) {
        Ok(text) if text.contains('\0') => Err("a NUL character cannot be sent"),
        Ok(text) => Ok(text),
        Err(_) => Err("percent-encoded text that is not UTF-8"),
    }
}
