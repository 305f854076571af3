-- Searching inside result documents read the whole table.
CREATE INDEX analysis_results_metadata_idx ON analysis_results USING GIN (metadata jsonb_path_ops);

COMMENT ON INDEX analysis_results_metadata_idx IS 'Containment search (@>) in result documents';
