-- What belongs together beyond ticker and type could not be invalidated together.
ALTER TABLE market_data_cache ADD COLUMN tags TEXT[] NOT NULL DEFAULT '{}';

COMMENT ON COLUMN market_data_cache.tags IS 'Names under which the entry is invalidated together with others';

-- Entries without tags, most of them, are not in it and cost nothing.
CREATE INDEX market_data_cache_tags_idx ON market_data_cache USING GIN (tags) WHERE tags <> '{}';

COMMENT ON INDEX market_data_cache_tags_idx IS 'Entries of a tag: invalidation';
