//! Takes over the files in which a program has cached documents until now:
//!
//! ```sh
//! cargo run -p buffetbot-db --example import_cache -- --ttl-hours 24 DIRECTORY
//! ```
//!
//! The database is that of `DATABASE_URL` (or the `DB_*` variables), else an embedded server that vanishes
//! with the program. Files that cannot be stored are told and left out. At the end files and
//! database are compared; it may run as often as one likes, also while programs write to both.
//!
//! Files that Python pickled are converted first, by `unpickle.py` beside this file.

#[path = "../load_prices/database.rs"]
mod database;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use buffetbot_db::Result;
use buffetbot_db::import::{self, FileCacheOptions, FileCacheReport, RejectedFile};
use buffetbot_db::market_cache::PutOptions;
use indicatif::{HumanBytes, ProgressBar, ProgressStyle};

const USAGE: &str = "usage: import_cache [--envelopes] [--ttl-hours N] [--source NAME] \
    [--nan-as-null] [--check] DIRECTORY

  --envelopes    each file is an object with the document as its member data, and beside it
                 timestamp, expiration, ticker, data_type, parameters...; without it a file
                 is a document, TICKER/TYPE.json or TICKER_TYPE.json
  --ttl-hours    how long a document is live that does not say so itself (24)
  --source       the name under which the documents' source is stored (files)
  --nan-as-null  NaN and Infinity, which Python writes, become null
  --check        read the files and store nothing";

/// Files that are shown one by one.
const SHOWN: usize = 10;

struct Arguments {
    directory: PathBuf,
    options: FileCacheOptions,
    only_checks: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = match arguments(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(message) => {
            eprintln!("{message}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match run(arguments).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn arguments(mut given: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let (mut directory, mut hours, mut source) = (None, 24_u64, "files".to_owned());
    let (mut envelopes, mut as_null, mut only_checks) = (false, false, false);
    while let Some(argument) = given.next() {
        let mut value = || given.next().ok_or_else(|| format!("{argument} takes a value"));
        match argument.as_str() {
            "--envelopes" => envelopes = true,
            "--nan-as-null" => as_null = true,
            "--check" => only_checks = true,
            "--ttl-hours" => {
                let value = value()?;
                hours = value.parse().map_err(|_| format!("--ttl-hours {value}: a number"))?;
            }
            "--source" => source = value()?,
            other if other.starts_with("--") => return Err(format!("{other} is no option")),
            _ => directory = Some(PathBuf::from(argument)),
        }
    }
    let kept = PutOptions::ttl(Duration::from_secs(hours.saturating_mul(60 * 60))).source(source);
    let mut options = match envelopes {
        true => FileCacheOptions::envelopes(kept),
        false => FileCacheOptions::documents(kept),
    };
    if as_null {
        options = options.non_finite_as_null();
    }
    Ok(Arguments { directory: directory.ok_or("no directory")?, options, only_checks })
}

/// Whether every live document is stored.
async fn run(Arguments { directory, options, only_checks }: Arguments) -> Result<bool> {
    let bar = spinner();
    let seen = bar.clone();
    let options = options.progress(move |progress| {
        seen.set_message(format!("{} files, {}", progress.rows, HumanBytes(progress.bytes)));
        seen.tick();
    });
    if only_checks {
        let report = import::check_cache_files(&directory, options).await;
        bar.finish_and_clear();
        let report = report?;
        println!(
            "{} files: {} expired, {} rejected",
            report.files, report.expired, report.rejected_files
        );
        tell(&report);
        return Ok(report.rejected_files == 0);
    }
    let db = database::open().await?;
    let report = import::cache_from_files(&db, &directory, options.clone()).await;
    bar.finish_and_clear();
    let report = report?;
    println!("{report}");
    tell(&report);
    let compared = import::compare_cache_files(&db, &directory, options).await;
    bar.finish_and_clear();
    let compared = compared?;
    println!("compared: {compared}");
    show(&compared.found);
    Ok(compared.is_complete())
}

fn tell(report: &FileCacheReport) {
    show(&report.rejected);
    if !report.ignored_members.is_empty() {
        println!("  members ignored: {}", report.ignored_members.join(", "));
    }
}

fn show(files: &[RejectedFile]) {
    for file in files.iter().take(SHOWN) {
        println!("  {file}");
    }
    if files.len() > SHOWN {
        println!("  ... and more");
    }
}

fn spinner() -> ProgressBar {
    let style = ProgressStyle::with_template("{spinner} {msg} {elapsed}");
    ProgressBar::new_spinner()
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()))
}
