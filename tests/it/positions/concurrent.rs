//! Several writers at once.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn of_eight_adds_of_one_ticker_one_succeeds() {
    let db = TestDatabase::new().await.expect("a database");
    let core = core(&*db).await;
    let removed = hold(&*db, &core, "MSFT").await;
    db.positions().remove(core.id, removed.id).await.expect("removed");
    // The same race for a new row and for one that is to be revived.
    for ticker in ["AAPL", "MSFT"] {
        let tasks: Vec<_> = (1..=8)
            .map(|shares| {
                let (db, new) = ((*db).clone(), new(&core, ticker, &shares.to_string()));
                tokio::spawn(async move { db.positions().create(&new).await })
            })
            .collect();
        let mut added = Vec::new();
        for task in tasks {
            match task.await.expect("no panic") {
                Ok(position) => added.push(position),
                refused => assert_held(refused),
            }
        }
        assert_eq!(added.len(), 1, "{ticker}");
        let stored = db.positions().find_by_ticker(core.id, &parsed(ticker)).await.expect("read");
        assert_eq!(stored.as_ref(), added.first());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_eight_upserts_of_one_ticker_all_succeed() {
    let db = TestDatabase::new().await.expect("a database");
    let core = core(&*db).await;
    let tasks: Vec<_> = (1..=8)
        .map(|shares| {
            let (db, new) = ((*db).clone(), new(&core, "AAPL", &shares.to_string()));
            tokio::spawn(async move { db.positions().upsert(&new).await })
        })
        .collect();
    let mut ids = std::collections::HashSet::new();
    for task in tasks {
        ids.insert(task.await.expect("no panic").expect("upserted").id);
    }
    assert_eq!(ids.len(), 1);
    assert_eq!(db.positions().count(core.id, Activity::Any).await.expect("read"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_over_the_same_tickers_do_not_deadlock() {
    let db = TestDatabase::new().await.expect("a database");
    let core = core(&*db).await;
    let mut batch: Vec<_> = (0..800).map(|i| new(&core, &format!("T{i}"), "1")).collect();
    let mut tasks = Vec::new();
    for turn in 0..4 {
        batch.rotate_left(turn * 137);
        if turn % 2 == 1 {
            batch.reverse();
        }
        let (db, batch) = ((*db).clone(), batch.clone());
        tasks.push(tokio::spawn(async move { db.positions().create_many(&batch).await }));
    }
    let mut added = 0;
    for task in tasks {
        match task.await.expect("no panic") {
            Ok(positions) => added += positions.len(),
            Err(Error::Item { source, .. }) => {
                assert!(matches!(*source, Error::Conflict { .. }), "{source}");
            }
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!(added, 800);
}
