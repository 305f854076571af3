//! The bars of a ticker's days, by one walk through the key (ticker, date).
//!
//! A plan that is kept for all arguments knows neither the days nor how many bars they have: the server takes any range for
//! 0.5 % of the table. As one would write it, `ticker = $1 AND date >= $2 AND date < $3 ORDER BY date`, it then holds the
//! index (date, ticker) for the cheaper one, because bars are stored by bands of days, and walks through these days of all
//! tickers. Here the key alone fits:
//!
//! - `ticker = ANY (ARRAY[$1])`: from `=` the server would conclude that all bars have one ticker, and that an order by day is
//!   one by ticker and day. Not `ANY ($1)`: an array that is bound is taken for ten tickers, and a plan for so many is costly
//!   enough that, of a table by year, each read would be planned again.
//! - `ORDER BY ticker, date` is the order of the key, and of no other index.
//! - A limit that is not known when the plan is made is taken for a tenth of the rows. So few come sooner from an index that
//!   has the order than from a sort.
//!
//! The days stay conditions of their own: by them partitions are left out, and the walk ends after the last day. A comparison
//! of rows, `(ticker, date) < ($1, $3)`, would fit the key alone, too, but leaves out no partition and does not end the walk
//! before the ticker's last bar.

use chrono::{DateTime, Utc};
use diesel::dsl::{AsExprOf, AsSelect, sql};
use diesel::expression::{SqlLiteral, UncheckedBind};
use diesel::pg::Pg;
use diesel::prelude::{ExpressionMethods, QueryDsl};
use diesel::query_builder::{AstPass, Query, QueryFragment};
use diesel::result::QueryResult;
use diesel::sql_types::{Array, BigInt, Bool, Text, Timestamptz};

use crate::prices::bars::PriceBar;
use crate::schema::price_history;
use crate::types::Ticker;

/// From the first of two times up to the second, which is not included.
pub(crate) type Times = (DateTime<Utc>, DateTime<Utc>);

/// A limit that limits nothing.
const MOST: i64 = i64::MAX;

/// The columns of a [`PriceBar`], in the order of its fields.
pub(crate) const COLUMNS: &str =
    "id, ticker, date, open_price, high_price, low_price, close_price, volume, adjusted_close,
    data_source, created_at, is_suspect, corrected_at";

type IsOf<'a> = SqlLiteral<Bool, UncheckedBind<SqlLiteral<Bool>, AsExprOf<&'a Ticker, Text>>>;

/// The condition that bars are of this ticker, for a query in the order of ticker and day, or in its reverse.
pub(crate) fn is_of(ticker: &Ticker) -> IsOf<'_> {
    sql::<Bool>("price_history.ticker = ANY (ARRAY[").bind::<Text, _>(ticker).sql("])")
}

/// The ticker's bars of these times, by rising day.
pub(crate) fn between(ticker: &Ticker, (from, until): Times) -> price_history::BoxedQuery<'_, Pg> {
    price_history::table
        .into_boxed()
        .filter(is_of(ticker))
        .filter(price_history::date.ge(from))
        .filter(price_history::date.lt(until))
        .order((price_history::ticker, price_history::date))
        .limit(MOST)
}

/// How many bars a query has that is restricted by [`is_of`]. They are counted in order, as the bare count would need none.
pub(crate) fn counted(
    bars: price_history::BoxedQuery<'_, Pg>,
) -> impl Query<SqlType = BigInt> + QueryFragment<Pg> {
    let by_key = (price_history::ticker, price_history::date);
    Counted(bars.select(price_history::date).order(by_key).limit(MOST))
}

struct Counted<Q>(Q);

impl<Q: Query> Query for Counted<Q> {
    type SqlType = BigInt;
}

impl<Q: QueryFragment<Pg>> QueryFragment<Pg> for Counted<Q> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("SELECT count(*) FROM (");
        self.0.walk_ast(out.reborrow())?;
        out.push_sql(") AS counted");
        Ok(())
    }
}

/// These columns of a ticker's bars, by rising day, as SQL; the ticker and the times are placeholders, literals, or columns
/// of what it is joined to. Here the limit is hidden in a query of its own, also from plans that are made for one execution: these
/// would sort the bars of many days.
pub(crate) fn rising(columns: &str, ticker: &str, from: &str, until: &str) -> String {
    let bars = of(columns, ticker, from, until);
    format!("{bars} ORDER BY ticker, date LIMIT (SELECT {MOST})")
}

/// The last of a ticker's bars of some times, as SQL.
pub(crate) fn last(columns: &str, ticker: &str, from: &str, until: &str) -> String {
    let bars = of(columns, ticker, from, until);
    format!("{bars} ORDER BY ticker DESC, date DESC LIMIT 1")
}

fn of(columns: &str, ticker: &str, from: &str, until: &str) -> String {
    format!(
        "SELECT {columns} FROM price_history
        WHERE ticker = ANY (ARRAY[{ticker}]) AND date >= {from} AND date < {until}"
    )
}

/// The bars of each of some tickers, one ticker after the other in the order of their bytes; `None` where there are no tickers.
/// One walk each, which needs no sort: that would have to read all bars first.
pub(crate) fn of_each(tickers: &[Ticker], (from, until): Times) -> Option<impl BarsQuery + use<>> {
    let tickers = each_once(tickers);
    if tickers.is_empty() {
        return None;
    }
    let bars = rising(COLUMNS, "wanted.symbol", "$2", "$3");
    let statement = format!(
        "SELECT bar.* FROM unnest($1::text[]) AS wanted (symbol) CROSS JOIN LATERAL ({bars}) AS bar"
    );
    let statement = diesel::sql_query(statement)
        .bind::<Array<Text>, _>(tickers)
        .bind::<Timestamptz, _>(from)
        .bind::<Timestamptz, _>(until);
    Some(ByPlace(statement))
}

/// A query for whole bars.
pub(crate) trait BarsQuery:
    Query<SqlType = AsSelect<PriceBar, Pg>> + QueryFragment<Pg>
{
}
impl<Q: Query<SqlType = AsSelect<PriceBar, Pg>> + QueryFragment<Pg>> BarsQuery for Q {}

/// A statement of [`COLUMNS`], which are taken by their places: a name would be looked for in each row.
struct ByPlace<Q>(Q);

impl<Q> Query for ByPlace<Q> {
    type SqlType = AsSelect<PriceBar, Pg>;
}

impl<Q: QueryFragment<Pg>> QueryFragment<Pg> for ByPlace<Q> {
    fn walk_ast<'b>(&'b self, out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        self.0.walk_ast(out)
    }
}

/// The tickers in the order of their bytes.
pub(crate) fn each_once(tickers: &[Ticker]) -> Vec<Ticker> {
    let mut tickers = tickers.to_vec();
    tickers.sort_unstable();
    tickers.dedup();
    tickers
}
