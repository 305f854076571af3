//! The roles that a database is used as.

use super::rights::{Grantee, grant};
use crate::error::Result;
use crate::postgres::Pool;
use crate::types::text::quote_literal;

/// Sees and changes every user's rows, but owns nothing: for sweeps, support and reports.
pub const MAINTENANCE_ROLE: &str = "buffetbot_maintenance";

/// The advisory lock of a run: "bdbroles" in ASCII.
const LOCK: i64 = i64::from_be_bytes(*b"bdbroles");

/// Roles belong to the server, so that another of its databases may make one at the same moment.
fn role(name: &str) -> String {
    let (identifier, text) = (identifier(name), quote_literal(name));
    format!(
        "DO $roles$ BEGIN
            IF to_regrole(quote_ident({text})) IS NULL THEN
                CREATE ROLE {identifier} NOLOGIN;
            END IF;
        EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
        END $roles$;
        DO $roles$ BEGIN
            -- A role's maker is its member too, since version 16, but may not take it on.
            IF NOT pg_has_role(to_regrole(quote_ident({text})), 'USAGE') THEN
                GRANT {identifier} TO CURRENT_USER;
            END IF;
        END $roles$;"
    )
}

/// Every tenant table lets its owner through, by a policy (see `isolate_tenants`), and the maintenance role.
fn policies() -> String {
    let text = quote_literal(MAINTENANCE_ROLE);
    format!(
        "DO $policies$
        DECLARE
            wanted RECORD;
        BEGIN
            FOR wanted IN
                SELECT c.oid::regclass AS tenant_table, p.name, p.role::regrole AS role, was.oid AS was
                FROM pg_class c
                CROSS JOIN LATERAL (VALUES
                    ('owner'::name, c.relowner),
                    ('maintenance', to_regrole(quote_ident({text}))::oid)) AS p (name, role)
                LEFT JOIN pg_policy was ON was.polrelid = c.oid AND was.polname = p.name
                WHERE c.relnamespace = current_schema()::regnamespace AND c.relrowsecurity
                    AND was.polroles IS DISTINCT FROM ARRAY[p.role]
            LOOP
                IF wanted.was IS NOT NULL THEN
                    EXECUTE format('DROP POLICY %I ON %s', wanted.name, wanted.tenant_table);
                END IF;
                EXECUTE format('CREATE POLICY %I ON %s TO %s USING (true)', wanted.name,
                    wanted.tenant_table, wanted.role);
            END LOOP;
        END $policies$;"
    )
}

pub(super) fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Makes the roles, gives them their rights and grants them to the login that asks.
///
/// # Errors
/// `Denied` where the login may not make roles, and then nothing has changed.
pub(crate) async fn create_roles(pool: &Pool, application: &str) -> Result<()> {
    let connection = pool.connect_unpooled().await?;
    let steps = [
        format!("BEGIN; SELECT pg_advisory_xact_lock({LOCK})"),
        role(application),
        role(MAINTENANCE_ROLE),
        grant(application, Grantee::Application),
        grant(MAINTENANCE_ROLE, Grantee::Maintenance),
        policies(),
    ];
    // The connection is closed afterwards, so that after a failure nothing of it stays.
    for step in &steps {
        connection.batch(step).await?;
    }
    connection.batch("COMMIT").await
}
