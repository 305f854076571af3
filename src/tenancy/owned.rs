//! The tables of this crate that the doctor tries: those in which users own rows, and those in which programs keep
//! account of their work.

use uuid::Uuid;

use crate::postgres::OwnedTables;

/// A user of the trial, and the portfolio that the user owns.
pub(super) struct Person {
    pub user: Uuid,
    pub portfolio: Uuid,
}

impl Person {
    pub fn new() -> Self {
        Person { user: Uuid::new_v4(), portfolio: Uuid::new_v4() }
    }

    /// A statement, or a part of one, with this person's ids in their places.
    pub fn named_in(&self, sql: &str) -> String {
        let sql = sql.replace("{user}", &self.user.to_string());
        unique(&sql.replace("{portfolio}", &self.portfolio.to_string()), &Uuid::new_v4())
    }
}

/// A statement with values in place of `{mark}` and `{ticker}` that no row has.
pub(super) fn unique(sql: &str, mark: &Uuid) -> String {
    let ticker = format!("D{:X}", mark.as_fields().0);
    sql.replace("{mark}", &mark.to_string()).replace("{ticker}", &ticker)
}

/// A table in which users own rows. In its SQL `{user}` and `{portfolio}` stand for the ids of a person, `{mark}` and
/// `{ticker}` for values that no row has.
pub(crate) struct OwnedTable {
    pub name: &'static str,
    /// Whether it also holds rows that nobody owns, which everybody sees.
    pub shared: bool,
    /// Whether triggers write the rows, and the application role must not.
    pub by_trigger: bool,
    /// Whether a user needs to read the user's own rows, and to change those that no trigger writes.
    pub needed: bool,
    /// Adds a row of the person.
    pub insert: &'static str,
    /// The condition of the person's rows.
    pub rows: &'static str,
    /// The assignment of an update that keeps the owner; the value is 'doctor' unless the table is shared.
    pub change: &'static str,
    /// The assignment of an update that makes the person the owner.
    pub give: &'static str,
}

/// Every table in which users own rows, in an order in which a person's rows can be added.
pub(crate) const OWNED: [OwnedTable; 8] = [
    OwnedTable {
        name: "users",
        shared: false,
        by_trigger: false,
        needed: true,
        // The hash of no password, in the form that one has.
        insert: "INSERT INTO users (id, email, hashed_password) VALUES ('{user}', 'doctor-{mark}@example.invalid',
            '$argon2id$v=19$m=16,t=2,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFzaA')",
        rows: "id = '{user}'",
        change: "first_name = 'doctor'",
        give: "id = '{user}'",
    },
    OwnedTable {
        name: "portfolios",
        shared: false,
        by_trigger: false,
        needed: true,
        insert: "INSERT INTO portfolios (id, user_id, name, risk_tolerance)
            VALUES ('{portfolio}', '{user}', 'doctor', 'moderate')",
        rows: "user_id = '{user}'",
        change: "description = 'doctor'",
        give: "user_id = '{user}'",
    },
    OwnedTable {
        name: "positions",
        shared: false,
        by_trigger: false,
        needed: true,
        insert: "INSERT INTO positions (portfolio_id, ticker) VALUES ('{portfolio}', '{ticker}')",
        rows: "portfolio_id = '{portfolio}'",
        change: "notes = 'doctor'",
        give: "portfolio_id = '{portfolio}'",
    },
    OwnedTable {
        name: "analysis_results",
        shared: true,
        by_trigger: false,
        needed: true,
        insert: "INSERT INTO analysis_results (portfolio_id, ticker, analysis_type)
            VALUES ('{portfolio}', '{ticker}', 'risk_analysis')",
        rows: "portfolio_id = '{portfolio}'",
        change: "summary = 'doctor'",
        give: "portfolio_id = '{portfolio}'",
    },
    OwnedTable {
        name: "cache_leases",
        shared: true,
        by_trigger: false,
        needed: false,
        insert: "INSERT INTO cache_leases (space, ticker, name, parameters_key, portfolio_id, taken_at, expires_at)
            VALUES ('analyses', '{ticker}', 'risk_analysis', decode('00', 'hex'), '{portfolio}', now(), now())",
        rows: "portfolio_id = '{portfolio}'",
        change: "failures = 1",
        give: "portfolio_id = '{portfolio}'",
    },
    OwnedTable {
        name: "cache_changes",
        shared: true,
        by_trigger: true,
        needed: false,
        insert: "INSERT INTO cache_changes (version, space, ticker, name, portfolio_id)
            VALUES (nextval('cache_version'), 'analyses', '{ticker}', 'risk_analysis', '{portfolio}')",
        rows: "portfolio_id = '{portfolio}'",
        change: "name = 'doctor'",
        give: "portfolio_id = '{portfolio}'",
    },
    OwnedTable {
        name: "audit_log",
        shared: false,
        by_trigger: true,
        needed: true,
        insert: "INSERT INTO audit_log (user_id, login, table_name, row_id, operation)
            VALUES ('{user}', 'doctor', 'users', '{user}', 'update')",
        rows: "user_id = '{user}'",
        change: "login = 'doctor'",
        give: "user_id = '{user}'",
    },
    OwnedTable {
        name: "events",
        shared: true,
        by_trigger: true,
        needed: true,
        insert: "INSERT INTO events (kind, user_id, ticker, payload)
            VALUES ('position_changed', '{user}', '{ticker}', jsonb_build_object())",
        rows: "user_id = '{user}'",
        change: "ticker = 'DOCTOR'",
        give: "user_id = '{user}'",
    },
];

/// A table in which programs keep account of their work. What is there for everybody is not a user's to change.
pub(super) struct KeptTable {
    pub name: &'static str,
    /// Adds a row that no user owns.
    pub insert: &'static str,
    /// The condition of that row.
    pub row: &'static str,
    /// The assignment of an update of it.
    pub change: &'static str,
    /// Whether a user may delete it: an invalidation takes leases away from fetches under way.
    pub deletable: bool,
}

/// Every such table but that of the migrations, which is judged by its privileges.
pub(super) const KEPT: [KeptTable; 7] = [
    KeptTable {
        name: "event_consumers",
        insert: "INSERT INTO event_consumers (name, seen) VALUES ('{mark}', pg_current_snapshot())",
        row: "name = '{mark}'",
        change: "moved_at = now()",
        deletable: false,
    },
    KeptTable {
        name: "cache_changes",
        insert: "INSERT INTO cache_changes (version, space, ticker, name)
            VALUES (nextval('cache_version'), 'market_data', '{ticker}', '{mark}')",
        row: "name = '{mark}'",
        change: "changed_at = now()",
        deletable: false,
    },
    KeptTable {
        name: "cache_leases",
        insert: "INSERT INTO cache_leases (space, ticker, name, parameters_key, taken_at, expires_at)
            VALUES ('market_data', '{ticker}', '{mark}', decode('00', 'hex'), now(), now())",
        row: "name = '{mark}'",
        change: "expires_at = now()",
        deletable: true,
    },
    KeptTable {
        name: "price_revisions",
        insert: "INSERT INTO price_revisions (ticker, date, replaced_at, id, close_price, is_suspect, created_at)
            VALUES ('{ticker}', now(), now(), '{mark}', 1, false, now())",
        row: "id = '{mark}'",
        change: "data_source = 'doctor'",
        deletable: false,
    },
    KeptTable {
        name: "knowledge_points",
        insert: "INSERT INTO knowledge_points (known_at) VALUES (now())",
        row: "known_at = (SELECT max(known_at) FROM knowledge_points)",
        change: "system_identifier = 0",
        deletable: false,
    },
    KeptTable {
        name: "archived_price_years",
        insert: "INSERT INTO archived_price_years (year) VALUES (hashtext('{mark}'))",
        row: "year = hashtext('{mark}')",
        change: "archived_at = now()",
        deletable: false,
    },
    KeptTable {
        name: "swept_history",
        insert: "INSERT INTO swept_history VALUES ('{mark}', now())",
        row: "table_name = '{mark}'",
        change: "known_from = now()",
        deletable: false,
    },
];

/// Calls of functions that have the owner's rights and are the application role's to use, by what they refuse: in no
/// name, and in the name of a user whom they do not concern.
pub(super) const REFUSED: [(&str, &str); 2] = [
    ("erase_traces(uuid[])", "SELECT erase_traces(ARRAY['{mark}']::uuid[])"),
    ("erase_audit(uuid)", "SELECT erase_audit('{mark}')"),
];

/// In SQL, whether the policy `p` of `pg_policy` asks who the user is, each time it is asked: by the function that is beside
/// the tables, and not beside a constant that makes the answer nothing. Whether it heeds the answer, only trying says.
pub(super) const ASKS: &str = "
    (p.polqual IS NOT NULL OR p.polwithcheck IS NOT NULL)
    AND NOT EXISTS (
        SELECT FROM unnest(ARRAY[pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid)]) condition
        WHERE condition NOT LIKE '%tenant_id()%' OR condition ~ '\\mOR true\\M|\\mtrue OR\\M')
    AND EXISTS (
        SELECT FROM pg_depend d
        JOIN pg_proc f ON f.oid = d.refobjid AND f.proname = 'tenant_id' AND f.pronargs = 0
        JOIN pg_class users ON users.oid = to_regclass('users') AND users.relnamespace = f.pronamespace
        WHERE d.classid = 'pg_policy'::regclass AND d.objid = p.oid AND d.refclassid = 'pg_proc'::regclass)";

/// What the application role is looked at for before it is used.
pub(crate) fn owned_tables() -> OwnedTables {
    let names = OWNED.iter().map(|table| (table.name, table.shared)).collect();
    OwnedTables { names, home: "users", asks: ASKS }
}
