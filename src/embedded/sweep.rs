//! Servers that were left behind, with nobody to stop them.

use std::io::ErrorKind;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, SystemTime};

use super::place;
use super::place::LOCK_FILE;
use super::share::{Site, USERS};
use super::watch::Watch;

/// Removes ephemeral servers whose program and watcher were both killed, as when a container's
/// processes all are.
pub(super) fn abandoned(site: &Site) {
    /// Younger ones may be between two steps of their creation or removal.
    const GRACE: Duration = Duration::from_secs(60);
    let Some(base) = site.dir.parent() else {
        return;
    };
    for entry in std::fs::read_dir(base).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let ours = [place::EPHEMERAL_PREFIX, place::SHARED_PREFIX]
            .iter()
            .any(|prefix| name.starts_with(prefix));
        let mut dir = entry.path();
        if !ours || dir == site.dir || !place::is_own_dir(&site.account, &dir) {
            continue;
        }
        let age = newest_change(&dir).and_then(|time| SystemTime::now().duration_since(time).ok());
        if age.is_none_or(|age| age < GRACE) {
            continue;
        }
        if name.contains(".gone-") {
            // Moved by a watcher that was killed before it was done; empty when it had nearly been.
            let _ = std::fs::remove_dir(&dir);
            dir.push("server");
        }
        let abandoned = Site { dir, linger: 0, ..site.clone() };
        abandoned.clear_if_unused();
    }
}

/// The later of the changes of a server's directory and of its list of users.
fn newest_change(dir: &Path) -> Option<SystemTime> {
    let changed = |path: &Path| std::fs::metadata(path).and_then(|metadata| metadata.modified());
    let own = changed(dir).ok()?;
    Some(changed(&dir.join(USERS)).map_or(own, |users| users.max(own)))
}

impl Site {
    fn clear_if_unused(&self) {
        let Ok(held) = place::hold_private(&self.account, &self.dir) else {
            return;
        };
        let lock = held.file(LOCK_FILE);
        let free = match &lock {
            Ok(file) => file.try_lock().is_ok(),
            Err(error) => error.kind() == ErrorKind::NotFound,
        };
        if !free {
            return;
        }
        self.sweep_entries(&held);
        let used = held.names(USERS).is_ok_and(|entries| !entries.is_empty());
        if used || self.open_users(&held).is_err() {
            return;
        }
        if let Ok(watch) = Watch::start(self, "-", Stdio::null()) {
            watch.reap();
        }
    }
}
