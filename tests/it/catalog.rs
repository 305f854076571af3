//! What the server says about a database's schema, as sorted lines that tests can compare.

use std::collections::BTreeSet;

use buffetbot_db::testing::TestDatabase;
use tokio_postgres::{Client, NoTls};

/// One line per table, storage parameter, sequence, column, constraint, index, trigger, policy and function.
///
/// The server renders every expression itself, so that the lines of two databases are equal exactly
/// when their schemas are, whatever the version of the server.
const FACTS: &str = "
    WITH tables AS (
        SELECT c.oid, c.relname, c.relpersistence, c.reloptions, c.reltoastrelid
        FROM pg_class c
        WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm')
            AND c.relname <> '__diesel_schema_migrations'
    )
    SELECT format('table %s%s', CASE relpersistence WHEN 'u' THEN 'UNLOGGED ' END, relname) FROM tables
    UNION ALL
    SELECT format('storage %s %s', t.relname, o)
    FROM tables t
    LEFT JOIN pg_class toast ON toast.oid = t.reltoastrelid
    CROSS JOIN unnest(t.reloptions
        || ARRAY(SELECT 'toast.' || own FROM unnest(toast.reloptions) own)) AS o
    UNION ALL
    SELECT format('sequence %s %s', c.relname, format_type(s.seqtypid, NULL))
    FROM pg_sequence s JOIN pg_class c ON c.oid = s.seqrelid
    WHERE c.relnamespace = 'public'::regnamespace
    UNION ALL
    SELECT format('column %s.%s %s%s%s', t.relname, a.attname,
        format_type(a.atttypid, a.atttypmod),
        CASE WHEN a.attnotnull THEN ' NOT NULL' END,
        CASE WHEN d.oid IS NULL THEN ''
             WHEN a.attgenerated = 's' THEN ' GENERATED ' || pg_get_expr(d.adbin, d.adrelid)
             ELSE ' DEFAULT ' || pg_get_expr(d.adbin, d.adrelid) END)
    FROM tables t
    JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum > 0 AND NOT a.attisdropped
    LEFT JOIN pg_attrdef d ON d.adrelid = t.oid AND d.adnum = a.attnum
    UNION ALL
    SELECT format('constraint %s.%s %s', t.relname, c.conname, pg_get_constraintdef(c.oid))
    FROM tables t
    JOIN pg_constraint c ON c.conrelid = t.oid AND c.contype IN ('p', 'u', 'f', 'c', 'x')
    UNION ALL
    SELECT format('index %s', substr(pg_get_indexdef(i.indexrelid), length('CREATE ') + 1))
    FROM tables t JOIN pg_index i ON i.indrelid = t.oid AND i.indisvalid
    UNION ALL
    SELECT format('trigger %s', substr(pg_get_triggerdef(g.oid), length('CREATE TRIGGER ') + 1))
    FROM tables t JOIN pg_trigger g ON g.tgrelid = t.oid AND NOT g.tgisinternal
    UNION ALL
    SELECT format('row security %s%s', c.relname, CASE WHEN c.relforcerowsecurity THEN ' forced' END)
    FROM tables t JOIN pg_class c ON c.oid = t.oid WHERE c.relrowsecurity OR c.relforcerowsecurity
    UNION ALL
    -- The owner is another on every server; the maintenance role's policies are no migration's.
    SELECT format('policy %s ON %s FOR %s TO %s USING %s%s', p.polname, t.relname, p.polcmd,
        CASE p.polroles WHEN '{0}' THEN 'PUBLIC' WHEN ARRAY[c.relowner] THEN 'its owner' ELSE 'others' END,
        pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid))
    FROM tables t JOIN pg_class c ON c.oid = t.oid JOIN pg_policy p ON p.polrelid = t.oid
    WHERE p.polname <> 'maintenance'
    UNION ALL
    SELECT format('function %s(%s) RETURNS %s', p.proname,
        pg_get_function_identity_arguments(p.oid), pg_get_function_result(p.oid))
    FROM pg_proc p WHERE p.pronamespace = 'public'::regnamespace
    UNION ALL
    SELECT format('definer %s', p.oid::regprocedure)
    FROM pg_proc p WHERE p.pronamespace = 'public'::regnamespace AND p.prosecdef";

/// What [`FACTS`] leaves out: order of columns, bodies of functions and every comment.
const DETAILS: &str = "
    SELECT format('order %s %s', c.relname,
        string_agg(a.attname, ' ' ORDER BY a.attnum))
    FROM pg_class c
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r'
        AND c.relname <> '__diesel_schema_migrations'
    GROUP BY c.relname
    UNION ALL
    SELECT format('body %s', pg_get_functiondef(p.oid))
    FROM pg_proc p WHERE p.pronamespace = 'public'::regnamespace
    UNION ALL
    SELECT format('comment %s: %s', pg_describe_object(d.classoid, d.objoid, d.objsubid), d.description)
    FROM pg_description d
    WHERE d.objoid IN (
        SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace
        UNION ALL SELECT oid FROM pg_proc WHERE pronamespace = 'public'::regnamespace
        UNION ALL SELECT oid FROM pg_constraint WHERE connamespace = 'public'::regnamespace
        UNION ALL SELECT t.oid FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
            WHERE c.relnamespace = 'public'::regnamespace
    )";

/// A connection of its own to the test's database, below every layer of the crate.
pub async fn connect(db: &TestDatabase) -> Client {
    let (client, connection) = tokio_postgres::connect(db.url(), NoTls)
        .await
        .expect("the test's own server accepts connections");
    tokio::spawn(connection);
    client
}

/// Tables, sequences, columns, constraints, indexes, triggers and signatures of functions.
pub async fn facts(client: &Client) -> BTreeSet<String> {
    lines(client, FACTS).await
}

/// Everything about the schema, comments and column order too.
pub async fn dump(client: &Client) -> BTreeSet<String> {
    let mut all = lines(client, FACTS).await;
    all.extend(lines(client, DETAILS).await);
    all
}

/// Says how two sets of lines differ; an empty text when they don't.
pub fn difference(expected: &BTreeSet<String>, found: &BTreeSet<String>) -> String {
    let missing = expected.difference(found).map(|line| format!("missing    {line}\n"));
    let unexpected = found.difference(expected).map(|line| format!("unexpected {line}\n"));
    missing.chain(unexpected).collect()
}

async fn lines(client: &Client, query: &str) -> BTreeSet<String> {
    let rows = client.query(query, &[]).await.expect("catalog query");
    rows.iter().map(|row| row.get(0)).collect()
}
