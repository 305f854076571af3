//! Accounts, on PostgreSQL.

use std::time::Duration;

use async_trait::async_trait;
use diesel::dsl::{exists, now};
use diesel::pg::Pg;
use diesel::prelude::{
    BoolExpressionMethods, ExpressionMethods, NullableExpressionMethods, PgTextExpressionMethods,
    QueryDsl, QueryableByName, SelectableHelper,
};
use diesel::sql_types::{Array, BigInt, Bool, Interval, Nullable, Text, Uuid as SqlUuid};
use futures_util::FutureExt;

use super::repository::UserRepository;
use super::user::{Erasure, NewUser, ProfilePatch, User, UserFilter, UserPatch, check_preferences};
use crate::error::{Entity, Error, Result};
use crate::schema::users;
use crate::store::{Session, batch, newest_first, settled};
use crate::types::{Document, Page, PageRequest, PasswordHash, UserId, of_activity, span, text};

diesel::define_sql_function! {
    /// PostgreSQL's `lower`.
    fn lower(text: Text) -> Text;
}

/// [`UserRepository`] on PostgreSQL.
#[derive(Clone)]
pub(crate) struct PgUsers {
    session: Session,
}

impl PgUsers {
    pub(crate) fn new(session: Session) -> Self {
        PgUsers { session }
    }
}

/// Longest text that is searched for, in characters: no name and no address is longer.
const SEARCH_LENGTH: usize = 255;

/// The rows of a filter, as a boxed query.
fn filtered(filter: &UserFilter) -> users::BoxedQuery<'_, Pg> {
    let query = users::table.into_boxed();
    let mut query = of_activity!(query, filter.activity, users::is_active);
    if let Some(is_verified) = filter.is_verified {
        query = query.filter(users::is_verified.eq(is_verified));
    }
    query
}

settled!(
    #[async_trait]
    impl UserRepository for PgUsers {
        #[tracing::instrument(level = "debug", name = "users.create", skip_all)]
        async fn create(&self, user: &NewUser) -> Result<User> {
            user.validate()?;
            let insert = diesel::insert_into(users::table).values(user);
            self.session.write_one(insert.returning(User::as_returning())).await
        }

        #[tracing::instrument(level = "debug", name = "users.create_many", skip_all)]
        async fn create_many(&self, users: &[NewUser]) -> Result<Vec<User>> {
            for (index, user) in users.iter().enumerate() {
                user.validate().map_err(|e| e.at(index))?;
            }
            batch::insert_many(
                &self.session,
                users,
                |user| user.email.to_lowercase(),
                |connection, rows| {
                    let insert = diesel::insert_into(users::table).values(rows);
                    connection.write_all(insert.returning(User::as_returning())).boxed()
                },
            )
            .await
        }

        #[tracing::instrument(level = "debug", name = "users.find", skip_all)]
        async fn find(&self, id: UserId) -> Result<Option<User>> {
            self.session.fetch_optional(users::table.find(id).select(User::as_select())).await
        }

        #[tracing::instrument(level = "debug", name = "users.find_by_email", skip_all)]
        async fn find_by_email(&self, email: &str) -> Result<Option<User>> {
            text::check("email", email, text::UNLIMITED)?;
            let query = users::table.filter(lower(users::email).eq(lower(email)));
            self.session.fetch_optional(query.select(User::as_select())).await
        }

        #[tracing::instrument(level = "debug", name = "users.find_by_username", skip_all)]
        async fn find_by_username(&self, username: &str) -> Result<Option<User>> {
            text::check("username", username, text::UNLIMITED)?;
            let query = users::table.filter(users::username.eq(username));
            self.session.fetch_optional(query.select(User::as_select())).await
        }

        #[tracing::instrument(level = "debug", name = "users.list", skip_all)]
        async fn list(&self, filter: &UserFilter, page: &PageRequest) -> Result<Page<User>> {
            let query = newest_first!(filtered(filter), page, users::created_at, users::id);
            self.session.fetch_page(query.select(User::as_select()), page, "created_at").await
        }

        #[tracing::instrument(level = "debug", name = "users.search", skip_all)]
        async fn search(&self, text: &str, page: &PageRequest) -> Result<Page<User>> {
            text::check("text", text, SEARCH_LENGTH)?;
            let mut query = users::table.into_boxed();
            for word in text.split_whitespace() {
                let part = format!("%{}%", text::escape_like(word));
                let in_email = users::email.nullable().ilike(part.clone());
                let in_username = users::username.ilike(part.clone());
                let in_first = users::first_name.ilike(part.clone());
                let in_last = users::last_name.ilike(part);
                let is_there = in_email.or(in_username).or(in_first).or(in_last);
                query = query.filter(is_there);
            }
            let query = newest_first!(query, page, users::created_at, users::id);
            self.session.fetch_page(query.select(User::as_select()), page, "created_at").await
        }

        #[tracing::instrument(level = "debug", name = "users.count", skip_all)]
        async fn count(&self, filter: &UserFilter) -> Result<u64> {
            let count: i64 = self.session.fetch_one(filtered(filter).count()).await?;
            Ok(count.unsigned_abs())
        }

        #[tracing::instrument(level = "debug", name = "users.exists", skip_all)]
        async fn exists(&self, id: UserId) -> Result<bool> {
            self.session.fetch_one(diesel::select(exists(users::table.find(id)))).await
        }

        #[tracing::instrument(level = "debug", name = "users.exists_email", skip_all)]
        async fn exists_email(&self, email: &str) -> Result<bool> {
            text::check("email", email, text::UNLIMITED)?;
            let query = users::table.filter(lower(users::email).eq(lower(email)));
            self.session.fetch_one(diesel::select(exists(query))).await
        }

        #[tracing::instrument(level = "debug", name = "users.exists_username", skip_all)]
        async fn exists_username(&self, username: &str) -> Result<bool> {
            text::check("username", username, text::UNLIMITED)?;
            let query = users::table.filter(users::username.eq(username));
            self.session.fetch_one(diesel::select(exists(query))).await
        }

        #[tracing::instrument(level = "debug", name = "users.update", skip_all)]
        async fn update(&self, id: UserId, patch: &UserPatch) -> Result<User> {
            patch.validate()?;
            if *patch == UserPatch::default() {
                let found = self.find(id).await?;
                return found.ok_or_else(|| Error::not_found(Entity::User, id));
            }
            let update = diesel::update(users::table.find(id)).set(patch);
            let changed =
                self.session.write_optional(update.returning(User::as_returning())).await?;
            changed.ok_or_else(|| Error::not_found(Entity::User, id))
        }

        #[tracing::instrument(level = "debug", name = "users.update_profile", skip_all)]
        async fn update_profile(&self, id: UserId, patch: &ProfilePatch) -> Result<User> {
            patch.validate()?;
            let row = users::table.find(id);
            let changed = match &patch.email {
                _ if *patch == ProfilePatch::default() => self.find(id).await?,
                None => {
                    let update = diesel::update(row).set(patch).returning(User::as_returning());
                    self.session.write_optional(update).await?
                }
                Some(email) => {
                    let same = lower(users::email).eq(lower(email));
                    let verified = users::is_verified.eq(users::is_verified.and(same));
                    let update = diesel::update(row).set((patch, verified));
                    self.session.write_optional(update.returning(User::as_returning())).await?
                }
            };
            changed.ok_or_else(|| Error::not_found(Entity::User, id))
        }

        #[tracing::instrument(level = "debug", name = "users.set_password", skip_all)]
        async fn set_password(&self, id: UserId, hash: &PasswordHash) -> Result<()> {
            let update = diesel::update(users::table.find(id)).set(users::hashed_password.eq(hash));
            let is_there = self.session.execute(update).await? > 0;
            is_there.then_some(()).ok_or_else(|| Error::not_found(Entity::User, id))
        }

        #[tracing::instrument(level = "debug", name = "users.record_login", skip_all)]
        async fn record_login(&self, id: UserId) -> Result<User> {
            let update = diesel::update(users::table.find(id)).set(users::last_login_at.eq(now));
            let changed =
                self.session.write_optional(update.returning(User::as_returning())).await?;
            changed.ok_or_else(|| Error::not_found(Entity::User, id))
        }

        #[tracing::instrument(level = "debug", name = "users.verify", skip_all)]
        async fn verify(&self, id: UserId) -> Result<User> {
            self.update(id, &UserPatch { is_verified: Some(true), ..UserPatch::default() }).await
        }

        #[tracing::instrument(level = "debug", name = "users.activate", skip_all)]
        async fn activate(&self, id: UserId) -> Result<User> {
            self.update(id, &UserPatch { is_active: Some(true), ..UserPatch::default() }).await
        }

        #[tracing::instrument(level = "debug", name = "users.deactivate", skip_all)]
        async fn deactivate(&self, id: UserId) -> Result<User> {
            self.update(id, &UserPatch { is_active: Some(false), ..UserPatch::default() }).await
        }

        #[tracing::instrument(level = "debug", name = "users.preferences", skip_all)]
        async fn preferences(&self, id: UserId) -> Result<Option<Document>> {
            // With the id, which an error names.
            let query = users::table.find(id).select((users::id, users::preferences));
            let found: Option<(UserId, Option<Document>)> =
                self.session.fetch_optional(query).await?;
            let found = found.map(|(_, preferences)| preferences);
            found.ok_or_else(|| Error::not_found(Entity::User, id))
        }

        #[tracing::instrument(level = "debug", name = "users.set_preferences", skip_all)]
        async fn set_preferences(&self, id: UserId, preferences: Option<&Document>) -> Result<()> {
            preferences.map_or(Ok(()), check_preferences)?;
            let update =
                diesel::update(users::table.find(id)).set(users::preferences.eq(preferences));
            match self.session.execute(update).await? {
                0 => Err(Error::not_found(Entity::User, id)),
                _ => Ok(()),
            }
        }

        #[tracing::instrument(level = "debug", name = "users.merge_preferences", skip_all)]
        async fn merge_preferences(&self, id: UserId, changes: &Document) -> Result<Document> {
            let not_an_object =
                || Error::invalid("preferences", "only an object merges into an object");
            if !changes.is_object() {
                return Err(not_an_object());
            }
            check_preferences(changes)?;
            let merge = diesel::sql_query(MERGE_PREFERENCES)
                .bind::<SqlUuid, _>(id)
                .bind::<diesel::sql_types::Jsonb, _>(changes);
            let merged: Option<Merged> = self.session.write_optional(merge).await?;
            match merged {
                None => Err(Error::not_found(Entity::User, id)),
                Some(Merged { is_json: false, .. }) => Err(Error::Corrupt {
                    table: "users".into(),
                    key: id.to_string(),
                    column: "preferences".into(),
                    reason: "does not hold a valid json".into(),
                }),
                Some(Merged { preferences, .. }) => preferences.ok_or_else(not_an_object),
            }
        }

        #[tracing::instrument(level = "debug", name = "users.delete", skip_all)]
        async fn delete(&self, id: UserId) -> Result<bool> {
            Ok(self.session.delete(diesel::delete(users::table.find(id))).await? > 0)
        }

        #[tracing::instrument(level = "debug", name = "users.export", skip_all)]
        async fn export(&self, id: UserId) -> Result<Option<Document>> {
            let export: Option<Export> = self
                .session
                .fetch_optional(diesel::sql_query(EXPORT).bind::<SqlUuid, _>(id))
                .await?;
            Ok(export.map(|row| row.document))
        }

        #[tracing::instrument(level = "debug", name = "users.erase", skip_all)]
        async fn erase(&self, id: UserId) -> Result<Option<Erasure>> {
            let atomic = self.session.atomic().await?;
            atomic.run(diesel::sql_query(ERASE_LEASES).bind::<Array<SqlUuid>, _>(vec![id])).await?;
            let erase = diesel::sql_query(ERASE).bind::<SqlUuid, _>(id);
            let counts: Option<ErasureRow> = atomic.delete_optional(erase).await?;
            if counts.is_some() {
                atomic
                    .run(diesel::sql_query(ERASE_TRACES).bind::<Array<SqlUuid>, _>(vec![id]))
                    .await?;
            }
            atomic.commit().await?;
            Ok(counts.map(|row| Erasure {
                portfolios: row.portfolios.unsigned_abs(),
                positions: row.positions.unsigned_abs(),
                analyses: row.analyses.unsigned_abs(),
            }))
        }

        #[tracing::instrument(level = "debug", name = "users.erase_inactive", skip_all)]
        async fn erase_inactive(&self, limit: u32, age: Duration) -> Result<u64> {
            let inactive = diesel::sql_query(
                "SELECT id FROM users
             WHERE NOT is_active AND updated_at <= now() - $1::INTERVAL
             ORDER BY updated_at, id LIMIT $2 FOR UPDATE SKIP LOCKED",
            );
            let inactive =
                inactive.bind::<Interval, _>(span::age(age)).bind::<BigInt, _>(i64::from(limit));
            let atomic = self.session.atomic().await?;
            let doomed: Vec<Doomed> = atomic.fetch_all(inactive).await?;
            let ids: Vec<UserId> = doomed.into_iter().map(|row| row.id).collect();
            if !ids.is_empty() {
                atomic.run(diesel::sql_query(ERASE_LEASES).bind::<Array<SqlUuid>, _>(&ids)).await?;
                atomic
                    .delete(diesel::delete(users::table.filter(users::id.eq_any(ids.clone()))))
                    .await?;
                atomic.run(diesel::sql_query(ERASE_TRACES).bind::<Array<SqlUuid>, _>(&ids)).await?;
            }
            atomic.commit().await?;
            Ok(ids.len() as u64)
        }
    }
);

/// `||` would append to an array and wrap a scalar: the row is changed only where it holds an object. Where it holds no
/// document, no cast is tried, which would abort the transaction.
const MERGE_PREFERENCES: &str = "
    WITH old AS MATERIALIZED (
        SELECT id, COALESCE(preferences, '{}') AS preferences, is_json(preferences) AS is_json
        FROM users WHERE id = $1 FOR UPDATE
    ), parsed AS MATERIALIZED (
        SELECT id, is_json, CASE WHEN is_json THEN preferences::jsonb END AS preferences FROM old
    ), changed AS (
        UPDATE users SET preferences = (parsed.preferences || $2::jsonb)::text
        FROM parsed
        WHERE users.id = parsed.id AND jsonb_typeof(parsed.preferences) = 'object'
        RETURNING users.id, users.preferences
    )
    SELECT id, is_json, changed.preferences FROM parsed LEFT JOIN changed USING (id)";

/// One statement, so that all parts are one consistent snapshot.
const EXPORT: &str = "
    SELECT jsonb_build_object(
        'user', to_jsonb(u) - 'hashed_password',
        'portfolios', COALESCE((
            SELECT jsonb_agg(to_jsonb(p) ORDER BY p.created_at, p.id)
            FROM portfolios p WHERE p.user_id = u.id), '[]'),
        'positions', COALESCE((
            SELECT jsonb_agg(to_jsonb(s) ORDER BY s.portfolio_id, s.ticker)
            FROM positions s JOIN portfolios p ON p.id = s.portfolio_id WHERE p.user_id = u.id), '[]'),
        'analyses', COALESCE((
            SELECT jsonb_agg(to_jsonb(a) ORDER BY a.calculated_at, a.id)
            FROM analysis_results a JOIN portfolios p ON p.id = a.portfolio_id WHERE p.user_id = u.id), '[]'),
        'audit_log', COALESCE((
            SELECT jsonb_agg(to_jsonb(l) ORDER BY l.recorded_at, l.id)
            FROM audit_log l WHERE l.user_id = u.id), '[]'),
        'events', COALESCE((
            SELECT jsonb_agg(to_jsonb(e) ORDER BY e.id)
            FROM events e WHERE e.user_id = u.id), '[]'),
        'cache_changes', COALESCE((
            SELECT jsonb_agg(to_jsonb(c) ORDER BY c.version)
            FROM cache_changes c JOIN portfolios p ON p.id = c.portfolio_id WHERE p.user_id = u.id), '[]'),
        'cache_leases', COALESCE((
            SELECT jsonb_agg(to_jsonb(l) ORDER BY l.taken_at, l.ticker, l.name)
            FROM cache_leases l JOIN portfolios p ON p.id = l.portfolio_id WHERE p.user_id = u.id), '[]')
    ) AS document
    FROM users u WHERE u.id = $1";

/// RETURNING is evaluated on the statement's snapshot: it still sees what the cascade takes away.
const ERASE: &str = "
    DELETE FROM users u WHERE u.id = $1
    RETURNING
        (SELECT count(*) FROM portfolios p WHERE p.user_id = u.id) AS portfolios,
        (SELECT count(*) FROM positions s JOIN portfolios p ON p.id = s.portfolio_id
            WHERE p.user_id = u.id) AS positions,
        (SELECT count(*) FROM analysis_results a JOIN portfolios p ON p.id = a.portfolio_id
            WHERE p.user_id = u.id) AS analyses";

/// Before the deletion: what stores a result has its lease first, and then waits for the portfolio.
const ERASE_LEASES: &str = "
    DELETE FROM cache_leases WHERE portfolio_id = ANY (ARRAY(
        SELECT id FROM portfolios WHERE user_id = ANY ($1)))";

/// A statement after the deletion, which writes entries itself.
const ERASE_TRACES: &str = "SELECT erase_traces($1)";

#[derive(QueryableByName)]
struct Doomed {
    #[diesel(sql_type = SqlUuid)]
    id: UserId,
}

#[derive(QueryableByName)]
struct Merged {
    /// Whether what was there before is a document.
    #[diesel(sql_type = Bool)]
    is_json: bool,
    #[diesel(sql_type = Nullable<Text>)]
    preferences: Option<Document>,
}

#[derive(QueryableByName)]
struct Export {
    #[diesel(sql_type = diesel::sql_types::Jsonb)]
    document: Document,
}

#[derive(QueryableByName)]
struct ErasureRow {
    #[diesel(sql_type = BigInt)]
    portfolios: i64,
    #[diesel(sql_type = BigInt)]
    positions: i64,
    #[diesel(sql_type = BigInt)]
    analyses: i64,
}
