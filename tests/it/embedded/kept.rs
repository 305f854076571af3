//! Kept servers: durable, recovered, shared, and picky about what they take for theirs.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use buffetbot_db::embedded::{EmbeddedError, EmbeddedOptions, EmbeddedServer};

use super::{Program, Scratch, eventually, is_root, owner, runs, server_pid, signal, sql, start};

fn kept(scratch: &Scratch) -> EmbeddedOptions {
    EmbeddedOptions::kept(Some(scratch.0.join("server")))
}

/// The state that a server left its data in.
fn control_state(server: &EmbeddedServer) -> String {
    let output = Command::new(server.bin_dir().join("pg_controldata"))
        .arg(server.data_dir().join("data"))
        .env("LC_ALL", "C")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = text.lines().find(|line| line.starts_with("Database cluster state"));
    line.unwrap().split(':').nth(1).unwrap().trim().to_owned()
}

#[test]
fn data_is_there_next_time() {
    let scratch = Scratch::new();
    let first = start(&kept(&scratch).setting("work_mem", "7MB"));
    let url = first.url("postgres");
    assert_eq!(sql(&url, "SHOW fsync").unwrap(), ["on"]);
    assert_eq!(sql(&url, "SHOW synchronous_commit").unwrap(), ["on"]);
    assert_eq!(sql(&url, "SHOW full_page_writes").unwrap(), ["on"]);
    assert_eq!(sql(&url, "SHOW work_mem").unwrap(), ["7MB"]);
    sql(&url, "CREATE TABLE t AS SELECT 42 AS x").unwrap();
    first.stop_blocking().unwrap();
    assert_eq!(control_state(&first), "shut down");
    let second = start(&kept(&scratch));
    assert_eq!(sql(&second.url("postgres"), "SELECT x FROM t").unwrap(), ["42"]);
    second.stop_blocking().unwrap();
}

#[test]
fn is_shut_down_cleanly_when_the_program_is_killed() {
    let scratch = Scratch::new();
    let what = format!("kept:{}", scratch.0.join("server").display());
    let mut program = Program::new(&what, "drop", &scratch, |_| {});
    let ready = program.ready().unwrap();
    let pid = server_pid(&ready.dir);
    program.kill();
    eventually("the server has ended", || !runs(pid));
    let server = start(&kept(&scratch));
    server.stop_blocking().unwrap();
    let log = std::fs::read_to_string(ready.dir.join("server.log.old")).unwrap();
    assert!(log.contains("database system is shut down"), "{log}");
}

#[test]
fn is_recovered_after_a_crash() {
    let scratch = Scratch::new();
    let server = start(&kept(&scratch));
    sql(&server.url("postgres"), "CREATE TABLE t AS SELECT 42 AS x").unwrap();
    let pid = server_pid(server.data_dir());
    signal("KILL", pid);
    eventually("the server has ended", || !runs(pid));
    assert!(server.data_dir().join("data/postmaster.pid").exists());
    // The first handle is still held: its program does not know of the crash.
    let again = start(&kept(&scratch));
    assert_eq!(sql(&again.url("postgres"), "SELECT x FROM t").unwrap(), ["42"]);
    assert_eq!(sql(&server.url("postgres"), "SELECT x FROM t").unwrap(), ["42"]);
    server.stop_blocking().unwrap();
    again.stop_blocking().unwrap();
    assert_eq!(control_state(&again), "shut down");
}

#[test]
fn two_programs_share_it_and_the_last_one_out_stops_it() {
    let scratch = Scratch::new();
    let what = format!("kept:{}", scratch.0.join("server").display());
    let mut program = Program::new(&what, "drop", &scratch, |_| {});
    let theirs = program.ready().unwrap();
    let pid = server_pid(&theirs.dir);
    let ours = start(&kept(&scratch));
    let url = ours.url("postgres");
    assert_eq!(url, theirs.url);
    assert_eq!(server_pid(ours.data_dir()), pid);
    program.kill();
    let users = ours.data_dir().join("users");
    eventually("the other one has left", || std::fs::read_dir(&users).unwrap().count() == 1);
    assert_eq!(sql(&url, "SELECT 1").unwrap(), ["1"]);
    ours.stop_blocking().unwrap();
    assert!(!runs(pid));
}

#[test]
fn simultaneous_first_starts_make_one_server() {
    let scratch = Scratch::new();
    let what = format!("kept:{}", scratch.0.join("server").display());
    let mut programs: Vec<Program> =
        (0..4).map(|_| Program::new(&what, "drop", &scratch, |_| {})).collect();
    let query = "SELECT system_identifier || ' ' || pg_postmaster_start_time() \
                 FROM pg_control_system()";
    let seen: Vec<_> = programs
        .iter_mut()
        .map(|program| sql(&program.ready().unwrap().url, query).unwrap())
        .collect();
    assert!(seen.iter().all(|server| *server == seen[0]), "{seen:?}");
    let dir = scratch.0.join("server");
    let pid = server_pid(&dir);
    programs.into_iter().for_each(Program::kill);
    eventually("the server has ended", || !runs(pid));
}

#[test]
fn opens_and_closes_in_a_row_without_waiting() {
    let scratch = Scratch::new();
    for _ in 0..5 {
        // The drop does not wait: the next start meets a server that is going down.
        let server = start(&kept(&scratch));
        assert_eq!(sql(&server.url("postgres"), "SELECT 1").unwrap(), ["1"]);
    }
    start(&kept(&scratch)).stop_blocking().unwrap();
}

#[test]
fn refuses_data_of_another_major_version() {
    let scratch = Scratch::new();
    start(&kept(&scratch)).stop_blocking().unwrap();
    let version = scratch.0.join("server/data/PG_VERSION");
    std::fs::write(version, "14\n").unwrap();
    let error = EmbeddedServer::start_blocking(&kept(&scratch)).unwrap_err();
    assert!(matches!(error, EmbeddedError::VersionMismatch { data_major: 14, .. }), "{error}");
    assert!(error.to_string().contains("install PostgreSQL 14"), "{error}");
}

#[test]
fn leaves_foreign_directories_alone() {
    let scratch = Scratch::new();
    let dir = scratch.0.join("server");
    std::fs::create_dir(&dir).unwrap();
    std::fs::set_permissions(&dir, PermissionsExt::from_mode(0o755)).unwrap();
    std::fs::write(dir.join("letter.txt"), "dear").unwrap();
    let error = EmbeddedServer::start_blocking(&kept(&scratch)).unwrap_err();
    assert!(matches!(error, EmbeddedError::BadDirectory { .. }), "{error}");
    assert_eq!(std::fs::metadata(&dir).unwrap().permissions().mode() & 0o777, 0o755);
    assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 1);

    std::fs::remove_file(dir.join("letter.txt")).unwrap();
    std::fs::remove_dir(&dir).unwrap();
    std::fs::write(&dir, "a file").unwrap();
    assert!(EmbeddedServer::start_blocking(&kept(&scratch)).is_err());
    assert_eq!(std::fs::read_to_string(&dir).unwrap(), "a file");
}

#[test]
fn a_given_directory_out_of_reach_is_an_error() {
    let scratch = Scratch::new();
    let closed = scratch.0.join("closed");
    std::fs::create_dir(&closed).unwrap();
    let mode = if is_root() { 0o700 } else { 0o500 };
    std::fs::set_permissions(&closed, PermissionsExt::from_mode(mode)).unwrap();
    let options = EmbeddedOptions::kept(Some(closed.join("server")));
    let error = EmbeddedServer::start_blocking(&options).unwrap_err();
    assert!(error.to_string().contains("closed"), "{error}");
    assert_eq!(std::fs::read_dir(&closed).unwrap().count(), 0);
}

#[test]
fn root_never_owns_the_server() {
    let scratch = Scratch::new();
    let server = start(&kept(&scratch));
    assert_ne!(owner(&server.data_dir().join("data")), 0);
    server.stop_blocking().unwrap();
}

#[test]
fn settings_cannot_open_the_server_up() {
    for name in ["listen_addresses", "HBA_FILE", "unix_socket_directories", "a b", ""] {
        let options = EmbeddedOptions::ephemeral().setting(name, "x");
        let error = EmbeddedServer::start_blocking(&options).unwrap_err();
        assert!(matches!(error, EmbeddedError::Setting { .. }), "{name}: {error}");
    }
}

#[test]
fn a_server_that_does_not_start_says_why_and_leaves_nothing() {
    let scratch = Scratch::new();
    let options = kept(&scratch).setting("shared_buffers", "-5");
    let error = EmbeddedServer::start_blocking(&options).unwrap_err();
    assert!(error.to_string().contains("shared_buffers"), "{error}");
    // The directory is in order: without the setting it starts.
    start(&kept(&scratch)).stop_blocking().unwrap();
}
