//! Bringing an archived year back, also into a table that holds bars of that year by now.

use std::path::Path;

use diesel::prelude::QueryableByName;
use diesel::sql_types::{BigInt, Bool, Integer};
use futures_util::TryStreamExt;

use super::archive::{PATIENT, State, state};
use super::layout::{
    PriceLayout, PricePartition, attach, bounds, first_day, layout, list, partition_name,
    standalone,
};
use crate::error::{Error, Result};
use crate::postgres::PgConnection;
use crate::prices::reading::{Contents, archive_batches, parquet, restore_batch};

/// The file's bars, where the table holds some of the year already. Seen by this transaction alone, which drops it.
const STAGED: &str = "price_history_restored";

const STAGE: &str = "CREATE UNLOGGED TABLE price_history_restored
    (LIKE price_history, is_outdated BOOLEAN, was_corrected_at TIMESTAMP WITH TIME ZONE)";

/// Values that came after those of the file have been deleted meanwhile: the file's come back as a correction.
const FIND_OUTDATED: &str = "
    UPDATE price_history_restored AS r
    SET is_outdated = TRUE, was_corrected_at = corrected_at, corrected_at = clock_timestamp()
    WHERE EXISTS (
        SELECT FROM price_revisions v
        WHERE v.ticker = r.ticker AND v.date = r.date
            AND COALESCE(v.corrected_at, v.created_at) > COALESCE(r.corrected_at, r.created_at))";

/// Of a ticker's day the database keeps what it has.
const MERGE: &str = "
    WITH merged AS (
        INSERT INTO price_history (id, ticker, date, open_price, high_price, low_price, close_price, volume,
            adjusted_close, data_source, is_suspect, created_at, corrected_at, added_by)
        SELECT id, ticker, date, open_price, high_price, low_price, close_price, volume,
            adjusted_close, data_source, is_suspect, created_at, corrected_at,
            CASE WHEN is_outdated THEN txid_current() END
        FROM price_history_restored
        ORDER BY ticker COLLATE \"C\", date
        ON CONFLICT DO NOTHING
        RETURNING 1
    )
    SELECT count(*) AS merged FROM merged";

/// What the file knew of a bar counts as corrected by the first values that became known after it.
const KEEP_REVISIONS: &str = "
    INSERT INTO price_revisions (ticker, date, replaced_at, id, open_price, high_price, low_price, close_price,
        volume, adjusted_close, data_source, is_suspect, created_at, corrected_at)
    SELECT r.ticker, r.date, later.known_from, r.id, r.open_price, r.high_price, r.low_price, r.close_price,
        r.volume, r.adjusted_close, r.data_source, r.is_suspect, r.created_at, own.corrected_at
    FROM price_history_restored r
    CROSS JOIN LATERAL (
        SELECT CASE WHEN r.is_outdated THEN r.was_corrected_at ELSE r.corrected_at END AS corrected_at
    ) own
    JOIN price_history present ON present.ticker = r.ticker AND present.date = r.date
        AND COALESCE(present.corrected_at, present.created_at) > COALESCE(own.corrected_at, r.created_at)
    CROSS JOIN LATERAL (
        SELECT min(known.known_from) AS known_from
        FROM (
            SELECT COALESCE(present.corrected_at, present.created_at) AS known_from
            UNION ALL
            SELECT COALESCE(v.corrected_at, v.created_at) FROM price_revisions v
            WHERE v.ticker = r.ticker AND v.date = r.date
        ) known
        WHERE known.known_from > COALESCE(own.corrected_at, r.created_at)
    ) later
    WHERE NOT EXISTS (
        SELECT FROM price_revisions v
        WHERE v.ticker = r.ticker AND v.date = r.date AND v.replaced_at = later.known_from AND v.id = r.id)";

fn failed(path: &Path, reason: impl Into<String>) -> Error {
    Error::Archive { path: path.to_owned(), reason: reason.into() }
}

/// Brings the year of the file back in the transaction of the connection. Returns how many of its bars were left out,
/// because the table holds one of the ticker and day; `None` where the year is a new partition.
///
/// # Errors
/// `Archive` of the file; those of the database.
pub(super) async fn restore(
    connection: &PgConnection,
    path: &Path,
    noted: &Contents,
) -> Result<Option<u64>> {
    connection.batch(PATIENT).await?;
    let year = noted.year;
    let name = partition_name(year);
    let kept = match place(connection, year, &name).await? {
        Place::New => {
            // By which transactions the bars were known is not in the file: their times decide.
            let unstamped = format!("ALTER TABLE {name} ALTER COLUMN added_by DROP DEFAULT");
            connection.batch(&format!("{}; {unstamped}", standalone(year))).await?;
            copy(connection, path, noted, &name).await?;
            let stamped =
                format!("ALTER TABLE {name} ALTER COLUMN added_by SET DEFAULT txid_current()");
            connection.batch(&format!("{stamped}; {}", attach(year))).await.map_err(|error| {
                match error {
                    Error::Invalid { .. } => outside(path, year),
                    other => other,
                }
            })?;
            None
        }
        Place::Present => Some(merge(connection, path, noted).await?),
    };
    let forget = diesel::sql_query("DELETE FROM archived_price_years WHERE year = $1");
    connection.run(forget.bind::<Integer, _>(year)).await?;
    Ok(kept)
}

/// Where a year's bars go.
enum Place {
    /// Nothing holds days of the year.
    New,
    /// The table does.
    Present,
}

async fn place(connection: &PgConnection, year: i32, name: &str) -> Result<Place> {
    if layout(connection).await? == PriceLayout::Plain {
        return Ok(Place::Present);
    }
    match state(connection, name).await? {
        // An archiving that went no further than detaching it. Its bars come back with the table.
        Some(State::Alone) => {
            connection.batch(&attach(year)).await?;
            return Ok(Place::Present);
        }
        Some(State::Attached) => return Ok(Place::Present),
        Some(State::Leaving) => {
            let reason = format!("{name} is being detached, end that first: archive it again");
            return Err(Error::invalid("layout", reason));
        }
        None => {}
    }
    let days = first_day(year).zip(first_day(year + 1));
    let overlaps = |p: &PricePartition| {
        days.is_some_and(|(start, end)| p.end > start && p.start.is_none_or(|from| from < end))
    };
    match list(connection).await?.iter().any(overlaps) {
        true => Ok(Place::Present),
        false => Ok(Place::New),
    }
}

/// Copies the file into a table, and compares what is there with it.
async fn copy(connection: &PgConnection, path: &Path, noted: &Contents, table: &str) -> Result<()> {
    let mut batches = parquet::read(path);
    while let Some(batch) = batches.try_next().await? {
        restore_batch(connection, table, &batch).await?;
    }
    match parquet::contents(noted.year, archive_batches(connection, table)).await? == *noted {
        true => Ok(()),
        false => Err(failed(path, "the database does not hold what the file does")),
    }
}

async fn merge(connection: &PgConnection, path: &Path, noted: &Contents) -> Result<u64> {
    #[derive(QueryableByName)]
    struct IsOutside {
        #[diesel(sql_type = Bool)]
        is_outside: bool,
    }
    #[derive(QueryableByName)]
    struct Merged {
        #[diesel(sql_type = BigInt)]
        merged: i64,
    }
    let year = noted.year;
    connection.batch(STAGE).await?;
    copy(connection, path, noted, STAGED).await?;
    let (from, to) = (format!("{year:04}-01-01Z"), format!("{:04}-01-01Z", year + 1));
    let outside_of_it = format!(
        "SELECT EXISTS (SELECT FROM {STAGED} WHERE date < '{from}' OR date >= '{to}') AS is_outside"
    );
    let found: Option<IsOutside> =
        connection.fetch_optional(diesel::sql_query(outside_of_it)).await?;
    if found.is_some_and(|found| found.is_outside) {
        return Err(outside(path, year));
    }
    connection.batch(&format!("ANALYZE {STAGED}")).await?;
    connection.batch(FIND_OUTDATED).await?;
    let merged: Option<Merged> = connection.write_optional(diesel::sql_query(MERGE)).await?;
    let merged = merged.map_or(0, |merged| merged.merged.unsigned_abs());
    // Behind the merge, which has waited for transactions that stored the same bars.
    connection.batch(&format!("{KEEP_REVISIONS}; DROP TABLE {STAGED}")).await?;
    Ok(noted.rows.saturating_sub(merged))
}

fn outside(path: &Path, year: i32) -> Error {
    failed(path, format!("holds bars outside of {}", bounds(year)))
}
