-- options.create
INSERT INTO "options_data" ("id", "ticker", "option_type", "strike_price", "expiration_date", "last_price", "bid", "ask", "volume", "open_interest", "delta", "gamma", "theta", "vega", "implied_volatility", "data_source", "fetch_timestamp")
VALUES ($1, $2, $3, $4, $5, DEFAULT, DEFAULT, DEFAULT, DEFAULT, DEFAULT, DEFAULT, DEFAULT, DEFAULT, DEFAULT, DEFAULT, $6, $7)
RETURNING "options_data"."id", "options_data"."ticker", "options_data"."option_type", "options_data"."strike_price", "options_data"."expiration_date", "options_data"."last_price", "options_data"."bid", "options_data"."ask", "options_data"."volume", "options_data"."open_interest", "options_data"."delta", "options_data"."gamma", "options_data"."theta", "options_data"."vega", "options_data"."implied_volatility", "options_data"."data_source", "options_data"."fetch_timestamp";

-- options.create_many
BEGIN;
INSERT INTO "options_data" ("id", "ticker", "option_type", "strike_price", "expiration_date", "last_price", "bid", "ask", "volume", "open_interest", "delta", "gamma", "theta", "vega", "implied_volatility", "data_source", "fetch_timestamp")
VALUES ($1, $2, $3, $4, $5, DEFAULT, DEFAULT, DEFAULT, DEFAULT, DEFAULT, DEFAULT, DEFAULT, DEFAULT, DEFAULT, DEFAULT, $6, $7), ($8, $9, $10, $11, $12, DEFAULT, DEFAULT, DEFAULT, DEFAULT, DEFAULT, DEFAULT, DEFAULT, DEFAULT, DEFAULT, DEFAULT, $13, $14), ($15, $16, $17, $18, $19, DEFAULT, DEFAULT, DEFAULT, DEFAULT, DEFAULT, DEFAULT, DEFAULT, DEFAULT, DEFAULT, DEFAULT, $20, $21), ($22, $23, $24, $25, $26, DEFAULT, DEFAULT, DEFAULT, DEFAULT, DEFAULT, DEFAULT, DEFAULT, DEFAULT, DEFAULT, DEFAULT, $27, $28), ($29, $30, $31, $32, $33, DEFAULT, DEFAULT, DEFAULT, DEFAULT, DEFAULT, DEFAULT, DEFAULT, DEFAULT, DEFAULT, DEFAULT, $34, $35)
RETURNING "options_data"."id", "options_data"."ticker", "options_data"."option_type", "options_data"."strike_price", "options_data"."expiration_date", "options_data"."last_price", "options_data"."bid", "options_data"."ask", "options_data"."volume", "options_data"."open_interest", "options_data"."delta", "options_data"."gamma", "options_data"."theta", "options_data"."vega", "options_data"."implied_volatility", "options_data"."data_source", "options_data"."fetch_timestamp";
SELECT 1; COMMIT;

-- options.put_chain
INSERT INTO options_data AS stored (id, ticker, option_type, strike_price, expiration_date,
    fetch_timestamp, last_price, bid, ask, volume, open_interest, delta, gamma, theta, vega,
    implied_volatility, data_source)
SELECT id, ticker, option_type, strike_price, expiration_date,
    COALESCE(fetch_timestamp, now()), last_price, bid, ask, volume, open_interest, delta, gamma,
    theta, vega, implied_volatility, data_source
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::numeric[], $5::timestamptz[],
    $6::timestamptz[], $7::numeric[], $8::numeric[], $9::numeric[], $10::bigint[], $11::bigint[],
    $12::numeric[], $13::numeric[], $14::numeric[], $15::numeric[], $16::numeric[], $17::text[])
    AS delivered (id, ticker, option_type, strike_price, expiration_date, fetch_timestamp,
        last_price, bid, ask, volume, open_interest, delta, gamma, theta, vega,
        implied_volatility, data_source)
ORDER BY ticker COLLATE "C", option_type COLLATE "C", strike_price, expiration_date,
    fetch_timestamp
ON CONFLICT (ticker, option_type, strike_price, expiration_date, fetch_timestamp) DO UPDATE SET
    last_price = excluded.last_price, bid = excluded.bid, ask = excluded.ask,
    volume = excluded.volume, open_interest = excluded.open_interest, delta = excluded.delta,
    gamma = excluded.gamma, theta = excluded.theta, vega = excluded.vega,
    implied_volatility = excluded.implied_volatility, data_source = excluded.data_source
WHERE (stored.last_price, stored.bid, stored.ask, stored.volume, stored.open_interest,
        stored.delta, stored.gamma, stored.theta, stored.vega, stored.implied_volatility,
        stored.data_source)
    IS DISTINCT FROM (excluded.last_price, excluded.bid, excluded.ask, excluded.volume,
        excluded.open_interest, excluded.delta, excluded.gamma, excluded.theta, excluded.vega,
        excluded.implied_volatility, excluded.data_source)
RETURNING id;

-- options.upsert_many
INSERT INTO options_data AS stored (id, ticker, option_type, strike_price, expiration_date,
    fetch_timestamp, last_price, bid, ask, volume, open_interest, delta, gamma, theta, vega,
    implied_volatility, data_source)
SELECT id, ticker, option_type, strike_price, expiration_date,
    COALESCE(fetch_timestamp, now()), last_price, bid, ask, volume, open_interest, delta, gamma,
    theta, vega, implied_volatility, data_source
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::numeric[], $5::timestamptz[],
    $6::timestamptz[], $7::numeric[], $8::numeric[], $9::numeric[], $10::bigint[], $11::bigint[],
    $12::numeric[], $13::numeric[], $14::numeric[], $15::numeric[], $16::numeric[], $17::text[])
    AS delivered (id, ticker, option_type, strike_price, expiration_date, fetch_timestamp,
        last_price, bid, ask, volume, open_interest, delta, gamma, theta, vega,
        implied_volatility, data_source)
ORDER BY ticker COLLATE "C", option_type COLLATE "C", strike_price, expiration_date,
    fetch_timestamp
ON CONFLICT (ticker, option_type, strike_price, expiration_date, fetch_timestamp) DO UPDATE SET
    last_price = excluded.last_price, bid = excluded.bid, ask = excluded.ask,
    volume = excluded.volume, open_interest = excluded.open_interest, delta = excluded.delta,
    gamma = excluded.gamma, theta = excluded.theta, vega = excluded.vega,
    implied_volatility = excluded.implied_volatility, data_source = excluded.data_source
WHERE (stored.last_price, stored.bid, stored.ask, stored.volume, stored.open_interest,
        stored.delta, stored.gamma, stored.theta, stored.vega, stored.implied_volatility,
        stored.data_source)
    IS DISTINCT FROM (excluded.last_price, excluded.bid, excluded.ask, excluded.volume,
        excluded.open_interest, excluded.delta, excluded.gamma, excluded.theta, excluded.vega,
        excluded.implied_volatility, excluded.data_source)
RETURNING id;

-- options.find
SELECT "options_data"."id", "options_data"."ticker", "options_data"."option_type", "options_data"."strike_price", "options_data"."expiration_date", "options_data"."last_price", "options_data"."bid", "options_data"."ask", "options_data"."volume", "options_data"."open_interest", "options_data"."delta", "options_data"."gamma", "options_data"."theta", "options_data"."vega", "options_data"."implied_volatility", "options_data"."data_source", "options_data"."fetch_timestamp"
FROM "options_data"
WHERE ("options_data"."id" = $1);

-- options.chain
SELECT "options_data"."id", "options_data"."ticker", "options_data"."option_type", "options_data"."strike_price", "options_data"."expiration_date", "options_data"."last_price", "options_data"."bid", "options_data"."ask", "options_data"."volume", "options_data"."open_interest", "options_data"."delta", "options_data"."gamma", "options_data"."theta", "options_data"."vega", "options_data"."implied_volatility", "options_data"."data_source", "options_data"."fetch_timestamp"
FROM "options_data"
WHERE (("options_data"."ticker" = $1) AND ("options_data"."fetch_timestamp" = (SELECT "snapshot"."fetch_timestamp" FROM "options_data" AS "snapshot" WHERE (("snapshot"."ticker" = $2) AND ("snapshot"."fetch_timestamp" <= $3)) ORDER BY "snapshot"."fetch_timestamp" DESC LIMIT $4)))
ORDER BY "options_data"."expiration_date", "options_data"."option_type", "options_data"."strike_price";

-- options.latest_chain
SELECT "options_data"."id", "options_data"."ticker", "options_data"."option_type", "options_data"."strike_price", "options_data"."expiration_date", "options_data"."last_price", "options_data"."bid", "options_data"."ask", "options_data"."volume", "options_data"."open_interest", "options_data"."delta", "options_data"."gamma", "options_data"."theta", "options_data"."vega", "options_data"."implied_volatility", "options_data"."data_source", "options_data"."fetch_timestamp"
FROM "options_data"
WHERE (("options_data"."ticker" = $1) AND ("options_data"."fetch_timestamp" = (SELECT "snapshot"."fetch_timestamp" FROM "options_data" AS "snapshot" WHERE ("snapshot"."ticker" = $2) ORDER BY "snapshot"."fetch_timestamp" DESC LIMIT $3)))
ORDER BY "options_data"."expiration_date", "options_data"."option_type", "options_data"."strike_price";

-- options.expirations
SELECT DISTINCT ON ("options_data"."expiration_date") "options_data"."id", "options_data"."expiration_date"
FROM "options_data"
WHERE (("options_data"."ticker" = $1) AND ("options_data"."fetch_timestamp" = (SELECT "snapshot"."fetch_timestamp" FROM "options_data" AS "snapshot" WHERE (("snapshot"."ticker" = $2) AND ("snapshot"."fetch_timestamp" <= $3)) ORDER BY "snapshot"."fetch_timestamp" DESC LIMIT $4)))
ORDER BY "options_data"."expiration_date", "options_data"."id";

-- options.contract_history
SELECT "options_data"."id", "options_data"."ticker", "options_data"."option_type", "options_data"."strike_price", "options_data"."expiration_date", "options_data"."last_price", "options_data"."bid", "options_data"."ask", "options_data"."volume", "options_data"."open_interest", "options_data"."delta", "options_data"."gamma", "options_data"."theta", "options_data"."vega", "options_data"."implied_volatility", "options_data"."data_source", "options_data"."fetch_timestamp"
FROM "options_data"
WHERE (((((("options_data"."ticker" = $1) AND ("options_data"."option_type" = $2)) AND ("options_data"."strike_price" = $3)) AND ("options_data"."expiration_date" = $4)) AND ("options_data"."fetch_timestamp" >= $5)) AND ("options_data"."fetch_timestamp" <= $6))
ORDER BY "options_data"."fetch_timestamp";

-- options.list
SELECT "options_data"."id", "options_data"."ticker", "options_data"."option_type", "options_data"."strike_price", "options_data"."expiration_date", "options_data"."last_price", "options_data"."bid", "options_data"."ask", "options_data"."volume", "options_data"."open_interest", "options_data"."delta", "options_data"."gamma", "options_data"."theta", "options_data"."vega", "options_data"."implied_volatility", "options_data"."data_source", "options_data"."fetch_timestamp"
FROM "options_data"
ORDER BY "options_data"."fetch_timestamp" DESC, "options_data"."id" DESC LIMIT $1;

-- options.stream
SELECT "options_data"."id", "options_data"."ticker", "options_data"."option_type", "options_data"."strike_price", "options_data"."expiration_date", "options_data"."last_price", "options_data"."bid", "options_data"."ask", "options_data"."volume", "options_data"."open_interest", "options_data"."delta", "options_data"."gamma", "options_data"."theta", "options_data"."vega", "options_data"."implied_volatility", "options_data"."data_source", "options_data"."fetch_timestamp"
FROM "options_data"
ORDER BY "options_data"."fetch_timestamp" DESC, "options_data"."id" DESC LIMIT $1;

-- options.count
SELECT COUNT(*)
FROM "options_data";

-- options.exists
SELECT EXISTS (SELECT "options_data"."id", "options_data"."ticker", "options_data"."option_type", "options_data"."strike_price", "options_data"."expiration_date", "options_data"."last_price", "options_data"."bid", "options_data"."ask", "options_data"."volume", "options_data"."open_interest", "options_data"."delta", "options_data"."gamma", "options_data"."theta", "options_data"."vega", "options_data"."implied_volatility", "options_data"."data_source", "options_data"."fetch_timestamp" FROM "options_data" WHERE ("options_data"."id" = $1));

-- options.update
UPDATE "options_data"
SET "data_source" = $1
WHERE ("options_data"."id" = $2)
RETURNING "options_data"."id", "options_data"."ticker", "options_data"."option_type", "options_data"."strike_price", "options_data"."expiration_date", "options_data"."last_price", "options_data"."bid", "options_data"."ask", "options_data"."volume", "options_data"."open_interest", "options_data"."delta", "options_data"."gamma", "options_data"."theta", "options_data"."vega", "options_data"."implied_volatility", "options_data"."data_source", "options_data"."fetch_timestamp";

-- options.delete
DELETE
FROM "options_data"
WHERE ("options_data"."id" = $1);

-- options.sweep
WITH doomed AS MATERIALIZED (
    SELECT quote.ticker, quote.id FROM options_data AS quote
    WHERE quote.fetch_timestamp < now() - $1::INTERVAL
    ORDER BY quote.fetch_timestamp LIMIT 10 FOR UPDATE SKIP LOCKED
)
DELETE FROM options_data AS quote USING doomed
WHERE quote.id = doomed.id AND quote.ticker = doomed.ticker;

