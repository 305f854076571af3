-- One fetch at a time per key, across processes. Unlogged: after a crash of the server no lease is
-- worth anything, and a holder whose lease is gone stores nothing.
CREATE UNLOGGED TABLE cache_leases (
    space TEXT NOT NULL CHECK (space IN ('market_data', 'analyses')),
    ticker VARCHAR(32) NOT NULL,
    name VARCHAR(50) NOT NULL,
    parameters_key BYTEA NOT NULL,
    portfolio_id UUID,
    token BIGINT,
    failures INTEGER NOT NULL DEFAULT 0,
    taken_at TIMESTAMP WITH TIME ZONE NOT NULL,
    expires_at TIMESTAMP WITH TIME ZONE NOT NULL,

    CONSTRAINT cache_leases_key
        UNIQUE NULLS NOT DISTINCT (ticker, name, parameters_key, space, portfolio_id)
);

CREATE INDEX cache_leases_expires_idx ON cache_leases (expires_at);

COMMENT ON TABLE cache_leases IS
    'Who may fetch a document or compute a result now; after a failure, until when nobody may';
COMMENT ON COLUMN cache_leases.space IS 'What the key belongs to: market_data (documents) or analyses';
COMMENT ON COLUMN cache_leases.ticker IS 'Ticker of the key';
COMMENT ON COLUMN cache_leases.name IS 'Data type or analysis type of the key';
COMMENT ON COLUMN cache_leases.parameters_key IS 'Key of the parameters, by cache_parameters_key';
COMMENT ON COLUMN cache_leases.portfolio_id IS 'Portfolio of the key; NULL: public';
COMMENT ON COLUMN cache_leases.token IS 'Fencing token, from cache_version: only its holder may store a value; NULL: the last fetch failed';
COMMENT ON COLUMN cache_leases.failures IS 'Failed fetches in a row';
COMMENT ON COLUMN cache_leases.taken_at IS 'When the lease was taken, by the database''s clock';
COMMENT ON COLUMN cache_leases.expires_at IS 'From when the next caller may take the lease, by the database''s clock';

COMMENT ON INDEX cache_leases_key IS 'The lease of a key';
COMMENT ON INDEX cache_leases_expires_idx IS 'Sweep of forgotten leases';
