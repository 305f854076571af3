//! The account the server runs as: our own, or for root an unprivileged one.

use std::ffi::OsStr;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use super::error::{EmbeddedError, Result, io};

/// Where `sh`, `rm`, `mv`, `ps` and `id` live when the caller's PATH has been emptied.
const SYSTEM_PATH: &str = "/usr/bin:/bin:/usr/sbin:/sbin";

/// Who the server's processes belong to.
#[derive(Clone, Debug)]
pub(super) struct Account {
    /// Owner of the server's files and processes.
    pub(super) uid: u32,
    /// Set when we are root and have to become somebody else.
    demoted: Option<Demoted>,
}

#[derive(Clone, Debug)]
struct Demoted {
    name: String,
    gid: u32,
}

impl Account {
    /// Our own account; as root `postgres`, else `nobody`, because `postgres` refuses to run as root.
    pub(super) fn current() -> Result<Account> {
        let mut id = Command::new("id");
        id.arg("-u").env("PATH", path_with_system());
        let output = id.output().map_err(io("run", Path::new("id")))?;
        let uid = String::from_utf8_lossy(&output.stdout).trim().parse().map_err(|_| {
            EmbeddedError::Account {
                account: "current".into(),
                reason: "`id -u` did not print a number".into(),
            }
        })?;
        if uid != 0 {
            return Ok(Account { uid, demoted: None });
        }
        let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        let (name, uid, gid) = unprivileged(&passwd);
        let account = Account { uid, demoted: Some(Demoted { name, gid }) };
        account.check()?;
        Ok(account)
    }

    /// True when the server runs as somebody else than we do.
    pub(super) fn is_demoted(&self) -> bool {
        self.demoted.is_some()
    }

    /// Name for messages.
    pub(super) fn name(&self) -> &str {
        self.demoted.as_ref().map_or("the current user", |demoted| demoted.name.as_str())
    }

    /// A command that runs as this account, in its own process group (so that Ctrl-C in a terminal ends
    /// the program, not the server), with no input and without the caller's `PG*` variables.
    pub(super) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir("/")
            .env_clear()
            .env("PATH", path_with_system())
            .env("LC_ALL", "C")
            .env("TZ", "UTC")
            .stdin(Stdio::null())
            .process_group(0);
        for name in ["LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        if let Some(demoted) = &self.demoted {
            // std also clears the supplementary groups when a uid is set as root.
            command.uid(self.uid).gid(demoted.gid);
        }
        command
    }

    /// Hands a directory that we created to this account.
    pub(super) fn own(&self, path: &Path) -> Result<()> {
        match &self.demoted {
            Some(demoted) => std::os::unix::fs::chown(path, Some(self.uid), Some(demoted.gid))
                .map_err(io("change the owner of", path)),
            None => Ok(()),
        }
    }

    /// Whether this account can enter `dir` and create files in it. Asked of the system itself, so that
    /// access lists, read-only mounts and every parent directory count.
    pub(super) fn can_write_in(&self, dir: &Path) -> bool {
        self.holds("cd \"$1\" && test -w .", dir)
    }

    /// Whether this account can enter `dir`.
    pub(super) fn can_enter(&self, dir: &Path) -> bool {
        self.holds("cd \"$1\"", dir)
    }

    fn holds(&self, test: &str, path: &Path) -> bool {
        self.command("/bin/sh")
            .args(["-c", test, "sh"])
            .arg(path)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    }

    fn check(&self) -> Result<()> {
        self.command("/bin/sh").args(["-c", ":"]).status().map(drop).map_err(|error| {
            EmbeddedError::Account { account: self.name().to_owned(), reason: error.to_string() }
        })
    }
}

fn path_with_system() -> std::ffi::OsString {
    let mut path = std::env::var_os("PATH").unwrap_or_default();
    if !path.is_empty() {
        path.push(":");
    }
    path.push(SYSTEM_PATH);
    path
}

/// Name, uid and gid of the account to use instead of root.
fn unprivileged(passwd: &str) -> (String, u32, u32) {
    let find = |wanted: &str| {
        passwd.lines().find_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next().filter(|name| *name == wanted)?;
            let uid = number(fields.nth(1)?)?;
            let gid = number(fields.next()?)?;
            (uid != 0).then(|| (name.to_owned(), uid, gid))
        })
    };
    // The uid that Linux itself uses for nobody, for images without a passwd file.
    const OVERFLOW_ID: u32 = 65_534;
    find("postgres")
        .or_else(|| find("nobody"))
        .unwrap_or_else(|| ("nobody".to_owned(), OVERFLOW_ID, OVERFLOW_ID))
}

/// macOS writes nobody's ids as -2.
fn number(field: &str) -> Option<u32> {
    field.parse::<u32>().ok().or_else(|| field.parse::<i32>().ok().map(i32::cast_unsigned))
}

#[cfg(test)]
mod tests {
    use super::unprivileged;

    #[test]
    fn prefers_postgres_then_nobody_then_the_overflow_id() {
        let passwd = "root:x:0:0:root:/root:/bin/bash\nnobody:*:-2:-2::/:/bin/false\npostgres:x:101:104::/:/bin/sh\n";
        assert_eq!(unprivileged(passwd), ("postgres".to_owned(), 101, 104));
        let without = passwd.replace("postgres", "pg");
        let minus_two = u32::MAX - 1;
        assert_eq!(unprivileged(&without), ("nobody".to_owned(), minus_two, minus_two));
        assert_eq!(unprivileged(""), ("nobody".to_owned(), 65_534, 65_534));
    }

    #[test]
    fn never_answers_root() {
        assert_eq!(unprivileged("postgres:x:0:0::/:/bin/sh\n").0, "nobody".to_owned());
    }
}
