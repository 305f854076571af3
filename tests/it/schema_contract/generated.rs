//! `src/schema.rs` against the migrated catalog, without the diesel command that generates it.

use std::collections::BTreeSet;

use buffetbot_db::testing::TestDatabase;

use crate::catalog::{connect, difference};

const SCHEMA: &str = include_str!("../../../src/schema.rs");

/// Tables that `schema.rs` leaves out, as `diesel.toml` says.
const LEFT_OUT: &str = r#"["__diesel_schema_migrations", "archived_price_years", "cache_changes", "cache_leases", "event_consumers", "events", "knowledge_points", "price_revisions", "swept_history"]"#;

/// A table as `schema.rs` declares it.
struct Table {
    name: &'static str,
    key: &'static str,
    columns: Vec<Column>,
}

/// A column as `schema.rs` declares it: `#[max_length = 32]` and `ticker -> Nullable<Varchar>`.
struct Column {
    name: &'static str,
    sql_type: &'static str,
    nullable: bool,
    max_length: Option<&'static str>,
}

/// Reads the `table!` blocks; the generator's layout is regular, one item a line.
fn declared() -> Vec<Table> {
    let mut tables = Vec::new();
    for block in SCHEMA.split("diesel::table! {").skip(1) {
        let mut lines = block.lines().map(str::trim).filter(|line| !line.starts_with("///"));
        let head = lines.find(|line| line.ends_with('{')).expect("head of a table");
        let (name, key) = head
            .strip_suffix(") {")
            .and_then(|head| head.split_once(" ("))
            .expect("a table's name and key");
        let (mut columns, mut max_length) = (Vec::new(), None);
        for line in lines.take_while(|line| *line != "}") {
            if let Some(length) = line.strip_prefix("#[max_length = ") {
                max_length = length.strip_suffix(']');
                continue;
            }
            let (name, declared) =
                line.strip_suffix(',').and_then(|l| l.split_once(" -> ")).expect(line);
            let inner = declared.strip_prefix("Nullable<").and_then(|t| t.strip_suffix('>'));
            columns.push(Column {
                name,
                sql_type: inner.unwrap_or(declared),
                nullable: inner.is_some(),
                max_length: max_length.take(),
            });
        }
        tables.push(Table { name, key, columns });
    }
    tables
}

/// The OID of the server's type that diesel means by a name of its own.
fn oid(sql_type: &str) -> u32 {
    use tokio_postgres::types::Type;
    match sql_type {
        "Array<Nullable<Text>>" => Type::TEXT_ARRAY,
        "Bool" => Type::BOOL,
        "Bytea" => Type::BYTEA,
        "Int4" => Type::INT4,
        "Int8" => Type::INT8,
        "Jsonb" => Type::JSONB,
        "Numeric" => Type::NUMERIC,
        "Text" => Type::TEXT,
        "Timestamptz" => Type::TIMESTAMPTZ,
        "Uuid" => Type::UUID,
        "Varchar" => Type::VARCHAR,
        other => panic!("schema.rs names the type {other}: say here which one it is"),
    }
    .oid()
}

#[tokio::test]
async fn schema_rs_is_what_the_migrated_catalog_says() {
    let settings = include_str!("../../../diesel.toml");
    assert!(settings.contains(&format!("except_tables = {LEFT_OUT}")), "{settings}");
    let left_out: Vec<String> = serde_json::from_str(LEFT_OUT).expect("a list of names");
    let db = TestDatabase::new().await.expect("a migrated database");
    let client = connect(&db).await;
    let catalog = client
        .query(
            "SELECT t.relname, a.attname, a.attnotnull, a.attnum,
                 CASE WHEN a.atttypid = 'varchar'::regtype THEN a.atttypmod - 4 END,
                 EXISTS (SELECT FROM pg_index x WHERE x.indrelid = t.oid AND x.indisprimary
                     AND a.attnum = ANY (x.indkey))
             FROM pg_attribute a JOIN pg_class t ON t.oid = a.attrelid
             WHERE t.relnamespace = 'public'::regnamespace AND t.relkind IN ('r', 'p')
                 AND a.attnum > 0 AND NOT a.attisdropped AND t.relname <> ALL ($1)",
            &[&left_out],
        )
        .await
        .expect("catalog query");
    let found: BTreeSet<String> = catalog
        .iter()
        .map(|row| {
            let (table, column): (&str, &str) = (row.get(0), row.get(1));
            let length: Option<i32> = row.get(4);
            let length = length.map(|length| length.to_string());
            describe(table, column, !row.get::<_, bool>(2), length.as_deref(), row.get(5))
        })
        .collect();

    let mut declared_columns = BTreeSet::new();
    for table in declared() {
        let list: Vec<&str> = table.columns.iter().map(|column| column.name).collect();
        let select = format!("SELECT {} FROM {}", list.join(", "), table.name);
        let statement = client.prepare(&select).await.unwrap_or_else(|e| panic!("{select}: {e:?}"));
        for (declared, served) in table.columns.iter().zip(statement.columns()) {
            let place = format!("{}.{}", table.name, declared.name);
            assert_eq!(served.name(), declared.name, "{place}");
            assert_eq!(served.type_().oid(), oid(declared.sql_type), "type of {place}");
            declared_columns.insert(describe(
                table.name,
                declared.name,
                declared.nullable,
                declared.max_length,
                table.key.split(", ").any(|key| key == declared.name),
            ));
        }
    }
    let wrong = difference(&found, &declared_columns);
    assert!(wrong.is_empty(), "schema.rs is out of date; run `diesel print-schema`:\n{wrong}");
}

fn describe(table: &str, column: &str, nullable: bool, length: Option<&str>, key: bool) -> String {
    format!("{table}.{column} nullable={nullable} max_length={length:?} key={key}")
}

#[tokio::test]
async fn schema_rs_joins_what_foreign_keys_join() {
    let db = TestDatabase::new().await.expect("a migrated database");
    let keys = connect(&db)
        .await
        .query(
            "SELECT k.conrelid::regclass::text, k.confrelid::regclass::text, a.attname
             FROM pg_constraint k
             JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = k.conkey[1]
             WHERE k.contype = 'f' AND k.connamespace = 'public'::regnamespace",
            &[],
        )
        .await
        .expect("catalog query");
    let found: BTreeSet<String> = keys
        .iter()
        .map(|row| {
            let (child, parent, column): (&str, &str, &str) = (row.get(0), row.get(1), row.get(2));
            format!("{child} -> {parent} ({column})")
        })
        .collect();
    let declared = SCHEMA
        .lines()
        .filter_map(|line| line.strip_prefix("diesel::joinable!(")?.strip_suffix(");"))
        .map(str::to_owned)
        .collect();
    let wrong = difference(&found, &declared);
    assert!(wrong.is_empty(), "schema.rs is out of date; run `diesel print-schema`:\n{wrong}");
}
