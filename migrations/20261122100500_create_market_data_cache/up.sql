CREATE TABLE market_data_cache (
    id UUID PRIMARY KEY DEFAULT gen_random_uuid(),
    ticker VARCHAR(10) NOT NULL,
    data_type VARCHAR(50) NOT NULL,
    data JSONB NOT NULL,
    data_source VARCHAR(50),
    data_quality_score NUMERIC(3,2) CHECK (
        data_quality_score >= 0 AND data_quality_score <= 1
    ),
    cached_at TIMESTAMP WITH TIME ZONE DEFAULT NOW() NOT NULL,
    expires_at TIMESTAMP WITH TIME ZONE NOT NULL CHECK (expires_at > cached_at),
    parameters JSONB,

    UNIQUE(ticker, data_type, parameters)
);

CREATE INDEX idx_market_cache_ticker_type ON market_data_cache(ticker, data_type);
CREATE INDEX idx_market_cache_expires_at ON market_data_cache(expires_at);
CREATE INDEX idx_market_cache_cached_at ON market_data_cache(cached_at);

COMMENT ON TABLE market_data_cache IS 'Documents fetched from market-data providers, kept until they expire';
COMMENT ON COLUMN market_data_cache.id IS 'Key of the row';
COMMENT ON COLUMN market_data_cache.ticker IS 'Market symbol, trimmed and upper case';
COMMENT ON COLUMN market_data_cache.data_type IS 'What the document is: fundamentals, news, options_chain and so on; open-ended';
COMMENT ON COLUMN market_data_cache.data IS 'The document as delivered';
COMMENT ON COLUMN market_data_cache.data_source IS 'Name of the provider';
COMMENT ON COLUMN market_data_cache.data_quality_score IS 'Quality of the document, 0 to 1';
COMMENT ON COLUMN market_data_cache.cached_at IS 'When the document was stored, by the database''s clock';
COMMENT ON COLUMN market_data_cache.expires_at IS 'From when the document is stale, by the database''s clock; always after cached_at';
COMMENT ON COLUMN market_data_cache.parameters IS 'Parameters of the request; part of the key together with ticker and data_type';

COMMENT ON INDEX market_data_cache_pkey IS 'One entry by its id';
COMMENT ON INDEX market_data_cache_ticker_data_type_parameters_key IS 'One entry by its key; no key twice';
COMMENT ON INDEX idx_market_cache_ticker_type IS 'Entries of a ticker and type: invalidation and statistics';
COMMENT ON INDEX idx_market_cache_expires_at IS 'Sweep of expired entries, and entries due for a refresh';
COMMENT ON INDEX idx_market_cache_cached_at IS 'Entries by age';
