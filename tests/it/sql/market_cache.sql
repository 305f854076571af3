-- market_cache.create
INSERT INTO market_data_cache AS stored (id, ticker, data_type, parameters, data, data_source,
        data_quality_score, cached_at, expires_at, stale_until, tags)
    VALUES ($1, $2, $3, $4, $5, $6, $7, now(), now() + $8::INTERVAL,
now() + $8::INTERVAL + $9::INTERVAL, $10) RETURNING id, cached_at, expires_at, stale_until, version, revision;

-- market_cache.create_many
BEGIN;
INSERT INTO market_data_cache AS stored (id, ticker, data_type, parameters, data, data_source,
    data_quality_score, cached_at, expires_at, stale_until, tags)
SELECT id, ticker, data_type, parameters, data, data_source, quality, now(), now() + ttl, now() + ttl + stale,
    tags::TEXT[] FROM unnest($1::UUID[], $2::TEXT[], $3::TEXT[], $4::JSONB[], $5::JSONB[], $6::TEXT[],
    $7::NUMERIC[], $8::INTERVAL[], $9::INTERVAL[], $10::TEXT[])
WITH ORDINALITY AS n (id, ticker, data_type, parameters, data, data_source, quality, ttl, stale, tags,
    place) ORDER BY place RETURNING id, cached_at, expires_at, stale_until, version, revision;
SELECT 1; COMMIT;

-- market_cache.find
SELECT "market_data_cache"."id", "market_data_cache"."ticker", "market_data_cache"."data_type", "market_data_cache"."data", "market_data_cache"."data_source", "market_data_cache"."data_quality_score", "market_data_cache"."cached_at", "market_data_cache"."expires_at", "market_data_cache"."parameters", "market_data_cache"."stale_until", "market_data_cache"."tags", "market_data_cache"."version", "market_data_cache"."revision"
FROM "market_data_cache"
WHERE ("market_data_cache"."id" = $1);

-- market_cache.list
SELECT "market_data_cache"."id", "market_data_cache"."ticker", "market_data_cache"."data_type", "market_data_cache"."data", "market_data_cache"."data_source", "market_data_cache"."data_quality_score", "market_data_cache"."cached_at", "market_data_cache"."expires_at", "market_data_cache"."parameters", "market_data_cache"."stale_until", "market_data_cache"."tags", "market_data_cache"."version", "market_data_cache"."revision"
FROM "market_data_cache"
ORDER BY "market_data_cache"."cached_at" DESC, "market_data_cache"."id" DESC LIMIT $1;

-- market_cache.stream
SELECT "market_data_cache"."id", "market_data_cache"."ticker", "market_data_cache"."data_type", "market_data_cache"."data", "market_data_cache"."data_source", "market_data_cache"."data_quality_score", "market_data_cache"."cached_at", "market_data_cache"."expires_at", "market_data_cache"."parameters", "market_data_cache"."stale_until", "market_data_cache"."tags", "market_data_cache"."version", "market_data_cache"."revision"
FROM "market_data_cache"
ORDER BY "market_data_cache"."cached_at" DESC, "market_data_cache"."id" DESC LIMIT $1;

-- market_cache.count
SELECT COUNT(*)
FROM "market_data_cache";

-- market_cache.exists
SELECT EXISTS (SELECT "market_data_cache"."id", "market_data_cache"."ticker", "market_data_cache"."data_type", "market_data_cache"."data", "market_data_cache"."data_source", "market_data_cache"."data_quality_score", "market_data_cache"."cached_at", "market_data_cache"."expires_at", "market_data_cache"."parameters", "market_data_cache"."parameters_key", "market_data_cache"."version", "market_data_cache"."revision", "market_data_cache"."stale_until", "market_data_cache"."tags" FROM "market_data_cache" WHERE ("market_data_cache"."id" = $1));

-- market_cache.update
UPDATE "market_data_cache"
SET "data_source" = $1
WHERE ("market_data_cache"."id" = $2)
RETURNING "market_data_cache"."id", "market_data_cache"."ticker", "market_data_cache"."data_type", "market_data_cache"."data", "market_data_cache"."data_source", "market_data_cache"."data_quality_score", "market_data_cache"."cached_at", "market_data_cache"."expires_at", "market_data_cache"."parameters", "market_data_cache"."stale_until", "market_data_cache"."tags", "market_data_cache"."version", "market_data_cache"."revision";

-- market_cache.delete
DELETE
FROM "market_data_cache"
WHERE ("market_data_cache"."id" = $1);

-- market_cache.get
SELECT id, ticker, data_type, data, data_source, data_quality_score, cached_at, expires_at, parameters,
    stale_until, tags, version, revision
FROM market_data_cache
WHERE ticker = $1 AND data_type = $2 AND parameters_key = cache_parameters_key($3)
    AND parameters IS NOT DISTINCT FROM $3 AND expires_at > now();

-- market_cache.get_with
SELECT id, ticker, data_type, data, data_source, data_quality_score, cached_at, expires_at, parameters,
    stale_until, tags, version, revision
FROM market_data_cache
WHERE ticker = $1 AND data_type = $2 AND parameters_key = cache_parameters_key($3)
    AND parameters IS NOT DISTINCT FROM $3 AND expires_at > now();

-- market_cache.put_with
INSERT INTO market_data_cache AS stored (id, ticker, data_type, parameters, data, data_source,
        data_quality_score, cached_at, expires_at, stale_until, tags)
    VALUES ($1, $2, $3, $4, $5, $6, $7, now(), now() + $8::INTERVAL,
now() + $8::INTERVAL + $9::INTERVAL, $10)
    ON CONFLICT (ticker, data_type, parameters_key) DO UPDATE SET
        parameters = excluded.parameters, data = excluded.data, data_source = excluded.data_source,
        data_quality_score = excluded.data_quality_score, cached_at = excluded.cached_at,
        expires_at = excluded.expires_at, stale_until = excluded.stale_until, tags = excluded.tags
    RETURNING id, cached_at, expires_at, stale_until, version, revision;

-- market_cache.clock
SELECT CURRENT_TIMESTAMP;

-- market_cache.get_many
SELECT wanted.n, c.id, c.ticker, c.data_type, c.data, c.data_source, c.data_quality_score,
    c.cached_at, c.expires_at, c.parameters, c.stale_until, c.tags, c.version, c.revision
FROM unnest($1::TEXT[], $2::TEXT[], $3::JSONB[]) WITH ORDINALITY AS wanted (ticker, data_type, parameters, n)
JOIN market_data_cache c ON c.ticker = wanted.ticker AND c.data_type = wanted.data_type
    AND c.parameters_key = cache_parameters_key(wanted.parameters)
    AND c.parameters IS NOT DISTINCT FROM wanted.parameters
WHERE c.expires_at > now();

-- market_cache.get_stale
SELECT "market_data_cache"."id", "market_data_cache"."ticker", "market_data_cache"."data_type", "market_data_cache"."data", "market_data_cache"."data_source", "market_data_cache"."data_quality_score", "market_data_cache"."cached_at", "market_data_cache"."expires_at", "market_data_cache"."parameters", "market_data_cache"."stale_until", "market_data_cache"."tags", "market_data_cache"."version", "market_data_cache"."revision", CURRENT_TIMESTAMP
FROM "market_data_cache"
WHERE (((("market_data_cache"."ticker" = $1) AND ("market_data_cache"."data_type" = $2)) AND ("market_data_cache"."parameters_key" = cache_parameters_key($3))) AND ("market_data_cache"."parameters" IS NOT DISTINCT FROM $4));

-- market_cache.put
INSERT INTO market_data_cache AS stored (id, ticker, data_type, parameters, data, data_source,
        data_quality_score, cached_at, expires_at, stale_until, tags)
    VALUES ($1, $2, $3, $4, $5, $6, $7, now(), now() + $8::INTERVAL,
now() + $8::INTERVAL + $9::INTERVAL, $10)
    ON CONFLICT (ticker, data_type, parameters_key) DO UPDATE SET
        parameters = excluded.parameters, data = excluded.data, data_source = excluded.data_source,
        data_quality_score = excluded.data_quality_score, cached_at = excluded.cached_at,
        expires_at = excluded.expires_at, stale_until = excluded.stale_until, tags = excluded.tags
    RETURNING id, cached_at, expires_at, stale_until, version, revision;

-- market_cache.put_many
INSERT INTO market_data_cache AS stored (id, ticker, data_type, parameters, data, data_source,
    data_quality_score, cached_at, expires_at, stale_until, tags)
SELECT DISTINCT ON (ticker COLLATE "C", data_type COLLATE "C", cache_parameters_key(parameters)) id, ticker, data_type, parameters, data, data_source, quality, now(), now() + ttl, now() + ttl + stale,
    tags::TEXT[] FROM unnest($1::UUID[], $2::TEXT[], $3::TEXT[], $4::JSONB[], $5::JSONB[], $6::TEXT[],
    $7::NUMERIC[], $8::INTERVAL[], $9::INTERVAL[], $10::TEXT[])
WITH ORDINALITY AS n (id, ticker, data_type, parameters, data, data_source, quality, ttl, stale, tags,
    place) ORDER BY ticker COLLATE "C", data_type COLLATE "C", cache_parameters_key(parameters), place DESC
ON CONFLICT (ticker, data_type, parameters_key) DO UPDATE SET
    parameters = excluded.parameters, data = excluded.data, data_source = excluded.data_source,
    data_quality_score = excluded.data_quality_score, cached_at = excluded.cached_at,
    expires_at = excluded.expires_at, stale_until = excluded.stale_until, tags = excluded.tags;

-- market_cache.backfill_many
WITH written AS (INSERT INTO market_data_cache AS stored (id, ticker, data_type, parameters, data, data_source,
    data_quality_score, cached_at, expires_at, stale_until, tags)
SELECT DISTINCT ON (ticker COLLATE "C", data_type COLLATE "C", cache_parameters_key(parameters)) id, ticker, data_type, parameters, data, data_source, quality, LEAST(fetched, now()), LEAST(fetched, now()) + ttl, LEAST(fetched, now()) + ttl + stale,
    tags::TEXT[] FROM unnest($1::UUID[], $2::TEXT[], $3::TEXT[], $4::JSONB[], $5::JSONB[], $6::TEXT[],
    $7::NUMERIC[], $8::INTERVAL[], $9::INTERVAL[], $10::TEXT[], $11::TIMESTAMPTZ[])
WITH ORDINALITY AS n (id, ticker, data_type, parameters, data, data_source, quality, ttl, stale, tags, fetched,
    place) WHERE LEAST(fetched, now()) + ttl > now()
ORDER BY ticker COLLATE "C", data_type COLLATE "C", cache_parameters_key(parameters), fetched DESC, place DESC
ON CONFLICT (ticker, data_type, parameters_key) DO UPDATE SET
    parameters = excluded.parameters, data = excluded.data, data_source = excluded.data_source,
    data_quality_score = excluded.data_quality_score, cached_at = excluded.cached_at,
    expires_at = excluded.expires_at, stale_until = excluded.stale_until, tags = excluded.tags
WHERE stored.cached_at < excluded.cached_at RETURNING stored.id)
SELECT (SELECT count(*) FROM written) AS written,
    (SELECT count(*) FROM unnest($8::INTERVAL[], $11::TIMESTAMPTZ[]) AS n (ttl, fetched)
        WHERE LEAST(fetched, now()) + ttl <= now()) AS expired;

-- market_cache.refresh
WITH refreshed AS (
    UPDATE market_data_cache SET expires_at = GREATEST(expires_at, now() + $4::INTERVAL),
        stale_until = (stale_until AT TIME ZONE 'UTC'
            + (GREATEST(expires_at, now() + $4::INTERVAL) - expires_at)) AT TIME ZONE 'UTC'
    WHERE ticker = $1 AND data_type = $2
        AND parameters_key = cache_parameters_key($3::JSONB) AND parameters IS NOT DISTINCT FROM $3
        AND expires_at > '-infinity' AND expires_at < '262143-01-01 00:00:00Z'
    RETURNING id, expires_at
)
SELECT id, expires_at FROM refreshed
UNION ALL
SELECT id, NULL FROM market_data_cache
WHERE ticker = $1 AND data_type = $2
    AND parameters_key = cache_parameters_key($3::JSONB) AND parameters IS NOT DISTINCT FROM $3
    AND NOT (expires_at > '-infinity' AND expires_at < '262143-01-01 00:00:00Z')
    AND NOT EXISTS (SELECT FROM refreshed);

-- market_cache.invalidate
BEGIN;
WITH doomed AS MATERIALIZED (
    SELECT l.ticker, l.name, l.parameters_key FROM cache_leases l
    WHERE l.space = 'market_data' AND l.portfolio_id IS NULL AND l.ticker = $1
    ORDER BY l.ticker COLLATE "C", l.name COLLATE "C", l.parameters_key FOR UPDATE
)
DELETE FROM cache_leases l USING doomed
WHERE l.ticker = doomed.ticker AND l.name = doomed.name
    AND l.parameters_key = doomed.parameters_key AND l.space = 'market_data'
    AND l.portfolio_id IS NULL;
WITH doomed AS MATERIALIZED (
    SELECT c.id, c.ticker FROM market_data_cache c
    WHERE GREATEST(c.expires_at, c.stale_until) > now() AND is_line(c.data_type) AND (c.ticker = upper(c.ticker COLLATE "C") AND c.ticker COLLATE "C" ~ '^[!-~]([ -~]*[!-~])?$') AND c.ticker = $1
    ORDER BY c.ticker COLLATE "C", c.data_type COLLATE "C", c.parameters_key FOR NO KEY UPDATE
)
UPDATE market_data_cache c
SET expires_at = LEAST(expires_at, now()), stale_until = NULL,
    cached_at = GREATEST(LEAST(cached_at, now() - INTERVAL '1 microsecond'), '0001-01-01Z'),
    tags = CASE WHEN are_lines(tags, 100) THEN tags ELSE '{}' END
FROM doomed WHERE c.id = doomed.id AND c.ticker = doomed.ticker;
SELECT 1; COMMIT;

-- market_cache.delete_key
DELETE
FROM "market_data_cache"
WHERE (((("market_data_cache"."ticker" = $1) AND ("market_data_cache"."data_type" = $2)) AND ("market_data_cache"."parameters_key" = cache_parameters_key($3))) AND ("market_data_cache"."parameters" IS NOT DISTINCT FROM $4));

-- market_cache.sweep_expired
WITH doomed AS MATERIALIZED (
    SELECT id, ticker FROM market_data_cache
    WHERE GREATEST(expires_at, stale_until) <= now() - $1::INTERVAL
    ORDER BY GREATEST(expires_at, stale_until) LIMIT 10 FOR UPDATE SKIP LOCKED
)
DELETE FROM market_data_cache c USING doomed
WHERE c.id = doomed.id AND c.ticker = doomed.ticker;

-- market_cache.list_stale
SELECT id, ticker, data_type, parameters, cached_at, expires_at
FROM market_data_cache WHERE expires_at <= now() + $1::INTERVAL
ORDER BY expires_at, id LIMIT $2;

-- market_cache.statistics
WITH cells AS MATERIALIZED (
    SELECT ticker, data_type, count(*) AS entries,
        count(*) FILTER (WHERE expires_at > now()) AS live,
        sum(pg_column_size(data)) AS bytes
    FROM market_data_cache GROUP BY ticker, data_type
)
SELECT NULL AS ticker, NULL AS data_type, COALESCE(sum(entries), 0)::BIGINT AS entries,
    COALESCE(sum(live), 0)::BIGINT AS live, COALESCE(sum(bytes), 0)::BIGINT AS bytes
FROM cells
UNION ALL (
    SELECT NULL, data_type, sum(entries)::BIGINT, sum(live)::BIGINT, sum(bytes)::BIGINT
    FROM cells GROUP BY data_type ORDER BY data_type COLLATE "C"
)
UNION ALL (
    SELECT ticker, NULL, sum(entries)::BIGINT, sum(live)::BIGINT, sum(bytes)::BIGINT AS bytes
    FROM cells GROUP BY ticker ORDER BY bytes DESC, ticker COLLATE "C" LIMIT $1
);

-- market_cache.size_of_ticker
SELECT count(*) AS entries, count(*) FILTER (WHERE expires_at > now()) AS live,
    COALESCE(sum(pg_column_size(data)), 0)::BIGINT AS bytes
FROM market_data_cache WHERE ticker = $1;

