//! A run of tests with everything logged, at every level, by this crate and by the driver: nothing secret is in it.
//!
//! The name makes it the first module of a run: what keeps the log is a test like the others.

use std::process::Command;

use tracing_subscriber::fmt::writer::BoxMakeWriter;

/// Names the file that everything is logged to.
const FILE: &str = "BUFFETBOT_TEST_LOG";

/// What the tests of the run below bind, store and log in with, as they write it; one part of each.
const SECRETS: [&str; 8] = [
    // Passwords of logins, in URLs.
    crate::support::server::PASSWORD,
    "Own3r",
    "Sw33p",
    // Hashes.
    "RdescudvJCsgt3ub",
    "R9h/cIPz0gi",
    // Bound by repositories.
    "Mallory was here",
    "ada@example.com",
    "Für später",
];

/// Modules that create, look up, change and fail with all of it, by repositories and by statements of their own.
const RUN: [&str; 9] = [
    "a_log::is_kept",
    "audit::",
    "errors::",
    "passwords::",
    "portfolios::on_the_pool",
    "positions::in_a_unit_of_work",
    "tenancy::",
    "unit_of_work::",
    "users::",
];

#[test]
fn is_kept_where_it_is_asked_for() {
    let Ok(path) = std::env::var(FILE) else { return };
    let file = std::fs::File::create(path).expect("a file");
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(BoxMakeWriter::new(std::sync::Mutex::new(file)))
        .with_ansi(false)
        .init();
    tracing::info!("the log begins");
}

#[test]
fn of_a_run_has_no_password_no_hash_and_nothing_that_was_bound() {
    let path = std::env::temp_dir().join(format!("bb-it-log-{}", std::process::id()));
    let run = Command::new(std::env::current_exe().expect("this program"))
        .args(RUN)
        .env(FILE, &path)
        .output()
        .expect("a run");
    let output = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success(), "{output}");
    let log = std::fs::read(&path).expect("the log");
    std::fs::remove_file(&path).expect("removed");
    let log = String::from_utf8_lossy(&log);
    // It is what it is taken for.
    for said in ["the log begins", "INSERT INTO", "TRACE", "tokio_postgres", "users.create"] {
        assert!(log.contains(said), "{said} is not in the log");
    }
    // The bare driver logs the text of a batch that it is given. What this crate gives it is told, and looked at, by
    // its own event too; the others are the tests' own, which make logins and break rows with literals.
    let records = records(&log);
    assert!(records.len() > 10_000, "{} records", records.len());
    for record in records.iter().filter(|r| !r.contains("executing statement batch: ")) {
        for secret in SECRETS {
            assert!(!record.contains(secret), "{secret} is in the log: {record}");
        }
    }
}

/// The log by records: one begins with a time, and a statement in it may take several lines.
fn records(log: &str) -> Vec<String> {
    let mut records: Vec<String> = Vec::new();
    for line in log.lines() {
        let is_timed = line.len() > 27 && line.is_char_boundary(27) && line[..27].ends_with('Z');
        match records.last_mut() {
            Some(last) if !is_timed => last.push_str(line),
            _ => records.push(line.to_owned()),
        }
    }
    records
}
