-- positions.create
INSERT INTO "positions" ("id", "portfolio_id", "ticker", "shares", "average_cost", "allocation_percentage", "notes")
VALUES ($1, $2, $3, $4, DEFAULT, DEFAULT, DEFAULT)
ON CONFLICT ("portfolio_id", "ticker") DO UPDATE
SET "shares" = excluded."shares", "average_cost" = excluded."average_cost", "allocation_percentage" = excluded."allocation_percentage", "notes" = excluded."notes", "is_active" = excluded."is_active"
WHERE  NOT ("positions"."is_active")
RETURNING "positions"."id", "positions"."portfolio_id", "positions"."ticker", "positions"."shares", "positions"."average_cost", "positions"."allocation_percentage", "positions"."notes", "positions"."is_active", "positions"."created_at", "positions"."updated_at";

-- positions.create
INSERT INTO "positions" ("id", "portfolio_id", "ticker", "shares", "average_cost", "allocation_percentage", "notes")
VALUES ($1, $2, $3, $4, DEFAULT, DEFAULT, DEFAULT)
ON CONFLICT ("portfolio_id", "ticker") DO UPDATE
SET "shares" = excluded."shares", "average_cost" = excluded."average_cost", "allocation_percentage" = excluded."allocation_percentage", "notes" = excluded."notes", "is_active" = excluded."is_active"
WHERE  NOT ("positions"."is_active")
RETURNING "positions"."id", "positions"."portfolio_id", "positions"."ticker", "positions"."shares", "positions"."average_cost", "positions"."allocation_percentage", "positions"."notes", "positions"."is_active", "positions"."created_at", "positions"."updated_at";

-- positions.create_many
BEGIN;
INSERT INTO "positions" ("id", "portfolio_id", "ticker", "shares", "average_cost", "allocation_percentage", "notes")
VALUES ($1, $2, $3, $4, DEFAULT, DEFAULT, DEFAULT), ($5, $6, $7, $8, DEFAULT, DEFAULT, DEFAULT), ($9, $10, $11, $12, DEFAULT, DEFAULT, DEFAULT), ($13, $14, $15, $16, DEFAULT, DEFAULT, DEFAULT), ($17, $18, $19, $20, DEFAULT, DEFAULT, DEFAULT)
ON CONFLICT ("portfolio_id", "ticker") DO UPDATE
SET "shares" = excluded."shares", "average_cost" = excluded."average_cost", "allocation_percentage" = excluded."allocation_percentage", "notes" = excluded."notes", "is_active" = excluded."is_active"
WHERE  NOT ("positions"."is_active")
RETURNING "positions"."id", "positions"."portfolio_id", "positions"."ticker", "positions"."shares", "positions"."average_cost", "positions"."allocation_percentage", "positions"."notes", "positions"."is_active", "positions"."created_at", "positions"."updated_at";
SELECT 1; COMMIT;

-- positions.upsert
INSERT INTO "positions" ("id", "portfolio_id", "ticker", "shares", "average_cost", "allocation_percentage", "notes")
VALUES ($1, $2, $3, $4, DEFAULT, DEFAULT, DEFAULT)
ON CONFLICT ("portfolio_id", "ticker") DO UPDATE
SET "shares" = excluded."shares", "average_cost" = excluded."average_cost", "allocation_percentage" = excluded."allocation_percentage", "notes" = excluded."notes", "is_active" = excluded."is_active"
RETURNING "positions"."id", "positions"."portfolio_id", "positions"."ticker", "positions"."shares", "positions"."average_cost", "positions"."allocation_percentage", "positions"."notes", "positions"."is_active", "positions"."created_at", "positions"."updated_at";

-- positions.find
SELECT "positions"."id", "positions"."portfolio_id", "positions"."ticker", "positions"."shares", "positions"."average_cost", "positions"."allocation_percentage", "positions"."notes", "positions"."is_active", "positions"."created_at", "positions"."updated_at"
FROM "positions"
WHERE (("positions"."id" = $1) AND ("positions"."portfolio_id" = $2));

-- positions.find_by_ticker
SELECT "positions"."id", "positions"."portfolio_id", "positions"."ticker", "positions"."shares", "positions"."average_cost", "positions"."allocation_percentage", "positions"."notes", "positions"."is_active", "positions"."created_at", "positions"."updated_at"
FROM "positions"
WHERE (("positions"."portfolio_id" = $1) AND ("positions"."ticker" = $2));

-- positions.list
SELECT "positions"."id", "positions"."portfolio_id", "positions"."ticker", "positions"."shares", "positions"."average_cost", "positions"."allocation_percentage", "positions"."notes", "positions"."is_active", "positions"."created_at", "positions"."updated_at"
FROM "positions"
WHERE ("positions"."portfolio_id" = $1)
ORDER BY "positions"."created_at" DESC, "positions"."id" DESC LIMIT $2;

-- positions.stream
SELECT "positions"."id", "positions"."portfolio_id", "positions"."ticker", "positions"."shares", "positions"."average_cost", "positions"."allocation_percentage", "positions"."notes", "positions"."is_active", "positions"."created_at", "positions"."updated_at"
FROM "positions"
WHERE ("positions"."portfolio_id" = $1)
ORDER BY "positions"."created_at" DESC, "positions"."id" DESC LIMIT $2;

-- positions.holders_of
SELECT "positions"."id", "positions"."portfolio_id", "positions"."ticker", "positions"."shares", "positions"."average_cost", "positions"."allocation_percentage", "positions"."notes", "positions"."is_active", "positions"."created_at", "positions"."updated_at"
FROM "positions"
WHERE ("positions"."ticker" = $1)
ORDER BY "positions"."created_at" DESC, "positions"."id" DESC LIMIT $2;

-- positions.count
SELECT COUNT(*)
FROM "positions"
WHERE ("positions"."portfolio_id" = $1);

-- positions.exists
SELECT EXISTS (SELECT "positions"."id", "positions"."portfolio_id", "positions"."ticker", "positions"."shares", "positions"."average_cost", "positions"."allocation_percentage", "positions"."notes", "positions"."is_active", "positions"."created_at", "positions"."updated_at" FROM "positions" WHERE (("positions"."id" = $1) AND ("positions"."portfolio_id" = $2)));

-- positions.update
UPDATE "positions"
SET "notes" = $1
WHERE (("positions"."id" = $2) AND ("positions"."portfolio_id" = $3))
RETURNING "positions"."id", "positions"."portfolio_id", "positions"."ticker", "positions"."shares", "positions"."average_cost", "positions"."allocation_percentage", "positions"."notes", "positions"."is_active", "positions"."created_at", "positions"."updated_at";

-- positions.remove
UPDATE "positions"
SET "is_active" = $1
WHERE (("positions"."id" = $2) AND ("positions"."portfolio_id" = $3))
RETURNING "positions"."id", "positions"."portfolio_id", "positions"."ticker", "positions"."shares", "positions"."average_cost", "positions"."allocation_percentage", "positions"."notes", "positions"."is_active", "positions"."created_at", "positions"."updated_at";

-- positions.delete
DELETE
FROM "positions"
WHERE (("positions"."id" = $1) AND ("positions"."portfolio_id" = $2));

-- positions.move_to
WITH moving AS (
    SELECT s.id, s.ticker, target.id AS portfolio_id
    FROM positions s
    JOIN portfolios source ON source.id = s.portfolio_id
    JOIN portfolios target ON target.user_id = source.user_id
    WHERE s.id = $2 AND s.portfolio_id = $1 AND target.id = $3
    FOR UPDATE OF s
), replaced AS (
    DELETE FROM positions old USING moving
    WHERE old.portfolio_id = moving.portfolio_id AND old.ticker = moving.ticker
        AND old.id <> moving.id AND NOT old.is_active
    RETURNING old.id
)
UPDATE positions SET portfolio_id = moving.portfolio_id
FROM moving CROSS JOIN (SELECT count(*) AS n FROM replaced) done
WHERE positions.id = moving.id AND done.n >= 0
RETURNING positions.*;

