//! Years of price history in files.

use std::collections::BTreeMap;
use std::path::PathBuf;

use diesel::prelude::QueryableByName;
use diesel::sql_types::{Bool, Integer, Nullable, Text};
use serde::{Deserialize, Serialize};

use super::layout::{
    PricePartition, PricePartitions, attach, check_years, list, lock, partition_name,
};
use super::restore::restore;
use crate::error::{Entity, Error, Result};
use crate::postgres::PgConnection;
use crate::prices::reading::{Contents, archive_batches, parquet};

/// A year of bars in a Parquet file: what it holds, as it was read back.
///
/// The file's columns are those of [`archive_schema`](crate::prices::reading::archive_schema). Its key-value metadata have
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
    /// Of a year that was restored: how many of these bars were left out, because the table held one of the ticker and day
    /// by then, which stays.
    #[serde(default)]
    pub kept: u64,
}

impl PriceArchive {
    fn new(path: PathBuf, contents: Contents) -> Self {
        let Contents { year, rows, checksums } = contents;
        PriceArchive { path, year, rows, checksums, kept: 0 }
    }
}

/// Where the table of a year stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Attached,
    /// It was to be detached, and the program that did it has ended.
    Leaving,
    /// Detached, but not dropped: the program ended before.
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

pub(super) async fn state(connection: &PgConnection, name: &str) -> Result<Option<State>> {
    let query = diesel::sql_query(STATE).bind::<Text, _>(name);
    let row: Option<StateRow> = connection.fetch_optional(query).await?;
    Ok(row.filter(|row| row.is_alike).map(|row| match row.is_leaving {
        Some(false) => State::Attached,
        Some(true) => State::Leaving,
        None => State::Alone,
    }))
}

/// That the year is in a file: what is delivered for it is refused as such.
const RECORD: &str = "INSERT INTO archived_price_years (year) VALUES ($1)
    ON CONFLICT (year) DO UPDATE SET archived_at = excluded.archived_at";

/// Bars are many: a statement takes as long as it takes.
pub(super) const PATIENT: &str = "SET LOCAL statement_timeout = 0";

impl PricePartitions {
    /// Moves a year into a Parquet file: writes it, reads it back and compares every value, detaches the partition without blocking readers or writers of other years,
    /// compares once more what the table holds, and drops it. Until that last step the bars are in
    /// both; after the detaching, readers of `price_history` no longer see them. What is
    /// delivered for the year afterwards is rejected as [`ArchivedYear`](crate::store::RejectedKind::ArchivedYear), until the
    /// year is restored, or [`create_years`](Self::create_years) makes room for it again.
    ///
    /// Broken off anywhere (an error, a lost connection, a dropped future) nothing is lost, and the same
    /// call resumes where it stopped. One batch of rows is in memory. A file that is there already is never
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
        reading.disable_timeouts(true);
        reading.batch(PATIENT).await?;
        let missing = || Error::not_found(Entity::PricePartition, &name);
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
            connection.disable_timeouts(true);
            connection.batch(&detach).await?;
        }

        let dropping = session.atomic().await?;
        dropping.disable_timeouts(true);
        lock(&dropping).await?;
        dropping.batch(&format!("{PATIENT}; LOCK TABLE {name} IN ACCESS EXCLUSIVE MODE")).await?;
        if parquet::contents(year, archive_batches(&dropping, &name)).await? == in_file {
            dropping.batch(&format!("DROP TABLE {name}")).await?;
            dropping.run(diesel::sql_query(RECORD).bind::<Integer, _>(year)).await?;
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

    /// Brings an archived year back: reads the file and compares it with its checksums, copies it in, compares what is
    /// stored, and attaches it as a partition, in one transaction. Readers and writers of other years continue.
    ///
    /// Where the table holds bars of the year by then (a partition was made for it, the table is plain), it continues with
    /// what is there: of a ticker's day the bar in the table stays, and [`kept`](PriceArchive::kept) counts it; all others are
    /// added, which writes events. What the file knew of a bar that stays counts as
    /// corrected by it, in [`range_as_of`](crate::prices::PriceRepository::range_as_of) and
    /// [`revisions`](crate::prices::PriceRepository::revisions). A second time changes nothing.
    ///
    /// # Errors
    /// `Archive` of the file; `Invalid` of `layout` while the year is being detached; those of the database. Nothing has
    /// changed then.
    pub async fn restore_year(&self, path: impl Into<PathBuf>) -> Result<PriceArchive> {
        let path = path.into();
        let noted = parquet::verify(&path).await?;
        let year = noted.year;
        check_years(&(year..=year))
            .map_err(|e| Error::Archive { path: path.clone(), reason: e.to_string() })?;
        let session = self.session();
        let atomic = session.atomic().await?;
        atomic.disable_timeouts(true);
        lock(&atomic).await?;
        let kept = restore(&atomic, &path, &noted).await?;
        atomic.commit().await?;
        if kept.is_none() {
            let analyze = format!("ANALYZE {}", partition_name(year));
            session.connection().await?.batch(&analyze).await?;
        }
        Ok(PriceArchive { kept: kept.unwrap_or(0), ..PriceArchive::new(path, noted) })
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
