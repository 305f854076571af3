//! Finds PostgreSQL's server programs.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use super::account::{Account, printed};
use super::fetch;
use crate::error::embedded::{EmbeddedError, MINIMUM_MAJOR, Result};

/// A directory with `postgres` and `initdb`, and their version.
#[derive(Clone, Debug)]
pub(super) struct Programs {
    pub(super) bin: PathBuf,
    /// As `postgres --version` prints it: `15.18`, `19beta1`.
    pub(super) version: String,
    pub(super) major: u32,
}

/// Which places to look in, from `PG_EMBEDDED_SEARCH`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Search {
    path: bool,
    system: bool,
    cache: bool,
    fetch: bool,
}

impl Search {
    const EVERYWHERE: Search = Search { path: true, system: true, cache: true, fetch: true };

    fn from_env() -> Search {
        let mut search = match std::env::var("PG_EMBEDDED_SEARCH") {
            Ok(places) if !places.trim().is_empty() => Search::parse(&places),
            _ => Search::EVERYWHERE,
        };
        if std::env::var("PG_EMBEDDED_FETCH").is_ok_and(|value| value == "0") {
            search.fetch = false;
        }
        search
    }

    fn parse(places: &str) -> Search {
        let has = |place: &str| places.split(',').any(|given| given.trim() == place);
        Search {
            path: has("path"),
            system: has("system"),
            cache: has("cache"),
            fetch: has("fetch"),
        }
    }
}

/// The programs to use: `given`, `PG_EMBEDDED_BIN`, then PATH, the usual directories (highest version
/// first), programs fetched earlier, programs fetched now. With `required` (the major version of data
/// that is there already) only programs of that version.
pub(super) fn locate(
    account: &Account,
    given: Option<&Path>,
    required: Option<(u32, &Path)>,
) -> Result<Programs> {
    let named = given.map(|bin| ("EmbeddedOptions::bin_dir", bin.to_path_buf())).or_else(|| {
        std::env::var_os("PG_EMBEDDED_BIN")
            .filter(|value| !value.is_empty())
            .map(|value| ("PG_EMBEDDED_BIN", PathBuf::from(value)))
    });
    if let Some((given_by, path)) = named {
        let programs = examine(account, &path).map_err(|reason| EmbeddedError::BadBinDir {
            given_by,
            path: path.clone(),
            reason,
        })?;
        return match required {
            Some((major, dir)) if major != programs.major => Err(mismatch(major, dir, &[programs])),
            _ => Ok(programs),
        };
    }
    let search = Search::from_env();
    let mut survey = Survey {
        account,
        required: required.map(|(major, _)| major),
        others: Vec::new(),
        refused: Vec::new(),
    };
    if search.path {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let dirs = std::env::split_paths(&path).filter(|dir| dir.is_absolute());
        if let Some(programs) = survey.first(dirs) {
            return Ok(programs);
        }
    }
    if search.system
        && let Some(programs) = survey.highest(usual_directories(Path::new("/")))
    {
        return Ok(programs);
    }
    if search.cache
        && let Some(programs) = survey.first(fetch::cached(account))
    {
        return Ok(programs);
    }
    if search.fetch {
        if required.is_none_or(|(major, _)| major == fetch::MAJOR) {
            match fetch::fetch(account) {
                Ok(bin) => {
                    if let Some(programs) = survey.first([bin]) {
                        return Ok(programs);
                    }
                }
                Err(reason) => survey.refused.push(reason),
            }
        }
    } else {
        survey.refused.push("fetching is switched off".into());
    }
    match required {
        Some((major, dir)) => Err(mismatch(major, dir, &survey.others)),
        None => Err(EmbeddedError::NotFound { reason: survey.reason() }),
    }
}

fn mismatch(data_major: u32, dir: &Path, found: &[Programs]) -> EmbeddedError {
    let found = found
        .iter()
        .map(|programs| format!("{} in {}", programs.version, programs.bin.display()))
        .collect::<Vec<_>>();
    EmbeddedError::VersionMismatch {
        dir: dir.to_path_buf(),
        data_major,
        found: if found.is_empty() { "none".into() } else { found.join(", ") },
    }
}

/// What was seen on the way, for the error message.
struct Survey<'a> {
    account: &'a Account,
    required: Option<u32>,
    /// Usable, but of another version than required.
    others: Vec<Programs>,
    refused: Vec<String>,
}

impl Survey<'_> {
    fn usable(&mut self, dirs: impl IntoIterator<Item = PathBuf>) -> Vec<Programs> {
        let mut found = Vec::new();
        for dir in dirs {
            if !holds_programs(&dir) {
                continue;
            }
            match examine(self.account, &dir) {
                Ok(programs) => found.push(programs),
                Err(reason) => self.refused.push(format!("{}: {reason}", dir.display())),
            }
        }
        found
    }

    fn first(&mut self, dirs: impl IntoIterator<Item = PathBuf>) -> Option<Programs> {
        let found = self.usable(dirs);
        self.choose(found)
    }

    fn highest(&mut self, dirs: impl IntoIterator<Item = PathBuf>) -> Option<Programs> {
        let mut found = self.usable(dirs);
        // Stable: of equal versions the directory listed first stays first.
        found.sort_by_key(|programs| std::cmp::Reverse(number(&programs.version)));
        self.choose(found)
    }

    fn choose(&mut self, found: Vec<Programs>) -> Option<Programs> {
        let mut chosen = None;
        for programs in found {
            let suits = self.required.is_none_or(|major| major == programs.major);
            if suits && chosen.is_none() {
                chosen = Some(programs);
            } else if !suits {
                self.others.push(programs);
            }
        }
        chosen
    }

    fn reason(&self) -> String {
        if let Some(places) = std::env::var_os("PG_EMBEDDED_SEARCH") {
            let places = places.to_string_lossy();
            return format!(
                "PG_EMBEDDED_SEARCH={places} restricts the search; {}",
                self.refused.join("; ")
            );
        }
        if self.refused.is_empty() {
            "nothing in PATH, in the usual directories, or fetched".into()
        } else {
            self.refused.join("; ")
        }
    }
}

fn holds_programs(dir: &Path) -> bool {
    dir.join("postgres").is_file() && dir.join("initdb").is_file()
}

/// Asks the programs in `dir` for their version, as the account that will run them.
fn examine(account: &Account, dir: &Path) -> std::result::Result<Programs, String> {
    if !holds_programs(dir) {
        return Err("no `postgres` and `initdb` there".into());
    }
    let mut command = account.command(dir.join("postgres"));
    command.arg("--version").stdout(Stdio::piped()).stderr(Stdio::null());
    let mut run = || -> std::io::Result<(ExitStatus, String)> {
        let mut child = command.spawn()?;
        let printed = printed(child.stdout.take())?;
        Ok((child.wait()?, printed))
    };
    let (status, printed) =
        run().map_err(|error| format!("{} cannot run it: {error}", account.name()))?;
    // `postgres (PostgreSQL) 15.18 (Debian 15.18-1)`
    let version = printed.split_whitespace().nth(2).unwrap_or_default();
    let (major, _) = number(version);
    if !status.success() || major == 0 {
        return Err("`postgres --version` failed".into());
    }
    if major < MINIMUM_MAJOR {
        return Err(format!("version {version} is too old"));
    }
    // PATH may hold links to `postgres` and `initdb` only; the other programs are beside the real ones.
    let real = dir.join("postgres").canonicalize().ok();
    let real = real.as_deref().and_then(Path::parent).filter(|real| holds_programs(real));
    Ok(Programs { bin: real.unwrap_or(dir).to_path_buf(), version: version.to_owned(), major })
}

/// Major and minor version: `15.18` is (15, 18), `19beta1` is (19, 0).
fn number(version: &str) -> (u32, u32) {
    let mut parts = version.split(|c: char| !c.is_ascii_digit());
    let major = parts.next().and_then(|part| part.parse().ok()).unwrap_or(0);
    let minor = match version.split_once('.') {
        Some(_) => parts.next().and_then(|part| part.parse().ok()).unwrap_or(0),
        None => 0,
    };
    (major, minor)
}

/// Directories under `root` where distributions put the server programs.
fn usual_directories(root: &Path) -> Vec<PathBuf> {
    // Parent, prefix of the entry's name, and what follows it.
    const PATTERNS: [(&str, &str, &str); 9] = [
        ("usr/lib/postgresql", "", "bin"), // Debian, Ubuntu
        ("usr", "pgsql-", "bin"),          // PostgreSQL's own packages for Fedora, RHEL
        ("usr/lib", "postgresql", "bin"),  // openSUSE
        ("usr/libexec", "postgresql", ""), // Alpine
        ("opt/homebrew/opt", "postgresql", "bin"),
        ("usr/local/opt", "postgresql", "bin"), // Homebrew on Intel
        ("home/linuxbrew/.linuxbrew/opt", "postgresql", "bin"),
        ("Applications/Postgres.app/Contents/Versions", "", "bin"),
        ("Library/PostgreSQL", "", "bin"), // EDB's installer
    ];
    const PLAIN: [&str; 3] = ["usr/bin", "usr/local/bin", "usr/local/pgsql/bin"];
    let mut found = Vec::new();
    for (parent, prefix, below) in PATTERNS {
        let entries = std::fs::read_dir(root.join(parent));
        let mut dirs: Vec<PathBuf> = entries
            .into_iter()
            .flatten()
            .flatten()
            .filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
            .map(|entry| entry.path().join(below))
            .filter(|dir| holds_programs(dir))
            .collect();
        dirs.sort();
        found.extend(dirs);
    }
    found.extend(PLAIN.iter().map(|dir| root.join(dir)).filter(|dir| holds_programs(dir)));
    found
}

#[cfg(test)]
mod tests {
    use super::{Search, number, usual_directories};

    #[test]
    fn versions_are_compared_as_numbers() {
        assert_eq!(number("15.18"), (15, 18));
        assert_eq!(number("9.6.24"), (9, 6));
        assert_eq!(number("19beta1"), (19, 0));
        assert_eq!(number("devel"), (0, 0));
        assert!(number("15.9") < number("15.10"));
    }

    #[test]
    fn searches_only_the_places_named() {
        let named = Search::parse("cache, fetch");
        assert!(named.cache && named.fetch && !named.path && !named.system);
    }

    #[test]
    fn knows_the_directories_of_the_distributions() {
        let root = std::env::temp_dir().join(format!("bdb-locate-{}", std::process::id()));
        let expected = [
            "usr/lib/postgresql/15/bin",
            "usr/lib/postgresql/17/bin",
            "usr/pgsql-16/bin",
            "usr/libexec/postgresql16",
            "opt/homebrew/opt/postgresql@17/bin",
            "Applications/Postgres.app/Contents/Versions/17/bin",
            "usr/bin",
        ];
        for dir in expected.iter().chain(&["usr/lib/postgresql/empty", "usr/other/bin"]) {
            std::fs::create_dir_all(root.join(dir)).unwrap();
        }
        for dir in expected.iter().chain(&["usr/other/bin"]) {
            for program in ["postgres", "initdb"] {
                std::fs::write(root.join(dir).join(program), "").unwrap();
            }
        }
        let found = usual_directories(&root);
        std::fs::remove_dir_all(&root).unwrap();
        assert_eq!(found, expected.map(|dir| root.join(dir)));
    }
}
