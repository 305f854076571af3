//! A role that no policy binds is refused before the first statement, however it came to be so (A3).

use crate::api::*;
use buffetbot_db::testing::TestDatabase;
use uuid::Uuid;

use super::{person, public};
use crate::catalog::connect;

/// A database with two users, and an application role of its own, because roles are every test's.
struct Own {
    db: TestDatabase,
    role: String,
    ada: UserId,
}

impl Own {
    async fn new() -> Self {
        let role = format!("app_{}", Uuid::new_v4().simple());
        let db = TestDatabase::with(|config| config.application_role(&*role)).await;
        let db = db.expect("a database");
        db.create_roles().await.expect("a role");
        let ada = person(&*db, "ada@example.com").await.user.id;
        person(&*db, "bob@example.com").await;
        public(&*db).await;
        Own { db, role, ada }
    }

    async fn run(&self, sql: &str) {
        connect(&self.db).await.batch_execute(&sql.replace("APP", &self.role)).await.expect(sql);
    }

    /// A handle that has not asked yet.
    async fn fresh(&self) -> Database {
        let config = self.db.config().application_role(&*self.role);
        Database::connect(config).await.expect("connected")
    }

    /// How many users Ada sees.
    async fn seen(&self) -> u64 {
        let scope = self.fresh().await.as_user(self.ada);
        scope.users().count(&UserFilter::default()).await.expect("bound")
    }

    /// Why Ada is refused whatever she asks first.
    async fn refused(&self) -> String {
        let mut reasons = Vec::new();
        for first in 0..4 {
            let scope = self.fresh().await.as_user(self.ada);
            let error = match first {
                0 => scope.users().count(&UserFilter::default()).await.map(drop),
                1 => scope.users().record_login(self.ada).await.map(drop),
                2 => scope.users().erase(self.ada).await.map(drop),
                _ => scope.begin().await.map(drop),
            };
            let Error::Config { variable, reason } = error.expect_err("not bound") else {
                panic!("another error")
            };
            assert_eq!(variable, "DB_APPLICATION_ROLE");
            assert!(reason.contains(&self.role), "{reason}");
            reasons.push(reason);
        }
        let login = self.db.users().find(self.ada).await.expect("read").expect("still there");
        assert_eq!(login.last_login_at, None, "nothing was written");
        reasons.dedup();
        assert_eq!(reasons.len(), 1, "{reasons:?}");
        reasons.remove(0)
    }

    async fn end(self) {
        self.run("DROP OWNED BY APP; DROP ROLE APP").await;
    }
}

#[tokio::test]
async fn a3_the_maintenance_role_as_the_application_role_is_refused() {
    let role = MAINTENANCE_ROLE;
    let db = TestDatabase::with(|config| config.application_role(role)).await.expect("a database");
    let ada = person(&*db, "ada@example.com").await.user.id;
    person(&*db, "bob@example.com").await;
    let error = db.as_user(ada).users().count(&UserFilter::default()).await.expect_err("not bound");
    let Error::Config { variable, reason } = &error else { panic!("{error:?}") };
    assert_eq!(variable, "DB_APPLICATION_ROLE");
    assert!(reason.contains(role) && reason.contains("not bound"), "{reason}");
    // Also where there is no row to be seen.
    let empty = TestDatabase::with(|config| config.application_role(role)).await;
    let empty = empty.expect("a database");
    let error = empty.as_user(ada).begin().await.expect_err("not bound");
    assert!(matches!(error, Error::Config { .. }), "{error:?}");
    let open = "ALTER POLICY tenant ON users USING (id = (SELECT tenant_id()) OR true)";
    let empty = TestDatabase::new().await.expect("a database");
    connect(&empty).await.batch_execute(open).await.expect("opened");
    let error = empty.as_user(ada).begin().await.expect_err("not bound");
    assert!(matches!(error, Error::Config { .. }), "{error:?}");
}

#[tokio::test]
async fn a3_a_member_of_a_role_that_sees_everybody_is_refused() {
    let own = Own::new().await;
    assert_eq!(own.seen().await, 1);
    own.run("GRANT buffetbot_maintenance TO APP").await;
    assert!(own.refused().await.contains("users"));
    own.run("REVOKE buffetbot_maintenance FROM APP").await;
    assert_eq!(own.seen().await, 1);

    own.run("CREATE ROLE APP_between; GRANT buffetbot_maintenance TO APP_between").await;
    own.run("GRANT APP_between TO APP").await;
    assert!(own.refused().await.contains("users"), "by a role between");
    own.run("REVOKE buffetbot_maintenance FROM APP_between").await;
    assert_eq!(own.seen().await, 1, "a group that sees nothing more");
    own.run("CREATE POLICY support ON positions FOR SELECT TO APP_between USING (true)").await;
    let reason = own.refused().await;
    assert!(reason.contains("positions") && !reason.contains("users"), "{reason}");
    own.run("DROP POLICY support ON positions; DROP ROLE APP_between").await;

    // The rights of the other role are not this one's until it is taken on, which `as_user` never does.
    own.run("ALTER ROLE APP NOINHERIT; GRANT buffetbot_maintenance TO APP").await;
    assert_eq!(own.seen().await, 1);
    own.end().await;
}

#[tokio::test]
async fn a3_what_unbinds_the_role_on_one_table_is_enough() {
    for (unbound, bound, table) in [
        (
            "ALTER TABLE positions DISABLE ROW LEVEL SECURITY",
            "ALTER TABLE positions ENABLE ROW LEVEL SECURITY",
            "positions",
        ),
        (
            "ALTER TABLE audit_log DISABLE ROW LEVEL SECURITY",
            "ALTER TABLE audit_log ENABLE ROW LEVEL SECURITY",
            "audit_log",
        ),
        (
            "ALTER POLICY tenant ON portfolios USING (true)",
            "ALTER POLICY tenant ON portfolios USING (user_id = (SELECT tenant_id()))",
            "portfolios",
        ),
        (
            "ALTER POLICY tenant ON users USING (id = (SELECT tenant_id()) OR id IS NOT NULL)",
            "ALTER POLICY tenant ON users USING (id = (SELECT tenant_id()))",
            "users",
        ),
        (
            "CREATE POLICY open ON events FOR SELECT USING (true)",
            "DROP POLICY open ON events",
            "events",
        ),
        (
            "CREATE POLICY open ON analysis_results FOR INSERT WITH CHECK (true)",
            "DROP POLICY open ON analysis_results",
            "analysis_results",
        ),
        (
            "ALTER POLICY tenant ON portfolios USING (user_id = (SELECT tenant_id())) WITH CHECK (true)",
            "DROP POLICY tenant ON portfolios;
             CREATE POLICY tenant ON portfolios USING (user_id = (SELECT tenant_id()))",
            "portfolios",
        ),
        // It does not ask, and says so.
        (
            "ALTER POLICY tenant ON events USING ('tenant_id()' <> '')",
            "ALTER POLICY tenant ON events USING (user_id IS NULL OR user_id = (SELECT tenant_id()))",
            "events",
        ),
        // It asks, and does not heed the answer.
        (
            "CREATE FUNCTION anybody(id uuid) RETURNS boolean LANGUAGE sql AS 'SELECT true';
             ALTER POLICY tenant ON users USING (anybody(tenant_id()))",
            "ALTER POLICY tenant ON users USING (id = (SELECT tenant_id()))",
            "users",
        ),
    ] {
        let own = Own::new().await;
        own.run(unbound).await;
        let reason = own.refused().await;
        assert!(reason.contains(table), "{unbound}: {reason}");
        own.run(bound).await;
        assert_eq!(own.seen().await, 1, "{bound}");
        own.end().await;
    }
}

#[tokio::test]
async fn a_role_that_is_bound_otherwise_is_not_refused() {
    let own = Own::new().await;
    // A handle that was refused asks again.
    let handle = own.fresh().await;
    own.run("ALTER TABLE users DISABLE ROW LEVEL SECURITY").await;
    handle.as_user(own.ada).users().find(own.ada).await.expect_err("not bound");
    own.run("ALTER TABLE users ENABLE ROW LEVEL SECURITY").await;
    assert!(handle.as_user(own.ada).users().find(own.ada).await.expect("bound").is_some());
    // It may not own a table either: a table's owner can unbind it.
    own.run("ALTER TABLE positions OWNER TO APP").await;
    assert!(own.refused().await.contains("owns the tables"));
    own.run("ALTER TABLE positions OWNER TO postgres").await;
    // Another policy on top of an open one binds everybody.
    own.run(
        "CREATE POLICY open ON users USING (true);
         CREATE POLICY strict ON users AS RESTRICTIVE TO APP USING (id = (SELECT tenant_id()))",
    )
    .await;
    assert_eq!(own.seen().await, 1);
    // A policy that is somebody else's, and a role without a right on one of the tables.
    own.run(
        "DROP POLICY open ON users; CREATE POLICY others ON users TO pg_monitor USING (true);
         REVOKE ALL ON positions FROM APP",
    )
    .await;
    assert_eq!(own.seen().await, 1);
    own.end().await;
}
