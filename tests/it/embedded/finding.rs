//! Where the programs and the data are looked for.

use std::path::{Path, PathBuf};

use super::{Program, Scratch, is_root, sql};

/// A machine without PostgreSQL, as far as the search goes.
fn nowhere(command: &mut std::process::Command) {
    command.env("PG_EMBEDDED_SEARCH", "none").env_remove("PG_EMBEDDED_BIN");
}

#[test]
fn without_postgresql_the_error_lists_the_ways_to_get_one() {
    let tmp = Scratch::new();
    let mut program = Program::new("ephemeral", "drop", &tmp, nowhere);
    let error = program.ready().err().unwrap();
    for way in [
        "apt-get install postgresql",
        "dnf install postgresql-server",
        "brew install postgresql",
        "PG_EMBEDDED_BIN",
        "pip",
        "DATABASE_URL",
    ] {
        assert!(error.contains(way), "{error}");
    }
    drop(program);
    assert_eq!(tmp.entries(), [""; 0]);
}

#[test]
fn a_bad_pg_embedded_bin_is_not_passed_over() {
    let tmp = Scratch::new();
    let mut program = Program::new("ephemeral", "drop", &tmp, |command| {
        command.env("PG_EMBEDDED_BIN", "/usr/share");
    });
    let error = program.ready().err().unwrap();
    assert!(error.starts_with("PG_EMBEDDED_BIN is /usr/share"), "{error}");
}

#[test]
fn a_data_home_that_can_be_used_is_used() {
    let tmp = Scratch::new();
    let mut program = Program::as_ordinary_user("kept:", "drop", &tmp, |command| {
        command.env("XDG_DATA_HOME", tmp.0.join("share"));
    });
    let ready = program.ready().unwrap();
    assert_eq!(ready.dir, tmp.0.join("share/buffetbot-db"));
    program.kill();
    super::eventually("it is shut down", || !ready.dir.join("data/postmaster.pid").exists());
}

#[test]
fn a_home_that_cannot_be_written_does_not_matter() {
    let tmp = Scratch::new();
    let mut program = Program::as_ordinary_user("kept:", "drop", &tmp, |command| {
        command.env("HOME", "/dev/null/home").env_remove("XDG_DATA_HOME");
    });
    elsewhere(&mut program);
    if is_root() {
        let mut program = Program::new("kept:", "drop", &tmp, |command| {
            command.env("HOME", "/dev/null/home").env_remove("XDG_DATA_HOME");
        });
        elsewhere(&mut program);
    }
}

/// Checks that the program keeps its data in a place outside the home, and clears what it made there.
fn elsewhere(program: &mut Program) {
    let places = ["/var/lib", "/var/tmp"].map(Path::new);
    let existing: Vec<PathBuf> = places.iter().flat_map(|place| ours(place)).collect();
    let ready = program.ready().unwrap();
    assert!(places.iter().any(|place| ready.dir.starts_with(place)), "{:?}", ready.dir);
    assert_eq!(sql(&ready.url, "SELECT 1").unwrap(), ["1"]);
    program.process.kill().unwrap();
    program.process.wait().unwrap();
    if existing.contains(&ready.dir) {
        return;
    }
    super::eventually("it is shut down", || !ready.dir.join("users").exists());
    // Held while it is removed, so that nobody else moves in just then.
    let lock = std::fs::File::open(ready.dir.join("buffetbot-db.lock")).unwrap();
    lock.lock().unwrap();
    // The server may still be writing its last files.
    super::eventually("it is removed", || {
        std::fs::remove_dir_all(&ready.dir).is_ok() || !ready.dir.exists()
    });
}

fn ours(place: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(place).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.path())
        .filter(|path| path.to_string_lossy().contains("/buffetbot-db"))
        .collect()
}

#[test]
#[ignore = "downloads 14 MB"]
fn fetches_the_programs_where_there_are_none() {
    let tmp = Scratch::new();
    let cache = tmp.0.join("cache");
    for search in ["fetch", "cache"] {
        // The second time the network is not touched.
        let mut program = Program::new("ephemeral", "drop", &tmp, |command| {
            command
                .env("PG_EMBEDDED_SEARCH", search)
                .env("XDG_CACHE_HOME", &cache)
                .env_remove("PG_EMBEDDED_BIN");
        });
        let ready = program.ready().unwrap();
        assert!(ready.version.starts_with("18."), "{}", ready.version);
        assert_eq!(sql(&ready.url, "SELECT 1").unwrap(), ["1"]);
        assert!(program.end().success());
    }
}
