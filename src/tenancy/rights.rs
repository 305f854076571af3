//! What each role may do with the tables, sequences and functions of this crate: from here come the grants of
//! `create_roles`, what the doctor expects, and the table in `docs/guide/tenants.md`.

use crate::types::text::quote_literal;

/// The two roles that own nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Grantee {
    Application,
    Maintenance,
}

/// Rights on one table or sequence.
pub(super) struct Rights {
    pub name: &'static str,
    application: &'static [&'static str],
    maintenance: &'static [&'static str],
}

impl Rights {
    fn of(&self, grantee: Grantee) -> &'static [&'static str] {
        match grantee {
            Grantee::Application => self.application,
            Grantee::Maintenance => self.maintenance,
        }
    }
}

/// TRUNCATE is not among them, because no policy binds it.
const EVERYTHING: &[&str] = &["SELECT", "INSERT", "UPDATE", "DELETE"];
const READING: &[&str] = &["SELECT"];

const fn rights(
    name: &'static str,
    application: &'static [&'static str],
    maintenance: &'static [&'static str],
) -> Rights {
    Rights { name, application, maintenance }
}

pub(super) const TABLES: &[Rights] = &[
    rights("users", EVERYTHING, EVERYTHING),
    rights("portfolios", EVERYTHING, EVERYTHING),
    rights("positions", EVERYTHING, EVERYTHING),
    rights("analysis_results", EVERYTHING, EVERYTHING),
    rights("market_data_cache", EVERYTHING, EVERYTHING),
    rights("price_history", EVERYTHING, EVERYTHING),
    rights("price_revisions", READING, &["SELECT", "DELETE"]),
    rights("archived_price_years", READING, READING),
    rights("knowledge_points", &["SELECT", "INSERT"], &["SELECT", "INSERT", "DELETE"]),
    rights("swept_history", READING, READING),
    rights("corporate_actions", EVERYTHING, EVERYTHING),
    rights("options_data", EVERYTHING, EVERYTHING),
    rights("cache_leases", EVERYTHING, EVERYTHING),
    rights("cache_changes", READING, READING),
    rights("events", READING, &["SELECT", "DELETE"]),
    rights("event_consumers", EVERYTHING, EVERYTHING),
    rights("audit_log", READING, &["SELECT", "DELETE"]),
    rights("__diesel_schema_migrations", READING, READING),
];

const SEQUENCES: &[Rights] = &[
    rights("cache_version", &["USAGE", "SELECT"], &["USAGE", "SELECT"]),
    rights("events_id_seq", &[], &[]),
    rights("price_revisions_number_seq", &[], &[]),
];

/// Functions with the owner's rights that are meant to be called, by signature; PUBLIC may call none.
const FUNCTIONS: &[Rights] = &[
    rights("account_is_known(uuid)", &["EXECUTE"], &["EXECUTE"]),
    rights("erase_traces_of(uuid[])", &[], &["EXECUTE"]),
    rights("erase_own_traces()", &["EXECUTE"], &["EXECUTE"]),
    rights("sweep_cache_log()", &["EXECUTE"], &["EXECUTE"]),
    rights("account_salt(text)", &["EXECUTE"], &["EXECUTE"]),
    rights("authenticate_account(text,text)", &["EXECUTE"], &["EXECUTE"]),
    rights("change_account_password(text,text,text)", &["EXECUTE"], &["EXECUTE"]),
    rights("register_account(uuid,text,text,text,text,text,text)", &["EXECUTE"], &["EXECUTE"]),
];

/// What the application role may do with each table of this crate, as `table right`.
pub(super) fn of_tables() -> Vec<String> {
    let each = |table: &'static Rights| {
        table.application.iter().map(move |right| format!("{} {right}", table.name))
    };
    TABLES.iter().flat_map(each).collect()
}

/// The functions with the owner's rights that `grantee` calls, as `regprocedure` prints them.
pub(super) fn callable(grantee: Grantee) -> Vec<&'static str> {
    let granted = FUNCTIONS.iter().filter(|function| !function.of(grantee).is_empty());
    granted.map(|function| function.name).collect()
}

fn rows(all: &[Rights], grantee: Grantee) -> String {
    let row = |rights: &Rights| {
        let wanted = rights.of(grantee).join(",");
        format!("({}, string_to_array('{wanted}', ','))", quote_literal(rights.name))
    };
    all.iter().map(row).collect::<Vec<_>>().join(", ")
}

/// The statement that gives `role` these rights in the current schema, and takes from it what else it has on a table of
/// this crate. Tables of other programs are opened to it, as far as their own policies let it. Partitions are reached
/// by way of their table. Changes nothing where all is as it should be.
pub(super) fn grant(role: &str, grantee: Grantee) -> String {
    let text = quote_literal(role);
    format!(
        "DO $rights$
        DECLARE
            home CONSTANT REGNAMESPACE := current_schema()::regnamespace;
            receiver CONSTANT REGROLE := to_regrole(quote_ident({text}));
            thing RECORD;
        BEGIN
            EXECUTE format('GRANT USAGE ON SCHEMA %s TO %s', home, receiver);
            -- What is made later is closed until it is known what it is.
            EXECUTE format('ALTER DEFAULT PRIVILEGES IN SCHEMA %s REVOKE ALL ON TABLES FROM %s', home, receiver);
            EXECUTE format('ALTER DEFAULT PRIVILEGES IN SCHEMA %s REVOKE ALL ON SEQUENCES FROM %s', home, receiver);
            FOR thing IN
                SELECT CASE c.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END AS kind,
                    c.oid::regclass::text AS name, known.rights IS NOT NULL AS is_known,
                    COALESCE(known.rights, CASE c.relkind WHEN 'S' THEN '{{USAGE,SELECT}}'
                        ELSE '{{SELECT,INSERT,UPDATE,DELETE}}' END::text[]) AS wanted,
                    ARRAY(SELECT privilege_type FROM aclexplode(c.relacl) acl WHERE acl.grantee = receiver) AS present
                FROM pg_class c LEFT JOIN (VALUES {tables}, {sequences}) AS known (name, rights)
                    ON known.name = c.relname
                WHERE c.relnamespace = home AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND NOT c.relispartition
                UNION ALL
                SELECT 'FUNCTION', p.oid::regprocedure::text, true, known.rights,
                    ARRAY(SELECT privilege_type FROM aclexplode(p.proacl) acl WHERE acl.grantee = receiver)
                FROM (VALUES {functions}) AS known (name, rights) JOIN pg_proc p ON p.oid = to_regprocedure(known.name)
                WHERE p.pronamespace = home
            LOOP
                IF thing.is_known AND NOT thing.present <@ thing.wanted THEN
                    EXECUTE format('REVOKE ALL ON %s %s FROM %s', thing.kind, thing.name, receiver);
                    thing.present := '{{}}';
                END IF;
                IF NOT thing.wanted <@ thing.present THEN
                    EXECUTE format('GRANT %s ON %s %s TO %s', array_to_string(thing.wanted, ', '), thing.kind,
                        thing.name, receiver);
                END IF;
            END LOOP;
        END $rights$;",
        tables = rows(TABLES, grantee),
        sequences = rows(SEQUENCES, grantee),
        functions = rows(FUNCTIONS, grantee),
    )
}
