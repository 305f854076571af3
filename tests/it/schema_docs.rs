//! The generated parts of `docs/` against the migrated catalog.

#[path = "../../examples/schema_diagram/render.rs"]
mod render;

#[path = "../../examples/schema_diagram/layout.rs"]
mod layout;

#[path = "../../examples/schema_diagram/drawing.rs"]
mod drawing;

mod legible;

use buffetbot_db::testing::TestDatabase;

use crate::catalog::connect;
use crate::support::repository;

const AGAIN: &str = "is out of date; run `cargo run -p buffetbot-db --example schema_diagram`";

fn read(path: &str) -> String {
    let path = repository(path);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

#[tokio::test]
async fn the_diagram_and_the_tables_are_those_of_the_catalog() {
    let db = TestDatabase::new().await.expect("a migrated database");
    let schema = render::Schema::read(&connect(&db).await).await.expect("the catalog");

    let picture = read("docs/schema.svg");
    let layout = layout::Layout::of(&schema).expect("a layout");
    assert!(picture == drawing::svg(&layout), "docs/schema.svg {AGAIN}");
    let page = read("docs/schema.md");
    for (name, generated) in
        [("columns", schema.column_tables()), ("indexes", schema.index_table())]
    {
        let current = render::replace_part(&page, name, &generated).expect(name);
        assert!(page == current, "{name} of docs/schema.md {AGAIN}");
    }
}

#[tokio::test]
async fn a_table_without_a_group_is_refused() {
    let db = TestDatabase::new().await.expect("a migrated database");
    let client = connect(&db).await;
    client.batch_execute("CREATE TABLE dividends_paid (id uuid)").await.expect("a table");
    let schema = render::Schema::read(&client).await.expect("the catalog");

    let error = layout::Layout::of(&schema).err().expect("an error");
    assert!(error.contains("table dividends_paid is in 0 groups"), "{error}");
    assert!(error.contains("GROUPS in examples/schema_diagram/layout.rs"), "{error}");
}

#[tokio::test]
async fn a_group_without_its_table_is_refused() {
    let db = TestDatabase::new().await.expect("a migrated database");
    let client = connect(&db).await;
    client.batch_execute("DROP TABLE swept_history").await.expect("a drop");
    let schema = render::Schema::read(&client).await.expect("the catalog");

    let error = layout::Layout::of(&schema).err().expect("an error");
    assert!(error.contains("no table swept_history"), "{error}");
}

#[test]
fn every_correction_is_explained() {
    let page = read("docs/schema.md");
    let folder = repository("migrations");
    for entry in std::fs::read_dir(folder).expect("the folder of migrations") {
        let directory = entry.expect("an entry").file_name().into_string().expect("a name");
        let (_, name) = directory.split_once('_').expect("<timestamp>_<verb>_<noun>");
        assert!(page.contains(&format!("`{name}`")), "docs/schema.md does not mention {name}");
    }
}
