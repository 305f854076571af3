//! What an import of a cache's files did.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// What became of a cache's files; every file is counted once in `files`, and once below.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct FileCacheReport {
    /// Files of the cache, without those that the filter leaves out.
    pub files: u64,
    /// Stored, where there was no document or an older one.
    pub written: u64,
    /// Not stored: there is a document of the key that is as new or newer, here or in another file.
    pub kept: u64,
    /// Not stored: the document has expired.
    pub expired: u64,
    /// Files that cannot be stored.
    pub rejected_files: u64,
    /// Some of them, at most [`FileCacheReport::REJECTED_SHOWN`], by path.
    pub rejected: Vec<RejectedFile>,
    /// Files that the filter left out; in none of the counts above.
    pub ignored_files: u64,
    /// NaN and infinite values (not files) that were imported as null.
    pub nulled: u64,
    /// Members of envelopes that mean nothing to the import, at most [`FileCacheReport::MEMBERS_SHOWN`], by name.
    pub ignored_members: Vec<String>,
}

impl FileCacheReport {
    /// Most rejected files that a report lists.
    pub const REJECTED_SHOWN: usize = 1_000;
    /// Most members that a report names.
    pub const MEMBERS_SHOWN: usize = 100;

    /// Adds what another report says: its counts, and its files and members as far as they are shown.
    pub fn add(&mut self, other: &FileCacheReport) {
        self.files += other.files;
        self.written += other.written;
        self.kept += other.kept;
        self.expired += other.expired;
        self.rejected_files += other.rejected_files;
        self.ignored_files += other.ignored_files;
        self.nulled += other.nulled;
        for file in &other.rejected {
            show(&mut self.rejected, file.clone());
        }
        for member in &other.ignored_members {
            self.ignore(member.clone());
        }
    }

    pub(super) fn reject(&mut self, path: PathBuf, reason: String) {
        self.rejected_files += 1;
        show(&mut self.rejected, RejectedFile { path, reason });
    }

    pub(super) fn ignore(&mut self, member: String) {
        if let Err(place) = self.ignored_members.binary_search(&member)
            && self.ignored_members.len() < Self::MEMBERS_SHOWN
        {
            self.ignored_members.insert(place, member);
        }
    }
}

/// Adds to what is shown one by one, which stays short.
fn show(shown: &mut Vec<RejectedFile>, file: RejectedFile) {
    if shown.len() < FileCacheReport::REJECTED_SHOWN {
        shown.push(file);
    }
}

impl fmt::Display for FileCacheReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let FileCacheReport { files, written, kept, expired, rejected_files, .. } = self;
        write!(f, "{files} files: {written} written, {kept} kept as stored, {expired} expired")?;
        write!(f, ", {rejected_files} rejected")?;
        if self.ignored_files > 0 {
            write!(f, "; {} other files", self.ignored_files)?;
        }
        if self.nulled > 0 {
            write!(f, "; {} NaN or infinite values imported as null", self.nulled)?;
        }
        Ok(())
    }
}

/// A file that an import left out.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RejectedFile {
    /// Its path, relative to the cache's directory.
    pub path: PathBuf,
    /// The member, and what is wrong with it; or what is wrong with the file.
    pub reason: String,
}

impl fmt::Display for RejectedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.reason)
    }
}

/// How the files of a cache and the database agree; every live file is counted once.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct FileCacheComparison {
    /// Live documents of files.
    pub live: u64,
    /// Stored as they are in their file.
    pub equal: u64,
    /// Of whose key a newer document is stored.
    pub newer: u64,
    /// Of whose key another document is stored, which is not newer.
    pub different: u64,
    /// Of whose key no live document is stored.
    pub missing: u64,
    /// The different and the missing, at most [`FileCacheReport::REJECTED_SHOWN`], by path.
    pub found: Vec<RejectedFile>,
    /// What the files themselves are like: expired and rejected ones are not compared, and nothing was written.
    pub files: FileCacheReport,
}

impl FileCacheComparison {
    /// Whether every live file of the cache is stored, or something newer.
    pub fn is_complete(&self) -> bool {
        self.different == 0 && self.missing == 0 && self.files.rejected_files == 0
    }

    pub(super) fn differs(&mut self, path: PathBuf) {
        self.different += 1;
        let reason = "another document is stored, which is not newer".into();
        show(&mut self.found, RejectedFile { path, reason });
    }

    pub(super) fn misses(&mut self, path: PathBuf) {
        self.missing += 1;
        show(&mut self.found, RejectedFile { path, reason: "no live document is stored".into() });
    }
}

impl fmt::Display for FileCacheComparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let FileCacheComparison { live, equal, newer, different, missing, .. } = self;
        write!(f, "{live} live documents: {equal} equal, {newer} newer in the database")?;
        write!(f, ", {different} different, {missing} missing")?;
        write!(f, "; {} files rejected", self.files.rejected_files)
    }
}
