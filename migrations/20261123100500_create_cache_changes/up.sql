-- Copies of cached rows in the memory of processes could not learn that the rows had changed. A NOTIFY
-- per change would serialise writers at commit, and is lost when nobody listens.
CREATE TABLE cache_changes (
    version BIGINT PRIMARY KEY,
    transaction XID8 NOT NULL DEFAULT pg_current_xact_id(),
    changed_at TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT clock_timestamp(),
    space TEXT NOT NULL,
    ticker VARCHAR(32),
    name VARCHAR(50),
    parameters JSONB,
    portfolio_id UUID
);

CREATE INDEX cache_changes_transaction_idx ON cache_changes (transaction, version);

COMMENT ON TABLE cache_changes IS
    'Keys whose cached row changed, for the memory of processes; swept after an hour';
COMMENT ON COLUMN cache_changes.version IS 'The row''s version after the change';
COMMENT ON COLUMN cache_changes.transaction IS
    'The transaction of the change: a reader takes what its last snapshot did not see, so that none is missed, in whichever order they commit';
COMMENT ON COLUMN cache_changes.changed_at IS 'When the row was changed, not when that was committed';
COMMENT ON COLUMN cache_changes.space IS 'What the key belongs to: market_data (documents) or analyses';
COMMENT ON COLUMN cache_changes.ticker IS 'Ticker of the key; NULL: every key of the space';
COMMENT ON COLUMN cache_changes.name IS 'Data type or analysis type of the key';
COMMENT ON COLUMN cache_changes.parameters IS 'Parameters of the key';
COMMENT ON COLUMN cache_changes.portfolio_id IS 'Portfolio of the key; NULL: public';

COMMENT ON INDEX cache_changes_pkey IS 'One change by its version';
COMMENT ON INDEX cache_changes_transaction_idx IS 'Changes that a snapshot did not see; sweep of old ones';
