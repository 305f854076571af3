-- prices.create
INSERT INTO "price_history" ("id", "ticker", "date", "open_price", "high_price", "low_price", "close_price", "volume", "adjusted_close", "data_source", "is_suspect")
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, DEFAULT, $9, $10)
RETURNING "price_history"."id", "price_history"."ticker", "price_history"."date", "price_history"."open_price", "price_history"."high_price", "price_history"."low_price", "price_history"."close_price", "price_history"."volume", "price_history"."adjusted_close", "price_history"."data_source", "price_history"."created_at", "price_history"."is_suspect", "price_history"."corrected_at";

-- prices.create_many
BEGIN;
INSERT INTO "price_history" ("id", "ticker", "date", "open_price", "high_price", "low_price", "close_price", "volume", "adjusted_close", "data_source", "is_suspect")
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, DEFAULT, $9, $10), ($11, $12, $13, $14, $15, $16, $17, $18, DEFAULT, $19, $20), ($21, $22, $23, $24, $25, $26, $27, $28, DEFAULT, $29, $30), ($31, $32, $33, $34, $35, $36, $37, $38, DEFAULT, $39, $40), ($41, $42, $43, $44, $45, $46, $47, $48, DEFAULT, $49, $50)
RETURNING "price_history"."id", "price_history"."ticker", "price_history"."date", "price_history"."open_price", "price_history"."high_price", "price_history"."low_price", "price_history"."close_price", "price_history"."volume", "price_history"."adjusted_close", "price_history"."data_source", "price_history"."created_at", "price_history"."is_suspect", "price_history"."corrected_at";
SELECT 1; COMMIT;

-- prices.upsert_many
INSERT INTO price_history AS stored (id, ticker, date, open_price, high_price, low_price,
    close_price, volume, adjusted_close, data_source, is_suspect)
SELECT id, ticker, date, open_price, high_price, low_price,
    close_price, volume, adjusted_close, data_source, is_suspect
FROM unnest($1::uuid[], $2::text[], $3::timestamptz[], $4::numeric[], $5::numeric[],
    $6::numeric[], $7::numeric[], $8::bigint[], $9::numeric[], $10::text[], $11::boolean[])
    WITH ORDINALITY
AS delivered (id, ticker, date, open_price, high_price, low_price,
    close_price, volume, adjusted_close, data_source, is_suspect, place)
WHERE (
    SELECT (same.open_price, same.high_price, same.low_price, same.close_price, same.volume,
            same.adjusted_close, same.data_source, same.is_suspect)
        IS DISTINCT FROM (delivered.open_price, delivered.high_price, delivered.low_price,
            delivered.close_price, delivered.volume, delivered.adjusted_close,
            delivered.data_source, delivered.is_suspect)
    FROM price_history AS same
    WHERE same.ticker = delivered.ticker AND same.date = delivered.date
) IS NOT FALSE
ORDER BY place
ON CONFLICT (ticker, date) DO UPDATE SET
    open_price = excluded.open_price, high_price = excluded.high_price,
    low_price = excluded.low_price, close_price = excluded.close_price,
    volume = excluded.volume, adjusted_close = excluded.adjusted_close,
    data_source = excluded.data_source, is_suspect = excluded.is_suspect
WHERE (stored.open_price, stored.high_price, stored.low_price, stored.close_price,
        stored.volume, stored.adjusted_close, stored.data_source, stored.is_suspect)
    IS DISTINCT FROM (excluded.open_price, excluded.high_price, excluded.low_price,
        excluded.close_price, excluded.volume, excluded.adjusted_close, excluded.data_source,
        excluded.is_suspect)
RETURNING id;

-- prices.upsert_many_with
SELECT wanted.ticker, bar.close_price
FROM unnest($1::text[], $2::timestamptz[]) AS wanted (ticker, first)
CROSS JOIN LATERAL (
    SELECT close_price FROM price_history
    WHERE ticker = wanted.ticker AND date < wanted.first AND NOT is_suspect
    ORDER BY date DESC LIMIT 1
) AS bar;
BEGIN;
COPY (SELECT wanted.ticker, bar.* FROM unnest('{"N25"}'::text[], '{"2024-01-02 00:00:00+00"}'::timestamptz[], '{"2024-01-09 00:00:00+00"}'::timestamptz[]) AS wanted (ticker, start, until) CROSS JOIN LATERAL (
        SELECT date, open_price, high_price, low_price, close_price, volume, adjusted_close,
data_source, is_suspect FROM price_history
    WHERE ticker = ANY (ARRAY[wanted.ticker]) AND date >= wanted.start AND date < wanted.until ORDER BY ticker, date LIMIT (SELECT 9223372036854775807)
    ) AS bar) TO STDOUT (FORMAT binary);
SAVEPOINT copied;
COPY price_history (id, ticker, date, open_price, high_price, low_price,
close_price, volume, adjusted_close, data_source, is_suspect) FROM STDIN (FORMAT binary);
RELEASE SAVEPOINT copied;
SELECT 1; COMMIT;

-- prices.copy_in
BEGIN;
SAVEPOINT chunk;
COPY (SELECT wanted.ticker, bar.* FROM unnest('{"N26"}'::text[], '{"2024-01-02 00:00:00+00"}'::timestamptz[], '{"2024-01-09 00:00:00+00"}'::timestamptz[]) AS wanted (ticker, start, until) CROSS JOIN LATERAL (
        SELECT date, open_price, high_price, low_price, close_price, volume, adjusted_close,
data_source, is_suspect FROM price_history
    WHERE ticker = ANY (ARRAY[wanted.ticker]) AND date >= wanted.start AND date < wanted.until ORDER BY ticker, date LIMIT (SELECT 9223372036854775807)
    ) AS bar) TO STDOUT (FORMAT binary);
SAVEPOINT copied;
COPY price_history (id, ticker, date, open_price, high_price, low_price,
close_price, volume, adjusted_close, data_source, is_suspect) FROM STDIN (FORMAT binary);
RELEASE SAVEPOINT copied;
RELEASE SAVEPOINT chunk;
SELECT 1; COMMIT;

-- prices.find
SELECT "price_history"."id", "price_history"."ticker", "price_history"."date", "price_history"."open_price", "price_history"."high_price", "price_history"."low_price", "price_history"."close_price", "price_history"."volume", "price_history"."adjusted_close", "price_history"."data_source", "price_history"."created_at", "price_history"."is_suspect", "price_history"."corrected_at"
FROM "price_history"
WHERE ("price_history"."id" = $1);

-- prices.find_by_day
SELECT "price_history"."id", "price_history"."ticker", "price_history"."date", "price_history"."open_price", "price_history"."high_price", "price_history"."low_price", "price_history"."close_price", "price_history"."volume", "price_history"."adjusted_close", "price_history"."data_source", "price_history"."created_at", "price_history"."is_suspect", "price_history"."corrected_at"
FROM "price_history"
WHERE ((price_history.ticker = ANY (ARRAY[$1]) AND ("price_history"."date" >= $2)) AND ("price_history"."date" < $3))
ORDER BY "price_history"."ticker", "price_history"."date" LIMIT $4;

-- prices.range
SELECT "price_history"."id", "price_history"."ticker", "price_history"."date", "price_history"."open_price", "price_history"."high_price", "price_history"."low_price", "price_history"."close_price", "price_history"."volume", "price_history"."adjusted_close", "price_history"."data_source", "price_history"."created_at", "price_history"."is_suspect", "price_history"."corrected_at"
FROM "price_history"
WHERE ((price_history.ticker = ANY (ARRAY[$1]) AND ("price_history"."date" >= $2)) AND ("price_history"."date" < $3))
ORDER BY "price_history"."ticker", "price_history"."date" LIMIT $4;

-- prices.range_many
SELECT bar.* FROM unnest($1::text[]) AS wanted (symbol) CROSS JOIN LATERAL (SELECT id, ticker, date, open_price, high_price, low_price, close_price, volume, adjusted_close,
data_source, created_at, is_suspect, corrected_at FROM price_history
    WHERE ticker = ANY (ARRAY[wanted.symbol]) AND date >= $2 AND date < $3 ORDER BY ticker, date LIMIT (SELECT 9223372036854775807)) AS bar;

-- prices.columns
COPY (SELECT ticker, date, open_price, high_price, low_price, close_price, volume, adjusted_close, is_suspect FROM price_history
WHERE ticker = ANY ('{"AAPL"}'::text[]) AND date >= '2024-01-02 00:00:00+00' AND date < '2024-02-02 00:00:00+00'
) TO STDOUT (FORMAT binary);

-- prices.series
COPY (SELECT ticker, date, open_price, high_price, low_price, close_price, volume, adjusted_close, is_suspect FROM price_history
WHERE ticker = ANY ('{"AAPL"}'::text[]) AND date >= '2024-01-02 00:00:00+00' AND date < '2024-02-02 00:00:00+00'
) TO STDOUT (FORMAT binary);

-- prices.tickers
WITH RECURSIVE known (ticker) AS (
    (SELECT ticker FROM price_history ORDER BY ticker LIMIT 1)
    UNION ALL
    SELECT (SELECT ticker FROM price_history WHERE ticker > known.ticker ORDER BY ticker LIMIT 1)
    FROM known WHERE known.ticker IS NOT NULL
)
SELECT ticker FROM known WHERE ticker IS NOT NULL;

-- prices.stream_range
SELECT bar.* FROM unnest($1::text[]) AS wanted (symbol) CROSS JOIN LATERAL (SELECT id, ticker, date, open_price, high_price, low_price, close_price, volume, adjusted_close,
data_source, created_at, is_suspect, corrected_at FROM price_history
    WHERE ticker = ANY (ARRAY[wanted.symbol]) AND date >= $2 AND date < $3 ORDER BY ticker, date LIMIT (SELECT 9223372036854775807)) AS bar;

-- prices.latest
SELECT bar.*, previous.close_price AS previous_close
FROM unnest($1::text[]) WITH ORDINALITY AS wanted (ticker, place)
CROSS JOIN LATERAL (
    SELECT * FROM price_history
    WHERE ticker = wanted.ticker
    ORDER BY date DESC LIMIT 1
) AS bar
LEFT JOIN LATERAL (
    SELECT close_price FROM price_history
    WHERE ticker = wanted.ticker AND date < bar.date
    ORDER BY date DESC LIMIT 1
) AS previous ON TRUE
ORDER BY wanted.place;

-- prices.latest_of
SELECT bar.*, previous.close_price AS previous_close
FROM unnest($1::text[]) WITH ORDINALITY AS wanted (ticker, place)
CROSS JOIN LATERAL (
    SELECT * FROM price_history
    WHERE ticker = wanted.ticker
    ORDER BY date DESC LIMIT 1
) AS bar
LEFT JOIN LATERAL (
    SELECT close_price FROM price_history
    WHERE ticker = wanted.ticker AND date < bar.date
    ORDER BY date DESC LIMIT 1
) AS previous ON TRUE
ORDER BY wanted.place;

-- prices.nearest
SELECT bar.*
FROM unnest($1::text[]) WITH ORDINALITY AS wanted (symbol, place)
CROSS JOIN LATERAL (SELECT * FROM price_history
WHERE ticker = ANY (ARRAY[wanted.symbol]) AND date >= $2 AND date < $3 ORDER BY ticker DESC, date DESC LIMIT 1) AS bar
ORDER BY wanted.place;

-- prices.coverage
SELECT wanted.ticker, stored.first, stored.last, stored.bars
FROM unnest($1::text[]) WITH ORDINALITY AS wanted (ticker, place)
CROSS JOIN LATERAL (
    SELECT min(date) AS first, max(date) AS last, count(*) AS bars
    FROM price_history WHERE ticker = wanted.ticker
) AS stored
WHERE stored.bars > 0
ORDER BY wanted.place;

-- prices.gaps
SELECT "price_history"."date"
FROM "price_history"
WHERE ((price_history.ticker = ANY (ARRAY[$1]) AND ("price_history"."date" >= $2)) AND ("price_history"."date" < $3))
ORDER BY "price_history"."ticker", "price_history"."date" LIMIT $4;

-- prices.resample
SELECT bar.* FROM unnest($1::text[]) AS wanted (symbol) CROSS JOIN LATERAL (SELECT id, ticker, date, open_price, high_price, low_price, close_price, volume, adjusted_close,
data_source, created_at, is_suspect, corrected_at FROM price_history
    WHERE ticker = ANY (ARRAY[wanted.symbol]) AND date >= $2 AND date < $3 ORDER BY ticker, date LIMIT (SELECT 9223372036854775807)) AS bar;

-- prices.digest
SELECT bars_digest($1) AS digest;

-- prices.adjusted
SELECT "price_history"."id", "price_history"."ticker", "price_history"."date", "price_history"."open_price", "price_history"."high_price", "price_history"."low_price", "price_history"."close_price", "price_history"."volume", "price_history"."adjusted_close", "price_history"."data_source", "price_history"."created_at", "price_history"."is_suspect", "price_history"."corrected_at"
FROM "price_history"
WHERE ((price_history.ticker = ANY (ARRAY[$1]) AND ("price_history"."date" >= $2)) AND ("price_history"."date" < $3))
ORDER BY "price_history"."ticker", "price_history"."date" LIMIT $4;
SELECT action.id, action.ex_date, action.action_type, action.split_from, action.split_to, action.amount,
    previous.id AS bar_id, previous.close_price
FROM corporate_actions AS action
LEFT JOIN LATERAL (
    SELECT id, close_price FROM price_history
    WHERE ticker = action.ticker AND date < action.ex_date
    ORDER BY date DESC LIMIT 1
) AS previous ON TRUE
WHERE action.ticker = $1 AND action.ex_date >= $2 AND action.ex_date < $3
    AND ($4 OR action.action_type <> 'dividend')
ORDER BY action.ex_date, action.action_type;

-- prices.verify_adjustment
SELECT "price_history"."id", "price_history"."ticker", "price_history"."date", "price_history"."open_price", "price_history"."high_price", "price_history"."low_price", "price_history"."close_price", "price_history"."volume", "price_history"."adjusted_close", "price_history"."data_source", "price_history"."created_at", "price_history"."is_suspect", "price_history"."corrected_at"
FROM "price_history"
WHERE ((price_history.ticker = ANY (ARRAY[$1]) AND ("price_history"."date" >= $2)) AND ("price_history"."date" < $3))
ORDER BY "price_history"."ticker", "price_history"."date" LIMIT $4;
SELECT action.id, action.ex_date, action.action_type, action.split_from, action.split_to, action.amount,
    previous.id AS bar_id, previous.close_price
FROM corporate_actions AS action
LEFT JOIN LATERAL (
    SELECT id, close_price FROM price_history
    WHERE ticker = action.ticker AND date < action.ex_date
    ORDER BY date DESC LIMIT 1
) AS previous ON TRUE
WHERE action.ticker = $1 AND action.ex_date >= $2 AND action.ex_date < $3
    AND ($4 OR action.action_type <> 'dividend')
ORDER BY action.ex_date, action.action_type;

-- prices.list
SELECT "price_history"."id", "price_history"."ticker", "price_history"."date", "price_history"."open_price", "price_history"."high_price", "price_history"."low_price", "price_history"."close_price", "price_history"."volume", "price_history"."adjusted_close", "price_history"."data_source", "price_history"."created_at", "price_history"."is_suspect", "price_history"."corrected_at"
FROM "price_history"
ORDER BY "price_history"."date" DESC, "price_history"."id" DESC LIMIT $1;

-- prices.stream
SELECT "price_history"."id", "price_history"."ticker", "price_history"."date", "price_history"."open_price", "price_history"."high_price", "price_history"."low_price", "price_history"."close_price", "price_history"."volume", "price_history"."adjusted_close", "price_history"."data_source", "price_history"."created_at", "price_history"."is_suspect", "price_history"."corrected_at"
FROM "price_history"
ORDER BY "price_history"."date" DESC, "price_history"."id" DESC LIMIT $1;

-- prices.count
SELECT COUNT(*)
FROM "price_history";

-- prices.exists
SELECT EXISTS (SELECT "price_history"."id", "price_history"."ticker", "price_history"."date", "price_history"."open_price", "price_history"."high_price", "price_history"."low_price", "price_history"."close_price", "price_history"."volume", "price_history"."adjusted_close", "price_history"."data_source", "price_history"."created_at", "price_history"."is_suspect", "price_history"."corrected_at", "price_history"."added_by" FROM "price_history" WHERE ("price_history"."id" = $1));

-- prices.update
UPDATE "price_history"
SET "data_source" = $1
WHERE ("price_history"."id" = $2)
RETURNING "price_history"."id", "price_history"."ticker", "price_history"."date", "price_history"."open_price", "price_history"."high_price", "price_history"."low_price", "price_history"."close_price", "price_history"."volume", "price_history"."adjusted_close", "price_history"."data_source", "price_history"."created_at", "price_history"."is_suspect", "price_history"."corrected_at";

-- prices.delete
DELETE
FROM "price_history"
WHERE ("price_history"."id" = $1);

-- prices.delete_range
DELETE
FROM "price_history"
WHERE ((("price_history"."ticker" = $1) AND ("price_history"."date" >= $2)) AND ("price_history"."date" < $3));

-- prices.range_as_of
SELECT (SELECT snapshot::TEXT FROM knowledge_points WHERE known_at < $1 ORDER BY known_at DESC LIMIT 1) AS previous,
    COALESCE(closing.snapshot, txid_current_snapshot())::TEXT AS next,
    COALESCE(closing.known_at, clock_timestamp()) AS next_at,
    closing.snapshot IS NOT NULL AS is_closed,
    $1 > clock_timestamp() + interval '1 second' AS is_to_come,
    COALESCE((SELECT system_identifier FROM knowledge_points ORDER BY known_at LIMIT 1)
        <> (SELECT system_identifier FROM pg_control_system()), false) AS is_foreign
FROM (SELECT) AS one
LEFT JOIN (
    SELECT known_at, snapshot FROM knowledge_points
    -- A point that is ahead of the clock was made before this was set back.
    WHERE known_at >= $1 AND known_at <= clock_timestamp() + interval '1 second' ORDER BY known_at LIMIT 1
) AS closing ON true;
WITH around AS MATERIALIZED (
    SELECT $5::TEXT::TXID_SNAPSHOT AS previous, $6::TEXT::TXID_SNAPSHOT AS next,
        $7::TIMESTAMPTZ AS next_at, $8::BOOLEAN AS is_foreign
)
SELECT id, ticker, date, open_price, high_price, low_price, close_price, volume, adjusted_close,
data_source, created_at, is_suspect, corrected_at, NULL::BIGINT AS number
FROM unnest($1::TEXT[]) AS wanted (symbol) CROSS JOIN LATERAL (SELECT * FROM price_history
    WHERE ticker = ANY (ARRAY[wanted.symbol]) AND date >= $2 AND date < $3 ORDER BY ticker, date LIMIT (SELECT 9223372036854775807)) AS bar
WHERE CASE WHEN added_by IS NULL OR (SELECT is_foreign FROM around) THEN COALESCE(corrected_at, created_at) <= $4
        ELSE txid_visible_in_snapshot(added_by, (SELECT next FROM around))
            AND (COALESCE(corrected_at, created_at) <= $4 OR COALESCE(corrected_at, created_at) > (SELECT next_at FROM around)
                OR txid_visible_in_snapshot(added_by, (SELECT previous FROM around)))
        END IS TRUE
UNION ALL
SELECT id, ticker, date, open_price, high_price, low_price, close_price, volume, adjusted_close,
data_source, created_at, is_suspect, corrected_at, number
FROM price_revisions
WHERE ticker = ANY ($1) AND date >= $2 AND date < $3
    AND CASE WHEN added_by IS NULL OR (SELECT is_foreign FROM around) THEN COALESCE(corrected_at, created_at) <= $4
        ELSE txid_visible_in_snapshot(added_by, (SELECT next FROM around))
            AND (COALESCE(corrected_at, created_at) <= $4 OR COALESCE(corrected_at, created_at) > (SELECT next_at FROM around)
                OR txid_visible_in_snapshot(added_by, (SELECT previous FROM around)))
        END IS TRUE AND NOT CASE WHEN removed_by IS NULL OR (SELECT is_foreign FROM around) THEN replaced_at <= $4
        ELSE txid_visible_in_snapshot(removed_by, (SELECT next FROM around))
            AND (replaced_at <= $4 OR replaced_at > (SELECT next_at FROM around)
                OR txid_visible_in_snapshot(removed_by, (SELECT previous FROM around)))
        END IS TRUE;
SELECT (SELECT known_from FROM swept_history WHERE table_name = 'price_history') AS known_from,
(SELECT min(year) FROM archived_price_years
    WHERE make_timestamptz(year, 1, 1, 0, 0, 0, 'UTC') < $2
        AND make_timestamptz(year + 1, 1, 1, 0, 0, 0, 'UTC') > $1) AS archived_year;

-- prices.revisions
SELECT * FROM (SELECT id, ticker, date, open_price, high_price, low_price, close_price, volume, adjusted_close,
data_source, created_at, is_suspect, corrected_at, replaced_at, removed_by IS NOT NULL AS is_counted, number
FROM price_revisions WHERE ticker = $1 AND date >= $2 AND date < $3
UNION ALL
SELECT id, ticker, date, open_price, high_price, low_price, close_price, volume, adjusted_close,
data_source, created_at, is_suspect, corrected_at, NULL, TRUE, NULL FROM (SELECT * FROM price_history
    WHERE ticker = ANY (ARRAY[$1]) AND date >= $2 AND date < $3 ORDER BY ticker, date LIMIT (SELECT 9223372036854775807)) AS bar) AS known
ORDER BY is_counted, CASE WHEN is_counted THEN NULL ELSE replaced_at END, number NULLS LAST;

-- prices.sweep_revisions
WITH doomed AS MATERIALIZED (
    SELECT number FROM price_revisions
    WHERE replaced_at < now() - $1::INTERVAL
    ORDER BY replaced_at LIMIT 10 FOR UPDATE SKIP LOCKED
)
DELETE FROM price_revisions AS revision USING doomed
WHERE revision.number = doomed.number;
DELETE FROM knowledge_points WHERE known_at IN (
    SELECT known_at FROM knowledge_points
    WHERE known_at < (SELECT max(known_at) FROM knowledge_points WHERE known_at < now() - $1::INTERVAL)
        AND known_at > (SELECT min(known_at) FROM knowledge_points)
    ORDER BY known_at LIMIT 10 FOR UPDATE SKIP LOCKED
);

