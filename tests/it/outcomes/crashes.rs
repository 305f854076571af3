//! After a crash PostgreSQL gives ids that it had not written down to other transactions.

use super::*;

impl Bench {
    async fn crashes(&mut self) {
        self.server.kill();
        self.server.run().await;
        self.observer = raw(&self.server.url()).await;
    }

    /// Other transactions are committed, until this id is one of theirs.
    async fn takes_ids_up_to(&self, id: u64) {
        loop {
            let taken = "INSERT INTO taken DEFAULT VALUES RETURNING pg_current_xact_id()::text";
            let taken: String = self.observer.query_one(taken, &[]).await.unwrap().get(0);
            if taken.parse::<u64>().unwrap() >= id {
                return;
            }
        }
    }
}

fn id_of(receipt: &Receipt) -> u64 {
    receipt.to_string().split('.').nth(3).unwrap().parse().unwrap()
}

#[tokio::test]
async fn b12_an_id_that_another_transaction_took_over_is_not_believed() {
    let mut bench = Bench::with(|config| config.pool_size(2)).await;
    bench.observer.batch_execute("CREATE TABLE taken (id serial); CHECKPOINT").await.unwrap();
    let unit = bench.written().await;
    let receipt = unit.receipt().await.unwrap();
    bench.crashes().await;
    // The server may have lost all of it, the id too.
    assert_eq!(bench.db.outcome(&receipt).await.unwrap(), Outcome::Aborted);
    bench.takes_ids_up_to(id_of(&receipt)).await;
    let status = format!("SELECT pg_xact_status('{}')", id_of(&receipt));
    let status: String = bench.observer.query_one(&status, &[]).await.unwrap().get(0);
    let outcome = bench.db.outcome(&receipt).await.unwrap();
    match &*status {
        // It has been taken over: what it says is of another one.
        "committed" => assert!(matches!(outcome, Outcome::Unknowable { .. }), "{outcome:?}"),
        _ => assert_eq!(outcome, Outcome::Aborted),
    }
    assert_eq!(status, "committed", "otherwise the test proves nothing");
    drop(unit);
    assert_eq!(bench.users().await, 0);
}

#[tokio::test]
async fn b12_an_id_that_was_written_down_is_believed_after_a_crash() {
    let mut bench = Bench::start().await;
    bench.observer.batch_execute("CREATE TABLE taken (id serial)").await.unwrap();
    let unit = bench.written().await;
    // Another commit writes the log down up to here.
    bench.takes_ids_up_to(0).await;
    unit.receipt().await.expect("it has written");
    bench.cut("; COMMIT", Cut::Behind);
    let receipt = receipt_of(unit.commit().await.unwrap_err());
    bench.crashes().await;
    assert_eq!(bench.db.outcome(&receipt).await.unwrap(), Outcome::Committed);
    assert_eq!(bench.users().await, 1);
}

#[tokio::test]
async fn a_clean_restart_loses_nothing() {
    let mut bench = Bench::start().await;
    let receipt = bench.committed(Cut::Behind).await;
    bench.server.signal("INT");
    eventually("it has ended", async || bench.observer.query("SELECT 1", &[]).await.is_err()).await;
    bench.server.run().await;
    assert_eq!(bench.db.outcome(&receipt).await.unwrap(), Outcome::Committed);
}
