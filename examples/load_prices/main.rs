//! Loads CSV files of daily bars, compressed by gzip or not:
//!
//! ```sh
//! cargo run -p buffetbot-db --example load_prices -- FILE...
//! ```
//!
//! The database is that of `DATABASE_URL` (or the `DB_*` variables), else an embedded server that vanishes
//! with the program. Rows that cannot be stored are told and left out; the last line gives the totals.

mod database;

use std::path::PathBuf;
use std::process::ExitCode;

use buffetbot_db::import::{self, CsvOptions, ImportReport};
use buffetbot_db::prices::{IngestOptions, SuspectPolicy};
use buffetbot_db::types::Ticker;
use buffetbot_db::{Error, Result};
use indicatif::{ProgressBar, ProgressStyle};

const USAGE: &str = "usage: load_prices [--ticker TICKER] [--source NAME] \
    [--suspect reject|flag|fail] [--max-jump FACTOR] FILE...

  --ticker    the ticker of rows that name none, as in Yahoo's files
  --source    the name under which the bars' source is stored (csv)
  --suspect   what becomes of bars that contradict themselves (reject)
  --max-jump  closes more than that many times away from both neighbours are suspicious, too";

/// Rejected rows of a file that are shown one by one.
const SHOWN: usize = 10;

struct Arguments {
    files: Vec<PathBuf>,
    options: CsvOptions,
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
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn arguments(mut given: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let mut files = Vec::new();
    let (mut options, mut ingest) = (CsvOptions::new(), IngestOptions::new());
    while let Some(argument) = given.next() {
        if !argument.starts_with("--") {
            files.push(argument.into());
            continue;
        }
        let value = given.next().ok_or_else(|| format!("{argument} takes a value"))?;
        match argument.as_str() {
            "--ticker" => options = options.ticker(Ticker::new(&value).map_err(|e| e.to_string())?),
            "--source" => options = options.source(value),
            "--suspect" => {
                ingest = ingest.on_suspect(match value.as_str() {
                    "reject" => SuspectPolicy::Reject,
                    "flag" => SuspectPolicy::Flag,
                    "fail" => SuspectPolicy::Fail,
                    other => return Err(format!("--suspect {other}: reject, flag or fail")),
                });
            }
            "--max-jump" => {
                let factor = value.parse().map_err(|_| format!("--max-jump {value}: a number"))?;
                ingest = ingest.max_jump(factor);
            }
            other => return Err(format!("{other} is no option")),
        }
    }
    if files.is_empty() {
        return Err("no file".into());
    }
    Ok(Arguments { files, options: options.ingest(ingest) })
}

async fn run(Arguments { files, options }: Arguments) -> Result<()> {
    let db = database::open().await?;
    let mut total = ImportReport::default();
    for file in files {
        let name = file.display().to_string();
        let bar = progress_bar(&name);
        let seen = bar.clone();
        let options = options.clone().progress(move |progress| {
            seen.set_length(progress.total_bytes.unwrap_or(progress.bytes));
            seen.set_position(progress.bytes);
        });
        let loaded = import::prices_from_csv(&db, &file, options).await;
        bar.finish_and_clear();
        let report = loaded.map_err(|error| of_file(&name, error))?;
        println!("{name}: {report}");
        for line in report.rejected.iter().take(SHOWN) {
            println!("  {line}");
        }
        if report.rejected_rows > SHOWN as u64 {
            println!("  ... and {} more", report.rejected_rows - SHOWN as u64);
        }
        if !report.ignored_columns.is_empty() {
            println!("  columns ignored: {}", report.ignored_columns.join(", "));
        }
        total.add(&report);
    }
    println!("total: {total}");
    Ok(())
}

/// Which of several files it was.
fn of_file(name: &str, error: Error) -> Error {
    match error {
        Error::Invalid { field, reason } => {
            Error::Invalid { field: format!("{name}: {field}").into(), reason }
        }
        other => other,
    }
}

fn progress_bar(name: &str) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg} [{bar:30}] {bytes}/{total_bytes} {eta}");
    ProgressBar::new(0)
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        .with_message(name.to_owned())
}
