//! The processes that leave a server in the place of a program, however it ends: `watch.sh`.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::share::{Site, reap};
use crate::error::embedded::{Result, io};

const WATCH: &str = include_str!("watch.sh");

/// A shell, and beside it one that runs as the server's account where that is not our own.
#[derive(Debug)]
pub(super) struct Watch {
    watcher: Child,
    helper: Option<Child>,
}

impl Watch {
    /// They leave for `entry` as soon as `stdin` ends.
    pub(super) fn start(site: &Site, entry: &str, stdin: Stdio) -> Result<Watch> {
        let shell = Path::new("/bin/sh");
        let run = |command: &mut Command, name: &str, role: &str| {
            command
                .args(["-c", WATCH, name])
                .arg(&site.dir)
                .arg(entry)
                .arg(if site.vanishes { "remove" } else { "keep" })
                .arg(site.linger.to_string())
                .arg(role)
                .spawn()
                .map_err(io("run", shell))
        };
        let mut watcher = site.account.own_command(shell);
        watcher.stdin(stdin).stdout(Stdio::null()).stderr(Stdio::null());
        if !site.account.is_demoted() {
            let watcher = run(&mut watcher, "buffetbot-db-watch", "alone")?;
            return Ok(Watch { watcher, helper: None });
        }
        // Children have three handles: the watcher hears from its helper through the third.
        let (from_helper, to_watcher) = std::io::pipe().map_err(io("run", shell))?;
        let mut watcher = run(
            watcher.stdout(Stdio::piped()).stderr(from_helper),
            "buffetbot-db-watch",
            "watcher",
        )?;
        let mut helper = site.account.command(shell);
        helper.stdout(to_watcher).stderr(Stdio::null());
        if let Some(from_watcher) = watcher.stdout.take() {
            helper.stdin(from_watcher);
        }
        match run(&mut helper, "buffetbot-db-help", "helper") {
            Ok(helper) => Ok(Watch { watcher, helper: Some(helper) }),
            Err(error) => {
                // Our own child, and not yet at work: it has nobody to stop the server with.
                let _ = watcher.kill();
                reap(watcher);
                Err(error)
            }
        }
    }

    /// Lets them go to work, if their input is a pipe of ours.
    pub(super) fn begin(&mut self) {
        drop(self.watcher.stdin.take());
    }

    /// Whether the watcher has ended without having done its work.
    pub(super) fn was_killed(&mut self) -> std::io::Result<bool> {
        Ok(self.watcher.try_wait()?.is_some_and(|status| !status.success()))
    }

    /// Waits until their work is done.
    pub(super) fn wait(&mut self) -> std::io::Result<()> {
        self.watcher.wait()?;
        if let Some(helper) = &mut self.helper {
            helper.wait()?;
        }
        Ok(())
    }

    /// Collects them in the background.
    pub(super) fn reap(self) {
        reap(self.watcher);
        if let Some(helper) = self.helper {
            reap(helper);
        }
    }
}
