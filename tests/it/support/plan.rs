//! The statements that repositories send, and the plans the server makes for them.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use buffetbot_db::Database;
use buffetbot_db::testing::TestDatabase;
use diesel::QueryableByName;
use diesel::sql_types::Json;
use diesel_async::{RunQueryDsl, SimpleAsyncConnection};
use serde_json::Value;

/// The argument of a limit that limits nothing.
pub const MOST: &str = "9223372036854775807";

/// The texts of statements in the order they finished.
#[derive(Clone, Default)]
pub struct Recorder(Arc<Mutex<Vec<String>>>);

impl Recorder {
    /// A test database whose statements are recorded.
    pub async fn database() -> (TestDatabase, Recorder) {
        let recorder = Recorder::default();
        let texts = recorder.0.clone();
        let db = TestDatabase::with(|config| {
            config.observer(Arc::new(move |report| {
                // Sent some time after a write, by nobody's statement.
                if !report.sql.starts_with("NOTIFY") {
                    texts.lock().expect("not poisoned").push(report.sql.to_owned());
                }
            }))
        });
        (db.await.expect("a database"), recorder)
    }

    /// The statements since the last call.
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().expect("not poisoned"))
    }

    /// The only statement since the last call: what took one round trip.
    pub fn only(&self) -> String {
        let mut texts = self.take();
        assert_eq!(texts.len(), 1, "{texts:?}");
        texts.remove(0)
    }
}

#[derive(QueryableByName)]
struct Explained {
    #[diesel(sql_type = Json, column_name = "QUERY PLAN")]
    plan: Value,
}

/// A plan, as `EXPLAIN (FORMAT JSON)` gives it.
#[derive(Debug)]
pub struct Plan(Value);

impl Plan {
    /// The plan of a statement for these arguments (SQL literals, one per placeholder), made anew
    /// for them or once for all.
    async fn made(db: &Database, mode: &str, sql: &str, arguments: &[&str]) -> Plan {
        let connection = db.connection().await.expect("a connection");
        let mut diesel = connection.as_diesel();
        let arguments = match arguments {
            [] => String::new(),
            some => format!("({})", some.join(", ")),
        };
        let prepare = format!("SET plan_cache_mode = {mode}; PREPARE explained AS {sql}");
        diesel.batch_execute(&prepare).await.expect("prepared");
        let explain = format!("EXPLAIN (FORMAT JSON) EXECUTE explained{arguments}");
        let explained: Explained =
            diesel::sql_query(explain).get_result(&mut diesel).await.expect("explained");
        diesel.batch_execute("DEALLOCATE explained; RESET plan_cache_mode").await.expect("undone");
        Plan(explained.plan)
    }

    /// The plan with which the server runs a statement when it has prepared it and run it six times: for five it plans
    /// anew, then it compares the costs, by which it may keep a plan for all arguments.
    async fn of_seventh(db: &Database, sql: &str, arguments: &[&str]) -> Plan {
        let connection = db.connection().await.expect("a connection");
        let mut diesel = connection.as_diesel();
        diesel.batch_execute(&format!("PREPARE explained AS {sql}")).await.expect("prepared");
        let explain = match arguments {
            [] => "EXPLAIN (FORMAT JSON) EXECUTE explained".to_owned(),
            some => format!("EXPLAIN (FORMAT JSON) EXECUTE explained({})", some.join(", ")),
        };
        let mut last = Value::Null;
        for _ in 0..7 {
            let explained: Explained =
                diesel::sql_query(&explain).get_result(&mut diesel).await.expect("explained");
            last = explained.plan;
        }
        diesel.batch_execute("DEALLOCATE explained").await.expect("undone");
        Plan(last)
    }

    /// What the nodes say under this name, each once.
    fn all(&self, name: &str) -> BTreeSet<&str> {
        fn visit<'p>(value: &'p Value, name: &str, found: &mut BTreeSet<&'p str>) {
            match value {
                Value::Object(node) => {
                    found.extend(node.get(name).and_then(Value::as_str));
                    node.values().for_each(|value| visit(value, name, found));
                }
                Value::Array(values) => values.iter().for_each(|value| visit(value, name, found)),
                _ => {}
            }
        }
        let mut found = BTreeSet::new();
        visit(&self.0, name, &mut found);
        found
    }

    fn any(&self, wanted: &impl Fn(&serde_json::Map<String, Value>) -> bool) -> bool {
        fn visit(value: &Value, wanted: &impl Fn(&serde_json::Map<String, Value>) -> bool) -> bool {
            match value {
                Value::Object(node) => wanted(node) || node.values().any(|v| visit(v, wanted)),
                Value::Array(values) => values.iter().any(|v| visit(v, wanted)),
                _ => false,
            }
        }
        visit(&self.0, wanted)
    }

    fn uses(&self, index: &str) -> bool {
        self.any(&|node| node.get("Index Name").is_some_and(|name| name == index))
    }

    fn reads_all_of(&self, table: &str) -> bool {
        self.any(&|node| {
            node.get("Node Type").is_some_and(|t| t == "Seq Scan")
                && node.get("Relation Name").is_some_and(|t| t == table)
        })
    }
}

/// The kinds of plan that a prepared statement can run with: made for its arguments, and generic.
const MODES: [&str; 2] = ["force_custom_plan", "force_generic_plan"];

/// Asserts that the statement reads `table` through `index` and never as a whole, with either kind
/// of plan.
pub async fn assert_index(db: &Database, sql: &str, arguments: &[&str], table: &str, index: &str) {
    assert_not_read_whole(db, sql, arguments, table).await;
    for mode in MODES {
        let plan = Plan::made(db, mode, sql, arguments).await;
        assert!(plan.uses(index), "{mode}: no {index} for {sql}: {plan:#?}");
    }
}

/// Asserts that the statement does not read `table` as a whole, with either kind of plan.
pub async fn assert_not_read_whole(db: &Database, sql: &str, arguments: &[&str], table: &str) {
    for mode in MODES {
        let plan = Plan::made(db, mode, sql, arguments).await;
        assert!(!plan.reads_all_of(table), "{mode}: reads all of {table} for {sql}: {plan:#?}");
    }
}

/// As [`assert_index`], only with a plan made for these arguments: where so much depends on them
/// that the server, comparing costs, stays with such plans.
pub async fn assert_index_planned_anew(
    db: &Database,
    sql: &str,
    arguments: &[&str],
    table: &str,
    index: &str,
) {
    assert_an_index_planned_anew(db, sql, arguments, table, &[index]).await;
}

/// As [`assert_index_planned_anew`], with one of several indexes that serve as well.
pub async fn assert_an_index_planned_anew(
    db: &Database,
    sql: &str,
    arguments: &[&str],
    table: &str,
    indexes: &[&str],
) {
    let plan = Plan::made(db, "force_custom_plan", sql, arguments).await;
    let is_used = indexes.iter().any(|index| plan.uses(index));
    assert!(is_used, "none of {indexes:?} for {sql}: {plan:#?}");
    assert!(!plan.reads_all_of(table), "reads all of {table} for {sql}: {plan:#?}");
}

/// What of bars a plan reads.
#[derive(Debug)]
pub struct BarsRead {
    /// `price_history` or its partitions.
    pub tables: BTreeSet<String>,
    /// Their indexes.
    pub indexes: BTreeSet<String>,
    /// The kinds of its nodes.
    pub nodes: BTreeSet<String>,
    /// All of it, to be shown.
    pub plan: Plan,
}

/// What the plans of a statement read that the server keeps: that of the seventh execution, and the generic one, which it
/// keeps where that costs no more.
pub async fn bars_read(db: &Database, sql: &str, arguments: &[&str]) -> [BarsRead; 2] {
    let seventh = Plan::of_seventh(db, sql, arguments).await;
    [seventh, Plan::made(db, "force_generic_plan", sql, arguments).await].map(BarsRead::of)
}

impl BarsRead {
    fn of(plan: Plan) -> Self {
        let owned = |name: &str| plan.all(name).into_iter().map(str::to_owned).collect();
        let of_bars = |name: &str| {
            // Not what was known of them before, which has but one index by day.
            let found: BTreeSet<String> = owned(name);
            found.into_iter().filter(|name| !name.contains("revisions")).collect()
        };
        BarsRead {
            tables: of_bars("Relation Name"),
            indexes: of_bars("Index Name"),
            nodes: owned("Node Type"),
            plan,
        }
    }
}
