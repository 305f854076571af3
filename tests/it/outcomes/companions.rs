//! Calls beside each other in one unit of work, of which one fails.

use crate::api::*;
use tokio::try_join;

use crate::support::{active, database, eventually, number, raw, somebody};

fn invalid() -> NewUser {
    NewUser { email: "no address".into(), ..somebody() }
}

#[tokio::test]
async fn b13_a_call_that_is_not_sent_harms_nothing() {
    let db = database(1).await;
    let unit = db.begin().await.unwrap();
    let mut made = 0;
    for _ in 0..3 {
        // In either order, prepared and not.
        let (one, two, wrong) = (somebody(), somebody(), invalid());
        let users = unit.users();
        let both = try_join!(users.create(&one), users.create(&wrong));
        assert!(matches!(both, Err(Error::Invalid { .. })), "{both:?}");
        let both = try_join!(users.create(&wrong), users.create(&two));
        assert!(matches!(both, Err(Error::Invalid { .. })), "{both:?}");
        made += 1 + i64::from(users.exists(two.id).await.unwrap());
        assert!(users.exists(one.id).await.unwrap(), "it was sent");
    }
    // What no column holds is seen when the statement is built; an empty selector when it is called.
    let many: Vec<_> = (0..3_000).map(|_| somebody()).collect();
    let two = try_join!(
        unit.users().create_many(&many),
        async { unit.users().find_by_username("\0").await.map(drop) },
        async { unit.analyses().invalidate(&AnalysisSelector::default()).await.map(drop) },
    );
    assert!(matches!(two, Err(Error::Invalid { .. })), "{two:?}");
    let found = unit.users().count(&UserFilter::default()).await.unwrap();
    unit.commit().await.unwrap();
    let stored = db.users().count(&UserFilter::default()).await.unwrap();
    assert_eq!(stored, found);
    assert_eq!(
        i64::try_from(stored).unwrap() % 3_000,
        made,
        "the batch is there whole or not at all"
    );
}

#[tokio::test]
async fn b13_what_is_not_found_or_refused_beside_others_does_not_cost_the_unit() {
    let db = database(1).await;
    let taken = db.users().create(&somebody()).await.unwrap();
    let unit = db.begin().await.unwrap();
    for _ in 0..2 {
        let one = somebody();
        let both = try_join!(unit.users().verify(UserId::generate()), unit.users().create(&one));
        assert!(matches!(both, Err(Error::NotFound { .. })), "{both:?}");
        assert!(unit.users().exists(one.id).await.unwrap());
    }
    let again = NewUser { email: taken.email.clone(), ..somebody() };
    let undone = unit
        .savepoint(async |unit: &UnitOfWork| {
            let (one, users) = (somebody(), unit.users());
            try_join!(users.create(&again), users.create(&one)).map(drop)
        })
        .await;
    assert!(matches!(undone, Err(Error::Conflict { .. })), "{undone:?}");
    unit.users().create(&somebody()).await.unwrap();
    unit.commit().await.unwrap();
    assert_eq!(db.users().count(&UserFilter::default()).await.unwrap(), 4);
}

#[tokio::test]
async fn b13_a_call_that_is_dropped_in_flight_ends_the_unit_and_is_named() {
    let db = database(1).await;
    let observer = raw(db.url()).await;
    let unit = db.begin().await.unwrap();
    unit.users().create(&somebody()).await.unwrap();
    let locker = raw(db.url()).await;
    locker.batch_execute("BEGIN; LOCK TABLE portfolios").await.unwrap();
    {
        let all = PortfolioFilter::default();
        let mut waits = std::pin::pin!(unit.portfolios().count(&all));
        tokio::select! {
            biased;
            got = waits.as_mut() => panic!("{got:?}"),
            () = eventually("it waits", async || active(&observer).await > 1) => {}
        }
    }
    locker.batch_execute("ROLLBACK").await.unwrap();
    let ended =
        |error: &Error| matches!(error, Error::Ended { reason } if reason.contains("dropped"));
    let error = unit.users().count(&UserFilter::default()).await.unwrap_err();
    assert!(ended(&error), "{error:?}");
    let error = unit.users().create_many(&[somebody(), somebody()]).await.unwrap_err();
    assert!(ended(&error), "{error:?}");
    let error = unit.connection().await.err().unwrap();
    assert!(ended(&error), "{error:?}");
    let error = unit.commit().await.unwrap_err();
    assert!(ended(&error), "{error:?}");
    let connection = db.connection().await.unwrap();
    assert_eq!(number(&connection, "SELECT count(*) AS n FROM users").await.unwrap(), 0);
}
