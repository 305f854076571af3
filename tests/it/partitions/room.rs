//! Bars of days that the table has no room for.

use buffetbot_db::import::{CsvOptions, CsvSource, check_prices_csv, prices_from_csv};
use buffetbot_db::prices::{
    DeliveredBar, FloatBar, IngestOptions, NewPriceBar, PriceBarFilter, SuspectPolicy,
};
use buffetbot_db::store::{RejectedKind, UpsertReport};
use buffetbot_db::testing::TestDatabase;
use buffetbot_db::users::UserFilter;
use buffetbot_db::{Error, Repositories, Result, UnitOfWork};
use chrono::{Datelike, NaiveDate};
use futures_util::{StreamExt, stream};

use super::archive::Folder;
use super::{bar, day};
use crate::support::{parsed, user};

/// A table with partitions from 2000 to the present year, of which 2008 is archived; and the year after the last.
async fn with_an_archived_year(folder: &Folder) -> (TestDatabase, i32) {
    let db = TestDatabase::new().await.expect("a database");
    let partitions = db.price_partitions();
    partitions.partition_by_year(Some(2000), 0, |_| {}).await.expect("partitioned");
    db.prices().create(&bar("OLD", "2008-05-05", "1")).await.expect("stored");
    partitions.archive_year(2008, folder.file("2008.parquet")).await.expect("archived");
    let last = partitions.list().await.expect("partitions").pop().expect("one");
    (db, last.end.year())
}

const MISTYPED: [&str; 4] = ["0205-01-02", "2925-01-02", "9999-12-31", "2092-01-02"];

/// Good bars, with one of each bad day among them.
fn delivery(next_year: i32) -> Vec<NewPriceBar> {
    let next_year = format!("{next_year}-01-02");
    let mut days = vec!["2024-01-02", "2008-05-05", "2024-01-03", &next_year, "2024-01-04"];
    days.extend(MISTYPED);
    days.push("2024-01-05");
    days.into_iter().map(|day| bar("A", day, "10")).collect()
}

fn rejected(report: &UpsertReport) -> Vec<(usize, RejectedKind)> {
    assert!(report.rejected.iter().all(|rejected| rejected.field == "date"), "{report:?}");
    report.rejected.iter().map(|rejected| (rejected.index, rejected.kind)).collect()
}

/// What is rejected of a [`delivery`] where the table is partitioned.
const EXPECTED: [(usize, RejectedKind); 6] = [
    (1, RejectedKind::ArchivedYear),
    (3, RejectedKind::NoPartition),
    (5, RejectedKind::ImplausibleDay),
    (6, RejectedKind::ImplausibleDay),
    (7, RejectedKind::ImplausibleDay),
    (8, RejectedKind::ImplausibleDay),
];

fn streamed(bars: Vec<NewPriceBar>) -> stream::BoxStream<'static, Result<DeliveredBar>> {
    stream::iter(bars.into_iter().map(|bar| Ok(bar.into()))).boxed()
}

async fn clear(repositories: &impl Repositories) {
    let (first, last) = (NaiveDate::MIN, NaiveDate::MAX);
    repositories.prices().delete_range(&parsed("A"), first, last).await.expect("deleted");
}

/// By each of the ways in.
async fn deliver_each_way(repositories: &impl Repositories, next_year: i32) {
    let (prices, bars) = (repositories.prices(), delivery(next_year));
    let options = IngestOptions::new();
    let report = prices.upsert_many(&bars).await.expect("few");
    assert_eq!((rejected(&report), report.inserted), (EXPECTED.to_vec(), 4));
    assert_eq!(report.total(), bars.len() as u64);
    for (index, wanted) in [
        (0, "2008-05-05: 2008 is archived; PricePartitions::restore_year brings it back"),
        (1, "price_partitions().create_years("),
        (2, "0205-01-02: is the year mistyped?"),
    ] {
        assert!(report.rejected[index].reason.contains(wanted), "{}", report.rejected[index]);
    }
    let report = prices.upsert_many(&bars).await.expect("again");
    assert_eq!((rejected(&report), report.unchanged), (EXPECTED.to_vec(), 4));
    clear(repositories).await;

    let report = prices.copy_in(streamed(bars.clone()), &options).await.expect("a stream");
    assert_eq!((rejected(&report), report.inserted), (EXPECTED.to_vec(), 4));
    clear(repositories).await;

    let floats = bars.iter().map(|bar| FloatBar {
        ticker: bar.ticker.clone(),
        date: bar.date,
        open: None,
        high: None,
        low: None,
        close: 10.0,
        volume: None,
        adjusted_close: None,
        data_source: "floats".into(),
    });
    let floats = stream::iter(floats.map(|bar| Ok(DeliveredBar::from(bar)))).boxed();
    let report = prices.copy_in(floats, &options).await.expect("floats");
    assert_eq!((rejected(&report), report.inserted), (EXPECTED.to_vec(), 4));
    clear(repositories).await;

    let flag = IngestOptions::new().on_suspect(SuspectPolicy::Flag).max_jump(5.0);
    let report = prices.upsert_many_with(&bars, &flag).await.expect("flagged and judged");
    assert_eq!((rejected(&report), report.inserted), (EXPECTED.to_vec(), 4));
    clear(repositories).await;

    // More than one statement takes, and more than one chunk holds.
    for (good, tickers) in [(600, 10), (2_200, 10)] {
        let mut many: Vec<NewPriceBar> = (0..good * tickers)
            .map(|n| {
                let day = day("2018-01-01") + chrono::Days::new(n % good);
                NewPriceBar::new(parsed(&format!("M{}", n / good)), day, parsed("10"))
            })
            .collect();
        let at = many.len() - 1_000;
        many.splice(at..at, bars.clone());
        let report = prices.upsert_many(&many).await.expect("many");
        let shifted = EXPECTED.map(|(index, kind)| (index + at, kind));
        assert_eq!(rejected(&report), shifted);
        assert_eq!(report.total(), many.len() as u64);
        let report = prices.copy_in(streamed(many), &options).await.expect("a long stream");
        assert_eq!((rejected(&report), report.inserted), (shifted.to_vec(), 0));
    }
    clear(repositories).await;

    let fail = IngestOptions::new().on_suspect(SuspectPolicy::Fail);
    let failed = prices.upsert_many_with(&bars[..2], &fail).await;
    assert!(matches!(&failed, Err(Error::Item { index: 1, .. })), "{failed:?}");
    let failed = prices.copy_in(streamed(bars[..4].to_vec()), &fail).await;
    assert!(matches!(&failed, Err(Error::Item { index: 1, .. })), "{failed:?}");
    let failed = prices.create_many(&bars[..4]).await;
    match failed {
        Err(Error::Item { index: 1, source }) => {
            assert!(source.to_string().contains("2008 is archived"), "{source}");
        }
        other => panic!("{other:?}"),
    }
    let filter = PriceBarFilter::default().tickers(vec![parsed("A")]);
    assert_eq!(prices.count(&filter).await.expect("read"), 0);
}

#[tokio::test]
async fn b8_a_bar_without_room_is_rejected_alone() {
    let folder = Folder::new();
    let (db, next_year) = with_an_archived_year(&folder).await;
    deliver_each_way(&*db, next_year).await;
    one_by_one(&*db, next_year).await;
}

/// Why each bar of a [`delivery`] is refused; `""`: it is not.
const REASONS: [&str; 10] = [
    "",
    "2008 is archived",
    "",
    "no partition",
    "",
    "mistyped",
    "mistyped",
    "mistyped",
    "mistyped",
    "",
];

/// As all at once.
async fn one_by_one(repositories: &impl Repositories, next_year: i32) {
    for (bar, wanted) in delivery(next_year).iter().zip(REASONS) {
        let stored = repositories.prices().create(bar).await;
        let many = repositories.prices().create_many(std::slice::from_ref(bar)).await;
        match wanted {
            "" => drop(stored.expect("stored")),
            _ => {
                let alone = stored.expect_err("no room").to_string();
                assert!(alone.contains(wanted), "{alone}");
                match many {
                    Err(Error::Item { index: 0, source }) => assert_eq!(source.to_string(), alone),
                    other => panic!("{other:?}"),
                }
            }
        }
    }
}

#[tokio::test]
async fn b8_a_unit_of_work_is_told_why_a_bar_has_no_room() {
    let folder = Folder::new();
    let (db, next_year) = with_an_archived_year(&folder).await;
    let uow = db.begin().await.expect("a transaction");
    uow.prices().create(&bar("KEPT", "2024-01-02", "1")).await.expect("stored");
    for (bar, wanted) in delivery(next_year).iter().zip(REASONS) {
        if wanted.is_empty() {
            continue;
        }
        // Alone, in a savepoint, and beside a call that the error makes fail.
        let alone = uow
            .savepoint(async |uow: &UnitOfWork| uow.prices().create(bar).await.map(drop))
            .await
            .expect_err("no room")
            .to_string();
        let beside = uow
            .savepoint(async |uow: &UnitOfWork| {
                let count = async { uow.users().count(&UserFilter::default()).await.map(drop) };
                let create = async { uow.prices().create(bar).await.map(drop) };
                tokio::try_join!(create, count).map(drop)
            })
            .await
            .expect_err("no room")
            .to_string();
        assert!(alone.contains(wanted) && beside == alone, "{alone}; {beside}");
        let many = uow.prices().create_many(std::slice::from_ref(bar)).await;
        match many {
            Err(Error::Item { index: 0, source }) => assert_eq!(source.to_string(), alone),
            other => panic!("{other:?}"),
        }
    }
    uow.commit().await.expect("committed");
    let kept = db.prices().find_by_day(&parsed("KEPT"), day("2024-01-02")).await.expect("read");
    assert!(kept.is_some());
}

#[tokio::test]
async fn b8_each_layout_gives_one_answer_by_each_way() {
    let mut said = Vec::new();
    for partitioned in [false, true] {
        let db = TestDatabase::new().await.expect("a database");
        if partitioned {
            let partitions = db.price_partitions();
            partitions.partition_by_year(Some(2020), 1, |_| {}).await.expect("partitioned");
        }
        for mistyped in ["3024-01-02", "2150-01-02", "2060-01-02", "0204-01-02", "1500-01-02"] {
            let bars = [bar("A", mistyped, "1")];
            let prices = db.prices();
            let created = prices.create(&bars[0]).await;
            let Err(Error::Invalid { field, reason }) = created else { panic!("{created:?}") };
            assert!(field == "date" && reason.contains("mistyped"), "{mistyped}: {reason}");
            match prices.create_many(&bars).await {
                Err(Error::Item { index: 0, source }) => {
                    assert!(source.to_string().contains(&reason), "{source}");
                }
                other => panic!("{mistyped}: {other:?}"),
            }
            let options = IngestOptions::new();
            for report in [
                prices.upsert_many(&bars).await.expect("a report"),
                prices.copy_in(streamed(bars.to_vec()), &options).await.expect("a report"),
            ] {
                assert_eq!(rejected(&report), [(0, RejectedKind::ImplausibleDay)]);
                assert_eq!(report.rejected[0].reason, reason);
            }
            said.push((mistyped, reason));
        }
    }
    let (plain, by_year) = said.split_at(5);
    assert_eq!(plain, by_year);
}

#[tokio::test]
async fn b8_a_unit_of_work_goes_on_behind_a_bar_without_room() {
    let folder = Folder::new();
    let (db, next_year) = with_an_archived_year(&folder).await;
    let uow = db.begin().await.expect("a transaction");
    uow.prices().create(&bar("KEPT", "2024-01-02", "1")).await.expect("stored");
    deliver_each_way(&uow, next_year).await;
    uow.commit().await.expect("committed");
    let kept = db.prices().find_by_day(&parsed("KEPT"), day("2024-01-02")).await.expect("read");
    assert!(kept.is_some());
}

#[tokio::test]
async fn b8_a_users_deliveries_are_answered_alike() {
    let folder = Folder::new();
    let (db, next_year) = with_an_archived_year(&folder).await;
    db.create_roles().await.expect("roles");
    let ada = user(&*db, "ada@example.com").await;
    deliver_each_way(&db.as_user(ada.id), next_year).await;
}

#[tokio::test]
async fn b8_a_mistyped_year_is_rejected_by_either_layout() {
    for partitioned in [false, true] {
        let db = TestDatabase::new().await.expect("a database");
        if partitioned {
            let partitions = db.price_partitions();
            partitions.partition_by_year(None, 3, |_| {}).await.expect("partitioned");
        }
        let mut bars = vec![bar("A", "1602-09-01", "1"), bar("A", "2024-01-02", "1")];
        bars.extend(MISTYPED.map(|day| bar("A", day, "1")));
        bars.push(bar("A", "2024-01-03", "1"));
        for report in [
            db.prices().upsert_many(&bars).await.expect("stored"),
            db.prices()
                .copy_in(streamed(bars.clone()), &IngestOptions::new())
                .await
                .expect("stored"),
        ] {
            let expected = [2, 3, 4, 5].map(|index| (index, RejectedKind::ImplausibleDay));
            assert_eq!(rejected(&report), expected, "{partitioned}");
            assert_eq!(report.inserted + report.unchanged, 3, "{partitioned}");
        }
    }
}

#[tokio::test]
async fn b8_a_file_says_which_lines_have_no_room_and_why() {
    let folder = Folder::new();
    let (db, next_year) = with_an_archived_year(&folder).await;
    let text = format!(
        "ticker,date,close,dividend\n\
         A,2024-01-02,1,\n\
         A,2008-05-05,1,0.5\n\
         A,2925-01-02,1,0.5\n\
         A,{next_year}-01-02,1,\n\
         A,2092-01-02,1,0.5\n\
         A,2024-01-03,1,0.5\n"
    );
    let source = || CsvSource::reader(std::io::Cursor::new(text.clone().into_bytes()));
    for at_once in [true, false] {
        let uow = db.begin().await.expect("a transaction");
        let report = match at_once {
            true => prices_from_csv(&*db, source(), CsvOptions::new()).await,
            false => prices_from_csv(&uow, source(), CsvOptions::new()).await,
        };
        let report = report.expect("loaded");
        assert_eq!((report.inserted + report.unchanged, report.rejected_rows), (2, 4));
        let said: Vec<String> = report.rejected.iter().map(ToString::to_string).collect();
        for (said, wanted) in said.iter().zip([
            "line 3: date: 2008-05-05: 2008 is archived",
            "line 4: date: 2925-01-02: is the year mistyped?",
            "line 5: date: ",
            "line 6: date: 2092-01-02: is the year mistyped?",
        ]) {
            assert!(said.starts_with(wanted), "{said}, expected {wanted}");
        }
        assert!(said[2].contains("no partition holds"), "{}", said[2]);
        uow.commit().await.expect("committed");
    }
    // An archived year has dividends; a mistyped one has none.
    let (first, last) = (NaiveDate::MIN, NaiveDate::MAX);
    let actions = db.corporate_actions().for_ticker(&parsed("A"), first, last).await;
    let days: Vec<NaiveDate> = actions.expect("read").iter().map(|a| a.ex_day()).collect();
    assert_eq!(days, [day("2008-05-05"), day("2024-01-03")]);
    let checked = check_prices_csv(source(), CsvOptions::new()).await.expect("checked");
    assert_eq!(checked.rejected_rows, 1, "what a year has room for, only the database knows");
    assert_eq!(checked.rejected[0].line, 4);
}

#[tokio::test]
async fn b8_a_year_has_room_again() {
    let folder = Folder::new();
    let (db, next_year) = with_an_archived_year(&folder).await;
    let partitions = db.price_partitions();
    let bars = [bar("A", "2008-05-05", "1"), bar("A", &format!("{next_year}-01-02"), "1")];
    assert_eq!(db.prices().upsert_many(&bars).await.expect("none").rejected.len(), 2);
    partitions.create_years(next_year..=next_year).await.expect("made");
    let report = db.prices().upsert_many(&bars).await.expect("one");
    assert_eq!((report.inserted, rejected(&report)), (1, vec![(0, RejectedKind::ArchivedYear)]));
    partitions.restore_year(folder.file("2008.parquet")).await.expect("restored");
    let report = db.prices().upsert_many(&bars).await.expect("both");
    assert_eq!((report.inserted, report.unchanged), (1, 1));
    // Archived again, as it is now, into another file.
    let again = partitions.archive_year(2008, folder.file("again.parquet")).await;
    assert_eq!(again.expect("archived").rows, 2);
    let report = db.prices().upsert_many(&bars).await.expect("one");
    assert_eq!(rejected(&report), [(0, RejectedKind::ArchivedYear)]);
}
