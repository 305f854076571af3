//! Where the examples that load files store them.

use buffetbot_db::{Config, Database, Result};

/// The configured database, else one of this program's own; migrated.
pub async fn open() -> Result<Database> {
    let is_set = |name: &&str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let db = if ["DATABASE_URL", "DB_HOST", "DB_NAME"].iter().any(is_set) {
        Database::connect(Config::from_env()?).await?
    } else {
        eprintln!("no DATABASE_URL: an embedded server, gone when the program ends");
        Database::ephemeral().await?
    };
    db.migrate().await?;
    Ok(db)
}
