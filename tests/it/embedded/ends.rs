//! Ephemeral servers: private while they run, and gone afterwards, however the program ends.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use buffetbot_db::embedded::{EmbeddedOptions, EmbeddedServer};

use super::{Program, Scratch, eventually, owner, runs, server_pid, signal, sql, start};

fn gone(dir: &Path, pid: u32) {
    eventually("the directory is removed", || !dir.exists());
    eventually("the server has ended", || !runs(pid));
}

#[test]
fn answers_on_a_private_socket_only() {
    let server = start(&EmbeddedOptions::ephemeral());
    let url = server.url("postgres");
    assert_eq!(sql(&url, "SHOW listen_addresses").unwrap(), [""]);
    let version = sql(&url, "SHOW server_version").unwrap().remove(0);
    assert!(version.starts_with(server.version()), "{version}");
    assert_eq!(sql(&url, "SELECT lower('ÄÖ')").unwrap(), ["äö"]);
    let mode = std::fs::metadata(server.socket_dir()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    assert!(server.bin_dir().join("initdb").is_file());
}

#[tokio::test]
async fn stop_waits_until_nothing_is_left() {
    let server = EmbeddedServer::start(EmbeddedOptions::ephemeral()).await.unwrap();
    let (dir, pid) = (server.data_dir().to_path_buf(), server_pid(server.data_dir()));
    let clone = server.clone();
    clone.stop().await.unwrap();
    assert!(!dir.exists());
    assert!(!runs(pid));
    server.stop().await.unwrap();
}

#[test]
fn vanishes_when_the_last_clone_is_dropped() {
    let server = start(&EmbeddedOptions::ephemeral());
    let (dir, pid) = (server.data_dir().to_path_buf(), server_pid(server.data_dir()));
    let clone = server.clone();
    drop(server);
    assert_eq!(sql(&clone.url("postgres"), "SELECT 1").unwrap(), ["1"]);
    drop(clone);
    gone(&dir, pid);
}

#[test]
fn vanishes_after_panic_exit_abort_and_kill() {
    let tmp = Scratch::new();
    for how in ["panic", "exit", "abort", "drop", "kill"] {
        let mut program = Program::new("ephemeral", how, &tmp, |_| {});
        let ready = program.ready().unwrap();
        assert_eq!(sql(&ready.url, "SELECT 1").unwrap(), ["1"]);
        let pid = server_pid(&ready.dir);
        if how == "kill" {
            program.kill();
        } else {
            assert_eq!(program.end().success(), how == "drop", "{how}");
        }
        gone(&ready.dir, pid);
    }
    eventually("nothing is left", || tmp.entries().is_empty());
}

#[test]
fn vanishes_when_killed_in_the_middle_of_a_start() {
    let tmp = Scratch::new();
    for milliseconds in [30, 100, 200, 350, 450, 600] {
        let program = Program::new("ephemeral", "drop", &tmp, |_| {});
        super::pause(Duration::from_millis(milliseconds));
        program.kill();
    }
    let began = std::time::Instant::now();
    eventually("nothing is left, or only what had no watcher yet", || {
        tmp.entries().is_empty() || began.elapsed() > Duration::from_secs(10)
    });
    // Killed between making its directory and starting its watcher, which takes long on a loaded machine: the
    // next start sweeps that, once it is no longer young; or one after it, where an initdb that has
    // outlived its program was still at work there.
    for _ in 0..5 {
        if tmp.entries().is_empty() {
            break;
        }
        for name in tmp.entries() {
            let dir = tmp.0.join(name);
            for dir in [dir.join("users"), dir] {
                age(&dir);
            }
        }
        let mut next = Program::new("ephemeral", "drop", &tmp, |_| {});
        next.ready().unwrap();
        assert!(next.end().success());
    }
    eventually("nothing is left", || tmp.entries().is_empty());
    eventually("no server is left", || {
        let output = Command::new("ps").args(["-eo", "args="]).output().unwrap();
        !String::from_utf8_lossy(&output.stdout).contains(tmp.0.to_str().unwrap())
    });
}

/// Makes a directory, where it is still there, look as if it had been left an hour ago.
pub(super) fn age(dir: &Path) {
    let long_ago = std::time::SystemTime::now() - Duration::from_secs(3_600);
    if let Ok(dir) = std::fs::File::open(dir) {
        dir.set_modified(long_ago).unwrap();
    }
}

pub(super) fn kill_watcher(dir: &Path) {
    let output = Command::new("ps").args(["-eo", "pid=,args="]).output().unwrap();
    let listing = String::from_utf8_lossy(&output.stdout).into_owned();
    let dir = dir.to_str().unwrap();
    let watcher = listing
        .lines()
        .find(|line| line.contains("buffetbot-db-watch") && line.contains(dir))
        .and_then(|line| line.split_whitespace().next()?.parse().ok())
        .expect("a watcher runs");
    signal("KILL", watcher);
    eventually("the watcher has ended", || !runs(watcher));
}

#[test]
fn is_swept_by_the_next_start_when_program_and_watcher_were_killed() {
    let tmp = Scratch::new();
    let mut program = Program::new("ephemeral", "drop", &tmp, |_| {});
    let ready = program.ready().unwrap();
    let pid = server_pid(&ready.dir);
    kill_watcher(&ready.dir);
    program.kill();
    assert!(runs(pid));
    let mut living = Program::new("ephemeral", "drop", &tmp, |_| {});
    let theirs = living.ready().unwrap();
    assert!(ready.dir.exists(), "it is young: it might be starting");
    for dir in [&ready.dir, &theirs.dir] {
        age(dir);
        age(&dir.join("users"));
    }
    let mut next = Program::new("ephemeral", "drop", &tmp, |_| {});
    next.ready().unwrap();
    gone(&ready.dir, pid);
    assert_eq!(sql(&theirs.url, "SELECT 1").unwrap(), ["1"]);
}

#[test]
fn vanishes_when_its_watcher_was_killed_too() {
    let tmp = Scratch::new();
    let mut program = Program::new("ephemeral", "drop", &tmp, |_| {});
    let ready = program.ready().unwrap();
    let pid = server_pid(&ready.dir);
    kill_watcher(&ready.dir);
    assert!(program.end().success());
    gone(&ready.dir, pid);
}

#[test]
fn an_ordinary_user_needs_nothing_special() {
    let tmp = Scratch::new();
    let mut program = Program::as_ordinary_user("ephemeral", "drop", &tmp, |command| {
        command.env("HOME", "/dev/null");
    });
    let ready = program.ready().unwrap();
    let pid = server_pid(&ready.dir);
    assert_ne!(owner(&ready.dir), 0);
    program.kill();
    gone(&ready.dir, pid);
}

/// The server and its URL each take a list of directories, which a comma would split.
#[test]
fn c12_a_path_that_no_socket_can_have_gets_a_socket_elsewhere() {
    for name in ["d".repeat(120), "comma,quote\"".to_owned()] {
        let tmp = Scratch::new();
        let parent = tmp.0.join(name);
        std::fs::create_dir(&parent).unwrap();
        std::fs::set_permissions(&parent, PermissionsExt::from_mode(0o1777)).unwrap();
        let mut program = Program::new("ephemeral", "drop", &tmp, |command| {
            command.env("TMPDIR", &parent);
        });
        let ready = program.ready().unwrap();
        assert!(ready.dir.starts_with(&parent));
        assert_eq!(sql(&ready.url, "SELECT 1").unwrap(), ["1"]);
        let socket_dir = sql(&ready.url, "SHOW unix_socket_directories").unwrap().remove(0);
        let socket_dir = Path::new(&socket_dir);
        let mode = std::fs::metadata(socket_dir).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        let pid = server_pid(&ready.dir);
        program.kill();
        gone(&ready.dir, pid);
        assert!(!socket_dir.exists());
    }
}
