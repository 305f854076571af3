//! The schema as the catalog describes it, and its Markdown tables.

use std::fmt::Write;

use tokio_postgres::{Client, Error};

/// Tables, references and indexes of a database's `public` schema.
pub struct Schema {
    pub tables: Vec<Table>,
    pub references: Vec<Reference>,
    indexes: Vec<Index>,
}

pub struct Table {
    pub name: String,
    comment: String,
    pub columns: Vec<Column>,
}

pub struct Column {
    pub name: String,
    pub sql_type: String,
    pub required: bool,
    default: Option<String>,
    comment: String,
    pub primary: bool,
}

/// A foreign key: `child.column` references `parent.key`.
pub struct Reference {
    pub child: String,
    pub column: String,
    pub parent: String,
    pub key: String,
    pub required: bool,
}

struct Index {
    table: String,
    name: String,
    kind: &'static str,
    definition: String,
    comment: String,
}

const TABLES: &str = "
    SELECT relname, COALESCE(obj_description(oid, 'pg_class'), '')
    FROM pg_class
    WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')
        AND relname <> '__diesel_schema_migrations'
    ORDER BY oid";

const COLUMNS: &str = "
    SELECT a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
        CASE WHEN a.attgenerated = 's' THEN 'generated: ' ELSE '' END
            || pg_get_expr(d.adbin, d.adrelid),
        COALESCE(col_description(a.attrelid, a.attnum), ''),
        EXISTS (SELECT FROM pg_index x
            WHERE x.indrelid = a.attrelid AND x.indisprimary AND a.attnum = ANY (x.indkey))
    FROM pg_attribute a
    LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    WHERE a.attrelid = ('public.' || quote_ident($1))::regclass
        AND a.attnum > 0 AND NOT a.attisdropped
    ORDER BY a.attnum";

const REFERENCES: &str = "
    SELECT c.relname, a.attname, p.relname, b.attname, a.attnotnull
    FROM pg_constraint k
    CROSS JOIN LATERAL unnest(k.conkey, k.confkey) AS pair (child, parent)
    JOIN pg_class c ON c.oid = k.conrelid
    JOIN pg_class p ON p.oid = k.confrelid
    JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = pair.child
    JOIN pg_attribute b ON b.attrelid = k.confrelid AND b.attnum = pair.parent
    WHERE k.contype = 'f' AND k.connamespace = 'public'::regnamespace
    ORDER BY c.oid, a.attnum";

const INDEXES: &str = "
    SELECT t.relname, i.relname, x.indisprimary, x.indisunique,
        substring(pg_get_indexdef(i.oid) FROM ' USING (.*)$'),
        COALESCE(obj_description(i.oid, 'pg_class'), '')
    FROM pg_index x
    JOIN pg_class i ON i.oid = x.indexrelid
    JOIN pg_class t ON t.oid = x.indrelid
    WHERE t.relnamespace = 'public'::regnamespace AND t.relname <> '__diesel_schema_migrations'
    ORDER BY t.oid, NOT x.indisprimary, NOT x.indisunique, i.relname";

impl Schema {
    /// Reads the catalog of the database that `client` is connected to.
    pub async fn read(client: &Client) -> Result<Self, Error> {
        let mut tables = Vec::new();
        for row in client.query(TABLES, &[]).await? {
            let name: String = row.get(0);
            let columns = client.query(COLUMNS, &[&name]).await?;
            let columns = columns
                .iter()
                .map(|column| Column {
                    name: column.get(0),
                    sql_type: short(column.get(1)),
                    required: column.get(2),
                    default: column.get(3),
                    comment: column.get(4),
                    primary: column.get(5),
                })
                .collect();
            tables.push(Table { name, comment: row.get(1), columns });
        }
        let references = client.query(REFERENCES, &[]).await?;
        let references = references
            .iter()
            .map(|row| Reference {
                child: row.get(0),
                column: row.get(1),
                parent: row.get(2),
                key: row.get(3),
                required: row.get(4),
            })
            .collect();
        let indexes = client.query(INDEXES, &[]).await?;
        let indexes = indexes
            .iter()
            .map(|row| Index {
                table: row.get(0),
                name: row.get(1),
                kind: match (row.get(2), row.get(3)) {
                    (true, _) => "primary key",
                    (false, true) => "unique",
                    (false, false) => "",
                },
                definition: row.get(4),
                comment: row.get(5),
            })
            .collect();
        Ok(Self { tables, references, indexes })
    }

    /// One Markdown table per table of the schema: its columns, their types, defaults and meanings.
    pub fn column_tables(&self) -> String {
        let mut text = String::new();
        for table in &self.tables {
            let _ = write!(
                text,
                "### `{}`\n\n{}.\n\n| Column | Type | Null | Default | Meaning |\n|---|---|---|---|---|\n",
                table.name, table.comment
            );
            for column in &table.columns {
                let _ = writeln!(
                    text,
                    "| `{}` | {} | {} | {} | {} |",
                    column.name,
                    column.sql_type,
                    if column.required { "no" } else { "yes" },
                    column.default.as_deref().map(code).unwrap_or_default(),
                    cell(&column.comment)
                );
            }
            text.push('\n');
        }
        text.pop();
        text
    }

    /// The Markdown table of all indexes: what each is and which queries it is there for.
    pub fn index_table(&self) -> String {
        let mut text =
            String::from("| Index | Table | Kind | Definition | For |\n|---|---|---|---|---|\n");
        for index in &self.indexes {
            let _ = writeln!(
                text,
                "| `{}` | `{}` | {} | {} | {} |",
                index.name,
                index.table,
                index.kind,
                code(&index.definition),
                cell(&index.comment)
            );
        }
        text
    }
}

/// The usual short name of a type which the catalog spells out.
fn short(sql_type: String) -> String {
    sql_type
        .replace("timestamp with time zone", "timestamptz")
        .replace("character varying", "varchar")
}

/// Code in a cell of a Markdown table.
fn code(text: &str) -> String {
    format!("`{}`", cell(text))
}

/// Text in a cell of a Markdown table, whose bars end the cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

/// The page with its generated part `name` replaced by `text`.
///
/// The part stands between two comments that carry its name; `None` if one of them is missing.
pub fn replace_part(page: &str, name: &str, text: &str) -> Option<String> {
    let (before, rest) = page.split_once(&format!("<!-- generated: {name} -->"))?;
    let (_, after) = rest.split_once(&format!("<!-- end: {name} -->"))?;
    Some(format!("{before}<!-- generated: {name} -->\n\n{text}\n<!-- end: {name} -->{after}"))
}
