//! What the text of a statement may do: write, begin a transaction, end one.

mod tokens;

use std::iter::Peekable;

use self::tokens::{Token, Tokens};

/// What a message of one or more statements does with transactions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Boundaries {
    /// It has a COMMIT, or what else may make permanent what came before it.
    pub commits: bool,
    /// It ends a transaction, either way.
    pub ends: bool,
    /// After the last of its statements a transaction is open that it began.
    pub begins: bool,
}

/// Whether the statements of a text may write. What is not known to only read may: a SELECT calls functions.
pub(super) fn may_write(sql: &str) -> bool {
    let mut words = Tokens::of(sql).peekable();
    while let Some(token) = words.next() {
        let first = match token {
            Token::Word(word) => word.to_ascii_uppercase(),
            Token::Mark(';' | '(') => continue,
            _ => return true,
        };
        let writes = match &*first {
            "SELECT" | "WITH" | "VALUES" | "TABLE" | "EXPLAIN" | "COPY" => {
                query_may_write(&mut words, &first)
            }
            "COMMIT" | "ROLLBACK" => rest(&mut words).any(|word| word.is("PREPARED")),
            _ if HARMLESS.contains(&&*first) => {
                rest(&mut words).for_each(drop);
                false
            }
            _ => true,
        };
        if writes {
            return true;
        }
    }
    false
}

/// Whether a word of a text is one that writes, but for row locks. For a check of what is said to only read: functions are
/// believed.
pub(super) fn has_writing_word(sql: &str) -> bool {
    let mut last = Token::Mark(' ');
    Tokens::of(sql).any(|token| {
        let locks = token.is("UPDATE") && (last.is("FOR") || last.is("KEY"));
        last = token;
        !locks && WRITING.iter().any(|writing| token.is(writing))
    })
}

/// What the statements of a text do with transactions. A word that could be the end of one counts as such: of what is
/// not known to be part of a transaction nothing is known.
pub(super) fn boundaries(sql: &str) -> Boundaries {
    let mut found = Boundaries::default();
    let mut words = Tokens::of(sql).peekable();
    while let Some(token) = words.next() {
        let Token::Word(word) = token else { continue };
        let first = word.to_ascii_uppercase();
        let behind: Vec<_> = rest(&mut words).collect();
        let has = |word| behind.iter().any(|token| token.is(word));
        let chains = has("CHAIN") && !has("NO");
        match &*first {
            "BEGIN" | "START" => found.begins = true,
            "PREPARE" if behind.first().is_some_and(|word| word.is("TRANSACTION")) => {
                found.ended(true, false);
            }
            "COMMIT" | "END" => found.ended(true, chains),
            "ROLLBACK" | "ABORT" if !has("TO") => found.ended(false, chains),
            _ => {}
        }
    }
    found
}

/// As [`boundaries`], of one statement, as the extended protocol takes it: looks no further than it must.
pub(super) fn boundaries_of_one(sql: &str) -> Boundaries {
    const DOING: [&str; 7] = ["BEGIN", "START", "PREPARE", "COMMIT", "END", "ROLLBACK", "ABORT"];
    match Tokens::of(sql).next() {
        Some(Token::Word(word)) if DOING.iter().any(|doing| word.eq_ignore_ascii_case(doing)) => {
            boundaries(sql)
        }
        _ => Boundaries::default(),
    }
}

impl Boundaries {
    fn ended(&mut self, commits: bool, chained: bool) {
        self.ends = true;
        self.commits |= commits;
        self.begins = chained;
    }
}

/// The tokens up to the end of the statement, with it.
fn rest<'s>(words: &mut Peekable<Tokens<'s>>) -> impl Iterator<Item = Token<'s>> {
    words.take_while(|token| *token != Token::Mark(';'))
}

/// Whether what follows a query's first word writes: as part of the query, or by a function that is called.
fn query_may_write(words: &mut Peekable<Tokens<'_>>, first: &str) -> bool {
    let mut before = Token::Mark(' ');
    let mut last = Token::Word(if matches!(first, "WITH" | "COPY") { "WITH" } else { "SELECT" });
    let mut depth = 0u32;
    // Of DISTINCT ON (..): what follows it is a value, not a name.
    let mut distinct_on = None;
    while let Some(token) = words.next() {
        match token {
            Token::Mark(';') => return false,
            Token::Mark('(') => {
                if last.is("ON") && before.is("DISTINCT") {
                    distinct_on = Some(depth);
                }
                depth += 1;
            }
            Token::Mark(')') => {
                depth = depth.saturating_sub(1);
                if distinct_on == Some(depth) {
                    distinct_on = None;
                    (before, last) = (token, Token::Word("SELECT"));
                    continue;
                }
            }
            Token::Word(word) => {
                let locks = token.is("UPDATE") && (last.is("FOR") || last.is("KEY"));
                let copies = first == "COPY" && depth == 0 && token.is("FROM");
                let is_called = words.peek() == Some(&Token::Mark('('));
                if copies || (WRITING.iter().any(|writing| token.is(writing)) && !locks) {
                    return true;
                }
                // Behind these a name has a list of columns, not of arguments.
                let is_named = ["AS", "WITH", "RECURSIVE"].iter().any(|word| last.is(word))
                    || last == Token::Mark(')');
                let is_foreign = last == Token::Mark('.') && !before.is("pg_catalog");
                if is_called && !is_named && (is_foreign || !is_harmless(word)) {
                    return true;
                }
            }
            _ => {}
        }
        (before, last) = (last, token);
    }
    false
}

/// First words of statements that write nothing by themselves.
const HARMLESS: [&str; 17] = [
    "BEGIN",
    "START",
    "END",
    "ABORT",
    "SAVEPOINT",
    "RELEASE",
    "SET",
    "RESET",
    "SHOW",
    "DISCARD",
    "DEALLOCATE",
    "CLOSE",
    "LISTEN",
    "UNLISTEN",
    "LOCK",
    "CHECKPOINT",
    "LOAD",
];

/// Words in a query that write.
const WRITING: [&str; 8] =
    ["INSERT", "UPDATE", "DELETE", "MERGE", "INTO", "EXECUTE", "CREATE", "PROGRAM"];

/// Whether what is called by this name, or is followed by a list in parentheses, writes nothing.
fn is_harmless(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    READING.binary_search(&&*name).is_ok() || FAMILIES.iter().any(|family| name.starts_with(family))
}

/// What the names of functions of PostgreSQL begin with that only read, lock or wait.
const FAMILIES: [&str; 10] = [
    "pg_get_",
    "pg_advisory_",
    "pg_try_advisory_",
    "pg_sleep",
    "pg_snapshot_",
    "pg_current_",
    "pg_stat_get_",
    "pg_is_",
    "pg_control_",
    "pg_ls_",
];

/// Others, and words of the language, in the order of their bytes.
#[rustfmt::skip]
const READING: [&str; 326] = [
    "abs", "acldefault", "aclexplode", "age", "all", "and", "any", "array",
    "array_agg", "array_append", "array_cat", "array_dims", "array_length", "array_lower", "array_ndims",
    "array_position", "array_positions", "array_prepend", "array_remove", "array_replace", "array_to_json",
    "array_to_string", "array_upper", "as", "asc", "ascii", "avg", "between", "bit", "bit_and",
    "bit_length", "bit_or", "bool", "bool_and", "bool_or", "btrim", "by", "cardinality",
    "case", "cast", "cbrt", "ceil", "ceiling", "char", "char_length", "character_length", "chr", "clock_timestamp",
    "coalesce", "col_description", "concat", "concat_ws", "corr", "count", "covar_pop", "covar_samp", "cross", "cube",
    "cume_dist", "current_database", "current_schema", "current_schemas", "current_setting", "date", "date_bin",
    "date_part", "date_trunc", "daterange", "decimal", "decode", "dense_rank", "desc", "distinct", "div", "else",
    "encode", "every", "except", "exists", "exp", "extract", "factorial", "filter", "first_value", "float", "floor",
    "format", "format_type", "from", "gcd", "generate_series", "generate_subscripts", "greatest", "group", "grouping",
    "has_any_column_privilege", "has_column_privilege", "has_database_privilege", "has_function_privilege",
    "has_schema_privilege", "has_sequence_privilege", "has_server_privilege", "has_table_privilege",
    "has_type_privilege", "having", "ilike", "in", "inet_client_addr", "inet_client_port", "inet_server_addr",
    "inet_server_port", "initcap", "int4range", "int8range", "intersect", "interval", "isfinite", "join", "json",
    "json_agg", "json_array_elements", "json_build_array", "json_build_object", "json_each", "json_object_agg",
    "json_typeof", "jsonb", "jsonb_agg", "jsonb_array_elements", "jsonb_array_elements_text", "jsonb_array_length",
    "jsonb_build_array", "jsonb_build_object", "jsonb_each", "jsonb_each_text", "jsonb_extract_path",
    "jsonb_extract_path_text", "jsonb_object", "jsonb_object_agg", "jsonb_object_keys", "jsonb_path_exists",
    "jsonb_path_match", "jsonb_path_query", "jsonb_path_query_array", "jsonb_path_query_first",
    "jsonb_populate_record", "jsonb_populate_recordset", "jsonb_pretty", "jsonb_set", "jsonb_strip_nulls",
    "jsonb_to_record", "jsonb_to_recordset", "jsonb_typeof", "justify_days", "justify_hours", "justify_interval",
    "key", "lag", "last_value", "lateral", "lcm", "lead", "least", "left", "length", "like", "limit", "ln", "log",
    "log10", "lower", "lower_inc", "lower_inf", "lpad", "ltrim", "make_date", "make_interval", "make_time",
    "make_timestamp", "make_timestamptz", "materialized", "max", "md5", "min", "min_scale", "mod", "mode", "money",
    "name", "not", "now", "nth_value", "ntile", "nullif", "num_nonnulls", "num_nulls", "numeric", "numrange",
    "obj_description", "octet_length", "of", "offset", "oidvectortypes", "on", "or", "order", "over", "overlay",
    "partition", "percent_rank", "percentile_cont", "percentile_disc", "pg_backend_pid", "pg_cancel_backend",
    "pg_column_size", "pg_database_size", "pg_describe_object", "pg_has_role", "pg_input_is_valid",
    "pg_postmaster_start_time", "pg_relation_size", "pg_size_pretty", "pg_table_size", "pg_terminate_backend",
    "pg_total_relation_size", "pg_typeof", "pg_visible_in_snapshot", "pg_walfile_name", "pg_xact_status",
    "position", "pow", "power", "quote_ident", "quote_literal", "random", "range_agg", "rank",
    "regexp_match", "regexp_matches", "regexp_replace", "regexp_split_to_array", "regexp_split_to_table",
    "regr_intercept", "regr_r2", "regr_slope", "repeat", "replace", "reverse", "right", "rollup", "round", "row",
    "row_number", "row_security_active", "row_to_json", "rpad", "rtrim", "scale", "select", "set_config", "sha256",
    "sign", "similar", "some", "split_part", "sqrt", "starts_with", "statement_timestamp", "stddev", "stddev_pop",
    "stddev_samp", "stdout", "string_agg", "string_to_array", "strpos", "substr", "substring", "sum",     "then", "time", "timestamp", "timestamptz", "timezone", "to_char", "to_date", "to_hex", "to_json", "to_jsonb",
    "to_number", "to_regclass", "to_regnamespace", "to_regproc", "to_regprocedure", "to_regrole", "to_regtype",
    "to_timestamp", "to_tsquery", "to_tsvector", "transaction_timestamp", "translate", "trim", "trim_array",
    "trim_scale", "trunc", "tsrange", "txid_current", "union", "unistr", "unnest", "upper", "upper_inc", "upper_inf",
    "using", "values", "var_pop", "var_samp", "varchar", "variance", "version", "when", "where", "width_bucket",
    "with", "within", "xid8", "zone",
];

#[cfg(test)]
mod tests {
    use super::{Boundaries, READING, boundaries, boundaries_of_one, may_write};

    #[test]
    fn names_are_in_order() {
        assert!(READING.is_sorted());
    }

    #[test]
    fn what_only_reads_is_known() {
        for sql in [
            "SELECT 1",
            " -- why\n select \"a\".\"b\", count(*) from t where x = ANY($1) and s = 'delete()'",
            "SELECT 'it''s; DELETE', E'\\'; DROP' FROM t; SHOW role",
            "SELECT * FROM t FOR UPDATE SKIP LOCKED",
            "SELECT * FROM t FOR NO KEY UPDATE",
            "WITH x (a, b) AS (SELECT 1, 2) SELECT a FROM x",
            "WITH x AS MATERIALIZED (SELECT max(d) FROM t) SELECT * FROM x, unnest($1, $2) AS w (a, b)",
            "SELECT pg_catalog.pg_current_xact_id(), a::numeric(20, 8) FROM unnest($1) t (a)",
            "SELECT /* DELETE /* f() */ g() */ 1",
            "BEGIN; SET LOCAL x = 'y'; SAVEPOINT a",
            "ROLLBACK TO SAVEPOINT a; RELEASE SAVEPOINT a",
            "COPY t (a, b) TO STDOUT",
            "COPY (SELECT a FROM t) TO STDOUT (FORMAT binary)",
            "SELECT $1, $tag$ insert into $tag$ FROM t",
            "",
        ] {
            assert!(!may_write(sql), "{sql}");
        }
    }

    #[test]
    fn what_may_write_is_known() {
        for sql in [
            "INSERT INTO t VALUES (1)",
            "(DELETE FROM t)",
            "WITH gone AS (DELETE FROM t RETURNING *) SELECT count(*) FROM gone",
            "SELECT book($1)",
            "SELECT mine.count(1)",
            "SELECT \"book\" (1)",
            "SELECT * FROM book() AS b",
            "SELECT * INTO u FROM t",
            "SELECT 1; UPDATE t SET a = 2",
            "SELECT nextval('s')",
            "EXPLAIN ANALYZE DELETE FROM t",
            "COPY t FROM STDIN",
            "COPY (DELETE FROM t RETURNING a) TO STDOUT",
            "DO $$ BEGIN END $$",
            "CALL p()",
            "COMMIT PREPARED 'x'",
            "NOTIFY c",
            "ANALYZE t",
            "FETCH 1 FROM c",
            "EXECUTE p",
        ] {
            assert!(may_write(sql), "{sql}");
        }
    }

    #[test]
    fn ends_of_transactions_are_seen() {
        let none = Boundaries::default();
        let ends = Boundaries { ends: true, ..none };
        let commits = Boundaries { commits: true, ..ends };
        for (sql, expected) in [
            ("SELECT 1; COMMIT", commits),
            ("BEGIN; SET LOCAL a = 'COMMIT; x'", Boundaries { begins: true, ..none }),
            ("START TRANSACTION", Boundaries { begins: true, ..none }),
            ("ROLLBACK", ends),
            ("abort", ends),
            ("ROLLBACK TO SAVEPOINT a; RELEASE SAVEPOINT a", none),
            ("ROLLBACK WORK TO a", none),
            ("end", commits),
            ("COMMIT AND CHAIN", Boundaries { begins: true, ..commits }),
            ("COMMIT AND NO CHAIN", commits),
            ("COMMIT; BEGIN", Boundaries { begins: true, ..commits }),
            ("BEGIN; ROLLBACK; RESET ALL", ends),
            ("PREPARE TRANSACTION 'x'", commits),
            ("PREPARE x AS SELECT 1", none),
            ("DO $$ BEGIN; COMMIT; END $$", none),
            ("/* COMMIT; */ SELECT 1", none),
        ] {
            assert_eq!(boundaries(sql), expected, "{sql}");
        }
        assert_eq!(boundaries_of_one(" commit"), commits);
        assert_eq!(boundaries_of_one("INSERT INTO t VALUES ('COMMIT')"), none);
    }

    #[test]
    fn no_text_makes_it_panic() {
        for sql in [
            "'", "\"", "$", "$a", "$a$", "E'", "E'\\", "/*", "--", "é(", "\"é", "$é$", ";;",
            "select",
        ] {
            // Any result will do.
            let _ = (may_write(sql), boundaries(sql));
        }
    }
}
