//! Years of price history in files.

use std::collections::BTreeMap;
use std::path::PathBuf;

use diesel::prelude::QueryableByName;
use diesel::sql_types::{Bool, Nullable, Text};
use futures_util::TryStreamExt;
use serde::{Deserialize, Serialize};

use super::partitions::{
    PriceLayout, PricePartition, PricePartitions, attach, bounds, check_years, first_day, layout,
    list, lock, partition_name, standalone,
};
use crate::connection::PgConnection;
use crate::error::{Error, Result};
use crate::series::arrow::{archive_batches, restore_batch};
use crate::series::parquet::{self, Contents};

/// A year of bars in a Parquet file: what it holds, as it was read back.
///
/// The file's columns are those of [`archive_schema`](crate::archive_schema). Its key-value metadata have
/// the year (`buffetbot.year`), the number of rows (`buffetbot.rows`) and the checksums
/// (`buffetbot.sha256.<column>`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PriceArchive {
    /// The file.
    pub path: PathBuf,
    /// The year.
    pub year: i32,
    /// How many bars.
    pub rows: u64,
    /// Per column the SHA-256 of its values, in hexadecimal: over the values in the order of rows, by
    /// ticker in byte order and then by rising day. A value is a byte 0 where it is NULL, else a byte 1 and,
    /// little-endian, a text's length in 8 bytes and its UTF-8, an id's 16 bytes, a flag's one, a time's
    /// microseconds since 1970 or a count in 8, or a price's units of 10^-10 in 16.
    pub checksums: BTreeMap<String, String>,
}

impl PriceArchive {
    fn new(path: PathBuf, contents: Contents) -> Self {
        let Contents { year, rows, checksums } = contents;
        PriceArchive { path, year, rows, checksums }
    }
}

/// Where the table of a year stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Attached,
    /// It was to be detached, and whoever did it has gone.
    Leaving,
    /// Detached by somebody who did not come to dropping it.
    Alone,
}

/// Of the table of that name. One with other columns is not a partition that was.
const STATE: &str = "
    SELECT i.inhdetachpending AS is_leaving,
        (SELECT array_agg(format('%s %s', attname, atttypid) ORDER BY attname) FROM pg_attribute
         WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped)
        = (SELECT array_agg(format('%s %s', attname, atttypid) ORDER BY attname) FROM pg_attribute
           WHERE attrelid = 'price_history'::regclass AND attnum > 0 AND NOT attisdropped) AS is_alike
    FROM pg_class c
    LEFT JOIN pg_inherits i ON i.inhrelid = c.oid AND i.inhparent = 'price_history'::regclass
    WHERE c.oid = to_regclass($1) AND c.relkind = 'r'";

#[derive(QueryableByName)]
struct StateRow {
    #[diesel(sql_type = Nullable<Bool>)]
    is_leaving: Option<bool>,
    #[diesel(sql_type = Bool)]
    is_alike: bool,
}

async fn state(connection: &PgConnection, name: &str) -> Result<Option<State>> {
    let query = diesel::sql_query(STATE).bind::<Text, _>(name);
    let row: Option<StateRow> = connection.fetch_optional(query).await?;
    Ok(row.filter(|row| row.is_alike).map(|row| match row.is_leaving {
        Some(false) => State::Attached,
        Some(true) => State::Leaving,
        None => State::Alone,
    }))
}

/// Bars are many: a statement takes as long as it takes.
const PATIENT: &str = "SET LOCAL statement_timeout = 0";

impl PricePartitions {
    /// Moves a year into a Parquet file: writes it, reads it back and compares every value, detaches the partition without blocking readers or writers of other years,
    /// compares once more what the table holds, and drops it. Until that last step the bars are in
    /// both; from the detaching on they are in the file alone for whoever reads `price_history`. What is
    /// delivered for the year afterwards is refused as `Invalid` of `date`.
    ///
    /// Broken off anywhere (an error, a lost connection, a dropped future) nothing is lost, and the same
    /// call goes on where it stopped. One batch of rows is in memory. A file that is there already is never
    /// replaced; it will do if it holds exactly the year.
    ///
    /// # Errors
    /// `NotFound` of a year without a partition of its own; `Archive` of the file, and where the year
    /// was written to meanwhile, which leaves it attached and removes the file; those of the database: a `Timeout` where
    /// transactions that use the table do not end for longer than the statement timeout.
    pub async fn archive_year(&self, year: i32, path: impl Into<PathBuf>) -> Result<PriceArchive> {
        check_years(&(year..=year))?;
        let (path, name, session) = (path.into(), partition_name(year), self.session());
        let existing = parquet::verify_existing(&path).await?;
        let reading = session.atomic().await?;
        reading.set_patient(true);
        reading.batch(PATIENT).await?;
        let missing = || Error::not_found("partition", &name);
        let state = state(&reading, &name).await?.ok_or_else(missing)?;
        let attached = list(&reading).await?;
        let is_the_year = |p: &PricePartition| p.name == name && p.year() == Some(year);
        if state == State::Attached && !attached.iter().any(is_the_year) {
            return Err(missing());
        }
        let bars = archive_batches(&reading, &name);
        let is_ours = existing.is_none();
        let in_table = match is_ours {
            true => parquet::write(&path, year, bars).await?,
            false => parquet::contents(year, bars).await?,
        };
        reading.commit().await?;
        let in_file = match existing {
            Some(existing) => existing,
            None => parquet::verify(&path).await?,
        };
        if in_file != in_table {
            let reason = match is_ours {
                true => "does not hold what was written",
                false => "is there already and holds something else than the year does now",
            };
            return Err(Error::Archive { path, reason: reason.into() });
        }
        let detach = match state {
            State::Attached => "CONCURRENTLY",
            State::Leaving => "FINALIZE",
            State::Alone => "",
        };
        if !detach.is_empty() {
            // Not possible in a transaction: it is several.
            let connection = session.connection().await?;
            let detach = format!("ALTER TABLE price_history DETACH PARTITION {name} {detach}");
            connection.set_patient(true);
            connection.batch(&detach).await?;
        }

        let dropping = session.atomic().await?;
        dropping.set_patient(true);
        lock(&dropping).await?;
        dropping.batch(&format!("{PATIENT}; LOCK TABLE {name} IN ACCESS EXCLUSIVE MODE")).await?;
        if parquet::contents(year, archive_batches(&dropping, &name)).await? == in_file {
            dropping.batch(&format!("DROP TABLE {name}")).await?;
            dropping.commit().await?;
            return Ok(PriceArchive::new(path, in_file));
        }
        dropping.batch(&attach(year)).await?;
        dropping.commit().await?;
        if is_ours {
            parquet::remove(&path).await?;
        }
        let reason = "the year was written to meanwhile and stays: archive it again".to_owned();
        Err(Error::Archive { path, reason })
    }

    /// Brings an archived year back as a partition: reads the file and compares it with its checksums,
    /// copies it in, compares what is stored, and attaches it, in one transaction. Readers and
    /// writers of other years go on.
    ///
    /// # Errors
    /// `Archive` of the file; `Conflict` where there is a partition with days of the year;
    /// `Invalid` of `layout` of a plain table; those of the database. Nothing has changed then.
    pub async fn restore_year(&self, path: impl Into<PathBuf>) -> Result<PriceArchive> {
        let path = path.into();
        let noted = parquet::verify(&path).await?;
        let year = noted.year;
        let wrong = |reason: String| Error::Archive { path: path.clone(), reason };
        check_years(&(year..=year)).map_err(|e| wrong(e.to_string()))?;
        let (name, session) = (partition_name(year), self.session());
        let atomic = session.atomic().await?;
        atomic.set_patient(true);
        lock(&atomic).await?;
        atomic.batch(PATIENT).await?;
        if layout(&atomic).await? == PriceLayout::Plain {
            return Err(Error::invalid("layout", "price_history is not partitioned by year"));
        }
        let days = first_day(year).zip(first_day(year + 1));
        let overlaps = |p: &PricePartition| {
            days.is_some_and(|(start, end)| p.end > start && p.start.is_none_or(|from| from < end))
        };
        let present = list(&atomic).await?.into_iter().find(overlaps).map(|p| p.name);
        let present = match state(&atomic, &name).await? {
            Some(_) => Some(name.clone()),
            None => present,
        };
        if let Some(constraint) = present {
            return Err(Error::Conflict { entity: "price_history".into(), constraint });
        }
        atomic.batch(&standalone(year)).await?;
        let mut batches = parquet::read(&path);
        while let Some(batch) = batches.try_next().await? {
            restore_batch(&atomic, &name, &batch).await?;
        }
        if parquet::contents(year, archive_batches(&atomic, &name)).await? != noted {
            return Err(wrong("the database does not hold what the file does".into()));
        }
        atomic.batch(&attach(year)).await.map_err(|error| match error {
            Error::Invalid { .. } => wrong(format!("holds bars outside of {}", bounds(year))),
            other => other,
        })?;
        atomic.commit().await?;
        session.connection().await?.batch(&format!("ANALYZE {name}")).await?;
        Ok(PriceArchive::new(path, noted))
    }

    /// Reads an archive, every value of it, and compares it with its checksums; needs no database.
    ///
    /// # Errors
    /// `Archive` of a file that cannot be read or does not hold what it says.
    pub async fn verify_archive(path: impl Into<PathBuf>) -> Result<PriceArchive> {
        let path = path.into();
        let contents = parquet::verify(&path).await?;
        Ok(PriceArchive::new(path, contents))
    }
}
