//! A run of tests with everything logged, debugging included, by this crate and by the driver: nothing secret is in it.
//!
//! The name makes it the first module of a run: what keeps the log is a test like the others.

use std::io::BufRead;
use std::path::Path;
use std::process::Command;

use tracing_subscriber::fmt::writer::BoxMakeWriter;

/// Names the file that everything is logged to.
const FILE: &str = "BUFFETBOT_TEST_LOG";

/// Names the log of a run that has ended, which is then examined instead of one of [`RUN`].
const ENDED: &str = "BUFFETBOT_TEST_LOG_OF";

/// What the tests of the run below bind, store and log in with, as they write it; one part of each.
const SECRETS: [&str; 7] = [
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
];

/// Modules that create, look up, change and fail with all of it, by repositories and by statements of their own.
const RUN: [&str; 9] = [
    "a_log::is_kept",
    "audit::",
    "errors::",
    "passwords::",
    "portfolios::on_the_pool",
    "positions::on_the_pool",
    "tenancy::",
    "unit_of_work::",
    "users::",
];

#[test]
fn is_kept_where_it_is_asked_for() {
    let Ok(path) = std::env::var(FILE) else { return };
    let file = std::fs::File::create(path).expect("a file");
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::DEBUG)
        .with_writer(BoxMakeWriter::new(std::sync::Mutex::new(file)))
        .with_ansi(false)
        .init();
    tracing::info!("the log begins");
}

#[test]
fn of_a_run_has_no_password_no_hash_and_nothing_that_was_bound() {
    if let Some(path) = std::env::var_os(ENDED) {
        let secrets = secrets_in(path.as_ref());
        assert!(secrets.is_empty(), "{secrets:#?}");
        return;
    }
    let path = std::env::temp_dir().join(format!("bb-it-log-{}", std::process::id()));
    let run = Command::new(std::env::current_exe().expect("this program"))
        .args(RUN)
        // Not those of all repositories.
        .args(["--skip", "in_a_unit_of_work"])
        .env(FILE, &path)
        .output()
        .expect("a run");
    let output = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success(), "{output}");
    let secrets = secrets_in(&path);
    std::fs::remove_file(&path).expect("removed");
    assert!(secrets.is_empty(), "{secrets:#?}");
}

/// The records of a log that have a secret in them; a few, should there be many.
fn secrets_in(path: &Path) -> Vec<String> {
    let mut log = std::io::BufReader::new(std::fs::File::open(path).expect("the log"));
    let mut said =
        ["the log begins", "INSERT INTO", "DEBUG", "tokio_postgres", "users.create"].to_vec();
    let (mut found, mut record, mut count) = (Vec::new(), String::new(), 0);
    loop {
        let mut line = Vec::new();
        let read = log.read_until(b'\n', &mut line).expect("a line");
        let line = String::from_utf8_lossy(&line);
        said.retain(|word| !line.contains(word));
        // A record begins with a time; a statement in it may take several lines.
        let is_timed = line.len() > 27 && line.is_char_boundary(27) && line[..27].ends_with('Z');
        if is_timed || read == 0 {
            count += 1;
            if found.len() < 10 && is_told(&record) {
                found.push(std::mem::take(&mut record));
            }
            record.clear();
        }
        record.push_str(&line);
        if read == 0 {
            break;
        }
    }
    // It is what it is taken for.
    assert!(said.is_empty() && count > 1_000, "{count} records, without {said:?}");
    found
}

/// Whether a record tells a secret, or calls for somebody: no outcome that a test brings about is an error of the crate's.
fn is_told(record: &str) -> bool {
    if record.get(27..).is_some_and(|rest| rest.trim_start().starts_with("ERROR "))
        && record.contains("buffetbot_db")
    {
        return true;
    }
    // The bare driver logs the text of a batch that it is given. What this crate gives it is told, and looked at, by
    // its own event too; the others are the tests' own, which make logins and break rows with literals.
    !record.contains("executing statement batch: ")
        && SECRETS.iter().any(|secret| record.contains(secret))
}
