//! Writes the generated parts of `docs/`: the entity diagram and the tables of columns and indexes.
//!
//! ```sh
//! cargo run -p buffetbot-db --example schema_diagram
//! ```
//!
//! Everything comes from the catalog of a database that the migrations have just made. A test compares
//! what is in the repository with the catalog, and names this program when they differ.

mod drawing;
mod layout;
mod render;

use std::error::Error;
use std::path::Path;

use buffetbot_db::testing::TestDatabase;
use tokio_postgres::NoTls;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let db = TestDatabase::new().await?;
    let (client, connection) = tokio_postgres::connect(db.url(), NoTls).await?;
    tokio::spawn(connection);
    let schema = render::Schema::read(&client).await?;

    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let svg = drawing::svg(&layout::Layout::of(&schema)?);
    std::fs::write(docs.join("schema.svg"), svg)?;

    let page = docs.join("schema.md");
    let mut text = std::fs::read_to_string(&page)?;
    for (name, generated) in
        [("columns", schema.column_tables()), ("indexes", schema.index_table())]
    {
        text = render::replace_part(&text, name, &generated)
            .ok_or_else(|| format!("docs/schema.md has no part {name}"))?;
    }
    std::fs::write(&page, text)?;
    println!("wrote docs/schema.svg and the generated parts of docs/schema.md");
    Ok(())
}
