//! What goes wrong meanwhile.

use std::sync::Arc;
use std::time::Duration;

use buffetbot_db::{Config, Database, Result};
use diesel_async::SimpleAsyncConnection;

use crate::ledger::{Ledger, again};

/// What it is called, what brings it on, how long it lasts, what ends it.
const FAULTS: [(&str, &str, u64, &str); 4] = [
    (
        "every connection is cut",
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
         WHERE datname = current_database() AND pid <> pg_backend_pid()",
        0,
        "",
    ),
    (
        "a table is locked",
        "BEGIN; LOCK TABLE price_history, positions IN SHARE MODE",
        700,
        "ROLLBACK",
    ),
    (
        "the server is read-only",
        "ALTER SYSTEM SET default_transaction_read_only = on",
        500,
        "SET transaction_read_only = off",
    ),
    (
        "half of the connections are cut",
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
         WHERE datname = current_database() AND pid <> pg_backend_pid() AND pid % 2 = 0",
        0,
        "",
    ),
];

const BETWEEN: Duration = Duration::from_millis(1_500);

/// One fault after another, until it is over; the last thing done is to mend everything.
pub async fn bring_on(admin: Config, ledger: Arc<Ledger>) -> Result<()> {
    let db = Database::connect(admin).await?;
    let mut n = 0;
    while !ledger.is_over() {
        ledger.set_fault("");
        tokio::time::sleep(BETWEEN).await;
        let (name, bad, lasts, good) = FAULTS[n % FAULTS.len()];
        n += 1;
        ledger.set_fault(name);
        // Other programs' faults hit this one, too.
        let Ok(connection) = db.connection().await else { continue };
        let run = async |sql: &str| connection.as_diesel().batch_execute(sql).await;
        if run(bad).await.is_err() {
            continue;
        }
        if bad.starts_with("ALTER SYSTEM") {
            let _ = run("SELECT pg_reload_conf()").await;
        }
        tokio::time::sleep(Duration::from_millis(lasts)).await;
        let _ = run(good).await;
        if bad.starts_with("ALTER SYSTEM") {
            again(|| mend(&db)).await?;
        }
    }
    ledger.set_fault("");
    again(|| mend(&db)).await
}

async fn mend(db: &Database) -> Result<()> {
    let connection = db.connection().await?;
    for sql in [
        "SET default_transaction_read_only = off",
        "ALTER SYSTEM RESET default_transaction_read_only",
        "SELECT pg_reload_conf()",
        "RESET default_transaction_read_only",
    ] {
        connection.as_diesel().batch_execute(sql).await?;
    }
    Ok(())
}
