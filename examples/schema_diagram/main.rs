//! Writes the generated parts of `docs/`: the entity diagram and the tables of columns and indexes.
//!
//! ```sh
//! cargo run --example schema_diagram
//! ```
//!
//! Everything comes from the catalog of a database that the migrations have just made. `dot` of
//! Graphviz draws the picture (`apt-get install graphviz`, `brew install graphviz`). A test compares
//! what is in the repository with the catalog, and names this program when they differ.

mod render;

use std::error::Error;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use buffetbot_db::testing::TestDatabase;
use tokio_postgres::NoTls;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let db = TestDatabase::new().await?;
    let (client, connection) = tokio_postgres::connect(db.url(), NoTls).await?;
    tokio::spawn(connection);
    let schema = render::Schema::read(&client).await?;

    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let dot = schema.dot();
    let drawing = tokio::task::spawn_blocking({
        let dot = dot.clone();
        move || draw(&dot)
    })
    .await??;
    let drawing = render::sign(&drawing, &dot).ok_or("dot wrote something else than SVG")?;
    std::fs::write(docs.join("schema.svg"), drawing)?;

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

/// Has Graphviz draw the diagram as SVG.
fn draw(dot: &str) -> Result<String, Box<dyn Error + Send + Sync>> {
    let mut child = Command::new("dot")
        .arg("-Tsvg")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("cannot run `dot`, which Graphviz provides: {error}"))?;
    // The drawing starts only after the whole text is read, so that neither side waits for the other.
    child.stdin.take().ok_or("no way into dot")?.write_all(dot.as_bytes())?;
    let output = child.wait_with_output()?;
    if !output.status.success() {
        return Err(format!("dot failed: {}", output.status).into());
    }
    Ok(String::from_utf8(output.stdout)?)
}
