//! What a server that runs can do: name processes, sockets, and what it can open.

use std::os::unix::net::UnixListener;

use super::super::runs;
use super::*;

/// Both files with process ids name one of root's.
#[test]
fn a8_a_process_of_roots_named_as_the_server_lives() {
    let scratch = Scratch::new();
    let _cleaner = Cleaner(scratch.0.clone());
    let dir = scratch.0.join("server");
    let kept = format!("kept:{}", dir.display());
    start_and_leave(&kept, &scratch).unwrap();
    let Some(account) = account(&dir) else {
        return nobody_else_gets_in(&scratch, &dir);
    };
    // Works where a server would, and is named as `initdb` is.
    let mut victim = Command::new("/bin/sh")
        .args(["-c", "sleep 600 >/dev/null 2>&1 & wait", "initdb"])
        .arg(dir.join("data"))
        .current_dir(dir.join("data"))
        .process_group(0)
        .spawn()
        .unwrap();
    let pid = PathBuf::from(victim.id().to_string());
    const NAME: &str = "cd \"$1\" || exit
        for file in initdb-pid server-pid data/postmaster.pid; do
            rm -f $file
            printf '%s\\n' \"$2\" \"$1/data\" 1 5432 \"$1\" '' '' ready >$file
        done";
    for what in [kept.as_str(), "shared:named", "ephemeral"] {
        let (program, ready) = tried(Program::new(what, "drop", &scratch, |_| {}));
        attempt(account, NAME, &[&ready.unwrap().dir, &pid]);
        let _ = start_and_leave_while(program, what, &scratch);
        assert!(victim.try_wait().unwrap().is_none(), "{what}");
    }
    attempt(account, NAME, &[&dir, &pid]);
    let _ = start_and_leave(&kept, &scratch);
    assert!(victim.try_wait().unwrap().is_none());
    signal("KILL", victim.id());
    victim.wait().unwrap();
}

/// Root's connections do not go where the account leads the socket.
#[test]
fn a8_a_socket_that_leads_to_another_server() {
    let scratch = Scratch::new();
    let _cleaner = Cleaner(scratch.0.clone());
    let dir = scratch.0.join("server");
    let kept = format!("kept:{}", dir.display());
    let (program, ready) = tried(Program::new(&kept, "drop", &scratch, |_| {}));
    let ready = ready.unwrap();
    let Some(account) = account(&dir) else {
        nobody_else_gets_in(&scratch, &dir);
        leave(program);
        return settled(&scratch);
    };
    let other = scratch.0.join("other");
    std::fs::create_dir(&other).unwrap();
    std::fs::set_permissions(&other, PermissionsExt::from_mode(0o700)).unwrap();
    let victim = UnixListener::bind(other.join(".s.PGSQL.5432")).unwrap();
    victim.set_nonblocking(true).unwrap();
    const LEAD: &str = "cd \"$1\" || exit
        for socket in .s.PGSQL.5432 run/.s.PGSQL.5432 socket/.s.PGSQL.5432; do
            ln -sf \"$2/.s.PGSQL.5432\" $socket
        done
        pid=$(head -n 1 data/postmaster.pid)
        printf '%s\\n' \"$pid\" \"$1/data\" 1 5432 \"$2\" '' '' ready >data/postmaster.pid";
    attempt(account, LEAD, &[&dir, &other]);
    let (second, joined) = tried(Program::new(&kept, "drop", &scratch, |_| {}));
    let urls = [Some(ready.url), joined.ok().map(|joined| joined.url)];
    for url in urls.iter().flatten() {
        let client = {
            let url = url.clone();
            std::thread::spawn(move || sql(&url, "SELECT 1").map_err(|error| error.to_string()))
        };
        // At the victim it would get no answer.
        eventually("it is answered", || client.is_finished() || victim.accept().is_ok());
        assert_eq!(client.join().unwrap(), Ok(vec!["1".to_owned()]));
    }
    assert_eq!(urls[0], urls[1]);
    leave(second);
    leave(program);
    settled(&scratch);
    assert!(victim.accept().is_err(), "it was connected to");
}

/// Nothing that a server writes or reads through its own handles can be exchanged for more.
#[test]
fn a8_what_is_roots_is_closed_to_the_account() {
    let scratch = Scratch::new();
    let dir = scratch.0.join("server");
    let kept = format!("kept:{}", dir.display());
    // With the most careless of masks.
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", "umask 0; exec \"$0\" \"$@\""]).arg(std::env::current_exe().unwrap());
    let careless = Program::spawn(shell, &kept, "drop", &scratch, |_| {});
    let (program, ready) = tried(careless);
    let ready = ready.unwrap();
    let Some((uid, _)) = account(&dir) else {
        nobody_else_gets_in(&scratch, &dir);
        leave(program);
        return settled(&scratch);
    };
    for entry in std::fs::read_dir(&dir).unwrap() {
        let path = entry.unwrap().path();
        let metadata = std::fs::symlink_metadata(&path).unwrap();
        let theirs = ["data", "run"].iter().any(|name| path.ends_with(name));
        assert_eq!(metadata.uid(), if theirs { uid } else { 0 }, "{path:?}");
        assert_eq!(metadata.mode() & 0o077, 0, "{path:?}");
    }
    let metadata = std::fs::symlink_metadata(&dir).unwrap();
    assert_eq!((metadata.uid(), metadata.mode() & 0o027), (0, 0));
    let watchers: Vec<_> = processes(&dir);
    assert!(watchers.iter().any(|(pid, line)| line.contains("-watch") && runs(*pid)));
    assert_eq!(sql(&ready.url, "SELECT 1").unwrap(), ["1"]);
    leave(program);
    settled(&scratch);
}
