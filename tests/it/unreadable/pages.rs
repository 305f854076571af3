//! B7: pages go past rows that cannot be read, whichever of their values it is, and name them.

use std::collections::BTreeSet;

use crate::api::*;

use super::other_program;
use crate::cancellation::every_method::Given;
use crate::support::{database, parsed};

/// Reads a list in pages of several sizes: all rows come once, the unreadable ones as such.
async fn check<T>(
    table: &str,
    all: &BTreeSet<String>,
    bad: &BTreeSet<String>,
    fetch: impl AsyncFn(PageRequest) -> Result<Page<T>>,
    id: impl Fn(&T) -> String,
) {
    for size in [1, 2, 3, 100] {
        let (mut read, mut unreadable) = (Vec::new(), Vec::new());
        let mut request = PageRequest::first(size);
        loop {
            let page = fetch(request).await.expect(table);
            assert!(page.items.len() + page.unreadable.len() <= size as usize);
            read.extend(page.items.iter().map(&id));
            for row in page.unreadable {
                assert_eq!(row.table, table);
                assert!(row.column != "?" && !row.reason.is_empty(), "{row:?}");
                unreadable.push(row.key);
            }
            let Some(next) = page.next else { break };
            // As in a link.
            request = PageRequest::after(size, next.to_string().parse().expect("a cursor"));
        }
        assert_eq!(read.len() + unreadable.len(), all.len(), "{table}: none twice");
        assert_eq!(unreadable.into_iter().collect::<BTreeSet<_>>(), *bad, "{table}");
        let read: BTreeSet<String> = read.into_iter().collect();
        assert_eq!(read, all.difference(bad).cloned().collect(), "{table}");
    }
}

#[tokio::test]
async fn b7_every_page_goes_past_rows_that_cannot_be_read() {
    let db = database(3).await;
    let given = Given::new(&db).await;
    for _ in 0..2 {
        db.users().create_many(&given.users()).await.expect("users");
        db.portfolios().create_many(&given.portfolios()).await.expect("portfolios");
        db.positions().create_many(&given.positions()).await.expect("positions");
        db.analyses().create_many(&given.analyses()).await.expect("analyses");
        db.market_cache().create_many(&given.entries()).await.expect("entries");
        db.corporate_actions().create_many(&given.actions()).await.expect("actions");
        db.prices().create_many(&given.bars()).await.expect("bars");
        db.options().create_many(&given.quotes()).await.expect("quotes");
    }
    let other = other_program(&db).await;
    // Of each table: the first and the last place of the list, one in the middle by another column, one beyond chrono.
    let tables = [
        ("users", "created_at", "preferences = '{'"),
        ("portfolios", "created_at", "risk_tolerance = 'none'"),
        ("positions", "created_at", "ticker = chr(7) || substr(id::text, 1, 8)"),
        ("analysis_results", "calculated_at", "updated_at = 'infinity'"),
        ("market_data_cache", "cached_at", "stale_until = 'infinity'"),
        ("corporate_actions", "ex_date", "amount = NULL"),
        ("price_history", "date", "close_price = 'NaN'"),
        ("options_data", "fetch_timestamp", "option_type = 'x'"),
        ("audit_log", "recorded_at", "operation = 'none'"),
    ];
    let mut places = Vec::new();
    for (table, at, spoilt) in tables {
        let ids = format!(
            "SELECT id::text FROM {table} WHERE NOT '{}' = id::text ORDER BY {at} DESC, id DESC",
            given.user.id
        );
        let ids: Vec<String> =
            other.query(&ids, &[]).await.expect(table).iter().map(|row| row.get(0)).collect();
        let n = ids.len();
        for (index, change) in [
            (1, format!("{at} = 'infinity'")),
            (2, format!("{at} = '-infinity'")),
            (3, format!("{at} = '294276-01-01Z'")),
            (n / 2, spoilt.to_owned()),
            (n - 1, spoilt.to_owned()),
        ] {
            let change = format!("UPDATE {table} SET {change} WHERE id = '{}'", ids[index]);
            other.batch_execute(&change).await.expect(&change);
        }
        let bad: BTreeSet<String> =
            [1, 2, 3, n / 2, n - 1].iter().map(|index| ids[*index].clone()).collect();
        let mut all: BTreeSet<String> = ids.into_iter().collect();
        if table == "users" {
            all.insert(given.user.id.to_string());
        }
        places.push((table, all, bad));
    }
    macro_rules! pages {
        ($($n:literal $repository:ident $filter:ty;)*) => {$(
            let (table, all, bad) = &places[$n];
            check(table, all, bad, async |page| {
                db.$repository().list(&<$filter>::default(), &page).await
            }, |row| row.id.to_string())
            .await;
        )*};
    }
    pages! {
        0 users UserFilter;
        4 market_cache CacheFilter;
        5 corporate_actions CorporateActionFilter;
        6 prices PriceBarFilter;
        7 options OptionQuoteFilter;
        8 audit AuditFilter;
    }
    let (table, all, bad) = &places[1];
    check(
        table,
        all,
        bad,
        async |page| db.portfolios().list_for_user(given.user.id, Activity::Any, &page).await,
        |row: &Portfolio| row.id.to_string(),
    )
    .await;
    let (table, all, bad) = &places[2];
    check(
        table,
        all,
        bad,
        async |page| db.positions().list(given.portfolio.id, Activity::Any, &page).await,
        |row: &Position| row.id.to_string(),
    )
    .await;
    let (table, all, bad) = &places[3];
    let everything = AnalysisFilter::default().scope(AnalysisScope::All);
    check(
        table,
        all,
        bad,
        async |page| db.analyses().list(&everything, &page).await,
        |row: &AnalysisResult| row.id.to_string(),
    )
    .await;

    // One alone is an error, which names it.
    let (table, _, bad) = &places[6];
    let id: BarId = parsed(bad.first().expect("one"));
    let error = db.prices().find(id).await.expect_err("unreadable");
    assert!(
        matches!(&error, Error::Corrupt { table: t, key, .. } if t == table && *key == id.to_string()),
        "{error:?}"
    );
    assert!(error.to_string().contains(&id.to_string()), "{error}");
    // And can be taken away.
    assert!(db.prices().delete(id).await.expect("deleted"));
}
