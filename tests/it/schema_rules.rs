//! What the schema does by itself: the key of cached parameters, and `updated_at`.

use std::time::SystemTime;

use buffetbot_db::testing::TestDatabase;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use tokio_postgres::{Client, error::SqlState};

use crate::catalog::connect;
use crate::rows;

async fn client_of(db: &TestDatabase) -> Client {
    let client = connect(db).await;
    let samples = rows::insert_all() + &rows::insert_later();
    client.batch_execute(&samples).await.expect("the sample rows");
    client
}

#[tokio::test]
async fn equal_parameters_have_one_key_and_different_ones_have_two() {
    let db = TestDatabase::new().await.expect("a migrated database");
    let client = connect(&db).await;
    let documents = [
        "NULL",
        "'null'",
        "'{}'",
        "'[]'",
        "'\"\"'",
        "'0'",
        "'1'",
        "'1.0'",
        "'1.00'",
        "'10'",
        "'1e1'",
        "'-1'",
        "'\"1\"'",
        "'true'",
        "'[1, 23]'",
        "'[12, 3]'",
        "'[[1], 2]'",
        "'[[1, 2]]'",
        "'[1, [2]]'",
        r#"'{"a": 1, "b": 2}'"#,
        r#"'{"b": 2.0, "a": 1}'"#,
        r#"'{"a": 2, "b": 1}'"#,
        r#"'{"a": {"b": 1}, "c": 2}'"#,
        r#"'{"a": {"b": 1, "c": 2}}'"#,
        r#"'{"a1": 1}'"#,
        r#"'{"a": 11}'"#,
        r#"'{"a": null}'"#,
        r#"'{"a": "ü"}'"#,
        r#"'{"a": "u"}'"#,
    ];
    let list = documents.map(|document| format!("({document}::jsonb)")).join(", ");
    let wrong = client
        .query(
            &format!(
                "WITH d AS (SELECT row_number() OVER () AS n, p FROM (VALUES {list}) v(p))
                 SELECT COALESCE(a.p::text, 'NULL') || ' and ' || COALESCE(b.p::text, 'NULL')
                 FROM d a JOIN d b ON a.n < b.n
                 WHERE (a.p IS NOT DISTINCT FROM b.p)
                     <> (cache_parameters_key(a.p) = cache_parameters_key(b.p))"
            ),
            &[],
        )
        .await
        .expect("keys");
    let wrong: Vec<String> = wrong.iter().map(|row| row.get(0)).collect();
    assert!(wrong.is_empty(), "equal keys exactly for equal documents, but not: {wrong:?}");
}

/// Parameters of a request, and the same with one thing changed. What is changed may be how a number is spelled: then
/// they are equal still.
fn nearly_equal() -> impl Strategy<Value = (String, String)> {
    let number = prop_oneof![
        (-999_i32..999).prop_map(|n| n.to_string()),
        (-999_i32..999, 0_u32..100).prop_map(|(n, cents)| format!("{n}.{cents:02}")),
    ];
    let text = "[a-c01.\\\\\"]{0,4}".prop_map(|text| serde_json::Value::from(text).to_string());
    let scalar = prop_oneof![3 => number, 2 => text, 1 => Just("null".to_owned())];
    let spelled = |parts: &[String], shape: u8| match shape {
        0 => format!("[{}]", parts.join(",")),
        1 => format!("{{\"growth\":[{}],\"rate\":{}}}", parts[1..].join(","), parts[0]),
        _ => {
            let member = |(i, part): (usize, &String)| format!("\"p{i}\":{part}");
            format!("{{{}}}", parts.iter().enumerate().map(member).collect::<Vec<_>>().join(","))
        }
    };
    let parts = prop_oneof![
        proptest::collection::vec(scalar.clone(), 2..8),
        (scalar.clone(), 2..66_usize).prop_map(|(equal, count)| vec![equal; count]),
    ];
    (parts, 0..3_u8, 0..5_u8, scalar, any::<proptest::sample::Index>()).prop_map(
        move |(parts, shape, change, other, place)| {
            let mut changed = parts.clone();
            let at = place.index(parts.len());
            match change {
                0 => changed[at] = other,
                1 => changed.swap(at, 0),
                // Every element of an array of equal ones.
                2 => changed.fill(other),
                3 if changed[at].contains('.') && !changed[at].contains('"') => {
                    changed[at].push('0')
                }
                3 => drop(changed.remove(at)),
                _ => changed[at] = format!("[{}]", changed[at]),
            }
            if changed.is_empty() {
                changed.push("0".into());
            }
            (spelled(&parts, shape), spelled(&changed, shape))
        },
    )
}

#[tokio::test]
async fn c10_of_ten_thousand_pairs_those_have_one_key_that_are_equal() {
    let db = TestDatabase::new().await.expect("a migrated database");
    let client = connect(&db).await;
    let mut runner = TestRunner::deterministic();
    let pairs = proptest::collection::vec(nearly_equal(), 10_000);
    let pairs = pairs.new_tree(&mut runner).expect("pairs").current();
    let (one, other): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
    let sql = "SELECT a::text || ' and ' || b::text, a = b FROM unnest($1::text[], $2::text[]) p (one, other),
            CAST(one AS JSONB) a, CAST(other AS JSONB) b
        WHERE $3 OR (a = b) <> (cache_parameters_key(a) = cache_parameters_key(b))";
    let wrong = client.query(sql, &[&one, &other, &false]).await.expect("keys");
    let wrong: Vec<String> = wrong.iter().map(|row| row.get(0)).collect();
    assert!(wrong.is_empty(), "{} pairs, such as {}", wrong.len(), wrong[0]);
    let all = client.query(sql, &[&one, &other, &true]).await.expect("pairs");
    let equal = all.iter().filter(|row| row.get::<_, bool>(1)).count();
    assert!((500..9_000).contains(&equal), "{equal} of them are equal");
}

#[tokio::test]
async fn parameters_of_any_size_are_a_key() {
    let db = TestDatabase::new().await.expect("a migrated database");
    let client = client_of(&db).await;
    // Hashes do not compress, so that this is far above a B-tree's 2704 bytes.
    let large = "(SELECT jsonb_agg(md5(i::text)) FROM generate_series(1, 2000) i)";
    let id = "'00000000-0000-4000-8000-0000000000ff'";
    client
        .execute(&rows::insert("market_data_cache", &[("id", id), ("parameters", large)]), &[])
        .await
        .expect("large parameters");
    let again =
        rows::insert("market_data_cache", &[("id", "gen_random_uuid()"), ("parameters", large)]);
    let error = client.execute(&again, &[]).await.expect_err("the same large parameters again");
    assert_eq!(error.code(), Some(&SqlState::UNIQUE_VIOLATION));
}

#[tokio::test]
async fn absent_and_empty_parameters_are_an_entry_each_and_only_one() {
    let db = TestDatabase::new().await.expect("a migrated database");
    let client = client_of(&db).await;
    for parameters in ["NULL", "'{}'"] {
        let insert = rows::insert(
            "market_data_cache",
            &[("id", "gen_random_uuid()"), ("parameters", parameters)],
        );
        client.execute(&insert, &[]).await.expect(&insert);
        let error = client.execute(&insert, &[]).await.expect_err("a repeated key");
        assert_eq!(error.code(), Some(&SqlState::UNIQUE_VIOLATION), "{parameters}");
        let upsert = format!(
            "{insert} ON CONFLICT (ticker, data_type, parameters_key) DO UPDATE SET data = excluded.data"
        );
        assert_eq!(client.execute(&upsert, &[]).await.expect("upsert"), 1, "{parameters}");
    }
}

/// Tables whose `updated_at` moves, and a change to each.
const TOUCHED: [(&str, &str, &str); 5] = [
    ("users", "first_name", "'Augusta'"),
    ("portfolios", "name", "'Satellite'"),
    ("positions", "notes", "NULL"),
    ("analysis_results", "metadata", "'{}'"),
    ("corporate_actions", "split_to", "5"),
];

async fn updated_at(client: &impl tokio_postgres::GenericClient, table: &str) -> SystemTime {
    let select = format!("SELECT updated_at FROM {table}");
    client.query_one(&select, &[]).await.expect("the sample row").get(0)
}

#[tokio::test]
async fn every_table_with_updated_at_is_tried_here() {
    let db = TestDatabase::new().await.expect("a migrated database");
    let found = connect(&db)
        .await
        .query(
            "SELECT table_name::text FROM information_schema.columns
             WHERE table_schema = 'public' AND column_name = 'updated_at'",
            &[],
        )
        .await
        .expect("catalog query");
    let mut found: Vec<String> = found.iter().map(|row| row.get(0)).collect();
    let mut tried = TOUCHED.map(|(table, ..)| table.to_owned());
    found.sort();
    tried.sort();
    assert_eq!(found, tried);
}

#[tokio::test]
async fn updated_at_moves_on_every_change_even_in_one_transaction() {
    let db = TestDatabase::new().await.expect("a migrated database");
    let mut client = client_of(&db).await;
    for (table, column, value) in TOUCHED {
        let before = updated_at(&client, table).await;
        let tx = client.transaction().await.expect("begin");
        let change = format!("UPDATE {table} SET {column} = {value}");
        tx.execute(&change, &[]).await.expect(&change);
        let first = updated_at(&tx, table).await;
        let other = format!("UPDATE {table} SET created_at = created_at - INTERVAL '1 day'");
        tx.execute(&other, &[]).await.expect(&other);
        let second = updated_at(&tx, table).await;
        tx.commit().await.expect("commit");
        assert!(before < first && first < second, "{table}: {before:?}, {first:?}, {second:?}");
    }
}

#[tokio::test]
async fn updated_at_stays_when_nothing_changes_and_nobody_can_set_it_back() {
    let db = TestDatabase::new().await.expect("a migrated database");
    let client = client_of(&db).await;
    for (table, column, _) in TOUCHED {
        let before = updated_at(&client, table).await;
        let same = format!("UPDATE {table} SET {column} = {column}");
        assert_eq!(client.execute(&same, &[]).await.expect(&same), 1);
        assert_eq!(updated_at(&client, table).await, before, "{table}");

        let back = format!("UPDATE {table} SET updated_at = 'epoch'");
        client.execute(&back, &[]).await.expect(&back);
        assert!(updated_at(&client, table).await > before, "{table}");
    }
}

#[tokio::test]
async fn updated_at_moves_on_from_a_time_ahead_of_the_clock() {
    let db = TestDatabase::new().await.expect("a migrated database");
    let client = connect(&db).await;
    let ahead = rows::insert("users", &[("updated_at", "'2999-01-01Z'")]);
    client.execute(&ahead, &[]).await.expect("insert");
    let before = updated_at(&client, "users").await;
    client.execute("UPDATE users SET is_active = FALSE", &[]).await.expect("update");
    assert!(updated_at(&client, "users").await > before);
}
