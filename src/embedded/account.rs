//! The account the server runs as: our own, or for root an unprivileged one.
//!
//! That account may do what it likes with the files that it owns. What is to be done among them is done by
//! commands that run as this account, see [`Account::command`].

use std::ffi::OsStr;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::lchown;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::error::embedded::{EmbeddedError, Result, io};

/// Where `sh`, `rm`, `mv`, `ps` and `id` live when the caller's PATH has been emptied.
const SYSTEM_PATH: &str = "/usr/bin:/bin:/usr/sbin:/sbin";

/// Who the server's processes belong to.
#[derive(Clone, Debug)]
pub(super) struct Account {
    /// Owner of the server's processes and of its data.
    pub(super) uid: u32,
    /// Our own account, which owns everything else.
    pub(super) own_uid: u32,
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
            return Ok(Account { uid, own_uid: uid, demoted: None });
        }
        let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        let (name, uid, gid) = unprivileged(&passwd);
        let account = Account { uid, own_uid: 0, demoted: Some(Demoted { name, gid }) };
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

    /// The account's group, when it is not our own account.
    pub(super) fn demoted_gid(&self) -> Option<u32> {
        self.demoted.as_ref().map(|demoted| demoted.gid)
    }

    /// A command that runs as this account, in its own process group (so that Ctrl-C in a terminal ends
    /// the program, not the server), with no input and without the caller's `PG*` variables.
    pub(super) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = self.own_command(program);
        if let Some(demoted) = &self.demoted {
            // std also clears the supplementary groups when a uid is set as root.
            command.uid(self.uid).gid(demoted.gid);
        }
        command
    }

    /// The same as ourselves: for what is to be done outside of the account's directories.
    pub(super) fn own_command(&self, program: impl AsRef<OsStr>) -> Command {
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
        command
    }

    /// Hands a directory that we have just created to this account. Its parent must be ours.
    pub(super) fn give(&self, path: &Path) -> Result<()> {
        match &self.demoted {
            Some(demoted) => lchown(path, Some(self.uid), Some(demoted.gid))
                .map_err(io("change the owner of", path)),
            None => Ok(()),
        }
    }

    /// Removes a directory of this account's from one of ours. The account empties it, because what is
    /// in it can be anything; what is then removed by its name is an empty directory.
    pub(super) fn discard(&self, dir: &Path) -> Result<()> {
        let mut rm = self.command("/bin/sh");
        rm.args(["-c", "rm -rf -- \"$1\"", "sh"]).arg(dir);
        rm.stdout(Stdio::null()).stderr(Stdio::null());
        rm.status().map_err(io("empty", dir))?;
        match std::fs::remove_dir(dir) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(io("remove", dir)(error)),
            _ => Ok(()),
        }
    }

    /// Whether this account can enter `dir` and create files in it. Asked of the system itself, so that
    /// access lists, read-only mounts and every parent directory count.
    pub(super) fn can_write_in(&self, dir: &Path) -> bool {
        holds(self.command("/bin/sh"), WRITABLE, dir)
    }

    /// Whether we ourselves can.
    pub(super) fn we_can_write_in(&self, dir: &Path) -> bool {
        holds(self.own_command("/bin/sh"), WRITABLE, dir)
    }

    /// Whether this account can enter `dir`.
    pub(super) fn can_enter(&self, dir: &Path) -> bool {
        holds(self.command("/bin/sh"), "cd \"$1\"", dir)
    }

    fn check(&self) -> Result<()> {
        self.command("/bin/sh").args(["-c", ":"]).status().map(drop).map_err(|error| {
            EmbeddedError::Account { account: self.name().to_owned(), reason: error.to_string() }
        })
    }
}

/// What a process of the account's prints, as far as a message or a version needs: the output could be endless.
pub(super) fn printed(pipe: Option<impl Read>) -> std::io::Result<String> {
    const MAX: u64 = 64 << 10;
    let mut bytes = Vec::new();
    if let Some(pipe) = pipe {
        pipe.take(MAX).read_to_end(&mut bytes)?;
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

const WRITABLE: &str = "cd \"$1\" && test -w .";

fn holds(mut shell: Command, test: &str, path: &Path) -> bool {
    shell.args(["-c", test, "sh"]).arg(path).stdout(Stdio::null()).stderr(Stdio::null());
    shell.status().is_ok_and(|status| status.success())
}

/// The system's directories come first: root's commands are not looked for where others install theirs.
fn path_with_system() -> std::ffi::OsString {
    let mut path = std::ffi::OsString::from(SYSTEM_PATH);
    if let Some(callers) = std::env::var_os("PATH").filter(|callers| !callers.is_empty()) {
        path.push(":");
        path.push(callers);
    }
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
            // The group too: root's own directories are recognised by the group of root.
            (uid != 0 && gid != 0).then(|| (name.to_owned(), uid, gid))
        })
    };
    // The uid that Linux itself uses for nobody, for images without a passwd file.
    const OVERFLOW_ID: u32 = 65_534;
    find("postgres")
        .or_else(|| find("nobody"))
        .unwrap_or_else(|| ("nobody".to_owned(), OVERFLOW_ID, OVERFLOW_ID))
}

/// macOS writes the ids of `nobody` as -2.
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
        for root in ["0:0", "0:104", "101:0"] {
            let passwd = format!("postgres:x:{root}::/:/bin/sh\n");
            assert_eq!(unprivileged(&passwd).0, "nobody", "{root}");
        }
    }
}
