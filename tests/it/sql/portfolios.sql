-- portfolios.create
INSERT INTO "portfolios" ("id", "user_id", "name", "description", "risk_tolerance", "target_cash_percentage")
VALUES ($1, $2, $3, DEFAULT, $4, DEFAULT)
RETURNING "portfolios"."id", "portfolios"."user_id", "portfolios"."name", "portfolios"."description", "portfolios"."risk_tolerance", "portfolios"."is_active", "portfolios"."target_cash_percentage", "portfolios"."created_at", "portfolios"."updated_at";

-- portfolios.create_many
BEGIN;
INSERT INTO "portfolios" ("id", "user_id", "name", "description", "risk_tolerance", "target_cash_percentage")
VALUES ($1, $2, $3, DEFAULT, $4, DEFAULT), ($5, $6, $7, DEFAULT, $8, DEFAULT), ($9, $10, $11, DEFAULT, $12, DEFAULT), ($13, $14, $15, DEFAULT, $16, DEFAULT), ($17, $18, $19, DEFAULT, $20, DEFAULT)
RETURNING "portfolios"."id", "portfolios"."user_id", "portfolios"."name", "portfolios"."description", "portfolios"."risk_tolerance", "portfolios"."is_active", "portfolios"."target_cash_percentage", "portfolios"."created_at", "portfolios"."updated_at";
SELECT 1; COMMIT;

-- portfolios.find
SELECT "portfolios"."id", "portfolios"."user_id", "portfolios"."name", "portfolios"."description", "portfolios"."risk_tolerance", "portfolios"."is_active", "portfolios"."target_cash_percentage", "portfolios"."created_at", "portfolios"."updated_at"
FROM "portfolios"
WHERE ("portfolios"."id" = $1);

-- portfolios.find_by_name
SELECT "portfolios"."id", "portfolios"."user_id", "portfolios"."name", "portfolios"."description", "portfolios"."risk_tolerance", "portfolios"."is_active", "portfolios"."target_cash_percentage", "portfolios"."created_at", "portfolios"."updated_at"
FROM "portfolios"
WHERE (("portfolios"."user_id" = $1) AND ("portfolios"."name" = $2))
ORDER BY "portfolios"."is_active" DESC, "portfolios"."created_at" DESC, "portfolios"."id" DESC LIMIT $3;

-- portfolios.list
SELECT "portfolios"."id", "portfolios"."user_id", "portfolios"."name", "portfolios"."description", "portfolios"."risk_tolerance", "portfolios"."is_active", "portfolios"."target_cash_percentage", "portfolios"."created_at", "portfolios"."updated_at"
FROM "portfolios"
WHERE "portfolios"."is_active"
ORDER BY "portfolios"."created_at" DESC, "portfolios"."id" DESC LIMIT $1;

-- portfolios.stream
SELECT "portfolios"."id", "portfolios"."user_id", "portfolios"."name", "portfolios"."description", "portfolios"."risk_tolerance", "portfolios"."is_active", "portfolios"."target_cash_percentage", "portfolios"."created_at", "portfolios"."updated_at"
FROM "portfolios"
WHERE "portfolios"."is_active"
ORDER BY "portfolios"."created_at" DESC, "portfolios"."id" DESC LIMIT $1;

-- portfolios.list_for_user
SELECT "portfolios"."id", "portfolios"."user_id", "portfolios"."name", "portfolios"."description", "portfolios"."risk_tolerance", "portfolios"."is_active", "portfolios"."target_cash_percentage", "portfolios"."created_at", "portfolios"."updated_at"
FROM "portfolios"
WHERE ("portfolios"."user_id" = $1)
ORDER BY "portfolios"."created_at" DESC, "portfolios"."id" DESC LIMIT $2;

-- portfolios.list_by_risk_tolerance
SELECT "portfolios"."id", "portfolios"."user_id", "portfolios"."name", "portfolios"."description", "portfolios"."risk_tolerance", "portfolios"."is_active", "portfolios"."target_cash_percentage", "portfolios"."created_at", "portfolios"."updated_at"
FROM "portfolios"
WHERE (("portfolios"."risk_tolerance" = $1) AND "portfolios"."is_active")
ORDER BY "portfolios"."created_at" DESC, "portfolios"."id" DESC LIMIT $2;

-- portfolios.count
SELECT COUNT(*)
FROM "portfolios"
WHERE "portfolios"."is_active";

-- portfolios.exists
SELECT EXISTS (SELECT "portfolios"."id", "portfolios"."user_id", "portfolios"."name", "portfolios"."description", "portfolios"."risk_tolerance", "portfolios"."is_active", "portfolios"."target_cash_percentage", "portfolios"."created_at", "portfolios"."updated_at" FROM "portfolios" WHERE ("portfolios"."id" = $1));

-- portfolios.update
UPDATE "portfolios"
SET "name" = $1
WHERE ("portfolios"."id" = $2)
RETURNING "portfolios"."id", "portfolios"."user_id", "portfolios"."name", "portfolios"."description", "portfolios"."risk_tolerance", "portfolios"."is_active", "portfolios"."target_cash_percentage", "portfolios"."created_at", "portfolios"."updated_at";

-- portfolios.deactivate
UPDATE "portfolios"
SET "is_active" = $1
WHERE ("portfolios"."id" = $2)
RETURNING "portfolios"."id", "portfolios"."user_id", "portfolios"."name", "portfolios"."description", "portfolios"."risk_tolerance", "portfolios"."is_active", "portfolios"."target_cash_percentage", "portfolios"."created_at", "portfolios"."updated_at";

-- portfolios.activate
UPDATE "portfolios"
SET "is_active" = $1
WHERE ("portfolios"."id" = $2)
RETURNING "portfolios"."id", "portfolios"."user_id", "portfolios"."name", "portfolios"."description", "portfolios"."risk_tolerance", "portfolios"."is_active", "portfolios"."target_cash_percentage", "portfolios"."created_at", "portfolios"."updated_at";

-- portfolios.delete
DELETE
FROM "portfolios"
WHERE ("portfolios"."id" = $1);

-- portfolios.with_positions
SELECT "portfolios"."id", "portfolios"."user_id", "portfolios"."name", "portfolios"."description", "portfolios"."risk_tolerance", "portfolios"."is_active", "portfolios"."target_cash_percentage", "portfolios"."created_at", "portfolios"."updated_at", "positions"."id", "positions"."portfolio_id", "positions"."ticker", "positions"."shares", "positions"."average_cost", "positions"."allocation_percentage", "positions"."notes", "positions"."is_active", "positions"."created_at", "positions"."updated_at"
FROM ("portfolios" LEFT OUTER JOIN "positions" ON ("positions"."portfolio_id" = "portfolios"."id"))
WHERE ("portfolios"."id" = $1)
ORDER BY "positions"."ticker";

-- portfolios.summary
SELECT p.id AS portfolio_id, p.target_cash_percentage, s.*,
    (SELECT count(*) FROM analysis_results a WHERE a.portfolio_id = p.id) AS analyses
FROM portfolios p
CROSS JOIN LATERAL (
    SELECT
        count(*) FILTER (WHERE is_active) AS active_positions,
        count(*) FILTER (WHERE NOT is_active) AS inactive_positions,
        COALESCE(sum(allocation_percentage) FILTER (WHERE is_active), 0) AS allocation_total,
        COALESCE(sum(shares * average_cost) FILTER (WHERE is_active), 0) AS cost_basis,
        count(*) FILTER (WHERE is_active AND shares * average_cost IS NULL)
            AS positions_without_cost
    FROM positions WHERE portfolio_id = p.id
) s
WHERE p.id = $1;

-- portfolios.valuation
SELECT p.id AS portfolio_id, moment.as_of, p.target_cash_percentage,
    s.id AS position_id, s.ticker, s.shares, s.average_cost, s.allocation_percentage,
    bar.id AS bar_id, bar.date, bar.close_price, bar.is_suspect
FROM portfolios p
CROSS JOIN (SELECT COALESCE($2, now()) AS as_of) moment
LEFT JOIN positions s ON s.portfolio_id = p.id AND s.is_active
LEFT JOIN LATERAL (
    SELECT b.id, b.date, b.close_price, b.is_suspect FROM price_history b
    WHERE b.ticker = s.ticker AND b.date <= moment.as_of
    ORDER BY b.date DESC LIMIT 1
) bar ON TRUE
WHERE p.id = $1
ORDER BY s.ticker;

-- portfolios.duplicate
BEGIN;
INSERT INTO portfolios (id, user_id, name, description, risk_tolerance, target_cash_percentage)
SELECT $2, user_id, $3, description, risk_tolerance, target_cash_percentage
FROM portfolios WHERE id = $1
RETURNING *;
INSERT INTO positions (portfolio_id, ticker, shares, average_cost, allocation_percentage, notes)
SELECT $2, ticker, shares, average_cost, allocation_percentage, notes
FROM positions WHERE portfolio_id = $1 AND is_active;
SELECT 1; COMMIT;

