-- Rows of a cache are replaced and swept all the time, and their wide documents lie in a TOAST table:
-- by the defaults both grow by a fifth before their space is given back.
ALTER TABLE market_data_cache SET (
    autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_limit = 2000,
    toast.autovacuum_vacuum_scale_factor = 0.05, toast.autovacuum_vacuum_cost_limit = 2000
);
ALTER TABLE analysis_results SET (
    autovacuum_vacuum_scale_factor = 0.05, toast.autovacuum_vacuum_scale_factor = 0.05
);
ALTER TABLE cache_changes SET (
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000
);
ALTER TABLE cache_leases SET (
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000, fillfactor = 50
);
