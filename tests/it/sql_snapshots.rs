//! The SQL of every method of the repositories, as files that a reviewer reads, and whose diff shows what a change does to
//! it: `tests/it/sql/<repository>.sql`. `BUFFETBOT_WRITE_SQL=1 cargo test --test it sql_snapshots` writes them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use crate::api::*;
use crate::cancellation::every_method::{Given, calls};
use crate::support::{database, repository};

tokio::task_local! {
    /// The statements of the call under way; those of other tasks are not its own.
    static STATEMENTS: Arc<Mutex<Vec<String>>>;
}

/// Methods whose statements run beside each other, in an order that differs from run to run: theirs stand in that of their text.
const SIDE_BY_SIDE: [&str; 2] = ["prices.adjusted", "prices.verify_adjustment"];

/// A statement in the form of the files: without the indentation of the source, and without names that a run makes up.
fn shown(sql: &str) -> String {
    let mut lines: Vec<&str> = sql.lines().map(str::trim_end).collect();
    while lines.first().is_some_and(|line| line.trim().is_empty()) {
        lines.remove(0);
    }
    let indentation = |line: &str| line.len() - line.trim_start().len();
    let rest = lines.iter().skip(1).filter(|line| !line.trim().is_empty());
    let least = rest.map(|line| indentation(line)).min().unwrap_or(0);
    let mut text = String::new();
    for (n, line) in lines.into_iter().enumerate() {
        let from = if n == 0 { indentation(line) } else { least.min(indentation(line)) };
        text += line[from..].trim_end();
        text.push('\n');
    }
    let text = text.trim_end();
    let text = if text.contains('\n') { text.to_owned() } else { by_clause(text) };
    without_made_up_tickers(&text) + ";\n"
}

/// A statement of one line with a line for each clause.
fn by_clause(sql: &str) -> String {
    const CLAUSES: [&str; 7] =
        [" FROM ", " WHERE ", " VALUES ", " RETURNING ", " ORDER BY ", " ON CONFLICT ", " SET "];
    let (mut text, mut depth) = (String::new(), 0);
    for (at, character) in sql.char_indices() {
        match character {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        let begins = depth == 0 && CLAUSES.iter().any(|clause| sql[at..].starts_with(clause));
        text.push(if begins { '\n' } else { character });
    }
    text
}

/// `'N17'`, as [`Given::fresh`] makes them, is `'N'`.
fn without_made_up_tickers(sql: &str) -> String {
    let mut parts = sql.split("'N");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        text += "'N";
        text += match part.trim_start_matches(|c: char| c.is_ascii_digit()) {
            rest if rest.starts_with('\'') => rest,
            _ => part,
        };
    }
    text
}

#[tokio::test]
async fn the_sql_of_every_method_is_that_of_its_file() {
    let db = database(2).await;
    let given = Given::new(&db).await;
    let observer = |report: &QueryReport<'_>| {
        let _ = STATEMENTS.try_with(|statements| {
            statements.lock().expect("no panic").push(shown(report.sql));
        });
    };
    let config = Config::new(db.url()).expect("a URL").observer(Arc::new(observer));
    let observed = Database::connect(config).await.expect("connected");
    let mut files: BTreeMap<String, String> = BTreeMap::new();
    for (name, start) in calls() {
        let statements = Arc::new(Mutex::new(Vec::new()));
        let call = start(observed.repositories(), &given);
        let done = STATEMENTS.scope(statements.clone(), call).await;
        assert!(matches!(done, Ok(()) | Err(Error::NotFound { .. })), "{name}: {done:?}");
        let (repository, _) = name.split_once('.').expect("a repository");
        let file = files.entry(repository.to_owned()).or_default();
        let mut statements = statements.lock().expect("no panic").clone();
        if SIDE_BY_SIDE.contains(&name) {
            statements.sort();
        }
        *file += &format!("-- {name}\n{}\n", statements.concat());
    }
    let folder = repository("tests/it/sql");
    let writes = std::env::var_os("BUFFETBOT_WRITE_SQL").is_some();
    let mut changed = Vec::new();
    for (repository, sql) in files {
        let path = folder.join(format!("{repository}.sql"));
        if writes {
            std::fs::write(&path, &sql).expect("written");
        } else if std::fs::read_to_string(&path).unwrap_or_default() != sql {
            changed.push(repository);
        }
    }
    assert!(
        changed.is_empty(),
        "the SQL of {changed:?} is another: BUFFETBOT_WRITE_SQL=1 cargo test --test it sql_snapshots shows it as a diff"
    );
}
