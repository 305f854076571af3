//! A server that root started runs as another account, which may do what it likes in the directories that
//! are its own. Whatever it puts there, what root does next reaches nothing else.
//!
//! The account's part is played by a shell that runs as this account; `Victims` are files of root's that no
//! start, stop or sweep may touch. An ordinary user's server runs as this user, so there the tests check
//! what protects it: that nobody else gets in.

mod names;
mod places;
mod running;

use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;

use super::ends::{age, kill_watcher};
use super::{LIMIT, Program, Ready, Scratch, eventually, is_root, owner, signal, sql};

/// What a server's directory has at its top, in this layout and in earlier ones.
const NAMES: [&str; 12] = [
    "buffetbot-db.lock",
    "users",
    "initdb-pid",
    "socket-dir",
    "server-pid",
    "server.log",
    "server.log.old",
    ".s.PGSQL.5432",
    ".s.PGSQL.5432.lock",
    "data.new-00000000",
    "run",
    "socket",
];

/// Files of PostgreSQL's that the launcher reads.
const READ: [&str; 2] = ["data/postmaster.pid", "data/PG_VERSION"];

/// Of a server that listens in a directory of its own.
const SOCKETS: [&str; 2] = ["run/.s.PGSQL.5432", "run/.s.PGSQL.5432.lock"];

/// What the account puts in the place of a name, and the command that does.
#[derive(Clone, Copy)]
struct Way(&'static str);

impl Way {
    const FILE: Way = Way("ln -s \"$victim/file\" \"$name\"");
    const DIRECTORY: Way = Way("ln -s \"$victim/dir\" \"$name\"");
    const NOTHING: Way = Way("ln -s \"$victim/dir/absent\" \"$name\"");
    const HARD: Way = Way("ln \"$victim/file\" \"$name\"");
    const FIFO: Way = Way("mkfifo \"$name\"");
    const OWN: Way = Way("mkdir \"$name\" && ln -s \"$victim/file\" \"$name/.s.PGSQL.5432\" &&
         ln -s \"$victim/file\" \"$name/1-0badcafe\" && ln -s \"$victim/dir\" \"$name/dir\"");
}

/// Files of root's, of every name that the launcher knows.
struct Victims(PathBuf);

impl Victims {
    fn new(scratch: &Scratch) -> Victims {
        let root = scratch.0.join("victims");
        std::fs::create_dir(&root).unwrap();
        for name in NAMES.iter().chain(&READ).chain(&SOCKETS).chain(&["data", "any"]) {
            let victim = root.join(name.replace('/', "-"));
            let dir = victim.join("dir");
            std::fs::create_dir_all(dir.join("data")).unwrap();
            std::fs::create_dir(dir.join("users")).unwrap();
            std::fs::write(victim.join("file"), "1\n").unwrap();
            for file in NAMES
                .iter()
                .filter(|name| **name != "users")
                .chain(&READ)
                .chain(&["users/1-0badcafe", "1-0badcafe"])
            {
                std::fs::write(dir.join(file), "1\n").unwrap();
            }
            age(&dir.join("users"));
            age(&dir);
        }
        std::fs::set_permissions(&root, PermissionsExt::from_mode(0o755)).unwrap();
        Victims(root)
    }

    /// Of every file: its place, owner, mode, time of change and content. The number of its links is the
    /// account's to change.
    fn state(&self) -> BTreeMap<PathBuf, String> {
        let mut found = BTreeMap::new();
        let mut todo = vec![self.0.clone()];
        while let Some(path) = todo.pop() {
            let metadata = std::fs::symlink_metadata(&path).unwrap();
            let mut content = String::new();
            if metadata.is_dir() {
                todo.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            } else {
                content = std::fs::read_to_string(&path).unwrap();
            }
            let (inode, mode, uid, gid) =
                (metadata.ino(), metadata.mode(), metadata.uid(), metadata.gid());
            let (changed, part) = (metadata.mtime(), metadata.mtime_nsec());
            let state = format!("{inode} {mode:o} {uid}:{gid} {changed}.{part} {content}");
            found.insert(path, state);
        }
        found
    }
}

/// The account that a server's data belongs to, when it is not our own.
fn account(dir: &Path) -> Option<(u32, u32)> {
    let data = std::fs::metadata(dir.join("data")).unwrap();
    is_root().then(|| (data.uid(), data.gid()))
}

/// Without another account there is nobody to attack from inside: all is ours, and closed to others.
fn nobody_else_gets_in(scratch: &Scratch, dir: &Path) {
    let ours = owner(&scratch.0);
    for path in [dir.to_path_buf(), dir.join("data")] {
        let metadata = std::fs::symlink_metadata(&path).unwrap();
        assert!(metadata.is_dir());
        assert_eq!((metadata.uid(), metadata.mode() & 0o077), (ours, 0), "{path:?}");
    }
}

/// Runs a script as the account. What fails of it has failed: it is the account's attempt.
fn attempt((uid, gid): (u32, u32), script: &str, arguments: &[&Path]) {
    let mut child = attacker((uid, gid), script, arguments);
    eventually("the attempt has been made", || child.try_wait().unwrap().is_some());
}

fn attacker((uid, gid): (u32, u32), script: &str, arguments: &[&Path]) -> Child {
    Command::new("/bin/sh")
        .args(["-c", script, "attacker"])
        .args(arguments)
        .current_dir("/")
        .uid(uid)
        .gid(gid)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Puts something else in the place of `names`, which stay beside it.
fn replace(account: (u32, u32), dir: &Path, victims: &Victims, names: &[&str], way: Way) {
    let names = names.join(" ");
    let script = format!(
        "cd \"$1\" || exit
         for name in {names}; do
             mv \"$name\" \"$name.aside\"
             victim=\"$2/$(echo \"$name\" | tr / -)\"
             {}
         done",
        way.0
    );
    attempt(account, &script, &[dir, &victims.0]);
}

fn restore(account: (u32, u32), dir: &Path, names: &[&str]) {
    let names = names.join(" ");
    let script = format!(
        "cd \"$1\" || exit
         for name in {names}; do
             if [ -L \"$name\" ] || [ -p \"$name\" ]; then rm \"$name\"; fi
             if [ -e \"$name.aside\" ]; then rm -rf \"$name\"; mv \"$name.aside\" \"$name\"; fi
         done"
    );
    attempt(account, &script, &[dir]);
}

/// Waits for a program's server or error; that it hangs is the failure.
fn tried(program: Program) -> (Program, Result<Ready, String>) {
    let pid = program.process.id();
    let (send, said) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        let mut program = program;
        let ready = program.ready();
        let _ = send.send(());
        (program, ready)
    });
    if said.recv_timeout(LIMIT).is_err() {
        signal("KILL", pid);
        panic!("a start hangs");
    }
    thread.join().unwrap()
}

/// Tells a program to end, which may have done so already because it had no server.
fn leave(mut program: Program) {
    let _ = program.process.stdin.take().unwrap().write_all(b"\n");
    program.process.wait().unwrap();
}

/// Starts, uses the server if there is one, and leaves.
fn start_and_leave(what: &str, tmp: &Scratch) -> Result<PathBuf, String> {
    let (program, ready) = tried(Program::new(what, "drop", tmp, |_| {}));
    let dir = ready.map(|ready| {
        let _ = sql(&ready.url, "SELECT 1");
        ready.dir
    });
    leave(program);
    settled(tmp);
    dir
}

/// Process ids and command lines of what works below a directory.
fn processes(below: &Path) -> Vec<(u32, String)> {
    let output = Command::new("ps").args(["-eo", "pid=,args="]).output().unwrap();
    let listing = String::from_utf8_lossy(&output.stdout).into_owned();
    let below = below.to_str().unwrap();
    let mine = listing.lines().filter(|line| line.contains(below));
    mine.filter_map(|line| {
        let (pid, rest) = line.trim_start().split_once(' ')?;
        Some((pid.parse().ok()?, rest.to_owned()))
    })
    .collect()
}

/// Waits until nobody starts, stops or sweeps anything below the scratch directory.
fn settled(tmp: &Scratch) {
    eventually("all watchers have done their work", || {
        !processes(&tmp.0).iter().any(|(_, line)| {
            ["buffetbot-db-watch", "buffetbot-db-help"].iter().any(|name| line.contains(name))
        })
    });
}

/// Ends the servers that the account has made unfindable, so that the test leaves nothing.
struct Cleaner(PathBuf);

impl Drop for Cleaner {
    fn drop(&mut self) {
        for (pid, _) in processes(&self.0) {
            // One may have ended meanwhile.
            let _ = Command::new("kill").args(["-KILL", &pid.to_string()]).status();
        }
    }
}

/// All that is replaced in one way, in all situations.
fn every_name_is_replaced(way: Way) {
    let scratch = Scratch::new();
    let _cleaner = Cleaner(scratch.0.clone());
    let victims = Victims::new(&scratch);
    let before = victims.state();
    let unharmed = |when: &str| assert_eq!(victims.state(), before, "{when}");
    let dir = scratch.0.join("server");
    let kept = format!("kept:{}", dir.display());
    start_and_leave(&kept, &scratch).unwrap();
    let Some(account) = account(&dir) else {
        return nobody_else_gets_in(&scratch, &dir);
    };

    // The first two apart, because an earlier version gave up at them.
    for names in [&NAMES[..1], &NAMES[1..2], &NAMES[2..]] {
        replace(account, &dir, &victims, names, way);
        let _ = start_and_leave(&kept, &scratch);
        unharmed(&format!("a start and a stop, {names:?}"));
        restore(account, &dir, names);

        let (first, ready) = tried(Program::new(&kept, "drop", &scratch, |_| {}));
        ready.unwrap();
        replace(account, &dir, &victims, names, way);
        replace(account, &dir, &victims, &SOCKETS, way);
        let _ = start_and_leave_while(first, &kept, &scratch);
        unharmed(&format!("another program that joins, and the end of both, {names:?}"));
        restore(account, &dir, names);
    }

    let (first, ready) = tried(Program::new(&kept, "drop", &scratch, |_| {}));
    ready.unwrap();
    replace(account, &dir, &victims, &READ, way);
    let _ = start_and_leave_while(first, &kept, &scratch);
    unharmed("PostgreSQL's own files while it runs");
    let _ = start_and_leave(&kept, &scratch);
    unharmed("PostgreSQL's own files at a start");
    restore(account, &dir, &READ);

    // The data gone, root makes a new data directory.
    attempt(account, "cd \"$1\" && rm -rf data ./data/*", &[&dir]);
    replace(account, &dir, &victims, &NAMES[2..], way);
    let _ = start_and_leave(&kept, &scratch);
    unharmed("a new data directory");
    replace(account, &dir, &victims, &["data"], way);
    let _ = start_and_leave(&kept, &scratch);
    unharmed("the data directory replaced");

    let (first, ready) = tried(Program::new("shared:attacked", "drop", &scratch, |_| {}));
    let shared = ready.unwrap().dir;
    replace(account, &shared, &victims, &NAMES[1..], way);
    let _ = start_and_leave_while(first, "shared:attacked", &scratch);
    unharmed("a shared server");

    let (abandoned, ready) = tried(Program::new("ephemeral", "drop", &scratch, |_| {}));
    let left = ready.unwrap().dir;
    kill_watcher(&left);
    abandoned.kill();
    replace(account, &left, &victims, &NAMES[1..], way);
    age(&left);
    if std::fs::symlink_metadata(left.join("users")).is_ok_and(|users| users.is_dir()) {
        age(&left.join("users"));
    }
    let _ = start_and_leave("ephemeral", &scratch);
    unharmed("a sweep");
}

/// Another program comes and goes, then the first one goes.
fn start_and_leave_while(first: Program, what: &str, scratch: &Scratch) -> Result<PathBuf, String> {
    let (second, ready) = tried(Program::new(what, "drop", scratch, |_| {}));
    leave(second);
    leave(first);
    settled(scratch);
    ready.map(|ready| ready.dir)
}

#[test]
fn a8_links_to_files() {
    every_name_is_replaced(Way::FILE);
}

#[test]
fn a8_links_to_directories() {
    every_name_is_replaced(Way::DIRECTORY);
}

#[test]
fn a8_links_to_what_does_not_exist() {
    every_name_is_replaced(Way::NOTHING);
}

#[test]
fn a8_hard_links() {
    every_name_is_replaced(Way::HARD);
}

#[test]
fn a8_pipes_that_nobody_writes_to() {
    every_name_is_replaced(Way::FIFO);
}
