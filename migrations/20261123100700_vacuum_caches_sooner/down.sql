ALTER TABLE cache_leases RESET (
    autovacuum_vacuum_scale_factor, autovacuum_vacuum_threshold, fillfactor
);
ALTER TABLE cache_changes RESET (autovacuum_vacuum_scale_factor, autovacuum_vacuum_threshold);
ALTER TABLE analysis_results RESET (
    autovacuum_vacuum_scale_factor, toast.autovacuum_vacuum_scale_factor
);
ALTER TABLE market_data_cache RESET (
    autovacuum_vacuum_scale_factor, autovacuum_vacuum_cost_limit,
    toast.autovacuum_vacuum_scale_factor, toast.autovacuum_vacuum_cost_limit
);
