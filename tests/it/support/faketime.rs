//! The library that changes a program's clock.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use super::fetched::{Wheel, fetch, given, in_path};
use super::process::run;

/// Built for Linux on x86-64, although its tag says that it is for any machine.
const LIBFAKETIME: Wheel = Wheel {
    package: "libfaketime",
    version: "3.0.1",
    sha256: &["5eed7c17f3d4ba0f6f828de4975f69a622b06b1e792674e6c1b069c0689fab79"],
    file: "libfaketime.so.1",
};

/// The path of `libfaketime.so.1`: that of the package `faketime`, else a fetched one.
pub fn library() -> String {
    static FOUND: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let found = given(&FOUND, || {
        if in_path("faketime").is_none() {
            return fetch(&LIBFAKETIME);
        }
        // The program knows where its library lies.
        let printed = run(Command::new("faketime").args(["-f", "+0", "printenv", "LD_PRELOAD"]));
        Ok(String::from_utf8_lossy(&printed.stdout).trim().into())
    });
    found.display().to_string()
}
