//! Names that lead elsewhere while root uses them, or before.

use super::*;

/// Directories are exchanged for links and back, all the time.
#[test]
fn a8_directories_swapped_between_two_steps() {
    const SWAP: &str = r#"
        while [ -e "$1/go" ]; do
            for dir in "$1"/buffetbot-db-* "$1"/server "$1"/server/users "$1"/server/data "$1"/server/run \
                "$1"/server/socket; do
                mv "$dir" "$dir.aside" 2>/dev/null || { sleep 0.01; continue; }
                ln -s "$2/any/dir" "$dir"
                sleep 0.02
                rm -f "$dir"
                mv "$dir.aside" "$dir"
            done
        done"#;
    let scratch = Scratch::new();
    let _cleaner = Cleaner(scratch.0.clone());
    let victims = Victims::new(&scratch);
    let before = victims.state();
    let dir = scratch.0.join("server");
    let kept = format!("kept:{}", dir.display());
    start_and_leave(&kept, &scratch).unwrap();
    let Some(account) = account(&dir) else {
        return nobody_else_gets_in(&scratch, &dir);
    };
    std::fs::write(scratch.0.join("go"), "").unwrap();
    let mut swapping = attacker(account, SWAP, &[&scratch.0, &victims.0]);
    for _ in 0..3 {
        for what in [kept.as_str(), "ephemeral", "shared:swapped"] {
            let (program, _) = tried(Program::new(what, "drop", &scratch, |_| {}));
            leave(program);
        }
    }
    std::fs::remove_file(scratch.0.join("go")).unwrap();
    assert!(swapping.wait().unwrap().success());
    settled(&scratch);
    assert_eq!(victims.state(), before);
}

/// A name that root's program is about to use is there already.
#[test]
fn a8_names_taken_before() {
    let scratch = Scratch::new();
    let _cleaner = Cleaner(scratch.0.clone());
    let victims = Victims::new(&scratch);
    let before = victims.state();
    let (program, ready) = tried(Program::new("shared:taken", "drop", &scratch, |_| {}));
    let dir = ready.unwrap().dir;
    let Some(account) = account(&dir) else {
        nobody_else_gets_in(&scratch, &dir);
        leave(program);
        return settled(&scratch);
    };
    leave(program);
    settled(&scratch);
    assert!(!dir.exists());
    for script in [
        "ln -s \"$2/any/dir\" \"$1\"",
        "mkfifo \"$1\"",
        "mkdir -m 700 \"$1\"",
        "mkdir -m 777 \"$1\"",
        "mkdir -m 700 \"$1\" && cd \"$1\" && : >buffetbot-db.lock && ln -s \"$2/any/dir\" users &&
         ln -s \"$2/any/file\" initdb-pid && ln -s \"$2/any/file\" server.log",
        "mkdir -m 700 \"$1\" && cd \"$1\" && ln -s \"$2/any/dir/absent\" buffetbot-db.lock",
    ] {
        attempt(account, script, &[&dir, &victims.0]);
        assert!(std::fs::symlink_metadata(&dir).is_ok());
        let refused = start_and_leave("shared:taken", &scratch).unwrap_err();
        assert!(refused.contains(dir.to_str().unwrap()), "{refused}");
        assert_eq!(victims.state(), before, "{script}");
        attempt(account, "rm -rf \"$1\"", &[&dir]);
    }
    start_and_leave("shared:taken", &scratch).unwrap();
}

/// The names that a server's directory gets while it is removed are there already.
#[test]
fn a8_names_of_what_is_removed_taken_before() {
    let scratch = Scratch::new();
    let _cleaner = Cleaner(scratch.0.clone());
    let victims = Victims::new(&scratch);
    let before = victims.state();
    for script in [
        "ln -s \"$2/any/dir\" \"$1\"",
        "mkdir -m 777 \"$1\"",
        "mkdir -m 777 \"$1\" && ln -s \"$2/any/dir\" \"$1/server\"",
    ] {
        let (program, ready) = tried(Program::new("ephemeral", "drop", &scratch, |_| {}));
        let dir = ready.unwrap().dir;
        let Some(account) = account(&dir) else {
            nobody_else_gets_in(&scratch, &dir);
            leave(program);
            return settled(&scratch);
        };
        for (watcher, _) in processes(&dir) {
            let gone = PathBuf::from(format!("{}.gone-{watcher}", dir.display()));
            attempt(account, script, &[&gone, &victims.0]);
        }
        leave(program);
        settled(&scratch);
        assert_eq!(victims.state(), before, "{script}");
        assert!(!dir.exists(), "{script}");
        let roots = |name: &String| {
            let metadata = std::fs::symlink_metadata(scratch.0.join(name)).unwrap();
            name.contains(".gone-") && metadata.uid() == 0
        };
        assert!(!scratch.entries().iter().any(roots), "{script}");
    }
}
