//! The generated parts of `docs/` against the migrated catalog.

#[path = "../../examples/schema_diagram/render.rs"]
mod render;

use std::path::Path;

use buffetbot_db::testing::TestDatabase;

use crate::catalog::connect;

const AGAIN: &str = "is out of date; run `cargo run --example schema_diagram`";

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

#[tokio::test]
async fn the_diagram_and_the_tables_are_those_of_the_catalog() {
    let db = TestDatabase::new().await.expect("a migrated database");
    let schema = render::Schema::read(&connect(&db).await).await.expect("the catalog");

    let drawing = read("docs/schema.svg");
    assert!(drawing.contains(&render::signature(&schema.dot())), "docs/schema.svg {AGAIN}");
    let page = read("docs/schema.md");
    for (name, generated) in
        [("columns", schema.column_tables()), ("indexes", schema.index_table())]
    {
        let current = render::replace_part(&page, name, &generated).expect(name);
        assert!(page == current, "{name} of docs/schema.md {AGAIN}");
    }
}

#[test]
fn a_drawing_of_something_else_is_told() {
    let drawn = "digraph { users }\n";
    let signed = render::sign("<svg>\n</svg>\n", drawn).expect("a drawing");
    assert!(signed.contains(&render::signature(drawn)));
    assert!(!signed.contains(&render::signature("digraph { portfolios }\n")));
}

#[test]
fn every_correction_is_explained() {
    let page = read("docs/schema.md");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations");
    for entry in std::fs::read_dir(folder).expect("the folder of migrations") {
        let directory = entry.expect("an entry").file_name().into_string().expect("a name");
        let (_, name) = directory.split_once('_').expect("<timestamp>_<verb>_<noun>");
        assert!(page.contains(&format!("`{name}`")), "docs/schema.md does not mention {name}");
    }
}
