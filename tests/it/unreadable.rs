//! Rows that cannot be read: they hide no other (B7), and what a call wrote is known although it cannot be read (B6).

mod checks;
mod computed;
mod pages;
mod reading;
mod writing;

use buffetbot_db::testing::TestDatabase;
use tokio_postgres::Client;

use crate::support::raw;

/// Drops every check of every table: another program's rows are from a time before them.
const WITHOUT_CHECKS: &str = "
    DO $$ DECLARE c record; BEGIN
        FOR c IN SELECT conname, conrelid::regclass AS name FROM pg_constraint
            WHERE contype = 'c' AND conrelid <> 0 AND connamespace = 'public'::regnamespace
        LOOP EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', c.name, c.conname); END LOOP;
    END $$";

/// Another program, which no check and no trigger holds up.
async fn other_program(db: &TestDatabase) -> Client {
    let client = raw(db.url()).await;
    client.batch_execute(WITHOUT_CHECKS).await.expect("no checks");
    client.batch_execute("SET session_replication_role = replica").await.expect("no triggers");
    client
}
