//! Rewriting `price_history` in another layout, in one transaction.

use std::ops::RangeInclusive;
use std::time::Duration;

use chrono::{DateTime, Datelike, Utc};
use diesel::prelude::QueryableByName;
use diesel::sql_types::{BigInt, Nullable, Text, Timestamptz};

use super::layout::{bounds, partition_name, protected};
use crate::error::{Entity, Error, Result};
use crate::postgres::PgConnection;

/// How far a rebuild is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct RebuildProgress {
    /// Bars written.
    pub rows: u64,
    /// Bars in all.
    pub total_rows: u64,
}

/// What the table becomes.
pub(super) enum Target {
    Plain,
    /// Partitions for these years, and one for all before.
    ByYear(RangeInclusive<i32>),
}

/// How long one try to exchange the tables may hold up readers who come meanwhile, and how many tries
/// there are: a reader with a long transaction is waited for, but not at the cost of all others.
const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(2);
const EXCHANGE_TRIES: u32 = 30;
/// Between two tries, in which those readers continue.
const EXCHANGE_PAUSE: Duration = Duration::from_millis(500);

/// The table while it is being written.
const NEW: &str = "price_history_rebuilt";

#[derive(QueryableByName)]
struct Statement {
    #[diesel(sql_type = Text)]
    statement: String,
}

#[derive(QueryableByName)]
struct Extent {
    #[diesel(sql_type = Nullable<Timestamptz>)]
    first: Option<DateTime<Utc>>,
    #[diesel(sql_type = Nullable<Timestamptz>)]
    last: Option<DateTime<Utc>>,
    #[diesel(sql_type = Timestamptz)]
    now: DateTime<Utc>,
}

async fn extent(connection: &PgConnection) -> Result<Extent> {
    // Infinities, which the column can hold, are not days.
    let query = "SELECT now() AS now,
        (SELECT min(date) FROM price_history WHERE date > '-infinity') AS first,
        (SELECT max(date) FROM price_history WHERE date < 'infinity') AS last";
    let extent = connection.fetch_optional(diesel::sql_query(query)).await?;
    extent.ok_or_else(|| Error::not_found(Entity::Row, "price_history"))
}

pub(super) async fn present_year(connection: &PgConnection) -> Result<i32> {
    #[derive(QueryableByName)]
    struct Now {
        #[diesel(sql_type = Timestamptz)]
        now: DateTime<Utc>,
    }
    let now: Option<Now> = connection.fetch_optional(diesel::sql_query("SELECT now()")).await?;
    Ok(now.map_or(0, |now| now.now.year()))
}

/// The years that get a partition of their own.
///
/// # Errors
/// `Invalid` of `first_year` or `layout`; those of the database.
pub(super) async fn years(
    connection: &PgConnection,
    first_year: Option<i32>,
    ahead: u32,
) -> Result<RangeInclusive<i32>> {
    let Extent { first, last, now } = extent(connection).await?;
    let present = now.year();
    let first = first_year.unwrap_or_else(|| first.map_or(present, |first| first.year()));
    let last = last.map_or(present, |last| last.year().max(present));
    let last = last.saturating_add(i32::try_from(ahead).unwrap_or(i32::MAX));
    if first > last {
        return Err(Error::invalid("first_year", format!("{first}: after the last, {last}")));
    }
    Ok(first..=last)
}

/// Rewrites the table, in the transaction of the connection. Writers wait until its end, readers for
/// the exchange.
///
/// # Errors
/// `Invalid` of `layout`; those of the database.
pub(super) async fn run(
    connection: &PgConnection,
    target: &Target,
    progress: &(impl Fn(&RebuildProgress) + Send + Sync),
) -> Result<()> {
    connection.disable_timeouts(true);
    connection
        .batch(
            "SET LOCAL statement_timeout = 0; SET LOCAL TimeZone = 'UTC';
             LOCK TABLE price_history IN SHARE ROW EXCLUSIVE MODE",
        )
        .await?;
    refuse_dependents(connection).await?;
    refuse_leaving(connection).await?;
    let statements: Vec<Statement> = connection.fetch_all(diesel::sql_query(ATTRIBUTES)).await?;
    let indexes: Vec<Statement> = connection.fetch_all(diesel::sql_query(INDEXES)).await?;
    let total_rows = count(connection).await?;
    progress(&RebuildProgress { rows: 0, total_rows });
    let mut rows = 0;
    for piece in pieces(target) {
        connection.batch(&piece.create).await?;
        rows += connection.run(diesel::sql_query(piece.copy)).await?;
        progress(&RebuildProgress { rows, total_rows });
    }
    if rows != total_rows {
        let lost = total_rows.abs_diff(rows);
        return Err(Error::invalid("layout", format!("{lost} bars are on no day of the calendar")));
    }
    connection.batch(keys(target)).await?;
    for Statement { statement } in indexes {
        connection.batch(&statement).await?;
    }
    exchange(connection).await?;
    for Statement { statement } in statements {
        connection.batch(&statement).await?;
    }
    Ok(())
}

/// A part of the new table.
struct Piece {
    create: String,
    /// Fills it; by ticker, so that the bars of one lie together.
    copy: String,
}

fn pieces(target: &Target) -> Vec<Piece> {
    let like = format!("CREATE TABLE {NEW} (LIKE price_history INCLUDING ALL EXCLUDING INDEXES)");
    let copy = |into: &str, days: &str| {
        format!("INSERT INTO {into} SELECT * FROM price_history {days} ORDER BY ticker, date")
    };
    let years = match target {
        Target::Plain => return vec![Piece { create: like, copy: copy(NEW, "") }],
        Target::ByYear(years) => years.clone(),
    };
    let first = *years.start();
    let before = format!("price_history_before_{first:04}");
    let mut pieces = vec![Piece {
        create: format!(
            "{like} PARTITION BY RANGE (date);
             CREATE TABLE {before} PARTITION OF {NEW}
                 FOR VALUES FROM (MINVALUE) TO ('{first:04}-01-01 00:00:00Z');
             COMMENT ON TABLE {before} IS 'Price bars of the years before {first}'; {}",
            protected(&before)
        ),
        copy: copy(&before, &format!("WHERE date < '{first:04}-01-01 00:00:00Z'")),
    }];
    pieces.extend(years.map(|year| {
        let (name, next) = (partition_name(year), year + 1);
        let days = format!(
            "WHERE date >= '{year:04}-01-01 00:00:00Z' AND date < '{next:04}-01-01 00:00:00Z'"
        );
        Piece {
            create: format!(
                "CREATE TABLE {name} PARTITION OF {NEW} FOR VALUES {};
                 COMMENT ON TABLE {name} IS 'Price bars of {year}'; {}",
                bounds(year),
                protected(&name)
            ),
            copy: copy(&name, &days),
        }
    }));
    pieces
}

/// The keys, made when the rows are there, which is faster. Of partitions a key must contain what they are
/// partitioned by.
fn keys(target: &Target) -> &'static str {
    match target {
        Target::Plain => {
            "ALTER TABLE price_history_rebuilt
                 ADD CONSTRAINT price_history_rebuilt_pkey PRIMARY KEY (id),
                 ADD CONSTRAINT price_history_rebuilt_ticker_date_key UNIQUE (ticker, date)"
        }
        Target::ByYear(_) => {
            "ALTER TABLE price_history_rebuilt
                 ADD CONSTRAINT price_history_rebuilt_pkey PRIMARY KEY (id, date),
                 ADD CONSTRAINT price_history_rebuilt_ticker_date_key UNIQUE (ticker, date)"
        }
    }
}

/// The other indexes, also those that somebody has added, under names for the time until the exchange.
const INDEXES: &str = r"
    SELECT regexp_replace(pg_get_indexdef(i.indexrelid),
        'INDEX .* ON (ONLY )?\S+ USING ',
        format('INDEX %I ON price_history_rebuilt USING ', 'rebuilt_' || c.relname)) AS statement
    FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
    WHERE i.indrelid = 'price_history'::regclass
        AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = i.indexrelid)
    ORDER BY c.relname";

/// What gives the new table all other properties of the old one, run after the exchange.
const ATTRIBUTES: &str = "
    SELECT format('ALTER INDEX %I RENAME TO %I', 'rebuilt_' || c.relname, c.relname) AS statement
    FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
    WHERE i.indrelid = 'price_history'::regclass
        AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = i.indexrelid)
    UNION ALL
    SELECT format('COMMENT ON INDEX %I IS %L', c.relname, obj_description(c.oid, 'pg_class'))
    FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
    WHERE i.indrelid = 'price_history'::regclass
        AND obj_description(c.oid, 'pg_class') IS NOT NULL
    UNION ALL
    SELECT format('COMMENT ON TABLE price_history IS %L', obj_description(oid, 'pg_class'))
    FROM pg_class WHERE oid = 'price_history'::regclass
    UNION ALL
    SELECT pg_get_triggerdef(oid)
    FROM pg_trigger WHERE tgrelid = 'price_history'::regclass AND NOT tgisinternal
    UNION ALL
    SELECT format('GRANT %s ON price_history TO %s%s', a.privilege_type,
        CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END,
        CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' END)
    FROM pg_class c CROSS JOIN LATERAL aclexplode(c.relacl) a
    WHERE c.oid = 'price_history'::regclass AND a.grantee <> c.relowner
    UNION ALL
    SELECT format('ALTER TABLE price_history OWNER TO %I', pg_get_userbyid(relowner))
    FROM pg_class
    WHERE oid = 'price_history'::regclass AND pg_get_userbyid(relowner) <> current_user";

/// What would stay attached to the old table.
const DEPENDENTS: &str = "
    SELECT DISTINCT v.oid::regclass::text AS statement
    FROM pg_depend d
    JOIN pg_rewrite r ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
    JOIN pg_class v ON v.oid = r.ev_class
    WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = 'price_history'::regclass";

async fn refuse_dependents(connection: &PgConnection) -> Result<()> {
    let views: Vec<Statement> = connection.fetch_all(diesel::sql_query(DEPENDENTS)).await?;
    if views.is_empty() {
        return Ok(());
    }
    let names: Vec<String> = views.into_iter().map(|view| view.statement).collect();
    let names = names.join(", ");
    Err(Error::invalid(
        "layout",
        format!("views depend on price_history, drop them first: {names}"),
    ))
}

/// A partition that is half detached is read by nobody, but goes with the table.
async fn refuse_leaving(connection: &PgConnection) -> Result<()> {
    let query = "SELECT inhrelid::regclass::text AS statement FROM pg_inherits
                 WHERE inhparent = 'price_history'::regclass AND inhdetachpending";
    match connection.fetch_optional(diesel::sql_query(query)).await? {
        Some(Statement { statement }) => Err(Error::invalid(
            "layout",
            format!("{statement} is being detached, end that first: archive it again"),
        )),
        None => Ok(()),
    }
}

async fn count(connection: &PgConnection) -> Result<u64> {
    #[derive(QueryableByName)]
    struct Count {
        #[diesel(sql_type = BigInt)]
        count: i64,
    }
    let query = diesel::sql_query("SELECT count(*) FROM price_history");
    let count: Option<Count> = connection.fetch_optional(query).await?;
    Ok(count.map_or(0, |count| count.count.unsigned_abs()))
}

/// Puts the new table in the place of the old one.
async fn exchange(connection: &PgConnection) -> Result<()> {
    let lock = format!(
        "SAVEPOINT exchange; SET LOCAL lock_timeout = {};
         LOCK TABLE price_history IN ACCESS EXCLUSIVE MODE",
        EXCHANGE_TIMEOUT.as_millis()
    );
    let mut tries = 1;
    while let Err(error) = connection.batch(&lock).await {
        // A reader that wants to write waits for this transaction: after a while it gives up.
        let is_held = matches!(error, Error::Busy { .. } | Error::Retryable { .. });
        if !is_held || tries == EXCHANGE_TRIES {
            return Err(error);
        }
        connection.batch("ROLLBACK TO SAVEPOINT exchange").await?;
        tokio::time::sleep(EXCHANGE_PAUSE).await;
        tries += 1;
    }
    connection
        .batch(
            "DROP TABLE price_history;
             ALTER TABLE price_history_rebuilt RENAME TO price_history;
             ALTER INDEX price_history_rebuilt_pkey RENAME TO price_history_pkey;
             ALTER INDEX price_history_rebuilt_ticker_date_key
                 RENAME TO price_history_ticker_date_key",
        )
        .await
}
