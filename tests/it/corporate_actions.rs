//! Splits and dividends: every verb, on the pool and in a unit of work, and what prices become by them.

mod adjusting;
mod providers;

use buffetbot_db::Error;
use buffetbot_db::prices::{
    ActionKind, CorporateAction, CorporateActionFilter, CorporateActionPatch, NewCorporateAction,
};
use buffetbot_db::types::{CorporateActionId, CorporateActionType, PageRequest};
use chrono::NaiveDate;
use diesel_async::SimpleAsyncConnection;

use crate::support::handle::Handle;
use crate::support::plan::{Recorder, assert_index};
use crate::support::{every_page, parsed};

conformance! {
    what_is_written_is_read,
    a_day_has_one_action_of_a_kind,
    many_or_none,
    a_delivery_changes_what_differs,
    invalid_fields_are_refused_by_name,
    a_patch_changes_what_it_says,
    lists_reach_every_row_once,
    deletion_is_of_one,
}

fn day(text: &str) -> NaiveDate {
    parsed(text)
}

fn split(ticker: &str, on: &str, from: &str, to: &str) -> NewCorporateAction {
    NewCorporateAction::split(parsed(ticker), day(on), parsed(from), parsed(to))
}

fn dividend(ticker: &str, on: &str, amount: &str) -> NewCorporateAction {
    NewCorporateAction::dividend(parsed(ticker), day(on), parsed(amount))
}

async fn all(handle: &impl Handle, ticker: &str) -> Vec<CorporateAction> {
    let (first, last) = (NaiveDate::MIN, NaiveDate::MAX);
    handle.corporate_actions().for_ticker(&parsed(ticker), first, last).await.expect("read").items
}

async fn what_is_written_is_read(handle: &impl Handle) {
    let actions = handle.corporate_actions();
    let new = split(" aapl ", "2014-06-09", "1", "7").data_source("Börse");
    let made = actions.create(&new).await.expect("stored");
    assert_eq!((made.ticker.as_str(), made.ex_day()), ("AAPL", day("2014-06-09")));
    assert_eq!((&made.kind, made.data_source.as_deref()), (&new.kind, Some("Börse")));
    let paid = actions.create(&dividend("AAPL", "2014-06-09", "0.0000000001")).await;
    let paid = paid.expect("stored");
    assert_eq!(paid.kind.action_type(), CorporateActionType::Dividend);

    assert_eq!(actions.find(made.id).await.expect("read"), Some(made.clone()));
    assert!(actions.exists(made.id).await.expect("read"));
    // Of one day the dividend first.
    assert_eq!(all(handle, "AAPL").await, [paid, made.clone()]);
    let range = actions.for_ticker(&made.ticker, day("2014-06-10"), NaiveDate::MAX).await;
    assert_eq!(range.expect("read"), []);

    let text = serde_json::to_string(&made).expect("JSON");
    assert_eq!(serde_json::from_str::<CorporateAction>(&text).expect("an action"), made);
    let text = serde_json::to_string(&new).expect("JSON");
    assert_eq!(serde_json::from_str::<NewCorporateAction>(&text).expect("an action"), new);
}

fn assert_taken<T: std::fmt::Debug>(result: Result<T, Error>) {
    match result {
        Err(Error::Conflict { constraint, .. }) => {
            assert_eq!(constraint, "corporate_actions_ticker_date_type_key");
        }
        other => panic!("expected a conflict: {other:?}"),
    }
}

async fn a_day_has_one_action_of_a_kind(handle: &impl Handle) {
    let actions = handle.corporate_actions();
    actions.create(&dividend("A", "2024-01-02", "1")).await.expect("stored");
    let again = dividend("A", "2024-01-02", "2");
    assert_taken(handle.attempt(async { actions.create(&again).await }).await);
    let other = actions.create(&split("A", "2024-01-02", "1", "2")).await.expect("another kind");
    let patch = CorporateActionPatch::default().kind(again.kind);
    assert_taken(handle.attempt(async { actions.update(other.id, &patch).await }).await);
}

async fn many_or_none(handle: &impl Handle) {
    let actions = handle.corporate_actions();
    let new = [split("B", "2024-01-03", "10", "1"), dividend("A", "2024-01-02", "1")];
    let made = actions.create_many(&new).await.expect("stored");
    let kinds: Vec<_> = made.iter().map(|action| &action.kind).collect();
    assert_eq!(kinds, [&new[0].kind, &new[1].kind]);
    let more = [dividend("C", "2024-01-02", "1"), dividend("A", "2024-01-02", "3")];
    let failed = handle.attempt(async { actions.create_many(&more).await }).await;
    assert!(matches!(&failed, Err(Error::Item { index: 1, .. })), "{failed:?}");
    assert_eq!(all(handle, "C").await, []);
}

async fn a_delivery_changes_what_differs(handle: &impl Handle) {
    let actions = handle.corporate_actions();
    let first = [dividend("A", "2024-01-02", "1"), split("A", "2024-01-02", "1", "2")];
    let report = actions.upsert_many(&first).await.expect("stored");
    assert_eq!((report.inserted, report.updated, report.unchanged), (2, 0, 0));
    let before = all(handle, "A").await;

    let long = "x".repeat(51);
    let second = [
        dividend("A", "2024-01-02", "1.000"),
        dividend("B", "2024-01-02", "7"),
        split("A", "2024-01-02", "1", "3"),
        dividend("C", "2024-01-02", "1").data_source(long),
        dividend("B", "2024-01-02", "8"),
    ];
    let report = actions.upsert_many(&second).await.expect("stored");
    assert_eq!((report.inserted, report.updated, report.unchanged), (1, 1, 1));
    assert_eq!((report.superseded, report.rejected.len()), (1, 1));
    assert_eq!(report.rejected[0].index, 3);
    let after = all(handle, "A").await;
    assert_eq!(after[0], before[0], "an equal one is not written");
    assert_eq!((after[1].id, &after[1].kind), (before[1].id, &second[2].kind));
    assert!(after[1].updated_at > before[1].updated_at);
    assert_eq!(all(handle, "B").await[0].kind, second[4].kind, "the last one counts");
    assert_eq!(all(handle, "C").await, []);
}

async fn invalid_fields_are_refused_by_name(handle: &impl Handle) {
    let actions = handle.corporate_actions();
    for (new, field) in [
        (dividend("A", "2024-01-02", "1").data_source("x".repeat(51)), "data_source"),
        (dividend("A", "0000-01-01", "1"), "ex_date"),
    ] {
        match actions.create(&new).await {
            Err(Error::Invalid { field: told, .. }) => assert_eq!(told, field),
            other => panic!("expected invalid {field}: {other:?}"),
        }
    }
    for text in ["0", "-1", "NaN", "12345678901"] {
        assert!(text.parse::<buffetbot_db::types::SplitShares>().is_err(), "{text}");
        assert!(text.parse::<buffetbot_db::types::DividendAmount>().is_err(), "{text}");
    }
}

async fn a_patch_changes_what_it_says(handle: &impl Handle) {
    let actions = handle.corporate_actions();
    let made = actions.create(&dividend("A", "2024-01-02", "1")).await.expect("stored");
    let same = actions.update(made.id, &CorporateActionPatch::default()).await.expect("read");
    assert_eq!(same, made);
    let kind = ActionKind::Split { from: parsed("3"), to: parsed("2") };
    let patch = CorporateActionPatch::default().kind(kind.clone()).data_source(None);
    let changed = actions.update(made.id, &patch).await.expect("changed");
    assert_eq!((&changed.kind, &changed.data_source), (&kind, &None));
    assert!(changed.updated_at > made.updated_at && changed.created_at == made.created_at);
    let unknown = CorporateActionId::generate();
    for patch in [patch, CorporateActionPatch::default()] {
        let failed = actions.update(unknown, &patch).await;
        assert!(matches!(failed, Err(Error::NotFound { .. })), "{failed:?}");
    }
    let text = r#"{"data_source": null}"#;
    let patch: CorporateActionPatch = serde_json::from_str(text).expect("a patch");
    assert_eq!(patch, CorporateActionPatch::default().data_source(None));
}

async fn lists_reach_every_row_once(handle: &impl Handle) {
    let actions = handle.corporate_actions();
    let days = ["2024-01-02", "2024-02-02", "2024-03-02", "2024-04-02"];
    let new: Vec<_> = days
        .iter()
        .flat_map(|on| ["A", "B", "C"].map(|ticker| dividend(ticker, on, "1")))
        .chain([split("A", "2024-02-02", "1", "2")])
        .collect();
    actions.create_many(&new).await.expect("stored");
    let filter = CorporateActionFilter::default();
    let pages = every_page(5, |page| {
        let (actions, filter) = (&actions, &filter);
        async move { actions.list(filter, &page).await }
    })
    .await;
    assert_eq!(pages.len(), 13);
    assert!(pages.windows(2).all(|pair| pair[0].ex_date >= pair[1].ex_date));
    assert_eq!(actions.count(&filter).await.expect("counted"), 13);

    let count = async |filter: CorporateActionFilter| {
        let listed = actions.list(&filter, &PageRequest::first(50)).await.expect("read");
        let counted = actions.count(&filter).await.expect("counted");
        assert_eq!(listed.items.len() as u64, counted);
        counted
    };
    let all = CorporateActionFilter::default();
    let of = |tickers: &[&str]| -> Vec<buffetbot_db::types::Ticker> {
        tickers.iter().map(|t| parsed(t)).collect()
    };
    assert_eq!(count(all.clone().tickers(of(&["A"]))).await, 5);
    assert_eq!(count(all.clone().tickers(of(&["A", "C"]))).await, 9);
    assert_eq!(count(all.clone().tickers(of(&[]))).await, 0);
    let splits = all.clone().action_type(CorporateActionType::Split);
    assert_eq!(count(splits).await, 1);
    let (from, to) = (day("2024-02-02"), day("2024-03-02"));
    assert_eq!(count(all.from(from).to(to)).await, 7);
}

async fn deletion_is_of_one(handle: &impl Handle) {
    let actions = handle.corporate_actions();
    let made = actions.create(&dividend("A", "2024-01-02", "1")).await.expect("stored");
    assert!(actions.delete(made.id).await.expect("deleted"));
    assert!(!actions.delete(made.id).await.expect("there is none"));
    assert_eq!(actions.find(made.id).await.expect("read"), None);
    assert!(!actions.exists(made.id).await.expect("read"));
}

#[tokio::test]
async fn statements_have_their_indexes() {
    let (db, recorder) = Recorder::database().await;
    let connection = db.connection().await.expect("a connection");
    let seed = "INSERT INTO corporate_actions (id, ticker, ex_date, action_type, amount)
        SELECT gen_random_uuid(), 'T' || t, '2024-01-01Z'::timestamptz + d * interval '1 day', 'dividend', 1
        FROM generate_series(1, 100) t CROSS JOIN generate_series(0, 99) d;
        ANALYZE";
    connection.as_diesel().batch_execute(seed).await.expect("seeded");
    drop(connection);
    let actions = db.corporate_actions();
    let (table, key) = ("corporate_actions", "corporate_actions_ticker_date_type_key");
    recorder.take();
    let read = actions.for_ticker(&parsed("T7"), day("2024-02-01"), day("2024-02-10")).await;
    assert_eq!(read.expect("read").len(), 10);
    let arguments = ["'T7'", "'2024-02-01Z'", "'2024-02-11Z'"];
    assert_index(&db, &recorder.only(), &arguments, table, key).await;

    recorder.take();
    let page = PageRequest::first(20);
    let listed = actions.list(&CorporateActionFilter::default(), &page).await.expect("read");
    assert_eq!(listed.items.len(), 20);
    assert_index(&db, &recorder.only(), &["21"], table, "corporate_actions_ex_date_idx").await;
}
