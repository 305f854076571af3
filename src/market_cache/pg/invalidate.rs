//! Letting entries expire before their time.

use diesel::pg::Pg;
use diesel::query_builder::{BoxedSqlQuery, SqlQuery};
use diesel::sql_types::{Jsonb, Nullable, Text};

use crate::error::{Error, Result};
use crate::market_cache::key::CacheSelector;
use crate::store::Session;
use crate::types::is_ticker;

/// Which leases those of the selector are. A lease does not know the tags of what is being fetched: where
/// the key has an entry, that entry's tags decide; where it has none, a fetch under way may be of any.
const LEASES: &str = "
    WITH doomed AS MATERIALIZED (
        SELECT l.ticker, l.name, l.parameters_key FROM cache_leases l
        WHERE l.space = 'market_data' AND l.portfolio_id IS NULL";
const LEASE_OF_TAG: &str = " AND COALESCE((
            SELECT c.tags @> ARRAY[$]::TEXT[] FROM market_data_cache c
            WHERE c.ticker = l.ticker AND c.data_type = l.name AND c.parameters_key = l.parameters_key
        ), l.token IS NOT NULL)";
const DELETE_LEASES: &str = r#"
        ORDER BY l.ticker COLLATE "C", l.name COLLATE "C", l.parameters_key FOR UPDATE
    )
    DELETE FROM cache_leases l USING doomed
    WHERE l.ticker = doomed.ticker AND l.name = doomed.name
        AND l.parameters_key = doomed.parameters_key AND l.space = 'market_data'
        AND l.portfolio_id IS NULL"#;

/// No key finds an invalid ticker or type, from before the table's checks, and a check would refuse its row.
fn entries() -> String {
    let is_ticker = is_ticker("c.ticker");
    format!(
        "
    WITH doomed AS MATERIALIZED (
        SELECT c.id, c.ticker FROM market_data_cache c
        WHERE GREATEST(c.expires_at, c.stale_until) > now() AND is_line(c.data_type) AND {is_ticker}"
    )
}

/// What the index holds stands in the text: the planner does not conclude it from `@>`.
const ENTRY_OF_TAG: &str = " AND c.tags @> ARRAY[$]::TEXT[] AND c.tags <> '{}'";
/// `expires_at > cached_at` is a CHECK, and what the same transaction has put was cached at this very
/// `now()`: it is dated back by the smallest step of the clock, and what is dated before all calendars, forth. Tags from
/// before their check, which would refuse the row, go. The rows are locked in the order in which batches write them.
const EXPIRE_ENTRIES: &str = r#"
        ORDER BY c.ticker COLLATE "C", c.data_type COLLATE "C", c.parameters_key FOR NO KEY UPDATE
    )
    UPDATE market_data_cache c
    SET expires_at = LEAST(expires_at, now()), stale_until = NULL,
        cached_at = GREATEST(LEAST(cached_at, now() - INTERVAL '1 microsecond'), '0001-01-01Z'),
        tags = CASE WHEN are_lines(tags, 100) THEN tags ELSE '{}' END
    FROM doomed WHERE c.id = doomed.id AND c.ticker = doomed.ticker"#;

/// Two statements, so that the second sees what a fetch has stored that held its lease when the first
/// came to wait for it. A transaction that locks both locks leases before entries.
pub(super) async fn run(session: &Session, selector: &CacheSelector) -> Result<u64> {
    if *selector == CacheSelector::default() {
        let unnamed = Error::invalid("selector", "must name a ticker, type, tag or key");
        return Err(unnamed);
    }
    let leases = Matching::of(LEASES, LEASE_OF_TAG, ["l.ticker", "l.name", "l.parameters_key"]);
    let columns = ["c.ticker", "c.data_type", "c.parameters_key"];
    let entries = Matching::of(&entries(), ENTRY_OF_TAG, columns).parameters("c.parameters");
    let atomic = session.atomic().await?;
    atomic.run(leases.all(selector).sql(DELETE_LEASES)).await?;
    let expired = atomic.run(entries.all(selector).sql(EXPIRE_ENTRIES)).await?;
    atomic.commit().await?;
    Ok(expired)
}

type Statement<'a> = BoxedSqlQuery<'a, Pg, SqlQuery>;

/// A statement that grows by a condition for each part of a selector that is given: what is not asked
/// for is not in the text, so that also a plan for all arguments goes by an index.
struct Matching<'a> {
    statement: Statement<'a>,
    binds: usize,
    of_tag: &'static str,
    /// Columns of ticker, type and key of the parameters.
    columns: [&'static str; 3],
    /// Column of the parameters themselves, where there is one.
    parameters: Option<&'static str>,
}

impl<'a> Matching<'a> {
    fn of(head: &str, of_tag: &'static str, columns: [&'static str; 3]) -> Self {
        let statement = diesel::sql_query(head).into_boxed();
        Matching { statement, binds: 0, of_tag, columns, parameters: None }
    }

    fn parameters(self, column: &'static str) -> Self {
        Matching { parameters: Some(column), ..self }
    }

    /// The next placeholder.
    fn bind(&mut self) -> String {
        self.binds += 1;
        format!("${}", self.binds)
    }

    fn text(mut self, column: &str, value: &'a str) -> Self {
        let condition = format!(" AND {column} = {}", self.bind());
        self.statement = self.statement.sql(condition).bind::<Text, _>(value);
        self
    }

    fn all(mut self, selector: &'a CacheSelector) -> Statement<'a> {
        let [of_ticker, of_type, of_key] = self.columns;
        let key = selector.key.as_ref();
        for ticker in selector.ticker.iter().chain(key.map(|key| &key.ticker)) {
            self = self.text(of_ticker, ticker.as_str());
        }
        for data_type in selector.data_type.iter().chain(key.map(|key| &key.data_type)) {
            self = self.text(of_type, data_type.as_str());
        }
        if let Some(key) = key {
            let n = self.bind();
            let mut condition = format!(" AND {of_key} = cache_parameters_key({n}::JSONB)");
            if let Some(column) = self.parameters {
                condition += &format!(" AND {column} IS NOT DISTINCT FROM {n}::JSONB");
            }
            let parameters = key.parameters.as_ref();
            self.statement = self.statement.sql(condition).bind::<Nullable<Jsonb>, _>(parameters);
        }
        if let Some(tag) = &selector.tag {
            let condition = self.of_tag.replace('$', &self.bind());
            self.statement = self.statement.sql(condition).bind::<Text, _>(tag);
        }
        self.statement
    }
}
