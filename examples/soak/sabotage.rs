//! What nobody may do behind the ledger's back.

use std::str::FromStr;

use buffetbot_db::{Config, Database, Result};

#[derive(Clone, Copy)]
pub enum Sabotage {
    /// A value is changed.
    Change,
    /// A row is there twice.
    Double,
    /// An entry of the audit log is gone.
    Unaudited,
}

impl FromStr for Sabotage {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "change" => Ok(Sabotage::Change),
            "double" => Ok(Sabotage::Double),
            "unaudited" => Ok(Sabotage::Unaudited),
            _ => Err("sabotage: change, double or unaudited".into()),
        }
    }
}

impl Sabotage {
    fn sql(self) -> &'static str {
        match self {
            Sabotage::Change => {
                "UPDATE price_history SET close_price = close_price + 1
                 WHERE id = (SELECT id FROM price_history WHERE ticker LIKE 'S%' LIMIT 1)"
            }
            Sabotage::Double => {
                "INSERT INTO analysis_results
                 SELECT (jsonb_populate_record(a, jsonb_build_object('id', gen_random_uuid()))).*
                 FROM analysis_results a LIMIT 1"
            }
            // The trigger that keeps entries would refuse it.
            Sabotage::Unaudited => {
                "BEGIN;
                 SET LOCAL session_replication_role = replica;
                 DELETE FROM audit_log WHERE id = (SELECT id FROM audit_log
                     WHERE table_name = 'positions' AND operation = 'insert' LIMIT 1);
                 COMMIT"
            }
        }
    }

    /// As the superuser of `admin`.
    pub async fn commit(self, admin: &Config) -> Result<()> {
        use diesel_async::SimpleAsyncConnection;

        let db = Database::connect_lazy(admin.clone().pool_size(1))?;
        let connection = db.connection().await?;
        Ok(connection.as_diesel().batch_execute(self.sql()).await?)
    }
}
