-- users.create
INSERT INTO "users" ("id", "email", "username", "hashed_password", "first_name", "last_name", "preferences")
VALUES ($1, $2, DEFAULT, $3, DEFAULT, DEFAULT, DEFAULT)
RETURNING "users"."id", "users"."email", "users"."username", "users"."hashed_password", "users"."is_active", "users"."is_verified", "users"."first_name", "users"."last_name", "users"."preferences", "users"."created_at", "users"."updated_at", "users"."last_login_at";

-- users.create_many
BEGIN;
INSERT INTO "users" ("id", "email", "username", "hashed_password", "first_name", "last_name", "preferences")
VALUES ($1, $2, DEFAULT, $3, DEFAULT, DEFAULT, DEFAULT), ($4, $5, DEFAULT, $6, DEFAULT, DEFAULT, DEFAULT), ($7, $8, DEFAULT, $9, DEFAULT, DEFAULT, DEFAULT), ($10, $11, DEFAULT, $12, DEFAULT, DEFAULT, DEFAULT), ($13, $14, DEFAULT, $15, DEFAULT, DEFAULT, DEFAULT)
RETURNING "users"."id", "users"."email", "users"."username", "users"."hashed_password", "users"."is_active", "users"."is_verified", "users"."first_name", "users"."last_name", "users"."preferences", "users"."created_at", "users"."updated_at", "users"."last_login_at";
SELECT 1; COMMIT;

-- users.find
SELECT "users"."id", "users"."email", "users"."username", "users"."hashed_password", "users"."is_active", "users"."is_verified", "users"."first_name", "users"."last_name", "users"."preferences", "users"."created_at", "users"."updated_at", "users"."last_login_at"
FROM "users"
WHERE ("users"."id" = $1);

-- users.find_by_email
SELECT "users"."id", "users"."email", "users"."username", "users"."hashed_password", "users"."is_active", "users"."is_verified", "users"."first_name", "users"."last_name", "users"."preferences", "users"."created_at", "users"."updated_at", "users"."last_login_at"
FROM "users"
WHERE (lower("users"."email") = lower($1));

-- users.find_by_username
SELECT "users"."id", "users"."email", "users"."username", "users"."hashed_password", "users"."is_active", "users"."is_verified", "users"."first_name", "users"."last_name", "users"."preferences", "users"."created_at", "users"."updated_at", "users"."last_login_at"
FROM "users"
WHERE ("users"."username" = $1);

-- users.list
SELECT "users"."id", "users"."email", "users"."username", "users"."hashed_password", "users"."is_active", "users"."is_verified", "users"."first_name", "users"."last_name", "users"."preferences", "users"."created_at", "users"."updated_at", "users"."last_login_at"
FROM "users"
ORDER BY "users"."created_at" DESC, "users"."id" DESC LIMIT $1;

-- users.stream
SELECT "users"."id", "users"."email", "users"."username", "users"."hashed_password", "users"."is_active", "users"."is_verified", "users"."first_name", "users"."last_name", "users"."preferences", "users"."created_at", "users"."updated_at", "users"."last_login_at"
FROM "users"
ORDER BY "users"."created_at" DESC, "users"."id" DESC LIMIT $1;

-- users.search
SELECT "users"."id", "users"."email", "users"."username", "users"."hashed_password", "users"."is_active", "users"."is_verified", "users"."first_name", "users"."last_name", "users"."preferences", "users"."created_at", "users"."updated_at", "users"."last_login_at"
FROM "users"
WHERE (((("users"."email" ILIKE $1) OR ("users"."username" ILIKE $2)) OR ("users"."first_name" ILIKE $3)) OR ("users"."last_name" ILIKE $4))
ORDER BY "users"."created_at" DESC, "users"."id" DESC LIMIT $5;

-- users.count
SELECT COUNT(*)
FROM "users";

-- users.exists
SELECT EXISTS (SELECT "users"."id", "users"."email", "users"."username", "users"."hashed_password", "users"."is_active", "users"."is_verified", "users"."first_name", "users"."last_name", "users"."preferences", "users"."created_at", "users"."updated_at", "users"."last_login_at" FROM "users" WHERE ("users"."id" = $1));

-- users.exists_email
SELECT EXISTS (SELECT "users"."id", "users"."email", "users"."username", "users"."hashed_password", "users"."is_active", "users"."is_verified", "users"."first_name", "users"."last_name", "users"."preferences", "users"."created_at", "users"."updated_at", "users"."last_login_at" FROM "users" WHERE (lower("users"."email") = lower($1)));

-- users.exists_username
SELECT EXISTS (SELECT "users"."id", "users"."email", "users"."username", "users"."hashed_password", "users"."is_active", "users"."is_verified", "users"."first_name", "users"."last_name", "users"."preferences", "users"."created_at", "users"."updated_at", "users"."last_login_at" FROM "users" WHERE ("users"."username" = $1));

-- users.update
UPDATE "users"
SET "first_name" = $1
WHERE ("users"."id" = $2)
RETURNING "users"."id", "users"."email", "users"."username", "users"."hashed_password", "users"."is_active", "users"."is_verified", "users"."first_name", "users"."last_name", "users"."preferences", "users"."created_at", "users"."updated_at", "users"."last_login_at";

-- users.update_profile
UPDATE "users"
SET "first_name" = $1
WHERE ("users"."id" = $2)
RETURNING "users"."id", "users"."email", "users"."username", "users"."hashed_password", "users"."is_active", "users"."is_verified", "users"."first_name", "users"."last_name", "users"."preferences", "users"."created_at", "users"."updated_at", "users"."last_login_at";

-- users.set_password
UPDATE "users"
SET "hashed_password" = $1
WHERE ("users"."id" = $2);

-- users.record_login
UPDATE "users"
SET "last_login_at" = CURRENT_TIMESTAMP
WHERE ("users"."id" = $1)
RETURNING "users"."id", "users"."email", "users"."username", "users"."hashed_password", "users"."is_active", "users"."is_verified", "users"."first_name", "users"."last_name", "users"."preferences", "users"."created_at", "users"."updated_at", "users"."last_login_at";

-- users.verify
UPDATE "users"
SET "is_verified" = $1
WHERE ("users"."id" = $2)
RETURNING "users"."id", "users"."email", "users"."username", "users"."hashed_password", "users"."is_active", "users"."is_verified", "users"."first_name", "users"."last_name", "users"."preferences", "users"."created_at", "users"."updated_at", "users"."last_login_at";

-- users.deactivate
UPDATE "users"
SET "is_active" = $1
WHERE ("users"."id" = $2)
RETURNING "users"."id", "users"."email", "users"."username", "users"."hashed_password", "users"."is_active", "users"."is_verified", "users"."first_name", "users"."last_name", "users"."preferences", "users"."created_at", "users"."updated_at", "users"."last_login_at";

-- users.activate
UPDATE "users"
SET "is_active" = $1
WHERE ("users"."id" = $2)
RETURNING "users"."id", "users"."email", "users"."username", "users"."hashed_password", "users"."is_active", "users"."is_verified", "users"."first_name", "users"."last_name", "users"."preferences", "users"."created_at", "users"."updated_at", "users"."last_login_at";

-- users.preferences
SELECT "users"."id", "users"."preferences"
FROM "users"
WHERE ("users"."id" = $1);

-- users.set_preferences
UPDATE "users"
SET "preferences" = $1
WHERE ("users"."id" = $2);

-- users.merge_preferences
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
SELECT id, is_json, changed.preferences FROM parsed LEFT JOIN changed USING (id);

-- users.delete
DELETE
FROM "users"
WHERE ("users"."id" = $1);

-- users.export
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
FROM users u WHERE u.id = $1;

-- users.erase
BEGIN;
DELETE FROM cache_leases WHERE portfolio_id = ANY (ARRAY(
SELECT id FROM portfolios WHERE user_id = ANY ($1)));
DELETE FROM users u WHERE u.id = $1
RETURNING
    (SELECT count(*) FROM portfolios p WHERE p.user_id = u.id) AS portfolios,
    (SELECT count(*) FROM positions s JOIN portfolios p ON p.id = s.portfolio_id
        WHERE p.user_id = u.id) AS positions,
    (SELECT count(*) FROM analysis_results a JOIN portfolios p ON p.id = a.portfolio_id
        WHERE p.user_id = u.id) AS analyses;
SELECT 1; COMMIT;

-- users.erase_inactive
BEGIN;
SELECT id FROM users
WHERE NOT is_active AND updated_at <= now() - $1::INTERVAL
ORDER BY updated_at, id LIMIT $2 FOR UPDATE SKIP LOCKED;
SELECT 1; COMMIT;

