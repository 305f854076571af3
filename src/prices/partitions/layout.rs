//! Price history by year.

use std::ops::RangeInclusive;

use chrono::{DateTime, Datelike, NaiveDate, Utc};
use diesel::prelude::QueryableByName;
use diesel::sql_types::{BigInt, Bool, Nullable, Text, Timestamptz};

use super::rebuild;
use super::rebuild::RebuildProgress;
use crate::error::{Error, Result};
use crate::postgres::{PgConnection, Pool};
use crate::store::{Session, Source, tables};
use crate::types::TradingDay;

/// How `price_history` is kept. The repositories work alike on both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PriceLayout {
    /// One table, as the migrations make it.
    Plain,
    /// A partition for each year, and one for everything before the first of them.
    ByYear,
}

/// A partition of `price_history`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PricePartition {
    /// The partition's table.
    pub name: String,
    /// The first day that it holds; `None`: all before [`end`](Self::end).
    pub start: Option<NaiveDate>,
    /// The first day that it does not hold any more.
    pub end: NaiveDate,
    /// Rows, as the server estimates them; `None` before it has counted.
    pub estimated_rows: Option<u64>,
    /// Bytes on disk, indexes included.
    pub bytes: u64,
}

impl PricePartition {
    /// The year, of a partition that holds just one.
    pub fn year(&self) -> Option<i32> {
        let start = self.start?;
        let one_year = start.ordinal() == 1 && self.end == first_day(start.year() + 1)?;
        one_year.then(|| start.year())
    }
}

/// The partitions of `price_history`: one per year and, unbounded below, one for all before. There is no
/// DEFAULT partition, which would accept rows by mistake and keep years from being detached without
/// blocking readers: bars after the last year are [rejected](crate::store::RejectedKind) one by one until
/// [`create_ahead`](Self::create_ahead) has made room.
#[derive(Debug, Clone)]
pub struct PricePartitions {
    pool: Pool,
}

/// The advisory lock for changing the partitions: "pricepar" in ASCII.
const LOCK: i64 = i64::from_be_bytes(*b"pricepar");

/// Most years made at once.
const MOST_YEARS: usize = 400;

const PARTITIONS: &str = r"
    SELECT c.relname::TEXT AS name,
        (regexp_match(b.bound, 'FROM \(''([^'']+)''\)'))[1]::timestamptz AS start_at,
        (regexp_match(b.bound, 'TO \(''([^'']+)''\)'))[1]::timestamptz AS end_at,
        c.reltuples::BIGINT AS estimated, pg_total_relation_size(c.oid) AS bytes,
        i.inhdetachpending AS is_leaving
    FROM pg_inherits i
    JOIN pg_class c ON c.oid = i.inhrelid
    CROSS JOIN LATERAL (SELECT pg_get_expr(c.relpartbound, c.oid) AS bound) b
    WHERE i.inhparent = 'price_history'::regclass
    ORDER BY end_at";

#[derive(QueryableByName)]
struct PartitionRow {
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Nullable<Timestamptz>)]
    start_at: Option<DateTime<Utc>>,
    #[diesel(sql_type = Nullable<Timestamptz>)]
    end_at: Option<DateTime<Utc>>,
    #[diesel(sql_type = BigInt)]
    estimated: i64,
    #[diesel(sql_type = BigInt)]
    bytes: i64,
    #[diesel(sql_type = Bool)]
    is_leaving: bool,
}

impl PricePartitions {
    pub(crate) fn new(pool: Pool) -> Self {
        PricePartitions { pool }
    }

    pub(super) fn session(&self) -> Session {
        Session::new(Source::Pool(self.pool.clone(), None), &tables::PRICE_HISTORY)
    }

    /// How the table is kept now.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn layout(&self) -> Result<PriceLayout> {
        layout(&*self.pool.checkout().await?).await
    }

    /// The partitions, by rising day; none of a plain table.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn list(&self) -> Result<Vec<PricePartition>> {
        list(&*self.pool.checkout().await?).await
    }

    /// Makes one table of all bars into partitions by year, in place: the years from `first_year` to
    /// the last one with bars (at least the present one) and `ahead` more; older bars share a partition.
    /// Without `first_year` it begins with the oldest bar. Of a table that is partitioned already
    /// nothing is changed.
    ///
    /// It is one transaction, in which the table is written again (so that it takes twice the room for a
    /// while): readers continue until the tables are exchanged, writers of bars wait,
    /// up to their lock timeout. Indexes, checks, triggers, comments, owner and privileges are those of
    /// the table before, only the primary key is `(id, date)` then. `progress` is called after each year.
    ///
    /// # Errors
    /// `Invalid` of `first_year`; of `layout` where views hang on the table, or bars lie outside of the
    /// calendar; those of the database. Nothing has changed then.
    pub async fn partition_by_year(
        &self,
        first_year: Option<i32>,
        ahead: u32,
        progress: impl Fn(&RebuildProgress) + Send + Sync,
    ) -> Result<PriceLayout> {
        let session = self.session();
        let atomic = session.atomic().await?;
        lock(&atomic).await?;
        if layout(&atomic).await? == PriceLayout::Plain {
            let years = rebuild::years(&atomic, first_year, ahead).await?;
            check_years(&years)?;
            rebuild::run(&atomic, &rebuild::Target::ByYear(years), &progress).await?;
            atomic.commit().await?;
            // The server analyzes partitions by itself, but not what they make together.
            self.pool.checkout().await?.batch("ANALYZE price_history").await?;
        }
        Ok(PriceLayout::ByYear)
    }

    /// Makes one table of all partitions again, as [`partition_by_year`](Self::partition_by_year) does the
    /// opposite.
    ///
    /// # Errors
    /// As there.
    pub async fn merge_into_one(
        &self,
        progress: impl Fn(&RebuildProgress) + Send + Sync,
    ) -> Result<PriceLayout> {
        let session = self.session();
        let atomic = session.atomic().await?;
        lock(&atomic).await?;
        if layout(&atomic).await? == PriceLayout::ByYear {
            rebuild::run(&atomic, &rebuild::Target::Plain, &progress).await?;
            atomic.commit().await?;
            self.pool.checkout().await?.batch("ANALYZE price_history").await?;
        }
        Ok(PriceLayout::Plain)
    }

    /// Makes sure that there are partitions for the present year, by the database's clock, and `years`
    /// more; returns the names of those that it made. To be called now and then, from any number of
    /// programs; readers and writers continue meanwhile. Of a plain table there is nothing to do.
    ///
    /// # Errors
    /// Those of the database; partitions made before stay.
    pub async fn create_ahead(&self, years: u32) -> Result<Vec<String>> {
        let connection = self.pool.checkout().await?;
        let present = rebuild::present_year(&connection).await?;
        drop(connection);
        let last = present.saturating_add(i32::try_from(years).unwrap_or(i32::MAX));
        self.create_years(present..=last).await
    }

    /// Makes sure that there are partitions for these years, as [`create_ahead`](Self::create_ahead)
    /// does; years that the partition without a beginning holds have one. An archived year gets an empty one, to which
    /// `restore_year` adds its bars.
    ///
    /// # Errors
    /// `Invalid` of `years`: more than 400, or outside of the calendar; those of the database.
    pub async fn create_years(&self, years: RangeInclusive<i32>) -> Result<Vec<String>> {
        check_years(&years)?;
        let session = self.session();
        let atomic = session.atomic().await?;
        lock(&atomic).await?;
        let mut made = Vec::new();
        if layout(&atomic).await? == PriceLayout::ByYear {
            let present = list(&atomic).await?;
            for year in years {
                let Some((start, end)) = first_day(year).zip(first_day(year + 1)) else {
                    continue;
                };
                let overlaps =
                    |p: &PricePartition| p.end > start && p.start.is_none_or(|other| other < end);
                if !present.iter().any(overlaps) {
                    atomic.batch(&format!("{}; {}", standalone(year), attach(year))).await?;
                    made.push(partition_name(year));
                }
            }
        }
        atomic.commit().await?;
        Ok(made)
    }
}

/// Of several programs that change the partitions one does, the others wait.
pub(super) async fn lock(connection: &PgConnection) -> Result<()> {
    connection.batch(&format!("SELECT pg_advisory_xact_lock({LOCK})")).await
}

pub(super) async fn layout(connection: &PgConnection) -> Result<PriceLayout> {
    #[derive(QueryableByName)]
    struct Kind {
        #[diesel(sql_type = Bool)]
        is_partitioned: bool,
    }
    let query = "SELECT relkind = 'p' AS is_partitioned
                 FROM pg_class WHERE oid = 'price_history'::regclass";
    let kind: Option<Kind> = connection.fetch_optional(diesel::sql_query(query)).await?;
    match kind {
        Some(Kind { is_partitioned: true }) => Ok(PriceLayout::ByYear),
        _ => Ok(PriceLayout::Plain),
    }
}

/// Without those that are being detached.
pub(super) async fn list(connection: &PgConnection) -> Result<Vec<PricePartition>> {
    let rows: Vec<PartitionRow> = connection.fetch_all(diesel::sql_query(PARTITIONS)).await?;
    let attached = rows.into_iter().filter(|row| !row.is_leaving);
    let partition = |row: PartitionRow| {
        Some(PricePartition {
            name: row.name,
            start: row.start_at.map(|at| at.date_naive()),
            end: row.end_at?.date_naive(),
            estimated_rows: u64::try_from(row.estimated).ok(),
            bytes: row.bytes.unsigned_abs(),
        })
    };
    Ok(attached.filter_map(partition).collect())
}

/// The table of a year's partition.
pub(super) fn partition_name(year: i32) -> String {
    format!("price_history_{year:04}")
}

/// The bounds of a year's partition, as literals that no setting changes.
pub(super) fn bounds(year: i32) -> String {
    format!("FROM ('{year:04}-01-01 00:00:00Z') TO ('{:04}-01-01 00:00:00Z')", year + 1)
}

/// Makes a year's table beside the partitions. To be [attached](attach) then: that does not wait behind
/// readers, as CREATE TABLE ... PARTITION OF does.
pub(super) fn standalone(year: i32) -> String {
    let name = partition_name(year);
    format!(
        "CREATE TABLE {name} (LIKE price_history INCLUDING ALL EXCLUDING INDEXES);
         COMMENT ON TABLE {name} IS 'Price bars of {year}'; {}",
        protected(&name)
    )
}

/// Lets nobody truncate a partition by itself: the table's own trigger does not fire then.
pub(super) fn protected(partition: &str) -> String {
    format!(
        "CREATE TRIGGER {partition}_refuse_truncate BEFORE TRUNCATE ON {partition}
             FOR EACH STATEMENT EXECUTE FUNCTION refuse_truncate()"
    )
}

/// Makes a year's table a partition. The server adds what it lacks of indexes and triggers.
pub(super) fn attach(year: i32) -> String {
    let (name, bounds) = (partition_name(year), bounds(year));
    format!("ALTER TABLE price_history ATTACH PARTITION {name} FOR VALUES {bounds}")
}

pub(super) fn first_day(year: i32) -> Option<NaiveDate> {
    NaiveDate::from_ymd_opt(year, 1, 1)
}

pub(super) fn check_years(years: &RangeInclusive<i32>) -> Result<()> {
    for year in [*years.start(), *years.end()] {
        let day = first_day(year).ok_or_else(|| Error::invalid("years", year.to_string()))?;
        TradingDay::from(day).check("years")?;
    }
    if years.clone().nth(MOST_YEARS).is_some() {
        return Err(Error::invalid("years", format!("more than {MOST_YEARS} at once")));
    }
    Ok(())
}
