-- corporate_actions.create
INSERT INTO "corporate_actions" ("id", "ticker", "ex_date", "data_source", "action_type", "split_from", "split_to", "amount")
VALUES ($1, $2, $3, $4, $5, DEFAULT, DEFAULT, $6)
RETURNING "corporate_actions"."id", "corporate_actions"."ticker", "corporate_actions"."ex_date", "corporate_actions"."action_type", "corporate_actions"."split_from", "corporate_actions"."split_to", "corporate_actions"."amount", "corporate_actions"."data_source", "corporate_actions"."created_at", "corporate_actions"."updated_at";

-- corporate_actions.create_many
BEGIN;
INSERT INTO "corporate_actions" ("id", "ticker", "ex_date", "data_source", "action_type", "split_from", "split_to", "amount")
VALUES ($1, $2, $3, $4, $5, DEFAULT, DEFAULT, $6), ($7, $8, $9, $10, $11, DEFAULT, DEFAULT, $12), ($13, $14, $15, $16, $17, DEFAULT, DEFAULT, $18), ($19, $20, $21, $22, $23, DEFAULT, DEFAULT, $24), ($25, $26, $27, $28, $29, DEFAULT, DEFAULT, $30)
RETURNING "corporate_actions"."id", "corporate_actions"."ticker", "corporate_actions"."ex_date", "corporate_actions"."action_type", "corporate_actions"."split_from", "corporate_actions"."split_to", "corporate_actions"."amount", "corporate_actions"."data_source", "corporate_actions"."created_at", "corporate_actions"."updated_at";
SELECT 1; COMMIT;

-- corporate_actions.upsert_many
INSERT INTO corporate_actions AS stored
    (id, ticker, ex_date, action_type, split_from, split_to, amount, data_source)
SELECT id, ticker, ex_date, action_type, split_from, split_to, amount, data_source
FROM unnest($1::uuid[], $2::text[], $3::timestamptz[], $4::text[], $5::numeric[], $6::numeric[],
    $7::numeric[], $8::text[])
    AS delivered (id, ticker, ex_date, action_type, split_from, split_to, amount, data_source)
ORDER BY ticker COLLATE "C", ex_date, action_type COLLATE "C"
ON CONFLICT (ticker, ex_date, action_type) DO UPDATE SET
    split_from = excluded.split_from, split_to = excluded.split_to, amount = excluded.amount,
    data_source = excluded.data_source
WHERE (stored.split_from, stored.split_to, stored.amount, stored.data_source)
    IS DISTINCT FROM
        (excluded.split_from, excluded.split_to, excluded.amount, excluded.data_source)
RETURNING id;

-- corporate_actions.find
SELECT "corporate_actions"."id", "corporate_actions"."ticker", "corporate_actions"."ex_date", "corporate_actions"."action_type", "corporate_actions"."split_from", "corporate_actions"."split_to", "corporate_actions"."amount", "corporate_actions"."data_source", "corporate_actions"."created_at", "corporate_actions"."updated_at"
FROM "corporate_actions"
WHERE ("corporate_actions"."id" = $1);

-- corporate_actions.for_ticker
SELECT "corporate_actions"."id", "corporate_actions"."ticker", "corporate_actions"."ex_date", "corporate_actions"."action_type", "corporate_actions"."split_from", "corporate_actions"."split_to", "corporate_actions"."amount", "corporate_actions"."data_source", "corporate_actions"."created_at", "corporate_actions"."updated_at"
FROM "corporate_actions"
WHERE ((("corporate_actions"."ticker" = $1) AND ("corporate_actions"."ex_date" >= $2)) AND ("corporate_actions"."ex_date" < $3))
ORDER BY "corporate_actions"."ex_date", "corporate_actions"."action_type";

-- corporate_actions.list
SELECT "corporate_actions"."id", "corporate_actions"."ticker", "corporate_actions"."ex_date", "corporate_actions"."action_type", "corporate_actions"."split_from", "corporate_actions"."split_to", "corporate_actions"."amount", "corporate_actions"."data_source", "corporate_actions"."created_at", "corporate_actions"."updated_at"
FROM "corporate_actions"
ORDER BY "corporate_actions"."ex_date" DESC, "corporate_actions"."id" DESC LIMIT $1;

-- corporate_actions.stream
SELECT "corporate_actions"."id", "corporate_actions"."ticker", "corporate_actions"."ex_date", "corporate_actions"."action_type", "corporate_actions"."split_from", "corporate_actions"."split_to", "corporate_actions"."amount", "corporate_actions"."data_source", "corporate_actions"."created_at", "corporate_actions"."updated_at"
FROM "corporate_actions"
ORDER BY "corporate_actions"."ex_date" DESC, "corporate_actions"."id" DESC LIMIT $1;

-- corporate_actions.count
SELECT COUNT(*)
FROM "corporate_actions";

-- corporate_actions.exists
SELECT EXISTS (SELECT "corporate_actions"."id", "corporate_actions"."ticker", "corporate_actions"."ex_date", "corporate_actions"."action_type", "corporate_actions"."split_from", "corporate_actions"."split_to", "corporate_actions"."amount", "corporate_actions"."data_source", "corporate_actions"."created_at", "corporate_actions"."updated_at" FROM "corporate_actions" WHERE ("corporate_actions"."id" = $1));

-- corporate_actions.update
UPDATE "corporate_actions"
SET "data_source" = $1
WHERE ("corporate_actions"."id" = $2)
RETURNING "corporate_actions"."id", "corporate_actions"."ticker", "corporate_actions"."ex_date", "corporate_actions"."action_type", "corporate_actions"."split_from", "corporate_actions"."split_to", "corporate_actions"."amount", "corporate_actions"."data_source", "corporate_actions"."created_at", "corporate_actions"."updated_at";

-- corporate_actions.delete
DELETE
FROM "corporate_actions"
WHERE ("corporate_actions"."id" = $1);

