//! One error of each variant, and what holds for all of them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use chrono::DateTime;

use super::{Entity, Error, ErrorKind, Limit, Resource, constraints, tables};

type AnyError = dyn std::error::Error + 'static;

/// A provider's error with a cause of its own.
#[derive(Debug, thiserror::Error)]
#[error("the provider is away")]
struct Away(#[source] std::io::Error);

fn fetch_failed() -> Error {
    Error::Fetch { source: Arc::new(Box::new(Away(std::io::Error::other("connection reset")))) }
}

fn conflict() -> Error {
    Error::Conflict { entity: Entity::User, constraint: constraints::USERS_EMAIL.into() }
}

/// Every variant, those with a source or with an optional part more than once.
fn samples() -> Vec<Error> {
    let text = || "what was seen".to_owned();
    let code = |code: &str| code.to_owned();
    let [table, key, column] = ["positions", "7", "ticker"].map(str::to_owned);
    vec![
        Error::not_found(Entity::PriceBar, "7"),
        conflict(),
        conflict().at(3),
        Error::InvalidReference { constraint: constraints::POSITIONS_PORTFOLIO.into() },
        Error::invalid("email", "too long"),
        Error::invalid("email", "too long").at(3),
        fetch_failed().at(3),
        Error::Denied { sqlstate: code("42501") },
        Error::Busy {
            resource: Resource::PooledConnection,
            waited: Duration::from_secs(1),
            cause: Some("all 2 in use".into()),
        },
        Error::Retryable { sqlstate: code("40001") },
        Error::Cancelled,
        Error::Unsupported { call: "prices.digest" },
        Error::Timeout { limit: Limit::Statement },
        Error::Unavailable { reason: text(), sqlstate: Some(code("57P01")) },
        Error::unavailable(text()),
        Error::outcome_unknown(text()),
        Error::ReadOnly,
        Error::Ended { reason: "it is over" },
        Error::Corrupt {
            table: table.clone(),
            key: key.clone(),
            column: column.clone(),
            reason: text(),
        },
        Error::WrittenUnreadable { table, key, column, reason: text() },
        fetch_failed(),
        Error::Fetch { source: Arc::new(Box::new(Error::ReadOnly)) },
        Error::BackingOff { retry_in: Duration::from_secs(2) },
        Error::HistorySwept { known_from: DateTime::UNIX_EPOCH },
        Error::Config { variable: "DATABASE_URL".into(), reason: text() },
        #[cfg(feature = "arrow")]
        Error::Archive { path: "prices/2008.parquet".into(), reason: text() },
        Error::Migration(text()),
        #[cfg(feature = "embedded")]
        super::embedded::io("create", "/x".as_ref())(std::io::Error::other("denied")).into(),
        #[cfg(feature = "embedded")]
        super::EmbeddedError::RuntimeGone.into(),
        Error::Database { sqlstate: code("22012"), message: text() },
    ]
}

#[test]
fn every_variant_has_a_kind_of_its_own_and_a_sample_here() {
    let found: BTreeSet<ErrorKind> = samples().iter().map(Error::kind).collect();
    let is_built = |kind: &&ErrorKind| match kind {
        ErrorKind::Archive => cfg!(feature = "arrow"),
        ErrorKind::Embedded => cfg!(feature = "embedded"),
        _ => true,
    };
    assert_eq!(found, ErrorKind::ALL.iter().filter(is_built).copied().collect());
    let names: BTreeSet<String> = ErrorKind::ALL.iter().map(ErrorKind::to_string).collect();
    assert_eq!(names.len(), ErrorKind::ALL.len());
    // The name is that of the variant.
    for error in samples() {
        let debug = format!("{error:?}");
        let variant = debug.split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default();
        let name = error.kind().to_string().replace('_', "");
        assert!(variant == "Item" || variant.to_lowercase() == name, "{variant}: {name}");
    }
}

#[test]
fn no_message_repeats_that_of_its_source() {
    for error in samples() {
        let mut parent: &AnyError = &error;
        while let Some(source) = parent.source() {
            let (shown, cause) = (parent.to_string(), source.to_string());
            assert!(!shown.contains(&cause), "{error:?}: {shown:?} repeats {cause:?}");
            parent = source;
        }
    }
}

#[test]
fn nothing_of_a_reason_is_lost() {
    assert_eq!(conflict().at(3).to_string(), format!("item 3: {}", conflict()));
    let chain = "the fetch failed: the provider is away: connection reset";
    assert_eq!(format!("{:#}", fetch_failed()), chain);
    assert_eq!(fetch_failed().to_string(), "the fetch failed");
    let item = fetch_failed().at(3);
    assert_eq!(item.to_string(), format!("item 3: {chain}"));
    assert!(std::error::Error::source(&item).is_none(), "its message has all of it");
    // A cause has its type still.
    let source = fetch_failed();
    let source = std::error::Error::source(&source).and_then(|cause| cause.downcast_ref::<Away>());
    assert!(source.is_some());
}

#[test]
fn an_item_is_asked_as_its_reason_is() {
    for error in samples() {
        let item = error.clone().at(1).at(2);
        assert_eq!(item.kind(), error.kind());
        assert_eq!(item.field(), error.field());
        assert_eq!(item.constraint(), error.constraint());
        assert_eq!(item.sqlstate(), error.sqlstate());
        assert_eq!(item.retry_after(), error.retry_after());
        assert_eq!(item.http_status(), error.http_status());
        assert_eq!(item.is_retryable(), error.is_retryable());
    }
    assert_eq!(Error::invalid("email", "").field(), Some("email"));
    assert!(conflict().is_conflict_of(constraints::USERS_EMAIL));
    assert!(!conflict().is_conflict_of(constraints::USERS_ID));
    let reference = Error::InvalidReference { constraint: constraints::POSITIONS_PORTFOLIO.into() };
    assert!(!reference.is_conflict_of(constraints::POSITIONS_PORTFOLIO), "not a conflict");
}

#[test]
fn a_sqlstate_is_told_where_the_server_gave_one() {
    let mut codes: Vec<String> =
        samples().iter().filter_map(|e| e.sqlstate().map(str::to_owned)).collect();
    codes.sort();
    assert_eq!(codes, ["22012", "40001", "42501", "57P01"]);
    let unknown = Error::Database { sqlstate: "?".into(), message: String::new() };
    assert_eq!(unknown.sqlstate(), None);
}

/// The table in the documentation of `http_status` is that of the code.
#[test]
fn the_documented_statuses_are_those_of_the_code() {
    let rows = include_str!("advice.rs").lines().filter_map(|line| {
        let (status, errors) = line.trim().strip_prefix("/// | ")?.split_once(" | ")?;
        let status: u16 = status.split(' ').next()?.parse().ok()?;
        let names = errors.trim_end_matches(" |").split(", ").map(|name| name.trim_matches('`'));
        Some(names.map(|name| (name.to_lowercase(), status)).collect::<Vec<_>>())
    });
    let documented: BTreeSet<(String, u16)> = rows.flatten().collect();
    assert_eq!(documented.len(), ErrorKind::ALL.len(), "{documented:?}");
    for error in samples() {
        let name = error.kind().to_string().replace('_', "");
        assert!(documented.contains(&(name, error.http_status())), "{error:?}");
    }
}

#[test]
fn what_is_known_of_the_pause_is_told() {
    let pause = Duration::from_secs(2);
    assert_eq!(Error::BackingOff { retry_in: pause }.retry_after(), Some(pause));
    let collided = Error::Retryable { sqlstate: "40P01".into() };
    assert_eq!(collided.retry_after(), Some(Duration::ZERO));
    assert_eq!(Error::ReadOnly.retry_after(), None);
}

/// Each table but the audit log, whose rows triggers write.
#[test]
fn the_rows_of_each_table_have_a_name_of_their_own() {
    let schema = include_str!("../schema.rs");
    let tables =
        schema.lines().filter_map(|line| line.strip_suffix(") {")?.trim().split_once(" ("));
    let tables: BTreeSet<&str> =
        tables.map(|(table, _)| table).filter(|table| *table != "audit_log").collect();
    assert!(tables.len() > 7, "{tables:?}");
    let names: BTreeSet<String> =
        tables.iter().map(|table| tables::entity(table).to_string()).collect();
    assert_eq!(names.len(), tables.len());
    assert!(tables.iter().all(|table| !names.contains(*table)), "{names:?}");
    assert_eq!(tables::entity("parents").to_string(), "parents");
}
