-- Results whose inputs changed are looked for in batches, ticker by ticker, so that the bars of a ticker
-- are read once and not once a batch. Results without inputs are not in it.
CREATE INDEX analysis_results_inputs_idx ON analysis_results (ticker, id) WHERE inputs IS NOT NULL;

COMMENT ON INDEX analysis_results_inputs_idx IS 'Results that tell what they were computed from, by ticker';
