-- repositories.record_batches
COPY (SELECT wanted.ticker, bar.* FROM unnest('{"AAPL"}'::text[]) AS wanted (ticker) CROSS JOIN LATERAL (
    SELECT date, open_price, high_price, low_price, close_price, volume, adjusted_close, data_source, is_suspect FROM price_history
WHERE ticker = ANY (ARRAY[wanted.ticker]) AND date >= '2024-01-02 00:00:00+00' AND date < '2024-02-02 00:00:00+00' ORDER BY ticker, date LIMIT (SELECT 9223372036854775807)
) AS bar) TO STDOUT (FORMAT binary);

