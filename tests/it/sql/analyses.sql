-- analyses.create
INSERT INTO analysis_results (id, portfolio_id, ticker, analysis_type, strategy, score,
    metadata, recommendation, confidence_level, summary, calculated_at, expires_at, parameters,
    data_quality_score, inputs, stale_until)
SELECT id, portfolio_id, ticker, analysis_type, strategy, score, metadata, recommendation,
    confidence_level, summary, CASE WHEN calculated_at < now() + ttl OR ttl IS NULL THEN
        COALESCE(calculated_at, now()) ELSE now() END,
    COALESCE(expires_at, now() + ttl), parameters, data_quality_score, inputs,
    COALESCE(expires_at, now() + ttl) + stale_for
FROM unnest($1::UUID[], $2::UUID[], $3::TEXT[], $4::TEXT[], $5::TEXT[], $6::NUMERIC[],
    $7::JSONB[], $8::TEXT[], $9::NUMERIC[], $10::TEXT[], $11::TIMESTAMPTZ[],
    $12::TIMESTAMPTZ[], $13::INTERVAL[], $14::JSONB[], $15::NUMERIC[], $16::JSONB[],
    $17::INTERVAL[])
    WITH ORDINALITY AS n (id, portfolio_id, ticker, analysis_type, strategy, score, metadata,
    recommendation, confidence_level, summary, calculated_at, expires_at, ttl, parameters,
    data_quality_score, inputs, stale_for, place)
WHERE expires_at IS NULL OR expires_at > COALESCE(calculated_at, now())
ORDER BY place
RETURNING *;

-- analyses.create_many
BEGIN;
INSERT INTO analysis_results (id, portfolio_id, ticker, analysis_type, strategy, score,
    metadata, recommendation, confidence_level, summary, calculated_at, expires_at, parameters,
    data_quality_score, inputs, stale_until)
SELECT id, portfolio_id, ticker, analysis_type, strategy, score, metadata, recommendation,
    confidence_level, summary, CASE WHEN calculated_at < now() + ttl OR ttl IS NULL THEN
        COALESCE(calculated_at, now()) ELSE now() END,
    COALESCE(expires_at, now() + ttl), parameters, data_quality_score, inputs,
    COALESCE(expires_at, now() + ttl) + stale_for
FROM unnest($1::UUID[], $2::UUID[], $3::TEXT[], $4::TEXT[], $5::TEXT[], $6::NUMERIC[],
    $7::JSONB[], $8::TEXT[], $9::NUMERIC[], $10::TEXT[], $11::TIMESTAMPTZ[],
    $12::TIMESTAMPTZ[], $13::INTERVAL[], $14::JSONB[], $15::NUMERIC[], $16::JSONB[],
    $17::INTERVAL[])
    WITH ORDINALITY AS n (id, portfolio_id, ticker, analysis_type, strategy, score, metadata,
    recommendation, confidence_level, summary, calculated_at, expires_at, ttl, parameters,
    data_quality_score, inputs, stale_for, place)

ORDER BY place
RETURNING *;
SELECT 1; COMMIT;

-- analyses.create
INSERT INTO analysis_results (id, portfolio_id, ticker, analysis_type, strategy, score,
    metadata, recommendation, confidence_level, summary, calculated_at, expires_at, parameters,
    data_quality_score, inputs, stale_until)
SELECT id, portfolio_id, ticker, analysis_type, strategy, score, metadata, recommendation,
    confidence_level, summary, CASE WHEN calculated_at < now() + ttl OR ttl IS NULL THEN
        COALESCE(calculated_at, now()) ELSE now() END,
    COALESCE(expires_at, now() + ttl), parameters, data_quality_score, inputs,
    COALESCE(expires_at, now() + ttl) + stale_for
FROM unnest($1::UUID[], $2::UUID[], $3::TEXT[], $4::TEXT[], $5::TEXT[], $6::NUMERIC[],
    $7::JSONB[], $8::TEXT[], $9::NUMERIC[], $10::TEXT[], $11::TIMESTAMPTZ[],
    $12::TIMESTAMPTZ[], $13::INTERVAL[], $14::JSONB[], $15::NUMERIC[], $16::JSONB[],
    $17::INTERVAL[])
    WITH ORDINALITY AS n (id, portfolio_id, ticker, analysis_type, strategy, score, metadata,
    recommendation, confidence_level, summary, calculated_at, expires_at, ttl, parameters,
    data_quality_score, inputs, stale_for, place)
WHERE expires_at IS NULL OR expires_at > COALESCE(calculated_at, now())
ORDER BY place
RETURNING *;

-- analyses.create_many
BEGIN;
INSERT INTO analysis_results (id, portfolio_id, ticker, analysis_type, strategy, score,
    metadata, recommendation, confidence_level, summary, calculated_at, expires_at, parameters,
    data_quality_score, inputs, stale_until)
SELECT id, portfolio_id, ticker, analysis_type, strategy, score, metadata, recommendation,
    confidence_level, summary, CASE WHEN calculated_at < now() + ttl OR ttl IS NULL THEN
        COALESCE(calculated_at, now()) ELSE now() END,
    COALESCE(expires_at, now() + ttl), parameters, data_quality_score, inputs,
    COALESCE(expires_at, now() + ttl) + stale_for
FROM unnest($1::UUID[], $2::UUID[], $3::TEXT[], $4::TEXT[], $5::TEXT[], $6::NUMERIC[],
    $7::JSONB[], $8::TEXT[], $9::NUMERIC[], $10::TEXT[], $11::TIMESTAMPTZ[],
    $12::TIMESTAMPTZ[], $13::INTERVAL[], $14::JSONB[], $15::NUMERIC[], $16::JSONB[],
    $17::INTERVAL[])
    WITH ORDINALITY AS n (id, portfolio_id, ticker, analysis_type, strategy, score, metadata,
    recommendation, confidence_level, summary, calculated_at, expires_at, ttl, parameters,
    data_quality_score, inputs, stale_for, place)

ORDER BY place
RETURNING *;
SELECT 1; COMMIT;

-- analyses.find
SELECT "analysis_results"."id", "analysis_results"."portfolio_id", "analysis_results"."ticker", "analysis_results"."analysis_type", "analysis_results"."strategy", "analysis_results"."score", "analysis_results"."metadata", "analysis_results"."recommendation", "analysis_results"."confidence_level", "analysis_results"."summary", "analysis_results"."calculated_at", "analysis_results"."expires_at", "analysis_results"."parameters", "analysis_results"."data_quality_score", "analysis_results"."created_at", "analysis_results"."updated_at", "analysis_results"."inputs", "analysis_results"."version", "analysis_results"."stale_until"
FROM "analysis_results"
WHERE ("analysis_results"."id" = $1);

-- analyses.list
SELECT "analysis_results"."id", "analysis_results"."portfolio_id", "analysis_results"."ticker", "analysis_results"."analysis_type", "analysis_results"."strategy", "analysis_results"."score", "analysis_results"."metadata", "analysis_results"."recommendation", "analysis_results"."confidence_level", "analysis_results"."summary", "analysis_results"."calculated_at", "analysis_results"."expires_at", "analysis_results"."parameters", "analysis_results"."data_quality_score", "analysis_results"."created_at", "analysis_results"."updated_at", "analysis_results"."inputs", "analysis_results"."version", "analysis_results"."stale_until"
FROM "analysis_results"
WHERE ("analysis_results"."portfolio_id" IS NULL)
ORDER BY "analysis_results"."calculated_at" DESC, "analysis_results"."id" DESC LIMIT $1;

-- analyses.stream
SELECT "analysis_results"."id", "analysis_results"."portfolio_id", "analysis_results"."ticker", "analysis_results"."analysis_type", "analysis_results"."strategy", "analysis_results"."score", "analysis_results"."metadata", "analysis_results"."recommendation", "analysis_results"."confidence_level", "analysis_results"."summary", "analysis_results"."calculated_at", "analysis_results"."expires_at", "analysis_results"."parameters", "analysis_results"."data_quality_score", "analysis_results"."created_at", "analysis_results"."updated_at", "analysis_results"."inputs", "analysis_results"."version", "analysis_results"."stale_until"
FROM "analysis_results"
WHERE ("analysis_results"."portfolio_id" IS NULL)
ORDER BY "analysis_results"."calculated_at" DESC, "analysis_results"."id" DESC LIMIT $1;

-- analyses.count
SELECT COUNT(*)
FROM "analysis_results"
WHERE ("analysis_results"."portfolio_id" IS NULL);

-- analyses.exists
SELECT EXISTS (SELECT "analysis_results"."id", "analysis_results"."portfolio_id", "analysis_results"."ticker", "analysis_results"."analysis_type", "analysis_results"."strategy", "analysis_results"."score", "analysis_results"."metadata", "analysis_results"."recommendation", "analysis_results"."confidence_level", "analysis_results"."summary", "analysis_results"."calculated_at", "analysis_results"."expires_at", "analysis_results"."parameters", "analysis_results"."data_quality_score", "analysis_results"."created_at", "analysis_results"."updated_at", "analysis_results"."inputs", "analysis_results"."version", "analysis_results"."stale_until" FROM "analysis_results" WHERE ("analysis_results"."id" = $1));

-- analyses.update
UPDATE "analysis_results"
SET "summary" = $1
WHERE ("analysis_results"."id" = $2)
RETURNING "analysis_results"."id", "analysis_results"."portfolio_id", "analysis_results"."ticker", "analysis_results"."analysis_type", "analysis_results"."strategy", "analysis_results"."score", "analysis_results"."metadata", "analysis_results"."recommendation", "analysis_results"."confidence_level", "analysis_results"."summary", "analysis_results"."calculated_at", "analysis_results"."expires_at", "analysis_results"."parameters", "analysis_results"."data_quality_score", "analysis_results"."created_at", "analysis_results"."updated_at", "analysis_results"."inputs", "analysis_results"."version", "analysis_results"."stale_until";

-- analyses.delete
DELETE
FROM "analysis_results"
WHERE ("analysis_results"."id" = $1);

-- analyses.latest_fresh
SELECT "analysis_results"."id", "analysis_results"."portfolio_id", "analysis_results"."ticker", "analysis_results"."analysis_type", "analysis_results"."strategy", "analysis_results"."score", "analysis_results"."metadata", "analysis_results"."recommendation", "analysis_results"."confidence_level", "analysis_results"."summary", "analysis_results"."calculated_at", "analysis_results"."expires_at", "analysis_results"."parameters", "analysis_results"."data_quality_score", "analysis_results"."created_at", "analysis_results"."updated_at", "analysis_results"."inputs", "analysis_results"."version", "analysis_results"."stale_until"
FROM "analysis_results"
WHERE ((((("analysis_results"."ticker" = $1) AND ("analysis_results"."analysis_type" = $2)) AND ("analysis_results"."parameters" IS NULL)) AND ("analysis_results"."portfolio_id" = $3)) AND (("analysis_results"."expires_at" IS NULL) OR ("analysis_results"."expires_at" > CURRENT_TIMESTAMP)))
ORDER BY "analysis_results"."calculated_at" DESC, "analysis_results"."id" DESC LIMIT $4;

-- analyses.latest_fresh_many
SELECT wanted.place, latest.*
FROM unnest($1::TEXT[]) WITH ORDINALITY AS wanted (ticker, place)
CROSS JOIN LATERAL (
    SELECT a.* FROM analysis_results a
    WHERE a.ticker = wanted.ticker AND a.analysis_type = $2 AND a.portfolio_id IS NULL
        AND (a.expires_at IS NULL OR a.expires_at > now()) AND a.parameters IS NULL
    ORDER BY a.calculated_at DESC, a.id DESC LIMIT 1
) AS latest;

-- analyses.latest
SELECT "analysis_results"."id", "analysis_results"."portfolio_id", "analysis_results"."ticker", "analysis_results"."analysis_type", "analysis_results"."strategy", "analysis_results"."score", "analysis_results"."metadata", "analysis_results"."recommendation", "analysis_results"."confidence_level", "analysis_results"."summary", "analysis_results"."calculated_at", "analysis_results"."expires_at", "analysis_results"."parameters", "analysis_results"."data_quality_score", "analysis_results"."created_at", "analysis_results"."updated_at", "analysis_results"."inputs", "analysis_results"."version", "analysis_results"."stale_until", CURRENT_TIMESTAMP
FROM "analysis_results"
WHERE (((("analysis_results"."ticker" = $1) AND ("analysis_results"."analysis_type" = $2)) AND ("analysis_results"."parameters" IS NULL)) AND ("analysis_results"."portfolio_id" = $3))
ORDER BY "analysis_results"."calculated_at" DESC, "analysis_results"."id" DESC LIMIT $4;

-- analyses.history_for_ticker
SELECT "analysis_results"."id", "analysis_results"."portfolio_id", "analysis_results"."ticker", "analysis_results"."analysis_type", "analysis_results"."strategy", "analysis_results"."score", "analysis_results"."metadata", "analysis_results"."recommendation", "analysis_results"."confidence_level", "analysis_results"."summary", "analysis_results"."calculated_at", "analysis_results"."expires_at", "analysis_results"."parameters", "analysis_results"."data_quality_score", "analysis_results"."created_at", "analysis_results"."updated_at", "analysis_results"."inputs", "analysis_results"."version", "analysis_results"."stale_until"
FROM "analysis_results"
WHERE (("analysis_results"."portfolio_id" IS NULL) AND ("analysis_results"."ticker" = $1))
ORDER BY "analysis_results"."calculated_at" DESC, "analysis_results"."id" DESC LIMIT $2;

-- analyses.history_for_portfolio
SELECT "analysis_results"."id", "analysis_results"."portfolio_id", "analysis_results"."ticker", "analysis_results"."analysis_type", "analysis_results"."strategy", "analysis_results"."score", "analysis_results"."metadata", "analysis_results"."recommendation", "analysis_results"."confidence_level", "analysis_results"."summary", "analysis_results"."calculated_at", "analysis_results"."expires_at", "analysis_results"."parameters", "analysis_results"."data_quality_score", "analysis_results"."created_at", "analysis_results"."updated_at", "analysis_results"."inputs", "analysis_results"."version", "analysis_results"."stale_until"
FROM "analysis_results"
WHERE ("analysis_results"."portfolio_id" = $1)
ORDER BY "analysis_results"."calculated_at" DESC, "analysis_results"."id" DESC LIMIT $2;

-- analyses.summary
SELECT "analysis_results"."analysis_type", COUNT(*), count("analysis_results"."id") FILTER ( WHERE (("analysis_results"."expires_at" IS NULL) OR ("analysis_results"."expires_at" > CURRENT_TIMESTAMP))), avg("analysis_results"."score"), avg("analysis_results"."confidence_level"), avg("analysis_results"."data_quality_score"), min("analysis_results"."calculated_at"), max("analysis_results"."calculated_at")
FROM "analysis_results"
WHERE ("analysis_results"."portfolio_id" IS NULL) GROUP BY "analysis_results"."analysis_type"
ORDER BY "analysis_results"."analysis_type";

-- analyses.invalidate
BEGIN;
WITH doomed AS MATERIALIZED (
    SELECT ticker, name, parameters_key, portfolio_id FROM cache_leases
    WHERE space = 'analyses' AND ($1::TEXT IS NULL OR ticker = $1)
        AND ($2::TEXT IS NULL OR name = $2) AND ($3::UUID IS NULL OR portfolio_id = $3)
    ORDER BY ticker COLLATE "C", name COLLATE "C", parameters_key, portfolio_id FOR UPDATE
)
DELETE FROM cache_leases l USING doomed d
WHERE l.space = 'analyses' AND l.ticker = d.ticker AND l.name = d.name
    AND l.parameters_key = d.parameters_key AND l.portfolio_id IS NOT DISTINCT FROM d.portfolio_id;
WITH doomed AS MATERIALIZED (
    SELECT id FROM analysis_results
    WHERE ($1::TEXT IS NULL OR ticker = $1) AND ($2::TEXT IS NULL OR analysis_type = $2)
        AND ($3::UUID IS NULL OR portfolio_id = $3)
        AND ($4::INTERVAL IS NULL OR calculated_at <= now() - $4::INTERVAL)
        AND (expires_at IS NULL OR GREATEST(expires_at, stale_until) > now())
        AND (ticker = upper(ticker COLLATE "C") AND ticker COLLATE "C" ~ '^[!-~]([ -~]*[!-~])?$')
    ORDER BY id FOR NO KEY UPDATE
)
UPDATE analysis_results a SET expires_at = GREATEST(LEAST(expires_at, now()), '0001-01-01Z'), stale_until = NULL,
    calculated_at = LEAST(GREATEST(calculated_at, '0001-01-01Z'), '262142-01-01Z'),
    created_at = LEAST(GREATEST(created_at, '0001-01-01Z'), '262142-01-01Z')
FROM doomed WHERE a.id = doomed.id;
SELECT 1; COMMIT;

-- analyses.invalidate_stale_inputs
WITH batch AS MATERIALIZED (
    SELECT id, ticker, inputs,
        expires_at IS NULL OR GREATEST(expires_at, stale_until) > now() AS is_served
    FROM analysis_results WHERE inputs IS NOT NULL AND (ticker, id) > ($2::TEXT, $1)
    ORDER BY ticker, id LIMIT 200
), bars AS MATERIALIZED (
    SELECT batch.id, item->>'ticker' AS ticker, item->'digest' AS digest
    FROM batch CROSS JOIN unnest(ARRAY(SELECT jsonb_path_query(batch.inputs, '$.bars[*]'))) item
    WHERE is_served AND jsonb_typeof(item->'digest') = 'number'
), digests AS MATERIALIZED (
    SELECT ticker, to_jsonb(bars_digest(ticker)) AS digest
    FROM (SELECT DISTINCT ticker FROM bars) named
), changed AS MATERIALIZED (
    SELECT id, inputs FROM batch
    WHERE is_served AND (
        id IN (
            SELECT bars.id FROM bars JOIN digests USING (ticker)
            WHERE bars.digest <> digests.digest
        )
        OR EXISTS (
            SELECT FROM unnest(ARRAY(SELECT jsonb_path_query(inputs, '$.documents[*]'))) item
            WHERE jsonb_typeof(item->'revision') = 'number' AND item->'revision' < to_jsonb((
                SELECT revision FROM market_data_cache c
                WHERE c.ticker = item->>'ticker' AND c.data_type = item->>'data_type'
                    AND c.parameters_key = cache_parameters_key(item->'parameters')
                    AND c.parameters IS NOT DISTINCT FROM item->'parameters'
            ))
        )
    )
), doomed AS MATERIALIZED (
    SELECT id FROM analysis_results
    WHERE id = ANY (ARRAY(SELECT id FROM changed)) AND inputs IN (SELECT inputs FROM changed)
        AND (expires_at IS NULL OR GREATEST(expires_at, stale_until) > now())
        AND (ticker = upper(ticker COLLATE "C") AND ticker COLLATE "C" ~ '^[!-~]([ -~]*[!-~])?$')
    ORDER BY id FOR NO KEY UPDATE
), expired AS (
    UPDATE analysis_results a SET expires_at = GREATEST(LEAST(expires_at, now()), '0001-01-01Z'), stale_until = NULL,
    calculated_at = LEAST(GREATEST(calculated_at, '0001-01-01Z'), '262142-01-01Z'),
    created_at = LEAST(GREATEST(created_at, '0001-01-01Z'), '262142-01-01Z')
    FROM doomed WHERE a.id = doomed.id RETURNING a.id
)
SELECT (SELECT count(*) FROM batch) AS read, (SELECT count(*) FROM expired) AS expired,
    (SELECT ticker FROM batch ORDER BY ticker DESC, id DESC LIMIT 1) AS last_ticker,
    (SELECT id FROM batch ORDER BY ticker DESC, id DESC LIMIT 1) AS last_id;

-- analyses.lineage
SELECT a.id, a.calculated_at, jsonb_build_object(
    'is_recorded', a.inputs IS NOT NULL,
    'documents', COALESCE((
        SELECT jsonb_agg(jsonb_build_object('input', item, 'id', c.id, 'current_revision', c.revision,
            'data_source', c.data_source,
            'cached_at', CASE WHEN (c.cached_at > '-infinity' AND c.cached_at < '262143-01-01 00:00:00Z') THEN c.cached_at END) ORDER BY n)
        FROM unnest(ARRAY(SELECT jsonb_path_query(a.inputs, '$.documents[*]')))
            WITH ORDINALITY AS recorded (item, n)
        LEFT JOIN market_data_cache c
            ON c.ticker = item->>'ticker' AND c.data_type = item->>'data_type'
            AND c.parameters_key = cache_parameters_key(item->'parameters')
            AND c.parameters IS NOT DISTINCT FROM item->'parameters'), '[]'),
    'bars', COALESCE((
        SELECT jsonb_agg(jsonb_build_object('input', item,
            'current_digest', bars_digest(item->>'ticker'),
            'replaced_since', (
                SELECT count(*) FROM price_revisions r
                WHERE r.ticker = item->>'ticker' AND r.replaced_at > a.calculated_at),
            'sources', COALESCE((
                SELECT jsonb_agg(to_jsonb(source) ORDER BY data_source)
                FROM (SELECT data_source, count(*) FILTER (WHERE (date > '-infinity' AND date < '262143-01-01 00:00:00Z')) AS bars,
                        min(date) FILTER (WHERE (date > '-infinity' AND date < '262143-01-01 00:00:00Z')) AS first,
                        max(date) FILTER (WHERE (date > '-infinity' AND date < '262143-01-01 00:00:00Z')) AS last,
                        min(id::text) FILTER (WHERE NOT (date > '-infinity' AND date < '262143-01-01 00:00:00Z')) AS unreadable
                    FROM price_history WHERE ticker = item->>'ticker'
                    GROUP BY data_source) source), '[]')) ORDER BY n)
        FROM unnest(ARRAY(SELECT jsonb_path_query(a.inputs, '$.bars[*]')))
            WITH ORDINALITY AS recorded (item, n)), '[]')
) AS lineage
FROM analysis_results a WHERE a.id = $1;

-- analyses.sweep_expired
WITH doomed AS MATERIALIZED (
    SELECT id FROM analysis_results
    WHERE GREATEST(expires_at, stale_until) <= now() - $1::INTERVAL AND expires_at IS NOT NULL
    ORDER BY GREATEST(expires_at, stale_until) LIMIT 10 FOR UPDATE SKIP LOCKED
)
DELETE FROM analysis_results a USING doomed WHERE a.id = doomed.id;

