-- audit.list
SELECT "audit_log"."id", "audit_log"."recorded_at", "audit_log"."user_id", "audit_log"."actor_id", "audit_log"."login", "audit_log"."table_name", "audit_log"."row_id", "audit_log"."operation", "audit_log"."before", "audit_log"."after"
FROM "audit_log"
ORDER BY "audit_log"."recorded_at" DESC, "audit_log"."id" DESC LIMIT $1;

-- audit.stream
SELECT "audit_log"."id", "audit_log"."recorded_at", "audit_log"."user_id", "audit_log"."actor_id", "audit_log"."login", "audit_log"."table_name", "audit_log"."row_id", "audit_log"."operation", "audit_log"."before", "audit_log"."after"
FROM "audit_log"
ORDER BY "audit_log"."recorded_at" DESC, "audit_log"."id" DESC LIMIT $1;

-- audit.count
SELECT COUNT(*)
FROM "audit_log";

-- audit.sweep
BEGIN;
SET LOCAL buffetbot.audit_log = 'may shrink';
WITH doomed AS MATERIALIZED (
    SELECT user_id, recorded_at, id FROM audit_log
    WHERE recorded_at < now() - $1::INTERVAL
    ORDER BY recorded_at LIMIT 10
)
DELETE FROM audit_log AS entry USING doomed
WHERE entry.user_id = doomed.user_id AND entry.recorded_at = doomed.recorded_at AND entry.id = doomed.id;
SET LOCAL buffetbot.audit_log = '';
SELECT 1; COMMIT;

